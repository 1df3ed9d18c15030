"""What ``untyped_storage`` and ``storage`` give: the memory behind tensors as bytes, or as elements of a dtype.

A storage knows the tensor it was asked of. Growing it moves that tensor to new memory; views keep what they have.
"""

from __future__ import annotations

import warnings

import numpy as np

from ..base import dtypes as dt
from ..base.user_code import user_level
from ..kernel.tape import refuse
from .creation import tensor
from .files import mapped
from .storage import kind_of, storage_address
from .tensor import from_array, make, raw

BYTE = kind_of(dt.uint8)


def regrow(t, nbytes):
    """Give ``t`` memory of so many bytes, with what fits of its storage and its own place in it."""
    offset = t._ptr - storage_address(t)
    reach = sum([(n - 1) * s for n, s in zip(t._shape, t.stride())]) + 1 if t._n else 0
    if nbytes < offset + reach * t._kind.itemsize:
        raise RuntimeError(f"a storage of {nbytes} bytes would leave its tensor of {t._n} elements without memory")
    fresh = make((nbytes,), kind_of(dt.uint8, t._kind.device) if t._kind.meta else BYTE)
    if not t._kind.meta:
        old = memory(t)
        n = min(nbytes, old.size)
        fresh._buf[:n] = old[:n]
    t._buf, t._ptr, t._view = fresh._buf, fresh._ptr + offset, None


def on_cuda(t):
    """Whether a tensor's memory is a CUDA device's."""
    return not (t._kind.cpu or t._kind.meta)


def shown(t, values):
    """The elements of a storage as text, a line each; dots for those that there are none of."""
    return "...\n" if t._kind.meta else "".join([f" {x}\n" for x in values()])


def memory(t):
    """The bytes behind a CPU tensor as an array."""
    if t._kind.meta:
        raise NotImplementedError("Not available for 'meta' device type")
    if not t._kind.cpu:
        raise RuntimeError("the bytes of a CUDA storage are not on the host: use .cpu()")
    refuse("reads or writes memory without an operation")
    return t._buf.view(np.uint8)


class UntypedStorage:
    """Bytes: so many, uninitialised, or those of a sequence."""

    __slots__ = ("_tensor", "__dict__", "__weakref__")  # an object as large as PyTorch's, for programs that print sizes
    is_cuda = property(lambda self: on_cuda(self._tensor))
    is_sparse = is_sparse_csr = is_hpu = False
    filename = None

    def __init__(self, *args, device=None, _tensor=None):
        if _tensor is None:
            if len(args) > 1:
                raise TypeError("UntypedStorage() takes at most one argument: a number of bytes, or their values")
            first = args[0] if args else 0
            _tensor = make((first,), BYTE) if isinstance(first, int) else tensor(list(first), dtype=dt.uint8)
            _tensor = _tensor if device is None else _tensor.to(device=device)
        self._tensor = _tensor

    @staticmethod
    def from_file(filename, shared=False, nbytes=0):
        """The first bytes of a file, which is written to if ``shared``."""
        return UntypedStorage(_tensor=from_array(mapped(filename, shared, nbytes)))

    @property
    def _cdata(self):
        """A number that this memory alone has; all tensors on it have the same."""
        refuse("asks which memory this is, which is another in each call")
        return storage_address(self._tensor) or id(self._tensor)

    def data_ptr(self):
        """Address of the first byte."""
        refuse("reads the address of memory, which is another in each call")
        return 0 if self._tensor._kind.meta or not self.nbytes() else storage_address(self._tensor)

    def nbytes(self):
        """Number of bytes."""
        buf = self._tensor._buf
        return buf.size * buf.itemsize

    size = __len__ = nbytes

    def __sizeof__(self):
        """What ``sys.getsizeof`` asks for: the object with its bytes."""
        return super().__sizeof__() + self.nbytes()

    def element_size(self):
        return 1

    @property
    def device(self):
        return self._tensor.device

    def get_device(self):
        return self._tensor.get_device()

    def type(self, dtype=None, non_blocking=False):
        """The name of the class."""
        return f"torch.{'cuda.' if self.is_cuda else ''}storage.UntypedStorage"

    def tolist(self):
        return memory(self._tensor).tolist()

    def __iter__(self):
        return iter(self.tolist())

    def __getitem__(self, index):
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step != 1:
                raise RuntimeError(f"Trying to slice with a step of {step}, but only a step of 1 is supported")
            part = memory(self._tensor)[start:stop]
            place = storage_address(self._tensor) + start
            return UntypedStorage(_tensor=raw(part, place, part.size, part.shape, None, BYTE, [0]))
        if not isinstance(index, int):
            raise TypeError(f"can't index a torch.UntypedStorage with {type(index).__name__}")
        return int(memory(self._tensor)[index])

    def __setitem__(self, index, value):
        memory(self._tensor)[index] = value

    def fill_(self, value):
        if not self._tensor._kind.meta:
            memory(self._tensor)[:] = value
        return self

    def copy_(self, source, non_blocking=None):
        """Copy the bytes of another storage of the same size."""
        if self._tensor._kind.meta:
            return self
        if len(source) != len(self):
            raise RuntimeError("size does not match")
        memory(self._tensor)[:] = memory(source._tensor)
        return self

    def clone(self):
        if self._tensor._kind.meta:
            return UntypedStorage(self.nbytes(), device="meta")
        return UntypedStorage(_tensor=from_array(memory(self._tensor), copy=True))

    def untyped(self):
        """Itself, as it has no dtype."""
        return self

    def cpu(self):
        return self if self._tensor._kind.cpu else self._tensor.cpu().untyped_storage()

    def resize_(self, size):
        """Give the tensor it belongs to memory of so many bytes, with what was there."""
        regrow(self._tensor, size)
        return self

    def is_shared(self):
        """Whether the memory is that of a file which processes share."""
        from .shared import is_shared
        return is_shared(self._tensor)

    def share_memory_(self):
        """Move the tensor it belongs to into memory that processes share."""
        from .shared import share
        share(self._tensor)
        return self

    def is_pinned(self, device="cuda"):
        return False

    def __eq__(self, other):
        return isinstance(other, UntypedStorage) and (self is other or len(self) == len(other) and storage_address(
            self._tensor) == storage_address(other._tensor))

    __hash__ = object.__hash__

    def __repr__(self):
        return f"{shown(self._tensor, self.tolist)}[torch.storage.UntypedStorage(device={self.device}) of size {len(self)}]"

    def __reduce__(self):
        return _bytes, (memory(self._tensor).tobytes(),)

    def __deepcopy__(self, memo):
        return self.clone()


