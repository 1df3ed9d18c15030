"""Instance normalization: statistics of each channel of each sample over all positions."""

from __future__ import annotations

import numpy as np

from numbagrad.base import dtypes as dt
from numbagrad.core.tensor import numel
from numbagrad.extend import Sample, function

from .batch_norm import _batch_norm, _constants, check_channels
from .group_norm import group_norm_fused


def _instance_reference(x, mean=None, var=None, weight=None, bias=None, use_input_stats=True, momentum=0.1, eps=1e-5):
    axes = tuple(range(2, x.ndim))
    shape = [1, -1] + [1] * (x.ndim - 2)
    y = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)
    return y * (1 if weight is None else np.reshape(weight, shape)) + (0 if bias is None else np.reshape(bias, shape))


_instances = group_norm_fused.recorded_as("ViewBackward0")  # as PyTorch's, which returns a view
_instances.node_class.order = 0, 2, 1  # PyTorch repeats weight and bias, and the newer view runs first


@function(namespaces=("nn.functional",), method=False, reference=_instance_reference,
          samples=(Sample((2, 3, 4)), Sample((2, 3, 2, 2), None, None, (3,), (3,))))
def instance_norm(input, running_mean=None, running_var=None, weight=None, bias=None, use_input_stats=True,
                  momentum=0.1, eps=1e-05):
    """Batch normalization of every sample by itself: statistics over the positions of one channel of (N, C, ...)."""
    shape = input._shape
    if use_input_stats and numel(shape[2:]) == 1:
        raise ValueError(f"Expected more than 1 spatial element when training, got input size {input.shape}")
    if len(shape) < 3:
        raise RuntimeError(f"instance_norm expects an input of three or more dimensions, but got {list(shape)}")
    n, channels = shape[:2]
    if not use_input_stats and (running_mean is None or running_var is None):
        raise RuntimeError("Expected running_mean and running_var to be defined when use_input_stats is false")
    check_channels(input, channels, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    if use_input_stats and running_mean is None and running_var is None and input._n and input._kind.dtype.category == 2 and (
            all([t is None or t._kind is input._kind and len(t._shape) == 1 for t in (weight, bias)])):
        return _instances(input, weight, bias, channels, dt.as_float(eps))[0]  # as groups of one channel

    def repeated(t):
        return None if t is None else t.reshape((1, channels)).expand((n, channels)).reshape((n * channels,))
    _constants(running_mean, running_var)
    mean, var = (None if t is None else repeated(t.detach()).clone() for t in (running_mean, running_var))
    out = _batch_norm(input.reshape((1, n * channels, *shape[2:])), mean, var, repeated(weight), repeated(bias),
                     use_input_stats, momentum, eps)
    if use_input_stats:
        for kept, new in ((running_mean, mean), (running_var, var)):
            if kept is not None:
                kept.detach().copy_(new.reshape((n, channels)).mean(0))
    return out.reshape(shape)
