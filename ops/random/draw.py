"""Random tensors: every call takes from the generator what PyTorch's takes, so the numbers are the same."""

from __future__ import annotations

import math

import numpy as np

from numbagrad.autograd import inplace
from numbagrad.base import arguments
from numbagrad.base import dtypes as dt
from numbagrad.base.arguments import check_int
from numbagrad.base.device import CPU
from numbagrad.base.modes import is_grad_enabled
from numbagrad.base.transformed import Whole
from numbagrad.core import graph, storage
from numbagrad.core.broadcast import broadcast_shapes
from numbagrad.core.copying import contiguous_copy, transfer
from numbagrad.core.creation import _dtype_for, kind_for, shape_of
from numbagrad.core.graph import new_node
from numbagrad.core.out import write_new, write_out
from numbagrad.core.tensor import bump_version, make, raw, raw_view
from numbagrad.dispatch import text
from numbagrad.extend import Sample, Tensor, function
from numbagrad.kernel import categories, rng
from numbagrad.kernel.tape import TAPE, capturing
from numbagrad.random import engine_of

HALF = {"f2": "float16", "bf": "bfloat16"}


INT64, FLOAT32, FLOAT64 = map(storage.kind_of, (dt.int64, dt.float32, dt.float64))
WIDE = {FLOAT32: False, FLOAT64: True}  # kinds whose memory kernels fill as it is


def half(t):
    """The dtype name that fills of half storage need, else None."""
    return HALF.get(t._kind.dtype.code)


def memory(t):
    """The elements of a contiguous tensor as a 1-D array in storage type."""
    return t._buf if t._buf.size == t._n and t._buf.dtype is t._kind.np else t.array().reshape(-1)


def new(shape, dtype, device, like=None):
    """A fresh CPU tensor to fill, and the device it is to go to."""
    kind = kind_for(dtype, device, like)
    return make(shape, kind if kind.cpu or kind.meta else storage.kind_of(kind.dtype)), kind.device


def finish(t, place, out, requires_grad, name):
    """Move a filled tensor to its device, or into ``out``; set ``requires_grad``."""
    if place is not CPU:
        t = t.to(device=place)
    if out is not None:
        return write_new(name, out, t)
    return t.requires_grad_() if requires_grad else t


def pairs(t):
    """The memory of a complex tensor as real numbers."""
    a = memory(t)
    return a.view(np.float32 if a.dtype == np.complex64 else np.float64)


def draw_uniform(t, generator, low=0.0, high=1.0, contiguous=True):
    gen, wide = engine_of(generator), WIDE.get(t._kind)
    if wide is not None and -MOST < low <= high < MOST and not (TAPE and capturing()):
        rng.uniform(gen, t._ptr, t._n, low, high, wide)
    elif not t._kind.cpu:
        on_host(t, lambda here: draw_uniform(here, generator, low, high, contiguous))
    elif t._kind.dtype.is_complex:
        rng.fill_uniform(gen, pairs(t), low, high)
    else:
        rng.fill_uniform(gen, memory(t), low, high, half(t))


MOST = 1e38  # numbers between such bounds, and their differences, are float32 numbers


def on_host(t, fill):
    """``fill(t)``; a tensor of another device gets what is drawn on the host, from its streams."""
    if t._kind.cpu:
        fill(t)
    elif not t._kind.meta:
        here = make(t._shape, storage.kind_of(t._kind.dtype))
        fill(here)
        transfer(t, here)


def draw_normal(t, generator, mean=0.0, std=1.0, contiguous=True):
    gen, wide = engine_of(generator), WIDE.get(t._kind)
    if wide is not None and std >= 0.0 and not (TAPE and capturing()):
        return rng.normal(gen, t._ptr, t._n, mean, std, wide, contiguous)
    if not t._kind.cpu:
        return on_host(t, lambda here: draw_normal(here, generator, mean, std, contiguous))
    if t._kind.dtype.is_complex:
        if std < 0:
            raise RuntimeError(f"normal expects std >= 0.0, but found std {std:g}")
        # Real and imaginary parts alike have the mean, as in PyTorch.
        rng.fill_normal(gen, pairs(t), mean, std / math.sqrt(2.0), contiguous=contiguous)
    else:
        rng.fill_normal(gen, memory(t), mean, std, half(t), contiguous)


def draw_integers(t, generator, low, high):
    gen, kind = engine_of(generator), t._kind
    if not kind.cpu:
        on_host(t, lambda here: draw_integers(here, generator, low, high))
    elif low >= high or kind is not INT64 and (kind not in WIDE or low < -EXACT or high > EXACT) or TAPE and capturing():
        rng.fill_randint(gen, memory(t), low, high, half(t))
    else:
        rng.integers(gen, t._ptr, t._n, low, high - low, rng.INTEGERS[kind.dtype.code])


