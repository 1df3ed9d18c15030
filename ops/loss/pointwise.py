"""The scalar functions of losses, and their fused sums and means."""

from __future__ import annotations

import math

import numpy as np

from numbagrad.dispatch.pairwise import Reduced
from numbagrad.extend import REGISTRY, Sample, elementwise
from numbagrad.extend import scalar as s
from numbagrad.kernel.expr import where

NAN = math.nan
BOTH = (Sample((3, 4), (3, 4)),)
REDUCED = (Sample((3, 4), (3, 4), mean=True), Sample((3, 4), (3, 4), mean=False))


def np_huber(x, t, delta=1.0):
    d = np.abs(x - t)
    return np.where(d < delta, 0.5 * d * d, delta * (d - 0.5 * delta))


def np_smooth(x, t, beta=1.0):
    d = np.abs(x - t)
    return np.where(d < beta, 0.5 * d * d / beta, d - 0.5 * beta)


def np_bce(x, t, weight=1.0):
    return -weight * (t * np.log(x) + (1 - t) * np.log1p(-x))


def np_logits(x, t, weight=1.0, pos_weight=1.0):
    return weight * ((1 - t) * np.logaddexp(0, x) + pos_weight * t * np.logaddexp(0, -x))


@elementwise(private=True, accepts="realfloat", dtypes="float", names="MseLossBackward0", samples=BOTH,
             reference=lambda x, t: (x - t)**2)
def mse_loss_pointwise(input, target):
    """(input - target) ** 2."""
    d = input - target
    return d * d


@elementwise(private=True, accepts="realfloat", dtypes="float", names="AbsBackward0", samples=BOTH,
             reference=lambda x, t: np.abs(x - t))
def l1_loss_pointwise(input, target):
    """|input - target|."""
    return s.absolute(input - target)


@l1_loss_pointwise.refuses
def _(args, compute):
    REGISTRY["sub"].check(args, compute)


@elementwise(private=True, accepts="realfloat", dtypes="float", names="SmoothL1LossBackward0", fused=True,
             samples=(Sample((3, 4), (3, 4), 1.0371),),
             reference=np_smooth)
def smooth_l1_loss_pointwise(input, target, beta: float = 1.0):
    """d**2 / (2 * beta) where d = |input - target| is below beta, d - beta / 2 elsewhere."""
    d = input - target
    a = s.absolute(d)
    return where(a < beta, 0.5 * d * d / beta, a - 0.5 * beta)


@smooth_l1_loss_pointwise.gradient
def _(g, input, target, beta):
    d = input - target
    r = where(d <= -beta, -g, where(d >= beta, g, where(s.apply("eq", d, d), g * d / beta, NAN)))
    return r, -r


@elementwise(private=True, accepts="realfloat", dtypes="float", names="HuberLossBackward0", fused=True,
             samples=(Sample((3, 4), (3, 4), 1.0371),),
             reference=np_huber)
def huber_loss_pointwise(input, target, delta: float = 1.0):
    """d**2 / 2 where d = |input - target| is below delta, delta * (d - delta / 2) elsewhere."""
    d = input - target
    a = s.absolute(d)
    return where(a < delta, 0.5 * d * d, delta * (a - 0.5 * delta))


@huber_loss_pointwise.gradient
def _(g, input, target, delta):
    d = input - target
    r = where(d <= -delta, -g * delta, where(d >= delta, g * delta, where(s.apply("eq", d, d), g * d, NAN)))
    return r, -r


def _bce(input, target):
    # PyTorch's clamp: a probability of exactly 0 or 1 costs 100, not infinity.
    return -(target * s.maximum(s.log(input), -100.0) + (1 - target) * s.maximum(s.log1p(-input), -100.0))


def _bce_gradients(g, input, target):
    return (g * (input - target) / s.maximum((1 - input) * input, 1e-12),
            g * (s.log1p(-input) - s.log(input)))


