"""Dtypes that PyTorch has no kernel for: the error names the kernel that PyTorch would have taken."""

import pytest

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")


def refused(lib, call, *args):
    with pytest.raises(NotImplementedError) as found:
        call(lib, *args)
    return str(found.value)


def resized(lib, mode, n, dtype, channels, size, last):
    x = lib.ones((1, *(4,) * n, channels)).to(getattr(lib, dtype)).movedim(-1, 1)
    lib.nn.functional.interpolate(x if last else x.contiguous(), (size,) * n, mode=mode)


@pytest.mark.parametrize("mode, n", [("nearest", 1), ("nearest", 2), ("nearest", 3), ("nearest-exact", 1), ("nearest-exact", 2),
                                     ("nearest-exact", 3), ("linear", 1), ("bilinear", 2), ("trilinear", 3), ("bicubic", 2)])
@pytest.mark.parametrize("dtype", ["int32", "uint16", "bool"])
def test_interpolation(mode, n, dtype):
    for channels in (3, 4):
        for size in (3, 70):
            for last in (False, True):
                given = mode, n, dtype, channels, size, last
                assert refused(ng, resized, *given) == refused(torch, resized, *given), given


@pytest.mark.parametrize("dtype", ["uint16", "uint32", "uint64"])
def test_products(dtype):
    def ones(lib, *shape):
        return lib.ones(shape).to(getattr(lib, dtype))
    calls = {
        "einsum": lambda lib: lib.einsum("aij,jk->aik", ones(lib, 2, 3, 4), ones(lib, 4, 4)),
        "einsum of matrices": lambda lib: lib.einsum("ij,jk->ik", ones(lib, 3, 4), ones(lib, 4, 4)),
        "einsum of vectors": lambda lib: lib.einsum("i,i->", ones(lib, 3), ones(lib, 3)),
        "einsum of a batch": lambda lib: lib.einsum("bij,bjk->bik", ones(lib, 2, 3, 4), ones(lib, 2, 4, 5)),
        "tensordot": lambda lib: lib.tensordot(ones(lib, 2, 3), ones(lib, 3, 2), 1),
        "tensordot of all": lambda lib: lib.tensordot(ones(lib, 2, 3), ones(lib, 2, 3), 2),
        "tensordot to one": lambda lib: lib.tensordot(ones(lib, 2, 2, 1), ones(lib, 2, 1, 2), [[0, 1], [2, 0]]),
        "tensordot of a row": lambda lib: lib.tensordot(ones(lib, 1, 3), ones(lib, 3, 1), 1),
        "tensordot of one": lambda lib: lib.tensordot(ones(lib, 3, 1), ones(lib, 1, 4), 1),
        "einsum, large": lambda lib: lib.einsum("ij,jk->ik", ones(lib, 30, 40), ones(lib, 40, 4)),
        "bilinear, large": lambda lib: lib.nn.functional.bilinear(ones(lib, 40, 3), ones(lib, 40, 4), ones(lib, 5, 3, 4)),
        "bilinear": lambda lib: lib.nn.functional.bilinear(ones(lib, 3), ones(lib, 4), ones(lib, 5, 3, 4), ones(lib, 5)),
        "bilinear of rows": lambda lib: lib.nn.functional.bilinear(ones(lib, 2, 3), ones(lib, 2, 4), ones(lib, 5, 3, 4)),
        "max_pool2d": lambda lib: lib.nn.functional.max_pool2d(ones(lib, 1, 2, 4, 4), 2),
        "max_pool2d by channels": lambda lib: lib.nn.functional.max_pool2d(ones(lib, 1, 4, 4, 2).movedim(-1, 1), 2),
        "max_pool3d by channels": lambda lib: lib.nn.functional.max_pool3d(ones(lib, 1, 4, 4, 4, 2).movedim(-1, 1), 2),
    }
    for name, call in calls.items():
        assert refused(ng, call) == refused(torch, call), name
    for lib in (ng, torch):  # nothing is added up
        assert lib.einsum("i,j->ij", ones(lib, 2), ones(lib, 3)).shape == (2, 3)
