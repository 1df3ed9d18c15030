"""What generated calls have in common: signatures, the entry before the first call, a new tensor, its node.

A call is text because its fast path is inline. The parameters keep the names that the op's author gave them; every other name
ends in an underscore, which no parameter may (``op.check_names``).
"""

from __future__ import annotations

import functools
import inspect

import numpy as np

from ..base import arguments, modes
from ..core import graph, makers, replay, storage
from ..core.out import other_dtype, write_out
from ..core.registry import REGISTRY
from ..core.tensor import Tensor
from ..kernel import jit
from ..kernel.threads import LIMIT
from . import former, layers

NAMES = {"STATE_": modes.STATE, "LIMIT_": LIMIT, "empty_": np.empty, "new_": object.__new__, "Tensor_": Tensor,
         "sequence_": graph.sequence, "refresh_": graph.refresh, "freed_": graph.freed, "recording_": modes.recording}


def environment(**own):
    """The names that generated calls may use, and those of one of them: ``op=op`` is ``op_`` in its text."""
    return {**arguments.ENVIRONMENT, **NAMES, "peek_": storage._peek or peek, "fresh_": makers.tensor, "note_": makers.record,
            **{n + "_": v for n, v in own.items()}}


def peek(address):
    """Stands in for the native reader on an interpreter whose arrays are laid out differently."""
    import ctypes
    return ctypes.c_int64.from_address(address).value


# --- signatures -------------------------------------------------------------------------------------------------------

def head(signature):
    """The parameters of a signature as text; their defaults are in ``DEFAULTS_``."""
    parts, star = [], False
    for p in signature.parameters.values():
        if p.kind is p.KEYWORD_ONLY and not star:
            parts.append("*")
        star = star or p.kind in (p.VAR_POSITIONAL, p.KEYWORD_ONLY)
        parts.append(STARS.get(p.kind, "") + p.name + ("" if p.default is p.empty else f"=DEFAULTS_[{p.name!r}]"))
    return ", ".join(parts)


def passed(signature):
    """The arguments of a call with that signature, handed on to a function with the same."""
    return ", ".join([f"{p.name}={p.name}" if p.kind is p.KEYWORD_ONLY else STARS.get(p.kind, "") + p.name
                      for p in signature.parameters.values()])


def defaults(signature):
    return {p.name: p.default for p in signature.parameters.values() if p.default is not p.empty}


SIZES = ("size", "shape", "dims", "repeats")  # that come as one sequence under their name, too
NAMED = {"view"}  # ops that take a dtype by its name where they take sizes
STARS = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}


def group(parts):
    """A tuple as text."""
    parts = list(parts)
    return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"


# --- functions --------------------------------------------------------------------------------------------------------

NUMPY = {"dim": "axis", "keepdim": "keepdims"}


def numpy_names(op, signature):
    """{parameter: NumPy's name} of those of an op that PyTorch takes under that name, too, and the signature with these.

    They stand behind the last parameter that may come by its place, where a default costs a call nothing; whoever gives one by
    its place has given the other, too, which is told."""
    own = signature.parameters
    found = {n: other for n, other in NUMPY.items() if n in own and other not in own}
    if op.kind not in ("function", "view") or not found or op.private or any(
            [p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in own.values()]):
        return {}, signature
    ours = [p.replace(default=arguments.MISSING) if p.name in found and p.default is p.empty else p for p in own.values()]
    required = [p.name for p in ours if p.default is p.empty and p.kind is not p.KEYWORD_ONLY]
    late = [p for p in ours[[p.name for p in ours].index(next(iter(found))):] if p.name in required]
    if late:  # a parameter behind the dimension is required
        return {}, signature
    words = [p for p in ours if p.kind is p.KEYWORD_ONLY]
    more = [inspect.Parameter(n, words[0].KEYWORD_ONLY if own[of].kind is own[of].KEYWORD_ONLY else own[of].kind, default=None)
            for of, n in found.items()]
    placed = [p for p in (*ours, *more) if p.kind is not p.KEYWORD_ONLY]
    return found, signature.replace(parameters=[*placed, *[p for p in (*ours, *more) if p.kind is p.KEYWORD_ONLY]])


def taken(op, found):
    """Lines that take arguments under NumPy's names."""
    return [line for n, other in found.items() for line in (
        f"    if {other} is not None:",
        f"        {n} = called_({op.name!r}, {n!r}, {n}, DEFAULTS_[{n!r}], {other})")]


