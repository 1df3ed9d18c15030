"""Parametrizations, norms of weights by hooks, and fused layers against PyTorch's."""

import copy
import pickle

import numpy as np
import parity
import pytest

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
LIBRARIES = [ng, torch]
LAYERS = [("Linear", (4, 3), (2, 4)), ("Linear", (3, 4), (2, 3)), ("Conv2d", (2, 3, 3), (1, 2, 4, 4)),
          ("ConvTranspose2d", (2, 3, 3), (1, 2, 4, 4))]
NORMS = ["parametrizations.weight_norm", "parametrizations.spectral_norm", "parametrizations.orthogonal", "weight_norm",
         "spectral_norm"]


def utils(lib, name):
    found = lib.nn.utils
    for part in name.split("."):
        found = getattr(found, part)
    return found


def array(t):
    return t.detach().numpy()


def close(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape and np.allclose(a, b, rtol=1e-9, atol=1e-9), np.abs(a - b).max()


@pytest.mark.parametrize("layer", LAYERS, ids=lambda x: f"{x[0]}{x[1]}")
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.filterwarnings("ignore:.*weight_norm.*deprecated:FutureWarning")
def test_norms(norm, layer):
    name, sizes, shape = layer
    x = np.random.default_rng(0).standard_normal(shape)
    found = []
    for lib in LIBRARIES:
        lib.manual_seed(4)
        module = utils(lib, norm)(getattr(lib.nn, name)(*sizes, dtype=lib.float64))
        texts = [repr(module), type(module).__name__, list(module.state_dict())]
        t = lib.tensor(x, requires_grad=True)
        out = module(t)
        first = lib.autograd.grad((out * out).sum(), [t, *module.parameters()], create_graph=True)
        second = lib.autograd.grad(sum((g * g).sum() for g in first), list(module.parameters()))
        again = module.eval()(t)
        if norm.endswith("weight_norm"):
            second = ()  # PyTorch's are wrong, as its own gradgradcheck says; ours are checked below
        values = [array(v) for v in (out, *first, *second, again, *module.state_dict().values())]
        if norm.startswith("parametrizations"):
            values += [array(v) for v in (copy.deepcopy(module)(t), copy.deepcopy(module).weight)]
        found.append((texts, values))
    assert found[0][0] == found[1][0]
    close(found[0][1], found[1][1])


@pytest.mark.parametrize("dim", [0, 1, 2, -1])
def test_derivatives_of_weight_norm(dim):
    v = ng.tensor(np.random.default_rng(0).standard_normal((2, 3, 4)), requires_grad=True)
    g = (ng.norm_except_dim(v, 2, dim).detach() + 0.5).requires_grad_()
    assert ng.autograd.gradcheck(lambda v, g: ng._weight_norm(v, g, dim), (v, g))
    assert ng.autograd.gradgradcheck(lambda v, g: ng._weight_norm(v, g, dim), (v, g))


@pytest.mark.parametrize("trivial", [True, False])
@pytest.mark.parametrize("kind", ["matrix_exp", "cayley", "householder"])
@pytest.mark.parametrize("sizes", [(3, 3), (4, 3), (3, 4)])
def test_orthogonal_maps(sizes, kind, trivial):
    found = []
    for lib in LIBRARIES:
        lib.manual_seed(2)
        module = lib.nn.Linear(*sizes, dtype=lib.float64)
        lib.nn.utils.parametrizations.orthogonal(module, orthogonal_map=kind, use_trivialization=trivial)
        weight = module.weight
        short = min(sizes)
        product = weight @ weight.mT if weight.shape[0] == short else weight.mT @ weight
        (module(lib.ones(2, sizes[0], dtype=lib.float64)) ** 2).sum().backward()
        original = module.parametrizations.weight.original
        values = [array(v) for v in (weight, original.grad, original)]
        try:
            module.weight = lib.eye(*sizes[::-1], dtype=lib.float64)
            values.append(array(module.weight))
            said = None
        except NotImplementedError as e:
            said = str(e)
        found.append((said, values))
        assert trivial is False and kind == "householder" or np.allclose(array(product), np.eye(short))
    assert found[0][0] == found[1][0]
    close(found[0][1], found[1][1])


def symmetric(lib):
    class Symmetric(lib.nn.Module):
        def forward(self, X):
            return X.triu() + X.triu(1).mT

        def right_inverse(self, A):
            return A.triu()
    return Symmetric()


def identity_of(lib, change):
    class Changed(lib.nn.Module):
        def forward(self, X):
            return change(X)
    return Changed()


def test_a_parametrization_of_ones_own():
    def code(lib):
        lib.manual_seed(0)
        module, tools = lib.nn.Linear(3, 3), lib.nn.utils.parametrize
        first = module.weight
        tools.register_parametrization(module, "weight", symmetric(lib))
        said = [module, module.weight, module.parametrizations.weight.original is first, tools.is_parametrized(module, "bias"),
                tools.type_before_parametrizations(module) is lib.nn.Linear, module.weight is module.weight]
        with tools.cached():
            said.append(module.weight is module.weight)
        module.weight = lib.ones(3, 3)
        said += [module.parametrizations.weight.original, module.weight]
        other = tools.transfer_parametrizations_and_params(module, lib.nn.Linear(3, 3))
        said += [other.weight, other.parametrizations.weight.original is first]
        tools.register_parametrization(module, "weight", lib.nn.Identity())
        said += [module, tools.remove_parametrizations(module, "weight"), module.weight is first, list(module.state_dict())]
        return said
    parity.agrees(code)


@pytest.mark.parametrize("change", [lambda x: x[:1], lambda x: x.double(), lambda x: 3])
@pytest.mark.parametrize("second", [False, True])
def test_what_a_parametrization_may_not_change(change, second):
    def code(lib):
        module = lib.nn.Linear(2, 2)
        if second:
            lib.nn.utils.parametrize.register_parametrization(module, "weight", lib.nn.Identity())
        return lib.nn.utils.parametrize.register_parametrization(module, "weight", identity_of(lib, change))
    assert "Error" in parity.agrees(code)


BAD = [
    lambda lib, u: u.parametrize.register_parametrization(lib.nn.Linear(2, 2), "w", lib.nn.Identity()),
    lambda lib, u: u.parametrize.remove_parametrizations(lib.nn.Linear(2, 2), "weight"),
    lambda lib, u: u.parametrize.remove_parametrizations(u.parametrizations.weight_norm(lib.nn.Linear(2, 2)), "weight", False),
    lambda lib, u: pickle.dumps(u.parametrizations.weight_norm(lib.nn.Linear(2, 2))),
    lambda lib, u: u.parametrizations.orthogonal(lib.nn.Linear(2, 2), orthogonal_map="x"),
    lambda lib, u: u.parametrizations.orthogonal(lib.nn.LayerNorm(3)),
    lambda lib, u: u.parametrizations.orthogonal(lib.nn.Linear(2, 2), "w"),
    lambda lib, u: u.parametrizations.orthogonal(lib.nn.Linear(2, 2, dtype=lib.complex64), orthogonal_map="householder"),
    lambda lib, u: u.parametrizations.spectral_norm(lib.nn.Linear(2, 2), dim=5),
    lambda lib, u: u.parametrizations.spectral_norm(lib.nn.Linear(2, 2), n_power_iterations=0),
    lambda lib, u: u.remove_weight_norm(lib.nn.Linear(2, 2)),
    lambda lib, u: u.remove_spectral_norm(lib.nn.Linear(2, 2)),
    lambda lib, u: u.weight_norm(u.weight_norm(lib.nn.Linear(2, 2))),
    lambda lib, u: u.spectral_norm(u.spectral_norm(lib.nn.Linear(2, 2))),
    lambda lib, u: u.fuse_conv_bn_eval(lib.nn.Conv1d(2, 2, 1), lib.nn.BatchNorm1d(2)),
    lambda lib, u: u.fuse_linear_bn_eval(lib.nn.Linear(2, 3).eval(), lib.nn.BatchNorm1d(2).eval()),
]


@pytest.mark.parametrize("call", BAD, ids=range(len(BAD)))
def test_same_errors(call):
    assert "Error" in parity.agrees(lambda lib: call(lib, lib.nn.utils))


def test_removed_norms_and_old_states():
    def code(lib):
        u = lib.nn.utils
        lib.manual_seed(1)
        a, b = u.weight_norm(lib.nn.Linear(2, 2)), u.spectral_norm(lib.nn.Linear(2, 2))
        state = a.state_dict()
        new = u.parametrizations.weight_norm(lib.nn.Linear(2, 2))
        keys = new.load_state_dict(state)
        return [keys, new.weight, b.state_dict()._metadata, u.remove_weight_norm(a).weight, u.remove_spectral_norm(b).weight,
                list(b.state_dict()), len(b._forward_pre_hooks), len(b._state_dict_hooks)]
    parity.agrees(code)


@pytest.mark.parametrize("transposed", [False, True])
def test_fused_convolution(transposed):
    x = np.random.default_rng(0).standard_normal((2, 2, 5, 5))
    found = []
    for lib in LIBRARIES:
        lib.manual_seed(3)
        conv = (lib.nn.ConvTranspose2d if transposed else lib.nn.Conv2d)(2, 3, 2, dtype=lib.float64)
        norm = lib.nn.BatchNorm2d(3, dtype=lib.float64)
        norm(conv(lib.tensor(x)))
        fused = lib.nn.utils.fuse_conv_bn_eval(conv.eval(), norm.eval(), transposed)
        assert np.allclose(array(fused(lib.tensor(x))), array(norm(conv(lib.tensor(x)))))
        found.append([array(fused.weight), array(fused.bias)])
    close(*found)
