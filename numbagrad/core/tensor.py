"""Tensor: memory, shape, device, gradient and the node that made it."""

from __future__ import annotations

import ctypes
import warnings

import numpy as np

from ..base import arguments, modes
from ..base import dtypes as dt
from ..base.device import device as Device
from ..base.device import resolve_device
from ..base.overriding import _disabled_torch_function_impl, machinery, plain
from ..base.shapes import Size, check_empty, contiguous_strides, is_contiguous, numel
from ..kernel.tape import TAPE, born, clears, refuse, seen
from . import graph, saved, storage
from .graph import bump_version  # noqa: F401
from .metadata import Metadata
from .printing import PLAIN
from .values import Values, as_class, attributes, become

new = object.__new__
STATE = modes.STATE


class Tensor(Metadata, Values):
    """A multi-dimensional array that records the operations on it when ``requires_grad`` is set.

    Memory is ``_n`` elements reached from address ``_ptr`` by ``_strides`` (None when row-major), kept alive by
    ``_buf``. ``_ver`` is the version list that all views of one memory share: [count, line of the last change].
    """

    __slots__ = ("_buf", "_ptr", "_n", "_shape", "_strides", "_kind", "_rg", "_node", "_grad", "_ver", "_view",
                 "__dict__", "__weakref__")
    is_leaf_edge = True
    __array_priority__ = 1000
    # ``creation.tensor``, ``from_numpy``, ``autograd.backward`` and what gives ``core.dlpack``, which need this module first
    _of_data = _of_array = _backward = _dlpack = _alias = None

    def __new__(cls, *args, **kwargs):
        self = new(cls)
        if cls is Tensor or not args or isinstance(args[0], (int, Size, list, tuple, Tensor, np.ndarray)):
            device = kwargs.get("device")
            if len(args) == 1 and isinstance(args[0], Tensor):
                become(self, args[0].detach())
            elif len(args) == 1 and isinstance(args[0], Size) or args and all(isinstance(a, int) for a in args):
                shape = tuple(args[0]) if isinstance(args[0], Size) else args
                become(self, empty(shape, dt.get_default_dtype(), device))
            elif len(args) == 1:
                become(self, cls._of_data(args[0], dtype=dt.get_default_dtype(), device=device))
            else:
                become(self, empty((0,), dt.get_default_dtype(), device))
        return self

    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        if cls.__torch_function__ is not _disabled_torch_function_impl:
            machinery[0]().subclassed(cls)

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        """Run ``func``, and make instances of this class of the tensors that it returns."""
        return machinery[0]().default(cls, func, types, args, kwargs)

    @staticmethod
    def _make_subclass(cls, data, require_grad=False):
        """The memory of ``data`` as a leaf of class ``cls``."""
        return machinery[0]().leaf(cls, data, require_grad)

    @property
    def requires_grad(self):
        """Whether operations on this tensor are recorded."""
        if self._view is not None and not self._rg:
            graph.refresh(self)
        return self._rg

    @requires_grad.setter
    def requires_grad(self, value):
        if value.__class__ is not bool:
            raise RuntimeError("requires_grad must be a bool")
        if value and self._kind.dtype.category < 2:
            raise RuntimeError("only Tensors of floating point and complex dtype can require gradients")
        self.requires_grad_(value)

    def requires_grad_(self, requires_grad=True):
        """Set ``requires_grad`` of a leaf; only floating and complex dtypes may require gradients."""
        if requires_grad.__class__ is not bool:
            raise arguments.wrong(requires_grad, "bool", "requires_grad_", "requires_grad", 1)
        if self._node is not None:
            if not requires_grad:
                raise RuntimeError("you can only change requires_grad flags of leaf variables. If you want to use a "
                                   "computed variable in a subgraph that doesn't require differentiation use "
                                   "var_no_grad = var.detach().")
            return self
        if requires_grad and self._kind.dtype.category < 2:
            raise RuntimeError("only Tensors of floating point dtype can require gradients")
        if requires_grad and "_inference" in self.__dict__ and not modes.is_inference_mode_enabled():
            raise RuntimeError("Setting requires_grad=True on inference tensor outside InferenceMode is not allowed.")
        if TAPE:
            born(self)
        self._rg = bool(requires_grad)
        return self

    @property
    def is_leaf(self):
        """True for tensors that no recorded operation made."""
        if self._view is not None:
            graph.refresh(self)
        return self._node is None

    @property
    def grad_fn(self):
        """The node of the operation that made this tensor; None for leaves."""
        if self._view is not None:
            graph.refresh(self)
        node = self._node
        return None if node is None else graph.function_of(node)[0]

    @property
    def output_nr(self):
        return 0 if self._node is None else graph.function_of(self._node)[1]

    @property
    def grad(self):
        """The accumulated gradient, None before the first backward."""
        if self._grad is None and self._node is not None and "_numbagrad" not in self.__dict__:
            warnings.warn("The .grad attribute of a Tensor that is not a leaf Tensor is being accessed. Its .grad "
                          "attribute won't be populated during autograd.backward(). If you indeed want the .grad field "
                          "to be populated for a non-leaf Tensor, use .retain_grad() on the non-leaf Tensor. If you "
                          "access the non-leaf Tensor by mistake, make sure you access the leaf Tensor instead. See "
                          "github.com/pytorch/pytorch/pull/30531 for more information.", UserWarning, stacklevel=2)
        if TAPE:
            seen(self)
        return self._grad

    @grad.setter
    def grad(self, value):
        if value is not None:
            if not isinstance(value, Tensor):
                raise TypeError(f"assigned grad expected to be a Tensor or None but got grad of type "
                                f"{type(value).__name__}")
            if value is self:
                raise RuntimeError("can't assign Variable as its own grad")
            dtype, device, shape = (value.dtype, value.device, tuple(value.shape)) if value.is_sparse else (
                value._kind.dtype, value._kind.device, value._shape)
            if dtype is not self._kind.dtype:
                raise RuntimeError(f"attempting to assign a gradient with dtype '{dt.c_name(dtype)}' to a "
                                   f"tensor with grad_dtype '{dt.scalar_name(self._kind.dtype)}'. The gradient must "
                                   "match the tensor's grad_dtype (defaults to the tensor's dtype). You can set the "
                                   "tensor's grad_dtype attribute with a specific dtype, or None to allow any dtype. "
                                   "Set grad_dtype with caution. Diverging the dtypes of a tensor and its gradient may "
                                   "break downstream systems that assume they match.")
            if device != self._kind.device:
                raise RuntimeError(f"attempting to assign a gradient with device type '{device.type}' to a "
                                   f"tensor with device type '{self.device.type}'. Please ensure that the gradient and "
                                   "the tensor are on the same device")
            if shape != self._shape:
                raise RuntimeError(f"attempting to assign a gradient of size '{list(shape)}' to a tensor of "
                                   f"size '{list(self._shape)}'. Please ensure that the gradient and the tensor are "
                                   "the same size")
        if TAPE:
            clears(self)
        self._grad = value

    @grad.deleter
    def grad(self):
        if TAPE:
            clears(self)
        self._grad = None

    @property
    def _version(self):
        """How often the memory was modified in place."""
        if self._ver is INFERENCE_VERSION:
            raise RuntimeError("Inference tensors do not track version counter.")
        refuse("reads a version counter, which is another in each call")
        return self._ver[0] % graph.EXCHANGE

    @property
    def _base(self):
        """The tensor this one is a view of."""
        return None if self._view is None else self._view.base

    def _is_view(self):
        return self._view is not None

    def backward(self, gradient=None, retain_graph=None, create_graph=False, inputs=None):
        """Accumulate d self / d leaf, times ``gradient``, into the ``grad`` of every leaf that requires it."""
        self._backward(self, gradient, retain_graph, create_graph, inputs=inputs)

    def detach(self):
        """A tensor on the same memory that is not part of the graph; it shares the version counter."""
        out = raw(self._buf, self._ptr, self._n, self._shape, self._strides, self._kind, self._ver)
        if self._ver is INFERENCE_VERSION:
            out.__dict__["_inference"] = True
        return out

    def detach_(self):
        """Cut this tensor off its graph and make it a leaf."""
        if self._view is not None:
            raise RuntimeError("Can't detach views in-place. Use detach() instead. If you are using "
                               "DistributedDataParallel (DDP) for training, and gradient_as_bucket_view is set as "
                               "True, gradients are views of DDP buckets, and hence detach_() cannot be called on "
                               "these gradients. To fix this error, please refer to the Optimizer.zero_grad() function "
                               "in torch/optim/optimizer.py as the solution.")
        self._node, self._rg = None, False
        return self

    @property
    def data(self):
        """The same memory without graph and with a version counter of its own: writes are not tracked."""
        return raw(self._buf, self._ptr, self._n, self._shape, self._strides, self._kind, [0])

    @data.setter
    def data(self, value):
        if not isinstance(value, Tensor):
            raise TypeError(f"Variable data has to be a tensor, but got {type(value).__name__}")
        if value._kind.dtype.category < 2 and self._rg:
            raise RuntimeError("data set to a tensor that requires gradients must be floating point or complex dtype")
        if (value._shape != self._shape or value._strides != self._strides or value._kind is not self._kind) and (
                self._ver is not INFERENCE_VERSION):
            graph.exchanged(self)
        self._buf, self._ptr, self._n = value._buf, value._ptr, value._n
        self._shape, self._strides, self._kind = value._shape, value._strides, value._kind

    def __format__(self, spec):
        """A number's text for a plain tensor without dimensions, as in PyTorch; subclasses print as tensors."""
        if self._shape == () and self.__class__ is Tensor and not self._kind.meta:
            return format(self.item(), spec)
        return object.__format__(self, spec)

    def __reduce_ex__(self, protocol):
        more = attributes(self)
        more = ((None, more),) if more else ()  # (set one by one)
        if self._kind.meta:
            return (_rebuild_meta, (type(self), self._shape, self._strides, self._kind, self._rg), *more)
        a = self.detach().cpu().contiguous().array()
        return (_rebuild, (type(self), a, self.dtype, str(self.device), self._rg), *more)

    def retain_grad(self):
        """Keep the gradient of this non-leaf tensor in ``grad``."""
        if not self._rg:
            raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
        e = graph.edge(self)
        if e is self or self.retains_grad:
            return
        node, index = graph.function_of(e)
        import weakref
        graph.hooks_of(node).retain[index] = weakref.ref(self)
        graph.extra(self)["retain"] = True

    @property
    def retains_grad(self):
        return "retain" in self.__dict__.get("_numbagrad", ())

    def register_hook(self, hook):
        """Call ``hook(grad)`` when the gradient of this tensor is computed; it may return a replacement."""
        if not self._rg:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
        e = graph.edge(self)
        if e is self:
            return graph.removable(graph.hooks_on_leaf(self, "hooks"), hook)
        node, index = graph.function_of(e)
        return graph.removable(graph.hooks_on_output(node, index), hook)

    def register_post_accumulate_grad_hook(self, hook):
        """Call ``hook(tensor)`` after a gradient was accumulated into this leaf."""
        if not self._rg:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
        if self._node is not None:
            raise RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
        return graph.removable(graph.hooks_on_leaf(self, "post_acc"), hook)


