"""Integers of more than 64 bits beside tensors: OverflowError with PyTorch's text, whatever the dtype of the tensor."""

import pytest

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")

CALLS = {
    "+": lambda lib, t, n: t + n, "r+": lambda lib, t, n: n + t, "-": lambda lib, t, n: t - n, "r-": lambda lib, t, n: n - t,
    "*": lambda lib, t, n: t * n, "/": lambda lib, t, n: t / n, "r/": lambda lib, t, n: n / t, "**": lambda lib, t, n: t ** n,
    "r**": lambda lib, t, n: n ** t, "//": lambda lib, t, n: t // n, "%": lambda lib, t, n: t % n,
    "==": lambda lib, t, n: t == n, "<": lambda lib, t, n: t < n, "eq": lambda lib, t, n: lib.eq(t, n),
    "add": lambda lib, t, n: lib.add(t, n), "alpha": lambda lib, t, n: lib.add(t, t, alpha=n),
    "add_": lambda lib, t, n: t.add_(n), "+=": lambda lib, t, n: t.__iadd__(n), "mul_": lambda lib, t, n: t.mul_(n),
    "clamp_min": lambda lib, t, n: t.clamp_min(n),
    "where": lambda lib, t, n: lib.where(t > 0, t, n), "masked_fill": lambda lib, t, n: t.masked_fill(t > 0, n),
    "float_power": lambda lib, t, n: lib.float_power(t, n), "copysign": lambda lib, t, n: lib.copysign(t, n)}
NUMBERS = (2**63, 2**64 - 1, 2**64, 2**70, -2**63, -2**63 - 1, -2**64)


def outcome(lib, call, dtype, n):
    t = lib.tensor([1, 2, 3]).to(getattr(lib, dtype))
    try:
        return "ok", call(lib, t, n).tolist()
    except (OverflowError, RuntimeError) as e:
        return type(e).__name__, str(e)


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
def test_integers_of_more_than_64_bits(name, dtype):
    for n in NUMBERS:
        a, b = outcome(ng, CALLS[name], dtype, n), outcome(torch, CALLS[name], dtype, n)
        if b[0] not in ("ok", "OverflowError"):
            continue  # complex numbers have no order
        if b[0] == "ok":
            assert a[0] == "ok" and (name == "r**" or a[1] == pytest.approx(b[1], rel=1e-5)), n  # (signs of infinities)
        else:
            assert a[0] == b[0] and a[1].endswith(b[1]) or name in ("alpha",) and a[0] == b[0], (n, a, b)


@pytest.mark.parametrize("name", ["+", "*", "r-", "==", "add_"])
def test_calls_of_one_geometry(name):
    """A call that came often is a native one, which takes integers of 64 bits and leaves longer ones to Python."""
    call, t = CALLS[name], ng.tensor([1.0, 2.0, 3.0])
    for i in range(150):
        call(ng, t.clone(), i)
    for n in NUMBERS:
        a, b = outcome(ng, call, "float32", n), outcome(torch, call, "float32", n)
        assert a == b if b[0] == "OverflowError" else a[1] == pytest.approx(b[1], rel=1e-6)
