"""The fully connected layer and its relatives: ``linear``, ``bilinear``, and products over chosen dimensions."""

from __future__ import annotations

import numpy as np

from numbagrad import dtypes as dt
from numbagrad import modes, storage
from numbagrad.autograd import graph
from numbagrad.autograd.graph import Packed
from numbagrad.kernel import jit
from numbagrad.op import REGISTRY, Sample, custom, function
from numbagrad.op.custom import CustomNode, invoke
from numbagrad.tensor import Tensor, make, numel, wrap_dim

from . import product as raw
from .matmul import (
    C_NAMES,
    conj,
    expandable,
    finish,
    flip,
    gemm,
    matmul,
    mm,
    node_class,
    refuse_bool,
    reshape,
)


def _reference(x, w, b=None):
    return x @ w.T + (0 if b is None else b)


@custom(private=True, name="linear_nd", contiguous=False, node="AddmmBackward0", reference=_reference, dtypes="any",
        samples=(Sample((3, 4), (5, 4), (5,)), Sample((3, 4), (5, 4)), Sample((2, 3, 4), (5, 4), (5,)), Sample((4,), (5, 4)),
                 Sample((3, 4), (4,)), Sample((0, 4), (5, 4), (5,))),
        save_for={"input": ("weight",), "weight": ("input",)})
def linear_nd(input, weight, bias=None):
    """``input @ weight.T + bias`` over the last dimension of ``input``."""
    p, q = input._shape, weight._shape
    if not p or not q:
        raise RuntimeError(f"both arguments to linear need to be at least 1D, but they are {len(p)}D and {len(q)}D")
    if len(q) > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {len(q)}D")
    if p[-1] != q[-1]:
        rows = numel(p[:-1])
        if len(q) == 1:
            raise RuntimeError(f"size mismatch, got input ({rows}), mat ({rows}x{p[-1]}), vec ({q[0]})")
        raise RuntimeError(f"mat1 and mat2 shapes cannot be multiplied ({rows}x{p[-1]} and {q[1]}x{q[0]})")
    shape = (*p[:-1], *q[:-1])
    if bias is not None:
        for t in (input, bias):
            if t._kind.dtype is not weight._kind.dtype:
                raise RuntimeError(f"self and mat2 must have the same dtype, but got {dt.scalar_name(t._kind.dtype)} and "
                                   f"{dt.scalar_name(weight._kind.dtype)}")
        expandable(bias._shape, shape if len(p) != 1 else (1, *shape))
    if input._kind is not weight._kind:
        if input._kind.device is not weight._kind.device:
            raise RuntimeError("Expected all tensors to be on the same device, but found at least two devices, "
                               f"{input._kind.device} and {weight._kind.device}! (in linear)")
        raise RuntimeError(f"expected m1 and m2 to have the same dtype, but got: {C_NAMES[input._kind.dtype.code]} != "
                           f"{C_NAMES[weight._kind.dtype.code]}")
    refuse_bool(input._kind.dtype, "addmm_impl_cpu_")
    return shape, input._kind