plain(Tensor)
plain(Size)


def raw(buf, ptr, n, shape, strides, kind, ver):
    """A tensor from its parts, outside any graph."""
    out = new(Tensor)
    out._buf, out._ptr, out._n, out._shape, out._strides, out._kind, out._ver = buf, ptr, n, shape, strides, kind, ver
    out._rg, out._node, out._grad, out._view = False, None, None, None
    return out


saved.raw = raw


def raw_view(t, order):
    """``t`` with its dimensions in another order, outside the graph."""
    strides = t._strides or contiguous_strides(t._shape)
    shape, strides = tuple([t._shape[i] for i in order]), tuple([strides[i] for i in order])
    return raw(t._buf, t._ptr, t._n, shape, None if is_contiguous(shape, strides) else strides, t._kind, t._ver)


# Native makers of tensors on new memory, on memory of zeros and on an array, where ``makers`` has them.
fresh = fresh_zeros = around = None
MANY = 1 << 60  # elements that no array has


def make(shape, kind, zeroed=False):
    """A new contiguous tensor, uninitialised or of zeros."""
    n = 1
    for s in shape:
        n *= s
    if not n:
        check_empty(shape)
    try:
        if fresh is not None and kind.cpu and not TAPE and n < MANY:
            out = fresh_zeros(n, kind.np, shape, kind) if zeroed else fresh(n, kind.np, shape, kind)
        else:
            buf, ptr = kind.zeros(n) if zeroed else kind.alloc(n)
            out = raw(buf, ptr, n, shape, None, kind, [0])
    except (ValueError, MemoryError) as e:
        raise too_large(e, shape, n * kind.itemsize) from None
    if STATE:
        mark_inference(out)
    return out


