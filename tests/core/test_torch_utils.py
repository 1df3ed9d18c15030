"""``torch._utils``: plain pickles of PyTorch's tensors are read, and its helpers do what they do there."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
import textwrap

import pytest

import numbagrad as ng
from numbagrad import _utils as ours

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")

WRITE = """
    import pickle, sys, torch
    a = torch.arange(6.0).reshape(2, 3)
    things = [a, a.t(), torch.nn.Parameter(a[0].clone()), torch.nn.Linear(2, 3).state_dict()["bias"].dtype, a.storage(),
              torch.ones(2, dtype=torch.bfloat16), torch.tensor([1 + 2j]).conj(), a.to("meta"), torch.Size([2])]
    pickle.dump(things, open(sys.argv[1], "wb"))
"""
READ = """
    import pickle, sys
    things = pickle.load(open(sys.argv[1], "rb"))
    for thing in things:
        print(thing)
    print([getattr(t, "requires_grad", None) for t in things])
"""


def test_pickles_of_pytorch(tmp_path):
    write, read = tmp_path / "write.py", tmp_path / "read.py"
    write.write_text(textwrap.dedent(WRITE))
    read.write_text(textwrap.dedent(READ))
    path = str(tmp_path / "things")
    subprocess.run([sys.executable, "-W", "ignore", str(write), path], check=True, timeout=300)
    said = [subprocess.run([sys.executable, "-W", "ignore", *how, str(read), path], check=True, capture_output=True, text=True,
                           timeout=300).stdout for how in ((), ("-m", "numbagrad", "run"))]
    assert said[0] == said[1] and "bfloat16" in said[0]


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
def test_a_file_that_holds_a_storage():
    for zipped in (True, False):
        file = io.BytesIO()
        torch.save(torch.arange(3.0).storage(), file, _use_new_zipfile_serialization=zipped)
        file.seek(0)
        found = ng.load(file, weights_only=False)
        assert type(found).__name__ == "TypedStorage" and found.dtype is ng.float32 and found.tolist() == [0, 1, 2]


class Watched(io.BytesIO):
    flushed = 0

    def flush(self):
        self.flushed += 1


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_is_told_when_all_is_written(zipped):
    for library in (ng, torch):
        file = Watched()
        library.save({"a": library.ones(2)}, file, _use_new_zipfile_serialization=zipped)
        assert file.flushed


def test_helpers():
    for t, u in ((ng, ours), (torch, torch._utils)):
        parts = [t.arange(6.0).reshape(2, 3), t.ones(2), t.zeros(1, dtype=t.float64)]
        flat = u._flatten_dense_tensors(parts[:2])
        assert flat.tolist() == [0, 1, 2, 3, 4, 5, 1, 1]
        assert [p.tolist() for p in u._unflatten_dense_tensors(flat, parts[:2])] == [p.tolist() for p in parts[:2]]
        chunks = list(u._take_tensors([*parts, t.ones(3)], 20))
        assert [[p.numel() for p in chunk] for chunk in chunks] == [[6], [2, 3], [1]]
        turned = u._reorder_tensors_as([parts[2], *parts[:2]], parts)
        assert all(a is b for a, b in zip(turned, parts))
        assert [u._get_device_index(d, allow_cpu=True) for d in ("cpu", 3, "cuda:1")] == [-1, 3, 1]
        for bad, text in (("cpu", "Expected a non cpu device"), ("cuda", "specified index or an integer")):
            with pytest.raises(ValueError, match=text):
                u._get_device_index(bad)
        for error in (KeyError("k"), ValueError("v"), UnicodeDecodeError("utf-8", b"", 0, 1, "r")):
            try:
                raise error
            except Exception:
                wrapped = pickle.loads(pickle.dumps(u.ExceptionWrapper(where="in thread 3")))
            kind = RuntimeError if isinstance(error, UnicodeDecodeError) else type(error)
            with pytest.raises(kind, match="in thread 3"):
                wrapped.reraise()

        class Named:
            @u.classproperty
            def name(cls):
                return cls.__name__
        assert Named.name == Named().name == "Named"
