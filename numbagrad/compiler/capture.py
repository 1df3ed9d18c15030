"""Capture: run a function on fake memory and write down every kernel launch.

The recorder is called by the hooks in ``core.launch.launch``, ``dispatch.custom.run``, ``dispatch.reduction``,
``kernel.jit.Kernel``, ``kernel.blas.gemm``, ``kernel.threads.parallel_for`` and ``optim.optimizer._run``. What it writes down
are ``Call`` objects over ``Buffer`` objects; nothing of Python is left in them.
"""

from __future__ import annotations

import contextlib
import sys
from bisect import bisect_right, insort
from threading import get_ident

import numpy as np

from ..base import modes
from ..base.shapes import expanded_strides
from ..base.user_code import INSIDE, user_line, user_place
from ..core import storage
from ..core.copying import FILL
from ..core.tensor import Tensor, contiguous_strides, raw
from ..kernel import tape
from ..kernel.tape import BASE, Fake, Refusal, Unlowered
from . import late, symbols
from .effects import effects
from .files import trusted
from .frames import nothing
from .ir import TEMPORARY, Buffer, Fold, Gemm, Host, KernelCall, Operand, Optim, Pointwise, Ptr, Raw
from .places import Content, Entry, Hooks


class CaptureError(RuntimeError):
    """A step cannot be compiled as it is written; the message names the line."""


