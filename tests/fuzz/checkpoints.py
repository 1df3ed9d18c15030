"""Damaged checkpoints: each is read, or refused by one clear error, in bounded time and memory.

A long run by hand: ``python tests/fuzz/checkpoints.py --seed 1 --count 20000``. A run ends with status 1 and names the
mutant, which ``--only`` makes again.
"""

import argparse
import collections
import io
import math
import pickle
import pickletools
import random
import struct
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np

import numbagrad as ng
from numbagrad.core.tensor import from_array
from numbagrad.saving.archive import write_archive
from numbagrad.serialization import load, save

sys.path.insert(0, str(Path(__file__).parents[1]))
from serialization_helpers import PLAIN, views  # noqa: E402

SECONDS, MEMORY = 5.0, 512 << 20
INTEGERS = (0, 1, -1, 63, 64, 65, 255, 256, 2**31 - 1, -(2**31), 2**32, 2**62, 2**63 - 1, 2**63, -(2**63), 2**64, 2**200)
TEXTS = ("storage", "cpu", "cuda:0", "cuda", "meta", "0", "1", "../1", "latin1", "a" * 3000, "\x00", "\u4e16", "conj", "neg")
NAMES = ("torch FloatStorage", "torch DoubleStorage", "torch BoolStorage", "torch Size", "torch device", "torch Tensor",
         "torch QInt8Storage", "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_tensor_v3",
         "torch._utils _rebuild_parameter", "torch._utils _rebuild_sparse_tensor", "torch._tensor _rebuild_from_type_v2",
         "collections OrderedDict", "collections Counter", "__builtin__ set", "__builtin__ frozenset",
         "__builtin__ bytearray", "__builtin__ complex", "_codecs encode", "os system", "torch.nn Linear", "torch float32")
PLAIN_OPCODES = [op.code.encode("latin1") for op in pickletools.opcodes if op.arg is None]
FIELDS = (0, 1, 2, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**62, 2**63, 2**64 - 1)


def samples():
    """[(pickle, storages)] of sound files."""
    state = collections.OrderedDict(PLAIN)
    state["t"] = views(np.arange(24.0), "float64")
    state["p"] = ng.nn.Parameter(from_array(np.ones((2, 2), np.float32)))
    state["more"] = [ng.Size([2, 3]), ng.device("cpu"), ng.float32, from_array(np.zeros(5, bool)), from_array(np.arange(3))]
    state._metadata = {"": {"version": 1}}
    found = []
    for protocol in (2, 4):
        file = io.BytesIO()
        save(state, file, pickle_protocol=protocol)
        with zipfile.ZipFile(file) as archive:
            storages = [archive.read(n) for n in archive.namelist() if "/data/" in n]
            found.append((archive.read("archive/data.pkl"), storages))
    return found


def pack(program, storages, method=zipfile.ZIP_STORED):
    records = [("data.pkl", program), ("byteorder", b"little")]
    records += [(f"data/{i}", data) for i, data in enumerate(storages)] + [("version", b"3\n")]
    file = io.BytesIO()
    if method == zipfile.ZIP_STORED:
        write_archive(file, records)
    else:
        with zipfile.ZipFile(file, "w", method) as archive:
            for name, data in records:
                archive.writestr("archive/" + name, data)
    return file.getvalue()


# -------------------------------------------------------------------------------------------------------- mutations


def of_bytes(rng, data):
    data = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        place, other = rng.randrange(len(data) + 1), rng.randrange(len(data) + 1)
        action = rng.randrange(4)
        if action == 0 and place < len(data):
            data[place] ^= 1 << rng.randrange(8)
        elif action == 1:
            del data[place : place + rng.randint(1, 9)]
        elif action == 2:
            data[place:place] = data[other : other + rng.randint(1, 40)]
        else:
            del data[place if rng.random() < 0.1 else len(data) - rng.randint(0, 9) :]
        if not data:
            break
    return bytes(data)


def steps(program):
    """The opcodes of a pickle with their arguments, each as bytes."""
    starts = [position for _, _, position in pickletools.genops(program)]
    return [program[a:b] for a, b in zip(starts, [*starts[1:], len(program)], strict=True)]


def integer(value):
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def new_step(rng):
    kind = rng.randrange(7)
    if kind == 0:
        return integer(rng.choice(INTEGERS))
    if kind == 1:
        text = rng.choice(TEXTS).encode()
        return b"X" + struct.pack("<I", len(text)) + text
    if kind == 2:
        module, name = rng.choice(NAMES).split()
        return f"c{module}\n{name}\n".encode()
    if kind == 3:
        return rng.choice((b"h", b"q")) + bytes([rng.randrange(40)])
    if kind == 4:
        # Claims a length that is not there.
        return rng.choice((b"X", b"B", b"\x8b")) + struct.pack("<I", rng.choice((2**31 - 1, 2**32 - 1, 10**6)))
    if kind == 5:
        doubling = b"h\x01h\x01\x86q\x01"
        return b")q\x01" + doubling * rng.choice((5, 40, 200)) + rng.choice((b"", b"0", b"K\x01s", b"\x90", b"R", b"Q"))
    return rng.choice(PLAIN_OPCODES)


