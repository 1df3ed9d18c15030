"""Random tensors and dropout draw PyTorch's numbers, leave the stream at PyTorch's place, and keep to in-place rules."""

import warnings

import numpy as np
import pytest

import numbagrad as ng

DRAWS = [t.strip() for t in """
lib.rand(3, 4) | lib.rand((50,)) | lib.rand(5, dtype=lib.float64) | lib.randn(5) | lib.randn(100) | lib.randn(())
lib.rand(0, 3)
lib.randn(37, dtype=lib.float64) | lib.randn(8, 8, dtype=lib.float16) | lib.rand(8, 8, dtype=lib.bfloat16)
lib.randn(10, dtype=lib.complex64) | lib.rand(3, dtype=lib.complex128) | lib.randint(10, (5,)) | lib.randint(-3, 10, (5,))
lib.randint(low=0, high=9, size=(4,)) | lib.randint(9, (4,), dtype=lib.float32) | lib.randperm(20) | lib.randperm(0)
lib.randperm(9, dtype=lib.int32) | lib.rand_like(x) | lib.randn_like(x) | lib.randn_like(x.t()) | lib.rand_like(x.t())
lib.rand_like(x[:, ::2]) | lib.randint_like(x, 7) | lib.randint_like(x, -3, 7) | lib.normal(x, 1.5) | lib.normal(0.5, x.abs())
lib.normal(x, x.abs()) | lib.normal(x[:1], x.abs()) | lib.normal(1.0, 2.0, (3, 4)) | lib.bernoulli(x.sigmoid())
lib.multinomial(x.abs(), 3) | lib.multinomial(x[0].abs(), 7, True) | lib.multinomial(x.abs(), 1) | x.uniform_(-1, 2)
x.normal_(1, 2) | x.random_() | x.random_(7) | x.random_(3, 9) | x.exponential_(2.0) | x.geometric_(0.3) | x.cauchy_()
x.log_normal_() | x.t().uniform_() | x.t().normal_() | x[:, :2].normal_() | x[:, ::2].uniform_() | x.bernoulli_(x.sigmoid())
x.long().random_(100) | lib.rand(5, generator=lib.Generator().manual_seed(7)) | x.normal_(generator=lib.Generator())
""".replace("\n", "|").split("|") if t.strip()]


def plain(t):
    t = t.detach()
    return (t.float() if "float16" in str(t.dtype) else t).numpy()


@pytest.mark.parametrize("text", DRAWS)
def test_draws_like_torch(text):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
    start = np.random.default_rng(0).standard_normal((6, 7)).astype(np.float32)
    results = []
    for lib in (torch, ng):
        lib.manual_seed(3)
        x = lib.tensor(start.tolist())
        y = eval(text, {"lib": lib, "x": x})
        results.append((str(y.dtype), plain(y), plain(x), plain(lib.rand(1))))
    theirs, ours = results
    assert ours[0] == theirs[0]
    for t, n in zip(theirs[1:], ours[1:]):
        np.testing.assert_array_equal(n, t)


@pytest.mark.parametrize("text", """lib.normal(x, 1.5)|lib.normal(0.5, x.exp())|lib.normal(x, x.exp())
lib.bernoulli(x.sigmoid())
(x * 1).uniform_()|(x * 1).normal_()|(x * 1).exponential_()|(x * 1).random_(5)|(x * 1).bernoulli_(0.5)""".replace(
    "\n", "|").split("|"))
def test_draws_cut_the_gradient(text):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
    names = []
    for lib in (torch, ng):
        x = lib.ones(3, 4, requires_grad=True)
        y = eval(text, {"lib": lib, "x": x})
        names.append(type(y.grad_fn).__name__)
        y.sum().backward()
        assert not x.grad.any()
    assert names[0] == names[1]


@pytest.mark.parametrize("text", """lib.rand(-1)|lib.randint(5, 2, (3,))|lib.randperm(-1)|lib.normal(x, -x)
lib.multinomial(x, 9)
lib.normal(0.0, -1.0, (2,))|lib.multinomial(x[None, None], 1)|lib.bernoulli(x * 5)|x.uniform_(2, 1)|x.long().uniform_()
x.normal_(0, -1)|x.exponential_(-1)|x.geometric_(2)|x.bernoulli_(1.5)|lib.nn.functional.dropout(x, 1.5)
lib.nn.functional.dropout1d(x[0])|lib.nn.functional.feature_alpha_dropout(x[0], 0.5, True)""".replace("\n", "|").split("|"))
def test_errors_like_torch(text):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
    raised = []
    for lib in (torch, ng):
        lib.manual_seed(0)
        with pytest.raises((RuntimeError, ValueError, NotImplementedError)) as e:
            eval(text, {"lib": lib, "x": lib.ones(3, 4)})
        raised.append((e.type, str(e.value).partition("  (Could this")[0]))
    assert raised[0] == raised[1]


def mask_of(shape, p):
    """The mask that dropout draws: ones where the 64-bit uniform is below 1 - p."""
    return ng.ones(shape).bernoulli_(1 - p).numpy()


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("name, shape", [("dropout", (6, 7)), ("dropout1d", (3, 4, 5)), ("dropout1d", (4, 5)),
                                         ("dropout2d", (2, 3, 4, 4)), ("dropout3d", (2, 3, 2, 2, 2))])
