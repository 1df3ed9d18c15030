"""Names of parts of PyTorch that are not here, as packages ask for them before they do without."""

from __future__ import annotations

import importlib

import pytest

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
DEVICES = {
    "xpu": "is_available device_count current_device synchronize empty_cache get_rng_state get_rng_state_all memory_allocated "
           "max_memory_allocated memory_reserved is_bf16_supported",
    "mps": "is_available device_count synchronize empty_cache get_rng_state current_allocated_memory driver_allocated_memory "
           "recommended_max_memory seed",
    "mtia": "is_available device_count"}


def outcome(call):
    try:
        return call()
    except Exception as e:
        return type(e), str(e)


@pytest.mark.parametrize("kind", DEVICES)
def test_devices_that_there_are_none_of(kind):
    for name in DEVICES[kind].split():
        assert outcome(getattr(getattr(ng, kind), name)) == outcome(getattr(getattr(torch, kind), name)), name
    with pytest.raises(AttributeError, match=f"torch.{kind}.nothing is not available here"):
        _ = getattr(ng, kind).nothing


def test_no_process_group():
    dist = ng.distributed
    assert not dist.is_available() and not dist.is_initialized()
    for call in (dist.get_rank, dist.get_world_size, dist.barrier, lambda: dist.all_reduce(ng.ones(1)),
                 lambda: dist.nn.all_reduce(ng.ones(1)), lambda: dist.optim.ZeroRedundancyOptimizer([], ng.optim.SGD)):
        with pytest.raises(ValueError, match="Default process group has not been initialized"):
            call()
    with pytest.raises(ValueError) as theirs:
        torch.distributed.get_rank()
    with pytest.raises(ValueError) as ours:
        dist.get_rank()
    assert str(ours.value) == str(theirs.value)
    with pytest.raises(RuntimeError, match="numbagrad has no process groups"):
        dist.init_process_group("gloo")
    assert dist.ReduceOp.SUM != dist.ReduceOp.MAX and dist.group.WORLD is None


def test_marks_of_quantization_change_nothing():
    x, y = ng.randn(3, 3), ng.randn(3, 3)
    q, a, b = ng.nn.quantized.FloatFunctional(), torch.tensor(x.numpy()), torch.tensor(y.numpy())
    theirs = torch.ao.nn.quantized.FloatFunctional()
    for name, args in (("add", (x, y)), ("mul", (x, y)), ("add_scalar", (x, 2.0)), ("mul_scalar", (x, 2.0)),
                       ("add_relu", (x, y)), ("matmul", (x, y))):
        want = getattr(theirs, name)(*[{id(x): a, id(y): b}.get(id(v), v) for v in args])
        assert getattr(q, name)(*args).numpy() == pytest.approx(want.numpy(), rel=1e-6), name
    assert q.cat([x, y], dim=1).shape == (3, 6) and repr(q) == repr(theirs) and list(q.state_dict()) == []
    assert outcome(lambda: q(x)) == outcome(lambda: theirs(a))
    for mark, other in ((ng.ao.quantization.QuantStub, torch.ao.quantization.QuantStub),
                        (ng.ao.quantization.DeQuantStub, torch.ao.quantization.DeQuantStub)):
        assert mark()(x) is x and repr(mark()) == repr(other())
    with pytest.raises(RuntimeError, match="quantizes no models"):
        ng.ao.quantization.prepare(ng.nn.Linear(1, 1))


def test_names_of_the_compiler():
    dynamo = ng._dynamo
    assert dynamo.OptimizedModule is dynamo.eval_frame.OptimizedModule is type(ng.compile(ng.nn.Linear(1, 1)))
    assert not dynamo.is_compiling() and dynamo.mark_dynamic(ng.ones(2), 0) is None
    config = dynamo.config
    for name in vars(type(config)):
        if not name.startswith("_") and name != "patch":
            assert getattr(config, name) == getattr(torch._dynamo.config, name), name
    for how in (config.patch(verbose=True), config.patch("verbose", True), config.patch({"verbose": True})):
        with how:
            assert config.verbose is True
        assert config.verbose is False
    assert config.patch(verbose=True)(lambda: config.verbose)()
    assert config is importlib.import_module("numbagrad._dynamo.config")

    def double(x):
        return x * 2
    assert dynamo.optimize("inductor")(double)(ng.ones(2)).tolist() == [2, 2]
    dynamo.reset()
    with pytest.raises(AttributeError, match="torch._dynamo.nothing is not available here"):
        _ = dynamo.nothing


def test_arguments_for_devices():
    cut = importlib.import_module("numbagrad.nn.parallel.scatter_gather")
    assert cut.scatter is ng.nn.parallel.scatter and cut.gather is ng.nn.parallel.gather
    assert cut.scatter_kwargs((), {}, []) == torch.nn.parallel.scatter_gather.scatter_kwargs((), {}, [])


def test_states_of_generators_of_devices():
    c = importlib.import_module("numbagrad.utils.checkpoint")
    assert c.get_device_states(ng.ones(2), [3]) == torch.utils.checkpoint.get_device_states(torch.ones(2), [3]) == ([], [])
    assert c.set_device_states([], []) is None


def test_names_for_annotations():
    from numbagrad import serialization, types
    assert types._device is ng.device and types._dtype is ng.dtype and isinstance(ng.Size((2,)), types._size.__args__[0])
    assert ng.device in serialization.MAP_LOCATION.__args__ and str in serialization.MAP_LOCATION.__args__
    assert ng._C._LinAlgError is ng.linalg.LinAlgError and ng._C._get_tracing_state() is None and not ng._C._is_tracing()
    seen = []
    ng.vmap(lambda x: seen.append(ng._C._are_functorch_transforms_active()) or x)(ng.ones(2))
    assert seen == [True] and not ng._C._are_functorch_transforms_active()
    with pytest.raises(OSError, match="Could not load this library: nothing.so"):
        ng.ops.load_library("nothing.so")


def test_attribute_of_another_module_is_copied():
    from numbagrad.fx.graph_module import _copy_attr
    ours = {}
    for lib, copy in ((ng, _copy_attr), (torch, torch.fx.graph_module._copy_attr)):
        a, b = lib.nn.Sequential(lib.nn.Sequential(lib.nn.BatchNorm1d(2))), lib.nn.Module()
        for name in ("0.0.weight", "0.0.running_mean"):
            copy(a, b, name)
        ours[lib] = list(b.state_dict()), [n for n, _ in b.named_parameters()], b.get_parameter("0.0.weight") is a[0][0].weight
    assert ours[ng] == ours[torch]
