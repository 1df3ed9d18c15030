"""Every op over the dtypes: promotion, bool and integers, half types, empty and 0-d tensors."""

import itertools

import numpy as np
import pytest
from registry.check import ulps
from registry.draw import cases, flat, floats, ids, ops, to_numpy
from registry.known import DTYPES
from registry.oracle import torch_function, torch_values

import numbagrad as ng
from numbagrad.extend import REGISTRY

ELEMENTWISE = [op for op in ops(kind="elementwise") if op.dtypes != "complex"]
NAMES = ("bool", "uint8", "int32", "int64", "float16", "float32", "float64")


def small(case, name, lib):
    """The case's tensors as small whole numbers in a dtype of either library."""
    out = []
    for a in case.arrays:
        values = np.abs(np.round(a.astype(np.float64) * 3)) % 3 + 1
        out.append(lib.tensor(values.tolist()).reshape(a.shape).to(getattr(lib, name)))
    return out


def outcome(call):
    """("ok", results) or the kind of error: PyTorch's NotImplementedError and RuntimeError count as one."""
    try:
        return "ok", call()
    except (RuntimeError, TypeError) as error:
        return "error", error


@pytest.mark.parametrize("op", ELEMENTWISE, ids=ids)
def test_result_dtype_matches_torch(op):
    """One dtype for all tensors: the result's dtype and value, or an error, as in PyTorch."""
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
    f = torch_function(op)
    if f is None or op.private:
        pytest.skip(f"PyTorch has no function for {op.name}")
    case = cases(op)[0]
    for name in NAMES:
        kind, got = outcome(lambda n=name: case.call(small(case, n, ng)))
        wanted, expected = outcome(lambda n=name: case.call(small(case, n, torch), f))
        if (op.name, name) in DTYPES:
            continue
        assert kind == wanted, f"{op.name} of {name}: {got!r}, in PyTorch {expected!r}"
        if kind == "error":
            continue
        for g, e in zip(flat(got), torch_values(expected)):
            assert str(g.dtype) == str(e.dtype), f"{op.name} of {name}: {g.dtype}, in PyTorch {e.dtype}"
            if name == "float16":
                # PyTorch rounds to half at other places; both are within some half ulps of the exact value.
                ulps(to_numpy(g), e.float().numpy() if e.dtype.is_floating_point else e.numpy(), np.float16, 4, op.name)
            else:
                ulps(g.numpy(), e.numpy(), np.float32, 16, f"{op.name} of {name}")


PAIRS = ("add", "mul", "div", "pow", "lt", "maximum", "logical_and", "atan2")


@pytest.mark.parametrize("name", PAIRS)
def test_promotion_of_pairs_matches_torch(name):
    """Every pair of dtypes, with dimensions and without, and every kind of Python number."""
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
    ours, theirs = getattr(ng, name), getattr(torch, name)
    numbers = [2, 2.0] + ([True] if name != "pow" else [])

    def operands(lib):
        for a, b in itertools.product(NAMES, NAMES):
            x, y = lib.ones(2).to(getattr(lib, a)), lib.ones(2).to(getattr(lib, b))
            yield f"{a}[2], {b}[2]", x, y
            yield f"{a}[2], {b}[]", x, y[0]
        for a in NAMES:
            for n in numbers:
                yield f"{a}[2], {n!r}", lib.ones(2).to(getattr(lib, a)), n
                yield f"{a}[], {n!r}", lib.ones(()).to(getattr(lib, a)), n
    for (what, x, y), (_, u, v) in zip(operands(ng), operands(torch)):
        if name in ("maximum", "atan2", "logical_and") and not isinstance(v, torch.Tensor):
            continue
        kind, got = outcome(lambda x=x, y=y: ours(x, y))
        wanted, expected = outcome(lambda u=u, v=v: theirs(u, v))
        assert kind == wanted, f"{name}({what}): {got!r}, in PyTorch {expected!r}"
        if kind == "ok":
            assert str(got.dtype) == str(expected.dtype), f"{name}({what}): {got.dtype}, in PyTorch {expected.dtype}"


def test_promotion_without_torch():
    """The rules themselves: category first, then width; 0-d tensors and numbers only raise the category."""
    f4, f8, i4, i8, b = ng.float32, ng.float64, ng.int32, ng.int64, ng.bool
    table = [(ng.ones(2, dtype=i4), ng.ones(2, dtype=f4), f4), (ng.ones(2, dtype=f4), ng.ones(2, dtype=f8), f8),
             (ng.ones(2, dtype=f4), ng.ones((), dtype=f8), f4), (ng.ones(2, dtype=i4), ng.ones((), dtype=f8), f8),
             (ng.ones(2, dtype=b), 1, i8), (ng.ones(2, dtype=b), True, b), (ng.ones(2, dtype=i4), 1.0, f4),
             (ng.ones(2, dtype=f4), 1.0, f4), (ng.ones(2, dtype=ng.float16), ng.ones(2, dtype=ng.bfloat16), f4),
             (ng.ones(2, dtype=i4), ng.ones((), dtype=i8), i4),
             (ng.ones(2, dtype=ng.uint8), ng.ones(2, dtype=ng.int8), ng.int16)]
    for a, b_, expected in table:
        assert (a + b_).dtype is expected, f"{a!r} + {b_!r}"
        assert ng.result_type(a, b_) is expected


