"""Every example learns what it should, says so, and draws its picture; digits goes on after being killed."""

from __future__ import annotations

import importlib
import os
import re
import signal
import struct
import subprocess
import sys
import time

import paths
import pytest

import numbagrad as ng

FOLDER = str(paths.ROOT / "examples")
NAMES = ["linear_regression", "two_layer_net", "logistic_regression", "finetune_head", "digits"]


def needs(*packages):
    for package in packages:
        pytest.importorskip(package, reason="an extra of the examples")


@pytest.fixture
def example(monkeypatch, tmp_path, capsys):
    """A function that runs main() of an example: (what it returns, what it prints, the folder of its pictures)."""
    needs("tqdm", "matplotlib", "sklearn")
    monkeypatch.syspath_prepend(FOLDER)
    state = ng.get_rng_state()

    def run(name, *args):
        module = importlib.import_module(name)
        result = module.main([*map(str, args), "--out", str(tmp_path)])
        return result, capsys.readouterr().out, tmp_path
    yield run
    for name in (*NAMES, "common"):
        sys.modules.pop(name, None)
    ng.set_rng_state(state)


def png_size(path):
    """(width, height) from the header of a PNG file."""
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n" and data[12:16] == b"IHDR" and data[-8:-4] == b"IEND"
    return struct.unpack(">II", data[16:24])


def test_linear_regression(example):
    (loss, slope, intercept), out, folder = example("linear_regression")
    # 300 points with noise 1: the standard error is 0.01 of the slope and 0.12 of the intercept.
    assert abs(slope - 2) < 0.03 and abs(intercept - 5) < 0.36 and 0.4 < loss < 0.6
    assert f"loss {loss:.4f}   slope {slope:.4f} (true 2)   intercept {intercept:.4f} (true 5)" in out
    assert png_size(folder / "linear_regression.png") == (1000, 400)


def test_linear_regression_reaches_least_squares(example):
    import numpy as np
    _, slope, intercept = example("linear_regression", "--seed", 5)[0]
    ng.manual_seed(5)
    x = ng.rand(300, 1)
    y = x * 40 + 5 + ng.randn(300, 1)
    a, b = np.polyfit(20 * x.numpy()[:, 0].astype("float64"), y.numpy()[:, 0].astype("float64"), 1)
    # float32, and what 500 steps leave of the start: exp(-500 * 0.5 * 0.06) of 5.
    assert slope == pytest.approx(a, abs=1e-4) and intercept == pytest.approx(b, abs=1e-3)


def test_two_layer_net(example):
    losses, out, folder = example("two_layer_net", "--steps", 60)
    assert len(losses) == 60 and losses[-1] < losses[0] / 1000
    assert f"last {losses[-1]:.3e}" in out and png_size(folder / "two_layer_net.png") == (600, 400)


def test_logistic_regression(example):
    (step, w0, w1, b, loss, accuracy), out, folder = example("logistic_regression")
    assert accuracy > 0.99 and step < 1000 and loss < 0.2
    assert w0 < 0 and w1 < 0  # class 1 lies at the lower left
    assert abs(b / (w0 + w1) + 1) < 0.6  # between the means at (2.7, 2.7) and (-0.7, -0.7)
    assert f"stopped at step {step}: " in out and png_size(folder / "logistic_regression.png") == (700, 600)


def test_finetune_head(example):
    (before, untrained, after), out, folder = example("finetune_head")
    assert before > 0.98 and untrained < 0.5 and after > 0.9
    assert "1285 of 83717 parameters" in out and png_size(folder / "finetune_head.png") == (1000, 400)


def test_digits(example):
    begin = time.perf_counter()
    accuracy, out, folder = example("digits", "--epochs", 8)
    assert accuracy["conv"] > 0.98 and accuracy["mlp"] > 0.95
    assert time.perf_counter() - begin < 60
    assert f"conv: test accuracy {accuracy['conv']:.2%} after 8 epochs in " in out
    assert png_size(folder / "digits.png") == (1100, 700)
    state = ng.load(folder / "digits_conv.pt")
    assert state["epoch"] == 8 and len(state["history"]) == 8 and state["history"][-1][1] == accuracy["conv"]
    assert not [f for f in os.listdir(folder) if f.endswith(".tmp")]


