"""What a step reads of tensors besides their elements, and of the state of the library and the process: followed, guarded or
refused, never taken for the same in every call."""

from __future__ import annotations

import collections
import collections.abc
import os

import pytest

import numbagrad as ng
from numbagrad import nn
from numbagrad.compiler import CaptureError

W, U, P = ng.ones(3), ng.ones(2, 3), nn.Parameter(ng.ones(2))
OPT = ng.optim.SGD([P], lr=0.1)


@pytest.fixture(autouse=True)
def as_before():
    yield
    W.data, U.data = ng.ones(3), ng.ones(2, 3)
    W.requires_grad_(False)
    P.requires_grad_(True)
    os.environ.pop("NUMBAGRAD_OF_A_TEST", None)


def same(f, change):
    """A compiled function equals the eager one, whatever is changed between calls."""
    compiled, x = ng.compile(f), ng.ones(2)
    for k in range(5):
        assert compiled(x.clone()).tolist() == f(x.clone()).tolist(), k
        change(k)


def other(t, *values):
    return lambda k: setattr(t, "data", values[k % len(values)])


@pytest.mark.parametrize("f, change", [
    (lambda x: x * W.shape[0], other(W, ng.ones(4), ng.ones(5), ng.ones(3))),
    (lambda x: x * len(W), other(W, ng.ones(4), ng.ones(5))),
    (lambda x: x * W.numel(), other(W, ng.ones(4), ng.ones(5))),
    (lambda x: x * W.size(0), other(W, ng.ones(4), ng.ones(5))),
    (lambda x: x * (2 if W.dtype is ng.float32 else 3), other(W, ng.ones(3, dtype=ng.float64), ng.ones(3))),
    (lambda x: x * U.stride(0), other(U, ng.ones(3, 2).t(), ng.ones(2, 3))),
    (lambda x: x * (2 if U.is_contiguous() else 3), other(U, ng.ones(3, 2).t(), ng.ones(2, 3))),
    (lambda x: x * (2 if W.requires_grad else 3), lambda k: W.requires_grad_(k % 2 == 0)),
    (lambda x: x * (2 if P.requires_grad else 3), lambda k: P.requires_grad_(k % 2 == 1)),
    (lambda x: x * (2 if P.grad is None else 3), lambda k: setattr(P, "grad", None if k % 2 else ng.ones(2))),
], ids="shape len numel size dtype stride contiguous requires_grad of_a_parameter grad".split())
def test_metadata_of_tensors_that_no_kernel_reads(f, change):
    same(f, change)


class Table(collections.abc.Mapping):
    def __init__(self):
        self.inner = {"a": 1.0}

    def __getitem__(self, key):
        return self.inner[key]

    def __iter__(self):
        return iter(self.inner)

    def __len__(self):
        return len(self.inner)


TABLE, USER, CHAIN = Table(), collections.UserDict(a=1.0), collections.ChainMap({"a": 1.0}, {"b": 2.0})


@pytest.mark.parametrize("f, change", [
    (lambda x: x * TABLE.get("a"), lambda k: TABLE.inner.update(a=k + 2.0)),
    (lambda x: x * sum(TABLE.values()) * (2 if "b" in TABLE else 3), lambda k: TABLE.inner.update(b=k + 2.0)),
    (lambda x: x * USER.get("a") * USER["a"], lambda k: USER.update(a=k + 2.0)),
    (lambda x: x * CHAIN.get("b"), lambda k: CHAIN.maps[1].update(b=k + 2.0)),
    (lambda x: x * len(os.environ.get("NUMBAGRAD_OF_A_TEST", "a")), lambda k: os.environ.update(NUMBAGRAD_OF_A_TEST="a" * k)),
    (lambda x: x * len(os.getenv("NUMBAGRAD_OF_A_TEST", "a")), lambda k: os.environ.update(NUMBAGRAD_OF_A_TEST="a" * k)),
], ids="get values user_dict chain_map environment getenv".split())
def test_mappings_written_in_python(f, change):
    same(f, change)


@pytest.mark.parametrize("f, what", [
    (lambda x: x * (1 + x.storage_offset()), "storage_offset"),
    (lambda x: x * x.untyped_storage().nbytes(), "untyped_storage"),
    (lambda x: x * (2 if x._base is None else 3), "_base"),
    (lambda x: x * (2 if x.grad_fn is None else 3), "grad_fn"),
    (lambda x: x * getattr(x, "tag", 1.0), "tag"),
    (lambda x: x * x._version, "version counter"),
    (lambda x: x * x.data_ptr(), "address"),
    (lambda x: x * (id(x) % 7), r"id\(\)"),
    (lambda x: x * (hash(x) % 7), r"hash\(\)"),
    (lambda x: x * W._version, "version counter"),
    (lambda x: x * W.data_ptr(), "address"),
], ids="offset storage base grad_fn attribute version address id hash version_outside address_outside".split())
def test_what_an_argument_may_have_otherwise_in_the_next_call_is_refused(f, what):
    with pytest.raises(CaptureError, match=what) as found:
        ng.compile(f)(ng.ones(4)[1:3])
    assert "test_compile_metadata.py:" in str(found.value)


def test_whether_an_argument_with_a_history_is_a_leaf():
    f = ng.compile(lambda x: x * (2 if x.is_leaf else 3))
    assert f(ng.ones(2, requires_grad=True)).tolist() == [2, 2]
    with pytest.raises(CaptureError, match="is_leaf"):
        f(ng.ones(2, requires_grad=True) * 1)


@pytest.mark.parametrize("f", [
    lambda x, p: x * (ng.initial_seed() % 7), lambda x, p: x * ng.get_rng_state()[0], lambda x, p: x * ng.get_num_threads(),
    lambda x, p: x * (2 if ng.is_anomaly_enabled() else 3), lambda x, p: x * ng.load(p), lambda x, p: ng.save(x, p),
    lambda x, p: x * OPT.state_dict()["param_groups"][0]["lr"], lambda x, p: x * len(repr(OPT)),
    lambda x, p: x * (2 if os.path.exists(p) else 3)],
    ids="seed state threads anomaly load save state_dict repr exists".split())
def test_state_of_the_library_and_the_world_is_refused(f, tmp_path):
    ng.save(ng.ones(2), path := str(tmp_path / "x.pt"))
    with pytest.raises(CaptureError, match=r"test_compile_metadata.py:\d+|genericpath"):
        ng.compile(f)(ng.ones(2), path)
