"""Which ops refuse PyTorch's barebones dtypes (uint16, uint32, uint64), and the kernels that its errors name there.

Few of PyTorch's kernels take these dtypes; scripts find out by its errors, and so they do here. Elementwise ops and reductions
ask before they look for a kernel. The others have a layer (``layers``) from the first tensor of such a dtype on, so that who
never makes one pays nothing. What takes a barebones tensor is not listed, ops of users included.
"""

from __future__ import annotations

import types
from functools import partial

from ..base import dtypes as dt
from ..core import creation, factories, storage
from ..core.registry import REGISTRY
from ..core.tensor import Tensor
from . import layers
from .autocast import OPERATORS


def product(a, b, *rest, **named):
    """The kernel behind a matrix product; none where there is nothing to add up."""
    i, j = len(a._shape), len(b._shape)
    if not a._n or not b._n:
        return None
    if i == j == 1:
        return "dot"
    if i > 2 and j > 2:
        return "bmm"
    return "addmv_impl_cpu" if j == 1 or i == 1 and j > 2 else "addmm_impl_cpu_"


def filled(name):
    """Refuses tensors that have elements."""
    return lambda input, *rest, **named: name if input._n else None


def deep(name):
    """Refuses tensors that have dimensions."""
    return lambda input, *rest, **named: name if input._shape else None


def by_dim(whole, along):
    """Has one kernel for all elements and another along a dimension, which leaves a single element as it is."""
    def kernel(input, dim=None, *rest, **named):
        if isinstance(dim, Tensor):
            return {"max_all": "maximum_cpu", "min_all": "minimum_cpu"}[whole]
        return whole if dim is None else along if input._shape else None
    return kernel


def flipped(input, dims, *rest):
    """Rows are copied whole, elements are not turned round."""
    long = [d for d, n in enumerate(input._shape) if n > 1]
    turned = input._n and any([d in dims for d in long])
    return "flip_cpu" if turned and (long[-1] in dims or input._strides is not None) else None


def scattered(input, dim, index, src=None, value=None, *rest, reduce=None, **named):
    if not index._n:
        return None
    number = not isinstance(src, Tensor)
    return f"scatter_gather_{'scalar' if number else 'tensor'}_cpu{'_reduce_' * (reduce is not None and number)}{(reduce or '') * number}"


def scatter_reduced(input, dim, index, src, reduce, include_self=True, **named):
    if not index._n:
        return None
    if not include_self:
        return "scatter_reduce_exclude_input_init"
    return "scatter_gather_tensor_cpu" + ("" if reduce in ("sum", "prod") else f"_reduce_{reduce}")


def index_reduced(input, dim, index, source, reduce, include_self=True, **named):
    if not include_self:
        return "index_reduce_func_exclude_input_init"
    return "index_func_"


def padded(input, pad, mode="constant", *rest):
    name = {"reflect": "reflection", "replicate": "replication"}.get(mode)
    return name and f"{name}_pad{len(pad) // 2}d"


def clamped(input, min=None, max=None, **named):
    if any([isinstance(v, float) or isinstance(v, Tensor) and v._kind is not input._kind for v in (min, max)]):
        return None  # computed in another dtype
    low, high = [isinstance(v, Tensor) for v in (min, max)]
    if low or high:
        return "clamp_cpu" if min is not None and max is not None else "minimum_cpu" if min is None else "maximum_cpu"
    return "clamp_scalar_cpu" if min is not None and max is not None else (
        "clamp_min_scalar_cpu" if max is None else "clamp_max_scalar_cpu")


