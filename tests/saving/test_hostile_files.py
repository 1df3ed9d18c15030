"""Broken and hostile checkpoints: an error that names the file, and nothing of it is executed."""

import collections
import functools
import io
import os
import pickle
import struct
import subprocess
import sys
import time
import tracemalloc
import zipfile

import numpy as np
import paths
import pytest
from serialization_helpers import PLAIN, crafted, views

import numbagrad as ng
from numbagrad.core.tensor import from_array
from numbagrad.serialization import load, save

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


# --------------------------------------------------------------------------------------- more than a file may ask for


def doubled(count=60, after=b""):
    """A pickle of a tuple of two times the tuple of two times ..., as item 0 of the memo, and what follows."""
    return b"\x80\x04)q\x00" + b"h\x00h\x00\x86q\x00" * count + b"0" + after


def long_integer(nbytes):
    return b"\x8b" + struct.pack("<I", nbytes) + b"\x7f" * nbytes


def sized(value):
    data = value.to_bytes(9, "little")
    return b"\x8a\x09" + data


CALL = b"ctorch._utils\n_rebuild_tensor_v2\n("
COLLIDING = [(k * ((1 << 61) - 1)).to_bytes(11, "little") for k in range(1, 5000)]
BOMBS = {
    "hash of a key": doubled(after=b"}h\x00K\x01s."),
    "hash of keys": doubled(after=b"}(h\x00K\x01u."),
    "hash in a set": doubled(after=b"\x8f(h\x00\x90."),
    "hash in a frozenset": doubled(after=b"(h\x00\x91."),
    "hash in a Counter": doubled(after=b"ccollections\nCounter\nh\x00\x85R."),
    "hash in an OrderedDict": doubled(after=b"ccollections\nOrderedDict\n](h\x00K\x01\x86e\x85R."),
    "hash of a name": doubled(after=b"ccollections\nOrderedDict\n)R}h\x00K\x00sb."),
    "equal frozensets": b"\x80\x04](N\x91q\x00(N\x91q\x010" + b"0((h\x00K\x01\x86h\x00\x91q\x00" * 40 + b".",
    "printed function": doubled(after=b"h\x00)R."),
    "printed class": doubled(after=b"h\x00)\x81."),
    "printed id": doubled(after=b"h\x00Q."),
    "printed ids": doubled(after=b"(h\x00K\x00K\x00K\x00K\x00tQ."),
    "printed place": doubled(after=STORAGE.replace(b"X\x03\x00\x00\x00cpu", b"h\x00") + b"."),
    "printed encoding": doubled(after=b"c_codecs\nencode\nX\x01\x00\x00\x00ah\x00\x86R."),
    "printed rebuilder": doubled(after=b"ctorch._tensor\n_rebuild_from_type_v2\n(h\x00ctorch\nTensor\n)}tR."),
    "printed sizes": doubled(after=CALL + STORAGE + b"K\x00h\x00h\x00\x89NtR."),
    "printed Size": doubled(after=b"ctorch\nSize\nh\x00\x85R."),
    "deep lists": b"\x80\x02" + b"]" * 20000 + b"a" * 19999 + b".",
    "deep tuples": b"\x80\x02)" + b"\x85" * 20000 + b".",
    "deep tuples beside each other": b"\x80\x02])" + b"\x85q\x00ah\x00" * 3000 + b"a.",
    "deep key": b"\x80\x02)" + b"\x85" * 20000 + b"q\x000}h\x00K\x00s.",
    "deep dicts": b"\x80\x02" + b"}K\x00" * 20000 + b"N" + b"s" * 20000 + b".",
    "long size": rebuilt(long_integer(1 << 18) + b"\x85", b"K\x01\x85"),
    "long offset": rebuilt(b"K\x02\x85", b"K\x01\x85", long_integer(1 << 18)),
    "long storage": b"\x80\x02" + STORAGE.replace(b"K\x04", long_integer(1 << 18)) + b".",
    "negative storage": b"\x80\x02" + STORAGE.replace(b"K\x04", b"J\xff\xff\xff\xff") + b".",
    "storage of 2^63": b"\x80\x02" + STORAGE.replace(b"K\x04", sized(2**63)) + b".",
    "colliding keys": b"\x80\x02}" + b"".join(b"\x8a\x0b" + key + b"Ns" for key in COLLIDING) + b".",
    "text copied": b"\x80\x02]X" + struct.pack("<I", 1 << 16) + b"a" * (1 << 16) + b"q\x000"
                   + b"c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86Ra" * 500 + b".",
    "set copied": b"\x80\x02](" + b"K\x01" * 20000 + b"eq\x00"
                  + b"cbuiltins\nset\nh\x00\x85R0" * 1000 + b".",
    "state set again": b"\x80\x02}(" + b"".join(b"X\x04\x00\x00\x00%04dN" % i for i in range(3000)) + b"uq\x00"
                       + b"ccollections\nOrderedDict\n)R" + b"h\x00b" * 1000 + b".",
    "dots in a name": b"\x80\x04\x8c\x05torchX" + struct.pack("<I", 400001) + b"a" + b".a" * 200000 + b"\x93.",
    "length that is not there": b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x3f.",
    "frame that is not there": b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\xff.",
    "rank 65": rebuilt(b"(" + b"K\x01" * 65 + b"t", b"(" + b"K\x01" * 65 + b"t"),
    "rank 100000": rebuilt(b"(" + b"K\x01" * 100000 + b"t", b"(" + b"K\x01" * 100000 + b"t"),
    "size 2^62": rebuilt(sized(2**62) + b"\x85", b"K\x00\x85"),
    "size 2^63": rebuilt(sized(2**63) + b"\x85", b"K\x00\x85"),
    "sizes 0 and 2^62": rebuilt(b"K\x00" + sized(2**62) + sized(2**62) + b"\x87", b"K\x00K\x00K\x00\x87"),
    "stride 2^62": rebuilt(b"K\x01\x85", sized(2**62) + b"\x85"),
    "offset 2^63 of nothing": rebuilt(b"K\x00\x85", b"K\x01\x85", sized(2**63)),
    "Size 2^70": b"\x80\x02ctorch\nSize\n\x8a\x09" + bytes(8) + b"\x40\x85\x85R.",
    "parameter of a number": b"\x80\x02ctorch._utils\n_rebuild_parameter\n(K\x05\x88NtR.",
    "tensor in a number": rebuilt(b"K\x02\x85", b"K\x01\x85").replace(STORAGE, b"K\x05"),
}


