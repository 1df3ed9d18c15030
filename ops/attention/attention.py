"""``scaled_dot_product_attention``: softmax of query times key, times value, as one op that never holds all weights."""

from __future__ import annotations

import functools
import math
import warnings

import numpy as np

from numbagrad.base import dtypes as dt
from numbagrad.base import modes
from numbagrad.base.shapes import expanded_strides
from numbagrad.core import storage
from numbagrad.core.copying import contiguous_copy
from numbagrad.core.tensor import contiguous_strides, make
from numbagrad.extend import REGISTRY, Sample, custom, function
from numbagrad.kernel import blas, threads

from ..product.matmul import matmul
from ..random.dropout import dropout
from ..reduce.softmax import softmax_forward
from . import kernels


def _op(name):
    return REGISTRY[name].callable


# --- the op -------------------------------------------------------------------------------------------------------------

def _readable(t):
    """``t``, or a copy where BLAS could not read its matrices in place."""
    s = t._strides
    if s is None:
        return t
    found = blas.matmul_args(t._shape[2:], s[2:])
    return t if found is not None and found[0] == 0 else contiguous_copy(t)


# Orders in which results are laid out, and back: batch, head, row; batch, row, head; row, batch, head.
ORDERS = (0, 1, 2, 3), (0, 2, 1, 3), (2, 0, 1, 3)
BACK = (0, 1, 2, 3), (0, 2, 1, 3), (1, 2, 0, 3)


def _strides(t, order=0):
    """(batch, head, row) strides of a tensor whose dimensions come in an order."""
    s = t._strides or contiguous_strides(t._shape)
    return [s[d] for d in BACK[order][:3]]


def _ordered(shape, order):
    return tuple([shape[d] for d in ORDERS[order]])


def _order_of(t):
    """The order that is nearest to the memory of ``t``."""
    s = t._strides
    if s is None or s[1] >= s[2]:
        return 0
    return 1 if s[0] >= s[2] else 2


def _back(t, order):
    return t.permute(BACK[order]) if order else t


def _pieces(query, key, tasks):
    """(pieces to cut a kernel into, work in the elements that threads are counted in)."""
    work = query._n * key._shape[2] // 8
    return min(tasks, threads.get_num_threads()) if work >= threads.LIMIT[0] else 1, work


def _head(query, key, value, mask):
    """(meta, strides of the mask) for the kernels."""
    b, h, rows, e = query._shape
    across = (0, 0, 0, 0) if mask is None else expanded_strides(mask, (b, h, rows, key._shape[2]))
    return [b, h, key._shape[1], rows, key._shape[2], e, value._shape[3],
            *_strides(query), *_strides(key), *_strides(value)], across


@functools.lru_cache(4096)
def _table(words):
    """Numbers that a kernel reads, and their address."""
    array = np.array(words, np.int64)
    return array, storage.table(array)


@custom(private=True, contiguous=False, reference=None, node="ScaledDotProductFlashAttentionForCpuBackward0")
def attention(query, key, value, mask, *, causal: bool, scale: float, order: int):
    """Attention of (B, H, L, E) to (B, K, S, E) and (B, K, S, V), H a multiple of K, with a mask that is added: (result,
    logarithms of the sums of the exponentials). The result's dimensions come in an order of ``ORDERS``."""
    b, h, rows, _ = query._shape
    return [(_ordered((b, h, rows, value._shape[3]), order), query._kind), ((b, h, rows), query._kind)]


@attention.cpu
def _(outs, query, key, value, mask, causal, scale, order):
    out, lse = outs
    query, key, value = _readable(query), _readable(key), _readable(value)
    kind = query._kind
    meta, across = _head(query, key, value, mask)
    table = _table((*meta, *_strides(out, order), *across))
    tasks = lse._n // meta[3] * -(-meta[3] // kernels.BLOCK)
    pieces, work = _pieces(query, key, tasks)
    scratch = make((pieces * kernels.BLOCK * key._shape[2],), kind)
    kernels.attention_forward.run(kind, (
        0 if mask is None else mask._ptr, out._ptr, lse._ptr, scratch._ptr, table[1], query._ptr, key._ptr,
        value._ptr, out._ptr, scratch._ptr, scale, kind.itemsize, mask is not None, causal, pieces), pieces, work)


