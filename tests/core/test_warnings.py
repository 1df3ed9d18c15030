"""Warnings that come once in a process, and each time after ``set_warn_always(True)``."""

import warnings

import numpy as np
import pytest

import numbagrad as ng
from numbagrad.base import user_code


def _read_only():
    a = np.arange(3.0)
    a.flags.writeable = False
    return a


def _with_graph(lib):
    x = lib.ones(1, requires_grad=True)
    (x * x).backward(create_graph=True)
    x.grad = None


ONCE = {
    "complex": lambda lib: lib.tensor([1 + 2j]).float(),
    "numpy": lambda lib: lib.from_numpy(_read_only()),
    "buffer": lambda lib: lib.frombuffer(b"ab", dtype=lib.int8),
    "asarray": lambda lib: lib.asarray(lib.ones(2, requires_grad=True)),
    "backward": _with_graph,
    "float": lambda lib: float(lib.ones(1, requires_grad=True)),
    "chain_matmul": lambda lib: lib.chain_matmul(lib.ones(2, 2), lib.ones(2, 2)),
    "former order": lambda lib: lib.zeros(2).add_(2, lib.ones(2)),
    "no window": lambda lib: lib.stft(lib.ones(8), 4, return_complex=True),
    "lu_solve": lambda lib: lib.lu_solve(lib.eye(2), lib.eye(2), lib.ones(2, dtype=lib.int32)),
    "sizes": lambda lib: lib.sparse.FloatTensor(2, 2),
    "no sizes": lambda lib: lib.sparse.FloatTensor(),
    "a size": lambda lib: lib.sparse.FloatTensor(lib.Size([2, 3])),
    "values": lambda lib: lib.sparse.FloatTensor(lib.zeros(1, 1, dtype=lib.int64), lib.ones(1)),
    "shape": lambda lib: lib.sparse.FloatTensor(lib.zeros(1, 1, dtype=lib.int64), lib.ones(1), lib.Size([2])),
}


def _met(lib, function):
    """(text, file) of the warnings of four calls, the latter two with warnings each time."""
    seen = []
    try:
        for always in (False, False, True, True):
            lib.set_warn_always(always)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                function(lib)
            seen.append([(str(w.message), w.filename) for w in caught])
    finally:
        lib.set_warn_always(False)
    return seen


@pytest.mark.parametrize("name", ONCE)
def test_once(monkeypatch, name):
    monkeypatch.setattr(user_code, "_said", set())
    seen = _met(ng, ONCE[name])
    assert [len(s) for s in seen] == [1, 0, 1, 1]
    assert {w for s in seen for w in s} == {(seen[0][0][0], __file__)}


@pytest.mark.parametrize("name", ONCE)
def test_each_time_like_torch(name):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
    # (whether PyTorch has warned before in this process cannot be told)
    ours, theirs = (_met(lib, ONCE[name])[2:] for lib in (ng, torch))
    assert [[w[0] for w in s] for s in ours] == [[w[0].partition(" (Triggered internally")[0] for w in s] for s in theirs]
