"""Plain arguments of every op: what is accepted, what is refused and how, from the declarations."""

import numpy as np
import pytest
from registry.draw import Case, ids, ops

import numbagrad as ng
from numbagrad.extend import REGISTRY

PUBLIC = [op for op in ops() if not op.private]
# Samples of what is not of a kind; an object and a list with one are none of any.
ARRAY, FLOATS = np.array([1]), np.array([1.0])
WRONG = {"int": (1.5, True, "x", np.float64(1), np.array(1), [1, 2]), "bool": (1, 0.0, "x", np.bool_(True)),
         "number": ("x", FLOATS, [1.0]), "float": ("x", 1j, FLOATS, [1.0]), "floats": ("x", 1j, FLOATS),
         "ints": ("x", 1.5, ARRAY), "ints or None": ("x", 1.5, ARRAY), "ints or str": (True, 1.5, None, ARRAY),
         "list of ints": ("x", 1.5, 1, ARRAY),
         "str": (1, 1.5), "dtype": ("float32", 1, np.float32), "device": (1.5, True), "generator": (1, "x"),
         "memory_format": (1, "x"), "tensor": ("x", 1, [1.0])}


def checked(op):
    """(parameter, kind) of the arguments that the op's call checks itself, and that a sample can be called with."""
    plain = op.params if op.kind in ("elementwise", "custom", "view") else None
    for i, p in enumerate(op.signature.parameters.values()):
        kind = op.kinds[p.name]
        if kind != "any" and (plain is None or p.name in plain) and not (i == 0 and kind == "tensor"):
            yield p, kind.rstrip("?")


def call_with(op, case, name, value):
    """The op called as the sample says, with one argument replaced."""
    positional = [case.tensors()[a.number] if hasattr(a, "number") else a for a in case.args]
    parameters = list(op.signature.parameters.values())
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        at = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
        if name in at:
            positional[at.index(name)] = value
            return op.callable(*positional, **case.kwargs)
        return op.callable(*positional, **{**case.kwargs, name: value})
    given = {p.name: a for p, a in zip(parameters, positional)} | case.kwargs | {name: value}
    first = [given.pop(p.name) for p in parameters if p.kind is p.POSITIONAL_ONLY]
    return op.callable(*first, **given)


@pytest.mark.parametrize("op", PUBLIC, ids=ids)
def test_wrong_types_are_refused(op):
    """PyTorch's TypeError names the op, the argument and the type, before anything else happens."""
    case = Case(op, 0)
    for p, kind in checked(op):
        for wrong in (object(), [object()], *WRONG[kind]):
            if kind == "ints" and isinstance(wrong, list) or kind == "list of ints" and isinstance(wrong, list):
                said = "tuple of ints"
            else:
                said = "must be"
            with pytest.raises(TypeError, match=said) as info:
                call_with(op, case, p.name, wrong)
            assert op.name in str(info.value) and f"'{p.name}'" in str(info.value)


@pytest.mark.parametrize("op", PUBLIC, ids=ids)
def test_sizes_beyond_64_bits(op):
    """An int that does not fit 64 bits is refused by name."""
    case = Case(op, 0)
    for p, kind in checked(op):
        for wrong in (1 << 63, -(1 << 64)):
            if kind in ("int", "ints", "ints or None"):
                with pytest.raises(ValueError, match=f"'{p.name}'.*Overflow when unpacking long long"):
                    call_with(op, case, p.name, wrong)
            if kind in ("ints", "ints or None", "list of ints"):
                with pytest.raises(TypeError, match=f"'{p.name}'.*Overflow when unpacking long long"):
                    call_with(op, case, p.name, [wrong])


@pytest.mark.parametrize("value", [np.int64(1), np.uint8(1), np.int32(1), ng.tensor(1), ng.tensor(1, dtype=ng.uint8)])
def test_numbers_that_stand_for_ints(value):
    """NumPy integers and 0-d integer tensors are ints, alone and in lists."""
    x = ng.arange(24.0).reshape(2, 3, 4)
    for a, b in ((x.roll(value), x.roll(1)), (x.squeeze(value), x.squeeze(1)), (x.unsqueeze(value), x.unsqueeze(1)),
                 (x.sum(value), x.sum(1)), (x.sum([value, 2]), x.sum([1, 2])), (x.narrow(value, 0, value), x.narrow(1, 0, 1)),
                 (x.view(value, -1), x.view(1, -1)), (ng.ones(value, 2), ng.ones(1, 2)), (x.tril(value), x.tril(1)),
                 (ng.nn.functional.max_pool2d(x, value), ng.nn.functional.max_pool2d(x, 1)), (x.cumsum(value), x.cumsum(1)),
                 (ng.nn.functional.pad(x, (value, 0)), ng.nn.functional.pad(x, (1, 0))), (x.flip([value]), x.flip([1])),
                 (ng.eye(value), ng.eye(1)), (ng.linspace(0, 1, value), ng.linspace(0, 1, 1)),
                 (x.transpose(value, 0), x.transpose(1, 0)), (x.topk(value)[0], x.topk(1)[0])):
        assert ng.equal(a, b)
    assert [len(t) for t in x.split(value, 1)] == [2, 2, 2]
    w = ng.ones(2, 2, 1, 1)
    assert ng.equal(ng.conv2d(x[None, :, :2], w, stride=value), ng.conv2d(x[None, :, :2], w, stride=1))


