"""Draws with parameters in tensors against PyTorch's streams, their implicit gradients, and the incomplete gamma functions."""

import numpy as np
import pytest
from distribution_families import outcome, same

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
BOTH = (ng, torch)

_draws = np.random.RandomState(0)
WIDE = np.exp(2 * _draws.randn(3, 400))
UNIT = _draws.rand(3, 400)
COUNTS = np.floor(WIDE * 30)
CALLS = {
    "_standard_gamma": lambda lib, t: lib._standard_gamma(t(WIDE)),
    "_standard_gamma, expanded": lambda lib, t: lib._standard_gamma(t(WIDE[:, :1]).expand(3, 50)),
    "_standard_gamma, transposed": lambda lib, t: lib._standard_gamma(t(WIDE).t()),
    "_sample_dirichlet": lambda lib, t: lib._sample_dirichlet(t(WIDE)),
    "_sample_dirichlet, tiny": lambda lib, t: lib._sample_dirichlet(t(WIDE[:, :5] * 1e-3)),
    "poisson": lambda lib, t: lib.poisson(t(WIDE * 10)),
    "poisson, large": lambda lib, t: lib.poisson(t(WIDE * 1e6)),
    "poisson, zero": lambda lib, t: lib.poisson(t(np.zeros(3))),
    "binomial": lambda lib, t: lib.binomial(t(COUNTS), t(UNIT)),
    "binomial, ends": lambda lib, t: lib.binomial(t(np.array([5.0, 5, 0, -1, 7.5, 4])),
                                                  t(np.array([0.0, 1, 0.5, 0.5, 1.2, -1]))),
    "binomial, large": lambda lib, t: lib.binomial(t(COUNTS * 1000), t(UNIT)),
    "a generator": lambda lib, t: [lib.poisson(t(WIDE), lib.Generator().manual_seed(4)),
                                   lib._standard_gamma(t(WIDE), generator=lib.Generator().manual_seed(5))],
    "nothing": lambda lib, t: [lib.poisson(t(np.ones((0, 3)))), lib._sample_dirichlet(t(np.ones((2, 0)))),
                               lib._standard_gamma(t(np.ones(0)))],
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CALLS)
def test_streams(name, dtype):
    """Numbers and what is drawn next are PyTorch's, bit for bit."""
    answers = []
    for lib in BOTH:
        lib.manual_seed(3)
        drawn = outcome(lambda: CALLS[name](lib, lambda a: lib.tensor(a, dtype=getattr(lib, dtype))))  # noqa: B023
        answers.append([drawn, lib.randn(3).numpy(), lib.rand(2).numpy()])
    assert not isinstance(answers[1][0], str)
    # A Dirichlet point is divided by a sum whose terms PyTorch adds in another order.
    last_bit = 1e-15 if name.startswith("_sample_dirichlet") else 0
    same(*answers, rtol=last_bit, atol=0)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_poisson_in_half(dtype):
    answers = []
    for lib in BOTH:
        lib.manual_seed(3)
        answers.append(lib.poisson(lib.tensor(WIDE, dtype=getattr(lib, dtype))).double().numpy())
    np.testing.assert_array_equal(*answers)


REFUSED = """
l.poisson(l.tensor([-1.0])) | l.poisson(l.tensor([float("nan")])) | l.poisson(l.tensor([1])) | l.poisson(l.tensor([1.0 + 1j]))
l.binomial(l.tensor([1]), l.tensor([0.5])) | l.binomial(l.tensor([1.0]), l.tensor([1])) | l._standard_gamma(l.tensor([1]))
l.binomial(l.tensor([1.0]), l.tensor([0.5]).double()) | l._standard_gamma(l.tensor([1.0]).half())
l._sample_dirichlet(l.tensor([1])) | l.binomial(l.tensor([4.0]).bfloat16(), l.tensor([0.5]).bfloat16())
l._standard_gamma_grad(l.ones(1), l.ones(1).double()) | l._dirichlet_grad(l.ones(1), l.ones(1).double(), l.ones(1))
l.poisson(1) | l.binomial(1, 2) | l._standard_gamma(1) | l.igamma(l.tensor([1]), l.tensor([1]))
l.igamma(l.tensor([1.0]), 2.0) | l.igammac(l.ones(2), l.ones(3)) | l._dirichlet_grad(1, 2, 3)
l.igamma(l.rand(2, requires_grad=True), l.rand(2)).sum().backward()
l.special.gammaincc(l.rand(2, requires_grad=True), l.rand(2)).sum().backward() | l._standard_gamma(l.ones(2), 3)
"""


@pytest.mark.parametrize("call", [c.strip() for line in REFUSED.strip().split("\n") for c in line.split(" | ")])
def test_refused(call):
    ours, theirs = (outcome(lambda: eval(call, {"l": lib})) for lib in BOTH)  # noqa: B023
    assert isinstance(theirs, str)
    # PyTorch prints the signatures of its overloads after this.
    assert ours.partition(" - got")[0] == theirs.partition(" - got")[0]


