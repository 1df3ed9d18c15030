"""Reading PyTorch's pickles without executing them.

A pickle is a program: its GLOBAL opcode imports any name, REDUCE calls it, BUILD sets any attribute. `Restricted`
runs only the opcodes that build plain data, resolves names in a fixed table instead of importing them, calls only the
functions of that table, and sets attributes only on the few types where they are harmless. The table maps PyTorch's
names to numbagrad's own objects.
"""

from __future__ import annotations

import _compat_pickle
import collections
import contextlib
import functools
import importlib
import math
import operator
import pickle
import re

import numpy as np

from ..base.device import device
from ..base.dtypes import BY_NAME
from ..base.modes import no_grad
from ..core.tensor import Size, Tensor, from_storage
from .limits import Budget, check_depth, shown

__all__ = ["Full", "Restricted", "add_safe_globals", "clear_safe_globals", "get_safe_globals", "safe_globals"]

STORAGE_NAMES = {
    "float32": "FloatStorage",
    "float64": "DoubleStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "uint8": "ByteStorage",
    "int8": "CharStorage",
    "int16": "ShortStorage",
    "int32": "IntStorage",
    "int64": "LongStorage",
    "bool": "BoolStorage",
    "complex64": "ComplexFloatStorage",
    "complex128": "ComplexDoubleStorage",
}
# What Tensor keeps in its __dict__ beside the user's attributes.
INTERNAL_ATTRIBUTES = {"_numbagrad", "_inference"}
_MAX_RANK = 64
_BLOCKED_MODULES = {"sys", "os", "posix", "nt"}
_user_globals: dict[str, object] = {}


def _named(entries):
    """Full name -> object, for objects and (object, "full.name") pairs."""
    named = {}
    for entry in entries:
        value, name = entry if isinstance(entry, tuple) else (entry, f"{entry.__module__}.{entry.__qualname__}")
        if not isinstance(name, str):
            raise TypeError(f"Expected second item in tuple to be str of callable full path, but got: {type(name)}")
        named[name] = value
    return named


def add_safe_globals(safe_globals):
    """Allow classes or functions, given themselves or as (object, "full.name"), in ``load(weights_only=True)``."""
    _user_globals.update(_named(safe_globals))


def get_safe_globals():
    """Return the list of what `add_safe_globals` has allowed."""
    return list(_user_globals.values())


def clear_safe_globals():
    """Forget everything that `add_safe_globals` has allowed."""
    _user_globals.clear()


@contextlib.contextmanager
def safe_globals(safe_globals):
    """Context manager: allow the given classes and functions inside the block only."""
    before = dict(_user_globals)
    add_safe_globals(safe_globals)
    try:
        yield
    finally:
        clear_safe_globals()
        _user_globals.update(before)


class Storage:
    """The memory of one storage in a checkpoint; `map_location` functions receive and return it."""

    def __init__(self, buf, dtype_name, device="cpu"):
        self.buf, self.dtype_name, self.device = buf, dtype_name, device
        self._base, self._derived = None, {}

    def __len__(self):
        return len(self.buf)

    def to(self, device):
        """The same storage on the given device."""
        return self if str(device) == str(self.device) else Storage(self.buf, self.dtype_name, device)

    def cpu(self):
        """The same storage in CPU memory."""
        return self.to("cpu")

    def cuda(self, device=0):
        """The same storage on a GPU."""
        return self.to(f"cuda:{device}" if isinstance(device, int) else device)

    def tensor(self, offset, size, stride):
        """A tensor on this storage; raises RuntimeError when it would reach outside."""
        offset, size, stride = _index(offset), _sizes(size), _sizes(stride)
        if len(size) > _MAX_RANK:
            raise RuntimeError(f"a saved tensor has {len(size)} dimensions, more than {_MAX_RANK}")
        if len(size) != len(stride) or min((offset, *size, *stride)) < 0:
            raise RuntimeError(f"a saved tensor has sizes {list(size)}, strides {list(stride)}, offset {offset}")
        limit = (1 << 63) // self.buf.itemsize
        numel = math.prod(size)
        if numel >= limit or max((offset, *size, *stride)) >= limit:
            raise RuntimeError(f"numel: integer multiplication overflow of sizes {list(size)}, strides {list(stride)}, "
                               f"offset {offset}, itemsize {self.buf.itemsize}")
        span = 1 + offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) if numel else 0
        if span > len(self.buf):
            raise RuntimeError(
                f"setStorage: sizes {list(size)}, strides {list(stride)}, storage offset {offset}, and itemsize "
                f"{self.buf.itemsize} requiring a storage size of {span * self.buf.itemsize} are out of bounds for "
                f"storage of size {self.buf.nbytes}"
            )
        if str(self.device) == "cpu":
            return from_storage(self.buf, self.dtype_name, offset, size, stride)
        if self._base is None:
            # The whole storage moves once, so that tensors which shared memory still do.
            self._base = from_storage(self.buf, self.dtype_name, 0, (len(self.buf),), (1,)).to(self.device)
        with no_grad():
            return self._base.as_strided(size, stride, offset).detach()


    def derived(self, key, make):
        """A storage made from this one, once: any number of tensors can ask for it."""
        if key not in self._derived:
            buf, name = make()
            self._derived[key] = Storage(buf, name, self.device)
        return self._derived[key]


