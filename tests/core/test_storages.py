"""Storages, ``resize_`` and ``set_``, legacy constructors: against PyTorch, line by line."""

from __future__ import annotations

import contextlib
import copy
import pickle
import sys
import warnings
import weakref

import numpy as np
import pytest

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")


def said(library, call):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = call(library)
        except Exception as e:
            return f"{type(e).__name__}: {e}".replace("numbagrad", "torch")
    return repr(found).replace("numbagrad.", "torch.")


CALLS = {
    "smaller": lambda t: t.arange(6.0).resize_(2, 2), "back": lambda t: t.arange(6.0).resize_(2).resize_(3, 2),
    "size": lambda t: t.arange(6.0).resize_(t.Size([2])).untyped_storage().nbytes(),
    "graph": lambda t: t.ones(2, requires_grad=True).resize_(3), "larger": lambda t: t.arange(6.0).resize_(8)[:6],
    "negative": lambda t: t.ones(2).resize_(-1), "offset": lambda t: t.arange(6.0)[2:].resize_(5)[:4],
    "turned": lambda t: t.arange(6).reshape(2, 3).t().resize_(3, 2),
    "turned back": lambda t: t.arange(6).reshape(2, 3).t().resize_(2, 3),
    "as": lambda t: t.zeros(2, 2).resize_as_(t.ones(3)).shape, "set": lambda t: t.empty(0).set_(t.arange(6.0)),
    "set is": lambda t: (lambda a: t.empty(0).set_(a).is_set_to(a))(t.ones(2)),
    "set storage": lambda t: t.empty(0).set_(t.arange(6.0).untyped_storage(), 1, (2, 2), (2, 1)),
    "set strides": lambda t: t.empty(0).set_(t.arange(6.0), 1, (2, 2), (1, 2)), "set to nothing": lambda t: t.ones(2).set_(),
    "set typed": lambda t: t.empty(0).set_(t.arange(6.0).storage(), 2, (2,)),
    "set all": lambda t: t.empty(0).set_(t.ones(3).storage()),
    "set grows": lambda t: t.empty(0).set_(t.ones(2).untyped_storage(), 0, (10,)).shape,
    "set other dtype": lambda t: t.empty(0).set_(t.ones(3).double()),
    "set before": lambda t: t.empty(0).set_(t.ones(3).storage(), -1, (2,)),
    "set other typed": lambda t: t.empty(0).set_(t.ones(3).double().storage()),
    "set a leaf": lambda t: t.empty(0, requires_grad=True).set_(t.ones(1)), "typed": lambda t: t.arange(3.0).storage(),
    "typed list": lambda t: t.arange(3.0).storage().tolist(), "typed len": lambda t: len(t.arange(3.0).storage()),
    "typed item": lambda t: t.arange(3.0).storage()[1], "typed dtype": lambda t: t.ones(3).storage().dtype,
    "typed bytes": lambda t: t.ones(3).storage().nbytes(), "typed type": lambda t: t.ones(3).storage().type(),
    "typed device": lambda t: t.ones(3).storage().device, "typed shared": lambda t: t.ones(3).storage().is_shared(),
    "typed slice": lambda t: t.ones(3).storage()[0:2], "typed double": lambda t: t.ones(3).storage().double(),
    "typed int": lambda t: t.ones(3).storage().int().tolist(),
    "typed name": lambda t: t.ones(3).storage().pickle_storage_type(), "typed fill": lambda t: t.ones(3).storage().fill_(2),
    "typed clone": lambda t: t.ones(3).storage().clone().tolist(), "typed of size": lambda t: t.FloatStorage(3).fill_(2),
    "typed of list": lambda t: t.FloatStorage([1, 2]), "typed class": lambda t: t.FloatStorage,
    "typed copy": lambda t: t.FloatStorage([1, 2]).copy_(t.FloatStorage([3, 4])).tolist(),
    "untyped": lambda t: t.arange(3.0).untyped_storage(), "untyped list": lambda t: t.arange(3.0).untyped_storage().tolist(),
    "untyped item": lambda t: t.arange(3.0).untyped_storage()[6],
    "untyped slice": lambda t: t.arange(3.0).untyped_storage()[4:8],
    "untyped size": lambda t: t.ones(3).untyped_storage().size(), "untyped type": lambda t: t.ones(3).untyped_storage().type(),
    "untyped of size": lambda t: t.UntypedStorage(3).nbytes(), "untyped of list": lambda t: t.UntypedStorage([1, 2]),
    "untyped grows": lambda t: t.ones(3).untyped_storage().resize_(20).nbytes(),
    "untyped fill": lambda t: t.ones(1).untyped_storage().fill_(3),
    "untyped clone": lambda t: t.ones(1).untyped_storage().clone(),
    "untyped element": lambda t: t.ones(1).untyped_storage().element_size(),
    "untyped cuda": lambda t: t.ones(1).untyped_storage().is_cuda,
    "untyped file": lambda t: t.ones(1).untyped_storage().filename,
    "untyped pinned": lambda t: t.ones(1).untyped_storage().is_pinned(),
    "meta untyped": lambda t: t.zeros(2, device="meta").untyped_storage(),
    "meta typed": lambda t: t.zeros(2, device="meta").storage(),
    "meta address": lambda t: [t.zeros(3, device="meta")[i:].data_ptr() for i in range(3)],
    "meta storage's address": lambda t: t.zeros(3, device="meta").untyped_storage().data_ptr(),
    "meta item": lambda t: t.zeros(2, device="meta").untyped_storage()[0],
    "meta typed item": lambda t: t.zeros(2, device="meta").storage()[0],
    "meta list": lambda t: t.zeros(2, device="meta").storage().tolist(),
    "meta grows": lambda t: t.zeros(2, device="meta").untyped_storage().resize_(20).nbytes(),
    "meta clone": lambda t: t.zeros(2, device="meta").untyped_storage().clone().device,
    "meta fill": lambda t: t.zeros(2, device="meta").untyped_storage().fill_(3).size(),
    "meta cuda": lambda t: t.zeros(2, device="meta").untyped_storage().is_cuda,
    "meta type": lambda t: t.zeros(2, device="meta").untyped_storage().type(),
    "meta to cpu": lambda t: t.zeros(2, device="meta").untyped_storage().cpu(),
    "no address": lambda t: [t.ones(3)[3:].data_ptr(), t.ones(0).data_ptr(), t.ones(0).untyped_storage().data_ptr()],
    "untyped copied": lambda t: copy.deepcopy(t.ones(1).untyped_storage()),
    "is": lambda t: [t.is_storage(x) for x in (t.ones(1), t.ones(1).storage(), t.ones(1).untyped_storage())],
    "tensor of": lambda t: t.FloatTensor(t.arange(3.0).storage()), "tensor by": lambda t: t.tensor(t.arange(3.0).storage()),
    "storage_type": lambda t: t.ones(1).storage_type(), "share": lambda t: t.ones(1).share_memory_().is_shared(),
    "is kind": lambda t: [isinstance(t.ones(1).storage(), c) for c in (t.FloatStorage, t.LongStorage, t.storage.TypedStorage)],
    "dim_order": lambda t: t.ones(2, 3, 4).permute(2, 0, 1).dim_order(),
    "sum_to_size": lambda t: t.ones(2, 3).sum_to_size(1, 3), "sum_to": lambda t: t.ones(2, 3).sum_to_size(2),
    "dense": lambda t: t.ones(2).to_dense(), "coalesced": lambda t: t.ones(2).is_coalesced(),
    "strided": lambda t: t.ones(2).new_empty_strided((2, 2), (1, 2), dtype=t.int32).stride(),
    "empty_strided": lambda t: t.empty_strided((2, 3), (1, 2)).stride(),
    "empty_permuted": lambda t: t.empty_permuted((2, 3, 4), (0, 2, 1)).stride(),
    "permuted twice": lambda t: t.empty_permuted((2, 3), (0, 0)), "strided back": lambda t: t.empty_strided((2,), (-1,)),
    "layout": lambda t: [t.ones(1).layout, t.strided, t.ones(1).layout == t.strided, isinstance(t.strided, t.layout)],
    "legacy size": lambda t: t.FloatTensor(2, 3).shape, "legacy Size": lambda t: t.FloatTensor(t.Size([2, 3])).shape,
    "legacy list": lambda t: t.FloatTensor((2, 3)), "legacy ints": lambda t: t.LongTensor([1.5, 2]),
    "legacy none": lambda t: t.FloatTensor(), "legacy tensor": lambda t: t.FloatTensor(t.ones(2)),
    "legacy array": lambda t: t.LongTensor(np.array([1, 2])), "legacy number": lambda t: t.FloatTensor(3.5),
    "legacy device": lambda t: t.FloatTensor(2, device="cpu").device,
    "legacy is": lambda t: [isinstance(t.ones(2), c) for c in (t.FloatTensor, t.LongTensor, t.cuda.FloatTensor)],
    "legacy dtype": lambda t: t.FloatTensor.dtype, "legacy type": lambda t: t.ones(2).type(t.LongTensor),
    "legacy class": lambda t: t.FloatTensor, "legacy ragged": lambda t: t.LongTensor([[1, 2], [3]]),
    "legacy text": lambda t: t.FloatTensor("ab"), "legacy range": lambda t: t.FloatTensor(range(3)),
    "legacy half": lambda t: t.HalfTensor([1, 2]), "legacy bool": lambda t: t.BoolTensor([1, 0]),
    "legacy byte": lambda t: t.ByteTensor([1, 2]), "cuda class": lambda t: t.cuda.FloatTensor,
    "default": lambda t: t.set_default_tensor_type("foo.Bar"),
    "default long": lambda t: t.set_default_tensor_type(t.LongTensor), "default int": lambda t: t.set_default_tensor_type(3)}


