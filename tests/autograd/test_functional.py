"""autograd.functional: values and texts as PyTorch's, and recorded results."""

import numpy as np
import pytest
from parity import agrees

import numbagrad as ng
from numbagrad.autograd.functional import hessian, hvp, jacobian, jvp, vhp, vjp


def F(T):
    return T.autograd.functional


def vec(T, *values):
    return T.tensor(list(values), dtype=T.double)


def cubic(x):
    return (x**3).sum()


def two(x, y):
    return x * y.sum(), (x * x).sum() * y


def scalar_of_two(x, y):
    return (x**2 * y).sum() + (x * y**3).sum()


CASES = [
    lambda T: F(T).jacobian(lambda x: x.exp() * x.sum(), vec(T, 1., 2.)),
    lambda T: F(T).jacobian(lambda x: x.sum(), T.ones(2, 2)),
    lambda T: F(T).jacobian(two, (vec(T, 1., 2.), vec(T, 3., 4.))),
    lambda T: F(T).jacobian(lambda x: (x,), T.ones(2)),
    lambda T: F(T).jacobian(lambda x, z: (x * 2, z.sum()), (T.ones(3), T.ones(2))),
    lambda T: F(T).jacobian(lambda x: T.ones(2), T.ones(3)),
    lambda T: F(T).jacobian(lambda x: x.exp(), vec(T, 1., 2.), vectorize=True),
    lambda T: F(T).hessian(cubic, vec(T, 1., 2.)),
    lambda T: F(T).hessian(scalar_of_two, (vec(T, 1., 2.), vec(T, 3., 4.))),
    lambda T: F(T).hessian(lambda x: (x * 3).sum(), T.ones(2)),
    lambda T: F(T).vjp(lambda x: x.exp(), vec(T, 1., 2.), vec(T, 1., 10.)),
    lambda T: F(T).vjp(two, (vec(T, 1., 2.), vec(T, 3., 4.)), (vec(T, 1., 2.), vec(T, 5., 6.))),
    lambda T: F(T).vjp(cubic, vec(T, 1., 2.)),
    lambda T: F(T).jvp(lambda x: x.exp(), vec(T, 1., 2.), vec(T, 1., 10.)),
    lambda T: F(T).jvp(two, (vec(T, 1., 2.), vec(T, 3., 4.)), (vec(T, 1., 2.), vec(T, 5., 6.))),
    lambda T: F(T).jvp(lambda x: x * T.ones(3), vec(T, 2.)),
    lambda T: F(T).jvp(lambda x: T.ones(2), T.ones(2), T.ones(2)),
    lambda T: F(T).vhp(cubic, vec(T, 1., 2.), vec(T, 1., 10.)),
    lambda T: F(T).hvp(cubic, vec(T, 1., 2.), vec(T, 1., 10.)),
    lambda T: F(T).vhp(scalar_of_two, (vec(T, 1., 2.), vec(T, 3., 4.)), (vec(T, 1., 2.), vec(T, 5., 6.))),
    lambda T: F(T).hvp(scalar_of_two, (vec(T, 1., 2.), vec(T, 3., 4.)), (vec(T, 1., 2.), vec(T, 5., 6.))),
    lambda T: F(T).vhp(lambda x: (x * 3).sum(), T.ones(2), T.ones(2)),
]


@pytest.mark.parametrize("code", CASES)
def test_values(code):
    assert "Error" not in agrees(code)


def test_recorded():
    """The same with create_graph, differentiated once more."""
    def run(T):
        x = T.tensor([1., 2.], dtype=T.double, requires_grad=True)

        def flat(out):
            return out.sum() if T.is_tensor(out) else sum(flat(o) for o in out)
        f = F(T)
        out = [f.jacobian(lambda x: x.exp() * x.sum(), x, create_graph=True), f.hessian(cubic, x, create_graph=True),
               f.vjp(lambda x: x.exp(), x, T.ones(2, dtype=T.double), create_graph=True),
               f.jvp(lambda x: x.exp(), x, T.ones(2, dtype=T.double), create_graph=True),
               f.vhp(cubic, x, T.ones(2, dtype=T.double), create_graph=True),
               f.hvp(cubic, x, T.ones(2, dtype=T.double), create_graph=True)]
        return [T.autograd.grad(flat(o), x)[0] for o in out]
    agrees(run)