def _sizes(values):
    if not isinstance(values, (tuple, list)):
        raise RuntimeError(f"a saved tensor has sizes or strides of type {type(values).__name__}")
    return tuple(map(_index, values))


def _index(value):
    if not isinstance(value, int) or value.bit_length() > 64:
        raise RuntimeError(f"a saved tensor has {shown(value)} among its sizes, strides and offset"
                           + " (Overflow when unpacking long)" * isinstance(value, int))
    return operator.index(value)


def _rebuild_tensor(storage, offset, size, stride, requires_grad=False, hooks=None, metadata=None):
    if type(storage) is not Storage:
        raise pickle.UnpicklingError(f"a tensor cannot lie in {shown(storage)}")
    # PyTorch conjugates and negates complex views by a flag on the same memory; here the memory gets the values.
    for flag, operation in (("conj", np.conj), ("neg", np.negative)):
        if metadata and metadata.get(flag):
            storage = storage.derived(flag, lambda: (operation(storage.buf), storage.dtype_name))  # noqa: B023
    result = storage.tensor(offset, size, stride)
    return result.requires_grad_() if requires_grad else result


def _rebuild_tensor_v3(storage, offset, size, stride, requires_grad, hooks, dtype, metadata=None):
    if type(storage) is not Storage or type(dtype) is not type(BY_NAME["uint8"]):
        raise pickle.UnpicklingError(f"a tensor of type {shown(dtype)} cannot lie in {shown(storage)}")

    def make():
        buf = storage.buf.view(dtype.np)
        return normal_bools(buf.copy()) if dtype.name == "bool" else buf, dtype.name

    typed = storage.derived(dtype.name, make)
    return _rebuild_tensor(typed, offset, size, stride, requires_grad, hooks, metadata)


def _size(values=()):
    return Size(_sizes(values))


def _rebuild_parameter(data, requires_grad, hooks):
    from ..nn.parameter import Parameter

    if not isinstance(data, Tensor):
        raise pickle.UnpicklingError(f"a parameter cannot be made of {shown(data)}")
    return Parameter(data, bool(requires_grad))


def _rebuild_parameter_with_state(data, requires_grad, hooks, state):
    return _set_attributes(_rebuild_parameter(data, requires_grad, hooks), state)


def _rebuild_from_type(rebuild, cls, args, state):
    from ..nn.parameter import Parameter

    if not any(rebuild is known for known in _REBUILDS):
        raise pickle.UnpicklingError(f"a tensor cannot be rebuilt by {shown(rebuild)}")
    result = rebuild(*args)
    if cls not in (Tensor, Parameter, type(result)):
        result = result.as_subclass(cls)
    return _set_attributes(result, state)


_REBUILDS = _rebuild_tensor, _rebuild_tensor_v3, _rebuild_parameter, _rebuild_parameter_with_state


def _set_attributes(obj, state):
    """Set user attributes; a name that the class knows (a method, an internal slot) or keeps to itself is refused."""
    state, slots = state if isinstance(state, tuple) else (state, None)
    for name, value in {**(state or {}), **(slots or {})}.items():
        if not isinstance(name, str) or name in INTERNAL_ATTRIBUTES or hasattr(type(obj), name):
            raise pickle.UnpicklingError(f"attribute {shown(name)} of a {type(obj).__name__} cannot be set by a checkpoint")
        setattr(obj, name, value)
    return obj


def _encode(text, encoding):
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"bytes in an unknown encoding {shown(encoding)}")
    return text.encode("latin1")


def _bytes():
    return b""


def _bytearray(text=b"", encoding=None):
    if encoding is None and not isinstance(text, bytes):
        raise pickle.UnpicklingError("a bytearray is rebuilt from bytes only")
    return bytearray(text if encoding is None else _encode(text, encoding))


