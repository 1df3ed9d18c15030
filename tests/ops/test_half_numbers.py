"""Numbers that a dtype cannot hold, beside tensors of it: rounded to it where PyTorch makes tensors of them, else float32."""

import itertools
import math

import numpy as np
import pytest

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is what numbers are compared with")

F = ng.nn.functional
HALF = ("float16", "bfloat16")
NUMBERS = (0.1, 0.7, 1 / 3, -0.3, 2.7, 5, 65520.0, -70000.0, 1e-9, 257, 3e38, math.inf)
EXACT = {  # the result to the last bit, for every number of the type
    "add": lambda m, x, k: x + k, "radd": lambda m, x, k: k + x, "sub": lambda m, x, k: x - k, "rsub": lambda m, x, k: k - x,
    "mul": lambda m, x, k: x * k, "div": lambda m, x, k: x / k, "rdiv": lambda m, x, k: k / x,
    "floor_divide": lambda m, x, k: x // k, "pow of a number": lambda m, x, k: abs(k) ** x,
    "eq": lambda m, x, k: x == k, "ne": lambda m, x, k: x != k, "lt": lambda m, x, k: x < k, "le": lambda m, x, k: x <= k,
    "gt": lambda m, x, k: x > k, "ge": lambda m, x, k: x >= k, "number first": lambda m, x, k: k < x,
    "isin": lambda m, x, k: m.isin(x, k),
    "alpha": lambda m, x, k: m.add(x, x.flip(0), alpha=k), "alpha of sub": lambda m, x, k: m.sub(x, x.flip(0), alpha=k),
    "alpha of rsub": lambda m, x, k: m.rsub(x, x.flip(0), alpha=k),
    "alpha in place": lambda m, x, k: x.clone().add_(x, alpha=k),
    "lerp": lambda m, x, k: m.lerp(x, x.flip(0), k), "addcmul": lambda m, x, k: m.addcmul(x, x.flip(0), x, value=k),
    "addcdiv": lambda m, x, k: m.addcdiv(x, x.flip(0), x, value=k),
    "clamp": lambda m, x, k: m.clamp(x, min=-0.7, max=k), "clamp_min": lambda m, x, k: x.clamp_min(k),
    "hardtanh": lambda m, x, k: m.nn.functional.hardtanh(x, -1e5 if x.dtype is m.bfloat16 else -6e4, k),
    "hardshrink": lambda m, x, k: m.nn.functional.hardshrink(x, k),
    "softshrink": lambda m, x, k: m.nn.functional.softshrink(x, abs(k)),
    "threshold": lambda m, x, k: m.nn.functional.threshold(x, k, 0.3),
    "leaky_relu": lambda m, x, k: m.nn.functional.leaky_relu(x, k),
    "where": lambda m, x, k: m.where(x > 0, x, k), "masked_fill": lambda m, x, k: x.masked_fill(x > 0, k),
    "add_": lambda m, x, k: x.clone().add_(k), "eq_": lambda m, x, k: x.clone().eq_(k),
    "mul_": lambda m, x, k: x.clone().mul_(k),
    "hinge": lambda m, x, k: m.nn.functional.hinge_embedding_loss(x, x.sign(), margin=k, reduction="none"),
}
# Of large quotients PyTorch's vectors make NaN.
REMAINDERS = {"fmod": lambda m, x, k: m.fmod(x, k), "remainder": lambda m, x, k: x % k,
              "fmod_": lambda m, x, k: x.clone().fmod_(k)}
SLOPES = ("add", "mul", "div", "alpha", "clamp", "clamp_min", "lerp", "leaky_relu", "threshold")


def every(dtype, m, step=1, nan=True):
    """All numbers of a half type; without NaN where its class depends on PyTorch's vectors."""
    bits = np.arange(0, 65536, step, dtype=np.uint16).view(np.int16)
    t = torch.from_numpy(bits).view(getattr(torch, dtype))
    t = t if nan else t[t == t]
    return t if m is torch else ng.from_numpy(t.view(torch.int16).numpy()).view(getattr(ng, dtype))