def test_results_are_detached_without_create_graph():
    x = ng.ones(2, requires_grad=True)
    for out in (jacobian(lambda x: x * x, x), hessian(cubic, x), *vjp(cubic, x), *jvp(lambda x: x * x, x, ng.ones(2)),
                *vhp(cubic, x, ng.ones(2)), *hvp(cubic, x, ng.ones(2))):
        assert not out.requires_grad
    assert x.grad is None


def test_no_outputs():
    assert jacobian(lambda x: x[:0], ng.ones(3)).shape == (0, 3)


def test_inside_no_grad():
    with ng.no_grad():
        assert jacobian(lambda x: x * x, ng.ones(2)).tolist() == [[2., 0.], [0., 2.]]
        assert hvp(cubic, ng.ones(2), ng.ones(2))[1].tolist() == [6., 6.]


ERRORS = [
    lambda T: F(T).jacobian(lambda x: T.ones(2), T.ones(3), strict=True),
    lambda T: F(T).jacobian(lambda x, y: x * 2, (T.ones(3), T.ones(3)), strict=True),
    lambda T: F(T).jacobian(lambda x: x * 2, T.ones(3), strict=True, create_graph=True),
    lambda T: F(T).jacobian(lambda x: 3, T.ones(3)),
    lambda T: F(T).jacobian(lambda x: (x, 3), T.ones(3)),
    lambda T: F(T).jacobian(lambda x: x, [3]),
    lambda T: F(T).jacobian(lambda x: x, T.ones(2), strategy="sideways"),
    lambda T: F(T).hessian(lambda x: x * 2, T.ones(2)),
    lambda T: F(T).hessian(lambda x: (x.sum(), x.sum()), T.ones(2)),
    lambda T: F(T).hessian(lambda x: (x * 3).sum(), T.ones(2), strict=True),
    lambda T: F(T).vjp(lambda x: x * 2, T.ones(2)),
    lambda T: F(T).vjp(lambda x: x * 2, T.ones(2), T.ones(3)),
    lambda T: F(T).vjp(lambda x: x * 2, T.ones(2), (T.ones(2), T.ones(2))),
    lambda T: F(T).vjp(two, (T.ones(2), T.ones(2)), (T.ones(2), T.ones(3))),
    lambda T: F(T).vjp(lambda x: T.ones(2), T.ones(2), T.ones(2), strict=True),
    lambda T: F(T).jvp(lambda x: x * 2, T.ones(2)),
    lambda T: F(T).jvp(lambda x: T.ones(2), T.ones(2), T.ones(2), strict=True),
    lambda T: F(T).hvp(lambda x: x**3, T.ones(2), T.ones(2)),
    lambda T: F(T).hvp(lambda x: (x * 3).sum(), T.ones(2), T.ones(2), strict=True),
    lambda T: F(T).vhp(lambda x: (x * 3).sum(), T.ones(2), T.ones(2), strict=True),
]


@pytest.mark.parametrize("code", ERRORS)
def test_error_texts(code):
    assert "Error: " in agrees(code)


def test_forward_mode():
    assert jacobian(cubic, ng.ones(2), strategy="forward-mode", vectorize=True).tolist() == [3, 3]


def test_hessian_of_a_network():
    ng.manual_seed(0)
    net = ng.nn.Sequential(ng.nn.Linear(3, 4), ng.nn.Tanh(), ng.nn.Linear(4, 1)).double()
    x = ng.randn(3, dtype=ng.double)
    h = hessian(lambda x: net(x).sum(), x).detach().numpy()
    np.testing.assert_allclose(h, h.T, rtol=1e-12)
    eps = 1e-5
    for i in range(3):
        e = ng.zeros(3, dtype=ng.double)
        e[i] = eps
        up, down = (jacobian(lambda x: net(x).sum(), x + s * e).numpy() for s in (1, -1))
        np.testing.assert_allclose(h[i], (up - down) / (2 * eps), atol=1e-9)
