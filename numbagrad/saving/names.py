"""Names in PyTorch's pickles: a fixed table of what they mean here, and those that the user allows."""

from __future__ import annotations

import _compat_pickle
import collections
import contextlib
import functools
import pickle
import re
import sys
from types import FunctionType

from ..base import dtypes as dt
from ..base.device import device
from ..base.dtypes import BY_NAME
from ..core.tensor import Tensor
from . import rebuild

# Barebones dtypes have no class of storages: their tensors lie in untyped ones.
STORAGE_NAMES = {of: name + "Storage" for of, name in dt.CLASS_NAMES.items()}
allowed: dict[str, object] = {}  # by the user: full name -> class or function


def _named(entries):
    """Full name -> object, for objects and (object, "full.name") pairs."""
    named = {}
    for entry in entries:
        value, name = entry if isinstance(entry, tuple) else (entry, f"{entry.__module__}.{entry.__qualname__}")
        if not isinstance(name, str):
            raise TypeError(f"Expected second item in tuple to be str of callable full path, but got: {type(name)}")
        named[name] = value
    return named


def add_safe_globals(safe_globals):
    """Allow classes or functions, given themselves or as (object, "full.name"), in ``load(weights_only=True)``."""
    allowed.update(_named(safe_globals))


def get_safe_globals():
    """Return the list of what `add_safe_globals` has allowed, as it was given."""
    return [value if name == f"{value.__module__}.{value.__qualname__}" else (value, name) for name, value in allowed.items()]


def clear_safe_globals():
    """Forget everything that `add_safe_globals` has allowed."""
    allowed.clear()


@contextlib.contextmanager
def safe_globals(safe_globals):
    """Context manager: allow the given classes and functions inside the block only."""
    before = dict(allowed)
    add_safe_globals(safe_globals)
    try:
        yield
    finally:
        clear_safe_globals()
        allowed.update(before)


@functools.cache
def table():
    """What names mean: (values, functions), each by PyTorch's full name."""
    from ..nn.parameter import Parameter

    values = {"torch.Tensor": Tensor, "torch.nn.parameter.Parameter": Parameter}
    values["torch.storage.UntypedStorage"] = BY_NAME["uint8"]
    for name, storage in STORAGE_NAMES.items():
        values[f"torch.{storage}"] = BY_NAME[name]
    values.update({f"torch.{name}": d for name, d in BY_NAME.items()})
    functions = {
        "torch._utils._rebuild_tensor": rebuild.rebuild_tensor,
        "torch._utils._rebuild_tensor_v2": rebuild.rebuild_tensor,
        "torch._utils._rebuild_tensor_v3": rebuild.rebuild_tensor_v3,
        "torch._utils._rebuild_meta_tensor_no_storage": rebuild.rebuild_meta,
        "torch._utils._rebuild_parameter": rebuild.rebuild_parameter,
        "torch._utils._rebuild_parameter_with_state": rebuild.rebuild_parameter_with_state,
        "torch._tensor._rebuild_from_type_v2": rebuild.rebuild_from_type,
        "torch.Size": rebuild.rebuild_size,
        "torch.device": device,
        "collections.OrderedDict": collections.OrderedDict,
        "collections.Counter": collections.Counter,
        "builtins.set": set,
        "builtins.frozenset": frozenset,
        "builtins.complex": complex,
        "builtins.bytearray": rebuild.rebuild_bytearray,
        # How protocol 2 spells b"", and nothing else.
        "builtins.bytes": rebuild.empty_bytes,
        "_codecs.encode": rebuild.encode,
    }
    return values, functions


