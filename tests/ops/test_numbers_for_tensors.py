"""Numbers in place of tensors: every elementwise op takes them where PyTorch does, and refuses them with its error."""

import itertools
import warnings

import numpy as np
import pytest

import numbagrad as ng
from numbagrad.core.registry import REGISTRY

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")

PUBLIC = sorted({(space, name, len(op.tensors), op.takes_numbers in ("none", "later") and name == op.name)
                 for op in list(REGISTRY.values()) if op.kind == "elementwise"
                 for space in op.namespaces for name in (op.name, *op.aliases)})
INTEGERS = ("gcd", "lcm", "bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_left_shift", "bitwise_right_shift")


def found(lib, space, name):
    for part in space.split(".") if space != "torch" else ():
        lib = getattr(lib, part)
    return getattr(lib, name, None)


def outcome(function, args):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            result = function(*args)
        except (TypeError, AttributeError, RuntimeError) as e:
            return type(e).__name__, str(e)
    return str(result.dtype).split(".")[1], result.tolist()


def arguments(lib, name, pattern, number):
    t = lib.tensor([1, 2, 3]) if name in INTEGERS else lib.tensor([0.5, 0.25, 0.75])
    return [t if p == "t" else number for p in pattern]


@pytest.mark.parametrize("space, name, count, strict", PUBLIC)
def test_functions(space, name, count, strict):
    """Where numbers are refused the error is PyTorch's, under the op's own name."""
    mine, theirs = found(ng, space, name), found(torch, space, name)
    if theirs is None or space == "nn.functional":
        pytest.skip("PyTorch has no such function, or one in Python that takes the attributes of what it gets")
    for pattern in itertools.product("tn", repeat=count):
        for number in (2, 2.0):
            if "n" not in pattern:
                continue
            a, b = (outcome(f, arguments(lib, name, pattern, number)) for f, lib in ((mine, ng), (theirs, torch)))
            assert a[0] == b[0], (pattern, a, b)
            if b[0] == "TypeError" and strict:
                assert a[1] == b[1], pattern
            elif not b[0].endswith("Error"):
                np.testing.assert_allclose(a[1], b[1], rtol=1e-5)


@pytest.mark.parametrize("name", ["ldexp_", "atan2_", "hypot_", "gcd_", "lcm_", "logical_and_", "logical_or_", "logical_xor_",
                                  "heaviside_", "eq_", "lt_", "copysign_", "fmod_", "clamp_min_"])
def test_in_place(name):
    args = {lib: arguments(lib, name[:-1], "tn", 2) for lib in (ng, torch)}
    a, b = (outcome(getattr(lib.Tensor, name), args[lib]) for lib in (ng, torch))
    assert a == b
    assert args[ng][0].tolist() == args[torch][0].tolist()


@pytest.mark.parametrize("name", ["add", "sub", "mul", "div", "true_divide", "floor_divide", "multiply", "subtract", "divide"])
@pytest.mark.parametrize("x, y", [(2, 3), (2, 2.5), (True, 2), (7.5, 2), (2, 3 + 1j), (True, False)])
def test_arithmetic_of_numbers(name, x, y):
    """The result is a tensor of the dtype that the numbers have."""
    a, b = outcome(getattr(ng, name), (x, y)), outcome(getattr(torch, name), (x, y))
    assert a[0] == b[0]
    assert b[0].endswith("Error") or a == b


@pytest.mark.parametrize("name", ["maximum", "hypot", "atan2", "logaddexp", "copysign", "fmod", "eq", "addcmul"])
def test_derivatives_and_transforms_may_have_numbers(name):
    """What the library computes itself is not asked: derivatives of derivatives, batches, dual numbers."""
    op = REGISTRY[name]
    x = ng.tensor([0.5, 2.0, 3.0], dtype=ng.float64).requires_grad_()
    others = [ng.tensor([1.0, 0.5, 4.0], dtype=ng.float64)] * (len(op.tensors) - 1)
    y = op.mixed((x, 1.5, 1.5)[:len(op.tensors)])(*(x, 1.5, 1.5)[:len(op.tensors)])
    assert y.shape == (3,)
    whole = op.call(x, *others)
    if whole.requires_grad:
        (g,) = ng.autograd.grad(whole.sum(), x, create_graph=True)
        if g.requires_grad:
            ng.autograd.grad(g.sum(), x, allow_unused=True)
    assert ng.func.vmap(lambda t: op.call(t, *[o[0] for o in others]))(x.detach()).shape == (3,)
    ng.func.jvp(lambda t: op.call(t, *others), (x.detach(),), (ng.ones_like(x),))
