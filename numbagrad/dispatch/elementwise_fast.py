"""The generated call of an elementwise op: its fast path, and the first-order backward of its nodes.

The text is generated per op, because a Python call costs as much as a small kernel: it tests that every input has the
same kind and shape and is row-major, allocates, runs the kernel, and makes the tensor and its node inline. Whatever does
not fit goes to ``call.general`` and ``call.slow_backward``.
"""

from __future__ import annotations

import inspect

from ..base import arguments
from ..base import dtypes as dt
from ..core import replay
from ..core.graph import Node
from ..core.saved import bump_version
from ..kernel import jit
from ..kernel.guard import LOCK
from . import composed, former, plan, replays, text
from .elementwise_backward import backward_graph, only, slow_backward
from .elementwise_general import Slow, general, of_tensors
from .text import group, indented

PAD = "    "


def _record_text(form, node_class, ctx=None):
    """Lines that record the node of ``out_``; one branch per combination of inputs that require grad."""
    t = form.tensors
    ctx = ctx or (group(form.scalars) if form.scalars else "None")

    def node(mask):
        edges = group([f"{n}._node or {n}" if mask >> i & 1 else "None" for i, n in enumerate(t)])
        saved = group([text.SAVED_OUTPUT if n == "y_" else f"{n}, {n}._ver[0]" for n in form.saves(mask)])
        return PAD + text.recorded(node_class, edges, saved, ctx)

    if not form.differentiable:
        return []
    if len(t) == 1:
        return [f"if {t[0]}._rg and record_:", node(1)]
    lines = []
    for mask in range((1 << len(t)) - 1, 0, -1):
        wanted = " and ".join(f"{n}._rg" for i, n in enumerate(t) if mask >> i & 1)
        lines += [f"{'elif' if lines else 'if'} {wanted}:", node(mask)]
    return ["if record_:", *indented(lines, PAD)]


def _fast_text(form, table="FAST_", node_class="Node_"):
    """Lines that return the result when the fast path applies and fall through when it does not."""
    first, *rest = form.tensors
    same = "".join(f" and {n}._kind is k_ and {n}._strides is None and {n}._shape == shape_" for n in rest)
    refresh = [line for n in form.tensors for line in (f"if {n}._view is not None:", f"    refresh_({n})")]
    arguments_ = ", ".join([*[f"{n}._ptr" for n in form.tensors], "ptr_", *form.scalars])
    return [
        f"e_ = {table}.get(k_)",
        *([f"shape_ = {first}._shape if e_ is not None else None"] if rest else []),
        f"if e_ is not None and {first}._strides is None{same} and {first}._n < LIMIT_[0]:",
        *indented([
            *refresh, f"n_ = {first}._n", f"shape_ = {first}._shape", "run_, storage_, ko_ = e_",
            *text.fresh("out_", "n_", "storage_", "shape_", "ko_"), f"run_({arguments_}, 0, n_)",
            *_record_text(form, node_class), "return out_"], PAD)]


def _planned_text(form, plans, node_class):
    """Lines that return the result where a call of the same geometry has been planned, for any shapes and strides."""
    key = group([part for n in form.tensors for part in (f"{n}._kind", f"{n}._shape", f"{n}._strides")]
                + [f"{n}.__class__" for n in form.scalars])
    refresh = [line for n in form.tensors for line in (f"if {n}._view is not None:", f"    refresh_({n})")]
    numbers = group(form.scalars)
    run = [f"run_({', '.join([f'{n}._ptr' for n in form.tensors])}, ptr_{', ' + numbers if form.scalars else ''})"]
    if form.scalars:  # a number of more than 64 bits, or beyond all floats: the general path says so
        run = ["try:", *indented(run, PAD), "except (OverflowError_, TypeError_):",
               f"    return general_(op_, {_operands(form)}, None)"]
    return ["if k_ is not None:", *indented([
        f"key_ = {key}", f"plan_ = {plans}.get(key_)", "if plan_:", *indented([
            "run_, storage_, ko_, n_, shape_, shapes_, plans_, most_ = plan_", "if most_ < LIMIT_[0]:", *indented([
                *refresh, *text.fresh("out_", "n_", "storage_", "shape_", "ko_"), *run,
                *_record_text(form, node_class, f"Slow_({numbers}, shapes_, ko_, plans_)"), "return out_"], PAD)], PAD),
        "elif plan_ is None:", f"    settle_({plans}, key_, {group(form.tensors)}, {numbers})"], PAD)]


