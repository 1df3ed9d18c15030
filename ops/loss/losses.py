"""Losses between an output and a target of its shape."""

from __future__ import annotations

import warnings

import numpy as np

from numbagrad.base import arguments
from numbagrad.base import dtypes as dt
from numbagrad.base.user_code import caller_level
from numbagrad.core.broadcast import broadcast_shapes
from numbagrad.extend import Sample, Tensor, elementwise, function, load, scalar
from numbagrad.kernel import tape
from numbagrad.kernel.jit import kernel

from ..refusal import constant, refusal
from . import pointwise as pw
from .reductions import NONE, finish, legacy, reduction_code

CONSTANT = np.array([[0.5, 1.0, 2.0, 0.25], [1.5, 0.75, 1.25, 0.1], [0.3, 0.6, 0.9, 1.2]])
SIGNS = np.array([[1.0, -1.0, 1.0, 1.0], [-1.0, -1.0, 1.0, -1.0], [1.0, 1.0, -1.0, -1.0]])
PAIR = (Sample((3, 4), (3, 4)), Sample((3, 4), (3, 4), reduction="sum"), Sample((3, 4), (3, 4), reduction="none"))
SPACE = {"namespaces": ("nn.functional",), "method": False}


def _reduce(values, reduction):
    """NumPy reduction of elementwise reference values."""
    return values.mean() if reduction == "mean" else values.sum() if reduction == "sum" else values


def _reference(pointwise):
    def reference(*args, reduction="mean", **kwargs):
        return _reduce(pointwise(*args, **kwargs), reduction)
    return reference


# --- calls ------------------------------------------------------------------------------------------------------------

@kernel
def outside_unit(x: "*T", found: "*i8", start: int, stop: int):
    """Set int64 found (1,) to -1, or to how many elements of x (n,) are not in [0, 1]."""
    count = 0
    for i in range(start, stop):
        v = load(x[i])
        count += 0 if (v >= 0 and v <= 1) else 1
    found[0] = count if count else -1


class _Unit:
    """The check that all elements of an argument lie in [0, 1]."""

    def __init__(self, what):
        self.what, self.flag = what, tape.Flag(self.raises)

    def raises(self, count):
        raise RuntimeError(f"all elements of {self.what} should be between 0 and 1")

    def __call__(self, t):
        if t._kind.cpu:
            t = t if t._strides is None else t.detach().contiguous()
            found = self.flag.take(t._kind)
            outside_unit[t._kind](t._ptr, found.address, 0, t._n)
            found.check()


_check_input, _check_target = _Unit("input"), _Unit("target")


def _apply(op, fused, tensors, reduction, numbers=(), kept=None):
    """The reduced loss: fused for tensors of one kind and shape, composed for others, in the dtype of ``kept`` if given."""
    first = tensors[0]
    if reduction_code(reduction) == NONE:
        return _kept(op.call(*tensors, *numbers), kept)
    kind, shape = first._kind, first._shape
    for t in tensors[1:]:
        if t._kind is not kind or t._shape != shape:
            break
    else:
        if kind.dtype.category == 2 and first._n:
            return fused.op.call(*tensors, mean=reduction == "mean", **dict(zip(fused.numbers, numbers)))
    values = _kept(op.call(*tensors, *numbers), kept)
    return values.mean() if reduction == "mean" else values.sum()


def _check_cast(given, wanted):
    """PyTorch's error where a loss is kept in a tensor that its values cannot be cast to."""
    if not dt.can_cast(given, wanted):
        raise RuntimeError(f"result type {dt.scalar_name(given)} can't be cast to the desired output type "
                           f"{dt.scalar_name(wanted)}")


def _kept(values, like):
    """The values of a loss that PyTorch keeps in the dtype of one of its tensors, or in what it promotes to."""
    if like is None or values._kind is like._kind:
        return values
    _check_cast(values.dtype, like.dtype)
    return values.to(dtype=like.dtype)


