"""``nn.attention.flex_attention``: masks of blocks, scores through a function; gradients are those of attention."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest

import numbagrad as ng
from numbagrad.nn.attention import flex_attention as ours

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
theirs = pytest.importorskip("torch.nn.attention.flex_attention")


def causal(b, h, q, kv):
    return q >= kv


def near(b, h, q, kv):
    return (q - kv) < 20


def masks(library, m):
    return {"causal": causal, "both": m.and_masks(causal, near), "either": m.or_masks(causal, near),
            "empty rows": lambda b, h, q, kv: (q > 5) & (kv < 40)}


@pytest.fixture(autouse=True)
def _eager(monkeypatch):
    monkeypatch.setattr(theirs, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)


@pytest.mark.parametrize("size", [16, (16, 32), 128])
@pytest.mark.parametrize("name", ["causal", "both", "either", "empty rows"])
def test_block_mask(name, size):
    made = [m.create_block_mask(masks(lib, m)[name], 2, None, 70, 90, device="cpu", BLOCK_SIZE=size)
            for lib, m in ((ng, ours), (torch, theirs))]
    corner = [lambda m: m._adjust(40, 50)] if name == "causal" else []  # (which PyTorch refuses of blocks that lie outside)
    for view in (lambda m: m, lambda m: m[1], lambda m: m[:, :, 0:1], *corner):
        a, b = map(view, made)
        assert a.shape == b.shape and str(a) == str(b) and repr(a).split("mask_mod")[0] == repr(b).split("mask_mod")[0]
        for x, y in zip(a.as_tuple()[2:-4], b.as_tuple()[2:-4]):
            assert x is y is None or (x.tolist() == y.tolist() and str(x.dtype) == str(y.dtype))
        assert a.to_dense().tolist() == b.to_dense().tolist()


def inputs(library, heads=4, dtype="float32"):
    r = np.random.default_rng(0)
    q, k, v = r.normal(size=(2, 4, 70, 8)), r.normal(size=(2, heads, 90, 8)), r.normal(size=(2, heads, 90, 6))
    return [library.tensor(x, dtype=getattr(library, dtype)) for x in (q, k, v)]


@pytest.mark.parametrize("heads", [4, 2])
@pytest.mark.parametrize("name", [None, "causal", "both", "empty rows"])
def test_attention(name, heads):
    results = []
    for lib, m in ((ng, ours), (torch, theirs)):
        bias = lib.arange(4.0)

        def score(s, b, h, i, j, bias=bias):
            return s + (j - i) * 0.1 * bias[h]
        mask = name and m.create_block_mask(masks(lib, m)[name], 2, None, 70, 90, device="cpu", BLOCK_SIZE=32)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            results.append(m.flex_attention(*inputs(lib, heads), score, mask, enable_gqa=heads < 4,
                                            return_aux=m.AuxRequest(lse=True)))
    (a, more), (b, others) = results
    np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(more.lse.numpy(), others.lse.numpy(), rtol=1e-5, atol=1e-5)
    assert more.max_scores is None


def test_gradients_are_those_of_attention():
    """PyTorch refuses gradients on the CPU."""
    q, k, v = [t.requires_grad_() for t in inputs(ng, dtype="float64")]
    mask = ours.create_block_mask(causal, None, None, 70, 90)
    plain = ng.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=ng.arange(70)[:, None] >= ng.arange(90))
    out = ours.flex_attention(q, k, v, block_mask=mask)
    np.testing.assert_allclose(out.detach().numpy(), plain.detach().numpy(), rtol=1e-10)
    first = [ng.autograd.grad((x ** 2).sum(), (q, k, v), create_graph=True) for x in (out, plain)]
    second = [ng.autograd.grad(sum((g ** 2).sum() for g in gs), (q, k, v)) for gs in first]
    for found in (first, second):
        for x, y in zip(*found):
            np.testing.assert_allclose(x.detach().numpy(), y.detach().numpy(), rtol=1e-8, atol=1e-10)


WRONG = {
    "heads": lambda m, q, k, v: m.flex_attention(q, k[:, :2], v[:, :2]),
    "groups": lambda m, q, k, v: m.flex_attention(q, k[:, :3], v[:, :3], enable_gqa=True),
    "cut mask": lambda m, q, k, v: m.flex_attention(q, k, v, block_mask=m.create_block_mask(
        causal, 2, 1, 70, 90, "cpu")[0:1]),
    "longer mask": lambda m, q, k, v: m.flex_attention(q[:, :, :9], k, v, block_mask=m.create_block_mask(
        causal, 1, 1, 70, 90, "cpu")),
    "shorter mask": lambda m, q, k, v: m.flex_attention(q, k, v, block_mask=m.create_block_mask(
        causal, 1, 1, 9, 90, "cpu")),
    "dimensions": lambda m, q, k, v: m.flex_attention(q[0], k[0], v[0]),
    "sizes": lambda m, q, k, v: m.flex_attention(q, k[..., :3], v),
    "batches": lambda m, q, k, v: m.flex_attention(q[:1], k, v),
    "two ways": lambda m, q, k, v: m.flex_attention(q, k, v, return_lse=True, return_aux=m.AuxRequest()),
    "no function": lambda m, q, k, v: m.or_masks(1),
    "parameters": lambda m, q, k, v: m.create_mask(math.sin, 1, 1, 2, 2, "cpu")}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_refused(case):
    errors = []
    for lib, m in ((ng, ours), (torch, theirs)):
        with pytest.raises((ValueError, RuntimeError, AssertionError)) as error:
            WRONG[case](m, *inputs(lib))
        errors.append((type(error.value), str(error.value)))
    assert errors[0] == errors[1]
