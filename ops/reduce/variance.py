"""Variance and standard deviation."""

from __future__ import annotations

import math

import numpy as np

from numbagrad.base.arguments import check_ints
from numbagrad.base.user_code import caller_level
from numbagrad.core.copying import contiguous_copy, copy_into
from numbagrad.core.out import write_out, write_outs
from numbagrad.core.tensor import make, numel, raw_view
from numbagrad.dispatch.reduction import merged, normalize_dims
from numbagrad.dispatch.reduction_rules import expand_back
from numbagrad.extend import REGISTRY, Sample, T, custom, function, load, store
from numbagrad.kernel.jit import STRIP, kernel, strip, wide_strip

from .row_folds import moments_of

INF, NAN = math.inf, math.nan


_plans: dict = {}


def plan(shape, dim):
    """(elements folded into one, shape left, shape left with ``keepdim``, order or None, count, inner) of a reduction.

    ``order`` puts the reduced dimensions last where they do not lie side by side."""
    found = _plans.get((shape, dim))
    if found is None:
        if len(_plans) > 4096:
            _plans.clear()
        dims = normalize_dims(dim, len(shape))
        groups = merged(shape, tuple([i in dims for i in range(len(shape))]))
        at = [i for i, (_, f) in enumerate(groups) if f]
        kept = [i for i in range(len(shape)) if i not in dims]
        n = numel([shape[i] for i in dims])
        order, count, inner = None, 1, 1
        if len(at) > 1:
            order, count = [*kept, *dims], n
        elif at:
            count, inner = groups[at[0]][0], numel([size for size, _ in groups[at[0] + 1:]])
        found = _plans[shape, dim] = (n, tuple([shape[i] for i in kept]),
                                      tuple([1 if i in dims else size for i, size in enumerate(shape)]), order, count, inner)
    return found


