"""Elements where a mask of the same shape holds, in one pass; how many they are is counted first."""

from __future__ import annotations

from numbagrad.core.copying import row_major, set_all
from numbagrad.extend import custom
from numbagrad.kernel.jit import kernel, lanes
from numbagrad.kernel.tape import TAPE, active

from . import plans as ix
from .kernels import moved


@kernel
def keep_true(x: "*T", mask: "*u1", out: "*T", start: int, stop: int):
    """The elements of x (n,) where uint8 mask (n,) is not 0, one after the other, into out."""
    while stop > start and mask[stop - 1] == 0:
        stop -= 1
    k = 0
    for i in range(start, stop):  # stored without a branch: behind the last true one it would be one too many
        out[k] = x[i]
        k += 1 if mask[i] != 0 else 0


@kernel
def put_true(x: "*T", mask: "*u1", out: "*T", size: int, start: int, stop: int):
    """The next of x (size,), which has one, into out (n,) where uint8 mask (n,) is not 0; out stays elsewhere."""
    pair = lanes()
    k = 0
    for i in range(start, stop):  # chosen by a place in memory: LLVM makes a branch of a condition, which is guessed wrong
        flag = 1 if mask[i] != 0 else 0
        pair[0] = out[i]
        pair[1] = x[min(k, size - 1)]
        out[i] = pair[flag]
        k += flag


@kernel
def put_or_zero(x: "*T", mask: "*u1", out: "*T", size: int, start: int, stop: int):
    """The next of x (size,), which has one, into out (n,) where uint8 mask (n,) is not 0, and 0 elsewhere: for complex numbers,
    of which LLVM makes no branch."""
    k = 0
    for i in range(start, stop):
        v = x[min(k, size - 1)]
        out[i] = v if mask[i] != 0 else 0
        k += 1 if mask[i] != 0 else 0


@custom(private=True, node="IndexBackward0", reference=None, dtypes="any")
def chosen(input, mask, size: int):
    """The elements of ``input`` where the mask, which holds ``size`` times, does."""
    return (size,), input._kind


@chosen.cpu
def _(out, input, mask, size):
    if size:
        keep_true[moved(input._kind)](input._ptr, mask._ptr, out._ptr, 0, input._n)


@chosen.gradient
def _(g, mask, shape):
    return returned.call(g, mask, shape), None


@custom(private=True, reference=None, dtypes="any")
def returned(g, mask, shape: tuple):
    """Zeros of a shape with ``g`` where the mask holds: the gradient of ``chosen``."""
    return shape, g._kind


@returned.cpu
def _(out, g, mask, shape):
    if g._n and g._kind.itemsize == 16:
        put_or_zero[moved(g._kind)](g._ptr, mask._ptr, out._ptr, g._n, 0, out._n)
        return
    set_all(out, 0)
    if g._n:
        put_true[moved(g._kind)](g._ptr, mask._ptr, out._ptr, g._n, 0, out._n)


@returned.gradient
def _(g_, mask, shapes):
    return chosen.call(g_, mask, shapes[0][0]), None


def by_mask(x, mask, form):
    """``chosen`` under another name, or None where it does not apply: on devices, and in captures, which know no values."""
    if not x._kind.cpu or not mask._kind.cpu or x._shape != mask._shape or TAPE and active() is not None:
        return None
    return form.call(x, mask, ix.count(row_major(mask)))
