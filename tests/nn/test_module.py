"""Module, its containers, hooks and state against PyTorch's."""

import copy
import pickle
from collections import OrderedDict

import numpy as np
import pytest
from module_helpers import error_of, same_error

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")


def net(lib):
    class Block(lib.nn.Module):
        def __init__(self, size):
            super().__init__()
            self.first = lib.nn.Linear(size, size)
            self.norm = lib.nn.BatchNorm1d(size)
            self.scale = lib.nn.Parameter(lib.ones(size))
            self.register_buffer("steps", lib.zeros(()), persistent=False)
            self.register_buffer("offset", lib.zeros(size))

        def forward(self, x):
            return self.norm(self.first(x)) * self.scale + self.offset

    lib.manual_seed(0)
    layers = OrderedDict(a=Block(3), b=lib.nn.ReLU(), c=lib.nn.ModuleList([Block(2), lib.nn.Identity()]))
    model = lib.nn.Module()
    for name, layer in layers.items():
        model.add_module(name, layer)
    model.shared = model.a
    model.missing = None
    model.register_parameter("none", None)
    return model


def array(t):
    return t.detach().numpy()


def test_walks_match():
    ours, theirs = net(ng), net(torch)
    for walk in ("named_parameters", "named_buffers", "named_modules", "named_children"):
        assert [n for n, _ in getattr(ours, walk)()] == [n for n, _ in getattr(theirs, walk)()]
    for walk in ("named_parameters", "named_buffers", "named_modules"):
        mine = [n for n, _ in getattr(ours, walk)(prefix="p", remove_duplicate=False)]
        assert mine == [n for n, _ in getattr(theirs, walk)(prefix="p", remove_duplicate=False)]
    assert len(list(ours.parameters(recurse=False))) == 0
    assert repr(ours) == repr(theirs)
    for (_, p), (_, q) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert np.array_equal(array(p), array(q))


def test_attributes_move_between_tables():
    module = ng.nn.Module()
    module.x = 3
    module.x = ng.nn.Parameter(ng.ones(2))
    assert "x" not in module.__dict__ and [n for n, _ in module.named_parameters()] == ["x"]
    del module.x
    assert not hasattr(module, "x")
    module.x = ng.nn.Linear(1, 1)
    module.x = ng.nn.Parameter(ng.ones(2))
    assert list(module._modules) == [] and list(module._parameters) == ["x"]
    module.x = None
    assert module.x is None and list(module._parameters) == ["x"]
    module.buf = ng.nn.Buffer(ng.ones(2), persistent=False)
    assert [n for n, _ in module.named_buffers()] == ["buf"] and "buf" not in module.state_dict()
    module.buf = ng.zeros(2)
    assert "buf" not in module.state_dict() and "buf" in dir(module)


def test_registration_errors():
    same_error(lambda lib: lib.nn.Module().register_parameter("a.b", None))
    same_error(lambda lib: lib.nn.Module().register_parameter("", None))
    same_error(lambda lib: lib.nn.Module().register_parameter(3, None))
    same_error(lambda lib: lib.nn.Module().register_parameter("training", None))
    same_error(lambda lib: lib.nn.Module().register_parameter("w", 3.0))
    same_error(lambda lib: lib.nn.Module().register_parameter("w", lib.ones(2)))
    same_error(lambda lib: lib.nn.Module().register_buffer("a.b", None))
    same_error(lambda lib: lib.nn.Module().register_buffer("", None))
    same_error(lambda lib: lib.nn.Module().register_buffer("forward", None))
    same_error(lambda lib: lib.nn.Module().register_buffer("b", "text"))
    same_error(lambda lib: lib.nn.Module().add_module("m", 3))
    same_error(lambda lib: lib.nn.Module().add_module("a.b", lib.nn.ReLU()))
    same_error(lambda lib: lib.nn.Module().add_module("", lib.nn.ReLU()))
    same_error(lambda lib: lib.nn.Module().add_module("forward", lib.nn.ReLU()))
    same_error(lambda lib: setattr(lib.nn.Linear(1, 1), "weight", 3))
    same_error(lambda lib: setattr(lib.nn.Linear(1, 1), "weight", lib.ones(1)))
    same_error(lambda lib: setattr(lib.nn.Sequential(lib.nn.ReLU()), "0", 3))
    same_error(lambda lib: setattr(lib.nn.BatchNorm1d(2), "running_mean", 3))
    same_error(lambda lib: lib.nn.Module().nothing)
    same_error(lambda lib: delattr(lib.nn.Module(), "nothing"))
    same_error(lambda lib: lib.nn.Module()(1))
    same_error(lambda lib: lib.nn.Module(1))
    same_error(lambda lib: lib.nn.Module(a=1))
    same_error(lambda lib: lib.nn.Module().train(1))
    same_error(lambda lib: lib.nn.Linear(1, 1).to(lib.int64))
    same_error(lambda lib: lib.nn.Parameter(lib.ones(2, dtype=lib.int64)))


