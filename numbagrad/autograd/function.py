"""Operations that users define with their own forward and backward."""

from __future__ import annotations

import functools
import inspect
import warnings

from ..base import modes
from ..core import graph
from ..core.broadcast import sum_to_size
from ..core.graph import Node, note_forward
from ..core.tensor import Tensor, make
from .function_outputs import attach, save, wrap

__all__ = ["Function", "FunctionCtx", "BackwardCFunction", "FunctionMeta", "InplaceFunction", "NestedIOFunction",
           "once_differentiable"]


class FunctionCtx:
    """What ``forward`` leaves for ``backward``: saved tensors, marks on inputs and outputs, attributes of any name."""

    _to_save = _to_save_forward = _dirty = _no_grad_outputs = ()
    _materialize = True
    _saved = None
    _node = None
    needs_input_grad = ()

    def save_for_backward(self, *tensors):
        """Keep tensors (or None) for backward; at backward they are checked against in-place changes."""
        self._to_save = tensors

    def save_for_forward(self, *tensors):
        """Keep tensors (or None) for ``jvp``."""
        for t in tensors:
            if not (t is None or isinstance(t, Tensor)):
                raise AssertionError("save_for_forward expects all arguments to be tensors; you should save "
                                     "non-tensors as attributes on ctx.")
        self._to_save_forward = tensors

    def mark_dirty(self, *args):
        """Name the inputs that forward modified in place; each must be returned as an output."""
        self._dirty = args

    def mark_non_differentiable(self, *args):
        """Name the outputs that have no gradient."""
        self._no_grad_outputs = args

    def mark_shared_storage(self, *pairs):
        warnings.warn("mark_shared_storage is deprecated. Tensors with shared storages are automatically tracked. Note "
                      "that calls to `set_()` are not tracked", FutureWarning, stacklevel=2)

    def set_materialize_grads(self, value):
        """Whether backward gets zeros (True) or None for outputs that received no gradient."""
        self._materialize = value

    @property
    def saved_tensors(self):
        """The tensors given to ``save_for_backward``, as a tuple."""
        node = self._node
        saved = self._saved
        if saved is None:
            return tuple(self._to_save)
        node = node()
        if node is None or node.saved is None:
            graph.freed()
        return tuple([None if saved[i] is None else graph.unpack(node, saved[i], saved[i + 1])
                      for i in range(0, len(saved), 2)])

    saved_variables = saved_tensors

    def __getattr__(self, name):
        if name in ("next_functions", "metadata", "name", "register_hook", "register_prehook"):
            node = self.__dict__.get("_node")
            node = node and node()
            if node is not None:
                return getattr(node, name)
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")


class BackwardCFunction(Node):
    """The node of a custom Function; attributes of its ctx can be read on it."""

    __slots__ = ()
    takes_none = holds_more = True
    trusts_saved = False
    _forward_cls = None

    @property
    def outputs(self):
        return len(self.ctx._outs)

    def __repr__(self):
        return f"<torch.autograd.function.{type(self).__name__} object at {id(self):#x}>"

    def __getattr__(self, name):
        if name in ("ctx", "next", "saved", "hooks", "seq"):
            raise AttributeError(name)
        return getattr(self.ctx, name)

    def release(self):
        # Even when nothing was saved: reading saved_tensors after this is an error.
        self.saved = None
        self.ctx._saved = ()

    def apply(self, *grads):
        """Run the user's backward on one gradient per output."""
        return _user_backward(self._forward_cls)(self.ctx, *grads)

    def backward(self, g):
        if not modes.current().grad:
            return self.backward_graph(g)
        modes.change(grad=False)
        try:
            return self.backward_graph(g)
        finally:
            modes.change(grad=True)

    def backward_graph(self, g):
        ctx = self.ctx
        grads = g if g.__class__ is list else [g]
        if ctx._materialize:
            grads = [make(*o, True) if x is None and o is not None else x for x, o in zip(grads, ctx._outs)]
        result = self.apply(*grads)
        return _gradients(self, result if isinstance(result, tuple) else (result,))


