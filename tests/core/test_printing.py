"""The text of tensors: literal texts, the options, and a fuzz against PyTorch."""

import math

import numpy as np
import pytest

import numbagrad as ng
from numbagrad.core.printing import (
    get_printoptions,
    is_summarized,
    parameter_str,
    printoptions,
    set_printoptions,
    summary_indices,
    tensor_str,
)


@pytest.fixture(autouse=True)
def _default_options():
    set_printoptions(profile="default")
    yield
    set_printoptions(profile="default")


def text(values, dtype="float32", **kwargs):
    stored = "float32" if dtype in ("float16", "bfloat16") else dtype
    return tensor_str(np.asarray(values, stored), dtype, **kwargs)


NAN, INF = math.nan, math.inf
LITERALS = [
    (text(3.0), "tensor(3.)"),
    (text(2.0, requires_grad=True), "tensor(2., requires_grad=True)"),
    (text(12.0, requires_grad=True, grad_fn_name="MulBackward0"), "tensor(12., grad_fn=<MulBackward0>)"),
    (text(0.0), "tensor(0.)"),
    (text(-0.0), "tensor(-0.)"),
    (text([]), "tensor([])"),
    (text([], "int64"), "tensor([], dtype=torch.int64)"),
    (text(np.zeros((0, 3))), "tensor([], size=(0, 3))"),
    (text([1.5, -2.25]), "tensor([ 1.5000, -2.2500])"),
    (text([1.0, 0.0, -20.0]), "tensor([  1.,   0., -20.])"),
    (text([0.0, NAN, -INF]), "tensor([0., nan, -inf])"),
    (text([NAN, 1.0, INF]), "tensor([nan, 1., inf])"),
    (text([1e-5, 1.0]), "tensor([1.0000e-05, 1.0000e+00])"),
    (text([1.0, 2000.5]), "tensor([1.0000e+00, 2.0005e+03])"),
    (text([1.0, 1000.0]), "tensor([   1., 1000.])"),
    (text([1.0, 1001.0]), "tensor([1.0000e+00, 1.0010e+03])"),
    (text([1e300, 1e-300], "float64"), "tensor([1.0000e+300, 1.0000e-300], dtype=torch.float64)"),
    (text([1.0], "float64", default_dtype_name="float64"), "tensor([1.])"),
    (text([1.0], "float32", default_dtype_name="float64"), "tensor([1.], dtype=torch.float32)"),
    (text([1, -22, 3], "int64"), "tensor([  1, -22,   3])"),
    (text([1, 2], "int32"), "tensor([1, 2], dtype=torch.int32)"),
    (text([True, False], "bool"), "tensor([ True, False])"),
    (text([True], "bool"), "tensor([True])"),
    (text([1 + 2j, -3.5 - 0.5j], "complex64"), "tensor([ 1.0000+2.0000j, -3.5000-0.5000j])"),
    (text([1 + 2j, complex(2, -0.0)], "complex128"), "tensor([1.+2.j, 2.-0.j], dtype=torch.complex128)"),
    (text([1.0], device="cuda:0"), "tensor([1.], device='cuda:0')"),
    (text([1.5], "float16", device="cuda:0", requires_grad=True),
     "tensor([1.5000], device='cuda:0', dtype=torch.float16, requires_grad=True)"),
    (text(np.eye(2)), "tensor([[1., 0.],\n        [0., 1.]])"),
    (text(np.arange(8).reshape(2, 2, 2), "int64"),
     "tensor([[[0, 1],\n         [2, 3]],\n\n        [[4, 5],\n         [6, 7]]])"),
    (text(np.arange(1001), "int64"), "tensor([   0,    1,    2,  ...,  998,  999, 1000])"),
    (text(np.zeros((1, 2, 501)), grad_fn_name="AddBackward0"),
     "tensor([[[0., 0., 0.,  ..., 0., 0., 0.],\n         [0., 0., 0.,  ..., 0., 0., 0.]]], "
     "grad_fn=<AddBackward0>)"),
    (text(np.arange(16) / 4),
     "tensor([0.0000, 0.2500, 0.5000, 0.7500, 1.0000, 1.2500, 1.5000, 1.7500, 2.0000,\n"
     "        2.2500, 2.5000, 2.7500, 3.0000, 3.2500, 3.5000, 3.7500])"),
    (text(np.full((2, 9), 0.5), grad_fn_name="NativeLayerNormBackward0"),
     "tensor([[0.5000, 0.5000, 0.5000, 0.5000, 0.5000, 0.5000, 0.5000, 0.5000, 0.5000],\n"
     "        [0.5000, 0.5000, 0.5000, 0.5000, 0.5000, 0.5000, 0.5000, 0.5000, 0.5000]],\n"
     "       grad_fn=<NativeLayerNormBackward0>)"),
    (parameter_str(text([1.0], requires_grad=True)), "Parameter containing:\ntensor([1.], requires_grad=True)"),
    (tensor_str(None, "float64", device="meta", shape=(2, 3)),
     "tensor(..., device='meta', size=(2, 3), dtype=torch.float64)"),
]