def _operands(form):
    """The arguments of ``general`` as text."""
    return f"{group(form.op.tensors)}, {group(form.op.params)}"


def environment(form, **own):
    return text.environment(Node=form.node_class, Slow=Slow, general=general, **own)


def call_signature(op):
    """The parameters of the public call: the op's own, its keywords, ``out``."""
    params = dict(op.signature.parameters)
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD if op.by_position else inspect.Parameter.KEYWORD_ONLY
    for k, (default, _) in op.keywords.items():
        params[k] = inspect.Parameter(k, kind, default=default)
    if "out" not in params:
        params["out"] = inspect.Parameter("out", inspect.Parameter.KEYWORD_ONLY, default=None)
    return inspect.Signature(list(params.values()))


def tests(op, names):
    """What numbers have to be for the fast path."""
    most, first = f"-{dt.MOST} <= {{0}} <= {dt.MOST}", op.tensors[0]
    bfloat = float(dt.finfo(dt.bfloat16).max)  # less than float32's
    held = (f"(-65504.0 <= {{0}} <= 65504.0 or {first}.__class__ is Tensor_ and {first}._kind.dtype.code != 'f2' and "
            f"-{bfloat} <= {{0}} <= {bfloat})")
    tests = [(held if n in op.stored else most).format(n) for n in names if n in op.fits]
    return tests + ([op.usual] if op.usual != "True" else [])


def _narrow(op, names):
    """What keeps numbers away from the fast path that a floating-point tensor may not hold, or that are not usual."""
    found = tests(op, names)
    return f" if {' and '.join(found)} else None" if found else ""


def _keyword_text(op, env):
    """Lines that hand over to what runs for other values of the keywords than the usual ones."""
    names, lines = list(op.signature.parameters), []
    for k, (default, _) in op.keywords.items():
        env[f"DEFAULT_{k}_"] = default
        lines += former.keyword(op, k, keywords=", out=out")
        if len(op.tensors) == 1:  # which raises the TypeError
            lines += [f"    if not isinstance_({names[0]}, Tensor_):", f"        general_(op_, ({names[0]},), (), None)"]
        lines.append(f"    return KEYWORDS_[{k!r}][1]({', '.join(names)}, {k}, out={_out(op)})")
    return lines


def _out(op):
    """The argument ``out`` of the call, which an op with a parameter of that name does not have."""
    return "None" if "out" in op.signature.parameters else "out"


def build_entry(op):
    """The call itself."""
    form = op.form("t" * len(op.tensors))
    env = environment(form, op=op, FAST=form.fast, KEYWORDS=op.keywords, SPECIAL=op.special, settle=composed.settle_elementwise,
                      PLANS=plan.Plans(form), of_tensors=of_tensors)
    out, lines = _out(op), _keyword_text(op, env)
    if op.special:  # a float exponent makes an integer tensor a float one
        a, b = op.tensors
        lines += [f"c_ = {b}.__class__", f"if (c_ is float_ or c_ is int_) and {b} in SPECIAL_ and {out} is None:",
                  "    try:", f"        k_ = {a}._kind",
                  "        if c_ is int_ or k_.dtype.category >= 2:", f"            return SPECIAL_[{b}]({a})",
                  "    except AttributeError_:", "        pass"]
    if op.params:
        kinds = {n: op.kinds.get(n, "any") for n in op.params}
        lines += arguments.text(op.name, op.signature.parameters, kinds, pad="").splitlines()
    lines += ["record_ = True if not STATE_ else recording_()",
              f"if {out} is None and record_ is not None:" if out == "out" else "if record_ is not None:"]
    inner = []
    if len(op.tensors) == 2 and not op.params and op.takes_numbers != "none":
        inner += _number_text(op, env, out)
    env["replay_"] = form.calls
    inner += replays.lines([*op.tensors, *op.params], when=" and ".join(tests(op, op.params)))
    inner += ["try:", f"    k_ = {op.tensors[0]}._kind{_narrow(op, op.params)}", *[f"    {n}._kind" for n in op.tensors[1:]],
              "except (AttributeError_, TypeError_):", "    k_ = None",  # complex numbers have no order
              *_fast_text(form), *_planned_text(form, "PLANS_", "Node_")]
    lines += indented(inner, PAD)
    if out == "out":
        env["bump_version_"] = bump_version
        written = written_text(op, env, "fills", ("out",))
        lines += ["if out is not None and record_ is not None:", *indented(written, PAD)] if written else []
    strict = "of_tensors_" if op.takes_numbers in ("later", "none") else "general_"
    lines.append(f"return {strict}(op_, {group(op.tensors)}, {group(op.params)}, {out})")
    return text.call(op, op.call_signature(), indented(lines, PAD), env)