END = 1 << 62
IN_PLACE = 1 << 14
EXACT = 1 << 24  # float32 holds every integer up to here


def usual(op, tests, lines, before=False):
    """Put before the checks of an op's arguments its usual call, and return the op: all options have their defaults and the
    ``tests`` hold. Where its ``lines`` do not return the other call follows. ``before``: programs are looked for after it,
    which has none."""
    for p in op.signature.parameters.values():
        if p.kind is p.KEYWORD_ONLY:
            tests = [*tests, f"{p.name} is {p.default}"]
        elif p.kind is p.VAR_KEYWORD:
            tests = [*tests, f"not {p.name}"]
    env = text.environment(TAPE=TAPE, WIDE=WIDE, INT64=INT64, END=END, EXACT=EXACT, BOUND=MOST, int64=dt.int64, make=make,
                           engine_of=engine_of, shape_of=shape_of, kind_for=kind_for, fill_uniform=rng.uniform,
                           fill_normal=rng.normal, integers=rng.integers, draw_integers=draw_integers,
                           unrecorded=inplace.unrecorded, bump_version=bump_version, Whole=Whole)
    op.first = [f"if {' and '.join(tests)} and not TAPE_:", "    try:", *text.indented(lines, 2 * "    "),
                "    except Whole_ as error_:", f"        return error_.again(op_, {text.passed(op.signature)})"], env, before
    return op


def filled_by(fill, shape, numbers):
    """Lines that draw a new tensor of the default kind."""
    return ["kind_ = kind_for_(None, None)", "wide_ = WIDE_.get(kind_)", "if wide_ is not None:",
            f"    out_ = make_({shape}, kind_)", f"    fill_{fill}_(engine_of_(), out_._ptr, out_._n, {numbers}, wide_)",
            "    return out_"]


ROW_MAJOR = ["input.__class__ is Tensor_", "input._strides is None"]


# --- new tensors ------------------------------------------------------------------------------------------------------

OPTIONS = dict(method=False, differentiable=False, random=True, dtypes="any", reference=None)


@function(samples=(Sample(3, 4), Sample([2, 3])), **OPTIONS)
def rand(*size, generator=None, out=None, dtype=None, layout=None, device=None, requires_grad=False, pin_memory=False):
    """Uniform numbers on [0, 1)."""
    t, place = new(shape_of("rand", size), dtype if out is None else _dtype_for("rand", out, dtype), device)
    draw_uniform(t, generator)
    return finish(t, place, out, requires_grad, "rand")


usual(rand, [], filled_by("uniform", "shape_of_('rand', size)", "0.0, 1.0"))


@function(samples=(Sample(3, 4), Sample([2, 3])), **OPTIONS)
def randn(*size, generator=None, out=None, dtype=None, layout=None, device=None, requires_grad=False, pin_memory=False):
    """Normal numbers with mean 0 and variance 1."""
    t, place = new(shape_of("randn", size), dtype if out is None else _dtype_for("randn", out, dtype), device)
    draw_normal(t, generator)
    return finish(t, place, out, requires_grad, "randn")


usual(randn, [], filled_by("normal", "shape_of_('randn', size)", "0.0, 1.0"))


@function(samples=(Sample((3, 4)),), **OPTIONS)
def rand_like(input, *, generator=None, dtype=None, layout=None, device=None, requires_grad=False, memory_format=None):
    """Uniform numbers on [0, 1) in the shape of ``input``."""
    t, place = new(input._shape, dtype, device, input)
    draw_uniform(t, generator)
    return finish(_laid_out(t, input), place, None, requires_grad, "rand_like")


usual(rand_like, [*ROW_MAJOR, "input._kind in WIDE_"], [
    "kind_ = input._kind", "out_ = make_(input._shape, kind_)",
    "fill_uniform_(engine_of_(), out_._ptr, out_._n, 0.0, 1.0, WIDE_[kind_])", "return out_"])


@function(samples=(Sample((3, 4)),), **OPTIONS)
def randn_like(input, *, generator=None, dtype=None, layout=None, device=None, requires_grad=False, memory_format=None):
    """Normal numbers with mean 0 and variance 1 in the shape of ``input``."""
    t, place = new(input._shape, dtype, device, input)
    draw_normal(t, generator, contiguous=input._strides is None or not _dense(input))
    return finish(_laid_out(t, input), place, None, requires_grad, "randn_like")


