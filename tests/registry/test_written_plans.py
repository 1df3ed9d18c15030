"""In-place forms and ``out=`` of every op do what its call does, as often as they come: without a plan and with one, whatever
lies where the result goes, and whether something is recorded."""

import functools
import inspect
import re

import numpy as np
import pytest

import numbagrad as ng
from numbagrad.core import replay
from numbagrad.core.registry import REGISTRY
from numbagrad.dispatch import plan
from numbagrad.dispatch.sampling import Case, flat

replay.start()
KNOWN = {"float_power", "polygamma", "ldexp"}  # whose in-place form has other arguments or rounds once more
VIEWS = {"as_strided", "squeeze", "swapaxes", "swapdims", "t", "transpose", "unsqueeze"}  # that write nothing
SAMPLED = [(op, i) for op in REGISTRY.values() for i in range(min(2, len(op.samples))) if not op.random]
INPLACE = [(op.name, i) for op, i in SAMPLED if op.method and hasattr(ng.Tensor, op.method + "_") and op.name not in KNOWN]
INTO = [(op.name, i) for op, i in SAMPLED if "out" in inspect.signature(op.callable).parameters]
UNFIT = "can't be cast|doesn't match|requires dtype|with shape|not supported|tuple of|should be of|same dtype"  # refused


def sliced(t):
    wide = ng.zeros([2 * n + 1 for n in t.shape], dtype=t.dtype).fill_(7)
    part = wide[tuple([slice(1, None, 2)] * t.dim())]
    part.copy_(t)
    return part, wide


def given(case, number):
    """Tensors with the numbers of a case in another order."""
    rng = np.random.default_rng(number)
    arrays = [rng.permutation(a.reshape(-1)).reshape(a.shape) if a.dtype.kind in "fc" and spec[0] != "constant" else a
              for a, spec in zip(case.arrays, case.specs)]
    return case.tensors("float32", False, arrays)


def expected(case, tensors):
    return [t.detach().clone() for t in flat(case.call([t.clone() for t in tensors]))]


def change(case, tensors):
    """The in-place form, as the sample calls it."""
    return case.call(tensors, getattr(ng.Tensor, case.op.method + "_"))


def fill(case, tensors, out):
    """The call with ``out=``."""
    return case.call(tensors, functools.partial(case.op.callable, out=out))


def same(a, b):
    np.testing.assert_array_equal(a.detach().resolve_conj().numpy(), b.detach().resolve_conj().numpy())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("layout", ["row_major", "sliced"])
@pytest.mark.parametrize("name,index", INPLACE, ids=[f"{n}-{i}" for n, i in INPLACE])
def test_in_place(name, index, layout, monkeypatch):
    monkeypatch.setattr(plan, "TIMES", 2)
    case = Case(REGISTRY[name], index)
    for number in range(5):  # the plan is made in the first or second call
        tensors = given(case, number)
        try:
            wanted, = expected(case, tensors)
            target, around = sliced(tensors[0]) if layout == "sliced" and tensors[0].dim() else (tensors[0].clone(), None)
            version = target._version
            given_ = [target, *tensors[1:]]
            before = [t.clone() for t in given_[1:]]
            got = change(case, given_)
        except RuntimeError as error:
            assert re.search(UNFIT, str(error)), error
            pytest.skip("not in place for this sample")
        assert got is target and target._version > version
        if name not in VIEWS:
            same(target, wanted.to(target.dtype))
            assert target._version == version + 1
        for a, b in zip(given_[1:], before):
            same(a, b)
        if around is not None:
            assert (around[::2] == around.new_full((), 7)).all()
    # Nothing may be written behind the back of a history, and a leaf only where nothing is recorded.
    if not target.is_floating_point() or name in VIEWS or name.startswith("logical"):  # (which PyTorch lets write leaves)
        return
    leaf = given(case, 8)[0].requires_grad_()
    with pytest.raises(RuntimeError, match="leaf Variable that requires grad|a view of a leaf"):
        change(case, [leaf, *tensors[1:]])
    with ng.no_grad():
        wanted, = expected(case, [leaf.detach(), *tensors[1:]])
        change(case, [leaf, *tensors[1:]])
        same(leaf, wanted.to(leaf.dtype))
    if not case.op.differentiable:
        return
    grads = []
    for inplace in (False, True):
        x = given(case, 9)[0].requires_grad_()
        y = x * 1
        y = change(case, [y, *tensors[1:]]) if inplace else flat(case.call([y, *tensors[1:]]))[0]
        if not y.requires_grad:
            return
        y.backward(ng.linspace(0.5, 1.5, y.numel()).reshape(y.shape).to(y.dtype))
        grads.append(x.grad)
    same(*grads)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("layout", ["row_major", "sliced"])
@pytest.mark.parametrize("name,index", INTO, ids=[f"{n}-{i}" for n, i in INTO])
def test_out(name, index, layout, monkeypatch):
    monkeypatch.setattr(plan, "TIMES", 2)
    case = Case(REGISTRY[name], index)
    for number in range(5):
        tensors = given(case, number)
        wanted = expected(case, tensors)
        outs, around = [], None
        for w in wanted:
            out, around = sliced(w) if layout == "sliced" and w.dim() else (w.clone(), None)
            out.fill_(3)
            outs.append(out)
        versions = [o._version for o in outs]
        try:
            got = flat(fill(case, tensors, outs[0] if len(outs) == 1 else tuple(outs)))
        except RuntimeError as error:
            assert re.search(UNFIT, str(error)), error
            pytest.skip("no out= for this sample")
        for g, o, w, v in zip(got, outs, wanted, versions, strict=True):
            assert g is o and o._version > v
            same(o, w)
        if around is not None:
            assert (around[::2] == around.new_full((), 7)).all()
    # An operand in the memory of the result, and one with history.
    if len(outs) > 1 or not outs[0].is_floating_point() or not outs[0].dim():
        return
    tensors = given(case, 8)
    if tensors and tensors[0].shape == outs[0].shape and tensors[0].dtype is outs[0].dtype:
        wanted, = expected(case, tensors)
        fill(case, tensors, tensors[0])
        same(tensors[0], wanted)
    tensors = [t.requires_grad_() if t.is_floating_point() else t for t in given(case, 9)]
    if case.op.differentiable and any(t.requires_grad for t in tensors):
        with pytest.raises(RuntimeError, match="don't support automatic differentiation"):
            fill(case, tensors, outs[0])
