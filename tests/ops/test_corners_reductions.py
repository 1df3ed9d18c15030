"""Reductions, selections and piecewise linear layers at NaN, ties, infinities and zeros, as PyTorch."""

import math

import numpy as np
import pytest

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")

INF, NAN = math.inf, math.nan
ROWS = ([1.0, NAN, 2.0, NAN], [INF, 0.0, 1.0, 0.0], [-INF, -INF, -INF, -INF], [0.0, 0.0, -0.0, 0.0], [2.0, 2.0, 1.0, 2.0],
        [0.0, 3.0, 0.0, 1.0], [-INF, 0.0, 1.0, INF])


def as_list(t):
    return t.detach().numpy(force=True).tolist()


def first(r):
    return r[0] if isinstance(r, tuple) else r


REDUCTIONS = {
    **{name: (lambda lib, x, name=name: getattr(lib, name)(x)) for name in (
        "max", "min", "median", "nanmedian", "amax", "amin", "sum", "mean", "prod", "nansum", "norm", "aminmax", "mode")},
    **{name + " dim": (lambda lib, x, name=name: first(getattr(lib, name)(x, 0))) for name in (
        "max", "min", "median", "nanmedian", "logsumexp", "logcumsumexp", "cummax", "cummin", "amax", "amin", "cumsum")},
    "kthvalue": lambda lib, x: lib.kthvalue(x, 2)[0], "topk": lambda lib, x: lib.topk(x, 2)[0],
    **{f"norm {p}": (lambda lib, x, p=p: lib.linalg.vector_norm(x, p)) for p in (0, 1, 2, 3, INF, -INF)},
    "logsumexp dims": lambda lib, x: lib.logsumexp(x.reshape(2, 2), (0, 1)),
    "pairwise_distance": lambda lib, x: lib.nn.functional.pairwise_distance(x[None], lib.zeros(1, 4).double(), eps=0.0),
    "multi_margin": lambda lib, x: lib.nn.functional.multi_margin_loss(x[None], lib.tensor([2])),
}


@pytest.mark.parametrize("row", ROWS, ids=str)
@pytest.mark.parametrize("name", REDUCTIONS)
def test_values_and_gradients(name, row):
    if name == "prod" and row.count(0.0) > 1 and INF in row:
        pytest.skip("PyTorch takes the gradient of several zeros as zero, whatever the other factors")
    found = []
    for lib in (ng, torch):
        x = lib.tensor(row, dtype=lib.float64, requires_grad=True)
        y = first(REDUCTIONS[name](lib, x))
        plain = lib.autograd.grad((y * y.detach().sign()).sum() if name == "aminmax" else y.sum(), x, retain_graph=True,
                                  allow_unused=True)[0]
        recorded = lib.autograd.grad(y.sum(), x, create_graph=True, allow_unused=True)[0] if name != "aminmax" else None
        found.append([as_list(t) for t in (y, plain, recorded) if t is not None])
    for a, b in zip(*found):
        np.testing.assert_allclose(a, b, 1e-12, 1e-14)


def second(lib, f, values):
    """The second derivative of a sum, or the start of the error."""
    x = lib.tensor(values, requires_grad=True)
    g, = lib.autograd.grad(f(lib, lib.nn.functional, x).sum(), x, create_graph=True)
    try:
        return as_list(lib.autograd.grad(g.sum(), x)[0])
    except RuntimeError as error:
        return str(error)[:60]


