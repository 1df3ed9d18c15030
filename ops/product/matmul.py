"""Matrix products: ``mm``, ``matmul``, ``bmm``, ``mv``, ``dot``."""

from __future__ import annotations

import numpy as np

from numbagrad.base import arguments, overriding
from numbagrad.base import dtypes as dt
from numbagrad.core import makers
from numbagrad.core.registry import REGISTRY
from numbagrad.dispatch import text
from numbagrad.dispatch.custom import CustomNode, invoke
from numbagrad.extend import Sample, Tensor, custom, function
from numbagrad.kernel import jit

from ..view.shape import view
from . import product as raw
from .gemm import (
    MmBackward0,
    ProductNode,
    check_batches,
    check_matrices,
    check_tensors,
    conj,
    finish,
    gemm,
    node_class,
    product_gradients,
    quick,
    refuse_bool,
    refuse_kinds,
    reshape,
)

FAST = """def {name}(input, {second}, *, out=None):
    if out is None and not STATE_:
        try:
            a, b, kind = input._shape, {second}._shape, input._kind
            same = {second}._kind is kind
        except AttributeError:
            return slow_(input, {second}, out)
        if same and len(a) == 2 and len(b) == 2:
            m, k = a
            q, n = b
            e = SMALL_.get(kind) if m * n * k <= MOST_ else large_(kind, 1, m, n, k)
            if k == q and e is not None:
                flags = 0
                s = input._strides
                if s is not None:
                    flags = 2 if s == (1, m) else 4
                s = {second}._strides
                if s is not None:
                    flags |= 1 if s == (1, k) else 4
                if flags < 4:
                    if input._view is not None:
                        refresh_(input)
                    if {second}._view is not None:
                        refresh_({second})
                    size = m * n
                    y = makers_.tensor(size, e.np, (m, n), kind)
                    e.mm(input._ptr, {second}._ptr, y._ptr, m, n, k, flags)
                    if input._rg and {second}._rg:
{both}
                    elif input._rg:
{left}
                    elif {second}._rg:
{right}
                    return y
    return slow_(input, {second}, out)
"""


def fast(name, second, slow, doc):
    """The public function of a product whose 2-D case runs inline."""
    def node(left, right):
        edges = [f"{n}._node or {n}" if wanted else "None" for n, wanted in (("input", left), (second, right))]
        saved = [f"{n}, {n}._ver[0]" if wanted else "None, 0" for n, wanted in (("input", right), (second, left))]
        return 6 * "    " + f"makers_.record(y, Node_, {text.group(edges)}, {text.group(saved)}, None)"
    source = FAST.format(name=name, second=second, both=node(True, True), left=node(True, False), right=node(False, True))
    fn = jit.define(source, name, {**text.NAMES, **arguments.ENVIRONMENT, "SMALL_": raw.SMALL, "MOST_": raw.LIMIT,
                                   "large_": raw.dense, "makers_": makers, "Node_": MmBackward0, "slow_": slow,
                                   "__name__": __name__})
    fn.__doc__ = doc
    return fn


def two_dimensional(node, g, a, b, needs, shapes):
    return product_gradients(g, a, b, 0, 0, needs, shapes)


DenseMmBackward0 = node_class("MmBackward0", ProductNode, gemm, rule=two_dimensional)


def _mm(input, mat2, out=None):
    check_tensors("mm", input=input, mat2=mat2)
    if len(input._shape) != 2:
        raise RuntimeError("self must be a matrix")
    if len(mat2._shape) != 2:
        raise RuntimeError("mat2 must be a matrix")
    check_matrices(input, mat2)
    raw.small(input._kind)
    result = quick(input, mat2, DenseMmBackward0)
    if result is not None:
        return finish("mm", result, out, input, mat2)
    return finish("mm", invoke(gemm, (input, mat2), (0, 0), MmBackward0), out, input, mat2)


mm = function(fast("mm", "mat2", _mm, """Product of two matrices ``input (m, k) @ mat2 (k, n)``."""),
              reference=np.matmul, dtypes="any",
              samples=(Sample((3, 4), (4, 5)), Sample((1, 3), (3, 1)), Sample((2, 0), (0, 3))))