@pytest.mark.parametrize("value", ["parameter", "module", "buffer"])
def test_assignment_before_init(value):
    def make(lib):
        class Early(lib.nn.Module):
            def __init__(self):
                if value == "parameter":
                    self.x = lib.nn.Parameter(lib.ones(1))
                elif value == "module":
                    self.x = lib.nn.ReLU()
                else:
                    self.register_buffer("x", lib.ones(1))

        Early()

    same_error(make)


def test_non_leaf_parameter_is_refused():
    def make(lib):
        p = lib.nn.Parameter(lib.ones(2))
        q = (p * 2).as_subclass(lib.nn.Parameter)
        if q.grad_fn is None:  # a library whose cast cuts the graph has nothing to refuse
            raise ValueError("cut")
        lib.nn.Module().register_parameter("w", q)

    kind, text = error_of(lambda: make(ng))
    assert kind == "ValueError" and (text == "cut" or text.startswith("Cannot assign non-leaf Tensor"))


def test_paths():
    ours = net(ng)
    assert ours.get_submodule("c.0.norm") is ours.c[0].norm and ours.get_submodule("") is ours
    assert ours.get_parameter("c.0.first.weight") is ours.c[0].first.weight
    assert ours.get_buffer("a.steps") is ours.a.steps
    new = ng.nn.Linear(1, 1)
    ours.set_submodule("c.1", new)
    assert ours.c[1] is new
    same_error(lambda lib: net(lib).get_submodule("a.nope"))
    same_error(lambda lib: net(lib).get_submodule("a.scale"))
    same_error(lambda lib: net(lib).get_parameter("a.nope"))
    same_error(lambda lib: net(lib).get_parameter("a.offset"))
    same_error(lambda lib: net(lib).get_buffer("a.scale"))
    same_error(lambda lib: net(lib).set_submodule("", lib.nn.ReLU()))
    same_error(lambda lib: net(lib).set_submodule("a", 3))
    same_error(lambda lib: net(lib).set_submodule("a.new", lib.nn.ReLU(), strict=True))
    same_error(lambda lib: net(lib).set_submodule("a.scale", lib.nn.ReLU()))


def test_registration_hooks():
    from numbagrad.nn.modules.module import register_module_parameter_registration_hook as register

    seen = []
    with register(lambda module, name, p: seen.append(name)):
        ng.nn.Linear(1, 1)
    ng.nn.Linear(1, 1)
    assert seen == ["weight", "bias"]


def test_train_apply_and_zero_grad():
    model = net(ng)
    assert model.eval() is model and not any(m.training for m in model.modules())
    model.train()
    assert all(m.training for m in model.modules())
    order = []
    model.apply(lambda m: order.append(type(m).__name__))
    theirs = []
    net(torch).apply(lambda m: theirs.append(type(m).__name__))
    assert order == theirs
    layer = ng.nn.Linear(2, 1)
    layer(ng.ones(1, 2)).sum().backward()
    layer.zero_grad(set_to_none=False)
    assert layer.weight.grad.tolist() == [[0.0, 0.0]]
    layer.zero_grad()
    assert layer.weight.grad is None
    layer.requires_grad_(False)
    assert not layer.weight.requires_grad


def test_to_keeps_the_parameter_objects():
    layer = ng.nn.BatchNorm1d(2)
    weight = layer.weight
    layer(ng.randn(4, 2)).sum().backward()
    assert layer.double() is layer and layer.weight is weight
    assert weight.dtype == ng.float64 and weight.grad.dtype == ng.float64
    assert layer.running_mean.dtype == ng.float64 and layer.num_batches_tracked.dtype == ng.int64
    layer.to(ng.float32)
    assert weight.dtype == ng.float32
    layer.to("cpu", ng.float64)
    assert weight.dtype == ng.float64
    layer.to(ng.ones(1))
    assert weight.dtype == ng.float32
    layer.to(dtype=ng.float64, device="cpu").float()
    assert weight.dtype == ng.float32 and weight.is_leaf and weight.requires_grad


def test_repr_of_containers():
    def build(lib):
        nn = lib.nn
        return nn.Sequential(
            OrderedDict(
                body=nn.Sequential(nn.Linear(2, 3), nn.ReLU(inplace=True)),
                many=nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2), nn.Sequential(nn.ReLU()), nn.ReLU()]),
                named=nn.ModuleDict({"x": nn.Linear(1, 1), "y": nn.Flatten()}),
                empty=nn.ModuleList(),
                none=nn.Sequential(),
                plist=nn.ParameterList([lib.zeros(2, 3), "text", lib.zeros(())]),
                pdict=nn.ParameterDict({"b": lib.zeros(2), "a": 4}),
            )
        )

    assert repr(build(ng)).replace("numbagrad.", "torch.") == repr(build(torch))


def test_repr_of_parameters():
    for make in (
        lambda lib: lib.nn.Parameter(lib.tensor([1.0, 2.5])),
        lambda lib: lib.nn.Parameter(lib.tensor([1, 2]), requires_grad=False),
        lambda lib: lib.nn.Parameter(),
    ):
        assert repr(make(ng)) == repr(make(torch))