@pytest.mark.parametrize("what", BOMBS)
def test_bombs(what):
    file = crafted(BOMBS[what])
    file.name = "bad.pt"
    start = time.process_time()
    with pytest.raises((pickle.UnpicklingError, RuntimeError), match="bad.pt") as caught:
        load(file)
    assert time.process_time() - start < 5
    assert caught.type in (pickle.UnpicklingError, RuntimeError) and len(str(caught.value)) < 1000


def test_content_within_the_limits():
    keys = {(layer, (head, "x")): [layer] for layer in range(300) for head in range(30)}
    values = {"keys": keys, "sets": [set(range(i)) for i in range(300)], "long": [1 << 5000, {1 << 100: 1}],
              "frozen": [frozenset([(i, frozenset("ab"))]) for i in range(1000)], "bytes": [bytes(1000)] * 500}
    nested = []
    for _ in range(900):
        nested = [nested]
    for protocol in (2, 4):
        assert load(crafted(pickle.dumps(values, protocol))) == values
        assert load(crafted(b"\x80\x02" + b"]" * 900 + b"a" * 899 + b".")) == nested[0]
    itself = load(crafted(b"\x80\x02]q\x00(" + b"h\x00" * 2000 + b"e."))
    assert len(itself) == 2000 and itself[-1] is itself


def test_flags_of_many_tensors_copy_their_storage_once():
    flag = b"K\x00K\x02\x85K\x01\x85\x89N}X\x03\x00\x00\x00neg\x88stR"
    found = load(crafted(b"\x80\x02](" + (CALL + STORAGE + flag) * 50 + b"e."))
    assert found[0].tolist() == [0, -1] and len({t.data_ptr() for t in found}) == 1


def test_bytes_seen_as_bools_become_0_and_1():
    program = (rebuilt(b"K\x04\x85", b"K\x01\x85").replace(b"torch\nDoubleStorage", b"torch.storage\nUntypedStorage")
               .replace(b"_v2", b"_v3").replace(b")RtR.", b")Rctorch\nbool\ntR."))
    found = load(crafted(program, [np.array([0, 1, 2, 255], np.uint8)]))
    assert found.dtype is ng.bool and found._buf.view(np.uint8).tolist() == [0, 1, 1, 1]


# ------------------------------------------------------------------------------------------------------- zip archives


