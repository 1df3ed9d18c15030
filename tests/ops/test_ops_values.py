"""Every op's value: against its reference in float64, float32 against float64, special points and PyTorch."""

import numpy as np
import pytest
from registry.check import movement, ulps
from registry.draw import Case, cases, flat, ids, is_shape, is_typed, ops
from registry.known import CANCELS, LESS_EXACT, TERMS
from registry.oracle import torch_arguments, torch_function, torch_values

import numbagrad as ng

# Ulps of each element. Vecmath is right to 2; a formula of a few operations adds a few.
FLOAT64_ULPS, FLOAT32_ULPS = 16, 8


def limit(op, plain):
    return plain if op.tolerance is None else op.tolerance


def sizes(case, number, terms=False):
    """What an ulp of result ``number`` may be measured at beside its elements, as ``ulps`` takes it: nothing for functions of
    one element, how far ulps of the input move the result where terms are added or may cancel. ``terms``: the op's own."""
    op = case.op
    if terms and op.name in TERMS:
        return TERMS[op.name][0](*case.arrays)
    if op.kind == "elementwise" and op.name not in CANCELS:
        return None

    def values(arrays):
        return [t.detach().resolve_conj().numpy() for t in flat(case.call(case.tensors(arrays=arrays)))]
    return lambda: movement(values, case.arrays)[number]


@pytest.mark.parametrize("op", [op for op in ops() if op.reference is not None], ids=ids)
def test_value_matches_reference(op):
    for case in cases(op):
        expected = case.reference()
        got = case.call(case.tensors())
        if not flat(got):
            assert got == expected, f"{case}: {got}, expected {expected}"
            continue
        expected = list(expected) if isinstance(got, (tuple, list)) else [expected]
        got = flat(got)
        assert len(got) == len(expected), f"{case}: {len(got)} results, expected {len(expected)}"
        for k, (g, e) in enumerate(zip(got, expected)):
            e = np.asarray(e)
            assert tuple(g.shape) == e.shape, f"{case}: shape {tuple(g.shape)}, expected {e.shape}"
            ulps(g.numpy(), e, np.float64, limit(op, FLOAT64_ULPS), repr(case), sizes(case, k))


@pytest.mark.parametrize("op", [op for op in ops(private=False) if op.dtypes in ("any", "float")], ids=ids)
def test_float32_agrees_with_float64(op):
    for case in cases(op):
        wide, narrow = flat(case.call(case.tensors())), flat(case.call(case.tensors(np.float32)))
        for k, (w, n) in enumerate(zip(wide, narrow)):
            if w.dtype.is_floating_point:  # (ops that state their dtype, a cast or float_power, keep it)
                ulps(n.double().numpy(), w.double().numpy(), np.float32, limit(op, FLOAT32_ULPS), repr(case),
                     sizes(case, k, True))


def point_arrays(case):
    """The op's special points in its tensors: all pairs of them for two tensors."""
    points = np.array(case.op.points, np.float64)
    places = [i for i, s in enumerate(case.specs) if s[0] == "float64"]
    if len(places) == 1:
        values = [points]
    elif len(places) == 2:
        values = [v.ravel() for v in np.meshgrid(points, points, indexing="ij")]
    else:
        return None
    if len(places) != len(case.specs):
        return None
    return values


def point_case(op):
    """A sample whose tensors may take any shape: one or two float tensors of one shape."""
    for i, sample in enumerate(op.samples):
        shapes = [a for a in sample.args if is_shape(a)]
        if shapes and len({*shapes}) == 1 and not any(is_typed(a) or isinstance(a, list) for a in sample.args):
            case = Case(op, i)
            values = point_arrays(case)
            if values is not None:
                return case, values
    return None, None


POINTED = [op for op in ops() if op.points and op.reference is not None and point_case(op)[0] is not None]


@pytest.mark.parametrize("op", POINTED, ids=ids)
def test_special_points(op):
    case, values = point_case(op)
    with np.errstate(all="ignore"):
        expected = np.asarray(case.reference(values))
    for dtype, allowed in ((np.float64, FLOAT64_ULPS), (np.float32, FLOAT32_ULPS)):
        tensors = [ng.tensor(v.astype(dtype)) for v in values]
        got = case.call(tensors)
        if not flat(got):
            assert got == expected
            continue
        got = flat(got)[0].numpy()
        for i in range(len(values[0])):  # one by one: an ulp is that of the point itself
            at = ", ".join(repr(float(v[i])) for v in values)
            with np.errstate(all="ignore"):
                inexact = [v.astype(dtype)[i] != v[i] and v[i] == v[i] for v in values]
            if any(inexact):
                with np.errstate(all="ignore"):
                    rounded = np.asarray(case.reference([v.astype(dtype).astype(np.float64)[i:i + 1] for v in values]))[0]
            else:
                rounded = expected[i]
            with np.errstate(over="ignore"):
                rounded = rounded.astype(dtype) if rounded.dtype.kind == "f" else rounded
            ulps(got[i], rounded, dtype, limit(op, allowed), f"{op.name}({at}) in {np.dtype(dtype)}")


@pytest.mark.parametrize("op", ops(), ids=ids)
def test_value_matches_torch(op):
    pytest.importorskip("torch", reason="PyTorch is the oracle here")
    f = torch_function(op)
    if f is None:
        pytest.skip(f"PyTorch has no function for {op.name}")
    for case in cases(op):
        got, expected = flat(case.call(case.tensors())), torch_values(case.call(torch_arguments(case), f))
        if not got:
            assert case.call(case.tensors()) == case.call(torch_arguments(case), f)
            continue
        assert len(got) == len(expected)
        for k, (g, e) in enumerate(zip(got, expected)):
            assert str(g.dtype) == str(e.dtype), f"{case}: {g.dtype}, in PyTorch {e.dtype}"
            ulps(g.detach().resolve_conj().numpy(), e.detach().resolve_conj().numpy(), np.float64,
                 limit(op, max(2 * FLOAT64_ULPS, LESS_EXACT.get(op.name, 0) / 2.2e-16)), repr(case), sizes(case, k, True))


def test_accuracy_of_float32_activations():
    """Their building blocks have errors of their own: absolute ones next to 1 for gelu, relative ones for softplus."""
    from scipy.special import ndtr
    x = np.concatenate([np.linspace(-12, 12, 200001), np.linspace(-104, 60, 100001)]).astype(np.float32)
    wide = x.astype(np.float64)
    t = ng.tensor(x, requires_grad=True)
    y = ng.nn.functional.gelu(t)
    slope, = ng.autograd.grad(y.sum(), t)
    assert (np.abs(y.detach().numpy() - wide * ndtr(wide)) <= 2.2e-7 * np.maximum(1, np.abs(wide))).all()
    assert np.abs(slope.numpy() - (ndtr(wide) + wide * np.exp(-wide**2 / 2) / np.sqrt(2 * np.pi))).max() <= 3e-7
    exact = np.logaddexp(0, wide)
    error = np.abs(-ng.nn.functional.logsigmoid(ng.tensor(-x)).numpy() - exact)
    assert (error <= 2.5 * np.spacing(exact.astype(np.float32))).all()
    ends = ng.nn.functional.gelu(ng.tensor([1e6, 10.0, -10.0, -1e6, np.nan]))
    assert ends.tolist()[:4] == [1e6, 10.0, 0.0, 0.0] and ends[4].isnan()
