"""Matrix products. ``gemm`` is the op that all gradients are written in; the public ones differ in checks and names."""

from __future__ import annotations

import numpy as np

from numbagrad import modes, storage
from numbagrad import dtypes as dt
from numbagrad.autograd import graph
from numbagrad.autograd.graph import Packed
from numbagrad.broadcast import sum_to_size
from numbagrad.kernel import jit
from numbagrad.op import REGISTRY, Sample, custom, function
from numbagrad.op.call import write_out
from numbagrad.op.custom import CustomNode, invoke
from numbagrad.tensor import Tensor, make

from . import product as raw
from .shape import view

C_NAMES = {"b1": "bool", "u1": "unsigned char", "i1": "signed char", "i2": "short int", "i4": "int", "i8": "long int",
           "f2": "c10::Half", "bf": "c10::BFloat16", "f4": "float", "f8": "double", "c8": "c10::complex<float>",
           "c16": "c10::complex<double>"}


def conj(t):
    """The complex conjugate; the tensor itself when real."""
    return REGISTRY["conj"].callable(t) if t._kind.dtype.is_complex else t


def reshape(t, shape):
    """``t`` in another shape: a view when row-major."""
    return view(t if t._strides is None else t.contiguous(), tuple(shape))


def flip(t):
    """The last two dimensions swapped, as a recorded view."""
    return REGISTRY["transpose"].callable(t, -2, -1)


def refuse_bool(d, name):
    if d.category == 0:
        raise NotImplementedError(f"\"{name}\" not implemented for 'Bool'")


def node_class(name, base=CustomNode, op=None, **members):
    """A node class for an op that PyTorch records under several names."""
    return type(name, (base,), {"__slots__": (), "op": op, "__module__": "numbagrad", **members})


# --- the product all gradients are written in ----------------------------------------------------------------------------

@custom(private=True, contiguous=False, node="MmBackward0", reference=None, dtypes="any",
        save_for={"a": ("b",), "b": ("a",)})
def gemm(a, b, ta: int = 0, tb: int = 0):
    """``op(a) op(b)`` of matrices in the last two dimensions; op is the conjugate transpose where ``ta``, ``tb`` is 1."""
    p, q = a._shape, b._shape
    m, n = p[-1] if ta else p[-2], q[-2] if tb else q[-1]
    if len(p) == 2 == len(q):
        return (m, n), a._kind
    batch = p[:-2] if p[:-2] == q[:-2] else np.broadcast_shapes(p[:-2], q[:-2])
    return (*batch, m, n), a._kind


@gemm.cpu
def _(out, a, b, ta, tb):
    raw.multiply(out, a, b, ta, tb)


@gemm.gradient
def _(g, a, b, ta, tb, needs, shapes):
    return product_gradients(g, a, b, ta, tb, needs, shapes)


def product_gradients(g, a, b, ta, tb, needs, shapes):
    """Gradients of ``gemm``; ``a`` is given when ``b`` needs one and the reverse."""
    ga = gb = None
    p, q = shapes
    if needs[0]:
        ga = sum_to_size(gemm(g, b, 0, 1 - tb) if not ta else gemm(b, g, tb, 1), p)
    if needs[1]:
        if len(q) == 2 and len(p) > 2 and not ta and not tb:
            # One tall product instead of a batch of them and a sum.
            gb = gemm(reshape(a, (-1, p[-1])), reshape(g, (-1, g._shape[-1])), 1, 0) if g._n else g.new_zeros(q)
        else:
            gb = sum_to_size(gemm(a, g, 1 - ta, 0) if not tb else gemm(g, a, 1, ta), q)
    return ga, gb


# --- two matrices --------------------------------------------------------------------------------------------------------

