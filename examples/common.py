"""What every example shares: command-line options, the device, a progress bar and where pictures go."""

from __future__ import annotations

import argparse
import importlib
import math
import os
import tempfile

import numbagrad as ng

HELP = {"steps": "training steps", "epochs": "passes over the training data", "lr": "learning rate",
        "batch": "examples in one step", "points": "points to fit the line to", "samples": "points in each cloud",
        "mean": "distance of the clouds' centres from --bias, in both coordinates", "bias": "shift of both clouds",
        "inputs": "numbers in one example", "hidden": "width of the hidden layer", "outputs": "numbers to predict",
        "head_epochs": "passes over the digits 5-9 for the new head", "head_lr": "learning rate of the new head"}
ANY = ("mean", "bias")  # may be zero or negative


def options(description, **defaults):
    """Parser with --device, --seed, --out and --compile; keyword arguments become options with these defaults."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--seed", type=int, default=1, help="seed of the random numbers")
    parser.add_argument("--out", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "out"),
                        help="folder for pictures and checkpoints")
    parser.add_argument("--compile", action="store_true", help="run each training step as one compiled call (CPU)")
    for name, value in defaults.items():
        parser.add_argument("--" + name.replace("_", "-"), type=number(type(value), name in ANY), default=value,
                            help=HELP[name])
    return parser


def number(kind, any_sign):
    """What reads an option: a finite int or float, greater than zero unless ``any_sign``."""
    def read(text):
        value = kind(text)
        if not math.isfinite(value) or not (any_sign or value > 0):
            raise argparse.ArgumentTypeError(f"{text} is not {'a finite number' if any_sign else 'greater than zero'}")
        return value
    read.__name__ = kind.__name__  # argparse names it where the text is no number at all
    return read


def start(parser, argv=None, needs=()):
    """Parse the options, seed, and make the output folder: (options, device). ``needs``: further packages to import."""
    args = parser.parse_args(argv)
    for package in ("tqdm", "matplotlib", *needs):  # before the training, not after it
        try:
            importlib.import_module(package)
        except ImportError as e:
            raise SystemExit(f"{e}\nThe examples need a few more packages: pip install -e '.[examples]'") from None
    try:
        device = ng.device(args.device)
    except RuntimeError as e:
        raise SystemExit(f"--device {args.device}: {e}") from None
    if device.type == "cuda" and not ng.cuda.is_available():
        raise SystemExit(f"--device cuda: no CUDA device can be used here: {ng.cuda.why_not()}")
    ng.manual_seed(args.seed)
    try:
        os.makedirs(args.out, exist_ok=True)
        with tempfile.TemporaryFile(dir=args.out):  # before the training, not after it
            pass
    except OSError as e:
        raise SystemExit(f"--out {args.out}: cannot write there: {e.strerror}") from None
    return args, device


def compiled(args, step):
    """The training step, compiled where --compile asks for it."""
    return ng.compile(step) if args.compile else step


_bars = []


def bar(steps, **kwargs):
    """A progress bar over an iterable, or over range(n)."""
    from tqdm import tqdm
    _bars[:] = [tqdm(range(steps) if isinstance(steps, int) else steps, dynamic_ncols=True, **kwargs)]
    return _bars[0]


def finite(loss, option, value, limit=math.inf):
    """The loss itself; where it is no number below the limit the example ends and names the learning rate to lower."""
    if not math.isfinite(loss) or loss > limit:
        for shown in _bars:
            shown.close()
        raise SystemExit(f"training diverged, the loss is {loss:g}: {option} {value:g} is too large")
    return loss


def figure(width, height, rows=1, columns=1):
    """(figure, axes) that is drawn into a file, no window needed."""
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    return plt.subplots(rows, columns, figsize=(width, height), layout="constrained")


def save(fig, args, name):
    """Write the picture into the output folder and say where it is."""
    import matplotlib.pyplot as plt
    path = os.path.join(args.out, name)
    try:
        fig.savefig(path, dpi=100)
    except OSError as e:
        raise SystemExit(f"{path}: cannot be written: {e.strerror}") from None
    finally:
        plt.close(fig)
    print("picture:", path)
