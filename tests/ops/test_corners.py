"""Values and derivatives to second order at corners: zeros, infinities, NaN, ties, poles and ends of domains, as PyTorch."""

import math

import numpy as np
import pytest
from registry.draw import cases, flat, floats, ids, ops
from registry.oracle import torch_arguments, torch_function, torch_values

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")

INF, NAN = math.inf, math.nan
POINTS = np.array([0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 3.0, -3.0, 6.0, INF, -INF, NAN, 1e-300, 1e300])
PAIRS = np.array([0.0, -0.0, 1.0, -1.0, 2.0, INF, -INF, NAN])
RTOL, ATOL = 1e-7, 1e-9

# Where numbagrad differs on purpose or PyTorch has no single answer, with the reason.
DIFFERENT = {
    **dict.fromkeys(("hypot", "copysign", "logaddexp", "xlogy", "xlog1py", "atan2", "logit", "mish"),
                    "PyTorch's second derivative is NaN where it multiplies a masked zero by infinity; 0 here"),
    "softsign": "PyTorch's composition divides infinity by infinity; the derivative is 0",
    **dict.fromkeys(("addcdiv", "remainder", "fmod"), "PyTorch's vector loops round quotients beyond 1e300 differently"),
    **dict.fromkeys(("i0", "i1", "i1e"), "PyTorch's Bessel functions of NaN are numbers in the derivative"),
    **dict.fromkeys(("lgamma", "digamma", "trigamma", "polygamma_kernel", "polygamma_zero"),
                    "PyTorch computes the poles of trigamma as sin(pi x), which is not zero in floating point"),
    "logit_between": "PyTorch's recorded gradient at NaN is 0, the plain one NaN",
    "prelu_kernel": "PyTorch's second derivative at 0 takes the other side than its first",
    "sinc": "differences of nearly equal numbers on both sides",
}
ELEMENTWISE = [op for op in ops(kind="elementwise") if op.dtypes in ("any", "float") and op.name not in DIFFERENT]


def chunks(case):
    """The special points in threes: PyTorch's loops over vectors of eight treat NaN otherwise than the scalar ones."""
    count = len(case.specs)
    if not count or any(s[0] != "float64" for s in case.specs):
        return
    if count == 1:
        arrays = [POINTS]
    elif count == 2:
        arrays = [v.ravel() for v in np.meshgrid(PAIRS, PAIRS, indexing="ij")]
    else:
        rng = np.random.default_rng(3)
        arrays = [rng.choice(PAIRS, 30) for _ in range(count)]
    for i in range(0, len(arrays[0]), 3):
        yield [np.ascontiguousarray(a[i:i + 3]) for a in arrays]


def derivatives(lib, case, arrays, f=None):
    """What a call gives: {name: value, gradient, plain and recorded, its derivatives}; None where there is none."""
    ours = lib is ng
    inputs = case.tensors(requires_grad=True, arrays=arrays) if ours else torch_arguments(case, True, arrays=arrays)
    found, wanted = {}, [inputs[k] for k in case.differentiable]

    def outputs():
        return flat(case.call(inputs)) if ours else torch_values(case.call(inputs, f))

    def keep(name, values):
        for i, v in enumerate(values):
            found[f"{name}{i}"] = None if v is None else v.detach().numpy(force=True).copy()
    keep("value", outputs())
    live = [o for o in (floats(outputs()) if ours else outputs()) if o.requires_grad]
    found["recorded"] = len(live)
    if not live or not wanted:
        return found
    rng = np.random.default_rng(1)
    up = [lib.tensor(rng.choice([1.0, 2.0, -1.5], tuple(o.shape)), requires_grad=True) for o in live]
    try:
        first = lib.autograd.grad(live, wanted, up, create_graph=True, allow_unused=True)
    except RuntimeError as error:
        return {**found, "refused": str(error)}
    keep("gradient", first)
    plain = lib.autograd.grad([o for o in outputs() if o.requires_grad], wanted, [u.detach() for u in up], allow_unused=True)
    keep("plain", plain)
    for i, g in enumerate(first):
        found[f"connected{i}"] = g is not None and g.requires_grad
        if g is not None and g.requires_grad:
            u = lib.tensor(rng.choice([1.0, 2.0, -1.5], tuple(g.shape)))
            try:
                keep(f"second{i}.", lib.autograd.grad(g, [*wanted, *up], u, allow_unused=True, retain_graph=True))
            except RuntimeError as error:
                # PyTorch has no second derivative of a few ops.
                assert not ours and "is not implemented" in str(error)
    return found


