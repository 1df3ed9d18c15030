"""The text that pins what a function's machine code depends on."""

import sys

import numpy as np
import pytest
from cache_helpers import define, helper, run

from numbagrad.kernel import cache


def test_fingerprint_follows_callees_and_constants():
    def make(body, factor):
        space = {"__name__": __name__, "FACTOR": factor}
        exec(f"def helper(x):\n    return {body}\ndef outer(x):\n    return helper(x) + 1\n", space)
        return space["outer"]

    base = cache.fingerprint(make("x * FACTOR", 3))
    assert base == cache.fingerprint(make("x * FACTOR", 3))
    assert base == cache.fingerprint(make("x * FACTOR  # a comment", 3))
    different = {base, *(cache.fingerprint(make("x * FACTOR", v)) for v in (4, 3.0, np.float32(3), -0.0, 0.0))}
    different.add(cache.fingerprint(make("x + FACTOR", 3)))
    assert len(different) == 7


def test_fingerprint_follows_dispatchers_and_their_options():
    import numba

    def of(**options):
        return cache.fingerprint(define("helper(a) + b", helper=numba.njit(**options)(helper)))

    assert of() == of()
    assert len({of(), of(fastmath=True), of(fastmath={"nsz"}), of(error_model="numpy")}) == 4
    assert cache.fingerprint(numba.njit(helper)) == cache.fingerprint(helper)


def test_fingerprint_sees_closures_defaults_overrides_and_modules():
    def closing(value):
        return lambda a: a + value

    def defaulting(value):
        return lambda a, b=value: a + b

    assert cache.fingerprint(closing(1)) != cache.fingerprint(closing(2))
    assert cache.fingerprint(defaulting(1)) != cache.fingerprint(defaulting(2))
    fn = define("exp(a)")
    assert cache.fingerprint(fn, {"exp": "one"}) != cache.fingerprint(fn, {"exp": "two"})
    assert cache.fingerprint(fn, {"exp": "one", "unused": 1}) == cache.fingerprint(fn, {"exp": "one"})
    own = type(sys)("own")
    own.scale, own.other = 2, 3
    fn = define("a * own.scale", own=own)
    before = cache.fingerprint(fn)
    own.other = 4
    assert cache.fingerprint(fn) == before
    own.scale = 5
    assert cache.fingerprint(fn) != before


def test_fingerprint_of_recursion_and_unusable_globals():
    space = {"__name__": __name__}
    exec("def even(n):\n    return n == 0 or odd(n - 1)\ndef odd(n):\n    return n != 0 and even(n - 1)\n", space)
    assert cache.fingerprint(space["even"]) != cache.fingerprint(space["odd"])
    with pytest.raises(TypeError, match="cannot fingerprint global 'thing' of type object"):
        cache.fingerprint(define("thing", thing=object()))


def test_fingerprint_is_the_same_in_every_process():
    script = """
    import math, numpy as np, numba
    from numba.extending import intrinsic
    from numbagrad.kernel import atomics, cache, threads
    look = atomics.atomics().look
    SET, ARRAY, KIND = frozenset(["a", "b", "c"]), np.arange(3.0), numba.types.float32
    @numba.njit(fastmath={"nsz", "arcp", "contract"})
    def inner(x):
        return KIND(x) if x in (1, 2) or x in {"p", "q", "r"} else math.exp(np.float32(x)) + ARRAY[0]
    def outer(x, y: "*T" = 2.5):
        return inner(x) + y + look(x) + len(SET)
    print(cache.fingerprint(outer))
    """
    assert run(script, PYTHONHASHSEED="1") == run(script, PYTHONHASHSEED="2")
