"""The fully connected layer and its relatives: ``linear``, ``bilinear``, and products over chosen dimensions."""

from __future__ import annotations

import numpy as np

from numbagrad.base import arguments
from numbagrad.base import dtypes as dt
from numbagrad.core import graph, makers
from numbagrad.core.graph import Packed
from numbagrad.core.tensor import make, numel
from numbagrad.dispatch import text
from numbagrad.dispatch.custom import CustomNode, invoke
from numbagrad.extend import REGISTRY, Sample, Tensor, custom, function
from numbagrad.kernel import jit

from . import product as raw
from .addmm import expandable
from .gemm import bare, conj, flip, gemm, node_class, refuse_bool, refuse_kinds, reshape
from .matmul import matmul


def _reference(x, w, b=None):
    return x @ w.T + (0 if b is None else b)


@custom(private=True, name="linear_nd", contiguous=False, node="AddmmBackward0", reference=_reference, dtypes="any",
        samples=(Sample((3, 4), (5, 4), (5,)), Sample((3, 4), (5, 4)), Sample((2, 3, 4), (5, 4), (5,)),
                 Sample((4,), (5, 4)), Sample((3, 4), (4,)), Sample((0, 4), (5, 4), (5,))),
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
        for name, t in (("self", bias), ("mat1", input)):
            if t._kind.dtype is not weight._kind.dtype:
                raise RuntimeError(f"{name} and mat2 must have the same dtype, but got {dt.scalar_name(t._kind.dtype)} "
                                   f"and {dt.scalar_name(weight._kind.dtype)}")
        expandable(bias._shape, shape if len(p) != 1 else (1, *shape))
    if input._kind is not weight._kind:
        refuse_kinds(input, weight, "linear")
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
        raw.copy_into(out, bias)
    flat = raw.reshaped(out, (rows, out._n // rows if rows else 0))
    raw.multiply(flat, input, w, 0, 0, 1.0, 0.0 if bias is None else 1.0)


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
    from numbagrad.core.broadcast import sum_to_size
    return sum_to_size(reshape(g, shape), bias)


class LinearNode(CustomNode):
    """Backward of a 2-D layer: one native call when everything is small and dense, else the rule."""

    __slots__ = ()
    outputs = 1

    @property
    def next_functions(self):
        """In the order of PyTorch's ``addmm(bias, input, weight)`` where the node shows as that."""
        found = CustomNode.next_functions.fget(self)
        return (found[2], *found[:2]) if type(self).__name__ == "AddmmBackward0" else found

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

    def only(self, needs, g):
        return self._with_edges(needs)

    def backward(self, g):
        x, w = self.tensors()
        following = self.next
        kind = g._kind
        if kind in raw.SMALL and g._strides is None:
            shape = g._shape
            n = shape[-1]
            m = g._n // n
            k = x._shape[-1] if x is not None else w._shape[1] if w is not None else 0
            e = raw.dense_backward(kind, 1, m, n, k)
            large = e.__class__ is raw.Large
            if e is not None and (large or m <= 1024):
                gx = gw = gb = None
                px = pw = pgx = pgw = pgb = 0
                if following[0] is not None:
                    gx = make((*shape[:-1], k), kind)
                    pgx, pw = gx._ptr, w._ptr
                if following[1] is not None:
                    gw = make((n, k), kind)
                    pgw, px = gw._ptr, x._ptr
                if large:
                    e.linear_backward(g._ptr, px, pw, pgx, pgw, m, n, k)
                    gb = None if following[2] is None else REGISTRY["sum"].callable(reshape(bare(g), (m, n)), 0)
                    return gx, gw, gb
                if following[2] is not None:
                    gb = make((n,), kind)
                    pgb = gb._ptr
                e.linear_backward(g._ptr, px, pw, pgx, pgw, pgb, m, n, k)
                return gx, gw, gb
        return self.differentiate(g, bare(x), bare(w))

    def backward_graph(self, g):
        return self.differentiate(g, *self.tensors())

    def differentiate(self, g, x, w):
        n = g._shape[-1]
        needs = [e is not None for e in self.next]
        p = x._shape if x is not None else (*g._shape[:-1], 0 if w is None else w._shape[1])
        return linear_nd.rule(g, x, w, needs, (p, (n, p[-1]), (n,)))

    captured = backward_graph


# Node classes by the number of dimensions of the input: without bias, with bias.
# PyTorch's hooks see the bias first, and the weight, which has a node of its own there (its transpose), after an input that is
# a leaf and before the view of one that has to be flattened.
NODES = {n: tuple([node_class(name, LinearNode, linear_nd, order=(2, 0, 1) if n == 2 or name == names[0] else (2, 1, 0))
                   for name in names]) for n, names in (
    (1, ("SqueezeBackward4", "ViewBackward0")), (2, ("MmBackward0", "AddmmBackward0")),
    (3, ("UnsafeViewBackward0", "ViewBackward0")))}
linear_nd.node_class.order = 2, 0, 1
GENERAL = {name: node_class(name, CustomNode, linear_nd, order=(2, 0, 1)) for name in
           ("MmBackward0", "MvBackward0", "ViewBackward0", "UnsafeViewBackward0", "SqueezeBackward4", "AddBackward0")}

FAST = """def linear(input, weight, bias=None):
    if STATE_:
        grad = recording_()
        if grad is None:
            return slow_(input, weight, bias)
    else:
        grad = True
    try:
        a, b, kind = input._shape, weight._shape, input._kind
        e = SMALL_.get(kind) if weight._kind is kind else None
    except AttributeError:
        return slow_(input, weight, bias)
    if e is None or len(b) != 2 or not a or input._strides is not None or weight._strides is not None:
        return slow_(input, weight, bias)
    n, k = b
    size = input._n
    if a[-1] != k or not size:
        return slow_(input, weight, bias)
    if size * n > MOST_:
        e = large_(kind, 1, size // k, n, k)
        if e is None:
            return slow_(input, weight, bias)
    if bias is None:
        bias_ptr = 0
    elif bias._kind is kind and bias._shape == (n,) and bias._strides is None:
        bias_ptr = bias._ptr
    else:
        return slow_(input, weight, bias)
    m = size // k
    size = m * n
    y = makers_.tensor(size, e.np, (m, n) if len(a) == 2 else (*a[:-1], n), kind)
    e.linear(input._ptr, weight._ptr, bias_ptr, y._ptr, m, n, k)
    if grad:
        if input._view is not None:
            refresh_(input)
        if weight._view is not None:
            refresh_(weight)
        if bias is None:
            node_b = None
        else:
            if bias._view is not None:
                refresh_(bias)
            node_b = (bias._node or bias) if bias._rg else None
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
            return y
        makers_.record(y, NODES_[len(a) if len(a) < 3 else 3][bias_ptr != 0], following, saved, None)
    return y
"""


def _linear(input, weight, bias=None):
    for i, (name, t) in enumerate((("input", input), ("weight", weight), ("bias", bias))):
        if not isinstance(t, Tensor) and not (i == 2 and t is None):
            raise arguments.wrong(t, "Tensor", "linear", name, i + 1)
    p, q = len(input._shape), len(weight._shape)
    if input._kind is weight._kind and input._kind not in raw.SMALL:
        raw.small(input._kind)
        if input._kind in raw.SMALL:  # the first call as those that follow: their sums round alike
            return _fast(input, weight, bias)
    if q == 1:
        name = "AddBackward0" if bias is not None else "MvBackward0" if p == 2 else "UnsafeViewBackward0"
    elif p == 2:
        name = None if bias is not None else "MmBackward0"
    elif p == 1:
        name = "ViewBackward0" if bias is not None else "SqueezeBackward4"
    else:
        name = "ViewBackward0" if bias is not None else "UnsafeViewBackward0"
    return invoke(linear_nd, (input, weight, bias), (), GENERAL.get(name))


_env = {**text.NAMES, "SMALL_": raw.SMALL, "MOST_": raw.LIMIT, "large_": raw.dense, "makers_": makers, "NODES_": NODES,
        "slow_": _linear, "__name__": __name__}
_fast = jit.define(FAST, "linear", _env)
_fast.__doc__ = """Fully connected layer ``input @ weight.T + bias`` over the last dimension of ``input``."""
linear = function(_fast, planned=False, out="same", namespaces=("nn.functional",), method=False, reference=_reference,
                  samples=linear_nd.samples, dtypes="any")


def _bilinear_reference(a, b, w, bias=None):
    return np.einsum("...i,oij,...j->...o", a, w, b) + (0 if bias is None else bias)


@function(namespaces=("torch", "nn.functional"), method=False, reference=_bilinear_reference,
          samples=(Sample((2, 3), (2, 4), (5, 3, 4), (5,)), Sample((2, 2, 3), (2, 2, 4), (1, 3, 4))))
def bilinear(input1, input2, weight, bias=None):
    """``y_o = input1^T W_o input2 + bias_o`` over the last dimensions."""
    p, q, w = input1._shape, input2._shape, weight._shape
    if len(w) != 3 or not p or not q:
        raise RuntimeError(f"bilinear(): expected inputs with at least one dimension and a weight with three, but got "
                           f"{list(p)}, {list(q)} and {list(w)}")
    if bias is not None and bias._shape != w[:1]:
        raise RuntimeError(f"bilinear(): bias size does not match weight size: got {list(bias._shape)} and {list(w)}")
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
        raise RuntimeError(f"bilinear(): bias size does not match weight size: got {bias._shape[0]} but expected "
                           f"{w[0]}")
    given = {"input1": input1, "input2": input2, "weight": weight} | ({} if bias is None else {"bias": bias})
    if any(t._kind.dtype is not input1._kind.dtype for t in given.values()):
        raise RuntimeError("bilinear(): All tensors must have the same dtype, got " + ", ".join(
            f"{name}: {dt.c_name(t._kind.dtype)}" for name, t in given.items()))
    o, i, j = w
    rows = numel(p[:-1])
    left = reshape(input1, (rows, i, 1))  # first, as the newest node runs first: hooks see the weight, ``input2``, ``input1``
    right = linear(reshape(input2, (rows, j)), reshape(weight, (o * i, j)))
    y = reshape(matmul(reshape(right, (rows, o, i)), left), (*p[:-1], o))
    return y if bias is None else y + bias
