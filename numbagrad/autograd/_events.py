"""What a profiler records: one event for each call of an op, a node's backward, a block with a name.

While nobody profiles nothing is recorded and nothing asked: the functions of ops get a layer (``dispatch/layers.py``) when a
profiler starts, and lose it when it stops; the engine runs nodes through ``ANOMALY.runner``, which is None.
"""

from __future__ import annotations

import sys
import types
from functools import partial
from threading import get_ident
from time import perf_counter_ns

from ..base.user_code import is_ours
from ..core.registry import REGISTRY
from ..core.tensor import Tensor
from ..dispatch import layers
from ..kernel.tape import TAPE
from . import engine
from .anomaly import ANOMALY

PACKAGE = __name__.partition(".")[0]
CREATION = ("arange", "empty", "empty_like", "eye", "full", "full_like", "linspace", "logspace", "ones", "ones_like", "zeros",
            "zeros_like")
# Functions that are no ops: (module, place in it, event). A module that was not imported has no calls to record.
OTHERS = [("core.creation", name, f"aten::{name}") for name in CREATION] + [
    ("optim.optimizer", "Optimizer.zero_grad", lambda self, *args: f"Optimizer.zero_grad#{type(self).__name__}.zero_grad"),
    ("utils.data._iterator", "_BaseDataLoaderIter.__next__", lambda self: "enumerate(DataLoader)#_{}Iter.__next__".format(
        "SingleProcessDataLoader" if type(self).__name__ == "_SingleProcessDataLoaderIter" else "MultiProcessingDataLoader"))]
FUNCTION, BACKWARD, USER = 0, 1, 7  # PyTorch's scopes


class Event:
    """A call: when it began and ended (ns), what it was given, what it called."""

    __slots__ = ("name", "begin", "end", "shapes", "stack", "scope", "sequence", "bytes", "flops", "parent", "thread")

    def __init__(self, name, scope, parent):
        self.name, self.scope, self.parent, self.thread = name, scope, parent, get_ident()
        self.end, self.shapes, self.stack, self.sequence, self.bytes, self.flops = None, [], [], -1, 0, 0
        self.begin = perf_counter_ns()


class Recorder:
    """What one profiler wants, and the events so far."""

    def __init__(self, shapes=False, memory=False, stack=False, flops=False):
        self.wants = shapes or flops, memory, stack, flops
        self.events, self.open, self.owner = [], [], get_ident()

    def enter(self, name, scope=FUNCTION, args=()):
        """Begin an event; None where the same op is what is being recorded: an op that calls itself is one."""
        parent = self.open[-1] if self.open else None
        if parent is not None and parent.name == name and scope == FUNCTION:
            return None
        shapes, _, stack, flops = self.wants
        given = [shape_of(a) for a in args] if shapes else []
        frames = user_stack() if stack else []
        event = Event(name, scope, parent)
        event.shapes, event.stack = given, frames
        if flops and name in FLOPS:
            event.flops = FLOPS[name](given)
        self.events.append(event)
        self.open.append(event)
        return event

    def leave(self, event, result=None):
        """End an event, and those in it that an error left open."""
        event.end = perf_counter_ns()
        while self.open and self.open.pop() is not event:
            pass
        if self.wants[1]:
            event.bytes = sum([t.nbytes for t in _tensors(result) if t._view is None])


def _tensors(result):
    return [result] if isinstance(result, Tensor) else [t for t in result if isinstance(t, Tensor)] if isinstance(
        result, (tuple, list)) else []


def shape_of(value):
    """The sizes of a tensor, of those of a list; nothing of what is no tensor."""
    if isinstance(value, Tensor):
        return list(value._shape)
    if isinstance(value, (list, tuple)) and value and all([isinstance(t, Tensor) for t in value]):
        return [list(t._shape) for t in value]
    return []


def user_stack():
    """The user's frames, the innermost first, as ``file(line): function``."""
    f, found = sys._getframe(2), []
    while f is not None:
        if not is_ours(f.f_code.co_filename):
            found.append(f"{f.f_code.co_filename}({f.f_lineno}): {f.f_code.co_name}")
        f = f.f_back
    return found


def _product(shape):
    n = 1
    for s in shape:
        n *= s
    return n


def _matmul(first):
    def count(shapes):
        a, b = shapes[first:first + 2]
        return 2 * _product(a) * b[-1] if len(a) > 1 and len(b) > 1 else 0
    return count


def _conv(shapes):
    """Twice the multiplications of a convolution with stride 1 and without padding; others are counted as if."""
    x, w = shapes[:2]
    return 2 * x[0] * _product(w) * _product([a - b + 1 for a, b in zip(x[2:], w[2:])]) if len(x) == len(w) else 0


