"""The meta device: shapes and dtypes of every op, modules without memory, what is refused; beside PyTorch where it is there."""

import copy
import io
import pickle
import warnings

import numpy as np
import pytest
from registry.draw import cases, flat, floats, ids, registered

import numbagrad as ng

OPS = [op for op in registered() if op.samples and not op.private]
# Why an op has no result there.
VALUES = "its shape, or what it does, depends on values"
REFUSED = {
    **dict.fromkeys(("allclose", "equal", "argwhere", "nonzero", "masked_select", "bincount", "unique", "unique_consecutive",
                     "repeat_interleave", "one_hot", "histogram", "nonzero_static"), VALUES),
    **dict.fromkeys(("_sample_dirichlet", "_standard_gamma", "binomial", "poisson"), "drawn by accepting and rejecting"),
}


def outcome(case, device, requires_grad):
    """Results of a sample whose tensors lie on a device."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tensors = [t.to(device) for t in case.tensors()]
        for i in case.differentiable if requires_grad else ():
            tensors[i].requires_grad_()
        return tensors, case.call(tensors)


def geometry(result):
    return [(tuple(t.shape), t.dtype, t.stride(), t.requires_grad) for t in flat(result)]


@pytest.mark.parametrize("op", OPS, ids=ids)
def test_shapes_and_dtypes(op):
    refused = 0
    for case in cases(op):
        requires = op.differentiable and bool(case.differentiable)
        try:
            tensors, found = outcome(case, "meta", requires)
        except (NotImplementedError, RuntimeError) as error:
            if op.name not in REFUSED or "meta" not in str(error):
                raise
            refused += 1
            continue
        _, wanted = outcome(case, "cpu", requires)
        assert geometry(found) == geometry(wanted), f"{case}"
        assert all(t.is_meta for t in flat(found)) or not tensors
        outs = [t for t in floats(found) if t.requires_grad]
        if outs and requires:
            grads = ng.autograd.grad(outs, [tensors[i] for i in case.differentiable], [ng.ones_like(t) for t in outs],
                                     allow_unused=True)
            for i, g in zip(case.differentiable, grads):
                assert g is None or g.is_meta and g.shape == tensors[i].shape and g.dtype is tensors[i].dtype
    assert bool(refused) == (op.name in REFUSED)


def test_what_it_is():
    t = ng.zeros(2, 3, device="meta", dtype=ng.float64, requires_grad=True)
    assert t.is_meta and not t.is_cuda and not t.is_cpu and t.device == ng.device("meta") and t.get_device() == -1
    assert t.data_ptr() == 0 and t[1].storage_offset() == 3 and t[1]._is_view() and t.untyped_storage().nbytes() == 48
    assert ng.zeros(2, device="meta:0").device == ng.device("meta") and not ng.ones(2).is_meta
    assert ng.empty(10 ** 6, 10 ** 7, device="meta").shape == (10 ** 6, 10 ** 7)
    state = ng.get_rng_state()
    ng.rand(3, device="meta"), ng.empty(2, device="meta").normal_(), ng.randperm(4, device="meta")
    assert ng.equal(state, ng.get_rng_state())


def test_default_device():
    with ng.device("meta"):
        assert all(t.is_meta for t in (ng.zeros(2), ng.rand(2), ng.tensor([1.0]), ng.arange(3), ng.eye(2), ng.randint(5, (2,))))
        model = ng.nn.Linear(3, 4)
    assert model.weight.is_meta and not ng.zeros(2).is_meta
    device = ng.device("meta")
    with device, ng.device("cpu"), device:
        assert ng.zeros(2).is_meta
    assert not ng.zeros(2).is_meta
    ng.set_default_device("meta")
    try:
        assert ng.ones(1).is_meta and ng.get_default_device() == ng.device("meta")
    finally:
        ng.set_default_device(None)
    assert not ng.ones(1).is_meta


def network(lib):
    nn = lib.nn
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(),
                         nn.Linear(36, 5))


def test_a_model_without_memory_becomes_one():
    with ng.device("meta"):
        model = network(ng)
        out = model(ng.zeros(2, 1, 8, 8))
        ng.nn.functional.cross_entropy(out, ng.zeros(2, dtype=ng.int64)).backward()
    assert out.shape == (2, 5) and all(p.grad.is_meta and p.grad.shape == p.shape for p in model.parameters())
    assert copy.deepcopy(model)[0].weight.is_meta
    full = network(ng)
    with pytest.warns(UserWarning) as seen:
        model.load_state_dict(full.state_dict())
    assert len(seen) == 9 and str(seen[0].message).startswith("for 0.weight: copying from a non-meta parameter")
    assert model[0].weight.is_meta
    with pytest.raises(NotImplementedError, match=r"no data! Please use torch.nn.Module.to_empty\(\) instead"):
        model.to("cpu")
    model.load_state_dict(full.state_dict(), assign=True)
    x = ng.rand(2, 1, 8, 8)
    assert np.array_equal(model.eval()(x).detach().numpy(), full.eval()(x).detach().numpy())
    with ng.device("meta"):
        model = network(ng)
    weight = model[0].weight
    model.to_empty(device="cpu").load_state_dict(full.state_dict())
    assert np.array_equal(model.eval()(x).detach().numpy(), full(x).detach().numpy()) and model[0].weight is weight


def test_files_and_pickles():
    with ng.device("meta"):
        model = network(ng)
    model.extra = ng.nn.Parameter(ng.empty(4, 3, device="meta").T, requires_grad=False)
    file = io.BytesIO()
    ng.save(model.state_dict(), file)
    file.seek(0)
    loaded = ng.load(file)
    model.load_state_dict(loaded, assign=True)
    copied = pickle.loads(pickle.dumps(model))
    for found in (model, copied):
        assert all(t.is_meta for t in found.state_dict().values()) and found.extra.stride() == (1, 3)
        assert found[0].weight.requires_grad and not found.extra.requires_grad
    file.seek(0), file.truncate()
    ng.save(network(ng).state_dict(), file)
    file.seek(0)
    assert all(t.is_meta for t in ng.load(file, map_location="meta").values())
    assert f"{ng.zeros((), device='meta')}" == "tensor(..., device='meta', size=())"


@pytest.mark.parametrize("writer, reader", [("ng", "torch"), ("torch", "ng")])
def test_files_of_the_other_library(writer, reader):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
    libs, file = {"ng": ng, "torch": torch}, io.BytesIO()
    t = libs[writer].zeros(3, 4, device="meta", dtype=libs[writer].float64, requires_grad=True)
    libs[writer].save({"a": t, "b": libs[writer].nn.Parameter(t.detach()), "c": t.detach()[:, ::2]}, file)
    file.seek(0)
    found = libs[reader].load(file)
    assert found["a"].is_meta and found["a"].requires_grad and isinstance(found["b"], libs[reader].nn.Parameter)
    assert found["c"].stride() == (4, 2) and found["c"].shape == (3, 2) and found["c"].dtype is libs[reader].float64


def test_skip_init_draws_nothing():
    state = ng.get_rng_state()
    layer = ng.nn.utils.skip_init(ng.nn.Linear, 3, 4, bias=False, dtype=ng.float64)
    assert layer.weight.device == ng.device("cpu") and layer.weight.dtype is ng.float64 and layer.weight.requires_grad
    assert ng.nn.utils.skip_init(ng.nn.Linear, 3, 4, device="meta").weight.is_meta and ng.equal(state, ng.get_rng_state())


CALLS = {
    "repr": lambda lib, m: [repr(m), repr(lib.nn.Parameter(m)), repr(m.double()), repr(m.sum()), m.type()],
    "item": lambda lib, m: m.sum().item(), "bool": lambda lib, m: bool(m.sum()), "float": lambda lib, m: float(m.sum()),
    "tolist": lambda lib, m: m.tolist(), "numpy": lambda lib, m: m.numpy(), "array": lambda lib, m: np.asarray(m),
    "cpu": lambda lib, m: m.cpu(), "forced": lambda lib, m: m.numpy(force=True), "from": lambda lib, m: lib.ones(2, 3).copy_(m),
    "onto": lambda lib, m: repr(m.copy_(lib.ones(2, 3))), "number": lambda lib, m: repr(m + lib.tensor(1.0)),
    "init": lambda lib, m: [repr(f(m)) for f in (lib.nn.init.kaiming_uniform_, lib.nn.init.trunc_normal_,
                                                 lib.nn.init.orthogonal_, lib.nn.init.zeros_)],
    "sum": lambda lib, m: m + lib.ones(2, 3), "product": lambda lib, m: m * lib.ones(3),
}


@pytest.mark.parametrize("name", CALLS)
def test_beside_pytorch(name):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")

    def said(lib):
        try:
            return str(CALLS[name](lib, lib.zeros(2, 3, device="meta"))).replace("numbagrad.", "torch.")
        except Exception as e:
            return type(e).__name__, str(e)
    assert said(ng) == said(torch)
