"""What every example shares: command-line options, the device, a progress bar and where pictures go."""

from __future__ import annotations

import argparse
import importlib
import os

import numbagrad as ng


def options(description, **defaults):
    """Parser with --device, --seed, --out and --compile; keyword arguments become options with these defaults."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--seed", type=int, default=1, help="seed of the random numbers")
    parser.add_argument("--out", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "out"),
                        help="folder for pictures and checkpoints")
    parser.add_argument("--compile", action="store_true", help="run each training step as one compiled call (CPU)")
    for name, value in defaults.items():
        parser.add_argument("--" + name.replace("_", "-"), type=type(value), default=value, help=HELP.get(name, " "))
    return parser


HELP = {"steps": "training steps", "epochs": "passes over the training data", "lr": "learning rate",
        "batch": "examples in one step"}


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
    os.makedirs(args.out, exist_ok=True)
    return args, device


def compiled(args, step):
    """The training step, compiled where --compile asks for it."""
    return ng.compile(step) if args.compile else step


def bar(steps, **kwargs):
    """A progress bar over an iterable, or over range(n)."""
    from tqdm import tqdm
    return tqdm(range(steps) if isinstance(steps, int) else steps, dynamic_ncols=True, **kwargs)


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
    fig.savefig(path, dpi=100)
    plt.close(fig)
    print("picture:", path)
