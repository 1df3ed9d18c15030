"""``asarray`` and memory of files, against PyTorch: what is shared, what is copied, what is refused."""

import array
import warnings

import numpy as np
import pytest

import numbagrad as ng
from numbagrad.base import user_code

torch = pytest.importorskip("torch")


class Maker:
    """An object with DLPack's methods alone."""

    def __init__(self, t):
        self.t = t

    def __dlpack__(self, **kwargs):
        return self.t.__dlpack__(**kwargs)

    def __dlpack_device__(self):
        return self.t.__dlpack_device__()


OBJECTS = {
    "tensor": lambda lib: lib.arange(3.0), "view": lambda lib: lib.arange(6.0)[::2], "array": lambda lib: np.arange(3.0),
    "0-d array": lambda lib: np.array(3.0), "NumPy number": lambda lib: np.float64(3), "number": lambda lib: 3.0,
    "list": lambda lib: [1, 2], "nested": lambda lib: [[1.5], [2]], "tensors": lambda lib: [lib.tensor(1), lib.tensor(2.0)],
    "bytearray": lambda lib: bytearray(b"\0\0\x80\x3f\0\0\0\0"), "odd bytearray": lambda lib: bytearray(7),
    "empty bytearray": lambda lib: bytearray(0), "memoryview": lambda lib: memoryview(bytearray(8)),
    "array.array": lambda lib: array.array("f", [1, 2]), "capsule": lambda lib: lib.arange(3.0).__dlpack__(),
    "DLPack": lambda lib: Maker(lib.arange(3.0)), "storage": lambda lib: lib.ones(4).untyped_storage(),
    "turned array": lambda lib: np.arange(3)[::-1], "texts": lambda lib: np.array(["a"]), "None": lambda lib: None,
    "text": lambda lib: "ab", "dict": lambda lib: {}, "typed storage": lambda lib: lib.FloatStorage([1, 2])}
OPTIONS = [{}, {"copy": True}, {"copy": False}, {"dtype": "float32"}, {"dtype": "float64"}, {"dtype": "float64", "copy": False},
           {"device": "meta", "copy": False}, {"requires_grad": True}, {"requires_grad": False}, {"copy": 1}, {"dtype": 3}]


def address(obj):
    if hasattr(obj, "t"):
        obj = obj.t
    return obj.ctypes.data if isinstance(obj, np.ndarray) else obj.data_ptr() if hasattr(obj, "data_ptr") else None


def outcome(lib, name, options):
    obj = OBJECTS[name](lib)
    given = {k: getattr(lib, v) if k == "dtype" and isinstance(v, str) else v for k, v in options.items()}
    try:
        t = lib.asarray(obj, **given)
    except Exception as e:
        return type(e).__name__, str(e).split(". The only supported types")[0]
    return (str(t.dtype), tuple(t.shape), t.stride(), t.requires_grad, t.is_leaf, t.tolist(), t.data_ptr() == address(obj),
            str(t.device))


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("name", OBJECTS)
def test_objects(name, options):
    assert outcome(ng, name, options) == outcome(torch, name, options)


@pytest.mark.parametrize("options", [{"requires_grad": False}, {"requires_grad": True}, {"copy": True, "requires_grad": False},
                                     {"copy": True, "requires_grad": True}, {"dtype": "float64", "requires_grad": False}])
@pytest.mark.parametrize("leaf", [True, False])
def test_gradients(leaf, options):
    seen = []
    for lib in (ng, torch):
        x = lib.ones(3, requires_grad=True)
        x = x if leaf else x * 2
        given = {k: getattr(lib, v) if k == "dtype" else v for k, v in options.items()}
        t = lib.asarray(x, **given)
        seen.append((t is x, t.requires_grad, t.is_leaf, x.requires_grad, t.data_ptr() == x.data_ptr()))
    assert seen[0] == seen[1]


def test_what_requires_grad_warns_once(monkeypatch):
    monkeypatch.setattr(user_code, "_said", set())
    x = ng.ones(2, requires_grad=True)
    with pytest.warns(UserWarning, match="unspecified requires_grad now defaults to obj.requires_grad"):
        assert ng.asarray(x) is x
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ng.asarray(x) is x


FILES = {
    "bytes": lambda lib, p: lib.UntypedStorage.from_file(p, False, 8).tolist(),
    "names": lambda lib, p: lib.UntypedStorage.from_file(filename=p, shared=False, nbytes=2).tolist(),
    "none": lambda lib, p: lib.UntypedStorage.from_file(p).tolist(),
    "too many": lambda lib, p: lib.UntypedStorage.from_file(p, False, 16),
    "absent": lambda lib, p: lib.UntypedStorage.from_file(p + "x", False, 4),
    "absent shared": lambda lib, p: lib.UntypedStorage.from_file(p + "x", True, 4).tolist(),
    "grown": lambda lib, p: lib.UntypedStorage.from_file(p, True, 12).tolist(),
    "written": lambda lib, p: lib.UntypedStorage.from_file(p, False, 8).fill_(9).tolist(),
    "written shared": lambda lib, p: lib.UntypedStorage.from_file(p, True, 8).fill_(9).tolist(),
    "typed": lambda lib, p: lib.IntStorage.from_file(p, False, 2).tolist(),
    "tensor": lambda lib, p: lib.from_file(p, size=2, dtype=lib.int32).add_(1).tolist(),
    "shared tensor": lambda lib, p: lib.from_file(p, True, 2, dtype=lib.int32).add_(1).tolist(),
    "empty tensor": lambda lib, p: lib.from_file(p).tolist(),
    "bfloat16": lambda lib, p: lib.from_file(p, size=4, dtype=lib.bfloat16).tolist(),
    "too large a tensor": lambda lib, p: lib.from_file(p, size=100),
    "gradient": lambda lib, p: lib.from_file(p, size=2, requires_grad=True).requires_grad}


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
@pytest.mark.parametrize("name", FILES)
def test_files(name, tmp_path, monkeypatch):
    seen = []
    for lib in (ng, torch):
        folder = tmp_path / lib.__name__
        folder.mkdir()
        monkeypatch.chdir(folder)
        (folder / "f").write_bytes(bytes(range(8)))
        try:
            found = FILES[name](lib, "f")
        except Exception as e:
            found = type(e).__name__, str(e)
        seen.append((found, {p.name: p.read_bytes() for p in folder.iterdir()}))
    assert seen[0] == seen[1]