@attention.gradient
def _(g, query, key, value, mask, y0, y1, needs, causal, scale, order):
    # A gradient in the memory order of what it belongs to needs no copy on its way on.
    orders = tuple([_order_of(t) for t in (query, key, value)])
    grads = attention_gradient(g, query, key, value, mask, y0, y1, causal=causal, scale=scale, order=order, orders=orders)
    return (*[_back(d, o) if need else None for d, o, need in zip(grads, orders, needs)], None)


@custom(private=True, contiguous=False, reference=None)
def attention_gradient(g_out, query, key, value, mask, out, lse, *, causal: bool, scale: float, order: int, orders: tuple):
    """Gradients of ``attention`` for query, key and value, with their dimensions in ``orders``."""
    return [(_ordered(t._shape, o), t._kind) for t, o in zip((query, key, value), orders)]


@attention_gradient.cpu
def _(outs, g_out, query, key, value, mask, out, lse, causal, scale, order, orders):
    dq, dk, dv = outs
    query, key, value = _readable(query), _readable(key), _readable(value)
    s = g_out._strides
    if s is not None and (s[3] != 1 or _strides(g_out, order)[2] < g_out._shape[3]):
        # Rows that BLAS cannot read, such as those of an expanded gradient.
        g_out = contiguous_copy(g_out)
    if out._strides is not None:
        out = contiguous_copy(out)
    kind = query._kind
    meta, across = _head(query, key, value, mask)
    table = _table((*meta, *_strides(out, order), *across, *_strides(g_out, order), *_strides(dq, orders[0]),
                    *_strides(dk, orders[1]), *_strides(dv, orders[2])))
    pieces, work = _pieces(query, key, key._shape[0] * key._shape[1])
    scratch = make((pieces * 2 * kernels.BLOCK * key._shape[2],), kind)
    kernels.attention_backward.run(kind, (
        0 if mask is None else mask._ptr, g_out._ptr, out._ptr, lse._ptr, dk._ptr, dv._ptr, scratch._ptr,
        table[1], query._ptr, key._ptr, value._ptr, g_out._ptr, dq._ptr, dk._ptr, dv._ptr, scratch._ptr, scale,
        kind.itemsize, mask is not None, causal, pieces), pieces, 2 * work)


@attention_gradient.gradient
def _(gs, g_out, query, key, value, mask, needs, causal, scale, order, orders):
    # In ordinary ops, differentiated twice.
    from numbagrad.autograd import grad
    given = [g_out, query, key, value]
    further = any(t._rg for t in (*given, *gs))
    with modes.enable_grad():
        given = [t.view_as(t) if t._rg else t.detach().requires_grad_() for t in given]
        result = composed(*given[1:], mask, causal, scale)
        upper = _back(given[0], order)
        first = grad(result, given[1:], upper, create_graph=True)
        uppers = [_back(g, o) for g, o in zip(gs, orders)]
        targets = [t for t, need in zip(given, needs) if need]
        second = iter(grad(first, targets, uppers, create_graph=further, allow_unused=True))
    # The result and lse are functions of the others, through which their part is counted.
    return (*(next(second) if need else None for need in needs[:4]), None, None, None)


# --- in ordinary ops ----------------------------------------------------------------------------------------------------

def causal_mask(rows, columns, like):
    """Zeros on and below the diagonal, -inf above."""
    with modes.no_grad():
        return like.new_full((rows, columns), -math.inf).triu_(1)


