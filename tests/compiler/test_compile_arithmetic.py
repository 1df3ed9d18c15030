"""Fused loops keep eager's arithmetic: what folds make of a loop's terms, parts that are written over, divisions by zero."""

import numpy as np
import pytest

import numbagrad as ng

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
