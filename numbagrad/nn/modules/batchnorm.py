"""Batch normalization."""

import numbagrad as ng

from .. import functional as F
from .. import init
from ..parameter import Parameter
from .module import Module, Slot

__all__ = ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d"]


class _NormBase(Module):
    """What batch and instance normalization share: scale, shift and running statistics of each channel."""

    _version = 2  # version 1 had no num_batches_tracked
    _dims = ()

    weight = Slot()
    bias = Slot()
    running_mean = Slot("_buffers")
    running_var = Slot("_buffers")
    num_batches_tracked = Slot("_buffers")

    def __init__(
        self,
        num_features,
        eps=1e-5,
        momentum=0.1,
        affine=True,
        track_running_stats=True,
        device=None,
        dtype=None,
        *,
        bias=True,
    ):
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        made = {"device": device, "dtype": dtype}
        self.register_parameter("weight", Parameter(ng.empty(num_features, **made)) if affine else None)
        self.register_parameter("bias", Parameter(ng.empty(num_features, **made)) if affine and bias else None)
        tracked = track_running_stats
        self.register_buffer("running_mean", ng.zeros(num_features, **made) if tracked else None)
        self.register_buffer("running_var", ng.ones(num_features, **made) if tracked else None)
        self.register_buffer(
            "num_batches_tracked", ng.tensor(0, dtype=ng.long, device=device) if tracked else None
        )
        self.reset_parameters()

    def reset_running_stats(self):
        """Forget the statistics: mean 0, variance 1."""
        if self.track_running_stats:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def reset_parameters(self):
        """Scale 1, shift 0, and no statistics."""
        self.reset_running_stats()
        if self.affine:
            init.ones_(self.weight)
            if self.bias is not None:
                init.zeros_(self.bias)

    def _check_input_dim(self, input):
        if input.dim() not in self._dims:
            wanted = " or ".join(f"{dim}D" for dim in self._dims)
            raise ValueError(f"expected {wanted} input (got {input.dim()}D input)")

    def extra_repr(self):
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, *rest):
        key = prefix + "num_batches_tracked"
        if (local_metadata.get("version") or 1) < 2 and self.track_running_stats and key not in state_dict:
            count = self.num_batches_tracked
            state_dict[key] = ng.tensor(0, dtype=ng.long) if count is None else count
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)


class _BatchNorm(_NormBase):
    def forward(self, input):
        self._check_input_dim(input)
        tracked = self.track_running_stats
        momentum, average = self.momentum, False
        if self.training and tracked and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            average = momentum is None
        mean, var = self.running_mean, self.running_var
        if average and mean is not None:
            return self._averaged(input, mean, var)
        momentum = 0.0 if momentum is None else momentum
        use_batch = self.training or (mean is None and var is None)
        if self.training and not tracked:
            mean = var = None
        return F.batch_norm(input, mean, var, self.weight, self.bias, use_batch, momentum, self.eps)


    def _averaged(self, input, mean, var):
        """Batch statistics, and running ones that are the plain average over all batches so far."""
        with ng.no_grad():
            now = mean.clone(), var.clone()
        out = F.batch_norm(input, *now, self.weight, self.bias, True, 1.0, self.eps)
        with ng.no_grad():
            share = 1.0 / self.num_batches_tracked.to(mean.dtype)  # a tensor: nothing waits for its value
            mean.mul_(1.0 - share).add_(now[0] * share)
            var.mul_(1.0 - share).add_(now[1] * share)
        return out


class BatchNorm1d(_BatchNorm):
    """(x - mean) / sqrt(var + eps) * weight + bias for each channel of an (N, C) or (N, C, L) input.

    Training uses the batch's mean and variance and updates the running ones; evaluation uses the running ones.
    """

    _dims = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch normalization of each channel of an (N, C, H, W) input; see :class:`BatchNorm1d`."""

    _dims = (4,)


class BatchNorm3d(_BatchNorm):
    """Batch normalization of each channel of an (N, C, D, H, W) input; see :class:`BatchNorm1d`."""

    _dims = (5,)