HALF = [op for op in ELEMENTWISE if op.dtypes in ("any", "float") and op.name in
        ("add", "mul", "div", "exp", "sigmoid", "tanh", "gelu", "relu", "clamp_min", "maximum", "sqrt", "erf")]


@pytest.mark.parametrize("op", HALF, ids=ids)
@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_half_types_round_float32_results(op, name):
    """The half types compute in float32 and round once; gradients come back in the half type."""
    d = getattr(ng, name)
    case = cases(op)[0]
    halves = [ng.tensor(a).to(d) for a in case.arrays]
    wide = [t.float() for t in halves]
    for t in (*halves, *wide):
        t.requires_grad_()
    got, expected = case.call(halves), case.call(wide)
    assert got.dtype is d
    assert ng.equal(got.detach(), expected.detach().to(d))
    g1 = ng.autograd.grad(got.sum(), halves, allow_unused=True)
    assert all(g is None or g.dtype is d for g in g1)


@pytest.mark.parametrize("op", ELEMENTWISE, ids=ids)
def test_empty_and_zero_dimensional(op):
    """Elementwise ops keep a (0, 3) shape and a 0-d one, forward and backward."""
    case = next((c for c in cases(op) if c.arrays), None)
    if case is None:
        return
    for shape in ((0, 3), ()):
        arrays = [np.resize(a, shape).astype(a.dtype) for a in case.arrays]
        tensors = case.tensors(requires_grad=op.differentiable, arrays=arrays)
        result = case.call(tensors)
        assert tuple(result.shape) == shape, f"{op.name} of shape {shape}"
        if result.requires_grad:
            for k, g in enumerate(ng.autograd.grad(result, tensors, ng.ones_like(result), allow_unused=True)):
                assert g is None or tuple(g.shape) == arrays[k].shape


@pytest.mark.parametrize("op", [op for op in ops(kind="elementwise") if len(op.tensors) == 2 and not op.private
                                and op.dtypes in ("any", "float")], ids=ids)
def test_broadcasting(op):
    """Shapes broadcast as in NumPy; each gradient has the shape of its input."""
    case = cases(op)[0]
    pool = np.concatenate([a.ravel() for a in case.arrays])
    for sa, sb in (((2, 1, 3), (4, 1)), ((3,), (2, 3)), ((), (2, 2)), ((1, 1), (0, 3))):
        a, b = np.resize(pool, sa), np.resize(pool[::-1], sb)
        ta, tb = ng.tensor(a, requires_grad=True), ng.tensor(b, requires_grad=True)
        out = op.callable(ta, tb)
        expected = op.callable(ng.tensor(np.ascontiguousarray(np.broadcast_arrays(a, b)[0])),
                               ng.tensor(np.ascontiguousarray(np.broadcast_arrays(a, b)[1])))
        assert tuple(out.shape) == np.broadcast_shapes(sa, sb)
        ulps(out.detach().numpy(), expected.numpy(), np.float64, 4, op.name)
        if out.requires_grad and not op.underived:
            ga, gb = ng.autograd.grad(out.sum(), [ta, tb], allow_unused=True)
            assert (ga is None or tuple(ga.shape) == sa) and (gb is None or tuple(gb.shape) == sb)


def test_casts_round_trip():
    """Small whole numbers survive every pair of dtypes."""
    values = ng.tensor([0, 1, 1, 0, 1])
    for a, b in itertools.product(NAMES + ("bfloat16", "int8", "int16"), repeat=2):
        there = values.to(getattr(ng, a)).to(getattr(ng, b))
        assert there.dtype is getattr(ng, b)
        assert there.to(ng.int64).tolist() == values.tolist(), f"{a} to {b}"


def test_integer_ops_have_no_gradient():
    """Results of integer and bool dtype never require grad."""
    x = ng.ones(3, requires_grad=True)
    assert not (x > 0).requires_grad and not x.long().requires_grad and not x.isnan().requires_grad
    assert REGISTRY["lt"].result == "bool" and not floats(x > 0)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("op", [op for op in ops(private=False) if op.differentiable], ids=ids)
def test_gradients_of_half_types_are_of_these(op, dtype):
    """What is computed with other tensors or in a wider dtype on the way is rounded to the input's dtype in the end."""
    case = next(iter(cases(op)), None)
    if case is None:
        return
    tensors = [t.to(getattr(ng, dtype)) if t.is_floating_point() else t for t in case.tensors()]
    wanted = [tensors[k].requires_grad_() for k in case.differentiable]
    try:
        outs = [o.sum() for o in floats(case.call(tensors)) if o.requires_grad]
    except (NotImplementedError, RuntimeError, TypeError, ValueError):
        return  # (an op without half types)
    if outs:
        for t, g in zip(wanted, ng.autograd.grad(outs, wanted, allow_unused=True)):
            assert g is None or g.dtype is t.dtype and g.shape == t.shape, f"{case}: {g.dtype}, {g.shape}"
