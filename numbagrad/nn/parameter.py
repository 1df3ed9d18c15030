"""Tensors that a Module registers by itself: trainable parameters and buffers."""

import sys

import numbagrad as ng

from ..base.overriding import _disabled_torch_function_impl, override, plain
from ..core import storage
from ..core.printing import PLAIN, parameter_str
from ..core.tensor import Tensor, as_class, raw
from ..core.values import attributes

__all__ = ["Buffer", "Parameter", "UninitializedBuffer", "UninitializedParameter", "is_lazy"]


class _Flagged(type):
    """The class of ``Parameter`` and ``Buffer``, of which tensors of other classes may be instances by an attribute of theirs.

    The test is put here when there is a class that overrides (``dispatch.overriding``): until then none is asked."""


def _is_instance(cls, instance):
    flag = "_is_param" if cls is Parameter else "_is_buffer" if cls is Buffer else None
    if flag is not None and isinstance(instance, Tensor) and getattr(instance, flag, False):
        return True
    return type.__instancecheck__(cls, instance)


def _flagged(data, kind, flag, requires_grad):
    """A tensor of a class that overrides as a parameter or a buffer: a leaf of its own class that says so."""
    t = data.detach().requires_grad_(requires_grad)
    if type(t) is not type(data):
        raise RuntimeError(f"Creating a {kind} from an instance of type {type(data).__name__} requires that detach() returns "
                           f"an instance of the same type, but return type {type(t).__name__} was found instead. To use the "
                           f"type as a {kind}, please correct the detach() semantics defined by its __torch_dispatch__() "
                           "implementation.")
    setattr(t, flag, True)
    _Flagged.__instancecheck__ = _is_instance
    return t


class Parameter(Tensor, metaclass=_Flagged):
    """A leaf tensor that a Module lists among its parameters when it is assigned as an attribute.

    ``data`` (default: an empty tensor) shares its storage with the parameter. RuntimeError when gradients are asked
    for (the default) and the dtype has none.
    """

    __slots__ = ()
    __torch_function__ = _disabled_torch_function_impl

    def __new__(cls, data=None, requires_grad=True):
        if data is None:
            data = ng.empty(0)
        if data.__class__ is not Tensor and data.__class__ is not Parameter and override(data) is not None:
            return _flagged(data, "Parameter", "_is_param", requires_grad)
        if requires_grad and not (data.is_floating_point() or data.is_complex()):
            raise RuntimeError("Only Tensors of floating point and complex dtype can require gradients")
        parameter = as_class(data.detach(), cls)
        return parameter.requires_grad_() if requires_grad else parameter

    def __repr__(self, *, tensor_contents=None):
        text = super().__repr__(tensor_contents=tensor_contents)
        return parameter_str(text if type(self) in PLAIN else f"Parameter({text})")

    def __deepcopy__(self, memo):
        known = memo.get(id(self))
        if known is not None:
            return known
        copy = memo[id(self)] = type(self)(self.data.clone(), self.requires_grad)
        return copy

    def __reduce_ex__(self, protocol):
        return _rebuild_parameter, (type(self), self.data, self.requires_grad, attributes(self))


def _rebuild_parameter(cls, data, requires_grad, state):
    parameter = cls(data, requires_grad)
    parameter.__dict__.update(state)
    return parameter


class Buffer(Tensor, metaclass=_Flagged):
    """A tensor without gradient that a Module lists among its buffers when it is assigned as an attribute.

    ``persistent`` says whether the buffer is part of the module's ``state_dict``.
    """

    __slots__ = ()
    __torch_function__ = _disabled_torch_function_impl

    def __new__(cls, data=None, *, persistent=True):
        if data is None:
            data = ng.empty(0)
        if override(data) is not None:
            buffer = _flagged(data, "Buffer", "_is_buffer", data.requires_grad)
            buffer.persistent = persistent
            return buffer
        buffer = as_class(data.detach(), cls).requires_grad_(data.requires_grad)
        buffer.persistent = persistent
        return buffer

    def __deepcopy__(self, memo):
        known = memo.get(id(self))
        if known is not None:
            return known
        copy = memo[id(self)] = type(self)(self.data.clone(), persistent=self.persistent)
        return copy

    def __reduce_ex__(self, protocol):
        return _rebuild_buffer, (type(self), self.data, self.persistent)


def _rebuild_buffer(cls, data, persistent):
    return cls(data, persistent=persistent)


