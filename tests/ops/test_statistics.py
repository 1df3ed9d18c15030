"""Quantiles, covariances, distances, integrals, histograms: every option, gradient and error against PyTorch's."""
# ruff: noqa: B023 (functions are called where they are made)

import warnings

import numpy as np
import parity
import pytest

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
rng = np.random.default_rng(0)
X, Y, V = rng.standard_normal((5, 4)), rng.standard_normal((3, 4)), rng.standard_normal(7)


def same(run, *arrays, gradients=True, second=True):
    """Values, and gradients to second order, of ``run(library, *tensors)`` are PyTorch's."""
    found = []
    for lib in (ng, torch):
        leaves = [lib.tensor(a).requires_grad_(gradients and a.dtype.kind == "f") for a in arrays]
        y = run(lib, *leaves)
        outs = list(y) if isinstance(y, (tuple, list)) else [y]
        values = [t.detach().numpy() for t in outs]
        if gradients:
            outs = [t for t in outs if t.requires_grad]
            wanted = [t for t in leaves if t.requires_grad]
            total = sum([(t * lib.tensor(np.cos(np.arange(t.numel())).reshape(tuple(t.shape)))).sum() for t in outs])
            first = lib.autograd.grad(total, wanted, create_graph=second, allow_unused=True)
            values += [np.zeros(()) if g is None else g.detach().numpy() for g in first]
            again = sum([(g * g).sum() for g in first if g is not None and g.requires_grad])
            if second and not isinstance(again, int):
                more = lib.autograd.grad(again, wanted, allow_unused=True)
                values += [np.zeros(()) if g is None else (g + lib.zeros(())).numpy() for g in more]
        found.append(values)
    assert len(found[0]) == len(found[1])
    for a, b in zip(*found):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("interpolation", ["linear", "lower", "higher", "midpoint", "nearest"])
@pytest.mark.parametrize("name", ["quantile", "nanquantile"])
def test_quantiles(name, interpolation):
    for dim in (None, 0, 1):
        for keepdim in (False, True):
            for q in (0.3, 1.0):
                same(lambda lib, x: getattr(lib, name)(x, q, dim, keepdim, interpolation=interpolation), X)
            same(lambda lib, x: getattr(lib, name)(
                x, lib.tensor([0.1, 0.5, 0.95], dtype=lib.float64), dim, keepdim, interpolation=interpolation), X)
    holes = X.copy()
    holes[1, 2] = holes[3, :] = np.nan
    same(lambda lib, x: getattr(lib, name)(x, 0.4, 1, interpolation=interpolation), holes, gradients=False)
    same(lambda lib, x: x.quantile(0.5), np.array(3.0))


def test_covariances():
    f, a = np.array([1, 2, 0, 3]), np.array([0.5, 1.0, 2.0, 0.25])
    for correction in (0, 1, 2):
        same(lambda lib, x: lib.cov(x, correction=correction), X)
        same(lambda lib, x: lib.cov(x, correction=correction, fweights=lib.tensor(f)), X)
        same(lambda lib, x: lib.cov(x, correction=correction, aweights=lib.tensor(a)), X)
        same(lambda lib, x: x.cov(correction=correction, fweights=lib.tensor(f), aweights=lib.tensor(a)), X)
    same(lambda lib, x: lib.cov(x), V)
    same(lambda lib, x: lib.corrcoef(x), X)
    same(lambda lib, x: x.corrcoef(), V)
    c = (X + 1j * X[::-1])
    same(lambda lib, x: [lib.cov(x), lib.corrcoef(x)], c, gradients=False)


@pytest.mark.parametrize("p", [0.0, 0.5, 1.0, 2.0, 3.0, float("inf")])
def test_distances(p):
    smooth = p >= 1 and p != float("inf")
    # (PyTorch has no second derivative of cdist.)
    same(lambda lib, a, b: lib.cdist(a, b, p), X, Y, gradients=smooth, second=False)
    same(lambda lib, a, b: lib.dist(a, b[:1], p), X, Y, gradients=smooth)
    meeting = X.copy()
    meeting[3], meeting[1, 2] = meeting[0], meeting[2, 2]
    for x in (X, meeting):
        same(lambda lib, a: lib.pdist(a, p), x, second=False)
        same(lambda lib, a: lib.nn.functional.pdist(a, p), x, second=False)
    assert type(ng.pdist(ng.tensor(X, requires_grad=True), p).grad_fn).__name__ == "PdistBackward0"
    same(lambda lib, a, b: lib.cdist(a[None, None], b.expand(2, 3, 3, 4), p), X, Y, gradients=False)


