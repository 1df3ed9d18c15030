"""``torch._check`` and its kin, and arithmetic with sizes, beside PyTorch's."""

from __future__ import annotations

import pytest

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")


def outcome(call):
    try:
        found = call()
        return type(found), found
    except Exception as e:
        return type(e), str(e).replace("numbagrad.", "torch.")


CALLS = {
    "true": lambda t: t._check(True), "false": lambda t: t._check(False), "text": lambda t: t._check(False, lambda: "text"),
    "index": lambda t: t._check_index(False), "value": lambda t: t._check_value(False, lambda: 3),
    "type": lambda t: t._check_type(False), "not implemented": lambda t: t._check_not_implemented(False),
    "size": lambda t: t._check_is_size(-1), "too large": lambda t: t._check_is_size(3, max=2),
    "fits": lambda t: t._check_is_size(2, max=2), "number": lambda t: t._check(1),
    "message": lambda t: t._check(False, "text"), "all": lambda t: t._check_tensor_all(t.tensor([True, True])),
    "not all": lambda t: t._check_tensor_all(t.tensor([True, False]), lambda: "some"),
    "no bools": lambda t: t._check_tensor_all(t.ones(2)), "assert": lambda t: t._assert(False, "m"),
    "asserted": lambda t: t._assert(t.tensor(True), "m"), "async": lambda t: t._assert_async(t.tensor(0)),
    "async text": lambda t: t._assert_async(t.zeros(1), "msg"), "async many": lambda t: t._assert_async(t.ones(2)),
    "async none": lambda t: t._assert_async(t.ones(0)), "async fine": lambda t: t._assert_async(t.ones(1)),
    "not": lambda t: t.sym_not(True), "float": lambda t: t.sym_float(3), "int": lambda t: t.sym_int(-3.7),
    "max": lambda t: t.sym_max(3, 4.5), "max of int and float": lambda t: t.sym_max(5, 4.5), "min": lambda t: t.sym_min(3, 4),
    "max of text": lambda t: t.sym_max("a", 1), "sum": lambda t: t.sym_sum([1, 2, 3]), "sums": lambda t: t.sym_sum(1, 2.5),
    "ite": lambda t: t.sym_ite(True, 1, 2), "else": lambda t: t.sym_ite(False, 1, 2),
    "ite of types": lambda t: t.sym_ite(True, 1, 2.0), "ite of 1": lambda t: t.sym_ite(1, 1, 2),
}


@pytest.mark.filterwarnings("ignore:_check_is_size will be removed:FutureWarning")
@pytest.mark.parametrize("name", CALLS)
def test_outcomes_are_pytorchs(name):
    ours, theirs = outcome(lambda: CALLS[name](ng)), outcome(lambda: CALLS[name](torch))
    assert ours == theirs


def test_tensor_is_no_condition():
    with pytest.raises(TypeError, match="cond must be a bool, but got a Tensor. For tensor conditions"):
        ng._check(ng.tensor(True))


def test_check_of_sizes_is_about_to_go():
    for lib in (ng, torch):
        with pytest.warns(FutureWarning, match="_check_is_size will be removed in a future PyTorch release") as caught:
            lib._check_is_size(3)
        assert caught[0].filename == __file__
