"""Random numbers on the CPU: the Mersenne Twister MT19937 and kernels that fill arrays from its stream.

Each ``fill_*`` consumes the stream exactly as PyTorch's CPU generator does for the function of that name, so values
and the generator's state afterwards are PyTorch's. With r a 32-bit draw, R a 64-bit one (two draws, first one high),
u = (r mod 2^24) / 2^24 and U = (R mod 2^53) / 2^53:

=====================  =================================================================================
uniform                float64: low + U (high - low); the others: low + u (high - low) in float32
normal, 16 and more    blocks of 16 uniforms, sqrt(-2 log(1 - u[i])) times cos, sin of 2 pi u[i + 8], i < 8
normal, fewer          float64 pairs sqrt(-2 log1p(-U2)) times cos, sin of 2 pi U1; the sine is kept for later
integers               low + r % range, from 2^28 on low + R % range
bernoulli              scalar p or float64 p: U < p; other p: u < p in float32
exponential            -log1p(-U) / lambda
cauchy                 median + sigma tan(pi (U - 1/2))
geometric              ceil(log U / log1p(-p))
log_normal             exp of the pairwise normal, for every size
randperm               for i = 0 .. n-2 swap(i, i + r % (n - i)); from 214748364 on inside-out with R % (i + 1)
gamma, poisson, ...    see ``rng_families``
multinomial            (`categories`) with replacement: bisection of the cumulative sums by U; else: order of p / exponential
=====================  =================================================================================

``gen`` is an MT19937 (``numbagrad.random.engine_of(generator)``), ``out`` always 1-D and C-contiguous. A half type
is a uint16 array together with ``dtype="float16"`` or ``dtype="bfloat16"``; its values are computed as PyTorch
computes them and rounded to nearest even. PyTorch visits a non-contiguous tensor in memory order (``fill_normal``
wants ``contiguous=False`` for it).
Every function checks its arguments before it draws.
"""

from __future__ import annotations

import warnings

import numpy as np

from ..base import dtypes as dt
from . import mt19937_kernels as kernels
from .mt19937 import MT19937
from .native import address
from .tape import TAPE, Flag, active, host

__all__ = ["MT19937", "fill_bernoulli_scalar", "fill_bernoulli_tensor", "fill_cauchy", "fill_exponential",
           "fill_geometric", "fill_log_normal", "fill_normal", "fill_randint", "fill_random", "fill_randperm",
           "fill_uniform", "round_half"]

WIDE_RANGE = 1 << 28  # integer ranges from here on take 64-bit draws
WIDE_PERM = 0xFFFFFFFF // 20  # permutations from this length on take 64-bit draws

# ------------------------------------------------------------------------------------------------- dtypes
# name -> (significand digits, largest value, name in PyTorch's messages)
_FLOATS = {"float16": (11, 65504.0, "c10::Half"), "bfloat16": (8, 3.3895313892515355e38, "c10::BFloat16"),
           "float32": (24, 3.4028234663852886e38, "float"), "float64": (53, 1.7976931348623157e308, "double")}
_C_NAMES = {d.name: dt.c_name(d) for d in dt.ALL if d.category < 2}
_LIMITS = {n: (0, 1) if n == "bool" else (int(np.iinfo(n).min), min(int(np.iinfo(n).max), (1 << 63) - 1)) for n in _C_NAMES}
_HALF = ("float16", "bfloat16")
_NAMES = {code: np.dtype(code).name for code in "?bBhHiIlLqQfd"}  # dtype.name itself takes a microsecond


