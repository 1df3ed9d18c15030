"""From calls to a program: native functions, their argument tables in one block of memory, and the arena."""

from __future__ import annotations

import functools
import os
from array import array
from functools import partial

import numpy as np

from ..core import storage
from ..core.tensor import Tensor, numel, raw
from ..dispatch import fold
from ..kernel import jit, threads, trampoline
from ..kernel.progress import covered
from ..kernel.tape import BASE
from . import branches, emit, emit_fold, inplace, memory, passes
from .driver import tasks, walk, walk_with
from .ir import INPUT, KEPT, OUTPUT, STATE, TEMPORARY, Fold, Gemm, Host, KernelCall, Operand, Optim, Ptr, Raw
from .late import Undo
from .parallel import make_all
from .progress import Progress
from .symbols import Symbol, float_of

# A debugging aid: freed arena slots are overwritten, so that a value used after its slot was given away shows.
POISON = os.environ.get("NUMBAGRAD_COMPILE_POISON", "0") not in ("", "0")
# Nanoseconds that an element read or written and a multiply-add take at best, and from which sum of them on a program lets
# other threads of Python run.
ELEMENT, MULTIPLY_ADD, RELEASE = 0.04, 0.02, 100_000


class Callee:
    """As the first word of a table: the address of a kernel that is not made yet. ``native()`` makes it."""

    __slots__ = ("native",)

    def __init__(self, native):
        self.native = native


