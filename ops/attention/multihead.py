"""``multi_head_attention_forward``: projections, attention in each head, and the projection of the results."""

from __future__ import annotations

import math
import warnings

from numbagrad.base import dtypes as dt
from numbagrad.base import modes
from numbagrad.extend import REGISTRY, function

from ..product.linear import linear
from ..random.dropout import dropout
from ..reduce.softmax import softmax_forward
from .attention import attend


def _op(name):
    return REGISTRY[name].callable


def check_shapes(query, key, value, key_padding_mask, attn_mask, num_heads):
    """Whether the input is a batch; AssertionError for ranks that do not fit."""
    dims = query.dim()
    if dims not in (2, 3):
        raise AssertionError(
            f"query should be unbatched 2D or batched 3D tensor but received {dims}-D query tensor")
    what = f"For {'batched (3-D)' if dims == 3 else 'unbatched (2-D)'} `query`, expected"
    if key.dim() != dims or value.dim() != dims:
        raise AssertionError(f"{what} `key` and `value` to be {dims}-D but found {key.dim()}-D and {value.dim()}-D tensors "
                             "respectively")
    if key_padding_mask is not None and key_padding_mask.dim() != dims - 1:
        raise AssertionError(f"{what} `key_padding_mask` to be `None` or {dims - 1}-D but found {key_padding_mask.dim()}-D "
                             "tensor instead")
    if attn_mask is not None:
        if attn_mask.dim() not in (2, 3):
            raise AssertionError(f"{what} `attn_mask` to be `None`, 2-D or 3-D but found {attn_mask.dim()}-D tensor instead")
        expected = num_heads, query._shape[0], key._shape[0]
        if dims == 2 and attn_mask.dim() == 3 and attn_mask._shape != expected:
            raise AssertionError(f"Expected `attn_mask` shape to be {expected} but got {attn_mask.shape}")
    return dims == 3


def canonical_mask(mask, mask_name, other_type, other_name, target_type, check_other=True, stacklevel=3):
    """A mask that is added: -inf where a boolean one is True. Warns when the other mask has another dtype."""
    if mask is None:
        return None
    if mask.dtype is not dt.bool and not mask.is_floating_point():
        raise AssertionError(f"only bool and floating types of {mask_name} are supported")
    if check_other and other_type is not None and mask.dtype is not other_type:
        warnings.warn(f"Support for mismatched {mask_name} and {other_name} is deprecated. Use same type for both instead.",
                      stacklevel=stacklevel)
    if mask.dtype is dt.bool:
        with modes.no_grad():
            return mask.new_zeros(mask._shape, dtype=target_type).masked_fill_(mask, -math.inf)
    return mask


def projected(query, key, value, weight, bias):
    """Queries, keys and values by one weight (3 E, E), in as few products as the inputs allow."""
    e = query._shape[-1]
    if key is value:
        if query is key:
            return linear.callable(query, weight, bias).split(e, -1)
        w, rest = weight.split([e, 2 * e])
        b, more = (None, None) if bias is None else bias.split([e, 2 * e])
        return (linear.callable(query, w, b), *linear.callable(key, rest, more).split(e, -1))
    ws = weight.split(e)
    bs = (None,) * 3 if bias is None else bias.split(e)
    return [linear.callable(x, w, b) for x, w, b in zip((query, key, value), ws, bs)]


def _merged_mask(attn_mask, key_padding_mask, n, heads, rows, columns):
    """One mask that broadcasts to (N, heads, L, S), or None."""
    if attn_mask is not None:
        attn_mask = attn_mask.reshape(n if attn_mask.dim() == 3 else 1, heads if attn_mask.dim() == 3 else 1, rows, columns)
    if key_padding_mask is None:
        return attn_mask
    if key_padding_mask._shape[0] != n:
        raise AssertionError(f"Expected key_padded_mask.shape[0] to be {n}, but got {key_padding_mask._shape[0]}")
    if key_padding_mask._shape[1] != columns:
        raise AssertionError(f"Expected key_padded_mask.shape[1] to be {columns}, but got {key_padding_mask._shape[1]}")
    padding = key_padding_mask.reshape(n, 1, 1, columns)
    return padding if attn_mask is None else attn_mask + padding