usual(randn_like, [*ROW_MAJOR, "input._kind in WIDE_"], [
    "kind_ = input._kind", "out_ = make_(input._shape, kind_)",
    "fill_normal_(engine_of_(), out_._ptr, out_._n, 0.0, 1.0, WIDE_[kind_])", "return out_"])


def memory_order(t):
    """Dimensions from the largest stride to the smallest."""
    strides = t.stride()
    return sorted(range(len(strides)), key=lambda d: -strides[d])


def _dense(t):
    """Whether a tensor's elements fill a block of memory in some order of dimensions."""
    return raw_view(t, memory_order(t))._strides is None


def _laid_out(t, like):
    """Fresh numbers in memory order of ``like``: a dense permuted tensor keeps its strides."""
    if like._strides is None or not _dense(like):
        return t
    order = memory_order(like)
    shape = tuple([like._shape[d] for d in order])
    back = sorted(range(len(order)), key=lambda i: order[i])
    return raw_view(raw(t._buf, t._ptr, t._n, shape, None, t._kind, t._ver), back)


def _integers(name, args, kwargs):
    """(low, high, size) of ``randint(high, size)`` and ``randint(low, high, size)``."""
    low = high = size = None
    if kwargs:
        low, high, size = kwargs.pop("low", None), kwargs.pop("high", None), kwargs.pop("size", None)
    rest = list(args)
    if rest and isinstance(rest[-1], (tuple, list)) and size is None:
        size = rest.pop()
    if high is None:
        if not rest:
            raise TypeError(f"{name}() missing 1 required positional arguments: \"high\"")
        high = rest.pop()
    if low is None:
        low = rest.pop() if rest else 0
    if rest:
        raise TypeError(f"{name}() received an invalid combination of arguments - got too many numbers")
    if low.__class__ is not int or high.__class__ is not int or not -END <= low < high < END:
        low, high = check_int(low, name, "low", 1), check_int(high, name, "high", 2)
    return low, high, size


def _no_complex(t):
    if t._kind.dtype.is_complex:
        raise RuntimeError("check_random_bounds handles only integral, floating-point and boolean types")


@function(samples=(Sample(5, [3, 4]), Sample(-2, 5, [6])), shown="low=0, high=None, size=None, *, generator=None, out=None, "
          "dtype=None, layout=None, device=None, requires_grad=False", **OPTIONS)
def randint(*args, generator=None, out=None, dtype=None, layout=None, device=None, requires_grad=False, **kwargs):
    """Integers from ``low`` (default 0) up to, not including, ``high``: ``randint(high, size)``,
    ``randint(low, high, size)``; int64 unless ``dtype`` says otherwise."""
    low, high, size = _integers("randint", args, kwargs)
    if size is None:
        raise TypeError("randint() missing 1 required positional arguments: \"size\"")
    if kwargs:
        raise TypeError(f"randint() got an unexpected keyword argument '{next(iter(kwargs))}'")
    dtype = dtype if out is None else _dtype_for("randint", out, dtype)
    t, place = new(shape_of("randint", (size,)), dtype or dt.int64, device)
    _no_complex(t)
    draw_integers(t, generator, low, high)
    return finish(t, place, out, requires_grad, "randint")


usual(randint, ["args", "args[-1].__class__ is tuple_", "len_(args) in (2, 3)", "args[-2].__class__ is int_"], [
    "kind_, low_ = kind_for_(int64_, None), 0 if len_(args) == 2 else args[0]",
    "if kind_ is INT64_ and low_.__class__ is int_ and -END_ < low_ < args[-2] < END_:",
    "    out_ = make_(shape_of_('randint', args[-1:]), kind_)",
    "    integers_(engine_of_(), out_._ptr, out_._n, low_, args[-2] - low_)", "    return out_"])


@function(samples=(Sample((3, 4), 5), Sample((6,), -2, 5)), shown="input, low=0, high=None, *, generator=None, dtype=None, "
          "layout=None, device=None, requires_grad=False, memory_format=None", **OPTIONS)
def randint_like(input, *args, generator=None, dtype=None, layout=None, device=None, requires_grad=False, memory_format=None,
                 **kwargs):
    """Integers from ``low`` (default 0) up to, not including, ``high`` in the shape and dtype of ``input``."""
    low, high, size = _integers("randint_like", args, kwargs)
    if size is not None or kwargs:
        raise TypeError(f"randint_like() got an unexpected argument {'size' if size is not None else next(iter(kwargs))!r}")
    t, place = new(input._shape, dtype, device, input)
    _no_complex(t)
    draw_integers(t, generator, low, high)
    return finish(_laid_out(t, input), place, None, requires_grad, "randint_like")


