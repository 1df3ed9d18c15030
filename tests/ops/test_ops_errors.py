"""Wrong arguments: the exception's type is PyTorch's, its message names the op and what it was given."""

import inspect
import warnings

import numpy as np
import pytest
from registry.draw import Case, cases, ids, ops
from registry.known import LENIENT
from registry.oracle import torch_arguments, torch_function

import numbagrad as ng

PUBLIC = [op for op in ops() if not op.private]


def first_tensor(case):
    """Position of the first argument that is one tensor."""
    return next((i for i, a in enumerate(case.args) if hasattr(a, "number")), None)


@pytest.mark.parametrize("op", PUBLIC, ids=ids)
def test_not_a_tensor(op):
    """A string or an object instead of the first tensor is a TypeError that says so."""
    case = Case(op, 0)
    place = first_tensor(case)
    if place is None:
        return
    for wrong in ("text", object(), [object()]):
        tensors = case.tensors()
        tensors[case.args[place].number] = wrong
        with pytest.raises((TypeError, AttributeError)) as info:
            case.call(tensors)
        if isinstance(info.value, AttributeError):
            pytest.fail(f"{op.name}({wrong!r}) lets an AttributeError through: {info.value}")
        said = str(info.value)
        assert any(part in said for part in (op.name, op.torch_name, "must be Tensor", "expected Tensor")), said


BINARY = [op for op in ops(kind="elementwise") if len(op.tensors) >= 2]


@pytest.mark.parametrize("op", BINARY, ids=ids)
def test_shapes_that_do_not_broadcast(op):
    """The message has both sizes, the op and the shapes, as PyTorch's begins."""
    case = Case(op, 0)
    kind = case.arrays[0].dtype
    arrays = [np.ones((2, 3), kind), np.ones((2, 4), kind), *[np.ones((2, 3), kind)] * (len(case.arrays) - 2)]
    if len(case.arrays) < 2:
        return
    message = (r"The size of tensor a \(3\) must match the size of tensor b \(4\) at non-singleton dimension 1.*"
               + op.name + r".*\[2, 3\].*\[2, 4\]")
    tensors = [ng.tensor(a) for a in arrays]
    before = [t.numpy().tobytes() for t in tensors]
    with pytest.raises(RuntimeError, match=message):
        case.call(tensors)
    assert [t.numpy().tobytes() for t in tensors] == before
    if op.inplace:
        with pytest.raises(RuntimeError, match="must match the size|doesn't match the broadcast shape"):
            case.call(tensors, getattr(ng.Tensor, op.name + "_"))
        assert tensors[0].numpy().tobytes() == before[0] and tensors[0]._version == 0


@pytest.mark.parametrize("op", [op for op in ops(kind="elementwise") if op.accepts in ("realfloat", "int")], ids=ids)
def test_dtype_without_kernel(op):
    """PyTorch's NotImplementedError with the op's and the dtype's name."""
    case = Case(op, 0)
    wrong, said = (np.int64, "Long") if op.accepts == "realfloat" else (np.float32, "Float")
    tensors = [ng.tensor(a.astype(wrong)) for a in case.arrays]
    with pytest.raises(NotImplementedError, match=f"\"{op.name}.*\" not implemented for '{said}'"):
        case.call(tensors)


@pytest.mark.parametrize("op", [op for op in ops(kind="elementwise") if op.inplace], ids=ids)
def test_in_place_refusals(op):
    """A leaf that requires grad and a broadcast target are refused before anything is written."""
    case = Case(op, 0)
    if first_tensor(case) != 0:
        return
    method = getattr(ng.Tensor, op.name + "_")
    if case.arrays[0].dtype.kind == "f" and case.arrays[0].size:
        tensors = case.tensors()
        tensors[0].requires_grad_()
        before = tensors[0].detach().numpy().tobytes()
        with pytest.raises(RuntimeError, match="a leaf Variable that requires grad is being used in an in-place operation."):
            case.call(tensors, method)
        assert tensors[0].detach().numpy().tobytes() == before and tensors[0]._version == 0
    tensors = [ng.tensor(np.resize(a, (1, 3)).astype(a.dtype)) for a in case.arrays]
    tensors[0] = tensors[0].expand(4, 3)
    with pytest.raises(RuntimeError, match="more than one element of the written-to tensor refers to a single memory"):
        case.call(tensors, method)


