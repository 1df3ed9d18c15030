"""numbagrad: PyTorch's eager autograd, every kernel a function that Numba compiles.

``import numbagrad as ng`` gives PyTorch's names: ``ng.tensor``, ``ng.nn``, ``ng.optim``, ``ng.autograd``.
"""

from __future__ import annotations

import sys

from .base import dtypes as _dtypes
from .base import overriding as _base_overriding
from .base import tracebacks as _tracebacks
from .base.arguments import of_tensors as _of_tensors
from .base.device import device as _Device
from .base.device import get_default_device, set_default_device
from .base.dtypes import (
    bfloat16,
    bool,
    can_cast,
    cdouble,
    cfloat,
    complex64,
    complex128,
    double,
    finfo,
    float,
    float16,
    float32,
    float64,
    get_default_dtype,
    half,
    iinfo,
    int,
    int8,
    int16,
    int32,
    int64,
    long,
    promote_types,
    result_type,
    set_default_dtype,
    short,
    uint8,
    uint16,
    uint32,
    uint64,
)
from .base.modes import enable_grad, inference_mode, is_grad_enabled, is_inference_mode_enabled, no_grad, set_grad_enabled
from .core.tensor import Size, Tensor

from .base.device import device  # isort: skip
from . import autograd
from .autograd.anomaly import is_anomaly_check_nan_enabled, is_anomaly_enabled
from .core import creation
from .core import registry as _registry
from .core.creation import (
    arange,
    as_tensor,
    empty,
    empty_like,
    eye,
    from_numpy,
    full,
    full_like,
    is_tensor,
    linspace,
    logspace,
    ones,
    ones_like,
    scalar_tensor,
    tensor,
    zeros,
    zeros_like,
)
from .core.printing import get_printoptions, set_printoptions
from .random import Generator, default_generator, get_rng_state, initial_seed, manual_seed, seed, set_rng_state


def _transforms(name):
    """A module of ``func``, imported when it is used."""
    import importlib
    return importlib.import_module(f".func.{name}", __package__)


def _dlpack():
    """``core.dlpack``, imported when it is used."""
    import importlib
    return importlib.import_module(".core.dlpack", __package__)


def _overriding():
    """``dispatch.overriding``, imported when it is used."""
    import importlib
    return importlib.import_module(".dispatch.overriding", __package__)


def _alias(t):
    """A view of all of a tensor, by the op of that name."""
    from .core.registry import REGISTRY
    return REGISTRY["alias"](t)


autograd._above = _transforms
Tensor._alias = staticmethod(_alias)
_base_overriding.machinery[0] = _overriding
Tensor._dlpack = staticmethod(_dlpack)
Tensor._of_data, Tensor._of_array, Tensor._backward = map(staticmethod, (tensor, from_numpy, autograd.backward))
dtype = _dtypes.dtype
layout = _dtypes.layout
strided, sparse_coo = _dtypes.strided, _dtypes.sparse_coo
memory_format = _dtypes.memory_format
contiguous_format = legacy_contiguous_format = _dtypes.contiguous_format
preserve_format = _dtypes.preserve_format
channels_last, channels_last_3d = _dtypes.channels_last, _dtypes.channels_last_3d
for _public in (Tensor, Size, dtype, device, memory_format, finfo, iinfo, Generator):
    _public.__module__ = __name__  # where users find them, as messages and pickles say
newaxis = None
has_lapack, has_mkl, has_openmp, has_spectral = True, False, False, True
inf, nan, pi, e = float64.np.type("inf").item(), float64.np.type("nan").item(), 3.141592653589793, 2.718281828459045

__version__ = "0.1.0"


def _beside():
    """The folder to look for ``ops`` in: none where it is installed, else the source folder that comes first on the path."""
    import importlib.util
    import os

    if importlib.util.find_spec(__package__ + ".ops") is not None:
        return []
    return [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]


def _start():
    """Install the ops and what depends on them."""
    import importlib

    from .autograd import inplace
    from .core import lists, sizes, untyped_storage
    for name in ("special", "linalg", "fft"):
        importlib.import_module("." + name, __package__)
    usual = __path__[:]
    __path__.extend(_beside())
    from . import ops
    __path__[:] = usual
    from .public import later, namespace
    creation.install()
    inplace.install()
    untyped_storage.install()
    sizes.install()
    lists.install()
    namespace.install_methods()
    from . import nn  # noqa: F401
    ops.read_index()
    later.stand_in()
    ops.run_others()


