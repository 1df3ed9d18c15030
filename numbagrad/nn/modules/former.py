"""Layers that others have taken the place of."""

import warnings

import numbagrad as ng

from .loss import NLLLoss
from .module import Module

__all__ = ["Container", "CrossMapLRN2d", "NLLLoss2d"]


class Container(Module):
    """A module with the given submodules; every module may have them."""

    def __init__(self, **kwargs):
        warnings.warn(
            "`nn.Container` is deprecated. All of its functionality is now implemented in `nn.Module`. Subclass that "
            "instead.",
            FutureWarning,
            stacklevel=2,
        )
        super().__init__()
        for key, value in kwargs.items():
            self.add_module(key, value)


class NLLLoss2d(NLLLoss):
    """:class:`NLLLoss`, which takes images too."""

    def __init__(self, weight=None, size_average=None, ignore_index=-100, reduce=None, reduction="mean"):
        warnings.warn(
            "`NLLLoss2d` has been deprecated. Please use `NLLLoss` instead as a drop-in replacement and see "
            "https://pytorch.org/docs/main/nn.html#torch.nn.NLLLoss for more details.",
            FutureWarning,
            stacklevel=2,
        )
        super().__init__(weight, size_average, ignore_index, reduce, reduction)


def _sums(channels, size):
    """Which channels' squares are in the sum of each: what PyTorch's running sum adds and takes away."""
    ahead = int((size - 1) / 2 + 1)
    row = [1.0 if c < ahead else 0.0 for c in range(channels)]
    rows = [row]
    for c in range(1, channels):
        row = list(row)
        if c < channels - ahead + 1:
            row[c + ahead - 1] += 1.0
        if c > ahead:
            row[c - ahead] -= 1.0
        rows.append(row)
    return rows


def _back(channels, size):
    """Which channels' ratios are in the gradient of each, in PyTorch's backward."""
    first = int(size - (size - 1) / 2)
    if first + channels > channels + size - 1:
        raise RuntimeError(f"start ({first}) + length ({channels}) exceeds dimension size ({channels + size - 1}).")
    return [[1.0 if c - first <= j < c - first + size else 0.0 for j in range(channels)] for c in range(channels)]


def _over_channels(matrix, t):
    weights = ng.tensor(matrix, dtype=t.dtype, device=t.device)
    return (weights @ t.flatten(2)).reshape(t.shape)


class _CrossMapLRN(ng.autograd.Function):
    @staticmethod
    def forward(ctx, input, size, alpha, beta, k):
        if input.dim() != 4:
            raise ValueError(f"CrossMapLRN2d: Expected input to be 4D, got {input.dim()}D instead.")
        scale = _over_channels(_sums(input.size(1), size), input * input) * (alpha / size) + k
        output = scale ** (-beta) * input
        ctx.size, ctx.alpha, ctx.beta, ctx.scale = size, alpha, beta, scale
        ctx.save_for_backward(input, output)
        return output

    @staticmethod
    def backward(ctx, grad):
        input, output = ctx.saved_tensors
        ratio = _over_channels(_back(input.size(1), ctx.size), grad * output / ctx.scale)
        slope = 2 * ctx.alpha * ctx.beta / ctx.size
        return ctx.scale ** (-ctx.beta) * grad - slope * input * ratio, None, None, None, None


class CrossMapLRN2d(Module):
    """input / (k + alpha / size * sum of squares)**beta of (N, C, H, W), over neighbouring channels.

    Kept as PyTorch has it, with the sums that it runs and the gradient that it gives; ``LocalResponseNorm`` is exact.
    """

    def __init__(self, size, alpha=1e-4, beta=0.75, k=1):
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, input):
        return _CrossMapLRN.apply(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self):
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
