"""Rules of batches for normalization, losses and attention."""

from __future__ import annotations

from ..core.registry import REGISTRY
from .batch_products import affine, into, out_of
from .batch_rules import ops, rule, run
from .batched import batched
from .levels import outside
from .tables import BATCH_RULES


@rule("layer_norm_fused")
def layer_norm(level, op, args, params):
    """Normalized rows, then weights that may be of the batch."""
    x, weight, bias = args
    own = [t for t in (weight, bias) if t is not None and level.own(t)]
    if not own and level.own(x):
        return run(level, op, [x.value, weight, bias], params)
    bare = level.wrap(outside(op.call_in_order, (level.spread(x), None, None), tuple(params)))
    return affine(bare[0], weight, bias), bare[1]


@rule("group_norm_fused")
def group_norm(level, op, args, params):
    """Normalized groups: the batch becomes part of the layer's."""
    x, weight, bias = args
    value = level.spread(x)
    n = value._shape[1]
    own = any([t is not None and level.own(t) for t in (weight, bias)])
    flat = value.reshape(level.size * n, *value._shape[2:])
    out, aux = outside(op.call_in_order, (flat, *((None, None) if own else (weight, bias))), tuple(params))
    out = batched(level, out.reshape(value._shape))
    return affine(out, weight, bias, (-1, *(1,) * (len(x._shape) - 2))) if own else out, aux


@rule("batch_norm_fused")
def batch_norm(level, op, args, params):
    """Normalized channels: those of all elements side by side."""
    x, weight, bias, mean, var = args
    training = params[op.params.index("training")]
    if training and mean is not None and not level.own(mean):
        raise RuntimeError("Batch norm got a batched tensor as input while the running_mean or running_var, which will be "
                           "updated "
                           "in place, were not batched.\nIf you are using a module and do not need eval mode, please set "
                           "`track_running_stats` to be False.If you are using a prebuilt module and do not need eval mode, "
                           "please "
                           "see the functorch website for resources on how to patch your module to work with vmap")
    value = level.spread(x)
    channels = value._shape[2]

    def flat(t):
        return None if t is None else level.spread(t).reshape(level.size * channels)
    wide = value.movedim(0, 1).reshape(value._shape[1], level.size * channels, *value._shape[3:])
    out, aux = outside(op.call_in_order, (wide, *map(flat, (weight, bias, mean, var))), tuple(params))
    return batched(level, out.reshape(value._shape[1], level.size, channels, *value._shape[3:]).movedim(1, 0)), aux


def reduced(level, op, args, params):
    """A mean or a sum of an elementwise loss."""
    whole = REGISTRY[op.name.removesuffix("_reduced")]
    given = dict(zip(op.params, params))
    mean = given.pop("mean")
    out = whole.call(*args, *given.values())
    return out.mean() if mean else out.sum()


BATCH_RULES.update({name + "_reduced": reduced for name in (
    "bce_with_logits_full", "bce_with_logits_pointwise", "bce_with_logits_weighted", "binary_cross_entropy_pointwise",
    "binary_cross_entropy_weighted", "hinge_embedding_loss_pointwise", "huber_loss_pointwise", "kl_div_log_pointwise",
    "kl_div_pointwise", "l1_loss_pointwise", "mse_loss_pointwise", "smooth_l1_loss_pointwise", "soft_margin_loss_pointwise")})


@rule("cross_entropy_fused", "nll_fused")
def cross_entropy(level, op, args, params):
    """Minus the logarithm of the class's probability; 0, 1 and 2 of ``reduction`` are none, the mean and the sum."""
    x, target, weight = args
    given = dict(zip(op.params, params))
    if given.get("label_smoothing", 0.0):
        return NotImplemented
    dim = 0 if len(x._shape) == 1 else 1
    logs = ops("log_softmax")(x, dim) if op.name == "cross_entropy_fused" else x
    kept = target != given["ignore_index"]
    index = ops("where")(kept, target, 0)
    picked = -ops("gather")(logs, dim, index.unsqueeze(dim)).squeeze(dim)
    weights = kept.to(x.dtype) if weight is None else ops("where")(kept, weight[index], 0.0)
    losses = ops("where")(kept, picked * weights, 0.0)
    if given["reduction"] == 0:
        return losses, None
    return (losses.sum() / weights.sum() if given["reduction"] == 1 else losses.sum()), None


@rule("attention")
def attention(level, op, args, params):
    """Attention: the batch joins the one there is."""
    def part(t):
        return None if t is None else into(level.spread(t), 0)
    query, key, value, mask = args
    if mask is not None and (mask._shape[0] != query._shape[0] or len(mask._shape) != len(query._shape)):
        mask = mask.expand(query._shape[0], *(mask._shape[1:] if len(mask._shape) == 4 else mask._shape[-3:]))
    out, lse = outside(op.call_in_order, tuple(map(part, (query, key, value, mask))), tuple(params))
    # The result's dimensions may come in another order.
    at = 1 if params[op.params.index("order")] == 2 else 0
    return batched(level, out_of(out, at, level.size)), batched(level, out_of(lse, 0, level.size))