def test_types_that_compare_equal_are_told_apart():
    """1, 1.0 and True find the same entry of a memo: the check comes before the look-up."""
    x = ng.ones(2, 3)
    x.sum(1), x.unsqueeze(1), x.select(1, 1), x.sum((0, 1))
    for call in (lambda: x.sum(1.0), lambda: x.sum(True), lambda: x.unsqueeze(1.0), lambda: x.unsqueeze(True),
                 lambda: x.select(1, True), lambda: x.sum((0.0, 0)), lambda: x.sum(1, 1), lambda: x.size(1.0)):
        with pytest.raises(TypeError):
            call()


@pytest.mark.parametrize("call", [
    lambda: ng.zeros(2.0), lambda: ng.zeros(True), lambda: ng.zeros("2"), lambda: ng.zeros(None),
    lambda: ng.zeros(np.array([2])), lambda: ng.zeros(2, dtype=1), lambda: ng.zeros(2, dtype="float32"),
    lambda: ng.zeros(2, device=1.0),
    lambda: ng.zeros(2, requires_grad=1), lambda: ng.eye(2.0), lambda: ng.arange("a"), lambda: ng.arange(None),
    lambda: ng.linspace(0, 1, 2.0), lambda: ng.linspace("a", 1, 2), lambda: ng.zeros_like(1), lambda: ng.randint(0, 3.5, (2,)),
    lambda: ng.randint(0, 3, (2,), dtype=1), lambda: ng.rand(2, generator=1), lambda: ng.randperm(2.0)])
def test_creation(call):
    """Functions that make tensors refuse what is no size, dtype, device or number."""
    with pytest.raises(TypeError, match="must be|received an invalid"):
        call()


def test_creation_that_cannot_be():
    for call in (lambda: ng.zeros(1 << 62), lambda: ng.zeros(1 << 32, 1 << 32), lambda: ng.arange(1 << 40),
                 lambda: ng.ones(1 << 44), lambda: ng.empty(1 << 50), lambda: ng.rand(1 << 44), lambda: ng.eye(1 << 40)):
        with pytest.raises(RuntimeError, match="overflowed|can't allocate memory"):
            call()
    with pytest.raises(RuntimeError, match="unsupported range"):
        ng.arange(float("inf"))
    with pytest.raises(TypeError, match="Overflow"):
        ng.zeros(1 << 63)


EXPECTED = {"int": {"int"}, "bool": {"bool"}, "number": {"number", "float"}, "float": {"float", "number"},
            "floats": {"float[]", "float"}, "ints": {"int[]", "int"}, "ints or None": {"int[]", "int"},
            "ints or str": {"int[]", "int", "str"},
            "list of ints": {"int[]"}, "str": {"str"}, "dtype": {"int"}, "device": {"Device"}, "generator": {"Generator"},
            "memory_format": {"int"}, "tensor": {"Tensor"}}


def test_kinds_are_those_of_pytorch():
    """The kind of every parameter agrees with PyTorch's schema, where there is one of that name."""
    torch = pytest.importorskip("torch", reason="kinds are compared with PyTorch's schemas")
    types = {}
    for schema in torch._C._jit_get_all_schemas():
        space, _, name = schema.name.partition("::")
        if space == "aten":
            for a in schema.arguments:
                text = str(a.type).replace("Optional[", "").replace("]", "").replace("List[", "")
                types.setdefault((name, a.name), set()).add(text + "[]" * ("List[" in str(a.type)))
    compared, wrong = 0, []
    for op in (op for op in REGISTRY.values() if not op.private):
        for p, kind in checked(op):
            name = p.name
            found = types.get((op.torch_name, name), set()) | types.get(("linalg_" + op.name, name), set())
            if not found:
                continue
            compared += 1
            if not found <= EXPECTED[kind]:
                wrong.append((op.name, name, kind, found))
    assert compared > 500
    # PyTorch's own function takes the mode by name and hands on a number.
    assert [w for w in wrong if w[:2] != ("embedding_bag", "mode")] == []


