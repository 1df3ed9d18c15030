"""Every op's gradients: against differences to second order, fused against recorded, and against PyTorch."""

import functools

import numpy as np
import pytest
from registry.check import (
    analytic,
    check_first,
    check_second,
    close,
    dense,
    grad_outputs,
    movement,
    ulps,
    weights,
)
from registry.draw import Case, cases, floats, ids, ops, to_numpy
from registry.known import GRADIENTS, LESS_EXACT, NODES, TERMS
from registry.oracle import names, torch_arguments, torch_function, torch_values
from test_ops_values import point_case

import numbagrad as ng

FLOAT32_ULPS = 32  # a gradient is a product of several roundings
DIFFERENTIABLE = [op for op in ops(differentiable=True) if op.dtypes in ("any", "float")]


def graded(op):
    """Cases whose tensors can carry a gradient, with their positions."""
    for case in cases(op):
        if case.differentiable:
            yield case, case.differentiable


@pytest.mark.parametrize("op", DIFFERENTIABLE, ids=ids)
def test_first_derivative(op):
    for case, wanted in graded(op):
        check_first(case.call, case.arrays, wanted)


@pytest.mark.parametrize("op", [op for op in DIFFERENTIABLE if op.second_order], ids=ids)
def test_second_derivative(op):
    for case, wanted in graded(op):
        # One sample with an upstream gradient per family of shapes is enough: differences cost two calls an element.
        if case.index < 3:
            check_second(case.call, case.arrays, wanted)


@pytest.mark.parametrize("op", DIFFERENTIABLE, ids=ids)
def test_fused_backward_equals_recorded(op):
    for case, wanted in graded(op):
        ws = grad_outputs(case.call, case.arrays, wanted, 0)
        if ws:
            fused = dense(analytic(case.call, case.arrays, wanted, ws)[0], case.arrays, wanted)
            recorded = dense(analytic(case.call, case.arrays, wanted, ws, True)[0], case.arrays, wanted)
            close(fused, recorded, repr(case), 1e-13, 1e-13)


@pytest.mark.parametrize("op", [op for op in DIFFERENTIABLE if not op.private], ids=ids)
def test_float32_gradient_agrees_with_float64(op):
    for case, wanted in graded(op):
        if op.kind == "elementwise" and len({a.shape for a in case.arrays}) > 1:
            continue  # the loops over broadcast operands are the same text: float64 tries them
        ws = [w.astype(np.float32) for w in grad_outputs(case.call, case.arrays, wanted, 0)]
        if not ws:
            continue
        wide = analytic(case.call, case.arrays, wanted, [w.astype(np.float64) for w in ws])[0]
        narrow_arrays = [a.astype(np.float32) if a.dtype == np.float64 else a for a in case.arrays]
        tensors = [ng.tensor(a) for a in narrow_arrays]
        for k in wanted:
            tensors[k].requires_grad_()
        outputs = [o for o in floats(case.call(tensors)) if o.requires_grad]
        narrow = ng.autograd.grad(outputs, [tensors[k] for k in wanted],
                                  [ng.tensor(w).to(o.dtype) for w, o in zip(ws, outputs)], allow_unused=True)

        @functools.cache
        def moved(case=case, wanted=wanted, ws=ws):
            n = len(case.arrays)
            if op.name in TERMS:
                return [np.abs(ws[0]) * TERMS[op.name][1](case.arrays[0])]
            return movement(lambda v: dense(analytic(case.call, v[:n], wanted, v[n:])[0], v, wanted), [*case.arrays, *ws])
        for k, (w, n) in enumerate(zip(wide, narrow)):
            assert (w is None) == (n is None)
            if w is not None:
                assert n.dtype is ng.float32
                ulps(n.double().numpy(), w.numpy(), np.float32, FLOAT32_ULPS if op.tolerance is None else 4 * op.tolerance,
                     repr(case), lambda k=k: moved()[k])