@functools.cache
def _table():
    """What names mean: (values, functions), each by PyTorch's full name."""
    from ..nn.parameter import Parameter

    values = {"torch.Tensor": Tensor, "torch.nn.parameter.Parameter": Parameter}
    values["torch.storage.UntypedStorage"] = BY_NAME["uint8"]
    for name, storage in STORAGE_NAMES.items():
        values[f"torch.{name}"] = values[f"torch.{storage}"] = BY_NAME[name]
    functions = {
        "torch._utils._rebuild_tensor": _rebuild_tensor,
        "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
        "torch._utils._rebuild_tensor_v3": _rebuild_tensor_v3,
        "torch._utils._rebuild_parameter": _rebuild_parameter,
        "torch._utils._rebuild_parameter_with_state": _rebuild_parameter_with_state,
        "torch._tensor._rebuild_from_type_v2": _rebuild_from_type,
        "torch.Size": _size,
        "torch.device": device,
        "collections.OrderedDict": collections.OrderedDict,
        "collections.Counter": collections.Counter,
        "builtins.set": set,
        "builtins.frozenset": frozenset,
        "builtins.complex": complex,
        "builtins.bytearray": _bytearray,
        # How protocol 2 spells b"", and nothing else.
        "builtins.bytes": _bytes,
        "_codecs.encode": _encode,
    }
    return values, functions


def _current_name(module, name):
    """Python 3's place of a name which a pickle of protocol 2 gives as Python 2's."""
    if (module, name) in _compat_pickle.NAME_MAPPING:
        return _compat_pickle.NAME_MAPPING[module, name]
    return _compat_pickle.IMPORT_MAPPING.get(module, module), name


_HASHING = (set, frozenset, collections.Counter, collections.OrderedDict)
# What a call copies, however often it is made with the same value.
_COPIED = (str, bytes, bytearray, tuple, list, dict, set, frozenset)
_UNSUPPORTED = {
    "_rebuild_sparse_tensor": "sparse tensors", "_rebuild_sparse_csr_tensor": "sparse tensors",
    "_rebuild_qtensor": "quantized tensors", "_rebuild_nested_tensor": "nested tensors",
    "_rebuild_wrapper_subclass": "subclasses of Tensor without memory of their own",
    "_rebuild_meta_tensor_no_storage": "tensors on the meta device",
    "_rebuild_device_tensor_from_numpy": "tensors of other devices",
    "_rebuild_device_tensor_from_cpu_tensor": "tensors of other devices",
}


def _refuse_unsupported(name):
    """pickle.UnpicklingError for names of PyTorch that only stand for something which numbagrad does not have."""
    what = _UNSUPPORTED.get(name)
    if name.endswith("Storage") or re.fullmatch("(float|bfloat|complex|u?int|bits|q?u?int)[0-9a-z_]*", name):
        what = f"the dtype of {name}"
    if what:
        raise pickle.UnpicklingError(f"the file holds {what} (torch name {name}), which numbagrad does not support")


class _Opcodes(dict):
    def __missing__(self, code):
        raise pickle.UnpicklingError(f"Unsupported operand {code}")


