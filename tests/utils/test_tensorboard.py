"""What is logged for TensorBoard: the messages are PyTorch's, and the event files are read back."""

import importlib
import io
import json
import subprocess
import sys

import numpy as np
import pytest

import numbagrad as ng

tensorboard = pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
pytest.importorskip("PIL", reason="images need pillow")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the packages below


def summaries(T):
    return importlib.import_module(T.__name__ + ".utils.tensorboard.summary")


def writer(T, *args, **kwargs):
    return importlib.import_module(T.__name__ + ".utils.tensorboard").SummaryWriter(*args, **kwargs)


def image(T, *shape):
    return T.arange(int(np.prod(shape))).reshape(shape).float() / np.prod(shape)


VALUES = [-1.5, 0.0, 0.0, 2.5, 2.6, 1e-3, 40.0]
MESSAGES = {
    "scalar": lambda S, T: S.scalar("a", 1.25), "scalar of a tensor": lambda S, T: S.scalar("a", T.tensor([2.5])),
    "scalar in bfloat16": lambda S, T: S.scalar("a", T.tensor(2.5, dtype=T.bfloat16)),
    "new scalar": lambda S, T: S.scalar("a", 0.1, new_style=True),
    "double scalar": lambda S, T: S.scalar("a", 0.1, new_style=True, double_precision=True),
    "several": lambda S, T: S.scalar("a", T.ones(2)), "a word": lambda S, T: S.scalar("a", [1.0]),
    "histogram": lambda S, T: S.histogram("h", T.tensor(VALUES), [-5.0, -1.0, 0.0, 1.0, 2.0, 50.0]),
    "few bins": lambda S, T: S.histogram("h", T.tensor(VALUES), list(range(-3, 45)), max_bins=7),
    "one value": lambda S, T: S.histogram("h", np.array([1.0]), "auto"),
    "no value": lambda S, T: S.histogram("h", T.ones(0), 3),
    "outside": lambda S, T: S.histogram("h", T.tensor(VALUES), [100.0, 200.0]),
    "raw histogram": lambda S, T: S.histogram_raw("h", 0.0, 1.0, 2, 1.0, 1.0, [0.5, 1.0], [1, 1]),
    "image": lambda S, T: S.image("i", image(T, 3, 4, 5), dataformats="CHW"),
    "bytes": lambda S, T: S.image("i", (image(T, 4, 5, 3) * 255).to(T.uint8), dataformats="HWC"),
    "grey": lambda S, T: S.image("i", image(T, 4, 5), dataformats="HW"),
    "one channel": lambda S, T: S.image("i", image(T, 1, 4, 5), dataformats="CHW", rescale=2),
    "images": lambda S, T: S.image("i", image(T, 10, 3, 4, 5)),
    "grey images": lambda S, T: S.image("i", image(T, 3, 1, 4, 5)),
    "wrong format": lambda S, T: S.image("i", image(T, 3, 4), dataformats="CHW"),
    "twice": lambda S, T: S.image("i", image(T, 3, 4, 5), dataformats="CHH"),
    "boxes": lambda S, T: S.image_boxes("i", image(T, 3, 20, 30), T.tensor([[2.0, 3.0, 12.0, 15.0]]), labels=["a"]),
    "audio": lambda S, T: S.audio("s", T.linspace(-1, 1, 50), 8000), "loud": lambda S, T: S.audio("s", T.ones(1, 4) * 2),
    "text": lambda S, T: S.text("t", "**text**"),
    "charts": lambda S, T: S.custom_scalars({"c": {"x": ["Multiline", ["a", "b"]], "y": ["Margin", ["a", "b", "c"]]}}),
    "curve": lambda S, T: S.pr_curve("p", np.array([1, 0, 1, 1]), np.array([0.9, 0.4, 0.35, 0.8]), 10),
    "weighted": lambda S, T: S.pr_curve("p", np.array([1, 0]), np.array([0.9, 0.4]), 500, np.array([2.0, 0.5])),
    "raw curve": lambda S, T: S.pr_curve_raw("p", *np.ones((6, 4)), num_thresholds=4),
    "mesh": lambda S, T: S.mesh("m", T.ones(1, 3, 3), T.ones(1, 3, 3), T.tensor([[[0, 1, 2]]]), {"a": 1}),
    "hparams": lambda S, T: S.hparams({"lr": 0.1, "n": 3, "name": "x", "flag": True, "none": None, "t": T.tensor([2.0])},
                                      {"loss": 1.0}, {"lr": [0.1, 0.2], "name": ["x", "y"]}),
    "no dict": lambda S, T: S.hparams([1], {}), "no metrics": lambda S, T: S.hparams({}, [1]),
    "odd value": lambda S, T: S.hparams({"a": [1]}, {}), "odd domain": lambda S, T: S.hparams({"a": 1}, {}, {"a": ["b"]}),
    "halves": lambda S, T: (S.half_to_int(1.5), S.int_to_half(S.half_to_int(-0.25))),
    **{f"tensor of {name}": lambda S, T, name=name: S.tensor_proto("t", T.tensor([[1, 0, 1]]).to(getattr(T, name))) for name in
       ("float16", "bfloat16", "float32", "float64", "uint8", "int32", "int64", "bool", "complex64", "complex128")}}