def both_orders(lib, outputs, tensors, wanted, ws, us, second):
    """First gradients, and second ones of their weighted sum, in one of the two libraries."""
    inputs = [tensors[k] for k in wanted]
    first = lib.autograd.grad(outputs, inputs, ws, create_graph=second, allow_unused=True)
    later = [None] * len(wanted)
    if second:
        pairs = [(g, u) for g, u in zip(first, us) if g is not None and g.requires_grad]
        if pairs:
            later = lib.autograd.grad([g for g, _ in pairs], inputs, [u for _, u in pairs], allow_unused=True)
    return first, later


@pytest.mark.parametrize("op", DIFFERENTIABLE, ids=ids)
def test_gradients_match_torch(op):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
    f = torch_function(op)
    if f is None:
        pytest.skip(f"PyTorch has no function for {op.name}")
    if op.name in GRADIENTS:
        pytest.skip(GRADIENTS[op.name])
    for case, wanted in graded(op):
        theirs_in, ours_in = torch_arguments(case, True), case.tensors(requires_grad=True)
        theirs = [o for o in torch_values(case.call(theirs_in, f)) if o.requires_grad]
        ours = [o for o in floats(case.call(ours_in)) if o.requires_grad]
        if op.name not in NODES:
            assert names(ours) == names(theirs), f"{case}: node {names(ours)}, in PyTorch {names(theirs)}"
        if not ours or ours[0].grad_fn is None:
            continue
        assert len(ours) == len(theirs)
        ws = weights([tuple(o.shape) for o in ours], 0)
        us = weights([case.arrays[k].shape for k in wanted], 1)
        second = op.second_order
        torch_ws, torch_us = [torch.from_numpy(w) for w in ws], [torch.from_numpy(u) for u in us]
        try:
            expected = both_orders(torch, theirs, theirs_in, wanted, torch_ws, torch_us, second)
        except RuntimeError as error:
            # PyTorch has no second derivative of a few ops.
            if not second or "is not implemented" not in str(error):
                raise
            theirs = [o for o in torch_values(case.call(theirs_in, f)) if o.requires_grad]
            second, expected = False, both_orders(torch, theirs, theirs_in, wanted, torch_ws, torch_us, False)
        got = both_orders(ng, ours, ours_in, wanted, [ng.tensor(w) for w in ws], [ng.tensor(u) for u in us], second)
        for order, (g, e) in enumerate(zip(got, expected), 1):
            # A missing gradient and one of zeros are the same here; PyTorch has both for the same op.
            g, e = dense(g, case.arrays, wanted), dense(e, case.arrays, wanted)
            exact = LESS_EXACT.get(op.name, 1e-11)
            close(g, e, f"{case}: derivative of order {order}", exact, exact / 10)


POINTED = [op for op in DIFFERENTIABLE if op.points and point_case(op)[0] is not None]


@pytest.mark.parametrize("op", POINTED, ids=ids)
def test_gradients_at_special_points_match_torch(op):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
    f = torch_function(op)
    if f is None:
        pytest.skip(f"PyTorch has no function for {op.name}")
    case, values = point_case(op)
    # In threes: at NaN PyTorch's loops over vectors and those over single elements differ, and these count.
    for i in range(0, len(values[0]), 3):
        points_match_torch(torch, f, op, case, [np.ascontiguousarray(v[i:i + 3]) for v in values])


def points_match_torch(torch, f, op, case, values):
    wanted = list(range(len(values)))
    theirs_in, ours_in = torch_arguments(case, True, arrays=values), case.tensors(requires_grad=True, arrays=values)
    theirs, ours = torch_values(case.call(theirs_in, f)), floats(case.call(ours_in))
    allowed = LESS_EXACT.get(op.name, 1.5e-14) / np.finfo(np.float64).eps
    ulps(ours[0].detach().numpy(), theirs[0].detach().numpy(), np.float64, allowed, op.name)
    expected = torch.autograd.grad(theirs[0].sum(), theirs_in, allow_unused=True)
    got = ng.autograd.grad(ours[0].sum(), ours_in, allow_unused=True)
    for k in wanted:
        e = np.zeros_like(values[k]) if expected[k] is None else expected[k].numpy(force=True)
        g = np.zeros_like(values[k]) if got[k] is None else got[k].numpy(force=True)
        for i in range(len(e)):
            at = ", ".join(repr(float(v[i])) for v in values)
            ulps(g[i], e[i], np.float64, allowed, f"gradient {k} of {op.name} at ({at})")


