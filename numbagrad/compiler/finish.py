"""From what a capture wrote down to a program: arguments, results, state that stays, the backward, guards."""

from __future__ import annotations

import numpy as np

from ..core import storage
from ..core.tensor import Tensor
from ..kernel import tape
from ..kernel.tape import Fake
from ..optim import optimizer as optimizers
from . import explain, late, passes
from .backward import Backward, spent
from .hosts import prepare_hosts
from .ir import INPUT, KEPT, OUTPUT, STATE, TEMPORARY, Host
from .places import Content, Entry, Member
from .program import Program
from .refusals import CaptureError
from .tensor_places import Gradient, Hooks, State


class Finish:
    """The part of a variant that makes its program."""

    def _differentiable(self, r, outs, given):
        """Capture the backward of results that can still be differentiated."""
        every = [k for k, t in _firsts(outs) if t._rg and t._node is not None]
        self.backward, self.spent = None, {}
        try:
            self._backward_of(r, every, outs, given)
        except RuntimeError:  # a used graph, or a saved tensor that was written since: said to who asks
            for k in every:
                try:
                    self._backward_of(r, [k], outs, given, False)
                except RuntimeError as error:
                    self.spent[k] = spent(error, outs[k], given)
            self._backward_of(r, [k for k in every if k not in self.spent], outs, given)

    def _backward_of(self, r, order, outs, given, keep=True):
        """Capture the backward of the results ``order``; RuntimeError where their graph is used up."""
        first, done = len(r.calls), False
        try:
            self.backward = Backward(r, [outs[k] for k in order], order, given) if order else None
            done = keep
        finally:
            if not done:
                del r.calls[first:]
                self.backward = None

    def _finish(self, r, leaves, outs, given, swapped):
        # Graphs that are left over (create_graph) hold what they saved.
        for t in outs:
            if isinstance(t, Tensor) and t._buf.__class__ is Fake:
                t._node = None
        prepare_hosts(r.calls, r.buffers)
        inputs, self.arguments = [], []
        for i, t in enumerate(leaves):
            b = r.buffers[id(t._buf)]
            if b.role == INPUT and b not in inputs:
                inputs.append(b)
                self.arguments.append((i, t._ptr - b.base))
        # For tensors that require grad, also whether they are leaves.
        self.leaves = [(type(t), t._kind, t._shape, t._strides, t._rg, t._rg and t._node is None) for t in leaves]
        outs = [*outs, *self._argument_gradients(r, leaves, given)]
        written = {b for c in r.calls for b in c.writes}
        self.aliases = _aliases(leaves, written, r, swapped)
        self._keep_state(r, outs)
        outputs, self.results, first = [], [], {id(t): k for k, t in _firsts(outs)}
        for k, t in enumerate(outs):
            if not isinstance(t, Tensor):
                self.results.append(("number", t.name))
                continue
            if first[id(t)] < k:
                self.results.append(("again", first[id(t)]))
                continue
            b = r.buffer(t)
            if b.role == TEMPORARY:
                b.role = OUTPUT
                outputs.append(b)
            if b.role == OUTPUT:
                self.results.append((outputs.index(b), t._ptr - b.base, t._n, t._shape, t._strides, t._kind, type(t)))
            else:
                self.results.append(self._alias(t, b, r, leaves, given[0]))
        if self.numbers is not None:
            late.forget(self.numbers, outs, r.calls)
        self.eager_peak = explain.eager_peak(r.calls)
        roots, more = set(outputs), set()
        if self.backward is not None:
            made, more = self.backward.roots(r)
            roots |= made
        calls, gone = passes.repeated(passes.live(r.calls, roots | more), roots)
        self.captured, self.dropped = len(r.calls), len(r.calls) - len(calls)
        if self.backward is not None:
            calls, saved = self.backward.divide(r, calls, gone)
            for b in saved:
                if b.role == TEMPORARY:
                    b.role = OUTPUT
                    outputs.append(b)
        self.outputs = outputs
        calls, first, cells = late.divided(passes.live(calls, set(outputs)), self.numbers)
        self.program = Program(calls, inputs, outputs, self.owner.arena, getattr(self.owner, "__name__", "step"), first, cells)
        if self.backward is not None:
            self.backward.build(r, leaves, self)
        self._guards(r, leaves)
        self._apart(r, leaves, written, swapped)
        self.before = [(t, grad) for t, grad, _ in r.leaves.values()]
        self.fakes = [b for b in r.buffers.values() if b.fake and b.array is None and b not in inputs]
        self.states = list(r.optimizers.values())

    def _argument_gradients(self, r, leaves, given):
        """Gradients that the call leaves at its own arguments, as further results; ``gradient_of`` says whose."""
        self.gradient_of, self.no_gradient, self.cleared, found = [], [], [], []
        for i, t in enumerate(given[1]):
            entry = r.leaves.get(id(t))
            if entry is None or i in self.fixed or any([t is s for s in given[1][:i]]):
                continue
            if t is not leaves[i]:
                if t._grad is not None:
                    raise CaptureError(f"ng.compile: backward inside the compiled function reaches tensor argument {i}, which "
                                       "has a history outside of it; detach it, or call backward outside")
                del r.leaves[id(t)]
                continue
            _, before, reads = entry
            if reads and before is None:
                self.no_gradient.append(i)
            if t._grad is not None and t._grad is not before:
                self.gradient_of.append(i)
                found.append(t._grad)
            elif t._grad is None and not reads:
                self.cleared.append(i)
            t._grad = before
            del r.leaves[id(t)]
        return found

    def _alias(self, t, b, r, leaves, given):
        """How to make a result that lies in memory which is not this call's own."""
        if id(t) in given:
            return ("argument", given[id(t)])
        for i, leaf in enumerate(leaves):  # one that the function found at a place
            if leaf is t:
                return ("argument", i)
        if b.role == KEPT or id(t._buf) in r.constants:
            array = b.array if b.role == KEPT else t._buf
            return ("copy", array, t._ptr - (storage.address(array) if t._buf is array else b.base), t)
        if b.role == STATE and t._view is None:
            return ("object", t)
        for i, leaf in enumerate(leaves):
            if leaf._buf is t._buf:
                return ("view", i, t._ptr - leaf._ptr, t)
        return ("view", None, t._ptr, t)

    def _keep_state(self, r, outs):
        """Give real memory to what outlives the call: gradients, new optimizer states."""
        self.gradients, self.states_of = [], set()
        known = self.observer.tensors
        for key, (t, _, _) in list(r.leaves.items()):
            if t._buf.__class__ is Fake or (id(t) in r.born and id(t) not in known):
                del r.leaves[key]  # made inside: nobody can look at its gradient afterwards
        for t, before, reads in r.leaves.values():
            g = t._grad
            if g is not before or not reads:  # (cleared without a look: there may be one in the next call)
                self.gradients.append((t, g))
                if g is not None and (g._buf.__class__ is Fake or r.buffer(g).role == TEMPORARY):
                    self._real(r, g)
        for optimizer, before in r.optimizers.values():
            for p, state in optimizer.state.items():
                for v in state.values() if isinstance(state, dict) else ():
                    if isinstance(v, Tensor) and v._buf.__class__ is Fake:
                        self._real(r, v)
                        self.once = True
                    if isinstance(v, Tensor):
                        known[id(v)] = v
                        self.states_of.add(id(v))
                    del v
                del state, p
            del before

    def _real(self, r, t):
        """Real memory for a tensor that was made in the capture and stays."""
        b = r.buffers[id(t._buf)]
        b.role = KEPT
        if b.array is None:
            b.array = np.zeros(max(b.obj.size, 1), b.obj.dtype) if b.fake else b.obj
        t._ptr = storage.address(b.array) + (t._ptr - b.base)
        r.buffers[id(b.array)] = b
        t._buf = b.array

    def _guards(self, r, leaves):
        reached = self.observer.tensors
        # All, as the step may have gone by the shape alone. An optimizer's state is replaced as a whole, which is looked at by
        # itself.
        self.tensors = [t for t in reached.values() if id(t) not in self.states_of]
        self.grads = [(t, Gradient.form(before)) for t, before, reads in r.leaves.values() if reads and (
            Member(t, Tensor._grad).key not in self.dynamic)]
        mine = {id(before._buf) for _, before, _ in r.leaves.values() if before is not None}
        self.optimizers = [o for o, _ in r.optimizers.values()]
        self.updates, self.composed = r.updates, r.composed
        self.forms = {}  # number of an optimizer: which of its settings are zero, when its memory was last compared
        by_version = {id(t._ver): i for i, t in enumerate(leaves)}
        written = [(v, v[0] - before) for v, before in r.versions.values()]
        # (number of the argument, count) and (version, count): how often each is written in a run.
        self.written_args = [(by_version[id(v)], n) for v, n in written if id(v) in by_version]
        self.versions = [(v, n) for v, n in written if id(v) not in by_version]
        r.restore_versions()
        touched = {b for c in r.calls for b in c.buffers()}
        self.keep = [b.obj for b in touched if b.role == STATE and id(b.obj) not in mine]
        hosts = {b for c in r.calls if isinstance(c, Host) for b in c.buffers()}
        for b in r.buffers.values():
            if id(b.obj) in mine and b not in hosts:  # gradients are not held
                b.obj = tape.Fake(b.base, b.obj.size, b.obj.dtype)
        self.kept = {b for b in r.buffers.values() if b.role == KEPT and b.array is not None}

    def _of_tensors(self):
        """(place, value) of the tensors and optimizers that the step reaches: what they are, hooks, gradients, states."""
        for t in [*self.tensors, *self.fixed.values()]:
            for place in (State(t), *([Hooks(t)] if t._rg and t._node is None else [])):
                yield place, place.get()
        for optimizer, _ in self.states:
            containers = [optimizer.state, optimizer.param_groups, *[g["params"] for g in optimizer.param_groups],
                          *[x for x in optimizer.state.values() if isinstance(x, dict)],
                          optimizer._optimizer_step_pre_hooks, optimizer._optimizer_step_post_hooks,
                          optimizers._global_optimizer_pre_hooks, optimizers._global_optimizer_post_hooks]
            for x in containers:
                yield Content(x), Content(x).get()
            for g in optimizer.param_groups:
                yield Entry(g, "params"), g["params"]
        for t, before in self.grads:
            yield Gradient(t), before

    def _apart(self, r, leaves, written, swapped):
        """Arguments must not lie in memory that the function reaches by name where one of the two is written."""
        touched = {b for c in r.calls for b in c.buffers()}
        found = [(id(b.array) if b.role == KEPT else id(b.obj), b in written) for b in touched
                 if b.role == STATE or b.role == KEPT and b.array is not None]
        changed, every = frozenset([i for i, w in found if w]), frozenset([i for i, _ in found])
        memory = {id(t): buf for t, buf, _ in swapped}
        self.apart = []
        for i, t in enumerate(leaves):
            if i not in self.fixed:
                others = every if r.buffers[id(t._buf)] in written else changed
                if id(memory.get(id(t), t._buf)) in others:
                    raise CaptureError(f"ng.compile: tensor argument {i} is a view of memory that the compiled function also "
                                       "reaches by name, and one of the two is written; pass the whole tensor")
                if others:
                    self.apart.append((i, others))


def _firsts(outs):
    """(place, tensor) of the tensors among results, each once."""
    found = {}
    for k, t in enumerate(outs):
        if isinstance(t, Tensor):
            found.setdefault(id(t), (k, t))
    return list(found.values())


def _aliases(leaves, written, r, swapped):
    """Pairs of arguments that are one tensor (True), or must not share memory because one of them is written (False)."""
    out, memory = [], {id(t): buf for t, buf, _ in swapped}
    for i, a in enumerate(leaves):
        for j in range(i + 1, len(leaves)):
            b = leaves[j]
            if a is b:
                out.append((i, j, True))
            elif r.buffers[id(a._buf)] in written or r.buffers[id(b._buf)] in written:
                if memory.get(id(a), a._buf) is memory.get(id(b), b._buf):
                    raise CaptureError(f"ng.compile: tensor arguments {i} and {j} are views of one memory, and the compiled "
                                       "function writes into one of them; pass one tensor and take its views inside")
                out.append((i, j, False))
    return out
