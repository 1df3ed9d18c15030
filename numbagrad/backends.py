"""``torch.backends``: switches that PyTorch's scripts set (``backends.cudnn.benchmark = True``); kept, and without effect here.

Each is a module, as in PyTorch: ``import torch.backends.cudnn as cudnn`` finds it.
"""

from __future__ import annotations

import contextlib
import sys
import types
import warnings

from .base.user_code import user_level

__path__: list = []  # what lies below is in sys.modules


class Switches(types.ModuleType):
    """One backend: values that can be set, and functions that say what there is."""

    def __init__(self, name, values=(), available=False, **functions):
        super().__init__(f"{__name__}.{name}", f"Switches of {name}, without effect here.")
        self._values = dict(values)
        self.__dict__.update(self._values, **functions)
        if available is not None:
            self.is_available = lambda: available
        if values:
            self.flags, self.set_flags = self._flags, self._set_flags
        sys.modules[self.__name__] = self

    def _set_flags(self, **values):
        """Set some values, by their names or by these after an underscore; returns what they were."""
        values = {name.removeprefix("_"): value for name, value in values.items() if value is not None}
        unknown = set(values) - set(self._values)
        if unknown:
            raise TypeError(f"set_flags() got an unexpected keyword argument '{sorted(unknown)[0]}'")
        before = {name: getattr(self, name) for name in values}
        self.__dict__.update(values)
        return before

    @contextlib.contextmanager
    def _flags(self, **values):
        """Other values inside of the block."""
        before = self._set_flags(**{**self._in_flags(), **values})
        try:
            yield
        finally:
            self.__dict__.update(before)

    def _in_flags(self):
        """What PyTorch's ``flags`` sets if nothing is said: off, but for TF32."""
        return {n: v if n in ("allow_tf32", "fp32_precision", "benchmark_limit") else False for n, v in self._values.items()
                if isinstance(v, bool)}


class _Matmul:
    """Precision of products on a device."""

    allow_tf32 = allow_fp16_accumulation = False
    allow_fp16_reduced_precision_reduction = allow_bf16_reduced_precision_reduction = True
    fp32_precision = "none"


def _capability():
    """The widest instructions of this processor, in PyTorch's words."""
    from llvmlite.binding import get_host_cpu_features
    features = get_host_cpu_features()
    return "AVX512" if features.get("avx512f") else "AVX2" if features.get("avx2") else "DEFAULT"


class verbose:  # noqa: N801 (PyTorch's name)
    """A block for which PyTorch tells what a library is called with; nothing here calls it."""

    def __init__(self, level):
        self.level = self.enable = level

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        return False


_sdp = {"math": True, "flash": True, "mem_efficient": True, "cudnn": True}


def _sdp_functions():
    found = {}
    for name in _sdp:
        found[f"enable_{name}_sdp"] = lambda enabled, name=name: _sdp.__setitem__(name, bool(enabled))
        found[f"{name}_sdp_enabled"] = lambda name=name: _sdp[name]
    return found


@contextlib.contextmanager
def _sdp_kernel(enable_flash=True, enable_math=True, enable_mem_efficient=True, enable_cudnn=True):
    """Other switches of attention inside of the block; PyTorch advises ``nn.attention.sdpa_kernel``."""
    warnings.warn("`torch.backends.cuda.sdp_kernel()` is deprecated. In the future, this context manager will be removed. "
                  "Please see `torch.nn.attention.sdpa_kernel()` for the new context manager, with updated signature.",
                  FutureWarning, stacklevel=user_level())
    before = dict(_sdp)
    _sdp.update(math=enable_math, flash=enable_flash, mem_efficient=enable_mem_efficient, cudnn=enable_cudnn)
    try:
        yield {}
    finally:
        _sdp.update(before)


_fastpath = [True]
cpu = Switches("cpu", available=None, get_cpu_capability=_capability)
cudnn = Switches("cudnn", {"enabled": True, "benchmark": False, "benchmark_limit": None, "deterministic": False,
                           "allow_tf32": True, "fp32_precision": "none"},
                 version=lambda: None, is_acceptable=lambda tensor: False)
cuda = Switches("cuda", available=None, is_built=lambda: False, matmul=_Matmul(), sdp_kernel=_sdp_kernel,
                is_flash_attention_available=lambda: False, fp16_bf16_reduction_math_sdp_allowed=lambda: False,
                allow_fp16_bf16_reduction_math_sdp=lambda enabled: None, **_sdp_functions())
mps = Switches("mps", is_built=lambda: False, is_macos13_or_newer=lambda minor=0: False,
               is_macos_or_newer=lambda major, minor: False)
mkl = Switches("mkl", verbose=verbose, VERBOSE_OFF=0, VERBOSE_ON=1)
mkldnn = Switches("mkldnn", {"enabled": False, "deterministic": False, "allow_tf32": True, "fp32_precision": "none"},
                  verbose=verbose)
openmp = Switches("openmp")
nnpack = Switches("nnpack", {"enabled": False})
opt_einsum = Switches("opt_einsum", {"enabled": False, "strategy": None}, get_opt_einsum=lambda: None)
quantized = Switches("quantized", {"engine": "none", "supported_engines": []}, None)
cusparselt = Switches("cusparselt", version=lambda: None, get_max_alg_id=lambda: None)
kleidiai = Switches("kleidiai")
mha = Switches("mha", available=None, get_fastpath_enabled=lambda: _fastpath[0],
               set_fastpath_enabled=lambda value: _fastpath.__setitem__(0, value))
miopen = Switches("miopen", {"immediate": False}, None)
