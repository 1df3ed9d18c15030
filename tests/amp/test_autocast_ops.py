"""Every op under autocast, in float32, bfloat16 and both: the dtypes of its results are PyTorch's, and the values near them."""

import warnings

import numpy as np
import pytest
from registry.draw import cases, flat, ids, ops
from registry.oracle import torch_function, torch_values

import numbagrad as ng
from numbagrad.dispatch.autocast import TABLES

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
# What differs, and why.
KNOWN = {
    "histogram": "PyTorch's refusal is of the bins alone", "solve_triangular": "PyTorch compares no dtypes there",
    "matrix_exp": "PyTorch goes on through products that cast", "matrix_power": "PyTorch goes on through products that cast",
    "pinv": "PyTorch's last product is cast, ours is in float32"}
FREE = ("eig", "eigh", "svd", "qr", "geqrf", "lstsq", "empty_like", "empty_permuted")  # signs of vectors, or any values
LISTED = [op for op in ops(private=False) if op.dtypes in ("any", "float") and op.name not in KNOWN
          and torch_function(op) is not None]


def tensors(case, lib, mix):
    out, floats = [], 0
    for a in case.arrays:
        t = lib.from_numpy(a.astype(np.float32) if a.dtype.kind == "f" else a.copy())
        if a.dtype.kind == "f":
            t = t.to(lib.bfloat16) if mix == "half" or mix == "mixed" and floats else t
            floats += 1
        out.append(t)
    return out


def outcome(lib, case, mix, function=None):
    with warnings.catch_warnings(), lib.autocast("cpu"):
        warnings.simplefilter("ignore")
        try:
            result = case.call(tensors(case, lib, mix), function)
        except Exception as e:
            return e
    return (flat if lib is ng else torch_values)(result)


@pytest.mark.parametrize("op", LISTED, ids=ids)
def test_dtypes(op):
    function = torch_function(op)
    for case in cases(op)[:3]:
        for mix in ("full", "half", "mixed"):
            ours, theirs = outcome(ng, case, mix), outcome(torch, case, mix, function)
            if isinstance(theirs, Exception) or isinstance(ours, Exception):
                assert isinstance(theirs, Exception) and isinstance(ours, Exception), f"{case} {mix}: {ours!r}, {theirs!r}"
                continue
            assert [str(t.dtype) for t in ours] == [str(t.dtype) for t in theirs], f"{case} {mix}"
            if mix != "full" and op.name not in TABLES["cpu"] or op.name in FREE:
                continue
            for o, t in zip(ours, theirs):
                if t.dtype.is_floating_point and o.dtype.is_floating_point:
                    a, b = o.float().detach().numpy(), t.float().detach().numpy()
                    big = np.abs(b[np.isfinite(b)]).max(initial=1.0)
                    assert np.allclose(a, b, rtol=0.03, atol=0.03 * big, equal_nan=True), f"{case} {mix}: {a}, {b}"
