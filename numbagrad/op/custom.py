"""Ops with kernels of their own: a shape rule, a CPU launcher, optionally a CUDA one, and a gradient rule in ops.

    @custom(samples=[Sample((3, 4), dim=1)], reference=...)
    def cumsum(input, dim: int):
        '''Cumulative sum along a dimension.'''
        return input._shape, input._kind          # shape and kind of the output (a list of pairs for several)

    @cumsum.cpu
    def _(out, input, dim):
        ...                                       # run kernels on addresses; allocate nothing but scratch

    @cumsum.gradient
    def _(g, dim):
        return flip(cumsum(flip(g, dim), dim), dim)

Unannotated parameters are tensors (None where the default is None), ``: list`` is a list of tensors, other annotated ones
are plain values. A gradient rule names what it needs: ``g`` (``gs`` for several outputs), ``y`` / ``ys`` (outputs),
tensors, values, ``shape`` / ``shapes`` (of the inputs), ``needs`` (which inputs need a gradient). Only tensors and
outputs that it names are saved; ``save_for={"weight": ("input",)}`` says that ``weight`` is used for the gradient of
``input`` alone: it is None in the rule, and free to change, when that is not wanted. The rule is written in ops, so the
recorded backward is the same code.
"""

from __future__ import annotations

import inspect

import numpy as np

from .. import modes, storage
from ..autograd import graph
from ..autograd.graph import Node, Output
from ..kernel import jit
from ..tensor import Tensor, make, mark_inference
from . import call as calls
from .record import Op, grad_name


NUMBERED = tuple(f"y{i}" for i in range(8))  # names of the outputs in gradient rules of ops with several


