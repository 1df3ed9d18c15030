"""Products added to something: ``addmm`` and its relatives, ``outer``."""

from __future__ import annotations

import numpy as np

from numbagrad.base import arguments
from numbagrad.base import dtypes as dt
from numbagrad.core.broadcast import sum_to_size
from numbagrad.core.launch import launch
from numbagrad.core.promotion import common_dtype
from numbagrad.extend import REGISTRY, Sample, custom, function
from numbagrad.kernel import emit, expr

from . import product as raw
from .gemm import check_batches, check_matrices, check_tensors, conj, finish, gemm, product_gradients, reshape
from .matmul import matmul, mv

# --- product and sum ---

def expandable(shape, target):
    """The error of ``expand`` for a summand that does not broadcast to the product."""
    lead = len(target) - len(shape)
    for i in range(len(shape) - 1, -1, -1):
        if lead < 0 or (shape[i] != 1 and shape[i] != target[lead + i]):
            raise RuntimeError(f"The expanded size of the tensor ({target[lead + i] if lead + i >= 0 else 0}) must "
                               f"match the existing size ({shape[i]}) at non-singleton dimension {lead + i}.  Target "
                               f"sizes: {list(target)}.  Tensor sizes: {list(shape)}")


def _addmm_reference(c, a, b, beta=1, alpha=1):
    return beta * c + alpha * (a @ b)


@custom(private=True, contiguous=False, reference=_addmm_reference, dtypes="any", node="AddmmBackward0",
        samples=(Sample((4,), (2, 3), (3, 4)), Sample((2, 3, 1), (2, 3, 4), (2, 4, 5), 0.5, 2.0)),
        save_for={"a": ("b",), "b": ("a",)})
def gemm_add(input, a, b, beta: float = 1, alpha: float = 1):
    """``beta input + alpha a b`` of two matrices or batches of them, ``input`` broadcast."""
    shape = (*a._shape[:-1], b._shape[-1])
    expandable(input._shape, shape)
    return shape, a._kind


@gemm_add.cpu
def _(out, input, a, b, beta, alpha):
    if beta:
        raw.copy_into(out, input)
    raw.multiply(out, a, b, 0, 0, alpha, beta)


@gemm_add.gradient
def _(g, a, b, beta, alpha, needs, shapes):
    own = None
    if needs[0]:
        own = sum_to_size(g, shapes[0])
        own = own if beta == 1 else own * beta
    if alpha != 1 and (needs[1] or needs[2]):
        g = g * alpha
    return own, *product_gradients(g, a, b, 0, 0, needs[1:], shapes[1:])


batches_add = gemm_add.recorded_as("BaddbmmBackward0")
BATCHES = batches_add.node_class


@custom(private=True, contiguous=False, reference=None, dtypes="any", node="AddbmmBackward0",
        save_for={"a": ("b",), "b": ("a",)})
def gemm_sum_add(input, a, b, beta: float = 1, alpha: float = 1):
    """``beta input + alpha (a b).sum(0)`` of batches of matrices, ``input`` broadcast."""
    shape = (a._shape[1], b._shape[2])
    expandable(input._shape, shape)
    return shape, a._kind


@gemm_sum_add.cpu
def _(out, input, a, b, beta, alpha):
    if beta:
        raw.copy_into(out, input)
    # The sum over the batch is one product over the long dimension (batch, k).
    n, m, k = a._shape
    left, right = raw.contiguous_copy(raw.raw_view(a, (1, 0, 2))), raw.row_major(b)
    raw.multiply(out, raw.reshaped(left, (m, n * k)), raw.reshaped(right, (n * k, b._shape[2])), 0, 0, alpha, beta)


@gemm_sum_add.gradient
def _(g, a, b, beta, alpha, needs, shapes):
    own = None
    if needs[0]:
        own = sum_to_size(g, shapes[0])
        own = own if beta == 1 else own * beta
    if alpha != 1 and (needs[1] or needs[2]):
        g = g * alpha
    return own, gemm(g, b, 0, 1) if needs[1] else None, gemm(a, g, 1, 0) if needs[2] else None


