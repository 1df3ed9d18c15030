"""The compiled loops over a stream of the Mersenne Twister MT19937, which ``rng`` calls.

M. Matsumoto, T. Nishimura, "Mersenne Twister: a 623-dimensionally equidistributed uniform pseudo-random number
generator", ACM TOMACS 8 (1998). A kernel gets the state ``mt`` (624 words, then draws left until the next twist
plus one, then the index of the next word), a scratch block ``words`` of CHUNK words, and allocates nothing. Draws are
made a block at a time so that the twist, the tempering and most transformations run as SIMD code.
"""

from __future__ import annotations

import math
import types

import numpy as np

from . import inlined, native
from .fingerprint import fingerprint
from .guard import guarded

N, M = 624, 397
CHUNK = 1024  # words per block: the block stays in the first-level cache between the draw and its use
_LEFT, _NEXT = N, N + 1  # state words 624 and 625: draws until the next twist (plus one), index of the next word

_U32 = np.uint32
_S7, _S11, _S15, _S18 = _U32(7), _U32(11), _U32(15), _U32(18)
_TEMPER_B, _TEMPER_C = _U32(0x9D2C5680), _U32(0xEFC60000)
_UPPER, _LOWER, _MATRIX, _ONE = _U32(0x80000000), _U32(0x7FFFFFFF), _U32(0x9908B0DF), _U32(1)
_MASK24, _MASK53, _SHIFT32 = _U32(0xFFFFFF), np.uint64((1 << 53) - 1), np.uint64(32)
_EPS24, _EPS53 = np.float32(2.0 ** -24), 2.0 ** -53
_TWO_PI, _TWO_PI32 = 2.0 * math.pi, np.float32(2.0 * math.pi)

_helpers: list = []
_namespaces: dict = {}  # file of kernels -> what they find under their names


def _inline(fn):
    """Declare a function that kernels call."""
    _helpers.append(fn)
    return fn


class kernel:
    """A kernel over addresses and numbers: ``entry`` is compiled, or loaded from the disk cache, on its first call. One with
    pointers ``*T`` is indexed with a dtype's code."""

    __slots__ = ("fn", "notes", "entry", "native", "made")

    def __init__(self, fn, code="T"):
        self.fn, self.entry, self.native, self.made = fn, self._first, None, {}
        self.notes = {n: f"*{code}" if note == "'*T'" else note.strip("'") for n, note in fn.__annotations__.items()}

    def __getitem__(self, code):
        found = self.made.get(code)
        if found is None:
            found = self.made[code] = kernel(self.fn, code)
        return found

    def _first(self, *args):
        self._compile()
        return self.entry(*args)

    @guarded
    def _compile(self):
        if self.native is not None:
            return
        notes = dict(self.notes)
        returns = notes.pop("return", None) is not None
        given = ", ".join([f"ptr_{note[1:]}({n})" if note[0] == "*" else n for n, note in notes.items()])
        name = self.fn.__name__
        text = f"def {name}({', '.join(notes)}):\n    {'return ' * returns}body_({given})\n"
        body = _inlined(self.fn, _names(self.fn.__globals__), False)
        letters = "".join(["f" if note == "float" else "i" for note in notes.values()])
        self.native = native.compile_source(text, name, letters, {"body_": body}, fingerprint(body), (), returns, True)
        self.entry = self.native.entry

    def kept(self):
        """The entry for calls that keep the GIL, from native code."""
        self._compile()
        return native.keep(self.native)


def _inlined(fn, names, optimized):
    """``fn`` for kernels to call, without fast-math flags: one contraction more would change the last bit of a value."""
    return inlined.njit((), optimized=optimized, error_model="numpy")(_named(fn, names))


def _named(fn, names):
    return types.FunctionType(fn.__code__, names, fn.__name__)


def _names(place):
    """The names that kernels of the file with the globals ``place`` use, the helpers among them compiled."""
    found = _namespaces.get(place["__name__"])
    if found is None:
        found = {**place, "fma": _intrinsic()}
        for name, value in place.items():
            if any(value is h for h in _helpers):
                own = value.__globals__ is place
                found[name] = _inlined(value, found, True) if own else _names(value.__globals__)[name]
        _namespaces[place["__name__"]] = found
    return found


