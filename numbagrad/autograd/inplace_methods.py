"""The in-place methods of ops: generated with the op's own parameters, the usual call of a binary one inline."""

from __future__ import annotations

import inspect

import numpy as np

from ..core import replay
from ..core.launch import share
from ..core.tensor import Tensor, bump_version
from ..dispatch import composed, former, text
from ..dispatch.elementwise_fast import written_text
from ..dispatch.text import group, indented
from ..kernel import jit
from .inplace import apply, apply_function

TAKEN = (Tensor, int, float, complex, np.generic)  # what operators take, beside what answers for itself
REFUSED = (str, list, tuple, dict, type(None), np.ndarray)  # what they leave to Python without trying


def left(other, call, *args):
    """What an operator makes of something that is neither tensor nor number: NotImplemented, unless it answers for itself.

    Python then asks the other side, compares by identity, or says that there is no such operation."""
    if isinstance(other, REFUSED):
        return NotImplemented
    try:
        return call(*args)
    except TypeError:
        if hasattr(type(other), "__torch_function__"):
            raise
        return NotImplemented


def method(op):
    """The in-place method ``name_`` of an op."""
    if op.kind == "elementwise":
        return _elementwise(op)
    params = signature(op)
    first, *rest = params.parameters.values()
    positional = group([("*" if p.kind is p.VAR_POSITIONAL else "") + p.name for p in rest if p.kind < p.KEYWORD_ONLY])
    keywords = "".join(f"{p.name!r}: {p.name}, " for p in rest if p.kind is p.KEYWORD_ONLY)
    lines = [f"    return apply_(op_, {first.name}, {positional}, {{{keywords}}})"]
    env = text.environment(apply=apply_function, op=op, bump_version=bump_version)
    if op.loop_of is not None:
        env.update(changed_=changed, loop_of_=op.loop_of)
        lines = [f"    if {first.name}.__class__ is Tensor_ and not {first.name}.is_sparse:",
                 f"        loop_, values_ = loop_of_({', '.join(params.parameters)})",
                 "        out_ = (loop_.changed or changed_(loop_))(*values_)",
                 "        if out_ is not None:", "            return out_", *lines]
        return _named(op, params, lines, env)
    found = composed.attached(op, params, lambda *args, **kwargs: apply_function(op, args[0], args[1:], kwargs))
    if found is None:
        return _named(op, params, lines, env)
    _, looks, more = found
    return replay.attach(_named(op, params, [*indented(looks, "    "), *lines], {**env, **more}))


def changed(op):
    """``f(*arguments)`` of an elementwise op: its first argument if the native function knows how to write it, or None."""
    env = {}
    lines = [*_planned(op, env), "return None"]
    source = "\n".join([f"def changed({', '.join((*op.tensors, *op.params))}):", *indented(lines, "    "), ""])
    op.changed = replay.attach(jit.define_again(source, "changed", env))
    return op.changed


def operator(op):
    """``x += y``: the in-place method, which leaves operands that it cannot take to Python."""
    if op.kind == "elementwise":
        return _elementwise(op, _apply_or_leave)

    def inplace(self, other):
        if isinstance(other, TAKEN):
            return apply_function(op, self, (other,), {})
        return left(other, apply_function, op, self, (other,), {})
    return inplace


def signature(op):
    """The parameters of the in-place form: without those that say where the result goes."""
    own = op.tensors if op.kind == "elementwise" else ()
    params = op.call_signature().parameters.values()
    return inspect.Signature([p for p in params if p.name in own or p.name not in ("out", "inplace")])


def _apply_or_leave(op, t, args):
    """``apply`` for an operator: NotImplemented where the operand cannot be part of arithmetic."""
    return apply(op, t, args) if isinstance(args[0], TAKEN) else left(args[0], apply, op, t, args)


def _named(op, params, lines, env):
    looks, more = former.lines(op, params, "_")
    fn = text.shared(op, op.name + "_", former.signature(op, params), [*looks, *lines], {**env, **more})
    if former.signature(op, params) is not params:
        fn.__signature__ = params
    fn.__doc__ = f"In-place form of ``{op.name}``."
    return fn