class Custom(Op):
    """An op with explicit kernels; see the module text."""

    kind = "custom"

    def __init__(self, fn, *, node=None, contiguous=True, save_for=None, **options):
        super().__init__(fn, **options)
        self.contiguous, self.save_for = contiguous, save_for or {}
        params = list(self.signature.parameters.values())
        self.lists = tuple(p.name for p in params if p.annotation in (list, "list"))
        self.tensors = tuple(p.name for p in params
                             if p.annotation is inspect.Parameter.empty or p.name in self.lists)
        self.params = tuple(p.name for p in params if p.name not in self.tensors)
        self.keyword_only = {p.name for p in params if p.kind is p.KEYWORD_ONLY}
        self.rule = self.cpu_launch = self.cuda_launch = None
        self.rule_names = ()
        name = node or grad_name(self.name)
        self.node_class = type(name, (CustomNode,), {"__slots__": (), "op": self, "__module__": "numbagrad"})
        self.call = self._entry()

    def node_for(self, params):
        """The node class of a call (some ops have two names in PyTorch)."""
        return self.node_class

    def gradient(self, fn):
        self.rule, self.rule_names = fn, tuple(inspect.signature(fn).parameters)
        known = {"g", "gs", "y", "ys", "shape", "shapes", "needs", *self.tensors, *self.params}
        known |= {f"y{i}" for i in range(8)}
        unknown = set(self.rule_names) - known
        if unknown:
            raise TypeError(f"gradient of {self.name} asks for unknown {sorted(unknown)}")
        return fn

    def infer_spec(self, values):
        """Call the shape rule with the arguments in signature order."""
        if not self.keyword_only:
            return self.fn(*values)
        names = list(self.signature.parameters)
        return self.fn(*[v for n, v in zip(names, values) if n not in self.keyword_only],
                       **{n: v for n, v in zip(names, values) if n in self.keyword_only})

    def cpu(self, fn):
        self.cpu_launch = fn
        return fn

    def cuda(self, fn):
        self.cuda_launch = fn
        return fn

    def _entry(self):
        """The public call: on first use it builds the direct one and hands over to it."""
        target = []

        def build():
            if not target:
                jit.nb()
                target.append(self._build_direct())
                if self.call is entry:
                    self.call = target[0]
                    if self.namespaces or self.method:
                        from ..namespace import install
                        install(self, target[0])
            return target[0]

        text = (f"def {self.name}({self._head()}):\n"
                f"    return (TARGET[0] if TARGET else build())({self._pass()})\n")
        entry = jit.define(text, self.name, {"DEFAULTS": self._defaults(), "TARGET": target, "build": build})
        entry.__doc__, entry.__module__, entry.__qualname__ = self.doc, "numbagrad", self.name
        return entry

    def recorded_as(self, name):
        """The same call whose node has another name (some functions share their kernels)."""
        cls = type(name, (CustomNode,), {"__slots__": (), "op": self, "__module__": "numbagrad"})
        target = []

        def call(*args):
            if not target:
                jit.nb()
                target.append(self._build_direct(cls))
            return target[0](*args)
        call.node_class = cls
        return call

    def _defaults(self):
        return {p.name: p.default for p in self.signature.parameters.values() if p.default is not p.empty}

    def _head(self):
        head = []
        for p in self.signature.parameters.values():
            if p.kind is p.KEYWORD_ONLY and "*" not in head:
                head.append("*")
            head.append(p.name if p.default is p.empty else f"{p.name}=DEFAULTS[{p.name!r}]")
        return ", ".join(head)

    def _pass(self):
        return ", ".join(f"{n}={n}" if n in self.keyword_only else n for n in self.signature.parameters)

    def _build_direct(self, node_class=None):
        """The call as generated text: the same steps as ``invoke`` for one output on the CPU in the default mode."""
        t, params = self.tensors, "".join(n + ", " for n in self.params)
        general = f"invoke(OP, ({''.join(n + ', ' for n in t)}), ({params}), NODE)"
        env = {"DEFAULTS": self._defaults(), "invoke": invoke, "OP": self, "NODE": node_class, "STATE": modes.STATE,
               "Tensor": Tensor, "new": object.__new__, "rule": self.fn, "empty": np.empty, "refresh": graph.refresh,
               "make": make, "sequence": graph.sequence, "save_output": graph.save_output, "row_major": _row_major,
               "NONE": {}, "peek": storage._peek or calls.storage_peek}
        text = [f"def {self.name}({self._head()}):"]
        if len(t) == 1 and self.lists == t and not {t[0], "ys"} & set(self.rule_names) and not self.keyword_only:
            text += self._list_text(t[0], general, params)
        elif not self.lists and {"gs", *NUMBERED} & set(self.rule_names) and "ys" not in self.rule_names:
            text += self._several_text(env, general, params, node_class)
        elif self.lists or self.rule_names and {"ys", *NUMBERED} & set(self.rule_names):
            text.append(f"    return {general}")
        else:
            optional = {p.name for p in self.signature.parameters.values() if p.default is None}
            known = " and ".join(f"isinstance({n}, Tensor)" if n not in optional else
                                 f"({n} is None or isinstance({n}, Tensor))" for n in t)
            text += [f"    if STATE or not ({known or 'True'}):", f"        return {general}",
                     f"    spec_ = rule({self._pass()})", "    if spec_.__class__ is list:", f"        return {general}",
                     "    shape_, kind_ = spec_", "    launch_ = OP.cpu_launch", "    if launch_ is None or not kind_.cpu:",
                     f"        return {general}", "    n_ = 1", "    for s_ in shape_:", "        n_ *= s_",
                     "    buf_ = empty(n_, kind_.np)", f"    ptr_ = peek(id(buf_) + {storage.DATA_FIELD})",
                     "    out_ = new(Tensor)", "    out_._buf = buf_", "    out_._ptr = ptr_", "    out_._n = n_",
                     "    out_._shape = shape_ if shape_.__class__ is tuple else tuple(shape_)", "    out_._strides = None",
                     "    out_._kind = kind_", "    out_._ver = [0]", "    out_._grad = None", "    out_._view = None",
                     "    out_._node = None", "    out_._rg = False"]
            names = list(self.signature.parameters)
            if self.contiguous:
                text += [f"    {n}_c = {n} if {n} is None or {n}._strides is None else row_major({n})" for n in t]
                names = [n + "_c" if n in t else n for n in names]
            text.append(f"    launch_(out_, {', '.join(names)})")
            if self.rule is not None and t:
                text += self._record_text(env, optional, params, node_class)
            text.append("    return out_")
        fn = jit.define("\n".join(text) + "\n", self.name, env)
        fn.__doc__, fn.__module__, fn.__qualname__ = self.doc, "numbagrad", self.name
        return fn

    def _several_text(self, env, general, params, node_class):
        """Lines of the direct call of an op with several outputs."""
        t = self.tensors
        env["Output"] = Output
        optional = {p.name for p in self.signature.parameters.values() if p.default is None}
        known = " and ".join(f"({n} is None or isinstance({n}, Tensor))" for n in t)
        text = [f"    if STATE or not ({known}):", f"        return {general}", f"    specs_ = rule({self._pass()})",
                "    kind_ = specs_[0][1]", "    if specs_.__class__ is not list or OP.cpu_launch is None or not kind_.cpu:",
                f"        return {general}", "    outs_ = [make(shape_, k_) for shape_, k_ in specs_]"]
        names = list(self.signature.parameters)
        if self.contiguous:
            text += [f"    {n}_c = {n} if {n} is None or {n}._strides is None else row_major({n})" for n in t]
            names = [n + "_c" if n in t else n for n in names]
        text.append(f"    OP.cpu_launch(outs_, {', '.join(names)})")
        if self.rule is not None:
            record = self._record_text(env, set(t) | optional, params, node_class)
            at = next(i for i, line in enumerate(record) if line.startswith("        node_.ctx"))
            record[at] = record[at].replace("((out_._shape, kind_),)", "tuple(specs_)")
            record = [line for line in record if "out_._node = node_" not in line and "out_._rg = True" not in line]
            text += [*record, "        for i_, o_ in enumerate(outs_):", "            if o_._kind.dtype.category > 1:",
                     "                o_._node = Output(node_, i_)", "                o_._rg = True"]
        return [*text, "    return tuple(outs_)"]

    def _list_text(self, name, general, params):
        """Lines of the direct call of an op on one list of tensors."""
        order = "ts_" if self.contiguous else name
        text = [f"    if STATE or isinstance({name}, Tensor):", f"        return {general}", "    rg_ = False",
                f"    for t_ in {name}:", "        if not isinstance(t_, Tensor):", f"            return {general}",
                "        if t_._view is not None:", "            refresh(t_)", "        if t_._rg:", "            rg_ = True",
                f"    spec_ = rule({self._pass()})", "    if spec_.__class__ is list:", f"        return {general}",
                "    shape_, kind_ = spec_", "    launch_ = OP.cpu_launch", "    if launch_ is None or not kind_.cpu:",
                f"        return {general}", "    out_ = make(tuple(shape_), kind_)"]
        if self.contiguous:
            text.append(f"    ts_ = [t_ if t_._strides is None else row_major(t_) for t_ in {name}]")
        text.append(f"    launch_(out_, {', '.join(order if n == name else n for n in self.signature.parameters)})")
        if self.rule is not None:
            saved = "save_output(out_), 0, " if "y" in self.rule_names else ""
            text += ["    if rg_ and kind_.dtype.category > 1:", f"        node_ = new((NODE or OP.node_for(({params}))))",
                     f"        node_.next = tuple([(t_._node or t_) if t_._rg else None for t_ in {name}])",
                     f"        node_.saved = ({saved})", "        node_.seq = sequence()",
                     f"        node_.ctx = (({params}), tuple([t_._shape for t_ in {name}]), "
                     f"tuple([t_._rg for t_ in {name}]), ((out_._shape, kind_),), {{{name!r}: len({name})}})",
                     "        node_.hooks = None", "        out_._node = node_", "        out_._rg = True"]
        return [*text, "    return out_"]

    def _record_text(self, env, optional, params, node_class):
        """Lines that make the node of ``out_``."""
        t = self.tensors
        own = node_class is not None or getattr(self.node_for, "__func__", None) is Custom.node_for
        env["NodeClass"] = node_class or self.node_class
        wants = {n: f"{n} is not None and {n}._rg" if n in optional else f"{n}._rg" for n in t}
        text = [f"    if {n} is not None and {n}._view is not None:\n        refresh({n})" for n in t]
        text += [f"    if ({' or '.join(wants[n] for n in t)}) and kind_.dtype.category > 1:",
                 f"        node_ = new({'NodeClass' if own else f'OP.node_for(({params}))'})"]
        edges = "".join(f"({n}._node or {n}) if {wants[n]} else None, " for n in t)
        saved = ""
        for name in self.rule_names:
            if name in t:
                conditions = [f"{name} is not None"] if name in optional else []
                if name in self.save_for:
                    conditions.append("(" + " or ".join(wants[n] for n in self.save_for[name]) + ")")
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

    @property
    def callable(self):
        return self.call

    def __call__(self, *args, **kwargs):
        return self.call(*args, **kwargs)


