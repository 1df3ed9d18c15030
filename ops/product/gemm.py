"""``gemm``, the product that the gradients of all matrix products are written in, and their nodes."""

from __future__ import annotations

import math

import numpy as np

from numbagrad.base import arguments
from numbagrad.base import dtypes as dt
from numbagrad.base.device import two_devices
from numbagrad.base.modes import STATE, recording
from numbagrad.core import graph, makers
from numbagrad.core.broadcast import sum_to_size
from numbagrad.core.graph import Packed
from numbagrad.core.out import write_out
from numbagrad.core.tensor import make
from numbagrad.core.tensor import raw as tensor_of
from numbagrad.dispatch.custom import CustomNode
from numbagrad.extend import REGISTRY, Tensor, custom

from ..view.shape import reshaped
from . import product as raw


def conj(t):
    """The complex conjugate; the tensor itself when real."""
    return REGISTRY["conj"].callable(t) if t._kind.dtype.is_complex else t


def reshape(t, shape):
    """``t`` in another shape: a view where the memory allows it, else a copy; itself when the shape is the same."""
    shape = tuple(shape)
    return t if t._shape == shape else reshaped(t, shape)


def flip(t):
    """The last two dimensions swapped, as a recorded view."""
    return REGISTRY["transpose"].callable(t, -2, -1)


def refuse_bool(d, name):
    if d.category == 0:
        raise NotImplementedError(f"\"{name}\" not implemented for 'Bool'")


def node_class(name, base=CustomNode, op=None, **members):
    """A node class for an op that PyTorch records under several names."""
    return type(name, (base,), {"__slots__": (), "op": op, "__module__": "numbagrad", **members})


# --- the product all gradients are written in ---

@custom(private=True, contiguous=False, node="MmBackward0", reference=None, dtypes="any",
        save_for={"a": ("b",), "b": ("a",)})
def gemm(a, b, ta: int = 0, tb: int = 0):
    """``op(a) op(b)`` of the matrices in the last two dimensions; ``ta``, ``tb`` say where op conjugates and transposes."""
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
            rows = math.prod(p[:-1])
            gb = gemm(reshape(a, (rows, p[-1])), reshape(g, (rows, g._shape[-1])), 1, 0) if g._n else g.new_zeros(q)
        else:
            gb = sum_to_size(gemm(a, g, 1 - ta, 0) if not tb else gemm(g, a, 1, ta), q)
    return ga, gb


def bare(t):
    """``t`` outside the graph: what a first-order rule computes of it is not recorded, and a leaf may keep it."""
    return tensor_of(t._buf, t._ptr, t._n, t._shape, t._strides, t._kind, t._ver) if t is not None and t._rg else t


# --- two matrices ---

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

    def only(self, needs, g):
        part, saved = self._with_edges(needs), self.saved
        if saved is not None:  # what makes a gradient is saved for it alone
            part.saved = *(saved[:2] if needs[1] else (None, 0)), *(saved[2:] if needs[0] else (None, 0))
        return part

    def backward(self, g):
        a, b = self.tensors()
        flags = 0
        ga = gb = None
        if g._kind in raw.SMALL and g._strides is None:
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
            kind = g._kind
            e = raw.dense_backward(kind, 1, m, n, k) if flags < 4 else None
            if e is not None:
                if b is not None:
                    ga = make((m, k), kind)
                    pga = ga._ptr
                if a is not None:
                    gb = make((k, n), kind)
                    pgb = gb._ptr
                e.mm_backward(g._ptr, pa, pb, pga, pgb, m, n, k, flags)
                return ga, gb
        return self.differentiate(g, bare(a), bare(b))

    def backward_graph(self, g):
        return self.differentiate(g, *self.tensors())

    def differentiate(self, g, a, b):
        ga = gb = None
        if self.next[0] is not None:
            ga = gemm(g, b, 0, 1)
        if self.next[1] is not None:
            gb = gemm(a, g, 1, 0)
        return ga, gb

    captured = backward_graph


MmBackward0 = node_class("MmBackward0", MmNode, gemm)


