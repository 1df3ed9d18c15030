"""gradcheck and gradgradcheck: they accept right gradients and find wrong ones."""

import numpy as np
import pytest
from parity import agrees

import numbagrad as ng
from numbagrad.autograd import Function, gradcheck, gradgradcheck
from numbagrad.autograd.gradcheck import GradcheckError


def rand(*shape, complex_=False):
    rng = np.random.default_rng(1)
    a = rng.uniform(0.5, 1.5, shape)
    if complex_:
        a = a + 1j * rng.uniform(0.5, 1.5, shape)
    return ng.tensor(a, requires_grad=True)


def planted(first=1.0, second=1.0):
    """x^3 with its first or second derivative scaled."""
    class Wrong(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx, g):
            x, = ctx.saved_tensors
            # The value is first * 3 x^2; its own derivative gets the factor second.
            return g * first * (3 * x**2 * second + 3 * x.detach()**2 * (1 - second))
    return Wrong.apply


@pytest.mark.parametrize("code, inputs", [
    (lambda x: x.sin(), (rand(2, 3),)),
    (lambda x, y: x @ y, (rand(2, 3), rand(3, 2))),
    (lambda x, y: (x * y, x / y), (rand(2, 3), rand(3))),
    (lambda x: x.sum(), (rand(2, 3),)),
    (lambda x: x.t() * 2, (rand(2, 3),)),
    (lambda x, n: x * n, (rand(2), 3)),
    (lambda x, y: x * y, (rand(2), ng.ones(2, dtype=ng.float64))),
    (lambda x: x * x, (rand(),)),
    (lambda x: x.exp(), (rand(0, 3),)),
    (lambda x: (x > 0, x * 2), (rand(2),)),
])
def test_right_gradients(code, inputs):
    assert gradcheck(code, inputs) is True and gradgradcheck(code, inputs) is True


@pytest.mark.parametrize("code", [lambda z: z * z, lambda z: z.exp(), lambda z: z.real * 2, lambda z: z.conj() * z,
                                  lambda z: (z * z.conj()).real.sum(), lambda z: z.sin() / z])
def test_complex(code):
    assert gradcheck(code, (rand(2, complex_=True),)) and gradgradcheck(code, (rand(2, complex_=True),))


def test_wrong_complex_gradient():
    class Wrong(Function):
        @staticmethod
        def forward(ctx, z):
            ctx.save_for_backward(z)
            return z * z

        @staticmethod
        def backward(ctx, g):
            z, = ctx.saved_tensors
            return g * 2 * z  # without the conjugate
    with pytest.raises(GradcheckError, match="While considering the real part of complex outputs only, Jacobian "
                                             "mismatch"):
        gradcheck(Wrong.apply, (rand(2, complex_=True),))


def test_planted_first_order():
    text = "Jacobian mismatch for output 0 with respect to input 0,\nnumerical:tensor"
    for first in (1.01, -1.0, 0.0):
        with pytest.raises(GradcheckError, match=text):
            gradcheck(planted(first), (rand(3),))
        assert gradcheck(planted(first), (rand(3),), raise_exception=False) is False
    assert gradcheck(planted(), (rand(3),))
    with pytest.raises(GradcheckError):
        gradcheck(planted(1.01), (rand(3),), fast_mode=True)


def test_planted_second_order():
    assert gradcheck(planted(second=1.1), (rand(3),)) and gradgradcheck(planted(), (rand(3),))
    for second in (1.01, 0.0, -1.0):
        with pytest.raises(GradcheckError, match="Jacobian mismatch"):
            gradgradcheck(planted(second=second), (rand(3),))
        assert gradgradcheck(planted(second=second), (rand(3),), raise_exception=False) is False


def test_given_grad_outputs():
    assert gradgradcheck(lambda x: x.exp(), (rand(2),), (rand(2),))
    assert gradgradcheck(lambda x: x.exp(), (rand(2, 2),), gen_non_contig_grad_outputs=True)