def too_large(error, shape, size):
    """PyTorch's error of an allocation that failed."""
    if size >= 1 << 63:
        return RuntimeError(f"Storage size calculation overflowed with sizes={list(shape)}")
    if isinstance(error, MemoryError):
        return RuntimeError(f"DefaultCPUAllocator: can't allocate memory: you tried to allocate {size} bytes.")
    return error


PLAIN.add(Tensor)
Tensor._plain = Tensor


def empty(shape, dtype=None, device=None):
    return make(tuple(shape), storage.kind_of(dtype or dt.get_default_dtype(), resolve_device(device)))


ARRAYS = storage.ARRAYS


def on_array(a):
    """A CPU tensor on the memory of a row-major, aligned and writable array of a dtype stored as it is; else None."""
    kind = ARRAYS.get(a.dtype)
    if kind is None or TAPE or not a.flags.carray:
        return None
    flat = a if a.ndim == 1 else a.ravel()
    if flat.dtype is not kind.np:  # an equal one, as that of an array out of a pickle; fast paths know the one
        flat = flat.view(kind.np)
    out = raw(flat, storage.address(flat), flat.size, a.shape, None, kind, [0]) if around is None else (
        around(flat.size, flat, a.shape, kind))
    if STATE:
        mark_inference(out)
    return out


