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
are plain values. A gradient rule names what it needs: ``g`` (``gs`` for several outputs, or ``given``, with None instead of
zeros where no gradient arrived), ``y`` / ``ys`` (outputs),
tensors, values, ``shape`` / ``shapes`` (of the inputs), ``needs`` (which inputs need a gradient). Where an argument of the op
is called like one of these, the rule says ``shape_`` for what is not the argument. Only tensors and
outputs that it names are saved; ``save_for={"weight": ("input",)}`` says that ``weight`` is used for the gradient of
``input`` alone: it is None in the rule, and free to change, when that is not wanted. The rule is written in ops, so the
recorded backward is the same code.
"""

from __future__ import annotations

import functools
import inspect

from ..base import modes, overriding
from ..base.transformed import Transformed
from ..core import graph
from ..core.copying import in_single, row_major
from ..core.graph import Node, Output, new_node, note_forward
from ..core.out import as_new
from ..core.tensor import Tensor, bump_version, make, mark_inference, raw
from ..kernel import jit
from ..kernel.tape import TAPE, active
from . import custom_fast, replays, text
from .custom_fast import NUMBERED, OURS, make_zero
from .op import Op, call_it, grad_name, rule_names
from .plan import Recipe


class Custom(Op):
    """An op with explicit kernels; see the module text."""

    kind = "custom"
    crosses = False  # whether its result lies on another device
    batch_rule = forward_rule = None  # of transforms, where the author says them

    def __init__(self, fn, *, node=None, contiguous=True, save_for=None, connected=False, joins=False, **options):
        super().__init__(fn, **options)
        self.contiguous, self.save_for, self.joins = contiguous, save_for or {}, joins
        params = list(self.signature.parameters.values())
        self.lists = tuple(p.name for p in params if p.annotation in (list, "list"))
        self.tensors = tuple(p.name for p in params
                             if p.annotation is inspect.Parameter.empty or p.name in self.lists)
        self.params = tuple(p.name for p in params if p.name not in self.tensors)
        self.recipes = tuple(p.name for p in params if p.annotation in (Recipe, "Recipe"))
        # Rules of private ops are called with None for what is absent.
        self.required = () if self.private else {p.name for p in params if p.default is p.empty and p.name in self.tensors}
        self.keyword_only = {p.name for p in params if p.kind is p.KEYWORD_ONLY}
        self.rule = self.cpu_launch = self.cuda_launch = None
        self.on_host, self.calls = False, {}
        self.rule_names, self.rule_takes, self.evaluators = (), (), None
        name = node or grad_name(self.name)
        self.node_class = type(name, (CustomNode,), {"__slots__": (), "op": self, "__module__": "numbagrad",
                                                     "connected": connected})
        self.call = text.deferred(self)

    def node_for(self, params):
        """The node class of a call (some ops have two names in PyTorch)."""
        return self.node_class

    plain_node_for = node_for

    def gradient(self, fn):
        call_it(fn, f"{self.name}_gradient")
        takes = rule_names(self, fn, OURS)
        self.rule, self.rule_takes, self.rule_names, self.evaluators = fn, tuple(takes), tuple(takes.values()), None
        return fn

    def batch(self, fn):
        """Declare ``fn(level, op, args, params)``, the results for a batch of ``func.vmap`` (``func/batch_rules.py``)."""
        self.batch_rule = call_it(fn, f"{self.name}_batch")
        return fn

    def forward(self, fn):
        """Declare ``fn(level, op, args, params)``, the results for dual numbers (``func/dual_rules.py``)."""
        self.forward_rule = call_it(fn, f"{self.name}_forward")
        return fn

    def complete(self):
        """Before the first call: what has no gradient although it is differentiable says so in backward."""
        if self.rule is None and self.differentiable:
            @self.gradient
            def missing(g_):
                raise NotImplementedError(f"derivative for {self.name} is not implemented: declare it with "
                                          f"@{self.name}.gradient, or the op with differentiable=False")

    def call_in_order(self, args, params):
        """``call`` with the tensors and the other arguments apart."""
        return invoke(self, args, params)

    def infer_spec(self, values):
        """Call the shape rule with the arguments in signature order."""
        if not self.keyword_only:
            return self.fn(*values)
        names = list(self.signature.parameters)
        return self.fn(*[v for n, v in zip(names, values) if n not in self.keyword_only],
                       **{n: v for n, v in zip(names, values) if n in self.keyword_only})

    def in_order(self, args, params):
        """Tensors and plain arguments in the order of the signature."""
        t, p = iter(args), iter(params)
        return [next(t) if n in self.tensors else next(p) for n in self.signature.parameters]

    def cpu(self, fn):
        launch = call_it(fn, f"{self.name}_cpu")
        self.cpu_launch = in_single(launch) if self.joins else launch
        return fn

    def host(self, fn):
        """A launcher that works on the host whatever the device (LAPACK, sorting): tensors of others travel there and back."""
        self.on_host = True
        return self.cpu(fn)

    def cuda(self, fn):
        self.cuda_launch = call_it(fn, f"{self.name}_cuda")
        return fn

    def build_call(self):
        """The public call itself."""
        self.complete()
        return custom_fast.build(self, GENERAL)

    def recorded_as(self, name):
        """The same call whose node has another name (some functions share their kernels); ``.call`` is the generated one."""
        cls = type(name, (CustomNode,), {"__slots__": (), "op": self, "__module__": "numbagrad"})

        def call(*args):
            return (self.calls.get(cls) or self.call_as(cls))(*args)

        def first(*args):
            call.call = self.call_as(cls)
            return call.call(*args)
        call.node_class, call.call = cls, first
        return call

    def call_as(self, node_class):
        """The generated call whose node is of that class (None: the usual one), whatever the public call does besides."""
        jit.nb()
        self.complete()
        found = self.calls[node_class] = custom_fast.build(self, GENERAL, node_class)
        return found

    def records(self, args, params, specs, node_class=None):
        """``replays.records`` of a planned call."""
        t = self.tensors
        recorded = None if self.rule is None or specs[0][1].dtype.category < 2 else node_class or self.node_for(params)

        def used(n, mask):
            return args[t.index(n)] is not None and (n not in self.save_for or any([
                mask >> t.index(m) & 1 for m in self.save_for[n]]))

        def saved(mask):
            return [(t.index(n) if used(n, mask) else -1) if n in t else replays.output(NUMBERED.index(n) if n != "y_" else 0)
                    for n in self.rule_names if n in t or n == "y_" or n in NUMBERED]
        shapes = tuple([None if a is None else a._shape for a in args])
        return replays.records(len(t), recorded, saved, lambda mask: (
            params, shapes, tuple([bool(mask >> i & 1) for i in range(len(t))]), specs, {}),
            [i + 1 if k.dtype.category > 1 else -1 for i, (_, k) in enumerate(specs)] if specs.several else (0,))

    @property
    def callable(self):
        return self.call

    def __call__(self, *args, **kwargs):
        return self.call(*args, **kwargs)


class CustomNode(Node):
    """Backward through the op's gradient rule; ``ctx`` is (params, input shapes, needs, output kinds and shapes)."""

    __slots__ = ()

    def backward(self, g):
        op = self.op
        return (op.evaluators or custom_fast.evaluators(op))[0](self, g)

    connected = False

    def backward_graph(self, g):
        op = self.op
        grads = (op.evaluators or custom_fast.evaluators(op))[1](self, g)
        if self.connected:
            return tuple([r if r is None or e is None else connect(r, e, shape)
                          for r, e, shape in zip(grads, self.next, self.ctx[1])])
        return grads

    def only(self, needs, g):
        part = self._with_edges(needs)
        part.ctx = (*self.ctx[:2], needs, *self.ctx[3:])
        return part

    @property
    def outputs(self):
        return len(self.ctx[3])