class Item:
    """A native call: ``make()`` returns the function's address; words are ints, floats, ``Ptr``, ``Operand`` and ``Callee``."""

    __slots__ = ("call", "make", "words", "items", "grain", "source", "rows", "live")

    def __init__(self, call, make, words, items, grain=0, source=None, rows=None, live=None):
        self.call, self.make, self.words, self.items, self.grain = call, make, words, items, grain
        self.source, self.rows, self.live = source, rows, live

    def cost(self):
        """Roughly, compile time: the length of the text."""
        if self.source is not None:
            return len(self.source)
        if isinstance(self.call, (KernelCall, Optim)):
            return 2 * len(self.call.kernel.fn.__code__.co_code)
        return 20_000 if isinstance(self.call, Raw) else 2000

    def work(self):
        """Nanoseconds of its memory and products, at best."""
        flops = numel(self.call.sizes) * self.call.batch if isinstance(self.call, Gemm) else 0
        return sum([b.nbytes // 4 for b in self.buffers()]) * ELEMENT + flops * MULTIPLY_ADD

    def buffers(self):
        """Buffers whose memory the call is given."""
        return {w.buffer for w in (self.words if self.rows is None else self.rows) if w.__class__ in (Ptr, Operand)}

    def identity(self):
        """Equal for items with the same native function."""
        call = self.call
        if self.source is not None:
            return self.source
        if isinstance(call, (KernelCall, Optim)):
            return id(call.kernel), call.dtype, call.items is None if isinstance(call, KernelCall) else None
        if isinstance(call, Fold):
            return id(call.op), call.key
        return (Gemm, call.code) if isinstance(call, Gemm) else call.fn


def through(call, native, letters, words, items, grain, ranged=True):
    """The item of a kernel that takes its arguments one by one (see ``jit.through``); ``native()`` makes it."""
    def make():
        native()
        return jit.through(letters, ranged)
    return Item(call, make, [Callee(native), *words], items, grain)


def lower(call, needed, begins, ends):
    """The native form of one call. Of a buffer, ``needed``: a later call reads it; ``begins``, ``ends``: no call touches it
    before, after this one."""
    limit = 2 * threads.SERIAL_BELOW["elementwise"]

    def grain(items, work):
        return max(1, items * (limit // 2) // work) if items > 1 and work >= limit else 0

    if isinstance(call, passes.Group):
        ins, outs, inputs, scalars, values, expressions = call.fused(needed)
        inplace.share(ins, outs, begins, ends)
        name = call.calls[0].name.removeprefix("loop_") if len(call.calls) == 1 else "chain"
        if call.folds:
            folds = [(out, e, *rest) for (out, _, *rest), e in zip(call.folds, expressions[len(outs):])]
            name = (name if name != "chain" else "") + "_".join(["", *[f[2].name for f in folds]])
            loop = emit_fold.FoldLoop(name.lstrip("_"), call.compute, ins, outs, scalars, values, expressions[:len(outs)],
                                      inputs, call.shape, *call.form, folds)
        else:
            loop = emit.Loop(name, call.compute, ins, outs, scalars, values, expressions, inputs, call.shape)
        fast = jit.loop_flags(call.compute)
        text, key, env = loop.text()
        call.loop = loop
        return Item(call, lambda: emit.compiled(text, key, env, loop.name, fast).address, loop.words(lambda o: o), loop.items,
                    grain(loop.items, loop.elements), text)
    if isinstance(call, Fold):
        x, out = call.x, call.out
        n = call.numbers[-1]
        return through(call, partial(call.op.native, *call.key), fold.LETTERS, [x, out, *call.numbers], call.items,
                       grain(call.items, n))
    if isinstance(call, KernelCall):
        values, items, names = call.values, call.items, [p for p, _ in call.kernel.parameters({})]
        ranged = names[-2:] == ["start", "stop"]
        if items is None and ranged and values[-2] == 0:
            values, items, ranged, g = values[:-2], values[-1], True, 0
        elif items is None:
            items, ranged, g = 1, False, 0
        else:
            g = grain(items, call.work)
        words = [float_of(v) if k == "f" else v for v, k in zip(values, call.kinds)]
        return through(call, partial(call.kernel.native, call.dtype), call.kernel.letters(ranged), words, items, g, ranged)
    if isinstance(call, Gemm):
        from ..kernel import blas
        rows, columns, units, g = blas.pieces(*call.sizes, call.batch)
        words = [call.a, call.b, call.c, *call.sizes, *call.lds, *call.flags, *call.strides, rows, columns,
                 float_of(call.alpha), float_of(call.beta)]
        return Item(call, lambda: blas._piece_address(call.code), words, units, g)
    if isinstance(call, Optim):
        return Item(call, lambda: call.kernel.rows_form(call.dtype).address, [], 0, rows=call.rows,
                    live=call.shared)
    if isinstance(call, Raw):
        return Item(call, call.fn if callable(call.fn) else lambda: call.fn, call.words, call.items, call.grain)
    raise TypeError(f"no native form for {type(call).__name__}")


class Program:
    """A compiled run: call it with the base addresses of its inputs and outputs."""

    def __init__(self, calls, inputs, outputs, shared, name="step", first=0, cells=()):
        """``first``: so many calls are a part of their own, after which Python looks at what is in ``cells``."""
        self.inputs, self.outputs, self.first = inputs, outputs, first
        self.undo = Undo(calls[:first], cells, {b: i for i, b in enumerate((*inputs, *outputs))})
        for call in calls:
            if isinstance(call, Host):
                for b in call.buffers():
                    if b.role == TEMPORARY:
                        b.role = KEPT
        readers, touched = passes.needed_by(calls), memory.lifetimes(calls)
        self.items, self.segments = [], []

        def lowered_at(i, call):
            return lower(call, lambda b: b.role != TEMPORARY or any([r > i for r in readers.get(b, ())]),
                         lambda b: touched[b][0] == i, lambda b: touched[b][1] == i)

        lowered = [None if isinstance(c, Host) else lowered_at(i, c) for i, c in enumerate(calls)]
        order, self.stretches = ([*range(len(calls))], []) if POISON else branches.arrange(lowered, first)
        self.calls, lowered = [calls[i] for i in order], [lowered[i] for i in order]
        self.work = sum([item.work() for item in lowered if item is not None])
        self.plain = not POISON and not any([isinstance(c, Host) for c in self.calls])
        # Small programs keep the GIL from the first address to the last kernel, which makes a call atomic. The threading
        # layers release it.
        threaded = threads.get_num_threads() > 1 and any([item is not None and branches.is_cut(item) for item in lowered])
        self.atomic = not first and self.plain and self.work < RELEASE and len(inputs) + len(outputs) <= 12 and not (
            threaded or self.stretches)
        # Others take turns.
        shared = shared.atomic if self.atomic else shared
        self.lock = shared.lock
        self._place(shared, [c if isinstance(c, Host) else item for c, item in zip(self.calls, lowered)])
        self._assemble(lowered, name)

    @property
    def numbers(self):
        """(slot, name) of all numbers that each run is given."""
        return [*self.symbolic, *self.middle]

    # --- memory

    def _place(self, shared, used):
        """Give every buffer its address, or its number among those that change from call to call."""
        spans, every = {}, set()
        # What tasks use is alive as long as any of them runs.
        ends = {i: (s.first, s.last - 1) for s in self.stretches for i in range(s.first, s.last)}
        for i, u in enumerate(used):
            first, last = ends.get(i, (i, i))
            for b in u.buffers():
                if b.role == TEMPORARY:
                    every.add(b)
                    spans[b.home] = (spans.get(b.home, (first, first))[0], last)
        self.spans = spans
        self.arena_bytes, offsets = memory.plan(spans)
        self.total_bytes = sum([b.nbytes for b in every])
        # Numbers of the first slots vary by variant; a cache line before keeps neighbours apart.
        self.arena = shared.take(self.arena_bytes + 128)
        base = -(-storage.address(self.arena) // 64) * 64
        self.offsets, self.arena_base = offsets, base
        self.number = {b: i for i, b in enumerate((*self.inputs, *self.outputs))}

    def address(self, b):
        """The fixed address of a buffer that has one."""
        if b.role == TEMPORARY:
            return self.arena_base + self.offsets[b.home]
        if b.role == KEPT:
            if b.array is None:
                b.array = np.empty(max(b.obj.size, 1), b.obj.dtype)
            return storage.address(b.array)
        if b.role == STATE:
            return b.base
        raise KeyError(b)

    # --- tables

    def _assemble(self, lowered, name):
        words, relocations, rows, self.live, self.symbolic, self.middle = [], [], [], [], [], []
        callees = []
        self.row_of, self.slots = [], {}  # slots: places of the addresses of memory that is kept

        def put(value):
            at = len(words)
            if isinstance(value, Symbol):
                (self.middle if value.late else self.symbolic).append((at, value.name))
                words.append(trampoline.bits(value.plain))
            elif value.__class__ in (Ptr, Operand):
                b = value.buffer
                if b.role in (INPUT, OUTPUT):
                    relocations.append((at, self.number[b], value.offset))
                    words.append(0)
                else:
                    if b.role == KEPT:
                        self.slots.setdefault(b, []).append(at)
                    words.append(self.address(b) + value.offset)
            elif value.__class__ is Callee:
                callees.append((at, value))
                words.append(0)
            elif value.__class__ is float:
                words.append(trampoline.bits(value))
            else:
                if not -BASE < value < BASE:
                    raise RuntimeError(f"ng.compile: an argument of {call.name} points to memory that only the capture had")
                words.append(int(value))
            return at

        plans, starts = [], {s.first: s for s in self.stretches}
        for at, (item, call) in enumerate(zip(lowered, self.calls)):
            if at in starts:
                plans.append(("tasks", starts[at]))
            if item is None:
                plans.append(("host", call))
                continue
            if item.rows is not None:
                cells = [put(v) for v in item.rows]
                head = len(words)
                n = len(item.rows) // call.kernel.rows
                words += [None, n]
                kinds = [k for _, k in call.kernel.parameters({})[call.kernel.rows:]]
                live = [put(float(v) if k == "f" else int(v)) for v, k in zip(item.live, kinds)]
                words[head] = ("self", cells[0])
                self.live.append((call, live, kinds))
                plans.append(("call", item, head, n, 0))
            else:
                head = len(words)
                for v in item.words:
                    put(v)
                plans.append(("call", item, head, item.items, item.grain))
            for flag in call.checks:
                plans.append(("check", flag))
        self.memory = np.zeros(max(len(words), 1), np.int64)
        start = storage.address(self.memory)
        for i, w in enumerate(words):
            self.memory[i] = start + 8 * w[1] if w.__class__ is tuple else w
        makers = {}
        for p in plans:
            if p[0] == "call":
                makers.setdefault(p[1].identity(), (p[1].cost(), p[1].make))
        makers["walk"] = 1000, lambda: walk_with(len(self.number)) if self.atomic else self.walk
        if self.stretches:
            makers["tasks"] = 1000, lambda: tasks().address
        bar = Progress(len(makers), name)
        with covered():
            make_all([make for _, make in sorted(makers.values(), key=lambda m: m[0])], bar)
        bar.close()
        for at, callee in callees:
            self.memory[at] = callee.native().address
        first, waiting, self.divided = 0, [], None
        parts = []  # (first row, last row, host function) of each call
        for p in plans:
            if p[0] == "check":
                parts[-1] = (parts[-1][0], len(rows) + 1, None)
            elif p[0] != "tasks":
                parts.append((len(rows), len(rows) + (p[0] == "call"), p[1] if p[0] == "host" else None))
            if p[0] not in ("check", "tasks") and self.first and len(parts) == self.first + 1 or p[0] == "tasks" and (
                    self.first and len(parts) == self.first):
                if self.divided is None:  # here the second part begins
                    self.segments.append((first, len(rows), None))
                    self.divided, first = len(self.segments), len(rows)
            if p[0] == "host":
                self.segments.append((first, len(rows), p[1]))
                first = len(rows)
                continue
            if p[0] == "check":
                rows.append((0, p[1].address, -1, 0))
                self.row_of.append(p[1])
                continue
            if p[0] == "tasks":
                waiting.append((len(rows), p[1]))
                rows.append((1, 0, p[1].last - p[1].first, 0))
                self.row_of.append(p[1])
                continue
            _, item, head, n, grain = p
            rows.append((item.make(), start + 8 * head, n, grain))
            self.row_of.append(item)
            self.items.append(item)
        self.segments.append((first, len(rows), None))
        if self.divided is None:
            self.divided = len(self.segments)
        self.parts = parts
        self.rows = np.array(rows, np.int64).reshape(-1, 4)
        self.tables = [self._tasks(row, s) for row, s in waiting]
        self.relocations = np.array(relocations, np.int64).reshape(-1, 3)
        self.base_values = array("q", [0] * max(len(self.number), 1))
        address = storage.address
        self.header = np.array((len(rows), address(self.rows), len(relocations), address(self.relocations),
                                self.base_values.buffer_info()[0], start, threads.state_address(),
                                threads.driver_address() if threads.get_num_threads() > 1 else 0,
                                tasks().address if self.stretches else 0), np.int64)
        self.header_address = address(self.header)
        self.count = len(rows)

    def _tasks(self, row, stretch):
        """The arrays behind a row of tasks, which must stay where they are."""
        address = storage.address
        offsets = np.cumsum([0, *map(len, stretch.waits)], dtype=np.int64)
        waits = np.array([k for found in stretch.waits for k in found] or [0], np.int64)
        count = stretch.last - stretch.first
        done, table = np.zeros(count, np.int64), np.zeros(32, np.int64)
        table = table[-address(table) % 64 // 8:]
        table[:5] = address(self.rows) + 32 * (row + 1), count, address(offsets), address(waits), address(done)
        self.rows[row, 1], self.rows[row, 3] = address(table), min(threads.get_num_threads(), count)
        return table, offsets, waits, done

    def move(self, b, by):
        """Kept memory lies elsewhere from now on; the caller holds the lock."""
        for at in self.slots.get(b, ()):
            self.memory[at] += by

    # --- running

    @functools.cached_property
    def walk(self):
        """The native walk over a range of rows."""
        return walk(self.work >= RELEASE)

    def run(self, part=None):
        """One run, after ``bases`` were set, or one of its two parts; the caller holds the lock."""
        if POISON:
            return self.run_poisoned(part)
        for first, last, host in (self.segments if part is None else self.segments[self.divided:] if part else
                                  self.segments[:self.divided]):
            if last > first:
                failed = self.walk(self.header_address, first, last)
                if failed >= 0:
                    self.failed(failed)
            elif first == 0:
                self.walk(self.header_address, 0, 0)
            if host is not None:
                self.call_host(host)

    def run_poisoned(self, part=None):
        """One call after the other; arena slots are filled with NaN before their first and after their last use."""
        ends = {}
        for b, (_, last) in self.spans.items():
            ends.setdefault(last, []).append(b)
        shift = self.arena_base - storage.address(self.arena)
        if part != 1:
            self.arena.fill(255)
            self.walk(self.header_address, 0, 0)
        for i, (first, last, host) in enumerate(self.parts):
            if part is not None and part != (i >= self.first):
                continue
            for row in range(first, last):
                # Row 0 would fill in the addresses again, which does no harm.
                if self.walk(self.header_address, row, row + 1) >= 0:
                    self.failed(row)
            if host is not None:
                self.call_host(host)
            for b in ends.get(i, ()):
                at = shift + self.offsets[b]
                self.arena[at:at + b.nbytes].fill(255)

    def failed(self, row):
        """Raise what the kernel before a check found."""
        self.row_of[row].report()
        raise RuntimeError("a kernel met bad input")

    def call_host(self, call):
        """Run a host function on tensors over this run's memory."""
        fn, template, kwargs = call.prepared
        fn(*[self._real(v) for v in template], **kwargs)

    def _real(self, v):
        cls = v.__class__
        if cls is Where:
            obj, base = self._memory(v.buffer)
            if v.kind is None:
                return obj
            return raw(obj, base + v.offset, v.n, v.shape, v.strides, v.kind, [0])
        if cls in (list, tuple):
            return cls([self._real(x) for x in v])
        return v

    def _memory(self, b):
        """(array, address) of a buffer in the run in progress."""
        if b in self.number:
            k = self.number[b]
            return self.objects[k], self.base_values[k]
        if b.role == KEPT:
            self.address(b)  # no native call may have asked for it
        if b.array is not None:
            return b.array[:b.obj.size] if b.fake else b.array, storage.address(b.array)
        return b.obj, b.base


class Where:
    """A tensor (or, without ``kind``, an array) that a host function is given, as a place in a buffer."""

    __slots__ = ("buffer", "offset", "n", "shape", "strides", "kind")

    def __init__(self, buffer, t=None):
        self.buffer, self.kind = buffer, None
        if t is not None:
            self.offset, self.n, self.shape, self.strides, self.kind = (
                t._ptr - buffer.base, t._n, t._shape, t._strides, t._kind)


def prepare_hosts(calls, buffers):
    """Replace the tensors in the arguments of host functions by their places, so that nothing holds fake memory."""
    def place(v):
        if isinstance(v, Tensor):
            return Where(buffers[id(v._buf)], v)
        if id(v) in buffers and not isinstance(v, (int, float)):
            return Where(buffers[id(v)])
        if isinstance(v, (list, tuple)) and type(v) in (list, tuple):
            return type(v)([place(x) for x in v])
        return v
    for call in calls:
        if isinstance(call, Host) and call.values is not None:
            call.prepared = call.fn, [place(v) for v in call.values], call.kwargs
            call.values = None