class CustomNode(Node):
    """Backward through the op's gradient rule; ``ctx`` is (params, input shapes, needs, output kinds and shapes)."""

    __slots__ = ()

    def backward(self, g):
        return self.evaluate(g, graph.unpack_plain)

    def backward_graph(self, g):
        return self.evaluate(g, graph.unpack)

    def evaluate(self, g, unpack):
        """The gradient rule on saved tensors without history (first order) or with it (recorded)."""
        op, ctx = self.op, self.ctx
        if self.saved is None:
            graph.freed()
        params, shapes, needs, outs, lists = ctx
        values = {}
        saved, j = self.saved, 0
        for name in op.rule_names:
            if name == "g":
                values[name] = g if self.outputs_of(outs) == 1 else _first(g)
            elif name == "gs":
                values[name] = _materialize(g, outs) if len(outs) > 1 else [g]
            elif name == "needs":
                values[name] = needs
            elif name == "shape":
                values[name] = shapes[0]
            elif name == "shapes":
                values[name] = shapes
            elif name in op.params:
                values[name] = params[op.params.index(name)]
            elif name in op.lists:
                count = lists[name]
                values[name] = [unpack(self, saved[j + 2 * i], saved[j + 2 * i + 1], name) for i in range(count)]
                j += 2 * count
            elif name == "ys":
                values[name] = [unpack(self, saved[j + 2 * i], saved[j + 2 * i + 1], name)
                                for i in range(len(outs))]
                j += 2 * len(outs)
            else:
                values[name] = None if saved[j] is None else unpack(
                    self, saved[j], saved[j + 1], "result" if name[0] == "y" and name not in op.tensors else name)
                j += 2
        grads = op.rule(**values)
        if not isinstance(grads, (tuple, list)):
            grads = (grads,)
        if len(grads) != len(self.next):
            raise RuntimeError(f"{self.name()}: the gradient rule returned {len(grads)} gradients for "
                               f"{len(self.next)} inputs")
        return tuple(grads)

    def outputs_of(self, outs):
        return len(outs)

    @property
    def outputs(self):
        return len(self.ctx[3])


