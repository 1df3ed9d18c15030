"""Calls that once never returned, or ended in NumPy's memory error: an answer or PyTorch's error, at once."""

import numpy as np
import pytest

import numbagrad as ng

INF, NAN = float("inf"), float("nan")


def matrices(bad):
    """A matrix with one bad element, alone and second of a batch."""
    a = np.random.default_rng(0).standard_normal((3, 3))
    a[2, 0] = bad
    return a, np.stack([np.eye(3), a])


@pytest.mark.parametrize("name", ["svdvals", "pinv", "cond", "matrix_rank"])
def test_singular_values_of_what_is_not_finite(name, torch):
    for bad in (NAN, INF, -INF):
        for a in matrices(bad):
            said = []
            for lib in (ng, torch):
                try:
                    said.append(getattr(lib.linalg, name)(lib.tensor(a)).numpy())
                except RuntimeError as e:
                    said.append(str(e))
            if isinstance(said[0], str) or isinstance(said[1], str):
                assert said[0] == said[1]
            else:
                np.testing.assert_allclose(*said, rtol=1e-12)


@pytest.mark.parametrize("name, error", [("eigh", ng.linalg.LinAlgError), ("eigvalsh", ng.linalg.LinAlgError),
                                         ("eig", RuntimeError), ("eigvals", RuntimeError)])
@pytest.mark.parametrize("bad", [NAN, INF])
def test_eigenvalues_of_what_is_not_finite(name, error, bad):
    for a in matrices(bad):
        with pytest.raises(error, match="finite|infs or NaNs"):
            getattr(ng.linalg, name)(ng.tensor(a))


def test_eigh_does_not_look_at_the_other_triangle():
    a = matrices(NAN)[0]  # below the diagonal
    np.testing.assert_allclose(ng.linalg.eigvalsh(ng.tensor(a), UPLO="U").numpy(), np.linalg.eigvalsh(a, "U"))


def test_derivative_of_a_determinant_of_infinities_returns():
    x = ng.tensor(matrices(INF)[1], requires_grad=True)
    ng.linalg.det(x).sum().backward()
    assert x.grad[1].isnan().any() and x.grad[0].tolist() == np.eye(3).tolist()


@pytest.mark.parametrize("n", [1, 2, 5, 20, 60, 150, 200, 1000, 2**20])
def test_polygamma_of_any_order(n, torch):
    x = [1.0, 1.2, 2.0, 100.0, -1.5, -0.3, 1e30, 7.5]
    ours, theirs = (lib.polygamma(n, lib.tensor(x, dtype=lib.float64)).numpy() for lib in (ng, torch))
    # PyTorch multiplies infinities by zeros at high orders, and n! overflows where its product does not.
    known = ~np.isnan(theirs) & ~(np.isinf(theirs) & np.isfinite(ours))
    np.testing.assert_allclose(ours[known], theirs[known], rtol=1e-8)


def test_polygamma_of_huge_order():
    """n! x^-(n + 1) as its logarithm says, where PyTorch has infinities for every x; both poles beside -1.5 are infinite."""
    found = ng.polygamma(2**40, ng.tensor([1.0, 1.2, 7.5, 1e30, -1.5], dtype=ng.float64)).tolist()
    assert found[:4] == [-np.inf, -np.inf, -np.inf, -0.0] and np.isnan(found[4])


@pytest.mark.parametrize("call", [
    lambda: ng.arange(2**44), lambda: ng.linspace(0, 1, 2**44), lambda: ng.eye(2**24), lambda: ng.combinations(ng.ones(40), 20),
    lambda: ng.hsplit(ng.ones(0), 2**40), lambda: ng.chunk(ng.ones(0), 2**62), lambda: ng.ones(1).expand(2**40).unbind(),
    lambda: ng.ones(1).expand(2**40).split(1), lambda: ng.tensor_split(ng.ones(3), 2**63 - 1),
    lambda: ng.combinations(ng.ones(3), 2**40, with_replacement=True), lambda: ng.mvlgamma(ng.full((2,), 1e9), 2**31),
])
def test_sizes_that_no_memory_holds(call):
    with pytest.raises(RuntimeError):
        call()


def test_combinations_that_fit():
    assert ng.combinations(ng.arange(5), 2).tolist() == [[i, j] for i in range(5) for j in range(i + 1, 5)]
    assert ng.combinations(ng.arange(2), 3, True).tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 1], [1, 1, 1]]
    assert ng.combinations(ng.arange(3), 2**40).numel() == 0


@pytest.mark.parametrize("k", [2**63 - 1, 2**62, 4, 3, -3, -4, -2**62, -2**63 + 1])
def test_triangles_of_far_diagonals(k):
    near = max(-4, min(k, 5))
    for name in ("tril", "triu"):
        numpy, ours = getattr(np, name), getattr(ng, name)
        assert ours(ng.ones(3, 4), k).tolist() == numpy(np.ones((3, 4)), near).tolist()
        assert getattr(ng, name + "_indices")(3, 4, k).tolist() == [
            a.tolist() for a in getattr(np, name + "_indices")(3, near, 4)]


@pytest.mark.parametrize("p", [-1e300, 1e300, 1e39, -0.5, 3.0])
def test_norm_of_one_element_is_its_size(p):
    x = ng.tensor([[-3.0, 2.0, 1e38]], requires_grad=True)
    y = ng.linalg.vector_norm(x, p, 0)
    y.backward(ng.ones(3))
    assert y.tolist() == x.abs().tolist()[0] and x.grad.tolist() == [[-1, 1, 1]]