def message(T, name):
    try:
        return str(MESSAGES[name](summaries(T), T))
    except Exception as e:
        return f"{type(e).__name__}: {e}"


@pytest.mark.parametrize("name", MESSAGES)
def test_messages_are_those_of_pytorch(torch, name):
    assert message(ng, name) == message(torch, name)


def test_videos(torch):
    pytest.importorskip("moviepy", reason="it makes the videos")
    frames = image(ng, 3, 4, 3, 8, 8)
    ours = summaries(ng).video("v", frames, fps=2).value[0].image
    assert (ours.height, ours.width, ours.colorspace) == (8, 32, 3)
    from PIL import Image
    with Image.open(io.BytesIO(ours.encoded_image_string)) as gif:
        assert gif.n_frames == 4
    if importlib.util.find_spec("moviepy.editor"):
        assert ours == summaries(torch).video("v", image(torch, 3, 4, 3, 8, 8), fps=2).value[0].image


def log(T, folder, figure):
    with writer(T, str(folder)) as w:
        for step in range(3):
            w.add_scalar("loss", T.tensor(1.0 / (step + 1)), step, walltime=step)
            w.add_scalars("both", {"a": step, "b": 2.0 * step}, step)
            w.add_histogram("weights", T.arange(10.0) * step, step)
        w.add_images("images", image(T, 4, 3, 4, 5))
        w.add_figure("figure", figure, close=False)
        w.add_text("text", "hello", 1)
        w.add_pr_curve("curve", T.tensor([0, 1, 1]), T.tensor([0.1, 0.8, 0.4]))
        w.add_tensor("tensor", T.ones(2, 2))
        w.add_embedding(T.arange(6.0).reshape(3, 2), ["x", "y", "z"], image(T, 3, 3, 4, 4), 5, "some/tag")
        w.add_embedding(T.arange(4.0).reshape(2, 2), [("a", 1), ("b", 2)], metadata_header=["name", "number"])
        w.add_hparams({"lr": 0.1}, {"accuracy": 0.5}, run_name="run")
        w.add_custom_scalars_multilinechart(["a", "b"])
        w.add_mesh("mesh", T.ones(1, 4, 3))
        w.add_histogram_raw("raw", 0.0, 1.0, 2, 1.0, 1.0, [0.5, 1.0], [1, 1])
        w.add_audio("sound", T.zeros(10))
        return w.get_logdir()


