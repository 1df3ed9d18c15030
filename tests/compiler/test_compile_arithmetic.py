"""Fused loops keep eager's arithmetic: what folds make of a loop's terms, parts that are written over, divisions by zero."""

import warnings

import numpy as np
import pytest

import numbagrad as ng
import numbagrad.nn.functional as F

REDUCTIONS = {
    "prod": lambda x: (x * 2).prod(),
    "prod of rows": lambda x: (x.reshape(6, 20) + 1).prod(1),
    "prod of exp": lambda x: x.exp().prod(0),
    "prod and sum": lambda x: (x * 2).prod(1).sum() + (x * 2).sum(),
    "mean over three": lambda x: (x * 2).mean((0, 2, 3)),
    "mean over outer ones": lambda x: (x * 2).mean((0, 2)),
    "mean and sum": lambda x: (x - 1).mean((1, 3)) + (x - 1).sum((1, 3)),
    "mean of a mean": lambda x: (x * 2).mean((0, 2)).mean(1),
    "variance": lambda x: (x * 2).var((0, 2, 3)),
    "nansum": lambda x: (x / (x > 0)).nansum((0, 2)),
    "amax": lambda x: (x * 2).amax((0, 3)),
    "count": lambda x: (x > 0).count_nonzero((0, 2)).to(x.dtype),
    "logsumexp": lambda x: (x * 2).logsumexp((1, 3)),
    "norm": lambda x: (x * 2).norm(2, (0, 2)),
}


@pytest.mark.parametrize("name, dtype", [*[(n, ng.float64) for n in REDUCTIONS], *[(n, ng.float32) for n in (
    "prod of rows", "mean over three", "variance", "nansum")]], ids=str)
def test_folds_over_the_terms_of_a_loop(name, dtype):
    """Only sums ride on the loop, and what ends a fold comes after its last stage."""
    x = ng.linspace(-1.1, 1.3, 120, dtype=dtype).reshape(2, 3, 4, 5)

    def step(x):
        y = REDUCTIONS[name](x)
        return y, ng.autograd.grad((y * y).sum(), x)[0] if y.requires_grad else y
    found, wanted = ng.compile(step)(x.clone().requires_grad_()), step(x.clone().requires_grad_())
    exact = 1e-5 if dtype is ng.float32 else 1e-12
    for a, b in zip(found, wanted):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=exact, atol=1e-12)


@pytest.mark.parametrize("how", ["zero", "fill", "copy"])
def test_a_part_that_is_written_over_before_it_is_read(how):
    def step(x):
        y = x * 1.0
        y[0:1] = y[-1:].clone()
        y.zero_() if how == "zero" else y.fill_(2.0) if how == "fill" else y.copy_(x + 1)
        return y.sum()
    x = ng.ones(3, 4)
    assert ng.compile(step)(x).item() == step(x).item()


DIVISIONS = {
    "floor": lambda a, b: a // b,
    "remainder": lambda a, b: a % b,
    "fmod": lambda a, b: ng.fmod(a, b),
    "number": lambda a, b: 7 // b,
    "trunc": lambda a, b: ng.div(a, b, rounding_mode="trunc"),
    "in place": lambda a, b: a.clone().remainder_(b),
    "inside a sum": lambda a, b: (a // b * 2).sum(),
}


@pytest.mark.parametrize("name", DIVISIONS)
def test_integer_divisions_by_zero_are_refused_in_every_run(name):
    a, good, bad = ng.tensor([4, 5, 6]), ng.tensor([2, 1, 3]), ng.tensor([2, 0, 3])
    with pytest.raises(RuntimeError, match="^ZeroDivisionError$"):
        ng.compile(DIVISIONS[name])(a, bad)
    step = ng.compile(DIVISIONS[name])
    assert ng.equal(step(a, good), DIVISIONS[name](a, good))
    with pytest.raises(RuntimeError, match="^ZeroDivisionError$"):
        step(a, bad)
    assert ng.equal(step(a, good), DIVISIONS[name](a, good)) and len(step.variants) == 1


LARGE = (2**60, 2**60 + 64, 2**62, 2**63 - 1, -2**63)


@pytest.mark.parametrize("number", LARGE)
def test_large_integers_are_no_addresses(number):
    """Captures and plans have memory at addresses from 2 ** 60 on."""
    ignored = max(number, -2**63 + 1)

    def step(x, y):
        return [x + number, x == number, x.masked_fill(x > 1, number), x.new_full((2,), number), x.clamp(min=number),
                F.cross_entropy(y, x[:2], ignore_index=ignored), F.nll_loss(y, x[:2], ignore_index=ignored, reduction="none"),
                ng.randint(ignored, ignored + 1, (2,)) if number < 2**63 - 1 else x, ng.nextafter(y.double(), y[0, 0].double())]
    x, y = ng.tensor([0, 1, 2]), ng.tensor([[0.5, 1.0], [2.0, -1.0]])
    wanted = [t.tolist() for t in step(x, y)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compiled = ng.compile(step)
        for _ in range(3):
            assert [t.tolist() for t in compiled(x, y)] == wanted
    for _ in range(20):
        assert [t.tolist() for t in step(x, y)] == wanted


@pytest.mark.parametrize("stride", (1, 2**60))
def test_large_numbers_of_a_geometry(stride):
    x, w = ng.ones(2, 3, 4), ng.ones(5, 3, 2)
    step = ng.compile(lambda x, w: F.conv1d(x, w, stride=stride))
    for _ in range(3):
        assert step(x, w).unique().tolist() == [6.0] and step(x, w).shape == (2, 5, 3 if stride == 1 else 1)