def factors(beta, alpha, d):
    """``beta`` and ``alpha`` as products of dtype ``d`` take them."""
    return (beta, alpha) if beta == 1 == alpha else (dt.parameter(beta, d), dt.parameter(alpha, d))


def add_product(input, a, b, beta, alpha, op=gemm_add, product=matmul):
    """``beta input + alpha product(a, b)`` by a private op, or by others where numbers are complex."""
    if not beta.__class__ is int is alpha.__class__ or not beta == 1 == alpha:
        beta, alpha = factors(beta, alpha, a._kind.dtype)
        if isinstance(alpha, complex) or isinstance(beta, complex):
            return beta * input + alpha * product(a, b)
        if a._kind.dtype.category < 2:
            alpha, beta = int(alpha), int(beta)
    return op(input, a, b, beta, alpha)


def alike(input, a, b, dims):
    """Whether matrices (or batches of them) that fit, and what their product is added to, are of one floating kind."""
    try:
        kind, p, q = a._kind, a._shape, b._shape
        return (b._kind is kind and input._kind is kind and kind.dtype.category == 2 and len(p) == dims == len(q)
                and p[-1] == q[-2] and p[:-2] == q[:-2])
    except AttributeError:
        return False


@function(reference=_addmm_reference, inplace=True, dtypes="any",
          samples=(Sample((4,), (2, 3), (3, 4)), Sample((2, 4), (2, 3), (3, 4), beta=0.5, alpha=2.0),
                   Sample((), (2, 3), (3, 1))))
def addmm(input, mat1, mat2, *, beta=1, alpha=1, out=None):
    """``beta * input + alpha * (mat1 @ mat2)``; ``input`` is broadcast, and ignored when ``beta`` is 0."""
    if out is None and alike(input, mat1, mat2, 2):
        if beta.__class__ is int is alpha.__class__ and beta == 1 == alpha:
            return gemm_add.call(input, mat1, mat2, 1, 1)
        return add_product(input, mat1, mat2, beta, alpha)
    check_tensors("addmm", input=input, mat1=mat1, mat2=mat2)
    for name, t in (("mat1", mat1), ("mat2", mat2)):
        if len(t._shape) != 2:
            raise RuntimeError(f"{name} must be a matrix, got {len(t._shape)}-D tensor")
    for name, t in (("self", input), ("mat1", mat1)):
        if t._kind.dtype is not mat2._kind.dtype:
            raise RuntimeError(f"{name} and mat2 must have the same dtype, but got {dt.scalar_name(t._kind.dtype)} and "
                               f"{dt.scalar_name(mat2._kind.dtype)}")
    check_matrices(mat1, mat2)
    return finish("addmm", add_product(input, mat1, mat2, beta, alpha), out, input, mat1, mat2)


@function(reference=_addmm_reference, inplace=True, dtypes="any",
          samples=(Sample((4,), (2, 2, 3), (2, 3, 4)), Sample((2, 2, 4), (2, 2, 3), (2, 3, 4), beta=0.5, alpha=2.0)))
def baddbmm(input, batch1, batch2, *, beta=1, alpha=1, out=None):
    """``beta * input + alpha * bmm(batch1, batch2)``; ``input`` is broadcast, and ignored when ``beta`` is 0."""
    if out is None and alike(input, batch1, batch2, 3):
        if beta.__class__ is int is alpha.__class__ and beta == 1 == alpha:
            return (gemm_add.calls.get(BATCHES) or gemm_add.call_as(BATCHES))(input, batch1, batch2, 1, 1)
        return add_product(input, batch1, batch2, beta, alpha, batches_add)
    check_tensors("baddbmm", input=input, batch1=batch1, batch2=batch2)
    check_batches(batch1, batch2)
    check_summand(input, batch1)
    result = add_product(input, batch1, batch2, beta, alpha, batches_add)
    return finish("baddbmm", result, out, input, batch1, batch2)


def check_summand(input, a):
    if input._kind is not a._kind:
        raise RuntimeError(f"Input dtypes must be the same, got: input {dt.scalar_name(input._kind.dtype)}, batch1: "
                           f"{dt.scalar_name(a._kind.dtype)}")


