"""Integers at the ends of their range, and numbers that an integer dtype cannot hold."""

import numpy as np
import pytest

import numbagrad as ng

INTEGERS = ("int8", "int16", "int32", "int64")


def exact(name, a, b):
    """Division of Python integers; the one quotient that does not fit wraps around."""
    q = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
    return {"fmod": a - b * q, "trunc": q, "remainder": a % b}[name]


@pytest.mark.parametrize("dtype", INTEGERS)
def test_division_at_the_ends(dtype):
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    values = [low, low + 1, -3, -1, 1, 3, 7, high - 1, high]
    pairs = [(a, b) for a in (*values, 0) for b in values]
    x, y = (ng.tensor(list(v), dtype=getattr(ng, dtype)) for v in zip(*pairs))
    calls = {"fmod": lambda a, b: a.fmod(b), "remainder": lambda a, b: a.remainder(b),
             "trunc": lambda a, b: ng.div(a, b, rounding_mode="trunc")}
    for name, call in calls.items():
        wanted = [int(np.array(exact(name, a, b) % 2**64, np.uint64).astype(np.int64).astype(dtype)) for a, b in pairs]
        got = call(x, y).tolist()
        wrong = [(p, g, w) for p, g, w in zip(pairs, got, wanted) if g != w and p != (low, -1)]
        assert not wrong, name
        for b in values:
            at = [i for i, p in enumerate(pairs) if p[1] == b and p[0] != low]
            assert call(x[at], b).tolist() == [wanted[i] for i in at]
    assert ng.tensor([low], dtype=getattr(ng, dtype)).fmod(-1).item() == 0
    assert ng.tensor([low], dtype=getattr(ng, dtype)).remainder(-1).item() == 0
    assert x.clone().div_(2, rounding_mode="trunc").tolist() == [exact("trunc", a, 2) for a, _ in pairs]


TOO_LARGE = {
    "clamp": lambda L, x, v: L.clamp(x, -v, v), "clamp below": lambda L, x, v: x.clamp(min=v),
    "clamp above": lambda L, x, v: x.clamp(max=v), "clamp_min": lambda L, x, v: x.clamp_min(v),
    "clamp_max": lambda L, x, v: x.clamp_max(v), "clamp_": lambda L, x, v: x.clone().clamp_(0, v),
    "pow": lambda L, x, v: x**v, "pow_": lambda L, x, v: x.clone().pow_(v),
    "where": lambda L, x, v: L.where(x > 0, x, v), "where of a number": lambda L, x, v: L.where(x > 0, v, x),
    "add": lambda L, x, v: L.add(x, x, alpha=v), "sub_": lambda L, x, v: x.clone().sub_(x, alpha=v),
    "rsub": lambda L, x, v: L.rsub(x, x, alpha=v), "addcmul": lambda L, x, v: L.addcmul(x, x, x, value=v),
    "addcmul_": lambda L, x, v: x.clone().addcmul_(x, x, value=v),
    "threshold": lambda L, x, v: L.nn.functional.threshold(x, 1, v),
    "hardtanh": lambda L, x, v: L.nn.functional.hardtanh(x, 0, v)}
WRAPS = {
    "add": lambda x, v: x + v, "mul": lambda x, v: x * v, "sub": lambda x, v: v - x, "fill_": lambda x, v: x.clone().fill_(v),
    "eq": lambda x, v: x == v, "bitwise_and": lambda x, v: x & v, "floor_divide": lambda x, v: x // v,
    "remainder": lambda x, v: x % v}


@pytest.mark.parametrize("name", TOO_LARGE)
def test_numbers_that_do_not_fit_are_refused(name, torch):
    for dtype, fits, beyond in (("int8", 127, 129), ("uint8", 255, 256), ("int16", 32767, 40000), ("int32", 2**31 - 1, 2**32)):
        if name == "pow" or name == "pow_":
            fits = 7
        if dtype == "uint8" and name == "clamp":
            continue  # its least number is negative, and wraps
        x, y = (L.tensor([1, 0, 3], dtype=getattr(L, dtype)) for L in (ng, torch))
        assert TOO_LARGE[name](ng, x, fits).tolist() == TOO_LARGE[name](torch, y, fits).tolist()
        for L, t in ((torch, y), (ng, x)):
            with pytest.raises(RuntimeError, match=r"cannot be converted to type \w+ without overflow"):
                TOO_LARGE[name](L, t, beyond)


@pytest.mark.parametrize("name", WRAPS)
def test_numbers_of_arithmetic_wrap(name, torch):
    for dtype in ("int8", "uint8", "int32"):
        for value in (200, 300, -1):
            x, y = (L.tensor([1, 0, 3], dtype=getattr(L, dtype)) for L in (ng, torch))
            try:
                expected = WRAPS[name](y, value).tolist()
            except RuntimeError as e:
                with pytest.raises(RuntimeError, match="overflow"):
                    assert "overflow" in str(e)
                    WRAPS[name](x, value)
                continue
            assert WRAPS[name](x, value).tolist() == expected


def test_negative_padding_values_of_bytes_are_refused(torch):
    for L in (ng, torch):
        with pytest.raises(RuntimeError, match="uint8_t without overflow"):
            L.nn.functional.pad(L.ones(3, dtype=L.uint8), (1, 1), value=-1)


@pytest.mark.parametrize("call", [
    lambda L: L.arange(3, dtype=L.bool), lambda L: L.arange(3, dtype=L.complex64), lambda L: L.randperm(3, dtype=L.complex64),
    lambda L: L.randperm(3, dtype=L.bool), lambda L: L.randint(0, 5, (2,), dtype=L.complex64),
    lambda L: L.randint_like(L.ones(2, dtype=L.complex64), 5)])
def test_integers_of_other_dtypes_are_refused(call, torch):
    with pytest.raises((RuntimeError, NotImplementedError)) as theirs:
        call(torch)
    with pytest.raises(theirs.type):
        call(ng)


@pytest.mark.parametrize("dtype", [*INTEGERS, "uint8"])
def test_coordinates_are_computed_in_int64(dtype, torch):
    """A size above the range of the numbers' own dtype is one all the same."""
    for shape in ((2, 300, 400), (2, 3, 7), (130,), 5):
        ours, theirs = (L.unravel_index(L.tensor([100, 0, 41], dtype=getattr(L, dtype)), shape) for L in (ng, torch))
        assert [(str(a.dtype), a.tolist()) for a in ours] == [(str(b.dtype), b.tolist()) for b in theirs]
