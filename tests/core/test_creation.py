"""New tensors, copies and fills against PyTorch: every call three times, as what an equal call settled is used by the third."""

import pickle

import numpy as np
import pytest
from parity import agrees

import numbagrad as ng

torch = pytest.importorskip("torch")
DTYPES = "float32 float64 float16 bfloat16 int64 int32 int8 uint8 bool complex64".split()
NUMBERS = [0, 1, -1, 2.5, -0.0, 0.0, float("inf"), float("nan"), 300, 65520.0, 1e39, True, 2**40, 2**31, 1 + 2j, [1, 2],
           [1.5, 2], [[1, 2], [3, 4.5]], [True, 2], [[]], []]


def seen(call, lib):
    """What a call gives, as text: dtype, shape, strides and values, or the class of its error."""
    try:
        t = call(lib)
    except Exception as error:
        return type(error).__name__
    wide = lib.view_as_real(t) if t.is_complex() else t
    return str(t.dtype), tuple(t.shape), t.stride(), repr(wide.double().tolist())


def alike(call):
    expected = seen(call, torch)
    for _ in range(3):
        assert seen(call, ng) == expected


@pytest.mark.parametrize("dtype", [None, *DTYPES])
@pytest.mark.parametrize("value", NUMBERS, ids=repr)
def test_numbers_and_lists(value, dtype):
    def kind(lib):
        return dtype and getattr(lib, dtype)
    alike(lambda lib: lib.tensor(value, dtype=kind(lib)))
    if not isinstance(value, list):
        alike(lambda lib: lib.full((2, 3), value, dtype=kind(lib)))
        alike(lambda lib: lib.zeros(2).new_full((2,), value, dtype=kind(lib)))


def ranges():
    rng = np.random.default_rng(3)
    for _ in range(20):
        a, b = (float(x) for x in rng.normal(size=2) * 50)
        yield a, b, (b - a) / float(rng.integers(2, 30))
        yield int(a), int(b), 3 if b > a else -3
    yield 2**40, 2**40 + 3, 1
    yield 0, 1, 0.25


@pytest.mark.parametrize("dtype", [None, "float32", "float64", "int64", "int32"])
@pytest.mark.parametrize("bounds", list(ranges()), ids=repr)
def test_arange(bounds, dtype):
    if dtype in ("int64", "int32") or all(isinstance(x, int) for x in bounds):
        alike(lambda lib: lib.arange(*bounds, dtype=dtype and getattr(lib, dtype)))
    else:
        got, expected = (lib.arange(*bounds, dtype=dtype and getattr(lib, dtype)) for lib in (ng, torch))
        assert str(got.dtype) == str(expected.dtype)
        assert got.tolist() == pytest.approx(expected.tolist(), rel=1e-6, abs=1e-5)


def test_the_dtype_of_a_range():
    assert ng.arange(5).dtype is ng.int64 and ng.arange(5.0).dtype is ng.float32
    with pytest.raises(ValueError, match="step must be nonzero"):
        ng.arange(0, 5, 0.5, dtype=ng.int64)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bounds", [(0, 1, 64), (-3.7, 11.3, 17), (5, 5, 3), (1, 2, 1), (2, -2, 2), (0, 1, 0),
                                    (1e38, -3e38, 5)], ids=repr)
def test_linspace(bounds, dtype):
    a, b, n = bounds
    got, expected = (lib.linspace(a, b, n, dtype=getattr(lib, dtype)).tolist() for lib in (ng, torch))
    assert got == pytest.approx(expected, rel=1e-6, nan_ok=True)
    got, expected = (lib.logspace(a % 5, b % 5, n, dtype=getattr(lib, dtype)).tolist() for lib in (ng, torch))
    assert got == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3, 3), (2, 5), (5, 2), (0, 3), (1, 1)], ids=repr)
def test_eye(shape, dtype):
    alike(lambda lib: lib.eye(*shape, dtype=getattr(lib, dtype)))


PARTS = {"whole": ((4, 6), lambda t: t), "turned": ((6, 4), lambda t: t.t()), "row": ((4, 6), lambda t: t[1]),
         "columns": ((4, 3), lambda t: t[:, ::2])}


@pytest.mark.filterwarnings("ignore:Casting complex")
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("target", DTYPES)
@pytest.mark.parametrize("source", DTYPES)
def test_copies(source, target, part):
    shape, of = PARTS[part]
    values = np.arange(24.0).reshape(4, 6)

    def made(lib):
        return lib.tensor(values).to(getattr(lib, source))

    def into(lib, shape):
        return lib.zeros(*shape, dtype=getattr(lib, target))
    alike(lambda lib: into(lib, shape).copy_(of(made(lib))))
    alike(lambda lib: into(lib, shape[::-1]).t().copy_(of(made(lib))))
    alike(lambda lib: of(made(lib)).to(getattr(lib, target)).contiguous())


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
def test_writes(dtype, grad):
    def written(lib):
        with lib.set_grad_enabled(grad):
            t = lib.ones(4, 4, dtype=getattr(lib, dtype))
            t[0], t[1], t[2, 1], t[1:3, 0] = 2.0, lib.arange(4.0), -5 if dtype != "uint8" else 5, 0
            t.t()[3].fill_(1)
            t[:, 1].zero_()
            return t
    alike(written)