class MmNode(CustomNode):
    """Backward of a 2-D product: one native call when everything is small and dense, else the rule."""

    __slots__ = ()
    outputs = 1

    def tensors(self):
        saved = self.saved
        if saved is None:
            graph.freed()
        a, va, b, vb = saved
        if a is not None and (a.__class__ is Packed or a._ver[0] != va):
            a = graph.unpack(self, a, va, "self")
        if b is not None and (b.__class__ is Packed or b._ver[0] != vb):
            b = graph.unpack(self, b, vb, "mat2")
        return a, b

    def backward(self, g):
        a, b = self.tensors()
        e = raw.SMALL.get(g._kind)
        flags = 0
        ga = gb = None
        if e is not None and g._strides is None:
            m, n = g._shape
            pa = pb = pga = pgb = 0
            if b is not None:
                k = b._shape[0]
                pb, s = b._ptr, b._strides
                if s is not None:
                    flags = 1 if s == (1, k) else 4
            if a is not None:
                k = a._shape[1]
                pa, s = a._ptr, a._strides
                if s is not None:
                    flags |= 2 if s == (1, m) else 4
            if flags < 4 and m * n * k <= raw.LIMIT:
                kind = g._kind
                if b is not None:
                    ga = make((m, k), kind)
                    pga = ga._ptr
                if a is not None:
                    gb = make((k, n), kind)
                    pgb = gb._ptr
                e.mm_backward(g._ptr, pa, pb, pga, pgb, m, n, k, flags)
                return ga, gb
        return self.backward_graph(g)

    def backward_graph(self, g):
        a, b = self.tensors()
        ga = gb = None
        if self.next[0] is not None:
            ga = gemm(g, b, 0, 1)
        if self.next[1] is not None:
            gb = gemm(a, g, 1, 0)
        return ga, gb


MmBackward0 = node_class("MmBackward0", MmNode, gemm)

FAST = """def {name}(input, {second}, *, out=None):
    if out is None and not STATE:
        try:
            a, b, kind = input._shape, {second}._shape, input._kind
            same = {second}._kind is kind
        except AttributeError:
            return slow(input, {second}, out)
        if same and len(a) == 2 and len(b) == 2:
            m, k = a
            q, n = b
            e = SMALL.get(kind)
            if k == q and e is not None and m * n * k <= LIMIT:
                flags = 0
                s = input._strides
                if s is not None:
                    flags = 2 if s == (1, m) else 4
                s = {second}._strides
                if s is not None:
                    flags |= 1 if s == (1, k) else 4
                if flags < 4:
                    if input._view is not None:
                        refresh(input)
                    if {second}._view is not None:
                        refresh({second})
                    size = m * n
                    buf = empty(size, e.np)
                    ptr = e.peek(id(buf) + FIELD)
                    e.mm(input._ptr, {second}._ptr, ptr, m, n, k, flags)
                    y = new(Tensor)
                    y._buf = buf
                    y._ptr = ptr
                    y._n = size
                    y._shape = (m, n)
                    y._strides = y._grad = y._view = None
                    y._kind = kind
                    y._ver = [0]
                    if input._rg:
                        node = new(Node)
                        if {second}._rg:
                            node.next = (input._node or input, {second}._node or {second})
                            node.saved = (input, input._ver[0], {second}, {second}._ver[0])
                        else:
                            node.next = (input._node or input, None)
                            node.saved = (None, 0, {second}, {second}._ver[0])
                    elif {second}._rg:
                        node = new(Node)
                        node.next = (None, {second}._node or {second})
                        node.saved = (input, input._ver[0], None, 0)
                    else:
                        y._rg = False
                        y._node = None
                        return y
                    node.seq = sequence()
                    node.ctx = node.hooks = None
                    y._node = node
                    y._rg = True
                    return y
    return slow(input, {second}, out)
"""


def fast(name, second, slow, doc):
    """The public function of a product whose 2-D case runs inline."""
    env = {"STATE": modes.STATE, "SMALL": raw.SMALL, "LIMIT": raw.LIMIT, "empty": np.empty, "FIELD": storage.DATA_FIELD,
           "new": object.__new__, "Tensor": Tensor, "Node": MmBackward0, "sequence": graph.sequence,
           "refresh": graph.refresh, "slow": slow, "__name__": __name__}
    fn = jit.define(FAST.format(name=name, second=second), name, env)
    fn.__doc__ = doc
    return fn


def check_tensors(name, **tensors):
    for i, (n, t) in enumerate(tensors.items()):
        if not isinstance(t, Tensor):
            raise TypeError(f"{name}(): argument '{n}' (position {i + 1}) must be Tensor, not {type(t).__name__}")


def finish(name, result, out, *tensors):
    return result if out is None else write_out(name, out, result, tensors)