def outcome(m, fn, x, k):
    """The values of a call in double precision, or its error."""
    try:
        return fn(m, x, k).detach().double().numpy()
    except (RuntimeError, TypeError, ValueError) as error:
        return type(error).__name__, str(error).split(" (")[0]


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("name", EXACT)
def test_every_number_of_a_half_type(name, dtype):
    ours, theirs = every(dtype, ng), every(dtype, torch)
    for k in NUMBERS:
        if name == "hardtanh" and dtype == "float16" and abs(k) > 65504:
            continue  # refused by PyTorch
        got, expected = outcome(ng, EXACT[name], ours, k), outcome(torch, EXACT[name], theirs, k)
        if isinstance(expected, tuple) or isinstance(got, tuple):
            assert got == expected, k
        elif name == "lerp" and torch.backends.cpu.get_cpu_capability() == "AVX2":
            # PyTorch multiplies and adds in one rounding there, and in two with wider vectors or none, as here.
            np.testing.assert_allclose(got, expected, rtol=0.001 if dtype == "float16" else 0.008, err_msg=str(k))
            assert np.count_nonzero((got != expected) & (expected == expected)) < 100, k
        else:
            np.testing.assert_array_equal(got, expected, err_msg=str(k))


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("name", REMAINDERS)
def test_remainders_by_a_rounded_number(name, dtype):
    ours, theirs = every(dtype, ng, 3), every(dtype, torch, 3)
    for k in NUMBERS[:6]:
        got, expected = (outcome(m, REMAINDERS[name], x, k) for m, x in ((ng, ours), (torch, theirs)))
        near = ~np.isnan(expected)
        np.testing.assert_array_equal(got[near], expected[near], err_msg=str(k))


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("name", SLOPES)
def test_gradients(name, dtype):
    for k in NUMBERS[:6]:
        found = []
        for m in (ng, torch):
            x = every(dtype, m, 5, False).detach().requires_grad_()
            y = EXACT[name](m, x, k)
            y.backward(m.ones_like(y))
            found.append(x.grad.double().numpy())
        np.testing.assert_array_equal(*found, err_msg=str(k))


@pytest.mark.parametrize("dtype", HALF)
def test_compiled_steps_round_alike(dtype):
    x = every(dtype, ng, 11)

    def step(x, k):
        return x == 0.7, x + k, (x - 0.3) * k, x.fmod(0.7), x.float() + k, x.clamp(-k, k), x.add(x, alpha=k), x.pow(k)

    compiled = ng.compile(step)
    for k in (0.1, 0.7, 1 / 3):
        for a, b in zip(compiled(x, k), step(x, k)):
            np.testing.assert_array_equal(a.double().numpy(), b.double().numpy())


@pytest.mark.parametrize("code, dtype", [("as_f2", "float16"), ("as_bf", "bfloat16")])
def test_rounding_of_every_kind_of_number(code, dtype):
    """The rounding in loops is that of memory: numbers between two of a half type, subnormal ones, the largest, NaN."""
    from numbagrad.kernel import emit, expr
    values = every(dtype, ng).float().numpy()
    with np.errstate(all="ignore"):
        between = np.float32([np.nextafter(v, w) for v in values[::3] for w in (-math.inf, math.inf)])
        middle = (values[:-1].astype(np.float64) + values[1:]) / 2
        middle = middle.astype(np.float32)
        given = np.concatenate([values, between, middle, np.nextafter(middle, np.float32(0))])
    x = ng.from_numpy(given)
    out = ng.empty_like(x)
    loop = emit.Pointwise("rounding_" + code, ("x",), (), (expr.apply(code, expr.var("x")),))
    loop.native("f4", ("f4",), ("f4",)).entry(x._ptr, out._ptr, 0, x._n)
    np.testing.assert_array_equal(out.numpy(), x.to(getattr(ng, dtype)).float().numpy())


def test_float32_and_whole_numbers():
    dtypes = "float32", "float64", "int8", "uint8", "int32", "int64"
    for d, k in itertools.product(dtypes, (0.7, 0.1, 300, -1, 2 ** 31, 1e10)):
        a, b = ([0.7, 0.1, 1.0, 44.0], [0, 44, -1, 127]) if d[0] == "f" else ([0, 44, 1, 127],) * 2
        ours, theirs = (m.tensor(a if d[0] == "f" else b, dtype=getattr(m, d)) for m in (ng, torch))
        for name in ("eq", "lt", "ge", "add", "mul"):
            got, expected = outcome(ng, EXACT[name], ours, k), outcome(torch, EXACT[name], theirs, k)
            assert np.array_equal(got, expected), (d, k, name, got, expected)


