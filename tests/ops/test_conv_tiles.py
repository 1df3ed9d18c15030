"""Convolution by blocks in registers against its definition, whatever the work."""

import numpy as np
import pytest

import numbagrad as ng
from numbagrad.core.registry import REGISTRY

# channels, outputs, groups, size, kernel, stride, padding, dilation
CASES = [(3, 16, 1, (30,), (3,), 1, 0, 1), (5, 40, 1, (9, 13), (3, 2), 1, 1, 1),
         (4, 33, 1, (8, 17), (2, 3), (2, 3), (0, 2), (1, 2)), (4, 20, 2, (7, 9), (3, 3), 1, 2, 1),
         (2, 16, 1, (9,), (2,), 1, 3, 1), (2, 7, 1, (5, 6, 8), (2, 3, 3), 1, (1, 0, 2), 1),
         (3, 64, 1, (4, 4), (3, 3), 1, 1, 1),
         (6, 48, 3, (5, 29), (1, 5), (1, 2), (0, 3), (2, 2)), (20, 24, 1, (9, 10), (3, 2), 2, 1, (1, 3)),
         (17, 16, 1, (6, 33), (2, 4), 1, (0, 2), 1)]


@pytest.fixture
def always(monkeypatch):
    """Blocks wherever they can be had; gives the launches."""
    from numbagrad.ops.conv import kernels, tiles, weight_tiles

    class Plan(tiles.Plan):
        cost = property(lambda self: 0, lambda self, value: None)
    launches, launch = [], tiles.launch

    def noted(plan, *args):
        launches.append(plan)
        return launch(plan, *args)
    monkeypatch.setattr(tiles, "LEAST", 0)
    monkeypatch.setattr(weight_tiles, "LEAST", 0)
    monkeypatch.setattr(tiles, "Plan", Plan)
    monkeypatch.setattr(tiles, "launch", noted)
    kernels._plans.clear()
    yield launches
    kernels._plans.clear()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("channels, outputs, groups, size, kernel, stride, padding, dilation", CASES)
def test_blocks_and_their_gradient(always, dtype, threads, channels, outputs, groups, size, kernel, stride, padding, dilation):
    rng, n, before = np.random.default_rng(3), len(size), ng.get_num_threads()
    stride, padding, dilation = [(v,) * n if isinstance(v, int) else v for v in (stride, padding, dilation)]
    x, w = rng.standard_normal((2, channels, *size)), rng.standard_normal((outputs, channels // groups, *kernel))
    b = rng.random(outputs)
    reference = REGISTRY[f"conv{n}d"].reference(x, w, b, stride, padding, dilation, groups)
    g = rng.standard_normal(reference.shape)
    small = 1e-4 if dtype == "float32" else 1e-12
    given = [ng.tensor(a, dtype=getattr(ng, dtype), requires_grad=True) for a in (x, w, b)]
    ng.set_num_threads(threads)
    try:
        y = getattr(ng.nn.functional, f"conv{n}d")(*given, stride, padding, dilation, groups)
        y.backward(ng.tensor(g, dtype=getattr(ng, dtype)))
    finally:
        ng.set_num_threads(before)
    np.testing.assert_allclose(y.detach().numpy(), reference, small, small * 10)
    backward = REGISTRY[f"conv_transpose{n}d"].reference(g, w, None, stride, padding, 0, groups, dilation)
    known = tuple([slice(0, k) for k in backward.shape])  # rows that a stride did not reach have no gradient
    np.testing.assert_allclose(given[0].grad.numpy()[known], backward, small, small * 10)
    for _ in range(3):  # the gradient by the weight is linear in what changes it
        change = rng.standard_normal(w.shape)
        moved = REGISTRY[f"conv{n}d"].reference(x, change, None, stride, padding, dilation, groups)
        np.testing.assert_allclose((given[1].grad.numpy() * change).sum(), (g * moved).sum(), small,
                                   small * np.abs(g * moved).sum())
    assert len(always) == (2 if stride == (1,) * n else 1)