def _warn_size(input, target):
    """PyTorch's warning for a target that will be broadcast."""
    if target._shape != input._shape:
        warnings.warn(f"Using a target size ({target.shape}) that is different to the input size ({input.shape}). This "
                      "will likely lead to incorrect results due to broadcasting. Please ensure they have the same "
                      "size.", stacklevel=caller_level())


@function(**SPACE, reference=_reference(lambda x, t, weight=1.0: weight * (x - t)**2), samples=PAIR)
def mse_loss(input, target, size_average=None, reduce=None, reduction="mean", weight=None):
    """Mean (or sum, or values) of (input - target) ** 2."""
    if size_average is not None or reduce is not None:
        reduction = legacy(size_average, reduce)
    if target._shape != input._shape:
        _warn_size(input, target)
    if weight is not None:
        if weight._shape != input._shape:
            raise ValueError("Weights and input must have the same size.")
        values = pw.mse_loss_pointwise.call(input, target) * weight
        return values.sum() / weight.sum() if reduction == "mean" else values.sum() if reduction == "sum" else values
    return _apply(pw.mse_loss_pointwise, pw.mse_fused, (input, target), reduction)


@function(**SPACE, reference=_reference(lambda x, t: np.abs(x - t)), samples=PAIR)
def l1_loss(input, target, size_average=None, reduce=None, reduction="mean", weight=None):
    """Mean (or sum, or values) of |input - target|."""
    if size_average is not None or reduce is not None:
        reduction = legacy(size_average, reduce)
    if target._shape != input._shape:
        _warn_size(input, target)
    if weight is not None:
        if weight._shape != input._shape:
            raise ValueError("Weights and input must have the same size.")
        values = pw.l1_loss_pointwise.call(input, target) * weight
        return values.sum() / weight.sum() if reduction == "mean" else values.sum() if reduction == "sum" else values
    if dt.promote_types(input._kind.dtype, target._kind.dtype).category != 2:
        return finish((input - target).abs(), reduction)
    return _apply(pw.l1_loss_pointwise, pw.l1_fused, (input, target), reduction)


@function(**SPACE, reference=_reference(pw.np_smooth),
          samples=(Sample((3, 5), (3, 5), beta=1.0371), Sample((3, 4), (3, 4), beta=0.5113, reduction="sum"),
                   Sample((2, 4), (2, 4), reduction="none", beta=0.7317)))
def smooth_l1_loss(input, target, size_average=None, reduce=None, reduction="mean", beta=1.0):
    """d**2 / (2 * beta) where d = |input - target| is below beta, d - beta / 2 elsewhere."""
    if size_average is not None or reduce is not None:
        reduction = legacy(size_average, reduce)
    if target._shape != input._shape:
        _warn_size(input, target)
    if not beta >= 0:
        raise RuntimeError("smooth_l1_loss does not support negative values for beta.")
    if beta == 0:
        return _apply(pw.l1_loss_pointwise, pw.l1_fused, (input, target), reduction)
    return _apply(pw.smooth_l1_loss_pointwise, pw.smooth_fused, (input, target), reduction, (dt.as_float(beta),))


@function(**SPACE, reference=_reference(pw.np_huber),
          samples=(Sample((3, 5), (3, 5), delta=1.0371), Sample((3, 4), (3, 4), delta=0.5113, reduction="sum"),
                   Sample((2, 4), (2, 4), reduction="none", delta=0.7317)))
def huber_loss(input, target, reduction="mean", delta=1.0, weight=None):
    """d**2 / 2 where d = |input - target| is below delta, delta * (d - delta / 2) elsewhere."""
    if target._shape != input._shape:
        _warn_size(input, target)
    if not delta > 0:
        raise RuntimeError("huber_loss does not support non-positive values for delta.")
    if weight is not None:
        values = _kept(pw.huber_loss_pointwise.call(input, target, dt.as_float(delta)), input) * weight
        return values.sum() / weight.sum() if reduction == "mean" else values.sum() if reduction == "sum" else values
    return _apply(pw.huber_loss_pointwise, pw.huber_fused, (input, target), reduction, (dt.as_float(delta),), input)


