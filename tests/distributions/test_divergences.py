"""``kl_divergence`` of every pair against PyTorch's, with gradients, and the table behind it."""

import itertools
import warnings

import numpy as np
import pytest
from distribution_families import FAMILIES, Made, outcome, same

import numbagrad as ng
import numbagrad.distributions as nd

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")

# One distribution of each class, and a second one of the classes that have a divergence of their own.
ONE = ("Bernoulli", "Beta", "Binomial", "Categorical", "Cauchy", "Chi2", "ContinuousBernoulli", "Dirichlet", "Exponential",
       "Gamma", "Geometric", "Gumbel", "HalfNormal", "Independent", "Laplace", "LogNormal", "LowRank_batch",
       "MultivariateNormal", "Normal", "OneHotCategorical", "Pareto", "Poisson", "StudentT", "Transformed_vectors", "Uniform",
       "Kumaraswamy")
OTHERS = {
    "Bernoulli_2": ("Bernoulli", (FAMILIES["Bernoulli"][1][0][::-1].copy(),), {}),
    "Bernoulli_0": ("Bernoulli", (np.array([[0.0, 1.0, 0.3]]),), {}),
    "Beta_2": ("Beta", (np.array([0.5, 2.0, 3.0]), np.array([1.5, 1.0, 4.0])), {}),
    "Binomial_2": ("Binomial", (4,), {"logits": FAMILIES["Normal"][1][0]}),
    "Binomial_3": ("Binomial", (np.array([1.0, 4.0, 2.0]), np.array([0.2, 0.5, 0.9])), {}),
    "Categorical_2": ("Categorical", (), {"logits": FAMILIES["Normal"][1][0] * 2}),
    "Categorical_0": ("Categorical", (np.array([0.5, 0.0, 0.5]),), {}),
    "Cauchy_2": ("Cauchy", (np.zeros(3), np.ones(3) * 2), {}),
    "ContinuousBernoulli_2": ("ContinuousBernoulli", (np.array([0.5, 0.1, 0.8]),), {}),
    "Dirichlet_2": ("Dirichlet", (np.array([0.5, 2.0, 3.0]),), {}),
    "Gamma_2": ("Gamma", (np.array([0.5, 2.0, 3.0]), np.array([1.5, 1.0, 4.0])), {}),
    "Geometric_2": ("Geometric", (np.array([0.5, 0.1, 0.8]),), {}),
    "Gumbel_2": ("Gumbel", (np.zeros(3), np.ones(3) * 2), {}),
    "Laplace_2": ("Laplace", (np.zeros(3), np.ones(3) * 2), {}),
    "Normal_2": ("Normal", (np.zeros(3), np.ones(3) * 2), {}),
    "LogNormal_2": ("LogNormal", (np.zeros(3), np.ones(3) * 2), {}),
    "LowRank_2": ("LowRankMultivariateNormal", (np.zeros(3), np.ones((3, 1)), np.ones(3) * 2), {}),
    "MultivariateNormal_2": ("MultivariateNormal", (np.zeros(3), np.eye(3) * 2 + 0.1), {}),
    "Pareto_2": ("Pareto", (np.ones(3) * 0.2, np.ones(3) * 1.5), {}),
    "Poisson_2": ("Poisson", (np.array([0.5, 2.0, 30.0]),), {}),
    "Uniform_2": ("Uniform", (np.ones(3) * -5, np.ones(3) * 9), {}),
    "Uniform_3": ("Uniform", (np.ones(3) * 0.2, np.ones(3) * 0.9), {}),
}
FAMILIES.update(OTHERS)


def divergence(lib, p, q):
    made, other = Made(lib, p), Made(lib, q)
    y = lib.distributions.kl_divergence(made.dist, other.dist)
    return [y, made.gradients(y, *other.leaves)]


@pytest.mark.parametrize("p", [*ONE, *OTHERS])
def test_every_pair(p):
    worked = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        for q in (*ONE, *OTHERS):
            theirs = outcome(lambda: divergence(torch, p, q))  # noqa: B023
            same(outcome(lambda: divergence(ng, p, q)), theirs, rtol=1e-7, atol=1e-8, where=f"{p}, {q}")  # noqa: B023
            worked += not isinstance(theirs, str)
    assert worked or p in ("StudentT", "Kumaraswamy")


def test_the_table_is_pytorchs():
    tables = [{(p.__name__, q.__name__) for p, q in lib.distributions.kl._KL_REGISTRY} for lib in (ng, torch)]
    assert tables[0] == tables[1] and len(tables[0]) > 80


def test_register_kl():
    answers = []
    for lib in (ng, torch):
        d = lib.distributions

        class Mine(d.Normal):
            pass

        class Yours(d.Laplace):
            pass
        with pytest.raises(NotImplementedError) as missing:
            d.kl_divergence(d.StudentT(2.0), Mine(0.0, 1.0))
        before = d.kl_divergence(Mine(0.0, 1.0), d.Normal(1.0, 2.0)).item()
        d.register_kl(Mine, d.Laplace)(lambda p, q: 1)
        d.register_kl(d.Normal, Yours)(lambda p, q: 2)
        with pytest.warns(RuntimeWarning) as warned:
            unclear = d.kl_divergence(Mine(0.0, 1.0), Yours(0.0, 1.0))
        with pytest.raises(TypeError):
            d.register_kl(3, d.Normal)
        answers.append((str(missing.value), before, unclear, str(warned[0].message),
                        d.kl_divergence(Mine(0.0, 1.0), d.Laplace(0.0, 1.0))))
        for pair in ((Mine, d.Laplace), (d.Normal, Yours)):
            del d.kl._KL_REGISTRY[pair]
    assert answers[0] == answers[1]


def test_exponential_families_by_bregman_divergence():
    """The general formula agrees with those of the families."""
    general = nd.kl._KL_REGISTRY[nd.ExponentialFamily, nd.ExponentialFamily]
    for a, b in itertools.permutations(("Gamma", "Gamma_2", "Normal", "Normal_2", "Bernoulli", "Bernoulli_2", "Dirichlet",
                                        "Dirichlet_2", "Beta", "Beta_2"), 2):
        p, q = Made(ng, a).dist, Made(ng, b).dist
        if type(p) is type(q):
            np.testing.assert_allclose(general(p, q).detach().numpy(), nd.kl_divergence(p, q).detach().numpy(), rtol=1e-7)
