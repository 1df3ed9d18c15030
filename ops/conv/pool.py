"""Pooling: maxima and means over sliding or evenly spread windows."""

from __future__ import annotations

import numpy as np

from numbagrad.base import arguments
from numbagrad.base import dtypes as dt
from numbagrad.core import storage
from numbagrad.core.tensor import numel
from numbagrad.dispatch.custom import invoke
from numbagrad.extend import REGISTRY, Sample, Tensor, custom, function

from ..index.kernels import check_saved
from ..product.gemm import node_class
from . import pool_kernels as win

SPACES = {"namespaces": ("nn.functional",), "method": False}
TOP = {"namespaces": ("torch", "nn.functional"), "method": False}


def _int64(device):
    return storage.kind_of(dt.int64, device)


def _planes(t, n):
    return numel(t._shape[:-n])


DIRECT = {storage.kind_of(dt.float32), storage.kind_of(dt.float64)}  # kinds that are stored as they are computed


# --- maxima ---

@custom(private=True, node="MaxPool2DWithIndicesBackward0", reference=None, connected=True)
def max_windows(input, axes: tuple):
    """Maxima over windows and where they lie in their plane; ``axes`` describes the windows of the last dimensions."""
    shape = (*input._shape[:-len(axes)], *[a[1] for a in axes])
    return [(shape, input._kind), (shape, _int64(input._kind.device))]


def _three(axes):
    return ((1, 1, win.adaptive, ()),) * (3 - len(axes)) + axes


PAIR = (2, 2, 0, 1, False)