@linear_nd.cpu
def _(out, input, weight, bias):
    p, q = input._shape, weight._shape
    w = raw.transposed(weight) if len(q) == 2 else raw.column(weight)
    rows = numel(p[:-1])
    if len(p) == 1:
        input = raw.row(input)
    elif len(p) > 2:
        input = raw.reshaped(input if input._strides is None else raw.contiguous_copy(input), (rows, p[-1]))
    if bias is not None:
        if bias._shape == q[:-1]:
            raw.fill_bias(out, bias)
        else:
            raw.copy_into(out, bias)
    raw.multiply(raw.reshaped(out, (rows, out._n // rows if rows else 0)), input, w, 0, 0, 1.0, 0.0 if bias is None else 1.0)


@linear_nd.gradient
def _(g, input, weight, needs, shapes):
    p, q, bias = shapes
    rows, k = numel(p[:-1]), p[-1]
    n = q[0] if len(q) == 2 else 1
    g = g if g._shape == (rows, n) else reshape(g, (rows, n))
    gx = gw = gb = None
    if needs[0]:
        gx = reshape(gemm(g, conj(weight if len(q) == 2 else reshape(weight, (1, k)))), p)
    if needs[1]:
        x = input if len(p) == 2 else reshape(input, (rows, k))
        # Gradient of W^T is x^H g; transposed, g^T conj(x).
        gw = gemm(g, x, 1, 0) if not g._kind.dtype.is_complex else matmul(flip(g), conj(x))
        gw = reshape(gw, q)
    if needs[2]:
        if bias == (n,):
            gb = REGISTRY["sum"].callable(g, 0)
        else:
            gb = raw_sum(g, (*p[:-1], *q[:-1]), bias)
    return gx, gw, gb


def raw_sum(g, shape, bias):
    from numbagrad.broadcast import sum_to_size
    return sum_to_size(reshape(g, shape), bias)


class LinearNode(CustomNode):
    """Backward of a 2-D layer: one native call when everything is small and dense, else the rule."""

    __slots__ = ()
    outputs = 1

    def tensors(self):
        saved = self.saved
        if saved is None:
            graph.freed()
        x, vx, w, vw = saved
        if x is not None and (x.__class__ is Packed or x._ver[0] != vx):
            x = graph.unpack(self, x, vx, "mat1")
        if w is not None and (w.__class__ is Packed or w._ver[0] != vw):
            w = graph.unpack(self, w, vw, "mat2")
        return x, w

    def backward(self, g):
        x, w = self.tensors()
        e = raw.SMALL.get(g._kind)
        if e is not None and g._strides is None and (x is None or x._strides is None) and (
                w is None or w._strides is None):
            kind = g._kind
            m, n = g._shape
            k = x._shape[1] if x is not None else w._shape[1] if w is not None else 0
            if m * n * k <= raw.LIMIT and m <= 1024:
                gx = gw = gb = None
                px = pw = pgx = pgw = pgb = 0
                following = self.next
                if following[0] is not None:
                    gx = make((m, k), kind)
                    pgx, pw = gx._ptr, w._ptr
                if following[1] is not None:
                    gw = make((n, k), kind)
                    pgw, px = gw._ptr, x._ptr
                if following[2] is not None:
                    gb = make((n,), kind)
                    pgb = gb._ptr
                e.linear_backward(g._ptr, px, pw, pgx, pgw, pgb, m, n, k)
                return gx, gw, gb
        return self.backward_graph(g)

    def backward_graph(self, g):
        x, w = self.tensors()
        m, n = g._shape
        needs = [e is not None for e in self.next]
        p = (m, w._shape[1]) if w is not None else x._shape if x is not None else (m, 0)
        return linear_nd.rule(g, x, w, needs, (p, (n, p[1]), (n,)))


AddmmBackward0 = node_class("AddmmBackward0", LinearNode, linear_nd)
MmBackward0 = node_class("MmBackward0", LinearNode, linear_nd)
GENERAL = {name: node_class(name, CustomNode, linear_nd) for name in
           ("MmBackward0", "MvBackward0", "ViewBackward0", "UnsafeViewBackward0", "SqueezeBackward4", "AddBackward0")}

FAST = """def linear(input, weight, bias=None):
    if not STATE:
        try:
            a, b, kind = input._shape, weight._shape, input._kind
            same = weight._kind is kind
        except AttributeError:
            return slow(input, weight, bias)
        if same and len(a) == 2 and len(b) == 2 and input._strides is None and weight._strides is None:
            m, k = a
            n, q = b
            e = SMALL.get(kind)
            if k == q and e is not None and m * n * k <= LIMIT:
                if bias is None:
                    bias_ptr = 0
                elif bias._kind is kind and bias._shape == (n,) and bias._strides is None:
                    bias_ptr = bias._ptr
                else:
                    return slow(input, weight, bias)
                if input._view is not None:
                    refresh(input)
                if weight._view is not None:
                    refresh(weight)
                size = m * n
                buf = empty(size, e.np)
                ptr = e.peek(id(buf) + FIELD)
                e.linear(input._ptr, weight._ptr, bias_ptr, ptr, m, n, k)
                y = new(Tensor)
                y._buf = buf
                y._ptr = ptr
                y._n = size
                y._shape = (m, n)
                y._strides = y._grad = y._view = None
                y._kind = kind
                y._ver = [0]
                if bias is None:
                    node_b = None
                    node_class = Mm
                else:
                    if bias._view is not None:
                        refresh(bias)
                    node_b = (bias._node or bias) if bias._rg else None
                    node_class = Addmm
                if input._rg:
                    if weight._rg:
                        following = (input._node or input, weight._node or weight, node_b)
                        saved = (input, input._ver[0], weight, weight._ver[0])
                    else:
                        following = (input._node or input, None, node_b)
                        saved = (None, 0, weight, weight._ver[0])
                elif weight._rg:
                    following = (None, weight._node or weight, node_b)
                    saved = (input, input._ver[0], None, 0)
                elif node_b is not None:
                    following = (None, None, node_b)
                    saved = (None, 0, None, 0)
                else:
                    y._rg = False
                    y._node = None
                    return y
                node = new(node_class)
                node.next = following
                node.saved = saved
                node.seq = sequence()
                node.ctx = node.hooks = None
                y._node = node
                y._rg = True
                return y
    return slow(input, weight, bias)
"""


def _linear(input, weight, bias=None):
    for i, (name, t) in enumerate((("input", input), ("weight", weight), ("bias", bias))):
        if not isinstance(t, Tensor) and not (i == 2 and t is None):
            raise TypeError(f"linear(): argument '{name}' (position {i + 1}) must be Tensor, not {type(t).__name__}")
    p, q = len(input._shape), len(weight._shape)
    if input._kind is weight._kind:
        raw.small(input._kind)
    if q == 1:
        name = "AddBackward0" if bias is not None else "MvBackward0" if p == 2 else "UnsafeViewBackward0"
    elif p == 2:
        name = None if bias is not None else "MmBackward0"
    elif p == 1:
        name = "ViewBackward0" if bias is not None else "SqueezeBackward4"
    else:
        name = "ViewBackward0" if bias is not None else "UnsafeViewBackward0"
    return invoke(linear_nd, (input, weight, bias), (), GENERAL.get(name))


_env = {"STATE": modes.STATE, "SMALL": raw.SMALL, "LIMIT": raw.LIMIT, "empty": np.empty, "FIELD": storage.DATA_FIELD,
        "new": object.__new__, "Tensor": Tensor, "Mm": MmBackward0, "Addmm": AddmmBackward0, "sequence": graph.sequence,
        "refresh": graph.refresh, "slow": _linear, "__name__": __name__}
_fast = jit.define(FAST, "linear", _env)
_fast.__doc__ = """Fully connected layer ``input @ weight.T + bias`` over the last dimension of ``input``."""
linear = function(_fast, namespaces=("nn.functional",), method=False, reference=_reference,
                  samples=linear_nd.samples, dtypes="any")


def _bilinear_reference(a, b, w, bias=None):
    return np.einsum("...i,oij,...j->...o", a, w, b) + (0 if bias is None else bias)


@function(namespaces=("torch", "nn.functional"), method=False, reference=_bilinear_reference,
          samples=(Sample((2, 3), (2, 4), (5, 3, 4), (5,)), Sample((2, 2, 3), (2, 2, 4), (1, 3, 4))))
def bilinear(input1, input2, weight, bias=None):
    """``y_o = input1^T W_o input2 + bias_o`` over the last dimensions."""
    p, q, w = input1._shape, input2._shape, weight._shape
    if len(p) != len(q):
        raise RuntimeError(f"bilinear(): input dimensions do not match: got {len(p)} and {len(q)}")
    for i in range(len(p) - 1):
        if p[i] != q[i]:
            raise RuntimeError(f"bilinear(): input batch dimensions do not match at dim {i}: got {p[i]} and {q[i]}")
    if p[-1] != w[1]:
        raise RuntimeError(f"bilinear(): input1 size does not match weight size: got {p[-1]} but expected {w[1]}")
    if q[-1] != w[2]:
        raise RuntimeError(f"bilinear(): input2 size does not match weight size: got {q[-1]} but expected {w[2]}")
    if bias is not None and bias._shape[0] != w[0]:
        raise RuntimeError(f"bilinear(): bias size does not match weight size: got {bias._shape[0]} but expected {w[0]}")
    o, i, j = w
    rows = numel(p[:-1])
    right = linear(reshape(input2, (rows, j)), reshape(weight, (o * i, j)))
    y = reshape(matmul(reshape(right, (rows, o, i)), reshape(input1, (rows, i, 1))), (*p[:-1], o))
    return y if bias is None else y + bias


# --- chosen dimensions ---------------------------------------------------------------------------------------------------

@function(reference=np.inner, samples=(Sample((4,), (4,)), Sample((2, 3, 4), (5, 4)), Sample((), (2, 3))), dtypes="any")
def inner(input, other, *, out=None):
    """Sums of products over the last dimensions of both; ``input * other`` when one has no dimension."""
    p, q = input._shape, other._shape
    if not p or not q:
        return finish("inner", input * other, out, input, other)
    if p[-1] != q[-1]:
        raise RuntimeError("inner() the last dimension must match on both input tensors but got shapes "
                           f"{list(p)} and {list(q)}")
    if len(p) == 1 and len(q) == 1:
        result = REGISTRY["dot"].callable(input, other)
    else:
        result = linear(input, reshape(other, (numel(q[:-1]), q[-1])))
        result = reshape(result, (*p[:-1], *q[:-1]))
    return finish("inner", result, out, input, other)


def _dim_list(dim):
    return [dim] if isinstance(dim, int) else [int(d) for d in dim]


@function(method=False, reference=np.tensordot, dtypes="any",
          samples=(Sample((2, 3, 4), (3, 4, 5)), Sample((3, 2), (4, 3), ((0,), (1,))), Sample((2, 3), (4,), 0)))
def tensordot(a, b, dims=2, out=None):
    """Sum of products over ``dims``: the last ``dims`` of ``a`` and first of ``b``, or a pair of lists of dimensions."""
    if isinstance(dims, Tensor):
        dims = dims.tolist()
    if isinstance(dims, int):
        if dims < 0:
            raise RuntimeError(f"tensordot expects dims >= 0, but got dims={dims}")
        if dims > min(len(a._shape), len(b._shape)):
            raise RuntimeError(f"tensordot expects dims < ndim_a or ndim_b, but got dims={dims}")
        da, db = list(range(-dims, 0)), list(range(dims))
    else:
        da, db = map(_dim_list, dims)
    if len(da) != len(db):
        raise RuntimeError("both dimension lists should have same length")
    ia, ib = [wrap_dim(d, len(a._shape)) for d in da], [wrap_dim(d, len(b._shape)) for d in db]
    for i, j, x, y in zip(ia, ib, da, db):
        if a._shape[i] != b._shape[j]:
            raise RuntimeError(f"contracted dimensions need to match, but first has size {a._shape[i]} in dim {x} and "
                               f"second has size {b._shape[j]} in dim {y}")
    result = contract(a, b, ia, ib)
    return finish("tensordot", result, out, a, b)


def contract(a, b, ia, ib):
    """Sum of products over dimensions ``ia`` of ``a`` and ``ib`` of ``b`` as one matrix product."""
    permute = REGISTRY["permute"].callable
    ra, rb = ([i for i in range(len(t._shape)) if i not in used] for t, used in ((a, ia), (b, ib)))
    sizes_a, sizes_b = [a._shape[i] for i in ra], [b._shape[i] for i in rb]
    k = numel([a._shape[i] for i in ia])
    left = reshape(permute(a, (*ra, *ia)) if a._shape else a, (numel(sizes_a), k))
    right = reshape(permute(b, (*ib, *rb)) if b._shape else b, (k, numel(sizes_b)))
    return reshape(mm(left, right), (*sizes_a, *sizes_b))


@function(reference=np.kron, samples=(Sample((2, 3), (3, 2)), Sample((2,), (2, 3)), Sample((), (2,))), dtypes="any")
def kron(input, other, *, out=None):
    """Kronecker product: every element of ``input`` times the whole of ``other``."""
    n = max(len(input._shape), len(other._shape))
    p, q = (1,) * (n - len(input._shape)) + input._shape, (1,) * (n - len(other._shape)) + other._shape
    left = reshape(input, [s for x in p for s in (x, 1)])
    right = reshape(other, [s for y in q for s in (1, y)])
    return finish("kron", reshape(left * right, [x * y for x, y in zip(p, q)]), out, input, other)


@function(namespaces=("linalg",), method=False, reference=np.linalg.multi_dot, dtypes="any",
          samples=(Sample([(2, 3), (3, 4), (4, 5)]), Sample([(3,), (3, 4), (4,)])))
def multi_dot(tensors, *, out=None):
    """Product of two or more matrices in the order of fewest multiplications; the first and last may be vectors."""
    tensors = list(tensors)
    if len(tensors) < 2:
        raise RuntimeError(f"multi_dot(): expected at least 2 tensors but got {len(tensors)}")
    for i, t in enumerate(tensors):
        edge = i in (0, len(tensors) - 1)
        if len(t._shape) != 2 and not (edge and len(t._shape) == 1):
            raise RuntimeError(f"multi_dot(): {'the first and last tensors' if edge else f'tensor {i}'} must be "
                               f"{'1D or 2D' if edge else '2D'} but got {len(t._shape)}D")
    first, last = len(tensors[0]._shape) == 1, len(tensors[-1]._shape) == 1
    shapes = [t._shape for t in tensors]
    if first:
        tensors[0] = reshape(tensors[0], (1, tensors[0]._n))
    if last:
        tensors[-1] = reshape(tensors[-1], (tensors[-1]._n, 1))
    for i in range(len(tensors) - 1):
        if tensors[i]._shape[1] != tensors[i + 1]._shape[0]:
            raise RuntimeError(f"multi_dot(): tensors {i} and {i + 1} with shapes {list(shapes[i])} and "
                               f"{list(shapes[i + 1])} cannot be multiplied")
    result = _in_best_order(tensors)
    if first or last:
        result = reshape(result, tuple(s for s, drop in zip(result._shape, (first, last)) if not drop))
    return finish("multi_dot", result, out, *tensors)


def _in_best_order(tensors):
    """Dynamic program over where to split the chain last."""
    n = len(tensors)
    d = [tensors[0]._shape[0], *[t._shape[1] for t in tensors]]
    cost, split = {(i, i): 0 for i in range(n)}, {}
    for width in range(1, n):
        for i in range(n - width):
            j = i + width
            cost[i, j], split[i, j] = min((cost[i, s] + cost[s + 1, j] + d[i] * d[s + 1] * d[j + 1], s)
                                          for s in range(i, j))

    def build(i, j):
        return tensors[i] if i == j else mm(build(i, split[i, j]), build(split[i, j] + 1, j))
    return build(0, n - 1)


@function(method=False, reference=lambda *m: np.linalg.multi_dot(m), samples=(Sample((2, 3), (3, 4), (4, 5)),), dtypes="any")
def chain_matmul(*matrices, out=None):
    """Product of matrices in the order of fewest multiplications; use ``linalg.multi_dot``."""
    import warnings
    warnings.warn("torch.chain_matmul is deprecated and will be removed in a future PyTorch release. Use "
                  "torch.linalg.multi_dot instead, which accepts a list of two or more tensors rather than multiple "
                  "parameters.", UserWarning, stacklevel=2)
    return matrices[0] if len(matrices) == 1 else multi_dot(list(matrices), out=out)