def composed(query, key, value, mask, causal, scale, p=0.0):
    """Attention in ordinary ops: any number of leading dimensions, dropout, a mask with a gradient."""
    if causal:
        triangle = causal_mask(query._shape[-2], key._shape[-2], query)
        mask = triangle if mask is None else mask + triangle
    if len(query._shape) > 2 and key._shape[-3] != query._shape[-3] and key._shape[-3] > 1:
        shared = query._shape[-3] // key._shape[-3]
        repeat = _op("repeat_interleave")
        key, value = repeat(key, shared, -3), repeat(value, shared, -3)
    scores = matmul.callable(query * scale, key.transpose(-2, -1))
    if mask is not None:
        scores = scores + mask
    weights = softmax_forward(scores, -1)
    if mask is not None:
        # A row in which everything is masked has no weights, instead of 0 / 0.
        nothing = (scores.detach() == -math.inf).all(-1, True)
        weights = weights.masked_fill(nothing, 0.0)
    if p:
        weights = dropout.callable(weights, p, True)
    return matmul.callable(weights, value)


def _additive(mask, query):
    """A mask that is added: 0 where a boolean one is True, else -inf."""
    if mask._kind.dtype is not dt.bool:
        return mask
    with modes.no_grad():
        return query.new_zeros(mask._shape).masked_fill_(~mask, -math.inf)


def _check(query, key, value, mask, gqa):
    q, k, v = (len(t._shape) for t in (query, key, value))
    if min(q, k, v) < 2:
        raise RuntimeError("Expected query, key, and value to all be  at least 2 dimensional, but got query.dim: "
                           f"{q} key.dim: {k} and value.dim: {v} instead.")
    d = query._kind.dtype
    if any(t._kind.dtype is not d for t in (key, value)):
        names = [dt.c_name(t._kind.dtype) for t in (query, key, value)]
        raise RuntimeError(f"Expected query, key, and value to have the same dtype, but got query.dtype: {names[0]} "
                           f"key.dtype: {names[1]} and value.dtype: {names[2]} instead.")
    if any(t._kind is not query._kind for t in (key, value)):
        raise RuntimeError("Expected query, key, and value to have the same device type, but got query.device: "
                           f"{query.device} key.device: {key.device} and value.device: {value.device} instead.")
    if d.category != 2:
        raise RuntimeError(f"scaled_dot_product_attention: expected floating point tensors, but got {d}")
    if mask is not None:
        if mask._kind.dtype is not dt.bool and mask._kind.dtype is not d:
            raise RuntimeError("Expected attn_mask dtype to be bool or float or to match query dtype, but got attn_mask.dtype: "
                               f"{dt.c_name(mask._kind.dtype)} and  query.dtype: {dt.c_name(d)} instead.")
    if gqa and min(q, k, v) > 2:
        h, hk, hv = (t._shape[-3] for t in (query, key, value))
        if any(h != n and (not n or h % n) for n in (hk, hv)):
            raise RuntimeError("Number of heads in key and value must divide the number of heads in query, but got "
                               f"{h}, {hk} and {hv}")
    shapes = f"query {list(query._shape)}, key {list(key._shape)} and value {list(value._shape)}"
    if query._shape[-1] != key._shape[-1] or key._shape[-2] != value._shape[-2]:
        raise RuntimeError(f"scaled_dot_product_attention: the shapes of {shapes} do not fit: the last sizes of query and key "
                           "must be equal, and so the numbers of rows of key and value")