def _first(g):
    return g[0] if isinstance(g, list) else g


def _materialize(grads, outs):
    return [make_zero(shape, kind) if g is None and kind.dtype.category >= 2 else g for g, (shape, kind) in
            zip(grads, outs)]


def make_zero(shape, kind):
    out = make(shape, kind)
    out._buf, out._ptr = kind.zeros(out._n)
    return out


def custom(fn=None, **options):
    """Declare an op with kernels of its own (see the module text)."""
    if fn is None:
        return lambda f: custom(f, **options)
    return Custom(fn, **options)


def flatten_inputs(op, args):
    """The tensor arguments as one flat list, lists spread out."""
    flat = []
    for name, a in zip(op.tensors, args):
        if name in op.lists:
            for i, t in enumerate(a):
                if not isinstance(t, Tensor):
                    raise TypeError(f"{op.name}(): expected Tensor as element {i} in argument '{name}', but got "
                                    f"{type(t).__name__}")
            flat.extend(a)
        else:
            if a is not None and not isinstance(a, Tensor):
                raise TypeError(f"{op.name}(): argument '{name}' (position {op.tensors.index(name) + 1}) must be Tensor, "
                                f"not {type(a).__name__}")
            flat.append(a)
    return flat


def invoke(op, args, params, node_class=None):
    """Call a custom op: check, allocate, launch, record (``node_class`` where the usual one has the wrong name)."""
    flat = flatten_inputs(op, args)
    spec = op.infer_spec(_order(op, args, params))
    several = isinstance(spec, list)
    specs = spec if several else [spec]
    outs = [make(tuple(shape), kind) for shape, kind in specs]
    run(op, outs if several else outs[0], args, params)
    _record(op, outs, args, flat, params, node_class)
    return tuple(outs) if several else outs[0]