@function(reference=lambda c, a, b, beta=1, alpha=1: beta * c + alpha * (a @ b).sum(0), inplace=True, dtypes="any",
          samples=(Sample((4,), (2, 2, 3), (2, 3, 4)), Sample((2, 4), (2, 2, 3), (2, 3, 4), beta=0.5, alpha=2.0)))
def addbmm(input, batch1, batch2, *, beta=1, alpha=1, out=None):
    """``beta * input + alpha * bmm(batch1, batch2).sum(0)``."""
    if not alike(input, batch1, batch2, 3):
        check_tensors("addbmm", input=input, batch1=batch1, batch2=batch2)
        check_batches(batch1, batch2)
        check_summand(input, batch1)
    result = add_product(input, batch1, batch2, beta, alpha, gemm_sum_add, lambda a, b: matmul(a, b).sum(0))
    return result if out is None else finish("addbmm", result, out, input, batch1, batch2)


@custom(out="same", reference=_addmm_reference, inplace=True, dtypes="any", contiguous=False,
        samples=(Sample((3,), (3, 4), (4,)), Sample((1,), (3, 4), (4,), beta=0.5, alpha=2.0)),
        save_for={"mat": ("vec",), "vec": ("mat",)})
def addmv(input, mat, vec, *, beta: object = 1, alpha: object = 1):
    """``beta * input + alpha * (mat @ vec)``."""
    p, q = mat._shape, vec._shape
    if len(p) != 2 or len(q) != 1 or len(input._shape) > 1:
        raise RuntimeError(f"vector + matrix @ vector expected, got {len(input._shape)}, {len(p)}, {len(q)}")
    if p[1] != q[0] or input._n not in (1, p[0]):
        raise RuntimeError(f"size mismatch, got input ({input._n}), mat ({p[0]}x{p[1]}), vec ({q[0]})")
    if mat._kind is not vec._kind or mat._kind is not input._kind:
        raise RuntimeError("addmv input tensors must have the same dtype, but got "
                           f"{dt.scalar_name(input._kind.dtype)}, {dt.scalar_name(mat._kind.dtype)}, and "
                           f"{dt.scalar_name(vec._kind.dtype)}")
    factors(beta, alpha, mat._kind.dtype)
    return (p[0],), mat._kind


@addmv.cpu
def _(out, input, mat, vec, beta, alpha):
    beta, alpha = factors(beta, alpha, out._kind.dtype)
    if beta:
        raw.copy_into(out, input)
    raw.multiply(raw.column(out), mat, raw.column(vec), 0, 0, alpha, beta)


def scaled(g, factor):
    """``g`` times a number, conjugated for complex tensors."""
    return g if factor == 1 else g * (factor.conjugate() if isinstance(factor, complex) else factor)


@addmv.gradient
def _(g, mat, vec, beta, alpha, needs, shapes):
    own = scaled(sum_to_size(g, shapes[0]), beta) if needs[0] else None
    return own, *mv.rule(scaled(g, alpha), mat, vec, needs[1:])


def _addr_reference(c, a, b, beta=1, alpha=1):
    return beta * c + alpha * np.outer(a, b)


@custom(private=True, node="AddrBackward0", reference=_addr_reference, dtypes="any", contiguous=False,
        samples=(Sample((3, 4), (3,), (4,)), Sample((4,), (3,), (4,), beta=0.5, alpha=2.0)),
        save_for={"vec1": ("vec2",), "vec2": ("vec1",)})
def addr_alike(input, vec1, vec2, *, beta: object = 1, alpha: object = 1):
    """``addr`` of tensors of one dtype."""
    expandable(input._shape, (vec1._n, vec2._n))
    return (vec1._n, vec2._n), input._kind


@addr_alike.cpu
def _(out, input, vec1, vec2, beta, alpha):
    if isinstance(alpha, complex) or isinstance(beta, complex):
        product = vec1.detach()[:, None] * (vec2.detach() * alpha)
        raw.copy_into(out, input.detach() * beta + product if beta else product)
        return
    if input._kind.dtype.category == 2 and beta == 1 == alpha:  # a product over one term would be one pass more
        left = (raw.column(vec1), raw.row(vec2), input)
        return launch(_PRODUCT_AND_SUM, input._kind.dtype, left, (), (out,), out._shape)
    if beta:
        raw.copy_into(out, input)
    if not alpha:  # BLAS would not look at the vectors
        nothing = raw.column(vec1).detach() * raw.row(vec2).detach() * alpha
        raw.copy_into(out, input.detach() * beta + nothing if beta else nothing)
        return None
    return raw.multiply(out, raw.column(vec1), raw.row(vec2), 0, 0, alpha, beta)


