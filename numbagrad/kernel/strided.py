"""Loops over operands of any strides, by kernels that know row-major operands only.

The walk takes one block of elements after the other. An operand whose elements lie in a row there is used where it is. Of any
other input a copy is made first, which stays in the first-level cache; any other output is written back from one. The walk
and its copies know sizes in bytes and no dtypes: they are compiled once, and no op needs a loop of its own for strides.
(NumPy's iterators do the same where they must convert.)
"""

from __future__ import annotations

import functools
from array import array

from ..base import dtypes as dt
from . import native, trampoline
from .guard import guarded

BLOCK = 4096   # bytes of the widest operand in a block: several blocks fit into the first-level cache
ROWS = 16      # of a block where an operand runs across: so many elements share a cache line at least
LONG = 64      # elements of a row from which a kernel of its own for constant operands is worth it
RUN = 64       # bytes of a row from which it is copied as one piece
OPERANDS = 12  # at most, inputs and outputs
WORDS = 32     # of a kernel's arguments, at most
SIZE = {d.code: d.itemsize for d in dt.ALL}
LOG = {code: size.bit_length() - 1 for code, size in SIZE.items()}
UNITS = ("u1", "i2", "i4", "i8", "c16")  # how copies see elements of 1, 2, 4, 8 and 16 bytes

# dst[a * dr + b * dt] = src[a * sr + b * st] for a < h, b < w. LLVM's overlap check refuses rows that go backwards: the walk
# asks for one at a time.
MOVE = """\
    if h == 1:
        dr = sr = 0
    if dt != 1:
        if h > 1 and abs(sr) + abs(dr) < abs(st) + abs(dt):
            for b in range(w):
                for a in range(h):
                    d[a * dr + b * dt] = s[a * sr + b * st]
        else:
            for a in range(h):
                for b in range(w):
                    d[a * dr + b * dt] = s[a * sr + b * st]
    elif st == 0:
        for a in range(h):
            v = s[a * sr]
            for b in range(w):
                d[a * dr + b] = v
    elif st == 1:
        for a in range(h):
            for b in range(w):
                d[a * dr + b] = s[a * sr + b]
    elif h > 1 and abs(sr) < abs(st):  # eight at a time: a stretch of each row, in no more lines than a cache has ways
        whole = w // 8 * 8
        for k in range(0, whole, 8):
            for a in range(h):
                p, q = a * dr + k, a * sr + k * st
                for b in range(8):
                    d[p + b] = s[q + b * st]
        for a in range(h):
            for b in range(whole, w):
                d[a * dr + b] = s[a * sr + b * st]
    else:
        for a in range(h):
            for b in range(w):
                d[a * dr + b] = s[a * sr + b * st]
"""
# Words of the table: function as made by ``rows`` and kernel to call (0: the input is copied as it is), plan of ``emit.plan``,
# ``operands``, bits of the inputs that the kernel takes as constant along a row, then the kernel's arguments.
WALK = f"""def walk(table, start, stop):
    t = ptr_i8(table)
    kernel, meta, log, constant = t[1], ptr_i8(t[2]), ptr_i8(t[3]), t[4]
    same, n_in, count, more, widest = log[-5], log[-4], log[-3], log[-2], log[-1]
    nd = meta[0]
    inner, rows = meta[nd], meta[nd - 1]
    args, at, r, c, held, filled = two(), words(), words(), words(), words(), words()
    if kernel == 0 and meta[2 * nd] == 1 and meta[3 * nd] == 1 and inner << log[0] >= {RUN} and nd <= {OPERANDS}:
        src, dst, left = t[5], t[6], start
        for d in range(nd - 2, -1, -1):
            up = left // meta[1 + d]
            at[d] = left - up * meta[1 + d]
            left = up
            src += at[d] * meta[1 + nd + d] << log[0]
            dst += at[d] * meta[1 + 2 * nd + d] << log[0]
        for _ in range(start, stop):
            move_bytes(dst, src, inner << log[0])
            for d in range(nd - 2, -1, -1):
                at[d] += 1
                back = 0 if at[d] < meta[1 + d] else at[d]
                src += (1 - back) * meta[1 + nd + d] << log[0]
                dst += (1 - back) * meta[1 + 2 * nd + d] << log[0]
                if back == 0:
                    break
                at[d] = 0
        return
    space = room()
    args[0] = kernel
    across = False
    for k in range(count):
        r[k], c[k] = meta[(k + 2) * nd - 1] if nd > 1 else 0, meta[(k + 2) * nd]
        across = across or abs(c[k]) > abs(r[k]) > 0
        filled[k] = 0
    for k in range(count, count + more):
        args[1 + k] = t[5 + k]
    block = {BLOCK} >> widest
    w, h = min(inner, block), 1
    if constant == 0:
        if across and inner > block // {ROWS}:
            w, h = block // {ROWS}, {ROWS}
        elif inner <= block and (kernel != 0 or inner < {ROWS} or min(r[0], r[1]) >= 0):
            h = block // inner
        elif kernel == 0:
            w = inner
    # Rows that every operand walks with a stride of one (or stays in place) are long enough to be taken where they are.
    whole = kernel != 0 and (constant != 0 or inner >= {4 * LONG})
    for k in range(count):
        whole = whole and (c[k] == 1 or constant >> k & 1 != 0)
        for x in range(n_in if k >= n_in else 0):  # a loop over one memory by two pointers is not vectorised
            whole = whole and (t[5 + x] != t[5 + k] or x + 1 == same and k == n_in)
    row = start
    while row < stop:
        left = row // rows
        place = row - left * rows
        many = min(rows - place, stop - row)
        row += many
        for k in range(count):
            at[k] = place * r[k]
        for d in range(nd - 3, -1, -1):
            up = left // meta[1 + d]
            place = left - up * meta[1 + d]
            left = up
            for k in range(count):
                at[k] += place * meta[1 + (k + 1) * nd + d]
        if whole:
            for k in range(count):
                args[1 + k] = t[5 + k] + (at[k] << log[k])
                args[{WORDS} + k] = r[k] << log[k]
            call_rows(t[0], address(args), many, inner)
            continue
        if kernel == 0:
            for j in range(0, many, h):
                for i in range(0, inner, w):
                    call_move(log[{OPERANDS}], t[6] + (at[1] + j * r[1] + i * c[1] << log[0]), r[1], c[1],
                              t[5] + (at[0] + j * r[0] + i * c[0] << log[0]), r[0], c[0], min(h, many - j), min(w, inner - i))
            continue
        for j in range(0, many, h):
            high = min(h, many - j)
            for i in range(0, inner, w):
                wide = min(w, inner - i)
                kept = 0  # bits of the operands in buffers
                for k in range(count):
                    if k == n_in and same > 0:  # the kernel writes where it reads
                        args[1 + k] = args[same]
                        if kept >> (same - 1) & 1 != 0:
                            kept |= 1 << k
                            filled[same - 1] = 0
                        continue
                    base = at[k] + j * r[k] + i * c[k]
                    here = t[5 + k] + (base << log[k])
                    direct = c[k] == 1 and (high == 1 or r[k] == wide) or constant >> k & 1 != 0
                    if direct and k >= n_in:
                        for x in range(n_in):
                            direct = direct and args[1 + x] != here
                    if direct:
                        args[1 + k] = here
                        continue
                    kept |= 1 << k
                    args[1 + k] = space + {BLOCK} * k
                    if k < n_in and not (held[k] == base and filled[k] >= high * wide):
                        call_move(log[{OPERANDS} + k], args[1 + k], wide, 1, here, r[k], c[k], high, wide)
                        held[k], filled[k] = base, high * wide if r[k] == 0 else 0
                call_rows(t[0], address(args), 1, high * wide)
                for k in range(n_in, count):
                    if kept >> k & 1 != 0:
                        here = t[5 + k] + (at[k] + j * r[k] + i * c[k] << log[k])
                        call_move(log[{OPERANDS} + k], here, r[k], c[k], args[1 + k], wide, 1, high, wide)
"""


