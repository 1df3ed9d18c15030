"""`save` and `load`: exchange with PyTorch, what is kept, atomic writing, hostile and broken files."""

import collections
import io
import os
import pickle
import stat
import struct
import sys
import zipfile

import numpy as np
import pytest

import numbagrad as ng
from numbagrad.archive import write_archive
from numbagrad.serialization import (
    add_safe_globals,
    clear_safe_globals,
    get_safe_globals,
    load,
    safe_globals,
    save,
)
from numbagrad.tensor import Tensor, from_array, from_storage

NAMES = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64",
         "complex64", "complex128"]


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="PyTorch is the oracle here")


def through(obj, **kwargs):
    file = io.BytesIO()
    save(obj, file)
    file.seek(0)
    return load(file, **kwargs)


def bits(tensor):
    """Values of either library's tensor as raw bytes, dense and in row-major order, with dtype and sizes."""
    tensor = tensor.detach()
    name = str(tensor.dtype).removeprefix("torch.")
    if isinstance(tensor, Tensor):
        array = tensor.array()
    else:
        import torch

        array = (tensor.view(torch.uint16) if name == "bfloat16" else tensor).numpy()
    return name, tuple(tensor.size()), np.ascontiguousarray(array).tobytes()


def example(name, rng, count=24):
    """A storage of `count` elements of every kind of value."""
    if name == "bool":
        return rng.integers(0, 2, count).astype(bool)
    size = getattr(ng, name).itemsize
    if name in ("float16", "bfloat16"):
        return rng.integers(0, 65536, count).astype(np.uint16)
    return rng.integers(0, 256, count * size, np.uint8).view(name)


def views(buf, name):
    """Tensors of many layouts on one storage."""
    layouts = [(0, (2, 3, 4), (12, 4, 1)), (0, (4, 6), (1, 4)), (5, (), ()), (3, (4,), (2,)), (2, (3, 0), (1, 1)),
               (1, (5, 2), (0, 3)), (24, (0,), (1,)), (0, (1, 24), (7, 1))]
    return [from_storage(buf, name, *layout) for layout in layouts]


# --------------------------------------------------------------------------------------------- exchange with PyTorch


@pytest.mark.parametrize("name", NAMES)
def test_pytorch_reads_what_is_saved(torch, tmp_path, name):
    path = tmp_path / "a.pt"
    saved = views(example(name, np.random.default_rng(0)), name)
    save(saved, path)
    for mmap in (False, True):
        found = torch.load(path, weights_only=True, mmap=mmap)
        assert [bits(t) for t in found] == [bits(t) for t in saved]
        assert [t.stride() for t in found] == [t.stride() for t in saved]
        assert [t.storage_offset() for t in found if t.numel()] == [t.storage_offset() for t in saved if t.numel()]
        assert len({t.untyped_storage().data_ptr() for t in found}) == 1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mmap", [False, True])
def test_what_pytorch_saved_is_read(torch, tmp_path, name, mmap):
    path = tmp_path / "a.pt"
    base = torch.from_numpy(example(name, np.random.default_rng(1)))
    base = base.view(getattr(torch, name)).reshape(2, 3, 4)
    saved = [base, base.transpose(0, 2), base[1, 2, 3], base[:, 1:, ::2], base[:0], torch.empty(0, dtype=base.dtype)]
    torch.save(saved, path)
    found = load(path, mmap=mmap)
    assert [bits(t) for t in found] == [bits(t) for t in saved]
    assert [t.stride() for t in found] == [t.stride() for t in saved]
    assert len({id(t._buf) for t in found[:4]}) == 1
    assert all(t._buf.flags.writeable for t in found)