@function(**SPACE, reference=_reference(pw.np_bce), samples=PAIR, domain=(0.1, 0.9))
def binary_cross_entropy(input, target, weight=None, size_average=None, reduce=None, reduction="mean"):
    """-(target * log(input) + (1 - target) * log(1 - input)) for probabilities; logarithms stop at -100."""
    if size_average is not None or reduce is not None:
        reduction = legacy(size_average, reduce)
    if target._shape != input._shape:
        raise ValueError(f"Using a target size ({target.shape}) that is different to the input size ({input.shape}) is "
                         "deprecated. Please ensure they have the same size.")
    if target._kind is not input._kind:
        raise RuntimeError(f"Found dtype {dt.scalar_name(target._kind.dtype)} but expected "
                           f"{dt.scalar_name(input._kind.dtype)}")
    _check_input(input)
    _check_target(target)
    if weight is None:
        return _apply(pw.binary_cross_entropy_pointwise, pw.bce_mean_fused, (input, target), reduction)
    if weight._shape != input._shape:
        weight = weight.expand(input._shape)
    return _apply(pw.binary_cross_entropy_weighted, pw.bce_weighted_fused, (input, target, weight), reduction)


def _check_logits(input, target):
    """PyTorch's errors for types that ``log_sigmoid(input)`` and ``(1 - target) * input``, kept as ``target``, do not have."""
    d, given = input._kind.dtype, target._kind.dtype
    if given is dt.bool_:
        raise RuntimeError("Subtraction, the `-` operator, with two bool tensors is not supported. Use the `^` or "
                           "`logical_xor()` operator instead.")
    if d.category < 2:
        raise NotImplementedError(f"\"log_sigmoid_cpu\" not implemented for '{dt.scalar_name(d)}'")
    _check_cast(dt.promote_types(d, given), given)


@function(**SPACE, aliases=(), reference=_reference(pw.np_logits),
          samples=(*PAIR, Sample((3, 4), (3, 4), CONSTANT, pos_weight=CONSTANT[1])))
def binary_cross_entropy_with_logits(input, target, weight=None, size_average=None, reduce=None, reduction="mean",
                                     pos_weight=None):
    """Binary cross entropy of sigmoid(input), computed from the logits without overflow.

    (1 - target) * input + (1 + (pos_weight - 1) * target) * softplus(-input), times ``weight``."""
    if size_average is not None or reduce is not None:
        reduction = legacy(size_average, reduce)
    if target._shape != input._shape:
        raise ValueError(f"Target size ({target.shape}) must be the same as input size ({input.shape})")
    if target._kind is not input._kind:
        _check_logits(input, target)
    if weight is None and pos_weight is None:
        return _apply(pw.bce_with_logits_pointwise, pw.logits_fused, (input, target), reduction, kept=target)
    if weight is not None and weight._shape != input._shape:
        weight = weight.expand(input._shape)
    if pos_weight is None:
        return _apply(pw.bce_with_logits_weighted, pw.logits_weighted_fused, (input, target, weight), reduction, kept=target)
    if pos_weight._shape != input._shape:
        pos_weight = pos_weight.expand(input._shape)
    if weight is None:
        from numbagrad import ones_like
        weight = ones_like(input)
    return _apply(pw.bce_with_logits_full, pw.logits_full_fused, (input, target, weight, pos_weight), reduction, kept=target)


@function(**SPACE, reference=_reference(lambda x, t: np.log1p(np.exp(-t * x))),
          samples=(Sample((3, 4), SIGNS), Sample((3, 4), SIGNS, reduction="none")))