def from_array(a, dtype=None, copy=False):
    """A CPU tensor on the memory of a NumPy array (a copy where ``copy`` or the layout asks for one)."""
    if dtype is None and not copy:
        found = on_array(a)
        if found is not None:
            return found
    d = dtype or dt.from_numpy(a.dtype)
    shape = a.shape
    a = a if a.dtype is d.np else a.view(d.np)
    size = a.itemsize
    if copy or not a.flags.aligned or any(s % size for s in a.strides) or not a.dtype.isnative:
        a = np.array(a, dtype=d.np, order="C")
    kind = storage.kind_of(d)
    strides = tuple(s // size for s in a.strides)
    if a.flags.c_contiguous:
        flat = a.reshape(-1)
        flat = flat if flat.flags.writeable else _memory(a, flat.ctypes.data, flat.nbytes)
        out = raw(flat, storage.address(flat), a.size, shape, None, kind, [0])
        if modes.STATE:
            mark_inference(out)
        return out
    if any(s < 0 for s in strides):
        raise ValueError("At least one stride in the given numpy array is negative, and tensors with negative strides "
                         "are not currently supported. (You can probably work around this by making a copy of your "
                         "array  with array.copy().) ")
    low, high = np.lib.array_utils.byte_bounds(a) if hasattr(np.lib, "array_utils") else np.byte_bounds(a)
    return raw(_memory(a, low, high - low), a.ctypes.data, a.size, shape, None if is_contiguous(shape, strides) else strides,
               kind, [0])


def _memory(a, low, size):
    """Bytes of an array's memory as a flat array that may be written, which tensors always may be."""
    memory = (ctypes.c_char * size).from_address(low)
    memory.owner = a  # keeps the array's memory alive as long as any tensor on it
    return np.frombuffer(memory, a.dtype) if size else np.empty(0, a.dtype)


def from_storage(buf, dtype_name, offset, shape, strides):
    """A tensor on a 1-D storage array: element offset, sizes and strides in elements."""
    kind = storage.kind_of(dt.BY_NAME[dtype_name])
    shape, strides = tuple(shape), tuple(strides)
    return raw(buf, storage.address(buf) + offset * kind.itemsize, numel(shape), shape,
               None if is_contiguous(shape, strides) else strides, kind, [0])


class InferenceVersion(list):
    """Version of all inference tensors: reading the count means that one is being saved for backward."""

    def __getitem__(self, i):
        raise RuntimeError("Inference tensors cannot be saved for backward. Please do not use Tensors created in "
                           "inference mode in computation tracked by autograd. To work around this, you can make a "
                           "clone to get a normal tensor and use it in autograd, or use `torch.no_grad()` instead of "
                           "`torch.inference_mode()`.")

    def __reduce__(self):
        return "INFERENCE_VERSION"


INFERENCE_VERSION = InferenceVersion([0])


def mark_inference(t):
    """Make a result of inference mode an inference tensor."""
    if modes.current().inference:
        t.__dict__["_inference"] = True
        t._ver = INFERENCE_VERSION


def _rebuild_meta(cls, shape, strides, kind, requires_grad):
    span = 1 + sum([(n - 1) * s for n, s in zip(shape, strides or contiguous_strides(shape))]) if numel(shape) else 0
    t = make((span,), kind)
    t = as_class(raw(t._buf, t._ptr, numel(shape), shape, strides, kind, t._ver), cls)
    t._rg = requires_grad
    return t


def _rebuild(cls, a, dtype, device, requires_grad):
    t = from_array(a, dtype, copy=True).to(Device(device) if device != "cpu" else "cpu")
    t = as_class(t, cls)
    t._rg = requires_grad
    return t