PLAIN = {
    "ints": [0, -1, 255, 65536, 2**31, -(2**63), 10**30],
    "floats": (0.5, -0.0, float("inf"), 1e300),
    "text": ["", "ascii", "Grüße\n\u4e16"],
    "none": None,
    "bools": (True, False),
    "bytes": [b"", b"\x00\xff"],
    "sets": {1, 2, "three"},
    "complex": 1 - 2j,
    "ordered": collections.OrderedDict([("z", 1), ("a", {"deep": [{}, (), []]})]),
    "counter": collections.Counter("abca"),
    3: {(1, "a"): "tuple key"},
}


def test_plain_data_both_ways(torch, tmp_path):
    path = tmp_path / "a.pt"
    save(PLAIN, path)
    for found in (load(path), torch.load(path, weights_only=True), load(path, weights_only=False)):
        assert found == PLAIN
        assert type(found["ordered"]) is collections.OrderedDict and list(found["ordered"]) == ["z", "a"]
    torch.save(PLAIN, path)
    assert load(path) == PLAIN


def test_sizes_dtypes_devices_both_ways(torch, tmp_path):
    path = tmp_path / "a.pt"
    save([ng.Size([2, 3]), ng.float32, ng.bfloat16, ng.float32, ng.device("cpu"), ng.device("cuda", 1)], path)
    found = torch.load(path, weights_only=True)
    assert found == [torch.Size([2, 3]), torch.float32, torch.bfloat16, torch.float32, torch.device("cpu"),
                     torch.device("cuda", 1)]
    assert type(found[0]) is torch.Size
    torch.save(found, path)
    found = load(path)
    assert found[:1] == [ng.Size([2, 3])] and type(found[0]) is ng.Size
    assert found[1] is ng.float32 and found[2] is ng.bfloat16
    assert found[4:] == [ng.device("cpu"), ng.device("cuda", 1)]


def test_parameters_and_gradients_both_ways(torch, tmp_path):
    path = tmp_path / "a.pt"
    leaf = from_array(np.ones(3, np.float32)).requires_grad_()
    weight = ng.nn.Parameter(from_array(np.arange(6, dtype=np.float32).reshape(2, 3)))
    frozen = ng.nn.Parameter(from_array(np.zeros(2)), requires_grad=False)
    state = {"leaf": leaf, "weight": weight, "again": weight, "frozen": frozen}
    save(state, path)
    theirs = torch.load(path, weights_only=True)
    torch.save(theirs, tmp_path / "b.pt")
    for found, parameter in ((theirs, torch.nn.Parameter), (load(path), ng.nn.Parameter),
                             (load(tmp_path / "b.pt"), ng.nn.Parameter),
                             (load(path, weights_only=False), ng.nn.Parameter)):
        assert [type(t) is parameter for t in found.values()] == [False, True, True, True]
        assert [t.requires_grad for t in found.values()] == [True, True, True, False]
        assert found["weight"] is found["again"]
        assert all(t.is_leaf for t in found.values())
        assert bits(found["weight"]) == bits(weight)


def test_state_dict_metadata_both_ways(torch, tmp_path):
    path = tmp_path / "a.pt"
    torch.save(torch.nn.BatchNorm1d(3).state_dict(), path)
    found = load(path)
    assert found._metadata == {"": {"version": 2}}
    assert list(found) == ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    save(found, path)
    assert torch.load(path, weights_only=True)._metadata == {"": {"version": 2}}


def test_optimizer_state_both_ways(torch, tmp_path):
    path = tmp_path / "a.pt"
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.Adam([weight])
    weight.sum().backward()
    optimizer.step()
    torch.save(optimizer.state_dict(), path)
    found = load(path)
    assert found["state"][0]["step"].item() == 1
    save(found, path)
    optimizer.load_state_dict(torch.load(path, weights_only=True))
    assert optimizer.state_dict()["state"][0]["exp_avg"].tolist() == pytest.approx([0.1, 0.1], rel=1e-6)