def soft_margin_loss(input, target, size_average=None, reduce=None, reduction="mean"):
    """log(1 + exp(-target * input)) for targets 1 and -1."""
    if size_average is not None or reduce is not None:
        reduction = legacy(size_average, reduce)
    constant("soft_margin_loss", "target", target)
    d, given = input._kind.dtype, target._kind.dtype
    _check_cast(given, d)
    _check_cast(dt.get_default_dtype() if d.category < 2 else d, d)
    if given is not d:
        target = target.to(dtype=d)
    if target._shape != input._shape:
        shape = broadcast_shapes("soft_margin_loss", (input, target))
        if shape != input._shape:
            raise RuntimeError(f"output with shape {list(input._shape)} doesn't match the broadcast shape {list(shape)}")
    return _apply(pw.soft_margin_loss_pointwise, pw.soft_margin_fused, (input, target), reduction)


def _np_kl(x, t, reduction="mean", log_target=False):
    v = np.exp(t) * (t - x) if log_target else t * (np.log(t) - x)
    return v.sum() / len(x) if reduction == "batchmean" else _reduce(v, reduction)


@function(**SPACE, reference=_np_kl, domain=(0.1, 2.0),
          samples=(Sample((3, 4), (3, 4), reduction="batchmean"), Sample((3, 4), (3, 4), reduction="sum"),
                   Sample((3, 4), (3, 4), reduction="none", log_target=True)))
def kl_div(input, target, size_average=None, reduce=None, reduction="mean", log_target=False):
    """Kullback-Leibler divergence: target * (log(target) - input), where ``input`` holds log-probabilities.

    With ``log_target`` the target does too. "batchmean" divides the sum by the batch size."""
    by_batch = reduction == "batchmean"  # which PyTorch looks at after the older options too
    if size_average is not None or reduce is not None:
        reduction = legacy(size_average, reduce)
    if reduction == "mean":
        warnings.warn("reduction: 'mean' divides the total loss by both the batch size and the support size."
                      "'batchmean' divides only by the batch size, and aligns with the KL div math definition."
                      "'mean' will be changed to behave the same as 'batchmean' in the next major release.",
                      stacklevel=caller_level())
    for t in (input, target):
        if t._kind.dtype.category != 2:
            raise RuntimeError(f"kl_div: {'Complex' if t._kind.dtype.is_complex else 'Integral'} inputs not supported.")
    op, fused = (pw.kl_div_log_pointwise, pw.kl_log_fused) if log_target else (pw.kl_div_pointwise, pw.kl_fused)
    loss = _apply(op, fused, (input, target), "sum" if reduction == "batchmean" else reduction)
    return loss / input._shape[0] if by_batch and input._shape and input._shape[0] else loss


def _np_hinge(x, t, margin=1.0):
    return np.where(t != 1, np.maximum(margin - x, 0), 0) + np.where(t != -1, x, 0)


@function(**SPACE, reference=_reference(_np_hinge),
          samples=(Sample((3, 4), SIGNS), Sample((3, 4), SIGNS, 0.7, reduction="none")))
def hinge_embedding_loss(input, target, margin=1.0, size_average=None, reduce=None, reduction="mean"):
    """input where the target is 1, max(0, margin - input) where it is -1."""
    if size_average is not None or reduce is not None:
        reduction = legacy(size_average, reduce)
    margin = dt.parameter(dt.as_float(margin), input._kind.dtype)
    target = target.detach() if target._rg else target
    return _apply(pw.hinge_embedding_loss_pointwise, pw.hinge_fused, (input, target), reduction, (margin,), input)


@function(**SPACE, reference=_reference(lambda a, b, t, margin=0.0: np.maximum(-t * (a - b) + margin, 0)),
          samples=(Sample((3, 4), (3, 4), SIGNS, margin=0.3),))
def margin_ranking_loss(input1, input2, target, margin=0, size_average=None, reduce=None, reduction="mean"):
    """max(0, -target * (input1 - input2) + margin): the target says which input shall be the larger."""
    if size_average is not None or reduce is not None:
        reduction = legacy(size_average, reduce)
    if len(input1._shape) != len(input2._shape) or len(input1._shape) != len(target._shape):
        raise RuntimeError("margin_ranking_loss : All input tensors should have same dimension but got sizes: "
                           f"input1: {input1.shape}, input2: {input2.shape}, target: {target.shape} ")
    if all([t._kind.dtype.category == 1 for t in (input1, input2, target)]):  # differences of integers, then a float
        return finish((-target * (input1 - input2) + dt.as_float(margin)).clamp_min(0), reduction)
    return finish(pw.margin_ranking_loss_pointwise.call(input1, input2, target, dt.as_float(margin)), reduction)


