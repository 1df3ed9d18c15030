"""Transforms, constraints and the two registries against PyTorch's."""

import pickle

import numpy as np
import pytest
from distribution_families import outcome, same, shown

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
BOTH = (ng, torch)

_draws = np.random.RandomState(1)
REAL, POSITIVE, UNIT = _draws.randn(2, 3), np.exp(_draws.randn(2, 3)), _draws.uniform(0.1, 0.9, (2, 3))
SHARES = UNIT / UNIT.sum(-1, keepdims=True)
_square = _draws.randn(2, 3, 3)
DEFINITE = _square @ _square.transpose(0, 2, 1) + np.eye(3)
LOWER = np.linalg.cholesky(DEFINITE)
CORRELATION = LOWER / np.linalg.norm(LOWER, axis=-1, keepdims=True)

# name: (transform, of distributions and a maker of tensors; a value to map)
TRANSFORMS = {
    "exp": (lambda d, t: d.ExpTransform(), REAL),
    "abs": (lambda d, t: d.AbsTransform(), REAL),
    "sigmoid": (lambda d, t: d.SigmoidTransform(), REAL * 3),
    "softplus": (lambda d, t: d.SoftplusTransform(), REAL),
    "tanh": (lambda d, t: d.TanhTransform(), REAL),
    "power": (lambda d, t: d.PowerTransform(t(np.array([0.5, 2.0, -1.5]))), POSITIVE),
    "power_number": (lambda d, t: d.PowerTransform(2), POSITIVE),
    "affine": (lambda d, t: d.AffineTransform(t(REAL[0]), t(POSITIVE)), REAL),
    "affine_numbers": (lambda d, t: d.AffineTransform(1.5, -2), REAL),
    "affine_event": (lambda d, t: d.AffineTransform(t(REAL), t(-POSITIVE), event_dim=1), REAL),
    "affine_event_number": (lambda d, t: d.AffineTransform(0.0, 3.0, event_dim=2), REAL),
    "softmax": (lambda d, t: d.SoftmaxTransform(), REAL),
    "stick": (lambda d, t: d.StickBreakingTransform(), REAL),
    "corr_cholesky": (lambda d, t: d.CorrCholeskyTransform(), _draws.randn(2, 6)),
    "lower_cholesky": (lambda d, t: d.LowerCholeskyTransform(), _square),
    "positive_definite": (lambda d, t: d.PositiveDefiniteTransform(), _square),
    "reshape": (lambda d, t: d.ReshapeTransform((3,), (3, 1)), REAL),
    "independent": (lambda d, t: d.IndependentTransform(d.ExpTransform(), 1), REAL),
    "compose": (lambda d, t: d.ComposeTransform([d.AffineTransform(1.0, 2.0), d.ExpTransform(), d.PowerTransform(0.5)]), REAL),
    "compose_events": (lambda d, t: d.ComposeTransform([d.ExpTransform(), d.StickBreakingTransform()]), REAL),
    "compose_mixed": (lambda d, t: d.ComposeTransform([d.StickBreakingTransform(), d.ExpTransform()]), REAL),
    "identity": (lambda d, t: d.identity_transform, REAL),
    "cat": (lambda d, t: d.CatTransform([d.ExpTransform(), d.AffineTransform(0.0, 2.0)], dim=1, lengths=[1, 2]), REAL),
    "cat_last": (lambda d, t: d.CatTransform([d.ExpTransform(), d.TanhTransform()], dim=-1, lengths=[2, 1]), REAL),
    "cat_events": (lambda d, t: d.CatTransform([d.ExpTransform(), d.AffineTransform(0.0, 2.0, event_dim=1)], dim=0), REAL),
    "stack": (lambda d, t: d.StackTransform([d.ExpTransform(), d.TanhTransform(), d.identity_transform], dim=1), REAL),
    "cdf": (lambda d, t: d.CumulativeDistributionTransform(d.Normal(t(REAL[0]), 2.0)), REAL),
    "inverse": (lambda d, t: d.ExpTransform().inv, POSITIVE),
    "inverse_compose": (lambda d, t: d.ComposeTransform([d.TanhTransform(), d.AffineTransform(1.0, 2.0)]).inv, UNIT + 0.5),
}


def both(ask, **tolerance):
    """Assert that ``ask(library, distributions, tensor)`` gives the same in both libraries."""
    def tensor(lib):
        return lambda a: lib.tensor(a, dtype=lib.float64)
    ours, theirs = (outcome(lambda: ask(lib, lib.distributions, tensor(lib))) for lib in BOTH)  # noqa: B023
    same(ours, theirs, **tolerance)
    return theirs