LINEAR = {
    "relu": lambda lib, F, x: F.relu(x), "hardtanh": lambda lib, F, x: F.hardtanh(x), "relu6": lambda lib, F, x: F.relu6(x),
    "leaky_relu": lambda lib, F, x: F.leaky_relu(x), "threshold": lambda lib, F, x: F.threshold(x, 0.1, 0.0),
    "hardshrink": lambda lib, F, x: F.hardshrink(x), "softshrink": lambda lib, F, x: F.softshrink(x),
    "prelu": lambda lib, F, x: F.prelu(x, lib.tensor([0.25])), "rrelu": lambda lib, F, x: F.rrelu(x),
    "abs": lambda lib, F, x: x.abs(), "l1": lambda lib, F, x: F.l1_loss(x, lib.zeros(4)),
    "huber": lambda lib, F, x: F.huber_loss(x, lib.zeros(4), delta=0.1),
    "smooth_l1": lambda lib, F, x: F.smooth_l1_loss(x, lib.zeros(4), beta=0.1),
    "maximum": lambda lib, F, x: lib.maximum(x, lib.zeros(4)), "clamp": lambda lib, F, x: x.clamp(-1, 1),
    "floor": lambda lib, F, x: x.floor(), "sum": lambda lib, F, x: x.sum(), "max": lambda lib, F, x: x.max(),
    "sort": lambda lib, F, x: lib.sort(x)[0], "dropout": lambda lib, F, x: F.dropout(x, 0.0), "where": lambda lib, F, x:
    lib.where(x > 0, x, 0.0), "nll": lambda lib, F, x: F.nll_loss(x[None], lib.tensor([1])),
    "remainder": lambda lib, F, x: x % 0.3, "reflect": lambda lib, F, x: F.pad(x[None], (1, 1), "reflect"),
    "replicate": lambda lib, F, x: F.pad(x[None], (1, 1), "replicate"), "circular": lambda lib, F, x: F.pad(
        x[None], (1, 1), "circular"),
    **{f"{kind}_pool{n}d": (lambda lib, F, x, kind=kind, n=n: getattr(F, f"{kind}_pool{n}d")(
        x.reshape(1, 1, *(1,) * (n - 1), 4).expand(1, 1, *(2,) * (n - 1), 4), 2))
       for kind in ("max", "avg") for n in (1, 2, 3)},
    "adaptive_avg": lambda lib, F, x: F.adaptive_avg_pool1d(x[None], 3), "adaptive_max": lambda lib, F, x:
    F.adaptive_max_pool1d(x[None], 3)}


@pytest.mark.parametrize("name", LINEAR)
def test_second_derivatives_of_piecewise_linear_functions(name):
    """Zeros connected to the input exactly where PyTorch has them, and its error elsewhere."""
    ours, theirs = (second(lib, LINEAR[name], [1.5, -0.5, 0.25, 0.75]) for lib in (ng, torch))
    assert ours == theirs


@pytest.mark.parametrize("name", ["round", "floor", "ceil", "trunc", "fix", "sign", "sgn"])
def test_steps_have_gradients_of_zeros(name):
    x = ng.tensor([0.5, -1.5, 2.0, NAN, INF], requires_grad=True)
    y = getattr(ng, name)(x)
    assert ng.autograd.grad(y.sum(), x)[0].tolist() == [0.0] * 5
    g, = ng.autograd.grad(getattr(ng, name)(x).sum(), x, create_graph=True)
    assert not g.requires_grad
    for mode in ("floor", "trunc"):
        x.grad = None
        ng.div(x, 0.7, rounding_mode=mode).sum().backward()
        assert x.grad.tolist() == [0.0] * 5


@pytest.mark.parametrize("call", [lambda x: x // 2, lambda x: ng.floor_divide(x, ng.ones(2)),
                                  lambda x: x.heaviside(x.detach())])
def test_missing_derivatives_are_refused_in_backward(call):
    x = ng.tensor([1.0, 2.0], requires_grad=True)
    y = call(x)
    assert y.requires_grad and y.grad_fn.name() == "NotImplemented"
    with pytest.raises(RuntimeError, match=r"derivative for aten::\w+ is not implemented"):
        y.sum().backward()
    assert x.grad is None


