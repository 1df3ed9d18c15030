"""The stack of running transforms, and the tensors that belong to them.

Each call of ``vmap`` or ``jvp`` is a *level*. A tensor of a level is a ``Batched`` (a value with one dimension more, the first)
or a ``Dual`` (a primal and its tangent) around tensors of lower levels; plain tensors are at the bottom. Such tensors have no
memory: ops that get one come to ``Stack`` by their general path, which the thread's mode asks for while a transform runs, and
the highest level among the arguments says what to do in terms of the tensors below. Reverse mode needs no level: nodes are
recorded where memory is, at the bottom, and ``reverse`` takes gradients there.
"""

from __future__ import annotations

import itertools
from threading import get_ident

from ..base import modes
from ..base.overriding import DisableTorchFunction, _disabled_torch_function_impl
from ..base.shapes import contiguous_strides, is_contiguous
from ..base.transformed import Nowhere, Transformed, Whole
from ..core.printing import PLAIN
from ..core.registry import REGISTRY
from ..core.tensor import Tensor

numbers = itertools.count(1).__next__  # of levels: a later one has a higher number


def place(op, input, geometry, params):
    """A view of a tensor of a transform."""
    return input.level.view(op, input, geometry, params)


def like(input, t):
    """A new plain tensor as one of the transforms of ``input``."""
    return input.like(t)


def gradients(form, mask, values, numbers, g):
    """Gradients of an elementwise op by its kernel."""
    return g.level.gradients(form, mask, values, numbers, g)


class Wrapper(Tensor):
    """A tensor of a transform: sizes and kind are those that the user's function sees."""

    level = None
    __torch_function__ = _disabled_torch_function_impl

    def missing(self):
        """Raise where an op asks for memory."""
        self.level.missing()

    def below(self):
        """The tensors it is made of."""
        raise NotImplementedError

    def over(self, fn):
        """The same kind of tensor around ``fn`` of each of ``below()``."""
        raise NotImplementedError

    def is_contiguous(self, memory_format=None):
        return is_contiguous(self._shape, self._strides)

    def contiguous(self, memory_format=None):
        return self if self.is_contiguous() else self.clone()

    def new_zeros(self, *sizes, size=None, **kwargs):
        return self.like(Tensor.new_zeros(self, *sizes, size=size, **kwargs))

    def new_ones(self, *sizes, size=None, **kwargs):
        return self.like(Tensor.new_ones(self, *sizes, size=size, **kwargs))

    def new_empty(self, *sizes, size=None, **kwargs):
        return self.like(Tensor.new_empty(self, *sizes, size=size, **kwargs))

    def new_full(self, size, fill_value, **kwargs):
        return self.like(Tensor.new_full(self, size, fill_value, **kwargs))

    def like(self, t):
        """A new plain tensor as one of the same levels, which may be written to as this one."""
        raise NotImplementedError

    @property
    def requires_grad(self):
        return any([t.requires_grad for t in self.below()])

    @property
    def is_leaf(self):
        return not self.requires_grad

    @property
    def grad_fn(self):
        return next((t.grad_fn for t in self.below() if t.grad_fn is not None), None)

    @property
    def _version(self):
        return self.below()[0]._version

    @property
    def grad(self):
        return None

    def requires_grad_(self, requires_grad=True):
        if not self.level.strict:
            self.below()[0].requires_grad_(requires_grad)
            return self
        raise RuntimeError("You are attempting to call Tensor.requires_grad_() (or perhaps using torch.autograd.functional.* "
                           "APIs) inside of a function being transformed by a functorch transform. This is unsupported, please "
                           "attempt to use the functorch transforms (e.g. grad, vjp, jacrev, jacfwd, hessian) or call "
                           "requires_grad_() outside of a function being transformed instead.")

    def backward(self, gradient=None, retain_graph=None, create_graph=False, inputs=None):
        if not self.level.strict:
            return self.below()[0].backward(gradient, retain_graph, create_graph, inputs=inputs)
        raise RuntimeError("backward() called inside a functorch transform. This is not supported, please use functorch.grad "
                           "or "
                           "functorch.vjp instead or call backward() outside of functorch transforms.")

    def retain_grad(self):
        raise RuntimeError("retain_grad() is not supported inside of a function transform")

    def register_hook(self, hook):
        raise RuntimeError("register_hook() is not supported inside of a function transform")

    @property
    def data(self):
        return self.detach()

    def numpy(self, *, force=False):
        raise RuntimeError("Cannot access data pointer of Tensor that doesn't have storage")

    def __array__(self, dtype=None, copy=None):
        return self.numpy()

    def storage_offset(self):
        return 0

    def data_ptr(self):
        raise RuntimeError("Cannot access data pointer of Tensor that doesn't have storage")

    def __deepcopy__(self, memo):
        return self.over(lambda t: t.__deepcopy__(memo))

    def __reduce_ex__(self, protocol):
        raise RuntimeError(f"a tensor inside of {self.level.name} cannot be pickled")

    def __getitem__(self, index):
        return Tensor.__getitem__(self, (index,) if isinstance(index, Tensor) else index)


PLAIN.add(Wrapper)


def plain(t):
    """A tensor of a class of the user's as one of Tensor, as transforms hand them to the function."""
    if t.__class__ is Tensor or isinstance(t, Wrapper):
        return t
    with DisableTorchFunction():
        return t.as_subclass(Tensor)