# By ops: the name of the kernel, or a function of the call's arguments that gives it, or None where PyTorch takes them.
KERNELS = {
    # elementwise
    **dict.fromkeys(("add", "sub", "rsub"), "add_stub"), **dict.fromkeys(("pow", "square", "pow_2", "pow_3"), "pow"),
    **dict.fromkeys(("sign", "sgn"), "sign_cpu"), **dict.fromkeys(("div_floor", "floor_divide"), "div_floor_cpu"),
    **dict.fromkeys(("maximum", "fmax", "clamp_min", "clamp_low"), "maximum_cpu"),
    **dict.fromkeys(("minimum", "fmin", "clamp_max", "clamp_high"), "minimum_cpu"), "clamp_between": "clamp_cpu",
    "clamp_numbers": "clamp_scalar_cpu", "at_least": "clamp_min_scalar_cpu", "bit_complement": "bitwise_not_cpu",
    "addcmul": "addcmul_cpu_out", "bitwise_left_shift": "lshift_cpu", "bitwise_right_shift": "rshift_cpu",
    "relu": "clamp_min_scalar_cpu", "relu6": "clamp_scalar_cpu", "hardtanh": "clamp_scalar_cpu", "softsign": "abs_cpu",
    **{name: name + "_cpu" for name in """abs neg remainder fmod gcd lcm ge gt le lt heaviside logical_and logical_or
        logical_xor logical_not threshold div_trunc frac hypot nextafter""".split()},
    # reductions
    "amax": "max_values_cpu", "amin": "min_values_cpu", "max_all": "max_all", "min_all": "min_all",
    "count_nonzero": lambda input, dim=None, *rest, **named: "nonzero_count_cpu" if dim is None else None,
    # products
    **dict.fromkeys(("matmul", "linear", "mm", "mv", "bmm", "addmv", "multi_dot_", "inner_"), product), "dot": filled("dot"),
    "vdot": "dot", "addmm": "addmm_impl_cpu_", "addbmm": "addmm_impl_cpu_", "addr": "addr_cpu", "baddbmm": "baddbmm",
    # elements by their values or places
    "aminmax": lambda input, *, dim=None, **named: "aminmax_cpu" if dim is None or input._shape else None,
    "max": by_dim("max_all", "max_cpu"), "min": by_dim("min_all", "min_cpu"), "median": by_dim("median_cpu", "median_out"),
    "nanmedian": by_dim("median_cpu", "median_out"), "nonzero": "nonzero_count_cpu", "argwhere": "nonzero_count_cpu",
    "nonzero_static": "nonzero_count_cpu", "masked_fill": "masked_fill", "masked_select": "masked_select",
    "masked_scatter": "masked_scatter", "index_fill": "index_fill_cpu", "index_copy": "index_copy_cpu", "index_put": "index_put",
    "index_select": lambda input, *rest, **named: "index_select" if len(input._shape) < 2 else None,
    "gather": lambda input, dim, index, **named: (
        "scatter_gather_tensor_cpu" if index._n else None),
    "scatter": scattered, "scatter_add": scattered,
    "scatter_reduce": scatter_reduced, "index_reduce": index_reduced,
    "index_add": lambda input, *rest, **named: "index_add_" if len(input._shape) < 2 else "scatter_gather_tensor_cpu",
    "take": lambda input, index: "take_cpu" if index._n else None,
    "put": lambda input, index, *rest, **named: "take_put_cpu" if index._n else None,
    "bincount": "bincount_cpu", "isin": lambda elements, test, **named: "isin_default_cpu" if isinstance(test, Tensor) and (
        test._shape and 0 < test._n < 10 * elements._n ** 0.145) else None,
    **{name: filled("searchsorted_out_cpu") for name in ("searchsorted", "bucketize")},
    **{name: deep(name + "_cpu") for name in "argmax argmin cummax cummin kthvalue mode topk".split()},
    # memory
    "flipped": flipped, "turned": flipped, "pad": padded, "clamp": clamped, "bitwise_not": "bitwise_not_cpu",
    "repeat_interleave": lambda input, repeats=None, *rest, **named: "repeat_interleave_cpu" if repeats is None else None,
    "div_whole": "div_trunc_cpu", "trace": "trace", "channel_shuffle": "channel_shuffle",
    **{name: filled(name) for name in "tril triu pixel_shuffle pixel_unshuffle".split()},
    **dict.fromkeys(("conv1d", "conv2d"), "slow_conv2d_cpu"), "conv3d": "slow_conv3d_cpu", "max_pool1d": "max_pool1d_impl",
    "max_pool2d": "max_pool2d", "max_pool3d": "max_pool3d",
    **dict.fromkeys(("cross", "linalg_cross"), "cross"),
}


# The same of a result whose ``dtype`` is asked for.
RESULTS = {"sum": "sum_cpu", "nansum": "sum_cpu", "prod": "prod_out_cpu", "cumsum": "cumsum_out_cpu", "cumprod": "cumprod_out_cpu",
           "eye": "eye", **{name: name for name in ("randperm", "tril_indices", "triu_indices")},
           **{name: name + "_cpu" for name in ("arange", "range", "linspace", "logspace")}}


def refusal(kernel, d):
    """PyTorch's error of a kernel that has no form for a dtype."""
    return NotImplementedError(f"\"{kernel}\" not implemented for '{dt.scalar_name(d)}'")


def check(name, d, *args, **kwargs):
    """Refuse a barebones dtype where PyTorch's kernel of an op does."""
    kernel = KERNELS.get(name)
    kernel = kernel(*args, **kwargs) if callable(kernel) else kernel
    if kernel is not None:
        raise refusal(kernel, d)


def check_result(name, d):
    """Refuse to make a result of a dtype."""
    if d.__class__ is dt.dtype and d.barebones and name in RESULTS:
        raise refusal(RESULTS[name], d)


def checking(name, own):
    """``own`` of an op behind the checks of its first tensor and of the dtype of its result."""
    def call(*args, **kwargs):
        kind = getattr(args[0], "_kind", None) if args else None
        if kind is not None and kind.dtype.barebones:
            check(name, kind.dtype, *args, **kwargs)
        out = kwargs.get("out")
        check_result(name, kwargs.get("dtype") if out is None else out.dtype)
        return own(*args, **kwargs)
    return call


def _layer(name, fn):
    layers.add(fn, "barebones", partial(checking, name))
    layers.switch(fn, "barebones", True)


def _known(op):
    if op.kind in ("function", "custom") and (op.name in KERNELS or op.name in RESULTS):
        _layer(op.name, op.fn)
        for name in OPERATORS.get(op.name, ()):
            if isinstance(vars(Tensor).get(name), types.FunctionType):
                _layer(op.name, vars(Tensor)[name])


def _published(publish, op, fn=None):
    publish(op, fn)
    with layers.LOCK:
        _known(op)


def begin():
    """Let the ops check that are there, and others when they are."""
    with layers.LOCK:
        for op in list(dict.values(REGISTRY)):
            _known(op)
        for fn in (creation.arange, creation.eye, creation.linspace, creation.logspace, factories.range):
            _layer(fn.__name__, fn)
        REGISTRY.publish = partial(_published, REGISTRY.publish)