# (op, arguments by library, what the message must say): those that the tables above do not reach.
CALLS = [
    ("clamp", lambda t: (t.ones(2),), "At least one of 'min' or 'max' must not be None"),
    ("clamp", lambda t: (t.ones(2), t.zeros(2), 1.0), "clamp"),
    ("where", lambda t: (t.ones(2), t.ones(2), t.ones(2)), "where expected condition to be a boolean tensor"),
    ("nn.functional.softshrink", lambda t: (t.ones(2), -1.0), "lambda must be in range"),
    ("nn.functional.glu", lambda t: (t.ones(3),), "Halving dimension must be even, but dimension 0 is size 3"),
    ("nn.functional.glu", lambda t: (t.ones(()),), "glu does not support 0-dimensional tensors"),
    ("nn.functional.prelu", lambda t: (t.ones(2, 3), t.ones(2)), "Mismatch of parameter numbers and input channel size"),
    ("nn.functional.gelu", lambda t: (t.ones(2),), "approximate argument must be either none or tanh", {"approximate": "x"}),
    ("celu", lambda t: (t.ones(2), 0.0), "alpha cannot be 0"),
    ("isclose", lambda t: (t.ones(2), t.ones(2).double()), "Float did not match Double"),
    ("isclose", lambda t: (t.ones(2), t.ones(2), -1.0), "rtol must be greater than or equal to zero"),
    ("positive", lambda t: (t.ones(2) > 0,), r"The `\+` operator, on a bool tensor is not supported"),
    ("polygamma", lambda t: (-1, t.ones(2)), "does not support negative n"),
    ("mvlgamma", lambda t: (t.ones(2), 0), "p has to be greater than or equal to 1"),
    ("signbit", lambda t: (t.ones(2).to(t.complex64),), "signbit is not implemented for complex tensors"),
    ("add", lambda t: (t.ones(2, dtype=t.int64), t.ones(2, dtype=t.int64)), "argument alpha must not be a floating point",
     {"alpha": 0.5}),
    ("div", lambda t: (t.ones(2), t.ones(2)), "div expected rounding_mode to be one of None, 'trunc', or 'floor'",
     {"rounding_mode": "up"}),
    ("sin", lambda t: (3,), "must be Tensor, not int"),
    ("add", lambda t: (t.ones(2), "x"), "must be Tensor, not str"),
    ("view_as_complex", lambda t: (t.ones(7)[1:].reshape(3, 2),), "storage_offset divisible by 2"),
    ("linalg.lstsq", lambda t: (t.ones(3, 3), t.ones(1, 3, 1)), r"input.dim\(\) must be greater or equal to other.dim"),
    ("lerp", lambda t: (t.ones(2), 1.5, 0.5), "lerp"),
    ("lerp", lambda t: (t.ones(2, dtype=t.int64), t.ones(2, dtype=t.int64), 0.5), "not implemented for 'Long'"),
    ("einsum", lambda t: (3, t.ones(2)), "argument 'equation' .* must be str, not int"),
    ("conv2d", lambda t: (t.ones(1, 1, 3, 3), t.ones(1, 1, 2, 2), None, 1, (1.5, 0)), "conv2d"),
    ("conv2d", lambda t: (t.ones(1, 1, 3, 3), t.ones(1, 1, 2, 2), None, 1, None), "conv2d"),
    ("addr", lambda t: (t.ones(2, 2, dtype=t.int64), t.ones(2, dtype=t.int64), t.ones(2, dtype=t.int64)),
     "argument beta must not be a floating point", {"beta": 0.5}),
    ("index_put", lambda t: (t.ones(2), [None], t.ones(2)), "expected Tensor as element 0"),
    ("index_put", lambda t: (t.ones(2), [], t.ones(2)), "at least one index tensor"),
    ("nn.functional.bilinear", lambda t: (t.ones(2, 3), t.ones(2, 4), t.ones(5, 3, 4), t.ones(5, dtype=t.int8)),
     "All tensors must have the same dtype"),
    ("Tensor.float_power_", lambda t: (t.ones(2), 2), "the operation's result requires dtype Double"),
    ("nn.functional.normalize", lambda t: (t.ones(3, dtype=t.int32), 2, 0), "Expected a floating point or complex tensor"),
    ("gru_cell", lambda t: (t.ones(2, 2), -1.5, t.ones(9, 2), t.ones(9, 3)), "argument 'hx' .* must be Tensor, not float"),
    ("nn.functional.multi_margin_loss", lambda t: (t.ones(1, 2), t.tensor([0]), 1, 1.0, t.ones(2, dtype=t.int64)),
     "expected scalar type Float"),
    ("nn.functional.softsign", lambda t: (t.ones(2) > 0,), "not implemented for 'Bool'"),
    ("nn.functional.tanhshrink", lambda t: (t.ones(2) > 0,), "with a bool tensor is not supported"),
    ("gru_cell", lambda t: tuple(t.ones(s, dtype=t.int64) for s in ((2, 2), (2, 3), (9, 2), (9, 3))), "floating-point input"),
    ("nn.functional.group_norm", lambda t: (t.ones(2, 4, 3, dtype=t.int64), 2), "not implemented for 'Long'"),
    ("nn.functional.interpolate", lambda t: (t.ones(1, 1, 3, 3, dtype=t.int64), (4, 4)), "not implemented for 'Long'",
     {"mode": "bilinear"}),
    ("nn.functional.interpolate", lambda t: (t.ones(1, 1, 3, 3, dtype=t.bool), (4, 4)), "not implemented for 'Bool'"),
    ("nn.functional.max_pool1d", lambda t: (t.ones(1, 1, 20), 3, 1, 2, 2), "padding should be at most half"),
    ("linalg.matrix_rank", lambda t: (t.ones(3, 3), "x"), "must be float, not str|invalid combination"),
    ("linalg.pinv", lambda t: (t.ones(3, 3),), "must be float, not list", {"rtol": [1]}),
    ("pow", lambda t: (t.ones(2, dtype=t.int64), 2**63), "without overflow"),
    ("cosine_similarity", lambda t: (t.ones(2), t.ones(2), 0, -1.0), "eps must be non-negative"),
]