FLOPS = {"aten::mm": _matmul(0), "aten::bmm": _matmul(0), "aten::matmul": _matmul(0), "aten::addmm": _matmul(1),
         "aten::baddbmm": _matmul(1), "aten::linear": lambda s: 2 * _product(s[0]) * s[1][0] if len(s[1]) == 2 else 0,
         "aten::conv2d": _conv, **dict.fromkeys(("aten::add", "aten::mul"), lambda s: max(map(_product, s[:2])))}

ACTIVE = [None]  # the recorder


def _profiler_enabled():
    """Whether calls are recorded."""
    return ACTIVE[0] is not None


_known: dict = {}  # functions that have the layer
_publish = [None]


def start(recorder):
    """Record until ``stop``; what was recording before goes on then."""
    with layers.LOCK:
        recorder.before, ACTIVE[0] = ACTIVE[0], recorder
        if recorder.before is None:
            _take_all()
            for fn in _known:
                layers.switch(fn, "profiler", True)
            ANOMALY.runner = _node


def stop(recorder):
    """Record no more."""
    with layers.LOCK:
        for event in list(recorder.open):
            recorder.leave(event)
        ACTIVE[0] = recorder.before
        if recorder.before is None:
            for fn in _known:
                layers.switch(fn, "profiler", False)
            ANOMALY.runner = ANOMALY.run if ANOMALY.enabled else None


def here():
    """The recorder of this thread, if it records."""
    recorder = ACTIVE[0]
    return recorder if recorder is not None and recorder.owner == get_ident() else None


def _timed(name, own):
    """``own`` as an event; ``name`` may be a function of the arguments."""
    def call(*args, **kwargs):
        recorder = here()
        if recorder is None or TAPE:
            return own(*args, **kwargs)
        if name.__class__ is str:
            event = recorder.enter(name, FUNCTION, args)
        else:  # no op: shown as a block of the user's, as PyTorch does
            event = recorder.enter(name(*args, **kwargs), USER)
        if event is None:
            return own(*args, **kwargs)
        result = None
        try:
            result = own(*args, **kwargs)
            return result
        finally:
            recorder.leave(event, result)
    return call


def _node(node, g, create_graph):
    """Run a node's backward as two events: the engine's, and the node's in it."""
    run = ANOMALY.run if ANOMALY.enabled else lambda node, g, create_graph: (
        node.backward_graph(g) if create_graph else node.backward(g))
    recorder = here()
    if recorder is None or TAPE:
        return run(node, g, create_graph)
    outer = recorder.enter(f"autograd::engine::evaluate_function: {node.name()}", BACKWARD)
    inner = recorder.enter(node.name(), BACKWARD, g if g.__class__ is list else (g,))
    outer.sequence = inner.sequence = node._sequence_nr()
    grads = None
    try:
        grads = run(node, g, create_graph)
        return grads
    finally:
        recorder.leave(inner, grads)
        recorder.leave(outer, grads)


# --- functions --------------------------------------------------------------------------------------------------------

def _take(fn, name):
    if isinstance(fn, types.FunctionType) and fn not in _known:
        layers.add(fn, "profiler", partial(_timed, name))
        _known[fn] = None
        return [fn]
    return []


def _of_op(op):
    """Take the functions that users find of an op; an operator shows as the op, an in-place form as that."""
    plain, taken = op.torch_name.rpartition(".")[2], []
    for (_, name), fn in op.published.items():
        written = name.endswith("_") and not name.endswith("__") or name.startswith("__i") and name != "__invert__"
        taken += _take(fn, f"aten::{plain}{'_' * written}")
    return taken


def _take_all():
    for op in [dict.get(REGISTRY, n) for n in list(dict.keys(REGISTRY))]:
        _of_op(op)
    for module, place, name in OTHERS:
        found = sys.modules.get(f"{PACKAGE}.{module}")
        for part in place.split("."):
            found = vars(found).get(part) if found is not None else None
        _take(found, name)
    _take(engine.accumulate_grad, "torch::autograd::AccumulateGrad")
    for cls in _classes("optim.optimizer", "Optimizer"):
        _take(vars(cls).get("step"), lambda self, *args, **kwargs: f"Optimizer.step#{type(self).__name__}.step")
    for cls in _classes("compiler.function", "CompiledFunction"):  # (each has a class of its own)
        _take(vars(cls).get("__call__"), lambda self, *args, **kwargs: f"compiled#{self.__name__}")
    if _publish[0] is None:
        _publish[0], REGISTRY.publish = REGISTRY.publish, _published


def _classes(module, name):
    """A class of a module that was imported, and all that derive from it, the user's too."""
    found = [vars(sys.modules[f"{PACKAGE}.{module}"])[name]] if f"{PACKAGE}.{module}" in sys.modules else []
    for cls in found:
        found += [c for c in cls.__subclasses__() if c not in found]
    return found


def _published(op, fn=None):
    """What publishes ops once somebody profiled: their files are run when they are first used."""
    _publish[0](op, fn)
    with layers.LOCK:
        for taken in _of_op(op):
            layers.switch(taken, "profiler", ACTIVE[0] is not None)
