"""Distributions of every family, made alike by both libraries, and what is asked of them."""

import math
import re

import numpy as np

_draws = np.random.RandomState(0)
_matrix = _draws.randn(2, 3, 3)
COVARIANCE = _matrix @ _matrix.transpose(0, 2, 1) + 2 * np.eye(3)
TRIL = np.linalg.cholesky(COVARIANCE)
LOC, POSITIVE, OTHER = _draws.randn(2, 3), np.exp(0.5 * _draws.randn(2, 3)), np.exp(0.5 * _draws.randn(3))
UNIT = _draws.uniform(0.1, 0.9, (2, 3))
SHARES = UNIT / UNIT.sum(1, keepdims=True)
COUNTS = np.array([[3.0, 12.0, 40.0], [5.0, 1.0, 0.0]])

# name: (class, arguments: arrays become float64 tensors that require gradients, names of their own stay as they are)
FAMILIES = {
    "Bernoulli": ("Bernoulli", (UNIT,), {}),
    "Bernoulli_logits": ("Bernoulli", (), {"logits": LOC}),
    "Bernoulli_number": ("Bernoulli", (0.3,), {}),
    "Bernoulli_ends": ("Bernoulli", (np.array([0.0, 0.5, 1.0]),), {}),
    "Beta": ("Beta", (POSITIVE, OTHER), {}),
    "Beta_numbers": ("Beta", (2.0, 5.0), {}),
    "Beta_large": ("Beta", (POSITIVE * 10, OTHER * 20), {}),
    "Binomial": ("Binomial", (4, UNIT), {}),
    "Binomial_counts": ("Binomial", (COUNTS, UNIT), {}),
    "Binomial_logits": ("Binomial", (30,), {"logits": LOC}),
    "Categorical": ("Categorical", (UNIT,), {}),
    "Categorical_logits": ("Categorical", (), {"logits": LOC}),
    "Categorical_row": ("Categorical", (UNIT[0],), {}),
    "Categorical_zero": ("Categorical", (np.array([0.5, 0.0, 0.5]),), {}),
    "Cauchy": ("Cauchy", (LOC, POSITIVE), {}),
    "Cauchy_numbers": ("Cauchy", (0.5, 2.0), {}),
    "Chi2": ("Chi2", (POSITIVE * 3,), {}),
    "Chi2_number": ("Chi2", (3.0,), {}),
    "ContinuousBernoulli": ("ContinuousBernoulli", (UNIT,), {}),
    "ContinuousBernoulli_half": ("ContinuousBernoulli", (np.array([0.4995, 0.5, 0.5005, 0.2]),), {}),
    "ContinuousBernoulli_logits": ("ContinuousBernoulli", (), {"logits": LOC}),
    "Dirichlet": ("Dirichlet", (POSITIVE,), {}),
    "Dirichlet_small": ("Dirichlet", (np.array([0.3, 0.5, 0.2]),), {}),
    "Exponential": ("Exponential", (POSITIVE,), {}),
    "Exponential_number": ("Exponential", (2.0,), {}),
    "FisherSnedecor": ("FisherSnedecor", (POSITIVE * 4, OTHER * 8), {}),
    "Gamma": ("Gamma", (POSITIVE, OTHER), {}),
    "Gamma_numbers": ("Gamma", (0.4, 2.0), {}),
    "Gamma_large": ("Gamma", (POSITIVE * 30, OTHER), {}),
    "GeneralizedPareto": ("GeneralizedPareto", (LOC, POSITIVE, OTHER * 0.2), {}),
    "Geometric": ("Geometric", (UNIT,), {}),
    "Geometric_logits": ("Geometric", (), {"logits": LOC}),
    "Geometric_number": ("Geometric", (0.3,), {}),
    "Gumbel": ("Gumbel", (LOC, POSITIVE), {}),
    "Gumbel_numbers": ("Gumbel", (0.5, 2.0), {}),
    "HalfCauchy": ("HalfCauchy", (POSITIVE,), {}),
    "HalfNormal": ("HalfNormal", (POSITIVE,), {}),
    "HalfNormal_number": ("HalfNormal", (2.0,), {}),
    "InverseGamma": ("InverseGamma", (POSITIVE * 2, OTHER), {}),
    "Kumaraswamy": ("Kumaraswamy", (POSITIVE, OTHER), {}),
    "LKJCholesky": ("LKJCholesky", (3, POSITIVE[0]), {}),
    "LKJCholesky_number": ("LKJCholesky", (4,), {}),
    "Laplace": ("Laplace", (LOC, POSITIVE), {}),
    "Laplace_numbers": ("Laplace", (0.0, 1.0), {}),
    "LogNormal": ("LogNormal", (LOC, POSITIVE), {}),
    "LogisticNormal": ("LogisticNormal", (LOC, POSITIVE), {}),
    "LogisticNormal_number": ("LogisticNormal", (0.5, 1.5), {}),
    "LowRank": ("LowRankMultivariateNormal", (LOC, _draws.randn(3, 2), OTHER), {}),
    "LowRank_batch": ("LowRankMultivariateNormal", (LOC, _draws.randn(2, 3, 1), POSITIVE), {}),
    "Multinomial": ("Multinomial", (5, UNIT), {}),
    "Multinomial_logits": ("Multinomial", (4,), {"logits": LOC}),
    "MultivariateNormal": ("MultivariateNormal", (LOC, COVARIANCE), {}),
    "MultivariateNormal_one": ("MultivariateNormal", (LOC, COVARIANCE[0]), {}),
    "MultivariateNormal_precision": ("MultivariateNormal", (LOC[0],), {"precision_matrix": COVARIANCE}),
    "MultivariateNormal_tril": ("MultivariateNormal", (LOC,), {"scale_tril": TRIL}),
    "NegativeBinomial": ("NegativeBinomial", (POSITIVE * 4, UNIT), {}),
    "NegativeBinomial_logits": ("NegativeBinomial", (3,), {"logits": LOC}),
    "Normal": ("Normal", (LOC, POSITIVE), {}),
    "Normal_numbers": ("Normal", (0.5, 2.0), {}),
    "Normal_broadcast": ("Normal", (LOC, OTHER), {}),
    "OneHotCategorical": ("OneHotCategorical", (UNIT,), {}),
    "OneHotCategorical_logits": ("OneHotCategorical", (), {"logits": LOC}),
    "StraightThrough": ("OneHotCategoricalStraightThrough", (UNIT,), {}),
    "Pareto": ("Pareto", (POSITIVE, OTHER * 3), {}),
    "Poisson": ("Poisson", (POSITIVE * 6,), {}),
    "Poisson_number": ("Poisson", (20.0,), {}),
    "RelaxedBernoulli": ("RelaxedBernoulli", (np.array(0.7), UNIT), {}),
    "RelaxedBernoulli_logits": ("RelaxedBernoulli", (np.array([0.7]),), {"logits": LOC}),
    "RelaxedOneHotCategorical": ("RelaxedOneHotCategorical", (np.array(0.7), UNIT), {}),
    "StudentT": ("StudentT", (POSITIVE * 3, LOC, OTHER), {}),
    "StudentT_number": ("StudentT", (3.0,), {}),
    "Uniform": ("Uniform", (LOC, LOC + POSITIVE), {}),
    "Uniform_numbers": ("Uniform", (-1.0, 2.0), {}),
    "VonMises": ("VonMises", (LOC, POSITIVE * 2), {}),
    "Weibull": ("Weibull", (POSITIVE, OTHER), {}),
    "Weibull_numbers": ("Weibull", (1.0, 2.0), {}),
    "Wishart": ("Wishart", (np.array([5.0, 7.0]), COVARIANCE), {}),
    "Wishart_number": ("Wishart", (4, COVARIANCE[0]), {}),
    "Wishart_precision": ("Wishart", (np.array(6.0),), {"precision_matrix": COVARIANCE[0]}),
    "Independent": (lambda d, t: d.Independent(d.Normal(t(LOC), t(POSITIVE)), 1), (), {}),
    "Independent_0": (lambda d, t: d.Independent(d.Bernoulli(t(UNIT)), 0), (), {}),
    "Mixture": (lambda d, t: d.MixtureSameFamily(d.Categorical(t(UNIT[0])), d.Normal(t(LOC[0]), t(OTHER))), (), {}),
    "Mixture_batch": (lambda d, t: d.MixtureSameFamily(d.Categorical(logits=t(LOC)), d.Gamma(t(POSITIVE), t(OTHER))), (), {}),
    "Mixture_vectors": (lambda d, t: d.MixtureSameFamily(
        d.Categorical(t(UNIT[:, 0])), d.MultivariateNormal(t(LOC), scale_tril=t(TRIL))), (), {}),
    "Mixture_independent": (lambda d, t: d.MixtureSameFamily(
        d.Categorical(t(UNIT[:, 0])), d.Independent(d.Normal(t(LOC), t(POSITIVE)), 1)), (), {}),
    "Transformed": (lambda d, t: d.TransformedDistribution(
        d.Normal(t(LOC), t(POSITIVE)), [d.AffineTransform(t(OTHER), -2.0), d.SigmoidTransform()]), (), {}),
    "Transformed_vectors": (lambda d, t: d.TransformedDistribution(
        d.Normal(t(LOC), t(POSITIVE)), d.StickBreakingTransform()), (), {}),
    "Transformed_grown": (lambda d, t: d.TransformedDistribution(
        d.Laplace(t(OTHER), 1.0), [d.ExpTransform(), d.AffineTransform(t(LOC), 2.0), d.TanhTransform()]), (), {}),
    "Transformed_none": (lambda d, t: d.TransformedDistribution(d.Normal(t(LOC), 1.0), []), (), {}),
}


