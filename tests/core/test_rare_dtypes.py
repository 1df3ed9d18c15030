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


@pytest.mark.parametrize("name", [*FLOATS, "float16", "bfloat16", "float32", "float64", "complex64", "complex32"])
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


MAKERS = [lambda d: ng.tensor([1], dtype=d), lambda d: ng.full((2,), 3, dtype=d), lambda d: ng.arange(3, dtype=d),
          lambda d: ng.ones(2, dtype=d), lambda d: ng.zeros(2, dtype=d, device="meta"), lambda d: ng.ones(2).type(d),
          lambda d: ng.ones(2).sum(dtype=d), lambda d: ng.rand(2, dtype=d), lambda d: ng.empty_like(ng.ones(2), dtype=d),
          lambda d: ng.nn.Linear(2, 2, dtype=d), lambda d: ng.as_tensor([1.0], dtype=d)]


@pytest.mark.parametrize("name", ["float8_e5m2", "float4_e2m1fn_x2", "complex32", "int4", "uint3"])
@pytest.mark.parametrize("make", MAKERS)
def test_every_way_to_make_one_is_refused(make, name):
    with pytest.raises((NotImplementedError, RuntimeError, TypeError), match="no tensors of dtype|not implemented|[Ii]nteg"):
        make(getattr(ng, name))


def tried(function, *args):
    """What a function gives, as text, or the class of its error."""
    try:
        return str(function(*args))
    except Exception as e:
        return type(e)


MET = ["float8_e5m2", "float4_e2m1fn_x2", "complex32", "int4", "uint4", "bool", "uint8", "int64", "uint16", "float16",
       "bfloat16", "float32", "float64", "complex64", "complex128"]


@pytest.mark.parametrize("name", ["float8_e4m3fn", "complex32", "uint3", "int3"])
@pytest.mark.parametrize("function", ["promote_types", "can_cast"])
def test_what_two_dtypes_come_to(name, function):
    for other in MET:
        for pair in ((name, other), (other, name)):
            ours, theirs = [tried(getattr(m, function), *[getattr(m, n) for n in pair]) for m in (ng, torch)]
            assert ours == theirs, pair


@pytest.mark.parametrize("name", [*FLOATS, *OTHERS])
def test_what_is_asked_of_their_class(name):
    for ask in (lambda m, d: m.set_default_dtype(d), lambda m, d: m.iinfo(d), lambda m, d: m.finfo(d), lambda m, d: d.to_real(),
                lambda m, d: d.to_complex()):
        assert tried(ask, ng, getattr(ng, name)) == tried(ask, torch, getattr(torch, name))
    assert ng.get_default_dtype() is ng.float32