def assert_equal(got, expected, what):
    more = {k for k in set(got) ^ set(expected) if not k.startswith("second")}
    assert not more, f"{what}: {more}"
    for k in set(got) & set(expected):
        a, b = got[k], expected[k]
        if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
            np.testing.assert_allclose(a, b, RTOL, ATOL, err_msg=f"{what}: {k}")
        else:
            assert a is b or not isinstance(a, np.ndarray) and a == b, f"{what}: {k} is {a}, in PyTorch {b}"


@pytest.mark.parametrize("op", ELEMENTWISE, ids=ids)
def test_elementwise_at_special_points(op):
    f = torch_function(op)
    if f is None:
        pytest.skip(f"PyTorch has no function for {op.name}")
    case = cases(op)[0]
    with np.errstate(all="ignore"):
        for arrays in chunks(case):
            assert_equal(derivatives(ng, case, arrays), derivatives(torch, case, arrays, f),
                         f"{op.name} at {[a.tolist() for a in arrays]}")


def test_logit_at_its_ends(torch):
    """Infinite gradients at 0 and 1, the second one NaN as in PyTorch; ``eps`` goes by position and cuts both off."""
    def derivatives(lib, *eps):
        x = lib.tensor([0.0, -0.0, 1.0, 0.5, -0.1, 1.2, 0.001], dtype=lib.float64, requires_grad=True)
        g, = lib.autograd.grad(lib.logit(x, *eps).sum(), x, create_graph=True)
        return g.detach().numpy(), lib.autograd.grad(g.sum(), x)[0].numpy()
    for found, wanted in zip(derivatives(ng), derivatives(torch)):
        np.testing.assert_allclose(found, wanted, rtol=1e-14)
    first, second = derivatives(ng, 0.001)
    np.testing.assert_allclose(first, derivatives(torch, 0.001)[0], rtol=1e-14)
    assert second[:6].tolist() == [0.0] * 6
    assert ng.tensor([0.3]).logit_(0.4).item() == torch.tensor([0.3]).logit_(0.4).item()


def test_logit_between_bounds_that_cross():
    """The lower bound counts where eps is above a half, as PyTorch's clamp has it, and a NaN is no bound."""
    values = np.array([0.1, 0.3, 0.5, 0.7, 0.9, 1.5, np.nan])
    for eps in (0.2, 0.5, 0.7, 1.0, -0.2, np.nan):
        x, y = ng.tensor(values, requires_grad=True), torch.tensor(values, requires_grad=True)
        a, b = ng.logit(x, eps), torch.logit(y, eps)
        a.nan_to_num(0.0, 0.0, 0.0).sum().backward()
        b.nan_to_num(0.0, 0.0, 0.0).sum().backward()
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), RTOL, ATOL)
        np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), RTOL, ATOL)
        assert x.detach().clone().logit_(eps).isnan().tolist() == a.isnan().tolist()


def test_powers_of_infinite_elements():
    values = np.array([2.0, np.inf, -np.inf, np.nan])
    for increasing in (False, True):
        for n in (0, 1, 2, 4):
            x = ng.tensor(values, requires_grad=True)
            y = ng.vander(x, n, increasing)
            expected = torch.vander(torch.tensor(values), n, increasing).numpy()
            np.testing.assert_array_equal(y.detach().numpy(), expected)
            if n > 1:
                y.sum().backward()
                assert x.grad[0] == sum(k * 2.0**(k - 1) for k in range(n))


@pytest.mark.parametrize("call", [lambda t: ng.histc(t, 3), lambda t: ng.histc(t / 8, 100),
                                  lambda t: ng.histc(t, 5, -2e38, 2e38)])
def test_histograms_whose_range_overflows(call):
    with pytest.raises(RuntimeError, match="overflows in torch.float32"):
        call(ng.tensor([3e38, -3e38, 1.0]))


def test_elu_of_zero_with_an_infinite_factor():
    x = ng.tensor([0.0, -0.0, 1.0])
    assert ng.nn.functional.elu(x, math.inf).tolist() == [0, 0, 1] and ng.nn.functional.celu(x, math.inf).tolist() == [0, 0, 1]


@pytest.mark.parametrize("name", ["i0", "i1", "i0e", "i1e"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bessel_functions_of_numbers_near_zero(name, dtype):
    values = np.array([0.0, -0.0, 1e-45, -1e-40, 1e-38, 1e-31, -1e-29, 1e-10, 1e-4], dtype)
    found = []
    for lib in (ng, torch):
        x = lib.tensor(values, requires_grad=True)
        y = getattr(lib.special, name)(x)
        y.sum().backward()
        found.append((y.detach().numpy(), x.grad.numpy()))
    for a, b in zip(*found):
        np.testing.assert_allclose(a, b, 2e-6 if dtype == "float32" else 1e-10, 1e-37)