@functools.cache
@guarded
def walk():
    """The walk, ``(table, start, stop)``, over rows of a plan."""
    stack, (room, address, move_bytes) = native.nb().stack, _intrinsics()
    env = {"words": stack("i8", OPERANDS), "two": stack("i8", 2 * WORDS), "room": room, "address": address,
           "move_bytes": move_bytes, "call_rows": trampoline.invoke("iii"), "call_move": trampoline.invoke("iiiiiiii")}
    return native.compile_source(WALK, "walk", "iii", env, str((BLOCK, OPERANDS, WORDS)), entry=False)


@functools.cache
@guarded
def move(log):
    """Address of the function that copies rows and columns of elements of ``2 ** log`` bytes."""
    text = f"def move(dst, dr, dt, src, sr, st, h, w):\n    d, s = ptr_{UNITS[log]}(dst), ptr_{UNITS[log]}(src)\n" + MOVE
    return native.compile_source(text, "move", "iiiiiiii", entry=False).address


@functools.cache
@guarded
def rows(letters, operands):
    """Address of a function ``(table, rows, inner)`` that calls a kernel on ``range(inner)`` for each of several rows.

    The table has the kernel's address, its arguments (``letters`` are their kinds, the range left out; the first ones are the
    operands' addresses), and from ``WORDS`` on what is added to those addresses from row to row."""
    names = [f"a{i}" for i in range(len(letters))]
    text = "def rows(table, rows, inner):\n    args, fargs = ptr_i8(table), ptr_f8(table)\n    kernel = args[0]\n"
    text += "".join(f"    {n} = {'f' * (kind == 'f')}args[{i + 1}]\n" for i, (n, kind) in enumerate(zip(names, letters)))
    text += "".join(f"    s{i} = args[{WORDS + i}]\n" for i in range(operands))
    text += f"    for _ in range(rows):\n        invoke(kernel, {''.join(n + ', ' for n in names)}0, inner)\n"
    text += "".join(f"        a{i} += s{i}\n" for i in range(operands))
    return native.compile_source(text, "rows", "iii", {"invoke": trampoline.invoke(letters + "ii")}, letters,
                                 entry=False).address