def test_conjugate_and_negative_views_of_pytorch(torch):
    values = torch.tensor([1 + 2j, 3 - 1j])
    for view, expected in ((values.conj(), [1 - 2j, 3 + 1j]), (values.conj().imag, [-2.0, 1.0])):
        file = io.BytesIO()
        torch.save(view, file)
        file.seek(0)
        assert load(file).tolist() == expected


def test_attributes_of_tensors_both_ways(torch, tmp_path):
    path = tmp_path / "a.pt"
    tensor, parameter = from_array(np.ones(2)), ng.nn.Parameter(from_array(np.ones(2)))
    tensor.note, parameter.note = "a", "b"
    save([tensor, parameter], path)
    assert [t.note for t in torch.load(path, weights_only=True)] == ["a", "b"]
    torch.save(torch.load(path, weights_only=True), path)
    assert [t.note for t in load(path)] == ["a", "b"]


# ---------------------------------------------------------------------------------------------- what is kept, without


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("weights_only", [True, False])
def test_round_trip(name, weights_only):
    saved = views(example(name, np.random.default_rng(2)), name)
    found = through(saved, weights_only=weights_only)
    assert [bits(t) for t in found] == [bits(t) for t in saved]
    assert [t.stride() for t in found] == [t.stride() for t in saved]
    found[0]._buf[5] = found[0]._buf[6]
    assert bits(found[2])[2] == found[0]._buf[6:7].tobytes(), "the storage is shared"


def test_strided_arrays_keep_their_layout():
    array = np.arange(24.0).reshape(4, 6)
    saved = [from_array(array[::2, 1::2]), from_array(array.T), from_array(np.broadcast_to(array[0], (3, 6)))]
    assert [bits(t) for t in through(saved)] == [bits(t) for t in saved]


def test_two_dtypes_on_one_storage_are_refused():
    buf = np.zeros(4, np.float32)
    pair = [from_storage(buf, "float32", 0, (4,), (1,)), from_storage(buf.view(np.int32), "int32", 0, (4,), (1,))]
    with pytest.raises(RuntimeError, match="view the same data as different types"):
        save(pair, io.BytesIO())


def test_shared_and_recursive_containers():
    inner = [from_array(np.ones(1))]
    outer = {"a": inner, "b": inner}
    outer["self"] = outer
    found = through(outer)
    assert found["a"] is found["b"] and found["self"] is found


def test_needs_no_pytorch_and_equal_objects_give_equal_files(monkeypatch, tmp_path):
    for name in [name for name in sys.modules if name.split(".")[0] == "torch"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "torch", None)
    state = {"a": from_array(np.arange(5.0)), "b": ng.float32, "c": ng.Size([1])}
    save(state, tmp_path / "a.pt")
    save(state, tmp_path / "b.pt")
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()
    assert load(tmp_path / "a.pt")["a"].tolist() == [0, 1, 2, 3, 4]


def test_records_and_alignment(tmp_path):
    save([from_array(np.ones(n, np.int8)) for n in range(1, 200, 13)], tmp_path / "a.pt")
    raw = (tmp_path / "a.pt").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.pt") as archive:
        assert archive.testzip() is None
        assert archive.read("archive/version") == b"3\n"
        assert archive.read("archive/byteorder") == sys.byteorder.encode()
        for info in archive.infolist():
            assert info.compress_type == zipfile.ZIP_STORED
            name, extra = struct.unpack_from("<HH", raw, info.header_offset + 26)
            assert (info.header_offset + 30 + name + extra) % 64 == 0


def test_other_byte_order():
    values = np.array([1.5, -2.0, 3e10])
    file = io.BytesIO()
    save(from_array(values), file)
    with zipfile.ZipFile(file) as archive:
        records = {name.removeprefix("archive/"): archive.read(name) for name in archive.namelist()}
    records["byteorder"] = b"big" if sys.byteorder == "little" else b"little"
    records["data/0"] = values.byteswap().tobytes()
    file = io.BytesIO()
    write_archive(file, records.items())
    file.seek(0)
    assert load(file).tolist() == values.tolist()


