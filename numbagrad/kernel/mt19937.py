"""The state of the Mersenne Twister MT19937: 624 words, from PyTorch's bytes and to them."""

from __future__ import annotations

import functools
import os
import threading
import weakref

import numpy as np

from . import mt19937_kernels as kernels
from .mt19937_kernels import CHUNK, N
from .native import address

DEFAULT_SEED = 67280421310721  # what a fresh PyTorch Generator starts from
_WORD = 0xFFFFFFFF

# PyTorch's serialised generator: a struct of an older release with the float32 cache appended.
STATE = np.dtype({
    "names": ["seed", "left", "seeded", "next", "words", "normal", "has_normal", "normal32", "has_normal32"],
    "formats": ["<u8", "<i4", "<i4", "<u8", ("<u8", N), "<f8", "<i4", "<f4", "u1"],
    "offsets": [0, 8, 12, 16, 24, 5024, 5040, 5048, 5052], "itemsize": 5056})

FEW = 32  # streams that Python begins, in 0.4 ms each: a program that begins no more does not wait for the kernel
_engines: weakref.WeakSet = weakref.WeakSet()
_seeded = [0]


@functools.lru_cache(4)  # of the fixed seed, which every new generator has first, and of a program's own
def _first(word):
    """The state of a stream at its beginning."""
    state = [word]
    append = state.append
    for j in range(1, N):
        word = (1812433253 * (word ^ (word >> 30)) + j) & _WORD
        append(word)
    return np.array([*state, 1, 0], np.uint32)


class MT19937:
    """The generator's state: 624 words, the position in them and the kept second value of a normal pair.

    ``lock`` is held around every use, since the kernels release the interpreter lock."""

    __slots__ = ("initial_seed", "mt", "kept", "kept32", "words", "lock", "mt_at", "kept_at", "words_at", "__weakref__")

    def __init__(self, seed=DEFAULT_SEED):
        self.mt = np.zeros(N + 2, np.uint32)
        self.kept = np.zeros(2)
        self.words = np.empty(CHUNK, np.uint32)
        self.mt_at, self.kept_at, self.words_at = [address(a) for a in (self.mt, self.kept, self.words)]
        self.lock = threading.RLock()
        self.seed(seed)
        _engines.add(self)

    def seed(self, seed):
        """Start the stream of ``seed``, an integer in [0, 2^64) of which the low 32 bits choose the stream."""
        word = seed & _WORD
        _seeded[0] += 1
        with self.lock:
            if _seeded[0] > FEW:
                kernels.begin.entry(self.mt_at, word)
            else:
                self.mt[:] = _first(word)
            self.initial_seed = seed
            self.kept[0] = 0.0
            self.kept32 = (False, 0.0)

    def get_state(self):
        """The state as PyTorch's 5056 bytes, a uint8 array."""
        record = np.zeros((), STATE)
        with self.lock:
            record["seed"], record["seeded"] = self.initial_seed, 1
            record["left"], record["next"] = self.mt[N], self.mt[N + 1]
            record["words"] = self.mt[:N]
            if self.kept[0]:
                record["has_normal"], record["normal"] = 1, self.kept[1]
            # PyTorch's CPU kernels never fill this cache; it is carried so that a state survives the round trip.
            record["has_normal32"], record["normal32"] = self.kept32
        return np.frombuffer(record.tobytes(), np.uint8).copy()

    def set_state(self, state):
        """Continue from the uint8 array that ``get_state`` here or in PyTorch returned."""
        state = np.ascontiguousarray(state).reshape(-1)
        if state.dtype != np.uint8:
            raise TypeError("RNG state must be a torch.ByteTensor")
        if state.size != STATE.itemsize:
            raise RuntimeError(f"Expected a CPUGeneratorImplState of size {STATE.itemsize} but found the input RNG "
                               f"state size to be {state.size}")
        record = state.view(STATE)[0]
        left, position = int(record["left"]), int(record["next"])
        # The last condition keeps a damaged state from reading behind the words.
        if not record["seeded"] or not 0 < left <= N or position > N or left + position > N + 1:
            raise RuntimeError("Invalid mt19937 state")
        with self.lock:
            self.mt[:N] = record["words"] & np.uint64(_WORD)
            self.mt[N], self.mt[N + 1] = left, position
            self.kept[:] = bool(record["has_normal"]), record["normal"]
            self.kept32 = (bool(record["has_normal32"]), float(record["normal32"]))
            self.initial_seed = int(record["seed"])

    def raw(self, n):
        """The next ``n`` 32-bit draws."""
        out = np.empty(n, np.uint32)
        with self.lock:
            kernels.raw.entry(self.mt_at, self.words_at, address(out), n)
        return out


def _renew_locks():
    for engine in list(_engines):
        engine.lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    # A fork while another thread draws would leave the child a lock that nobody releases.
    os.register_at_fork(after_in_child=_renew_locks)
