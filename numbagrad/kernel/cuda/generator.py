"""State of the random number generators of the devices: a Philox key (the seed) and how far its counter has come."""

from __future__ import annotations

import numpy as np

DEFAULT_SEED = 67280421310721
STATE_BYTES = 16
_states: dict = {}            # device index -> [seed, offset]
_seed_of_all = [DEFAULT_SEED]


def state(index):
    """[seed, offset] of a device's generator; the launcher of a random kernel advances the offset."""
    found = _states.get(index)
    if found is None:
        found = _states.setdefault(index, [_seed_of_all[0], 0])
    return found


def seed(index, value):
    """Restart the generator of one device."""
    state(index)[:] = [value, 0]


def seed_all(value):
    """Restart the generators of all devices, those not used yet included."""
    _seed_of_all[0] = value
    for s in _states.values():
        s[:] = [value, 0]


def to_bytes(index):
    """PyTorch's layout: the seed, then the offset, 64 bits each."""
    return np.array(state(index), np.uint64).view(np.uint8)


def from_bytes(index, data):
    """Continue from the bytes of ``to_bytes``."""
    if data.size not in (8, STATE_BYTES):
        raise RuntimeError(f"RNG state is wrong size: expected {STATE_BYTES} bytes, got {data.size}")
    words = np.ascontiguousarray(data).view(np.uint64).tolist()
    state(index)[:] = [words[0], words[1] if len(words) > 1 else 0]
