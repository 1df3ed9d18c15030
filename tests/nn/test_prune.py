"""Pruning, calls with other parameters, and lazy layers against PyTorch's."""

import copy
import pickle

import parity
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
pytest.importorskip("torch.nn.utils.prune", reason="PyTorch is the oracle here")

METHODS = [
    lambda lib, p, m: p.random_unstructured(m, "weight", 0.3),
    lambda lib, p, m: p.l1_unstructured(m, "weight", 5),
    lambda lib, p, m: p.l1_unstructured(m, "weight", 0),
    lambda lib, p, m: p.l1_unstructured(m, "weight", 2, importance_scores=lib.arange(24.0).reshape(4, 6)),
    lambda lib, p, m: p.random_structured(m, "weight", 0.5, 0),
    lambda lib, p, m: p.ln_structured(m, "weight", 2, n=2, dim=1),
    lambda lib, p, m: p.identity(m, "bias"),
    lambda lib, p, m: p.custom_from_mask(m, "bias", lib.tensor([1, 0, 0, 1])),
    lambda lib, p, m: p.ln_structured(p.l1_unstructured(m, "weight", 5), "weight", 1, 2, -1),
    lambda lib, p, m: p.l1_unstructured(p.l1_unstructured(m, "weight", 5), "weight", 0.2),
    lambda lib, p, m: p.l1_unstructured(m, "weight", 1.5),
    lambda lib, p, m: p.l1_unstructured(m, "weight", -1),
    lambda lib, p, m: p.l1_unstructured(m, "weight", "a"),
    lambda lib, p, m: p.l1_unstructured(m, "weight", 50),
    lambda lib, p, m: p.ln_structured(m, "bias", 1, 2, 0),
    lambda lib, p, m: p.ln_structured(m, "weight", 1, 2, 3),
    lambda lib, p, m: p.l1_unstructured(m, "weight", 1, importance_scores=lib.ones(2)),
    lambda lib, p, m: p.remove(m, "weight"),
]


@pytest.mark.parametrize("method", METHODS, ids=range(len(METHODS)))
def test_methods(method):
    def code(lib):
        lib.manual_seed(3)
        m = method(lib, lib.nn.utils.prune, lib.nn.Linear(6, 4))
        m(lib.ones(2, 6)).sum().backward()
        names = [type(h).__name__ for h in m._forward_pre_hooks.values()]
        said = [dict(m.state_dict()), m.weight, {n: p.grad for n, p in m.named_parameters()}, names, copy.deepcopy(m).weight]
        prune = lib.nn.utils.prune
        said.append(prune.is_pruned(m))
        for name in ("weight", "bias"):
            if hasattr(m, name + "_orig"):
                said += [prune.remove(m, name), getattr(m, name), prune.is_pruned(m)]
        return said
    parity.agrees(code)


def test_several_parameters_and_no_module():
    def code(lib):
        lib.manual_seed(3)
        a, b, prune = lib.nn.Linear(6, 4), lib.nn.Linear(4, 3), lib.nn.utils.prune
        prune.global_unstructured([(a, "weight"), (b, "weight")], prune.L1Unstructured, amount=0.4)
        return [a.weight_mask, b.weight, prune.L1Unstructured(2).prune(lib.tensor([1.0, -3, 2, 0.5]))]
    parity.agrees(code)


def model(lib):
    lib.manual_seed(0)
    return lib.nn.Sequential(lib.nn.Linear(2, 2), lib.nn.Tanh())


def tied(lib):
    class Tied(lib.nn.Module):
        def __init__(self):
            super().__init__()
            self.a = lib.nn.Parameter(lib.ones(2))
            self.b = self.a

        def forward(self, x):
            return x * self.a + self.b
    return Tied()