def test_gradients_of_draws():
    def ask(lib):
        a = lib.tensor(WIDE, requires_grad=True)
        lib.manual_seed(0)
        y = lib._standard_gamma(a)
        first, = lib.autograd.grad((y * y).sum(), a, create_graph=True)
        zero, = lib.autograd.grad(lib.poisson(a).sum(), a)
        return [first, outcome(lambda: lib.autograd.grad(first.sum(), a)), zero, type(y.grad_fn).__name__,
                type(lib.poisson(a).grad_fn).__name__]
    same(*[outcome(lambda: ask(lib)) for lib in BOTH], rtol=1e-12)  # noqa: B023


def test_implicit_gradients():
    """In float64 PyTorch's approximations to the last digits; these are near the derivatives of the distribution functions."""
    a, b = WIDE * 3, WIDE[::-1] * 5
    drawn, share = _draws.gamma(a) + 1e-3, np.clip(_draws.beta(a, b), 1e-4, 1 - 1e-4)
    found = [[plainly(lib._standard_gamma_grad(lib.tensor(a), lib.tensor(drawn))),
              plainly(lib._dirichlet_grad(lib.tensor(share), lib.tensor(a), lib.tensor(a + b)))] for lib in BOTH]
    same(*found, rtol=1e-11, atol=1e-13)
    stats = pytest.importorskip("scipy.stats", reason="distribution functions are SciPy's")
    for got, x, cdf, pdf in (
            (found[0][0], drawn, lambda s: stats.gamma.cdf(drawn, s), stats.gamma.pdf(drawn, a)),
            (found[0][1] * (1 - share), share, lambda s: stats.beta.cdf(share, s, b), stats.beta.pdf(share, a, b))):
        step = 1e-5 * a
        wanted = -(cdf(a + step) - cdf(a - step)) / (2 * step) / pdf
        usual = (pdf > 1e-3) & (x > 0.05)
        assert usual.sum() > 300
        np.testing.assert_allclose(got[usual], wanted[usual], rtol=0.02, atol=1e-3)


def plainly(t):
    return t.numpy()


@pytest.mark.parametrize("name", ["igamma", "igammac"])
def test_incomplete_gamma_functions(name):
    a = np.exp(_draws.uniform(-4, 9, 2000))
    x = a * np.exp(_draws.randn(2000) * np.minimum(2, 2 / np.sqrt(a)))
    odd = np.array([0.0, 1, 2, -1, np.nan, np.inf, 3, np.inf, 0]), np.array([1.0, 0, np.inf, 2, 1, 2, -1, np.inf, 0])
    for first, second in ((a, x), odd):
        answers = [getattr(lib, name)(lib.tensor(first), lib.tensor(second)).numpy() for lib in BOTH]
        np.testing.assert_allclose(*answers, rtol=1e-8, atol=1e-300)  # PyTorch has some constants in float32
    scipy = pytest.importorskip("scipy.special", reason="the exact values are SciPy's")
    exact = {"igamma": scipy.gammainc, "igammac": scipy.gammaincc}[name](a, x)
    np.testing.assert_allclose(getattr(ng, name)(ng.tensor(a), ng.tensor(x)).numpy(), exact, rtol=2e-12, atol=1e-300)

    def ask(lib):
        v = lib.tensor(x[:50], requires_grad=True)
        y = getattr(lib, name)(lib.tensor(a[:50]), v)
        first, = lib.autograd.grad(y.sum(), v, create_graph=True)
        half = getattr(lib, name)(lib.tensor(a[:9]).half(), lib.tensor(x[:9]).half()).double()
        return [first, lib.autograd.grad(first.sum(), v), type(y.grad_fn).__name__, half,
                getattr(lib, name)(lib.tensor([1.0]), lib.tensor([2])), getattr(v.detach().clone(), name + "_")(v.detach()),
                getattr(lib.special, {"igamma": "gammainc", "igammac": "gammaincc"}[name])(lib.ones(2, 1), lib.ones(3))]
    same(*[outcome(lambda: ask(lib)) for lib in BOTH], rtol=2e-7)  # noqa: B023


@pytest.mark.parametrize("draw", [lambda t: ng.poisson(t), lambda t: ng._standard_gamma(t), lambda t: ng._sample_dirichlet(t),
                                  lambda t: ng.binomial(t, ng.full((3, 4), 0.4)), lambda t: ng.igamma(t, t + 1)])
def test_compiled_steps_draw(draw):
    """A compiled function draws anew in every call, as the function itself."""
    rates = [ng.rand(3, 4) * 8 + 1 for _ in range(6)]
    step = ng.compile(lambda t: draw(t) * 2)
    answers = []
    for fn in (step, lambda t: draw(t) * 2):
        ng.manual_seed(1)
        answers.append([fn(t).numpy() for t in rates])
    np.testing.assert_array_equal(*answers)


def test_plans_draw_anew():
    """Calls that come again in the same shapes are repeated from a plan; draws are not."""
    rate = ng.full((5,), 3.0, requires_grad=True)
    drawn = [ng._standard_gamma(rate) for _ in range(20)]
    assert len({float(y.detach()[0]) for y in drawn}) == 20
    drawn[-1].sum().backward()
    assert rate.grad.min() > 0
