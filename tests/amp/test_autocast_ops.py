"""Every op under autocast, in float32, bfloat16 and both: the dtypes of its results are PyTorch's, and the values near them."""

import warnings

import numpy as np
import pytest
from registry.draw import cases, flat, ids, ops
from registry.oracle import torch_function, torch_values

import numbagrad as ng
from numbagrad.dispatch.autocast import TABLES

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
FREE = ("eig", "eigh", "svd", "qr", "geqrf", "lstsq", "empty_like", "empty_permuted")  # signs of vectors, or any values
LISTED = [op for op in ops(private=False) if op.dtypes in ("any", "float")
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
    if op.name == "lstm" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("PyTorch has no LSTM in bfloat16 on this processor")
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


POWERS = {
    "matrix_power": lambda lib, x, n: lib.linalg.matrix_power(x, n), "matrix_exp": lambda lib, x, n: lib.linalg.matrix_exp(x),
    "pinv": lambda lib, x, n: lib.linalg.pinv(x), "pinv hermitian": lambda lib, x, n: lib.linalg.pinv(x, hermitian=True),
    "inv": lambda lib, x, n: lib.linalg.inv(x), "pinverse": lambda lib, x, n: lib.pinverse(x)}


def powered(lib, name, dtype, n, on):
    """(dtype, values, gradient of the sum) of a function of a matrix, or its error; PyTorch's gradient of pinv fails there."""
    x = (lib.eye(3) * 2 + 0.25).to(getattr(lib, dtype)).requires_grad_()
    try:
        with lib.autocast("cpu", enabled=on):
            y = POWERS[name](lib, x, n)
    except (RuntimeError, NotImplementedError) as e:
        return type(e).__name__, str(e)
    grad = None
    if not (on and name in ("pinv", "pinv hermitian")):
        y.float().sum().backward()
        assert x.grad.dtype is x.dtype
        grad = x.grad.double().numpy()
    return str(y.dtype).split(".")[1], y.detach().double().numpy(), grad


@pytest.mark.parametrize("name", POWERS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64", "float16"])
def test_functions_of_matrices(name, dtype):
    """What goes on through products has the dtype of the last of them; what PyTorch refuses outside of regions is refused."""
    for n in (-2, -1, 0, 1, 2, 3) if name == "matrix_power" else (1,):
        for on in (False, True):
            mine, theirs = (powered(lib, name, dtype, n, on) for lib in (ng, torch))
            if "prioritize" in theirs[1]:
                continue  # PyTorch's cat under autocast knows no float16 on the CPU
            assert mine[0] == theirs[0], (n, on, mine, theirs)
            if len(mine) == 2:
                assert mine[1] == theirs[1]
            elif name != "matrix_exp" or dtype in ("float32", "float64"):  # PyTorch adds up its terms in half types: NaN
                for a, b in zip(mine[1:], theirs[1:]):
                    assert (a is None) == (b is None)
                    if a is not None:
                        np.testing.assert_allclose(a, b, rtol=0.03, atol=0.03 * abs(b).max())


def test_the_gradient_of_a_pseudo_inverse_in_a_region():
    found = []
    for on in (False, True):
        x = (ng.eye(3) * 2 + 0.25).requires_grad_()
        with ng.autocast("cpu", enabled=on):
            y = ng.linalg.pinv(x)
        y.float().sum().backward()
        found.append(x.grad.numpy())
    np.testing.assert_allclose(*found, rtol=0.02)