# --- vectors ---

def check_vectors(name, a, b):
    if len(a._shape) != 1 or len(b._shape) != 1:
        raise RuntimeError(f"1D tensors expected, but got {len(a._shape)}D and {len(b._shape)}D tensors")
    if a._kind.dtype is not b._kind.dtype:
        raise RuntimeError(f"dot : expected both vectors to have same dtype, but found "
                           f"{dt.scalar_name(a._kind.dtype)} and {dt.scalar_name(b._kind.dtype)}")
    if a._n != b._n:
        raise RuntimeError(f"inconsistent tensor size, expected tensor [{a._n}] and src [{b._n}] to have the same "
                           f"number of elements, but got {a._n} and {b._n} elements respectively")
    refuse_bool(a._kind.dtype, name)


@custom(contiguous=False, reference=np.dot, samples=(Sample((4,), (4,)), Sample((0,), (0,))), dtypes="any",
        save_for={"input": ("tensor",), "tensor": ("input",)})
def dot(input, tensor):
    """Sum of the products of two vectors."""
    check_vectors("dot", input, tensor)
    return (), input._kind


@dot.cpu
def _(out, input, tensor):
    raw.dot(out, input, tensor)


@dot.gradient
def _(g, input, tensor, needs):
    return g * conj(tensor) if needs[0] else None, g * conj(input) if needs[1] else None


@custom(kinds={"other": "tensor"}, contiguous=False, reference=np.vdot, samples=(Sample((4,), (4,)),), dtypes="any",
        out="wider", save_for={"input": ("other",), "other": ("input",)})
def vdot(input, other):
    """Sum of ``conj(input) * other`` of two vectors."""
    check_vectors("vdot", input, other)
    return (), input._kind


@vdot.cpu
def _(out, input, other):
    if input._kind.dtype.is_complex:
        raw.multiply(raw.reshaped(out, (1, 1)), raw.column(input), raw.column(other), 1)
    else:
        raw.dot(out, input, other)


@vdot.gradient
def _(g, input, other, needs):
    return conj(g) * other if needs[0] else None, g * input if needs[1] else None


@custom(contiguous=False, reference=np.matmul, samples=(Sample((3, 4), (4,)), Sample((2, 0), (0,))), dtypes="any",
        save_for={"input": ("vec",), "vec": ("input",)})
def mv(input, vec):
    """Product of a matrix ``(m, k)`` and a vector ``(k,)``."""
    p, q = input._shape, vec._shape
    if len(p) != 2 or len(q) != 1:
        raise RuntimeError(f"vector + matrix @ vector expected, got 1, {len(p)}, {len(q)}")
    if p[1] != q[0]:
        raise RuntimeError(f"size mismatch, got input ({p[0]}), mat ({p[0]}x{p[1]}), vec ({q[0]})")
    if input._kind.dtype is not vec._kind.dtype:
        a, b = dt.scalar_name(input._kind.dtype), dt.scalar_name(vec._kind.dtype)
        raise RuntimeError(f"addmv input tensors must have the same dtype, but got {b}, {a}, and {b}")
    refuse_bool(input._kind.dtype, "addmv_impl_cpu")
    return (p[0],), input._kind


@mv.cpu
def _(out, input, vec):
    raw.multiply(raw.column(out), input, raw.column(vec))


@mv.gradient
def _(g, input, vec, needs):
    g = reshape(g, (g._n, 1))
    ga = g * conj(vec) if needs[0] else None
    return ga, view(gemm(input, g, 1, 0), (input._shape[1],)) if needs[1] else None


# --- any number of dimensions ---

@custom(private=True, contiguous=False, reference=np.matmul, node="UnsafeViewBackward0", dtypes="any",
        samples=(Sample((2, 3, 4), (4, 5)), Sample((4,), (4, 3)), Sample((2, 3, 4), (4,)),
                 Sample((2, 1, 3, 4), (5, 4, 2))),
        save_for={"input": ("other",), "other": ("input",)})
