"""Functions of the bits of floating-point numbers: the next number, mantissa and exponent."""

from __future__ import annotations

import numpy as np

from numbagrad.base import dtypes as dt
from numbagrad.core import storage
from numbagrad.core.broadcast import broadcast_shapes
from numbagrad.core.out import write_out, write_outs
from numbagrad.core.promotion import common_device, common_dtype
from numbagrad.dispatch.op import add_method
from numbagrad.extend import REGISTRY, Sample, T, Tensor, custom, function
from numbagrad.kernel.jit import kernel

from ..index.sort import result

Frexp = result("frexp", "mantissa", "exponent")
# Of each dtype: integers of its width, bits of the mantissa, of the exponent.
LAYOUTS = {dt.float32: (dt.int32, 23, 8), dt.float64: (dt.int64, 52, 11), dt.float16: (dt.int16, 10, 5),
           dt.bfloat16: (dt.int16, 7, 8)}


def layout(kind):
    """(kind of integers, bits of infinity, bits of the sign and before it, bits of the mantissa) of a floating dtype."""
    ints, mantissa, exponent = LAYOUTS[kind.dtype]
    return storage.kind_of(ints, kind.device), ((1 << exponent) - 1) << mantissa, -1 << (mantissa + exponent), mantissa


@kernel(fast=())
def next_bits(a: "*T", b: "*T", out: "*T", infinity: int, sign: int, start: int, stop: int):
    """The number next to each of a in the direction of b, into out; all as bits in integers T."""
    top, most = T(sign), T(infinity)  # (all in T: half of the lanes would hold nothing else)
    rest = T(~top)
    for i in range(start, stop):
        x, y = a[i], b[i]
        p, q = T(x & rest), T(y & rest)
        up, to = (T(-p) if x < 0 else p), (T(-q) if y < 0 else q)
        if p > most or q > most:
            found = x if p > most else y
        elif up == to:
            found = y
        else:
            way = T(up + 1) if up < to else T(up - 1)
            found = way if way > 0 else (T(T(-way) | top) if way < 0 else (T(x & top) if up != 0 else T(0)))
        out[i] = found


@kernel(fast=())
def split_bits(x: "*T", mantissa: "*T", exponent: "*i4", infinity: int, sign: int, bits: int, start: int, stop: int):
    """Each of x as mantissa in [0.5, 1) and int32 exponent, both infinite or 0 where x is; numbers as bits in integers T, of
    which ``bits`` are the mantissa's."""
    one, bias = np.int64(1) << bits, (infinity >> (bits + 1)) - 1
    for i in range(start, stop):
        p = np.int64(x[i]) & ~sign
        if p == 0 or p >= infinity:
            mantissa[i], exponent[i] = x[i], 0
        else:
            e, m = p >> bits, p & (one - 1)
            if e == 0:  # denormal: no leading one is implied
                e = 1
                while m & one == 0:
                    m, e = m << 1, e - 1
            mantissa[i] = T((np.int64(x[i]) & sign) | (bias << bits) | (m & (one - 1)))
            exponent[i] = e - bias


@custom(name="nextafter_bits", private=True, node="NextafterBackward0", reference=None)
def next_number(input, other):
    """``nextafter`` of tensors of one kind and shape."""
    return input._shape, input._kind


@next_number.cpu
def _(out, input, other):
    ints, infinity, sign, _ = layout(out._kind)
    next_bits.run(ints, (input._ptr, other._ptr, out._ptr, infinity, sign), out._n, out._n)


@next_number.gradient
def _(g, input, other, needs):
    zero = g.detach().new_zeros(g._shape)
    return (REGISTRY["where"].callable(input == other, zero, g) if needs[0] else None), (zero if needs[1] else None)


@function(reference=np.nextafter, kinds={"other": "tensor"}, differentiable=False,
          samples=(Sample((3, 4), (3, 4)), Sample((3, 4), (4,)), Sample((), ())))
def nextafter(input, other, *, out=None):
    """The number next to ``input`` in the direction of ``other``."""
    dtype = common_dtype((input, other), ())
    if dtype not in LAYOUTS:
        raise NotImplementedError(f"\"nextafter_cpu\" not implemented for '{dt.scalar_name(dtype)}'")
    device = common_device("nextafter", (input, other))
    shape = broadcast_shapes("nextafter", (input, other))
    value = next_number(*[t.to(device=device, dtype=dtype).expand(shape) for t in (input, other)])
    return value if out is None else write_out("nextafter", out, value, (input, other), True)


def nextafter_(self, other):
    """In-place form of ``nextafter``."""
    if not isinstance(other, Tensor):
        raise TypeError(f"nextafter_(): argument 'other' (position 1) must be Tensor, not {type(other).__name__}")
    value = nextafter.fn(self, other)
    if value._shape != self._shape:
        raise RuntimeError(f"output with shape {list(self._shape)} doesn't match the broadcast shape {list(value._shape)}")
    return self.copy_(value)


@custom(name="frexp_bits", private=True, node="FrexpBackward0", reference=None)
def split_number(input):
    """``frexp``."""
    return [(input._shape, input._kind), (input._shape, storage.kind_of(dt.int32, input._kind.device))]


@split_number.cpu
def _(outs, input):
    ints, *form = layout(input._kind)
    split_bits.run(ints, (input._ptr, outs[0]._ptr, outs[1]._ptr, *form), input._n, input._n)


@split_number.gradient
def _(gs, y1):
    return (gs[0] / REGISTRY["exp2"].callable(y1)).to(gs[0].dtype)


@function(reference=np.frexp, samples=(Sample((3, 4)), Sample(()), Sample((0, 3))))
def frexp(input, *, out=None):
    """(mantissa, exponent) with ``input = mantissa * 2 ** exponent``, the mantissa's absolute value in [0.5, 1)."""
    if input._kind.dtype not in LAYOUTS:
        raise RuntimeError("torch.frexp() only supports floating-point dtypes")
    found = split_number(input)
    return Frexp(*(found if out is None else write_outs("frexp", out, found, (input,))))


add_method(nextafter_)