@pytest.mark.parametrize("dtype", (*HALF, "float32"))
def test_batch_norm_of_nothing(dtype):
    for shape, training, channels in itertools.product(((2, 0, 3), (0, 3), (0, 3, 4), (2, 3, 0)), (True, False), (None, 0, 1)):
        found = []
        for m in (ng, torch):
            x = m.ones(shape, dtype=getattr(m, dtype), requires_grad=True)
            given = [None, m.ones(shape[1], dtype=x.dtype), m.ones(shape[1])]  # the last in float32, beside any dtype
            w = None if channels is None else given[1 + channels]
            try:
                y = m.nn.functional.batch_norm(x, None, None, w, w, training)
                y.sum().backward()
                found.append((tuple(y.shape), str(y.dtype), tuple(x.grad.shape), str(x.grad.dtype)))
            except (IndexError, RuntimeError) as error:
                found.append((type(error), str(error)))
        assert found[0] == found[1], (shape, training, channels)


def test_norms_and_means_of_what_a_half_type_cannot_hold():
    x = ng.full((3000,), 50.0, dtype=ng.float16)
    assert math.isclose(ng.linalg.vector_norm(x[:2], 3).item(), 50 * 2 ** (1 / 3), rel_tol=1e-3)
    assert ng.nanmean(ng.cat([x, x.new_tensor([math.nan])])).item() == 50.0
    rows = ng.full((2, 70000), 0.25, dtype=ng.bfloat16)
    assert ng.nanmean(rows, 1).tolist() == [0.25, 0.25]
    assert ng.nanmean(rows.half() + 2, 1).tolist() == [2.25, 2.25]


def test_bounds_beyond_a_half_type_on_every_path():
    """The call that opens the fast path holds numbers that fit; the next ones are looked at all the same."""
    for fn in (lambda m, x, k: m.clamp_min(x, k), lambda m, x, k: m.nn.functional.hardshrink(x, k)):
        for d in HALF:
            for k in (0.5, 0.5, 70000.0, -65520.0):
                got, expected = (outcome(m, fn, m.tensor([1.0, 70144.0], dtype=getattr(m, d)), k) for m in (ng, torch))
                assert np.array_equal(got, expected), (d, k)
        with pytest.raises(TypeError, match="must be Tensor, not float|got .float, float."):
            fn(ng, 5.0, 70000.0)


@pytest.mark.parametrize("calls_before", [0, 150])
@pytest.mark.parametrize("dtype, beyond", [("float16", 65519.0), ("float16", 70000), ("bfloat16", 3.4e38), ("bfloat16", 1e39)])
@pytest.mark.parametrize("call", [
    lambda x, n: F.hardtanh(x, -1, n), lambda x, n: F.hardtanh(x, -n, 1), lambda x, n: F.hardtanh(x, -n, n, True),
    lambda x, n: F.threshold(x, 0, n), lambda x, n: F.threshold_(x, 0, n), lambda x, n: ng.clamp(x, -1, n)])
def test_numbers_that_the_dtype_does_not_hold_are_refused(call, dtype, beyond, calls_before):
    x = ng.tensor([1.0, 2.0, -3.0], dtype=getattr(ng, dtype))
    for _ in range(calls_before):
        call(x.clone(), 3.0)
    name = "Half" if dtype == "float16" else "BFloat16"
    with pytest.raises(RuntimeError, match=f"value cannot be converted to type c10::{name} without overflow"):
        call(x, beyond)


def test_what_is_only_compared_may_be_beyond_a_half_type():
    x = ng.tensor([1.0, 2.0, -3.0], dtype=ng.float16)
    assert F.threshold(x, 70000, 1).tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("other", [1 / 3, 3.3, np.float64(0.7), 4097])
@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("name", ["mul", "div", "floor_divide", "mul_", "div_"])
def test_tensors_without_dimensions_of_another_dtype_are_not_rounded(name, dtype, other):
    values = np.random.default_rng(4).uniform(0.1, 4.0, 500).astype("f4")

    def run(m, call):
        x = m.tensor(values).to(getattr(m, dtype)).requires_grad_("floor" not in name)
        scale = m.tensor(other)
        if x.requires_grad and scale.is_floating_point():
            scale.requires_grad_()
        y = call(x.clone() if name[-1] == "_" else x, scale)
        if y.requires_grad:
            y.backward(x.detach())
        return [t.float().numpy() for t in (y.detach(), x.grad) if t is not None]

    theirs = run(torch, lambda x, s: getattr(x, name)(s))
    for _ in range(20):
        ours = run(ng, lambda x, s: getattr(x, name)(s))
        assert len(ours) == len(theirs) and all(map(np.array_equal, ours, theirs))
    compiled = ng.compile(lambda x, s: getattr(x.clone(), name)(s))
    half, scale = ng.tensor(values).to(getattr(ng, dtype)), ng.tensor(other)
    assert all([np.array_equal(compiled(half, scale).float().numpy(), theirs[0]) for _ in range(3)])
