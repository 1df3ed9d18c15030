"""Random expression graphs: elementwise operations, broadcasting, views and reductions, against differences."""

import numpy as np
import pytest
from registry.check import check_first, check_second

import numbagrad as ng

hypothesis = pytest.importorskip("hypothesis", reason="draws the graphs")
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

# Smooth everywhere and bounded in growth, so that differences are exact enough at any depth.
UNARY = {
    "sin": lambda a: a.sin(), "cos": lambda a: a.cos(), "tanh": lambda a: a.tanh(), "sigmoid": lambda a: a.sigmoid(),
    "atan": lambda a: a.atan(), "erf": lambda a: a.erf(), "neg": lambda a: -a, "square": lambda a: 0.3 * a * a,
    "exp": lambda a: (0.3 * a.tanh()).exp(), "log": lambda a: (a * a + 1.5).log(), "sqrt": lambda a: (a * a + 1.5).sqrt(),
    "softplus": lambda a: ng.nn.functional.softplus(a), "silu": lambda a: ng.nn.functional.silu(a),
}
BINARY = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a.tanh() * b,
    "div": lambda a, b: a / (b * b + 1.5), "logaddexp": lambda a, b: ng.logaddexp(a, b),
    "atan2": lambda a, b: ng.atan2(a, b * b + 1.5), "lerp": lambda a, b: ng.lerp(a, b, 0.3),
}
SHAPED = {
    "transpose": lambda a: a.transpose(0, -1) if a.dim() > 1 else a,
    "row": lambda a: a[:1] if a.dim() and a.shape[0] else a,
    "mean": lambda a: a.mean(0, True) if a.dim() else a,
    "sum": lambda a: 0.3 * a.sum(-1, True) if a.dim() else a,
    "expand": lambda a: a.unsqueeze(0).expand(2, *a.shape) if a.dim() < 3 else a,
    "flatten": lambda a: a.reshape(-1) if a.dim() else a,
}

shapes = st.sampled_from([(), (1,), (3,), (2, 3), (2, 1), (1, 3), (2, 1, 3)])
steps = st.lists(st.tuples(st.sampled_from(sorted([*UNARY, *BINARY, *SHAPED])), st.integers(0, 30), st.integers(0, 30)),
                 min_size=1, max_size=9)


def evaluate(program, tensors):
    """Run a program: each step takes earlier results (any two whose shapes broadcast) and appends its own."""
    done = list(tensors)
    for name, i, j in program:
        a = done[i % len(done)]
        if name in BINARY:
            fits = [b for b in done if broadcasts(a.shape, b.shape)]
            done.append(BINARY[name](a, fits[j % len(fits)]))
        else:
            done.append((UNARY.get(name) or SHAPED[name])(a))
    return done[-1]


def broadcasts(a, b):
    try:
        return int(np.prod(np.broadcast_shapes(tuple(a), tuple(b)))) <= 36
    except ValueError:
        return False


def drawn(arguments, seed):
    rng = np.random.default_rng(seed)
    return [rng.uniform(-1.2, 1.2, s) for s in arguments]


def used(program, arrays):
    """Positions of the inputs that reach the result."""
    tensors = [ng.tensor(a, requires_grad=True) for a in arrays]
    out = evaluate(program, tensors)
    if not out.requires_grad:
        return []
    grads = ng.autograd.grad(out.sum(), tensors, allow_unused=True)
    return [i for i, g in enumerate(grads) if g is not None]


SETTINGS = settings(max_examples=60, deadline=None, derandomize=True, database=None)


@given(st.lists(shapes, min_size=1, max_size=3), steps, st.integers(0, 2**20))
@SETTINGS
def test_first_derivative(arguments, program, seed):
    arrays = drawn(arguments, seed)
    wanted = used(program, arrays)
    if wanted:
        check_first(lambda t: evaluate(program, t), arrays, wanted, seed)


@given(st.lists(shapes, min_size=1, max_size=2), steps, st.integers(0, 2**20))
@settings(SETTINGS, max_examples=30)
def test_second_derivative(arguments, program, seed):
    arrays = drawn(arguments, seed)
    wanted = used(program, arrays)
    if wanted:
        check_second(lambda t: evaluate(program, t), arrays, wanted, seed)


@given(st.lists(shapes, min_size=1, max_size=3), steps, st.integers(0, 2**20))
@SETTINGS
def test_value_and_gradient_match_torch(arguments, program, seed):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
    arrays = drawn(arguments, seed)
    ours = [ng.tensor(a, requires_grad=True) for a in arrays]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    swapped = {"logaddexp": torch.logaddexp, "atan2": lambda a, b: torch.atan2(a, b * b + 1.5),
               "lerp": lambda a, b: torch.lerp(a, b, 0.3), "softplus": torch.nn.functional.softplus,
               "silu": torch.nn.functional.silu}
    mine = {n: BINARY.get(n) or UNARY.get(n) for n in swapped}
    a = evaluate(program, ours)
    for n, f in swapped.items():
        (BINARY if n in BINARY else UNARY)[n] = f
    try:
        b = evaluate(program, theirs)
    finally:
        for n, f in mine.items():
            (BINARY if n in BINARY else UNARY)[n] = f
    assert tuple(a.shape) == tuple(b.shape)
    assert np.allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-12, atol=1e-13)
    if not a.requires_grad:
        return
    first = ng.autograd.grad(a.sum(), ours, allow_unused=True)
    second = torch.autograd.grad(b.sum(), theirs, allow_unused=True)
    assert [g is None for g in first] == [g is None for g in second]
    for g, h in zip(first, second):
        assert g is None or np.allclose(g.numpy(), h.numpy(), rtol=1e-11, atol=1e-12)