class Memory:
    """The memory of a tensor that has none."""

    __slots__ = ("missing",)
    dtype, size = None, -1  # unlike those of any array

    def __init__(self, missing):
        self.missing = missing

    @property
    def nbytes(self):
        return self.missing()


def look(t, value, shape, strides):
    """Give a new wrapper the look of a tensor of this shape and of the kind of ``value``."""
    n = 1
    for s in shape:
        n *= s
    # Strides are always said: so what is new and like this tensor comes to ``like``.
    t._strides = contiguous_strides(shape) if strides is None else strides
    t._buf, t._ptr, t._ver = t.level.nowhere or t.level.placed()
    t._n, t._shape, t._kind = n, shape, value._kind
    # Gradient rules that have a kernel and operations for one purpose ask this before they take the kernel.
    t._rg, t._node, t._grad, t._view = value._kind.dtype.category > 1, None, None, None
    return t


def highest(values):
    """The highest level among some values, lists and tuples looked into; None where there is none."""
    found = None
    for v in values:
        c = v.__class__
        if c in WRAPPERS:
            level = v.level
        elif (c is list or c is tuple) and v:
            level = highest(v)
            if level is None:
                continue
        elif c is dict and v:
            level = highest(v.values())
            if level is None:
                continue
        else:
            continue
        if found is None or level.number > found.number:
            found = level
    return found


WRAPPERS = set()


class Stack:
    """The levels that run in a thread, the innermost last; ops come here from their general paths."""

    __slots__ = ("levels",)
    apply = None  # of ``custom_function``
    pull = None   # of ``reverse``: gradients of tensors of transforms, as ``autograd.grad`` takes them

    def __init__(self, levels):
        self.levels = levels

    def elementwise(self, op, args, params, out):
        level = highest((*args, *params, out))
        return NotImplemented if level is None else level.living().elementwise(op, args, params, out)

    def custom(self, op, args, params, node_class):
        level = highest((*args, *params))
        return NotImplemented if level is None else level.living().custom(op, args, params, node_class)

    def reduction(self, op, input, dim, keepdim, dtype, out):
        level = highest((input, out))
        return NotImplemented if level is None else level.living().reduction(op, input, dim, keepdim, dtype, out)

    def inplace(self, op, t, args, kwargs):
        """The in-place form of an op; a name stands for one that has none but ``op_``."""
        level = highest((t, *args, *kwargs.values()))
        return NotImplemented if level is None else level.living().inplace(op, t, args, kwargs)

    def has(self, values):
        """Whether some value is of a transform."""
        return highest(values) is not None

    def function(self, cls, args):
        """``autograd.Function.apply``."""
        level = highest(args)
        return NotImplemented if level is None else self.apply(level.living(), cls, args)

    def getitem(self, x, index):
        level = highest((x, index))
        return NotImplemented if level is None else level.living().getitem(x, index)

    def setitem(self, x, index, value):
        level = highest((x, index, value))
        return NotImplemented if level is None else level.living().setitem(x, index, value)

    def batches(self):
        """The levels that have a batch, the outermost first."""
        return [level for level in self.levels if level.size is not None]


class Level:
    """One running transform; entered as a context."""

    name, size = "a transform", None
    strict = True  # whether ``autograd.Function`` must have its ``setup_context`` apart

    nowhere = None  # (memory, address, version) that its tensors have

    def __init__(self):
        self.number, self.alive = numbers(), True

    def placed(self):
        """Make what stands for memory."""
        self.nowhere = Memory(self.missing), Nowhere(self.missing), Transformed(place, self.missing, like, gradients)
        return self.nowhere

    def missing(self):
        """Raise where an op asks for memory."""
        self.living()
        raise Whole(f"a tensor inside of {self.name} has no memory of its own", self.again)

    def __enter__(self):
        self.outer = modes.transform()
        modes.change(transform=Stack((*(self.outer.levels if self.outer else ()), self)))
        return self

    def __exit__(self, *error):
        self.alive, self.nowhere = False, None  # (which it is itself part of)
        modes.change(transform=self.outer)

    def gradients(self, form, mask, values, numbers, g):
        """Gradients of an elementwise op by its kernel; None: by operations."""
        return None

    def living(self):
        """This level, which must not have ended."""
        if not self.alive:
            raise RuntimeError(f"a tensor of {self.name} was used after it had ended: it may have escaped from inside of the "
                               "function that was transformed, by a global or a closure")
        return self


def outside(fn, *args, **kwargs):
    """``fn(*args)`` as outside of all transforms where no argument belongs to one: ops take their fast path."""
    if highest(args) is not None or kwargs and highest(kwargs.values()) is not None:
        return fn(*args, **kwargs)
    mode = modes.STATE.get(get_ident())
    stack = None if mode is None else mode.transform
    if stack is None:
        return fn(*args, **kwargs)
    modes.change(transform=None)
    try:
        return fn(*args, **kwargs)
    finally:
        modes.change(transform=stack)


def in_place(op):
    """Whether a function writes into its first argument what another returns."""
    return op.name.endswith("_") and op.name[:-1] in REGISTRY


def written(op, args, kwargs):
    """Such a function by the other."""
    return args[0].copy_(REGISTRY[op.name[:-1]].callable(*args, **kwargs))


def keeps(args):
    """Whether what is done to some tensors is recorded."""
    return modes.records() and any([isinstance(a, Tensor) and a.requires_grad for a in args])
