"""The weight's gradient by blocks of sums in registers.

A weight's gradient is a product over the places of the output: of its channels with what the window sees. So data is laid out
with channels last, in which a row of the window is one line, and gradients with 32 channels beside each other."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from numbagrad.core import storage
from numbagrad.core.tensor import make
from numbagrad.kernel import jit, register_tile, threads
from numbagrad.kernel.tape import capturing

from .tiles import LEAST, SIZES, specialised

LARGEST = 8 << 20  # bytes of a sample's copies, beyond which they are not in a cache
# Placeholders that each specialisation replaces.
ptr = ptr_i8 = block = turn = None
SIZE = LANES = ROWS = WIDTH = 0


def gradients(table, start, stop):
    """Units start to stop: each adds up a range of samples into its part (group, rows of the window, outputs, line)."""
    t = ptr_i8(table)
    samples, groups, c, o, blocks = t[7], t[8], t[9], t[10], t[11]
    d, h, w, depth, height, width = t[12], t[13], t[14], t[15], t[16], t[17]
    p, rows, line = t[21], t[22], t[23]
    starts, size = ptr_i8(t[24]), groups * rows * o * line
    for unit in range(start, stop):
        edge = t[4] + unit * t[5]
        held = edge + (SIZE * c * depth * height * width + 127) // 64 * 64
        zeros = held + SIZE * blocks * p * LANES
        total = t[2] + SIZE * unit * size
        data, part, none = ptr(edge), ptr(total), ptr(zeros)
        for i in range(c * depth * height * width):
            data[i] = 0
        for i in range(size):
            part[i] = 0
        for i in range(LANES):
            none[i] = 0
        for item in range(samples * unit // t[6] * groups, samples * (unit + 1) // t[6] * groups):
            for z in range(min(d, depth - t[18])):
                for r in range(min(h, height - t[19])):
                    to = (((z + t[18]) * height + r + t[19]) * width + t[20]) * c
                    at = ((item * c * d + z) * h + r) * w
                    most = min(w, width - t[20])
                    # From the last channels on: zeros that reach into the next place are written over.
                    for first in range((c - 1) // WIDTH * WIDTH, -1, -WIDTH):
                        for i in range(0, most, WIDTH):
                            turn(t[0] + SIZE * (at + first * d * h * w + i), d * h * w, edge + SIZE * (to + i * c + first), c,
                                 c - first, most - i)
            for first in range(0, blocks * LANES, WIDTH):
                at, to = (item * o + first) * p, (first // LANES * p) * LANES + first % LANES
                for i in range(0, p, WIDTH):
                    turn(t[1] + SIZE * (at + i), p, held + SIZE * (to + i * LANES), LANES, o - first, p - i)
            for q in range(blocks):
                for row in range(rows):
                    out = total + SIZE * ((item % groups * rows + row) * o + q * LANES) * line
                    for i in range(0, line, ROWS):
                        block(edge + SIZE * (starts[row] + i), t[3], p, held + SIZE * q * p * LANES, zeros, out + SIZE * i,
                              line, o - q * LANES)


@jit.kernel
def put_together(parts: "*T", w: "*T", units: int, channels: int, outputs: int, rows: int, taps: int, start: int, stop: int):
    """The sums over units of parts (units, groups, rows, outputs, taps, channels), into w (stop, channels, rows, taps), whose
    first dimension is groups outputs."""
    size = stop * channels * rows * taps
    for at in range(start, stop):
        group = at // outputs
        for row in range(rows):
            base = ((group * rows + row) * outputs + at - group * outputs) * taps * channels
            for c in range(channels):
                for k in range(taps):
                    total = parts[base + k * channels + c]
                    for unit in range(1, units):
                        total += parts[unit * size + base + k * channels + c]
                    w[((at * channels + c) * rows + row) * taps + k] = total


_made: dict = {}


def native(code, vectors, rows):
    """Address of ``gradients`` for a dtype code and a size of block; during a capture, what will compile it with others."""
    found = _made.get((code, vectors, rows))
    if found is None:
        later = _maker(code, vectors, rows)
        return later if capturing() else later()
    return found


@lru_cache(None)
def _maker(code, vectors, rows):
    def make_():
        from numbagrad.kernel import cache
        n, width = jit.nb(), register_tile.machine(SIZES[code])[0]
        env = {"ptr": n.pointers[code], "ptr_i8": n.pointers["i8"], "SIZE": SIZES[code], "WIDTH": width,
               "LANES": width * vectors, "ROWS": rows, "turn": register_tile.turn(code),
               "block": register_tile.tile(code, vectors, rows, True)}
        key = [code, register_tile.key(code, vectors, rows), cache.fingerprint(gradients, dict.fromkeys(env))]
        made = jit.compile_function(specialised(gradients, env), "iii", "\n".join(key), jit.FAST, False, True, "")
        _made[code, vectors, rows] = made.address
        return made.address
    return make_


def plan(code, xs, ws, ys, geometry, count):
    """A ``Plan`` of the gradient of w in y = x * w, where blocks are quicker than columns; or None."""
    groups, stride, padding, dilation = geometry
    size, taps, out = [(1,) * (5 - len(s)) + tuple(s[2:]) for s in (xs, ws, ys)]
    work, outputs = ys[0] * ws[0] * ws[1] * int(np.prod(ws[2:])) * int(np.prod(ys[2:])), ws[0] // groups
    if code not in SIZES or work < LEAST or taps == (1, 1, 1) or (
            4 * outputs < 3 * register_tile.machine(SIZES[code])[0]):
        return None
    made = Plan(code, ys[0], groups, xs[1] // groups, outputs, size, taps, out, stride, padding, dilation)
    if made.rows < 4 or made.scratch > LARGEST:
        return None
    made.divide(count, work)
    return made


class Plan:
    """What a launch needs beside addresses."""

    __slots__ = ("code", "vectors", "rows", "units", "scratch", "size", "starts", "offsets", "table", "shape")

    def __init__(self, code, samples, groups, channels, outputs, size, taps, out, stride, padding, dilation):
        lanes = register_tile.machine(SIZES[code])[0]
        self.code, self.vectors = code, 2 if outputs >= 1.6 * lanes * -(-outputs // (2 * lanes)) else 1
        lanes *= self.vectors
        blocks, places = -(-outputs // lanes), out[0] * out[1] * out[2]
        needed = [(o - 1) * s + (k - 1) * d + 1 for o, s, k, d in zip(out, stride, taps, dilation)]
        # Where the window has no gaps its rows are lines.
        inner = taps[2] if dilation[2] == 1 else 1
        line, across = inner * channels, taps[2] // inner
        most = register_tile.widest(SIZES[code], self.vectors)
        self.rows = max(k for k in range(1, most + 1) if line % k == 0)
        step = (needed[1] * needed[2] * channels, needed[2] * channels, channels)
        self.starts = np.array([i * dilation[0] * step[0] + j * dilation[1] * step[1] + k * dilation[2] * step[2]
                                for i in range(taps[0]) for j in range(taps[1]) for k in range(across)], np.int64)
        self.offsets = np.array([i * stride[0] * step[0] + j * stride[1] * step[1] + k * stride[2] * step[2]
                                 for i in range(out[0]) for j in range(out[1]) for k in range(out[2])], np.int64)
        self.size = groups * len(self.starts) * outputs * line
        edge = (SIZES[code] * channels * needed[0] * needed[1] * needed[2] + 127) // 64 * 64
        self.scratch = (edge + SIZES[code] * lanes * (blocks * places + 1) + 127) // 64 * 64
        self.shape = channels, outputs, len(self.starts), inner
        self.table = np.array((0, 0, 0, 0, 0, self.scratch, 1, samples, groups, channels, outputs, blocks, *size, *needed,
                               *padding, places, len(self.starts), line, 0), np.int64)

    def divide(self, count, work):
        """Cut the work for ``count`` threads."""
        self.table[3], self.table[-1] = storage.table(self.offsets), storage.table(self.starts)
        self.units = self.table[6] = max(1, min(count, int(self.table[7]))) if work > threads.SERIAL_BELOW["gemm"] else 1


def launch(plan, bytes_, x, w, y):
    """Run a plan, ``bytes_`` being the kind of scratch memory."""
    memory, at = bytes_.alloc(plan.units * plan.scratch + 128)
    parts = make((plan.units * plan.size,), w._kind)
    table = plan.table.copy()
    table[:3], table[4] = (x._ptr, y._ptr, parts._ptr), (at + 63) // 64 * 64
    threads.parallel_for(native(plan.code, plan.vectors, plan.rows), storage.address(table), plan.units, 1, (0, 1, 2, 3, 4, -1))
    put_together[w._kind](parts._ptr, w._ptr, plan.units, *plan.shape, 0, w._shape[0])
    del memory  # held until here
