"""Scalar math functions written in Python, branch-free, so that a compiled loop over them becomes SIMD code.

``FUNCTIONS[name][suffix]`` is a plain Python function of one or two scalars, suffix ``"f4"`` for float32 and ``"f8"``
for float64. `device_function` compiles it for use inside other compiled functions, on the CPU and on CUDA alike.
Importing this module does not import Numba.
"""
from __future__ import annotations

import functools
import inspect
import types

import numpy as np

from .. import inlined
from . import activation, bessel, exponential, hyperbolic, inverse, logarithm, power, rounding, special, trigonometric

SUFFIXES = ("f4", "f8")

NAMES = {
    exponential: ("exp", "exp2", "expm1", "sigmoid"),
    logarithm: ("log", "log2", "log10", "log1p"),
    trigonometric: ("sin", "cos", "tan"),
    hyperbolic: ("tanh", "sinh", "cosh", "asinh", "acosh", "atanh"),
    inverse: ("asin", "acos", "atan", "atan2"),
    special: ("erf", "erfc", "erfinv", "lgamma", "digamma", "trigamma"),
    bessel: ("i0e", "i1e"),
    power: ("pow", "sqrt", "rsqrt", "cbrt"),
    rounding: ("abs", "ceil", "copysign", "floor", "floor_divide", "fmod", "remainder", "round", "trunc"),
}

FUNCTIONS = {
    name: {suffix: getattr(module, f"{name}_{suffix}") for suffix in SUFFIXES}
    for module, names in NAMES.items()
    for name in names
}

# Building blocks of activation functions, with absolute errors of their own (see the module).
ACTIVATIONS = {
    name: {suffix: getattr(activation, f"{name}_{suffix}") for suffix in SUFFIXES}
    for name in ("normal_cdf", "gelu_slope", "log1pexp")
}
ALL = {**FUNCTIONS, **ACTIVATIONS}

# Cheaper forms, right for |x| <= limit only (|x / y| of two arguments): {name: {suffix: (function, limit)}}. A loop that
# finds a block of arguments within the limit may run these.
NEAR = {
    name: {
        "f4": (getattr(trigonometric, f"{name}_near_f4"), 8192.0),
        "f8": (getattr(trigonometric, f"{name}_near_f8"), 1048576.0),
    }
    for name in NAMES[trigonometric]
} | {
    name: {
        "f4": (getattr(rounding, f"{name}_near_f4"), 2.0**22),
        "f8": (getattr(rounding, f"{name}_near_f8"), 2.0**24),
    }
    for name in ("floor_divide", "fmod", "remainder")
}


def _helpers(function):
    """The plain functions of this package that `function` calls, by the name it calls them."""
    found = {}
    for name in function.__code__.co_names:
        value = function.__globals__.get(name)
        if isinstance(value, types.FunctionType) and value.__module__.startswith(__name__):
            found[name] = value
    return found


# Per target: options of the compiled form. "contract" lets the CPU fuse multiply-adds; CUDA does so by itself, and any
# fastmath there allows approximate division.
OPTIONS = {
    "cpu": {"fast": {"contract"}, "forceinline": True, "error_model": "numpy"},
    "cuda": {"forceinline": True, "error_model": "numpy"},
}


# Helpers that have another form where a multiply-add is one instruction; CUDA, which makes some by itself, keeps the first.
FUSED = {power.log2_pair: power.log2_pair_fused}


def _has(x86):
    """Whether this processor has what x86 has with a feature, and ARM always."""
    from llvmlite.binding import get_host_cpu_features
    features = get_host_cpu_features()
    return bool(features.get(x86) or features.get("neon"))


@functools.cache
def multiplies_and_adds():
    """Whether this processor has multiply-adds."""
    return _has("fma")


# LLVM's names of functions that round, one instruction where the processor has it and a call elsewhere.
ROUNDING = {getattr(rounding, f"{name}_{suffix}"): intrinsic for suffix in SUFFIXES for name, intrinsic in (
    ("ceil", "llvm.ceil"), ("floor", "llvm.floor"), ("round", "llvm.roundeven"), ("trunc", "llvm.trunc"))}


