"""What every example shares: command-line options, the device, a progress bar and where pictures go."""

from __future__ import annotations

import argparse
import os

try:
    import matplotlib

    matplotlib.use("Agg")
    from tqdm import tqdm
except ImportError as e:
    raise SystemExit(f"{e}\nThe examples need a few more packages: pip install -e '.[examples]'") from None

import numbagrad as ng


def options(description, **defaults):
    """Parser with --device, --seed and --out; keyword arguments become options with these defaults."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--seed", type=int, default=1, help="seed of the random numbers")
    parser.add_argument("--out", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "out"),
                        help="folder for pictures and checkpoints")
    for name, value in defaults.items():
        parser.add_argument("--" + name.replace("_", "-"), type=type(value), default=value)
    return parser


def start(parser, argv=None):
    """Parse the options, seed, and make the output folder: (options, device)."""
    args = parser.parse_args(argv)
    ng.manual_seed(args.seed)
    device = ng.device(args.device)
    if device.type == "cuda" and not ng.cuda.is_available():
        raise SystemExit("--device cuda: no CUDA device can be used here (python -m numbagrad info says why)")
    os.makedirs(args.out, exist_ok=True)
    return args, device


def bar(steps, **kwargs):
    """A progress bar over an iterable, or over range(n)."""
    return tqdm(range(steps) if isinstance(steps, int) else steps, dynamic_ncols=True, **kwargs)
