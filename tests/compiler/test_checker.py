"""The checkers are checked: wrong rules are planted and must be found, at first and at second order."""

import numpy as np
import pytest
from registry.check import check_first, check_second, close, movement, numeric_gradient, ulps

import numbagrad as ng
from numbagrad.autograd import gradcheck, gradgradcheck
from numbagrad.extend import REGISTRY, custom, elementwise
from numbagrad.kernel import expr as s

RNG = np.random.default_rng(5)
X = [RNG.uniform(0.3, 1.7, (2, 3))]


@pytest.fixture
def planted():
    """Ops made in a test leave the registry with it."""
    before = set(REGISTRY)
    yield
    for name in set(REGISTRY) - before:
        del REGISTRY[name]


def cube_with(first):
    """``x ** 3`` with a given first-order rule."""
    def planted_cube(input):
        """Third power."""
        return input * input * input
    op = elementwise(planted_cube, private=True)
    op.gradient(first)
    return op


def finds(check, op, arrays=X):
    with pytest.raises(AssertionError, match="derivative"):
        check(lambda t: op(*t), arrays, list(range(len(arrays))))


def passes(check, op, arrays=X):
    check(lambda t: op(*t), arrays, list(range(len(arrays))))


def test_right_rule_passes(planted):
    op = cube_with(lambda g, input: g * (3 * (input * input)))
    passes(check_first, op)
    passes(check_second, op)


@pytest.mark.parametrize("wrong", [
    lambda g, input: g * (3.000001 * (input * input)),
    lambda g, input: -g * (3 * (input * input)),
    lambda g, input: 3 * (input * input),
    lambda g, input: g * (3 * input),
    lambda g, input: s.where(input > 1.6, 0, g * (3 * (input * input))),
], ids=["factor", "sign", "upstream forgotten", "power", "one element"])
def test_wrong_first_order_rule_is_found(planted, wrong):
    arrays = [np.array([[0.4, 0.9, 1.65], [1.2, 0.7, 1.3]])]
    finds(check_first, cube_with(wrong), arrays)


class CubeWrongSecond(ng.autograd.Function):
    """The first derivative is right; what is recorded for the second is not."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x * x

    @staticmethod
    def backward(ctx, g):
        x, = ctx.saved_tensors
        return g * 3 * x * x.detach()


class CubeCut(CubeWrongSecond):
    """The gradient is detached: its derivative is lost."""

    @staticmethod
    def backward(ctx, g):
        x, = ctx.saved_tensors
        return g.detach() * 3 * (x * x).detach()


class CubeForgetsUpstream(CubeWrongSecond):
    """The derivative of the gradient with respect to the upstream gradient is lost."""

    @staticmethod
    def backward(ctx, g):
        x, = ctx.saved_tensors
        return g.detach() * 3 * x * x


@pytest.mark.parametrize("function", [CubeWrongSecond, CubeCut, CubeForgetsUpstream])
def test_wrong_second_order_rule_is_found(function):
    passes(check_first, function.apply)
    finds(check_second, function.apply)


def test_wrong_second_order_kernel_is_found(planted):
    """A custom op whose backward kernel is an op with a wrong rule of its own: only the second order shows it."""
    @custom(private=True)
    def planted_square(input):
        """Square."""
        return input._shape, input._kind

    @planted_square.cpu
    def _(out, input):
        out.array()[...] = input.array() ** 2

    @custom(private=True)
    def planted_square_backward(g_out, input):
        """Gradient of the square."""
        return input._shape, input._kind

    @planted_square_backward.cpu
    def _(out, g_out, input):
        out.array()[...] = 2 * g_out.array() * input.array()

    @planted_square.gradient
    def _(g, input):
        return planted_square_backward(g, input)

    @planted_square_backward.gradient
    def _(g, g_out, input):
        return 2 * g * input, g * g_out          # the second should be 2 * g * g_out
    passes(check_first, planted_square)
    finds(check_second, planted_square)


def test_wrong_broadcast_is_found(planted):
    """A gradient that is not summed over the broadcast dimension has another shape."""
    class NotSummed(ng.autograd.Function):
        @staticmethod
        def forward(ctx, x, b):
            return x + b

        @staticmethod
        def backward(ctx, g):
            return g, g[:1]
    finds(check_first, NotSummed.apply, [RNG.normal(size=(2, 3)), RNG.normal(size=(1, 3))])


def test_gradcheck_of_the_library_finds_them_too(planted):
    """The public checkers agree with the independent one."""
    x = ng.tensor(X[0], requires_grad=True)
    right, wrong = cube_with(lambda g, input: g * (3 * (input * input))), None
    del REGISTRY["planted_cube"]
    wrong = cube_with(lambda g, input: g * (2.9 * (input * input)))
    assert gradcheck(lambda t: right(t), (x,)) and gradgradcheck(lambda t: right(t), (x,))
    assert not gradcheck(lambda t: wrong(t), (x,), raise_exception=False)
    assert not gradgradcheck(CubeWrongSecond.apply, (x,), raise_exception=False)


def test_differences_are_exact_for_polynomials():
    """A fourth-order formula has no truncation error up to degree four: what is left is rounding."""
    a = [np.array([0.3, -1.2, 0.8])]
    got = numeric_gradient(lambda v: float((v[0] ** 4).sum()), a, [0])[0]
    assert np.abs(got - 4 * a[0] ** 3).max() < 1e-11


def test_comparisons_can_fail():
    """``close`` and ``ulps`` refuse what is just outside, NaN in one place only, and another shape."""
    one = np.ones(3)
    close([one], [one], "x")
    ulps(one + 2.2e-16, one, np.float64, 2)
    for bad in (one + 1e-6, np.array([1, 1, np.nan]), np.ones(2)):
        with pytest.raises(AssertionError):
            close([bad], [one], "x")
    for got, expected in ((one + 1e-15, one), (one, np.array([1, 1, np.nan])), (np.array([1, np.inf, 1]), one)):
        with pytest.raises(AssertionError):
            ulps(got, expected, np.float64, 2)
    with pytest.raises(AssertionError):
        ulps(np.array([1, 2]), np.array([1, 3]), np.float64, 100)


def test_an_ulp_is_that_of_the_element():
    """A small element beside a large one has ulps of its own; where terms cancel it has those of the terms."""
    expected = np.array([1.0, 1e-10])
    ulps(expected * (1 + 1e-15), expected, np.float64, 8)
    with pytest.raises(AssertionError, match=r"1e-10\)? is expected, 8 allowed"):
        ulps(expected + 1e-17, expected, np.float64, 8)
    ulps(expected + 1e-17, expected, np.float64, 8, size=lambda: 1.0)
    with pytest.raises(AssertionError):
        ulps(expected + 1e-14, expected, np.float64, 8, size=np.ones(2))
    with pytest.raises(AssertionError):
        ulps(np.array([1.0, np.nan]), expected, np.float64, 8, size=1.0)


def test_movement_is_as_large_as_the_terms():
    terms = np.array([3.0, -2.0, -1.0 + 1e-12])
    far, = movement(lambda v: [v[0].sum()], [terms])
    assert 1.9 < far < 6.1  # (the sum itself is 1e-12)
    far, = movement(lambda v: [v[0] * v[1]], [terms, terms])
    np.testing.assert_allclose(far, 2 * terms**2, rtol=1e-5)
    assert movement(lambda v: [v[0] * 2], [np.arange(3)])[0].tolist() == [0, 0, 0]
