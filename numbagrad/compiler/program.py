"""From calls to a program: native functions, their argument tables in one block of memory, and the arena."""

from __future__ import annotations

import functools
import os
from array import array

import numpy as np

from ..core import storage
from ..core.tensor import raw
from ..kernel import threads, trampoline
from ..kernel.progress import covered
from ..kernel.tape import BASE
from . import branches, memory, passes
from .driver import tasks, walk, walk_with
from .hosts import Where
from .ir import INPUT, KEPT, OUTPUT, STATE, TEMPORARY, Host, Operand, Ptr, Whole
from .late import Undo
from .lower import Callee, lower
from .parallel import make_all
from .progress import Progress
from .symbols import Symbol

# A debugging aid: freed arena slots are overwritten, so that a value used after its slot was given away shows.
POISON = os.environ.get("NUMBAGRAD_COMPILE_POISON", "0") not in ("", "0")
# Nanoseconds of work from which on a program lets other threads of Python run.
RELEASE = 100_000


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
        callees, self.given = [], {}  # given: host call -> {place of an argument: place of the number that it is in each run}
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
                if value.__class__ is not Whole and not -BASE < value < BASE:
                    raise RuntimeError(f"ng.compile: an argument of {call.name} points to memory that only the capture had")
                words.append(int(value))
            return at

        plans, starts = [], {s.first: s for s in self.stretches}
        for at, (item, call) in enumerate(zip(lowered, self.calls)):
            if at in starts:
                plans.append(("tasks", starts[at]))
            if item is None:
                self.given[call] = {i: put(v) for i, v in enumerate(call.prepared[1]) if isinstance(v, Symbol)}
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
        numbers, cells = self.given[call], self.memory.view(np.float64)
        fn(*[float(cells[numbers[i]]) if i in numbers else self._real(v) for i, v in enumerate(template)], **kwargs)

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
