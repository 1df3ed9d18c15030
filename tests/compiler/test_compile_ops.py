"""Every op of the registry in a compiled function: values, first and second derivatives equal those of eager calls."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from registry.draw import cases, flat, floats, ops

import numbagrad as ng
from numbagrad.compiler import CaptureError

pytestmark = pytest.mark.filterwarnings("ignore")  # what the ops warn of is tested elsewhere

# Results whose shape depends on values, and Python values: (op, numbers of the samples).
BY_VALUE = {("one_hot", 1), ("masked_select", 0), ("masked_select", 1), ("nonzero", 0), ("nonzero", 1), ("argwhere", 0),
            ("repeat_interleave", 2), ("bincount", 0), ("bincount", 1), ("unique", 0), ("unique_consecutive", 0),
            ("nonzero_static", 0), ("nonzero_static", 1)}
# Truth values: each way that they come out is a variant.
DECISIONS = ("allclose", "equal")


def _order(op):
    """Elementwise ops share what makes their derivatives: a third of them goes to second order, where chains of dozens of
    loops are compiled, the others to first (``compiler_forms`` has all)."""
    return 2 if op.kind != "elementwise" or zlib.crc32(op.name.encode()) % 3 == 1 else 1


# Of a third of the others the last sample (or the first again) goes through the rules of first order alone, as each compiles
# loops that no other test needs.
CASES = [(op, 0, _order(op)) for op in ops()] + [
    (op, len(op.samples) - 1, 1) for op in ops()
    if op.name in dict(BY_VALUE) or op.kind != "elementwise" and (len(op.samples) > 1 or op.differentiable)
    and zlib.crc32(op.name.encode()) % 3 == 0]
NAMES = [f"{op.name}-{i}-{order}" for op, i, order in CASES]


def other_values(case, tensors):
    """The same tensors with their elements in another order, where the op takes them; as they are where it does not."""
    moved = [t if spec[0] == "constant" else ng.from_numpy(np.roll(t.detach().numpy().reshape(-1), 1).reshape(t.shape))
             for t, spec in zip(tensors, case.specs)]
    try:
        case.call([t.clone() for t in moved])
    except (RuntimeError, ValueError, IndexError):
        return [t.detach().clone() for t in tensors]
    return moved


def weights(outs):
    """What the outputs are multiplied by, the same in each call."""
    return [ng.linspace(0.5, 1.5, o.numel(), dtype=o.dtype).reshape(o.shape) for o in outs]


def derivatives(case, tensors, order=2):
    """[outputs, first derivatives, second derivatives]; None where there is none."""
    outs = flat(case.call(tensors))
    wanted = [tensors[k] for k in case.differentiable]
    tops = [o for o in floats(outs) if o.requires_grad]
    if not tops:
        return [outs, [], []]
    first = ng.autograd.grad(tops, wanted, weights(tops), create_graph=order == 2 and case.op.second_order, allow_unused=True)
    again = [g for g in first if g is not None and g.requires_grad]
    second = ng.autograd.grad(again, wanted, weights(again), allow_unused=True) if again else ()
    return [outs, list(first), list(second)]


def compare(found, wanted, rtol):
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted):
        assert (a is None) == (b is None)
        if isinstance(b, ng.Tensor):
            assert a.shape == b.shape and a.dtype == b.dtype
            np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=rtol, atol=rtol)
        else:
            assert a == b


@pytest.mark.parametrize("op, index, order", [c for c in CASES if (c[0].name, c[1]) not in BY_VALUE],
                         ids=[n for c, n in zip(CASES, NAMES) if (c[0].name, c[1]) not in BY_VALUE])
def test_compiled_equals_eager(op, index, order):
    case = cases(op)[index]
    differentiable = op.differentiable and case.differentiable

    def call(*tensors):
        return derivatives(case, tensors, order) if differentiable else flat(case.call(tensors))

    compiled = ng.compile(call)
    start = case.tensors()
    for values in (start, other_values(case, start)):
        given = [[t.detach().clone().requires_grad_(bool(differentiable) and k in case.differentiable)
                  for k, t in enumerate(values)] for _ in range(2)]
        wanted, found = call(*given[0]), compiled(*given[1])
        for a, b in zip(found, wanted) if differentiable else [(found, wanted)]:
            # Fused loops round a few products and sums differently; second derivatives are chains of dozens of them.
            compare(a, b, 1e-12 if b is wanted else 1e-10)
    assert len(compiled.variants) == 1 or op.name in DECISIONS  # the second call was a replay


@pytest.mark.parametrize("op, index", sorted(BY_VALUE))
def test_results_that_depend_on_values_are_refused(op, index):
    case = next(cases(o)[index] for o in ops() if o.name == op)

    def call(*tensors):
        args, kwargs = case.fill(tensors)
        return case.op.callable(*args, **kwargs)

    what = "a number read from a tensor" if op == "one_hot" else rf"{op}\(\)"
    with pytest.raises(CaptureError, match=rf"^ng\.compile: {what} at .*test_compile_ops\.py:\d+ "):
        ng.compile(call)(*case.tensors())