@max_windows.cpu
def _(outs, input, axes):
    y, where = outs
    if y._n:
        planes = _planes(input, len(axes))
        if len(axes) == 2 and axes[0][2] is win.sliding is axes[1][2] and axes[0][3] == PAIR == axes[1][3] and (
                axes[0][1] == axes[0][0] // 2 and axes[1][1] == axes[1][0] // 2):
            win.max_pairs.run(input._kind, (input._ptr, y._ptr, where._ptr, axes[0][0], axes[1][0]), planes, input._n)
        else:
            boxes = win.wide_box_max if input._kind in DIRECT and win.wide(axes) else win.box_max
            boxes.run(input._kind, (input._ptr, y._ptr, where._ptr, win.plan(_three(axes))[1]), planes, input._n)


@max_windows.gradient
def _(g, y1, axes):
    return to_places(g, y1, tuple([a[0] for a in axes]))


@custom(private=True, joins=True, node="MaxPool2DWithIndicesBackward0", reference=None)
def to_places(input, where, size: tuple):
    """Planes of zeros of shape ``size`` with ``input`` added at the places ``where``."""
    return (*input._shape[:-len(size)], *size), input._kind


@to_places.cpu
def _(out, input, where, size):
    if out._n:
        n = len(size)
        check_saved(where, numel(size))
        win.scatter_planes.run(out._kind, (input._ptr, where._ptr, out._ptr, numel(input._shape[-n:]), numel(size)),
                               _planes(input, n), out._n)


@to_places.gradient
def _(g, where, size):
    return from_places(g, where, len(size)), None


@custom(private=True, node="MaxPool2DWithIndicesBackwardBackward0", reference=None)
def from_places(input, where, n: int):
    """The elements of each plane (last ``n`` dimensions) at the places ``where``."""
    return where._shape, input._kind


@from_places.cpu
def _(out, input, where, n):
    if out._n:
        check_saved(where, numel(input._shape[-n:]))
        win.gather_planes.run(out._kind, (input._ptr, where._ptr, out._ptr, numel(where._shape[-n:]),
                                          numel(input._shape[-n:])), _planes(input, n), input._n)


@from_places.gradient
def _(g, where, shape, n):
    return to_places(g, where, shape[-n:]), None


# --- means ---

@custom(private=True, node="AvgPool2DBackward0", reference=None, connected=True)
def mean_windows(input, axes: tuple, divisor: int = 0):
    """Means over windows; ``divisor`` replaces the number of elements."""
    return (*input._shape[:-len(axes)], *[a[1] for a in axes]), input._kind


@mean_windows.cpu
def _(out, input, axes, divisor):
    if out._n and out._kind in DIRECT and out._shape[-1] > 3 and win.even(axes[-1]):
        win.even_mean.run(out._kind, (input._ptr, out._ptr, win.plan(_three(axes))[1], divisor, *win.even(axes[-1])),
                          _planes(input, len(axes)), input._n)
    elif out._n:
        win.box_mean.run(out._kind, (input._ptr, out._ptr, win.plan(_three(axes))[1], divisor), _planes(input, len(axes)),
                         input._n)


@mean_windows.gradient
def _(g, axes, divisor):
    return spread_windows(g, axes, divisor)


@custom(private=True, joins=True, node="AvgPool2DBackwardBackward0", reference=None)
def spread_windows(input, axes: tuple, divisor: int = 0):
    """Every element shared out over its window: the gradient of ``mean_windows``."""
    return (*input._shape[:-len(axes)], *[a[0] for a in axes]), input._kind


@spread_windows.cpu
def _(out, input, axes, divisor):
    if out._n:
        win.box_mean_back.run(out._kind, (input._ptr, out._ptr, win.plan(_three(axes))[1], divisor),
                              _planes(input, len(axes)), out._n)


@spread_windows.gradient
def _(g, axes, divisor):
    return mean_windows(g, axes, divisor)


NODES = {name: node_class(name, op.node_class, op) for op, names in (
    (max_windows, ("MaxPool3DWithIndicesBackward0", "AdaptiveMaxPool2DBackward0", "AdaptiveMaxPool3DBackward0",
                   "SqueezeBackward1")),
    (mean_windows, ("AvgPool3DBackward0", "AdaptiveAvgPool2DBackward0", "AdaptiveAvgPool3DBackward0")))
    for name in names}
MEAN_1D = node_class("SqueezeBackward1", mean_windows.node_class, mean_windows)


# --- arguments ---

def _sizes(name, what, value, n):
    if isinstance(value, int):
        return (value,) * n
    value = tuple(int(v) for v in value)
    if len(value) == 1:
        return value * n
    if len(value) != n:
        kind = {1: "one int", 2: "a tuple of two ints", 3: "a tuple of three ints"}[n]
        raise RuntimeError(f"{name}: {what} must either be a single int, or {kind}")
    return value


def pooled(size, kernel, stride, padding, dilation, ceil_mode):
    """Number of windows along an axis."""
    room = size + 2 * padding - dilation * (kernel - 1) - 1
    out = (room + (stride - 1 if ceil_mode else 0)) // stride + 1
    # In ceil mode the last window must start inside the input or its left padding.
    return out - 1 if ceil_mode and (out - 1) * stride >= size + padding else out


def _axes(name, n, input, kernel_size, stride, padding, dilation, ceil_mode, clip):
    """Window descriptions of a sliding pool; all checks that PyTorch makes."""
    if not isinstance(input, Tensor):
        raise arguments.wrong(input, "Tensor", name, "input", 1)
    key = (name, input._shape, kernel_size, stride, padding, dilation, ceil_mode, clip)
    try:
        found = _known.get(key)
    except TypeError:  # lists among the sizes
        return _find_axes(name, n, input._shape, *key[2:])
    if found is None:
        if len(_known) > 4096:
            _known.clear()
        found = _known[key] = _find_axes(name, n, input._shape, *key[2:])
    return found


_known: dict = {}


def _find_axes(name, n, shape, kernel_size, stride, padding, dilation, ceil_mode, clip):
    kernel = _sizes(name, "kernel_size", kernel_size, n)
    empty = stride is None or (isinstance(stride, (tuple, list)) and not stride)
    stride = kernel if empty else _sizes(name, "stride", stride, n)
    padding, dilation = _sizes(name, "padding", padding, n), _sizes(name, "dilation", dilation, n)
    one = name == "max_pool1d"
    if one and min(kernel) <= 0:
        raise RuntimeError(f"max_pool1d() kernel_size must be greater than zero, but got {kernel[0]}")
    if min(stride) <= 0:
        raise RuntimeError("max_pool1d() stride must be greater than zero, but got " + str(stride[0]) if one
                           else "stride should not be zero")
    if min(kernel) <= 0:
        raise RuntimeError("kernel size should be greater than zero, but got kH: "
                           f"{kernel[-2:][0]} kW: {kernel[-1]}")
    if min(dilation) <= 0:
        raise RuntimeError("max_pool1d() dilation must be greater than zero, but got " + str(dilation[0]) if one else
                           "dilation should be greater than zero, but got dilation" + " dilation".join(
                               f"{c}: {v}" for c, v in zip("TDHW"[-n:], dilation)))
    if min(padding) < 0:
        raise RuntimeError(f"pad must be non-negative, but got pad: {min(padding)}")
    if one:
        _check_shape(name, n, shape)
    for k, p, d in zip(kernel, padding, dilation):
        if p > (k if one else d * (k - 1) + 1) // 2:
            if one:
                raise RuntimeError("max_pool1d() padding should be at most half of kernel size, but got padding="
                                   f"{p} and kernel_size={k}")
            raise RuntimeError(f"pad should be at most half of effective kernel size, but got pad={p}, kernel_size={k} and "
                               f"dilation={d}")
    if not one:
        _check_shape(name, n, shape)
    out = [pooled(*a, ceil_mode) for a in zip(shape[-n:], kernel, stride, padding, dilation)]
    if min(out) < 1:
        if one:
            raise RuntimeError(f"max_pool1d() Invalid computed output size: {out[0]}")
        before, after = shape[-n - 1:], (shape[-n - 1], *out)
        if n == 1:
            before, after = (*shape[:-1][-1:], 1, shape[-1]), (*shape[:-1][-1:], 1, out[0])
        raise RuntimeError(f"Given input size: ({'x'.join(map(str, before))}). Calculated output size: "
                           f"({'x'.join(map(str, after))}). Output size is too small")
    for size, o, s, p, d in zip(shape[-n:], out, stride, padding, dilation):
        # Steps longer than the input may jump over it from within the padding.
        if d > size and any((i * s - p) % d >= size for i in range(min(o, -(-p // s), 1 << 16))):
            raise RuntimeError(f"{name}(): dilation {d} leaves a window without elements of an input of size {size}")
    return tuple([(size, o, win.sliding, (k, s, p, d, clip))
                  for size, o, k, s, p, d in zip(shape[-n:], out, kernel, stride, padding, dilation)])


def _check_shape(name, n, shape):
    if len(shape) not in (n + 1, n + 2) or 0 in shape[-n - 1:]:
        _wrong_shape(name, n, shape)


def _wrong_shape(name, n, shape):
    if name.startswith("max_pool1d"):
        raise RuntimeError("max_pool1d: Expected 2D or 3D (batch mode) tensor with optional 0 dim batch size for input, but "
                           f"got:{list(shape)}")
    if name == "avg_pool1d":
        raise RuntimeError(f"Expected 2 to 3 dimensions, but got {len(shape)}-dimensional tensor for argument #1 'self' (while "
                           "checking arguments for avg_pool1d)")
    if name == "avg_pool2d" and len(shape) < 3:
        raise IndexError(f"Dimension out of range (expected to be in range of [-{len(shape)}, {len(shape) - 1}], but got -3)")
    if name == "max_pool2d" and len(shape) in (3, 4):
        raise RuntimeError("Expected 3D or 4D (batch mode) tensor with optional 0 dim batch size for input, but "
                           f"got:{list(shape)}")
    raise RuntimeError(f"non-empty {n + 1}D or {n + 2}D (batch mode) tensor expected for input")


def _max(name, n, node, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices):
    if return_indices and n == 1:
        name = "max_pool1d_with_indices"  # whose errors are those of planes
    axes = _axes(name, n, input, kernel_size, stride, padding, dilation, ceil_mode, False)
    if input._kind.dtype.is_complex or input._kind.dtype.category == 0:
        raise NotImplementedError(f"\"max_pool{n}d\" not implemented for '{dt.scalar_name(input._kind.dtype)}'")
    found = invoke(max_windows, (input,), (axes,), NODES.get(node))
    return found if return_indices else found[0]


def _boxes(x, kernel, stride, padding, dilation, ceil_mode, n, fill):
    """Windows of a float64 array in an extra last dimension, for the references."""
    each = [(v,) * n if isinstance(v, int) else v for v in (kernel, kernel if stride is None else stride, padding, dilation)]
    out = [pooled(*a, ceil_mode) for a in zip(x.shape[-n:], *each)]
    reach = [(o - 1) * s + d * (k - 1) + 1 for o, k, s, _, d in zip(out, *each)]
    width = [(p, max(0, r - size - p)) for size, r, p in zip(x.shape[-n:], reach, each[2])]
    full = np.pad(x, [(0, 0)] * (x.ndim - n) + width, constant_values=fill)
    parts = []
    for tap in np.ndindex(*each[0]):
        cut = tuple(slice(t * d, t * d + (o - 1) * s + 1, s) for t, o, s, d in zip(tap, out, each[1], each[3]))
        parts.append(full[(..., *cut)])
    return np.stack(parts, -1)


def _max_reference(n):
    def reference(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
        return _boxes(x, kernel_size, stride, padding, dilation, ceil_mode, n, -np.inf).max(-1)
    return reference


def _mean_reference(n):
    def reference(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None):
        args = (kernel_size, stride, padding, 1, ceil_mode, n)
        total = _boxes(x, *args, 0.0).sum(-1)
        if divisor_override:
            return total / divisor_override
        inside = np.ones_like(x)
        if count_include_pad:
            width = [(0, 0)] * (x.ndim - n) + [(p, p) for p in ((padding,) * n if isinstance(padding, int) else padding)]
            inside = np.pad(inside, width, constant_values=1.0)
            args = (kernel_size, stride or kernel_size, 0, 1, ceil_mode, n)
        count = _boxes(inside, *args, 0.0).sum(-1)
        return total / count[tuple(slice(0, s) for s in total.shape)]
    return reference


# --- the public functions ---

def _max_pool(n, node):
    name = f"max_pool{n}d"

    def pool(input, kernel_size: object, stride: object = None, padding: object = 0, dilation: object = 1,
             ceil_mode: bool = False, return_indices: bool = False):
        return _max(name, n, node, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)
    pool.__name__ = pool.__qualname__ = name
    pool.__doc__ = (f"Maximum of every window over the last {n} dimension{'s' * (n > 1)}.\n\n``stride`` is ``kernel_size`` by "
                    "default; padding counts as minus infinity; with ``ceil_mode`` a last window may hang over the edge;\n"
                    "``return_indices`` gives also the flat position of each maximum in its plane.")
    samples = {1: (Sample((2, 3, 8), 2), Sample((3, 7), 3, 2, 1), Sample((2, 3, 9), 3, 2, 0, 2, True)),
               2: (Sample((2, 3, 6, 4), 2), Sample((2, 7, 6), (3, 2), (2, 1), 1), Sample((1, 2, 7, 9), 3, 2, 1, 2, True)),
               3: (Sample((1, 2, 4, 4, 4), 2), Sample((1, 2, 3, 5, 4), (2, 3, 2), 1, 1))}[n]
    return function(pool, reference=_max_reference(n), samples=samples, **TOP)


def _avg_pool(n, node, samples):
    name = f"avg_pool{n}d"

    def run(input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor):
        if divisor == 0:
            raise RuntimeError("divisor must be not zero")
        axes = _axes(name, n, input, kernel_size, stride, padding, 1, ceil_mode, not count_include_pad)
        if input._kind.dtype is dt.int64:  # quotients without their fractions
            return run(input.double(), kernel_size, stride, padding, ceil_mode, count_include_pad, divisor).long()
        if input._kind.dtype.category != 2:
            raise NotImplementedError(f"\"avg_pool{n}d\" not implemented for '{dt.scalar_name(input._kind.dtype)}'")
        return invoke(mean_windows, (input,), (axes, divisor or 0), node)

    def one(input, kernel_size: object, stride: object = None, padding: object = 0, ceil_mode: bool = False,
            count_include_pad: bool = True):
        return run(input, kernel_size, stride, padding, ceil_mode, count_include_pad, None)

    def more(input, kernel_size: object, stride: object = None, padding: object = 0, ceil_mode: bool = False,
             count_include_pad: bool = True, divisor_override: int = None):
        return run(input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
    pool = one if n == 1 else more
    pool.__name__ = pool.__qualname__ = name
    pool.__doc__ = (f"Mean of every window over the last {n} dimension{'s' * (n > 1)}.\n\nPadding counts as zeros, or not at "
                    "all without ``count_include_pad``; ``divisor_override`` replaces the number of elements.")
    return function(pool, reference=_mean_reference(n), samples=samples, out=None if n == 1 else "wider",
                    **(TOP if n == 1 else SPACES))


max_pool1d, max_pool2d, max_pool3d = (_max_pool(n, node) for n, node in (
    (1, "SqueezeBackward1"), (2, None), (3, "MaxPool3DWithIndicesBackward0")))
avg_pool1d = _avg_pool(1, MEAN_1D, (Sample((2, 3, 8), 2), Sample((3, 7), 3, 2, 1), Sample((2, 3, 7), 3, 2, 1, True, False)))
avg_pool2d = _avg_pool(2, None, (Sample((2, 3, 6, 4), 2), Sample((2, 7, 6), (3, 2), (2, 1), 1),
                                 Sample((1, 2, 7, 6), 3, 2, 1, True, False), Sample((1, 2, 5, 5), 2, 1, 0, False, True, 3)))
avg_pool3d = _avg_pool(3, NODES["AvgPool3DBackward0"], (Sample((1, 2, 4, 4, 4), 2), Sample((1, 2, 3, 5, 4), (2, 3, 2), 1, 1)))


def _not_empty(name, shape, last):
    """Raise if one of the last dimensions of the input is empty."""
    if 0 in shape[-last:]:
        at = len(shape) - last + shape[-last:].index(0)
        raise RuntimeError(f"{name}(): Expected input to have non-zero size for non-batch dimensions, but input has sizes "
                           f"{list(shape)} with dimension {at} being empty")


def _adaptive(kind, n, op, node):
    name = f"adaptive_{kind}_pool{n}d"

    def axes_of(input, output_size):
        shape = input._shape
        if len(shape) not in (n + 1, n + 2):
            if n == 1:
                raise RuntimeError(f"Expected 2 to 3 dimensions, but got {len(shape)}-dimensional tensor for argument #1 "
                                   f"'self' (while checking arguments for {name})")
            if len(shape) <= n and isinstance(output_size, (tuple, list)):
                raise ValueError(f"{name}(): Input dimension should be at least {n + 1}, but got {list(shape)}")
            raise RuntimeError(f"{name}(): Expected {n + 1}D or {n + 2}D tensor, but got{':' * (kind == 'max')} {list(shape)}")
        size = (output_size,) * n if isinstance(output_size, int) else tuple(output_size)
        if len(size) != n:
            raise RuntimeError(f"{name}() argument 'output_size' should contain one int (got {len(size)})" if n == 1 else
                               f"{name}: output_size must be {n}")
        size = tuple([s if o is None else o for o, s in zip(size, shape[-n:])])
        if min(size) < 0:
            raise RuntimeError(f"{name}: elements of output_size must be greater than or equal to 0 but received "
                               f"{{{', '.join(map(str, size))}}}")
        one = kind == "avg" and min(size) == max(size) == 1  # a mean, of no elements or of complex ones too
        if not one:
            _not_empty(name, shape, n if kind == "avg" and n < 3 else len(shape) - 1)
        if not (one and n > 1) and input._kind.dtype.category != 2:
            raise NotImplementedError(f"\"{name}\" not implemented for '{dt.scalar_name(input._kind.dtype)}'")
        return tuple([(s, o, win.adaptive, ()) for s, o in zip(shape[-n:], size)])

    if kind == "max":
        def pool(input, output_size: object, return_indices: bool = False):
            found = invoke(max_windows, (input,), (axes_of(input, output_size),), NODES[node])
            return found if return_indices else found[0]
    else:
        def pool(input, output_size: object):
            axes = axes_of(input, output_size)
            if n > 1 and all(a[1] == 1 for a in axes):
                return REGISTRY["mean"].callable(input, tuple(range(-n, 0)), True)
            return invoke(mean_windows, (input,), (axes, 0), MEAN_1D if n == 1 else NODES[node])
    pool.__name__ = pool.__qualname__ = name
    pool.__doc__ = (f"{'Maximum' if kind == 'max' else 'Mean'} over windows that spread evenly over the last {n} "
                    f"dimension{'s' * (n > 1)}, as many as ``output_size`` says (None keeps a size).")

    def reference(x, output_size, return_indices=False):
        sizes = (output_size,) * n if isinstance(output_size, int) else output_size
        for i, o in enumerate(sizes):
            axis = x.ndim - n + i
            o = x.shape[axis] if o is None else o
            cuts = [x.take(range(a, b), axis) for a, b, _ in win.adaptive(x.shape[axis], o)]
            x = np.stack([c.max(axis) if kind == "max" else c.mean(axis) for c in cuts], axis)
        return x
    samples = {1: (Sample((2, 3, 7), 3), Sample((3, 8), 1)), 2: (Sample((2, 3, 7, 5), (3, 2)), Sample((3, 4, 4), 1)),
               3: (Sample((1, 2, 4, 5, 3), (2, 3, 1)),)}[n]
    kinds, spaces = {"output_size": "ints" if n == 1 else "ints or None"}, TOP if name == "adaptive_avg_pool1d" else SPACES
    return function(pool, kinds=kinds, reference=reference, samples=samples, **spaces)


for _n in (1, 2, 3):
    _adaptive("avg", _n, mean_windows, f"AdaptiveAvgPool{_n}DBackward0")
    _adaptive("max", _n, max_windows, "SqueezeBackward1" if _n == 1 else f"AdaptiveMaxPool{_n}DBackward0")