# Layers that lie in other files here: where PyTorch has them, as its pickles say.
PLACES = {name: "torch.nn.modules." + module for module, names in {
    "activation": "MultiheadAttention", "batchnorm": "LazyBatchNorm1d LazyBatchNorm2d LazyBatchNorm3d SyncBatchNorm",
    "container": "Container", "fold": "Fold Unfold", "instancenorm": "LazyInstanceNorm1d LazyInstanceNorm2d LazyInstanceNorm3d",
    "conv": "ConvTranspose1d ConvTranspose2d ConvTranspose3d LazyConv1d LazyConv2d LazyConv3d LazyConvTranspose1d "
            "LazyConvTranspose2d LazyConvTranspose3d",
    "linear": "LazyLinear", "linear_cross_entropy_options": "LinearCrossEntropyOptions",
    "loss": "CTCLoss CosineEmbeddingLoss GaussianNLLLoss HingeEmbeddingLoss LinearCrossEntropyLoss MarginRankingLoss "
            "MultiLabelMarginLoss MultiLabelSoftMarginLoss MultiMarginLoss NLLLoss2d PoissonNLLLoss SoftMarginLoss "
            "TripletMarginLoss TripletMarginWithDistanceLoss",
    "module": "_WrappedHook", "normalization": "CrossMapLRN2d", "pixelshuffle": "PixelShuffle PixelUnshuffle",
    "pooling": "FractionalMaxPool2d FractionalMaxPool3d MaxUnpool1d MaxUnpool2d MaxUnpool3d",
    "upsampling": "Upsample UpsamplingBilinear2d UpsamplingNearest2d"}.items() for name in names.split()}


# Functions of ``nn.functional`` that PyTorch has in its compiled part.
COMPILED = frozenset("avg_pool2d avg_pool3d elu_ gelu hardtanh_ leaky_relu_ linear one_hot "
                     "scaled_dot_product_attention softplus softshrink".split())
FUNCTIONS = "torch", "torch.nn.functional", "torch._C._nn"


def name_in_pytorch(value):
    """(module, name) under which PyTorch's pickles know a class or function of ours; None for anything else."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str) or not (module + ".").startswith("numbagrad."):
        return None
    if isinstance(value, FunctionType):
        if getattr(sys.modules["numbagrad.nn.functional"], name, None) is value:
            return ("torch._C._nn" if name in COMPILED else "torch.nn.functional"), name
        if getattr(sys.modules["numbagrad"], name, None) is value:
            return "torch", name
    found = PLACES.get(name) if module.startswith("numbagrad.nn.modules.") else None
    return found or "torch" + module.removeprefix("numbagrad"), name


def permitted(module, name, user):
    """What the user allowed that PyTorch has under this name, perhaps in another file of the same package."""
    for value in user.values():
        # (Functions that PyTorch has in two of these places are one here.)
        if isinstance(value, FunctionType) and module in FUNCTIONS and (name_in_pytorch(value) or ("",))[0] in FUNCTIONS and (
                value.__qualname__ == name):
            return value
    if module.startswith("torch."):
        for value in user.values():
            own = getattr(value, "__module__", None) or ""
            if own.startswith("numbagrad.") and value.__qualname__ == name and own.split(".")[1] == module.split(".")[1]:
                return value
    return None


def current_name(module, name):
    """Python 3's place of a name which a pickle of protocol 2 gives as Python 2's."""
    if (module, name) in _compat_pickle.NAME_MAPPING:
        return _compat_pickle.NAME_MAPPING[module, name]
    return _compat_pickle.IMPORT_MAPPING.get(module, module), name


_UNSUPPORTED = {
    "_rebuild_sparse_tensor": "sparse tensors", "_rebuild_sparse_csr_tensor": "sparse tensors",
    "_rebuild_qtensor": "quantized tensors", "_rebuild_nested_tensor": "nested tensors",
    "_rebuild_wrapper_subclass": "subclasses of Tensor without memory of their own",
    "_rebuild_device_tensor_from_numpy": "tensors of other devices",
    "_rebuild_device_tensor_from_cpu_tensor": "tensors of other devices",
}


def refuse_unsupported(name):
    """pickle.UnpicklingError for names of PyTorch that only stand for something which numbagrad does not have."""
    what = _UNSUPPORTED.get(name)
    if name.endswith("Storage") or re.fullmatch("(float|bfloat|complex|u?int|bits|q?u?int)[0-9a-z_]*", name):
        what = f"the dtype of {name}"
    if what:
        raise pickle.UnpicklingError(f"the file holds {what} (torch name {name}), which numbagrad does not support")
