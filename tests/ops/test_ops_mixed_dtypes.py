"""Every op of several tensors with two dtypes: the dtype and the value of PyTorch's result, or PyTorch's kind of error."""

import numpy as np
import pytest
from registry.draw import cases, flat, ids, ops
from registry.known import LESS_EXACT, MIXED
from registry.oracle import torch_function, torch_values

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")

# Of the first tensor, and of all others.
DTYPES = (("float32", "float64"), ("float64", "float32"), ("int64", "float32"), ("float32", "int64"), ("bool", "float32"),
          ("float32", "bool"), ("int32", "int64"))
RTOL = {"float32": 2e-5, "float64": 1e-6}  # (what is float64 in the end may have been rounded to float32 on the way)
REFUSALS = (RuntimeError, TypeError, ValueError, IndexError)


def several(case):
    return sum(a.dtype.kind == "f" for a in case.arrays) > 1


SEVERAL = [op for op in ops(private=False) if op.dtypes in ("any", "float") and any(several(c) for c in cases(op)[:2])]


def mixed(case, lib, first, others):
    """The case's tensors in either library, those of floats in the two dtypes; as small whole numbers if not floats."""
    out, name = [], first
    for a in case.arrays:
        if a.dtype.kind != "f":
            out.append(lib.from_numpy(a.copy()))
            continue
        values = a if name[0] == "f" else np.abs(np.round(a * 3)) % 3 + 1
        out.append(lib.from_numpy(np.ascontiguousarray(values)).to(getattr(lib, name)))
        name = others
    return out


def outcome(case, lib, dtypes, f=None):
    """(result, None), or (None, the refusal)."""
    try:
        return case.call(mixed(case, lib, *dtypes), f), None
    except REFUSALS as error:
        return None, error


@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")  # PyTorch's, once
@pytest.mark.parametrize("op", SEVERAL, ids=ids)
def test_two_dtypes(op):
    f = torch_function(op)
    if f is None:
        pytest.skip(f"PyTorch has no function for {op.name}")
    needed = False
    for case in filter(several, cases(op)[:2]):
        for dtypes in DTYPES:
            what = f"{case} of {' and '.join(dtypes)}"
            got, ours = outcome(case, ng, dtypes)
            expected, theirs = outcome(case, torch, dtypes, f)
            if op.name in MIXED and (ours is None) != (theirs is None):
                needed = True
                continue
            assert (ours is None) == (theirs is None), f"{what}: {ours!r}, in PyTorch {theirs!r}"
            if ours is not None:  # (NotImplementedError is a RuntimeError: which of two faults is met first does not matter)
                assert isinstance(ours, type(theirs)) or isinstance(theirs, type(ours)), f"{what}: {ours!r}, not {theirs!r}"
                continue
            for g, e in zip(flat(got), torch_values(expected), strict=True):
                assert str(g.dtype) == str(e.dtype), f"{what}: {g.dtype}, in PyTorch {e.dtype}"
                g, e = g.detach().numpy(), e.detach().numpy()
                rtol = max(RTOL.get(e.dtype.name, 0), LESS_EXACT.get(op.name, 0))
                np.testing.assert_allclose(g, e, rtol=rtol, atol=rtol * np.abs(e[np.isfinite(e)]).max(initial=0), err_msg=what)
    assert needed or op.name not in MIXED, f"{op.name} takes what PyTorch takes: take it off the list of exceptions"
