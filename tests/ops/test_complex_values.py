"""Values of complex functions at zeros, infinities, NaN and on branch cuts; numbers read from views in another dtype."""

import math

import numpy as np
import pytest
from parity import agrees, torch

import numbagrad as ng
from numbagrad.kernel import complexmath
from numbagrad.kernel.jit import T, kernel

PARTS = (0.0, -0.0, 1.0, -1.0, 0.5, -2.0, 1e-8, 1e200, -1e300, 30.0, math.inf, -math.inf, math.nan)
GRID = np.array([complex(a, b) for a in PARTS for b in PARTS])
UNARY = ("exp exp2 expm1 log log2 log10 log1p sqrt rsqrt reciprocal sin cos tan sinh cosh tanh asin acos atan asinh acosh "
         "atanh sigmoid abs angle sgn square").split()


def same_part(a, b, scale, other):
    """Equal up to rounding, zeros with their sign; the sign of a zero beside a NaN is nobody's."""
    if math.isnan(b) or math.isinf(b):
        return math.isnan(a) if math.isnan(b) else a == b
    if a == b == 0:
        return math.isnan(other) or math.copysign(1, a) == math.copysign(1, b)
    return abs(a - b) <= 1e-14 * scale


def different(ours, theirs, arguments):
    """The arguments where two arrays of values differ."""
    found = []
    for a, b, z in zip(ours.tolist(), theirs.tolist(), arguments):
        a, b = complex(a), complex(b)
        scale = abs(b) if math.isfinite(abs(b)) else max([abs(p) for p in (b.real, b.imag) if math.isfinite(p)], default=1.0)
        if not (same_part(a.real, b.real, scale, b.imag) and same_part(a.imag, b.imag, scale, b.real)):
            found.append((z, a, b))
    return found


# PyTorch's own values there are not those of the function: log1p loses infinite parts and signs of zero for small real parts,
# acos is pi / 2 - asin with its rounding; the sign of an infinity beside a NaN is free.
def left_out(name, z):
    if name == "log1p":
        return abs(z.real) < 1 or math.isnan(z.real) or math.isnan(z.imag)
    if name == "acos":
        return abs(z) < 2 or math.isnan(z.real) or math.isnan(z.imag)
    if name in ("exp", "exp2"):
        return z.real == -math.inf
    return name in ("sin", "cos", "sinh", "cosh") and not (math.isfinite(z.real) and math.isfinite(z.imag))


@pytest.mark.parametrize("name", UNARY)
def test_functions_like_torch(name):
    library = torch() or pytest.skip("PyTorch is the oracle here")
    ours = getattr(ng, name)(ng.from_numpy(GRID)).numpy()
    theirs = getattr(library, name)(library.from_numpy(GRID)).resolve_conj().numpy()
    wrong = [w for w in different(ours, theirs, GRID) if not left_out(name, w[0])]
    assert not wrong, wrong[:3]


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_quotients_like_torch(dtype):
    library = torch() or pytest.skip("PyTorch is the oracle here")
    some = np.array([0, 1, 1j, -2, 0.5 + 1j, complex(math.inf, 0), complex(0, math.inf), complex(math.nan, 1)])
    a, b = (x.ravel().astype(dtype) for x in np.meshgrid(GRID[np.abs(GRID) < 100], some))
    ours = (ng.from_numpy(a) / ng.from_numpy(b)).numpy()
    theirs = (library.from_numpy(a) / library.from_numpy(b)).numpy()
    np.testing.assert_allclose(ours, theirs, rtol=1e-6 if dtype == "complex64" else 1e-14)


def test_one_zero_divisor_leaves_the_others_alone():
    """Over several threads and in a compiled function: the range behind the zero is computed."""
    x, y = ng.ones(300_000, dtype=ng.complex64), ng.ones(300_000, dtype=ng.complex64)
    y[200_000] = 0
    for divide in (lambda a, b: a / b, ng.compile(lambda a, b: a / b)):
        z = divide(x, y)
        assert int((z == 1).sum()) == 299_999 and not ng.isfinite(z[200_000]).item()
    assert str(ng.tensor(1j) / 0) == "tensor(nan+infj)"


def test_flags_of_the_first_caller_do_not_stay_with_a_function(monkeypatch):
    """Numba gives a function without fast-math flags those of its caller, and keeps what it compiled."""
    import numba
    monkeypatch.setattr(complexmath, "_made", {})
    reciprocal, divide = complexmath.device_function("reciprocal", "c16"), complexmath.divide()
    for flags in ({"nsz"}, False):  # (the order matters)
        caller = numba.njit(fastmath=flags)(lambda z: divide(reciprocal(z), z))
        assert caller(2j) == -0.25
        found, = caller.inspect_llvm().values()
        assert "fdiv double" in found and "fdiv nsz" not in found and "fsub nsz" not in found


@kernel
def quotients(x: "*T", y: "*T", n: int, start: int, stop: int):
    for i in range(start, stop):
        x[i] /= y[i]
        y[i] = T(1) / y[i] + n / 2