PLAIN.update((Parameter, Buffer))
plain(Parameter)
plain(Buffer)


_APART: dict = {}  # a kind: the one that lazy tensors of its dtype and device have


class UninitializedTensorMixin:
    """A tensor whose shape is not known yet: it can be converted, moved and made a regular one, and nothing else."""

    __slots__ = ()

    @property
    def shape(self):
        raise RuntimeError(
            "Can't access the shape of an uninitialized parameter or buffer. This error usually happens in "
            "`load_state_dict` when trying to load an uninitialized parameter into an initialized one. Call `forward` "
            "to initialize the parameters before accessing their attributes."
        )

    @property
    def _shape(self):
        # Every op asks for it, and none can have it.
        raise ValueError(
            f"Attempted to use an uninitialized parameter in {sys._getframe(1).f_code.co_name}. This error happens when "
            f"you are using a `LazyModule` or explicitly manipulating `torch.nn.parameter.{type(self).__name__}` objects. "
            "When using LazyModules Call `forward` with a dummy batch to initialize the parameters before calling torch "
            "functions"
        )

    @_shape.setter
    def _shape(self, value):
        Tensor._shape.__set__(self, (0,))

    def _become(self, value):
        for name in ("_buf", "_ptr", "_n", "_strides"):
            setattr(self, name, getattr(value, name))
        # Native code looks calls up by the kind, and into the slot of the shape itself: none is ever found under this one.
        self._kind = _APART.setdefault(value._kind, storage.Kind(value.dtype, value.device))

    @property
    def data(self):
        """A tensor without elements, of the dtype and on the device that the regular one will have."""
        return raw(self._buf, self._ptr, self._n, (0,), None, storage.kind_of(self.dtype, self.device), [0])

    @data.setter
    def data(self, value):
        self._become(value)

    def materialize(self, shape, device=None, dtype=None):
        """Become a regular tensor of this shape, uninitialised, of the given device and dtype or of its own."""
        device = self.device if device is None else device
        value = ng.empty(shape, device=device, dtype=self.dtype if dtype is None else dtype)
        self.__class__ = self.cls_to_become
        self.data = value

    def size(self, *args):
        return self.data.size(*args)

    def copy_(self, src, non_blocking=False):
        return self

    def share_memory_(self):
        raise RuntimeError(
            "Can't share memory on an uninitialized parameter or buffer. Call `forward` to initialize the parameters "
            "before calling `module.share_memory()`."
        )

    def __repr__(self, *, tensor_contents=None):
        return f"<{type(self).__name__}>"

    def __reduce_ex__(self, protocol):
        return type(self), (self.requires_grad,)

    def __deepcopy__(self, memo):
        known = memo.get(id(self))
        if known is not None:
            return known
        copy = memo[id(self)] = type(self)(self.requires_grad, self.device, self.dtype)
        return copy


def _converted(name):
    def method(self, *args, **kwargs):
        new = getattr(self.data, name)(*args, **kwargs)
        return type(self)(requires_grad=False, device=new.device, dtype=new.dtype)

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"``Tensor.{name}`` of what has no shape yet."
    return method


for _name in ("half", "float", "double", "char", "short", "int", "long", "cuda", "cpu", "to", "bfloat16"):
    setattr(UninitializedTensorMixin, _name, _converted(_name))


class UninitializedParameter(UninitializedTensorMixin, Parameter):
    """A Parameter whose shape a lazy layer learns from its first input; see :meth:`materialize`."""

    __slots__ = ()
    cls_to_become = Parameter

    def __new__(cls, requires_grad=True, device=None, dtype=None):
        empty = ng.empty(0, device=device, dtype=dtype)
        parameter = as_class(empty, cls)
        parameter._become(empty)
        return parameter.requires_grad_() if requires_grad else parameter


class UninitializedBuffer(UninitializedTensorMixin, Buffer):
    """A buffer whose shape a lazy layer learns from its first input; see :meth:`materialize`."""

    __slots__ = ()
    cls_to_become = Tensor

    def __new__(cls, requires_grad=False, device=None, dtype=None, persistent=True):
        empty = ng.empty(0, device=device, dtype=dtype)
        buffer = as_class(empty, cls)
        buffer._become(empty)
        buffer.persistent = persistent
        return buffer.requires_grad_() if requires_grad else buffer


def is_lazy(param):
    """Whether ``param`` is an UninitializedParameter or an UninitializedBuffer."""
    return isinstance(param, UninitializedTensorMixin)
