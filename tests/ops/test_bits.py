"""Results compared with PyTorch's bit by bit: signs of zeros, and half types, where every number is tried."""

import numpy as np
import pytest

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")

HALF = ("float16", "bfloat16")
SPECIAL = [0.0, -0.0, 1e-45, -1e-45, 1e-39, -1e-39, 0.5, -0.5, 1.0, -1.0, 3.0, -3.0, 6.0, 7.0, 1e10, -1e10, np.inf, -np.inf,
           np.nan]


def _same(T, call, arrays, dtype):
    results = call(T, *[T.tensor(a).to(getattr(T, dtype)) for a in arrays])
    return (results.float() if dtype in HALF else results).numpy()


def _compare(call, arrays, dtype, signs=True):
    ours, theirs = (_same(T, call, arrays, dtype) for T in (ng, torch))
    assert ours.dtype == theirs.dtype and np.isfinite(theirs).any()
    np.testing.assert_array_equal(ours, theirs)
    if signs:
        number = ~np.isnan(theirs)
        np.testing.assert_array_equal(np.signbit(ours[number]), np.signbit(theirs[number]))


UNARY = {
    "relu": lambda T, x: T.relu(x), "relu_": lambda T, x: x.clone().relu_(), "relu6": lambda T, x: T.nn.functional.relu6(x),
    "hardtanh": lambda T, x: T.nn.functional.hardtanh(x),
    "hardtanh to zero": lambda T, x: T.nn.functional.hardtanh(x, 0.0, 2.0),
    "threshold": lambda T, x: T.nn.functional.threshold(x, 0.0, 0.0), "leaky_relu": lambda T, x: T.nn.functional.leaky_relu(x),
    "clamp": lambda T, x: x.clamp(0.0, 1.0), "clamp min": lambda T, x: x.clamp(min=0.0),
    "clamp max": lambda T, x: x.clamp(max=0.0),
    "hardshrink": lambda T, x: T.nn.functional.hardshrink(x), "abs": lambda T, x: x.abs(), "neg": lambda T, x: -x,
    "round": lambda T, x: x.round(), "ceil": lambda T, x: x.ceil(), "floor": lambda T, x: x.floor(),
    "trunc": lambda T, x: x.trunc(),
    "nan_to_num": lambda T, x: x.nan_to_num(),
}


@pytest.mark.parametrize("dtype", ["float32", "float64", *HALF])
@pytest.mark.parametrize("name", UNARY)
def test_signs_of_zeros(name, dtype):
    x = np.array(SPECIAL * 4)  # PyTorch's vectors, and what is left of them
    _compare(UNARY[name], [x], dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("name", ["maximum", "minimum", "fmax", "fmin", "copysign"])
def test_signs_of_zeros_of_two(name, dtype):
    numbers = SPECIAL[:-1] if name == "copysign" else SPECIAL  # the sign of NaN says nothing
    x, y = [a.ravel() for a in np.meshgrid(numbers, numbers)]
    _compare(lambda T, x, y: getattr(T, name)(x, y), [x, y], dtype)


def halves(dtype):
    """All numbers of a half type."""
    bits = np.arange(65536, dtype=np.uint16)
    return bits.view(np.float16).astype(np.float32) if dtype == "float16" else (bits.astype(np.uint32) << 16).view(np.float32)


ALL = {"entr": lambda T, x: T.special.entr(x), "logit": lambda T, x: T.logit(x), "logit eps": lambda T, x: T.logit(x, eps=0.2),
       "relu": lambda T, x: T.relu(x), "xlogy": lambda T, x: T.xlogy(x, 3.0), "xlog1py": lambda T, x: T.special.xlog1py(x, 3.0)}


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("name", ALL)
def test_every_half_number(name, dtype):
    if (name, dtype) == ("entr", "bfloat16"):
        pytest.skip("one product of 65536 is rounded to infinity by PyTorch and to the greatest number here")
    _compare(ALL[name], [halves(dtype)], dtype)


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("name", ["xlogy", "special.xlog1py", "maximum"])
def test_pairs_of_half_numbers(name, dtype):
    rng = np.random.default_rng(3)
    some = halves(dtype)
    some = some[(np.abs(some) < 1e4) & (np.abs(some) > 1e-4)]
    x, y = [rng.choice(some, 50000) for _ in range(2)]

    def call(T, x, y):
        f = T
        for part in name.split("."):
            f = getattr(f, part)
        return f(x, y)
    _compare(call, [x, y], dtype)


def test_a_rounding_within_a_rounding():
    """``held`` of what has a ``held`` in it: both are rounded."""
    from numbagrad.kernel import expr
    x = expr.var("x")
    twice = expr.apply("held", expr.apply("held", x + 1) * x)
    for code in ("f2", "bf"):
        made, = expr.in_dtype((twice,), code)
        assert [e.op for e in expr.topological([made])].count("as_" + code) == 2
    made, = expr.in_dtype((twice,), "f4")
    assert all(e.op not in ("held", "as_f2", "as_bf") for e in expr.topological([made]))


def test_polar_of_negative_sizes_as_in_pytorch():
    """PyTorch reads the direction from the result, which is the opposite of exp(i angle) where the size is negative."""
    size, angle = np.array([2.0, 1.0, -2.0, 0.0, -0.5]), np.array([0.3, -2.0, 1.0, 0.7, 2.5])
    found = []
    for T in (ng, torch):
        a, b = [T.tensor(v).requires_grad_() for v in (size, angle)]
        z = T.polar(a, b)
        found.append([g.numpy() for g in T.autograd.grad((z.real * 3 + z.imag).sum(), (a, b))])
    for ours, theirs in zip(*found):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


def test_gradients_of_running_products_are_added_wide():
    """In float32 their error is that of rounding the result, as PyTorch's, not that of thousands of additions."""
    rng = np.random.default_rng(0)
    x, g = rng.uniform(0.9, 1.1, (8, 4096)).astype(np.float32), rng.normal(size=(8, 4096)).astype(np.float32)
    grads = {}
    for name in ("float32", "float64"):
        t = ng.tensor(x).to(getattr(ng, name)).requires_grad_()
        t.cumprod(1).backward(ng.tensor(g).to(t.dtype))
        grads[name] = t.grad.double().numpy()
    off = np.abs(grads["float32"] - grads["float64"]).max() / np.abs(grads["float64"]).max()
    assert off < 4e-7
