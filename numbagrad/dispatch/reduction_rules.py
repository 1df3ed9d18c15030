"""What the declaration of a reduction says by itself: whether partial results may be joined, and the gradient of a sum."""

from __future__ import annotations

import inspect
import math

from ..base import dtypes as dt
from ..base.shapes import wrap_dim
from ..core.registry import REGISTRY
from ..kernel import expr
from .elementwise import Elementwise

# Elements in no order, with ties and with a zero: some for numbers, some for what is true or false or bits.
DRAWN = ((0.75, -1.5, 2.25, -0.5, 1.25), (3, 3, 0, 5, 1), (1, 0, 1, 1, 0))


def check_joins(op):
    """TypeError unless ``fn`` joins partial results as it takes in elements: they are, and in any grouping.

    It is tried on numbers, with each of ``DRAWN`` that the function has a meaning for."""
    made, = expr.trace(op.combine, ["acc", "x"])
    start = op.start(dt.float64) if callable(op.start) else op.start

    def combine(acc, x):
        return expr.evaluate((made,), {"acc": acc, "x": x}, lambda name: lambda *args: expr.number(name, *args))[0]

    def fold(values, acc=start):
        for v in values:
            acc = combine(acc, v)
        return acc
    for values in DRAWN:
        try:
            whole = fold(values)
            parts = [combine(fold(values[:k]), fold(values[k:])) for k in range(1, len(values))]
        except (TypeError, NotImplementedError):  # bits of floats, for one
            continue
        bad = next((p for p in parts if not (p == whole or math.isclose(p, whole, rel_tol=1e-9, abs_tol=1e-9)
                                             or p != p and whole != whole)), None)
        if bad is not None:
            raise TypeError(f"reduction {op.name}: {op.combine.__name__}(acc, x) does not join partial results: of "
                            f"{list(values)} it makes {whole}, in two parts {bad}. What happens to each element before belongs "
                            "into map, what happens to the result into finish")


class _Slope(Elementwise):
    """The gradient of an additive reduction by its elements: a scalar function of what arrives, an element and their number."""

    def __init__(self, op, expression):
        def fn():
            raise NotImplementedError
        plain, kind = inspect.Parameter.empty, inspect.Parameter.POSITIONAL_OR_KEYWORD
        fn.__name__ = f"{op.name}_backward"
        used = expr.variables((expression,))
        self.reads = "input" in used
        fn.__signature__ = inspect.Signature(
            [inspect.Parameter(n, kind, annotation=plain) for n in ("upstream", *["input"] * self.reads)]
            + [inspect.Parameter("length", kind, annotation=float)])
        super().__init__(fn, private=True, registered=False, inplace=False, accepts=op.accepts)
        self._traced = expression


def normalize_dims(dim, ndim):
    """Sorted, wrapped, distinct dimension numbers; all of them for None."""
    if dim is None or (isinstance(dim, (tuple, list)) and not dim):
        return list(range(ndim))
    dims = [dim] if isinstance(dim, int) or hasattr(dim, "__index__") else list(dim)
    out = [wrap_dim(int(d), ndim) for d in dims]
    if len(set(out)) != len(out):
        twice = next(d for d in out if out.count(d) > 1)
        raise RuntimeError(f"dim {twice} appears multiple times in the list of dims")
    return sorted(out) if ndim else []


def expand_back(g, shape, dim, keepdim):
    """A reduced gradient, broadcast to the shape before the reduction."""
    if not keepdim and shape:
        dims = normalize_dims(dim, len(shape))
        g = REGISTRY["view"].callable(g, tuple([1 if i in dims else s for i, s in enumerate(shape)]))
    return REGISTRY["expand"].callable(g, shape)


def _slope(op, complex_):
    """What each element's gradient is, in ``upstream``, ``input`` and ``length``; None where it needs what was added up."""
    slope = expr.var("upstream")
    if op.finish_fn is not None:
        finish, = expr.trace(op.finish_fn, ["acc", "length"])
        slope, = expr.adjoints(finish, slope, ["acc"], complex_)
        if slope is None or "acc" in expr.variables((slope,)):
            return None
    if op.map_fn is not None:
        mapped, = expr.trace(op.map_fn, ["input"])
        slope, = expr.adjoints(mapped, slope, ["input"], complex_)
    return slope


def derive(op):
    """The gradient rule of an additive reduction, or None where its ``finish`` is not linear in what was added up."""
    slopes = {complex_: _slope(op, complex_) for complex_ in (False, True)}
    if any(s is None for s in slopes.values()):
        return None
    made = {}

    def gradient(g, shape, dim, keepdim, *input):
        complex_ = g._kind.dtype.is_complex
        if complex_ not in made:
            made[complex_] = _Slope(op, slopes[complex_])
        length = float(math.prod([shape[i] for i in normalize_dims(dim, len(shape))]))
        return made[complex_].call(expand_back(g, shape, dim, keepdim), *input[:made[complex_].reads], length)

    if "input" in expr.variables(tuple(slopes.values())):
        def rule(g, input, shape, dim, keepdim):
            return gradient(g, shape, dim, keepdim, input)
    else:
        def rule(g, shape, dim, keepdim):
            return gradient(g, shape, dim, keepdim)
    return rule