def _intrinsic():
    """``fma`` as one instruction."""
    from numba.extending import intrinsic

    @intrinsic
    def fma(typingctx, a, b, c):
        def codegen(context, builder, signature, args):
            return builder.fma(*args)
        return a(a, a, a), codegen
    return fma


def fma(a, b, c):
    """a * b + c rounded once, as the compilers that PyTorch is built with contract it."""
    raise RuntimeError("fma has a meaning only inside a compiled kernel")


@_inline
def _mix(high, low, far):
    """One step of the recurrence: the new word from words j, j + 1 and j + 397."""
    y = _U32((high & _UPPER) | (low & _LOWER))
    return _U32(far ^ _U32(y >> _ONE) ^ _U32(_MATRIX * _U32(low & _ONE)))


@_inline
def _twist(mt):
    """Replace all 624 words; three loops so that none needs an index modulo 624."""
    for j in range(N - M):
        mt[j] = _mix(mt[j], mt[j + 1], mt[j + M])
    for j in range(N - M, N - 1):
        mt[j] = _mix(mt[j], mt[j + 1], mt[j + M - N])
    mt[N - 1] = _mix(mt[N - 1], mt[0], mt[M - 1])


@_inline
def _draw(mt, words, n):
    """Tempered 32-bit draws into words[0:n]; the state is twisted only when a word is wanted from the next round."""
    done = 0
    while done < n:
        left, start = int(mt[_LEFT]), int(mt[_NEXT])
        if left == 1:
            _twist(mt)
            left, start = N + 1, 0
        count = min(left - 1, n - done)
        for j in range(count):
            y = mt[start + j]
            y = _U32(y ^ _U32(y >> _S11))
            y = _U32(y ^ _U32(_U32(y << _S7) & _TEMPER_B))
            y = _U32(y ^ _U32(_U32(y << _S15) & _TEMPER_C))
            words[done + j] = _U32(y ^ _U32(y >> _S18))
        mt[_LEFT] = _U32(left - count)
        mt[_NEXT] = _U32(start + count)
        done += count


@_inline
def _wide(words, j):
    """64-bit draw number j of a block."""
    return np.uint64((np.uint64(words[2 * j]) << _SHIFT32) | np.uint64(words[2 * j + 1]))


@_inline
def _unit(words, j):
    """Draw number j of a block as a float64 in [0, 1)."""
    return float(np.int64(_wide(words, j) & _MASK53)) * _EPS53


@kernel
def uniform32(mt: "*u4", words: "*u4", out: "*f4", n: int, low: float, high: float):
    """Uniform numbers in [low, high) into float32 out (n,), from the state mt (626,) by the block words (CHUNK,), both
    uint32."""
    base, top = np.float32(low), np.float32(high)
    span = np.float32(top - base)
    for start in range(0, n, CHUNK):
        count = min(CHUNK, n - start)
        _draw(mt, words, count)
        for j in range(count):
            u = np.float32(np.int32(words[j] & _MASK24)) * _EPS24
            value = fma(u, span, base)
            out[start + j] = base if value == top else value  # the interval is half open, rounding is not


