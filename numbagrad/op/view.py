"""Views: new geometry on the same memory, and the gradient that carries back through it.

    @view
    def transpose(input, dim0, dim1):
        '''Swap two dimensions.'''
        return shape, strides, offset        # offset in elements from the input's first element

    @transpose.gradient
    def _(g, shape, dim0, dim1):             # ``shape`` is the input's
        return transpose(g, dim0, dim1)

With ``several=True`` the function returns a list of such triples and the rule takes ``gs``, one gradient per output.
"""

from __future__ import annotations

import inspect

from .. import modes
from ..autograd import graph
from ..autograd.graph import Node, Output, View, sequence
from ..kernel import jit
from ..tensor import Tensor, is_contiguous, numel, raw
from . import call as calls
from .custom import make_zero
from .record import Op, grad_name

new = object.__new__


class ViewOp(Op):
    """An op whose result shares the input's memory; see the module text."""

    kind = "view"

    def __init__(self, fn, *, node=None, several=False, **options):
        options.setdefault("dtypes", "any")
        super().__init__(fn, **options)
        self.several = several
        self.params = tuple(self.signature.parameters)[1:]
        self.rule, self.rule_names = None, ()
        self.node_class = type(node or grad_name(self.name), (MultiViewNode if several else ViewNode,),
                               {"__slots__": (), "op": self, "__module__": "numbagrad"})
        self.call = self._entry()

    def gradient(self, fn):
        self.rule, self.rule_names = fn, tuple(inspect.signature(fn).parameters)
        return fn

    def _entry(self):
        head, defaults, args = [], {}, []
        for p in self.signature.parameters.values():
            if p.kind is p.VAR_POSITIONAL:
                head.append("*" + p.name)
            elif p.default is p.empty:
                head.append(p.name)
            else:
                defaults[p.name] = p.default
                head.append(f"{p.name}=DEFAULTS[{p.name!r}]")
            args.append(p.name)
        call = ", ".join("*" + n if h.startswith("*") else n for n, h in zip(args, head))
        params = "".join(n + ", " for n in args[1:])
        if self.several:
            body = f"    return make_views(OP, {args[0]}, geometry({call}), ({params}))\n"
        else:
            body = (f"    shape, strides, offset = geometry({call})\n"
                    f"    return make_view(OP, {args[0]}, shape, strides, offset, ({params}))\n")
        fn = jit.define(f"def {self.name}({', '.join(head)}):\n{body}", self.name,
                        {"DEFAULTS": defaults, "make_view": make_view, "make_views": make_views, "OP": self,
                         "geometry": self.fn})
        fn.__doc__, fn.__module__, fn.__qualname__ = self.doc, "numbagrad", self.name
        return fn

    @property
    def callable(self):
        return self.call

    def __call__(self, *args, **kwargs):
        return self.call(*args, **kwargs)


class ViewNode(Node):
    """Backward of a view through its rule; ``ctx`` is (input shape, params)."""

    __slots__ = ()

    def backward(self, g):
        shape, params = self.ctx
        op = self.op
        values = dict(zip(op.params, params))
        values["g"], values["shape"] = g, shape
        return (op.rule(**{n: values[n] for n in op.rule_names}),)


def view(fn=None, **options):
    """Declare a view (see the module text)."""
    if fn is None:
        return lambda f: view(f, **options)
    return ViewOp(fn, **options)


def make_view(op, input, shape, strides, offset, params, mode=None):
    """A tensor on ``input``'s memory with the given geometry, recorded and linked to its base."""
    kind, ver, above = input._kind, input._ver, input._view
    if ver.__class__ is not list:
        return _inference_view(input, shape, strides, offset)
    out = new(Tensor)
    out._buf, out._ptr, out._kind, out._ver, out._grad = input._buf, input._ptr + offset * kind.itemsize, kind, ver, None
    out._shape = shape
    n = 1
    for s in shape:
        n *= s
    out._n = n
    out._strides = None if strides is None or is_contiguous(shape, strides) else strides
    out._view = view = new(View)
    view.version = ver[0]
    if above is None:
        view.base, view.mode = input, mode
    else:
        if above.version != view.version:
            graph.refresh(input)
        view.base, view.mode = above.base, mode or above.mode
    if modes.STATE:
        return _in_mode(op, out, input, params)
    if input._rg:
        node = new(op.node_class)
        node.next = (input._node or input,)
        node.saved, node.seq, node.hooks = (), sequence(), None
        node.ctx = (input._shape, params)
        out._node, out._rg = node, True
    else:
        out._node, out._rg = None, False
    return out


def _inference_view(input, shape, strides, offset):
    """A view of an inference tensor: nothing is recorded and nothing has to follow its base."""
    out = raw(input._buf, input._ptr + offset * input._kind.itemsize, numel(shape), shape,
              None if strides is None or is_contiguous(shape, strides) else strides, input._kind, input._ver)
    out.__dict__["_inference"] = True
    return out


def _in_mode(op, out, input, params):
    """Finish a view where some thread is in another than the default mode."""
    m = modes.current()
    out._node, out._rg = None, False
    if not m.grad:
        out._view.mode = out._view.mode or ("inference" if m.inference else "no_grad")
    elif input._rg:
        node = calls.new_node(op.node_class, (input._node or input,))
        node.ctx = (input._shape, params)
        out._node, out._rg = node, True
        calls.note_forward(node, (input,))
    return out


def make_views(op, input, geometries, params):
    """Several views of one input that share one node; none of them may be modified in place."""
    outs = [make_view(op, input, shape, strides, offset, params, "multi") for shape, strides, offset in geometries]
    if outs and outs[0]._rg:
        node = outs[0]._node
        node.ctx = (input._shape, params, tuple([(o._shape, o._kind) for o in outs]))
        for i, o in enumerate(outs):
            o._node = Output(node, i)
    return tuple(outs)


class MultiViewNode(ViewNode):
    """Backward of an op that returns several views; missing gradients are zeros."""

    __slots__ = ()

    @property
    def outputs(self):
        return len(self.ctx[2])

    def backward(self, g):
        shape, params, outs = self.ctx
        op = self.op
        grads = g if isinstance(g, (list, tuple)) else [g]
        values = dict(zip(op.params, params))
        values["shape"] = shape
        values["gs"] = [make_zero(s, k) if g is None else g for g, (s, k) in zip(grads, outs)]
        return (op.rule(**{n: values[n] for n in op.rule_names}),)