def test_sizes_of_repeats_and_blocks():
    """What once ran for ever or ended inside: sizes that are refused, and none at all."""
    for wrong in ((-1, -1), (2, -3)):
        with pytest.raises(RuntimeError, match="negative dimension"):
            ng.ones(2, 3).tile(wrong)
    with pytest.raises(RuntimeError, match="overflow|can't allocate"):
        ng.ones(2, 3).tile(1 << 40, 1 << 40)
    empty = ng.ones(1, 2, 0)
    assert ng.nn.functional.local_response_norm(empty, 1 << 62).shape == (1, 2, 0)
    x = ng.tensor([1.5, 2.25])
    for decimals in (400, -400):
        assert x.round(decimals=decimals).isnan().all()
    blocks = ng.ones(1, 4, 1, dtype=ng.bool)
    assert ng.nn.functional.fold(blocks, (2, 2), (2, 2)).tolist() == [[[[True, True], [True, True]]]]
    with pytest.raises(NotImplementedError, match="col2im.*Long"):
        ng.nn.functional.fold(blocks.long(), (2, 2), (2, 2))


STATE = {"lstm_cell": lambda L: (L.ones(2, 3), L.ones(2, 3)), "gru_cell": lambda L: L.ones(2, 3)}
REFUSED = {
    "adaptive_avg_pool1d": lambda L, F: F.adaptive_avg_pool1d(L.ones(3, 8), None),
    "adaptive_max_pool1d": lambda L, F: F.adaptive_max_pool1d(L.ones(3, 8), (None,)),
    "adaptive_max_pool1d of two": lambda L, F: F.adaptive_max_pool1d(L.ones(3, 8), (2, 2)),
    "adaptive_avg_pool2d": lambda L, F: F.adaptive_avg_pool2d(L.ones(3, 4, 4), None),
    "adaptive_max_pool3d": lambda L, F: F.adaptive_max_pool3d(L.ones(3, 4, 4, 4), None),
    "index_put of None": lambda L, F: L.index_put(L.ones(4, 3), [None], L.ones(3)),
    "index_put in place": lambda L, F: L.ones(4, 3).index_put_([None, L.tensor([0])], L.ones(4)),
    "index_put of a word": lambda L, F: L.index_put(L.ones(4, 3), "x", L.ones(3)),
    "lstm_cell of one tensor": lambda L, F: L.lstm_cell(L.ones(2, 2), L.ones(2, 2, 3), L.ones(12, 2), L.ones(12, 3)),
    "lstm_cell of three": lambda L, F: L.lstm_cell(L.ones(2, 2), [L.ones(2, 3)] * 3, L.ones(12, 2), L.ones(12, 3)),
    "lstm_cell of None": lambda L, F: L.lstm_cell(L.ones(2, 2), (L.ones(2, 3), None), L.ones(12, 2), L.ones(12, 3)),
    "rnn_tanh_cell": lambda L, F: L.rnn_tanh_cell(L.ones(2, 2), "x", L.ones(3, 2), L.ones(3, 3)),
    "rnn_relu_cell": lambda L, F: L.rnn_relu_cell(L.ones(2, 2), np.ones((2, 3)), L.ones(3, 2), L.ones(3, 3)),
    "gru_cell": lambda L, F: L.gru_cell(L.ones(2, 2), (L.ones(2, 3),), L.ones(9, 2), L.ones(9, 3)),
    "any": lambda L, F: L.any(L.ones(2, 3), 1, out=L.empty(2)), "all": lambda L, F: L.all(L.ones(2, 3), out=L.empty(())),
    "isclose": lambda L, F: L.isclose(L.ones(2), L.ones(2), float("nan")),
    "allclose": lambda L, F: L.allclose(L.ones(2), L.ones(2), 0.1, float("nan")),
    **{f"{name} in place": lambda L, F, name=name: getattr(F, name)(2, inplace=True) for name in (
        "hardswish", "relu", "relu6", "hardsigmoid", "silu", "mish", "selu", "elu", "celu", "leaky_relu", "hardtanh", "rrelu",
        "dropout", "alpha_dropout", "feature_alpha_dropout")},
    "view_as_complex": lambda L, F: L.view_as_complex(L.ones(9)[1:7].view(3, 2)),
    "view of an odd offset": lambda L, F: L.ones(9)[1:7].view(L.complex64),
    "masked_select": lambda L, F: L.masked_select(L.ones(4), L.ones(4, dtype=L.uint8)),
    "variance": lambda L, F: F.gaussian_nll_loss(L.ones(4), L.ones(4), 2),
    "variance of NumPy": lambda L, F: F.gaussian_nll_loss(L.ones(4), L.ones(4), np.float32(2)),
    "scatter_": lambda L, F: L.ones(3, 4).scatter_(1, None, 1.0),
    "scatter_ of a float": lambda L, F: L.ones(3, 4).scatter_(1.0, L.zeros(3, 4).long(), 1.0),
    "scatter_reduce_": lambda L, F: L.ones(4).scatter_reduce_(0, L.zeros(4).long(), L.ones(4), "sum", include_self=None),
    "scatter_reduce_ of a word": lambda L, F: L.ones(4).scatter_reduce_(0, L.zeros(4).long(), "x", "sum"),
    "masked_fill_": lambda L, F: L.ones(4).masked_fill_(1.5, 0.0),
    "masked_scatter_": lambda L, F: L.ones(4).masked_scatter_(L.ones(4).bool(), 2.0),
    "transpose_": lambda L, F: L.ones(3, 4).transpose_(0, True), "unsqueeze_": lambda L, F: L.ones(3, 4).unsqueeze_(0.0),
    "squeeze_": lambda L, F: L.ones(3, 1).squeeze_(1.0), "swapaxes_": lambda L, F: L.ones(3, 4).swapaxes_("x", 0),
    "as_strided_": lambda L, F: L.ones(3, 4).as_strided_((1,), 1),
    "as_strided_ from 1.5": lambda L, F: L.ones(3, 4).as_strided_((1,), (1,), 1.5),
    "normal_": lambda L, F: L.ones(3).normal_("x"), "uniform_": lambda L, F: L.ones(3).uniform_(0.0, "x"),
    "random_": lambda L, F: L.ones(3).random_(1.5), "random_ to": lambda L, F: L.ones(3).random_(0, True),
    "cauchy_": lambda L, F: L.ones(3).cauchy_("x"), "bernoulli_": lambda L, F: L.ones(3).bernoulli_("x"),
    "requires_grad_": lambda L, F: L.ones(3).requires_grad_(1), "requires_grad": lambda L, F: setattr(
        L.ones(3), "requires_grad", "x"),
    "padding": lambda L, F: F.conv3d(L.ones(1, 1, 3, 3, 3), L.ones(1, 1, 2, 2, 2), None, 1, True),
    "padding of a bool": lambda L, F: F.conv1d(L.ones(1, 1, 3), L.ones(1, 1, 2), None, 1, (True,)),
    "narrow": lambda L, F: L.narrow(L.ones(3), 0, 1.0, 1), "narrow from a bool": lambda L, F: L.narrow(L.ones(3), 0, True, 1),
    "repeat_interleave": lambda L, F: L.repeat_interleave(L.ones(3), True),
    "repeat_interleave of nothing": lambda L, F: L.repeat_interleave(L.tensor([1, 2]), None, 0),
    "squeeze": lambda L, F: L.squeeze(L.ones(1, 1), (0, -2)), "squeeze_ twice": lambda L, F: L.ones(1, 1).squeeze_((0, 0)),
    "kl_div": lambda L, F: F.kl_div(L.ones(3), L.ones(3).long(), reduction="sum"),
    "einsum": lambda L, F: L.einsum(0.5, L.ones(2)), "float_power_": lambda L, F: L.ones(2).float_power_(2),
    "round": lambda L, F: L.round([], decimals=3), "round of an array": lambda L, F: L.round(np.ones(3), decimals=3),
    "gelu": lambda L, F: F.gelu(np.ones(3), approximate="tanh"), "logit": lambda L, F: L.logit("x", eps=0.25),
    "threshold in place": lambda L, F: F.threshold(2, 1.0, 0.0, inplace=True)}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_as_in_pytorch(name, torch):
    kinds = []
    for library in (torch, ng):
        with pytest.raises((TypeError, RuntimeError)) as caught:
            REFUSED[name](library, library.nn.functional)
        kinds.append(caught.type)
    assert kinds[0] is kinds[1]


def test_any_of_bytes_into_bools(torch):
    for library in (ng, torch):
        x = library.tensor([[0, 2], [0, 0]], dtype=library.uint8)
        out = library.empty(2, dtype=library.bool)
        assert library.any(x, 1, out=out) is out
        assert out.tolist() == [True, False]
        assert library.any(x, 1, out=library.empty(2, dtype=library.uint8)).tolist() == [1, 0]


def test_trace_of_bools_is_refused(torch):
    for library in (torch, ng):
        with pytest.raises(NotImplementedError, match="\"trace\" not implemented for 'Bool'"):
            library.trace(library.ones(2, 2, dtype=library.bool))
