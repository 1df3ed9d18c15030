"""Files in the format of PyTorch before 1.6: read and written, in either library, damaged ones refused."""

import collections
import io
import pickle
import struct

import numpy as np
import pytest

import numbagrad as ng
from numbagrad.saving import before_zip

torch = pytest.importorskip("torch")
DTYPES = "bool uint8 int8 int16 int32 int64 float16 bfloat16 float32 float64 complex64 complex128".split()


def content(lib, dtype):
    whole = lib.arange(24).reshape(4, 6).to(getattr(lib, dtype))
    state = collections.OrderedDict(whole=whole, turned=whole.t(), part=whole[1:, ::2], number=whole[0, 1], empty=lib.empty(0))
    return {"state": state, "epoch": 3, "lr": [0.1, None, "text"], "size": lib.Size([2, 3]), "dtype": getattr(lib, dtype)}


def written(lib, obj, protocol=2):
    file = io.BytesIO()
    lib.save(obj, file, _use_new_zipfile_serialization=False, pickle_protocol=protocol)
    file.seek(0)
    return file


def alike(ours, theirs):
    assert ours["epoch"] == theirs["epoch"] and ours["lr"] == theirs["lr"] and tuple(ours["size"]) == tuple(theirs["size"])
    assert str(ours["dtype"]) == str(theirs["dtype"])
    for name, t in theirs["state"].items():
        found = ours["state"][name]
        assert str(found.dtype) == str(t.dtype) and found.stride() == t.stride() and found.tolist() == t.tolist()


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("weights_only", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
def test_files_cross(dtype, weights_only, protocol):
    ours, theirs = content(ng, dtype), content(torch, dtype)
    found = ng.load(written(torch, theirs, protocol), weights_only=weights_only)
    alike(found, theirs)
    alike(ng.load(written(ng, ours, protocol), weights_only=weights_only), theirs)
    if protocol == 2 or not weights_only:  # PyTorch's own restricted reader knows protocol 2
        alike(ours, torch.load(written(ng, ours, protocol), weights_only=weights_only))
    found["state"]["whole"][2, 1] = 0
    assert found["state"]["turned"][1, 2] == 0, "the storage is shared"


def test_paths_and_positions(tmp_path):
    torch.save({"a": torch.arange(3.0)}, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    assert ng.load(tmp_path / "a.pt")["a"].tolist() == [0, 1, 2]
    ng.save({"a": ng.arange(3.0)}, tmp_path / "b.pt", _use_new_zipfile_serialization=False)
    assert torch.load(tmp_path / "b.pt")["a"].tolist() == [0, 1, 2]
    file = io.BytesIO(b"before" + (tmp_path / "a.pt").read_bytes())
    file.seek(6)
    assert ng.load(file)["a"].tolist() == [0, 1, 2]


def test_where_a_map_sends_storages():
    seen = []

    def send(storage, location):
        seen.append((len(storage), location))
        return storage
    for target in ("cpu", {"cpu": "cpu"}, ng.device("cpu"), send):
        assert ng.load(written(torch, torch.arange(3.0)), map_location=target).tolist() == [0, 1, 2]
    assert seen == [(3, "cpu")]


def test_conjugated_views():
    x = torch.tensor([1 + 2j, 3 - 1j])
    found = ng.load(written(torch, [x, x.conj()]))
    assert found[0].tolist() == x.tolist() and found[1].tolist() == x.conj().tolist()


def test_parameters_and_optimizers():
    linear = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(linear.parameters())
    linear(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    found = ng.load(written(torch, [linear.state_dict(), optimizer.state_dict(), linear.weight]))
    assert found[2].requires_grad and isinstance(found[2], ng.nn.Parameter)
    ours = ng.nn.Linear(3, 2)
    ours.load_state_dict(found[0])
    ng.optim.Adam(ours.parameters()).load_state_dict(found[1])
    assert ours.weight.tolist() == linear.weight.tolist()


def test_parts_of_storages_that_old_files_have():
    file = io.BytesIO()

    class Pickler(pickle._Pickler):
        def persistent_id(self, obj):
            return obj if type(obj) is tuple and obj and obj[0] == "storage" else None
    # A tensor on elements 2 to 5 of a storage of 6, as a part with a key of its own.
    rebuild, storage = torch._utils._rebuild_tensor_v2, ("storage", torch.FloatStorage, "7", "cpu", 6, ("8", 2, 4))

    class Saved:
        def __reduce__(self):
            return rebuild, (storage, 1, (3,), (1,), False, collections.OrderedDict())
    for value in (before_zip.MAGIC, before_zip.VERSION, before_zip.MACHINE):
        file.write(pickle.dumps(value, 2))
    Pickler(file, 2).dump([Saved(), Saved()])
    file.write(pickle.dumps(["7"], 2) + struct.pack("<q6f", 6, *range(6)))
    file.seek(0)
    first, second = ng.load(file)
    assert first.tolist() == second.tolist() == [3, 4, 5]
    first[0] = 9
    assert second[0] == 9


def test_mapping_is_refused(tmp_path):
    torch.save([1], tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    for lib in (ng, torch):
        with pytest.raises(RuntimeError, match="mmap can only be used with files saved with"):
            lib.load(tmp_path / "a.pt", mmap=True)


class Evil:
    def __reduce__(self):
        return print, ("it ran",)


def test_names_are_refused_where_only_weights_are_asked_for(capsys):
    with pytest.raises(pickle.UnpicklingError, match="print was not an allowed global"):
        ng.load(written(torch, [Evil()]))
    assert capsys.readouterr().out == ""


def test_what_a_file_says_is_not_allocated():
    data = bytearray(written(torch, torch.zeros(3)).getvalue())
    at = data.index(b"K\x03N")  # the number of elements, and None for no part of another
    data[at:at + 2] = b"\x8a\x06\xff\xff\xff\xff\xff\x7f"
    with pytest.raises(pickle.UnpicklingError, match="more than the file"):
        ng.load(io.BytesIO(bytes(data)))


def test_other_magic_numbers_and_versions():
    data = written(torch, [1]).getvalue()
    old = pickle.dumps(before_zip.VERSION, 2)
    with pytest.raises(RuntimeError, match="Invalid protocol version: 1002"):
        ng.load(io.BytesIO(data.replace(old, pickle.dumps(1002, 2), 1)))
    with pytest.raises(RuntimeError, match="Invalid magic number; corrupt file"):
        ng.load(io.BytesIO(pickle.dumps([before_zip.MAGIC], 2) + data))


def test_damaged_files_are_refused_or_read():
    data, rng, refused = written(torch, content(torch, "float32")).getvalue(), np.random.default_rng(3), 0
    for i in range(600):
        damaged = bytearray(data)
        if i % 3:
            for _ in range(1 + i % 4):
                damaged[rng.integers(len(data))] = rng.integers(256)
        else:
            del damaged[rng.integers(1, len(data)):]
        try:
            ng.load(io.BytesIO(bytes(damaged)))
        except (RuntimeError, pickle.UnpicklingError, EOFError):
            refused += 1
    assert refused > 200
