"""What distributions refuse, warn of and keep: validation, subclasses, pickles."""

import pickle
import warnings

import numpy as np
import pytest
from distribution_families import FAMILIES, Made, outcome, same, shown

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
BOTH = (ng, torch)

# Calls of distributions ``d`` of a library ``l`` that both libraries refuse.
REFUSED = """
d.Normal(0.0, -1.0) | d.Normal(l.zeros(2), l.tensor([1.0, float("nan")])) | d.Normal("a", 1.0)
d.Normal(l.zeros(2), l.ones(3)) | d.Bernoulli() | d.Bernoulli(0.5, 0.1) | d.Bernoulli(1.5)
d.Bernoulli(l.tensor([0.1, -0.2])) | d.Bernoulli(logits=float("nan")) | d.Binomial(-1, 0.5) | d.Binomial(3)
d.Binomial(1.5, l.tensor(0.5)) | d.Binomial(l.tensor([2.0, 3.0]), 0.5).entropy()
d.Binomial(l.tensor([2.0, 3.0]), 0.5).enumerate_support() | d.Binomial(3, 0.5).rsample()
d.Binomial(3, 0.5).cdf(l.tensor(1.0)) | d.Categorical() | d.Categorical(l.tensor(0.5)) | d.Categorical(logits=l.tensor(0.5))
d.Categorical(l.tensor([-1.0, 2.0])) | d.Categorical(l.ones(3)).log_prob(l.tensor(3))
d.Categorical(l.ones(3)).log_prob(l.tensor(0.5)) | d.Categorical(l.ones(3)).rsample() | d.Cauchy(0.0, 0.0) | d.Chi2(-1.0)
d.ContinuousBernoulli(2.0, validate_args=True) | d.ContinuousBernoulli() | d.Dirichlet(l.tensor(1.0))
d.Dirichlet(l.tensor([1.0, 0.0])) | d.Beta(1.0, -1.0) | d.Beta(l.ones(2), "x") | d.Dirichlet(l.ones(3)).log_prob(l.ones(3))
d.Dirichlet(l.ones(3)).log_prob(l.ones(2) / 2) | d.Exponential(0.0) | d.Exponential(1.0).log_prob(l.tensor(-1.0))
d.FisherSnedecor(0.0, 1.0) | d.Gamma(0.0, 1.0) | d.Gamma(1.0, 1.0).cdf(l.tensor(-1.0)) | d.Geometric(0.0)
d.Geometric(l.tensor([0.5, 0.0])) | d.Geometric() | d.Gumbel(0.0, -1.0) | d.HalfCauchy(-1.0) | d.HalfNormal(0.0)
d.Independent(d.Normal(l.zeros(2), 1.0), 2) | d.Independent(d.Bernoulli(l.ones(2) / 2), 1).enumerate_support()
d.InverseGamma(1.0, -1.0) | d.Kumaraswamy(0.0, 1.0) | d.LKJCholesky(1) | d.LKJCholesky(3, -1.0) | d.Laplace(0.0, -1.0)
d.LKJCholesky(3).log_prob(l.ones(3, 3)) | d.LogNormal(0.0, -1.0) | d.LogisticNormal(l.zeros(2), -1.0)
d.LowRankMultivariateNormal(l.tensor(0.0), l.ones(2, 1), l.ones(2))
d.LowRankMultivariateNormal(l.zeros(2), l.ones(2), l.ones(2))
d.LowRankMultivariateNormal(l.zeros(2), l.ones(3, 1), l.ones(2))
d.LowRankMultivariateNormal(l.zeros(2), l.ones(2, 1), l.ones(3))
d.LowRankMultivariateNormal(l.zeros(3, 2), l.ones(4, 2, 1), l.ones(2))
d.MixtureSameFamily(d.Normal(0.0, 1.0), d.Normal(l.zeros(2), 1.0)) | d.MixtureSameFamily(d.Categorical(l.ones(2)), 3)
d.MixtureSameFamily(d.Categorical(l.ones(3)), d.Normal(l.zeros(2), 1.0)) | d.Multinomial(l.tensor([1, 2]), l.ones(3))
d.MixtureSameFamily(d.Categorical(l.ones(3, 2)), d.Normal(l.zeros(4, 2), 1.0))
d.Multinomial(2, l.ones(3)).log_prob(l.ones(3)) | d.MultivariateNormal(l.tensor(0.0), l.eye(2))
d.MultivariateNormal(l.zeros(2)) | d.MultivariateNormal(l.zeros(2), l.eye(2), l.eye(2))
d.MultivariateNormal(l.zeros(2), l.ones(2)) | d.MultivariateNormal(l.zeros(2), l.ones(2, 2))
d.MultivariateNormal(l.zeros(2), precision_matrix=l.ones(2)) | d.MultivariateNormal(l.zeros(2), scale_tril=l.ones(2))
d.MultivariateNormal(l.zeros(2), scale_tril=l.ones(2, 2))
d.MultivariateNormal(l.zeros(2), l.tensor([[1.0, 0.5], [0.2, 1.0]]))
d.MultivariateNormal(l.zeros(2), l.eye(2)).log_prob(l.zeros(3)) | d.NegativeBinomial(-1, 0.5) | d.NegativeBinomial(1, 1.0)
d.NegativeBinomial(1) | d.OneHotCategorical(l.ones(3)).log_prob(l.tensor([1.0, 1.0, 0.0]))
d.OneHotCategorical(l.tensor(1.0)) | d.Pareto(0.0, 1.0) | d.Pareto(1.0, 1.0).log_prob(l.tensor(0.5)) | d.Poisson(-1.0)
d.Poisson(1.0).log_prob(l.tensor(0.5)) | d.Poisson(1.0).entropy() | d.RelaxedBernoulli(l.tensor(1.0))
d.RelaxedBernoulli(l.tensor(1.0), 2.0) | d.Poisson(1.0).rsample()
d.RelaxedOneHotCategorical(l.tensor(1.0), l.ones(3)).log_prob(l.ones(3)) | d.StudentT(-1.0)
d.StudentT(1.0).cdf(l.tensor(1.0)) | d.TransformedDistribution(d.Normal(0.0, 1.0), 3)
d.TransformedDistribution(d.Normal(0.0, 1.0), [d.ExpTransform(), 3])
d.TransformedDistribution(d.Normal(0.0, 1.0), d.StickBreakingTransform()) | d.Weibull(1.0, -1.0)
d.TransformedDistribution(d.Normal(0.0, 1.0), d.AbsTransform()).log_prob(l.tensor(1.0)) | d.VonMises(0.0, -1.0)
d.TransformedDistribution(d.Normal(0.0, 1.0), d.AbsTransform()).icdf(l.tensor(0.5)) | d.VonMises(0.0, 1.0).rsample()
d.Uniform(1.0, 0.0) | d.Uniform(0.0, 1.0).log_prob(l.tensor(2.0)) | d.Uniform(l.zeros(2), l.tensor([1.0, 0.0]))
d.Weibull(-1.0, 1.0) | d.Wishart(3.0) | d.Wishart(1.0, l.eye(3)) | d.Wishart(l.tensor([4.0, 1.0]), l.eye(3))
d.Wishart(4.0, l.ones(3)) | d.Wishart(4.0, l.ones(3, 3)) | d.GeneralizedPareto(0.0, -1.0, 0.1)
d.Distribution(validate_args=False).sample() | d.ExponentialFamily(validate_args=False).entropy()
d.Distribution(validate_args=False).mean | d.Distribution(validate_args=False).mode
d.Distribution(validate_args=False).variance | d.Distribution(validate_args=False).expand((2,))
d.Distribution(validate_args=False).support | d.Distribution.set_default_validate_args(3) | d.Normal(0.0, 1.0).log_prob(1.0)
d.Normal(l.zeros(2), 1.0).log_prob(l.zeros(3)) | d.Normal(l.zeros(2, 3), 1.0).expand((2,))
d.kl_divergence(d.Normal(0.0, 1.0), d.Bernoulli(0.5)) | d.kl_divergence(d.Binomial(2, 0.5), d.Binomial(3, 0.5))
d.kl_divergence(d.Independent(d.Normal(l.zeros(2), 1.0), 1), d.Independent(d.Normal(l.zeros(2), 1.0), 0))
d.kl_divergence(d.MultivariateNormal(l.zeros(2), l.eye(2)), d.MultivariateNormal(l.zeros(3), l.eye(3)))
d.kl_divergence(d.LogNormal(0.0, 1.0), d.HalfCauchy(1.0)) | d.kl_divergence(d.Poisson(1.0), d.Exponential(1.0))
"""
CALLS = [c.strip() for line in REFUSED.strip().split("\n") for c in line.split(" | ")]


