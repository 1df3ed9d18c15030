"""Functions that PyTorch has beside ``nn.functional``: what its layers end in, with all arguments and numbers for words."""

from __future__ import annotations

import functools
import inspect

import numbagrad as ng

from ..base.user_code import warn_once
from . import functional as F

OLD = ("at::{} is deprecated and it is just left for JIT compatibility. It will be removed in a future PyTorch release. Please "
       "use `{}` instead")
REDUCTIONS = ("none", "mean", "sum")


def dropout(input, p, train):
    """``nn.functional.dropout``."""
    return F.dropout(input, p, train)


def dropout_(input, p, train):
    """``nn.functional.dropout`` in place."""
    return F.dropout(input, p, train, True)


def alpha_dropout(input, p, train):
    """``nn.functional.alpha_dropout``."""
    return F.alpha_dropout(input, p, train)


def alpha_dropout_(input, p, train):
    """``nn.functional.alpha_dropout`` in place."""
    return F.alpha_dropout(input, p, train, True)


def feature_dropout(input, p, train):
    """Drops whole channels of an input of at least two dimensions."""
    return _channels(F.dropout3d, input, p, train)


def feature_dropout_(input, p, train):
    """``feature_dropout`` in place."""
    return input.copy_(feature_dropout(input, p, train))


def feature_alpha_dropout(input, p, train):
    """``nn.functional.feature_alpha_dropout``."""
    return F.feature_alpha_dropout(input, p, train)


def feature_alpha_dropout_(input, p, train):
    """``nn.functional.feature_alpha_dropout`` in place."""
    return F.feature_alpha_dropout(input, p, train, True)


def _channels(drop, input, p, train):
    if not train or p == 0 or not input.numel():
        return drop(input, p, False)
    if input.dim() < 2:
        raise RuntimeError("Feature dropout requires at least 2 dimensions in the input")
    n, c = input.shape[:2]
    return drop(input.reshape(n, c, -1, 1, 1), p, True).reshape(input.shape)


def batch_norm(input, weight, bias, running_mean, running_var, training, momentum, eps, cudnn_enabled):
    """``nn.functional.batch_norm``."""
    return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)


def instance_norm(input, weight, bias, running_mean, running_var, use_input_stats, momentum, eps, cudnn_enabled):
    """``nn.functional.instance_norm``."""
    return F.instance_norm(input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)


def native_layer_norm(input, normalized_shape, weight, bias, eps):
    """(``layer_norm``, means, reciprocals of the standard deviations) of the last dimensions."""
    dims = tuple(range(-len(normalized_shape), 0))
    variance, mean = ng.var_mean(input.detach(), dims, correction=0, keepdim=True)
    return F.layer_norm(input, normalized_shape, weight, bias, eps), mean, (variance + eps).rsqrt()


def native_dropout(input, p, train):
    """(``dropout``, which elements were kept); without training all are."""
    if train is False or not input.numel():
        return input.clone(), ng.ones_like(input, dtype=ng.bool)
    if p == 1:
        return ng.zeros_like(input) * input, ng.zeros_like(input, dtype=ng.bool)
    kept = ng.empty_like(input, dtype=ng.bool).bernoulli_(1 - p)
    return input * kept * (1 / (1 - p)), kept


def embedding(weight, indices, padding_idx=-1, scale_grad_by_freq=False, sparse=False):
    """``nn.functional.embedding``; a negative ``padding_idx`` is none."""
    return F.embedding(indices, weight, padding_idx if padding_idx >= 0 else None, None, 2.0, scale_grad_by_freq, sparse)


def embedding_renorm_(input, indices, max_norm, norm_type):
    """Rows that ``indices`` name brought to a norm of at most ``max_norm``, in place."""
    F.embedding(indices, input, max_norm=max_norm, norm_type=norm_type)
    return input


def convolution(input, weight, bias, stride, padding, dilation, transposed, output_padding, groups):
    """A convolution, or its transpose, of as many dimensions as the weight has behind its channels."""
    n = weight.dim() - 2
    if transposed:
        call = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[n - 1]
        return call(input, weight, bias, stride, padding, output_padding, groups, dilation)
    return (F.conv1d, F.conv2d, F.conv3d)[n - 1](input, weight, bias, stride, padding, dilation, groups)


def adaptive_max_pool1d(input, output_size):
    """(values, indices) of ``nn.functional.adaptive_max_pool1d``."""
    return F.adaptive_max_pool1d(input, output_size, True)


def max_pool1d_with_indices(input, kernel_size, stride=(), padding=0, dilation=1, ceil_mode=False):
    """(values, indices) of ``nn.functional.max_pool1d``."""
    return F.max_pool1d(input, kernel_size, stride or None, padding, dilation, ceil_mode, True)


def fill(input, value):
    """A tensor of the form of ``input`` that is ``value`` everywhere, and hangs on both."""
    return input.clone().fill_(value)


def frobenius_norm(input, dim, keepdim=False, *, out=None):
    """The square root of the sum of squares over dimensions."""
    warn_once(OLD.format("frobenius_norm", "linalg.vector_norm(A, 2., dim, keepdim)"))
    return ng.linalg.vector_norm(input, 2, dim, keepdim, out=out)


def nuclear_norm(input, dim=(-2, -1), keepdim=False, *, out=None):
    """The sum of the singular values of matrices."""
    if isinstance(dim, bool):
        dim, keepdim = (-2, -1), dim
    if len(dim) != 2:
        raise RuntimeError("linalg.matrix_norm: dim must be a 2-tuple. Got " + " ".join(map(str, dim)))
    warn_once(OLD.format("nuclear_norm", "linalg.matrix_norm(A, 'nuc', dim, keepdim)"))
    return ng.linalg.matrix_norm(input, "nuc", tuple(dim), keepdim, out=out)


def is_distributed(input):
    """Whether a tensor is spread over processes: none is."""
    return False


def is_vulkan_available():
    """There is no Vulkan here."""
    return False


def _loss(name):
    """A loss whose reduction is a number."""
    own = getattr(F, name)

    @functools.wraps(own)
    def loss(*args, **kwargs):
        given = signature.bind(*args, **kwargs)
        given.apply_defaults()
        values = dict(given.arguments)
        number = values.pop("reduction")
        return own(**values, reduction=REDUCTIONS[number if number in (1, 2) else 0])
    signature = inspect.signature(LOSSES[name])
    loss.__signature__ = signature
    loss.__module__, loss.__doc__ = __name__, f"``nn.functional.{name}``; its reduction is 0 (none), 1 (mean) or 2 (sum)."
    return loss


# (PyTorch's parser makes 0 of the default that its declarations call "mean".)
LOSSES = {
    "binary_cross_entropy_with_logits": lambda input, target, weight=None, pos_weight=None, reduction=0: None,
    "cosine_embedding_loss": lambda input1, input2, target, margin=0.0, reduction=0: None,
    "hinge_embedding_loss": lambda input, target, margin=1.0, reduction=0: None,
    "kl_div": lambda input, target, reduction=0, *, log_target=False: None,
    "margin_ranking_loss": lambda input1, input2, target, margin=0.0, reduction=0: None,
    "poisson_nll_loss": lambda input, target, log_input, full, eps, reduction: None,
    "triplet_margin_loss": lambda anchor, positive, negative, margin=1.0, p=2.0, eps=1e-6, swap=False, reduction=0: None}
globals().update({_name: _loss(_name) for _name in LOSSES})
NAMES = [_name for _name, _value in list(globals().items()) if _name[0] != "_" and getattr(
    _value, "__module__", "") == __name__]