CALLS = [
    lambda lib, call: call(model(lib), {"0.weight": lib.eye(2)}, lib.ones(3, 2)),
    lambda lib, call: call(model(lib), {"0.weight": lib.eye(2)}, lib.ones(3, 2), strict=True),
    lambda lib, call: call(model(lib), {"x": lib.ones(1)}, (lib.ones(3, 2),), strict=True),
    lambda lib, call: call(model(lib), {"x": lib.ones(1)}, None, {"input": lib.ones(3, 2)}),
    lambda lib, call: call(model(lib), {"5.weight": lib.eye(2)}, lib.ones(3, 2)),
    lambda lib, call: call(model(lib), {"0.weight": 3}, lib.ones(3, 2)),
    lambda lib, call: call(tied(lib), {"a": lib.zeros(2)}, lib.ones(2)),
    lambda lib, call: call(tied(lib), {"a": lib.zeros(2)}, lib.ones(2), tie_weights=False),
    lambda lib, call: call(tied(lib), {"a": lib.zeros(2), "b": lib.ones(2)}, lib.ones(2)),
    lambda lib, call: call(lib.nn.DataParallel(model(lib)), {}, lib.ones(3, 2)),
]


@pytest.mark.parametrize("call", CALLS, ids=range(len(CALLS)))
def test_calls_with_other_parameters(call):
    assert "FutureWarning" in parity.agrees(lambda lib: call(lib, lib.nn.utils.stateless.functional_call))


def test_the_module_is_as_before():
    def code(lib):
        m, given = model(lib), {"0.weight": lib.eye(2), "1.scale": lib.zeros(2)}
        weight = m[0].weight
        lib.nn.utils.stateless.functional_call(m, given, lib.ones(3, 2))
        return [m[0].weight is weight, hasattr(m[1], "scale"), list(given)]
    parity.agrees(code)


def lazy(lib):
    lib.manual_seed(0)
    n = lib.nn
    return n.Sequential(n.LazyConv2d(4, 3), n.LazyBatchNorm2d(), n.ReLU(), n.LazyConvTranspose2d(2, 2, groups=2), n.Flatten(),
                        n.LazyLinear(3))


def test_lazy_layers():
    def code(lib):
        x = (lib.arange(150, dtype=lib.float64) % 7).reshape(2, 3, 5, 5)
        m, other = lazy(lib).double(), pickle.loads(pickle.dumps(lazy(lib)))
        said = [repr(m), str(m.state_dict()), m[0].weight.dtype, str(list(m.parameters())), m[0].has_uninitialized_params()]
        said += [m(x).mean(), repr(m), [len(c._forward_pre_hooks) for c in m]]
        state = m.state_dict()
        return [*said, other.double().load_state_dict(state), repr(other), other(x).mean(), other[0].weight]
    parity.agrees(code)


LAZY = [
    lambda lib: lib.nn.Linear(2, 3).load_state_dict(lib.nn.LazyLinear(3).state_dict()),
    lambda lib: lib.nn.LazyLinear(3).load_state_dict(lib.nn.LazyLinear(3).state_dict()),
    lambda lib: lib.nn.LazyLinear(3).weight.shape,
    lambda lib: lib.nn.LazyLinear(3).weight.share_memory_(),
    lambda lib: lib.nn.LazyConv1d(4, 3)(lib.ones(2)),
    lambda lib: lib.nn.LazyConv1d(4, 3, groups=2)(lib.ones(1, 3, 5)),
    lambda lib: lib.nn.LazyBatchNorm1d()(lib.ones(2, 3, 4, 5)),
    lambda lib: copy.deepcopy(lib.nn.LazyLinear(3))(lib.ones(1, 2)).shape,
    lambda lib: (lib.nn.LazyInstanceNorm1d(affine=True)(lib.ones(2, 3, 4)).shape, lib.nn.LazyInstanceNorm1d()),
    lambda lib: lib.nn.utils.weight_norm(lib.nn.LazyLinear(2)),
    lambda lib: lib.nn.utils.spectral_norm(lib.nn.LazyLinear(2)),
    lambda lib: (lib.nn.UninitializedParameter(), lib.nn.UninitializedBuffer()),
    lambda lib: lib.nn.UninitializedParameter(dtype=lib.half).dtype,
]


@pytest.mark.parametrize("call", LAZY, ids=range(len(LAZY)))
def test_lazy_details(call):
    parity.agrees(call)


def test_ops_refuse_what_has_no_shape():
    import numbagrad as ng
    weight = ng.nn.LazyLinear(3).weight
    for _ in range(12):  # calls that come again are looked up natively
        _ = ng.ones(0) + 1, ng.ones(0).requires_grad_().sum()
    for use in (lambda: weight + 1, lambda: ng.nn.functional.linear(ng.ones(2), weight), lambda: weight.sum()):
        with pytest.raises(ValueError, match="Attempted to use an uninitialized parameter in"):
            use()
