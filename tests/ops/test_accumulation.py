"""Errors of float32 folds of 10^3 to 10^6 numbers beside PyTorch's, both against float64."""

import numpy as np
import pytest

import numbagrad as ng

torch = pytest.importorskip("torch")
SIZES = (1000, 30_000, 1_000_000)
ROUNDED = 5e-8  # half a unit in the last place, and a little: what one rounding of the exact result may cost


def numbers(n, seed=0, low=0.0, high=1.0, columns=None):
    x = np.random.default_rng(seed).uniform(low, high, n).astype("f4")
    return x if columns is None else x[:n // columns * columns].reshape(-1, columns)


def error(got, exact):
    got, exact = np.asarray(got, "f8"), np.asarray(exact)
    return np.sqrt(np.mean((got - exact) ** 2) / np.mean(exact ** 2))


def compared(f, *arrays):
    """(error here, PyTorch's) of ``f(module, functional, *tensors)`` in float32."""
    exact = f(torch, torch.nn.functional, *[torch.tensor(a.astype("f8") if a.dtype.kind == "f" else a) for a in arrays]).numpy()
    theirs = f(torch, torch.nn.functional, *[torch.tensor(a) for a in arrays]).numpy()
    ours = f(ng, ng.nn.functional, *[ng.tensor(a) for a in arrays]).numpy()
    return error(ours, exact), error(theirs, exact)


SCANS = {"cumsum": (0.0, 1.0), "cumprod": (0.9999, 1.0001), "logcumsumexp": (-3.0, 3.0)}


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("columns", [None, 8])
@pytest.mark.parametrize("dim", [0, -1])
@pytest.mark.parametrize("name", SCANS)
def test_running_totals(name, dim, columns, n):
    x = numbers(n, 1, *SCANS[name], columns)
    x = x.T.copy() if dim else x
    ours, theirs = compared(lambda m, F, t: getattr(m, name)(t, dim), x)
    assert ours <= max(1.5 * theirs, ROUNDED)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "complex64"])
@pytest.mark.parametrize("shape, dim", [((5000,), 0), ((7, 900), 1), ((900, 7), 0), ((3, 500, 2), 1)])
@pytest.mark.parametrize("name", ["cumsum", "cumprod"])
def test_running_totals_are_bit_for_bit(name, shape, dim, dtype):
    torch.manual_seed(3)
    near = 1e-3 * torch.randn(shape, dtype=torch.complex64 if dtype == "complex64" else torch.float32)
    theirs = (near + (name == "cumprod")).to(getattr(torch, dtype))
    wide = theirs.float() if dtype == "bfloat16" else theirs
    ours = ng.tensor(wide.numpy()).to(getattr(ng, dtype))
    a, b = getattr(torch, name)(theirs, dim), getattr(ng, name)(ours, dim)
    if dtype == "bfloat16":
        a, b = a.float(), b.float()
    assert np.array_equal(a.numpy(), b.numpy())


@pytest.mark.parametrize("name", ["cumsum", "cumprod"])
def test_compiled_running_totals(name):
    x = numbers(4000, 2, 0.999, 1.001)
    step = ng.compile(lambda t: getattr(ng, name)(t * 1.5 - 0.5, 0))
    made = [step(ng.tensor(x)).numpy() for _ in range(3)]
    expected = getattr(torch, name)(torch.tensor(x) * 1.5 - 0.5, 0).numpy()
    assert all(np.allclose(m, expected, rtol=2e-7, atol=0) if name == "cumsum" else np.allclose(m, expected, rtol=1e-4)
               for m in made)


def test_cumulative_alphas_of_diffusion():
    betas = np.linspace(1e-4, 0.02, 1000).astype("f4")
    expected = torch.cumprod(1.0 - torch.tensor(betas), dim=0).numpy()
    assert np.array_equal(ng.cumprod(1.0 - ng.tensor(betas), dim=0).numpy(), expected)


FOLDS = {
    "sum": lambda m, F, x: m.sum(x), "mean": lambda m, F, x: m.mean(x), "var": lambda m, F, x: m.var(x),
    "std": lambda m, F, x: m.std(x), "norm": lambda m, F, x: m.norm(x), "norm of rows": lambda m, F, x: m.norm(x, dim=-1),
    "norm of cubes": lambda m, F, x: m.norm(x, 3), "logsumexp": lambda m, F, x: m.logsumexp(x, -1),
    "log_softmax": lambda m, F, x: m.log_softmax(x, -1), "softmax": lambda m, F, x: m.softmax(x, 0),
    "layer_norm": lambda m, F, x: F.layer_norm(x, x.shape[-1:]), "group_norm": lambda m, F, x: F.group_norm(x[None], 2),
    "batch_norm": lambda m, F, x: F.batch_norm(x, None, None, training=True), "normalize": lambda m, F, x: F.normalize(x),
    "cov": lambda m, F, x: m.cov(x), "cdist": lambda m, F, x: m.cdist(x, x + x.mean()),
    "renorm": lambda m, F, x: m.renorm(x, 2, 0, 1),
    "dist": lambda m, F, x: m.dist(x, x * x), "trace": lambda m, F, x: m.trace(x @ x.mT),
    "histc": lambda m, F, x: m.histc(x, 9, 0, 1),
    "adaptive_avg_pool1d": lambda m, F, x: F.adaptive_avg_pool1d(x[None], 2),
    "mse_loss": lambda m, F, x: F.mse_loss(x, x * x),
    "weight_norm": lambda m, F, x: m._weight_norm(x, x[:, :1], 0),
}


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("name", FOLDS)
def test_folds(name, n):
    draws = range(40 if n == 1000 else 1)  # few numbers are rounded well or badly by chance
    errors = np.array([compared(FOLDS[name], numbers(n, 5 + draw, columns=n // 8)) for draw in draws])
    ours, theirs = np.sqrt(np.mean(errors ** 2, axis=0))
    assert ours <= max(1.5 * theirs, np.finfo("float32").eps)  # or less than a unit in the last place
