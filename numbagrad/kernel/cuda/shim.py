"""The one importer of ``numba.cuda``: what is there, device functions, and compilation down to a cubin.

Everything is resolved on first use: importing this module, or numbagrad, loads neither ``numba.cuda`` nor a driver.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import types as pytypes

import numpy as np

from .. import cache, jit

INSTALL = 'pip install "numbagrad[cuda]"'


class CudaUnavailable(RuntimeError, AssertionError):
    """CUDA was asked for and cannot be used. PyTorch raises AssertionError where it was built without CUDA and
    RuntimeError where it finds no driver; scripts that catch either one catch this."""


# --- what is there ---------------------------------------------------------------------------------------------------

def simulated():
    """Whether kernels run in Numba's simulator (``NUMBA_ENABLE_CUDASIM=1`` when the process started)."""
    return os.environ.get("NUMBA_ENABLE_CUDASIM", "0").strip() not in ("", "0")


def _installed(name):
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


@functools.cache
def why_not():
    """Why CUDA cannot be used, in one sentence; None when it can."""
    if simulated():
        return None if _installed("numba.cuda") else "this Numba has no CUDA simulator"
    for name in ("numba_cuda", "cuda.core"):
        if not _installed(name):
            return f"the package {name.replace('_', '-').replace('.', '-')} is not installed: {INSTALL}"
    try:
        if numba_cuda().is_available():
            return None
        return "no NVIDIA driver or no CUDA device was found"
    except Exception as e:  # whatever a broken driver installation raises
        return f"CUDA does not start ({type(e).__name__}: {e})"


def require():
    """Raise CudaUnavailable unless CUDA can be used."""
    reason = why_not()
    if reason is not None:
        raise CudaUnavailable("Torch not compiled with CUDA enabled: numbagrad cannot use a CUDA device here, because "
                              + (reason if INSTALL in reason else f"{reason}. The CUDA packages come with: {INSTALL}"))


def numba_cuda():
    """The module ``numba.cuda`` (its simulator, when that was asked for)."""
    from numba import cuda
    return cuda


# --- kernels before they are compiled --------------------------------------------------------------------------------

class Source:
    """A kernel as text: ``params`` are (name, kind) with kind a dtype code, ``"*" + code`` for a pointer.

    ``env`` maps the names the text uses to plain functions, types and constants; ``key`` pins what they mean.
    ``loaded`` belongs to the target that runs the kernel."""

    __slots__ = ("name", "params", "body", "env", "key", "loaded")

    def __init__(self, name, params, body, env, key):
        self.name, self.params, self.body, self.env, self.key = name, tuple(params), body, env, key
        self.loaded = {}

    @property
    def text(self):
        return f"def {self.name}({', '.join(n for n, _ in self.params)}):\n" + "".join(f"    {s}\n" for s in self.body)

    def function(self, convert=None):
        """The kernel as a Python function; ``convert`` maps what ``env`` holds to what the target wants there."""
        convert = convert or (lambda v: v)
        env = {k: convert(v) for k, v in self.env.items()}
        env.update(cuda=numba_cuda(), cuda_=numba_cuda(), __name__="numbagrad.kernel.generated")
        env.setdefault("np", convert(np))
        return jit.define(self.text, self.name, env)


def number_type(code):
    """The Numba type of a dtype code (bytes stand for bool, bit patterns for the half types)."""
    from numba import types
    return getattr(types, jit.POINTEE[code])


def element_type(code):
    """The type of arrays that a kernel makes, for the simulator or the compiler."""
    return np.dtype(jit.POINTEE[code]) if simulated() else number_type(code)


def signature(source):
    """Numba types of a kernel's parameters; pointers are raw, so that a launch passes one integer for each."""
    from numba import types
    return tuple([types.CPointer(number_type(k[1:])) if k[0] == "*" else number_type(k) for _, k in source.params])


# --- device functions ------------------------------------------------------------------------------------------------

def rint(x):
    """The nearest integer; stands for ``np.rint``, which numba-cuda does not implement."""
    return np.rint(x)