@pytest.mark.parametrize("call", CALLS, ids=[c[0] for c in CALLS])
def test_message(call):
    name, arguments, message, *options = call
    options = options[0] if options else {}

    def find(lib):
        f = lib
        for part in name.split("."):
            f = getattr(f, part)
        return f
    with pytest.raises((RuntimeError, TypeError), match=message) as ours:
        find(ng)(*arguments(ng), **options)
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
    with pytest.raises(type(ours.value).__mro__[0]):
        find(torch)(*arguments(torch), **options)


@pytest.mark.parametrize("op", PUBLIC, ids=ids)
def test_same_kind_of_error_as_torch(op):
    """A tensor of another shape in each place: an error in PyTorch is an error of the same type here."""
    pytest.importorskip("torch", reason="PyTorch is the oracle here")
    f = torch_function(op)
    if f is None or op.name in LENIENT:
        pytest.skip(f"PyTorch has no function for {op.name}, or is known to differ: {LENIENT.get(op.name)}")
    for case in cases(op)[:2]:
        for k, a in enumerate(case.arrays):
            if a.dtype.kind != "f":
                continue
            for shape in ((), (7,), (2, 7), (2, 3, 7)):
                arrays = list(case.arrays)
                arrays[k] = np.full(shape, float(a.flat[0]) if a.size else 0.5)
                theirs = outcome(case.call, torch_arguments(case, arrays=arrays), f)
                ours = outcome(case.call, case.tensors(arrays=arrays))
                if theirs is None:
                    assert ours is None, f"{case} with tensor {k} of shape {shape}: {ours!r}, fine in PyTorch"
                else:
                    assert ours is not None, f"{case} with tensor {k} of shape {shape} passes; in PyTorch {theirs!r}"
                    assert not str(ours).startswith(LEAKS), f"{case} with tensor {k} of shape {shape}: {ours!r}"
                    if not shape or str(theirs).startswith(("Dimension", "tuple index")):
                        continue  # the type of PyTorch's error is that of whatever asked for a size first
                    assert issubclass(type(ours), KINDS[kind_of(theirs)]), \
                        f"{case} with tensor {k} of shape {shape}: {ours!r}, in PyTorch {theirs!r}"