def test_distances_of_many_points_and_of_a_point_from_itself():
    many = rng.standard_normal((40, 3))
    for mode in ("use_mm_for_euclid_dist_if_necessary", "use_mm_for_euclid_dist", "donot_use_mm_for_euclid_dist"):
        same(lambda lib, a, b: lib.cdist(a, b, compute_mode=mode), many, many[:5] + 1, second=False)
    x = ng.tensor(X, requires_grad=True)
    ng.cdist(x, x).sum().backward()
    y = torch.tensor(X, requires_grad=True)
    torch.cdist(y, y).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-12)
    for shapes in (((0, 4), (3, 4)), ((3, 4), (0, 4)), ((3, 0), (2, 0))):
        same(lambda lib, a, b: lib.cdist(a, b), *map(np.ones, shapes), gradients=False)


def test_renorm():
    for p, dim, most in ((2, 0, 1.0), (1, 1, 2.0), (3, -1, 0.5), (float("inf"), 0, 1.0)):
        same(lambda lib, x: lib.renorm(x, p, dim, most), X, gradients=p != float("inf"))
    a, b = ng.tensor(X), torch.tensor(X)
    np.testing.assert_allclose(a.renorm_(2, 0, 1.0).numpy(), b.renorm_(2, 0, 1.0).numpy(), rtol=1e-12)


def test_integrals():
    grid = np.sort(rng.standard_normal(4))
    for name in ("trapezoid", "trapz", "cumulative_trapezoid"):
        for dim in (0, 1):
            same(lambda lib, y: getattr(lib, name)(y, dim=dim), X)
            same(lambda lib, y: getattr(lib, name)(y, dx=0.25, dim=dim), X)
            same(lambda lib, y, x: getattr(lib, name)(y, x, dim=dim), X, X + 2)
        same(lambda lib, y, x: getattr(lib, name)(y, x), X, grid)
        same(lambda lib, y: getattr(lib, name)(y), np.arange(6).reshape(2, 3), gradients=False)


def test_derivatives():
    grid = np.array([0.0, 0.5, 2.0, 2.5])
    for order in (1, 2):
        same(lambda lib, x: lib.gradient(x, edge_order=order), X)
        same(lambda lib, x: lib.gradient(x, spacing=0.5, dim=1, edge_order=order), X)
        same(lambda lib, x: lib.gradient(x, spacing=[0.5, 2.0], edge_order=order), X)
        same(lambda lib, x, s: lib.gradient(x, spacing=(s,), dim=1, edge_order=order), X, grid)


def test_histograms():
    w = np.abs(V)
    for density in (False, True):
        same(lambda lib, x: lib.histogram(x, 4, density=density), V, gradients=False)
        same(lambda lib, x, w: lib.histogram(x, 5, range=(-1.0, 1.0), weight=w, density=density), V, w, gradients=False)
        same(lambda lib, x: x.histogram(lib.tensor([-1.0, 0.0, 0.25, 1.0], dtype=lib.float64), density=density), V,
             gradients=False)
    same(lambda lib, x: lib.histogram(x, 3), np.ones(4), gradients=False)
    same(lambda lib, x: lib.histogram(x, 3), np.ones(0), gradients=False)
    even = np.round(V * 4) / 4
    for x in (V, even, even.astype(np.float32)):
        same(lambda lib, x: lib.histogram(x, 8, range=(-1.0, 1.0)), x, gradients=False)
        same(lambda lib, x: [*lib.histogram(x, 7), lib.histc(x, 7), lib.histc(x, 8, -1, 1)], x, gradients=False)


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0, 3.0])
def test_second_derivatives_of_distances_of_rows(p):
    x = ng.tensor(X, requires_grad=True)
    assert ng.autograd.gradgradcheck(lambda t: ng.pdist(t, p), (x,))