def round_half(values, dtype):
    """uint16 storage of float32 ``values`` rounded to nearest even in "float16" or "bfloat16"."""
    if dtype == "float16":
        with np.errstate(over="ignore"):
            return values.astype(np.float16).view(np.uint16)
    bits = values.view(np.uint32)
    rounded = ((bits.astype(np.uint64) + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(values), np.uint16(0x7FC0), rounded)


def _widen(storage, dtype):
    """float32 values of half storage."""
    if dtype == "float16":
        return storage.view(np.float16).astype(np.float32)
    return (storage.astype(np.uint32) << np.uint32(16)).view(np.float32)


def _name(out, dtype):
    """dtype name of ``out``, after checking that kernels can write into it."""
    if out.ndim != 1 or not out.flags.c_contiguous:
        raise ValueError(f"random numbers need a contiguous 1-D array to write into, not one of shape {out.shape}")
    stored = _NAMES.get(out.dtype.char) or out.dtype.name
    if dtype is None or dtype == stored:
        return stored
    if stored != "uint16" or dtype not in _HALF:
        raise ValueError(f"an array of {stored} cannot hold {dtype} values")
    return dtype


def _floating(out, dtype, op):
    name = _name(out, dtype)
    if name not in _FLOATS:
        raise NotImplementedError(f'"{op}" not implemented for \'{dt.SCALAR_NAMES.get(name, name)}\'')
    return name


def _store(out, name, values):
    """Cast into ``out`` as C++ casts: half types by way of float32."""
    if name in _HALF:
        out[:] = round_half(values.astype(np.float32), name)
    elif values.dtype.kind != "f":
        out[:] = values
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            out[:] = values


def _through_float64(gen, out, name, kernel, *args):
    """Run a float64 kernel and cast its values to the dtype of ``out``."""
    values = out if name == "float64" else np.empty(out.size)
    with gen.lock:
        kernel.entry(gen.mt_at, gen.words_at, address(values), out.size, *args)
    if values is not out:
        _store(out, name, values)


# Straight to the kernels: ``at`` is the address of n numbers in float32, or in float64 where ``wide``. Arguments were checked.

def launch(gen, kernel, n, *arguments):
    """Run a kernel that draws about n numbers from a stream."""
    if TAPE:
        recorder = active()
        if recorder is not None:
            return recorder.draw(gen, kernel, n, arguments)
    with gen.lock:
        kernel.entry(*arguments)


def uniform(gen, at, n, low, high, wide):
    """``fill_uniform``."""
    kernel = kernels.uniform64 if wide else kernels.uniform32
    if TAPE:
        return launch(gen, kernel, n, gen.mt_at, gen.words_at, at, n, low, high)
    with gen.lock:
        kernel.entry(gen.mt_at, gen.words_at, at, n, low, high)


def normal(gen, at, n, mean, std, wide, contiguous=True):
    """``fill_normal``."""
    if TAPE:
        return launch(gen, *normals(gen, at, n, mean, std, wide, contiguous))
    with gen.lock:
        if n >= 16 and contiguous:
            (kernels.normal64 if wide else kernels.normal32).entry(gen.mt_at, gen.words_at, at, n, mean, std)
        elif wide:
            kernels.normal_pairs.entry(gen.mt_at, gen.words_at, gen.kept_at, at, n, mean, std, 0)
        else:
            kernels.normal_pairs32.entry(gen.mt_at, gen.words_at, gen.kept_at, at, n, mean, std)


def normals(gen, at, n, mean, std, wide, contiguous):
    """What ``normal`` launches."""
    if n >= 16 and contiguous:
        return kernels.normal64 if wide else kernels.normal32, n, gen.mt_at, gen.words_at, at, n, mean, std
    if wide:
        return kernels.normal_pairs, n, gen.mt_at, gen.words_at, gen.kept_at, at, n, mean, std, 0
    return kernels.normal_pairs32, n, gen.mt_at, gen.words_at, gen.kept_at, at, n, mean, std


def bernoulli(gen, at, n, p_at):
    """``fill_bernoulli_tensor`` in float32, with probabilities at ``p_at``."""
    words = IMPROBABLE.take()
    launch(gen, kernels.bernoulli_each32, n, gen.mt_at, gen.words_at, p_at, at, n, words.address)
    words.check()


def mask(gen, at, n, p, code):
    """``fill_bernoulli_scalar`` into uint8, float32 or float64, by its code."""
    launch(gen, MASKS[code], n, gen.mt_at, gen.words_at, at, n, p)


def exponential(gen, at, n, lambd, wide):
    """``fill_exponential``."""
    launch(gen, kernels.exponential["f8" if wide else "f4"], n, gen.mt_at, gen.words_at, at, n, lambd)


INTEGERS = {code: kernels.integers[code] for code in ("i8", "f4", "f8")}
MASKS = {code: kernels.bernoulli[code] for code in ("u1", "f4", "f8")}


def integers(gen, at, n, low, span, kernel=INTEGERS["i8"]):
    """Integers in [low, low + span) into the dtype of one of ``INTEGERS``."""
    if TAPE:
        return launch(gen, kernel, n, gen.mt_at, gen.words_at, at, n, low, _signed(span), int(span >= WIDE_RANGE))
    with gen.lock:
        kernel.entry(gen.mt_at, gen.words_at, at, n, low, _signed(span), span >= WIDE_RANGE)


def permutation(gen, at, n):
    """``fill_randperm`` into int64."""
    with gen.lock:
        (kernels.permute if n < WIDE_PERM else kernels.permute_wide).entry(gen.mt_at, gen.words_at, at, n)


UNLIKELY = "Expected p_in >= 0 && p_in <= 1 to be true, but got false."


def _improbable(_):
    raise RuntimeError(UNLIKELY)


IMPROBABLE = Flag(_improbable)


# ------------------------------------------------------------------------------------------------- real numbers
@host
def fill_uniform(gen, out, low=0.0, high=1.0, dtype=None):
    """Uniform on [low, high): ``rand``, ``rand_like``, ``uniform_``; floating dtypes."""
    name = _floating(out, dtype, "check_uniform_bounds")
    low, high = float(low), float(high)
    top, shown = _FLOATS[name][1:]
    for which, value in (("from", low), ("to", high)):
        if not -top <= value <= top:
            raise RuntimeError(f"{which} is out of bounds for {shown}")
    if low > high:
        raise RuntimeError(f"uniform_ expects to return a [from, to) range, but found from={low:g} > to={high:g}")
    if high - low > top:
        raise RuntimeError(f"uniform_ expects to-from <= std::numeric_limits<{dt.SCALAR_NAMES[name]}>::max(), but found "
                           f"to={high:g} and from={low:g} which result in to-from to exceed the limit")
    values = np.empty(out.size, np.float32) if name in _HALF else out
    uniform(gen, address(values), out.size, low, high, name == "float64")
    if name in _HALF:
        ends = round_half(np.array([low, high], np.float32), name)
        rounded = round_half(values, name)
        out[:] = np.where(rounded == ends[1], ends[0], rounded)


@host
def fill_normal(gen, out, mean=0.0, std=1.0, dtype=None, contiguous=True):
    """Normal(mean, std): ``randn``, ``randn_like``, ``normal_``, ``normal``; floating dtypes.

    ``contiguous=False``: ``out`` is the memory of a non-contiguous tensor, for which PyTorch draws pair by pair
    at every size. With a tensor mean or std PyTorch draws N(0, 1) (N(0, std) where only the mean is a tensor), then
    multiplies and adds. A complex tensor is its real view with std / sqrt(2)."""
    name = _floating(out, dtype, "normal_kernel_cpu")
    mean, std = float(mean), float(std)
    if not std >= 0.0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std:g}")
    n = out.size
    if name not in _HALF:
        return normal(gen, address(out), n, mean, std, name == "float64", contiguous)
    # The half types draw block by block, so that the remainder takes no draws before it is drawn as a whole block.
    values, drawn = np.empty(n, np.float32), n - n % 16
    at = address(values)
    with gen.lock:
        if drawn and contiguous:
            normal(gen, at, drawn, mean, std, False)
            if n > drawn:
                normal(gen, at + 4 * (n - 16), 16, mean, std, False)
        else:
            normal(gen, at, n, mean, std, False, False)
    out[:] = round_half(values, name)
    return None