def test_file_objects_not_at_their_start(torch):
    file = io.BytesIO()
    file.write(b"header")
    save([from_array(np.arange(3))], file)
    for read in (load, torch.load):
        file.seek(6)
        assert read(file)[0].tolist() == [0, 1, 2]


def test_unbuffered_files_that_write_in_parts():
    class Dribble(io.BytesIO):
        def write(self, data):
            return super().write(bytes(data)[:7])

    file = Dribble()
    save(from_array(np.arange(30)), file)
    file.seek(0)
    assert load(file).tolist() == list(range(30))


def test_mapped_files_are_private(tmp_path):
    path = tmp_path / "a.pt"
    save(from_array(np.zeros(4)), path)
    before = path.read_bytes()
    found = load(path, mmap=True)
    found._buf[:] = 7
    assert path.read_bytes() == before
    with pytest.raises(ValueError, match="file path"):
        load(io.BytesIO(before), mmap=True)


# ------------------------------------------------------------------------------------------------------ map_location


def moved(location, monkeypatch=None):
    """A saved tensor whose storage is tagged with the given place."""
    file = io.BytesIO()
    save(from_array(np.arange(3)), file)
    with zipfile.ZipFile(file) as archive:
        records = {name.removeprefix("archive/"): archive.read(name) for name in archive.namelist()}
    tag = location.encode()
    records["data.pkl"] = records["data.pkl"].replace(
        b"X\x03\x00\x00\x00cpu", b"X" + struct.pack("<I", len(tag)) + tag)
    file = io.BytesIO()
    write_archive(file, records.items())
    file.seek(0)
    return file


@pytest.mark.parametrize("map_location", ["cpu", ng.device("cpu"), {"cuda:3": "cpu"}, lambda storage, place: storage,
                                          lambda storage, place: storage.cpu()])
def test_map_location_to_the_cpu(map_location):
    found = load(moved("cuda:3"), map_location=map_location)
    assert found.tolist() == [0, 1, 2] and str(found.device) == "cpu"


def test_map_location_sees_the_saved_place():
    seen = []
    load(moved("cuda:1"), map_location=lambda storage, place: seen.append((len(storage), place)) or storage)
    assert seen == [(3, "cuda:1")]


def test_missing_devices(monkeypatch):
    monkeypatch.setattr(ng.cuda, "is_available", lambda: False)
    for file, where in ((moved("cuda:0"), None), (moved("cpu"), "cuda"), (moved("cpu"), {"cpu": "cuda:0"})):
        with pytest.raises(RuntimeError, match="Attempting to deserialize object on a CUDA device"):
            load(file, map_location=where)
    with pytest.raises(RuntimeError, match="tagged with mps"):
        load(moved("mps"))


# ---------------------------------------------------------------------------------------------------- atomic writing


def unpicklable():
    return {"a": from_array(np.ones(3)), "b": lambda: None}