def _mm(input, mat2, out=None):
    check_tensors("mm", input=input, mat2=mat2)
    if len(input._shape) != 2:
        raise RuntimeError("self must be a matrix")
    if len(mat2._shape) != 2:
        raise RuntimeError("mat2 must be a matrix")
    check_matrices(input, mat2)
    raw.small(input._kind)
    return finish("mm", invoke(gemm, (input, mat2), (0, 0), MmBackward0), out, input, mat2)


def check_matrices(a, b):
    """Errors of the 2-D product."""
    if a._shape[1] != b._shape[0]:
        raise RuntimeError(f"mat1 and mat2 shapes cannot be multiplied ({a._shape[0]}x{a._shape[1]} and "
                           f"{b._shape[0]}x{b._shape[1]})")
    if a._kind is not b._kind:
        if a._kind.device is not b._kind.device:
            raise RuntimeError(f"Expected all tensors to be on the same device, but found at least two devices, "
                               f"{a._kind.device} and {b._kind.device}! (in mm)")
        raise RuntimeError(f"expected m1 and m2 to have the same dtype, but got: {C_NAMES[a._kind.dtype.code]} != "
                           f"{C_NAMES[b._kind.dtype.code]}")
    refuse_bool(a._kind.dtype, "addmm_impl_cpu_")


mm = function(fast("mm", "mat2", _mm, """Product of two matrices ``input (m, k) @ mat2 (k, n)``."""),
              reference=np.matmul, samples=(Sample((3, 4), (4, 5)), Sample((1, 3), (3, 1)), Sample((2, 0), (0, 3))))


# --- vectors -------------------------------------------------------------------------------------------------------------

def check_vectors(name, a, b):
    if len(a._shape) != 1 or len(b._shape) != 1:
        raise RuntimeError(f"1D tensors expected, but got {len(a._shape)}D and {len(b._shape)}D tensors")
    if a._kind.dtype is not b._kind.dtype:
        raise RuntimeError(f"dot : expected both vectors to have same dtype, but found "
                           f"{dt.scalar_name(a._kind.dtype)} and {dt.scalar_name(b._kind.dtype)}")
    if a._n != b._n:
        raise RuntimeError(f"inconsistent tensor size, expected tensor [{a._n}] and src [{b._n}] to have the same number "
                           f"of elements, but got {a._n} and {b._n} elements respectively")
    refuse_bool(a._kind.dtype, name)


@custom(contiguous=False, reference=np.dot, samples=(Sample((4,), (4,)), Sample((0,), (0,))), dtypes="any",
        save_for={"input": ("tensor",), "tensor": ("input",)})
def dot(input, tensor):
    """Sum of the products of two vectors."""
    check_vectors("dot", input, tensor)
    return (), input._kind


@dot.cpu
def _(out, input, tensor):
    raw.multiply(raw.reshaped(out, (1, 1)), raw.row(input), raw.column(tensor))


@dot.gradient
def _(g, input, tensor, needs):
    return g * conj(tensor) if needs[0] else None, g * conj(input) if needs[1] else None


@custom(contiguous=False, reference=np.vdot, samples=(Sample((4,), (4,)),), dtypes="any",
        save_for={"input": ("other",), "other": ("input",)})
def vdot(input, other):
    """Sum of ``conj(input) * other`` of two vectors."""
    check_vectors("vdot", input, other)
    return (), input._kind


@vdot.cpu
def _(out, input, other):
    raw.multiply(raw.reshaped(out, (1, 1)), raw.column(input), raw.column(other), 1)


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
    g = reshape(g, (-1, 1)) if g._n else view(g, (0, 1))
    ga = gemm(g, reshape(vec, (vec._n, 1)), 0, 1) if needs[0] else None
    return ga, view(gemm(input, g, 1, 0), (input._shape[1],)) if needs[1] else None


# --- any number of dimensions --------------------------------------------------------------------------------------------