def written_text(op, env, programs, out=()):
    """Lines that return the tensor that the native function writes, by ``programs`` ("changes" in place, "fills" of ``out``) of
    the form of tensors, or of the one with a number last."""
    last = op.tensors[-1]
    env["replayWritten_"] = getattr(op.form("t" * len(op.tensors)), programs)
    lines = replays.lines([*op.tensors, *out, *op.params], " and ".join(tests(op, op.params)), "replayWritten_", "True")
    if lines and len(op.tensors) > 1 and op.takes_numbers != "none":
        env["replayWrittenTS_"] = getattr(op.form("t" * (len(op.tensors) - 1) + "s"), programs)
        when = " and ".join(tests(op, [last, *op.params]) + [f"{last} not in SPECIAL_"] * bool(op.special))
        number = replays.lines([*op.tensors[:-1], *out, last, *op.params], when, "replayWrittenTS_", "True")
        lines = [f"c_ = {last}.__class__", "if c_ is float_ or c_ is int_:", *indented(number, PAD), "else:",
                 *indented(lines, PAD)]
    return lines


def build_form_entry(form):
    """``f(record, *arguments)`` for a pattern with numbers: the result where there is a plan, or None."""
    op = form.op
    env = environment(form, op=op, settle=composed.settle_elementwise, PLANS=plan.Plans(form))
    first, *rest = form.tensors
    env.update(replay_=form.calls, LOW_=-(1 << 63), HIGH_=(1 << 64) - 1)
    lines = replays.lines([*form.tensors, *form.scalars], when=" and ".join(tests(op, form.scalars)))
    for n in [n for n in op.tensors if n in form.scalars]:
        lines += [f"if {n}.__class__ is int_ and not LOW_ <= {n} <= HIGH_:", "    return None"]
    lines += ["try:", f"    k_ = {first}._kind{_narrow(op, form.scalars)}", *[f"    {n}._kind" for n in rest],
             "except (AttributeError_, TypeError_):", "    return None", *_planned_text(form, "PLANS_", "Node_")]
    name = f"{op.name}_{form.pattern}"
    source = "\n".join([f"def {name}(record_, {', '.join((*op.tensors, *op.params))}):", *indented(lines, PAD),
                        "    return None", ""])
    return replay.attach(jit.define(source, name, {**env, "general_": lambda *arguments: None}, f"{op.name} {form.pattern}"))


def _number_text(op, env, out):
    """Lines of the call with a number for the second tensor."""
    a, b = op.tensors
    ts = op.form("ts")
    env.update(LOW_=-(1 << 63), HIGH_=(1 << 64) - 1)
    env.update(FLOATS_=ts.fast.setdefault("f", {}), INTS_=ts.fast.setdefault("i", {}), NodeTS_=ts.node_class,
               PLANSTS_=plan.Plans(ts))
    env["replayTS_"] = ts.calls
    quick = replays.lines([a, b], " and ".join(tests(op, [b])), "replayTS_")
    return [f"c_ = {b}.__class__", "if c_ is float_ or c_ is int_:", *indented([
        *quick, f"if c_ is int_ and not LOW_ <= {b} <= HIGH_:", f"    return general_(op_, ({a}, {b}), (), {out})",
        "try:", f"    k_ = {a}._kind{_narrow(op, [b])}", "except AttributeError_:", "    k_ = None",
        "t_ = FLOATS_ if c_ is float_ else INTS_",
        "try:", *indented([*_fast_text(ts, "t_", "NodeTS_"), *_planned_text(ts, "PLANSTS_", "NodeTS_")], PAD),
        # An int of more than 64 bits, or beyond all floats: the general path says so.
        "except (OverflowError_, TypeError_):", "    pass", f"return general_(op_, ({a}, {b}), (), {out})"], PAD)]