def _gradients(node, result):
    """Check what a user's backward returned and fit it to the inputs."""
    name, inputs = node.name(), node.ctx._ins
    n = len(inputs)
    if len(result) > n and all(r is None for r in result[n:]):
        result = result[:n]
    if len(result) != n:
        raise RuntimeError(f"function {name} returned an incorrect number of gradients (expected {n}, got "
                           f"{len(result)})")
    out = []
    for i, (r, known) in enumerate(zip(result, inputs)):
        if known is None:
            if r is not None:
                raise RuntimeError(f"function {name} returned a gradient different than None at position {i + 1}, but "
                                   "the corresponding forward input was not a Variable")
            out.append(None)
            continue
        if r is not None:
            if not isinstance(r, Tensor):
                raise RuntimeError(f"expected Variable or None (got {type(r).__name__})")
            if node.next[i] is not None:
                r = _fit(name, i, r, *known)
        out.append(r)
    return tuple(out)


def _fit(name, i, r, shape, kind):
    """Gradient ``r`` summed and converted to the input it belongs to."""
    if r._shape != shape:
        lead = len(r._shape) - len(shape)
        if lead < 0 or any(s not in (1, k) for s, k in zip(shape, r._shape[lead:])):
            raise RuntimeError(f"Function {name} returned an invalid gradient at index {i} - got {list(r._shape)} but "
                               f"expected shape compatible with {list(shape)}")
        r = sum_to_size(r, shape)
    if r._kind is not kind:
        if r._kind.device is not kind.device:
            raise RuntimeError(f"Function {name} returned an invalid gradient at index {i} - expected device "
                               f"{kind.device} but got {r._kind.device}")
        if r._kind.dtype.is_complex and not kind.dtype.is_complex:
            raise RuntimeError(f"Function {name} returned an invalid gradient at index {i} - expected a real gradient "
                               f"for an input of {kind.dtype} but got {r.dtype}")
        if r._kind is not kind:
            r = r.to(dtype=kind.dtype)
    return r


class FunctionMeta(type):
    """Gives every Function its node class, named after it."""

    def __init__(cls, name, bases, attrs):
        cls._backward_cls = type(name + "Backward", (BackwardCFunction,), {
            "__slots__": (), "_forward_cls": cls, "__module__": "torch.autograd.function"})
        cls._ctx_cls = type(name + "Backward", (FunctionCtx,), {
            "_forward_cls": cls, "__module__": attrs.get("__module__")})
        super().__init__(name, bases, attrs)


