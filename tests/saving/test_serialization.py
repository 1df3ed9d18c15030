"""`save` and `load`: exchange with PyTorch, what is kept, atomic writing, hostile and broken files."""

import collections
import io
import os
import pickle
import struct
import sys
import tarfile
import zipfile

import numpy as np
import pytest
from serialization_helpers import PLAIN, crafted, views

import numbagrad as ng
from numbagrad.core.tensor import Tensor, from_array, from_storage
from numbagrad.saving.archive import write_archive
from numbagrad.serialization import add_safe_globals, clear_safe_globals, get_safe_globals, load, safe_globals, save

NAMES = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64",
         "complex64", "complex128"]


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


def test_common_objects_of_pytorch(torch, tmp_path):
    path = tmp_path / "a.pt"
    base = torch.arange(24.0).reshape(4, 6)
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.LSTM(4, 3))
    optimizers = [torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), torch.optim.AdamW(model.parameters()),
                  torch.optim.RMSprop(model.parameters(), centered=True)]
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    for optimizer in optimizers:
        optimizer.step()
    state = {"model": model.state_dict(), "optimizers": [o.state_dict() for o in optimizers],
             "views": [base, base.t(), base[1:, ::2], base[2, 3], base[:0], base.expand(2, 4, 6), base.view(torch.int32)[:1]],
             "dtypes": {str(d): torch.ones(3).to(getattr(torch, str(d).split(".")[1])) for d in
                        (torch.float16, torch.bfloat16, torch.int8, torch.uint8, torch.int16, torch.bool, torch.complex64)},
             "plain": [torch.Size([1, 2]), torch.device("cpu"), torch.float64, {1, 2}, (None, 1 << 80, b"x", 1j)]}
    del state["views"][-1]
    for protocol in (2, 3, 4, 5):
        torch.save(state, path, pickle_protocol=protocol)
        for found in (load(path), load(path, mmap=True), load(path, map_location="cpu"), load(path, weights_only=False)):
            same(found, state)
            assert found["views"][0].data_ptr() == found["views"][1].data_ptr()
            assert found["views"][2].data_ptr() == found["views"][0].data_ptr() + 24


def same(ours, theirs):
    """Containers, values, dtypes, shapes and strides of both are equal."""
    if hasattr(theirs, "untyped_storage"):
        assert str(ours.dtype).split(".")[-1] == str(theirs.dtype).split(".")[-1]
        assert tuple(ours.size()) == tuple(theirs.size()) and ours.stride() == theirs.stride()
        assert ours.tolist() == theirs.tolist() and ours.requires_grad == theirs.requires_grad
    elif isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for key in theirs:
            same(ours[key], theirs[key])
    elif isinstance(theirs, (list, tuple)):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            same(one, other)
    elif type(theirs).__module__ == "torch":
        assert str(ours).split(".")[-1] == str(theirs).split(".")[-1]
    else:
        assert ours == theirs


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_there_is_no_counterpart_for_is_named(torch, tmp_path):
    path = tmp_path / "a.pt"
    ones = torch.ones(2, 2)
    cases = [(ones.to_sparse(), "sparse tensors"), (ones.to_sparse_csr(), "sparse tensors"),
             (torch.quantize_per_tensor(ones, 1.0, 0, torch.qint8), "quantized tensors"),
             (ones.to(torch.float8_e5m2), "dtype of float8_e5m2"), (ones.to(torch.float8_e4m3fn), "dtype of float8_e4m3fn"),
             (torch.uint1, "dtype of uint1"), (torch.complex32, "dtype of complex32")]
    for value, what in cases:
        torch.save({"a": value}, path)
        with pytest.raises(pickle.UnpicklingError, match=f"a.pt.*{what}.*numbagrad does not support"):
            load(path)
    torch.save(torch.nn.Linear(1, 1), path)
    with pytest.raises(pickle.UnpicklingError, match="GLOBAL torch.nn.modules.linear.Linear was not an allowed global"):
        load(path)


def test_tar_archives_are_named(tmp_path):
    with tarfile.open(tmp_path / "b.pt", "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("storages"))
    with pytest.raises(pickle.UnpicklingError, match="tar archive.*before version 0.1.10"):
        load(tmp_path / "b.pt")


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
