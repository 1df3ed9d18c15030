"""Gradients of some outputs alone, of values at the edge, and random calls of reductions against PyTorch."""

import time
import warnings

import numpy as np
import pytest
from fuzz import gradients as fuzz
from parity import agrees
from registry.draw import cases

import numbagrad as ng

NAN, INF = float("nan"), float("inf")
EQUAL = [[2.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 2.0]]


def gradient(lib, f, values):
    x = lib.tensor(values, dtype=lib.float64, requires_grad=True)
    return lib.autograd.grad(f(lib, x).sum(), x)[0].tolist()


@pytest.mark.parametrize("f", [
    lambda lib, x: lib.linalg.svdvals(x), lambda lib, x: lib.linalg.svd(x)[1], lambda lib, x: lib.linalg.eigvalsh(x),
    lambda lib, x: lib.linalg.eigh(x)[0], lambda lib, x: lib.linalg.eigvals(x).real, lambda lib, x: lib.linalg.eig(x)[0].real,
    lambda lib, x: lib.linalg.matrix_norm(x, "nuc")])
def test_values_alone_have_a_gradient_where_they_repeat(f):
    assert gradient(ng, f, EQUAL) == [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    agrees(lambda lib: gradient(lib, f, EQUAL))


@pytest.mark.filterwarnings("ignore:.*degrees of freedom")
@pytest.mark.parametrize("name", ["std_mean", "var_mean"])
@pytest.mark.parametrize("values", [[1.0, INF], [NAN, 2.0], [3.0, 3.0], [2.0]])
def test_the_mean_alone_is_linear(name, values):
    n = len(values)
    assert gradient(ng, lambda lib, x: getattr(lib, name)(x)[1], values) == [1 / n] * n
    if n > 1:  # the warning's text differs
        agrees(lambda lib: gradient(lib, lambda lib, x: getattr(lib, name)(x)[1], values))


@pytest.mark.parametrize("reduce", ["amax", "amin"])
@pytest.mark.parametrize("include_self", [True, False])
def test_extrema_by_index_with_nan(reduce, include_self):
    def code(lib):
        x = lib.tensor([1.0, NAN, 3.0, 4.0], requires_grad=True)
        y = lib.tensor([NAN, 2.0, 5.0, 4.0], requires_grad=True)
        at = lib.tensor([0, 1, 1, 2])
        out = []
        for name in ("index_reduce", "scatter_reduce"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # index_reduce is in beta in PyTorch
                z = getattr(x, name)(0, at, y, reduce, include_self=include_self)
            out += [z.tolist(), *[g.tolist() for g in lib.autograd.grad(z.sum(), [x, y])]]
        return out
    agrees(code)


@pytest.mark.parametrize("name", ["add", "sub", "rsub"])
@pytest.mark.parametrize("dtype", ["float32", "int64", "bool", "complex64"])
@pytest.mark.parametrize("alpha", [1j, True, 2.5, 2])
def test_alpha(name, dtype, alpha):
    def both(lib, other):
        x = lib.tensor([1, 0]).to(getattr(lib, dtype))
        return getattr(lib, name)(x, other(lib, x), alpha=alpha).tolist()
    agrees(lambda lib: both(lib, lambda lib, x: x))
    agrees(lambda lib: both(lib, lambda lib, x: 1))


def test_alpha_times_integers_is_as_wide_as_the_result():
    x = ng.tensor([1.0], dtype=ng.float64)
    assert ng.add(x, ng.tensor([1]), alpha=0.1).item() == 1 + 0.1
    with pytest.raises(TypeError, match=r"add_\(\): argument 'alpha' must be Number, not str"):
        x.add_(x, alpha="a")


@pytest.mark.parametrize("value", [np.ones(3), np.array(2.5), np.float32(2.5), np.bool_(True), np.complex64(1)])
def test_arrays_are_no_values_of_an_assignment(value):
    x = ng.zeros(3)
    with pytest.raises(TypeError, match=f"can't assign a numpy.{type(value).__name__} to a torch.FloatTensor"):
        x[0:3] = value
    assert x.tolist() == [0.0] * 3
    x[0:3] = np.int64(2)
    assert x.tolist() == [2.0] * 3


def test_targets_and_integers():
    def refused(lib):
        x = lib.ones(2, requires_grad=True)
        return lib.nn.functional.soft_margin_loss(x, x)
    agrees(refused)
    agrees(lambda lib: lib.nansum(lib.tensor([1, 2, 3]), dtype=lib.complex64).tolist())


@pytest.mark.parametrize("name", ["sum", "mean", "prod", "amax", "logsumexp", "std_mean", "vector_norm", "cumsum", "cumprod",
                                  "rms_norm", "logaddexp", "matmul"])
def test_random_calls(name):
    pytest.importorskip("torch", reason="PyTorch is the oracle here")
    op = fuzz.REGISTRY[name]
    done = 0
    for case in cases(op)[:2]:
        for kind in ("plain", "strided", "complex"):
            found = fuzz.differences(op, case, kind, np.random.default_rng(7))
            done += found is not None
            assert not found, f"{case} {kind}: {found}"
    assert done


def test_what_is_older_than_the_inputs_is_not_walked_through():
    """A solver asks at each step for gradients of what it has just made: the thousands of nodes before are none of it."""
    found = []
    for length in (10, 100_000):
        x = ng.ones(2, requires_grad=True)
        for _ in range(length):
            x = x * 1
        times = []
        for _ in range(20):
            y, (a, b) = x + 1, x.unbind()
            start = time.perf_counter()
            grads = (ng.autograd.grad((y * y).sum(), [x, y]), ng.autograd.grad(a * b * b, [a, b]),
                     ng.autograd.grad(y[0] * a, x))
            times.append(time.perf_counter() - start)
            assert [g.tolist() for pair in grads[:2] for g in pair] == [[4.0, 4.0], [4.0, 4.0], 1.0, 2.0]
            assert grads[2][0].tolist() == [3.0, 0.0]
        found.append(min(times))
    assert found[1] < 10 * found[0]  # 500 times as long with the walk


def test_gradients_of_inputs_of_all_ages():
    def gradients(lib):
        leaf = lib.tensor([1.5, -2.0], requires_grad=True)
        old = leaf * 2
        middle = old.exp().cumsum(0)
        a, b = middle.unbind()
        new = middle * old + a
        out = (new * b).sum()
        said = []
        for inputs in ([new], [middle, new], [a, new], [b], [old], [leaf, new], [old, leaf], [new, out], [out]):
            said.append([g.tolist() for g in lib.autograd.grad(out, inputs, retain_graph=True)])
        for root, inputs in ((a, [b, middle]), (middle.sum(), [new, leaf])):
            found = lib.autograd.grad(root, inputs, retain_graph=True, allow_unused=True)
            said.append([g if g is None else g.tolist() for g in found])
        lib.autograd.backward([out, old.sum()], inputs=[leaf])
        return [*said, leaf.grad.tolist()]
    agrees(gradients)
