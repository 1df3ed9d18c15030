"""What a tensor is to Python: numbers, arrays, lists, text, truth, copies."""

from __future__ import annotations

import copy

import numpy as np

from ..base import dtypes as dt
from ..base import modes
from ..base.arguments import MOST
from ..base.user_code import warn_once
from ..kernel.tape import TAPE, active
from . import storage
from .printing import tensor_repr

LISTS: dict = {}  # kind -> what makes a list of a row-major tensor of two dimensions natively
LISTED: list = []  # what makes that (``lists``)
OFTEN = 50  # lists of a kind, after which it is made
_asked: dict = {}  # kind -> lists that were asked for


def on_host(t, what):
    """Refuse, during a capture, to hand out values that each run computes anew."""
    recorder = active()
    if recorder is not None:
        recorder.reads(t, what)


def followed(t, what):
    """During a capture, a list of numbers that stand for the values of a tensor, where those are not there yet."""
    recorder = active()
    return None if recorder is None else recorder.values(t, what)


def real(value, target):
    """A number without an imaginary part."""
    if value.__class__ is complex and value.imag:
        raise RuntimeError(f"value cannot be converted to type {target} without overflow")
    return value.real


def nothing(shape):
    """The nested lists of a tensor without elements, of sizes that NumPy may not have."""
    return [nothing(shape[1:]) for _ in range(shape[0])] if shape[0] else []


def nested(flat, shape):
    """Nested lists of a shape, filled from an iterator."""
    return [nested(flat, shape[1:]) for _ in range(shape[0])] if shape else next(flat)


def become(self, other):
    """Make a new object a tensor on another's memory."""
    for name in ("_buf", "_ptr", "_n", "_shape", "_strides", "_kind", "_ver"):
        setattr(self, name, getattr(other, name))
    self._rg, self._node, self._grad, self._view = False, None, None, None
    return self


def as_class(t, cls):
    """The given tensor's memory in a new object of class ``cls``."""
    return t if type(t) is cls else become(object.__new__(cls), t)


def subclass(cls):
    """A class of tensors, or PyTorch's error of anything else."""
    if not isinstance(cls, type):
        raise TypeError(f"cls must be a type (got {type(cls).__name__})")
    if not issubclass(cls, Values):
        raise TypeError("Creating a Tensor subclass from a class that does not inherit from Tensor is not possible. Make sure "
                        "your class inherits from Tensor.")
    return cls


def recast(t, cls):
    """A tensor that nobody else has, with its place in the graph, as an instance of ``cls``."""
    try:
        t.__class__ = cls
        return t
    except TypeError:  # a class that has slots of its own
        out = become(object.__new__(cls), t)
        out._rg, out._node, out._view = t._rg, t._node, t._view
        return out


INTERNAL = frozenset(("_numbagrad", "_inference"))  # attributes that belong to the engine, not to the user


def attributes(t):
    """What a user has set on a tensor, in slots of its class, too."""
    found = {name: value for name, value in t.__dict__.items() if name not in INTERNAL}
    for cls in type(t).__mro__:
        if cls is t._plain:
            break
        names = vars(cls).get("__slots__", ())
        found.update({n: getattr(t, n) for n in ((names,) if isinstance(names, str) else names) if hasattr(t, n)})
    return found


