"""Every layer on the calls of PyTorch's ``module_db``, beside PyTorch: text, state, values, gradients, copies, errors."""

import pickle
import re
import warnings

import numpy as np
import pytest
from module_db_helpers import derivatives, leaves, module_db, noncontiguous, structure, to_ours, tolerance

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
DB = module_db()
if DB is None:
    pytest.skip("PyTorch was installed without its test files", allow_module_level=True)
# Differentiable twice here; in PyTorch their second derivative raises or, for chunks, is left out.
FURTHER = {"LinearCrossEntropyLoss", "MultiLabelMarginLoss", "MultiMarginLoss", "Transformer", "TransformerDecoderLayer",
           "TransformerEncoder", "TransformerEncoderLayer"}
ONCE = {*FURTHER, "CTCLoss"}  # whose second derivative raises in both


def name_of(info):
    return info.module_cls.__name__


def array(t):
    t = t.detach()
    return t.numpy(force=True) if isinstance(t, torch.Tensor) else t.numpy()


def same(ours, theirs, what, slack=1.0):
    """Equal shape and dtype, and values within the tolerance of the dtype, relative to the largest."""
    if ours is None or theirs is None:
        assert ours is None and theirs is None, what
        return
    a, b = array(ours), array(theirs)
    assert a.shape == b.shape and a.dtype == b.dtype, what
    if a.dtype.kind not in "fc":
        assert np.array_equal(a, b), what
        return
    bound = tolerance(str(b.real.dtype)) * slack
    largest = np.abs(b[np.isfinite(b)]).max(initial=1.0)
    assert np.allclose(a, b, rtol=bound, atol=bound * largest, equal_nan=True), f"{what}: {np.abs(a - b).max()} of {largest}"