def __getattr__(name):
    if name in _PARTS:
        import importlib
        return importlib.import_module("." + name, __package__)
    if name in _LATER:
        import importlib
        value = globals()[name] = getattr(importlib.import_module("." + _LATER[name], __package__), name)
        _registry.seen(sys.modules[__package__], name, value)
        return value
    if name == "torch":  # (which PyTorch's ``__init__`` imports)
        return sys.modules[__package__]
    if name.startswith("_foreach_"):
        from .utils import _foreach
        if name in _foreach.FUNCTIONS:
            value = globals()[name] = _foreach.FUNCTIONS[name]
            return value
    from .public.absent import advice
    raise AttributeError(f"module 'numbagrad' has no attribute '{name}' (torch.{name} is not available here"
                         f"{advice('torch', name)})", name=name, obj=sys.modules[__package__])


def __dir__():
    return [*_PARTS, *_LATER]


# Which are imported when they are used, and functions of such.
_PARTS = ("_C", "__config__", "__future__", "_dynamo", "_higher_order_ops", "_lowrank", "_subclasses", "_tensor",
          "_tensor_str", "_utils", "accelerator", "amp", "ao", "backends", "compiler", "cpu", "cuda", "distributed",
          "distributions", "export", "extend", "fft", "func", "futures", "fx", "hub", "jit", "library", "linalg", "masked",
          "mps", "mtia", "multiprocessing", "onnx", "optim", "overrides", "profiler", "quasirandom", "serialization",
          "signal", "sparse", "special", "storage", "testing", "types", "version", "xpu")
_LATER = {"compile": "compiler", "load": "serialization", "save": "serialization", "TypedStorage": "storage",
          "PyTorchFileReader": "saving.reader", "ScriptModule": "jit", "while_loop": "_higher_order_ops",
          "svd_lowrank": "_lowrank", "pca_lowrank": "_lowrank", "UntypedStorage": "storage", "is_storage": "core.storages",
          "set_default_tensor_type": "core.legacy",
          **dict.fromkeys([kind + "Tensor" for kind in _dtypes.CLASS_NAMES.values() if not kind.startswith("Complex")],
                          "core.legacy"),
          **dict.fromkeys("""set_float32_matmul_precision get_float32_matmul_precision use_deterministic_algorithms
are_deterministic_algorithms_enabled is_deterministic_algorithms_warn_only_enabled set_deterministic_debug_mode
get_deterministic_debug_mode set_warn_always is_warn_always_enabled set_flush_denormal get_num_interop_threads
set_num_interop_threads""".split(), "base.settings"),
          **dict.fromkeys("""bartlett_window blackman_window empty_permuted empty_strided frombuffer hamming_window
hann_window kaiser_window range""".split(), "core.factories"),
          **dict.fromkeys([kind + "Storage" for kind in _dtypes.CLASS_NAMES.values()], "core.storages"),
          **dict.fromkeys("""adaptive_max_pool1d alpha_dropout alpha_dropout_ batch_norm binary_cross_entropy_with_logits
convolution cosine_embedding_loss dropout dropout_ embedding embedding_renorm_ feature_alpha_dropout feature_alpha_dropout_
feature_dropout feature_dropout_ fill frobenius_norm hinge_embedding_loss instance_norm is_distributed is_vulkan_available
kl_div margin_ranking_loss max_pool1d_with_indices native_dropout native_layer_norm nuclear_norm
poisson_nll_loss triplet_margin_loss""".split(), "nn.by_position"),
          **dict.fromkeys("""float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz float8_e8m0fnu float4_e2m1fn_x2 bit
complex32 chalf uint1 uint2 uint3 uint4 uint5 uint6 uint7 int1 int2 int3 int4 int5 int6 int7""".split(), "base.rare_dtypes"),
          "GradScaler": "amp", **dict.fromkeys((
             "autocast", "autocast_decrement_nesting", "autocast_increment_nesting", "clear_autocast_cache",
             "get_autocast_cpu_dtype", "get_autocast_dtype", "get_autocast_gpu_dtype", "is_autocast_cache_enabled",
             "is_autocast_cpu_enabled", "is_autocast_enabled", "set_autocast_cache_enabled", "set_autocast_cpu_dtype",
             "set_autocast_cpu_enabled", "set_autocast_dtype", "set_autocast_enabled", "set_autocast_gpu_dtype"),
             "amp.autocast_mode"),
          **dict.fromkeys(("_amp_foreach_non_finite_check_and_unscale_", "_amp_update_scale_"), "amp.grad_scaler"),
          **dict.fromkeys(("AcceleratorError", "FatalError", "JITException", "OutOfMemoryError"), "base.errors"),
          **dict.fromkeys("""SymBool SymFloat SymInt init_num_threads sym_float sym_int sym_ite sym_max sym_min sym_not sym_sum
thread_safe_generator""".split(), "base.symbolic"),
          "Event": "core.streams", "Stream": "core.streams", "cond": "core.choice",
          **dict.fromkeys("""_assert _assert_async _check _check_index _check_is_size _check_not_implemented _check_tensor_all
_check_tensor_all_with _check_type _check_value _check_with""".split(), "base.conditions"), "Future": "futures",
          "Tag": "library", "spmm": "sparse", "vmap": "func", "asarray": "core.aliasing", "from_file": "core.aliasing",
          "from_dlpack": "utils.dlpack", "to_dlpack": "utils.dlpack"}
