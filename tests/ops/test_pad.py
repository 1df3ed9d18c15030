"""``constant_pad_nd``: rows in one pass and as filled margins, whole and in pieces, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

import numbagrad as ng
from numbagrad.ops.conv import interpolate


def padded(x, pad, value):
    n = len(pad) // 2
    for d in range(n):
        axis, (before, after) = x.ndim - 1 - d, pad[2 * d:2 * d + 2]
        x = np.take(x, np.arange(max(0, -before), x.shape[axis] - max(0, -after)), axis)
        width = [(0, 0)] * x.ndim
        width[axis] = max(0, before), max(0, after)
        x = np.pad(x, width, constant_values=value)
    return x


@pytest.mark.parametrize("seed", range(6))
def test_random_pads(seed, monkeypatch):
    monkeypatch.setattr(interpolate, "LARGE", 1)
    rng = np.random.default_rng(seed)
    passes = []
    one_pass = interpolate._in_one_pass
    monkeypatch.setattr(interpolate, "_in_one_pass", lambda *given: passes.append(one_pass(*given)) or passes[-1])
    for _ in range(150):
        nd = int(rng.integers(2, 6))
        shape = [*rng.integers(1, 6, nd - 1), int(rng.choice([3, 9, 20, 31, 32, 70]))]
        pad = [int(p) for p in rng.integers(-2, 5, 2 * int(rng.integers(1, nd + 1)))]
        if any(shape[-1 - i // 2] + sum(min(p, 0) for p in pad[i:i + 2]) <= 0 for i in range(0, len(pad), 2)):
            continue
        x = rng.standard_normal(shape).astype("float32")
        expected = padded(x, pad, 1.5)
        np.testing.assert_array_equal(ng.constant_pad_nd(ng.from_numpy(x), pad, 1.5).numpy(), expected)
        # Any cut into pieces writes every row once.
        meta = np.array((*shape, *expected.shape, *[0] * (nd - len(pad) // 2), *pad[-2::-2]), np.int64)
        out = np.full(expected.shape, np.nan, "float32")
        rows = expected.size // expected.shape[-1]
        cuts = [0, *sorted(rng.integers(0, rows + 1, 2)), rows]
        entry = interpolate.pad_rows[interpolate.storage.F4]
        for start, stop in zip(cuts, cuts[1:]):
            entry(x.ctypes.data, out.ctypes.data, meta.ctypes.data, nd, 1.5, int(start), int(stop))
        np.testing.assert_array_equal(out, expected)
    assert sum(passes) > 40
