"""Nodes of the recorded graph, the edges between them and the hooks on them.

A node is what one operation leaves behind for backward. ``next`` holds one edge per differentiable input: the node
that made it, the input itself when it is a leaf that requires grad, an ``Output`` for one of several results of a
node, or None. Leaves point to no node and nodes never point to their own output, so a graph has no reference cycle.
"""

from __future__ import annotations

import itertools
import weakref
from collections import OrderedDict

from ..base import modes
from ..base.handles import RemovableHandle
from ..kernel.tape import TAPE, hooked

# Counts down: the newest node has the smallest number, which is the order in which a min-heap must release them.
sequence = itertools.count(0, -1).__next__
new = object.__new__


# Powers that have kernels of their own.
EXPONENTS = {"pow_2": 2, "pow_3": 3, "pow_half": 0.5}


class Node:
    """One recorded operation; subclasses are named as PyTorch names them (``AddBackward0``)."""

    __slots__ = ("next", "saved", "seq", "ctx", "hooks", "__weakref__", "__dict__")
    outputs = 1
    op = None
    is_leaf_edge = False
    holds_more = False  # whether release has something to drop that is not in ``saved``
    trusts_saved = True  # whether what comes back from the user's hooks must have the form that was saved
    _unpack = _freed = None  # of ``saved``, which needs this module first
    _anomaly = None  # of ``anomaly``, likewise
    order = None  # places of ``next`` in PyTorch's order, where that is another: hooks of leaves show it
    takes_none = False  # whether backward wants to run even when no gradient arrived at any output

    def name(self):
        """The node's type name."""
        return type(self).__name__

    def __repr__(self):
        return f"<{type(self).__name__} object at {id(self):#x}>"

    def backward(self, g):
        """Gradients of the inputs, not recorded."""
        raise NotImplementedError

    def backward_graph(self, g):
        """Gradients of the inputs, recorded so that they can be differentiated again."""
        return self.backward(g)

    def captured(self, g):
        """``backward`` by ops that a capture can write down, where the plain one calls kernels itself."""
        return self.backward(g)

    def only(self, needs, g):
        """The node with the gradients of some of its inputs, which ``needs`` says, for the gradient ``g`` that arrived; itself
        where it has no such form."""
        return self

    def _with_edges(self, needs):
        """A node like this one that has only the edges that ``needs`` says."""
        part = new(type(self))
        part.next = tuple([e if needed else None for e, needed in zip(self.next, needs)])
        part.saved, part.seq, part.ctx, part.hooks = self.saved, self.seq, self.ctx, None
        part.__dict__.update(self.__dict__, _whole=self)  # whose output is what was saved as an output
        return part

    def release(self):
        """Drop what was saved for backward."""
        if self.saved or self.holds_more:
            self.saved = None

    def saved_names(self):
        """Names of what was saved, in its order; an output is "y_"."""
        form = getattr(self, "form", None)
        if form is not None:
            mask = 0
            for i, e in enumerate(self.next):
                mask |= (e is not None) << i
            return form.saves(mask)
        return [n for n in getattr(self.op, "rule_names", ()) if n in self.op.tensors or n == "y_"]

    def __getattr__(self, name):
        if name.startswith("_saved_") and self.op is not None:
            wanted = {"self": "input", "result": "y_"}.get(name[7:], name[7:])
            if self.saved is None:
                Node._freed()
            names = self.saved_names()
            if wanted in names and 2 * len(names) == len(self.saved):
                i = 2 * names.index(wanted)
                return Node._unpack(self, self.saved[i], self.saved[i + 1], wanted)
            form = getattr(self, "form", None)
            if form is not None and wanted in form.scalars:
                return getattr(self.ctx, "scalars", self.ctx)[form.scalars.index(wanted)]
            if wanted == "exponent" and self.op.name in EXPONENTS:
                return EXPONENTS[self.op.name]
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    @property
    def takes_number(self):
        """Whether the second operand was a number where PyTorch makes a tensor of it."""
        form = getattr(self, "form", None)
        return form is not None and form.pattern == "ts" and self.op.name in ("add", "sub", "mul", "div")

    @property
    def next_functions(self):
        """((node, output number), ...) of the inputs; (None, 0) where an input needs no gradient."""
        out = tuple([function_of(e) for e in self.next])
        return (*out, (None, 0)) if self.takes_number else out

    @property
    def metadata(self):
        """A dict for the user's notes on this node."""
        return self.__dict__.setdefault("metadata", {})

    @property
    def requires_grad(self):
        return True

    def _sequence_nr(self):
        return -self.seq

    def __call__(self, *grads):
        """Run the backward of this node alone, recorded when recording is on."""
        run = self.backward_graph if modes.is_grad_enabled() else self.backward
        grads = run(grads[0] if self.outputs == 1 else list(grads))
        return grads[0] if len(grads) == 1 else tuple(grads)

    def register_hook(self, fn):
        """Call ``fn(grad_inputs, grad_outputs)`` after this node ran; it may return new grad_inputs."""
        return removable(hooks_of(self).post, fn)

    def register_prehook(self, fn):
        """Call ``fn(grad_outputs)`` before this node runs; it may return new grad_outputs."""
        return removable(hooks_of(self).pre, fn)


