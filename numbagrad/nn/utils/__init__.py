"""Tools for the parameters of a network."""

import importlib

from . import rnn
from .clip_grad import clip_grad_norm, clip_grad_norm_, clip_grad_value_, clip_grads_with_norm_, get_total_norm
from .convert_parameters import parameters_to_vector, vector_to_parameters

# At once, because the file of either has the name of its function: who imports the file later would put it in its place.
from .spectral_norm import remove_spectral_norm, spectral_norm
from .weight_norm import remove_weight_norm, weight_norm

# Imported when they are first asked for.
_PARTS = ("fusion", "init", "memory_format", "parametrizations", "parametrize", "prune", "stateless")
_FILES = {
    "convert_conv2d_weight_memory_format": "memory_format", "convert_conv3d_weight_memory_format": "memory_format",
    "fuse_conv_bn_eval": "fusion", "fuse_conv_bn_weights": "fusion", "fuse_linear_bn_eval": "fusion",
    "fuse_linear_bn_weights": "fusion", "skip_init": "init",
}  # fmt: skip

__all__ = [
    "clip_grad_norm", "clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_", "get_total_norm", "parameters_to_vector",
    "remove_spectral_norm", "remove_weight_norm", "rnn", "spectral_norm", "vector_to_parameters", "weight_norm", *_FILES,
]  # fmt: skip


def __getattr__(name):
    if name in _PARTS:
        return importlib.import_module("." + name, __name__)
    if name in _FILES:
        value = globals()[name] = getattr(importlib.import_module("." + _FILES[name], __name__), name)
        return value
    raise AttributeError(f"module '{__name__}' has no attribute '{name}' (torch.nn.utils.{name} is not available here)")


def __dir__():
    return sorted({*globals(), *_PARTS, *_FILES})