def _bytes(data):
    return UntypedStorage(_tensor=from_array(np.frombuffer(data, np.uint8), copy=True))


_said: list = []
OLD = ("TypedStorage is deprecated. It will be removed in the future and UntypedStorage will be the only storage class. This "
       "should only matter to you if you are using storages directly.  To access UntypedStorage directly, use "
       "tensor.untyped_storage() instead of tensor.storage()")


def _old():
    if not _said:
        _said.append(True)
        warnings.warn(OLD, UserWarning, stacklevel=user_level())


class TypedStorage:
    """Elements of a dtype in an ``UntypedStorage``."""

    is_sparse = False

    def __init__(self, *args, wrap_storage=None, dtype=None, device=None, _internal=False):
        if not _internal:
            _old()
        dtype = dt.get_default_dtype() if dtype is None else dtype
        if wrap_storage is None:
            first = args[0] if args else 0
            kind = kind_of(dtype)
            t = make((first,), kind) if isinstance(first, int) else tensor(list(first), dtype=dtype)
            wrap_storage = UntypedStorage(_tensor=t if device is None else t.to(device=device))
        self._untyped_storage, self.dtype = wrap_storage, dtype

    def untyped(self):
        """The bytes."""
        _old()
        return self._untyped_storage

    def _all(self):
        return on_storage(self._untyped_storage, self.dtype)

    def _values(self):
        if self._untyped_storage._tensor._kind.meta:
            memory(self._untyped_storage._tensor)
        return self._all()

    is_cuda = property(lambda self: self._untyped_storage.is_cuda)
    device = property(lambda self: self._untyped_storage.device)

    def data_ptr(self):
        _old()
        return self._untyped_storage.data_ptr()

    def nbytes(self):
        _old()
        return self._untyped_storage.nbytes()

    def __sizeof__(self):
        _old()
        return super().__sizeof__() + self._untyped_storage.nbytes()

    def element_size(self):
        _old()
        return self.dtype.itemsize

    def __len__(self):
        _old()
        return self._untyped_storage.nbytes() // self.dtype.itemsize

    size = __len__

    def tolist(self):
        _old()
        return self._values().tolist()

    def __iter__(self):
        return iter(self.tolist())

    def __getitem__(self, index):
        _old()
        if isinstance(index, slice):
            raise RuntimeError("slices are only supported in UntypedStorage.__getitem__")
        return self._values()[index].item()

    def __setitem__(self, index, value):
        _old()
        self._all()[index] = value

    def fill_(self, value):
        _old()
        self._all().fill_(value)
        return self

    def copy_(self, source, non_blocking=None):
        _old()
        self._all().copy_(source._all())
        return self

    def clone(self):
        _old()
        return TypedStorage(wrap_storage=self._untyped_storage.clone(), dtype=self.dtype, _internal=True)

    def cpu(self):
        _old()
        return TypedStorage(wrap_storage=self._untyped_storage.cpu(), dtype=self.dtype, _internal=True)

    def resize_(self, size):
        _old()
        self._untyped_storage.resize_(size * self.dtype.itemsize)
        return self

    def is_shared(self):
        return self._untyped_storage.is_shared()

    def share_memory_(self):
        self._untyped_storage.share_memory_()
        return self

    def type(self, dtype=None, non_blocking=False):
        """The name of the class that used to hold this dtype."""
        return f"torch.{'cuda.' if self.is_cuda else ''}{self.pickle_storage_type()}"

    def pickle_storage_type(self):
        _old()
        if self.dtype.name not in dt.CLASS_NAMES:
            raise KeyError(f"dtype {self.dtype} is not recognized")
        return dt.CLASS_NAMES[self.dtype.name] + "Storage"

    def _to(self, dtype):
        _old()
        return of_tensor(self._all().to(dtype=dtype, copy=True))

    def __eq__(self, other):
        return isinstance(other, TypedStorage) and self.dtype is other.dtype and self._untyped_storage == other._untyped_storage

    __hash__ = object.__hash__

    def __repr__(self):
        lines = shown(self._untyped_storage._tensor, self._all().tolist)
        return (f"{lines}[torch.storage.TypedStorage(dtype={self.dtype}, device={self.device}) of size "
                f"{self._untyped_storage.nbytes() // self.dtype.itemsize}]")

    def __reduce__(self):
        return _elements, (self._untyped_storage, self.dtype)

    def __deepcopy__(self, memo):
        return self.clone()


