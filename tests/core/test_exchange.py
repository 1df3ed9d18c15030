"""Memory shared with other libraries: DLPack both ways, buffers, read-only arrays, against PyTorch."""

import ctypes
import gc
import subprocess
import sys

import numpy as np
import pytest

import numbagrad as ng
from numbagrad.base import user_code
from numbagrad.utils import dlpack

torch = pytest.importorskip("torch")
DTYPES = "bool uint8 int8 int16 int32 int64 float16 bfloat16 float32 float64 complex64 complex128".split()
VIEWS = {"rows": lambda x: x, "turned": lambda x: x.t(), "part": lambda x: x[1:, ::2], "number": lambda x: x[0, 0],
         "empty": lambda x: x[:0], "expanded": lambda x: x[:1].expand(3, 6)}


def sample(lib, dtype):
    return lib.arange(24).reshape(4, 6).to(getattr(lib, dtype))


def same(ours, theirs):
    assert str(ours.dtype) == str(theirs.dtype) and tuple(ours.shape) == tuple(theirs.shape)
    assert ours.stride() == theirs.stride() or not ours.numel()
    assert ours.tolist() == theirs.tolist()


def failure(call):
    with pytest.raises(Exception) as caught:
        call()
    return caught.value


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_tensors_cross_on_the_same_memory(dtype, view):
    x, y = VIEWS[view](sample(ng, dtype)), VIEWS[view](sample(torch, dtype))
    there, here = torch.from_dlpack(x), ng.from_dlpack(y)
    same(x, there)
    same(here, y)
    if x.numel():
        assert there.data_ptr() == x.data_ptr() and here.data_ptr() == y.data_ptr()


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d != "bfloat16"])
def test_numpy_reads_and_writes(dtype):
    x = sample(ng, dtype)
    a = np.from_dlpack(x)
    assert a.dtype == x.numpy().dtype and a.tolist() == x.tolist()
    b = np.ones((2, 3), a.dtype)
    t = ng.from_dlpack(b)
    t[0, 0] = 0
    assert b[0, 0] == 0 and t.numpy().ctypes.data == b.ctypes.data


def test_capsules_are_read_once_and_know_their_version():
    x = ng.arange(3.0)
    for arange in (x, torch.arange(3.0)):
        assert '"dltensor"' in repr(arange.__dlpack__()) and '"dltensor"' in repr(arange.__dlpack__(max_version=(0, 8)))
        assert '"dltensor_versioned"' in repr(arange.__dlpack__(max_version=(1, 0)))
    capsule = dlpack.to_dlpack(x.clone().requires_grad_())
    assert ng.from_dlpack(capsule).tolist() == [0, 1, 2]
    twice = failure(lambda: ng.from_dlpack(capsule))
    other = torch.utils.dlpack.to_dlpack(torch.ones(2))
    assert torch.from_dlpack(other) is not None
    expected = failure(lambda: torch.from_dlpack(other))
    assert type(twice) is type(expected) and str(twice) == str(expected)
    assert ng.from_dlpack(torch.utils.dlpack.to_dlpack(torch.ones(2))).tolist() == [1, 1]
    assert torch.from_dlpack(ng.to_dlpack(x)).tolist() == [0, 1, 2]


def test_memory_lives_as_long_as_a_reader():
    there = torch.from_dlpack(ng.full((1000,), 7.0, dtype=ng.bfloat16))
    here = ng.from_dlpack(torch.full((1000,), 7.0))
    gc.collect()
    other = [ng.zeros(1000, dtype=ng.bfloat16) for _ in range(8)] + [torch.zeros(1000) for _ in range(8)]
    assert len(other) == 16 and there.eq(7).all() and bool((here == 7).all())


def test_memory_is_given_back_after_the_last_reader():
    class Owner:
        pass
    owner = Owner()
    count = sys.getrefcount(owner)
    memory = (ctypes.c_float * 3)()
    memory.owner = owner
    t = ng.from_dlpack(np.frombuffer(memory, np.float32))
    del memory
    gc.collect()
    assert sys.getrefcount(owner) == count + 1
    del t
    gc.collect()
    assert sys.getrefcount(owner) == count


@pytest.mark.parametrize("copy", [None, True, False])
@pytest.mark.parametrize("device", [None, "cpu"])
def test_copies(copy, device):
    for lib in (ng, torch):
        for source in (lib.ones(3), np.ones(3, np.float32)):
            t = lib.from_dlpack(source, device=device, copy=copy)
            address = source.ctypes.data if isinstance(source, np.ndarray) else source.data_ptr()
            assert (t.data_ptr() == address) == (not copy)


