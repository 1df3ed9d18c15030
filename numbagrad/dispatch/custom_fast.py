"""Generated calls and backwards of custom ops: what their declaration fixes is decided once, not in every call."""

from __future__ import annotations

import numpy as np

from ..base import arguments, modes
from ..core import graph, storage
from ..core.graph import Output
from ..core.tensor import Tensor, check_empty, make, raw, too_large
from ..kernel import jit
from .elementwise_general import storage_peek

NUMBERED = tuple(f"y{i}" for i in range(8))  # names of the outputs in gradient rules of ops with several


def build(op, general_path, node_class=None):
    """The call as generated text: the same steps as ``custom.invoke`` for one output on the CPU in the default mode."""
    t, params = op.tensors, "".join(n + ", " for n in op.params)
    general = f"invoke(OP, ({''.join(n + ', ' for n in t)}), ({params}), NODE)"
    env = {"DEFAULTS": op._defaults(), **general_path, "OP": op, "NODE": node_class, "STATE": modes.STATE,
           "Tensor": Tensor, "new": object.__new__, "rule": op.fn, "empty": np.empty, "refresh": graph.refresh,
           "make": make, "sequence": graph.sequence, "save_output": graph.save_output,
           "NONE": {}, "too_large": too_large, "check_empty": check_empty, "peek": storage._peek or storage_peek}
    env.update(arguments.ENVIRONMENT)
    checks = arguments.text(op.name, op.signature.parameters, {n: kind for n, kind in op.kinds.items() if n in op.params})
    text = [f"def {op.name}({op._head()}):", *checks.splitlines()]
    if len(t) == 1 and op.lists == t and not {t[0], "ys"} & set(op.rule_names) and not op.keyword_only:
        text += _list_text(op, t[0], general, params)
    elif not op.lists and {"gs", "given", *NUMBERED} & set(op.rule_names) and "ys" not in op.rule_names:
        text += _several_text(op, env, general, params, node_class)
    elif op.lists or op.rule_names and {"ys", *NUMBERED} & set(op.rule_names):
        text.append(f"    return {general}")
    else:
        optional = {p.name for p in op.signature.parameters.values() if p.default is None}
        known = " and ".join(f"isinstance({n}, Tensor)" if n not in optional else
                             f"({n} is None or isinstance({n}, Tensor))" for n in t)
        text += [f"    if STATE or not ({known or 'True'}):", f"        return {general}",
                 f"    spec_ = rule({op._pass()})", "    if spec_.__class__ is list:", f"        return {general}",
                 "    shape_, kind_ = spec_", "    launch_ = OP.cpu_launch", "    if launch_ is None or not kind_.cpu:",
                 f"        return {general}", "    n_ = 1", "    for s_ in shape_:", "        n_ *= s_",
                 "    if not n_:", "        check_empty(shape_)", "    try:", "        buf_ = empty(n_, kind_.np)",
                 "    except (ValueError, MemoryError) as error_:",
                 "        raise too_large(error_, shape_, n_ * kind_.itemsize) from None",
                 f"    ptr_ = peek(id(buf_) + {storage.DATA_FIELD})",
                 "    out_ = new(Tensor)", "    out_._buf = buf_", "    out_._ptr = ptr_", "    out_._n = n_",
                 "    out_._shape = shape_ if shape_.__class__ is tuple else tuple(shape_)", "    out_._strides = None",
                 "    out_._kind = kind_", "    out_._ver = [0]", "    out_._grad = None", "    out_._view = None",
                 "    out_._node = None", "    out_._rg = False"]
        names = list(op.signature.parameters)
        if op.contiguous:
            text += [f"    {n}_c = {n} if {n} is None or {n}._strides is None else row_major({n})" for n in t]
            names = [n + "_c" if n in t else n for n in names]
        text.append(f"    launch_(out_, {', '.join(names)})")
        if op.rule is not None and t:
            text += _record_text(op, env, optional, params, node_class)
        text.append("    return out_")
    fn = jit.define("\n".join(text) + "\n", op.name, env)
    fn.__doc__, fn.__module__, fn.__qualname__ = op.doc, "numbagrad", op.name
    return fn


