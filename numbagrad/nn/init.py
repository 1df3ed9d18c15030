"""Starting values of parameters, drawn in the same order as PyTorch draws them."""

import functools
import math
import warnings

import numbagrad as ng

from ..base import overriding

__all__ = [
    "calculate_gain", "constant", "constant_", "dirac", "dirac_", "eye", "eye_", "kaiming_normal", "kaiming_normal_",
    "kaiming_uniform", "kaiming_uniform_", "normal", "normal_", "ones_", "orthogonal", "orthogonal_", "sparse",
    "sparse_", "trunc_normal_", "uniform", "uniform_", "xavier_normal", "xavier_normal_", "xavier_uniform",
    "xavier_uniform_", "zeros_",
]  # fmt: skip

_UNIT_GAIN = {"sigmoid", "linear", *(f"conv{t}{n}d" for t in ("", "_transpose") for n in (1, 2, 3))}
_GAIN = {"tanh": 5.0 / 3, "relu": math.sqrt(2.0), "selu": 0.75}


def calculate_gain(nonlinearity, param=None):
    """The factor that keeps the variance of values through ``nonlinearity`` (``param``: leaky_relu's slope)."""
    if nonlinearity in _UNIT_GAIN:
        return 1
    if nonlinearity in _GAIN:
        return _GAIN[nonlinearity]
    if nonlinearity != "leaky_relu":
        raise ValueError(f"Unsupported nonlinearity {nonlinearity}")
    if param is None:
        param = 0.01
    elif isinstance(param, bool) or not isinstance(param, (int, float)):
        raise ValueError(f"negative_slope {param} not a valid number")
    return math.sqrt(2.0 / (1 + param**2))


def _calculate_fan_in_and_fan_out(tensor):
    """How many inputs each output sees, and how many outputs each input reaches, for a weight (out, in, *kernel)."""
    if tensor.dim() < 2:
        raise ValueError("Fan in and fan out can not be computed for tensor with fewer than 2 dimensions")
    receptive = math.prod(tensor.shape[2:])
    return tensor.size(1) * receptive, tensor.size(0) * receptive


def _calculate_correct_fan(tensor, mode):
    modes = ["fan_in", "fan_out"]
    if mode.lower() not in modes:
        raise ValueError(f"Mode {mode.lower()} not supported, please use one of {modes}")
    return _calculate_fan_in_and_fan_out(tensor)[modes.index(mode.lower())]


def uniform_(tensor, a=0.0, b=1.0, generator=None):
    """Fill with draws from the uniform distribution on [a, b)."""
    try:
        with ng.no_grad():
            return tensor.uniform_(a, b, generator=generator)
    except AttributeError as error:
        return overriding.again(uniform_, error, tensor, a=a, b=b, generator=generator)


def normal_(tensor, mean=0.0, std=1.0, generator=None):
    """Fill with draws from the normal distribution."""
    try:
        with ng.no_grad():
            return tensor.normal_(mean, std, generator=generator)
    except AttributeError as error:
        return overriding.again(normal_, error, tensor, mean=mean, std=std, generator=generator)


def trunc_normal_(tensor, mean=0.0, std=1.0, a=-2.0, b=2.0, generator=None):
    """Fill with draws from the normal distribution held within [a, b] by drawing again what falls outside."""
    if mean < a - 2 * std or mean > b + 2 * std:
        warnings.warn(
            "mean is more than 2 std from [a, b] in nn.init.trunc_normal_. "
            "The distribution of values may be incorrect.",
            stacklevel=2,
        )
    if tensor.is_meta:  # no values to look at
        return tensor

    def below(x):
        return (1.0 + math.erf((x - mean) / std / math.sqrt(2.0))) / 2.0

    with ng.no_grad():
        # Where the interval holds little of the normal distribution, uniform candidates are rejected less often.
        draw = _truncated_by_normal if below(b) - below(a) > 0.3 else _truncated_by_uniform
        draw(tensor, mean, std, a, b, generator)
    return tensor


def _truncated_by_normal(tensor, mean, std, a, b, generator):
    # The bounds as the tensor's dtype rounds them, so that no drawn value lies outside of what can be stored.
    low, high = (ng.tensor(bound, dtype=tensor.dtype).item() for bound in (a, b))
    result = tensor.normal_(mean, std, generator=generator)
    outside = (result < low) | (result > high)
    while outside.any():
        again = ng.empty_like(result).normal_(mean, std, generator=generator)
        result = ng.where(outside, again, result)
        outside = (result < low) | (result > high)
    if result is not tensor:
        tensor.copy_(result)


def _truncated_by_uniform(tensor, mean, std, a, b, generator):
    peak = max(a, min(mean, b))
    log_peak = -0.5 * ((peak - mean) / std) ** 2

    def rejected(candidates):
        log_density = candidates.sub(mean).div_(std).pow_(2).mul_(-0.5).sub_(log_peak)
        return ng.empty_like(tensor).uniform_(generator=generator).log_().gt(log_density)

    result = tensor.uniform_(a, b, generator=generator)
    pending = rejected(result)
    while pending.any():
        candidates = ng.empty_like(tensor).uniform_(a, b, generator=generator)
        result = ng.where(pending, candidates, result)
        pending = pending & rejected(candidates)
    if result is not tensor:
        tensor.copy_(result)


def constant_(tensor, val):
    """Fill with ``val``."""
    try:
        with ng.no_grad():
            return tensor.fill_(val)
    except AttributeError as error:
        return overriding.again(constant_, error, tensor, val=val)


def ones_(tensor):
    """Fill with ones."""
    return constant_(tensor, 1.0)


