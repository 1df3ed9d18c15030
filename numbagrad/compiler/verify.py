"""What holds of the calls of a program between any two passes; tests look after each pass (``VERIFY``).

* Operands lie within their memory, whatever their strides.
* What a loop, a sum or a product reads of temporary memory was written before.
* The expressions of a loop use its own inputs and scalars, one expression for each output, outputs of the loop's shape.
* Products fit their matrices."""

from __future__ import annotations

import os

from ..base import dtypes as dt
from ..core.tensor import numel
from ..kernel import expr
from .ir import TEMPORARY, Fold, Gemm, Operand, Pointwise, Ptr

VERIFY = os.environ.get("NUMBAGRAD_COMPILE_VERIFY", "0") not in ("", "0")


class Invalid(AssertionError):
    """A pass has left calls that mean nothing, or something else."""


def verified(calls, stage, written=()):
    """The calls themselves, after a look at them; ``written``: temporaries that hold values from before."""
    if not VERIFY:
        return calls
    known = set(written)
    for i, call in enumerate(calls):
        where = f"after {stage}, call {i} ({call.name})"
        for part in getattr(call, "calls", (call,)):
            _one(part, where)
        if isinstance(call, (Pointwise, Fold, Gemm)) or hasattr(call, "calls"):
            for b in call.reads:
                if b.role == TEMPORARY and b not in known and b.nbytes and b not in getattr(call, "writes", ()):
                    raise Invalid(f"{where}: reads {b}, which nothing has written")
        known.update(call.writes)
    return calls


def _one(call, where):
    for o in _operands(call):
        _inside(o, where)
    if isinstance(call, Pointwise):
        if (len(call.expressions), len(call.inputs), len(call.scalars)) != (len(call.outs), len(call.ins), len(call.values)):
            raise Invalid(f"{where}: names and operands of a loop differ in number")
        unbound = set(expr.variables(call.expressions)) - {*call.inputs, *call.scalars}
        if unbound:
            raise Invalid(f"{where}: a loop uses {sorted(unbound)}, which it is not given")
        for o in (*call.ins, *call.outs):
            if tuple(o.shape) != tuple(call.shape):
                raise Invalid(f"{where}: an operand of shape {list(o.shape)} in a loop of shape {list(call.shape)}")
    elif isinstance(call, Gemm):
        _product(call, where)


def _operands(call):
    if isinstance(call, Pointwise):
        return (*call.ins, *call.outs)
    if isinstance(call, Fold):
        return call.x, call.out
    if isinstance(call, Gemm):
        return call.a, call.b, call.c
    return [v for v in getattr(call, "values", None) or () if isinstance(v, (Ptr, Operand))]


def _inside(o, where):
    b = o.buffer
    start = end = o.offset
    if isinstance(o, Operand) and numel(o.shape):
        last = sum([(s - 1) * k for s, k in zip(o.shape, o.strides) if k > 0]) + 1
        start += sum([(s - 1) * k for s, k in zip(o.shape, o.strides) if k < 0]) * o.dtype.itemsize
        end += last * o.dtype.itemsize
    if start < 0 or end > b.nbytes and (b.nbytes or end > o.offset):  # (a place in memory without bytes has none after it)
        raise Invalid(f"{where}: bytes {start} to {end} of {b}, which has {b.nbytes}")


def _product(call, where):
    size = dt.BY_CODE[call.code].itemsize
    m, n, k = call.sizes
    ta, tb = call.flags
    shapes = (k, m) if ta else (m, k), (n, k) if tb else (k, n), (m, n)
    for p, (rows, columns), ld, step in zip((call.a, call.b, call.c), shapes, call.lds, call.strides):
        if rows and columns:
            end = p.offset + size * ((call.batch - 1) * step + (rows - 1) * ld + columns)
            have = p.buffer.nbytes
            if ld < columns and rows > 1 or end > have:
                raise Invalid(f"{where}: a {rows} x {columns} matrix (rows {ld} apart) ends at {end} of {have} bytes")