def _several_text(op, env, general, params, node_class):
    """Lines of the direct call of an op with several outputs."""
    t = op.tensors
    env["Output"] = Output
    optional = {p.name for p in op.signature.parameters.values() if p.default is None}
    known = " and ".join(f"({n} is None or isinstance({n}, Tensor))" for n in t)
    text = [f"    if STATE or not ({known}):", f"        return {general}", f"    specs_ = rule({op._pass()})",
            "    kind_ = specs_[0][1]", "    if specs_.__class__ is not list or OP.cpu_launch is None or not kind_.cpu:",
            f"        return {general}", "    outs_ = [make(shape_, k_) for shape_, k_ in specs_]"]
    names = list(op.signature.parameters)
    if op.contiguous:
        text += [f"    {n}_c = {n} if {n} is None or {n}._strides is None else row_major({n})" for n in t]
        names = [n + "_c" if n in t else n for n in names]
    text.append(f"    OP.cpu_launch(outs_, {', '.join(names)})")
    if op.rule is not None:
        record = _record_text(op, env, set(t) | optional, params, node_class)
        at = next(i for i, line in enumerate(record) if line.startswith("        node_.ctx"))
        record[at] = record[at].replace("((out_._shape, kind_),)", "tuple(specs_)")
        record = [line for line in record if "out_._node = node_" not in line and "out_._rg = True" not in line]
        text += [*record, "        for i_, o_ in enumerate(outs_):", "            if o_._kind.dtype.category > 1:",
                 "                o_._node = Output(node_, i_)", "                o_._rg = True"]
    return [*text, "    return tuple(outs_)"]


def _list_text(op, name, general, params):
    """Lines of the direct call of an op on one list of tensors."""
    order = "ts_" if op.contiguous else name
    text = [f"    if STATE or isinstance({name}, Tensor):", f"        return {general}", "    rg_ = False",
            f"    for t_ in {name}:", "        if not isinstance(t_, Tensor):", f"            return {general}",
            "        if t_._view is not None:", "            refresh(t_)", "        if t_._rg:", "            rg_ = True",
            f"    spec_ = rule({op._pass()})", "    if spec_.__class__ is list:", f"        return {general}",
            "    shape_, kind_ = spec_", "    launch_ = OP.cpu_launch", "    if launch_ is None or not kind_.cpu:",
            f"        return {general}", "    out_ = make(tuple(shape_), kind_)"]
    if op.contiguous:
        text.append(f"    ts_ = [t_ if t_._strides is None else row_major(t_) for t_ in {name}]")
    text.append(f"    launch_(out_, {', '.join(order if n == name else n for n in op.signature.parameters)})")
    if op.rule is not None:
        saved = "save_output(out_), 0, " if "y" in op.rule_names else ""
        text += ["    if rg_ and kind_.dtype.category > 1:", f"        node_ = new((NODE or OP.node_for(({params}))))",
                 f"        node_.next = tuple([(t_._node or t_) if t_._rg else None for t_ in {name}])",
                 f"        node_.saved = ({saved})", "        node_.seq = sequence()",
                 f"        node_.ctx = (({params}), tuple([t_._shape for t_ in {name}]), "
                 f"tuple([t_._rg for t_ in {name}]), ((out_._shape, kind_),), {{{name!r}: len({name})}})",
                 "        node_.hooks = None", "        out_._node = node_", "        out_._rg = True"]
    return [*text, "    return out_"]


def _record_text(op, env, optional, params, node_class):
    """Lines that make the node of ``out_``."""
    t = op.tensors
    own = node_class is not None or getattr(op.node_for, "__func__", None) is op.plain_node_for
    env["NodeClass"] = node_class or op.node_class
    wants = {n: f"{n} is not None and {n}._rg" if n in optional else f"{n}._rg" for n in t}
    text = [f"    if {n} is not None and {n}._view is not None:\n        refresh({n})" for n in t]
    text += [f"    if ({' or '.join(wants[n] for n in t)}) and kind_.dtype.category > 1:",
             f"        node_ = new({'NodeClass' if own else f'OP.node_for(({params}))'})"]
    edges = "".join(f"({n}._node or {n}) if {wants[n]} else None, " for n in t)
    saved = ""
    for name in op.rule_names:
        if name in t:
            conditions = [f"{name} is not None"] if name in optional else []
            if name in op.save_for:
                conditions.append("(" + " or ".join(wants[n] for n in op.save_for[name]) + ")")
            pair = f"{name}, {name}._ver[0]"
            saved += f"*(({pair}) if {' and '.join(conditions)} else (None, 0)), " if conditions else pair + ", "
        elif name == "y":
            saved += "save_output(out_), 0, "
        elif name in NUMBERED:
            saved += f"save_output(outs_[{name[1:]}], {name[1:]}), 0, "
    shapes = "".join(f"None if {n} is None else {n}._shape, " if n in optional else f"{n}._shape, " for n in t)
    text += [f"        node_.next = ({edges})", f"        node_.saved = ({saved})", "        node_.seq = sequence()",
             f"        node_.ctx = (({params}), ({shapes}), ({''.join(wants[n] + ', ' for n in t)}), "
             "((out_._shape, kind_),), NONE)", "        node_.hooks = None", "        out_._node = node_",
             "        out_._rg = True"]
    return text


