"""Planned calls (``dispatch.plan``) do for other values what calls without a plan do, forward and backward, to the last bit."""

import numpy as np
import pytest

import numbagrad as ng
from numbagrad.core import replay
from numbagrad.core.registry import REGISTRY
from numbagrad.dispatch import plan
from numbagrad.dispatch.sampling import Case, flat

replay.start()
CASES = [(op.name, i) for op in REGISTRY.values() if op.kind != "function" or op.samples for i in range(len(op.samples))
         if not op.random]


def other(case, number):
    """The arrays of a case with other floating-point values: the same numbers in another order."""
    rng = np.random.default_rng(number)
    out = []
    for a, spec in zip(case.arrays, case.specs):
        out.append(rng.permutation(a.reshape(-1)).reshape(a.shape) if a.dtype.kind in "fc" and spec[0] != "constant" else a)
    return out


def turned(t):
    return t.transpose(0, -1).contiguous().transpose(0, -1)


def sliced(t):
    wide = ng.zeros([2 * n + 1 for n in t.shape], dtype=t.dtype)
    part = wide[tuple([slice(1, None, 2)] * t.dim())]
    part.copy_(t)
    return part.detach()


LAYOUTS = {"row_major": lambda t: t, "turned": turned, "sliced": sliced, "expanded": lambda t: t[:1].expand(t.shape)}


def layouts(tensors, layout):
    """The tensors in memory of another order."""
    out = []
    for t in tensors:
        if t.dim() and t.numel() and layout != "row_major":
            changed = LAYOUTS[layout](t.detach())
            t = changed.requires_grad_() if t.requires_grad else changed
        out.append(t)
    return out


def run(case, arrays, layout):
    """Arrays of all results and gradients of one call."""
    tensors = layouts(case.tensors("float32", case.op.differentiable, arrays), layout)
    outs = flat(case.call(tensors))
    found = [t.detach().numpy().copy() for t in outs]
    ready = [t for t in outs if t.requires_grad]
    if ready:
        grads = [ng.linspace(0.5, 1.5, t.numel()).reshape(t.shape).to(t.dtype) for t in ready]
        ng.autograd.backward(ready, grads)
        found += [None if t.grad is None else t.grad.numpy().copy() for t in tensors]
    return found


def attempt(*args):
    try:
        return run(*args)
    except (RuntimeError, NotImplementedError, ValueError, IndexError) as error:
        return str(error)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name,index", CASES, ids=[f"{n}-{i}" for n, i in CASES])
def test_plans_do_what_calls_do(name, index, layout, monkeypatch):
    monkeypatch.setattr(plan, "TIMES", 2)
    case = Case(REGISTRY[name], index)
    for number in range(3):  # the plan is made in the second call
        attempt(case, other(case, number), layout)
    arrays = other(case, 7)
    planned = attempt(case, arrays, layout)
    plan.forget()
    monkeypatch.setattr(plan, "due", lambda *args: False)
    plain = attempt(case, arrays, layout)
    if isinstance(plain, str):
        assert planned == plain
        return
    assert len(planned) == len(plain)
    for a, b in zip(planned, plain):
        assert (a is None) == (b is None)
        if a is not None:
            assert a.dtype == b.dtype and a.shape == b.shape
            np.testing.assert_array_equal(a, b)
