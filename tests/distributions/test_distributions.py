"""Every family against PyTorch's: moments, densities, samples, gradients to second order, repr, errors."""

import warnings

import numpy as np
import pytest
from distribution_families import FAMILIES, Made, outcome, same, shown

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")

MOMENTS = ("mean", "mode", "variance", "stddev", "batch_shape", "event_shape", "has_rsample", "has_enumerate_support")
BOTH = (ng, torch)


@pytest.fixture(autouse=True)
def quiet():
    """Some distributions warn of low degrees of freedom, in both libraries."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def compare(name, ask, **tolerance):
    """Assert that both libraries answer ``ask(made)`` alike, and leave their generators alike."""
    answers = []
    for lib in BOTH:
        made = Made(lib, name)
        lib.manual_seed(7)
        answers.append([outcome(lambda: ask(made)), lib.rand(2).numpy()])  # noqa: B023
    same(*answers, where=name, **tolerance)
    return answers[1][0]


def draw(name, shape=(4,)):
    """A sample of PyTorch's, as an array."""
    torch.manual_seed(3)
    return Made(torch, name).dist.sample(shape).detach().numpy()


@pytest.mark.parametrize("name", FAMILIES)
def test_moments(name):
    for what in MOMENTS:
        compare(name, lambda m: getattr(m.dist, what))  # noqa: B023
    for what in ("entropy", "perplexity"):
        compare(name, lambda m: getattr(m.dist, what)())  # noqa: B023
    compare(name, lambda m: [shown(m.dist), shown(m.dist.support), shown(m.dist.arg_constraints)])


@pytest.mark.parametrize("name", FAMILIES)
def test_samples(name):
    for shape in ((), (3,), (2, 1)):
        compare(name, lambda m: m.dist.sample(shape))  # noqa: B023
    compare(name, lambda m: m.dist.expand((4, *m.dist.batch_shape)).sample((2,)))
    compare(name, lambda m: [str(m.dist.sample((2,)).requires_grad), shown(m.dist.sample((5,)).dtype)])


@pytest.mark.parametrize("name", FAMILIES)
def test_rsample_gradients(name):
    def ask(m):
        y = m.dist.rsample((3,))
        # PyTorch changes a mask that backward of a Wishart sample needs, and fails there.
        return y if name.startswith("Wishart") else [y, m.gradients(y)]
    compare(name, ask, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", FAMILIES)
def test_densities(name):
    value = draw(name)

    def ask(m):
        v = m.lib.tensor(value)
        if v.dtype.is_floating_point:
            v.requires_grad_()
        y = m.dist.log_prob(v)
        return [y, m.gradients(y, *[v] if v.requires_grad else [])]
    found = compare(name, ask, rtol=1e-7, atol=1e-8)
    assert not isinstance(found, str), found
    compare(name, lambda m: m.dist.expand((2, *m.dist.batch_shape)).log_prob(m.lib.tensor(value[:2])))


@pytest.mark.parametrize("name", FAMILIES)
def test_distribution_functions(name):
    value = draw(name)

    def cdf(m):
        y = m.dist.cdf(m.lib.tensor(value))
        return [y, m.gradients(y)]

    def icdf(m):
        y = m.dist.icdf(m.lib.full((2, *m.dist.batch_shape), 0.3, dtype=m.lib.float64))
        return [y, m.gradients(y)]
    compare(name, cdf, rtol=1e-7, atol=1e-9)
    compare(name, icdf, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", FAMILIES)
def test_enumerate_support(name):
    for expand in (True, False):
        compare(name, lambda m: m.dist.enumerate_support(expand))  # noqa: B023


@pytest.mark.parametrize("name", FAMILIES)
def test_expand(name):
    compare(name, lambda m: [shown(e := m.dist.expand((5, *m.dist.batch_shape))), e.batch_shape, e.event_shape, e.mean])
    compare(name, lambda m: shown(m.dist.expand((7, 9))))


@pytest.mark.parametrize("name", FAMILIES)
def test_entropy_gradients(name):
    compare(name, lambda m: m.gradients(m.dist.entropy()), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", FAMILIES)
def test_float32(name):
    answers = []
    for lib in BOTH:
        made = Made(lib, name, "float32")
        lib.manual_seed(11)
        answers.append(outcome(lambda: [made.dist.sample((40,)), made.dist.mean]))  # noqa: B023
    same(*answers, where=name)


@pytest.mark.parametrize("name", FAMILIES)
def test_refused_values(name):
    """Values of wrong shapes, types and outside of the support are refused in PyTorch's words."""
    good = draw(name)
    for value in (good + 0.25, -good - 1.0, good * np.nan, good[..., None, None][..., [0] * 4], 3.0):
        def ask(m):
            return m.dist.log_prob(m.lib.tensor(value) if isinstance(value, np.ndarray) else value)  # noqa: B023
        compare(name, ask, rtol=1e-7, atol=1e-9)