@kernel
def uniform64(mt: "*u4", words: "*u4", out: "*f8", n: int, low: float, high: float):
    """Uniform numbers in [low, high) into float64 out (n,), from the state mt (626,) by the block words (CHUNK,), both
    uint32."""
    span = high - low
    for start in range(0, n, CHUNK // 2):
        count = min(CHUNK // 2, n - start)
        _draw(mt, words, 2 * count)
        for j in range(count):
            value = fma(_unit(words, j), span, low)
            out[start + j] = low if value == high else value


@kernel
def bernoulli(mt: "*u4", words: "*u4", out: "*T", n: int, p: float):
    """1 with probability p, else 0, into out (n,), from the state mt (626,) by the block words (CHUNK,), both uint32."""
    for start in range(0, n, CHUNK // 2):
        count = min(CHUNK // 2, n - start)
        _draw(mt, words, 2 * count)
        for j in range(count):
            out[start + j] = np.uint8(_unit(words, j) < p)


@kernel
def bernoulli_each32(mt: "*u4", words: "*u4", p: "*f4", out: "*f4", n: int, bad: "*i8"):
    """1 with probability p[i], else 0, into float32 out (n,), for float32 p (n,), from the state mt (626,) by words (CHUNK,),
    both uint32; where p has values outside of [0, 1] nothing is drawn, and int64 bad (1,) becomes 0."""
    for i in range(n):
        if not (p[i] >= np.float32(0) and p[i] <= np.float32(1)):
            bad[0] = 0
            return
    for start in range(0, n, CHUNK):
        count = min(CHUNK, n - start)
        _draw(mt, words, count)
        for j in range(count):
            u = np.float32(np.int32(words[j] & _MASK24)) * _EPS24
            out[start + j] = np.float32(1) if u < p[start + j] else np.float32(0)


@kernel
def exponential(mt: "*u4", words: "*u4", out: "*T", n: int, lambd: float):
    """Exponential numbers of rate lambd into out (n,), from the state mt (626,) by words (CHUNK,), both uint32."""
    scale = -1.0 / lambd
    for start in range(0, n, CHUNK // 2):
        count = min(CHUNK // 2, n - start)
        _draw(mt, words, 2 * count)
        for j in range(count):
            out[start + j] = scale * math.log1p(-_unit(words, j))


@kernel
def cauchy(mt: "*u4", words: "*u4", out: "*f8", n: int, median: float, sigma: float):
    """Cauchy numbers around median into float64 out (n,), from the state mt (626,) by the block words (CHUNK,), both uint32."""
    for start in range(0, n, CHUNK // 2):
        count = min(CHUNK // 2, n - start)
        _draw(mt, words, 2 * count)
        for j in range(count):
            out[start + j] = fma(sigma, math.tan(math.pi * (_unit(words, j) - 0.5)), median)


@kernel
def geometric(mt: "*u4", words: "*u4", out: "*f8", n: int, p: float):
    """Tries up to the first success into float64 out (n,), from the state mt (626,) by the block words (CHUNK,), both
    uint32."""
    scale = math.log1p(-p)
    for start in range(0, n, CHUNK // 2):
        count = min(CHUNK // 2, n - start)
        _draw(mt, words, 2 * count)
        for j in range(count):
            out[start + j] = math.ceil(math.log(_unit(words, j)) / scale)


@kernel
def integers(mt: "*u4", words: "*u4", out: "*T", n: int, low: int, span: int, wide: int):
    """Integers in [low, low + span) into out (n,), from uint32 mt (626,) by words (CHUNK,); span is the bits of an
    unsigned number, 0 stands for 2^64."""
    modulus = np.uint64(span)
    if wide:
        for start in range(0, n, CHUNK // 2):
            count = min(CHUNK // 2, n - start)
            _draw(mt, words, 2 * count)
            for j in range(count):
                r = _wide(words, j)
                out[start + j] = np.int64(r % modulus if modulus else r) + low
    else:
        for start in range(0, n, CHUNK):
            count = min(CHUNK, n - start)
            _draw(mt, words, count)
            for j in range(count):
                out[start + j] = np.int64(words[j] % _U32(modulus)) + low


@kernel
def permute(mt: "*u4", words: "*u4", out: "*i8", n: int):
    """Fisher-Yates shuffle of 0 to n - 1 into int64 out (n,), from the front, by one 32-bit draw for each place but the last
    of the state mt (626,) through words (CHUNK,), both uint32."""
    for i in range(n):
        out[i] = i
    for start in range(0, n - 1, CHUNK):
        count = min(CHUNK, n - 1 - start)
        _draw(mt, words, count)
        for j in range(count):
            i = start + j
            k = i + np.int64(words[j] % _U32(n - i))
            out[i], out[k] = out[k], out[i]


@kernel
def permute_wide(mt: "*u4", words: "*u4", out: "*i8", n: int):
    """Inside-out shuffle of 0 to n - 1 into int64 out (n,), by one 64-bit draw for every place of the state mt (626,)
    through words (CHUNK,), both uint32."""
    for start in range(0, n, CHUNK // 2):
        count = min(CHUNK // 2, n - start)
        _draw(mt, words, 2 * count)
        for j in range(count):
            i = start + j
            k = np.int64(_wide(words, j) % np.uint64(i + 1))
            out[i] = i
            out[i] = out[k]
            out[k] = i


@_inline
def _pair(mt, words, kept):
    """The next normal number: two are made of four draws, and the second is kept."""
    if kept[0] != 0.0:
        kept[0] = 0.0
        return kept[1]
    _draw(mt, words, 4)
    radius = math.sqrt(-2.0 * math.log1p(-_unit(words, 1)))
    theta = _TWO_PI * _unit(words, 0)
    kept[0], kept[1] = 1.0, radius * math.sin(theta)
    return radius * math.cos(theta)


@kernel
def normal_pairs(mt: "*u4", words: "*u4", kept: "*f8", out: "*f8", n: int, mean: float, std: float, log: int):
    """Normal numbers into float64 out (n,) by Box-Muller, two for four draws of mt (626,) through words (CHUNK,), both
    uint32; float64 kept (2,) is [is there one, the second value before scaling]."""
    for i in range(n):
        value = fma(_pair(mt, words, kept), std, mean)
        out[i] = math.exp(value) if log else value


@kernel
def normal_pairs32(mt: "*u4", words: "*u4", kept: "*f8", out: "*f4", n: int, mean: float, std: float):
    """Normal numbers, computed as by ``normal_pairs``, into float32 out (n,) from uint32 mt (626,) by words (CHUNK,), with
    float64 kept (2,)."""
    for i in range(n):
        out[i] = np.float32(fma(_pair(mt, words, kept), std, mean))


@_inline
def _units64(mt, words, out, first, n):
    """Uniform numbers on [0, 1) into float64 out[first:first + n]."""
    for start in range(0, n, CHUNK // 2):
        count = min(CHUNK // 2, n - start)
        _draw(mt, words, 2 * count)
        for j in range(count):
            out[first + start + j] = _unit(words, j)


@_inline
def _box_muller64(out, first, blocks, mean, std):
    """Blocks of 16 uniform numbers in float64 out from ``first`` on become normal ones."""
    for block in range(blocks):
        for j in range(first + 16 * block, first + 16 * block + 8):
            radius = math.sqrt(-2.0 * math.log(1.0 - out[j]))
            theta = _TWO_PI * out[j + 8]
            out[j] = fma(radius * math.cos(theta), std, mean)
            out[j + 8] = fma(radius * math.sin(theta), std, mean)


@kernel
def normal64(mt: "*u4", words: "*u4", out: "*f8", n: int, mean: float, std: float):
    """Normal numbers into float64 out (n,), n at least 16, in blocks of 16, from the state mt (626,) by words (CHUNK,), both
    uint32; what is left over is drawn anew with the numbers before it."""
    first, count = 0, n
    while count:  # twice at most; one loop, as what it calls is compiled into each place that calls it
        _units64(mt, words, out, first, count)
        _box_muller64(out, first, count // 16, mean, std)
        first, count = n - 16, 16 if count % 16 else 0


# The float32 logarithm, sine and cosine below are the single-precision algorithms of S. Moshier's Cephes library
# with fused multiply-adds, because PyTorch's vectorised normal uses these: a better logarithm would differ by an ulp.
_F = np.float32
_1, _HALF, _M2 = _F(1), _F(0.5), _F(-2)
_SQRT_HALF = _F(0.707106781186547524)
_LN2_HI, _LN2_LO = _F(0.693359375), _F(-2.12194440e-4)
_L0, _L1, _L2 = _F(7.0376836292e-2), _F(-1.1514610310e-1), _F(1.1676998740e-1)
_L3, _L4, _L5 = _F(-1.2420140846e-1), _F(1.4249322787e-1), _F(-1.6668057665e-1)
_L6, _L7, _L8 = _F(2.0000714765e-1), _F(-2.4999993993e-1), _F(3.3333331174e-1)
_4_PI = _F(1.27323954473516)
_PI4_A, _PI4_B, _PI4_C = _F(-0.78515625), _F(-2.4187564849853515625e-4), _F(-3.77489497744594108e-8)
_SIN0, _SIN1, _SIN2 = _F(-1.9515295891e-4), _F(8.3321608736e-3), _F(-1.6666654611e-1)
_COS0, _COS1, _COS2 = _F(2.443315711809948e-5), _F(-1.388731625493765e-3), _F(4.166664568298827e-2)


@_inline
def _log32(x):
    """Logarithm of a positive normal float32."""
    bits = np.float32(x).view(np.int32)
    e = _F(np.int32(np.int32(bits >> np.int32(23)) - np.int32(126)))
    m = np.int32((bits & np.int32(0x007FFFFF)) | np.int32(0x3F000000)).view(np.float32)
    small = m < _SQRT_HALF
    e = e - _1 if small else e
    t = (m - _1) + (m if small else _F(0))
    z = t * t
    y = fma(_L0, t, _L1)
    y = fma(y, t, _L2)
    y = fma(y, t, _L3)
    y = fma(y, t, _L4)
    y = fma(y, t, _L5)
    y = fma(y, t, _L6)
    y = fma(y, t, _L7)
    y = fma(y, t, _L8)
    y = fma(y * t, z, e * _LN2_LO)
    y = fma(-z, _HALF, y)
    return fma(e, _LN2_HI, t + y)


@_inline
def _units32(mt, words, out, first, n):
    """Uniform numbers on [0, 1) into float32 out[first:first + n]."""
    for start in range(0, n, CHUNK):
        count = min(CHUNK, n - start)
        _draw(mt, words, count)
        for j in range(count):
            out[first + start + j] = np.float32(np.int32(words[j] & _MASK24)) * _EPS24


@_inline
def _box_muller32(out, first, blocks, mean, std):
    """Blocks of 16 uniform numbers in float32 out from ``first`` on become normal ones."""
    mean32, std32 = _F(mean), _F(std)
    for block in range(blocks):
        for j in range(first + 16 * block, first + 16 * block + 8):
            radius = _F(math.sqrt(_M2 * _log32(_1 - out[j])))
            theta = _TWO_PI32 * out[j + 8]
            octant = np.int32((np.int32(theta * _4_PI) + np.int32(1)) & np.int32(-2))
            k = _F(octant)
            r = fma(k, _PI4_C, fma(k, _PI4_B, fma(k, _PI4_A, theta)))
            z = r * r
            c = fma(fma(_COS0, z, _COS1), z, _COS2)
            c = fma(c * z, z, -(z * _HALF)) + _1
            s = fma(fma(_SIN0, z, _SIN1), z, _SIN2)
            s = fma(s * z, r, r)
            swap = (octant & np.int32(2)) != 0
            sine, cosine = (c, s) if swap else (s, c)
            sine = -sine if (octant & np.int32(4)) != 0 else sine
            cosine = -cosine if ((octant + np.int32(2)) & np.int32(4)) != 0 else cosine
            out[j] = fma(radius * cosine, std32, mean32)
            out[j + 8] = fma(radius * sine, std32, mean32)


@kernel
def normal32(mt: "*u4", words: "*u4", out: "*f4", n: int, mean: float, std: float):
    """Normal numbers into float32 out (n,), n at least 16, in blocks of 16, from the state mt (626,) by words (CHUNK,), both
    uint32; what is left over is drawn anew with the numbers before it."""
    first, count = 0, n
    while count:  # twice at most; one loop, as what it calls is compiled into each place that calls it
        _units32(mt, words, out, first, count)
        _box_muller32(out, first, count // 16, mean, std)
        first, count = n - 16, 16 if count % 16 else 0


@kernel
def raw(mt: "*u4", words: "*u4", out: "*u4", n: int):
    """32-bit draws into uint32 out (n,), from the state mt (626,) by the block words (CHUNK,), both uint32."""
    for start in range(0, n, CHUNK):
        count = min(CHUNK, n - start)
        _draw(mt, words, count)
        for j in range(count):
            out[start + j] = words[j]


@kernel
def begin(mt: "*u4", seed: int):
    """The state mt (626,), uint32, of the stream of a seed."""
    word = seed & 0xFFFFFFFF
    mt[0] = _U32(word)
    for j in range(1, N):
        word = (1812433253 * (word ^ (word >> 30)) + j) & 0xFFFFFFFF
        mt[j] = _U32(word)
    mt[_LEFT], mt[_NEXT] = _ONE, _U32(0)