@functools.cache
def _complex_functions():
    """{NumPy's function: what does it on a device}: numba-cuda has the complex ones under ``cmath`` only."""
    import cmath
    names = {"exp": "exp", "log": "log", "log10": "log10", "sqrt": "sqrt", "sin": "sin", "cos": "cos", "tan": "tan",
             "sinh": "sinh", "cosh": "cosh", "tanh": "tanh", "arcsin": "asin", "arccos": "acos", "arctan": "atan",
             "arcsinh": "asinh", "arccosh": "acosh", "arctanh": "atanh"}
    return {getattr(np, n): getattr(cmath, c) for n, c in names.items()} | {np.abs: abs}


@functools.cache
def _numpy_names():
    """NumPy as device code sees it: the module with what numba-cuda lacks put in. Real functions are ``vecmath``'s, so
    exp and its like are only ever met with complex numbers here."""
    from numba import types
    from numba.cuda import libdevice
    from numba.cuda.extending import overload

    @overload(rint, target="cuda")
    def rint_(x):
        if x == types.float32:
            return lambda x: libdevice.rintf(x)
        return lambda x: libdevice.rint(x)

    module = pytypes.ModuleType("numbagrad.kernel.cuda.numpy_names")
    module.__dict__.update({k: v for k, v in vars(np).items() if not k.startswith("__")})
    module.__dict__.update((f.__name__, d) for f, d in _complex_functions().items())
    module.abs, module.rint = abs, rint
    return module


@functools.cache
def _device_function(function):
    namespace = dict(function.__globals__)
    for name in function.__code__.co_names:
        if name in namespace:
            namespace[name] = device_value(namespace[name])
    copy = pytypes.FunctionType(function.__code__, namespace, function.__name__, function.__defaults__)
    copy.__module__ = function.__module__
    return numba_cuda().jit(device=True, forceinline=True)(copy)


def device_value(value):
    """What stands for a plain function, a module or a constant inside compiled device code."""
    value = getattr(value, "py_func", value)
    if value is np:
        return _numpy_names()
    if isinstance(value, pytypes.FunctionType) and value is not rint:
        return _device_function(value)
    if isinstance(value, np.ufunc):
        return _complex_functions().get(value, value)
    return value


# --- compilation -----------------------------------------------------------------------------------------------------

def ptx(source, cc):
    """PTX text of a kernel for a compute capability such as (9, 0)."""
    text, _ = numba_cuda().compile(source.function(device_value), signature(source), device=False, abi="numba", cc=cc,
                                   output="ptx")
    return text


def architecture(cc):
    """``sm_90a`` for (9, 0): from there on the architecture's own instructions are asked for."""
    return f"sm_{cc[0]}{cc[1]}" + ("a" if cc >= (9, 0) else "")


def link(text, cc):
    """The cubin of PTX text."""
    from cuda.core import Linker, LinkerOptions, ObjectCode
    linker = Linker(ObjectCode.from_ptx(text.encode()), options=LinkerOptions(arch=architecture(cc)))
    return bytes(linker.link("cubin").code)


def entry_name(text):
    """Name of the kernel in PTX text."""
    start = text.index(".visible .entry ") + len(".visible .entry ")
    return text[start:text.index("(", start)].strip()


@functools.cache
def _versions():
    from importlib.metadata import PackageNotFoundError, version

    def of(package):
        try:
            return version(package)
        except PackageNotFoundError:  # NVVM and the linker may come with the system's CUDA
            return "of the system"
    return ", ".join(f"{p} {of(p)}" for p in ("numba-cuda", "nvidia-nvvm", "nvidia-nvjitlink"))


def cubin(source, cc):
    """(machine code, entry name): from the folder of ``NUMBAGRAD_CUBINS``, the disk cache, or compiled and stored in both.

    In that folder a kernel is found by its text, parameters and architecture alone, whatever compiled it: a machine without a
    GPU can fill it for one without a compiler."""
    key = "\0".join((source.text, repr(source.params), source.key, architecture(cc)))
    folder, prebuilt = os.environ.get("NUMBAGRAD_CUBINS"), _hash(key)
    found = cache.read_from(folder, prebuilt) if folder else None
    if found is None:
        name = _hash(key + "\0" + _versions())
        found = cache.read_bytes(name)
        if found is None:
            text = ptx(source, cc)
            found = entry_name(text).encode() + b"\0" + link(text, cc)
            cache.write_bytes(name, found)
        if folder:
            cache.write_to(folder, prebuilt, found)
    entry, _, code = bytes(found).partition(b"\0")
    return code, entry.decode()


def _hash(key):
    return hashlib.sha256(("cubin\0" + key).encode()).hexdigest()
