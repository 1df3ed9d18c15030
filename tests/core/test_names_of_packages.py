"""Names that large packages (transformers, diffusers, timm, peft, lightning, fastai, accelerate, kornia) import or call."""

from __future__ import annotations

import importlib
import io
import itertools
import subprocess
import sys
import typing

import numpy as np
import pytest

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
MODULES = """_utils _tensor _tensor_str _subclasses.fake_tensor _higher_order_ops.associative_scan _higher_order_ops.while_loop
distributed.device_mesh distributed.tensor distributed.fsdp export fx.experimental.proxy_tensor fx.experimental.symbolic_shapes
nn.attention.flex_attention utils.flop_counter utils.data._utils.collate utils.data._utils.worker
_dynamo._trace_wrapped_higher_order_op""".split()


def test_modules_are_found_under_their_names():
    code = f"import importlib\nfor name in {MODULES}:\n    importlib.import_module('torch.' + name)\nprint('all')"
    done = subprocess.run([sys.executable, "-c", "from numbagrad.cli import run; run.stand_in()\n" + code], capture_output=True,
                          text=True)
    assert done.stdout == "all\n", done.stderr


@pytest.mark.parametrize("name", MODULES)
def test_what_they_offer_pytorch_has(name):
    ours, theirs = (importlib.import_module(f"{lib}.{name}") for lib in ("numbagrad", "torch"))
    for public in getattr(ours, "__all__", ()):
        assert hasattr(theirs, public), public