# Messages of Python itself, which name neither the op nor the argument.
LEAKS = ("tuple index out of range", "list index out of range", "not enough values to unpack", "min() arg is an empty")
KINDS = {"index": (IndexError,), "type": (TypeError,), "value": (ValueError,), "run": (RuntimeError,)}


def kind_of(error):
    return next(k for k, t in (("index", IndexError), ("type", TypeError), ("value", ValueError), ("run", Exception))
                if isinstance(error, t))


def outcome(call, *args):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            call(*args)
        except Exception as error:
            return error
    return None


def test_unknown_keyword_is_a_type_error():
    """No op swallows keywords that it does not know."""
    for op in PUBLIC:
        if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in op.signature.parameters.values()):
            continue
        case = Case(op, 0)
        with pytest.raises(TypeError):
            case.call(case.tensors(), lambda *a, op=op, **k: op.callable(*a, **k, no_such_option=1))


@pytest.mark.parametrize("name", ["mish", "relu", "silu", "hardswish", "elu"])
def test_in_place_and_out_together_are_refused(name):
    x, out = ng.tensor([-1.0, 2.0]), ng.empty(2)
    with pytest.raises(TypeError, match="unexpected keyword argument 'out'"):
        getattr(ng.nn.functional, name)(x, inplace=True, out=out)
    assert x.tolist() == [-1, 2] and x._version == 0
    with pytest.raises(TypeError, match="must be Tensor, not bool"):
        getattr(ng.nn.functional, name)(True, inplace=True)


def test_numbers_beyond_64_bits_beside_integers():
    x = ng.tensor([1, 2])
    for _ in range(2):  # the fast paths are open then
        (x + 1) * 2 != 3, x.mul_(1).add_(0)  # noqa: B015, B018
    # (Up to 2**64 PyTorch takes their bits.)
    assert (x + 2**63).tolist() == x.clone().add_(2**63).tolist() == [1 - 2**63, 2 - 2**63]
    assert ng.bitwise_left_shift(x, 2**63).tolist() == [0, 0]
    for f, text in ((lambda: x != 2**64, "too big to convert"), (lambda: x.mul_(-2**63 - 1), "negative int to unsigned"),
                    (lambda: x.add_(2**64), "too big to convert")):
        with pytest.raises(OverflowError, match=text):
            f()
    assert x.tolist() == [1, 2] and (x + 2**62).tolist() == [2**62 + 1, 2**62 + 2]


@pytest.mark.parametrize("op", PUBLIC, ids=ids)
def test_a_text_in_place_of_a_later_tensor(op):
    """It is refused as such: no attribute of a tensor is looked for in it."""
    if op.name == "linear_cross_entropy":  # (Python in PyTorch, which looks for them)
        return
    for case in list(cases(op))[:2]:
        for place in range(1, len(case.arrays)):
            tensors = case.tensors()
            tensors[place] = "text"
            with pytest.raises((TypeError, RuntimeError, ValueError, IndexError, NotImplementedError)):
                case.call(tensors)


@pytest.mark.parametrize("wrong", ["text", 1.0, None])
def test_nextafter_of_no_tensor(wrong, torch):
    for call in (lambda L: L.nextafter(L.ones(3), wrong), lambda L: L.ones(3).nextafter_(wrong)):
        with pytest.raises(TypeError) as ours:
            call(ng)
        with pytest.raises(TypeError) as theirs:
            call(torch)
        assert str(ours.value) == str(theirs.value)
