"""``signal.windows`` against PyTorch's: values, gradients, errors."""

from __future__ import annotations

import pytest

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
LIBS = (ng, torch)
ARGUMENTS = {"exponential": [{}, {"tau": 3.0}, {"center": 1.5, "sym": False}], "gaussian": [{}, {"std": 2.5}],
             "kaiser": [{}, {"beta": 0.0}, {"beta": 5.5}], "general_cosine": [{"a": [0.5, 0.3, 0.2]}, {"a": (1,)}],
             "general_hamming": [{}, {"alpha": 0.4}]}
NAMES = torch.signal.windows.__all__
CASES = [(name, arguments) for name in NAMES for arguments in ARGUMENTS.get(name, [{}])]


def test_all_are_here():
    assert sorted(ng.signal.windows.__all__) == sorted(NAMES) and len(NAMES) == 11


@pytest.mark.parametrize(("name", "arguments"), CASES, ids=lambda v: v if isinstance(v, str) else "-".join(v))
def test_values(name, arguments):
    for m in (0, 1, 2, 3, 12, 257):
        for sym in (False,) if "center" in arguments else (True, False):
            for dtype in (None, "float32", "float64"):
                ours, theirs = (getattr(lib.signal.windows, name)(m, dtype=dtype and getattr(lib, dtype), **{
                    **arguments, "sym": sym}) for lib in LIBS)
                assert ours.dtype is getattr(ng, dtype or "float32") and ours.shape == (m,) and not ours.requires_grad
                atol = 2e-7 if ours.dtype is ng.float32 else 1e-15
                assert torch.allclose(torch.from_numpy(ours.numpy()), theirs, rtol=1e-6 if atol > 1e-9 else 1e-13,
                                      atol=atol, equal_nan=True), (m, sym, dtype)


@pytest.mark.parametrize(("name", "arguments"), CASES, ids=lambda v: v if isinstance(v, str) else "-".join(v))
def test_those_that_require_grad_have_a_node(name, arguments):
    for m in (0, 1, 5):
        found = []
        for lib in LIBS:
            w = getattr(lib.signal.windows, name)(m, requires_grad=True, dtype=lib.float64, **{
                **arguments, **({"sym": False} if "center" in arguments else {})})
            found.append((w.requires_grad, w.is_leaf, type(w.grad_fn).__name__))
        assert found[0] == found[1]


@pytest.mark.parametrize(("name", "arguments"), [
    *[(name, {"M": -1}) for name in NAMES], *[(name, {"M": 3, "dtype": "int64"}) for name in NAMES],
    *[(name, {"M": 3, "layout": "sparse_coo"}) for name in NAMES],
    ("exponential", {"M": 3, "tau": 0}), ("exponential", {"M": 3, "center": 1}), ("gaussian", {"M": 3, "std": -1}),
    ("kaiser", {"M": 3, "beta": -1}), ("general_cosine", {"M": 3, "a": 3}), ("general_cosine", {"M": 3, "a": []}),
    ("general_cosine", {"M": 3}), ("hann", {"M": 3, "sym": True, "alpha": 1})])
def test_errors(name, arguments):
    found = []
    for lib in LIBS:
        given = {k: getattr(lib, v) if isinstance(v, str) else v for k, v in arguments.items()}
        if name == "general_cosine" and given["M"] == -1 or given.get("dtype") or given.get("layout"):
            given.update({"a": [1.0]} if name == "general_cosine" else {})
        with pytest.raises(Exception) as caught:
            getattr(lib.signal.windows, name)(**given)
        found.append((type(caught.value).__name__, str(caught.value)))
    assert found[0] == found[1]
