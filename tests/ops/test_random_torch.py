"""Random numbers against PyTorch on the CPU: values bit for bit, and the generator's state after every call."""

import warnings

import numpy as np
import pytest

from numbagrad.kernel import categories, mt19937, rng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")

HALF = ("float16", "bfloat16")
FLOATS = ("float32", "float64", *HALF)
DTYPES = (*FLOATS, "bool", "uint8", "int8", "int16", "int32", "int64")
SIZES = (0, 1, 2, 15, 16, 17, 31, 1000, 5003)

# PyTorch built with MKL draws bernoulli_(p) by another generator on CPUs of one vendor; it then takes one word.
torch.manual_seed(0)
torch.empty(4).bernoulli_(0.5)
BERNOULLI_IS_MKL = torch.get_rng_state().numpy().view(mt19937.STATE)["next"][0] == 1
needs_own_bernoulli = pytest.mark.skipif(BERNOULLI_IS_MKL, reason="this PyTorch takes bernoulli_(p) from MKL")
# The vectorised normal of other CPUs uses other logarithms and sines.
AVX2 = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
needs_avx2 = pytest.mark.skipif(not AVX2, reason="PyTorch's vectorised normal has other rounding on this CPU")


def storage(tensor):
    """Flat NumPy values; half types as uint16."""
    tensor = tensor.detach().reshape(-1)
    if tensor.dtype in (torch.float16, torch.bfloat16):
        return tensor.view(torch.int16).numpy().view(np.uint16)
    return tensor.numpy()


def empty(n, dtype):
    return np.empty(n, np.uint16 if dtype in HALF else dtype)


def compare(theirs, ours, seed=0, before=0):
    """Both functions after the same seed and ``before`` normals (an odd number leaves a second one kept)."""
    torch.manual_seed(seed)
    gen = rng.MT19937(seed)
    torch.randn(before)
    rng.fill_normal(gen, np.empty(before))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* is out of bounds .* Due to precision limitations")
        expected, got = storage(theirs()), ours(gen)
    assert expected.dtype == got.dtype
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(gen.get_state(), torch.get_rng_state().numpy())


def filled(name, n, dtype, *args, **kwargs):
    def run(gen):
        out = empty(n, dtype)
        getattr(rng, "fill_" + name)(gen, out, *args, dtype=dtype, **kwargs)
        return out
    return run


def tensor(n, dtype):
    return torch.empty(n, dtype=getattr(torch, dtype))


@pytest.mark.parametrize("before", [0, 3])
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name, args", [
    ("uniform", ()), ("uniform", (-1.3, 2.7)), ("uniform", (0.999, 1.0)), ("log_normal", (0.3, 1.7)),
    ("cauchy", (0.3, 1.7)), ("exponential", (1.7,)), ("exponential", (float("inf"),)),
    pytest.param("normal", (), marks=needs_avx2), pytest.param("normal", (0.3, 1.7), marks=needs_avx2),
    pytest.param("normal", (5.0, 0.0), marks=needs_avx2),
])
def test_floats(name, args, dtype, n, before):
    compare(lambda: getattr(tensor(n, dtype), name + "_")(*args), filled(name, n, dtype, *args), n, before)


@needs_avx2
def test_many_normals():
    compare(lambda: torch.randn(1_000_003), filled("normal", 1_000_003, "float32"))


@pytest.mark.parametrize("dtype", FLOATS)
def test_non_contiguous_tensors_are_drawn_in_memory_order(dtype):
    compare(lambda: tensor(400, dtype).view(40, 10).t().normal_(1, 2).t(),
            filled("normal", 400, dtype, 1, 2, contiguous=False))
    compare(lambda: tensor(400, dtype).view(40, 10).t().uniform_(1, 2).t(), filled("uniform", 400, dtype, 1, 2))


@needs_avx2
def test_normal_with_tensor_parameters():
    mean, std = torch.arange(40.0), torch.linspace(0.5, 3, 40)
    base = np.float32

    def ours(std_scalar, finish):
        return lambda gen: finish(filled("normal", 40, "float32", 0, std_scalar)(gen))

    compare(lambda: torch.normal(mean, 1.7), ours(1.7, lambda z: z + mean.numpy()))
    compare(lambda: torch.normal(1.7, std), ours(1, lambda z: z * std.numpy() + base(1.7)))
    compare(lambda: torch.normal(mean, std), ours(1, lambda z: z * std.numpy() + mean.numpy()))
    compare(lambda: torch.view_as_real(torch.randn(20, dtype=torch.complex64)),
            filled("normal", 40, "float32", 0, 1 / 2 ** 0.5))


@pytest.mark.parametrize("n", (1, 7, 1500))
@pytest.mark.parametrize("dtype", DTYPES)
def test_counts(dtype, n):
    if dtype != "bool":
        compare(lambda: tensor(n, dtype).geometric_(0.3), filled("geometric", n, dtype, 0.3))
    compare(lambda: tensor(n, dtype).random_(), filled("random", n, dtype))
    high = 2 if dtype == "bool" else 100
    compare(lambda: tensor(n, dtype).random_(0, high), filled("randint", n, dtype, 0, high))
    compare(lambda: tensor(n, dtype).random_(1, None), filled("randint", n, dtype, 1))


