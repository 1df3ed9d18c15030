"""Plans of calls: what an op does for given kinds, shapes, strides and arguments, found once and repeated.

A launcher decides: it merges dimensions, takes kernels, fills tables, copies what has gaps. All that depends on the geometry
of the call, not on values, so it is run once on memory without bytes (as in a capture of ``ng.compile``), and the launches that
it makes are written down (``recorder``). What is left is a Python function of addresses with one call for each kernel. Kernels
that draw random numbers take from the stream what they take in other calls. A launcher that looks at values or works on the
host has no plan (False) and runs as it is in every call. The same holds for a gradient rule: the plan of a node's backward
belongs to that of its forward call. Large kernels are cut over the threads as they are without a plan; one that was written
down on one thread is not for several.

A plan is made when a call of the same geometry has come often: what comes once costs nothing more.
"""

from __future__ import annotations

import weakref
from collections import deque

import numpy as np

from ..base import dtypes as dt
from ..base.device import device
from ..core import makers, storage
from ..core.broadcast import broadcast_shapes
from ..core.copying import row_major
from ..core.promotion import common_dtype
from ..core.tensor import Tensor, raw
from ..kernel import jit, tape
from ..kernel.guard import guarded
from ..kernel.tape import Refusal, Unlowered
from ..kernel.threads import CHANGED, LIMIT
from . import replays, scratch, text
from .elementwise_general import Slow
from .recorder import Address, Draw, Number, Real, Recorder, recording
from .text import indented

MOST = 4096  # plans of an op, after which all are forgotten
PAD = "    "
KEPT = 2048  # bytes of scratch memory that a plan keeps for its next call
HELD = 1 << 26  # bytes of tables that plans hold, after which all are forgotten; a quarter of it in one plan
TIMES = 8  # a plan takes as long to make as this many calls without one
_all = weakref.WeakValueDictionary()  # every table of plans
_held = [0]  # bytes of tables that plans were made with since all were forgotten


class Table(dict):
    """Plans by what tells calls apart; how often others were seen. They are dropped when what they depend on changes."""

    def __init__(self, cleared=None):
        super().__init__()
        self.seen, self.calls = {}, None  # (those of the native function)
        self.cleared = cleared
        _all[id(self)] = self

    def clear(self):
        super().clear()
        if self.calls is not None:
            self.calls.clear()
        if self.cleared is not None:
            self.cleared()


def forget():
    """Drop all plans: the default dtype or the number of threads has changed, which some depend on, or they hold much."""
    _held[0] = 0
    for plans in list(_all.values()):
        plans.clear()


dt.CHANGED.append(forget)
CHANGED.append(forget)


class Specs(tuple):
    """((shape, kind), ...) of the outputs of a planned call, and the plans of its node's backward."""

    def __new__(cls, items, several=False):
        self = super().__new__(cls, items)
        self.plans, self.several = Table(), several
        return self


class Recipe:
    """An argument that an op computes from tensors of its own, when it is first asked for what it holds.

    ``key`` says all of it but the tensors' values, ``tensors`` are these, and ``on(tensors)`` makes the same of others. In a
    planned call kernels compute what it holds anew. They have to find what was there when it was made: ``current()`` are the
    tensors, unless they were changed since."""

    key, tensors, versions = None, (), ()  # the version of an inference tensor is None

    def refuse(self):
        """What nodes ask before they keep it: the error of saving an inference tensor, if there is one."""
        for t, version in zip(self.tensors, self.versions):
            if version is None:
                t._ver[0]

    def current(self, node=None):
        return self.tensors


# --- functions --------------------------------------------------------------------------------------------------------