def run(query, key, value, embed_dim_to_check, num_heads, in_proj_weight, in_proj_bias, bias_k, bias_v, add_zero_attn,
        dropout_p, out_proj_weight, out_proj_bias, training, key_padding_mask, need_weights, attn_mask, is_causal, separate,
        static_k, static_v, average_attn_weights, batch_first=False):
    """The function below for either order of the dimensions; ``separate`` holds the projections of query, key and value."""
    batched = check_shapes(query, key, value, key_padding_mask, attn_mask, num_heads)
    at = 0 if batch_first else 1
    if not batched:
        same, shared = query is key, key is value
        query = query.unsqueeze(at)
        key = query if same else key.unsqueeze(at)
        value = key if shared else value.unsqueeze(at)
        key_padding_mask = key_padding_mask if key_padding_mask is None else key_padding_mask.unsqueeze(0)
    n, rows, e = query._shape[at], query._shape[1 - at], query._shape[2]
    columns = key._shape[1 - at]
    key_padding_mask = canonical_mask(key_padding_mask, "key_padding_mask", None if attn_mask is None else attn_mask.dtype,
                                      "attn_mask", query.dtype, stacklevel=4)
    if is_causal and attn_mask is None:
        raise RuntimeError("Need attn_mask if specifying the is_causal hint. You may use the Transformer module method "
                           "`generate_square_subsequent_mask` to create this mask.")
    if is_causal and key_padding_mask is None and not need_weights:
        attn_mask = None
    else:
        attn_mask = canonical_mask(attn_mask, "attn_mask", None, "", query.dtype, check_other=False)
        is_causal = False
    if e != embed_dim_to_check:
        raise AssertionError(f"was expecting embedding dimension of {embed_dim_to_check}, but got {e}")
    d = e // num_heads
    if d * num_heads != e:
        raise AssertionError(f"embed_dim {e} not divisible by num_heads {num_heads}")
    if separate is not None:
        if key._shape[:2] != value._shape[:2]:
            raise AssertionError(f"key's sequence and batch dims {key.shape[:2]} do not match value's {value.shape[:2]}")
        for w, name in zip(separate, "qkv"):
            if w is None:
                raise AssertionError(f"use_separate_proj_weight is True but {name}_proj_weight is None")
        bs = (None,) * 3 if in_proj_bias is None else in_proj_bias.split(e)
        q, k, v = (linear.callable(x, w, b) for x, w, b in zip((query, key, value), separate, bs))
    else:
        if key._shape != value._shape:
            raise AssertionError(f"key shape {key.shape} does not match value shape {value.shape}")
        if in_proj_weight is None:
            raise AssertionError("use_separate_proj_weight is False but in_proj_weight is None")
        q, k, v = projected(query, key, value, in_proj_weight, in_proj_bias)
    if attn_mask is not None:
        expected = (rows, columns) if attn_mask.dim() == 2 else (n * num_heads, rows, columns)
        if attn_mask._shape != expected:
            raise RuntimeError(f"The shape of the {attn_mask.dim()}D attn_mask is {attn_mask.shape}, but should be {expected}.")

    def heads(t):
        t = t.reshape(*t._shape[:2], num_heads, d)
        return t.permute(0, 2, 1, 3) if batch_first else t.permute(1, 2, 0, 3)

    def given(t, name):
        if t._shape[0] != n * num_heads:
            raise AssertionError(f"expecting {name}.size(0) of {n * num_heads}, but got {t._shape[0]}")
        if t._shape[2] != d:
            raise AssertionError(f"expecting {name}.size(2) of {d}, but got {t._shape[2]}")
        return t.reshape(n, num_heads, t._shape[1], d)

    cat, extra = _op("cat"), 0
    if (bias_k is None) != (bias_v is None):
        raise AssertionError("bias_k is set but bias_v is None" if bias_v is None else "bias_v is set but bias_k is None")
    if bias_k is not None:
        for t, name in ((static_k, "key"), (static_v, "value")):
            if t is not None:
                raise AssertionError(f"bias cannot be added to static {name}.")
        shape = (n, 1, e) if batch_first else (1, n, e)
        k, v = cat((k, bias_k.expand(shape)), 1 - at), cat((v, bias_v.expand(shape)), 1 - at)
        extra += 1
    q, k = heads(q), heads(k) if static_k is None else given(static_k, "static_k")
    v = heads(v) if static_v is None else given(static_v, "static_v")
    if add_zero_attn:
        zero = k.new_zeros((n, num_heads, 1, d))
        k, v = cat((k, zero), 2), cat((v, zero), 2)
        extra += 1
    if extra:
        pad = _op("pad")
        attn_mask = attn_mask if attn_mask is None else pad(attn_mask, (0, extra))
        key_padding_mask = key_padding_mask if key_padding_mask is None else pad(key_padding_mask, (0, extra))
    columns = k._shape[2]
    mask = _merged_mask(attn_mask, key_padding_mask, n, num_heads, rows, columns)
    p = dropout_p if training else 0.0
    weights = None
    if need_weights:
        weights = _op("matmul")(q * math.sqrt(1.0 / d), k.transpose(-2, -1))
        weights = softmax_forward(weights if mask is None else weights + mask, -1)
        if p > 0.0:
            weights = dropout.callable(weights, p, True)
        out = _op("matmul")(weights, v)
    else:
        out = attend(q, k, v, mask, p, is_causal, order=2)
    # As in PyTorch the result lies in memory as (L, N, E), which a dropout that follows draws its numbers by.
    out = linear.callable(out.permute(2, 0, 1, 3).reshape(rows, n, e), out_proj_weight, out_proj_bias)
    if batch_first:
        out = out.transpose(0, 1)
    if weights is not None and average_attn_weights:
        weights = weights.mean(1)
    if not batched:
        out, weights = out.squeeze(at), weights if weights is None else weights.squeeze(0)
    return out, weights


@function(kinds={"value": "tensor", "k": "any"}, namespaces=("nn.functional",), method=False)
def multi_head_attention_forward(query, key, value, embed_dim_to_check, num_heads, in_proj_weight, in_proj_bias, bias_k, bias_v,
                                 add_zero_attn, dropout_p, out_proj_weight, out_proj_bias, training=True,
                                 key_padding_mask=None, need_weights=True, attn_mask=None, use_separate_proj_weight=False,
                                 q_proj_weight=None, k_proj_weight=None, v_proj_weight=None, static_k=None, static_v=None,
                                 average_attn_weights=True, is_causal=False):
    """Attention of (L, N, E) to (S, N, ...) in ``num_heads`` heads with its projections: (result, weights or None).

    ``nn.MultiheadAttention`` holds the parameters. Boolean masks are True where nothing may be seen."""
    separate = (q_proj_weight, k_proj_weight, v_proj_weight) if use_separate_proj_weight else None
    return run(query, key, value, embed_dim_to_check, num_heads, in_proj_weight, in_proj_bias, bias_k, bias_v, add_zero_attn,
               dropout_p, out_proj_weight, out_proj_bias, training, key_padding_mask, need_weights, attn_mask, is_causal,
               separate, static_k, static_v, average_attn_weights)
