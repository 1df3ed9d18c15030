"""Which ops refuse PyTorch's barebones dtypes (uint16, uint32, uint64), and the kernels that its errors name there.

Few of PyTorch's kernels take these dtypes; scripts find out by its errors, and so they do here. Elementwise ops and reductions
ask before they look for a kernel. The others have a layer (``layers``) from the first tensor of such a dtype on, so that who
never makes one pays nothing. What takes a barebones tensor is not listed, ops of users included.
"""

from __future__ import annotations

import threading
import types
from functools import partial

from ..base import dtypes as dt
from ..base.shapes import channels_last
from ..core import creation, factories
from ..core.registry import REGISTRY
from ..core.tensor import Tensor
from . import layers
from .autocast import OPERATORS


def product(a, b, *rest, **named):
    """The kernel behind a matrix product; none where there is nothing to add up."""
    i, j = len(a._shape), len(b._shape)
    if not a._n or not b._n:
        return None
    if BATCHED.on or j > 2:  # small matrices have a kernel of their own
        rows, columns = a._shape[-2] if i > 1 else 1, b._shape[-1] if j > 1 else 1
        return "bmm" if a._shape[-1] * rows * columns < 400 else "addmm_impl_cpu_"
    if i == j == 1:
        return "dot"
    return "addmv_impl_cpu" if j == 1 else "addmm_impl_cpu_"


class Batched(threading.local):
    """Whether this thread is in a function whose products are of batches, if only of one."""

    on = False


BATCHED = Batched()


def bilinear_product(input1, input2, weight, *rest):
    """A product of a batch, which has another kernel where it is not small."""
    if not input1._n or not weight._n:  # (nothing is multiplied)
        return None
    return "bmm" if input1._n * weight._shape[-1] < 400 else "addmm_impl_cpu_"


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


def placed(kernel):
    """The place of an extreme element, which is known in a dimension of one."""
    def name(input, dim=None, *rest, **named):
        return None if dim is not None and input._shape and input._shape[dim] == 1 else kernel
    return name


def flipped(input, dims, *rest):
    """Rows are copied whole, elements are not turned round."""
    long = [d for d, n in enumerate(input._shape) if n > 1]
    turned = input._n and any([d in dims for d in long])
    return "flip_cpu" if turned and (long[-1] in dims or input._strides is not None) else None


def scattered(input, dim, index, src=None, value=None, *rest, reduce=None, **named):
    if not index._n:
        return None
    if isinstance(src, Tensor):
        return "scatter_gather_tensor_cpu"
    return f"scatter_gather_scalar_cpu_reduce_{reduce}" if reduce else "scatter_gather_scalar_cpu"


def scatter_reduced(input, dim, index, src, reduce, include_self=True, **named):
    if not index._n:
        return None
    if not include_self:
        return "scatter_reduce_exclude_input_init"
    return "scatter_gather_tensor_cpu" + ("" if reduce in ("sum", "prod") else f"_reduce_{reduce}")


def index_reduced(input, dim, index, source, reduce, *, include_self=True, **named):
    if not include_self:
        return "index_reduce_func_exclude_input_init"
    if len(input._shape) < 2:
        return "index_func_"
    return {"mean": "add_stub", "amin": "minimum_cpu", "amax": "maximum_cpu"}.get(reduce)


def index_added(input, dim, index, source, *rest, alpha=1, **named):
    if len(input._shape) < 2:
        return "index_add_"
    return "scatter_gather_tensor_cpu" if alpha == 1 else "add_stub"


def padded(input, pad, mode="constant", *rest):
    name = {"reflect": "reflection", "replicate": "replication"}.get(mode)
    return name and f"{name}_pad{len(pad) // 2}d"


def assigned(tensors, value):
    """``x[indices] = value``: one mask and a number are a fill."""
    (first, *more) = tensors.values()
    number = not isinstance(value, Tensor) or value._n == 1
    return "masked_fill" if not more and first._kind.dtype is dt.bool_ and number else "index_put"


def clamped(input, min=None, max=None, **named):
    if any([isinstance(v, float) or isinstance(v, Tensor) and v._kind is not input._kind for v in (min, max)]):
        return None  # computed in another dtype
    low, high = [isinstance(v, Tensor) for v in (min, max)]
    if low or high:
        return "clamp_cpu" if min is not None and max is not None else "minimum_cpu" if min is None else "maximum_cpu"
    return "clamp_scalar_cpu" if min is not None and max is not None else (
        "clamp_min_scalar_cpu" if max is None else "clamp_max_scalar_cpu")


