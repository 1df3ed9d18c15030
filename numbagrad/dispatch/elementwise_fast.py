"""The generated call of an elementwise op: its fast path, and the first-order backward of its nodes.

The text is generated per op, because a Python call costs as much as a small kernel: it tests that every input has the
same kind and shape and is row-major, allocates, runs the kernel, and makes the tensor and its node inline. Whatever does
not fit goes to ``call.general`` and ``call.slow_backward``.
"""

from __future__ import annotations

import re

import numpy as np

from ..base import arguments, modes
from ..base import dtypes as dt
from ..core import graph, storage
from ..core.graph import Node
from ..core.tensor import Tensor
from ..kernel import emit, expr, jit
from ..kernel.guard import LOCK
from ..kernel.threads import LIMIT
from .elementwise_backward import backward_graph, slow_backward
from .elementwise_general import Slow, general, storage_peek


def _record_text(form, pad):
    """Lines that record the node of ``out``; one branch per combination of inputs that require grad."""
    t = form.tensors
    ctx = f"({', '.join(form.scalars)},)" if form.scalars else "None"
    lines = []

    def node(mask, pad):
        edges = ", ".join(f"{n}._node or {n}" if mask >> i & 1 else "None" for i, n in enumerate(t))
        saved = ", ".join(f"{n}, {n}._ver[0]" if n != "y" else "(buf, ptr, n, shape, ko, ver, None, 0), 0"
                          for n in form.saves(mask))
        return [f"{pad}node = new(NodeClass)", f"{pad}node.next = ({edges},)",
                f"{pad}node.saved = ({saved + ',' if saved else ''})", f"{pad}node.seq = sequence()",
                f"{pad}node.ctx = {ctx}", f"{pad}node.hooks = None", f"{pad}out._node = node", f"{pad}out._rg = True"]

    if not form.differentiable:
        return [f"{pad}out._rg = False", f"{pad}out._node = None"]
    if len(t) == 1:
        return [f"{pad}if {t[0]}._rg and record:", *node(1, pad + "    "), f"{pad}else:", f"{pad}    out._rg = False",
                f"{pad}    out._node = None"]
    lines += [f"{pad}if not record:", f"{pad}    out._rg = False", f"{pad}    out._node = None"]
    for mask in range((1 << len(t)) - 1, 0, -1):
        word = "elif"
        cond = " and ".join(f"{n}._rg" for i, n in enumerate(t) if mask >> i & 1)
        lines += [f"{pad}{word} {cond}:", *node(mask, pad + "    ")]
    return [*lines, f"{pad}else:", f"{pad}    out._rg = False", f"{pad}    out._node = None"]


def _fast_text(form, pad, table="FAST"):
    """Lines that return the result when the fast path applies and fall through when it does not."""
    first, *rest = form.tensors
    same = "".join(f" and {n}._kind is k and {n}._strides is None and {n}._shape == shape" for n in rest)
    pointers = ", ".join(f"{n}._ptr" for n in form.tensors)
    scalars = "".join(f", {s}" for s in form.scalars)
    refresh = [f"{pad}    if {n}._view is not None:\n{pad}        refresh({n})" for n in form.tensors]
    return [
        f"{pad}e = {table}.get(k)",
        f"{pad}shape = {first}._shape if e is not None else None" if rest else f"{pad}pass",
        f"{pad}if e is not None and {first}._strides is None{same} and {first}._n < LIMIT[0]:",
        *refresh,
        f"{pad}    n = {first}._n",
        f"{pad}    run, storage, ko = e",
        f"{pad}    buf = empty(n, storage)",
        f"{pad}    ptr = peek(id(buf) + {storage.DATA_FIELD})",
        f"{pad}    run({pointers}, ptr{scalars}, 0, n)",
        f"{pad}    out = new(Tensor)",
        f"{pad}    out._buf = buf", f"{pad}    out._ptr = ptr", f"{pad}    out._n = n",
        f"{pad}    out._shape = shape = {first}._shape", f"{pad}    out._strides = None", f"{pad}    out._kind = ko",
        f"{pad}    out._ver = ver = [0]", f"{pad}    out._grad = None", f"{pad}    out._view = None",
        *_record_text(form, pad + "    "),
        f"{pad}    return out",
    ]


def namespace(form):
    return {"STATE": modes.STATE, "LIMIT": LIMIT, "empty": np.empty, "peek": storage._peek or storage_peek,
            "new": object.__new__, "Tensor": Tensor, "NodeClass": form.node_class if form else None,
            "sequence": graph.sequence, "refresh": graph.refresh, "general": general, "Slow": Slow,
            "freed": graph.freed, "recording": modes.recording}