class Fold:
    """A tensor and dimensions of it as (outer, count, inner) in memory; copied into that order where it is not."""

    __slots__ = ("t", "order", "count", "inner", "outer", "items")

    def __init__(self, t, dim):
        _, _, _, self.order, self.count, self.inner = plan(t._shape, dim)
        if self.order is not None:
            t = contiguous_copy(raw_view(t, self.order))
        elif t._strides is not None:
            t = contiguous_copy(t)
        self.t = t
        self.outer = t._n // (self.count * self.inner) if t._n else 0
        self.items = self.outer if self.inner == 1 else self.outer * -(-self.inner // STRIP)

    def output(self, out):
        """The tensor to write results of the input's size into, before ``finish(out)``."""
        return out if self.order is None else make(self.t._shape, out._kind)

    def finish(self, made, out):
        """Bring what was made into the order of ``out``."""
        if self.order is not None:
            back = [0] * len(self.order)
            for i, d in enumerate(self.order):
                back[d] = i
            copy_into(out, raw_view(made, back))


def reduced_shape(shape, dim, keepdim):
    return plan(shape, dim)[2 if keepdim else 1]


# Sums of squares below it are taken in float64, where squares of small float32 values do not underflow.
SMALL = 1e-30

# --- variance ---------------------------------------------------------------------------------------------------------

@kernel
def moments(x: "*T", value: "*T", mean: "*T", count: int, inner: int, divisor: float, root: int, start: int, stop: int):
    """Variance (its root with ``root``) over the middle of x (outer, count, inner) into value and the mean into mean, both
    (outer, inner), in two passes over each row."""
    total, square = wide_strip(), wide_strip()
    if inner == 1:
        for row in range(start, stop):
            base = row * count
            m, v = moments_of(x, base, base + count, SMALL)
            v = v / divisor
            value[row] = store(T(v ** 0.5 if root else v))
            mean[row] = store(T(m))
        return
    tiles = (inner + STRIP - 1) // STRIP
    for item in range(start, stop):
        row = item // tiles
        left = (item - row * tiles) * STRIP
        width = min(STRIP, inner - left)
        for k in range(width):
            total[k] = 0.0
            square[k] = 0.0
        first = row * count * inner + left
        base = first
        for _ in range(count):
            for k in range(width):
                total[k] = total[k] + load(x[base + k])
            base += inner
        for k in range(width):
            total[k] = total[k] / count
        base = first
        for _ in range(count):
            for k in range(width):
                d = np.float64(load(x[base + k])) - total[k]
                square[k] = square[k] + d * d
            base += inner
        base = row * inner + left
        for k in range(width):
            v = square[k] / divisor
            value[base + k] = store(T(v ** 0.5 if root else v))
            mean[base + k] = store(T(total[k]))


@kernel
def spread_moments(gv: "*T", gm: "*T", x: "*T", value: "*T", mean: "*T", out: "*T", count: int, inner: int,
                   divisor: float, root: int, has_v: int, has_m: int, start: int, stop: int):
    """Gradient of ``moments`` from gv and gm (outer, inner), x (outer, count, inner), value and mean (outer, inner), into
    out like x."""
    slope, offset, center = strip(), strip(), strip()
    if inner == 1:
        for row in range(start, stop):
            a = T(0)
            if has_v:
                a = load(gv[row]) / T(divisor)
                a = a / load(value[row]) if root else T(2) * a
                if root and load(value[row]) == T(0):
                    a = T(0)
            b = load(gm[row]) / T(count) if has_m else T(0)
            m = load(mean[row])
            for i in range(row * count, (row + 1) * count):
                out[i] = store((load(x[i]) - m) * a + b)
        return
    tiles = (inner + STRIP - 1) // STRIP
    for item in range(start, stop):
        row = item // tiles
        left = (item - row * tiles) * STRIP
        width = min(STRIP, inner - left)
        small = row * inner + left
        for k in range(width):
            a = T(0)
            if has_v:
                a = load(gv[small + k]) / T(divisor)
                a = a / load(value[small + k]) if root else T(2) * a
                if root and load(value[small + k]) == T(0):
                    a = T(0)
            slope[k] = a
            offset[k] = load(gm[small + k]) / T(count) if has_m else T(0)
            center[k] = load(mean[small + k])
        base = row * count * inner + left
        for _ in range(count):
            for k in range(width):
                out[base + k] = store((load(x[base + k]) - center[k]) * slope[k] + offset[k])
            base += inner


@custom(private=True, contiguous=False, reference=None, node="VarBackward0",
        samples=(Sample((3, 4), dim=1, correction=1.0, keepdim=False, root=False, name="VarBackward0"),
                 Sample((3, 4), dim=0, correction=0.0, keepdim=True, root=True, name="StdBackward0")))
def variance(input, *, dim: object, correction: float, keepdim: bool, root: bool, name: str):
    """Variance or standard deviation, and the mean."""
    spec = (reduced_shape(input._shape, dim, keepdim), input._kind)
    return [spec, spec]


@variance.cpu
def _(outs, input, dim, correction, keepdim, root, name):
    if not outs[0]._n:
        return
    f = Fold(input, dim)
    if not f.count or not input._n:
        for o in outs:
            o._buf[:] = np.array(np.nan).astype(o._buf.dtype) if o._kind.dtype.compute == o._kind.dtype.code else 0x7FFF
        return
    moments.run(input._kind, (f.t._ptr, outs[0]._ptr, outs[1]._ptr, f.count, f.inner,
                                    float(max(0, f.count - correction)), root), f.items, input._n)


@variance.gradient
def _(given, input, y0, y1, shape, dim, correction, keepdim, root):
    gv, gm = given  # one that did not arrive is None: zeros times infinity would be NaN
    n = plan(shape, dim)[0]
    divisor = float(n - correction)
    singular = divisor <= 0 and (dim is None or dim == ())  # as PyTorch: one infinity for all, but negative divisors else
    if singular or gv is None or not input._kind.cpu or input._rg or any([g is not None and g._rg for g in given]):
        total = None
        if gv is not None:
            if root:
                # The root's slope is infinite where the deviation is zero; the gradient there is defined as zero.
                zero = (y0.detach() == 0).to(dtype=y0.dtype)
                gv = gv * (1 - zero) / (y0 + zero) * 0.5
            rest = input - input.mean(dim, True)
            slope = (REGISTRY["where"].callable(rest == 0, NAN, INF).to(dtype=rest.dtype) if singular else
                     rest * (2 / divisor if divisor else INF))
            total = expand_back(gv, shape, dim, keepdim) * slope
        if gm is not None:
            part = expand_back(gm, shape, dim, keepdim) / n
            total = part if total is None else total + part
        return total
    out = make(shape, input._kind)
    f = Fold(input, dim)
    target = f.output(out)
    gv, gm = (None if g is None else g.contiguous() for g in given)
    spread_moments.run(input._kind, (
        0 if gv is None else gv._ptr, 0 if gm is None else gm._ptr, f.t._ptr, y0._ptr, y1._ptr, target._ptr, f.count,
        f.inner, divisor, root, gv is not None, gm is not None), f.items, input._n)
    f.finish(target, out)
    return out


_variance_nodes: dict = {}


def _variance_node(params):
    name = params[4]
    if name not in _variance_nodes:
        _variance_nodes[name] = type(name, (variance.node_class,), {"__slots__": (), "__module__": "numbagrad"})
    return _variance_nodes[name]


variance.node_for = _variance_node


def _correction(dim, unbiased, correction):
    """(dim, correction) of the two ways to call: ``(dim, unbiased, keepdim)`` and ``(dim, *, correction, keepdim)``."""
    if isinstance(dim, bool):
        if unbiased is not None or correction is not None:
            raise TypeError("var(): argument 'dim' (position 2) must be tuple of ints, not bool")
        dim, unbiased = None, dim
    elif dim is not None:
        dim = check_ints(dim, "var", "dim", 2)
    if unbiased is not None:
        return dim, 1.0 if unbiased else 0.0
    return dim, 1.0 if correction is None else float(correction)


def _variance_call(name, root, both, doc):
    node = "".join(p.capitalize() for p in name.split("_")) + "Backward0"

    def call(input, dim=None, unbiased=None, keepdim=False, *, correction=None, out=None, axis=None, keepdims=None):
        if input._kind.dtype.category < 2:
            raise RuntimeError(f"{name} only support floating point and complex dtypes" if both else
                               "std and var only support floating point and complex dtypes")
        dim, keepdim = dim if axis is None else axis, keepdim if keepdims is None else keepdims
        dim, correction = _correction(dim, unbiased, correction)
        if input._kind.dtype.is_complex:
            value = variance.call(input.real, dim=dim, correction=correction, keepdim=bool(keepdim), root=False,
                                  name=node)[0]
            value = value + variance.call(input.imag, dim=dim, correction=correction, keepdim=bool(keepdim), root=False,
                                          name=node)[0]
            value = value.sqrt() if root else value
            if both:
                found = (value, input.mean(dim, bool(keepdim)))
                return found if out is None else tuple(write_outs(name, out, found, [input], True))
            return value if out is None else write_out(name, out, value, [input], True)
        n = plan(input._shape, dim)[0]
        if n - correction <= 0:
            import warnings
            warnings.warn(f"{name}(): degrees of freedom is <= 0. Correction should be strictly less than the "
                          "reduction factor (input numel divided by output numel).", stacklevel=caller_level())
        found = variance.call(input, dim=dim, correction=correction, keepdim=bool(keepdim), root=root, name=node)
        if both:
            return found if out is None else tuple(write_outs(name, out, found, [input], True))
        return found[0] if out is None else write_out(name, out, found[0], [input], True)
    call.__name__ = call.__qualname__ = name
    call.__module__ = __name__
    call.__doc__ = doc + ("\n\nThe sum of squared deviations is divided by n - correction (``unbiased=False`` is "
                          "``correction=0``).")

    def reference(x, dim=None, unbiased=None, keepdim=False, correction=None):
        dim, correction = _correction(dim, unbiased, correction)
        f = np.std if root else np.var
        value = f(x, axis=dim, ddof=correction, keepdims=keepdim)
        return (value, np.mean(x, axis=dim, keepdims=keepdim)) if both else value
    return function(call, kinds={"dim": "any", "unbiased": "bool"}, reference=reference,
                    samples=(Sample((3, 4)), Sample((3, 4), 1), Sample((2, 3, 4), (0, 2), keepdim=True),
                             Sample((2, 3, 4), 1, correction=0), Sample((3, 4), 0, False)), method=not both)


var = _variance_call("var", False, False, "Variance of all elements or along dimensions.")
std = _variance_call("std", True, False, "Standard deviation of all elements or along dimensions.")
var_mean = _variance_call("var_mean", False, True, "Variance and mean of all elements or along dimensions.")
std_mean = _variance_call("std_mean", True, True, "Standard deviation and mean of all elements or along dimensions.")