def _intrinsics():
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic

    @intrinsic
    def room(typingctx):
        """Address of a buffer for each operand, on the stack."""
        def codegen(context, builder, signature, args):
            with builder.goto_entry_block():  # (Numba's own helper would fill it with zeros)
                slot = builder.alloca(ir.ArrayType(ir.IntType(8), BLOCK * OPERANDS))
            slot.align = 64
            return builder.ptrtoint(slot, ir.IntType(64))
        return types.int64(), codegen

    @intrinsic
    def address(typingctx, pointer):
        """The address that a pointer holds."""
        def codegen(context, builder, signature, args):
            return builder.ptrtoint(args[0], ir.IntType(64))
        return types.int64(pointer), codegen

    @intrinsic
    def move_bytes(typingctx, dst, src, count):
        """Copy bytes from one address to another: four vectors at a time, the rest by the C library, as what overlaps."""
        def codegen(context, builder, signature, args):
            dst, src, count = args
            word, vector = ir.IntType(64), ir.VectorType(ir.IntType(32), 16)
            apart = builder.and_(builder.icmp_unsigned(">=", builder.sub(dst, src), count),
                                 builder.icmp_unsigned(">=", builder.sub(src, dst), count))
            whole = builder.select(apart, builder.and_(count, word(-256)), word(0))
            with cgutils.for_range_slice(builder, word(0), whole, word(256)) as (at, _):
                places = [[builder.inttoptr(builder.add(a, builder.add(at, word(64 * k))), vector.as_pointer())
                           for k in range(4)] for a in (src, dst)]
                for value, place in zip([builder.load(p, align=1) for p in places[0]], places[1]):
                    builder.store(value, place, align=1)
            pointers = [builder.inttoptr(builder.add(a, whole), ir.IntType(8).as_pointer()) for a in (dst, src)]
            cgutils.raw_memmove(builder, *pointers, builder.sub(count, whole), 1)
            return context.get_dummy_value()
        return types.none(types.int64, types.int64, types.int64), codegen
    return room, address, move_bytes


def address_of():
    """The kernel function ``address(pointer)``."""
    return _intrinsics()[1]


@functools.cache
@guarded
def enter(letters):
    """The walk as Python calls it: ``(walk's address, words of its table..., start, stop)``.

    ``letters`` are the kinds of the kernel's arguments without its range."""
    params = ["function", "kernel", "plan", "operands", "constant", *[f"a{i}" for i in range(len(letters))]]
    text = f"def enter(walk, {', '.join(params)}, start, stop):\n    t = words()\n    f = ptr_f8(address(t))\n"
    for i, (p, kind) in enumerate(zip(params, "iiiii" + letters)):
        text += f"    {'f' if kind == 'f' else 't'}[{i}] = {p}\n"
    text += "    invoke(walk, address(t), start, stop)\n"
    env = {"words": native.nb().stack("i8", WORDS + 5), "address": _intrinsics()[1], "invoke": trampoline.invoke("iii")}
    return native.compile_source(text, "enter", "iiiiii" + letters + "ii", env, str(WORDS)).entry


_operands: dict = {}


def operands(in_codes, out_codes, numbers, inplace=0):
    """Address of what the walk has to know of a kernel: the logarithm of each operand's bytes and, ``OPERANDS`` words on, its
    ``move``; before them the number, from 1, of the input that the first output is, if it is one, how many inputs, operands and
    words of scalars there are, and the largest logarithm."""
    key = in_codes, out_codes, numbers, inplace
    if key not in _operands:
        logs = [LOG[code] for code in (*in_codes, *out_codes)]
        if len(logs) > OPERANDS or len(logs) + numbers > WORDS - 8:
            raise NotImplementedError(f"a loop over {len(logs)} operands and {numbers} numbers")
        _operands[key] = array("q", [
            inplace, len(in_codes), len(logs), numbers, max(logs), *logs, *[0] * (OPERANDS - len(logs)), *map(move, logs)])
    return _operands[key].buffer_info()[0] + 5 * 8
