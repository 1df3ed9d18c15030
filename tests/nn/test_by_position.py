"""Functions at PyTorch's top level that its layers end in: names, values, gradients, random numbers, beside PyTorch."""

import numpy as np
import pytest

import numbagrad as ng
from numbagrad.nn import by_position

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")


def x(lib, *shape, grad=True, start=0):
    n = int(np.prod(shape))
    t = lib.tensor(np.sin(np.arange(start, start + n, dtype=np.float64) ** 2).reshape(shape).tolist(), dtype=lib.float64)
    return t.requires_grad_(grad)


def y(lib, *shape):
    return x(lib, *shape, start=7)


def sign(lib, n):
    return lib.tensor([1.0, -1.0] * (n // 2), dtype=lib.float64)


pytestmark = pytest.mark.filterwarnings("ignore:.*is just left for JIT", "ignore:reduction")
CALLS = {
    "dropout": lambda lib: lib.dropout(x(lib, 4, 5), 0.4, True),
    "dropout, no training": lambda lib: lib.dropout(x(lib, 4), 0.4, False),
    "dropout_": lambda lib: lib.dropout_(x(lib, 4, 5).clone(), 0.4, True),
    "alpha_dropout": lambda lib: lib.alpha_dropout(x(lib, 4, 5), 0.4, train=True),
    "alpha_dropout_": lambda lib: lib.alpha_dropout_(x(lib, 4, 5).clone(), 0.4, True),
    "feature_dropout": lambda lib: lib.feature_dropout(x(lib, 4, 5, 2), 0.4, True),
    "feature_dropout of two": lambda lib: lib.feature_dropout(x(lib, 4, 5), 0.4, True),
    "feature_dropout_": lambda lib: lib.feature_dropout_(x(lib, 4, 5, 2, 2).clone(), 0.4, True),
    "feature_alpha_dropout": lambda lib: lib.feature_alpha_dropout(x(lib, 4, 5, 2), 0.4, True),
    "feature_alpha_dropout_": lambda lib: lib.feature_alpha_dropout_(x(lib, 4, 5, 2).clone(), 0.4, True),
    "batch_norm": lambda lib: lib.batch_norm(x(lib, 4, 3), y(lib, 3), None, None, None, True, 0.1, 1e-5, False),
    "instance_norm": lambda lib: lib.instance_norm(x(lib, 2, 3, 4), y(lib, 3), None, None, None, True, 0.1, 1e-5, False),
    "native_layer_norm": lambda lib: lib.native_layer_norm(x(lib, 4, 3), (3,), y(lib, 3), None, 1e-5),
    "native_dropout": lambda lib: lib.native_dropout(x(lib, 4, 3), 0.3, True),
    "native_dropout, no training": lambda lib: lib.native_dropout(x(lib, 4, 3), 0.3, False),
    "embedding": lambda lib: lib.embedding(x(lib, 4, 3), lib.tensor([0, 2, 2])),
    "embedding, padded": lambda lib: lib.embedding(x(lib, 4, 3), lib.tensor([0, 2, 2]), 2),
    "embedding_renorm_": lambda lib: lib.embedding_renorm_(x(lib, 4, 3, grad=False), lib.tensor([0, 2]), 0.5, 2.0),
    "convolution": lambda lib: lib.convolution(x(lib, 1, 2, 5), y(lib, 3, 2, 3), None, [1], [1], [1], False, [0], 1),
    "convolution, transposed": lambda lib: lib.convolution(
        x(lib, 1, 2, 5, 5), y(lib, 2, 3, 3, 3), None, [2, 2], [1, 1], [1, 1], True, [1, 1], 1),
    "adaptive_max_pool1d": lambda lib: lib.adaptive_max_pool1d(x(lib, 2, 7), 3),
    "max_pool1d_with_indices": lambda lib: lib.max_pool1d_with_indices(x(lib, 2, 7), 2),
    "fill": lambda lib: lib.fill(x(lib, 3), 2.5), "frobenius_norm": lambda lib: lib.frobenius_norm(x(lib, 3, 4), (0, 1)),
    "fill of a tensor": lambda lib: lib.fill(x(lib, 3), lib.tensor(2.5, dtype=lib.float64)),
    "nuclear_norm": lambda lib: lib.nuclear_norm(x(lib, 3, 4)),
    "nuclear_norm kept": lambda lib: lib.nuclear_norm(x(lib, 3, 4), True),
    "nuclear_norm of dims": lambda lib: lib.nuclear_norm(x(lib, 3, 2, 4), (0, 2)),
    "binary_cross_entropy_with_logits": lambda lib: lib.binary_cross_entropy_with_logits(
        x(lib, 4), y(lib, 4).detach().abs(), None, None, 2),
    "cosine_embedding_loss": lambda lib: lib.cosine_embedding_loss(x(lib, 4, 3), y(lib, 4, 3), sign(lib, 4), 0.2, 0),
    "hinge_embedding_loss": lambda lib: lib.hinge_embedding_loss(x(lib, 4), sign(lib, 4), 1.5),
    "kl_div": lambda lib: lib.kl_div(x(lib, 4), y(lib, 4), 2, log_target=True),
    "margin_ranking_loss": lambda lib: lib.margin_ranking_loss(x(lib, 4), y(lib, 4), sign(lib, 4), 0.1, 1),
    "poisson_nll_loss": lambda lib: lib.poisson_nll_loss(x(lib, 4), y(lib, 4).detach().abs(), True, True, 1e-8, 1),
    "triplet_margin_loss": lambda lib: lib.triplet_margin_loss(x(lib, 4, 3), y(lib, 4, 3), x(lib, 4, 3), 1.0, 2.0, 1e-6,
                                                                   True, 0),
}


@pytest.mark.parametrize("name", CALLS)
def test_values_and_gradients(name):
    found = []
    for lib in (ng, torch):
        lib.manual_seed(3)
        outs = CALLS[name](lib)
        outs = outs if isinstance(outs, tuple) else (outs,)
        for t in outs:
            found.append([t.detach().numpy(), str(t.dtype).split(".")[1], t.requires_grad])
    half = len(found) // 2
    for mine, theirs in zip(found[:half], found[half:], strict=True):
        assert mine[1:2] == theirs[1:2] and mine[0].shape == theirs[0].shape
        np.testing.assert_allclose(mine[0], theirs[0], rtol=1e-10, atol=1e-12)
    assert found[0][2] == found[half][2]


class Noted:
    """A library that notes the tensors it is asked for."""

    def __init__(self, lib):
        self.lib, self.given = lib, []

    def __getattr__(self, name):
        return getattr(self.lib, name)

    def tensor(self, data, dtype=None):
        self.given.append(self.lib.tensor(data, dtype=dtype))
        return self.given[-1]


def derivatives(lib, call):
    """First and second gradients by all that requires them."""
    lib.manual_seed(3)
    noted = Noted(lib)
    outs = call(noted)
    out = (outs[0] if isinstance(outs, tuple) else outs).pow(2).sum()
    leaves = [t for t in noted.given if t.requires_grad]
    first = lib.autograd.grad(out, leaves, create_graph=True, allow_unused=True)
    both = sum(g.pow(2).sum() for g in first if g is not None)
    second = lib.autograd.grad(both, leaves, allow_unused=True) if both.requires_grad else ()
    return [None if g is None else g.detach().numpy() for g in (*first, *second)]


@pytest.mark.parametrize("name", ["feature_dropout", "native_dropout", "native_layer_norm", "convolution", "fill",
                                  "nuclear_norm", "frobenius_norm", "embedding", "kl_div", "cosine_embedding_loss"])
def test_derivatives(name):
    found = [derivatives(lib, CALLS[name]) for lib in (ng, torch)]
    for a, b in zip(*found, strict=True):
        a, b = (np.zeros(1) if g is None else g for g in (a, b))
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", by_position.NAMES)
def test_names_are_pytorchs(name):
    """Each name is PyTorch's, and lacks the same arguments."""
    mine, theirs = getattr(ng, name), getattr(torch, name)
    assert mine.__name__ == name and mine.__doc__
    if name == "is_vulkan_available":
        assert mine() is theirs() is False
        return
    for lib in (mine, theirs):
        with pytest.raises(TypeError):
            lib()


def test_deprecated_ones_say_so():
    from numbagrad.base import user_code
    user_code._said.clear()
    for name, call in (("frobenius_norm", lambda: ng.frobenius_norm(x(ng, 2, 2), 0)), (
            "nuclear_norm", lambda: ng.nuclear_norm(x(ng, 2, 2)))):
        with pytest.warns(UserWarning, match=f"at::{name} is deprecated"):
            call()


@pytest.mark.filterwarnings("ignore")
def test_numbers_of_reductions():
    for lib in (ng, torch):
        assert lib.kl_div(x(lib, 3), x(lib, 3), 7).shape == (3,)
        assert lib.hinge_embedding_loss(x(lib, 4), sign(lib, 4)).shape == (4,)
        assert lib.kl_div(x(lib, 3), x(lib, 3)).shape == (3,)
        assert lib.kl_div(x(lib, 3), x(lib, 3), 1).shape == ()
        with pytest.raises(RuntimeError, match="at least 2 dimensions"):
            lib.feature_dropout(x(lib, 3), 0.5, True)