def test_a_failing_pickle_changes_nothing(tmp_path):
    path = tmp_path / "a.pt"
    with pytest.raises((pickle.PicklingError, AttributeError)):
        save(unpicklable(), path)
    assert os.listdir(tmp_path) == []
    save(1, path)
    with pytest.raises((pickle.PicklingError, AttributeError)):
        save(unpicklable(), path)
    assert load(path) == 1 and os.listdir(tmp_path) == ["a.pt"]
    file = io.BytesIO()
    with pytest.raises((pickle.PicklingError, AttributeError)):
        save(unpicklable(), file)
    assert file.getvalue() == b""


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failing_write_leaves_the_file_before(tmp_path, monkeypatch, call):
    path = tmp_path / "a.pt"
    save("before", path)

    def full(*args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(OSError, match="No space left"):
            save(from_array(np.ones(100)), path)
    assert load(path) == "before" and os.listdir(tmp_path) == ["a.pt"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs file size limits")
def test_a_full_disk_leaves_the_file_before(tmp_path):
    """A limit of the system on file sizes makes the write itself fail."""
    import resource
    import signal

    path = tmp_path / "a.pt"
    save("before", path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        with pytest.raises(OSError):
            save(from_array(np.ones(100_000)), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert load(path) == "before" and os.listdir(tmp_path) == ["a.pt"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX permissions and links")
def test_permissions_and_links_are_kept(tmp_path):
    path, link = tmp_path / "a.pt", tmp_path / "link.pt"
    save(1, path)
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
    path.chmod(0o640)
    link.symlink_to(path)
    save(2, link)
    assert link.is_symlink() and load(path) == 2
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_wrong_targets(tmp_path):
    with pytest.raises(RuntimeError, match="Parent directory .* does not exist"):
        save(1, tmp_path / "no" / "a.pt")
    with pytest.raises(IsADirectoryError):
        save(1, tmp_path)
    with pytest.raises(AttributeError, match="'write' attribute"):
        save(1, 3)
    with pytest.raises(AttributeError, match="seekable"):
        load(3)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "a.pt")


# --------------------------------------------------------------------------------------------- hostile, broken files


def crafted(program, storages=None):
    file = io.BytesIO()
    records = [("data.pkl", program), ("version", b"3\n")]
    storages = [np.arange(4.0)] if storages is None else storages
    write_archive(file, records + [(f"data/{i}", data) for i, data in enumerate(storages)])
    file.seek(0)
    return file


STORAGE = b"(X\x07\x00\x00\x00storagectorch\nDoubleStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"


def rebuilt(sizes, strides, offset=b"K\x00"):
    """A pickle of one tensor on `STORAGE`; all arguments are pickled pieces."""
    return (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE + offset + sizes + strides
            + b"\x89ccollections\nOrderedDict\n)RtR.")


class Calls:
    """Pickles as a call of the given function."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(5))
def test_nothing_of_the_file_is_executed(tmp_path, protocol):
    sentinel = tmp_path / "sentinel"
    for function, args in ((os.system, (f"touch {sentinel}",)), (eval, (f"open({str(sentinel)!r}, 'w')",)),
                           (open, (str(sentinel), "w")), (exec, (f"open({str(sentinel)!r}, 'w')",))):
        with pytest.raises(pickle.UnpicklingError):
            load(crafted(pickle.dumps([Calls(function, *args)], protocol)))
        assert not sentinel.exists()
    load(crafted(pickle.dumps([Calls(open, str(sentinel), "w")], protocol)), weights_only=False)[0].close()
    assert sentinel.exists(), "the same pickle does run when asked for"


HOSTILE = {
    "class of PyTorch is called": b"\x80\x02ctorch\nTensor\nK\x05\x85R.",
    "new object": b"\x80\x02ctorch\nTensor\n)\x81.",
    "state of a tensor": rebuilt(b"K\x02\x85", b"K\x01\x85")[:-1] + b"}X\x04\x00\x00\x00_ptrK\x00sb.",
    "state of a class": b"\x80\x02ctorch\nTensor\n}X\x04\x00\x00\x00itemK\x00sb.",
    "state of a function": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x01\x00\x00\x00aK\x00sb.",
    "method of an OrderedDict": b"\x80\x02ccollections\nOrderedDict\n)R}X\x05\x00\x00\x00itemsK\x00sb.",
    "internal attribute": b"\x80\x02ctorch._utils\n_rebuild_parameter_with_state\n("
                          + rebuilt(b"K\x02\x85", b"K\x01\x85")[2:-1] + b"\x88NX\x0a\x00\x00\x00_numbagrad}"
                          + b"}X\x0a\x00\x00\x00_numbagrad}stR.",
    "items into a tensor": rebuilt(b"K\x02\x85", b"K\x01\x85")[:-1] + b"K\x00K\x01s.",
    "append to a set": b"\x80\x04\x8fK\x01a.",
    "other function rebuilds": b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n(cbuiltins\nlen\nctorch\nTensor\n)}tR.",
    "extension registry": b"\x80\x02\x82\x01.",
    "instance opcode": b"(ios\nsystem\n.",
    "unknown codec": b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00zip\x86R.",
    "huge bytearray": b"\x80\x02cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R.",
    "foreign persistent id": b"\x80\x02X\x01\x00\x00\x00aQ.",
    "nothing": b"",
    "text": b"hello",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_pickles(what):
    file = crafted(HOSTILE[what])
    file.name = "bad.pt"
    with pytest.raises(pickle.UnpicklingError, match="bad.pt"):
        load(file)


def test_the_crafted_tensor_is_fine_without_the_attack():
    assert load(crafted(rebuilt(b"K\x02\x85", b"K\x01\x85"))).tolist() == [0, 1]


@pytest.mark.parametrize(("sizes", "strides", "offset"), [
    (b"K\x05\x85", b"K\x01\x85", b"K\x00"), (b"K\x03\x85", b"K\x02\x85", b"K\x00"),
    (b"K\x01\x85", b"K\x01\x85", b"K\x04"), (b"K\x01\x85", b"K\x01\x85", b"J\xff\xff\xff\xff"),
    (b"K\x02\x85", b"J\xff\xff\xff\xff\x85", b"K\x01"), (b"J\xff\xff\xff\xff\x85", b"K\x01\x85", b"K\x00"),
    (b"K\x02\x85", b")", b"K\x00"), (b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7fK\x09\x87", b"K\x00K\x00K\x00\x87", b"K\x00"),
])
def test_tensors_outside_their_storage(sizes, strides, offset):
    with pytest.raises(RuntimeError, match="sizes"):
        load(crafted(rebuilt(sizes, strides, offset)))


def test_storages_of_another_length():
    with pytest.raises(RuntimeError, match="should have 32 bytes, it has 24"):
        load(crafted(rebuilt(b"K\x02\x85", b"K\x01\x85"), [np.arange(3.0)]))
    with pytest.raises(RuntimeError, match="failed locating file data/0"):
        load(crafted(rebuilt(b"K\x02\x85", b"K\x01\x85"), []))


def test_bool_bytes_become_0_and_1():
    program = rebuilt(b"K\x04\x85", b"K\x01\x85").replace(b"DoubleStorage", b"BoolStorage")
    found = load(crafted(program, [np.array([0, 1, 2, 255], np.uint8)]))
    assert found._buf.view(np.uint8).tolist() == [0, 1, 1, 1]


def test_broken_files(tmp_path):
    path = tmp_path / "a.pt"
    save({"a": from_array(np.arange(100.0))}, path)
    good = path.read_bytes()
    cases = [(good[:n], RuntimeError) for n in (40, len(good) // 2, len(good) - 30, len(good) - 1)]
    flipped = bytearray(good)
    flipped[good.index(np.arange(100.0).tobytes()) + 50] ^= 0xFF
    cases += [(bytes(flipped), RuntimeError), (b"", EOFError), (b"PK", pickle.UnpicklingError),
              (b"\x93NUMPY and more text", pickle.UnpicklingError), (pickle.dumps([1]), pickle.UnpicklingError)]
    for data, error in cases:
        path.write_bytes(data)
        with pytest.raises(error, match="a.pt"):
            load(path)
    for names, message in ((["a.txt"], "not in a subdirectory"), (["x/a"], "locating file data.pkl"),
                           (["x/data.pkl", "x/constants.pkl"], "TorchScript")):
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, b"text")
        with pytest.raises(RuntimeError, match=f"a.pt.*{message}"):
            load(path)


def test_the_format_before_zip_is_named(torch, tmp_path):
    torch.save([1], tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(pickle.UnpicklingError, match="before version 1.6"):
        load(tmp_path / "a.pt")


def mutate(seed, rounds):
    """Damaged pickles and damaged archives give an answer or one of the documented errors."""
    rng = np.random.default_rng(seed)
    file = io.BytesIO()
    state = collections.OrderedDict(PLAIN)
    state["t"] = views(np.arange(24.0), "float64")
    state["u"] = ng.nn.Parameter(from_array(np.ones((2, 2), np.float32)))
    save(state, file)
    whole = file.getvalue()
    with zipfile.ZipFile(file) as archive:
        program = archive.read("archive/data.pkl")
    storages = [np.arange(24.0), np.ones(4, np.float32)]
    assert list(load(crafted(program, storages))) == list(state)
    failures = 0
    for turn in range(rounds):
        data = bytearray(program if turn % 4 else whole)
        for _ in range(rng.integers(1, 4)):
            place = rng.integers(len(data))
            action = rng.integers(3)
            if action == 0:
                data[place] = rng.integers(256)
            elif action == 1:
                del data[place : place + rng.integers(1, 9)]
            else:
                other = rng.integers(len(data))
                data[place:place] = data[other : other + rng.integers(1, 20)]
        try:
            load(crafted(bytes(data), storages) if turn % 4 else io.BytesIO(data))
        except (RuntimeError, pickle.UnpicklingError):
            failures += 1
    assert failures > rounds // 4


def test_damaged_files():
    mutate(0, 400)


# --------------------------------------------------------------------------------------------------- objects of users


class Config:
    def __init__(self, width):
        self.width, self.weight = width, from_array(np.arange(width))


class Odd(dict):
    pass


@pytest.fixture
def _no_safe_globals():
    clear_safe_globals()
    yield
    clear_safe_globals()


@pytest.mark.usefixtures("_no_safe_globals")
def test_own_classes_load_only_when_asked_for():
    file = io.BytesIO()
    save(Config(3), file)
    file.seek(0)
    with pytest.raises(pickle.UnpicklingError, match=f"GLOBAL {__name__}.Config was not an allowed global"):
        load(file)
    file.seek(0)
    found = load(file, weights_only=False)
    assert type(found) is Config and found.weight.tolist() == [0, 1, 2]
    file.seek(0)
    with safe_globals([Config]):
        assert get_safe_globals() == [Config]
        assert load(file).weight.tolist() == [0, 1, 2]
    assert get_safe_globals() == []
    add_safe_globals([(Config, f"{__name__}.Config"), Odd])
    file.seek(0)
    assert load(file).width == 3
    assert through(Odd(a=1)) == {"a": 1}


@pytest.mark.usefixtures("_no_safe_globals")
def test_modules_of_the_system_stay_blocked():
    add_safe_globals([(os.getcwd, "os.getcwd"), (os.getcwd, "posix.getcwd")])
    with pytest.raises(pickle.UnpicklingError, match="is blocked"):
        load(crafted(b"cos\ngetcwd\n)R."))


def test_pickle_module_argument():
    with pytest.raises(RuntimeError, match="explicit pickle_module"):
        load(crafted(b"N."), pickle_module=pickle, weights_only=True)
    assert load(crafted(b"N."), pickle_module=pickle, weights_only=False) is None


def test_names_of_pytorch_in_full_pickles():
    """Without weights_only, PyTorch's classes are looked up under the same name here."""
    found = load(crafted(b"\x80\x02]q\x00(ctorch.nn.parameter\nBuffer\nctorch\nfloat32\nctorch.device\ndevice\ne."),
                 weights_only=False)
    assert found == [ng.nn.parameter.Buffer, ng.float32, ng.device]
    with pytest.raises(AttributeError, match="no counterpart of torch.nn.modules.nowhere.Layer"):
        load(crafted(b"\x80\x02ctorch.nn.modules.nowhere\nLayer\n."), weights_only=False)