def contracted(a, b, dims=2, *rest, **named):
    """A sum where single elements are multiplied, or one number is left of what does not lie in a row; a product of rows."""
    if not isinstance(dims, (int, tuple, list)):
        return None
    used = [[d % len(t._shape) for d in gone] for t, gone in zip((a, b), (
        (range(-dims, 0), range(dims)) if isinstance(dims, int) else dims))]
    if used[0] and all([a._shape[d] == 1 == b._shape[e] for d, e in zip(*used)]):
        return "sum_cpu"
    if any([n != 1 for t, gone in zip((a, b), used) for d, n in enumerate(t._shape) if d not in gone]):
        return None
    in_order = all([t._strides is None and gone == sorted(gone) for t, gone in zip((a, b), used)])
    return "dot" if in_order else "sum_cpu"


def by_channels(kernel, n):
    """Has one kernel for channels in a row and another for rows of pictures."""
    def name(input, *rest, **named):
        last = len(input._shape) == n + 2 and channels_last(input._shape, input._strides)
        return kernel + "_channels_last" * last
    return name


def all_named(kernel, names):
    return dict.fromkeys(names.split(), kernel)


# By ops: the kernel's name, or a function of the call's arguments that gives it, or None where PyTorch takes them.
ELEMENTWISE = {
    **{name: name + "_cpu" for name in """abs neg remainder fmod gcd lcm ge gt le lt heaviside logical_and logical_or
        logical_xor logical_not threshold div_trunc frac hypot nextafter""".split()},
    **all_named("add_stub", "add sub rsub"), **all_named("pow", "pow square pow_2 pow_3"),
    **all_named("sign_cpu", "sign sgn"),
    **all_named("div_floor_cpu", "div_floor floor_divide"), **all_named("maximum_cpu", "maximum fmax clamp_min clamp_low"),
    **all_named("minimum_cpu", "minimum fmin clamp_max clamp_high"),
    **all_named("bitwise_not_cpu", "bitwise_not bit_complement"),
    **all_named("clamp_scalar_cpu", "clamp_numbers relu6 hardtanh"), **all_named("clamp_min_scalar_cpu", "relu at_least"),
    "addcmul": "addcmul_cpu_out", "bitwise_left_shift": "lshift_cpu", "bitwise_right_shift": "rshift_cpu",
    "clamp_between": "clamp_cpu", "div_whole": "div_trunc_cpu", "clamp": clamped,
}
REDUCTIONS = {
    "amax": "max_values_cpu", "amin": "min_values_cpu", "max_all": "max_all", "min_all": "min_all",
    "count_nonzero": lambda input, dim=None, *rest, **named: "nonzero_count_cpu" if dim in (None, ()) else None,
    "aminmax": lambda input, *, dim=None, **named: "aminmax_cpu" if dim is None or input._shape else None,
    "max": by_dim("max_all", "max_cpu"), "min": by_dim("min_all", "min_cpu"), "trace": "trace",
    **all_named(lambda input, dim=None, *rest, **named: "median_cpu" if dim is None else "median_out", "median nanmedian"),
    **{name: placed(name + "_cpu") for name in ("argmax", "argmin")},
    **{name: deep(name + "_cpu") for name in "cummax cummin kthvalue mode topk".split()}}
PRODUCTS = {
    **all_named(product, "matmul linear mm mv bmm dot"), **all_named("addmm_impl_cpu_", "addmm addbmm"),
    "vdot": "dot", "addmv": "addmv_impl_cpu", "addr": "addr_cpu", "baddbmm": "baddbmm",
    **all_named("cross", "cross linalg_cross"),
    **all_named("slow_conv2d_cpu", "conv1d conv2d"), "conv3d": "slow_conv3d_cpu"}