def _order(op, args, params):
    """Arguments in the order of the signature."""
    t, p = iter(args), iter(params)
    return [next(t) if n in op.tensors else next(p) for n in op.signature.parameters]


def run(op, out, args, params):
    """Launch the kernels of a custom op into ``out`` (a tensor, or a list of them)."""
    if op.contiguous:
        args = tuple([_row_major(a) if not isinstance(a, (list, tuple)) else [_row_major(t) for t in a] for a in args])
    first = out[0] if isinstance(out, list) else out
    launch = op.cpu_launch
    if not first._kind.cpu:
        launch = op.cuda_launch
    if launch is None:
        raise NotImplementedError(f"{op.name} has no kernel for device '{first._kind.device}' and dtype "
                                  f"{first._kind.dtype}")
    launch(out, *_order(op, args, params))


def _row_major(t):
    if t is None or t._strides is None:
        return t
    from ..copying import contiguous_copy
    return contiguous_copy(t)


def _record(op, outs, args, flat, params, node_class=None):
    state = modes.STATE
    if state:
        mode = modes.current()
        if mode.inference:
            for o in outs:
                mark_inference(o)
            return
        if not mode.grad:
            return
    if op.rule is None or (len(outs) == 1 and outs[0]._kind.dtype.category < 2):
        return
    edges, needs, some = [], [], False
    for t in flat:
        if t is None:
            edges.append(None)
            needs.append(False)
            continue
        if t._view is not None:
            graph.refresh(t)
        if t._rg:
            edges.append(t if t._node is None else t._node)
            needs.append(True)
            some = True
        else:
            edges.append(None)
            needs.append(False)
    if not some:
        return
    node = calls.new_node(node_class or op.node_for(params), tuple(edges))
    saved = []
    by_name = dict(zip(op.tensors, args))
    lists = {n: len(by_name[n]) for n in op.lists}
    for name in op.rule_names:
        if name in op.lists:
            for t in by_name[name]:
                saved += [graph.save_input(t) if state else t, t._ver[0]]
        elif name in by_name:
            t = by_name[name]
            if name in op.save_for and not any([by_name[n] is not None and by_name[n]._rg for n in op.save_for[name]]):
                t = None
            saved += [None, 0] if t is None else [graph.save_input(t) if state else t, t._ver[0]]
        elif name == "y":
            saved += [graph.save_output(outs[0]), 0]
        elif name == "ys":
            for i, o in enumerate(outs):
                saved += [graph.save_output(o, i), 0]
        elif name[0] == "y" and name[1:].isdigit() and name not in op.params:
            saved += [graph.save_output(outs[int(name[1:])], int(name[1:])), 0]
    node.saved = tuple(saved)
    node.ctx = (params, tuple([None if t is None else t._shape for t in flat]), tuple(needs),
                tuple([(o._shape, o._kind) for o in outs]), lists)
    if len(outs) == 1:
        outs[0]._node, outs[0]._rg = node, True
    else:
        for i, o in enumerate(outs):
            if o._kind.dtype.category >= 2:
                o._node, o._rg = Output(node, i), True
    if state:
        calls.note_forward(node, [t for t in flat if t is not None])