def of_opcodes(rng, program):
    parts = steps(program)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        place, other = rng.randrange(len(parts)), rng.randrange(len(parts))
        action = rng.randrange(5)
        if action == 0:
            parts[place] = new_step(rng)
        elif action == 1:
            parts.insert(place, new_step(rng))
        elif action == 2:
            parts[place], parts[other] = parts[other], parts[place]
        elif action == 3:
            parts.insert(place, parts[other])
        elif len(parts) > 1:
            del parts[place]
    return b"".join(parts)


def of_fields(rng, data):
    """A number in one of the headers of a zip file becomes another."""
    data = bytearray(data)
    headers = ((b"PK\x03\x04", ((4, 2), (6, 2), (8, 2), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2))),
               (b"PK\x01\x02", ((6, 2), (8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (32, 2), (42, 4))),
               (b"PK\x05\x06", ((4, 2), (6, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2))))
    for _ in range(rng.choice((1, 1, 2, 3))):
        magic, fields = rng.choice(headers)
        places = [i for i in range(len(data)) if data.startswith(magic, i)]
        start = rng.choice(places) if places else rng.randrange(len(data))
        offset, size = rng.choice(fields)
        old = int.from_bytes(data[start + offset : start + offset + size], "little")
        value = rng.choice((*FIELDS, old + 1, old - 1, old * 2, len(data), len(data) - 1, rng.getrandbits(32)))
        data[start + offset : start + offset + size] = (value % (1 << 8 * size)).to_bytes(size, "little")
    return bytes(data)


def mutant(seed, number, sound):
    """One damaged file."""
    rng = random.Random(f"{seed} {number}")
    program, storages = rng.choice(sound)
    kind = rng.randrange(8)
    if kind < 4:
        program = of_opcodes(rng, program)
    elif kind == 4:
        program = of_bytes(rng, program)
    elif kind == 5:
        storages = [of_bytes(rng, s) if rng.random() < 0.3 else s for s in storages]
    methods = (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2) if rng.random() < 0.1 else (zipfile.ZIP_STORED,)
    data = pack(program, storages, rng.choice(methods))
    return of_fields(rng, data) if kind == 6 else of_bytes(rng, data) if kind == 7 else data


# ---------------------------------------------------------------------------------------------------------- checks


def check_inside(value):
    """Every tensor lies in its memory."""
    stack, seen = [value], set()
    while stack:
        item = stack.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, ng.Tensor):
            sizes, strides = tuple(item.size()), item.stride()
            last = item.storage_offset() + sum((n - 1) * s for n, s in zip(sizes, strides, strict=True))
            assert math.prod(sizes) == 0 or 0 <= last < item._buf.size, "a tensor outside its memory"
        elif isinstance(item, dict):
            stack += [*item.keys(), *item.values()]
        elif isinstance(item, (list, tuple, set, frozenset)):
            stack += item


def outcome(data, mapped=None):
    """What reading a file gave: "read", the class of an expected error, or a complaint (with a space in it).

    mapped: folder for a file that is mapped into memory."""
    file = io.BytesIO(data)
    file.name = "fuzz.pt"
    if mapped:
        file = Path(mapped) / "fuzz.pt"
        file.write_bytes(data)
    start = time.process_time()
    try:
        check_inside(load(file, mmap=bool(mapped)))
        result = "read"
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        text = str(error)
        result = type(error).__name__
        if type(error) not in (RuntimeError, pickle.UnpicklingError, EOFError):
            result = f"unexpected {type(error)}"
        elif "fuzz.pt" not in text or len(text) > 5000:
            result = f"message of {len(text)} characters: {text[:300]}"
    except BaseException as error:
        result = f"internal {type(error).__name__}: {str(error)[:300]}"
    spent = time.process_time() - start
    return f"took {spent:.1f} s" if spent > SECONDS else result


def limit():
    """Memory of this process from now on, and an end to code that never returns."""
    import faulthandler
    import resource

    faulthandler.enable()
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="start of the random numbers")
    parser.add_argument("--count", type=int, default=20000, help="number of damaged files")
    parser.add_argument("--only", type=int, help="number of one file to make again")
    options = parser.parse_args()
    sound, counts = samples(), collections.Counter()
    for program, storages in sound:
        assert outcome(pack(program, storages)) == "read"
        assert outcome(pack(program, storages, zipfile.ZIP_DEFLATED)) == "read"
    if sys.platform == "linux":
        limit()
    import faulthandler

    bad, folder = 0, tempfile.TemporaryDirectory()
    for number in range(options.count) if options.only is None else [options.only]:
        data = mutant(options.seed, number, sound)
        # A dead or hanging process has said what it was reading.
        print(f"\rmutant {number}", end="", file=sys.stderr, flush=True)
        faulthandler.dump_traceback_later(10 * SECONDS, exit=True)
        found = outcome(data, folder.name if number % 4 == 0 else None)
        if " " in found:
            bad += 1
            print(f"\nmutant {number} of seed {options.seed}: {found}")
        counts[found if " " not in found else "bad"] += 1
    faulthandler.cancel_dump_traceback_later()
    print(f"\nseed {options.seed}: {dict(counts)}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