IN_PLACE = [op for op in ops() if op.inplace and op.dtypes in ("any", "float")]


@pytest.mark.parametrize("op", IN_PLACE, ids=ids)
def test_in_place_form(op):
    """``name_`` writes the value of ``name``, counts one version and has the same gradient."""
    tried = False
    for case in cases(op):
        if not case.args or case.specs[:1] == [] or getattr(case.args[0], "number", None) != 0:
            continue
        plain = case.tensors(requires_grad=True)
        expected = case.call(plain)
        if tuple(expected.shape) != case.arrays[0].shape or expected.dtype is not plain[0].dtype:
            continue
        tried = True
        changed = case.tensors(requires_grad=True)
        target = changed[0].clone()
        before = target._version
        out = case.call([target, *changed[1:]], getattr(ng.Tensor, op.name + "_"))
        assert out is target and target._version == before + 1
        ulps(to_numpy(target), to_numpy(expected), np.float64, 4, repr(case))
        if expected.requires_grad and not getattr(op, "underived", False):
            w = ng.tensor(weights([tuple(expected.shape)], 0)[0])
            first = ng.autograd.grad(expected, plain, w, allow_unused=True)
            second = ng.autograd.grad(out, changed, w, allow_unused=True)
            wanted = list(range(len(plain)))
            close(dense(second, case.arrays, wanted), dense(first, case.arrays, wanted), repr(case), 1e-13, 1e-13)
    assert tried or not op.samples, f"no sample of {op.name} fits its in-place form"


FUNCTIONAL = [("relu", ()), ("leaky_relu", (0.2,)), ("elu", (0.7,)), ("hardtanh", (-0.5, 0.8)), ("selu", ()), ("celu", (0.7,)),
              ("threshold", (0.2, 5.0)), ("rrelu", (0.1, 0.3)), ("silu", ()), ("mish", ()), ("relu6", ()), ("hardswish", ()),
              ("hardsigmoid", ())]


@pytest.mark.parametrize("name, params", FUNCTIONAL, ids=[n for n, _ in FUNCTIONAL])
def test_functional_in_place_forms(name, params):
    """``name_`` and ``inplace=True`` of ``nn.functional``: the same value and gradient, written into the argument."""
    space = ng.nn.functional
    plain, f = getattr(space, name), getattr(space, name + "_", None)
    values = np.linspace(-2.1, 2.3, 12).reshape(3, 4)
    forms = [lambda t: plain(t, *params, inplace=True)] + ([lambda t: f(t, *params)] if f else [])
    x = ng.tensor(values, requires_grad=True)
    expected = plain(x, *params)
    gradient, = ng.autograd.grad(expected.sum(), x)
    for form in forms:
        leaf = ng.tensor(values, requires_grad=True)
        target = leaf * 1
        out = form(target)
        assert out is target and target._version == 1
        ulps(out.detach().numpy(), expected.detach().numpy(), np.float64, 4, name)
        got, = ng.autograd.grad(out.sum(), leaf)
        ulps(got.numpy(), gradient.numpy(), np.float64, 4, name)
        with pytest.raises(RuntimeError, match="a leaf Variable that requires grad"):
            form(leaf)


@pytest.mark.parametrize("name, other", [("and", True), ("or", True), ("xor", True), ("not", False)])
def test_logical_in_place_forms(name, other):
    """The truth as 0 and 1 in the dtype of the target."""
    x, y = ng.tensor([0.0, 2.0, 0.0, -1.0]), ng.tensor([0, 0, 3, 4])
    args = (y,) if other else ()
    expected = getattr(ng, "logical_" + name)(x, *args)
    target = x.clone()
    assert getattr(target, f"logical_{name}_")(*args) is target and target.dtype is ng.float32
    assert target.tolist() == [float(v) for v in expected.tolist()]


def test_case_is_repeatable():
    """Two draws of a sample are the same numbers: a failure can be reproduced."""
    op = DIFFERENTIABLE[0]
    assert all(np.array_equal(a, b) for a, b in zip(Case(op, 0).arrays, Case(op, 0).arrays))