class Recorder:
    """The calls of one captured run, and the memory they touch."""

    def __init__(self):
        self.thread, self.paused = get_ident(), 0
        self.calls, self.buffers, self.fakes, self.real = [], {}, [], []
        self.next = BASE
        self.scratch = {}       # address -> array that a launcher made
        self.leaves = {}        # id -> [leaf, gradient before, whether that was read]
        self.optimizers = {}    # id -> (optimizer, copy of its state before)
        self.optimizer = None
        self.label = None       # op whose launcher runs
        self.versions = {}      # id of a version list -> (list, count before)
        self.inside = 0
        self.born = {}          # leaves that were made during the capture
        self.given = {}         # memory that became a leaf's gradient
        self.runs = {}          # optimizer -> updates so far
        self.updates = {}       # optimizer -> the library's function that updates its parameters
        self.composed = set()   # optimizers that do more with their settings than give them to table kernels
        self.drawn = 0          # fills from random streams
        self.hooked = {}        # id of a leaf from before -> (its hooks, what they were, line where more were asked for)
        self.constants = {}     # id of memory made from Python data in the capture -> (tensor, array that it shares or None)
        self.planted = {}       # key of a place -> the number there that is followed
        self.observer = None    # of the run that is captured, where one is observed
        self.aside = nothing    # holds back the look at frames (1) while only the engine's own can be entered, or not (0)

    # --- memory

    def alloc(self, kind, n):
        if not kind.cpu:
            raise Refusal("ng.compile captures CPU tensors; CUDA steps run eagerly")
        fake = Fake(self.next, n, kind.np)
        self.next += (fake.nbytes + 127) // 64 * 64
        self.fakes.append(self._add(fake, fake.base, fake.nbytes, True))
        return fake, fake.base

    def _add(self, obj, base, nbytes, fake):
        b = self.buffers[id(obj)] = Buffer(len(self.buffers), obj, base, nbytes, fake)
        return b

    def buffer(self, t):
        """The buffer under a tensor."""
        found = self.buffers.get(id(t._buf))
        if found is None:
            obj = t._buf
            if not t._kind.cpu:
                raise Refusal("ng.compile captures CPU tensors; CUDA steps run eagerly")
            self.paused += 1
            try:
                base = storage.address(obj)
            finally:
                self.paused -= 1
            found = self._add(obj, base, obj.nbytes, False)
            insort(self.real, (base, found.index, found))
        return found

    def operand(self, t, shape=None):
        """A tensor as (buffer, byte offset, shape, strides), seen with a shape it broadcasts to."""
        b = self.buffer(t)
        if shape is None or shape == t._shape:
            return Operand(b, t._ptr - b.base, t._shape, t._strides or contiguous_strides(t._shape), t._kind.dtype)
        return Operand(b, t._ptr - b.base, shape, expanded_strides(t, shape), t._kind.dtype)

    def resolve(self, value):
        """A raw argument as ``Ptr`` where it points into known memory; None where it points nowhere."""
        if value >= BASE:
            at = bisect_right(self.fakes, value, key=lambda b: b.base) - 1
            b = self.fakes[at]
            return Ptr(b, value - b.base)
        return self._real_place(value) or (self._real_place(value) if self._meet() else None)

    def _real_place(self, value):
        at = bisect_right(self.real, (value, 1 << 60)) - 1
        if at >= 0:
            base, _, b = self.real[at]
            if value - base <= b.nbytes and (value - base < b.nbytes or b.nbytes == 0):
                return Ptr(b, value - base)
        return None

    def _meet(self):
        """Take up the memory of tensors that no launch was given yet, only their addresses; whether there was any."""
        reached = self.observer.tensors.values() if self.observer is not None else ()
        new = [t for t in reached if id(t._buf) not in self.buffers and t._kind.cpu]
        for t in new:
            self.buffer(t)
        return bool(new)

    def address(self, array):
        """``storage.address`` of an array that is not a tensor's: kept, as kernels may be given it."""
        if array.__class__ is Fake:
            return array.base
        value = array.__array_interface__["data"][0]
        self.scratch[value] = array
        return value

    @contextlib.contextmanager
    def pause(self):
        self.paused += 1
        try:
            yield
        finally:
            self.paused -= 1

    # --- hooks

    def hook(self, t):
        """Hooks of a leaf are about to change."""
        o = self.observer
        if o is not None and id(t) not in self.hooked and (id(t) in o.arguments or o.is_outside(t)):
            place = Hooks(t)
            self.hooked[id(t)] = place, place.get(), place.save(), user_line()

    def settle_hooks(self):
        """Take away the hooks that the run has left at tensors from before it, which replays would not; (tensor, line) of one
        that had some."""
        found = None
        for place, before, tables, line in self.hooked.values():
            if place.get() != before:
                found = place.root, line
                place.put(tables)
        return found

    # --- values that do not exist yet

    def values(self, t, what):
        """Code on the host asks for a tensor's values: numbers that each run reads, or None where the values are known."""
        if t._buf.__class__ is not Fake and not self.inside and self._is_constant(t):
            return None
        found = late.values(self, t)
        if found is None:
            self.reads(t, what)
        return found

    def reads(self, t, what):
        """Code on the host asks for a tensor's values."""
        if self.inside or t._buf.__class__ is not Fake and self._is_constant(t):
            if self.inside:
                raise Unlowered("reads values on the host")
            return
        raise Refusal(f"ng.compile: {_asked(what)}() at {user_line()} needs the values of a tensor of shape "
                           f"{list(t._shape)}, which exist only when the step runs. Keep values that Python decides on "
                           "out of the compiled function, use ng.where for choices by value, or pass fallback=True to run it "
                           "eagerly.")

    def _is_constant(self, t):
        """Whether a tensor was made from Python data during this capture, which has not written it since."""
        if id(t._buf) not in self.constants:
            return False
        b = self.buffers.get(id(t._buf))
        return b is None or not any([b in call.writes for call in self.calls])

    def constant(self, t, args):
        """A tensor was made from Python data ``args``."""
        given = [a for a in args if isinstance(a, np.ndarray) and np.may_share_memory(a, t._buf)]
        whole = raw(t._buf, storage.address(t._buf), t._buf.size, (t._buf.size,), None, t._kind, [0])
        self.constants[id(t._buf)] = whole, given[0] if given else None
        self.buffer(t)  # kernels of rules may be given its address

    def renew(self):
        """Constants that the run writes are filled at its beginning."""
        from ..core.copying import copy_into
        written = {b for call in self.calls for b in call.writes}
        kept = {id(v._buf) for o, _ in self.optimizers.values() for s in o.state.values() if isinstance(s, dict)
                for v in s.values() if isinstance(v, Tensor)}
        first = len(self.calls)
        for whole, shared in self.constants.values():
            b = self.buffers[id(whole._buf)]
            if b in written and id(whole._buf) not in kept:
                if shared is not None:
                    raise Refusal("ng.compile: the compiled function writes into a tensor that shares the memory of a NumPy "
                                  "array made or read in it; use ng.tensor(), which copies")
                with self.pause():
                    before = whole._buf.copy()
                    whole_before = raw(before, storage.address(before), whole._n, whole._shape, None, whole._kind, [0])
                copy_into(whole, whole_before)
                b.role = TEMPORARY
        self.calls = self.calls[first:] + self.calls[:first]

    def setting(self, t):
        """An optimizer setting given as a tensor: read now, and again whenever it may have changed."""
        b = self.buffers.get(id(t._buf))
        if b is not None and (b.fake or any([b in call.writes for call in self.calls])):
            raise _set_before("writes a setting")
        with self.pause():
            return t.item()

    def backward(self, node, g, create_graph):
        return node.backward_graph(g) if create_graph else node.captured(g)

    # --- launches

    def add(self, call):
        call.label, call.line = self.label, user_place()
        self.calls.append(call)

    def pointwise(self, kernel, compute, ins, scalars, outs, shape):
        n = 1
        for s in shape:
            n *= s
        if n:
            if symbols.any_in(scalars):
                scalars = [symbols.float_of(s) if isinstance(s, symbols.Symbol) and compute.compute in ("f4", "f8") else
                           symbols.settled(s) for s in scalars]
            self.add(Pointwise(kernel, compute, [self.operand(t, shape) for t in ins], list(scalars),
                               [self.operand(t, shape) for t in outs], shape))

    def fill(self, buf, ptr, kind, n, value):
        """All elements of new memory become one value (given in the storage type)."""
        if kind.dtype.code in ("f2", "bf"):
            bits = np.array([value], kind.np).view(np.uint16)
            value = float(bits.view(np.float16)[0] if kind.dtype.code == "f2" else
                          (bits.astype(np.uint32) << 16).view(np.float32)[0])
        if n:
            b = self.buffers.get(id(buf)) or self._real(buf)
            o = Operand(b, ptr - b.base, (n,), (1,), kind.dtype)
            self.add(Pointwise(FILL, kind.dtype, [], [value], [o], (n,)))

    def fill_with(self, t, value):
        """All elements of a tensor become a number."""
        if t._n:
            self.pointwise(FILL, t._kind.dtype, (), (value,), (t,), t._shape)

    def fold(self, op, key, numbers, items):
        """One stage of a reduction."""
        x, out, *rest = numbers
        self.add(Fold(op, key, self.pointer(x, "x", False, ()), self.pointer(out, "out", False, ()), rest, items))

    def custom(self, op, out, args, params, launch, order):
        """Lower an op with kernels of its own: its launcher runs, and the kernels it calls are written down."""
        for t in (*(out if isinstance(out, list) else [out]), *args):
            if isinstance(t, (list, tuple)):
                for x in t:
                    self.buffer(x)
            elif t is not None:
                self.buffer(t)
        before, label = len(self.calls), self.label
        self.label = op.name
        self.inside += 1
        code = getattr(launch, "__code__", None)
        own = code is not None and trusted(code.co_filename)
        try:
            if own:
                self.aside(1)
            launch(out, *order)
        except Unlowered:
            del self.calls[before:]
            order = symbols.settled(tuple(order))
            self.add(Host(op.name, launch, (out, *order), [self.buffer(t) for t in _tensors((out, order))]))
        finally:
            if own:
                self.aside(0)
            self.inside -= 1
            self.label = label

    def host(self, fn, gen, out, args, kwargs):
        """A fill from a random stream, or other work on the host."""
        self.drawn += 1
        values, kwargs = (gen, out, *symbols.settled(args)), {k: symbols.settled(v) for k, v in kwargs.items()}
        buffers = []
        for v in values:
            if hasattr(v, "nbytes") and (v.__class__ is Fake or hasattr(v, "ctypes")):
                buffers.append(self.buffers.get(id(v)) or self._real(v))
        self.add(Host(fn.__name__, fn, values, buffers, kwargs))

    def _real(self, array):
        found = self._add(array, array.__array_interface__["data"][0], array.nbytes, False)
        insort(self.real, (found.base, found.index, found))
        return found

    def kernel(self, kernel, dtype):
        """What stands for ``kernel[dtype]``: a function that writes its call down."""
        def call(*args):
            self.run(kernel, dtype, args, None, 0)
        return call

    def run(self, kernel, dtype, args, items, work):
        """``Kernel.run`` and, with ``items`` None, a direct call."""
        kinds = kernel.parameters({})
        reads, writes = effects(kernel.fn)
        values, read, written, checks = [], [], [], []
        for (name, kind), a in zip(kinds, args):
            if kind in ("i", "f"):
                # Kernels that call BLAS take some addresses as plain integers.
                p = self.resolve(a) if kind == "i" and a > 1 << 32 else None
                values.append(a if p is None else p)
                if p is not None:
                    read.append(p.buffer)
                    written.append(p.buffer)
                continue
            p = self.pointer(a, name, name in writes, checks)
            values.append(p)
            if p.__class__ is Ptr:
                if name in reads:
                    read.append(p.buffer)
                if name in writes:
                    written.append(p.buffer)
        self.add(KernelCall(kernel, dtype, values, [k for _, k in kinds], read, written, items, work, checks))

    def pointer(self, value, name, written, checks):
        value = int(value)
        if value == 0:
            return 0
        p = self.resolve(value)
        if p is not None:
            return p
        words = tape.FLAGS.get(value)
        if words is not None:
            checks.append(words)
            return value
        if written:
            raise Unlowered(f"takes results of a kernel ('{name}') to the host")
        for base, array in self.scratch.items():
            if base <= value < base + max(array.nbytes, 1):
                # A table that the host made from shapes: as constant as they are.
                b = self.buffers.get(id(array)) or self._real(array)
                return Ptr(b, value - b.base)
        array = storage.TABLES.get(value)
        if array is None:
            raise Unlowered(f"reads memory that the capture does not know ('{name}')")
        return Ptr(self.buffers.get(id(array)) or self._real(array), 0)

    def gemm(self, code, a, b, c, m, n, k, lda, ldb, ldc, ta, tb, alpha, beta, batch, sa, sb, sc):
        pa, pb, pc = (self.pointer(v, "matrix", False, ()) for v in (a, b, c))
        self.add(Gemm(code, pa, pb, pc, (m, n, k), (lda, ldb, ldc), (ta, tb), alpha, beta, batch, (sa, sb, sc)))

    def parallel_for(self, fn, table, n, grain):
        """A native loop over a table that a launcher filled: pointers are found by their values."""
        if type(table) is int:
            table = self.scratch.get(table)
            if table is None:
                raise Unlowered("runs a native loop over a table of its own")
        words, buffers = [], []
        for value in table.tolist():
            p = self.resolve(value) if value > 1 << 16 else None
            if p is None and value > 1 << 32:
                for base, array in self.scratch.items():
                    if base <= value < base + array.nbytes:
                        b = self.buffers.get(id(array)) or self._real(array)
                        p = Ptr(b, value - b.base)
            if p is not None:
                buffers.append(p.buffer)
            words.append(value if p is None else p)
        self.add(Raw(fn, words, buffers, n, grain))

    def optimize(self, kernel, tables, changed, shared):
        """An optimizer's update of one group."""
        for state in self.optimizer.state.values():
            for t in state.values() if isinstance(state, dict) else ():
                if isinstance(t, Tensor):
                    self.buffer(t)
        run = self.runs[id(self.optimizer)] = self.runs.get(id(self.optimizer), -1) + 1
        for kind, cells in tables.items():
            if not cells:
                continue
            kinds = kernel.parameters({})[:kernel.rows]
            reads, writes = effects(kernel.fn)
            rows, read, written = [], [], []
            for i, value in enumerate(cells):
                name, k = kinds[i % kernel.rows]
                if k in ("i", "f") or not value:
                    rows.append(int(value))
                    continue
                p = self.pointer(value, name, False, ())
                if p.__class__ is not Ptr:
                    raise Unlowered("updates memory that is no tensor's")
                rows.append(p)
                if name in reads:
                    read.append(p.buffer)
                if name in writes:
                    written.append(p.buffer)
            self.add(Optim(kernel, kind.dtype, rows, list(shared), read, written, self.optimizer, run, _layout(kernel, tables),
                           list(changed)))

    def written(self, t):
        """A tensor's version counter has just gone up; it will in every run."""
        if id(t._ver) not in self.versions:
            self.versions[id(t._ver)] = t._ver, t._ver[0] - 1

    def restore_versions(self):
        """Version counters as they were: nothing was written yet."""
        for version, before in self.versions.values():
            version[0] = before

    # --- leaves and optimizers

    def leaf(self, t, reads=True):
        """The gradient of ``t`` is about to be read (or, with ``reads`` False, replaced)."""
        entry = self.leaves.get(id(t))
        if entry is None:
            self.leaves[id(t)] = [t, t._grad, reads]
            if reads and t._grad is not None:
                self.buffer(t._grad)

    def owns(self, r):
        """Whether a leaf may keep gradient ``r`` as it is: new dense memory that no other leaf was given."""
        if r._strides is not None or r._buf.__class__ is not Fake or r._ptr != r._buf.base or r._n != r._buf.size or (
                id(r._buf) in self.given):
            return False
        self.given[id(r._buf)] = True
        return True

    def stepping(self, optimizer):
        """An optimizer's step begins."""
        if id(optimizer) not in self.optimizers:
            state = {k: (v, dict(v)) if isinstance(v, dict) else (v, None) for k, v in optimizer.state.items()}
            self.optimizers[id(optimizer)] = optimizer, state
        for group in optimizer.param_groups:
            for p in group["params"]:
                self.leaf(p)
                self.buffer(p)

    def steps(self, step):
        """What stands for an optimizer's ``step`` function."""
        def run(optimizer, *args, **kwargs):
            self.stepping(optimizer)
            before, self.optimizer = self.optimizer, optimizer
            followed, runs = self._followed(optimizer), self.runs.get(id(optimizer))
            try:
                return step(optimizer, *args, **kwargs)
            finally:
                if trusted(step.__code__.co_filename):
                    self.updates[id(optimizer)] = step
                    if self.runs.get(id(optimizer)) == runs:
                        self.compose()
                self.optimizer = before
                for group, name, value in followed:
                    group[name] = value
        return run

    def compose(self):
        """An update is made of tensor operations, which are given the settings as they are now."""
        self.composed.add(id(self.optimizer))

    def _followed(self, optimizer):
        """Settings that are followed numbers become plain ones for its step: calls read them anew, at their start."""
        found = [(group, name, v) for group in optimizer.param_groups for name, v in group.items()
                 if isinstance(v, symbols.Symbol)]
        written = self.observer.written if self.observer is not None else {}
        for group in optimizer.param_groups:
            _, whole = written.get(Content(group).key, (None, None))
            before = None if whole is None else dict(zip(whole[::2], whole[1::2]))
            for name, v in group.items():
                key = Entry(group, name).key
                was = before.get(name) if before is not None else written[key][1] if key in written else v
                if v is not was or isinstance(v, symbols.Symbol) and self.planted.get(key) is not v:
                    raise _set_before(f"sets '{name}'")
        for group, name, v in found:
            group[name] = v.plain
        return found


