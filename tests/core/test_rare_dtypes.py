"""Dtypes that are names only: what programs ask of them before they decide."""

from __future__ import annotations

import copy
import pickle

import pytest

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
FLOATS = "float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz float8_e8m0fnu".split()
OTHERS = ["float4_e2m1fn_x2", "complex32", "chalf", "bit", *"uint1 uint2 uint3 uint4 uint5 uint6 uint7".split(),
          *"int1 int2 int3 int4 int5 int6 int7".split()]


@pytest.mark.parametrize("name", FLOATS + OTHERS)
def test_it_says_of_itself_what_pytorch_says(name):
    ours, theirs = getattr(ng, name), getattr(torch, name)
    assert repr(ours) == repr(theirs) and ours.itemsize == theirs.itemsize
    assert (ours.is_floating_point, ours.is_complex) == (theirs.is_floating_point, theirs.is_complex)
    assert copy.deepcopy(ours) is ours is pickle.loads(pickle.dumps(ours))
    assert isinstance(ours, ng.dtype) and ours != ng.float32


@pytest.mark.parametrize("name", FLOATS)
def test_limits(name):
    ours, theirs = ng.finfo(getattr(ng, name)), torch.finfo(getattr(torch, name))
    assert repr(ours) == repr(theirs)
    for field in ("bits", "eps", "max", "min", "tiny", "smallest_normal", "resolution"):
        assert getattr(ours, field) == getattr(theirs, field)
    assert getattr(ng, name).is_signed == getattr(torch, name).is_signed


def test_there_are_no_tensors_of_them():
    for make in (lambda d: ng.empty(2, dtype=d), lambda d: ng.ones(2).to(d), lambda d: ng.tensor([1.0], dtype=d)):
        with pytest.raises(NotImplementedError, match="no tensors of dtype torch.float8_e4m3fn"):
            make(ng.float8_e4m3fn)