class Connected(Node):
    """Node of a recorded gradient that is linear in what arrived: the input it belongs to gets a gradient of zeros."""

    __slots__ = ()

    def backward(self, g):
        return g, g.detach().new_zeros(self.ctx)


def connect(r, edge, shape):
    """``r`` on the same memory, recorded as computed from the input (of the given shape) behind ``edge`` too."""
    if r._ver.__class__ is Transformed:  # nothing is recorded of it
        return r
    out = raw(r._buf, r._ptr, r._n, r._shape, r._strides, r._kind, r._ver)
    node = new_node(Connected, (graph.edge(r) if r._rg else None, edge))
    node.ctx = shape
    out._node, out._rg = node, True
    return out


def custom(fn=None, **options):
    """Declare an op with kernels of its own (see the module text).

    With ``connected`` a recorded gradient is connected to its input, with second derivatives of zero, as in PyTorch. One that
    ``joins`` adds to what is in the memory of its results: for half types it is launched in float32, and rounded once."""
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
            if not isinstance(a, Tensor) and (a is not None or name in op.required):
                raise TypeError(f"{op.name}(): argument '{name}' (position {op.tensors.index(name) + 1}) must be Tensor, "
                                f"not {type(a).__name__}")
            flat.append(a)
    return flat


def invoke(op, args, params, node_class=None):
    """Call a custom op with its tensors and its other arguments (``node_class`` where the usual one has the wrong name)."""
    call = op.calls.get(node_class) or op.call_as(node_class)
    values = op.in_order(args, params)
    return call(**dict(zip(op.signature.parameters, values))) if op.keyword_only else call(*values)


