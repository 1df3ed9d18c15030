"""The work list of ``python -m numbagrad warmup``: every op's samples, forward and backward."""

from __future__ import annotations

from .op.record import REGISTRY
from .op.sampling import arguments


def jobs(dtypes):
    """[(op name, function that compiles it)] for the given floating dtypes."""
    out = []
    for dtype in dtypes:
        for name, op in REGISTRY.items():
            if op.samples:
                out.append((f"{name} {dtype}", _job(op, dtype)))
    return out


def _job(op, dtype):
    def run():
        for sample in op.samples:
            args, kwargs = arguments(op, sample, dtype)
            y = op.callable(*args, **kwargs)
            ys = y if isinstance(y, (tuple, list)) else (y,)
            for out in ys:
                if getattr(out, "requires_grad", False) and out.numel():
                    out.backward(out.detach().clone(), retain_graph=True)
    return run