def test_dropout_is_a_scaled_mask(name, shape, p):
    x = (ng.rand(shape) + 1).requires_grad_()
    ng.manual_seed(5)
    y = getattr(ng.nn.functional, name)(x, p, True)
    y.sum().backward()
    ng.manual_seed(5)
    whole = shape if len(shape) > 2 else (1, *shape) if name == "dropout1d" else shape
    kept = mask_of(whole if name == "dropout" else (*whole[:2], *(1,) * (len(whole) - 2)), p)
    kept = np.broadcast_to(kept, whole).reshape(shape)
    scale = np.float32(1) / np.float32(1 - p)
    np.testing.assert_array_equal(y.detach().numpy(), x.detach().numpy() * (kept * scale))
    np.testing.assert_array_equal(x.grad.numpy(), kept * scale)
    assert type(y.grad_fn).__name__ in ("MulBackward0", "SqueezeBackward1")


@pytest.mark.parametrize("name, dims", [(f"dropout{n}d", dims) for n in (2, 3) for dims in (2, 3, 4, 5, 6)])
def test_what_dropout_of_channels_says_of_other_dimensions(name, dims):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
    found = []
    for lib in (ng, torch):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            y = getattr(lib.nn.functional, name)(lib.ones((2,) * dims), 1.0)
            getattr(lib.nn, name.capitalize())(1.0)(lib.ones((2,) * dims))
        found.append((y.tolist(), [(w.category, str(w.message)) for w in told]))
    assert found[0] == found[1]


def test_alpha_dropout_keeps_mean_and_variance():
    ng.manual_seed(1)
    for name in ("alpha_dropout", "feature_alpha_dropout"):
        y = getattr(ng.nn.functional, name)(ng.randn(400, 400), 0.3, True).numpy()
        assert abs(y.mean()) < 0.01 and abs(y.std() - 1) < 0.01  # sampling error of 160000 values is 0.0025


def test_dropout_in_place_and_off():
    x = ng.ones(100, 100)
    assert ng.nn.functional.dropout(x, 0.5, False) is x and ng.nn.functional.dropout(x, 0.0) is x
    y = ng.nn.functional.dropout(x, 0.5, True, True)
    assert y is x and x._version == 1 and sorted(set(x.view(-1).tolist())) == [0.0, 2.0]
    assert not ng.nn.functional.dropout(ng.ones(5), 1.0).any()
    leaf = ng.ones(3, requires_grad=True)
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad"):
        ng.nn.functional.dropout(leaf, 0.5, True, True)
    assert leaf.tolist() == [1.0, 1.0, 1.0]


def test_dropout_like_torch():
    """PyTorch on an Intel CPU may draw this one mask with MKL, which has another stream; then there is no oracle."""
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
    torch.manual_seed(9)
    ng.manual_seed(9)
    if torch.empty(1000).bernoulli_(0.5).tolist() != ng.empty(1000).bernoulli_(0.5).tolist():
        pytest.skip("this PyTorch draws Bernoulli numbers with MKL")
    a = np.random.default_rng(0).standard_normal((4, 6, 5, 3)).astype(np.float32)
    for name in ("dropout", "dropout2d", "alpha_dropout", "feature_alpha_dropout"):
        for p in (0.2, 0.5):
            results = []
            for lib in (torch, ng):
                lib.manual_seed(2)
                x = lib.tensor(a, requires_grad=True)
                y = getattr(lib.nn.functional, name)(x, p, True)
                y.sum().backward()
                results.append((type(y.grad_fn).__name__, y.detach().numpy(), x.grad.numpy(), lib.rand(2).numpy()))
            assert results[0][0] == results[1][0]
            for t, n in zip(results[0][1:], results[1][1:]):
                np.testing.assert_allclose(n, t, rtol=2e-7, atol=2e-7)


WRONG_NUMBERS = [("normal_", ("x",)), ("normal_", (0.5, None)), ("normal_", (np.array(0.5),)), ("uniform_", (1j,)),
                 ("uniform_", (0.0, [1])), ("exponential_", ("x",)), ("cauchy_", (0.0, "x")), ("log_normal_", ([1],)),
                 ("geometric_", (None,)), ("bernoulli_", ("x",)), ("random_", (None,)), ("random_", (1.5,)),
                 ("random_", (True,)),
                 ("random_", (0, float("inf"))), ("random_", (0, 1, 2)), ("random_", (ng.tensor(0.5),))]


@pytest.mark.parametrize("name, args", WRONG_NUMBERS)
def test_wrong_numbers_are_refused_before_anything_is_drawn(name, args):
    ng.manual_seed(0)
    x, state = ng.zeros(4), ng.get_rng_state().tolist()
    with pytest.raises(TypeError):
        getattr(x, name)(*args)
    assert x.tolist() == [0] * 4 and x._version == 0 and ng.get_rng_state().tolist() == state


def test_ranges_of_random_():
    x = ng.zeros(200, dtype=ng.int64)
    for args, options, low, high in (((5,), {}, 0, 5), ((2, 5), {}, 2, 5), ((), {"to": 5}, 0, 5), ((2,), {"to": 5}, 2, 5),
                                     ((), {"from": -2, "to": 1}, -2, 1)):
        assert sorted(set(x.random_(*args, **options).tolist())) == list(range(low, high))
    for args, options in (((), {"from": 5}), ((1, 2), {"to": 3}), ((1,), {"up_to": 3})):
        with pytest.raises(TypeError):
            x.random_(*args, **options)
    with pytest.raises(ValueError, match="Overflow"):
        x.random_(2**63)
    with pytest.raises(TypeError, match="unexpected keyword"):
        ng.zeros(2).uniform_(0, 1, upto=2)
