"""Views: new geometry on the same memory, and the gradient that carries back through it.

    @view
    def transpose(input, dim0, dim1):
        '''Swap two dimensions.'''
        return shape, strides, offset        # offset in elements from the input's first element

    @transpose.gradient
    def _(g, shape, dim0, dim1):             # ``shape`` is the input's
        return transpose(g, dim0, dim1)
"""

from __future__ import annotations

import inspect

from .. import modes
from ..autograd import graph
from ..autograd.graph import Node, View
from ..kernel import jit
from ..tensor import is_contiguous, numel, raw
from . import call as calls
from .record import Op, grad_name


class ViewOp(Op):
    """An op whose result shares the input's memory; see the module text."""

    kind = "view"

    def __init__(self, fn, *, node=None, **options):
        options.setdefault("dtypes", "any")
        super().__init__(fn, **options)
        self.params = tuple(self.signature.parameters)[1:]
        self.rule, self.rule_names = None, ()
        self.node_class = type(node or grad_name(self.name), (ViewNode,),
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
        text = (f"def {self.name}({', '.join(head)}):\n"
                f"    shape, strides, offset = geometry({call})\n"
                f"    return make_view(OP, {args[0]}, shape, strides, offset, ({''.join(n + ', ' for n in args[1:])}))\n")
        fn = jit.define(text, self.name, {"DEFAULTS": defaults, "make_view": make_view, "OP": self, "geometry": self.fn})
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
    kind = input._kind
    out = raw(input._buf, input._ptr + offset * kind.itemsize, numel(shape), shape,
              None if strides is None or is_contiguous(shape, strides) else strides, kind, input._ver)
    link(out, input, mode)
    if input._rg and out._kind.dtype.category >= 2:
        if modes.STATE and not modes.current().grad:
            return out
        node = calls.new_node(op.node_class, (input if input._node is None else input._node,))
        node.ctx = (input._shape, params)
        out._node, out._rg = node, True
        if modes.STATE:
            calls.note_forward(node, (input,))
    return out


def link(out, input, mode=None):
    """Make ``out`` a view of ``input``'s base."""
    above = input._view
    if above is not None:
        graph.refresh(input)
        base, mode = above.base, mode or above.mode
    else:
        base = input
    if modes.STATE:
        m = modes.current()
        if m.inference or "_inference" in input.__dict__:
            out.__dict__["_inference"] = True
        if not m.grad:
            mode = mode or "no_grad"
    out._view = View(base, input._ver[0], mode)
