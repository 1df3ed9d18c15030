"""Dropout in its forms; masks come from the default generator's stream."""

from __future__ import annotations

import math
import warnings

import numpy as np

from numbagrad.base.user_code import caller_level
from numbagrad.core.tensor import make
from numbagrad.extend import Sample, function
from numbagrad.kernel import rng
from numbagrad.kernel.tape import TAPE, capturing
from numbagrad.random import engine_of

from .draw import WIDE, half, memory, on_host

ALPHA = 1.7580993408473766  # -scale * alpha of SELU, with the sign turned: the value that dropped units get


def _noise(shape, kind, p, strides=None):
    """A mask of ones with probability 1 - p; numbers are drawn in the order in which the input lies in memory."""
    order = None
    if strides is not None and 0 not in strides:
        order = sorted(range(len(shape)), key=lambda d: -strides[d])
        shape = tuple([shape[d] for d in order])
    t = make(shape, kind)
    if kind in WIDE and not (TAPE and capturing()):
        rng.mask(engine_of(), t._ptr, t._n, 1.0 - p, kind.dtype.code)
    else:
        on_host(t, lambda here: rng.fill_bernoulli_scalar(engine_of(), memory(here), 1 - p, half(here)))
    return t if order is None else t.permute([order.index(d) for d in range(len(order))])


def _check(p):
    if not 0.0 <= p <= 1.0:
        raise (RuntimeError if p != p else ValueError)(f"dropout probability has to be between 0 and 1, but got {p}")


def _apply(input, p, training, inplace, feature, alpha):
    """The common part: nothing to do, all dropped, or multiplied by a scaled mask."""
    if p == 0 or not training or input._n == 0:
        return input
    if feature and len(input._shape) < 2:
        raise RuntimeError("Feature dropout requires at least 2 dimensions in the input")
    if p == 1:
        zero = input.new_zeros(())
        return input.mul_(zero) if inplace else input * zero
    shape = (*input._shape[:2], *(1,) * (len(input._shape) - 2)) if feature else input._shape
    noise = _noise(shape, input._kind, p, None if feature else input._strides)
    if not alpha:
        noise.mul_(1.0) if input._kind.dtype.category < 2 else noise.div_(1 - p)
        return input.mul_(noise) if inplace else input * noise
    square = (ALPHA * ALPHA * p + 1) * (1 - p)
    # (A compiled step follows a number that changes through operators, but in here through no function of C.)
    a = 1.0 / (math.sqrt(square) if square.__class__ is float else square ** 0.5)
    b = (noise - 1).mul_(ALPHA * a).add_(ALPHA * a * p)
    noise.mul_(a)
    return input.mul_(noise).add_(b) if inplace else input * noise + b


def _expected(a, p=0.5, training=True, inplace=False):
    """What dropout gives where its outcome is certain."""
    return np.zeros_like(a) if training and p == 1 else np.array(a)


OPTIONS = dict(namespaces=("nn.functional",), method=False, random=True, reference=_expected,
               kinds={"input": "tensor"})
CERTAIN = (Sample((3, 4), 0.5, False), Sample((3, 4), 0.0, True), Sample((3, 4), 1.0, True))


@function(samples=CERTAIN, **OPTIONS)
def dropout(input, p=0.5, training=True, inplace=False):
    """Each element zero with probability ``p``, the others divided by ``1 - p``; the input itself when not training."""
    _check(p)
    return _apply(input, p, training, inplace, False, False)


@function(samples=CERTAIN[:2], **OPTIONS)
def alpha_dropout(input, p=0.5, training=False, inplace=False):
    """Dropout for SELU networks: dropped elements get its negative limit, and mean and variance are kept."""
    _check(p)
    return _apply(input, p, training, inplace, False, True)


@function(samples=CERTAIN[:2], **OPTIONS)
def feature_alpha_dropout(input, p=0.5, training=False, inplace=False):
    """``alpha_dropout`` of whole channels (the second dimension)."""
    _check(p)
    return _apply(input, p, training, inplace, True, True)


OF_ONE_DIMENSION = (
    "dropout2d: Received a 3D input to dropout2d and assuming that channel-wise 1D dropout behavior is desired - input is "
    "interpreted as shape (N, C, L), where C is the channel dim. This behavior will change in a future release to interpret "
    "the input as one without a batch dimension, i.e. shape (C, H, W). To maintain the 1D channel-wise dropout behavior, "
    "please switch to using dropout1d instead.")


def _channels(n, allowed, single):
    """dropoutNd: whole channels; ``single`` says whether an input without batch gets one for the draw."""
    name = f"dropout{n}d"

    def fn(input, p=0.5, training=True, inplace=False):
        _check(p)
        dims = len(input._shape)
        if dims not in allowed:
            exists = (f"channel-wise dropout on inputs with {n} spatial dimension{'s' if n > 1 else ''}, a channel dimension, "
                      f"and an optional batch dimension (i.e. {allowed[0]}D or {allowed[1]}D inputs).")
            if n == 1:
                raise RuntimeError(f"{name}: Expected {allowed[0]}D or {allowed[1]}D input, but received a {dims}D input. Note "
                                   f"that {name} exists to provide {exists}")
            warnings.warn(f"{name}: Received a {dims}-D input to {name}, which is deprecated and will result in an error in a "
                          "future release. To retain the behavior and silence this warning, please use dropout instead. Note "
                          f"that {name} exists to provide {exists}", UserWarning, stacklevel=caller_level())
        if n == 2 and dims == 3:
            warnings.warn(OF_ONE_DIMENSION, UserWarning, stacklevel=caller_level())
        if single and dims == allowed[0]:
            whole = input.unsqueeze_(0) if inplace else input.unsqueeze(0)
            out = _apply(whole, p, training, inplace, True, False)
            return out.squeeze_(0) if inplace else out.squeeze(0)
        return _apply(input, p, training, inplace, True, False)
    fn.__name__ = fn.__qualname__ = name
    fn.__module__ = __name__
    fn.__doc__ = f"Whole channels zero with probability ``p``, for inputs with {n} spatial dimension{'s' if n > 1 else ''}."
    shape = tuple(range(2, 2 + allowed[1]))
    return function(fn, samples=(Sample(shape, 0.5, False), Sample(shape, 1.0, True)), **OPTIONS)


# A 3-D input of dropout2d counts as a batch without spatial dimensions of its own, as it always did in PyTorch.
dropout1d, dropout2d, dropout3d = _channels(1, (2, 3), True), _channels(2, (3, 4), False), _channels(3, (4, 5), True)