@pytest.mark.parametrize("name", TRANSFORMS)
def test_values_and_jacobians(name):
    make, value = TRANSFORMS[name]

    def ask(lib, d, t):
        f, x = make(d, t), t(value).requires_grad_()
        y = f(x)
        back = outcome(lambda: f.inv(y))
        jacobian = outcome(lambda: f.log_abs_det_jacobian(x, y))

        def slopes(z):
            first, = lib.autograd.grad((z * z).sum(), x, create_graph=True)
            return [first, outcome(lambda: lib.autograd.grad(first.square().sum(), x))]
        return [y, back, jacobian, slopes(y), outcome(lambda: slopes(f.log_abs_det_jacobian(x, f(x)))),
                outcome(lambda: slopes(f.inv(f(x))))]
    assert isinstance(both(ask, rtol=1e-7, atol=1e-8), list)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_what_is_said_of_a_transform(name):
    make, value = TRANSFORMS[name]

    def ask(lib, d, t):
        f, shape = make(d, t), lib.Size(value.shape)
        told = [outcome(lambda n=n: shown(getattr(f, n))) for n in ("domain", "codomain", "bijective", "event_dim", "inv")]
        told += [outcome(lambda: f.domain.event_dim), outcome(lambda: f.codomain.event_dim), outcome(lambda: f.sign)]
        told += [outcome(lambda: f.forward_shape(shape)), outcome(lambda: f.inverse_shape(f.forward_shape(shape)))]
        told += [outcome(lambda: f.inverse_shape(lib.Size((4, 2)))), outcome(lambda: f.forward_shape(lib.Size(())))]
        told += [f == make(d, t), f != d.SigmoidTransform(), f.inv == f.inv, f.inv.inv is f, shown(f)]
        return told
    assert isinstance(both(ask), list)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_caches(name):
    make, value = TRANSFORMS[name]

    def ask(lib, d, t):
        f = make(d, t)
        cached = f.with_cache()
        x = t(value)
        y = cached(x)
        return [cached.with_cache() is cached, cached.inv(y) is x, cached(x) is y, y, f.with_cache(0) is f,
                pickle.loads(pickle.dumps(d.ExpTransform()))(x)]
    both(ask)


def test_refusals_of_transforms():
    for ask in (
            lambda lib, d, t: d.ExpTransform(cache_size=2),
            lambda lib, d, t: d.ReshapeTransform((3,), (4,)),
            lambda lib, d, t: d.ReshapeTransform((3,), (3, 1)).forward_shape(lib.Size((4,))),
            lambda lib, d, t: d.ReshapeTransform((3,), (3, 1)).inverse_shape(lib.Size((3,))),
            lambda lib, d, t: d.CorrCholeskyTransform().forward_shape((4,)),
            lambda lib, d, t: d.CorrCholeskyTransform().inverse_shape((4, 3)),
            lambda lib, d, t: d.CorrCholeskyTransform()(t(REAL[:, :2])),
            lambda lib, d, t: d.IndependentTransform(d.ExpTransform(), 3)(t(REAL)),
            lambda lib, d, t: d.CatTransform([d.ExpTransform(), 3]),
            lambda lib, d, t: d.CatTransform([d.ExpTransform()], lengths=[1, 2]),
            lambda lib, d, t: d.CatTransform([d.ExpTransform()], dim=4)(t(REAL)),
            lambda lib, d, t: d.CatTransform([d.ExpTransform()])(t(REAL)),
            lambda lib, d, t: d.StackTransform([d.ExpTransform()]).inv(t(REAL)),
            lambda lib, d, t: d.StackTransform([d.ExpTransform()] * 2).log_abs_det_jacobian(t(REAL), t(REAL[:1])),
            lambda lib, d, t: d.Transform()(t(REAL)),
            lambda lib, d, t: d.AffineTransform(t(REAL), 1.0).forward_shape((4,)),
            lambda lib, d, t: type("Own", (d.Transform,), {"__init__": lambda s, n: d.Transform.__init__(s)})(1).with_cache(),
            lambda lib, d, t: d.transforms.vec_to_tril_matrix(t(REAL)[0, :2]),
            lambda lib, d, t: d.transforms.tril_matrix_to_vec(t(_square), 5)):
        assert isinstance(both(ask), str)


# --- constraints ---