_start()
_tracebacks.install()

from . import utils  # noqa: E402


def is_floating_point(input):
    """Whether the dtype is a floating-point one."""
    try:
        return input.dtype.is_floating_point
    except AttributeError as error:
        return _of_tensors(is_floating_point, error, input)


def is_complex(input):
    """Whether the dtype is complex."""
    try:
        return input.dtype.is_complex
    except AttributeError as error:
        return _of_tensors(is_complex, error, input)


def is_same_size(input, other):
    """Whether two tensors have the same shape."""
    try:
        return input._shape == other._shape
    except AttributeError as error:
        return _of_tensors(is_same_size, error, input, other)


def is_inference(input):
    """Whether the tensor was made in inference mode."""
    try:
        return input.is_inference()
    except AttributeError as error:
        return _of_tensors(is_inference, error, input)


def is_signed(input):
    """Whether the dtype has negative numbers."""
    try:
        return input.is_signed()
    except AttributeError as error:
        return _of_tensors(is_signed, error, input)


def is_neg(input):
    """False: no tensor is negated lazily."""
    try:
        return input.is_neg()
    except AttributeError as error:
        return _of_tensors(is_neg, error, input)


def is_conj(input):
    """Whether the tensor is conjugated lazily."""
    try:
        return input.is_conj()
    except AttributeError as error:
        return _of_tensors(is_conj, error, input)


def get_device(input):
    """Index of the CUDA device, -1 on the CPU."""
    try:
        return input.get_device()
    except AttributeError as error:
        return _of_tensors(get_device, error, input)


def detach(input):
    """``Tensor.detach``."""
    try:
        return input.detach()
    except AttributeError as error:
        return _of_tensors(detach, error, input)


def get_device_module(device=None):
    """The module of a kind of devices; the CPU's without one."""
    import importlib
    if device is None:
        kind = "cuda" if __getattr__("cuda").is_available() else "cpu"
    else:
        kind = _Device(device).type
    try:
        return importlib.import_module("." + kind, __package__)
    except ModuleNotFoundError:
        raise RuntimeError(f"Device '{kind}' does not have a corresponding module registered as 'torch.{kind}'.") from None


def numel(input):
    """Number of elements."""
    try:
        return input._n
    except AttributeError as error:
        return _of_tensors(numel, error, input)


def set_num_threads(n):
    """Use ``n`` threads inside operations."""
    from .kernel import threads
    threads.set_num_threads(n)


def get_num_threads():
    """Threads used inside operations."""
    from .kernel import tape, threads
    tape.refuse("reads the number of threads, which may change between calls")
    return threads.get_num_threads()


def typename(obj):
    """The qualified name of an object's type."""
    if isinstance(obj, Tensor):
        return obj.type()
    found = obj if hasattr(obj, "__qualname__") or hasattr(obj, "__name__") else obj.__class__
    name = getattr(found, "__qualname__", None) or found.__name__
    module = getattr(found, "__module__", "") or ""
    return name if module in ("", "builtins") else f"{module}.{name}"


