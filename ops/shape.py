"""Views: geometry on the same memory."""

from __future__ import annotations

from numbagrad.op import view as view_op
from numbagrad.tensor import contiguous_strides, numel


def _shape(size):
    return tuple(size[0]) if len(size) == 1 and isinstance(size[0], (tuple, list)) else tuple(size)


def infer(shape, n, name="view"):
    """A shape with its -1 filled in for ``n`` elements."""
    if -1 in shape:
        rest = 1
        for s in shape:
            rest *= s if s != -1 else 1
        shape = tuple(n // max(rest, 1) if s == -1 else s for s in shape)
    if numel(shape) != n:
        raise RuntimeError(f"shape '{list(shape)}' is invalid for input of size {n}")
    return shape


@view_op(method="_view", private=True)
def view(input, shape):
    """The same elements in another shape."""
    return infer(tuple(shape), input._n), None, 0


@view.gradient
def _(g, shape):
    return view(g if g._strides is None else g.contiguous(), shape)


@view_op(private=True)
def expand(input, shape):
    """Dimensions of size one repeated without a copy."""
    lead = len(shape) - len(input._shape)
    strides = input._strides or contiguous_strides(input._shape)
    return shape, (0,) * lead + tuple(0 if a == 1 and b != 1 else k
                                      for a, b, k in zip(input._shape, shape[lead:], strides)), 0


@expand.gradient
def _(g, shape):
    from numbagrad.broadcast import sum_to_size
    return sum_to_size(g, shape)
