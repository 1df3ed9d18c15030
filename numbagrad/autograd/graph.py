"""The recorded graph: nodes, edges and saved tensors.

A node is what one operation leaves behind for backward. ``next`` holds one edge per differentiable input: the node
that made it, the input itself when it is a leaf that requires grad, an ``Output`` for one of several results of a
node, or None. Leaves point to no node and nodes never point to their own output, so a graph has no reference cycle.
"""

from __future__ import annotations

import itertools
import sys
import weakref

from .. import modes

# Counts down: the newest node has the smallest number, which is the order in which a min-heap must release them.
sequence = itertools.count(0, -1).__next__
new = object.__new__


class Node:
    """One recorded operation; subclasses are named as PyTorch names them (``AddBackward0``)."""

    __slots__ = ("next", "saved", "seq", "ctx", "hooks", "__weakref__", "__dict__")
    outputs = 1
    op = None
    is_leaf_edge = False

    def name(self):
        """The node's type name."""
        return type(self).__name__

    def backward(self, g):
        """Gradients of the inputs, not recorded."""
        raise NotImplementedError

    def backward_graph(self, g):
        """Gradients of the inputs, recorded so that they can be differentiated again."""
        return self.backward(g)

    def release(self):
        """Drop what was saved for backward."""
        if self.saved:
            self.saved = None

    @property
    def next_functions(self):
        """((node, output number), ...) of the inputs; (None, 0) where an input needs no gradient."""
        return tuple(function_of(e) for e in self.next)

    @property
    def metadata(self):
        return self.__dict__.setdefault("metadata", {})

    def __call__(self, *grads):
        grads = self.backward(grads[0] if self.outputs == 1 else list(grads))
        return grads[0] if len(grads) == 1 else tuple(grads)

    def register_hook(self, fn):
        """Call ``fn(grad_inputs, grad_outputs)`` after this node ran; it may return new grad_inputs."""
        return _add_hook(self, "post", fn)

    def register_prehook(self, fn):
        """Call ``fn(grad_outputs)`` before this node runs; it may return new grad_outputs."""
        return _add_hook(self, "pre", fn)


class Output:
    """Edge to result number ``index`` of a node that has several."""

    __slots__ = ("node", "index")
    is_leaf_edge = False

    def __init__(self, node, index):
        self.node, self.index = node, index


class AccumulateGrad:
    """The end of the graph at a leaf: adds what arrives into ``variable.grad``."""

    _made: weakref.WeakValueDictionary = weakref.WeakValueDictionary()

    def __init__(self, variable):
        self.variable = variable

    @classmethod
    def of(cls, variable):
        acc = cls._made.get(id(variable))
        if acc is None or acc.variable is not variable:
            acc = cls._made[id(variable)] = cls(variable)
        return acc

    def name(self):
        return "AccumulateGrad"

    @property
    def next_functions(self):
        return ()

    @property
    def metadata(self):
        return self.__dict__.setdefault("_metadata", {})

    def register_hook(self, fn):
        """Call ``fn(grad_inputs, grad_outputs)`` after the gradient was accumulated."""
        return RemovableHandle(extra(self.variable).setdefault("acc_hooks", {}), lambda i, o: fn(i, o))

    def register_prehook(self, fn):
        return RemovableHandle(extra(self.variable).setdefault("acc_prehooks", {}), fn)


def function_of(edge):
    """(node, output number) as PyTorch shows an edge."""
    if edge is None:
        return (None, 0)
    if edge.is_leaf_edge:
        return (AccumulateGrad.of(edge), 0)
    if edge.__class__ is Output:
        return (edge.node, edge.index)
    return (edge, 0)


class RemovableHandle:
    """Removes a hook from its dict; also a context manager."""

    _next_id = itertools.count().__next__

    def __init__(self, hooks, fn=None, key=None):
        self.hooks_ref = hooks
        self.id = self._next_id()
        if fn is not None:
            hooks[self.id] = fn

    def remove(self):
        """Take the hook off; a second call does nothing."""
        self.hooks_ref.pop(self.id, None)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.remove()


class Hooks:
    """Hooks of one node: on the gradients of its outputs, before it runs, and after it ran."""

    __slots__ = ("tensor", "pre", "post", "retain")

    def __init__(self):
        self.tensor, self.pre, self.post, self.retain = {}, {}, {}, {}


def hooks_of(node):
    if node.hooks is None:
        node.hooks = Hooks()
    return node.hooks


def _add_hook(node, kind, fn):
    if node.saved is None:
        raise RuntimeError("cannot register a hook on a graph that has been freed")
    return RemovableHandle(getattr(hooks_of(node), kind), fn)


def extra(tensor):
    """The rarely used per-tensor fields (hooks, retained grad): one dict in the tensor's ``__dict__``."""
    return tensor.__dict__.setdefault("_numbagrad", {})


# --- edges ---------------------------------------------------------------------------------------------------------------

def edge(t):
    """The edge an operation records for input ``t`` that requires grad."""
    if t._view is not None:
        refresh(t)
    node = t._node
    return t if node is None else node