def read(folder):
    """What event files below a folder hold, by folder; times are left out, but of the losses."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_dir():
            continue
        if "tfevents" not in name:
            found[name] = path.read_bytes()
            continue
        events = []
        for event in EventFileLoader(str(path)).Load():
            if event.HasField("summary"):
                events.append((event.step, event.wall_time if event.summary.value[0].tag == "loss" else 0, str(event.summary)))
        found[str(path.parent.relative_to(folder))] = events
    return found


def test_files_hold_what_pytorch_writes(torch, tmp_path):
    plt = pytest.importorskip("matplotlib.pyplot")
    figure = plt.figure(figsize=(1, 1))
    figure.add_subplot().plot([1, 2, 3])
    for name, T in (("ours", ng), ("theirs", torch)):
        log(T, tmp_path / name, figure)
    plt.close(figure)
    ours, theirs = read(tmp_path / "ours"), read(tmp_path / "theirs")
    assert list(ours) == list(theirs) and len(ours["."]) > 10
    for name, found in theirs.items():
        assert ours[name] == found, name


def test_numbers_are_read_back(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    w = writer(ng, tmp_path, purge_step=2, filename_suffix=".x")
    for step in range(5):
        w.add_scalar("a/b", ng.tensor(step * 0.5), step)
    w.flush()
    w.close()
    w.add_scalar("a/b", 9.0, 9)  # opens another file
    w.close()
    assert all(p.name.endswith(".x") for p in tmp_path.iterdir())
    found = EventAccumulator(str(tmp_path)).Reload()
    assert [(e.step, e.value) for e in found.Scalars("a/b")] == [(i, i * 0.5) for i in range(5)] + [(9, 9.0)]


class Net(ng.nn.Module):
    def __init__(self):
        super().__init__()
        self.features = ng.nn.Sequential(ng.nn.Conv2d(1, 2, 3), ng.nn.ReLU())
        self.last = ng.nn.Linear(8, 3)

    def forward(self, x):
        return self.last(self.features(x).flatten(1)) * 2


def test_graphs(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    net = Net().train()
    with writer(ng, tmp_path) as w:
        w.add_graph(net, ng.ones(1, 1, 4, 4))
    assert net.training and not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    nodes = {n.name: n for n in EventAccumulator(str(tmp_path)).Reload().Graph().node}
    assert [n.op for n in nodes.values()] == ["IO Node"] + ["Parameter"] * 4 + [
        "Convolution", "Relu", "View", "Addmm", "Mul", "IO Node"]
    conv = next(n for n in nodes.values() if n.op == "Convolution")
    assert conv.name.startswith("Net/Sequential[features]/Conv2d[0]/")
    assert list(conv.input) == ["input/0", *["Net/Sequential[features]/Conv2d[0]/" + n for n in ("weight", "bias")]]
    assert [d.size for d in conv.attr["_output_shapes"].list.shape[0].dim] == [1, 2, 2, 2]
    mul = next(n for n in nodes.values() if n.op == "Mul")
    assert mul.name.startswith("Net/Mul") and nodes["output/output.1"].input[0] == mul.name
    assert all(i in nodes for n in nodes.values() for i in n.input)


def test_errors_of_the_writer(torch, tmp_path):
    (tmp_path / "ours" / "00000").mkdir(parents=True)
    acts = [lambda w, T: w.add_embedding(T.ones(2, 2), ["a"]),
            lambda w, T: w.add_embedding(T.ones(2, 2), None, T.ones(1, 3, 2, 2)),
            lambda w, T: w.add_embedding(T.ones(2, 2), [("a",), ("b",)], metadata_header=["x", "y"]),
            lambda w, T: w.add_embedding(T.ones(2)), lambda w, T: w.add_hparams([1], {}),
            lambda w, T: w.add_histogram_raw("a", 0, 1, 1, 1, 1, [1], []),
            lambda w, T: w.add_custom_scalars_marginchart(["a"]), lambda w, T: w.add_scalar("a", "b")]

    def said(T, name, act):
        with writer(T, str(tmp_path / name)) as w:
            try:
                return act(w, T)
            except Exception as e:
                return f"{type(e).__name__}: {e}"
    for i, act in enumerate(acts):
        assert said(ng, f"ours{i}", act) == said(torch, f"theirs{i}", act)


def test_a_missing_package_is_named():
    code = ("import sys; sys.modules['tensorboard'] = None\nimport numbagrad as ng, json\ntry:\n    ng.utils.tensorboard\n"
            "except ImportError as e:\n    print(json.dumps(str(e)))")
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert json.loads(out).endswith('pip install "numbagrad[tensorboard]"')