@elementwise(private=True, accepts="realfloat", dtypes="float", names="BinaryCrossEntropyBackward0", samples=BOTH,
             domain=(0.1, 0.9), reference=np_bce)
def binary_cross_entropy_pointwise(input, target):
    """-(target * log(input) + (1 - target) * log(1 - input)), the logarithms not below -100."""
    return _bce(input, target)


@binary_cross_entropy_pointwise.gradient
def _(g, input, target):
    return _bce_gradients(g, input, target)


@elementwise(private=True, accepts="realfloat", dtypes="float", names="BinaryCrossEntropyBackward0",
             samples=(Sample((3, 4), (3, 4), (3, 4)),), domain=(0.1, 0.9), reference=np_bce)
def binary_cross_entropy_weighted(input, target, weight):
    """Binary cross entropy times ``weight``."""
    return weight * _bce(input, target)


@binary_cross_entropy_weighted.gradient
def _(g, input, target, weight):
    return (*_bce_gradients(g * weight, input, target), g * _bce(input, target))


def _softplus(x):
    return s.maximum(x, 0) + s.log1p(s.exp(-s.absolute(x)))


@elementwise(private=True, accepts="realfloat", dtypes="float", names="BinaryCrossEntropyWithLogitsBackward0",
             samples=BOTH, reference=np_logits)
def bce_with_logits_pointwise(input, target):
    """(1 - target) * input + softplus(-input)."""
    return (1 - target) * input + _softplus(-input)


@bce_with_logits_pointwise.gradient
def _(g, input, target):
    return g * (s.sigmoid(input) - target), -(g * input)


@elementwise(private=True, accepts="realfloat", dtypes="float", names="BinaryCrossEntropyWithLogitsBackward0",
             samples=(Sample((3, 4), (3, 4), (3, 4)),), reference=np_logits)
def bce_with_logits_weighted(input, target, weight):
    """Binary cross entropy of logits times ``weight``."""
    return weight * ((1 - target) * input + _softplus(-input))


@bce_with_logits_weighted.gradient
def _(g, input, target, weight):
    return (g * weight * (s.sigmoid(input) - target), -(g * weight * input),
            g * ((1 - target) * input + _softplus(-input)))


@elementwise(private=True, accepts="realfloat", dtypes="float", names="BinaryCrossEntropyWithLogitsBackward0",
             samples=(Sample((3, 4), (3, 4), (3, 4), (3, 4)),), reference=np_logits)
def bce_with_logits_full(input, target, weight, pos_weight):
    """Binary cross entropy of logits with ``pos_weight`` on the positive part, times ``weight``."""
    return weight * ((1 - target) * input + (1 + (pos_weight - 1) * target) * _softplus(-input))


@bce_with_logits_full.gradient
def _(g, input, target, weight, pos_weight):
    share = 1 + (pos_weight - 1) * target
    soft = _softplus(-input)
    return (g * weight * ((1 - target) - share * s.sigmoid(-input)),
            g * weight * ((pos_weight - 1) * soft - input),
            g * ((1 - target) * input + share * soft), g * weight * target * soft)


@elementwise(private=True, accepts="realfloat", dtypes="float", names="SoftMarginLossBackward0", samples=BOTH,
             reference=lambda x, t: np.log1p(np.exp(-t * x)))
def soft_margin_loss_pointwise(input, target):
    """log(1 + exp(-target * input))."""
    return _softplus(-target * input)


@soft_margin_loss_pointwise.gradient
def _(g, input, target):
    p = s.sigmoid(-target * input)
    return -(g * target * p), -(g * input * p)


@elementwise(private=True, accepts="realfloat", dtypes="float", names="SubBackward0", samples=BOTH, domain=(0.1, 2.0),
             reference=lambda x, t: t * (np.log(t) - x))
def kl_div_pointwise(input, target):
    """target * (log(target) - input)."""
    return where(s.apply("eq", target, 0), 0, target * s.log(target)) - target * input