def call(op, signature, lines, env):
    """The public function of an op with the given lines."""
    shown = signature
    others, signature = numpy_names(op, signature)
    signature = former.signature(op, signature)
    looks, more = former.lines(op, shown)
    lines, env = [*looks, *lines], {**env, **more}
    if others:
        lines, env = [*taken(op, others), *lines], {**env, "called_": arguments.called}
    sizes = next((n for n, p in signature.parameters.items() if p.kind is p.VAR_POSITIONAL and n in SIZES), None)
    parameters = head(signature)
    if sizes is not None:
        if op.name in NAMED:  # (an empty dict costs a call less than a second default)
            parameters = parameters.replace(f"*{sizes}", f"*{sizes}_, **named_")
            lines = [f"    {sizes} = alone_({op.name!r}, {sizes!r}, {sizes}_, **named_) if named_ else {sizes}_", *lines]
        else:
            parameters = parameters.replace(f"*{sizes}", f"*{sizes}_, {sizes}=None")
            lines = [f"    {sizes} = {sizes}_ if {sizes} is None else alone_({op.name!r}, {sizes!r}, {sizes}_, {sizes})",
                     *lines]
        env = {**env, "alone_": arguments.one_of if op.name in NAMED else arguments.alone}
    if op.out is not None:
        lines = ["    if out is not None:", f"        return filled_[0]({passed(op.signature)}, out=out)", *lines]
        env = {**env, "filled_": op.filled(op.call_signature(), functools.partial(into, op))}
    source = "\n".join([f"def {op.name}({parameters}):", *lines, ""])
    fn = public(replay.attach(jit.define(source, op.name, {**env, "DEFAULTS_": defaults(signature)})), op)
    if sizes is not None or signature is not shown:
        fn.__signature__ = shown
    return fn


def into(op, *args, out, **kwargs):
    """Write what an op makes of these arguments into ``out``, and return that; no region casts such calls."""
    result = modes.uncast(op.callable, *args, **kwargs)
    if op.out != "wider" and isinstance(out, Tensor) and out._kind.dtype is not result._kind.dtype:
        raise RuntimeError(other_dtype(result, out) if op.out == "same" else op.out)
    return write_out(op.name, out, result, [a for a in (*args, *kwargs.values()) if isinstance(a, Tensor)], op.out == "wider")


def shared(op, name, signature, lines, env):
    """A public function of few lines that other ops have, too: they are compiled once for all."""
    source = "\n".join([f"def call({head(signature)}):", *lines, ""])
    return public(jit.define_again(source, "call", {**env, "DEFAULTS_": defaults(signature)}), op, name)


def public(fn, op, name=None):
    fn.__doc__, fn.__module__, fn.__name__ = op.doc, "numbagrad", name or op.name
    fn.__qualname__ = fn.__name__
    return fn


def deferred(op):
    """The call of an op until it is used: ``op.build_call`` then makes the real one, and this becomes it, whoever holds it
    (programs compare functions: ``reduce is torch.mean``)."""
    made = []

    def first():
        if not made:
            jit.nb()
            made.append(op.build_call())
            if op.call is entry:
                layers.become(entry, made[0])
                if op.namespaces or op.method:
                    REGISTRY.publish(op, entry)  # operators are made of its text
        return made[0]
    shown = op.call_signature()
    signature = former.signature(op, numpy_names(op, shown)[1])
    lines = [f"    return (made_[0] if made_ else first_())({passed(signature)})"]
    entry = shared(op, None, signature, lines, {"made_": made, "first_": first})
    if signature is not shown:
        entry.__signature__ = shown
    return entry


# --- lines ------------------------------------------------------------------------------------------------------------

def indented(lines, pad):
    return [pad + line for line in lines]


def block(lines, depth):
    """The lines as one text, for templates."""
    return "\n".join(indented(lines, depth * "    "))


def allocated(n, storage_, buf="buf_", ptr="ptr_"):
    """Lines that allocate ``n`` numbers of a NumPy type."""
    return [f"{buf} = empty_({n}, {storage_})", f"{ptr} = peek_(id_({buf}) + {storage.DATA_FIELD})"]


def tensor(out, n, shape, kind, buf="buf_", ptr="ptr_", ver="[0]", strides="None", view="None"):
    """Lines that make a tensor of its parts, but for what ``unrecorded`` or ``node`` sets."""
    fields = (("_buf", buf), ("_ptr", ptr), ("_n", n), ("_shape", shape), ("_strides", strides), ("_kind", kind), ("_ver", ver),
              ("_grad", "None"), ("_view", view))
    return [f"{out} = new_(Tensor_)", *[f"{out}.{field} = {value}" for field, value in fields]]


# What a node keeps of a new tensor ``out_`` of ``n_`` elements, ``shape_`` and kind ``ko_``, as ``graph.save_output`` would.
SAVED_OUTPUT = "(out_._buf, ptr_, n_, shape_, ko_, out_._ver, None, 0), 0"


def fresh(out, n, storage_, shape, kind, ptr="ptr_"):
    """Lines that make a tensor on new memory, outside of the graph, and take its address."""
    return [f"{out} = fresh_({n}, {storage_}, {shape}, {kind})", f"{ptr} = {out}._ptr"]


def recorded(cls, following, saved, ctx, out="out_"):
    """The line that gives ``out``, which has none, a node of a class."""
    return f"note_({out}, {cls}, {following}, {saved}, {ctx})"


def unrecorded(out):
    """Lines that leave a new tensor outside of the graph."""
    return [f"{out}._rg = False", f"{out}._node = None"]


def node(made, following, saved, ctx, out=None):
    """Lines that make a node, ``node_``, and the history of ``out`` of it."""
    lines = [f"node_ = {made}", f"node_.next = {following}", f"node_.saved = {saved}", "node_.seq = sequence_()",
             f"node_.ctx = {ctx}", "node_.hooks = None"]
    return lines + ([f"{out}._node = node_", f"{out}._rg = True"] if out else [])