INDEXED = {
    **all_named("nonzero_count_cpu", "nonzero argwhere"), "setitem": assigned, "index_add": index_added,
    "nonzero_static": lambda input, *, size, **named: "nonzero_count_cpu" if size and input._shape else None,
    **{name: name for name in "masked_fill masked_select masked_scatter index_put".split()},
    **{name: name + "_cpu" for name in "index_fill index_copy bincount".split()},
    "index_select": lambda input, *rest, **named: "index_select" if len(input._shape) < 2 else None,
    "gather": lambda input, dim, index, **named: "scatter_gather_tensor_cpu" if index._n else None,
    "take_along_dim": lambda input, indices, *rest, **named: "scatter_gather_tensor_cpu" if indices._n else None,
    **all_named(scattered, "scatter scatter_add"), "scatter_reduce": scatter_reduced, "index_reduce": index_reduced,
    "take": lambda input, index: "take_cpu" if index._n else None,
    "put": lambda input, index, *rest, **named: "take_put_cpu" if index._n else None,
    "combinations": lambda input, r=2, with_replacement=False: "masked_select" if with_replacement or r <= input._n else None,
    "isin": lambda elements, test, **named: "isin_default_cpu" if isinstance(test, Tensor) and (
        test._shape and 0 < test._n < 10 * elements._n ** 0.145) else None,
    **all_named(filled("searchsorted_out_cpu"), "searchsorted bucketize"),
    "repeat_interleave": lambda input, repeats=None, *rest, **named: "repeat_interleave_cpu" if repeats is None else None}
MOVED = {
    **all_named(flipped, "flipped turned"), "pad": padded, "channel_shuffle": "channel_shuffle",
    **{name: filled(name) for name in "tril triu pixel_shuffle pixel_unshuffle".split()}}
LAYERS = {
    "max_pool1d": "max_pool1d_impl", "max_pool2d": by_channels("max_pool2d", 2), "max_pool3d": by_channels("max_pool3d", 3),
    "tensordot": contracted, "bilinear": bilinear_product, "softmin": "neg_cpu",
    "margin_ranking_loss": "add_stub",
    "poisson_nll_loss": lambda input, target, log_input=True, full=False, *rest, **named: "le_cpu" if full else None}
KERNELS = ELEMENTWISE | REDUCTIONS | PRODUCTS | INDEXED | MOVED | LAYERS
# The same of a result whose ``dtype`` is asked for.
RESULTS = {**all_named("sum_cpu", "sum nansum"), "prod": "prod_out_cpu",
           **{name: name + "_out_cpu" for name in ("cumsum", "cumprod")},
           **{name: name for name in "eye randperm tril_indices triu_indices".split()},
           **{name: name + "_cpu" for name in "arange range linspace logspace".split()}}


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
        if kind is not None and not args[0]._n:  # (PyTorch runs no kernel)
            return own(*args, **kwargs)
        check_result(name, kwargs.get("dtype") if out is None else getattr(out, "dtype", None))  # (several have none)
        return own(*args, **kwargs)
    return call


def batched(own):
    """``own``, all of whose products are of batches in PyTorch."""
    def call(*args, **kwargs):
        before, BATCHED.on = BATCHED.on, True
        try:
            return own(*args, **kwargs)
        finally:
            BATCHED.on = before
    return call


def _layer(name, fn):
    layers.add(fn, "barebones", partial(checking, name))
    layers.switch(fn, "barebones", True)


def _known(op):
    if op.name == "einsum":
        layers.add(op.fn, "barebones", batched)
        layers.switch(op.fn, "barebones", True)
    if op.kind in ("function", "custom") and (op.name in KERNELS or op.name in RESULTS):
        _layer(op.name, op.fn)
        for name in OPERATORS.get(op.name, ()):
            if isinstance(vars(Tensor).get(name), types.FunctionType):
                _layer(op.name, vars(Tensor)[name])


def _published(publish, op, fn=None):
    publish(op, fn)
    with layers.LOCK:
        _known(op)


def _methods(names):
    """In-place methods that are no ops check as the function of their name does."""
    for name, fn in names.items():
        if name.endswith("_") and name[:-1] in KERNELS and isinstance(fn, types.FunctionType):
            _layer(name[:-1], fn)


def _attach(attach, module, place, names):
    attach(module, place, names)
    with layers.LOCK:
        _methods(names)


def begin():
    """Let the ops check that are there, and others when they are."""
    with layers.LOCK:
        for op in list(dict.values(REGISTRY)):
            _known(op)
        for fn in (creation.arange, creation.eye, creation.linspace, creation.logspace, factories.range):
            _layer(fn.__name__, fn)
        for _, _, names in REGISTRY.attached:
            _methods(names)
        REGISTRY.publish, REGISTRY.attach = partial(_published, REGISTRY.publish), partial(_attach, REGISTRY.attach)
