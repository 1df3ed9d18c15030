"""Copies between layouts and dtypes: the pointwise kernel behind ``clone``, ``contiguous``, ``to`` and ``copy_``."""

from __future__ import annotations

from .kernel import emit, expr
from .op import call as calls
from .tensor import make

_copy = emit.Pointwise("copy", ("x",), (), (expr.var("x"),))
_copy_real = emit.Pointwise("copy_real", ("x",), (), (expr.apply("real", expr.var("x")),))
_truth = emit.Pointwise("truth", ("x",), (), (expr.apply("ne", expr.var("x"), 0),))


def copy_into(dst, src):
    """Write ``src``, broadcast to ``dst``'s shape and converted to its dtype, into ``dst``'s memory (same device)."""
    a, b = src._kind.dtype, dst._kind.dtype
    kernel = _copy if b.is_complex or not a.is_complex else _copy_real if b.category else _truth
    calls.launch(kernel, a, (src,), (), (dst,), dst._shape)


def contiguous_copy(t):
    """The values of ``t`` in new row-major memory, outside the graph."""
    out = make(t._shape, t._kind)
    copy_into(out, t)
    return out