@functools.cache
def rounds():
    """Whether this processor rounds to whole numbers."""
    return _has("sse4.1")


def _instructions():
    """{plain function: kernel function of one instruction}"""
    from numba import types
    from numba.extending import intrinsic

    @intrinsic
    def times(typingctx, a, b):
        # With a flag of its own the product is not given those of the function around it, which let it join a sum.
        return types.float64(types.float64, types.float64), lambda context, builder, signature, args: builder.fmul(
            *args, flags=("arcp",))

    @intrinsic
    def rest(typingctx, a, b, p):
        return types.float64(types.float64, types.float64, types.float64), lambda context, builder, signature, args: (
            builder.fma(args[0], args[1], builder.fneg(args[2])))

    def whole(name):
        @intrinsic
        def round_(typingctx, x):
            return x(x), lambda context, builder, signature, args: builder.call(
                builder.module.declare_intrinsic(name, [args[0].type]), args)
        return round_

    by_name = {name: whole(name) for name in set(ROUNDING.values())}
    return {power.times: times, power.rest: rest, **{f: by_name[name] for f, name in ROUNDING.items()}}


_instructions = functools.cache(_instructions)


@functools.cache
def scalar(function, target="cpu"):
    """The compiled form of a plain function of this package, every helper it calls compiled too."""
    import numba

    if target == "cpu":
        if function in FUSED and multiplies_and_adds():
            function = FUSED[function]
        elif function in (power.times, power.rest) or function in ROUNDING and rounds():
            return _instructions()[function]

    # A compiled function cannot call a plain one, so the copy sees its helpers' compiled forms in their place.
    namespace = dict(function.__globals__)
    namespace.update((name, scalar(helper, target)) for name, helper in _helpers(function).items())
    copy = types.FunctionType(function.__code__, namespace, function.__name__, function.__defaults__)
    copy.__module__ = function.__module__
    copy.__doc__ = function.__doc__
    return (inlined if target == "cpu" else numba).njit(**OPTIONS[target])(copy)


def device_function(name, suffix, target="cpu"):
    """The compiled dispatcher of ``FUNCTIONS[name][suffix]``, built on first use; `target` is "cpu" or "cuda"."""
    return scalar(ALL[name][suffix], target)


def near_function(name, suffix, target="cpu"):
    """(dispatcher, limit) of ``NEAR[name][suffix]``, built on first use."""
    function, limit = NEAR[name][suffix]
    return scalar(function, target), limit


@functools.cache
def sources(name, suffix):
    """All text that decides what ``FUNCTIONS[name][suffix]`` computes: its source, its helpers', their constants.

    That of the ``NEAR`` form follows where there is one.
    """
    parts = {}
    pending = [ALL[name][suffix]]
    if name in NEAR:
        pending.append(NEAR[name][suffix][0])
    while pending:
        function = pending.pop()
        key = f"{function.__module__}.{function.__qualname__}"
        if key in parts:
            continue
        constants = [
            f"{used} = {_constant_text(function.__globals__[used])}"
            for used in sorted(set(function.__code__.co_names) & function.__globals__.keys())
            if isinstance(function.__globals__[used], (int, float, tuple, np.generic, np.ndarray))
        ]
        parts[key] = "\n".join([f"# {key}", *constants, inspect.getsource(function)])
        if function in ROUNDING and rounds():
            parts[key] += ROUNDING[function]
        pending.extend(_helpers(function).values())
        if function in FUSED and multiplies_and_adds():
            pending.append(FUSED[function])
    return "\n".join(parts[key] for key in sorted(parts))


def _constant_text(value):
    """`value` with its type and every digit (the repr of a long array would be abridged)."""
    return f"{value.dtype} {value.tolist()!r}" if isinstance(value, np.ndarray) else repr(value)