@pytest.mark.parametrize(("got", "expected"), LITERALS)
def test_literal_texts(got, expected):
    assert got == expected


def test_options():
    set_printoptions(precision=2)
    assert text([1.12345]) == "tensor([1.12])"
    set_printoptions(threshold=5)
    assert text(range(10), "int64") == "tensor([0, 1, 2,  ..., 7, 8, 9])"
    set_printoptions(edgeitems=1)
    assert text(range(10), "int64") == "tensor([0,  ..., 9])"
    set_printoptions(profile="default", sci_mode=True)
    assert text([1.0, 0.0]) == "tensor([1.0000e+00, 0.0000e+00])"
    set_printoptions()
    assert text([1.0, 0.0]) == "tensor([1., 0.])"
    set_printoptions(linewidth=20)
    assert text([1.0] * 5) == "tensor([1., 1., 1.,\n        1., 1.])"
    set_printoptions(profile="short")
    assert get_printoptions() == {"precision": 2, "threshold": 1000, "edgeitems": 2, "linewidth": 80, "sci_mode": None}


def test_context_restores_options_after_an_error():
    before = get_printoptions()
    with pytest.raises(ZeroDivisionError), printoptions(profile="full", precision=1, sci_mode=False):
        assert get_printoptions()["threshold"] == math.inf
        assert text([1e-9]) == "tensor([0.0])"
        raise ZeroDivisionError
    assert get_printoptions() == before


def test_only_the_cut_is_looked_at():
    """A value far from the edges changes neither the notation nor the width."""
    values = np.arange(4000.0).reshape(50, 80) % 7
    values[25, 40] = 1e30
    assert "e+" not in text(values)
    assert is_summarized(values.shape)
    cut = values[np.ix_(*summary_indices(values.shape))]
    assert cut.shape == (6, 6)
    assert tensor_str(cut, "float32", shape=values.shape) == text(values)


def test_array_is_left_alone():
    values = np.linspace(-1, 1, 2000).reshape(40, 50).T
    values.flags.writeable = False
    assert text(values, "float64").endswith(",\n       dtype=torch.float64)")


NAMES = ["float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool",
         "complex64", "complex128"]
SPECIAL = [0.0, -0.0, NAN, INF, -INF, 1e-4, 9.99999e-5, 1e8, 1.00000001e8, 99999.5, 0.99999]


def random_values(rng, shape):
    """Float64 values whose kind, magnitude and specials vary from call to call."""
    size = math.prod(shape)
    kind = rng.integers(6)
    if kind == 0:
        values = rng.standard_normal(size)
    elif kind == 1:
        values = np.round(rng.standard_normal(size) * 10.0 ** rng.integers(0, 5))
    elif kind == 2:
        values = rng.standard_normal(size) * 10.0 ** rng.integers(-8, 12)
    elif kind == 3:
        values = 10.0 ** rng.uniform(-2, 2, size) * rng.choice([-1, 1], size)
    elif kind == 4:
        values = 10.0 ** rng.uniform(-300, 300, size)
    else:
        values = rng.choice([0.0, 1.0, -1.0, 5.0], size)
    if rng.random() < 0.3:
        values = np.where(rng.random(size) < 0.2, rng.choice(SPECIAL, size), values)
    return values.reshape(shape)


def compare_one(torch, rng):
    name = NAMES[rng.integers(len(NAMES))]
    ndim = rng.integers(0, 5)
    top = [200, 1500, 60, 14, 8][ndim]
    shape = tuple(int(n) for n in rng.integers(rng.random() > 0.1, top if rng.random() < 0.3 else 7, ndim))
    values = random_values(rng, shape)
    dtype = getattr(torch, name)
    if dtype.is_complex:
        parts = np.empty((*shape, 2))
        parts[..., 0], parts[..., 1] = values, random_values(rng, shape)
        values = parts.view(np.complex128)[..., 0]
    elif not dtype.is_floating_point:
        values = np.nan_to_num(np.clip(values, -1e18, 1e18)).astype(np.int64)
    tensor = torch.from_numpy(np.ascontiguousarray(values)).reshape(shape).to(dtype)
    if ndim > 1 and rng.random() < 0.3:
        tensor = tensor.transpose(0, 1)
    grad = (dtype.is_floating_point or dtype.is_complex) and rng.random() < 0.4
    tensor.requires_grad_(grad)
    if grad and rng.random() < 0.5:
        tensor = tensor * 1
    array = tensor.detach()
    array = (array.float() if name in ("float16", "bfloat16") else array).numpy()
    node = None if tensor.grad_fn is None else type(tensor.grad_fn).__name__
    default = str(torch.get_default_dtype()).removeprefix("torch.")
    got = tensor_str(array, name, "cpu", tensor.requires_grad, node, default_dtype_name=default)
    assert got == repr(tensor), (name, shape)