@pytest.mark.parametrize("name", CALLS)
def test_as_in_pytorch(name):
    assert said(ng, CALLS[name]) == said(torch, CALLS[name])


def test_cuda_types_without_a_device():
    if ng.cuda.is_available():
        pytest.skip("there is one")
    for call in (lambda t: t.cuda.FloatTensor(2), lambda t: t.set_default_tensor_type(t.cuda.FloatTensor),
                 lambda t: t.ones(2).pin_memory()):
        assert said(ng, call) == said(torch, call)


@pytest.mark.parametrize("t", [ng, torch], ids=["numbagrad", "torch"])
def test_default_types(t):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.ExitStack() as stack:
            stack.callback(t.set_default_dtype, t.float32)
            t.set_default_tensor_type("torch.DoubleTensor")
            assert t.get_default_dtype() is t.float64 and t.ones(1).dtype is t.float64
            t.set_default_tensor_type(t.FloatTensor)
            assert t.ones(1).dtype is t.float32


KINDS = ("BoolTensor ByteTensor CharTensor ShortTensor IntTensor LongTensor HalfTensor FloatTensor DoubleTensor "
         "BFloat16Tensor").split()


@pytest.mark.parametrize("kind", KINDS)
def test_every_type(kind):
    for call in (lambda t: getattr(t, kind)([1, 0, 3]), lambda t: getattr(t, kind)(2, 3).shape, lambda t: getattr(t, kind),
                 lambda t: getattr(t.cuda, kind), lambda t: t.ones(2).type(getattr(t, kind)).type(),
                 lambda t: isinstance(t.ones(1).type(getattr(t, kind)), getattr(t, kind)),
                 lambda t: getattr(t, kind.replace("Tensor", "Storage"))([1, 0]).tolist()):
        assert said(ng, call) == said(torch, call)


