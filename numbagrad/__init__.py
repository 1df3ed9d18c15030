"""numbagrad: PyTorch's eager autograd, every kernel a function that Numba compiles.

``import numbagrad as ng`` gives PyTorch's names: ``ng.tensor``, ``ng.nn``, ``ng.optim``, ``ng.autograd``.
"""

from __future__ import annotations

import builtins

from .base import dtypes as _dtypes
from .base import tracebacks as _tracebacks
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
)
from .base.modes import enable_grad, inference_mode, is_grad_enabled, is_inference_mode_enabled, no_grad, set_grad_enabled
from .core.tensor import Size, Tensor

from .base.device import device  # isort: skip
from . import autograd
from .autograd.anomaly import is_anomaly_check_nan_enabled, is_anomaly_enabled
from .core import creation
from .core.creation import (
    arange,
    as_tensor,
    asarray,
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
    return importlib.import_module(f".func.{name}", __name__)


autograd._above = _transforms
Tensor._of_data, Tensor._of_array, Tensor._backward = map(staticmethod, (tensor, from_numpy, autograd.backward))
dtype = _dtypes.dtype
strided = "torch.strided"
memory_format = _dtypes.memory_format
contiguous_format, preserve_format = _dtypes.contiguous_format, _dtypes.preserve_format
channels_last, channels_last_3d = _dtypes.channels_last, _dtypes.channels_last_3d
for _public in (Tensor, Size, dtype, device, memory_format, finfo, iinfo, Generator):
    _public.__module__ = __name__  # where users find them, as messages and pickles say
inf, nan, pi, e = float64.np.type("inf").item(), float64.np.type("nan").item(), 3.141592653589793, 2.718281828459045

__version__ = "0.1.0"


def _beside():
    """The folder to look for ``ops`` in: none where it is installed, else the source folder that comes first on the path."""
    import importlib.util
    import os

    if importlib.util.find_spec(__name__ + ".ops") is not None:
        return []
    return [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]


def _start():
    """Install the ops and what depends on them."""
    import importlib

    from .autograd import inplace
    from .core import untyped_storage
    for name in ("special", "linalg"):
        importlib.import_module("." + name, __name__)
    usual = __path__[:]
    __path__.extend(_beside())
    from . import ops
    __path__[:] = usual
    from .public import later, namespace
    creation.install()
    inplace.install()
    untyped_storage.install()
    namespace.install_methods()
    from . import nn  # noqa: F401
    ops.read_index()
    later.stand_in()
    ops.run_others()


def __getattr__(name):
    if name in _PARTS:
        import importlib
        return importlib.import_module("." + name, __name__)
    if name in _LATER:
        import importlib
        value = globals()[name] = getattr(importlib.import_module("." + _LATER[name], __name__), name)
        return value
    if name.startswith("_foreach_"):
        from .utils import _foreach
        if name in _foreach.FUNCTIONS:
            value = globals()[name] = _foreach.FUNCTIONS[name]
            return value
    raise AttributeError(f"module 'numbagrad' has no attribute '{name}' (torch.{name} is not available here)")


def __dir__():
    return [*_PARTS, *_LATER]


# Which are imported when they are used, and functions of such.
_PARTS = ("accelerator", "backends", "compiler", "cuda", "distributions", "extend", "func", "fx", "hub", "jit", "linalg",
          "onnx", "optim", "serialization", "special", "testing", "version")
_LATER = {"compile": "compiler", "load": "serialization", "save": "serialization", "vmap": "func"}
_start()
_tracebacks.install()

from . import utils  # noqa: E402


def is_floating_point(input):
    """Whether the dtype is a floating-point one."""
    return input.dtype.is_floating_point


def is_complex(input):
    """Whether the dtype is complex."""
    return input.dtype.is_complex


def is_same_size(input, other):
    """Whether two tensors have the same shape."""
    return input._shape == other._shape


def numel(input):
    """Number of elements."""
    return input._n


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
    return f"{type(obj).__module__}.{type(obj).__qualname__}"


def use_deterministic_algorithms(mode, *, warn_only=False):
    """Accepted for PyTorch's sake: every CPU kernel is deterministic."""


def set_float32_matmul_precision(precision):
    """Accepted for PyTorch's sake: float32 products always run in full precision on the CPU."""
    if precision not in ("highest", "high", "medium"):
        raise RuntimeError(f"Invalid float32 matmul precision: {precision}")


def _legacy(name, d):
    """``FloatTensor(2, 3)``, ``LongTensor([1, 2])``: uninitialised memory of a shape, or a copy of data."""
    def make(*args):
        if len(args) == 1 and not isinstance(args[0], builtins.int):
            return tensor(args[0], dtype=d)
        return empty(*args, dtype=d)
    make.__name__ = make.__qualname__ = name
    return make


for _name, _d in (("FloatTensor", float32), ("DoubleTensor", float64), ("HalfTensor", float16), ("LongTensor", int64),
                  ("IntTensor", int32), ("ShortTensor", int16), ("CharTensor", int8), ("ByteTensor", uint8),
                  ("BoolTensor", bool), ("BFloat16Tensor", bfloat16)):
    globals()[_name] = _legacy(_name, _d)