class Old:
    """A maker of capsules that knows no arguments."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self):
        return self.array.__dlpack__()

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


@pytest.mark.parametrize("lib", [ng, torch])
def test_older_libraries(lib):
    a = np.arange(3.0)
    shared = lib.from_dlpack(Old(a), device="cpu")
    shared[0] = 5
    assert a[0] == 5
    lib.from_dlpack(Old(a), copy=True)[0] = 9
    assert a[0] == 5


REFUSED = {
    "grad": lambda lib: lib.from_dlpack(lib.ones(2, requires_grad=True)),
    "sparse": lambda lib: lib.ones(2).to_sparse().__dlpack__(),
    "stream": lambda lib: lib.ones(2).__dlpack__(stream=3),
    "text as stream": lambda lib: lib.ones(2).__dlpack__(stream="a"),
    "meta": lambda lib: lib.ones(2, device="meta").__dlpack__(),
    "meta's device": lambda lib: lib.ones(2, device="meta").__dlpack_device__(),
    "to meta": lambda lib: lib.from_dlpack(lib.ones(2), device="meta"),
    "number": lambda lib: lib.from_dlpack(3),
    "device number": lambda lib: lib.from_dlpack(lib.ones(2), device=0),
    "capsule with copy": lambda lib: lib.from_dlpack(lib.ones(2).__dlpack__(), copy=True),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name):
    ours, theirs = failure(lambda: REFUSED[name](ng)), failure(lambda: REFUSED[name](torch))
    assert type(ours) is type(theirs) and str(ours) == str(theirs)


def test_negative_strides_are_refused():
    with pytest.raises(ValueError, match="negative"):
        ng.from_dlpack(np.arange(4)[::-1])


def test_devices():
    x = ng.ones(2)
    assert x.__dlpack_device__() == torch.ones(2).__dlpack_device__()
    assert repr(x.__dlpack_device__()[0]) == repr(torch.ones(2).__dlpack_device__()[0])
    assert list(dlpack.DLDeviceType.__members__.items()) == list(torch.utils.dlpack.DLDeviceType.__members__.items())


BUFFERS = [{"dtype": "int32"}, {"dtype": "int32", "count": 3}, {"dtype": "int32", "offset": 8}, {"dtype": "int32", "offset": 9},
           {"dtype": "int32", "offset": 6}, {"dtype": "int32", "offset": -1}, {"dtype": "int32", "count": 0},
           {"dtype": "int32", "count": -2}, {"dtype": "int32", "count": 1, "offset": 1}, {},
           {"dtype": "int32", "requires_grad": True}, {"dtype": "float32", "requires_grad": True},
           {"dtype": "int64", "count": 2}, {"dtype": "int8", "count": "a"}, {"dtype": "int8", "count": 2**62},
           *({"dtype": d} for d in DTYPES if d != "complex128")]


@pytest.mark.parametrize("options", BUFFERS, ids=str)
def test_buffers(options):
    def call(lib):
        given = {k: getattr(lib, v) if k == "dtype" else v for k, v in options.items()}
        return lib.frombuffer(bytearray(b"\0\0\1\0\0\0\0\1"), **given)
    try:
        expected = call(torch)
    except Exception as e:
        ours = failure(lambda: call(ng))
        assert type(ours) is type(e) and str(ours) == str(e)
    else:
        ours = call(ng)
        same(ours.detach(), expected.detach())
        assert ours.requires_grad == expected.requires_grad


def test_buffers_share_memory_and_keep_it():
    for lib in (ng, torch):
        data = bytearray(8)
        t = lib.frombuffer(data, dtype=lib.int32, offset=4)
        t.fill_(-1)
        assert data == b"\0\0\0\0\xff\xff\xff\xff"
        if lib is ng:  # (PyTorch lets go of the buffer, and its tensor then lies in memory that was given back)
            with pytest.raises(BufferError):
                data.append(1)


@pytest.mark.parametrize("value", [3, "ab", np.arange(4)[::2], bytearray(0)], ids=str)
def test_what_has_no_buffer(value):
    ours, theirs = (failure(lambda lib=lib: lib.frombuffer(value, dtype=lib.int64)) for lib in (ng, torch))
    assert type(ours) is type(theirs) and str(ours) == str(theirs)


def test_read_only_buffers_warn_once(monkeypatch):
    monkeypatch.setattr(user_code, "_said", set())
    with pytest.warns(UserWarning, match="The given buffer is not writable, and PyTorch does not support non-writable tensors"):
        assert ng.frombuffer(b"ab", dtype=ng.int8).tolist() == [97, 98]
    import warnings
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ng.frombuffer(b"ab", dtype=ng.int8).tolist() == [97, 98]


WRITES = {"fill_": lambda t: t.fill_(2), "zero_": lambda t: t.add_(1).zero_(), "random_": lambda t: t.random_(1, 2),
          "setitem": lambda t: t.__setitem__(0, 3), "copy_": lambda t: t.copy_(t + 1), "add_": lambda t: t.add_(1)}
MADE = {"from_numpy": lambda lib, a: lib.from_numpy(a), "as_tensor": lambda lib, a: lib.as_tensor(a),
        "from_dlpack": lambda lib, a: lib.from_dlpack(a)}


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize("made", MADE)
@pytest.mark.parametrize("write", WRITES)
def test_tensors_on_read_only_arrays_are_written_to(write, made, step):
    arrays = []
    for lib in (ng, torch):
        a = np.zeros(4)
        a.flags.writeable = False
        t = MADE[made](lib, a[::step])
        WRITES[write](t)
        assert t.numpy().flags.writeable
        arrays.append(a.tolist())
    assert arrays[0] == arrays[1]


def test_import_brings_none_of_it():
    code = "import sys, numbagrad; print([n for n in sys.modules if 'dlpack' in n])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_views_by_name():
    for lib in (ng, torch):
        x = lib.ones(2)
        assert x.view(dtype=lib.int32).tolist() == [0x3F800000] * 2 and tuple(x.view(size=(1, 2)).shape) == (1, 2)
        for wrong in ({"dtype": 3}, {"dtype": lib.int32, "size": (2,)}, {"x": 3}):
            with pytest.raises(TypeError):
                x.view(**wrong)
        with pytest.raises(TypeError):
            x.view(2, dtype=lib.int32)