def _np_poisson(x, t, log_input=True, full=False, eps=1e-8):
    return np.exp(x) - t * x if log_input else x - t * np.log(x + eps)


@function(**SPACE, reference=_reference(_np_poisson), domain=(0.2, 2.0),
          samples=(Sample((3, 4), (3, 4)), Sample((3, 4), (3, 4), log_input=False, reduction="sum")))
def poisson_nll_loss(input, target, log_input=True, full=False, size_average=None, eps=1e-08, reduce=None,
                     reduction="mean"):
    """Negative log-likelihood of a Poisson distribution: exp(input) - target * input.

    Without ``log_input``: input - target * log(input + eps). ``full`` adds Stirling's term for targets above one."""
    if size_average is not None or reduce is not None:
        reduction = legacy(size_average, reduce)
    reduction_code(reduction)  # refuses what is none
    values = input.exp() - target * input if log_input else input - target * (input + eps).log()
    if full:
        large = (target > 1).to(dtype=target.dtype)
        safe = target * large + (1 - large)
        values = values + (safe * safe.log() - safe + 0.5 * (2 * np.pi * safe).log()) * large
    return finish(values, reduction)


def _np_gaussian(x, t, var, full=False, eps=1e-6):
    return 0.5 * (np.log(np.maximum(var, eps)) + (x - t)**2 / np.maximum(var, eps)) + (0.5 * np.log(2 * np.pi) * full)


_refuse_negative = refusal(ValueError, "var has negative entry/entries")


@elementwise(kinds={"eps": "number"}, private=True, inplace=False, dtypes="float", names="AddBackward0", domain=(0.6, 2.0),
             reference=lambda x, eps: np.where(x >= eps, x, eps + 0 * x), samples=(Sample((3, 4), 0.5),))
def at_least(input, eps: float):
    """``input`` raised to ``eps`` where it is smaller, its gradient unchanged; NaN remains."""
    return scalar.where(input >= eps, input, eps + 0 * input)


@at_least.gradient
def _(g):
    return g


@function(**SPACE, reference=_reference(_np_gaussian), domain=(0.3, 2.0),
          samples=(Sample((3, 4), (3, 4), (3, 4)), Sample((3, 4), (3, 4), (3, 4), full=True, reduction="none")))
def gaussian_nll_loss(input, target, var, full=False, eps=1e-06, reduction="mean"):
    """Negative log-likelihood of normal distributions: (log(var) + (input - target) ** 2 / var) / 2.

    The variance counts as at least ``eps``; ``full`` adds log(2 * pi) / 2."""
    if not isinstance(var, Tensor):
        if not isinstance(var, float):
            raise TypeError(f"gaussian_nll_loss(): argument 'var' (position 3) must be Tensor or float, not "
                            f"{arguments.name_of(var)}")
        if var < 0:
            raise ValueError("var has negative entry/entries")
        from numbagrad import ones_like
        var = ones_like(input) * var
    else:
        _refuse_negative((var.detach() < 0).any())
    if var._shape != input._shape:
        if input._shape[:-1] == var._shape:
            var = var.reshape((*var._shape, 1))
        elif len(input._shape) != len(var._shape) or sum(v for n, v in zip(input._shape, var._shape) if n != v) != 1:
            raise ValueError("var is of incorrect size")
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(reduction + " is not valid")
    if var._kind.dtype.category < 2:
        raise RuntimeError(f"result type Float can't be cast to the desired output type {dt.c_name(var._kind.dtype)}")
    # The clamp passes the variance's gradient on unchanged, as PyTorch's does.
    var = at_least(var, eps)
    loss = 0.5 * (var.log() + (input - target)**2 / var)
    if full:
        loss = loss + 0.9189385332046727
    return finish(loss, reduction)
