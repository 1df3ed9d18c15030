"""Losses and normalizations of extreme values, against PyTorch in the same dtype and in float64.

A value is right when it is PyTorch's, or that of float64 rounded to the dtype: a fused kernel may keep what PyTorch loses
between two roundings, and never the other way round."""

import warnings

import numpy as np
import pytest

import numbagrad as ng

torch = pytest.importorskip("torch")

VALUES = {"zero": [0.0], "equal": [0.1], "equal, large": [12345.678], "tiny": [1e-30, 2e-30, -3e-30],
          "1e-4": [1e-4, -3e-4, 2e-4],
          "ordinary": [0.5, -1.25, 2.0, -0.3], "1e4": [1e4, -1.1e4, 9e3, 0.5], "1e30": [1e30, -2e30, 0.5e30]}
TOLERANCE = {"float32": 3e-5}
# These gradients cancel to what rounding leaves: only their values are compared.
CANCELLING = ("layer_norm", "rms_norm", "batch_norm", "group_norm", "instance_norm", "normalize", "softmax",
              "log_softmax")
# soft_margin_loss is left out: PyTorch's gradient is NaN where exp overflows, here it is the limit.
SIGNED = ("hinge_embedding_loss",)
LOSSES = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "kl_div", *SIGNED)


def _sign(T, y):
    return (y.detach() > 0).to(y.dtype) * 2 - 1


def _cases():
    out = {}
    for name in LOSSES:
        for reduction in ("mean", "none"):
            out[f"{name}, {reduction}"] = (2, lambda T, F, x, y, name=name, reduction=reduction: getattr(F, name)(
                x, _sign(T, y) if name in SIGNED else y.detach().abs() if name == "kl_div" else y, reduction=reduction))
    out.update({
        "margin_ranking_loss": (2, lambda T, F, x, y: F.margin_ranking_loss(x, y, _sign(T, x), margin=0.5)),
        "cosine_embedding_loss": (2, lambda T, F, x, y: F.cosine_embedding_loss(x, y, _sign(T, x)[:, 0], margin=0.1)),
        "cosine_similarity": (2, lambda T, F, x, y: F.cosine_similarity(x, y)),
        "gaussian_nll_loss": (2, lambda T, F, x, y: F.gaussian_nll_loss(x, y.detach(), y.detach().abs())),
        "poisson_nll_loss": (2, lambda T, F, x, y: F.poisson_nll_loss(x, y.detach().abs())),
        "bce_with_logits": (2, lambda T, F, x, y: F.binary_cross_entropy_with_logits(x, (y.detach() > 0).to(x.dtype))),
        "multilabel_soft_margin": (2, lambda T, F, x, y: F.multilabel_soft_margin_loss(x, (y.detach() > 0).to(x.dtype))),
        "multi_margin_loss": (1, lambda T, F, x: F.multi_margin_loss(x, T.arange(4))),
        "cross_entropy": (1, lambda T, F, x: F.cross_entropy(x, T.arange(4))),
        "cross_entropy, smoothed": (1, lambda T, F, x: F.cross_entropy(x, T.arange(4), label_smoothing=0.1)),
        "std": (1, lambda T, F, x: x.std(1)), "std, columns": (1, lambda T, F, x: x.std(0)),
        "var": (1, lambda T, F, x: x.var(1)),
        "layer_norm": (1, lambda T, F, x: F.layer_norm(x, x.shape[1:])),
        "rms_norm": (1, lambda T, F, x: F.rms_norm(x, x.shape[1:])),
        "batch_norm": (1, lambda T, F, x: F.batch_norm(x.reshape(2, 2, 37), None, None, training=True)),
        "group_norm": (1, lambda T, F, x: F.group_norm(x.reshape(2, 2, 37), 2)),
        "instance_norm": (1, lambda T, F, x: F.instance_norm(x.reshape(2, 2, 37))),
        "normalize": (1, lambda T, F, x: F.normalize(x)), "softmax": (1, lambda T, F, x: F.softmax(x, 1)),
        "log_softmax": (1, lambda T, F, x: F.log_softmax(x, 1)), "logsumexp": (1, lambda T, F, x: x.logsumexp(1)),
        "softplus": (1, lambda T, F, x: F.softplus(x)), "logsigmoid": (1, lambda T, F, x: F.logsigmoid(x)),
    })
    return out


