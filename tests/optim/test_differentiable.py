"""Updates that autograd records: gradients through several steps, to second order, against PyTorch's."""

import numpy as np
import pytest
from optim_helpers import LIBRARIES, found_errors

import numbagrad as ng
from numbagrad.compiler.refusals import CaptureError

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
# Both libraries say so of the parameters, which are no leaves.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
CASES = [
    ("SGD", {"lr": 0.1}), ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.2, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "maximize": True}),
    ("Adam", {"lr": 0.1}), ("Adam", {"lr": 0.1, "amsgrad": True, "weight_decay": 0.1, "maximize": True}),
    ("AdamW", {"lr": 0.1}), ("AdamW", {"lr": 0.1, "betas": (0.5, 0.8), "amsgrad": True}),
    ("Adamax", {"lr": 0.1, "weight_decay": 0.1}), ("NAdam", {"lr": 0.1, "weight_decay": 0.1}),
    ("NAdam", {"lr": 0.1, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("RAdam", {"lr": 0.1, "betas": (0.5, 0.8), "weight_decay": 0.1}),
    ("RAdam", {"lr": 0.1, "betas": (0.5, 0.8), "weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True}),
    ("RMSprop", {"lr": 0.1}), ("RMSprop", {"lr": 0.1, "momentum": 0.5, "weight_decay": 0.1, "maximize": True}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "initial_accumulator_value": 0.1, "weight_decay": 0.1}),
    ("Adadelta", {"lr": 0.5, "weight_decay": 0.1, "eps": 1e-3}), ("ASGD", {"lr": 0.1, "t0": 2, "weight_decay": 0.1}),
    ("Rprop", {"lr": 0.1}),
]
STEPS = 5


def ident(case):
    return case[0] + "-" + "-".join(f"{k}={v}" for k, v in case[1].items())


# PyTorch writes to what their derivatives need, in the second step.
ONE_STEP = [case for case in CASES if case[1].get("amsgrad") or case[0] in ("Adamax", "Rprop")]


def inner(lib, name, options, start, steps=STEPS):
    """The parameters after some steps on a curved loss, whose gradients are parts of the graph."""
    p = start.clone()
    optimizer = getattr(lib.optim, name)([p], differentiable=True, **options)
    for k in range(steps):
        with lib.enable_grad():
            q = p.clone()  # the graph keeps this one, which the step leaves alone
            q.requires_grad_()
            loss = ((q - 1) ** 2).sum() + (q ** 4).sum() * 0.1 + q.prod() * k
            (p.grad,) = lib.autograd.grad(loss, q, create_graph=True)
        optimizer.step()
    return p, optimizer


@pytest.mark.parametrize("case", CASES, ids=ident)
def test_gradients_through_steps(case):
    results = []
    for lib in LIBRARIES:
        start = lib.tensor([0.5, -0.75, 1.5], dtype=lib.float64, requires_grad=True)
        p, optimizer = inner(lib, *case, start, 1 if case in ONE_STEP else STEPS)
        first = lib.autograd.grad((p ** 3).sum(), start, create_graph=True)[0]
        second = lib.autograd.grad((first ** 2).sum(), start)[0] if first.requires_grad else first
        state = optimizer.state_dict()["state"].get(0, {})
        results.append([t.detach().numpy() for t in (p, first, second)])
        results[-1].append({name: (t.item() if t.dim() == 0 else t.tolist()) for name, t in state.items()})
    # PyTorch computes Adam's corrections of the bias in float32.
    tolerance = 1e-4 if case[0].startswith("Adam") else 1e-5 if case[0] == "NAdam" else 1e-9
    for a, b in zip(results[0][:3], results[1][:3], strict=True):
        assert np.allclose(a, b, rtol=tolerance, atol=tolerance)
    for name, value in results[1][3].items():
        assert np.allclose(results[0][3][name], value, rtol=tolerance), name


@pytest.mark.parametrize("case", ONE_STEP, ids=ident)
def test_derivatives_of_several_steps(case):
    start = ng.tensor([0.5, -0.75, 1.5], dtype=ng.float64, requires_grad=True)
    assert ng.autograd.gradcheck(lambda x: inner(ng, *case, x)[0], [start])
    if case[0] != "Rprop":  # whose steps are constants
        assert ng.autograd.gradgradcheck(lambda x: inner(ng, *case, x)[0], [start])


def test_the_same_values_as_without():
    for name, options in CASES:
        ends = []
        for flag in (False, True):
            p = ng.tensor([0.5, -0.75, 1.5], dtype=ng.float64, requires_grad=True)
            p = p.clone() if flag else p
            optimizer = getattr(ng.optim, name)([p], differentiable=flag, **options)
            for k in range(STEPS):
                (p.grad,) = ng.autograd.grad(((p - 1) ** 2).sum() * (k + 1), p)
                optimizer.step()
            ends.append(p.detach().numpy())
        assert np.allclose(*ends, rtol=1e-8), name


@pytest.mark.parametrize("name, setting", [
    ("SGD", "lr"), ("SGD", "weight_decay"), ("Adam", "lr"), ("AdamW", "lr"), ("Adam", "weight_decay"), ("Adam", "betas"),
])
def test_gradients_of_settings(name, setting):
    results = []
    for lib in LIBRARIES:
        start = lib.tensor([0.5, -0.75, 1.5], dtype=lib.float64, requires_grad=True)
        values = [0.5, 0.8] if setting == "betas" else [0.1]
        given = [lib.tensor(v, dtype=lib.float64, requires_grad=True) for v in values]
        options = {"lr": 0.1, setting: tuple(given) if setting == "betas" else given[0]}
        p = start.clone()
        optimizer = getattr(lib.optim, name)([p], differentiable=True, **options)
        for k in range(3):
            p.grad = lib.tensor([0.3, -0.2, 0.1], dtype=lib.float64) * (k + 1)
            optimizer.step()
        results.append([g.numpy() for g in lib.autograd.grad((p ** 2).sum(), [start, *given])])
    for a, b in zip(*results, strict=True):
        assert np.allclose(a, b, rtol=1e-4)


def test_one_rate_learnt_by_another_optimizer():
    """The learning rate of an inner loop, by gradient descent on where it ends."""
    results = []
    for lib in LIBRARIES:
        rate = lib.tensor(0.05, dtype=lib.float64, requires_grad=True)
        outer = lib.optim.SGD([rate], lr=1e-3)
        found = []
        for _ in range(5):
            start = lib.tensor([0.5, -0.75, 1.5], dtype=lib.float64)
            p, _ = inner(lib, "SGD", {"lr": rate}, start.requires_grad_())
            loss = ((p - 1) ** 2).sum()
            outer.zero_grad()
            loss.backward()
            outer.step()
            found.append((loss.item(), rate.item()))
        results.append(found)
    assert np.allclose(*results, rtol=1e-9) and results[0][-1][0] < results[0][0][0]


def test_errors():
    def leaf(lib):
        p = lib.ones(2, requires_grad=True)
        p.grad = lib.ones(2)
        lib.optim.SGD([p], differentiable=True).step()

    def counted(lib):
        p = lib.ones(2, requires_grad=True).clone()
        p.grad = lib.ones(2)
        optimizer = lib.optim.Adam([p], differentiable=True)
        optimizer.step()
        optimizer.state[p]["step"].requires_grad_()
        optimizer.step()
    for name in ("SGD", "Adam", "AdamW", "Adagrad"):
        ours, theirs = found_errors(lambda lib, name=name: getattr(lib.optim, name)(
            [lib.ones(2, requires_grad=True)], fused=True, differentiable=True))
        assert ours == theirs
    for action in (leaf, counted):
        ours, theirs = found_errors(action)
        assert ours == theirs


def test_made_inside_a_compiled_step():
    """A program cannot keep an optimizer whose parameters are made anew in every call: it says so."""
    w = ng.tensor([0.5, -0.75, 1.5], requires_grad=True)

    @ng.compile
    def step():
        p, _ = inner(ng, "Adam", {"lr": 0.05}, w)
        loss = ((p - 1) ** 2).sum()
        loss.backward()
        return loss
    with pytest.raises(CaptureError, match="held outside of it when it returns"):
        step()