# Names that the generated calls and kernels use themselves: a parameter of that name would change what they mean.
RESERVED = frozenset(
    "abs args at block buf c complex count d e fargs far float g i id inner int k ko left left_up limit meta meta_a n nd zero "
    "node out ptr range record row rows run shape size start stop storage t table ver y DEFAULTS FAST FLOATS INTS KEYWORDS "
    "LIMIT NodeClass NodeTS OP OverflowError SPECIAL STATE Slow T Tensor empty freed general new peek recording refresh "
    "sequence".split()) | frozenset(arguments.ENVIRONMENT)
BLOCKS = frozenset(("end", "min"))  # used only by kernels that look at blocks of elements first (``emit.NEAR``)
TEMPORARY = re.compile(r"[acko]\d+(_\w)?|t\d+|(load|store|ptr)_\w+")
SUFFIXES = ("_a", "_g", "_i", "_o", "_p", "_r", "_s", "_t", "_near")


def check_names(op):
    """ValueError if a parameter of an elementwise op is called like something in the generated code."""
    names = tuple(op.signature.parameters)
    functions = {n for n, p in expr.PRIMS.items() if p.text.startswith(n + "(")}
    taken = RESERVED | functions | {n + suffix for n in names for suffix in SUFFIXES}
    for n in names:
        if n in taken or TEMPORARY.fullmatch(n) or n in BLOCKS and any(
                e.op in emit.NEAR for e in expr.topological([op.expression])):
            raise ValueError(f"elementwise op {op.name}: a parameter cannot be called '{n}', a name that the generated code "
                             "uses itself; choose another one")


def make_entry(op):
    """The public call: a light function that builds the real one on first use and hands over to it."""
    target = []

    def build():
        jit.nb()
        target.append(_build_entry(op))
        op.call = target[0]
        op.publish(target[0])
        return target[0]

    if op.params or len(op.tensors) > 2 or len(op.tensors) == 1:
        def entry(*args, **kwargs):
            return (target[0] if target else build())(*args, **kwargs)
    else:
        def entry(input, other, **kwargs):
            return (target[0] if target else build())(input, other, **kwargs)
    entry.__name__ = entry.__qualname__ = op.name
    entry.__doc__ = op.doc
    entry.__module__ = "numbagrad"
    return entry


def _narrow(op, names):
    """What keeps numbers away from the fast path that a floating-point tensor may not hold, or that are not usual."""
    tests = [f"-{dt.MOST} <= {n} <= {dt.MOST}" for n in names if n in op.fits]
    tests += [op.usual] if op.usual != "True" else []
    return f" if {' and '.join(tests)} else None" if tests else ""


def _build_entry(op):
    names = list(op.signature.parameters)
    head = []
    for p in op.signature.parameters.values():
        head.append(p.name + (f"=DEFAULTS[{p.name!r}]" if p.default is not p.empty else ""))
    full = op.form("t" * len(op.tensors))
    env = namespace(full)
    env.update(DEFAULTS=op.defaults, OP=op, FAST=full.fast)
    extra = "".join(f", {k}=KEYWORDS[{k!r}][0]" for k in op.keywords)
    env["KEYWORDS"], env["SPECIAL"] = op.keywords, op.special
    star = f", *{extra}, out=None"
    if op.by_position:
        star = ", *, out=None"
        head += extra.split(", ")[1:]
    text = [f"def {op.name}({', '.join(head)}{star}):"]
    for k in op.keywords:
        env["DEFAULT_" + k] = op.keywords[k][0]
        text += [f"    if {k} is not DEFAULT_{k}:",
                 *([f"        if not isinstance({names[0]}, Tensor):", f"            general(OP, ({names[0]},), (), None)"]
                   if len(op.tensors) == 1 else []),  # which raises the TypeError
                 f"        return KEYWORDS[{k!r}][1]({', '.join(names)}, {k}, out=out)"]
    if op.special:  # a float exponent makes an integer tensor a float one
        a, b = op.tensors
        text += [f"    c = {b}.__class__", f"    if (c is float or c is int) and {b} in SPECIAL and out is None:",
                 "        try:", f"            k = {a}._kind",
                 "            if c is int or k.dtype.category >= 2:", f"                return SPECIAL[{b}]({a})",
                 "        except AttributeError:", "            pass"]
    if op.params:
        env.update(arguments.ENVIRONMENT)
        kinds = {n: op.kinds.get(n, "any") for n in op.params}
        text += arguments.text(op.name, op.signature.parameters, kinds).splitlines()
    text += ["    record = True if not STATE else recording()", "    if out is None and record is not None:"]
    pad = " " * 8
    if len(op.tensors) == 2 and not op.params:
        a, b = op.tensors
        ts = op.form("ts")
        env.update(FLOATS=ts.fast.setdefault("f", {}), INTS=ts.fast.setdefault("i", {}), NodeTS=ts.node_class)
        text += [f"{pad}c = {b}.__class__", f"{pad}if c is float or c is int:"]
        text += [f"{pad}    try:", f"{pad}        k = {a}._kind{_narrow(op, [b])}",
                 f"{pad}    except AttributeError:", f"{pad}        k = None"]
        text += [f"{pad}    t = FLOATS if c is float else INTS"]
        text += [f"{pad}    try:"]
        text += [line.replace("NodeClass", "NodeTS") for line in _fast_text(ts, pad + "        ", "t")]
        # An int of more than 64 bits: the general path says so.
        text += [f"{pad}    except OverflowError:", f"{pad}        pass"]
        text += [f"{pad}    return general(OP, ({a}, {b}), (), out)"]
    text += [f"{pad}try:", f"{pad}    k = {op.tensors[0]}._kind{_narrow(op, op.params)}"]
    text += [f"{pad}    {n}._kind" for n in op.tensors[1:]]
    text += [f"{pad}except (AttributeError, TypeError):", f"{pad}    k = None"]  # complex numbers have no order
    text += _fast_text(full, pad)
    text += [f"    return general(OP, ({', '.join(op.tensors)},), ({''.join(n + ', ' for n in op.params)}), out)"]
    fn = jit.define("\n".join(text) + "\n", op.name, env)
    fn.__doc__, fn.__module__, fn.__qualname__ = op.doc, "numbagrad", op.name
    del names
    return fn


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
    cls.backward_graph = backward_graph
    return cls