class Values:
    """The part of ``Tensor`` that hands its values to Python."""

    __slots__ = ()
    _plain = None  # the class ``Tensor``

    def item(self):
        """The value of a one-element tensor as a Python number."""
        if self._n != 1:
            raise RuntimeError(f"a Tensor with {self._n} elements cannot be converted to Scalar")
        kind = self._kind
        if not kind.direct:
            if kind.meta:
                raise RuntimeError("Tensor.item() cannot be called on meta tensors")
            return self.detach().to(dtype=dt.float32 if kind.dtype.code in ("f2", "bf") else kind.dtype, device="cpu").item()
        if TAPE:
            found = followed(self, "item")
            if found is not None:
                return found[0]
        buf = self._buf
        if buf.dtype is kind.np:
            return buf.item(0 if buf.size == 1 else (self._ptr - storage.address(buf)) // kind.itemsize)
        # A view in another dtype: the array that owns the memory counts in elements of its own.
        return self.array().item()

    def array(self):
        """A NumPy array on the same CPU memory, in the storage type (``uint16`` for the half types)."""
        if not self._kind.cpu:
            raise TypeError(f"can't convert {self.device} device type tensor to numpy. Use Tensor.cpu() to copy the "
                            "tensor to host memory first.")
        if self._n == 0:
            return np.empty(self._shape, self._kind.np)
        if TAPE:
            on_host(self, "array")
        buf = self._buf
        if self._strides is None and buf.size == self._n and buf.dtype is self._kind.np:
            return buf.reshape(self._shape)
        size = self._kind.itemsize
        strides = None if self._strides is None else tuple(s * size for s in self._strides)
        return np.ndarray(self._shape, self._kind.np, buf, self._ptr - storage.address(buf), strides)

    def numpy(self, *, force=False):
        """A NumPy array that shares this tensor's memory; ``force=True`` detaches and copies to the CPU first."""
        if force:
            return self.detach().cpu().numpy()
        if self._rg and modes.is_grad_enabled():
            raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
        d = self._kind.dtype
        if d.code == "bf":
            raise TypeError("Got unsupported ScalarType BFloat16")
        return self.array().view(d.numpy) if d.code == "f2" else self.array()

    def __array__(self, dtype=None, copy=None):
        a = self.numpy()
        return a if dtype is None else a.astype(dtype, copy=bool(copy))

    def __dlpack__(self, *, stream=-1, max_version=None, dl_device=None, copy=None):
        """A DLPack capsule on this tensor's memory."""
        return self._dlpack().method(self, stream=stream, max_version=max_version, dl_device=dl_device, copy=copy)

    def __dlpack_device__(self):
        """DLPack's numbers of the kind and the index of the device."""
        return self._dlpack().device_of(self)

    def __array_wrap__(self, array, context=None, return_scalar=False):
        """The result of a NumPy function on this tensor as a tensor (truth values as uint8, as PyTorch has it)."""
        return self._of_array(array.astype(np.uint8) if array.dtype == bool else array)

    def tolist(self):
        """The values as nested Python lists (a number for a 0-d tensor)."""
        kind, shape = self._kind, self._shape
        native = LISTS.get(kind)
        if native is not None and len(shape) == 2 and self._strides is None and not TAPE:
            return native(self)
        if self._n and kind.direct and not TAPE:
            times = _asked[kind] = _asked.get(kind, 0) + 1
            if times == OFTEN:
                LISTED[0](kind)
            buf = self._buf
            if self._strides is None and buf.dtype is kind.np:
                if len(shape) != 1:
                    try:
                        return buf.reshape(shape).tolist()
                    except ValueError:  # a part of the memory
                        pass
                elif buf.size == self._n:
                    return buf.tolist()
            return self.array().tolist()
        t = self.detach()
        if t._kind.dtype.code in ("f2", "bf"):
            t = t.float()
        if not t._n:
            return nothing(t._shape)
        if TAPE:
            found = followed(t, "tolist")
            if found is not None:
                return nested(iter(found), t._shape)
        return t.cpu().array().tolist()

    def __len__(self):
        if not self._shape:
            raise TypeError("len() of a 0-d tensor")
        return self._shape[0]

    def __bool__(self):
        if self._n == 1:
            return bool(self.item())
        if self._n == 0:
            raise RuntimeError("Boolean value of Tensor with no values is ambiguous")
        raise RuntimeError("Boolean value of Tensor with more than one value is ambiguous")

    def __float__(self):
        if self._rg:
            warn_once("Converting a tensor with requires_grad=True to a scalar may lead to unexpected "
                      "behavior.\nConsider using tensor.detach() first.")
        return float(self._real_item("double"))

    def __int__(self):
        if self._n == 1:
            value = self.item()
            if value.__class__ is int and value <= MOST:
                return value
            if value.__class__ is not int:
                return int(real(value, "int64_t"))
            raise RuntimeError("value cannot be converted to type int64_t without overflow")
        raise ValueError("only one element tensors can be converted to Python scalars")

    def _real_item(self, target):
        if self._n != 1:
            raise ValueError("only one element tensors can be converted to Python scalars")
        return real(self.item(), target)

    def __complex__(self):
        return complex(self.item())

    def __index__(self):
        if self._n != 1 or self._kind.dtype.category > 1:
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return int(self.item())

    def __hash__(self):
        return id(self)

    def __contains__(self, element):
        if isinstance(element, (Values, int, float, complex)):
            return bool((element == self).any())
        raise RuntimeError(f"Tensor.__contains__ only supports Tensor or scalar, but you passed in a {type(element)}.")

    def __reversed__(self):
        return self.flip(tuple(range(len(self._shape)))) if self._shape else self

    def __iter__(self):
        if not self._shape:
            raise TypeError("iteration over a 0-d tensor")
        return iter(self.unbind(0))

    def __repr__(self, *, tensor_contents=None):
        return tensor_repr(self)

    def __deepcopy__(self, memo):
        if self._node is not None:
            raise RuntimeError("Only Tensors created explicitly by the user (graph leaves) support the deepcopy "
                               "protocol at the moment.  If you were attempting to deepcopy a module, this may be "
                               "because of a torch.nn.utils.weight_norm usage, see "
                               "https://github.com/pytorch/pytorch/pull/103001")
        if id(self) in memo:
            return memo[id(self)]
        with modes.no_grad():
            out = self.detach().clone()
            if type(out) is not type(self):
                out = recast(out, type(self.new_empty([])))
        if type(out) is not type(self):
            raise RuntimeError("The default implementation of __deepcopy__() for non-wrapper subclasses only works for "
                               "subclass types that implement new_empty() and for which that function returns another instance "
                               "of the same subclass. You should either properly implement new_empty() for your subclass or "
                               "override __deepcopy__() if it is intended behavior for new_empty() to return an instance of "
                               "a different type.")
        out._rg = self._rg
        if self._grad is not None:
            out._grad = self._grad.__deepcopy__(memo)
        for name, value in attributes(self).items():
            setattr(out, name, copy.deepcopy(value, memo))
        memo[id(self)] = out
        return out

    def __copy__(self):
        cls = type(self)
        if cls.__reduce_ex__ is not self._plain.__reduce_ex__:
            return copy._reconstruct(self, None, *self.__reduce_ex__(4))
        out = recast(self.detach(), cls)
        out._rg = self.requires_grad
        for name, value in attributes(self).items():
            setattr(out, name, value)
        return out

    def __dir__(self):
        return sorted(set(object.__dir__(self)))

    @classmethod
    def as_subclass_of(cls, t):
        return as_class(t, cls)

    def as_subclass(self, cls):
        """The same memory as an instance of the given Tensor subclass; what is done to it is recorded as of this tensor."""
        return recast(self._alias(self), subclass(cls))