class Body:
    """The text of a plan: constants, and lines that take scratch memory and call kernels."""

    def __init__(self, recorder, given, whole=None, returned=()):
        """``whole``: tensors that fill buffers of the plan's own, by number; ``returned``: numbers of those that leave it."""
        self.constants, self.lines, self.whole = [], [], whole or {}
        own, large, small = {}, set(), 0
        for i, fake in enumerate(recorder.buffers):
            if i in self.whole:
                t = self.whole[i]
                given_ = [self.constant(x) for x in (t._n, t._kind.np, t._shape, t._kind)]
                self.lines += text.fresh(f"t{i}_", *given_, f"p{i}_")
            elif i >= given and fake is not None:
                small += fake.nbytes
                if small <= KEPT and i not in returned:
                    own[f"p{i}_"] = fake
                elif i in returned:
                    self.take(i, fake.size, fake.dtype)
                else:
                    large.add(i)
        if large:
            places, most = scratch.layout(recorder, large)
            self.take("", most, np.dtype(np.uint8))
            self.lines += [f"p{i}_ = p_ + {self.constant(at)}" for i, at in places.items()]
        if own or recorder.flags:
            self.take_own(list(own.values()), recorder.flags, [
                *own, *[f"a{i}_, w{i}_" for i in range(len(recorder.flags))]])
        for entry, values in recorder.steps:
            if entry is None:
                self.lines += [f"if w{values}_.view[0] != -1:", f"    w{values}_.report()"]
            else:
                lock = entry.gen if entry.__class__ is Draw else None
                entry = entry if lock is None else entry.entry
                line = f"{self.constant(entry)}({', '.join([self.argument(v) for v in values])})"
                self.lines += [line] if lock is None else [f"with {self.constant(lock)}.lock:", PAD + line]
        if own or recorder.flags:
            self.lines.append(f"{self.constant(self.free)}.append(own_)")
        self.kept = list(recorder.kept.values())

    def take(self, i, size, dtype):
        """Lines that take memory for one call."""
        self.lines += [f"b{i}_ = empty_({self.constant(size)}, {self.constant(dtype)})",
                       f"p{i}_ = peek_(id_(b{i}_) + {storage.DATA_FIELD})"]

    def take_own(self, scratch, flags, names):
        """Lines that take small memory, and words for bad input: what a call has done with goes to the next."""
        def make():
            arrays = [np.empty(fake.size, fake.dtype) for fake in scratch]
            words = [tape.Words(flag.size, flag.raises, deque(maxlen=0)) for flag in flags]
            return (*[storage.address(a) for a in arrays], *[x for w in words for x in (w.address, w)], arrays)
        self.free = []
        self.lines += ["try:", f"    own_ = {self.constant(self.free)}.pop()", "except IndexError:",
                       f"    own_ = {self.constant(make)}()", f"{', '.join(names)}, _ = own_"]

    def constant(self, value):
        self.constants.append(value)
        return f"c{len(self.constants) - 1}_"

    def argument(self, v):
        if v.__class__ is tuple:  # the words of a table
            varying = [i for i, x in enumerate(v) if isinstance(x, (Address, Number))]
            if not varying:
                return self.constant(v)
            first = varying[-1] + 1
            return f"({', '.join(map(self.argument, v[:first]))}, *{self.constant(v[first:])})"
        if isinstance(v, Number):
            return f"numbers_[{v.index}]{' + 0.0' * (v.__class__ is Real)}"
        if v.__class__ is not Address:
            return self.constant(v)
        if v.index < 0:
            return f"a{-1 - v.index}_"
        return f"p{v.index}_ + {self.constant(v.offset)}" if v.offset else f"p{v.index}_"

    def function(self, parameters, before=(), after=()):
        """The function of ``parameters`` with these lines around the body's; those of equal text share their code."""
        outer = [f"c{i}_" for i in range(len(self.constants))]
        lines = [*before, *self.lines, *after] or ["pass"]
        source = "\n".join(["def make(constants_, kept_, empty_, peek_, id_, Tensor_, new_, fresh_):",
                            *([f"    {', '.join(outer)}, = constants_"] if outer else []),
                            f"    def plan({parameters}):", *indented(lines, 2 * PAD),
                            "    plan.kept = kept_", "    return plan", ""])
        make = _makers.get(source)
        if make is None:
            if len(_makers) >= MOST:
                _makers.clear()
            make = _makers[source] = jit.define_again(source, "make", {})
        return make(self.constants, self.kept, np.empty, storage._peek or text.peek, id, Tensor, object.__new__,
                    makers.tensor)


_makers: dict = {}  # text of a plan -> what makes it of its constants


def plain(value, inside=False):
    """Whether an argument that is no tensor says all of itself by its class and its value."""
    c = value.__class__
    if isinstance(value, tuple):
        return all([plain(x, True) for x in value])
    if c is float:  # 0.0 and -0.0 are equal; a key tells them apart where it names them itself
        return value != 0 or not inside
    return c in PLAIN or isinstance(value, Recipe) and value.key is not None