def _reference(q, k, v, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False):
    if enable_gqa:
        k, v = (np.repeat(t, q.shape[-3] // t.shape[-3], -3) for t in (k, v))
    s = q @ np.swapaxes(k, -1, -2) * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    if is_causal:
        s = np.where(np.tri(*s.shape[-2:], dtype=bool), s, -np.inf)
    if attn_mask is not None:
        s = np.where(attn_mask, s, -np.inf) if attn_mask.dtype == bool else s + attn_mask
    e = np.exp(s - s.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True) @ v


FOUR = ((2, 2, 3, 4), (2, 2, 5, 4), (2, 2, 5, 3))
VIABLE = {0, 1}  # ``nn.attention.SDPBackend`` values of the ways below that may be gone: in ordinary ops, as one op


def _refuse_backends(dropout_p=0.0):
    if VIABLE:
        warnings.warn("Flash attention kernel not used because:", stacklevel=4)
        if dropout_p:
            warnings.warn("Both fused kernels do not support non-zero dropout.", stacklevel=4)
        raise RuntimeError("No available kernel.  Aborting execution.")
    raise RuntimeError("No viable backend for scaled_dot_product_attention was found. This is likely due to turning off both "
                       "the math kernel and the fused kernels.")


def attend(query, key, value, attn_mask, dropout_p, is_causal, scale=None, enable_gqa=False, order=None):
    """The function below; ``order`` says how the result should lie in memory where that can be chosen."""
    _check(query, key, value, attn_mask, enable_gqa)
    d = query._kind.dtype
    if d.compute != d.code:
        mask = attn_mask if attn_mask is None or attn_mask._kind.dtype is dt.bool else attn_mask.to(dt.float32)
        wide = (t.to(dt.float32) for t in (query, key, value))
        return attend(*wide, mask, dropout_p, is_causal, scale, enable_gqa, order).to(d)
    e = query._shape[-1]
    if scale is None:
        scale = 1 / math.sqrt(e) if e else 1.0
    mask = None if attn_mask is None else _additive(attn_mask, query)
    dims = len(query._shape)
    if (dropout_p or not query._kind.cpu or dims > 4 or dims != len(key._shape) or dims != len(value._shape)
            or not (query._n and key._n and value._n) or (mask is not None and (mask._rg or len(mask._shape) > dims))
            or query._shape[:-3] != key._shape[:-3] or key._shape[:-2] != value._shape[:-2]
            or (dims > 2 and not enable_gqa and query._shape[-3] != key._shape[-3])):
        if 0 not in VIABLE:
            _refuse_backends(dropout_p)
        return composed(query, key, value, mask, is_causal, scale, dropout_p)
    if not VIABLE:
        _refuse_backends()
    lead = (None,) * (4 - dims)
    if lead:
        query, key, value = query[lead], key[lead], value[lead]
    if mask is not None:
        full = (*query._shape[:3], key._shape[2])
        try:
            fits = np.broadcast_shapes(mask._shape, full) == full
        except ValueError:
            fits = False
        if not fits:
            raise RuntimeError(f"The expanded size of the tensor ({full[-1]}) must match the existing size: attn_mask of shape "
                               f"{list(mask._shape)} cannot be expanded to {list(full)}")
    order = _order_of(query) if order is None else order
    out = attention.call(query, key, value, mask, causal=bool(is_causal), scale=dt.as_float(scale), order=order)[0]
    out = _back(out, order)
    return out.reshape(out._shape[4 - dims:]) if lead else out


@function(kinds={"value": "tensor"}, namespaces=("nn.functional",), method=False, reference=_reference, samples=(
    Sample(*FOUR), Sample(*FOUR, is_causal=True), Sample((3, 4), (5, 4), (5, 2), scale=0.3),
    Sample((2, 3, 4), (2, 5, 4), (2, 5, 4), (3, 5)), Sample((1, 4, 2, 3), (1, 2, 3, 3), (1, 2, 3, 2), enable_gqa=True),
    Sample(*FOUR, np.array([[True, False, True, True, False], [False, True, False, False, False], [True] * 5]))))
def scaled_dot_product_attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None,
                                 enable_gqa=False):
    """``softmax(query @ key^T * scale + attn_mask) @ value``: (..., L, E), (..., S, E), (..., S, V) to (..., L, V).

    ``scale`` is 1 / sqrt(E) unless given. A boolean mask says what takes part; ``is_causal`` lets row i see the first
    i + 1 keys. A row that sees nothing is 0. With ``enable_gqa`` groups of query heads share a head of the keys."""
    return attend(query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa)
