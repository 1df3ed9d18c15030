"""``dtype=`` of norms: what is refused, and the dtype of the result, as in PyTorch."""

import pytest

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
NAMES = ("float16", "bfloat16", "float32", "float64", "complex64", "complex128", "int64", "bool")
NORMS = {"vector_norm": lambda lib, x, dtype: lib.linalg.vector_norm(x, dtype=dtype),
         "norm": lambda lib, x, dtype: lib.norm(x, dtype=dtype), "nuc": lambda lib, x, dtype: lib.norm(x, "nuc", dtype=dtype),
         "linalg.norm": lambda lib, x, dtype: lib.linalg.norm(x, dtype=dtype),
         "matrix_norm": lambda lib, x, dtype: lib.linalg.matrix_norm(x, 1, dtype=dtype)}


def outcome(lib, norm, given, wanted):
    try:
        return str(norm(lib, lib.ones(2, 2, dtype=getattr(lib, given)), getattr(lib, wanted)).dtype).split(".")[1]
    except Exception as e:
        return type(e).__name__, str(e)


@pytest.mark.parametrize("given", NAMES[:6])
@pytest.mark.parametrize("norm", NORMS)
def test_dtypes(norm, given):
    for wanted in NAMES:
        ours, theirs = (outcome(lib, NORMS[norm], given, wanted) for lib in (ng, torch))
        if "Low precision" in str(theirs):  # PyTorch has no singular values of these, even where it is to convert them first
            assert ours == wanted or ours[0] == "RuntimeError"
        else:
            assert ours == theirs, wanted


def test_softmin_negates_before_it_converts():
    for values in ([3, 1, 0], [True, False]):
        found = []
        for lib in (ng, torch):
            x = lib.tensor(values, dtype=lib.uint8 if len(values) == 3 else lib.bool)
            try:
                found.append(lib.nn.functional.softmin(x, 0, dtype=lib.float64).tolist())
            except RuntimeError as e:
                found.append(str(e))
        assert found[0] == pytest.approx(found[1]) if len(values) == 3 else found[0] == found[1]