PLAIN = {int, bool, str, type(None), dt.dtype, dt.memory_format, type(plain), range, storage.Kind, device}


def due(plans, key):
    """Whether a key without a plan has been seen often enough; until one is made it has none (False)."""
    if tape.TAPE:
        return False
    seen = plans.seen
    times = seen.get(key, 0) + 1
    if times < TIMES:
        if len(seen) >= MOST:
            seen.clear()
        seen[key] = times
        return False
    if len(plans) >= MOST:
        plans.clear()
    seen.pop(key, None)
    plans[key] = False
    return True


@guarded
def written_down(work):
    """(recorder, what ``work(recorder)`` returns) of launches that were written down, or None where there is no plan."""
    recorder = Recorder()
    try:
        with recording(recorder):
            found = recorder, work(recorder)
    except (Refusal, Exception):  # what is wrong with a call, the call itself says
        return None
    return found if hold(sum([getattr(x, "nbytes", 0) for x in recorder.kept.values()])) else None


def hold(count):
    """Whether a new plan may hold so many bytes of tables: what Python makes of a geometry may be larger than its tensors."""
    if count > HELD // 4:
        return False
    if _held[0] + count > HELD:
        forget()
    _held[0] += count
    return True


def finished(plans, recorder, outs, line, parameters, numbers=()):
    """The function of ``parameters`` for what was written down. If the native function has it as a program, found by ``line``
    (the key and what is recorded), it is made when it is asked for."""
    given = [fake is outs[-1]._buf for fake in recorder.buffers].index(True) + 1
    program = None if line is None else replays.written(recorder, given - len(outs), outs, numbers)
    if program is None:
        return Body(recorder, given).function(parameters)
    plans.calls.add(program.line(*line))
    made = []

    def run(*arguments):
        if not made:
            made.append(Body(recorder, given).function(parameters))
        return made[0](*arguments)
    return run


# --- custom ops -------------------------------------------------------------------------------------------------------

def settle(op, plans, key, args, params):
    """Make the plan of a custom op's call, if it has come often: (function of addresses, outputs as (elements,
    NumPy type, kind, shape), specs, most work of a kernel)."""
    if not all(map(plain, params)) or not due(plans, key):
        return

    def work(recorder):
        shadows = [[recorder.shadow(t) for t in a] if a.__class__ in (list, tuple) else recorder.shadow(a) for a in args]
        own = on_shadows(recorder, params)
        spec = op.infer_spec(op.in_order(shadows, own))
        several = isinstance(spec, list)
        specs = [(tuple(shape), kind) for shape, kind in (spec if several else [spec])]
        outs = [recorder.output(shape, kind) for shape, kind in specs]
        given = len(recorder.buffers)
        if op.contiguous:
            shadows = [[row_major(t) for t in a] if a.__class__ is list else row_major(a) for a in shadows]
        op.cpu_launch(outs if several else outs[0], *op.in_order(shadows, own))
        return given, outs, Specs(specs, several)
    found = written_down(work)
    if found is not None:
        recorder, (given, outs, specs) = found
        native = plans.calls is not None and (len(outs) > 1) == specs.several
        line = (replays.key_of(args, params), op.records(args, params, specs, plans.calls.node_class)) if native else None
        run = finished(plans, recorder, outs, line, ", ".join([f"p{i}_" for i in range(given)]))
        plans[key] = run, tuple([(o._n, o._kind.np, o._kind, o._shape) for o in outs]), specs, recorder.most


# --- elementwise ops --------------------------------------------------------------------------------------------------

class Plans(Table):
    """The plans of an elementwise form."""

    def __init__(self, form):
        super().__init__()
        self.form, self.calls = form, form.calls


