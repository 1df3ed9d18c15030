"""Capture: run a function on fake memory and write down every kernel launch.

The recorder is called by the hooks in ``core.launch.launch``, ``dispatch.custom.run``, ``dispatch.reduction``,
``kernel.jit.Kernel``, ``kernel.blas.gemm``, ``kernel.threads.parallel_for`` and ``optim.optimizer._run``. What it writes down
are ``Call`` objects over ``Buffer`` objects; nothing of Python is left in them.
"""

from __future__ import annotations

import contextlib
from bisect import bisect_right, insort
from threading import get_ident

import numpy as np

from ..base import modes
from ..base.shapes import expanded_strides
from ..base.user_code import user_line
from ..core import storage
from ..core.tensor import Tensor, contiguous_strides, raw
from ..kernel import tape
from ..kernel.tape import BASE, Fake, Refusal, Unlowered
from . import checkpoints, late
from .frames import nothing
from .ir import TEMPORARY, Buffer, Operand, Ptr
from .launches import Launches
from .refusals import asked
from .tensor_places import Hooks
from .updates import Updates


class Recorder(Launches, Updates):
    """The calls of one captured run, and the memory they touch."""

    compiles = True
    settings_only = False  # whether optimizers' steps run for their settings alone

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
        self.given = {}         # memory that became a leaf's gradient -> the walk through the graph in which it did
        self.walk = 0           # walks through the graph so far
        self.runs = {}          # optimizer -> updates so far
        self.updates = {}       # optimizer -> the library's function that updates its parameters
        self.composed = set()   # optimizers that do more with their settings than give them to table kernels
        self.drawn = 0          # fills from random streams
        self.hooked = {}        # id of a leaf from before -> (its hooks, what they were, line where more were asked for)
        self.constants = {}     # id of memory made from Python data in the capture -> (tensor, array that it shares or None)
        self.planted = {}       # key of a place -> the number there that is followed
        self.checkpoints = []   # activation checkpoints so far
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
        raise Refusal(f"ng.compile: {asked(what)}() at {user_line()} needs the values of a tensor of shape "
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

    def checkpointed(self, line):
        """A block in which the function of an activation checkpoint runs that was asked for at ``line``."""
        return checkpoints.checkpointed(self, line)

    def backward(self, node, g, create_graph):
        if self.checkpoints:
            checkpoints.check(self, node)
        return node.backward_graph(g) if create_graph else node.captured(g)

    def written(self, t):
        """A tensor's version counter has just gone up; it will in every run."""
        for c in self.checkpoints:
            c.written(t)
        if id(t._ver) not in self.versions:
            self.versions[id(t._ver)] = t._ver, t._ver[0] - 1

    def restore_versions(self):
        """Version counters as they were: nothing was written yet."""
        for version, before in self.versions.values():
            version[0] = before

    # --- leaves

    def leaf(self, t, reads=True):
        """The gradient of ``t`` is about to be read (or, with ``reads`` False, replaced)."""
        entry = self.leaves.get(id(t))
        if entry is None:
            self.leaves[id(t)] = [t, t._grad, reads]
            if reads and t._grad is not None:
                self.buffer(t._grad)

    def owns(self, r, gradients):
        """Whether a leaf may keep gradient ``r`` as it is: new dense memory that no other leaf was given.

        One of ``gradients``, which the step passed to backward, is copied. A view of it may stay the leaf's gradient, but not
        if others have its memory, which depends on who is there in each call."""
        for g in gradients:
            if g._buf is r._buf and r._buf.__class__ is Fake:
                if g is r:
                    return False
                raise Refusal(f"ng.compile: the gradient of a leaf lies in the memory of the gradient that is passed to "
                              f"backward() at {user_line()}; call that backward() outside of the compiled function")
        if r._strides is not None or r._buf.__class__ is not Fake or r._ptr != r._buf.base or r._n != r._buf.size or (
                id(r._buf) in self.given):
            return False
        self.given[id(r._buf)] = self.walk
        return True

    def shared(self, grad):
        """Whether others of the walk that goes on may still read the memory that a leaf was given as its gradient."""
        return self.given.get(id(grad._buf)) == self.walk


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