_PRODUCT_AND_SUM = emit.Pointwise("product_and_sum", ("a", "b", "c"), (), (expr.var("a") * expr.var("b") + expr.var("c"),))


@addr_alike.gradient
def _(g, vec1, vec2, beta, alpha, needs, shapes):
    own = scaled(sum_to_size(g, shapes[0]), beta) if needs[0] else None
    g = scaled(g, alpha) if needs[1] or needs[2] else g
    return (own, matmul(g, conj(vec2)) if needs[1] else None,
            matmul(REGISTRY["transpose"].callable(g, 0, 1), conj(vec1)) if needs[2] else None)


def vectors_alike(input, vec1, vec2):
    """Whether two vectors and what their product is added to are of one floating kind."""
    try:
        kind = input._kind
        return (vec1._kind is kind and vec2._kind is kind and kind.dtype.category == 2 and len(vec1._shape) == 1
                and len(vec2._shape) == 1)
    except AttributeError:
        return False


@function(inplace=True, reference=_addr_reference, dtypes="any",
          samples=(Sample((3, 4), (3,), (4,)), Sample((4,), (3,), (4,), beta=0.5, alpha=2.0)))
def addr(input, vec1, vec2, *, beta=1, alpha=1, out=None):
    """``beta * input + alpha * outer(vec1, vec2)``."""
    if out is None and beta.__class__ is int is alpha.__class__ and beta == 1 == alpha and vectors_alike(input, vec1, vec2):
        return addr_alike(input, vec1, vec2)
    check_tensors("addr", input=input, vec1=vec1, vec2=vec2)
    tensors = (input, vec1, vec2)
    for name, t in (("vec1", vec1), ("vec2", vec2)):
        if len(t._shape) != 1:
            raise RuntimeError(f"addr: Expected 1-D argument {name}, but got {len(t._shape)}-D")
    d = common_dtype(tensors, ())
    for name, factor in (("beta", beta), ("alpha", alpha)):
        arguments.check_factor(name, factor, d)
    same = [t if t._kind.dtype is d else t.to(dtype=d) for t in tensors]
    beta, alpha = factors(beta, alpha, d)
    return finish("addr", addr_alike(*same, beta=beta, alpha=alpha), out, *tensors)


@custom(private=True, node="MulBackward0", reference=np.outer, contiguous=False, samples=(Sample((3,), (4,)),),
        save_for={"input": ("vec2",), "vec2": ("input",)})
def outer_alike(input, vec2):
    """``outer`` of vectors of one floating kind."""
    return (input._n, vec2._n), input._kind


outer_alike.node_class.order = 1, 0  # PyTorch multiplies a view of ``input`` by ``vec2``


@outer_alike.cpu
def _(out, input, vec2):
    launch(raw.OUTER, out._kind.dtype, (raw.column(input), raw.row(vec2)), (), (out,), out._shape)


@outer_alike.gradient
def _(g, input, vec2, needs):
    return (matmul(g, conj(vec2)) if needs[0] else None,
            matmul(REGISTRY["transpose"].callable(g, 0, 1), conj(input)) if needs[1] else None)


@function(reference=np.outer, samples=(Sample((3,), (4,)),), aliases=("ger",), dtypes="any")
def outer(input, vec2, *, out=None):
    """Outer product: element (i, j) is ``input[i] * vec2[j]``."""
    if out is None and vectors_alike(input, input, vec2):
        return outer_alike(input, vec2)
    check_tensors("outer", input=input, vec2=vec2)
    for name, t in (("self", input), ("vec2", vec2)):
        if len(t._shape) != 1:
            raise RuntimeError(f"outer: Expected 1-D argument {name}, but got {len(t._shape)}-D")
    return finish("outer", reshape(input, (input._n, 1)) * vec2, out, input, vec2)