@pytest.mark.parametrize("bins", [float("nan"), 2.5, "3"])
def test_bins_are_a_whole_number(bins):
    with pytest.raises(TypeError, match="bins"):
        ng.histogram(ng.ones(3), bins)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("ends", [(-0.006, 0.0096), (-5.5, 7.3), (0.0, 1.0)])
def test_edges_of_histograms_round_as_torch(ends, dtype):
    if torch.backends.cpu.get_cpu_capability() == "DEFAULT":
        pytest.skip("this PyTorch does not contract products with sums")
    for bins in (1, 3, 10, 61):
        ours, theirs = (lib.histogram(lib.tensor(ends, dtype=getattr(lib, dtype)), bins) for lib in (ng, torch))
        assert ours.bin_edges.tolist() == theirs.bin_edges.tolist() and ours.hist.tolist() == theirs.hist.tolist()


def test_a_histogram_over_all_that_there_is_is_captured():
    f = ng.compile(lambda x: [*ng.histogram(x, 3), ng.histc(x, 4)])
    for k in (1.0, 2.0, 0.5):  # (of values that the capture did not see)
        x = ng.tensor(V * k)
        for a, b in zip(f(x), [*ng.histogram(x, 3), ng.histc(x, 4)]):
            assert a.tolist() == b.tolist()
    with pytest.raises(RuntimeError, match="not finite"):
        f(ng.tensor(np.full(V.shape, np.inf)))


def test_older_names_of_linear_algebra():
    square = X[:4] + 3 * np.eye(4)
    same(lambda lib, a: [lib.det(a), a.det(), *lib.slogdet(a), *a.slogdet()], square)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # both say once in a process that these are deprecated
        same(lambda lib, a: [lib.cholesky(a @ a.T), (a @ a.T).cholesky(True)], square)
        same(lambda lib, a: [abs(t) for t in lib.qr(a)], X, gradients=False)
        same(lambda lib, a: [abs(t) for t in lib.qr(a, some=False)], X, gradients=False)
    same(lambda lib, a: [abs(t) for t in lib.svd(a)], X, gradients=False)
    same(lambda lib, a: lib.svd(a, compute_uv=False)[1], X)
    u, s, v = ng.svd(ng.tensor(X))
    np.testing.assert_allclose((u @ s.diag() @ v.t()).numpy(), X, atol=1e-12)


def test_second_derivatives_of_distances():
    a, b = (ng.tensor(x, requires_grad=True) for x in (X, Y))
    assert ng.autograd.gradcheck(ng.cdist, (a, b)) and ng.autograd.gradgradcheck(ng.cdist, (a, b))


def test_compositions_under_linalg():
    a, b = rng.standard_normal((2, 3, 6)), rng.standard_normal((2, 3))
    same(lambda lib, a: lib.linalg.tensorinv(a), a)
    same(lambda lib, a, b: lib.linalg.tensorsolve(a, b), a, b)
    same(lambda lib, a, b: lib.linalg.tensorsolve(a.permute(0, 2, 1), b, dims=(1,)), a, b)
    same(lambda lib, x, y: lib.linalg.vecdot(x, y[:1], dim=-1), X, Y)
    same(lambda lib, x: [lib.linalg.vander(x), lib.linalg.vander(x, N=3), lib.linalg.diagonal(x, offset=1),
                         lib.linalg.matmul(x, x.t())], X)