CASES = _cases()


def _values(kind, seed, limit):
    some = np.clip(np.asarray(VALUES[kind]), -limit, limit)
    return some[np.random.RandomState(seed).randint(0, len(some), (4, 37))]


def _results(T, call, xs, dtype):
    """[value, gradients] as float64 arrays, of ``xs`` rounded to the dtype that ``dtype`` ends in."""
    given, used = dtype
    ts = [T.tensor(x, dtype=getattr(T, given)).to(getattr(T, used)).requires_grad_() for x in xs]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        y = call(T, T.nn.functional, *ts)
    g = T.autograd.grad(y.sum(), ts, allow_unused=True)
    return [v if v is None else v.detach().to(T.float64).numpy() for v in (y, *g)]


def _near(a, b, tolerance, scale):
    with np.errstate(all="ignore"):
        return (a == b) | (np.isnan(a) & np.isnan(b)) | (np.abs(a - b) <= tolerance * np.maximum(np.abs(b), scale))


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", CASES)
def test_extreme_values(name, dtype):
    count, call = CASES[name]
    limit = 6e4 if dtype == "float16" else 3e38
    for kind in VALUES:
        for other in {kind, "ordinary"} if count == 2 else {kind}:
            xs = [_values(kind, 1, limit), _values(other, 2, limit)][:count]
            expected, got = _results(torch, call, xs, (dtype, dtype)), _results(ng, call, xs, (dtype, dtype))
            right = _results(torch, call, xs, (dtype, "float64"))
            for part, e, o, r in zip(("value", "gradient", "second gradient"), expected, got, right):
                if part != "value" and name in CANCELLING:
                    continue
                if e is None or o is None:
                    assert not np.any(e if o is None else o), (kind, other, part)
                    continue
                with np.errstate(all="ignore"):
                    r = torch.tensor(r).to(getattr(torch, dtype)).to(torch.float64).numpy()
                    scale = 1e-2 * max(np.abs(v[np.isfinite(v)]).max(initial=0) for v in (e, r))
                ok = _near(o, e, TOLERANCE[dtype], scale) | _near(o, r, TOLERANCE[dtype], scale)
                at = tuple(np.argwhere(~ok)[0]) if not ok.all() else ()
                assert ok.all(), f"{kind} / {other}: {part} {o[at]}, torch {e[at]}, float64 {r[at]}"


@pytest.mark.parametrize("a", [50.0, 9.9e3, 1.01e4, 1e5, 1e6, 1e9, 1e13, 1e20])
def test_incomplete_gamma_of_large_numbers(a):
    """Near x = a, where a series would need millions of terms; further off SciPy's own series ends too early from 1e6 on."""
    from scipy import special, stats
    z = np.array([-4.4, -3.0, -1.0, -0.1, -0.01, 0.0, 0.01, 0.1, 1.0, 3.0, 4.4])
    x = a + z * np.sqrt(a)
    given = ng.full_like(ng.from_numpy(x), a), ng.from_numpy(x)
    np.testing.assert_allclose(ng.special.gammainc(*given).numpy(), special.gammainc(a, x), rtol=2e-12)
    np.testing.assert_allclose(ng.special.gammaincc(*given).numpy(), special.gammaincc(a, x), rtol=2e-12)
    if a >= 1e13:  # a normal distribution
        z = np.array([-20.0, -8.0, -6.0])
        x = a + z * np.sqrt(a)
        found = ng.special.gammainc(ng.full_like(ng.from_numpy(x), a), ng.from_numpy(x)).numpy()
        np.testing.assert_allclose(found, stats.norm.cdf((x - a) / np.sqrt(a)), rtol=3e-3)
        huge = ng.tensor([1e30])
        assert abs(ng.special.gammainc(huge, huge).item() - 0.5) < 1e-6