CONSTRAINTS = {
    "boolean": lambda c, t: c.boolean, "one_hot": lambda c, t: c.one_hot, "real": lambda c, t: c.real,
    "nonnegative_integer": lambda c, t: c.nonnegative_integer, "positive_integer": lambda c, t: c.positive_integer,
    "integer_interval": lambda c, t: c.integer_interval(0, 2), "real_vector": lambda c, t: c.real_vector,
    "positive": lambda c, t: c.positive, "nonnegative": lambda c, t: c.nonnegative,
    "greater_than": lambda c, t: c.greater_than(0.3), "greater_than_eq": lambda c, t: c.greater_than_eq(t(REAL[0])),
    "less_than": lambda c, t: c.less_than(1), "multinomial": lambda c, t: c.multinomial(3),
    "unit_interval": lambda c, t: c.unit_interval, "interval": lambda c, t: c.interval(-1.0, t(REAL[0])),
    "half_open_interval": lambda c, t: c.half_open_interval(0.0, 1.0), "simplex": lambda c, t: c.simplex,
    "lower_triangular": lambda c, t: c.lower_triangular, "lower_cholesky": lambda c, t: c.lower_cholesky,
    "corr_cholesky": lambda c, t: c.corr_cholesky, "square": lambda c, t: c.square, "symmetric": lambda c, t: c.symmetric,
    "positive_semidefinite": lambda c, t: c.positive_semidefinite, "positive_definite": lambda c, t: c.positive_definite,
    "independent": lambda c, t: c.independent(c.positive, 1), "independent_0": lambda c, t: c.independent(c.positive, 0),
    "cat": lambda c, t: c.cat([c.positive, c.unit_interval], 0), "stack": lambda c, t: c.stack([c.positive, c.real], 0),
    "cat_last": lambda c, t: c.cat([c.positive, c.boolean], -1, [1, 2]), "dependent": lambda c, t: c.dependent,
    "stack_simplex": lambda c, t: c.stack([c.simplex, c.real_vector], -2),
    "mixture": lambda c, t: c.MixtureSameFamilyConstraint(c.positive),
    "dependent_known": lambda c, t: c.dependent(is_discrete=True, event_dim=2),
}
VALUES = (REAL, POSITIVE, SHARES, np.eye(3)[:2], np.array([[0.0, 1.0, 2.0], [1.0, 1.0, 3.0]]), DEFINITE, LOWER, CORRELATION,
          np.full((3,), np.nan), REAL[0], np.array(1.0), -DEFINITE[0], np.stack([DEFINITE[0], -DEFINITE[1]]),
          np.ones((2, 3, 3)))


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_constraints(name):
    def ask(lib, d, t):
        c = CONSTRAINTS[name](d.constraints, t)
        told = [shown(c), outcome(lambda: c.is_discrete), outcome(lambda: c.event_dim), d.constraints.is_dependent(c)]
        return told + [outcome(lambda: c.check(t(v))) for v in VALUES]  # noqa: B023
    assert isinstance(both(ask), list)


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_registries(name):
    """``biject_to`` and ``transform_to`` give the same transforms, and these lead into the constraint."""
    def ask(lib, d, t):
        c, told = CONSTRAINTS[name](d.constraints, t), []
        for registry in (d.biject_to, d.transform_to):
            f = outcome(lambda: shown(registry(c)))  # noqa: B023
            told.append(f)
            if not isinstance(f, str) or "Error" not in f:
                for x in (REAL, _square):
                    told.append(outcome(lambda: registry(c)(t(x))))  # noqa: B023
                    told.append(outcome(lambda: c.check(registry(c)(t(x))).all()))  # noqa: B023
        return told
    assert isinstance(both(ask, rtol=1e-7), list)


def test_registering():
    for lib in BOTH:
        d = lib.distributions

        class Odd(d.constraints.Constraint):
            pass
        with pytest.raises(NotImplementedError, match="Cannot transform Odd constraints"):
            d.biject_to(Odd())
        registry = d.constraint_registry.ConstraintRegistry()

        @registry.register(Odd)
        def made(constraint):
            return "of the class"
        assert registry(Odd()) == "of the class"
        registry.register(Odd(), lambda c: "of the object")
        assert registry(Odd()) == "of the object" and made(None) == "of the class"
    both(lambda lib, d, t: d.biject_to.register(3, lambda c: c))
    both(lambda lib, d, t: d.constraints.independent(3, 1))
    both(lambda lib, d, t: d.constraints.independent(d.constraints.real, -1))
    both(lambda lib, d, t: d.constraints.independent(d.constraints.real, 1.0))
    both(lambda lib, d, t: d.constraints.cat([3]))
    both(lambda lib, d, t: d.constraints.cat([d.constraints.real], lengths=[1, 2]))


def test_names():
    for place in ("", ".constraints", ".transforms", ".utils", ".kl", ".constraint_registry"):
        ours, theirs = (__import__(f"{lib.__name__}.distributions{place}", fromlist=["_"]) for lib in BOTH)
        assert sorted(ours.__all__) == sorted(theirs.__all__)
        assert all(hasattr(ours, n) for n in theirs.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'Nrmal'"):
        ng.distributions.Nrmal  # noqa: B018