def _elementwise(op, apply=apply):
    """``x.add_(y)``: straight to the kernel where nothing is recorded and nothing has to be converted."""
    first, *rest = op.signature.parameters
    env = {"op_": op, "apply_": apply, "KEYWORDS_": op.keywords}
    params, lines = signature(op), []
    for k in op.keywords:
        if k in params.parameters:
            env[f"DEFAULT_{k}_"] = op.keywords[k][0]
            lines += [*former.keyword(op, k, "_"),
                      f"    return KEYWORDS_[{k!r}][1]({', '.join([first, *rest, k])}, inplace=True)"]
    if len(op.tensors) == 1 and not op.params:
        env.update(text.environment(bump_version=bump_version, share=share), Tensor_=Tensor,
                   FAST_=op.fast_inplace.setdefault("t", {}))
        lines += _fast_alone(first)
    if len(op.tensors) == 2 and not op.params:
        tensors, number = [op.fast_inplace.setdefault(pattern, {}) for pattern in ("tt", "ts")]
        env.update(text.environment(bump_version=bump_version, share=share, SPECIAL=op.special), LOW_=-(1 << 63),
                   HIGH_=(1 << 64) - 1)
        env.update(FAST_=tensors, FLOATS_=number.setdefault("f", {}), INTS_=number.setdefault("i", {}))
        lines += _fast(first, *rest, op.special, f"return apply_(op_, {first}, ({rest[0]},))")
    lines += _planned(op, env)
    lines.append(f"return apply_(op_, {first}, {group(rest)})")
    return replay.attach(_named(op, params, indented(lines, "    "), env))


def _planned(op, env):
    """Lines that return what the native function makes of a planned call."""
    if not op.in_order:
        return []
    env.update(text.environment(bump_version=bump_version, SPECIAL=op.special))
    lines = indented(written_text(op, env, "changes"), "    ")
    return ["record_ = True if not STATE_ else recording_()", "if record_ is not None:", *lines] if lines else []


def _fast(a, b, special, slow):
    """Lines that write into ``a`` and return it where a kernel for that was found before."""
    return [
        f"c_ = {b}.__class__",
        f"if {a}._strides is None and '_inference' not in {a}.__dict__:",
        f"    kind_ = {a}._kind", "    record_ = True if not STATE_ else recording_()",
        "    if c_ is float_ or c_ is int_:",
        f"        e_ = FLOATS_.get(kind_) if c_ is float_ else INTS_.get(kind_) if LOW_ <= {b} <= HIGH_ else None",
        "        if e_ is not None and (record_ is False or (",
        f"                record_ and not {a}._rg and {a}._view is None)){f' and {b} not in SPECIAL_' if special else ''}:",
        "            try:", *_run((f"{a}._ptr", f"{a}._ptr", b), a, " " * 16),
        "            except OverflowError_:",  # an int of more than 64 bits
        "                " + slow, f"            bump_version_({a})", f"            return {a}",
        f"    elif hasattr_({b}, '_kind') and {b}._kind is kind_ and {b}._strides is None and (",
        f"            {b}._shape == {a}._shape) and ({b}._buf is not {a}._buf or {b}._ptr == {a}._ptr):",
        "        e_ = FAST_.get(kind_)", "        if e_ is not None and (record_ is False or (",
        f"                record_ and not {a}._rg and not {b}._rg and {a}._view is None and {b}._view is None)):",
        *_run((f"{a}._ptr", f"{b}._ptr", f"{a}._ptr"), a, " " * 12), f"            bump_version_({a})",
        f"            return {a}"]


def _fast_alone(a):
    """``_fast`` of an op of one tensor."""
    return [
        f"if {a}.__class__ is Tensor_ and not {a}.is_sparse and {a}._strides is None and '_inference' not in {a}.__dict__:",
        "    record_ = True if not STATE_ else recording_()",
        f"    e_ = FAST_.get({a}._kind)",
        f"    if e_ is not None and (record_ is False or (record_ and not {a}._rg and {a}._view is None)):",
        *_run((f"{a}._ptr", f"{a}._ptr"), a, " " * 8), f"        bump_version_({a})", f"        return {a}"]


def _run(words, a, pad):
    """Lines that run the kernel ``e_`` over all of ``a``, on one thread or several."""
    return [f"{pad}if {a}._n < LIMIT_[0]:", f"{pad}    e_({', '.join(words)}, 0, {a}._n)",
            f"{pad}else:", f"{pad}    share_(e_, {group(words)}, {a}._n)"]