SINGLE = {"GeneralizedPareto"}  # PyTorch compares the concentration with a float32 zero and refuses others


class Made:
    """A family's distribution in one library, and the tensors that it was made of."""

    def __init__(self, lib, name, dtype="float64"):
        self.lib, self.leaves, self.dtype = lib, [], "float32" if name in SINGLE else dtype
        cls, args, kwargs = FAMILIES[name]
        if isinstance(cls, str):
            cls = getattr(lib.distributions, cls)
            self.dist = cls(*[self.tensor(a) for a in args], **{k: self.tensor(v) for k, v in kwargs.items()})
        else:
            self.dist = cls(lib.distributions, self.tensor)

    def tensor(self, value):
        """A leaf for an array, anything else as it is."""
        if not isinstance(value, np.ndarray):
            return value
        self.leaves.append(self.lib.tensor(value, dtype=getattr(self.lib, self.dtype), requires_grad=True))
        return self.leaves[-1]

    def gradients(self, y, *more):
        """First and second derivatives of a sum of squares of ``y`` by the leaves and by ``more``, or errors."""
        leaves = [*self.leaves, *more]
        if not y.requires_grad:
            return "no gradient"
        grad = self.lib.autograd.grad
        weight = self.lib.linspace(0.5, 1.5, y.numel(), dtype=y.dtype).reshape(y.shape)
        first = grad((y * weight).sum(), leaves, create_graph=True, allow_unused=True)
        found = [None if g is None else g.detach() for g in first]

        def second():
            parts = [g for g in first if g is not None and g.requires_grad]
            if not parts:
                return "no second gradient"
            return list(grad(sum((g * g).sum() for g in parts), leaves, allow_unused=True))
        return [found, outcome(second)]