class ProductNode(CustomNode):
    """Backward of a dense product of any dimensions; ``ctx`` is (batch, m, n, k, shapes of a and b, which are transposed)."""

    __slots__ = ()
    outputs = 1
    rule = None
    tensors, only = MmNode.tensors, MmNode.only

    def backward(self, g):
        a, b = self.tensors()
        batch, m, n, k, p, q, flags = self.ctx
        kind = g._kind
        limit = raw.SHORT if n == 1 else raw.LIMIT  # (of one column the gradient has one term)
        e = raw.dense_backward(kind, batch, m, n, k, limit) if g._strides is None else None
        if e is not None:
            ga = gb = None
            pa = pb = pga = pgb = 0
            if b is not None:
                ga = make(p, kind)
                pb, pga = b._ptr, ga._ptr
            if a is not None:
                gb = make(q, kind)
                pa, pgb = a._ptr, gb._ptr
            e.bmm_backward(g._ptr, pa, pb, pga, pgb, batch, m, n, k, flags)
            return ga, gb
        return self.differentiate(g, bare(a), bare(b))

    def backward_graph(self, g):
        return self.differentiate(g, *self.tensors())

    def differentiate(self, g, a, b):
        return self.rule(g, a, b, [e is not None for e in self.next], self.ctx[4:6])

    captured = backward_graph


def quick(input, other, cls):
    """The product of dense operands as one native call, recorded with node class ``cls``; None when it does not apply.

    Operands are as in ``matmul``, with equal batch dimensions, or a matrix or vector on the right; those of batches may be
    transposed."""
    kind = input._kind
    if kind not in raw.SMALL or other._kind is not kind:
        return None
    grad = True if not STATE else recording()
    if grad is None:
        return None
    p, q = input._shape, other._shape
    batch = n = 1
    k = p[-1]
    if len(q) < 3:
        if len(q) == 2:
            n = q[1]
            shape = (*p[:-1], n)
        else:
            shape = p[:-1]
        if q[0] != k or not k:
            return None
        m = input._n // k
    elif p[:-2] == q[:-2] and q[-2] == k:
        m, n = p[-2], q[-1]
        for s in p[:-2]:
            batch *= s
        shape = (*p[:-1], n)
    else:
        return None
    e = raw.dense(kind, batch, m, n, k)
    if e is None:
        return None
    flags = 0
    s, t = input._strides, other._strides
    if s is not None:
        if len(q) != 3 or s != (m * k, 1, m):
            return None
        flags = 2
    if t is not None:
        if t != ((k * n, 1, k) if len(q) == 3 else (1, k)):
            return None
        flags |= 1
    size = batch * m * n
    y = makers.tensor(size, kind.np, shape, kind) if size else make(shape, kind)
    e.bmm(input._ptr, other._ptr, y._ptr, batch, m, n, k, flags)
    if grad:
        if input._view is not None:
            graph.refresh(input)
        if other._view is not None:
            graph.refresh(other)
        if input._rg or other._rg:
            following = (input._node or input) if input._rg else None, (other._node or other) if other._rg else None
            makers.record(y, cls, following,
                          ((input, input._ver[0]) if other._rg else (None, 0)) + (
                              (other, other._ver[0]) if input._rg else (None, 0)), (batch, m, n, k, p, q, flags))
    return y


def check_tensors(name, **tensors):
    for i, (n, t) in enumerate(tensors.items()):
        if not isinstance(t, Tensor):
            raise arguments.wrong(t, "Tensor", name, n, i + 1)


def finish(name, result, out, *tensors):
    return result if out is None else write_out(name, out, result, tensors, name in ("outer", "kron", "addr", "inner"))


def check_matrices(a, b):
    """Errors of the 2-D product."""
    if a._shape[1] != b._shape[0]:
        raise RuntimeError(f"mat1 and mat2 shapes cannot be multiplied ({a._shape[0]}x{a._shape[1]} and "
                           f"{b._shape[0]}x{b._shape[1]})")
    if a._kind is not b._kind:
        refuse_kinds(a, b, "mm")
    refuse_bool(a._kind.dtype, "addmm_impl_cpu_")


def refuse_kinds(a, b, name):
    """The error of a product of matrices on two devices or of two dtypes."""
    if a._kind.device is not b._kind.device:
        raise two_devices(a._kind.device, b._kind.device, f"in {name}")
    raise RuntimeError(f"expected m1 and m2 to have the same dtype, but got: {dt.c_name(a._kind.dtype)} != "
                       f"{dt.c_name(b._kind.dtype)}")


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


