"""Rules of batches for products and convolutions."""

from __future__ import annotations

from ..core.creation import arange
from .batch_rules import ops, rule
from .batched import batched
from .levels import outside


def product(a, b):
    return ops("matmul")(a, b)


def turned(t, wanted):
    """A matrix, or its adjoint."""
    if not wanted:
        return t
    t = t.transpose(-1, -2)
    return t.conj() if t._kind.dtype.is_complex else t


@rule("gemm")
def gemm(level, op, args, params):
    """Products of matrices."""
    a, b = args
    ta, tb = params
    if len(a._shape) == 2 == len(b._shape) and not (level.own(a) and level.own(b)) and not ta and not tb:
        return batched(level, outside(product, level.value(a), level.value(b)))
    return matmul(level, op, (turned(a, ta), turned(b, tb)), ())


@rule("matmul_nd")
def matmul(level, op, args, params):
    """Products in which the batch is one dimension more of those before the matrices."""
    a, b = args
    row, column = len(a._shape) == 1, len(b._shape) == 1
    if row:
        a = a.unsqueeze(0)
    if column:
        b = b.unsqueeze(-1)
    rank = max(len(a._shape), len(b._shape))
    out = batched(level, outside(product, level.lined_up(a, rank), level.lined_up(b, rank)))
    if column:
        out = out.squeeze(-1)
    return out.squeeze(-1 if column else -2) if row else out


@rule("mv")
def mv(level, op, args, params):
    """A matrix and a vector."""
    return matmul(level, op, args, ())


@rule("dot", "vdot")
def dot(level, op, args, params):
    """Two vectors."""
    a, b = args
    return ((a.conj() if op.name == "vdot" else a) * b).sum(-1)


@rule("linear_nd")
def linear(level, op, args, params):
    """A layer; the weights of each element are those of a product of matrices."""
    x, weight, bias = args
    if not level.own(weight) and (bias is None or not level.own(bias)):
        return batched(level, outside(op.call, x.value, weight, bias))
    if len(weight._shape) == 1:
        out = product(x, weight)
    elif len(x._shape) == 2:
        out = product(x, weight.transpose(0, 1))
    else:
        out = product(x.reshape(-1, x._shape[-1]), weight.transpose(0, 1)).reshape(*x._shape[:-1], weight._shape[0])
    return out if bias is None else out + bias


@rule("gemm_add")
def gemm_add(level, op, args, params):
    """A product added to a tensor."""
    return weighted(args[0], product(*args[1:]), *params)


@rule("gemm_sum_add")
def gemm_sum_add(level, op, args, params):
    """A sum of products added to a tensor."""
    return weighted(args[0], product(*args[1:]).sum(0), *params)


@rule("addmv")
def addmv(level, op, args, params):
    """A product with a vector added to one."""
    return weighted(args[0], product(*args[1:]), *params)


@rule("addr_alike")
def addr(level, op, args, params):
    """A product of a column and a row added to a matrix."""
    return weighted(args[0], args[1].unsqueeze(-1) * args[2], *params)


def weighted(input, out, beta, alpha):
    """``beta * input + alpha * out``, where ``beta`` zero leaves out what is not finite."""
    out = out if alpha == 1 else out * alpha
    if beta == 0:
        return out
    return out + (input if beta == 1 else input * beta)


@rule("outer_alike")
def outer(level, op, args, params):
    """A column times a row."""
    return args[0].unsqueeze(-1) * args[1]


@rule("kron_alike")
def kron(level, op, args, params):
    """Each element times a tensor: products of all, side by side."""
    a, b = args
    n = max(len(a._shape), len(b._shape))
    p, q = ((1,) * (n - len(t._shape)) + t._shape for t in (a, b))
    left = a.reshape([s for x in p for s in (x, 1)])
    right = b.reshape([s for y in q for s in (1, y)])
    return (left * right).reshape([x * y for x, y in zip(p, q)])


def affine(out, weight, bias, view=None):
    """``out * weight + bias`` of those that are there."""
    if weight is not None:
        out = out * (weight if view is None else weight.reshape(view))
    if bias is not None:
        out = out + (bias if view is None else bias.reshape(view))
    return out


def into(value, at):
    """The batch in front made part of dimension ``at`` behind it, outside of that."""
    value = value.movedim(0, at)
    shape = value._shape
    return value.reshape(*shape[:at], shape[at] * shape[at + 1], *shape[at + 2:])


def out_of(value, at, size):
    """The reverse of ``into``."""
    shape = value._shape
    return value.reshape(*shape[:at], size, shape[at] // size, *shape[at + 1:]).movedim(at, 0)


def behind_one_another(level, index, length):
    """Places in rows of ``length`` of each element, in those of all."""
    return (level.spread(index) + (arange(level.size) * length).unsqueeze(1)).reshape(-1)


@rule("sparse_times_dense")
def sparse_times_dense(level, op, args, params):
    """Dense matrices side by side for one sparse one; else those of all elements make one, block by block on its diagonal."""
    rows, cols, v, x = args
    (m,) = params
    if not any([level.own(t) for t in (rows, cols, v)]):
        return batched(level, out_of(outside(op.call, rows, cols, v, into(x.value, 1), m), 1, level.size))
    out = outside(op.call, behind_one_another(level, rows, m), behind_one_another(level, cols, x._shape[0]),
                  level.spread(v).reshape(-1), into(level.spread(x), 0), m * level.size)
    return batched(level, out_of(out, 0, level.size))


@rule("products_of_rows")
def products_of_rows(level, op, args, params):
    """Products of rows at places: those of each element lie behind the ones before."""
    rows, cols, x, y = args
    out = outside(op.call, behind_one_another(level, rows, x._shape[0]), behind_one_another(level, cols, y._shape[0]),
                  into(level.spread(x), 0), into(level.spread(y), 0))
    return batched(level, out_of(out, 0, level.size))


@rule("convolve_output", "convolve_input")
def convolve(level, op, args, params):
    """Convolutions: a batch of images joins those there are, one of weights makes groups."""
    x, weight, bias = args
    groups = op.params.index("groups")
    if not level.own(weight):
        own = bias is not None and level.own(bias)
        out = op.call_in_order((into(level.spread(x), 0), weight, None if own else bias), params)
        out = batched(level, out_of(out, 0, level.size))
    else:
        # Channels of each element are groups of their own.
        more = [p * level.size if i == groups else p for i, p in enumerate(params)]
        wide = into(level.spread(x), 1)
        out = batched(level, out_of(op.call_in_order((wide, into(weight.value, 0), None), more), 1, level.size))
        own = bias is not None
    return affine(out, None, bias, (-1, *(1,) * (len(out._shape) - 2))) if own else out


@rule("convolve_weight")
def convolve_weight(level, op, args, params):
    """Gradients of weights: those of each element are of groups of their own."""
    groups = op.params.index("groups")
    more = [p * level.size if i == groups else p for i, p in enumerate(params)]
    out = op.call_in_order(tuple([into(level.spread(a), 1) for a in args]), more)
    return batched(level, out_of(out, 0, level.size))