usual(randint_like, [*ROW_MAJOR, "len_(args) == 1", "args[0].__class__ is int_", "0 < args[0] < EXACT_",
                     "(input._kind in WIDE_ or input._kind is INT64_)"], [
    "out_ = make_(input._shape, input._kind)", "draw_integers_(out_, None, 0, args[0])", "return out_"])


@function(samples=(Sample(7),), **OPTIONS)
def randperm(n, *, generator=None, out=None, dtype=None, layout=None, device=None, requires_grad=False, pin_memory=False):
    """A random permutation of 0 .. n-1."""
    if n < 0:
        raise RuntimeError(f"Trying to create tensor with negative dimension {n}: [{n}]")
    dtype = dtype if out is None else _dtype_for("randperm", out, dtype)
    t, place = new((n,), dtype or dt.int64, device)
    if t._kind.dtype.category in (0, 3):
        raise NotImplementedError(f"\"randperm\" not implemented for '{dt.scalar_name(t._kind.dtype)}'")
    if t._kind is INT64 and not TAPE:
        rng.permutation(engine_of(generator), t._ptr, n)
    elif not t._kind.meta:
        rng.fill_randperm(engine_of(generator), memory(t), half(t))
    return finish(t, place, out, requires_grad, "randperm")


class _Zero(graph.Node):
    """Backward of a draw: its parameters get zeros."""

    __slots__ = ()

    def backward(self, g):
        return tuple([None if e is None else g.new_zeros(shape) for e, shape in zip(self.next, self.ctx)])


_nodes: dict = {}


def node_of_zeros(name, inputs):
    cls = _nodes.get(name)
    if cls is None:
        cls = _nodes[name] = type(name, (_Zero,), {"__slots__": (), "__module__": "numbagrad"})
    node = new_node(cls, tuple([graph.edge(t) if t._rg else None for t in inputs]))
    node.ctx = tuple([t._shape for t in inputs])
    return node


def _record(name, out, inputs):
    """Put a node of zeros on a drawn tensor whose parameters require grad."""
    if is_grad_enabled() and any([t._rg for t in inputs]):
        out._node, out._rg = node_of_zeros(name, inputs), True
    return out


def _drawn_in(out, kind):
    """The kind that numbers are drawn in: that of a floating-point ``out``, as PyTorch fills it."""
    return out._kind if isinstance(out, Tensor) and out._kind.cpu and out._kind.dtype.category >= 2 else kind


def _any_negative(t):
    t = t.detach()
    return bool(((t.float() if half(t) else t).cpu().array() < 0).any())


@function(kinds={"size": "any"}, samples=(Sample((3, 4), 0.5), Sample(1.0, 2.0, [3])), **OPTIONS)
def normal(mean, std=1.0, size=None, *, generator=None, out=None, dtype=None, layout=None, device=None,
           requires_grad=False, pin_memory=False):
    """Normal numbers with mean and standard deviation given as tensors, a tensor and a number, or two numbers and a size."""
    if mean.__class__ is not float or std.__class__ is not float:
        # Beside a size numbers are meant, for which 0-d tensors may stand.
        mean, std = (v if size is None and isinstance(v, Tensor) else arguments.check_float(v, "normal", n, i)
                     for i, n, v in ((1, "mean", mean), (2, "std", std)))
    tensors = [t for t in (mean, std) if isinstance(t, Tensor)]
    if not tensors:
        if size is None:
            raise TypeError("normal() received an invalid combination of arguments: two numbers need a size")
        t, place = new(shape_of("normal", (size,)), dtype if out is None else _dtype_for("normal", out, dtype), device)
        draw_normal(t, generator, mean, std)
        return finish(t, place, out, requires_grad, "normal")
    if isinstance(std, Tensor) and _any_negative(std):
        raise RuntimeError("normal expects all elements of std >= 0.0")
    if isinstance(std, Tensor) and std._kind.dtype.is_complex:
        raise RuntimeError("normal expects standard deviation to be non-complex")
    t = make(broadcast_shapes("normal", tensors), _drawn_in(out, tensors[0]._kind))
    plain = [x.detach() if isinstance(x, Tensor) else x for x in (mean, std)]
    # What is large is scaled and moved where it lies; what is small has a program, which in-place ops have not.
    alone = t._n > IN_PLACE and all([x._kind is t._kind for x in tensors])
    if isinstance(std, Tensor):
        draw_normal(t, generator)
        drawn = t.mul_(plain[1]).add_(plain[0]) if alone else t * plain[1] + plain[0]
    else:
        draw_normal(t, generator, 0.0, std)
        drawn = t.add_(plain[0]) if alone else t + plain[0]
    t = drawn if out is not None or drawn._kind is t._kind else drawn.to(dtype=t.dtype)
    if out is not None:
        return write_out("normal", out, t, tensors, True)
    return _record(f"NormalBackward{3 if len(tensors) == 2 else 1 if mean is tensors[0] else 2}", t, tensors)


