"""``torch.masked`` beside PyTorch's, where the calls of ``op_db`` (tests/parity) do not go: defaults, dtypes, errors."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
LIBS = (ng, torch)
NAMES = [n for n in torch.masked.__all__ if "asked" not in n]
CALLS = {"norm": [(2.0,), (float("inf"), 1), (float("-inf"), 0)], "normalize": [(2.0, 1)],
         **{n: [(0,), (-1,)] for n in ("cumsum", "cumprod", "softmax", "log_softmax", "softmin")},
         "logaddexp": [], "median": [(), (0,)], "argmax": [(), (1,)], "argmin": [(), (0,)]}


def outcome(action):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return action()
        except Exception as e:
            if "not implemented for" in str(e):  # kernels have names of their own
                return ("not implemented for",)
            if "iinfo() requires" in str(e):
                return (type(e).__name__,)
            return type(e).__name__, str(e).replace("torch.", "").replace("numbagrad.", "")


def shown(value):
    if isinstance(value, tuple):
        return value
    return str(value.dtype).split(".")[1], np.round(np.asarray(value.detach().tolist(), dtype=complex), 5).tolist()


def both(action):
    ours, theirs = (shown(outcome(lambda lib=lib: action(lib))) for lib in LIBS)
    assert str(ours) == str(theirs)


def test_names():
    assert sorted(n for n in ng.masked.__all__ if n != "is_masked_tensor") == sorted(NAMES) and len(NAMES) == 19
    assert ng.masked.is_masked_tensor(ng.ones(2)) is False
    for name in ("MaskedTensor", "masked_tensor", "as_masked_tensor"):
        with pytest.raises(AttributeError, match=f"masked.{name} is not available here; use the functions of torch.masked"):
            getattr(ng.masked, name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["float32", "int64", "uint8", "bool", "complex64"])
def test_dtypes_and_masks(name, dtype):
    for args in CALLS.get(name, [(), (1,), ((0, 1),), ((),)]):
        for mask in (None, [[True, False, True], [False, False, False]], [True, False, True], [[True], [False]],
                     [[[True]]], True):
            for more in ({}, {"dtype": "float64"}, {"dtype": "int32"}):
                def call(lib, args=args, mask=mask, more=more):
                    x = lib.tensor([[3.0, 1, 2], [0, 1, 5]]).to(getattr(lib, dtype))
                    kwargs = {k: getattr(lib, v) for k, v in more.items()}
                    return getattr(lib.masked, name)(x, *args, mask=None if mask is None else lib.tensor(mask), **kwargs)
                if mask != [[[True]]] and name not in ("argmax", "argmin"):
                    both(call)
                else:  # messages of other layers, and what stands for an element that is not there
                    ours, theirs = (outcome(lambda lib=lib: call(lib)) for lib in LIBS)
                    assert isinstance(ours, tuple) == isinstance(theirs, tuple)


def test_variances():
    for more in ({}, {"unbiased": False}, {"unbiased": True}, {"correction": 0}, {"correction": 2}, {"keepdim": True},
                 {"unbiased": True, "correction": 1}):
        for name in ("var", "std"):
            both(lambda lib, more=more, name=name: getattr(lib.masked, name)(
                lib.tensor([[1.0, 2, 4], [3, 3, 7]]), 1, mask=lib.tensor([[True, True, True], [True, False, True]]), **more))


def test_logaddexp():
    for masks in ({}, {"input_mask": [True, False]}, {"input_mask": [False, True], "other_mask": [True, False]}):
        both(lambda lib, masks=masks: lib.masked.logaddexp(lib.tensor([1.0, 2]), lib.tensor([3.0, 4]), **{
            k: lib.tensor(v) for k, v in masks.items()}))


@pytest.mark.parametrize(("name", "args"), [("sum", ((0, 0),)), ("sum", (2,)), ("amax", (-3,)), ("softmax", ()),
                                            ("normalize", (2.0,)), ("median", (5,)), ("cumsum", (2,))])
def test_errors(name, args):
    both(lambda lib: getattr(lib.masked, name)(lib.ones(2, 2), *args))


def test_sparse_tensors_are_refused():
    for name in NAMES:
        args = CALLS.get(name, [()])[0] if name != "logaddexp" else (ng.ones(2, 2),)
        with pytest.raises(ValueError, match=f"masked {'std/var' if name in ('std', 'var') else name} expects strided"):
            getattr(ng.masked, name)(ng.eye(2).to_sparse(), *args)