@pytest.mark.parametrize("call", CALLS)
def test_refused(call):
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        ours, theirs = (outcome(lambda: eval(call, {"d": lib.distributions, "l": lib})) for lib in BOTH)  # noqa: B023
    assert isinstance(theirs, str) and ours == theirs


def test_default_of_validation():
    for lib in BOTH:
        d = lib.distributions
        with pytest.raises(ValueError):
            d.Normal(0.0, -1.0)
        d.Distribution.set_default_validate_args(False)
        try:
            n = d.Normal(0.0, -1.0)
            assert n.log_prob(lib.tensor(float("nan"))).isnan()
            with pytest.raises(ValueError):
                d.Normal(0.0, -1.0, validate_args=True)
        finally:
            d.Distribution.set_default_validate_args(True)
        assert not d.Normal(lib.zeros(2), -1.0, validate_args=False).expand((3, 2))._validate_args
        assert d.Normal(0.0, 1.0, validate_args=True).expand((3,))._validate_args


def test_warnings():
    found = []
    for lib in BOTH:
        d = lib.distributions

        class Bare(d.Distribution):
            pass
        Bare.__module__ = "here"
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            bare = Bare(lib.Size((2,)))
            bare._validate_sample(lib.zeros(2))
            d.Wishart(2.5, lib.eye(3))
            lib.manual_seed(0)
            y = d.Normal(lib.zeros(2), 1.0).sample_n(3)
        found.append([(w.category, shown(w.message)) for w in caught] + [tuple(y.shape)])
    assert found[0] == found[1] and len(found[0]) == 5