def _elements(untyped, dtype):
    return TypedStorage(wrap_storage=untyped, dtype=dtype, _internal=True)


for _name, _d in (("float", dt.float32), ("double", dt.float64), ("half", dt.float16), ("bfloat16", dt.bfloat16),
                  ("long", dt.int64), ("int", dt.int32), ("short", dt.int16), ("char", dt.int8), ("byte", dt.uint8),
                  ("bool", dt.bool_), ("complex_float", dt.complex64), ("complex_double", dt.complex128)):
    setattr(TypedStorage, _name, lambda self, _d=_d: self._to(_d))
for _class in (UntypedStorage, TypedStorage):
    _class.__module__ = "numbagrad.storage"


def of_tensor(t):
    """``Tensor.storage()``."""
    _old()
    return _elements(UntypedStorage(_tensor=t), t._kind.dtype)


def on_storage(storage, dtype, offset=0, shape=None, strides=None):
    """A tensor on the memory of an ``UntypedStorage``, all of it if nothing is said."""
    t, size = storage._tensor, dtype.itemsize
    shape = (storage.nbytes() // size - offset,) if shape is None else shape
    return raw(t._buf, storage_address(t) + offset * size, int(np.prod(shape, dtype=np.int64)), shape, strides,
               kind_of(dtype, t._kind.device), [0])


class _Legacy(type):
    """The classes of one dtype, which make a ``TypedStorage``."""

    def __call__(cls, *args, **kwargs):
        return TypedStorage(*args, dtype=cls.dtype, **kwargs)

    def from_file(cls, filename, shared=False, size=0):
        """The first elements of a file."""
        return _elements(UntypedStorage.from_file(filename, shared, size * cls.dtype.itemsize), cls.dtype)

    def __instancecheck__(cls, instance):
        return isinstance(instance, TypedStorage) and instance.dtype is cls.dtype and not instance.is_cuda


def __getattr__(name):
    for of, kind in dt.CLASS_NAMES.items():
        if name == kind + "Storage":
            made = globals()[name] = _Legacy(name, (), {"dtype": dt.BY_NAME[of], "__module__": "torch"})
            return made
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def is_storage(obj, /):
    """Whether ``obj`` is a storage, typed or not."""
    return isinstance(obj, (UntypedStorage, TypedStorage))


__all__ = ["TypedStorage", "UntypedStorage", "is_storage", "of_tensor", "on_storage", "regrow"]