def outcome(action):
    """(result, None), or (None, the type and the text of the error)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return action(), None
        except Exception as e:
            return None, (type(e).__name__, re.sub(r"numbagrad\.", "torch.", str(e)))


def pair(info, given, dtype):
    """(ours, PyTorch's) layer from the same seed and arguments, or what both say of them."""
    def make(lib, args, kwargs):
        lib.manual_seed(5)
        layer, error = outcome(lambda: getattr(lib.nn, name_of(info))(*args, **kwargs).to(getattr(lib, dtype)))
        return error or layer
    return make(ng, to_ours(list(given.args)), to_ours(given.kwargs)), make(torch, given.args, given.kwargs)


def calls(info, dtype):
    """(training, constructor's arguments, call's arguments) of every entry."""
    for training in (True, False) if info.train_and_eval_differ else (True,):
        torch.manual_seed(0)
        for entry in info.module_inputs_func(info, device="cpu", dtype=getattr(torch, dtype), requires_grad=True,
                                             training=training):
            yield training, entry.constructor_input, entry.forward_input


def test_the_database_is_whole():
    assert all(hasattr(ng.nn, name) for name in map(name_of, DB)) and len(DB) > 100


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("info", DB, ids=name_of)
def test_calls(info, dtype):
    seen = 0
    for training, constructor, call in calls(info, dtype):
        ours, theirs = pair(info, constructor, dtype)
        if isinstance(theirs, tuple):
            assert ours == theirs
            continue
        ours.train(training), theirs.train(training)
        assert repr(ours) == repr(theirs)
        assert list(ours.state_dict()) == list(theirs.state_dict())
        if not info.is_lazy:
            for key, value in theirs.state_dict().items():
                same(ours.state_dict()[key], value, f"first {key}")
        if call is not None:
            compare_call(info, dtype, ours, theirs, call)
        seen += 1
    assert seen


def compare_call(info, dtype, ours, theirs, call):
    """One call of both layers, with its derivatives and what it leaves in the buffers."""
    known = {}
    args, kwargs = to_ours(list(call.args), known), to_ours(call.kwargs, known)
    ng.manual_seed(6), torch.manual_seed(6)
    out, error = outcome(lambda: ours(*args, **kwargs))
    wanted, expected = outcome(lambda: theirs(*call.args, **call.kwargs))
    assert error == expected
    if expected:
        return
    assert repr(ours) == repr(theirs)  # a lazy layer has become another
    assert structure(out) == structure(wanted)
    pairs = list(zip(leaves(out), leaves(wanted), strict=True))
    for a, b in pairs:
        same(a, b, "output")
        assert a.requires_grad == b.requires_grad
        if "Generated" not in type(b.grad_fn).__name__ and getattr(theirs, "options", None) is None:
            assert type(a.grad_fn).__name__ == type(b.grad_fn).__name__
    for (key, a), (_, b) in zip(ours.named_buffers(), theirs.named_buffers(), strict=True):
        same(a, b, key)
    twice = dtype == "float64" and info.supports_gradgrad and name_of(info) not in ONCE
    inputs = [*leaves(args), *leaves(kwargs), *ours.parameters()]
    their_inputs = [*leaves(list(call.args)), *leaves(call.kwargs), *theirs.parameters()]
    first = derivatives(ng, [a for a, _ in pairs], inputs, twice)
    their_first = derivatives(torch, [b for _, b in pairs], their_inputs, twice)
    assert (first is None) == (their_first is None)
    if first is None:
        return
    for a, b in zip(first, their_first, strict=True):
        same(a, b, "gradient")
    if twice:
        compare_second(derivatives(ng, first, inputs), derivatives(torch, their_first, their_inputs))


def compare_second(ours, theirs):
    """Second derivatives: what one library knows to be nothing may be zeros in the other."""
    given = ours or theirs or ()
    for a, b in zip(ours or [None] * len(given), theirs or [None] * len(given), strict=True):
        if a is None or b is None:
            there = b if a is None else a
            assert there is None or not array(there).any()
        else:
            same(a, b, "second derivative", slack=100)  # of logarithms near 0 and 1


@pytest.mark.parametrize("info", DB, ids=name_of)
def test_copies_and_strides(info):
    """A pickled layer computes the same, also from operands that have gaps in memory."""
    for _, constructor, call in calls(info, "float64"):
        layer, _ = pair(info, constructor, "float64")
        if not isinstance(layer, tuple) and call is not None:
            compare_copy(layer.eval(), call)


def compare_copy(layer, call):
    known = {}
    args, kwargs = to_ours(list(call.args), known), to_ours(call.kwargs, known)
    ng.manual_seed(1)
    out, error = outcome(lambda: layer(*args, **kwargs))
    copy = pickle.loads(pickle.dumps(layer))
    assert repr(copy) == repr(layer) and list(copy.state_dict()) == list(layer.state_dict())
    assert copy.training == layer.training
    apart, more = noncontiguous(args), noncontiguous(kwargs)
    ng.manual_seed(1)
    again, second = outcome(lambda: copy(*apart, **more))
    assert error == second
    for a, b in zip(leaves(again), leaves(out), strict=True):
        same(a, b, "output")
    if error is None:
        one = derivatives(ng, leaves(out), [*leaves(args), *leaves(kwargs)])
        two = derivatives(ng, leaves(again), [*leaves(apart), *leaves(more)])
        assert (one is None) == (two is None)
        for a, b in zip(two or (), one or (), strict=True):
            same(a, b, "gradient")


@pytest.mark.parametrize("info", [i for i in DB if i.module_error_inputs_func], ids=name_of)
def test_errors(info):
    entries = [(training, entry) for training in (True, False)
               for entry in info.module_error_inputs_func(info, device="cpu", dtype=torch.float64, requires_grad=True,
                                                          training=training)]
    assert entries
    for training, entry in entries:
        given = entry.module_error_input
        forward = given.forward_input if entry.error_on.name == "FORWARD_ERROR" else None
        ours, theirs = (error_of(lib, info, training, given.constructor_input, forward) for lib in (ng, torch))
        assert ours == theirs and theirs is not None


def error_of(lib, info, training, constructor, forward):
    of = to_ours if lib is ng else lambda x: x

    def run():
        layer = getattr(lib.nn, name_of(info))(*of(list(constructor.args)), **of(constructor.kwargs)).train(training)
        if forward is not None:
            layer(*of(list(forward.args)), **of(forward.kwargs))
    return outcome(run)[1]
