"""``grad`` and ``backward(inputs=...)`` compute the gradients on the way to what is asked for, and no others, as in PyTorch."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")

CALLS = {
    "mul": (lambda m, a, b: a * b, (3, 4), (3, 4)), "mul row": (lambda m, a, b: a * b, (3, 4), (4,)),
    "div": (lambda m, a, b: a / (b * b + 1), (3, 4), (3, 4)), "atan2": (lambda m, a, b: m.atan2(a, b), (5,), (5,)),
    "pow": (lambda m, a, b: (a * a + 1) ** b, (5,), (5,)), "where": (lambda m, a, b: m.where(a > 0, a, b), (5,), (5,)),
    "addcmul": (lambda m, a, b, c: m.addcmul(a, b, c, value=2), (3, 4), (3, 4), (4,)),
    "mm": (lambda m, a, b: a @ b, (3, 4), (4, 5)), "mv": (lambda m, a, b: a @ b, (3, 4), (4,)),
    "dot": (lambda m, a, b: a @ b, (4,), (4,)), "bmm": (lambda m, a, b: m.bmm(a, b), (2, 3, 4), (2, 4, 5)),
    "matmul": (lambda m, a, b: a @ b, (2, 3, 4), (4, 5)), "large mm": (lambda m, a, b: a @ b, (70, 80), (80, 90)),
    "turned mm": (lambda m, a, b: a.t() @ b, (4, 3), (4, 5)),
    "addmm": (lambda m, a, b, c: m.addmm(c, a, b), (3, 4), (4, 5), (5,)),
    "linear": (lambda m, a, b, c: m.nn.functional.linear(a, b, c), (3, 4), (5, 4), (5,)),
    "linear 3d": (lambda m, a, b, c: m.nn.functional.linear(a, b, c), (2, 3, 4), (5, 4), (5,)),
    "large linear": (lambda m, a, b, c: m.nn.functional.linear(a, b, c), (70, 80), (90, 80), (90,)),
    "conv2d": (lambda m, a, b, c: m.nn.functional.conv2d(a, b, c), (2, 3, 6, 6), (4, 3, 3, 3), (4,)),
    "layer_norm": (lambda m, a, b, c: m.nn.functional.layer_norm(a, (4,), b, c), (3, 4), (4,), (4,)),
    "batch_norm": (lambda m, a, b, c: m.nn.functional.batch_norm(a, None, None, b, c, True), (5, 4), (4,), (4,)),
    "prelu": (lambda m, a, b: m.nn.functional.prelu(a, b), (3, 4), (1,)),
    "bilinear": (lambda m, a, b, c: m.nn.functional.bilinear(a, b, c), (3, 4), (3, 5), (2, 4, 5)),
    "cat": (lambda m, a, b: m.cat([a, b]), (3, 4), (2, 4)), "complex": (lambda m, a, b: m.complex(a, b).abs(), (3, 4), (4,)),
    "solve": (lambda m, a, b: m.linalg.solve(a, b), (3, 3), (3, 2)),
    "lerp": (lambda m, a, b, c: m.lerp(a, b, c), (5,), (5,), (5,)),
    "mse": (lambda m, a, b: m.nn.functional.mse_loss(a, b), (5,), (5,)),
    "tanh": (lambda m, a, b, c: m.tanh(a @ b + c) * b.sum(), (3, 4), (4, 5), (5,)),
}
NAMES = sorted(CALLS)


def inputs(m, shapes):
    rng = np.random.default_rng(0)
    return [m.tensor(rng.standard_normal(s), requires_grad=True) for s in shapes]


def subsets(n):
    return [c for k in range(1, n + 1) for c in itertools.combinations(range(n), k)]


@pytest.mark.parametrize("name", NAMES)
def test_values(name):
    fn, *shapes = CALLS[name]
    every = ng.autograd.grad(fn(ng, *(leaves := inputs(ng, shapes))).sum(), leaves)
    theirs = torch.autograd.grad(fn(torch, *(leaves := inputs(torch, shapes))).sum(), leaves)
    for some in subsets(len(shapes)):
        for recorded in (False, True):
            leaves = inputs(ng, shapes)
            found = ng.autograd.grad(fn(ng, *leaves).sum(), [leaves[i] for i in some], create_graph=recorded)
            for i, g in zip(some, found):
                np.testing.assert_allclose(g.detach().numpy(), theirs[i].numpy(), rtol=1e-10, atol=1e-12)
                np.testing.assert_allclose(g.detach().numpy(), every[i].numpy(), rtol=1e-13, atol=1e-13)
        leaves = inputs(ng, shapes)
        fn(ng, *leaves).sum().backward(inputs=[leaves[i] for i in some])
        for i, x in enumerate(leaves):
            assert (x.grad is not None) == (i in some)
            assert i not in some or np.allclose(x.grad.numpy(), every[i].numpy(), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("name", NAMES)
def test_second_gradients(name):
    fn, *shapes = CALLS[name]
    found = []
    for m in (ng, torch):
        leaves = inputs(m, shapes)
        g, = m.autograd.grad((fn(m, *leaves) ** 2).sum(), leaves[:1], create_graph=True)
        found.append(m.autograd.grad((g * g).sum(), leaves, allow_unused=True))
        leaves = inputs(m, shapes)
        g, = m.autograd.grad((fn(m, *leaves) ** 2).sum(), leaves[:1], create_graph=True)
        found[-1] += m.autograd.grad((g * g).sum(), leaves[-1:], allow_unused=True)
    for a, b in zip(*found):
        assert (a is None) == (b is None)
        assert a is None or np.allclose(a.numpy(), b.numpy(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["mul", "mul row", "atan2", "addcmul", "mm", "dot", "bmm", "large mm", "conv2d", "layer_norm",
                                  "prelu"])
def test_no_others(name):
    """A hook of the node sees no gradient for the inputs that nobody asked for."""
    fn, *shapes = CALLS[name]
    for some in subsets(len(shapes)):
        for recorded in (False, True):
            said = []
            for m in (ng, torch):
                leaves = inputs(m, shapes)
                y = fn(m, *leaves)
                y.grad_fn.register_hook(lambda gs, _, to=said: to.append([g is None for g in gs]))
                m.autograd.grad(y.sum(), [leaves[i] for i in some], create_graph=recorded)
            assert said[0] == said[1], (some, said)