@pytest.mark.parametrize("dtype", [ng.complex64, ng.complex128, ng.float32])
def test_hand_written_kernels_divide_by_zero(dtype):
    """Numba's complex division raises inside a kernel: no kernel may get it."""
    x, y = ng.tensor([1, 2, 3], dtype=dtype), ng.tensor([0, 2, 4], dtype=dtype)
    quotients[dtype](x._ptr, y._ptr, 3, 0, 3)
    assert x[1:].tolist() == [1, 0.75] and y[1:].tolist() == [2, 1.75]
    assert not ng.isfinite(x[0]).item() and not ng.isfinite(y[0]).item()


AT_ZERO = ("angle", "sqrt", "sgn", "log", "abs", "reciprocal", "rsqrt", "tanh", "prod", "cumprod", "asin", "sinc", "square")


@pytest.mark.parametrize("name", AT_ZERO)
def test_gradients_at_zero(name):
    def code(library):
        x = library.tensor([0j, 2 - 1j], dtype=library.complex128, requires_grad=True)
        y = getattr(x, name)(0) if name == "cumprod" else getattr(x, name)()
        return library.autograd.grad(y, x, library.ones_like(y))[0]
    agrees(code)


SNIPPETS = """
(z.real * 2).sum().backward(); z.grad
y = (z * z.conj()).sum().real; y.backward(); z.grad, y.item()
(z ** z).abs().sum().backward(); z.grad
(2 ** z).real.sum().backward(); z.grad
((1 + 2j) ** z).imag.sum().backward(); z.grad
(z ** 0).real.sum().backward(); z.grad
torch.lerp(z, z.flip(0), 0.3).imag.sum().backward(); z.grad
z.logsumexp(0).real.backward(); z.grad
torch.addr(torch.zeros(2, 2, dtype=z.dtype), z, z, alpha=2j).real.sum().backward(); z.grad
torch.addcdiv(z, z, z + 1, value=0.5).real.sum().backward(); z.grad
torch.nn.functional.l1_loss(z, 2 * z).backward(); z.grad
(torch.ones(2, dtype=torch.bfloat16) + 1j).dtype
torch.var_mean(z.detach())
torch.nan_to_num(torch.tensor([complex(float('nan'), float('inf'))]))
(-torch.tensor([1 + 0j])).sqrt()
(z.detach() * z.detach().conj()).imag
""".strip().splitlines()


@pytest.mark.parametrize("text", SNIPPETS)
def test_like_torch(text):
    def code(library):
        names = {"torch": library, "z": library.tensor([1 + 1j, 2 - 1j], dtype=library.complex128, requires_grad=True)}
        *before, last = text.split(";")
        exec("\n".join(line.strip() for line in before), names)
        return eval(last, names)
    agrees(code)


REFUSALS = """
torch.special.psi(z)
torch.special.entr(z)
torch.bucketize(torch.ones(3), z)
torch.deg2rad(z)
torch.xlogy(z, z)
torch.logit(z)
torch.atan2(z, z)
torch.cosine_similarity(z, z, 0)
torch.nn.functional.binary_cross_entropy(z, z)
torch.zeros(3, dtype=z.dtype).scatter_reduce(0, torch.tensor([0, 1]), z, 'amax')
torch.addr(torch.zeros(2, 2), torch.ones(2), torch.ones(2), alpha=2j)
""".strip().splitlines()


@pytest.mark.parametrize("text", REFUSALS)
def test_refused(text):
    """RuntimeErrors (NotImplementedError is one), and none of Numba's."""
    for library in filter(None, (ng, torch())):
        with pytest.raises(RuntimeError):
            eval(text, {"torch": library, "z": library.tensor([1 + 1j, 2 - 1j])})


VIEWS = ("torch.tensor([1.0, 2.0]).view(torch.int32)", "torch.tensor([1, 2, 3, 4], dtype=torch.int16).view(torch.int32)",
         "torch.tensor([1 + 2j, 3 - 4j]).imag", "torch.tensor([1 + 2j, 3 - 4j]).real",
         "torch.tensor([1 + 2j]).view(torch.float32)",
         "torch.view_as_complex(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))", "torch.tensor([1.0, -0.0]).view(torch.int32)",
         "torch.tensor([1, 2]).view(torch.float64)", "torch.tensor([1, 0], dtype=torch.uint8).view(torch.bool)",
         "torch.tensor([1.0, 2.0]).view(torch.float16)")
READS = ("x[1].item()", "x[-1:].item()", "float(x[0].real)", "int(x[1].real)", "bool(x[1])", "complex(x[1])", "f'{x[1]:.2f}'",
         "x.tolist()", "str(x)", "torch.ones(2, dtype=x.dtype).fill_(x[1])", "x.numpy().tolist()", "x.clone().tolist()",
         "x.masked_fill(x == x, x[1])", "pickle.loads(pickle.dumps(x)).tolist()", "[10, 20, 30][x[1]]", "torch.tensor(x[1])")


@pytest.mark.parametrize("view", VIEWS)
def test_numbers_of_views_in_another_dtype(view):
    import pickle
    for read in READS:
        def code(library, read=read):
            names = {"torch": library, "pickle": pickle}
            names["x"] = eval(view, names)
            try:
                return eval(read, names)
            except (TypeError, RuntimeError) as error:
                return type(error).__name__
        agrees(code)


def test_random_fills_of_views_in_another_dtype():
    """A fill writes the view's dtype into memory that an array of another one owns."""
    x = ng.zeros(4, dtype=ng.int32)
    x.view(ng.float32).uniform_(1, 2)
    assert all(1 <= v < 2 for v in x.view(ng.float32).tolist())