def test_subclasses_expand_themselves():
    answers = []
    for lib in BOTH:
        d = lib.distributions

        class Plain(d.Normal):
            pass

        class Own(d.Normal):
            def __init__(self, loc):
                super().__init__(loc, 1.0)

        class Full(Own):
            def expand(self, batch_shape, _instance=None):
                return super().expand(batch_shape, self._get_checked_instance(Full, _instance))
        answers.append([type(Plain(0.0, 1.0).expand((2,))).__name__, outcome(lambda: Own(0.0).expand((2,))),  # noqa: B023
                        type(Full(0.0).expand((2,))).__name__, Full(0.0).expand((2,)).batch_shape])  # noqa: B023
    same(*answers)


@pytest.mark.parametrize("name", FAMILIES)
def test_pickles(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = Made(ng, name)
        again = pickle.loads(pickle.dumps(made.dist))
        samples = []
        for dist in (made.dist, again):
            ng.manual_seed(2)
            samples.append(dist.sample((3,)))
    assert str(again) == str(made.dist) and ng.equal(*samples)


def test_utils():
    for call in ("u.broadcast_all(1, 2.5)", "u.broadcast_all(l.ones(2, dtype=l.float64), 3)", "u.broadcast_all(l.ones(2), 'a')",
                 "u.broadcast_all(l.ones(2, 1), l.zeros(3))", "u.logits_to_probs(l.arange(4.0))",
                 "u.clamp_probs(l.arange(3.0))",
                 "u.logits_to_probs(l.arange(4.0), is_binary=True)", "u.probs_to_logits(l.tensor([0.0, 0.5, 1.0]))",
                 "u.probs_to_logits(l.tensor([0.0, 0.5, 1.0]), is_binary=True)", "u.tril_matrix_to_vec(l.ones(3, 3).cumsum(0))",
                 "u.tril_matrix_to_vec(l.ones(3, 3).cumsum(0), -1)", "u.tril_matrix_to_vec(l.ones(3, 3).cumsum(0), 1)",
                 "u.vec_to_tril_matrix(l.arange(6.0))", "u.vec_to_tril_matrix(l.arange(6.0), -1)",
                 "u.vec_to_tril_matrix(l.arange(8.0), 1)", "u.vec_to_tril_matrix(l.arange(5.0))"):
        same(*[outcome(lambda: eval(call, {"u": lib.distributions.utils, "l": lib})) for lib in BOTH])  # noqa: B023


def test_lazy_property():
    for lib in BOTH:
        lazy = lib.distributions.utils.lazy_property

        class Thing:
            runs = 0

            @lazy
            def value(self):
                """Documented."""
                self.runs += 1
                return lib.is_grad_enabled()  # noqa: B023
        thing = Thing()
        with lib.no_grad():
            assert thing.value is True and thing.value is True
        assert thing.runs == 1 and isinstance(Thing.value, property) and Thing.value.__doc__ == "Documented."


def test_samples_on_a_line_of_numpy():
    """A reparameterized draw depends on its parameters as the formula says."""
    loc, scale = ng.tensor([1.0, 2.0], requires_grad=True), ng.tensor(3.0, requires_grad=True)
    ng.manual_seed(0)
    y = ng.distributions.Normal(loc, scale).rsample((1000,))
    y.sum().backward()
    np.testing.assert_allclose(loc.grad.numpy(), 1000)
    np.testing.assert_allclose(scale.grad.item(), ((y.detach() - loc.detach()) / 3.0).sum().item(), rtol=1e-4)