# --- backward ---------------------------------------------------------------------------------------------------------

def evaluators(op):
    """(plain, recorded) backward of an op: ``f(node, g)`` calls the gradient rule with what it names."""
    if op.lists or "ys" in op.rule_names:
        op.evaluators = (lambda node, g: node.evaluate(g, graph.unpack_plain),
                         lambda node, g: node.evaluate(g, graph.unpack))
    else:
        op.evaluators = _evaluator(op, plain), _evaluator(op, graph.unpack)
    return op.evaluators


def _evaluator(op, unpack):
    # How many outputs there are is known from the node alone.
    special = {"g": "g if len(outs) == 1 else first(g)", "gs": "materialize(g, outs) if len(outs) > 1 else [g]",
               "given": "g if len(outs) > 1 else [g]", "needs": "needs", "shape": "shapes[0]", "shapes": "shapes"}
    text = [f"def {op.name}_backward(node, g):", "    saved = node.saved", "    if saved is None:", "        freed()",
            "    params, shapes, needs, outs, lists = node.ctx"]
    values, j = [], 0
    for name in op.rule_names:
        if name in special:
            values.append(special[name])
        elif name in op.params:
            values.append(f"params[{op.params.index(name)}]")
        else:
            which = "result" if name[0] == "y" and name not in op.tensors else name
            text.append(f"    s{j} = saved[{j}]")
            values.append(f"None if s{j} is None else unpack(node, s{j}, saved[{j + 1}], {which!r})")
            j += 2
    # By keyword: a rule may have defaults and other parameters between.
    text += [f"    grads = op.rule({', '.join(f'{n}={v}' for n, v in zip(op.rule_names, values))})",
             "    if grads.__class__ is not tuple:",
             "        grads = tuple(grads) if grads.__class__ is list else (grads,)",
             "    if len(grads) != len(node.next):", "        wrong(node, grads)", "    return grads"]
    env = {"freed": graph.freed, "first": first, "materialize": materialize, "unpack": unpack, "op": op, "wrong": wrong}
    return jit.define("\n".join(text) + "\n", f"{op.name}_backward", env, f"{op.name} backward")


def wrong(node, grads):
    raise RuntimeError(f"{node.name()}: the gradient rule returned {len(grads)} gradients for {len(node.next)} inputs")


def plain(node, obj, version, which):
    """``graph.unpack_plain``, with the usual case first: an input that was not changed."""
    if obj.__class__ is Tensor and obj._ver[0] == version:
        if obj._rg:
            return raw(obj._buf, obj._ptr, obj._n, obj._shape, obj._strides, obj._kind, obj._ver)
        return obj
    if obj.__class__ is tuple and obj[5][0] == version:
        return raw(obj[0], obj[1], obj[2], obj[3], obj[6], obj[4], obj[5])
    return graph.unpack_plain(node, obj, version, which)


def first(g):
    """The gradient of output 0, which is the only one that is used."""
    return g[0] if isinstance(g, list) else g


def materialize(grads, outs):
    """One gradient per differentiable output: zeros where none arrived."""
    return [make_zero(shape, kind) if g is None and kind.dtype.category >= 2 else g for g, (shape, kind) in
            zip(grads, outs)]


def make_zero(shape, kind):
    out = make(shape, kind)
    out._buf, out._ptr = kind.zeros(out._n)
    return out