def _build_backward(form):
    """Text of the first-order backward: one branch per set of inputs that need a gradient."""
    env = namespace(form)
    env["slow_backward"] = slow_backward
    text = [f"def {form.name}_backward(node, g):", "    saved = node.saved", "    if saved is None:", "        freed()",
            "    if node.ctx.__class__ is not Slow and g._strides is None and g._n < LIMIT[0]:"]
    if len(form.tensors) > 1:
        text.append("        following = node.next")
    count = len(form.tensors)
    for mask in range((1 << count) - 1, 0, -1):
        kernel, names, computed, passed, scalars = form.backward_kernel(mask)
        pad = " " * 8
        if count > 1:
            cond = " and ".join(f"following[{i}] is {'not ' if mask >> i & 1 else ''}None" for i in range(count))
            text.append(f"{pad}if {cond}:")
            pad += "    "
        checks, pointers = [], {"g": "g._ptr"}
        for j, s in enumerate(form.saves(mask)):
            v = f"s{j}"
            text.append(f"{pad}{v} = saved[{2 * j}]")
            if s == "y":
                checks.append(f"{v}[5][0] == saved[{2 * j + 1}]")
                pointers[s] = f"{v}[1]"
            else:
                checks.append(f"{v}._ver[0] == saved[{2 * j + 1}] and {v}._n == g._n")
                pointers[s] = f"{v}._ptr"
        results = [("None" if i not in computed else f"r{computed.index(i)}") if i not in passed else "g"
                   for i in range(count)]
        if computed:
            env[f"FAST{mask}"] = form.fast_backward[mask]
            values = "".join(f", node.ctx[{form.scalars.index(s)}]" for s in scalars)
            text += [f"{pad}e = FAST{mask}.get(g._kind)",
                     f"{pad}if e is not None{''.join(' and ' + c for c in checks)}:",
                     f"{pad}    run, storage, ko = e", f"{pad}    n = g._n", f"{pad}    shape = g._shape"]
            pad += "    "
            for j in range(len(computed)):
                text += [f"{pad}b{j} = empty(n, storage)", f"{pad}p{j} = peek(id(b{j}) + {storage.DATA_FIELD})"]
            ins = ", ".join(pointers[n] for n in names)
            outs = ", ".join(f"p{j}" for j in range(len(computed)))
            text.append(f"{pad}run({ins}{', ' if ins else ''}{outs}{values}, 0, n)")
            for j in range(len(computed)):
                text += [f"{pad}r{j} = new(Tensor)"] + [
                    f"{pad}r{j}.{field} = {value}" for field, value in (
                        ("_buf", f"b{j}"), ("_ptr", f"p{j}"), ("_n", "n"), ("_shape", "shape"), ("_strides", "None"),
                        ("_kind", "ko"), ("_ver", "[0]"), ("_grad", "None"), ("_view", "None"), ("_node", "None"),
                        ("_rg", "False"))]
        text.append(f"{pad}return ({', '.join(results)},)")
    text.append("    return slow_backward(node, g)")
    return jit.define("\n".join(text) + "\n", f"{form.name}_backward", env, f"{form.name} backward")