def test_mismatch_text():
    def code(T):
        class Bad(T.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                return x * 2

            @staticmethod
            def backward(ctx, g):
                return g * 3
        return T.autograd.gradcheck(Bad.apply, (T.ones(2, dtype=T.double, requires_grad=True),))
    agrees(code, "GradcheckError: Jacobian mismatch for output 0 with respect to input 0,\n"
                 "numerical:tensor([[2.0000, 0.0000],\n        [0.0000, 2.0000]], dtype=torch.float64)\n"
                 "analytical:tensor([[3., 0.],\n        [0., 3.]], dtype=torch.float64)\n")


def test_float32_warns():
    x = ng.ones(2, requires_grad=True)
    with pytest.warns(UserWarning, match="Input #0 requires gradient and is not a double precision floating point or "
                                         "complex"):
        gradcheck(lambda x: x * 2, (x,), eps=1e-2, atol=1e-3)


def test_inputs():
    agrees(lambda T: T.autograd.gradcheck(T.sin, (T.ones(2, dtype=T.double),)),
           "ValueError: gradcheck expects at least one input tensor to require gradient, but none of them have "
           "requires_grad=True.")
    agrees(lambda T: T.autograd.gradcheck(T.sin, (T.ones(1, dtype=T.double).expand(3).requires_grad_(),)))


def test_outputs_without_history():
    assert gradcheck(lambda x: ng.ones(2), (rand(2),))
    with pytest.raises(GradcheckError, match="Numerical gradient for function expected to be zero"):
        gradcheck(lambda x: x.detach(), (rand(2),))


def test_random_backward():
    class Noisy(Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g * 2 + ng.rand(2, dtype=ng.double) * 1e-6
    with pytest.raises(GradcheckError, match="Backward is not reentrant"):
        gradcheck(Noisy.apply, (rand(2),))
    with pytest.raises(GradcheckError, match="backward not multiplied by grad_output"):
        gradcheck(Noisy.apply, (rand(2),), nondet_tol=1e-5)


def test_inputs_come_back_unchanged():
    x = rand(2, 3)
    before, version = x.detach().clone(), x._version
    gradcheck(lambda x: x.exp(), (x,))
    assert bool((x == before).all()) and x._version == version and x.grad is None


def test_module_name_is_callable():
    import importlib
    module = importlib.import_module("numbagrad.autograd.gradcheck")
    assert module.gradcheck is gradcheck and ng.autograd.gradcheck(ng.sin, (rand(2),))


# --- forward mode and batches -----------------------------------------------------------------------------------------

EVERYTHING = dict(check_forward_ad=True, check_batched_grad=True, check_batched_forward_grad=True)


def test_forward_mode_and_batches():
    assert gradcheck(lambda x, y: (x.sin() @ y, (x * 2).cumsum(0)), (rand(3, 2), rand(2, 4)), **EVERYTHING)
    assert gradcheck(lambda x: x * x.exp(), (rand(3).to(ng.complex128).detach().requires_grad_(),), check_forward_ad=True)
    assert gradgradcheck(lambda x, y: x.sin() @ y, (rand(3, 2), rand(2, 4)), check_fwd_over_rev=True, check_batched_grad=True)
    assert gradcheck(lambda x: x.exp(), (rand(3),), check_forward_ad=True, check_backward_ad=False)


def test_a_wrong_slope_is_found():
    class Wrong(ng.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g * 2

        @staticmethod
        def jvp(ctx, t):
            return t * 3
    assert gradcheck(Wrong.apply, (rand(2),))
    with pytest.raises(RuntimeError, match="Jacobian computed with forward mode mismatch for output 0 with respect to input 0"):
        gradcheck(Wrong.apply, (rand(2),), check_forward_ad=True)


@pytest.mark.parametrize("options", [dict(check_backward_ad=False), dict(check_batched_forward_grad=True), dict(
    check_forward_ad=True, check_backward_ad=False, check_batched_grad=True)], ids=str)
def test_options_that_do_not_go_together(options, torch):
    agrees(lambda T: T.autograd.gradcheck(T.sin, (T.ones(2, dtype=T.double, requires_grad=True),), **options))