def matmul_nd(input, other):
    """``matmul`` of other than two matrices: a 1-D operand is a row or a column, batch dimensions broadcast."""
    p, q = input._shape, other._shape
    if len(q) <= 2 or len(p) == 1:
        # The batch is folded into the rows.
        rows = 1
        for s in p[:-1]:
            rows *= s
        if p[-1] != (q[0] if len(q) < 3 else q[-2]):
            if len(q) == 1:
                raise RuntimeError(f"size mismatch, got input ({rows}), mat ({rows}x{p[-1]}), vec ({q[0]})")
            raise RuntimeError(f"mat1 and mat2 shapes cannot be multiplied ({rows}x{p[-1]} and {q[-2]}x{q[-1]})")
        if input._kind is not other._kind:
            refuse_kinds(input, other, "matmul")
    left, right = p if len(p) > 1 else (1, *p), q if len(q) > 1 else (*q, 1)
    batch = batch_shape(left[:-2], right[:-2], input, other)
    if left[-1] != right[-2]:
        count = 1
        for s in batch:
            count *= s
        raise RuntimeError(f"Expected size for first two dimensions of batch2 tensor to be: [{count}, {left[-1]}] but "
                           f"got: [{count}, {right[-2]}].")
    if input._kind is not other._kind:
        raise RuntimeError(f"expected scalar type {dt.scalar_name(input._kind.dtype)} but found "
                           f"{dt.scalar_name(other._kind.dtype)}")
    refuse_bool(input._kind.dtype, "addmm_impl_cpu_" if len(q) == 2 else "bmm")
    return (*batch, *p[-2:-1], *(q[-1:] if len(q) > 1 else ())), input._kind


def batch_shape(p, q, a, b):
    if p == q or not q:
        return p
    n = max(len(p), len(q))
    p, q = (1,) * (n - len(p)) + p, (1,) * (n - len(q)) + q
    for i in range(n - 1, -1, -1):
        if p[i] != q[i] and p[i] != 1 and q[i] != 1:
            raise RuntimeError(f"The size of tensor a ({p[i]}) must match the size of tensor b ({q[i]}) at "
                               f"non-singleton dimension {i} (in matmul of shapes {list(a._shape)} and "
                               f"{list(b._shape)})")
    return tuple([t if s == 1 else s for s, t in zip(p, q)])


@matmul_nd.cpu
def _(out, input, other):
    shape = out._shape
    if len(input._shape) == 1:
        input, shape = raw.row(input), (*shape[:-1], 1, shape[-1]) if shape else (1,)
    if len(other._shape) == 1:
        other, shape = raw.column(other), (*shape, 1)
    raw.multiply(raw.reshaped(out, shape), input, other)


@matmul_nd.gradient
def _(g, input, other, needs, shapes):
    p, q = shapes
    shape = g._shape
    if len(p) == 2 and len(q) == 1:
        return mv.rule(g, input, other, needs)
    if len(p) == 1:
        shape = (*shape[:-1], 1, shape[-1])
        input = input if input is None else reshape(input, (1, *p))
    if len(q) == 1:
        shape = (*shape, 1)
        other = other if other is None else reshape(other, (*q, 1))
    full = (p if len(p) > 1 else (1, *p)), (q if len(q) > 1 else (*q, 1))
    g = g if shape == g._shape else reshape(g, shape)
    ga, gb = product_gradients(g, input, other, 0, 0, needs, full)
    # (A view of a gradient would be copied by a leaf.)
    return (ga if ga is None or ga._shape == p else reshape(ga, p)), (gb if gb is None or gb._shape == q else reshape(gb, q))


# PyTorch views or expands the first operand before the second, and the newest view runs first: hooks see the second.
matmul_nd.node_class.order = 1, 0
SqueezeBackward4 = node_class("SqueezeBackward4", CustomNode, matmul_nd, order=(1, 0))


def any_dimensions(node, g, a, b, needs, shapes):
    return matmul_nd.rule(g, a, b, needs, shapes)


def two_vectors(node, g, a, b, needs, shapes):
    return dot.rule(g, a, b, needs)


# Node classes of dense products by the numbers of dimensions; those of two matrices and of batches are their own.
DENSE = {(1, 1): node_class("DotBackward0", ProductNode, dot, rule=two_vectors),
         (2, 1): node_class("MvBackward0", ProductNode, mv, rule=any_dimensions),
         (1, 2): node_class("SqueezeBackward4", ProductNode, matmul_nd, rule=any_dimensions, order=(1, 0))}