class Restricted(pickle._Unpickler):
    """Unpickler of tensors and plain data; raises pickle.UnpicklingError for anything else."""

    # The Python unpickler, because the C one runs every opcode.
    dispatch = _Opcodes(
        (getattr(pickle, name)[0], pickle._Unpickler.dispatch[getattr(pickle, name)[0]])
        for name in (
            "PROTO FRAME STOP MARK POP POP_MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 LONG4 BINFLOAT "
            "BINUNICODE SHORT_BINUNICODE BINUNICODE8 SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8 EMPTY_LIST "
            "EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_DICT EMPTY_SET FROZENSET BINGET LONG_BINGET BINPUT "
            "LONG_BINPUT MEMOIZE GLOBAL STACK_GLOBAL BINPERSID"
        ).split()
    )

    def __init__(self, file, persistent_load, encoding="utf-8"):
        super().__init__(file, encoding=encoding)
        self._size = len(file.getbuffer())
        self._budget = Budget(self._size)
        self.persistent_load = persistent_load
        self._values, self._functions = _table()
        self._user = dict(_user_globals)

    def load(self):
        result = super().load()
        # Each level takes a byte at least.
        if self._size > 1000:
            check_depth(result)
        return result

    def find_class(self, module, name):
        if type(module) is not str or type(name) is not str or len(module) + len(name) > 1000:
            raise pickle.UnpicklingError(f"a global has the name {shown(module)}, {shown(name)}")
        module, name = _current_name(module, name)
        full = f"{module}.{name}"
        if module in _BLOCKED_MODULES:
            raise pickle.UnpicklingError(
                f"Trying to load unsupported GLOBAL {full} whose module {module} is blocked."
            )
        for known in (self._values, self._functions, self._user):
            if full in known:
                return known[full]
        if full.startswith("torch."):
            _refuse_unsupported(name)
        short = full.removeprefix("builtins.")
        raise pickle.UnpicklingError(
            f"Unsupported global: GLOBAL {short} was not an allowed global by default. If you trust the file, allow it "
            f"with `torch.serialization.add_safe_globals([{short}])` or load with `weights_only=False`."
        )

    def _is_user(self, value):
        return any(value is allowed for allowed in self._user.values())

    def _reduce(self):
        args, function = self.stack.pop(), self.stack[-1]
        if not any(function is allowed for allowed in self._functions.values()) and not self._is_user(function):
            raise pickle.UnpicklingError(f"Trying to call reduce for unrecognized function {shown(function)}")
        if type(args) is not tuple:
            raise pickle.UnpicklingError(f"{shown(function)} is called with {shown(args)} for arguments")
        for arg in args:
            if isinstance(arg, _COPIED):
                self._budget.charge(len(arg))
        if function in _HASHING and args and isinstance(args[0], (tuple, list, set, frozenset)):
            for item in args[0]:
                self._budget.key(item)
        self.stack[-1] = function(*args)

    def _newobj(self):
        args, cls = self.stack.pop(), self.stack.pop()
        if not self._is_user(cls):
            raise pickle.UnpicklingError(
                f"Can only create new object for classes allowlisted via `add_safe_globals` but got {shown(cls)}"
            )
        self.append(cls.__new__(cls, *args))

    def _build(self):
        target = self.stack[-2]
        if self._is_user(type(target)):
            self.load_build()
        elif type(target) is collections.OrderedDict:
            state = self.stack.pop()
            # Setting an attribute takes as long as visiting several items.
            self._budget.charge(8 * len(state) if isinstance(state, dict) else 1)
            _set_attributes(target, state)
        else:
            raise pickle.UnpicklingError(f"Can only set the state of an OrderedDict, but got {type(target)}")

    def _expect(self, position, kind):
        if not isinstance(self.stack[position], kind):
            raise pickle.UnpicklingError(f"Can only add items to a {kind.__name__}, got {type(self.stack[position])}")

    def _append(self):
        self._expect(-2, list)
        self.load_append()

    def _setitem(self):
        self._expect(-3, dict)
        self._budget.key(self.stack[-2])
        self.load_setitem()

    def _many(self, kind):
        items = self.pop_mark()
        self._expect(-1, kind)
        target = self.stack[-1]
        for key in () if kind is list else items[::2] if kind is dict else items:
            self._budget.key(key)
        if kind is dict:
            target.update(zip(items[::2], items[1::2], strict=True))
        else:
            (target.extend if kind is list else target.update)(items)

    def _frozenset(self):
        items = self.pop_mark()
        for item in items:
            self._budget.key(item)
        self.append(frozenset(items))

    def _global_from_stack(self):
        name, module = self.stack.pop(), self.stack.pop()
        self.append(self.find_class(module, name))

    dispatch[pickle.FROZENSET[0]] = _frozenset
    dispatch[pickle.STACK_GLOBAL[0]] = _global_from_stack
    dispatch[pickle.REDUCE[0]] = _reduce
    dispatch[pickle.NEWOBJ[0]] = _newobj
    dispatch[pickle.BUILD[0]] = _build
    dispatch[pickle.APPEND[0]] = _append
    dispatch[pickle.SETITEM[0]] = _setitem
    dispatch[pickle.APPENDS[0]] = functools.partial(_many, kind=list)
    dispatch[pickle.SETITEMS[0]] = functools.partial(_many, kind=dict)
    dispatch[pickle.ADDITEMS[0]] = functools.partial(_many, kind=set)


class Full(pickle.Unpickler):
    """Ordinary unpickler (it runs what the file says) which finds numbagrad's objects under PyTorch's names."""

    def __init__(self, file, persistent_load, **kwargs):
        super().__init__(file, **kwargs)
        self._load = persistent_load

    def persistent_load(self, saved_id):
        return self._load(saved_id)

    def find_class(self, module, name):
        full = "{}.{}".format(*_current_name(module, name))
        for known in _table():
            # Python's own names need no stand-in here.
            if full in known and full.startswith("torch"):
                return known[full]
        if module.split(".")[0] == "torch":
            return _translated(module, name)
        return super().find_class(module, name)


def _translated(module, name):
    """The numbagrad object called `name` in the module of PyTorch's name, or in the nearest package above it."""
    parts = ["numbagrad", *module.split(".")[1:]]
    while parts:
        with contextlib.suppress(ModuleNotFoundError, AttributeError):
            return operator.attrgetter(name)(importlib.import_module(".".join(parts)))
        parts.pop()
    raise AttributeError(f"numbagrad has no counterpart of {module}.{name}")


def normal_bools(buf):
    """Make every byte of a bool array 0 or 1: a kernel may rely on it, and a file can hold anything."""
    raw = buf.view(np.uint8)
    if raw.size and raw.max() > 1:
        np.minimum(raw, 1, out=raw)
    return buf