ERRORS = {
    "q too large": lambda lib: lib.quantile(lib.ones(3), 1.5), "no elements": lambda lib: lib.quantile(lib.ones(0), 0.5),
    "q of two dimensions": lambda lib: lib.quantile(lib.ones(3), lib.ones(1, 1)),
    "q of another dtype": lambda lib: lib.quantile(lib.ones(3), lib.ones(1, dtype=lib.float64)),
    "q in a tensor": lambda lib: lib.quantile(lib.ones(3), lib.tensor([0.5, 2.0])),
    "integers": lambda lib: lib.nanquantile(lib.tensor([1, 2]), 0.5),
    "interpolation": lambda lib: lib.quantile(lib.ones(3), 0.5, interpolation="cubic"),
    "cov of three": lambda lib: lib.cov(lib.ones(2, 2, 2)), "cov of bools": lambda lib: lib.cov(lib.ones(2, 2).bool()),
    "fweights of floats": lambda lib: lib.cov(lib.ones(2, 2), fweights=lib.ones(2)),
    "aweights of ints": lambda lib: lib.cov(lib.ones(2, 2), aweights=lib.ones(2).long()),
    "fweights negative": lambda lib: lib.cov(lib.ones(2, 2), fweights=lib.tensor([1, -1])),
    "weights of another number": lambda lib: lib.cov(lib.ones(2, 2), fweights=lib.tensor([1, 1, 1])),
    "weights of zero": lambda lib: lib.cov(lib.ones(2, 2), fweights=lib.tensor([0, 0])),
    "no degrees": lambda lib: lib.cov(lib.ones(2, 1)), "corrcoef": lambda lib: lib.corrcoef(lib.ones(2, 2, 2)),
    "columns": lambda lib: lib.cdist(lib.ones(2, 3), lib.ones(2, 4)),
    "rank": lambda lib: lib.cdist(lib.ones(2), lib.ones(2, 4)),
    "negative p": lambda lib: lib.cdist(lib.ones(2, 3), lib.ones(2, 3), -1.0),
    "mode": lambda lib: lib.cdist(lib.ones(2, 3), lib.ones(2, 3), compute_mode="no"),
    "pdist": lambda lib: lib.pdist(lib.ones(2)), "renorm p": lambda lib: lib.renorm(lib.ones(2, 2), 0, 0, 1),
    "renorm rank": lambda lib: lib.renorm(lib.ones(2), 1, 0, 1),
    "renorm most": lambda lib: lib.renorm(lib.ones(2, 2), 1, 0, -1),
    **{f"renorm of {d}": lambda lib, d=d: lib.ones(3, 4, dtype=getattr(lib, d)).renorm(1, 1, 2.0)
       for d in ("int8", "uint8", "int64", "bool")},
    "renorm_ of ints": lambda lib: lib.ones(3, 4).long().renorm_(2, 0, 1.0),
    "points": lambda lib: lib.trapezoid(lib.ones(2, 3), lib.ones(2)), "bool": lambda lib: lib.trapezoid(lib.ones(3).bool()),
    "edge": lambda lib: lib.gradient(lib.ones(3), edge_order=3), "small": lambda lib: lib.gradient(lib.ones(1)),
    "uint8": lambda lib: lib.gradient(lib.ones(3).to(lib.uint8)),
    "dims twice": lambda lib: lib.gradient(lib.ones(3, 3), dim=(0, 0)),
    "tensorinv": lambda lib: lib.linalg.tensorinv(lib.ones(2, 3)),
    "tensorinv ind": lambda lib: lib.linalg.tensorinv(lib.ones(2), 0),
    "tensorsolve": lambda lib: lib.linalg.tensorsolve(lib.ones(2, 3), lib.ones(2)),
    "vander": lambda lib: lib.linalg.vander(lib.ones(3), N=1),
    "histogram of ints": lambda lib: lib.histogram(lib.tensor([1, 2]), 3),
    **{f"histogram {i}": lambda lib, a=a: lib.histogram(*a(lib)) for i, a in enumerate((
        lambda lib: (lib.tensor([1.0, float("nan")]), 3), lambda lib: (lib.tensor([1.0, float("inf")]), 3),
        lambda lib: (lib.ones(3), lib.ones(0)), lambda lib: (lib.ones(3), 0)))},
    "histogram least": lambda lib: lib.histogram(lib.ones(3), 3, range=(2.0, 1.0)),
    "histogram most": lambda lib: lib.histogram(lib.ones(3), 3, range=(2.0, float("inf"))),
    "histogram none": lambda lib: lib.histogram(lib.ones(3), 3, range=(float("nan"), 1.0)),
    "histc": lambda lib: lib.histc(lib.tensor([1.0, float("inf")]), 3),
    "weights of another shape": lambda lib: lib.histogram(lib.ones(3), 3, weight=lib.ones(2)),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_torchs(name):
    mine, theirs = parity.said(ng, ERRORS[name]), parity.said(torch, ERRORS[name])
    assert mine == theirs
