"""Arguments of losses and layers that are refused, and sizes at the edge: as PyTorch has them."""

import numpy as np
import pytest

import numbagrad as ng
from numbagrad.nn import functional as F

REFUSED = {
    "probabilities, ignore_index": (RuntimeError, "ignore_index is not supported",
                                    lambda: F.cross_entropy(ng.zeros(2, 3), ng.full((2, 3), 1 / 3), ignore_index=1)),
    "probabilities of integers": (RuntimeError, "Expected floating point type for target",
                                  lambda: F.cross_entropy(ng.zeros(2, 3), ng.ones(2, 3, dtype=ng.int64))),
    "probabilities, class weights": (RuntimeError, "all 3 classes",
                                     lambda: F.cross_entropy(ng.zeros(2, 3), ng.full((2, 3), 1 / 3), weight=ng.ones(2))),
    "batch_norm eps 0": (ValueError, "positive during training",
                         lambda: F.batch_norm(ng.ones(3, 2), None, None, training=True, eps=0)),
    "batch_norm eps -1": (ValueError, "non-negative", lambda: F.batch_norm(ng.ones(3, 2), ng.zeros(2), ng.ones(2), eps=-1.0)),
    "batch_norm, one statistic": (ValueError, "either both be None",
                                  lambda: F.batch_norm(ng.ones(3, 2), ng.zeros(2), None, training=True)),
    "embedding_bag max": (ValueError, "max mode does not support scaling",
                          lambda: F.embedding_bag(ng.tensor([0, 1]), ng.ones(3, 2), ng.tensor([0]), mode="max",
                                                  scale_grad_by_freq=True)),
    "attention, no heads": (RuntimeError, "must divide",
                            lambda: F.scaled_dot_product_attention(ng.ones(1, 4, 3, 4), ng.ones(1, 0, 5, 4),
                                                                   ng.ones(1, 0, 5, 4), enable_gqa=True)),
    "circular, nothing left": (RuntimeError, "empty dimension", lambda: F.pad(ng.ones(1, 2, 4), (-4, 2), "circular")),
    "replicate, empty": (RuntimeError, "non-zero dimensions", lambda: F.pad(ng.ones(1, 2, 0), (1, 1), "replicate")),
    "antialias, nearest": (ValueError, "Anti-alias option", lambda: F.interpolate(ng.ones(1, 2, 4), size=3, antialias=True)),
    "interpolate by nan": (RuntimeError, "scale_factor", lambda: F.interpolate(ng.ones(1, 2, 4), scale_factor=float("nan"))),
    "interpolate to nothing": (RuntimeError, "greater than 0", lambda: F.interpolate(ng.ones(1, 2, 4), scale_factor=0.1)),
    "interpolate nothing": (RuntimeError, "greater than 0", lambda: F.interpolate(ng.ones(1, 2, 0), size=3)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    error, text, call = REFUSED[name]
    with pytest.raises(error, match=text):
        call()


@pytest.mark.parametrize("centered", [True, False])
def test_normalization_of_rows_of_no_elements(centered):
    x, w = ng.ones(2, 0, requires_grad=True), ng.ones(0, requires_grad=True)
    y = F.layer_norm(x, (0,), w, w * 1) if centered else F.rms_norm(x, (0,), w)
    y.sum().backward()
    assert tuple(y.shape) == tuple(x.grad.shape) == (2, 0) and tuple(w.grad.shape) == (0,)


def test_attention_of_no_heads():
    assert tuple(F.scaled_dot_product_attention(ng.ones(1, 0, 3, 4), ng.ones(1, 0, 5, 4), ng.ones(1, 0, 5, 4),
                                                enable_gqa=True).shape) == (1, 0, 3, 4)


def test_batch_norm_of_no_channels():
    assert tuple(F.batch_norm(ng.ones(3, 0), None, None, training=True).shape) == (3, 0)


@pytest.mark.parametrize("pad", [(-1, 1), (1, -1), (2, -1), (-2, 1), (-3, 2), (-1, 4), (3, -3), (-1, -1), (2, 3)])
def test_circular_padding_wraps_what_is_kept(pad):
    x = np.arange(8.0).reshape(1, 2, 4)
    kept = x[..., max(-pad[0], 0):4 - max(-pad[1], 0)]
    right = np.pad(kept, [(0, 0), (0, 0), (max(pad[0], 0), max(pad[1], 0))], "wrap")
    t = ng.tensor(x, requires_grad=True)
    y = F.pad(t, pad, "circular")
    np.testing.assert_array_equal(y.detach().numpy(), right)
    y.sum().backward()
    np.testing.assert_array_equal(t.grad.numpy(), [[[(right == v).sum() for v in row] for row in x[0]]])


@pytest.mark.parametrize("align", [None, True])
@pytest.mark.parametrize("mode, size", [("linear", (7,)), ("bilinear", (5, 4)), ("bilinear", (1, 1)), ("bicubic", (5, 4)),
                                        ("bicubic", (1, 1)), ("trilinear", (3, 1, 2))])
def test_interpolate_at_special_sizes(mode, size, align):
    torch = pytest.importorskip("torch")
    x = np.random.RandomState(0).randn(1, 2, *size)
    for options in ({"size": 1}, {"size": 6}, {"scale_factor": 1.7}, {"scale_factor": 2.3, "recompute_scale_factor": True},
                    {"scale_factor": 1.0}, {"size": tuple(reversed(size))}):
        results = []
        for T in (torch, ng):
            t = T.tensor(x, requires_grad=True)
            y = T.nn.functional.interpolate(t, mode=mode, align_corners=align, **options)
            y.square().sum().backward()
            results.append((y.detach().numpy(), t.grad.numpy()))
        for right, got in zip(*results):
            np.testing.assert_allclose(got, right, 1e-6, 1e-6, err_msg=str(options))