@host
def fill_log_normal(gen, out, mean=1.0, std=2.0, dtype=None):
    """exp of Normal(mean, std): ``log_normal_``."""
    name = _floating(out, dtype, "log_normal_cpu")
    if not std > 0.0:
        raise RuntimeError(f"log_normal_ expects std > 0.0, but found std={std:g}")
    values = out if name == "float64" else np.empty(out.size)
    with gen.lock:
        kernels.normal_pairs.entry(gen.mt_at, gen.words_at, gen.kept_at, address(values), out.size, float(mean), float(std), 1)
    if values is not out:
        _store(out, name, values)


@host
def fill_exponential(gen, out, lambd=1.0, dtype=None):
    """Exponential with rate ``lambd``: ``exponential_``."""
    name = _name(out, dtype)
    if not lambd > 0.0:
        raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={lambd:g}")
    if name not in _FLOATS:
        raise RuntimeError("Exponential distribution is a continuous probability distribution. dtype must be a "
                           f"floating point but you specified {dt.SCALAR_NAMES.get(name, name)}")
    _through_float64(gen, out, name, kernels.exponential["f8"], float(lambd))


@host
def fill_cauchy(gen, out, median=0.0, sigma=1.0, dtype=None):
    """Cauchy with the given median and half-width at half-maximum: ``cauchy_``."""
    name = _name(out, dtype)
    if not sigma > 0.0:
        raise RuntimeError(f"cauchy_ expects sigma > 0.0, but found sigma={sigma:g}")
    if name not in _FLOATS:
        raise RuntimeError("Cauchy distribution is a continuous probability distribution. dtype must be a floating "
                           f"point but you specified {_C_NAMES.get(name, name)}")
    _through_float64(gen, out, name, kernels.cauchy, float(median), float(sigma))