def test_functions_stay_the_same_objects():
    """Programs compare them (``reduce is torch.mean``), before and after they are first called."""
    code = """
import numbagrad as ng
from numbagrad import nn
x = ng.ones(3, 3)
names = "mean sum amax exp relu add mul softmax cat matmul argmax cumsum where".split()
before = {n: getattr(ng, n) for n in names}
methods = {n: getattr(ng.Tensor, n) for n in names if hasattr(ng.Tensor, n)}
held = nn.functional.gelu
for n, f in before.items():
    f(*{"cat": ([x, x],), "softmax": (x, 0), "cumsum": (x, 0), "where": (x > 0, x, x)}.get(
        n, (x, x) if n in ("add", "mul", "matmul") else (x,)))
held(x)
for _ in range(300):
    before["exp"](x), before["mean"](x), before["add"](x, x)
assert before["exp"](ng.zeros(2)).tolist() == [1, 1] and before["add"](x, 2).sum().item() == 27
print(all(getattr(ng, n) is f for n, f in before.items()) and all(getattr(ng.Tensor, n) is f for n, f in methods.items())
      and nn.functional.gelu is held)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr


def test_small_names():
    assert ng.torch is ng and ng.legacy_contiguous_format is ng.contiguous_format
    assert ng._C._TensorMeta is type(ng.Tensor) and ng.hub.urlparse("http://a/b").path == "/b"
    assert importlib.import_module("numbagrad.jit.annotations").List is vars(typing)["List"]
    assert ng.nn.modules.module._EXTRA_STATE_KEY_SUFFIX == torch.nn.modules.module._EXTRA_STATE_KEY_SUFFIX
    assert "training" in typing.get_type_hints(ng.nn.ReLU())  # (a layer has annotations, which fastai asks for)
    assert ng._dynamo.mark_static_address(ng.ones(1)) is None is ng._dynamo.mark_static(ng.ones(1))
    assert ng.autograd._profiler_enabled() is False
    with ng.autograd.profiler.profile():
        assert ng.autograd._profiler_enabled() is True


@pytest.mark.parametrize("args, kwargs", [((ng.float16,), {}), (("cpu", ng.float64, True), {}), ((), {"device": None}),
                                          (("cpu",), {"memory_format": ng.channels_last})])
def test_parse_to(args, kwargs):
    def of_torch(x):
        return getattr(torch, repr(x).removeprefix("torch.")) if isinstance(x, (ng.dtype, ng.memory_format)) else x
    found = torch._C._nn._parse_to(*map(of_torch, args), **{n: of_torch(v) for n, v in kwargs.items()})
    assert repr(ng._C._nn._parse_to(*args, **kwargs)) == repr(found)


DEVICES = "ipu xpu ve fpga maia xla lazy vulkan mps hpu mtia privateuseone".split()


@pytest.mark.parametrize("name", DEVICES)
def test_devices_of_other_kinds_are_names(name):
    for args in ((name,), (name, 1), (name + ":2",)):
        assert repr(ng.device(*args)) == repr(torch.device(*args)) and str(ng.device(*args)) == str(torch.device(*args))
    for make in (lambda: ng.ones(2).to(name), lambda: ng.zeros(2, device=name), lambda: ng.nn.Linear(2, 2).to(name)):
        with pytest.raises((RuntimeError, AssertionError), match=name.upper() if name in ("xpu", "mtia") else name):
            make()
    with pytest.raises(RuntimeError) as error:
        torch.device("nowhere")
    with pytest.raises(RuntimeError) as ours:
        ng.device("nowhere")
    assert str(ours.value) == str(error.value)


def test_containers_of_pytrees_by_their_functions():
    ours, theirs = (importlib.import_module(f"{lib}.utils._pytree") for lib in ("numbagrad", "torch"))
    for name, value in (("dict", {"a": 1, "b": [2]}), ("list", [1, 2]), ("tuple", (1, 2))):
        children, context = getattr(ours, f"_{name}_flatten")(value)
        assert (children, context) == getattr(theirs, f"_{name}_flatten")(value)
        assert getattr(ours, f"_{name}_unflatten")(children, context) == value
        pairs = [getattr(m, f"_{name}_flatten_with_keys")(value)[0] for m in (ours, theirs)]
        assert [(str(k), v) for k, v in pairs[0]] == [(str(k), v) for k, v in pairs[1]]


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
@pytest.mark.parametrize("writer", [ng, torch])
def test_records_of_a_file(writer, tmp_path):
    path = str(tmp_path / "x.pt")
    writer.save({"a": writer.arange(3.0)}, path)
    for source in (path, io.BytesIO((tmp_path / "x.pt").read_bytes())):
        reader = ng.PyTorchFileReader(source)
        assert set(reader.get_all_records()) >= {"data.pkl", "data/0", "byteorder"} and reader.has_record("data/0")
        assert not reader.has_record("data/1") and reader.get_record_size("data/0") == 12
        assert np.frombuffer(reader.get_record("data/0"), np.float32).tolist() == [0, 1, 2]
        found = reader.get_storage_from_record("data/0", 12, ng.UntypedStorage)
        assert found.dtype is ng.uint8 and tuple(found.shape) == (0,)
        memory = found._typed_storage()._untyped_storage
        made = ng._utils._rebuild_tensor_v2(ng.TypedStorage(wrap_storage=memory, dtype=ng.float32), 1, (2,), (1,), True, {})
        assert made.tolist() == [1, 2] and made.requires_grad
        with pytest.raises(RuntimeError, match="does not match expected size .16 bytes = 4 elements"):
            reader.get_storage_from_record("data/0", 4, ng.float32)
        with pytest.raises(RuntimeError, match="PytorchStreamReader failed locating file nothing: file not found"):
            reader.get_record("nothing")


def test_many_tensors_as_one():
    for lib in (ng, torch):
        parts = [lib.ones(2, 3), lib.arange(4.0), lib.ones(2, dtype=lib.float64)]
        flat = lib._utils._flatten_dense_tensors(parts[:2])
        assert flat.tolist() == [1] * 6 + [0, 1, 2, 3]
        assert [t.tolist() for t in lib._utils._unflatten_dense_tensors(flat, parts[:2])] == [t.tolist() for t in parts[:2]]
        groups = [[len(t) for t in group] for group in lib._utils._take_tensors(parts, 30)]
        assert groups == [[2], [4], [2]]
        assert lib._utils._element_size(lib.float64) == 8 and lib._utils._get_device_index(3) == 3
        with pytest.raises(ValueError, match="Expected a non cpu device, but got: cpu"):
            lib._utils._get_device_index("cpu")


@pytest.mark.parametrize("workers", [0, 1])
def test_iterators_of_loaders_take_what_looks_like_one(workers):
    """fastai hands an object with these attributes to the classes of iterators."""
    class Fake:
        _IterableDataset_len_called, _auto_collation, drop_last, in_order = None, False, False, True
        timeout, persistent_workers = 0, False
        generator, prefetch_factor, pin_memory, pin_memory_device, worker_init_fn = None, 2, False, "", None
        num_workers, _index_sampler, multiprocessing_context = workers, range(100), None
        collate_fn = staticmethod(lambda x: x)

        def __init__(self):
            self.dataset, self._dataset_kind = self, ng.utils.data.dataloader._DatasetKind.Iterable

        def __iter__(self):
            return iter(["a", "b", "c"])
    name = "_MultiProcessingDataLoaderIter" if workers else "_SingleProcessDataLoaderIter"
    made = getattr(ng.utils.data.dataloader, name)(Fake())
    assert list(made) == ["a", "b", "c"] and isinstance(made, ng.utils.data.dataloader._BaseDataLoaderIter)


def test_a_loader_asks_its_own_method_for_an_iterator():
    class Twice(ng.utils.data.DataLoader):
        def _get_iterator(self):
            return itertools.chain(super()._get_iterator(), super()._get_iterator())
    assert [x.item() for x in Twice([1, 2])] == [1, 2, 1, 2]
    assert ng.utils.data.DataLoader([1])._dataset_kind == torch.utils.data.DataLoader([1])._dataset_kind == 0


@pytest.mark.skipif(ng.cuda.is_available(), reason="about machines without a device")
def test_streams_without_a_device():
    for lib in (ng, torch):
        with pytest.raises(RuntimeError, match="torch.cuda.Stream requires CUDA support"):
            lib.cuda.Stream()
        with pytest.raises(RuntimeError, match="Tried to instantiate dummy base class Event"):
            lib.cuda.Event()
        with pytest.raises(AssertionError, match="Torch not compiled with CUDA enabled"):
            lib.cuda.current_stream()
        assert lib.cuda.default_generators == () and lib.cuda.get_arch_list() == []
        with lib.cuda.stream(None):
            assert lib.cuda.memory_reserved() == lib.cuda.max_memory_reserved() == 0 == len(lib.cuda.memory_stats())


SCANNED = [1, 2, 3, 4, 5, 8, 13]


@pytest.mark.parametrize("n", SCANNED)
@pytest.mark.parametrize("reverse", [False, True])
def test_associative_scan(n, reverse):
    scan = importlib.import_module("numbagrad._higher_order_ops.associative_scan").associative_scan
    r = np.random.default_rng(n)
    a, b = (ng.tensor(r.uniform(0.5, 1, (2, n, 3)), requires_grad=True) for _ in range(2))
    made = scan(lambda p, q: {"a": p["a"] * q["a"], "b": p["b"] * q["a"] + q["b"]}, {"a": a, "b": b}, 1, reverse=reverse)
    h, found = ng.zeros(2, 3, dtype=ng.float64), []
    for i in range(n)[::-1] if reverse else range(n):
        h = h * a[:, i] + b[:, i]
        found.append(h)
    plain = ng.stack(found[::-1] if reverse else found, 1)
    np.testing.assert_allclose(made["b"].detach().numpy(), plain.detach().numpy(), rtol=1e-12)
    inputs = (a, b) if n > 1 else (b,)
    for x, y in zip(*(ng.autograd.grad((t ** 2).sum(), inputs) for t in (made["b"], plain))):
        np.testing.assert_allclose(x.numpy(), y.numpy(), rtol=1e-10)


def test_while_loop():
    run = importlib.import_module("numbagrad._higher_order_ops.while_loop").while_loop
    assert [x.item() for x in run(lambda i, s: i < 4, lambda i, s: (i + 1, s + i), (ng.tensor(0), ng.tensor(0)))] == [4, 6]
    with pytest.raises(RuntimeError, match="Expect cond_fn and body_fn to be callable"):
        run(1, 2, (ng.tensor(0),))


def test_numbers_divided_by_numbers():
    for args, mode in (((7, 2), "trunc"), ((-7, 2), "floor"), ((7.0, 2), "floor")):
        ours, theirs = (lib.div(*args, rounding_mode=mode) for lib in (ng, torch))
        assert ours.item() == theirs.item() and str(ours.dtype) == str(theirs.dtype) and ours.shape == theirs.shape


def test_new_tensors_take_a_layout():
    for lib in (ng, torch):
        t = lib.ones(2)
        for made in (t.new_empty(3, layout=lib.strided, pin_memory=False), t.new_zeros(3, layout=lib.strided),
                     t.new_ones(3, layout=lib.strided), t.new_full((3,), 2, layout=lib.strided)):
            assert made.shape == (3,)


def test_placements_compare_and_print_as_pytorchs():
    ours, theirs = [importlib.import_module(f"{lib}.distributed.tensor") for lib in ("numbagrad", "torch")]

    def said(m):
        found = [m.Shard(0), m.Shard(1), m.Replicate(), m.Partial(), m.Partial("avg")]
        again = [m.Shard(0), m.Shard(1), m.Replicate(), m.Partial(), m.Partial("avg")]
        return [[a == b for b in again] for a in found], len({*found, *again}), [
            (repr(p), p.is_shard(), p.is_shard(1), p.is_replicate(), p.is_partial(), p.is_partial("avg")) for p in found]
    assert said(ours) == said(theirs)