def general(op, args, params, node_class=None):
    """What generated calls leave: check, allocate, launch, record."""
    if modes.STATE and (stack := modes.transform()) is not None and (
            found := stack.custom(op, args, params, node_class)) is not NotImplemented:
        return found
    try:
        flat = flatten_inputs(op, args)
    except TypeError:
        asked = overriding.asked(op, dict(zip(op.signature.parameters, op.in_order(args, params))))
        if asked is not None:
            return asked[0]
        raise
    spec = op.infer_spec(op.in_order(args, params))
    several = isinstance(spec, list)
    specs = spec if several else [spec]
    outs = [make(tuple(shape), kind) for shape, kind in specs]
    run(op, outs if several else outs[0], args, params)
    _record(op, outs, args, flat, params, node_class)
    return tuple(outs) if several else outs[0]


LARGE = 1 << 14  # elements from which a copy of a result takes longer than to look whether it can be spared


def into(op, out, args, params):
    """Let a custom op write a large result where it shall go; whether it did: not what has history, another dtype or layout,
    or memory of the arguments. Nothing has been written then."""
    if not isinstance(out, Tensor) or out._n < LARGE:
        return False
    shape, kind = op.infer_spec(op.in_order(args, params))
    if not as_new(out, kind, shape, [t for t in flatten_inputs(op, args) if t is not None]):
        return False
    run(op, out, args, params)
    bump_version(out)
    return True


def run(op, out, args, params):
    """Launch the kernels of a custom op into ``out`` (a tensor, or a list of them)."""
    recorder = active() if TAPE else None
    if op.contiguous:
        args = tuple([row_major(a) if not isinstance(a, (list, tuple)) else [row_major(t) for t in a] for a in args])
    first = out[0] if isinstance(out, list) else out
    launch = op.cpu_launch
    if not first._kind.cpu:
        if first._kind.meta:
            return None if op.crosses else check_meta(args)
        launch = op.cuda_launch or functools.partial(_launch_on_device, op)
    if op.cpu_launch is None:
        raise NotImplementedError(f"{op.name} has no kernel for device '{first._kind.device}' and dtype "
                                  f"{first._kind.dtype}")
    if recorder is not None:
        return recorder.custom(op, out, args, params, launch, op.in_order(args, params))
    return launch(out, *op.in_order(args, params))


def check_meta(args):
    """Instead of kernels on the meta device: its tensors, and numbers in tensors of the CPU, are what they may be given."""
    for a in args:
        for t in a if isinstance(a, (list, tuple)) else (a,):
            if t is not None and not t._kind.meta and t._shape:
                raise RuntimeError(f"Tensor on device {t._kind.device} is not on the expected device meta!")


def _launch_on_device(op, out, *args):
    """Run the CPU's launcher on tensors of another device, where its kernels are launched; what it does beside is refused."""
    if op.on_host:
        return _launch_on_host(op, out, args)
    try:
        return op.cpu_launch(out, *args)
    except (NotImplementedError, TypeError) as error:
        if isinstance(error, TypeError) and "device type tensor to numpy" not in str(error):
            raise
        kind = (out[0] if isinstance(out, list) else out)._kind
        raise NotImplementedError(f"{op.name} has no kernel for device '{kind.device}' and dtype {kind.dtype}: "
                                  f"{error}") from error


def _launch_on_host(op, out, args):
    """Run a launcher on copies in the host's memory."""
    from ..core import storage
    from ..core.copying import transfer

    def here(t, filled=True):
        if isinstance(t, (list, tuple)):
            return [here(x, filled) for x in t] if any([isinstance(x, Tensor) for x in t]) else t
        if not isinstance(t, Tensor) or t._kind.cpu:
            return t
        copy = make(t._shape, storage.kind_of(t._kind.dtype))
        if filled:
            transfer(copy, t)
        return copy
    results = here(out, False)
    op.cpu_launch(results, *map(here, args))
    for t, r in zip(out, results) if isinstance(out, list) else ((out, results),):
        transfer(t, r)


GENERAL = {"general_": general, "row_major_": row_major}  # what generated calls leave to the general path


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
    for name in op.recipes:
        params[op.params.index(name)].refuse()
    node = new_node(node_class or op.node_for(params), tuple(edges))
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
        elif name == "y_":
            saved += [graph.save_output(outs[0]), 0]
        elif name == "ys_":
            for i, o in enumerate(outs):
                saved += [graph.save_output(o, i), 0]
        elif name in NUMBERED:
            i = NUMBERED.index(name)
            saved += [graph.save_output(outs[i], i), 0]
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
        note_forward(node, [t for t in flat if t is not None])


__all__ = ["Custom", "CustomNode", "custom", "invoke", "make_zero", "row_major", "run"]