def zeros_(tensor):
    """Fill with zeros."""
    with ng.no_grad():
        return tensor.zero_()


def eye_(tensor):
    """Make a 2-D tensor the identity matrix."""
    if tensor.ndimension() != 2:
        raise ValueError("Only tensors with 2 dimensions are supported")
    with ng.no_grad():
        return tensor.copy_(ng.eye(*tensor.shape, dtype=tensor.dtype, device=tensor.device))


def dirac_(tensor, groups=1):
    """Make a convolution's weight pass its input channels through, in each of ``groups`` groups."""
    if tensor.ndimension() not in (3, 4, 5):
        raise ValueError("Only tensors with 3, 4, or 5 dimensions are supported")
    out_channels, in_channels, *kernel = tensor.size()
    if out_channels % groups != 0:
        raise ValueError("dim 0 must be divisible by groups")
    per_group = out_channels // groups
    centre = tuple(size // 2 for size in kernel)
    with ng.no_grad():
        tensor.zero_()
        for group in range(groups):
            for channel in range(min(per_group, in_channels)):
                tensor[(group * per_group + channel, channel, *centre)] = 1
    return tensor


def _xavier_std(tensor, gain):
    return gain * math.sqrt(2.0 / sum(_calculate_fan_in_and_fan_out(tensor)))


def xavier_uniform_(tensor, gain=1.0, generator=None):
    """Uniform in +-gain * sqrt(6 / (fan_in + fan_out))."""
    bound = math.sqrt(3.0) * _xavier_std(tensor, gain)
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor, gain=1.0, generator=None):
    """Normal with standard deviation gain * sqrt(2 / (fan_in + fan_out))."""
    return normal_(tensor, 0.0, _xavier_std(tensor, gain), generator)


def _kaiming_std(tensor, a, mode, nonlinearity):
    """None, with a warning, for a tensor without elements."""
    if 0 in tensor.shape:
        warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=3)
        return None
    fan = _calculate_correct_fan(tensor, mode)
    return calculate_gain(nonlinearity, a) / math.sqrt(fan)


def kaiming_uniform_(tensor, a=0, mode="fan_in", nonlinearity="leaky_relu", generator=None):
    """Uniform in +-gain * sqrt(3 / fan), with the gain of ``nonlinearity`` (``a``: leaky_relu's slope)."""
    try:
        std = _kaiming_std(tensor, a, mode, nonlinearity)
    except AttributeError as error:
        return overriding.again(kaiming_uniform_, error, tensor, a=a, mode=mode, nonlinearity=nonlinearity, generator=generator)
    if std is None:
        return tensor
    bound = math.sqrt(3.0) * std
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(tensor, a=0, mode="fan_in", nonlinearity="leaky_relu", generator=None):
    """Normal with standard deviation gain / sqrt(fan), with the gain of ``nonlinearity``."""
    std = _kaiming_std(tensor, a, mode, nonlinearity)
    return tensor if std is None else normal_(tensor, 0, std, generator)


def orthogonal_(tensor, gain=1, generator=None):
    """Make the rows (or columns) of the tensor, seen as (first, rest), orthonormal, times ``gain``."""
    if tensor.ndimension() < 2:
        raise ValueError("Only tensors with 2 or more dimensions are supported")
    if tensor.numel() == 0:
        return tensor
    rows = tensor.size(0)
    with ng.no_grad():
        flat = ng.empty((rows, tensor.numel() // rows), dtype=tensor.dtype, device=tensor.device)
        flat.normal_(0, 1, generator=generator)
        wide = flat.size(0) < flat.size(1)
        q, r = ng.linalg.qr(flat.t() if wide else flat)
        q = q * ng.diag(r, 0).sign()  # makes the result uniform over all orthogonal matrices
        tensor.view(flat.shape).copy_(q.t() if wide else q)
        return tensor.mul_(gain)


def sparse_(tensor, sparsity, std=0.01, generator=None):
    """Normal draws, with the fraction ``sparsity`` of each column set to zero, for a 2-D tensor."""
    if tensor.ndimension() != 2:
        raise ValueError("Only tensors with 2 dimensions are supported")
    rows, columns = tensor.shape
    zeros = math.ceil(sparsity * rows)
    with ng.no_grad():
        tensor.normal_(0, std, generator=generator)
        for column in range(columns):
            tensor[ng.randperm(rows)[:zeros], column] = 0
    return tensor


# What initialisers of other people call.
_no_grad_uniform_, _no_grad_normal_, _no_grad_trunc_normal_ = uniform_, normal_, trunc_normal_
_no_grad_fill_, _no_grad_zero_ = constant_, zeros_


def _deprecated(function):
    new = function.__name__
    old = new[:-1]

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        warnings.warn(
            f"`nn.init.{old}` is now deprecated in favor of `nn.init.{new}`.", FutureWarning, stacklevel=2
        )
        return function(*args, **kwargs)

    wrapper.__name__ = wrapper.__qualname__ = old
    wrapper.__doc__ = f"The old name of :func:`{new}`."
    return wrapper


uniform = _deprecated(uniform_)
normal = _deprecated(normal_)
constant = _deprecated(constant_)
eye = _deprecated(eye_)
dirac = _deprecated(dirac_)
xavier_uniform = _deprecated(xavier_uniform_)
xavier_normal = _deprecated(xavier_normal_)
kaiming_uniform = _deprecated(kaiming_uniform_)
kaiming_normal = _deprecated(kaiming_normal_)
orthogonal = _deprecated(orthogonal_)
sparse = _deprecated(sparse_)
