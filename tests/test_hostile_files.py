"""Broken and hostile checkpoints: an error that names the file, and nothing of it is executed."""

import collections
import io
import os
import pickle
import zipfile

import numpy as np
import pytest
from serialization_helpers import PLAIN, crafted, views

import numbagrad as ng
from numbagrad.serialization import load, save
from numbagrad.tensor import from_array

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
