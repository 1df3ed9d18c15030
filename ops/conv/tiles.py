"""Convolution by blocks of sums in registers: 32 output channels of up to 14 neighbouring places at a time.

Weights are laid out once per call, as (offset in the window, channel), so that a vector holds channels; the numbers of the data
that meet them come from where they lie, at the offsets of a table. So the data is copied only where it has a border or a stride
along its rows: then once, with zeros around it and the rows taken apart by phases of the stride, whatever the kernel's size.
The gradient of the input at stride 1 is a convolution too, with the window turned round; weights that are not finite meet the
zeros around it there."""

from __future__ import annotations

import types
from functools import lru_cache

import numpy as np

from numbagrad.core import storage
from numbagrad.kernel import jit, register_tile, threads
from numbagrad.kernel.tape import capturing

SIZES = {"f4": 4, "f8": 8}
LEAST = 1 << 18  # multiply-adds below which columns and BLAS are as fast
# Placeholders that each specialisation replaces: pointer constructors, the block, bytes per element, elements of its vectors.
ptr = ptr_i8 = block = piece = turn = None
SIZE = LANES = ROWS = WIDTH = 0


def widened(x, out, t):
    """One group's channels (c, d, h, w) with a border, as (c, depth, height, phase of the stride, width); the vectors that end
    after a line overlap the next."""
    d, h, w = t[12], t[13], t[14]
    depth, height, width, sw = t[15], t[16], t[17], t[18]
    pd, ph, pw = t[19], t[20], t[21]
    for line in range(t[11] * depth):
        c = line // depth
        z = line - c * depth - pd
        for row in range(height):
            r = row - ph
            q = (line * height + row) * sw * width
            p = ((c * d + z) * h + r) * w
            inside = 0 <= z < d and 0 <= r < h
            for phase in range(sw):
                at = phase - pw
                low = max(0, -(at // sw)) if inside else width
                high = min(width, (w - 1 - at) // sw + 1)
                if sw == 1:
                    for i in range(0, width, WIDTH):
                        piece(x + SIZE * (p + at + i), out + SIZE * (q + i), low - i, high - i)
                else:
                    data, line_ = ptr(x), ptr(out)
                    low, high = min(low, width), max(low, high)
                    for i in range(low):
                        line_[q + i] = 0
                    for i in range(low, high):
                        line_[q + i] = data[p + at + i * sw]
                    for i in range(high, width):
                        line_[q + i] = 0
                q += width


def convolve(table, start, stop):
    """Units start to stop of y = w * x + b: each is a range of (sample, group, block of output channels)."""
    t = ptr_i8(table)
    groups, o, k, blocks = t[8], t[9], t[10], t[7]
    plane, lines = t[11] * t[12] * t[13] * t[14], t[16] * t[17] * t[18]
    od, oh, ow = t[22], t[23], t[24]
    p = od * oh * ow
    for unit in range(start, stop):
        edge = t[4] + unit * t[5]
        held = -1
        for task in range(t[25] * unit // t[6], t[25] * (unit + 1) // t[6]):
            item = task // blocks
            part = task - item * blocks
            source = t[0] + SIZE * item * plane
            if t[5] != 0:
                if item != held:
                    widened(source, edge, t)
                    held = item
                source = edge
            at = item % groups * blocks + part
            w, b = t[1] + SIZE * LANES * k * at, t[2] + SIZE * LANES * at
            out = t[3] + SIZE * (item * o + part * LANES) * p
            for row in range(od * oh):
                z = row // oh
                line = source + SIZE * (z * t[26] * lines + (row - z * oh) * t[27] * t[17] * t[18])
                for e in range(0, ow, ROWS):
                    s = min(e, ow - ROWS)  # the last block of a row may do some places again
                    block(line + SIZE * s, t[28], k, w, b, out + SIZE * (row * ow + s), p, o - part * LANES)


def lay_out(table, start, stop):
    """Weights (groups outputs, channels, taps), or (groups channels, outputs, taps) if turned, as (block, channel and tap,
    lane), the biases as (block, lane), for blocks start to stop; zeros where a group's last block has lanes too many."""
    t = ptr_i8(table)
    outputs, channels, taps, blocks = t[4], t[5], t[6], t[7]
    k = channels * taps
    for at in range(start, stop):
        group = at // blocks
        begin = (at - group * blocks) * LANES
        held = min(LANES, outputs - begin)
        b, first = ptr(t[1] + SIZE * (group * outputs + begin)), ptr(t[3] + SIZE * at * LANES)
        for j in range(LANES):
            first[j] = b[j] if t[9] != 0 and j < held else b[0] * 0
        for lane in range(0, LANES, WIDTH):
            out, left = t[2] + SIZE * (at * k * LANES + lane), held - lane
            if t[8] == 0:
                w = t[0] + SIZE * (group * outputs + begin + lane) * k
                for q in range(0, k, WIDTH):
                    turn(w + SIZE * q, k, out + SIZE * q * LANES, LANES, left, k - q)
            else:
                for c in range(channels):
                    w = t[0] + SIZE * ((group * channels + c) * outputs + begin + lane) * taps
                    for q in range(0, taps, WIDTH):
                        turn(w + SIZE * q, taps, out + SIZE * (c * taps + q) * LANES, LANES, left, taps - q)


_made: dict = {}


def native(fn, code, vectors, rows):
    """Address of a kernel for a dtype code and a size of block; during a capture, what will compile it with others."""
    found = _made.get((fn, code, vectors, rows))
    if found is None:
        later = _maker(fn, code, vectors, rows)
        return later if capturing() else later()
    return found


@lru_cache(None)
def _maker(fn, code, vectors, rows):
    def make():
        from numbagrad.kernel import cache, inlined
        n, width = jit.nb(), register_tile.machine(SIZES[code])[0]
        env = {"ptr": n.pointers[code], "ptr_i8": n.pointers["i8"], "SIZE": SIZES[code], "WIDTH": width,
               "LANES": width * vectors, "ROWS": rows}
        if fn is convolve:
            env["piece"], env["block"] = register_tile.piece(code), register_tile.tile(code, vectors, rows)
        else:
            env["turn"] = register_tile.turn(code)
        key = [code, register_tile.key(code, vectors, rows), *[cache.fingerprint(f, dict.fromkeys([*env, "widened"]))
                                                               for f in (fn, widened)]]
        env["widened"] = inlined.njit(jit.FAST, error_model="numpy")(specialised(widened, env))
        made = jit.compile_function(specialised(fn, env), "iii", "\n".join(key), jit.FAST, False, True, "")
        _made[fn, code, vectors, rows] = made.address
        return made.address
    return make


def specialised(fn, env):
    """``fn`` with the names of ``env`` for its placeholders."""
    space = {"__name__": "numbagrad.kernel.generated", "__builtins__": __builtins__, "min": min, "max": max, **env}
    return types.FunctionType(fn.__code__, space, fn.__name__)


def plan(code, turned, xs, ws, ys, geometry, count):
    """A ``Plan`` of y = x * w for these shapes, or of x = y * w if turned, where that is quicker than columns; or None."""
    groups, stride, padding, dilation = geometry
    size, taps, out = [(1,) * (5 - len(s)) + tuple(s[2:]) for s in (xs, ws, ys)]
    channels, outputs = xs[1] // groups, ws[0] // groups
    work = xs[0] * ws[0] * out[0] * out[1] * out[2] * channels * taps[0] * taps[1] * taps[2]
    flat = stride == (1, 1, 1) and size[0] == taps[0] == 1
    if turned:
        if stride != (1, 1, 1):
            return None
        size, out, channels, outputs = out, size, outputs, channels
        padding = tuple([d * (k - 1) - p for d, k, p in zip(dilation, taps, padding)])
    if code not in SIZES or out[2] < 4 or work < LEAST or taps == (1, 1, 1):
        return None
    made = Plan(code, turned, (xs[0], groups, channels, outputs), size, taps, out, stride, padding, dilation)
    if made.cost > work * (1 if flat else 2):  # (where rows are gathered, columns take twice as long)
        return None
    made.table[-1] = storage.table(made.offsets)
    made.divide(count, work)
    return made


class Plan:
    """What a launch needs beside addresses."""

    __slots__ = ("code", "turned", "vectors", "rows", "units", "tasks", "weights", "first", "scratch", "sizes", "offsets",
                 "table", "cost")

    def __init__(self, code, turned, counts, size, taps, out, stride, padding, dilation):
        samples, groups, channels, outputs = counts
        lanes = register_tile.machine(SIZES[code])[0]
        # A pair of vectors uses a number twice; pairs that are mostly empty would waste more.
        self.vectors = 2 if outputs >= 1.6 * lanes * -(-outputs // (2 * lanes)) else 1
        lanes *= self.vectors
        blocks = -(-outputs // lanes)
        self.code, self.turned, self.tasks = code, turned, samples * groups * blocks
        self.rows = evenly(out[2], register_tile.widest(SIZES[code], self.vectors))
        copied, shape = stride[2] > 1 or padding != (0, 0, 0), size
        if copied:
            shape = [(o - 1) * s + (k - 1) * d + 1 for o, s, k, d in zip(out[:2], stride, taps, dilation)]
            shape.append(out[2] + (taps[2] - 1) * dilation[2] // stride[2])
        line = stride[2] * shape[2]
        self.scratch = (channels * shape[0] * shape[1] * line * SIZES[code] + 127) // 64 * 64 if copied else 0
        places = [(i * dilation[0] * shape[1] + j * dilation[1]) * line + at % stride[2] * shape[2] + at // stride[2]
                  for i in range(taps[0]) for j in range(taps[1]) for at in range(0, taps[2] * dilation[2], dilation[2])]
        places = np.array(places[::-1] if turned else places, np.int64)
        self.offsets = np.ravel(np.arange(channels)[:, None] * (shape[0] * shape[1] * line) + places)
        self.first = groups * blocks * lanes
        self.weights = self.first * len(self.offsets)
        self.sizes = outputs, channels, len(places), blocks, int(turned)
        self.table = np.array((0, 0, 0, 0, 0, self.scratch, 1, blocks, groups, outputs, len(self.offsets), channels, *size,
                               *shape, stride[2], *padding, *out, self.tasks, *stride[:2], 0), np.int64)
        # In multiply-adds of the products of columns, which reach 0.7 of the greatest rate.
        steps = self.tasks * lanes * len(self.offsets) * out[0] * out[1] * -(-out[2] // self.rows) * self.rows
        self.cost = (0.7 if self.vectors == 2 else 0.86) * steps + 9 * self.weights + 14 * samples * self.scratch // SIZES[code]

    def divide(self, count, work):
        """Cut the work for ``count`` threads."""
        self.units = self.table[6] = max(1, min(count, self.tasks)) if work > threads.SERIAL_BELOW["gemm"] else 1


def evenly(n, most):
    """The size up to ``most`` of parts that cover ``n`` places with as few as can be done twice."""
    least = min(n, most, 8)
    return min(range(least, min(n, most) + 1), key=lambda size: (-(-n // size) * size, -size))


def launch(plan, bytes_, x, w, b, y):
    """Run a plan: x and y as ``convolve`` sees them, b an address or 0, ``bytes_`` the kind of scratch memory."""
    size = SIZES[plan.code]
    memory, at = bytes_.alloc((plan.weights + plan.first) * size + plan.units * plan.scratch + 192)
    weights = (at + 63) // 64 * 64
    first = weights + (plan.weights * size + 63) // 64 * 64
    blocks = plan.sizes[3] * int(plan.table[8])
    table = np.array((w._ptr, b or w._ptr, weights, first, *plan.sizes, int(b != 0)), np.int64)
    threads.parallel_for(native(lay_out, plan.code, plan.vectors, 0), storage.address(table), blocks,
                         max(1, blocks * threads.SERIAL_BELOW["elementwise"] // plan.weights), range(4))
    table = plan.table.copy()
    table[:5] = (x._ptr, weights, first, y._ptr, (first + plan.first * size + 63) // 64 * 64)
    threads.parallel_for(native(convolve, plan.code, plan.vectors, plan.rows), storage.address(table), plan.units, 1,
                         (0, 1, 2, 3, 4, -1))
    del memory  # held until here