def start(folder, *args, **kwargs):
    return subprocess.Popen([sys.executable, os.path.join(FOLDER, "digits.py"), "--model", "conv", "--out", str(folder),
                             *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, **kwargs)


def same(a, b):
    """Whether two checkpoints agree in every bit."""
    if isinstance(a, ng.Tensor):
        return a.dtype is b.dtype and ng.equal(a, b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_digits_killed_in_the_middle_ends_as_if_it_had_not_been(tmp_path):
    needs("tqdm", "matplotlib", "sklearn")
    epochs = 6
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    process = start(straight, "--epochs", epochs)
    out = process.communicate(timeout=300)[0]
    assert process.returncode == 0

    process = start(broken, "--epochs", 10000)  # it cannot finish before it is killed
    checkpoint = broken / "digits_conv.pt"
    limit = time.monotonic() + 120
    while not checkpoint.exists():
        assert process.poll() is None and time.monotonic() < limit
        time.sleep(0.002)
    time.sleep(0.05)  # somewhere inside an epoch, or inside a save
    process.send_signal(signal.SIGKILL)
    process.communicate()
    state = ng.load(checkpoint)  # whole, whenever the process died
    assert 1 <= state["epoch"] < epochs, "killed too late to test anything"

    process = start(broken, "--epochs", epochs, "--resume")
    again = process.communicate(timeout=300)[0]
    assert process.returncode == 0 and f"resumed after epoch {state['epoch']} from {checkpoint}" in again
    assert same(ng.load(checkpoint), ng.load(straight / "digits_conv.pt"))
    accuracies = [re.search(r"test accuracy ([\d.]+)%", text)[1] for text in (out, again)]
    assert accuracies[0] == accuracies[1]


def test_digits_resumes_only_the_same_training(example):
    example("digits", "--epochs", 1, "--model", "mlp")
    with pytest.raises(SystemExit, match=r"digits_mlp.pt was made with .*'seed': 1.*, not .*'seed': 2"):
        example("digits", "--epochs", 2, "--model", "mlp", "--resume", "--seed", 2)
    _, out, _ = example("digits", "--epochs", 2, "--model", "mlp", "--resume")
    assert "mlp: resumed after epoch 1 from " in out


def test_same_checkpoint_comparison_notices_differences():
    a = {"x": [ng.tensor([1.0, 2.0])], "n": 3}
    assert same(a, {"x": [ng.tensor([1.0, 2.0])], "n": 3})
    for b in ({"x": [ng.tensor([1.0, 2.5])], "n": 3}, {"x": [ng.tensor([1.0, 2.0])], "n": 4}, {"x": [], "n": 3},
              {"x": [ng.tensor([1.0, 2.0]).double()], "n": 3}):
        assert not same(a, b)


@pytest.mark.parametrize("name", NAMES)
def test_help_names_every_option(example, capsys, name):
    with pytest.raises(SystemExit) as e:
        example(name, "--help")
    out = capsys.readouterr().out
    assert e.value.code == 0 and all(option in out for option in ("--device", "--seed", "--out", "--lr"))
    # Every option's text starts with a word: after the option, or in the next line where the option is long.
    for text in re.findall(r"^  (--[\w-]+ ?.*(?:\n {10,}.*)*)", out, re.M):
        assert re.match(r"--[\w-]+( [A-Z_]+| \{[\w,]+\})?\s+[a-z]", text), text


def numbers(text):
    """The numbers of what an example prints, but for times."""
    return [float(n) for n in re.findall(r"-?\d+\.?\d*(?:e-?\d+)?", re.sub(r"in [\d.]+ s|picture: .*", "", text))]


@pytest.mark.parametrize("name", NAMES)
def test_compiled_examples_print_the_same(example, name):
    few = {"digits": ("--epochs", 2), "finetune_head": ("--epochs", 3, "--head-epochs", 3),
           "two_layer_net": ("--steps", 60)}.get(name, ())
    plain, compiled = (example(name, *few, *more)[1] for more in ((), ("--compile",)))
    assert re.sub(r"[\d.e-]+", "#", compiled) == re.sub(r"[\d.e-]+", "#", plain)
    # Losses are printed to four digits; sums in another order change the last of them, and may turn one scan of 450.
    assert numbers(compiled) == pytest.approx(numbers(plain), rel=2e-3, abs=0.23 if name == "digits" else 2e-4)


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_result(example, name):
    few = {"digits": ("--epochs", 1, "--model", "mlp"), "finetune_head": ("--epochs", 1, "--head-epochs", 1)}.get(
        name, ("--steps", 21))
    first, second, other = (example(name, *few, "--seed", seed)[0] for seed in (3, 3, 4))
    assert first == second != other


def test_device_without_cuda_is_a_clear_message(example):
    if ng.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(SystemExit, match="--device cuda: no CUDA device can be used here: "):
        example("linear_regression", "--device", "cuda")
    with pytest.raises(SystemExit, match="--device toaster: "):
        example("linear_regression", "--device", "toaster")


@pytest.mark.parametrize("name, option", [
    ("linear_regression", "--steps"), ("linear_regression", "--points"), ("linear_regression", "--lr"),
    ("two_layer_net", "--batch"), ("logistic_regression", "--samples"), ("finetune_head", "--epochs"),
    ("finetune_head", "--head-epochs"), ("digits", "--epochs")])
@pytest.mark.parametrize("value", ["0", "-1", "nan", "many"])
def test_sizes_must_be_positive(example, capsys, name, option, value):
    with pytest.raises(SystemExit) as e:
        example(name, option, value)
    last = capsys.readouterr().err.splitlines()[-1]
    assert e.value.code == 2 and f"error: argument {option}: " in last and value in last


@pytest.mark.parametrize("name, args", [
    ("linear_regression", ("--lr", "1e9")), ("linear_regression", ("--lr", "1e9", "--compile")),
    ("two_layer_net", ("--lr", "1e9")), ("logistic_regression", ("--lr", "1e9")), ("finetune_head", ("--lr", "1e9")),
    ("finetune_head", ("--epochs", "1", "--head-lr", "1e9")), ("digits", ("--model", "mlp", "--lr", "1e9"))])
def test_training_that_diverges_ends_in_one_line(example, capsys, name, args):
    option, value = next((a, b) for a, b in zip(args, args[1:]) if a.endswith("lr"))
    with pytest.raises(SystemExit, match=f"^training diverged, the loss is .*: {option} 1e\\+09 is too large$"):
        example(name, *args)
    assert value == "1e9" and "picture" not in capsys.readouterr().out


@pytest.mark.parametrize("name", NAMES)
def test_folder_that_cannot_be_written_is_a_clear_message(example, monkeypatch, tmp_path, name):
    file = tmp_path / "file"
    file.write_text("")
    module = importlib.import_module(name)
    for folder in (file, file / "below"):
        with pytest.raises(SystemExit, match="--out .*file.*: cannot write there: "):
            module.main(["--out", str(folder)])

    def full(**kwargs):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(sys.modules["common"].tempfile, "TemporaryFile", full)
    with pytest.raises(SystemExit, match="cannot write there: No space left on device"):
        module.main(["--out", str(tmp_path / "new")])


def axes(monkeypatch, example, name, *args):
    """The axes of the picture that an example draws."""
    module, drawn = importlib.import_module(name), []
    monkeypatch.setattr(module, "save", lambda fig, args, name: drawn.append(fig))
    example(name, *args)
    (fig,) = drawn
    return fig.get_axes()


@pytest.mark.parametrize("name, args, labels", [
    ("finetune_head", ("--epochs", 2, "--head-epochs", 2), ["training loss", "test accuracy, %"]),
    ("two_layer_net", ("--steps", 60), ["sum of squared errors"])])
def test_pictures_have_a_validation_curve_and_labels(example, monkeypatch, name, args, labels):
    found = axes(monkeypatch, example, name, *args)
    assert [a.get_ylabel() for a in found] == labels and all(a.get_xlabel() in ("step", "epoch") for a in found)
    shown = [text.get_text() for a in found for text in a.get_legend().get_texts()]
    assert shown == (["training", "validation, new random data"] if name == "two_layer_net" else
                     ["whole network, digits 0-4", "new head, digits 5-9", *shown[2:]])
    # accuracy before training and after each epoch, for both phases; validation at the first step and after the last
    lines = [line.get_xdata() for line in found[-1].get_lines()]
    assert ([list(x) for x in lines] == [[0, 1, 2], [2, 3, 4]] if name == "finetune_head" else
            (lines[1][0], lines[1][-1]) == (0, 60))


def test_digits_picture_has_no_empty_panel(example, monkeypatch):
    found = axes(monkeypatch, example, "digits", "--model", "mlp", "--epochs", 1)
    panels = [a for a in found if a.get_images()]
    assert len(found) == 10 and len(panels) == 8
    chances = [int(re.search(r"P\(\d\) = (\d+)%", a.get_title())[1]) for a in panels]
    assert chances == sorted(chances) and all(a.get_images()[0].get_array().shape == (8, 8) for a in panels)


@pytest.mark.parametrize("name, package", [("linear_regression", "tqdm"), ("two_layer_net", "matplotlib"),
                                           ("digits", "sklearn"), ("finetune_head", "sklearn")])
def test_missing_package_is_a_clear_message(example, monkeypatch, name, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SystemExit) as e:
        example(name, *(["--epochs", 1] if package == "sklearn" else ["--steps", 1]))
    assert package in str(e.value.code) and "pip install -e '.[examples]'" in str(e.value.code)


def test_examples_run_as_scripts(tmp_path):
    needs("tqdm", "matplotlib")
    done = subprocess.run([sys.executable, os.path.join(FOLDER, "linear_regression.py"), "--steps", "3", "--out",
                           str(tmp_path / "new")], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0 and "3/3" in done.stderr, done.stderr
    assert (tmp_path / "new" / "linear_regression.png").exists()