@needs_own_bernoulli
@pytest.mark.parametrize("p", (0.0, 0.3, 1.0))
@pytest.mark.parametrize("dtype", DTYPES)
def test_bernoulli_scalar(dtype, p):
    for n in (1, 7, 1500):
        compare(lambda n=n: tensor(n, dtype).bernoulli_(p), filled("bernoulli_scalar", n, dtype, p))


@pytest.mark.parametrize("low, high", [
    (0, 2 ** 28 - 1), (0, 2 ** 28), (-2 ** 31, 2 ** 31), (-5, 2 ** 40), (-2 ** 63, 2 ** 63 - 1), (-2 ** 63, None),
    (2 ** 62, 2 ** 63 - 1), (-2 ** 24 - 1, 2 ** 24 + 2), (-2 ** 53 - 1, 2 ** 53 + 2),
])
@pytest.mark.parametrize("dtype", ("int64", "float32", "float64", "bfloat16"))
def test_wide_integers(dtype, low, high):
    compare(lambda: tensor(999, dtype).random_(low, high), filled("randint", 999, dtype, low, high))


@pytest.mark.parametrize("low, high", [(0, 65504), (-4097, 4098), (-65503, 60000)])
def test_wide_half_integers(low, high):
    compare(lambda: tensor(999, "float16").random_(low, high), filled("randint", 999, "float16", low, high))


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d != "bool"])
def test_randperm(dtype):
    for n in (0, 1, 2, 120):
        compare(lambda n=n: torch.randperm(n, dtype=getattr(torch, dtype)), filled("randperm", n, dtype))
    if dtype == "int64":
        compare(lambda: torch.randperm(100_000), filled("randperm", 100_000, dtype))


@pytest.mark.parametrize("p_dtype", FLOATS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_bernoulli_tensor(dtype, p_dtype):
    p = torch.linspace(0, 1, 1001).to(getattr(torch, p_dtype))

    def ours(gen):
        out = empty(1001, dtype)
        rng.fill_bernoulli_tensor(gen, out, storage(p), dtype, p_dtype)
        return out

    compare(lambda: tensor(1001, dtype).bernoulli_(p), ours)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("n, replacement", [(1, False), (5, False), (1, True), (5, True), (100, True)])
def test_multinomial(dtype, n, replacement):
    generator = torch.Generator().manual_seed(4)
    weights = torch.rand(3, 37, generator=generator).to(getattr(torch, dtype))
    compare(lambda: torch.multinomial(weights, n, replacement),
            lambda gen: categories.multinomial(gen, storage(weights).reshape(3, 37), n, replacement, dtype).reshape(-1))


@pytest.mark.parametrize("dtype", ("float32", "float64"))
def test_multinomial_of_all_categories(dtype):
    weights = torch.arange(1, 38, dtype=getattr(torch, dtype))[None]
    compare(lambda: torch.multinomial(weights, 37),
            lambda gen: categories.multinomial(gen, weights.numpy(), 37).reshape(-1))


@needs_own_bernoulli
@pytest.mark.parametrize("p", (0.1, 0.5, 0.9))
def test_dropout(p):
    x = torch.linspace(-1, 1, 1001)

    def ours(gen):
        keep = filled("bernoulli_scalar", 1001, "float32", 1 - p)(gen)
        return x.numpy() * (keep / np.float32(1 - p))

    compare(lambda: torch.nn.functional.dropout(x, p), ours)


@needs_avx2
@needs_own_bernoulli
def test_a_mixed_program_and_exchanged_states():
    torch.manual_seed(9)
    gen = rng.MT19937(9)
    choose = np.random.RandomState(0)
    calls = [(torch.randn, "normal", "float32", ()), (torch.rand, "uniform", "float32", ()),
             (lambda n: torch.randn(n, dtype=torch.float64), "normal", "float64", ()),
             (lambda n: torch.empty(n).bernoulli_(0.5), "bernoulli_scalar", "float32", (0.5,)),
             (torch.randperm, "randperm", "int64", ())]
    for step in range(200):
        n, kind = int(choose.randint(0, 40)), int(choose.randint(0, len(calls)))
        theirs, name, dtype, args = calls[kind]
        expected = theirs(n).numpy()
        np.testing.assert_array_equal(filled(name, n, dtype, *args)(gen), expected)
        np.testing.assert_array_equal(gen.get_state(), torch.get_rng_state().numpy())
        if step % 20 == 0:
            gen = rng.MT19937(step)
            gen.set_state(torch.get_rng_state().numpy())
        elif step % 20 == 10:
            torch.manual_seed(step)
            torch.set_rng_state(torch.from_numpy(gen.get_state()))
            assert torch.initial_seed() == gen.initial_seed