DENSE_ND = node_class("UnsafeViewBackward0", ProductNode, matmul_nd, rule=any_dimensions, order=(1, 0))
DENSE_BMM = node_class("BmmBackward0", ProductNode, gemm, rule=two_dimensional)


def vector_call(op, names, cls):
    """The public function of a product with vectors: natively when dense, else by the general path."""
    def call(a, b, out):
        if not (isinstance(a, Tensor) and isinstance(b, Tensor)):
            found = overriding.asked(op, dict(zip(names, (a, b))))
            if found is not None:
                return found[0]
            check_tensors(op.name, **dict(zip(names, (a, b))))
        if out is None and input_fits(op, a, b):
            result = quick(a, b, cls)
            if result is not None:
                return result
        raw.small(a._kind)
        return finish(op.name, invoke(op, (a, b), ()), out, a, b)

    source = f"def {op.name}(input, {names[1]}, *, out=None):\n    return call(input, {names[1]}, out)\n"
    fn = jit.define(source, op.name, {"call": call, "__name__": "numbagrad"})
    fn.__doc__, op.call = op.doc, fn


def input_fits(op, a, b):
    return len(b._shape) == 1 and len(a._shape) == (1 if op is dot else 2)


vector_call(dot, ("input", "tensor"), DENSE[1, 1])
vector_call(mv, ("input", "vec"), DENSE[2, 1])


def _matmul(input, other, out=None):
    try:
        check_tensors("matmul", input=input, other=other)
    except TypeError:
        found = overriding.asked(REGISTRY["matmul"], {"input": input, "other": other})
        if found is None:
            raise
        return found[0]
    p, q = len(input._shape), len(other._shape)
    if p == 2 and q == 2:
        return finish("matmul", _mm(input, other), out, input, other)
    if not p or not q:
        raise RuntimeError(f"both arguments to matmul need to be at least 1D, but they are {p}D and {q}D")
    if input._kind in raw.SMALL and (p > 1 or q < 3):
        result = quick(input, other, DENSE.get((p, q), DENSE_ND))
        if result is not None:
            return finish("matmul", result, out, input, other)
    raw.small(input._kind)
    if p == 1 and q == 1:
        result = invoke(dot, (input, other), ())
    elif p == 2 and q == 1:
        result = invoke(mv, (input, other), ())
    else:
        result = invoke(matmul_nd, (input, other), (), SqueezeBackward4 if p == 1 else None)
    return finish("matmul", result, out, input, other)


matmul = function(
    fast("matmul", "other", _matmul, "Matrix product ``input @ other``.\n\nA 1-D operand counts as a row or a column, "
         "which is dropped from the result; dimensions before the last two broadcast."),
    reference=np.matmul, dtypes="any",
    samples=(Sample((3, 4), (4, 5)), Sample((4,), (4,)), Sample((3, 4), (4,)), Sample((4,), (4, 3)),
             Sample((2, 3, 4), (4, 5)), Sample((2, 1, 3, 4), (5, 4, 2)), Sample((2, 3, 4), (2, 4, 5))))


BmmBackward0 = node_class("BmmBackward0", CustomNode, gemm)


@function(reference=np.matmul, samples=(Sample((2, 3, 4), (2, 4, 5)), Sample((0, 2, 3), (0, 3, 2))), dtypes="any")
def bmm(input, mat2, *, out=None):
    """Products of two batches of matrices, ``(b, m, k)`` and ``(b, k, n)``."""
    if isinstance(input, Tensor) and isinstance(mat2, Tensor) and len(input._shape) == 3 == len(mat2._shape):
        result = quick(input, mat2, DENSE_BMM)
        if result is not None:
            return finish("bmm", result, out, input, mat2)
    check_tensors("bmm", input=input, mat2=mat2)
    check_batches(input, mat2)
    raw.small(input._kind)
    return finish("bmm", invoke(gemm, (input, mat2), (0, 0), BmmBackward0), out, input, mat2)