IN_OP = re.compile(r" \(in \w+ of shapes [^()]*\)$")  # what we say beside PyTorch's words


def outcome(fn):
    """What a call gives, as plain data: nested lists with arrays, or the class and the text of an error."""
    try:
        return plain(fn())
    except Exception as e:
        return f"{type(e).__name__}: {IN_OP.sub('', shown(e))}"


def plain(value):
    """Tensors as arrays, PyTorch's zeros without memory among them."""
    if isinstance(value, (tuple, list)) and not hasattr(value, "numel"):
        return [plain(v) for v in value]
    if hasattr(value, "detach"):
        return value.detach().numpy() if value.numel() and value.data_ptr() else np.zeros(value.shape, str(value.dtype)[6:])
    if isinstance(value, tuple):
        return tuple(value)
    return value


def same(ours, theirs, rtol=1e-9, atol=1e-11, where=""):
    """Assert that two outcomes agree."""
    if isinstance(theirs, list):
        assert isinstance(ours, list) and len(ours) == len(theirs), (where, ours, theirs)
        for i, (a, b) in enumerate(zip(ours, theirs)):
            same(a, b, rtol, atol, f"{where}[{i}]")
    elif isinstance(theirs, np.ndarray):
        assert isinstance(ours, np.ndarray), (where, ours, theirs)
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape), where
        if theirs.dtype == np.float32:
            rtol, atol = max(rtol, 1e-4), max(atol, 1e-4)
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=atol, err_msg=where)
    else:
        assert ours == theirs or isinstance(theirs, float) and math.isnan(theirs) and math.isnan(ours), (where, ours, theirs)


def shown(text):
    """A text that does not say which library it is of."""
    return re.sub(r"(numbagrad|torch)(\.\w+)*\.", "", str(text))