class Output:
    """Edge to result number ``index`` of a node that has several."""

    __slots__ = ("node", "index")
    is_leaf_edge = False

    def __init__(self, node, index):
        self.node, self.index = node, index


class AliasBackward0(Node):
    """Passes the gradient on unchanged."""

    __slots__ = ()

    def backward(self, g):
        return (g,)


def new_node(cls, edges):
    """A node with its edges and place in the order, nothing saved yet."""
    node = new(cls)
    node.next, node.saved, node.seq, node.ctx, node.hooks = edges, (), sequence(), None, None
    return node


def note_forward(node, tensors):
    """In anomaly mode, remember the user's line and the shapes."""
    if "anomaly" in modes.STATE:
        shapes = ", ".join(f"{t.dtype} {list(t._shape)}" for t in tensors)
        Node._anomaly.note(node, f" with inputs {shapes}")


def short_name(node):
    """A node's name as error messages show it: ``Add`` for ``AddBackward0``."""
    return node.name().rstrip("0123456789").removesuffix("Backward")


class AccumulateGrad(Node):
    """The end of the graph at a leaf, as it is shown: adds what arrives into ``variable.grad``.

    In the graph itself the leaf stands for it."""

    __slots__ = ("variable",)
    _made: weakref.WeakValueDictionary = weakref.WeakValueDictionary()
    run = None  # ``engine.run``, which needs this module first

    def __init__(self, variable):
        self.variable, self.next, self.saved, self.hooks, self.ctx, self.seq = variable, (), (), None, None, 0

    def __call__(self, grad):
        """Add ``grad`` to the leaf's ``grad``."""
        self.run((self.variable,), (grad,), True, modes.is_grad_enabled())

    @classmethod
    def of(cls, variable):
        acc = cls._made.get(id(variable))
        if acc is None or acc.variable is not variable:
            acc = cls._made[id(variable)] = cls(variable)
        return acc

    def name(self):
        return "torch::autograd::AccumulateGrad"

    @property
    def metadata(self):
        """A dict for the user's notes on this node."""
        return extra(self.variable).setdefault("metadata", {})

    def register_hook(self, fn):
        """Call ``fn(grad_inputs, grad_outputs)`` after the gradient was accumulated."""
        return removable(hooks_on_leaf(self.variable, "acc_hooks"), fn)

    def register_prehook(self, fn):
        """Call ``fn(grad_outputs)`` before the gradient is accumulated; it may return a replacement."""
        return removable(hooks_on_leaf(self.variable, "acc_prehooks"), fn)


def function_of(edge):
    """(node, output number) as PyTorch shows an edge."""
    if edge is None:
        return (None, 0)
    if edge.is_leaf_edge:
        return (AccumulateGrad.of(edge), 0)
    if edge.__class__ is Output:
        return (edge.node, edge.index)
    return (edge, 0)


def removable(table, fn):
    """Add ``fn`` to a table of hooks; returns the handle that takes it off again."""
    handle = RemovableHandle(table)
    table[handle.id] = fn
    return handle


class Hooks:
    """Hooks of one node: on the gradients of its outputs, before it runs, and after it ran."""

    __slots__ = ("tensor", "pre", "post", "retain")

    def __init__(self):
        self.tensor, self.pre, self.post, self.retain = {}, OrderedDict(), OrderedDict(), {}


def hooks_of(node):
    if node.hooks is None:
        node.hooks = Hooks()
    return node.hooks


def hooks_on_output(node, index):
    """The table of hooks on the gradient of one output of a node."""
    return hooks_of(node).tensor.setdefault(index, OrderedDict())


def hooks_on_leaf(tensor, which):
    """A table of hooks of a leaf: "hooks", "acc_prehooks", "post_acc" or "acc_hooks"."""
    if TAPE:
        hooked(tensor)
    return extra(tensor).setdefault(which, OrderedDict())


def extra(tensor):
    """The rarely used per-tensor fields (hooks, retained grad): one dict in the tensor's ``__dict__``."""
    return tensor.__dict__.setdefault("_numbagrad", {})


class View:
    """How a view relates to its base: the base tensor, the version its node was made at, and where it came from."""

    __slots__ = ("base", "version", "mode")

    def __init__(self, base, version, mode=None):
        self.base, self.version, self.mode = base, version, mode


_renamed: dict = {}


def renamed(t, name):
    """``t`` with the node that made it printed under another name."""
    node = t._node
    if node is not None:
        node = node if isinstance(node, Node) else node.node  # (of one of several results)
        key = (node.__class__, name)
        if key not in _renamed:
            _renamed[key] = type(name, (node.__class__,), {"__slots__": (), "__module__": "numbagrad"})
        node.__class__ = _renamed[key]
    return t