class Function(FunctionCtx, metaclass=FunctionMeta):
    """Base of custom operations: static ``forward(ctx, *args)`` and ``backward(ctx, *grad_outputs)``; call ``apply``.

    Or ``forward(*args)`` and ``setup_context(ctx, inputs, output)``. ``backward`` returns one gradient (or None) per
    argument of ``forward``."""

    generate_vmap_rule = False

    def __init__(self, *args, **kwargs):
        warnings.warn(f"{self.__class__} should not be instantiated. Methods on autograd functions are all static, so "
                      "you should invoke them on the class itself. Instantiating an autograd function will raise an "
                      "error in a future version of PyTorch.", DeprecationWarning, stacklevel=2)

    def __call__(self, *args, **kwargs):
        raise RuntimeError("Legacy autograd function with non-static forward method is deprecated. Please use "
                           "new-style autograd function with static forward method. (Example: "
                           "https://pytorch.org/docs/stable/autograd.html#torch.autograd.Function)")

    @staticmethod
    def forward(*args, **kwargs):
        """Compute the result; the first argument is ``ctx`` unless ``setup_context`` is defined."""
        raise NotImplementedError("You must implement the forward function for custom autograd.Function.")

    @staticmethod
    def setup_context(ctx, inputs, output):
        """Prepare ``ctx`` after a forward that does not take it."""
        raise NotImplementedError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx, *grad_outputs):
        """Gradients of the arguments of forward, given those of its outputs."""
        raise NotImplementedError("You must implement either the backward or vjp method for your custom "
                                  "autograd.Function to use it with backward mode AD.")

    vjp = backward

    @staticmethod
    def jvp(ctx, *grad_inputs):
        """Tangents of the outputs, given those of the arguments of forward."""
        raise NotImplementedError("You must implement the jvp function for custom autograd.Function to use it with "
                                  "forward mode AD.")

    @staticmethod
    def vmap(info, in_dims, *args):
        """(outputs, where their batches are) of arguments that have a batch at ``in_dims``."""
        raise NotImplementedError("To use autograd.Function with vmap, you must either override the vmap staticmethod or set "
                                  "generate_vmap_rule=True.")

    @classmethod
    def apply(cls, *args, **kwargs):
        """Run forward and record the call, so that backward runs the Function's backward."""
        separate = cls.setup_context is not Function.setup_context
        if separate or kwargs:
            forward = cls.forward
            bound = inspect.signature(forward).bind(*args, **kwargs) if separate else (
                inspect.signature(forward).bind(None, *args, **kwargs))
            bound.apply_defaults()
            args = bound.args if separate else bound.args[1:]
        mode = modes.current()
        if mode.transform is not None and (found := mode.transform.function(cls, args)) is not NotImplemented:
            return found
        grad = mode.grad  # the object changes with the mode
        needs, edges, record = [], [], False
        for a in args:
            need = isinstance(a, Tensor) and a.requires_grad
            needs.append(need)
            record = record or need
        record = record and grad and not mode.inference
        ctx = cls._ctx_cls()
        ctx.needs_input_grad = tuple(needs)
        if record:
            # The edges are those of the inputs before forward, which may modify them in place.
            edges = tuple([graph.edge(a) if need else None for a, need in zip(args, needs)])
            ins = tuple([(a._shape, getattr(a, "_kind", None)) if isinstance(a, Tensor) else None for a in args])
        if grad:
            modes.change(grad=False)
        try:
            result = cls.forward(*args) if separate else cls.forward(ctx, *args)
            if separate:
                cls.setup_context(ctx, args, result)
        finally:
            if grad:
                modes.change(grad=True)
        outputs = result if isinstance(result, tuple) else (result,)
        node = None
        if record:
            node = graph.new_node(cls._backward_cls, edges)
            ctx._ins = ins
        outputs = wrap(node, ctx, args, outputs)
        if record:
            ctx._node = _weak(node)
            node.ctx = ctx
            ctx._outs = tuple([(o._shape, o._kind) if isinstance(o, Tensor) else None for o in outputs])
            attach(node, ctx, args, outputs)
            save(node, ctx, outputs)
            note_forward(node, [a for a in args if isinstance(a, Tensor)])
        return outputs if isinstance(result, tuple) else outputs[0]


def _weak(node):
    import weakref
    return weakref.ref(node)


def _user_backward(cls):
    """The backward or vjp that a Function defines."""
    own, vjp = cls.backward is not Function.backward, cls.vjp is not Function.vjp
    if own and vjp:
        raise RuntimeError("Implementing both 'backward' and 'vjp' for a custom Function is not allowed. You should "
                           "only implement one of them.")
    return cls.vjp if vjp else cls.backward


def once_differentiable(fn):
    """Decorator for a ``backward`` that cannot be differentiated again; trying to is an error."""

    @functools.wraps(fn)
    def wrapper(ctx, *args):
        with modes.no_grad():
            outputs = fn(ctx, *args)
        sources = [a for a in args if isinstance(a, Tensor) and a.requires_grad]
        if not modes.is_grad_enabled() or not sources:
            return outputs
        several = isinstance(outputs, tuple)
        result = []
        for o in outputs if several else (outputs,):
            if isinstance(o, Tensor) and o._kind.dtype.category >= 2:
                o = o.detach()
                o._node, o._rg = graph.new_node(DelayedError, tuple(map(graph.edge, sources))), True
            result.append(o)
        return tuple(result) if several else result[0]
    return wrapper


class DelayedError(Node):
    """Raises when backward reaches it."""

    __slots__ = ()

    def backward(self, g):
        raise RuntimeError("trying to differentiate twice a function that was marked with @once_differentiable")


class InplaceFunction(Function):
    """A Function with an ``inplace`` flag."""

    def __init__(self, inplace=False):
        super().__init__()
        self.inplace = inplace


class NestedIOFunction(Function):
    """Functions of nested inputs; not supported."""

    @classmethod
    def apply(cls, *args, **kwargs):
        """Refuse: flatten nested inputs and use ``Function``."""
        raise NotImplementedError("NestedIOFunction is not supported: pass the tensors to a Function as separate "
                                  "arguments")