def settle_elementwise(plans, key, tensors, numbers):
    """Make the plan of an elementwise call, if it has come often: (function of addresses and numbers, NumPy type,
    kind, elements and shape of the result, shapes of the tensors where they are not its, plans of backward, elements)."""
    form = plans.form
    op, operands = form.op, numbers[:len(form.scalars) - len(form.op.params)]
    if not due(plans, key):
        return
    compute = form.compute_type(common_dtype(tensors, operands))
    if compute.is_complex or any([t._kind.dtype is not compute or not t._kind.cpu for t in tensors]):
        return
    # Of integers and truth values numbers may be refused by value, or not be what kernels take.
    if compute.category < 2 and (op.check is not None or op.params or op.fits or {x.__class__ for x in numbers} - {int}):
        return
    kind = storage.kind_of(form.result_dtype(compute))

    def work(recorder):
        shadows = [recorder.shadow(t) for t in tensors]
        out = recorder.output(broadcast_shapes(op.name, tensors), kind)
        recorder.pointwise(form.forward, compute, shadows, [Number(i) for i in range(len(numbers))], (out,), out._shape)
        return out
    found = written_down(work)
    if found is not None:
        recorder, out = found
        given = [f"p{i}_" for i in range(len(tensors) + 1)] + (["numbers_"] if numbers else [])
        shapes = None if all([t._shape == out._shape for t in tensors]) else tuple([t._shape for t in tensors])
        table_ = Table()
        found = form.records(Slow(replays.NUMBERS if numbers else (), shapes, kind, table_))
        line = replays.key_of(tensors, [x.__class__ for x in numbers]), found
        run = finished(plans, recorder, [out], line, ", ".join(given), numbers)
        plans[key] = run, kind.np, kind, out._n, out._shape, shapes, table_, recorder.most


def settle_slow(node, g, key, plans, compute):
    """Make the plan of an elementwise node's backward, if a gradient of this layout has come often."""
    if not due(plans, key):
        return
    c = node.ctx
    slow = c.__class__ is Slow
    numbers = tuple([Number(i) for i in range(len(c.scalars if slow else c or ()))])

    def work(recorder):
        gs, saved = [recorder.shadow(g)], shadows_of(recorder, node.saved)
        ctx = Slow(numbers, c.shapes, c.kind) if slow else numbers or None
        return 1, compute(Stand(node, saved, ctx), gs[0])
    made = backward_plan(node.saved, g, work)
    if made is not None:
        plans[key] = made


def on_shadows(recorder, params):
    """The arguments with recipes on tensors without bytes."""
    return tuple([p.on(tuple([recorder.shadow(t) for t in p.tensors])) if isinstance(p, Recipe) else p for p in params])


class Stand:
    """What a gradient rule's evaluation is given for a node, whose saved tensors have no bytes."""

    __slots__ = ("op", "form", "saved", "ctx", "next")

    def __init__(self, node, saved, ctx):
        self.op, self.form, self.next, self.saved, self.ctx = node.op, getattr(node, "form", None), node.next, saved, ctx

    def name(self):
        return "Backward"


def shadows_of(recorder, saved):
    """What a node saved as tensors without bytes."""
    shadows = []
    for obj in saved[::2]:
        if obj.__class__ is tuple:
            obj = raw(*obj[:4], obj[6], obj[4], obj[5])
        elif obj is not None and not isinstance(obj, Tensor):
            raise Unlowered("has saved what hooks packed")
        shadows += [recorder.shadow(obj), 0]
    return shadows


def settle_backward(node, g, key, plans, evaluate):
    """Make the plan of a custom op's backward: a function of (gradient or list of gradients, saved) that returns the
    gradients, or None where what is saved is not as it was."""
    params, shapes, needs, outs, lists = node.ctx
    if not all(map(plain, params)) or not due(plans, key):
        return

    def work(recorder):
        gs = [recorder.shadow(x) for x in (g if g.__class__ is list else [g])]
        saved = shadows_of(recorder, node.saved)
        stand = Stand(node, saved, (on_shadows(recorder, params), shapes, needs, tuple(outs), lists))
        return len(gs), evaluate(stand, gs if g.__class__ is list else gs[0])
    made = backward_plan(node.saved, g, work, sum([len(p.tensors) for p in params if isinstance(p, Recipe)]))
    if made is not None:
        plans[key] = made


def settle_view(node, g, key, plans):
    """Make the plan of a view's backward, if gradients of these layouts have come often."""
    if due(plans, key):
        def work(recorder):
            gs = [recorder.shadow(x) for x in (g if g.__class__ is list else [g])]
            return len(gs), node.carry(gs if g.__class__ is list else gs[0])
        made = backward_plan((), g, work)
        if made is not None:
            plans[key] = made