SELECTIONS = {
    "sort": lambda lib, x: lib.sort(x, dim=1, stable=True)[1], "median": lambda lib, x: x.median(1)[1],
    "nanmedian": lambda lib, x: x.nanmedian(1)[1], "mode": lambda lib, x: x.mode(1)[1],
    "kthvalue": lambda lib, x: x.kthvalue(2, 1)[1], "last": lambda lib, x: x.kthvalue(x.shape[1], 1)[1],
    "topk": lambda lib, x: x.topk(2, 1)[1], "least": lambda lib, x: x.topk(3, 1, False)[1],
    "half": lambda lib, x: x.topk(x.shape[1] // 2, 1)[1], "unsorted": lambda lib, x: x.topk(3, 1, True, False)[1],
    "argmax": lambda lib, x: x.argmax(1), "argmin": lambda lib, x: x.argmin(1), "max": lambda lib, x: x.max(1)[1],
    "cummax": lambda lib, x: x.cummax(1)[1], "cummin": lambda lib, x: x.cummin(1)[1], "all": lambda lib, x: x.argmax()}


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
@pytest.mark.parametrize("name", SELECTIONS)
def test_positions_of_equal_elements_and_nan(name, dtype):
    rng = np.random.default_rng(2)
    for n in (3, 5, 17, 40, 300):
        for missing in (0, 0.2):
            a = rng.integers(0, 4, (3, n)).astype(dtype)
            if missing and a.dtype.kind == "f":
                a[rng.random(a.shape) < missing] = NAN
            ours, theirs = (SELECTIONS[name](lib, lib.tensor(a)).tolist() for lib in (ng, torch))
            assert ours == theirs, f"{name} of {a.tolist()}"


def test_selections_of_hard_cases():
    """Rows that run quick sort and quick select out of depth: right values, and positions that name them."""
    rows = np.stack([np.arange(4000), np.arange(4000)[::-1], np.arange(4000) % 2, np.abs(np.arange(4000) - 2000)])
    x = ng.tensor(rows.astype(np.float64))
    for k in (1, 40, 2000, 4000):
        values, places = x.topk(k, 1)
        assert np.array_equal(values.numpy(), -np.sort(-rows, 1)[:, :k])
        assert np.array_equal(np.take_along_axis(rows, places.numpy(), 1), values.numpy())
        value, place = x.kthvalue(k, 1)
        assert np.array_equal(value.numpy(), np.sort(rows, 1)[:, k - 1])
    assert x.mode(1)[0].tolist()[2] == 0


def test_arg_extrema_of_strided_and_expanded_memory():
    x = ng.tensor([[5.0, 0], [9.0, 1], [7.0, 2]])
    assert int(x[:, 0].argmax()) == 1 and int(x[:, 1].argmin()) == 0
    assert int(ng.arange(24.0).view(4, 6)[:, ::2].argmax()) == 11
    assert int(ng.ones(1).expand(10_000_000).argmax()) == 0
    assert ng.arange(6.0).view(2, 3).t().argmax(keepdim=True).tolist() == [[5]]
    assert int(ng.tensor([1.0, 2.0]).expand(3, 2).argmax()) == 1


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "int16", "int32", "int64", "float32"])
@pytest.mark.parametrize("name", ["sum", "prod", "nansum", "cumsum", "cumprod"])
def test_integer_dtype_of_the_result(name, dtype):
    for source in ("bool", "uint8", "int64", "float32"):
        found = []
        for lib in (ng, torch):
            x = lib.tensor([[3, 0, 120, 10], [1, 5, 100, 2]]).to(getattr(lib, source))
            try:
                y = getattr(lib, name)(x, 1, dtype=getattr(lib, dtype))
                found.append((str(y.dtype).partition(".")[2], y.tolist()))
            except (RuntimeError, NotImplementedError) as error:
                found.append((type(error), str(error)))
        assert found[0] == found[1], f"{name} of {source}"


def test_degrees_of_freedom_that_are_no_number():
    x = ng.arange(3.0)
    assert ng.var(x, 0, correction=float("nan")).item() == float("inf")
    for f in (ng.var, ng.std_mean):
        assert f(x, True) is not None
        for args, kwargs in (((True, True), {}), ((True,), {"correction": 0})):
            with pytest.raises(TypeError, match="must be tuple of ints, not bool"):
                f(x, *args, **kwargs)


@pytest.mark.parametrize("shape", [(0, 2), (2, 0), (3, 0, 0)])
@pytest.mark.parametrize("p", [None, 2, -2])
def test_condition_of_an_empty_matrix(shape, p):
    found = ng.linalg.cond(ng.zeros(shape, dtype=ng.complex128), p)
    assert found.shape == shape[:-2] and found.dtype is ng.float64 and not found.any()


def test_norms_of_one_element_are_its_size(torch):
    """No power is taken that the dtype does not hold."""
    values = np.array([[3.0], [-1e-30], [0.0], [-1e30], [np.inf], [np.nan]], np.float32)
    for order in (2, 3, 0.5, -5.0, 1e-30, 2**31 - 1, 1e30, np.inf, -np.inf, np.nan, 0):
        for options in ({"dim": 1}, {"dim": (1,), "keepdim": True}):
            x, y = (lib.linalg.vector_norm(lib.tensor(values), order, **options) for lib in (ng, torch))
            np.testing.assert_array_equal(x.numpy(), y.numpy())
        for v in values:
            x, y = (lib.norm(lib.tensor(v), order) for lib in (ng, torch))
            np.testing.assert_array_equal(x.numpy(), y.numpy())
    z = ng.tensor(values[:2], requires_grad=True)
    ng.linalg.vector_norm(z, 2, dim=1).sum().backward()
    assert z.grad.tolist() == [[1.0], [-1.0]]
    assert ng.linalg.vector_norm(ng.tensor([3e30 + 4e30j]), 2).item() == pytest.approx(5e30)


def test_least_along_a_dimension_that_is_a_tensor(torch):
    for lib in (ng, torch):
        x = lib.tensor([[3.0, -1.0], [0.5, 2.0]])
        values, indices = lib.min(x, lib.tensor(1), True)
        assert values.tolist() == [[-1.0], [0.5]] and indices.tolist() == [[1], [0]]
        with pytest.raises(RuntimeError, match="Unsupported input type encountered for isin"):
            lib.isin(x, x > 0)