def test_state_dict_matches():
    ours, theirs = net(ng).state_dict(), net(torch).state_dict()
    assert list(ours) == list(theirs) and dict(ours._metadata) == dict(theirs._metadata)
    assert all(not t.requires_grad for t in ours.values())
    kept = net(ng).state_dict(keep_vars=True, prefix="p.")
    assert list(kept)[0] == "p.a.scale" and kept["p.a.scale"].requires_grad
    with pytest.warns(FutureWarning, match="Positional args are being deprecated"):
        net(ng).state_dict(OrderedDict())


def test_load_state_dict_copies_in_place():
    source, target = net(ng), net(ng)
    with ng.no_grad():
        for p in source.parameters():
            p.add_(1.0)
    weight = target.a.first.weight
    result = target.load_state_dict(source.state_dict())
    assert repr(result) == "<All keys matched successfully>"
    assert target.a.first.weight is weight
    for (_, p), (_, q) in zip(source.named_parameters(), target.named_parameters(), strict=True):
        assert np.array_equal(array(p), array(q))


def test_load_state_dict_assigns():
    target = ng.nn.Linear(2, 1)
    tensor = ng.ones(1, 2)
    target.load_state_dict({"weight": tensor, "bias": ng.zeros(1)}, assign=True)
    assert isinstance(target.weight, ng.nn.Parameter) and target.weight.data_ptr() == tensor.data_ptr()
    assert target.weight.requires_grad


def test_load_state_dict_reports():
    def broken(lib):
        state = net(lib).state_dict()
        del state["a.scale"]
        state["a.first.weight"] = lib.ones(2, 2)
        state["c.0.offset"] = "text"
        state["nowhere.w"] = lib.ones(1)
        state["a.first.extra"] = lib.ones(1)
        return state

    kind, text = same_error(lambda lib: net(lib).load_state_dict(broken(lib)))
    assert kind == "RuntimeError" and "size mismatch for a.first.weight" in text

    def lax(lib):
        state = broken(lib)
        del state["c.0.offset"]
        state["a.first.weight"] = lib.ones(3, 3)
        return repr(net(lib).load_state_dict(state, strict=False))

    assert lax(ng) == lax(torch)
    same_error(lambda lib: net(lib).load_state_dict(3))
    with pytest.raises(RuntimeError, match="size mismatch"):
        net(ng).load_state_dict(broken(ng), strict=False)


def test_state_hooks_and_extra_state():
    def run(lib):
        log = []

        class WithExtra(lib.nn.Linear):
            def get_extra_state(self):
                return {"epoch": 3}

            def set_extra_state(self, state):
                log.append(state)

        module = WithExtra(1, 1)
        module.register_state_dict_pre_hook(lambda m, prefix, keep: log.append(("pre", prefix, keep)))
        module.register_state_dict_post_hook(lambda m, state, prefix, meta: log.append(("post", list(state), meta)))
        module.register_load_state_dict_pre_hook(lambda m, state, prefix, *rest: log.append((prefix, rest[1])))
        module.register_load_state_dict_post_hook(lambda m, keys: keys.missing_keys.clear())
        state = lib.nn.Sequential(module).state_dict()
        log.append(list(state))
        del state["0.bias"]
        log.append(str(lib.nn.Sequential(module).load_state_dict(state)))
        return log

    assert run(ng) == run(torch)

    def bad_post_hook(lib):
        module = lib.nn.Linear(1, 1)
        module.register_state_dict_post_hook(lambda *args: {})
        module.state_dict()

    same_error(bad_post_hook)

    def bad_load_hook(lib):
        module = lib.nn.Linear(1, 1)
        module.register_load_state_dict_post_hook(lambda *args: 1)
        module.load_state_dict(module.state_dict())

    same_error(bad_load_hook)


def test_old_batch_norm_state_loads():
    state = ng.nn.BatchNorm1d(2).state_dict()
    del state["num_batches_tracked"], state._metadata
    ng.nn.BatchNorm1d(2).load_state_dict(state)


def test_copy_and_pickle():
    model = ng.nn.Sequential(ng.nn.Linear(2, 3), ng.nn.BatchNorm1d(3))
    model[0].weight.requires_grad_(False)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert repr(other) == repr(model)
        assert isinstance(other[0].weight, ng.nn.Parameter) and not other[0].weight.requires_grad
        assert other[0].bias.requires_grad
        for (name, p), (_, q) in zip(model.state_dict().items(), other.state_dict().items(), strict=True):
            assert np.array_equal(array(p), array(q)), name
            assert p.numel() == 0 or p.data_ptr() != q.data_ptr()
    shared = ng.nn.Linear(2, 2)
    pair = copy.deepcopy(ng.nn.ModuleList([shared, shared]))
    assert pair[0] is pair[1]
    twice = ng.nn.ParameterList([shared.weight, shared.weight])
    twice = copy.deepcopy(twice)
    assert twice[0] is twice[1]