usual(normal, ["mean.__class__ is float_", "std.__class__ is float_", "std >= 0.0", "size.__class__ is tuple_"],
      filled_by("normal", "shape_of_('normal', size)", "mean, std"), True)


@function(kinds={"p": "any"}, method="bernoulli", **{k: v for k, v in OPTIONS.items() if k != "method"}, domain=(0.1, 0.9),
          samples=(Sample((3, 4)), Sample((3, 4), 0.3)))
def bernoulli(input, p=None, *, generator=None, out=None):
    """1 with the probability that ``input`` holds (or ``p``), else 0, in the shape and dtype of ``input``."""
    if not input._kind.cpu:  # drawn on the host, from its streams
        drawn = make(input._shape, input._kind) if input._kind.meta else bernoulli.fn(
            input.detach().cpu(), p, generator=generator).to(device=input.device)
        return write_out("bernoulli", out, drawn, (input,), True) if out is not None else _record(
            "BernoulliBackward0", drawn, (input,))
    t = make(input._shape, out._kind if isinstance(out, Tensor) and out._kind.cpu else input._kind)
    if p is None:
        x = input if input._strides is None else contiguous_copy(input)
        if x._kind is FLOAT32 and out is None and not (TAPE and capturing()):
            rng.bernoulli(engine_of(generator), t._ptr, t._n, x._ptr)
            return _record("BernoulliBackward0", t, (input,)) if input._rg else t
        if input._kind.dtype.category != 2:
            raise NotImplementedError(f"\"bernoulli_tensor_cpu_p_\" not implemented for '{dt.scalar_name(input.dtype)}'")
        if t._kind.dtype.is_complex:
            raise NotImplementedError(f"\"bernoulli_tensor_cpu_self_\" not implemented for '{dt.scalar_name(t.dtype)}'")
        rng.fill_bernoulli_tensor(engine_of(generator), memory(t), memory(x), half(t), half(x))
    else:
        if t._kind.dtype.is_complex:
            raise NotImplementedError(f"\"bernoulli_scalar_cpu_\" not implemented for '{dt.scalar_name(t.dtype)}'")
        rng.fill_bernoulli_scalar(engine_of(generator), memory(t), p, half(t))
    return write_out("bernoulli", out, t, (input,), True) if out is not None else _record("BernoulliBackward0", t, (input,))


@function(method="multinomial", **{k: v for k, v in OPTIONS.items() if k != "method"}, domain=(0.1, 0.9),
          samples=(Sample((4,), 2), Sample((3, 4), 5, True)))
def multinomial(input, num_samples, replacement=False, *, generator=None, out=None):
    """``num_samples`` category numbers per row of weights ``input`` (one or two dimensions)."""
    if not 1 <= len(input._shape) <= 2:
        raise RuntimeError("prob_dist must be 1 or 2 dim")
    if input._kind.dtype.category != 2:
        raise RuntimeError("multinomial only supports floating-point dtypes for input, got: "
                           f"{dt.scalar_name(input.dtype)}")
    if input._kind.meta:
        drawn = make((*input._shape[:-1], num_samples), storage.kind_of(dt.int64, input._kind.device))
        return drawn if out is None else write_out("multinomial", out, drawn, (input,))
    if not input._kind.cpu:
        drawn = multinomial.fn(input.detach().cpu(), num_samples, replacement, generator=generator).to(device=input.device)
        return drawn if out is None else write_out("multinomial", out, drawn, (input,))
    x = input if input._strides is None and input._buf.size == input._n else contiguous_copy(input)
    categories.check_multinomial(num_samples, replacement, input._shape[-1])
    result = make((*input._shape[:-1], num_samples), INT64)
    n = input._shape[-1]
    if x._kind in WIDE and num_samples <= categories.FEW and x._n and not (TAPE and capturing()):
        keys, u = make(x._shape, x._kind), make(result._shape if replacement else (0,), FLOAT64)
        categories.drawn(engine_of(generator), x._kind, x._ptr, result._ptr, x._n // n, n, num_samples, replacement,
                         (keys._ptr, u._ptr))
    else:
        categories.fill_multinomial(engine_of(generator), result._buf, memory(x), n, replacement, half(x))
    return result if out is None else write_out("multinomial", out, result, (input,))