# ------------------------------------------------------------------------------------------------- counts and choices
@host
def fill_geometric(gen, out, p, dtype=None):
    """Trials up to the first success of probability ``p``: ``geometric_``; any real dtype but bool."""
    name = _name(out, dtype)
    if not 0.0 < p < 1.0:
        raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={p:g}")
    if name == "bool":
        raise NotImplementedError("\"geometric_cpu\" not implemented for 'Bool'")
    _taken("geometric_cpu", name)
    _through_float64(gen, out, name, kernels.geometric, float(p))


@host
def fill_bernoulli_scalar(gen, out, p, dtype=None):
    """1 with probability ``p``, else 0: ``bernoulli_(p)``; any real dtype.

    Dropout keeps where this draws 1 with ``1 - p`` and multiplies by ``1 / (1 - p)`` computed in the tensor's dtype.
    PyTorch builds that find an Intel CPU hand this one function to MKL, whose numbers are others."""
    name = _name(out, dtype)
    if not 0.0 <= p <= 1.0:
        raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p:g}")
    _taken("bernoulli_scalar_cpu_", name)
    direct = name in ("bool", "uint8")
    mask = out.view(np.uint8) if direct else np.empty(out.size, np.uint8)
    with gen.lock:
        MASKS["u1"].entry(gen.mt_at, gen.words_at, address(mask), out.size, float(p))
    if not direct:
        _store(out, name, mask)


@host
def fill_bernoulli_tensor(gen, out, p, dtype=None, p_dtype=None):
    """1 with probability ``p[i]``, else 0: ``bernoulli(tensor)`` and ``bernoulli_(tensor)``.

    ``p`` has the size of ``out``; float64 is compared with a 64-bit uniform, the other floating dtypes in float32."""
    name = _taken("bernoulli_tensor_cpu_self_", _name(out, dtype))
    p_name = _floating(p, p_dtype, "bernoulli_tensor_cpu_p_")
    if p.size != out.size:
        raise ValueError(f"{p.size} probabilities for {out.size} values")
    if p_name in _HALF:
        p = _widen(p, p_name)
    if not np.all((p >= 0) & (p <= 1)):
        raise RuntimeError(UNLIKELY)
    u = np.empty_like(p)
    fill_uniform(gen, u)
    _store(out, name, u < p)


def _signed(bits):
    """The int64 with the same 64 bits as a non-negative integer."""
    return bits - (1 << 64) if bits >= 1 << 63 else bits


def _fill_integers(gen, out, name, low, span, wide):
    direct = name == "int64"
    values = out if direct else np.empty(out.size, np.int64)
    with gen.lock:
        INTEGERS["i8"].entry(gen.mt_at, gen.words_at, address(values), out.size, low, _signed(span), wide)
    if not direct:
        _store(out, name, values)


def _cast(name, value):
    """Integer ``value`` rounded to a floating dtype and back to int64; out of range is -2^63, as on x86."""
    single = np.array([value], np.float64 if name == "float64" else np.float32)
    back = float(_widen(round_half(single, name), name)[0] if name in _HALF else single[0])
    return int(back) if -(2.0 ** 63) <= back < 2.0 ** 63 else -(1 << 63)