def refuse(node, g):
    """Backward of an op that has no derivative, as PyTorch says it."""
    raise RuntimeError(f"derivative for aten::{node.op.name} is not implemented")


def make_node(form, name):
    """The node class of a form, with a generated first-order backward."""
    if form.op.underived:
        return type("NotImplemented", (Node,), {"__slots__": (), "op": form.op, "form": form, "__module__": "numbagrad",
                                                "backward": refuse, "captured": refuse, "backward_graph": refuse})
    cls = type(name, (Node,), {"__slots__": (), "op": form.op, "form": form, "__module__": "numbagrad",
                               # PyTorch saves the number, so that a second backward is refused; nothing is saved here.
                               "holds_more": form.pattern == "ts" and form.op.name in ("mul", "div")})

    def backward(self, g):
        with LOCK:
            if cls.backward is backward:
                cls.backward = _build_backward(form) if form.differentiable else slow_backward
        return cls.backward(self, g)

    cls.backward, cls.captured = backward, slow_backward
    cls.backward_graph, cls.only = backward_graph, only
    return cls


def _build_backward(form):
    """Text of the first-order backward: one branch per set of inputs that need a gradient."""
    env = environment(form, slow_backward=slow_backward)
    inner, count = [], len(form.tensors)
    if count > 1:
        inner.append("following_ = node_.next")
    for mask in range((1 << count) - 1, 0, -1):
        branch = _backward_text(form, mask, env)
        if count > 1:
            wanted = " and ".join(f"following_[{i}] is {'not ' if mask >> i & 1 else ''}None" for i in range(count))
            branch = [f"if {wanted}:", *indented(branch, PAD)]
        inner += branch
    lines = ["saved_ = node_.saved", "if saved_ is None:", "    freed_()",
             "if node_.ctx.__class__ is not Slow_ and g_._strides is None and g_._n < LIMIT_[0]:", *indented(inner, PAD),
             "return slow_backward_(node_, g_)"]
    source = "\n".join([f"def {form.name}_backward(node_, g_):", *indented(lines, PAD), ""])
    return jit.define(source, f"{form.name}_backward", env, f"{form.name} backward")


def _backward_text(form, mask, env):
    """Lines that return the gradients of the inputs of ``mask`` if the fast path applies."""
    _, names, computed, passed, scalars = form.backward_kernel(mask)
    lines, checks, pointers = [], [], {"g_": "g_._ptr"}
    for j, s in enumerate(form.saves(mask)):
        v = f"s{j}_"
        lines.append(f"{v} = saved_[{2 * j}]")
        if s == "y_":
            checks.append(f"{v}[5][0] == saved_[{2 * j + 1}]")
            pointers[s] = f"{v}[1]"
        else:
            checks.append(f"{v}._ver[0] == saved_[{2 * j + 1}] and {v}._n == g_._n")
            pointers[s] = f"{v}._ptr"
    results = group(["g_" if i in passed else f"r{computed.index(i)}_" if i in computed else "None"
                     for i in range(len(form.tensors))])
    if not computed:
        return [*lines, f"return {results}"]
    env[f"FAST{mask}_"] = form.fast_backward[mask]
    inner = ["run_, storage_, ko_ = e_", "n_ = g_._n", "shape_ = g_._shape"]
    for j in range(len(computed)):
        inner += text.fresh(f"r{j}_", "n_", "storage_", "shape_", "ko_", f"p{j}_")
    given = [*[pointers[n] for n in names], *[f"p{j}_" for j in range(len(computed))],
             *[f"node_.ctx[{form.scalars.index(s)}]" for s in scalars]]
    inner.append(f"run_({', '.join(given)}, 0, n_)")
    return [*lines, f"e_ = FAST{mask}_.get(g_._kind)", f"if e_ is not None{''.join(' and ' + c for c in checks)}:",
            *indented([*inner, f"return {results}"], PAD)]