def test_inference_tensors_are_filled_as_such():
    with ng.inference_mode():
        made = [ng.full((2,), 3.0, dtype=getattr(ng, d)) for d in DTYPES]
        made += [ng.eye(2, dtype=ng.float16), ng.from_numpy(np.ones(2))]
    for t in made:
        assert t.is_inference()
        with pytest.raises(RuntimeError, match="Inplace update to inference tensor"):
            t.zero_()


def test_shapes_are_checked_whatever_was_made_before():
    ng.zeros(2, 1), ng.zeros((2, 1))
    for size in ((2.0, 1), ((2, 1.0),), (2, -1), ("2",), (None,)):
        with pytest.raises((TypeError, RuntimeError)):
            ng.zeros(*size)
    assert ng.zeros(2, np.int64(1)).shape == (2, 1)


def test_the_line_of_a_change_is_the_users():
    x = ng.ones(3, requires_grad=True)
    y = x.exp()
    y.detach().zero_(); line = test_the_line_of_a_change_is_the_users.__code__.co_firstlineno + 3  # noqa: E702
    with pytest.raises(RuntimeError, match=rf"modified at .*test_creation.py:{line}"):
        y.sum().backward()


@pytest.mark.parametrize("make", ["empty_like", "zeros_like", "ones_like", "full_like"])
@pytest.mark.parametrize("view", [lambda x: x, lambda x: x.t(), lambda x: x.reshape(2, 2, 3).permute(2, 0, 1),
                                  lambda x: x[:, :2].t(), lambda x: x.expand(2, 4, 3)])
def test_like_keeps_the_order_of_dimensions(make, view):
    def run(T, **options):
        args = (2.5,) if make == "full_like" else ()
        out = getattr(T, make)(view(T.arange(12.0).reshape(4, 3)), *args, **options)
        return out.stride(), out.is_contiguous(), make == "empty_like" or out.tolist()
    agrees(run)
    agrees(lambda T: run(T, memory_format=T.contiguous_format))
    agrees(lambda T: run(T, dtype=T.int64))


def test_arrays_out_of_a_pickle_have_the_dtypes_that_fast_paths_know():
    for name in ("float32", "float64", "int64", "bool", "float16", "complex64"):
        a = pickle.loads(pickle.dumps(np.ones((2, 3), name)))
        assert a.dtype is not np.dtype(name), "pickles keep the object"
        again = pickle.loads(pickle.dumps(ng.tensor(a)))
        for t in (ng.tensor(a), ng.from_numpy(a), ng.as_tensor(a), ng.from_numpy(a.T), again):
            assert t._buf.dtype is t._kind.np
        t = ng.from_numpy(a)
        t[0, 0] = 0
        assert not a[0, 0] and t.numpy().dtype == a.dtype


ENDS = [(-1, 1), (0, 1), (0.1, 7.3), (-5.5, -5.4), (-165.02, 65.9), (1e-3, -2e3)]


@pytest.mark.parametrize("dtype", "float32 float64 float16 bfloat16 complex64 complex128 int64 int16 uint8".split())
@pytest.mark.parametrize("ends", ENDS)
def test_linspace_rounds_as_torch(ends, dtype):
    """To the last bit, where PyTorch contracts products with sums as this processor can."""
    if torch.backends.cpu.get_cpu_capability() == "DEFAULT":
        pytest.skip("this PyTorch does not contract products with sums")
    if dtype == "uint8":
        ends = tuple(min(abs(v), 255) for v in ends)
    for steps in (0, 1, 2, 3, 7, 12, 31, 64, 257, 3001):
        a, b = (lib.linspace(*ends, steps, dtype=getattr(lib, dtype)) for lib in (ng, torch))
        assert str(a.dtype) == str(b.dtype) and a.tolist() == b.tolist(), steps


def test_linspace_between_complex_numbers_and_large_integers():
    if torch.backends.cpu.get_cpu_capability() == "DEFAULT":
        pytest.skip("this PyTorch does not contract products with sums")
    for ends, steps, dtype in (((1 + 2j, -3 + 0.7j), 23, "complex128"), ((2j, 1.5), 12, "complex64"),
                               ((2**53 + 1, 0), 1, "int64"), ((0.3 + 1j, 0), 1, "complex64")):
        a, b = (lib.linspace(*ends, steps, dtype=getattr(lib, dtype)) for lib in (ng, torch))
        assert a.tolist() == b.tolist()