def test_types_for_annotations():
    assert set(ng.types.__all__) == set(torch.types.__all__) and ng.types.Number is not None
    assert isinstance(1.5, ng.types.Number.__args__) and isinstance(ng.device("cpu"), ng.types.Device.__args__)
    assert isinstance(ng.ones(1).untyped_storage(), ng.types.Storage.__args__) and ng.types.FileLike


def test_pools_at_top_level():
    for t in (ng, torch):
        x = t.arange(12.0).reshape(1, 2, 6)
        assert t.max_pool1d(x, 2).tolist() == t.nn.functional.max_pool1d(x, 2).tolist()
        assert t.avg_pool1d(x, 3).tolist() == [[[1, 4], [7, 10]]] and t.adaptive_avg_pool1d(x, 1).tolist() == [[[2.5], [8.5]]]
        assert t.max_pool2d(x, 2).shape == (1, 1, 3) and t.max_pool3d(x[None], 1).shape == (1, 1, 2, 6)
    assert ng.cuda.is_bf16_supported() is ng.cuda.is_available()


def test_storages_are_memory():
    x = ng.arange(4.0)
    bytes_ = x.untyped_storage()
    bytes_[0:4] = np.frombuffer(np.float32(9).tobytes(), np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        typed = x[1:].storage()
        typed[1] = 7
        assert x.tolist() == [9, 7, 2, 3] and typed.untyped() == bytes_ and typed.data_ptr() == x.data_ptr()
        again = pickle.loads(pickle.dumps(typed))
        assert again.tolist() == x.tolist() and again.dtype is x.dtype
    view = x[2:]
    with pytest.raises(RuntimeError, match="without memory"):
        view.untyped_storage().resize_(8)
    bytes_.resize_(24)
    assert len(x.untyped_storage()) == 24 and x.tolist() == [9, 7, 2, 3] and view.tolist() == [2, 3]


def sizes(t):
    storages = [t.ones(10).untyped_storage(), t.ones(0).untyped_storage(), t.UntypedStorage(7), t.ones(3).double().storage()]
    return [sys.getsizeof(s) for s in [*storages, t.FloatStorage(0)]]


def test_objects_are_as_large_as_in_pytorch():
    """Programs that sum up the memory of inputs ask ``sys.getsizeof`` of storages."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found, wanted = sizes(ng), sizes(torch)
    assert found[0] - found[1] == 40 and found[3] - found[4] == 24
    if sys.version_info[:2] == (3, 11):  # what Python puts in front of an object is another in each version
        assert found == wanted
    bytes_ = ng.ones(1).untyped_storage()
    assert weakref.ref(bytes_)() is bytes_


def test_what_backward_saved_is_not_read_through_another_shape():
    w = ng.ones(4, requires_grad=True)
    x = ng.arange(4.0)
    y = (w * x).sum()
    x.resize_(2)
    with pytest.raises(RuntimeError):
        y.backward()
    x = ng.arange(4.0)
    y = (w * x).sum()
    x.set_(ng.ones(6))
    with pytest.raises(RuntimeError):
        y.backward()
    with pytest.raises(ng.compiler.CaptureError):
        ng.compile(lambda t: t.resize_(3) * 2)(ng.ones(2))
