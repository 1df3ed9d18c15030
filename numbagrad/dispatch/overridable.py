"""Which functions ask ``__torch_function__``, and what PyTorch calls them."""

from __future__ import annotations

from ..base import in_python
from ..core.registry import REGISTRY, name_of
from ..core.tensor import Tensor

# Functions that two of them have are known by the name in the first one.
PLACES = {"numbagrad.nn.functional": "torch.nn.functional", "numbagrad": "torch", "numbagrad.nn.init": "torch.nn.init",
          "numbagrad.linalg": "torch.linalg", "numbagrad.fft": "torch.fft", "numbagrad.special": "torch.special",
          "numbagrad.autograd": "torch.autograd"}
# What never asks: facts, settings, and what returns what it was told to.
SILENT = frozenset("""
are_deterministic_algorithms_enabled autocast_decrement_nesting autocast_increment_nesting broadcast_shapes
clear_autocast_cache compile from_file from_numpy frombuffer from_dlpack to_dlpack initial_seed is_storage is_tensor load
manual_seed save seed typename use_deterministic_algorithms vmap finfo iinfo calculate_gain upsample upsample_bilinear
upsample_nearest as_subclass array as_subclass_of __hash__ __dir__ __iter__ __init_subclass__ __torch_function__
_make_subclass __new__ __init__ __setattr__ __getattr__ __array_priority__""".split())
QUIET = ("get_", "set_", "is_autocast", "is_deterministic", "is_anomaly", "is_grad", "is_inference_mode", "is_warn")
ASKING = frozenset({"get_device"})  # though its name begins like those
ONLY = {"numbagrad.nn.init": ("uniform_", "normal_", "constant_", "kaiming_uniform_"),
        "numbagrad.autograd": ("grad", "backward")}
OF_DATA = frozenset(("tensor", "as_tensor", "asarray"))  # of which modes are asked, and no classes
# Operators by the name of the method that is asked for.
OPERATORS = {"__add__": "add", "__radd__": "add", "__sub__": "sub", "__mul__": "mul", "__rmul__": "mul", "__truediv__": "div",
             "__pow__": "pow", "__neg__": "neg", "__abs__": "abs", "__pos__": "positive", "__matmul__": "matmul",
             "__mod__": "remainder", "__lt__": "lt", "__le__": "le", "__gt__": "gt", "__ge__": "ge", "__ne__": "ne",
             "__ror__": "bitwise_or", "__rand__": "bitwise_and", "__rxor__": "bitwise_xor", "__iadd__": "add_",
             "__isub__": "sub_", "__imul__": "mul_", "__itruediv__": "div_", "__ifloordiv__": "floor_divide_",
             "__imod__": "remainder_", "__ipow__": "pow_", "__rtruediv__": "__rdiv__", "nelement": "numel", "ndimension": "dim"}
BINARY = frozenset("""
add radd sub rsub mul rmul truediv rtruediv pow rpow matmul rmatmul mod rmod floordiv rfloordiv lt le gt ge
eq ne and rand or ror xor rxor lshift rlshift rshift rrshift""".split())
CONSTANTS = ("is_sparse is_quantized is_mkldnn is_nested is_sparse_csr is_mps is_xpu is_xla is_ipu is_maia is_mtia is_vulkan "
             "layout shape").split()  # attributes that are no properties in Python


def space_of(place):
    """What PyTorch calls a place of functions that ask; None of anything else."""
    return "torch.Tensor" if place is Tensor else PLACES.get(name_of(place))


def asks(place, name):
    """Whether what lies under a name asks."""
    if name in SILENT or name.startswith(QUIET) and name not in ASKING:
        return False
    if place is Tensor:
        return not name.startswith("_") or name.startswith("__") or name in ("_is_view", "_version", "_base")
    return not name.startswith("_") and name in ONLY.get(name_of(place), (name,))


def full_name(space, name):
    """A function as PyTorch's errors call it."""
    op = dict.get(REGISTRY, name)
    layer = op is not None and "nn.functional" in op.namespaces  # one function for this place and others
    for known in ([f"torch.nn.functional.{name}"] if layer else []) + [f"{space}.{name}"] + (
            [f"torch.functional.{name}"] if space == "torch" else []):
        if known in in_python.NAMES:
            return known
    kind = space.partition(".")[2]
    return f"{space}.{kind}_{name}" if kind in ("linalg", "fft", "special") else f"{space.removesuffix('.functional')}.{name}"