def refresh(t):
    """Give a view a new node when its base was modified in place since the view's node was made."""
    view = t._view
    if view.version != t._ver[0] and view.base is not None:
        base = view.base
        if base._rg and t._rg | (base._node is not None):
            from .inplace import AsStridedView
            t._node = AsStridedView.record(base, t)
            t._rg = True
        view.version = t._ver[0]


class View:
    """How a view relates to its base: the base tensor, the version its node was made at, and where it came from."""

    __slots__ = ("base", "version", "mode")

    def __init__(self, base, version, mode=None):
        self.base, self.version, self.mode = base, version, mode


# --- saved tensors -------------------------------------------------------------------------------------------------------
# A node saves a flat tuple (object, version, object, version, ...). An input is saved as the Tensor itself; the node's
# own output as the tuple (buf, ptr, n, shape, kind, ver, strides, index), because the Tensor would make a cycle.

class Packed:
    """A saved tensor that went through the user's pack hook."""

    __slots__ = ("value", "unpack", "edge", "is_output", "kind")

    def __init__(self, value, unpack, edge, is_output):
        self.value, self.unpack, self.edge, self.is_output = value, unpack, edge, is_output


def save_input(t):
    """The saved form of an input (one object; its version is saved beside it)."""
    hooks = modes.STATE and modes.current().hooks
    if hooks:
        pack, unpack = hooks[-1]
        with modes.no_grad():
            return Packed(pack(t), unpack, edge(t) if t._rg else None, False)
    return t


def save_output(t, index=0):
    """The saved form of a node's own output."""
    hooks = modes.STATE and modes.current().hooks
    if hooks:
        pack, unpack = hooks[-1]
        with modes.no_grad():
            return Packed(pack(t.detach()), unpack, None, True)
    return (t._buf, t._ptr, t._n, t._shape, t._kind, t._ver, t._strides, index)


def unpack(node, obj, version, which=""):
    """The saved tensor behind one entry, checked against in-place changes."""
    from ..tensor import Tensor, raw
    cls = obj.__class__
    if cls is tuple:
        if obj[5][0] != version:
            modified(node, obj[3], obj[4], obj[5], version, which or "result", True)
        out = raw(obj[0], obj[1], obj[2], obj[3], obj[6], obj[4], obj[5])
        out._node = node if node.outputs == 1 else Output(node, obj[7])
        out._rg = True
        return out
    if cls is Packed:
        out = obj.unpack(obj.value)
        if not isinstance(out, Tensor):
            raise TypeError("Output of saved tensor unpack_hook expected to be a Tensor but got result of type "
                            f"{type(out).__name__}")
        if obj.is_output or obj.edge is not None:
            out = out.detach()
            e = node if obj.is_output else obj.edge
            if e.is_leaf_edge:
                return e if e._ptr == out._ptr else out.requires_grad_()
            out._node, out._rg = e, True
        return out
    if obj._ver[0] != version:
        modified(node, obj._shape, obj._kind, obj._ver, version, which, False, obj)
    return obj


def freed():
    raise RuntimeError("Trying to backward through the graph a second time (or directly access saved tensors after they "
                       "have already been freed). Saved intermediate values of the graph are freed when you call "
                       ".backward() or autograd.grad(). Specify retain_graph=True if you need to backward through the "
                       "graph a second time or if you need to access saved tensors after calling backward.")


def modified(node, shape, kind, ver, version, which, is_output, tensor=None):
    """Raise PyTorch's in-place error, naming also the saved tensor and the line that modified it."""
    from ..dtypes import scalar_name
    producer = ""
    if is_output:
        producer = f", which is output 0 of {node.name()},"
    elif tensor is not None and tensor._node is not None:
        fn, index = function_of(tensor._node)
        producer = f", which is output {index} of {fn.name()},"
    where = f" It was modified at {place_text(ver[1])}." if len(ver) > 1 else ""
    what = f" saved by {node.name()}" + (f" as '{which}'" if which else "")
    prefix = "torch.cuda." if kind.device.type == "cuda" else "torch."
    raise RuntimeError(
        "one of the variables needed for gradient computation has been modified by an inplace operation: "
        f"[{prefix}{scalar_name(kind.dtype)}Tensor {list(shape)}]{producer} is at version {ver[0]}; expected version "
        f"{version} instead. The tensor was{what}.{where} Hint: enable anomaly detection to find the operation that "
        "failed to compute its gradient, with torch.autograd.set_detect_anomaly(True).")


PACKAGE = __name__.rpartition(".")[0].rpartition(".")[0]


INSIDE = PACKAGE + "."


def user_place():
    """(code, line number) of the innermost caller outside this package; None if there is none."""
    f = sys._getframe(2)
    while f is not None:
        name = f.f_globals.get("__name__", "")
        if not name.startswith(INSIDE) and name != PACKAGE:
            return f.f_code, f.f_lineno
        f = f.f_back
    return None


def user_line():
    """file:line of the innermost caller outside this package."""
    return place_text(user_place())


def place_text(place):
    """``user_place`` as text."""
    if place is None:
        return "an unknown line"
    return place if isinstance(place, str) else f"{place[0].co_filename}:{place[1]}"