def _set_before(what):
    return Refusal(f"ng.compile: the compiled function {what} of an optimizer before its step at {user_line()}, which replays "
                   "read at the start of a call: set it (lr_scheduler.step()) after optimizer.step(), or outside of the "
                   "compiled function")


OBSERVING = tuple([f"{__package__}.{n}" for n in ("observe", "hooks", "calls", "reads", "arithmetic")])


def _asked(what):
    """The function that the user called when code on the host came to ask for a tensor's values."""
    f = sys._getframe(2)
    while f is not None and (f.f_globals.get("__name__", "") + ".").startswith(INSIDE):
        if f.f_globals["__name__"] not in OBSERVING:
            what = f.f_code.co_name
        f = f.f_back
    return what.strip("_")


def undo(leaves, optimizers):
    """Put gradients and optimizer states back as they were before a capture."""
    for t, grad in leaves:
        t._grad = grad
    for optimizer, state in optimizers:
        optimizer.state.clear()
        for k, (v, items) in state.items():
            if items is not None:
                v.clear()
                v.update(items)
            optimizer.state[k] = v


def _tensors(value):
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for v in value:
            yield from _tensors(v)


def _layout(kernel, tables):
    """Which addresses in an optimizer's tables are null, by kind: memory that other settings need is another program."""
    addresses = [kind not in ("i", "f") for _, kind in kernel.parameters({})[:kernel.rows]]
    return {kind: [not v for i, v in enumerate(cells) if addresses[i % kernel.rows]] for kind, cells in tables.items()}


class Refresher(Recorder):
    """Runs an optimizer's step for its settings alone."""

    def __init__(self, compare):
        super().__init__()
        self.compare, self.shared, self.layouts = compare, [], []

    def optimize(self, kernel, tables, changed, shared):
        self.shared.append(shared)
        if self.compare:
            self.layouts.append(_layout(kernel, tables))
        changed.clear()

    def leaf(self, t, reads=True):
        pass

    def written(self, t):
        pass


@contextlib.contextmanager
def recording(recorder=None):
    """Capture what this thread does in the block."""
    recorder = recorder or Recorder()
    previous = modes.current().capture
    tape.TAPE.append(recorder)
    modes.change(capture=recorder)
    try:
        yield recorder
    finally:
        tape.TAPE.remove(recorder)
        modes.change(capture=previous)
