"""``Tensor.shape`` and ``Size``, made by native code: ``core.sizes``."""

import copy
import gc
import pickle
import sys

import pytest

import numbagrad as ng
from numbagrad.core import sizes
from numbagrad.core.metadata import Metadata
from numbagrad.kernel import native


@pytest.fixture(autouse=True)
def started():
    native.nb()


@pytest.mark.skipif(sys.implementation.name != "cpython" or sys.version_info >= (3, 14), reason="needs known objects")
def test_the_native_functions_are_taken():
    assert type(Metadata.__dict__["shape"]).__name__ == "getset_descriptor"
    assert type(ng.Size.__dict__["__getitem__"]).__name__ == "wrapper_descriptor"


def test_items_are_numbers_and_slices_are_sizes():
    size = ng.zeros(2, 3, 4).shape
    assert type(size) is ng.Size and size == (2, 3, 4)
    assert [size[0], size[-1], size[True], size[ng.tensor(2)]] == [2, 4, 3, 4]
    for part in (size[:], size[1:], size[::-2], size[5:], ng.Size()[:]):
        assert type(part) is ng.Size
    assert repr(size[1:]) == "torch.Size([3, 4])" and size[::-2] == (4, 2)
    for wrong, error, text in ((3, IndexError, "index out of range"), (-4, IndexError, "index out of range"),
                               (1.0, TypeError, "indices must be integers or slices"), (1 << 70, IndexError, "cannot fit")):
        with pytest.raises(error, match=text):
            size[wrong]
    assert pickle.loads(pickle.dumps(size)) == copy.deepcopy(size) == size


def test_shape_cannot_be_set_and_is_that_of_subclasses():
    class Own(ng.Tensor):
        pass
    assert ng.zeros(2, 3).as_subclass(Own).shape == ng.nn.Parameter(ng.zeros(2, 3)).shape == ng.Size([2, 3])
    with pytest.raises(AttributeError):
        ng.zeros(2).shape = (1,)
    with pytest.raises(TypeError):
        Metadata.__dict__["shape"].__get__(3)
    with pytest.raises(AttributeError, match="_shape"):
        assert object.__new__(ng.Tensor).shape
    assert Metadata.__dict__["shape"].__doc__.startswith("The sizes")


def test_references_are_counted():
    t, kept = ng.zeros(300, 400), []
    before = sys.getrefcount(t._shape[0]), sys.getrefcount(ng.Size), len(gc.get_objects())
    for _ in range(1000):
        kept = [t.shape, t.shape[1:], t.shape[0]]
    kept.clear()
    after = sys.getrefcount(t._shape[0]), sys.getrefcount(ng.Size), len(gc.get_objects())
    assert after[:2] == before[:2] and after[2] < before[2] + 100


def test_sizes_in_a_compiled_step():
    def step(x):
        rows, (columns,) = x.shape[0], x.shape[1:]
        return x.reshape(columns, rows) * len(x.shape[:1]) + x.size()[0]
    compiled = ng.compile(step)
    for shape in ((2, 3), (2, 3), (4, 5), (2, 3)):
        x = ng.rand(*shape)
        assert compiled(x).tolist() == step(x).tolist()


def test_other_interpreters_keep_the_functions_in_python(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 99))
    shape = Metadata.__dict__["shape"]
    sizes.start(None)
    assert Metadata.__dict__["shape"] is shape


def test_what_tuples_and_sizes_make_together():
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")

    def said(call, cls):
        try:
            made = call(cls)
        except TypeError as e:
            return str(e).replace("torch.Size", "Size")
        return type(made).__name__, tuple(made)
    for call in (lambda s: (2,) + s([1]), lambda s: s([1]) + (2,), lambda s: () + s([]), lambda s: sum([s([1]), s([2])], ()),
                 lambda s: [2] + s([1]), lambda s: 3 + s([1]), lambda s: s([1]) + s([2]), lambda s: s([1]) + [2],
                 lambda s: (2.5,) + s([1]), lambda s: 2 * s([1])):
        assert said(call, ng.Size) == said(call, torch.Size)