@custom(private=True, contiguous=False, reference=np.matmul, node="UnsafeViewBackward0", dtypes="any",
        samples=(Sample((2, 3, 4), (4, 5)), Sample((4,), (4, 3)), Sample((2, 3, 4), (4,)), Sample((2, 1, 3, 4), (5, 4, 2))),
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
            check_kinds(input, other)
    left, right = p if len(p) > 1 else (1, *p), q if len(q) > 1 else (*q, 1)
    batch = batch_shape(left[:-2], right[:-2], input, other)
    if left[-1] != right[-2]:
        count = 1
        for s in batch:
            count *= s
        raise RuntimeError(f"Expected size for first two dimensions of batch2 tensor to be: [{count}, {left[-1]}] but got: "
                           f"[{count}, {right[-2]}].")
    if input._kind is not other._kind:
        raise RuntimeError(f"expected scalar type {dt.scalar_name(input._kind.dtype)} but found "
                           f"{dt.scalar_name(other._kind.dtype)}")
    refuse_bool(input._kind.dtype, "addmm_impl_cpu_" if len(q) == 2 else "bmm")
    return (*batch, *p[-2:-1], *(q[-1:] if len(q) > 1 else ())), input._kind


def check_kinds(a, b):
    raise RuntimeError(f"expected m1 and m2 to have the same dtype, but got: {C_NAMES[a._kind.dtype.code]} != "
                       f"{C_NAMES[b._kind.dtype.code]}")


def batch_shape(p, q, a, b):
    if p == q or not q:
        return p
    n = max(len(p), len(q))
    p, q = (1,) * (n - len(p)) + p, (1,) * (n - len(q)) + q
    for i in range(n - 1, -1, -1):
        if p[i] != q[i] and p[i] != 1 and q[i] != 1:
            raise RuntimeError(f"The size of tensor a ({p[i]}) must match the size of tensor b ({q[i]}) at non-singleton "
                               f"dimension {i} (in matmul of shapes {list(a._shape)} and {list(b._shape)})")
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
    if len(p) == 1:
        shape = (*shape[:-1], 1, shape[-1])
        input = input if input is None else reshape(input, (1, *p))
    if len(q) == 1:
        shape = (*shape, 1)
        other = other if other is None else reshape(other, (*q, 1))
    full = (p if len(p) > 1 else (1, *p)), (q if len(q) > 1 else (*q, 1))
    g = g if shape == g._shape else reshape(g, shape)
    ga, gb = product_gradients(g, input, other, 0, 0, needs, full)
    return None if ga is None else reshape(ga, p), None if gb is None else reshape(gb, q)


SqueezeBackward4 = node_class("SqueezeBackward4", CustomNode, matmul_nd)


def _matmul(input, other, out=None):
    check_tensors("matmul", input=input, other=other)
    p, q = len(input._shape), len(other._shape)
    if p == 2 and q == 2:
        result = _mm(input, other)
    elif not p or not q:
        raise RuntimeError(f"both arguments to matmul need to be at least 1D, but they are {p}D and {q}D")
    elif p == 1 and q == 1:
        result = dot(input, other)
    elif p == 2 and q == 1:
        result = mv(input, other)
    else:
        result = invoke(matmul_nd, (input, other), (), SqueezeBackward4 if p == 1 else None)
    return finish("matmul", result, out, input, other)


matmul = function(
    fast("matmul", "other", _matmul, "Matrix product ``input @ other``.\n\nA 1-D operand counts as a row or a column, which "
         "is dropped from the result; dimensions before the last two broadcast."),
    reference=np.matmul, samples=(Sample((3, 4), (4, 5)), Sample((4,), (4,)), Sample((3, 4), (4,)), Sample((4,), (4, 3)),
                                  Sample((2, 3, 4), (4, 5)), Sample((2, 1, 3, 4), (5, 4, 2)), Sample((2, 3, 4), (2, 4, 5))))


BmmBackward0 = node_class("BmmBackward0", CustomNode, gemm)


@function(reference=np.matmul, samples=(Sample((2, 3, 4), (2, 4, 5)), Sample((0, 2, 3), (0, 3, 2))), dtypes="any")
def bmm(input, mat2, *, out=None):
    """Products of two batches of matrices, ``(b, m, k)`` and ``(b, k, n)``."""
    check_tensors("bmm", input=input, mat2=mat2)
    check_batches(input, mat2)
    return finish("bmm", invoke(gemm, (input, mat2), (0, 0), BmmBackward0), out, input, mat2)


def check_batches(a, b):
    p, q = a._shape, b._shape
    for i, s in enumerate((p, q)):
        if len(s) != 3:
            raise RuntimeError(f"batch{i + 1} must be a 3D tensor")
    if q[0] != p[0] or q[1] != p[2]:
        raise RuntimeError(f"Expected size for first two dimensions of batch2 tensor to be: [{p[0]}, {p[2]}] but got: "
                           f"[{q[0]}, {q[1]}].")
    if a._kind is not b._kind:
        raise RuntimeError(f"expected scalar type {dt.scalar_name(a._kind.dtype)} but found "
                           f"{dt.scalar_name(b._kind.dtype)}")
    refuse_bool(a._kind.dtype, "bmm")


# --- product and sum -----------------------------------------------------------------------------------------------------

def expandable(shape, target):
    """The error of ``expand`` for a summand that does not broadcast to the product."""
    lead = len(target) - len(shape)
    for i in range(len(shape) - 1, -1, -1):
        if lead < 0 or (shape[i] != 1 and shape[i] != target[lead + i]):
            raise RuntimeError(f"The expanded size of the tensor ({target[lead + i] if lead + i >= 0 else 0}) must match "
                               f"the existing size ({shape[i]}) at non-singleton dimension {lead + i}.  Target sizes: "
                               f"{list(target)}.  Tensor sizes: {list(shape)}")


@custom(private=True, contiguous=False, reference=lambda c, a, b, beta=1, alpha=1: beta * c + alpha * (a @ b), dtypes="any",
        node="AddmmBackward0", samples=(Sample((4,), (2, 3), (3, 4)), Sample((2, 3, 1), (2, 3, 4), (2, 4, 5), 0.5, 2.0)),
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


BaddbmmBackward0 = node_class("BaddbmmBackward0", CustomNode, gemm_add)
AddbmmBackward0 = node_class("AddbmmBackward0", CustomNode, gemm_add)


def add_product(input, a, b, beta, alpha, cls=None):
    if isinstance(alpha, complex) or isinstance(beta, complex):
        return beta * input + alpha * matmul(a, b)
    if a._kind.dtype.category < 2:
        alpha, beta = int(alpha), int(beta)
    return invoke(gemm_add, (input, a, b), (beta, alpha), cls)


def _addmm_reference(c, a, b, beta=1, alpha=1):
    return beta * c + alpha * (a @ b)


@function(reference=_addmm_reference, inplace=True, dtypes="any",
          samples=(Sample((4,), (2, 3), (3, 4)), Sample((2, 4), (2, 3), (3, 4), beta=0.5, alpha=2.0), Sample((), (2, 3), (3, 1))))
def addmm(input, mat1, mat2, *, beta=1, alpha=1, out=None):
    """``beta * input + alpha * (mat1 @ mat2)``; ``input`` is broadcast, and ignored when ``beta`` is 0."""
    check_tensors("addmm", input=input, mat1=mat1, mat2=mat2)
    for name, t in (("mat1", mat1), ("mat2", mat2)):
        if len(t._shape) != 2:
            raise RuntimeError(f"{name} must be a matrix, got {len(t._shape)}-D tensor")
    for t in (input, mat1):
        if t._kind.dtype is not mat2._kind.dtype:
            raise RuntimeError(f"self and mat2 must have the same dtype, but got {dt.scalar_name(t._kind.dtype)} and "
                               f"{dt.scalar_name(mat2._kind.dtype)}")
    check_matrices(mat1, mat2)
    return finish("addmm", add_product(input, mat1, mat2, beta, alpha), out, input, mat1, mat2)


@function(reference=_addmm_reference, inplace=True, dtypes="any",
          samples=(Sample((4,), (2, 2, 3), (2, 3, 4)), Sample((2, 2, 4), (2, 2, 3), (2, 3, 4), beta=0.5, alpha=2.0)))
def baddbmm(input, batch1, batch2, *, beta=1, alpha=1, out=None):
    """``beta * input + alpha * bmm(batch1, batch2)``; ``input`` is broadcast, and ignored when ``beta`` is 0."""
    check_tensors("baddbmm", input=input, batch1=batch1, batch2=batch2)
    check_batches(batch1, batch2)
    check_summand(input, batch1)
    result = add_product(input, batch1, batch2, beta, alpha, BaddbmmBackward0)
    return finish("baddbmm", result, out, input, batch1, batch2)


def check_summand(input, a):
    if input._kind is not a._kind:
        raise RuntimeError(f"Input dtypes must be the same, got: input {dt.scalar_name(input._kind.dtype)}, batch1: "
                           f"{dt.scalar_name(a._kind.dtype)}")


@function(reference=lambda c, a, b, beta=1, alpha=1: beta * c + alpha * (a @ b).sum(0), inplace=True, dtypes="any",
          samples=(Sample((4,), (2, 2, 3), (2, 3, 4)), Sample((2, 4), (2, 2, 3), (2, 3, 4), beta=0.5, alpha=2.0)))
def addbmm(input, batch1, batch2, *, beta=1, alpha=1, out=None):
    """``beta * input + alpha * bmm(batch1, batch2).sum(0)``."""
    check_tensors("addbmm", input=input, batch1=batch1, batch2=batch2)
    check_batches(batch1, batch2)
    check_summand(input, batch1)
    b, m, k = batch1._shape
    # The sum over the batch is one product over the long dimension (batch, k).
    wide = reshape(REGISTRY["transpose"].callable(batch1, 0, 1), (m, b * k))
    result = add_product(input, wide, reshape(batch2, (b * k, batch2._shape[2])), beta, alpha, AddbmmBackward0)
    return finish("addbmm", result, out, input, batch1, batch2)


@function(reference=_addmm_reference, inplace=True, dtypes="any",
          samples=(Sample((3,), (3, 4), (4,)), Sample((1,), (3, 4), (4,), beta=0.5, alpha=2.0)))
def addmv(input, mat, vec, *, beta=1, alpha=1, out=None):
    """``beta * input + alpha * (mat @ vec)``."""
    check_tensors("addmv", input=input, mat=mat, vec=vec)
    p, q = mat._shape, vec._shape
    if len(p) != 2 or len(q) != 1 or len(input._shape) > 1:
        raise RuntimeError(f"vector + matrix @ vector expected, got {len(input._shape)}, {len(p)}, {len(q)}")
    if p[1] != q[0] or input._n not in (1, p[0]):
        raise RuntimeError(f"size mismatch, got input ({input._n}), mat ({p[0]}x{p[1]}), vec ({q[0]})")
    if mat._kind is not vec._kind or mat._kind is not input._kind:
        raise RuntimeError("addmv input tensors must have the same dtype, but got "
                           f"{dt.scalar_name(input._kind.dtype)}, {dt.scalar_name(mat._kind.dtype)}, and "
                           f"{dt.scalar_name(vec._kind.dtype)}")
    summand = reshape(input, (input._n, 1))
    result = view(add_product(summand, mat, reshape(vec, (q[0], 1)), beta, alpha), (p[0],))
    return finish("addmv", result, out, input, mat, vec)


@function(reference=lambda c, a, b, beta=1, alpha=1: beta * c + alpha * np.outer(a, b), inplace=True, dtypes="any",
          samples=(Sample((3, 4), (3,), (4,)), Sample((4,), (3,), (4,), beta=0.5, alpha=2.0)))
def addr(input, vec1, vec2, *, beta=1, alpha=1, out=None):
    """``beta * input + alpha * outer(vec1, vec2)``."""
    check_tensors("addr", input=input, vec1=vec1, vec2=vec2)
    for name, t in (("vec1", vec1), ("vec2", vec2)):
        if len(t._shape) != 1:
            raise RuntimeError(f"addr: Expected 1-D argument {name}, but got {len(t._shape)}-D")
    expandable(input._shape, (vec1._n, vec2._n))
    result = outer(vec1, vec2)
    result = result if alpha == 1 else result * alpha
    if beta:
        result = result + (input if beta == 1 else input * beta)
    return finish("addr", result, out, input, vec1, vec2)


@function(reference=np.outer, samples=(Sample((3,), (4,)),), aliases=("ger",), dtypes="any")
def outer(input, vec2, *, out=None):
    """Outer product: element (i, j) is ``input[i] * vec2[j]``."""
    check_tensors("outer", input=input, vec2=vec2)
    for name, t in (("self", input), ("vec2", vec2)):
        if len(t._shape) != 1:
            raise RuntimeError(f"outer: Expected 1-D argument {name}, but got {len(t._shape)}-D")
    return finish("outer", reshape(input, (input._n, 1)) * vec2, out, input, vec2)