def compare_many(seed, rounds):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
    rng = np.random.default_rng(seed)
    default = torch.get_default_dtype()
    try:
        for _ in range(rounds):
            options = {}
            if rng.random() < 0.3:
                options = {"precision": int(rng.integers(0, 9)), "threshold": int(rng.integers(0, 1200)),
                           "edgeitems": int(rng.integers(0, 6)), "linewidth": int(rng.integers(10, 150)),
                           "sci_mode": [None, True, False][rng.integers(3)]}
            set_printoptions(profile="default", **options)
            torch.set_printoptions(profile="default", **options)
            torch.set_default_dtype(torch.float64 if rng.random() < 0.2 else torch.float32)
            with np.errstate(over="ignore"):
                compare_one(torch, rng)
    finally:
        torch.set_default_dtype(default)
        torch.set_printoptions(profile="default")


@pytest.mark.parametrize("seed", range(4))
def test_fuzz_against_pytorch(seed):
    compare_many(seed, 75)


def test_of_tensors():
    from numbagrad.core.tensor import Tensor, from_array, from_storage

    assert repr(from_array(np.array([1.5, 2.0], np.float32)).requires_grad_()) == (
        "tensor([1.5000, 2.0000], requires_grad=True)")
    halves = np.array([1.0, -2.5, 65504.0], np.float16)
    assert repr(from_array(halves)) == "tensor([ 1.0000e+00, -2.5000e+00,  6.5504e+04], dtype=torch.float16)"
    brain = (np.array([1.5, -0.25], np.float32).view(np.uint32) >> 16).astype(np.uint16)
    assert repr(from_storage(brain, "bfloat16", 0, (2,), (1,))) == "tensor([ 1.5000, -0.2500], dtype=torch.bfloat16)"
    assert repr(from_storage(brain, "bfloat16", 1, (), ())) == "tensor(-0.2500, dtype=torch.bfloat16)"
    # 3000 bfloat16 elements on two: cut before they are converted.
    assert repr(from_storage(brain, "bfloat16", 0, (3000,), (0,))) == (
        "tensor([1.5000, 1.5000, 1.5000,  ..., 1.5000, 1.5000, 1.5000],\n       dtype=torch.bfloat16)")

    class Special(Tensor):
        pass

    assert repr(from_array(np.array([[1], [2]])).as_subclass(Special)) == "Special([[1],\n         [2]])"


def test_format():
    """A plain tensor without dimensions is formatted as its number, any other as it prints."""
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
    texts = []
    for lib in (ng, torch):
        t, whole, row = lib.tensor(0.3, requires_grad=True), lib.tensor(7), lib.tensor([0.5])
        p = lib.nn.Parameter(lib.tensor(0.25))
        with pytest.raises(TypeError) as refused:
            f"{row:.2f}"
        with pytest.raises(TypeError) as parameter:
            f"{p:.2f}"
        texts.append((f"{t} {t:.3f} {t * 2:e} {whole} {whole:03d} {lib.tensor(True)} {row} {lib.tensor(1 + 2j)} {t!r}", f"{p}",
                      "{}".format(t), "%s" % t, str(refused.value), str(parameter.value)))  # noqa: UP030, UP031, UP032
    assert texts[0] == texts[1] and texts[0][0].startswith("0.30000001192092896 0.300")


def test_sizes_without_dimensions():
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
    for ask in (lambda t: t.size(0), lambda t: t.size(-1), lambda t: t.size(4), lambda t: t.stride(0), lambda t: t.stride(-3)):
        texts = []
        for lib in (ng, torch):
            with pytest.raises(IndexError) as e:
                ask(lib.tensor(1.0))
            texts.append(str(e.value))
        assert texts[0] == texts[1]
    with pytest.raises(IndexError, match=r"Dimension out of range \(expected to be in range of \[-1, 0\], but got 4\)"):
        ng.ones(2).size(4)