def backward_plan(saved, g, work, others=0):
    """The function of a backward that ``work(recorder)`` does; it returns (how many gradients arrive, the gradients).

    ``others`` tensors are those of recipes."""
    found = written_down(work)
    if found is None:
        return None
    recorder, (arrive, grads) = found
    if any([r is not None and r.is_sparse for r in grads]):  # no memory to say where it is
        return None
    kept = len(saved) // 2
    given = arrive + kept + others
    leaving = {at.index for at in [body_address(recorder, r) for r in grads if r is not None] if at is not None}
    body = Body(recorder, given, whole_buffers(recorder, grads, given), leaving)
    before, after = [f"if {body.constant(recorder.most)} >= {body.constant(LIMIT)}[0]:", "    return None"], []
    for i in range(arrive):
        t = f"g_[{i}]" if g.__class__ is list else "g_"
        if recorder.buffers[i] is not None:
            before.append(f"p{i}_ = {t}._ptr")
    for j in range(kept):
        obj, i = saved[2 * j], arrive + j
        if obj is None:
            continue
        before.append(f"s{j}_ = saved_[{2 * j}]")
        if obj.__class__ is tuple:
            before += [f"if s{j}_[5][0] != saved_[{2 * j + 1}]:", "    return None", f"p{i}_ = s{j}_[1]"]
        else:
            before += [f"if not isinstance(s{j}_, Tensor_) or s{j}_._ver[0] != saved_[{2 * j + 1}] or "
                       f"s{j}_._shape != {body.constant(obj._shape)} or s{j}_._strides != {body.constant(obj._strides)}:",
                       "    return None", f"p{i}_ = s{j}_._ptr"]
    before += [f"p{arrive + kept + j}_ = others_[{j}]._ptr" for j in range(others)]
    names = {}
    for r in grads:
        if r is not None and id(r) not in names:
            names[id(r)] = f"r{len(names)}_"
            lines = gradient_text(body, recorder, r, names[id(r)], g, arrive, given)
            if lines is None:
                return None
            after += lines
    after.append(f"return {text.group([names.get(id(r), 'None') for r in grads])}")
    return body.function("g_, saved_, others_=(), numbers_=()", before, after)


def whole_buffers(recorder, grads, given):
    """The gradients that fill a buffer of the plan's own, by its number."""
    found = {}
    for r in grads:
        at = None if r is None else body_address(recorder, r)
        if at is not None and at.index >= given and at.offset == 0 and r._strides is None and (
                r._n == recorder.buffers[at.index].size and r._kind.np is recorder.buffers[at.index].dtype):
            found.setdefault(at.index, r)
    return found


def gradient_text(body, recorder, r, name, g, arrive, given):
    """Lines that make gradient ``r`` of the memory that it lies in: what arrived, or the plan's own."""
    at = body_address(recorder, r)
    if at is None:
        return None
    if at.index < arrive:
        t = f"g_[{at.index}]" if g.__class__ is list else "g_"
        source = g[at.index] if g.__class__ is list else g
        if at.offset == 0 and (r._shape, r._strides, r._kind) == (source._shape, source._strides, source._kind):
            return [f"{name} = {t}"]
        buf, ver = f"{t}._buf", f"{t}._ver"
    elif at.index < given:
        return None  # saved memory handed on: the leaf would have to copy it
    elif at.index in body.whole:
        if body.whole[at.index] is r:
            return [f"{name} = t{at.index}_"]
        buf, ver = f"t{at.index}_._buf", f"t{at.index}_._ver"
    else:
        buf, ver = f"b{at.index}_", "[0]"
    ptr = f"p{at.index}_ + {body.constant(at.offset)}" if at.offset else f"p{at.index}_"
    strides = "None" if r._strides is None else body.constant(r._strides)
    return [*text.tensor(name, body.constant(r._n), body.constant(r._shape), body.constant(r._kind), buf, ptr, ver, strides),
            *text.unrecorded(name)]


def body_address(recorder, r):
    if r._buf.__class__ is not tape.Fake or r._rg:
        return None
    at = recorder.argument(r._ptr)
    return at if at.__class__ is Address and at.index >= 0 else None
