"""Attention whose scores go through a function of their places, and blocks of pairs that attend to each other."""

from __future__ import annotations

import math
from typing import NamedTuple, TypedDict

import numbagrad as ng

from ...base.user_code import user_level
from ._block_mask import (  # noqa: F401 (names of PyTorch's module)
    _DEFAULT_SPARSE_BLOCK_SIZE,
    _LARGE_SPARSE_BLOCK_SIZE,
    BlockMask,
    _sliced_mask_mod_error,
    _vmap_for_bhqkv,
    and_masks,
    create_block_mask,
    create_mask,
    empty_block_mask,
    noop_mask,
    or_masks,
)

__all__ = ["AuxOutput", "AuxRequest", "BlockMask", "FlexKernelOptions", "and_masks", "create_block_mask", "create_mask",
           "flex_attention", "noop_mask", "or_masks"]


class FlexKernelOptions(TypedDict, total=False):
    """Settings of PyTorch's kernels, without effect here."""


class AuxRequest(NamedTuple):
    """What is to be returned beside the result."""

    lse: bool = False
    max_scores: bool = False


class AuxOutput(NamedTuple):
    """What was asked for: logarithms of the sums of exponentials, largest scores."""

    lse: ng.Tensor | None = None
    max_scores: ng.Tensor | None = None


_warned: set = set()


def _warn(message, category=UserWarning):
    import warnings
    if message not in _warned:
        _warned.add(message)
        warnings.warn(message, category, stacklevel=user_level())


def _check(query, key, value, enable_gqa, block_mask):
    if query.device != key.device or query.device != value.device:
        raise ValueError(f"Expected query, key, and value to have the same device type, but got query.device: {query.device}, "
                         f"key.device: {key.device}, and value.device: {value.device} instead.")
    if query.dim() < 2 or key.dim() < 2 or value.dim() < 2:
        raise ValueError(f"Expected query, key, and value to all be  at least 2 dimensional, but got query.dim: {query.dim()}, "
                         f"key.dim: {key.dim()} and value.dim: {value.dim()} instead.")
    if query.size(-1) != key.size(-1):
        raise ValueError("Expect query and key/value to have the same embedding dimension "
                         f"but got E={query.size(-1)} and E={key.size(-1)}.")
    if query.dim() != 4 or key.dim() != 4 or value.dim() != 4:
        raise NotImplementedError("NYI: query, key, and value must be 4D tensors")
    heads, kv_heads = query.size(1), key.size(1)
    if not enable_gqa and heads != kv_heads:
        raise ValueError(f"Expect query and key/value to have the same number of heads but got Hq={heads} and Hkv={kv_heads}. "
                         "Try setting enable_gqa=True for GQA.")
    if heads % kv_heads:
        raise ValueError("Expect number of query heads to be a multiple of kv heads for GQA "
                         f"but got Hq={heads} and Hkv={kv_heads}.")
    if query.size(0) != key.size(0):
        sizes = f"Bq={query.size(0)}, {'and ' if block_mask is None else ''}Bkv={key.size(0)}"
        if block_mask is None:
            raise ValueError("Expect query and key/value to have the same batch size, or non-none block_mask, "
                             f"but got block_mask=None, {sizes}.")
        if block_mask.kv_num_blocks.size(0) != query.size(0):
            raise ValueError("Expect query and key/value to have the same batch size, or block_mask and query to have the same "
                             f"batch size, but got {sizes}, B_block_mask={block_mask.kv_num_blocks.size(0)}.")


def _check_lengths(block_mask, queries, keys):
    if block_mask.BLOCK_SIZE == (_LARGE_SPARSE_BLOCK_SIZE, _LARGE_SPARSE_BLOCK_SIZE):
        return
    rows, cols = block_mask.shape[-2:]
    if (rows, cols) == (queries, keys):
        return
    begin = f"block_mask was created for block_mask.shape={block_mask.shape} but got q_len={queries} and kv_len={keys}. "
    if queries > rows or keys > cols:
        raise ValueError(begin + "As the block mask was created for a smaller length than you're using it for, you likely need "
                         "to create a new block mask.")
    raise ValueError(begin + "As the block mask was created for a larger length than you're using it for, you can either 1. "
                     "create a new block mask with the correct length, or 2. 'adjust' the existing block mask to the correct "
                     "length by calling block_mask._adjust(q_len, kv_len). This essentially 'crops' the block mask to the "
                     "upper left corner, which does not work for all mask_mods!")


def flex_attention(query, key, value, score_mod=None, block_mask=None, scale=None, enable_gqa=False, return_lse=False,
                   kernel_options=None, *, return_aux=None):
    """Attention with ``score_mod(score, batch, head, query, key)`` of each score, of the pairs that the mask leaves."""
    _check(query, key, value, enable_gqa, block_mask)
    if block_mask is None:
        block_mask = empty_block_mask(query.device)
    if block_mask.mask_mod is _sliced_mask_mod_error:
        raise RuntimeError("Cannot use mask_mod from a sliced BlockMask")
    _check_lengths(block_mask, query.size(-2), key.size(-2))
    if query.device != block_mask.kv_num_blocks.device:
        raise RuntimeError("Expect q/k/v and block_mask to be on the same device "
                           f"but got {query.device} and {block_mask.kv_num_blocks.device}.")
    if return_lse:
        if return_aux is not None:
            raise ValueError("Cannot specify both return_lse and return_aux. return_lse is deprecated, please use "
                             "return_aux=AuxRequest(lse=True) instead.")
        _warn("return_lse is deprecated and will be removed in v2.10. Please use return_aux=AuxRequest(lse=True) instead.",
              FutureWarning)
    scores = _scores(query, key, score_mod, block_mask.mask_mod, 1 / math.sqrt(query.size(-1)) if scale is None else scale)
    out = _weighted(scores, query, value)
    if return_aux is not None:
        return out, AuxOutput(_logsumexp(scores) if return_aux.lse else None,
                              scores.max(-1)[0] if return_aux.max_scores else None)
    return (out, _logsumexp(scores)) if return_lse else out


def _like_queries(t, query):
    """Keys or values for each batch and head of the queries."""
    t = t.repeat_interleave(query.size(1) // t.size(1), dim=1) if t.size(1) != query.size(1) else t
    return t.expand(query.size(0), *t.shape[1:])


def _scores(query, key, score_mod, mask_mod, scale):
    precise = ng.float64 if query.dtype is ng.float64 else ng.float32
    scores = query.to(precise) @ _like_queries(key, query).to(precise).transpose(-2, -1) * scale
    places = [ng.arange(0, n, device=scores.device) for n in scores.shape]
    changed = scores if score_mod is None else _vmap_for_bhqkv(score_mod, prefix=(0,))(scores, *places)
    if mask_mod is noop_mask:
        return changed
    return ng.where(_vmap_for_bhqkv(mask_mod, prefix=())(*places), changed, -math.inf)


def _weighted(scores, query, value):
    # Queries without any key give zeros.
    weights = scores.softmax(-1).masked_fill((scores == -math.inf).all(-1, keepdim=True), 0.0)
    value = _like_queries(value, query).to(query.dtype)
    return weights.to(query.dtype) @ value


def _logsumexp(scores):
    return scores.logsumexp(-1)