def packed(records=None, method=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in (records or {"data.pkl": b"\x80\x02]q\x00(K\x01K\x02e.", "version": b"3\n"}).items():
            archive.writestr("archive/" + name, data)
    return file.getvalue()


def directory(data, offset, form, value, name=b"archive/data.pkl"):
    """The archive with another number in the directory's entry of `name`."""
    data = bytearray(data)
    struct.pack_into(form, data, data.rindex(name) - 46 + offset, value)
    return bytes(data)


def directory64(data, offset, value, name=b"archive/version"):
    """The same for a number of 64 bits, which stands in an extra field."""
    start = data.rindex(name) - 46
    entry, rest = bytearray(data[start : start + 46]), data[start + 46 + len(name) :]
    struct.pack_into("<I", entry, offset, 0xFFFFFFFF)
    struct.pack_into("<H", entry, 30, 12)
    whole = bytearray(data[:start] + entry + name + struct.pack("<HHQ", 1, 8, value) + rest)
    end = whole.rindex(b"PK\5\6") + 12
    struct.pack_into("<I", whole, end, struct.unpack_from("<I", whole, end)[0] + 12)
    return bytes(whole)


@functools.cache
def zip_attacks():
    stored, deflated = packed(), packed(method=zipfile.ZIP_DEFLATED)
    damaged = bytearray(deflated)
    damaged[deflated.index(b"archive/data.pkl") + 16] ^= 0xFF
    attacks = {
        "bz2": packed(method=zipfile.ZIP_BZIP2), "lzma": packed(method=zipfile.ZIP_LZMA), "deflate": bytes(damaged),
        "bomb": packed({"data.pkl": b"N." + bytes(80 << 20)}, zipfile.ZIP_DEFLATED),
        "many bombs": packed({f"data/{i}": bytes(1 << 20) for i in range(80)}, zipfile.ZIP_DEFLATED),
        "deflated 2 GiB": directory(deflated, 24, "<I", 2**31 - 1),
        "stored 2 GiB": directory(directory(stored, 24, "<I", 2**31 - 1), 20, "<I", 2**31 - 1),
        "two sizes": directory(stored, 24, "<I", 2**31 - 1), "behind the end": directory(stored, 42, "<I", len(stored)),
        "overlap": directory(stored, 42, "<I", 0, b"archive/version"), "encrypted": directory(stored, 8, "<H", 1),
        "method": directory(stored, 10, "<H", 99), "version": directory(stored, 6, "<H", 255),
    }
    attacks |= {f"{what} {value:x}": directory64(stored, place, value) for value in (2**62, 2**63, 2**64 - 1)
                for what, place in (("offset", 42), ("size", 24), ("packed size", 20))}
    return attacks


@pytest.mark.parametrize("mapped", [False, True])
def test_zip_attacks(tmp_path, mapped):
    path = tmp_path / "a.pt"
    zip_attacks()
    tracemalloc.start()
    for what, data in zip_attacks().items():
        path.write_bytes(data)
        tracemalloc.reset_peak()
        with pytest.raises(RuntimeError, match="a.pt.*truncated or corrupt") as caught:
            load(path, mmap=mapped)
        assert caught.type is RuntimeError and tracemalloc.get_traced_memory()[1] < 200 << 20, what
    tracemalloc.stop()
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        path.write_bytes(packed(method=method))
        assert load(path, mmap=mapped) == [1, 2]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_record_that_is_there_twice():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for data in (b"N.", b"K\x01."):
            archive.writestr("archive/data.pkl", data)
    file.seek(0)
    with pytest.raises(RuntimeError, match="there twice"):
        load(file)


def test_truncated_everywhere():
    file = io.BytesIO()
    save([from_array(np.arange(9.0)), {"a": 1.5, "b": 1 << 70}], file)
    whole = file.getvalue()
    with zipfile.ZipFile(file) as archive:
        program, storage = archive.read("archive/data.pkl"), archive.read("archive/data/0")
    cut = [io.BytesIO(whole[:n]) for n in range(1, len(whole))]
    cut += [crafted(program[:n], [storage]) for n in range(len(program))]
    for file in cut:
        file.name = "bad.pt"
        with pytest.raises((pickle.UnpicklingError, RuntimeError), match="bad.pt"):
            load(file)


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of memory")
def test_fuzzed_checkpoints():
    command = [sys.executable, str(paths.TESTS / "fuzz" / "checkpoints.py"), "--count", "400", "--seed", "7"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert "read" in done.stdout and "UnpicklingError" in done.stdout and "RuntimeError" in done.stdout