def _fit(name, low, high):
    """Move the ends of [low, high) inwards to where no value rounds out of the interval."""
    digits = _FLOATS[name][0]
    up, down = _cast(name, low + 1), _cast(name, high - 1)
    if up < low:
        low = up + (1 << max(abs(low + 1).bit_length() - digits, 0))
    if down >= high:
        high = down - (1 << max(abs(high - 1).bit_length() - digits, 0))
    return low, high


def _check_range(name, low, last):
    """Both ends must be values of the dtype; floating dtypes warn where integers are no longer exact."""
    if name in _FLOATS:
        digits, top, shown = _FLOATS[name]
        lowest = -top
    else:
        shown, (lowest, top) = _C_NAMES[name], _LIMITS[name]
    for which, value in (("from", low), ("to - 1", last)):
        if not lowest <= value <= top:
            raise RuntimeError(f"{which} is out of bounds for {shown}")
    if name in _FLOATS:
        for which, value in (("from", low), ("to - 1", last)):
            if abs(value) > 1 << digits:
                warnings.warn(f"{which} is out of bounds [-(2^{digits}), 2^{digits}]. Due to precision limitations "
                              f"{shown} can support discrete uniform distribution only within this range. This "
                              "warning will become an error in version 1.7 release, please fix the code in advance",
                              UserWarning, stacklevel=4)


@host
def fill_randint(gen, out, low, high=None, dtype=None):
    """Integers in [low, high): ``randint``, ``random_(from, to)``; any real dtype.

    Without ``high`` up to the largest value of the dtype (2^digits for floating ones)."""
    name = _name(out, dtype)
    low = int(low)
    if high is not None:
        high = int(high)
        if low >= high:
            raise RuntimeError(f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}")
        if name in _FLOATS:
            low, high = _fit(name, low, high)
            if low >= high:
                raise RuntimeError("random_ expects 'from' casted to dtype to be less than 'to' casted to dtype, but "
                                   f"got from={low} >= to={high}")
    elif low == -(1 << 63):
        if name not in ("int64", "float64", "float32", "bfloat16"):
            raise RuntimeError("random_full_64_bits_range_kernel_cpu handles only int64, double, float and bfloat16")
        _fill_integers(gen, out, name, 0, 0, True)
        return
    elif name in _FLOATS:
        last = 1 << _FLOATS[name][0]
        low = _fit(name, low, last + 1)[0]
        if low >= last:
            raise RuntimeError("random_ expects 'from' casted to dtype to be less than or equal to 'to_inc' casted "
                               f"to dtype, but got from={low} > to_inc={last}")
        high = last + 1
    else:
        high = 2 if name == "bool" else int(np.iinfo(name).max) + 1
    _check_range(name, low, high - 1)
    span = high - low
    _fill_integers(gen, out, name, low, span, span >= WIDE_RANGE)


def _taken(kernel, name):
    """The name of a dtype, unless PyTorch's kernel refuses it."""
    if name in BAREBONES:
        raise NotImplementedError(f"\"{kernel}\" not implemented for '{dt.SCALAR_NAMES[name]}'")
    return name


BAREBONES = frozenset(d.name for d in dt.ALL if d.barebones)


@host
def fill_random(gen, out, dtype=None):
    """Integers over the non-negative range of the dtype, up to 2^digits for floating ones: ``random_()``."""
    name = _taken("random_kernel_cpu", _name(out, dtype))
    if name in _FLOATS:
        span = (1 << _FLOATS[name][0]) + 1
    else:
        span = 2 if name == "bool" else int(np.iinfo(name).max) + 1
    _fill_integers(gen, out, name, 0, span, name in ("int64", "float64"))


@host
def fill_randperm(gen, out, dtype=None):
    """A random permutation of 0 .. n-1: ``randperm``; ``out`` of any real dtype."""
    name = _name(out, dtype)
    direct = name == "int64"
    values = out if direct else np.empty(out.size, np.int64)
    permutation(gen, address(values), out.size)
    if not direct:
        _store(out, name, values)