@kl_div_pointwise.gradient
def _(g, input, target):
    # PyTorch's slope of target * log(target) is log(target) + target / target: NaN at 0 and infinity.
    zero = s.apply("eq", target, 0)
    one = where(zero | s.apply("ne", target - target, 0), NAN, 1)
    return -(g * target), g * (where(zero, 0, s.log(target)) + one - input)


@elementwise(private=True, accepts="realfloat", dtypes="float", names="MulBackward0", samples=BOTH,
             reference=lambda x, t: np.exp(t) * (t - x))
def kl_div_log_pointwise(input, target):
    """exp(target) * (target - input)."""
    return s.exp(target) * (target - input)


@elementwise(private=True, accepts="realfloat", dtypes="float", names="AddBackward0", samples=BOTH,
             holds=("margin",), fits=("margin",),
             reference=lambda x, t, margin=1.0: (np.where(t != 1, np.maximum(margin - x, 0), 0)
                                                 + np.where(t != -1, x, 0)))
def hinge_embedding_loss_pointwise(input, target, margin: float = 1.0):
    """input where the target is 1, max(0, margin - input) where it is -1."""
    left = margin - input
    return (where(s.apply("ne", target, 1), where(left < 0, 0, left), 0) + where(s.apply("ne", target, -1), input, 0))


@hinge_embedding_loss_pointwise.gradient
def _(g, input, target, margin):
    near = where(margin - input >= 0, -g, 0)
    return where(s.apply("ne", target, 1), near, 0) + where(s.apply("ne", target, -1), g, 0), None


@elementwise(private=True, accepts="realfloat", dtypes="float", names="ClampMinBackward0",
             samples=(Sample((3, 4), (3, 4), (3, 4)),), holds=("margin",),
             reference=lambda a, b, t, margin=0.0: np.maximum(-t * (a - b) + margin, 0))
def margin_ranking_loss_pointwise(input1, input2, target, margin: float = 0.0):
    """max(0, -target * (input1 - input2) + margin)."""
    z = -target * (input1 - input2) + margin
    return where(z < 0, 0, z)


@margin_ranking_loss_pointwise.refuses
def _(args, compute):
    REGISTRY["sub"].check(args[:2], compute)
    REGISTRY["neg"].check(args[2:3], args[2]._kind.dtype)


@margin_ranking_loss_pointwise.gradient
def _(g, input1, input2, target, margin):
    d = input1 - input2
    r = where(margin - target * d >= 0, g, 0)
    return -(r * target), r * target, -(r * d)


def _fused(op, *names, **options):
    """Sum and mean of a loss; ``names`` are their nodes where they differ from the elementwise one."""
    def reference(*args, mean, **numbers):
        values = op.reference(*args, **numbers)
        return values.mean() if mean else values.sum()
    return Reduced(op, names or (op.names, op.names), reference=reference, **options)


mse_fused = _fused(mse_loss_pointwise, samples=REDUCED)
l1_fused = _fused(l1_loss_pointwise, "SumBackward0", "MeanBackward0", samples=REDUCED)
smooth_fused = _fused(smooth_l1_loss_pointwise)
huber_fused = _fused(huber_loss_pointwise)
bce_mean_fused = _fused(binary_cross_entropy_pointwise, samples=REDUCED, domain=(0.1, 0.9))
bce_weighted_fused = _fused(binary_cross_entropy_weighted)
logits_fused = _fused(bce_with_logits_pointwise, samples=REDUCED)
logits_weighted_fused = _fused(bce_with_logits_weighted)
logits_full_fused = _fused(bce_with_logits_full)
soft_margin_fused = _fused(soft_margin_loss_pointwise, samples=REDUCED)
kl_fused = _fused(kl_div_pointwise, "SumBackward0", "MeanBackward0", samples=REDUCED, domain=(0.1, 2.0))
kl_log_fused = _fused(kl_div_log_pointwise, "SumBackward0", "MeanBackward0", samples=REDUCED)
hinge_fused = _fused(hinge_embedding_loss_pointwise, "SumBackward0", "MeanBackward0")
