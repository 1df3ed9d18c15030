"""``save`` and ``load`` in PyTorch's file format, readable by either library.

The file is a zip archive, uncompressed: ``archive/data.pkl`` is a pickle in which every tensor is a call of
``torch._utils._rebuild_tensor_v2`` on a storage key, ``archive/data/<key>`` are the bytes of the storages (at multiples
of 64 in the file), ``archive/byteorder`` and ``archive/version`` say how to read them. Tensors that share a storage
share it again after loading.
"""

from __future__ import annotations

import codecs
import contextlib
import functools
import io
import os
import pickle
import pickletools
import struct
import sys
from collections import OrderedDict
from collections.abc import Callable
from types import FunctionType

import numpy as np

from .base.device import device
from .base.dtypes import dtype
from .base.overriding import DisableTorchFunction
from .core.storage import storage_address
from .core.tensor import Size, Tensor, raw
from .core.values import attributes
from .kernel.tape import refuse
from .saving import before_zip
from .saving.archive import ZIP_MAGIC, Archive, replacing, write_archive
from .saving.limits import shown
from .saving.names import (
    STORAGE_NAMES,
    add_safe_globals,
    allowed,
    clear_safe_globals,
    current_name,
    get_safe_globals,
    name_in_pytorch,
    permitted,
    safe_globals,
    table,
)
from .saving.options import (  # noqa: F401
    LoadEndianness,
    SourceChangeWarning,
    assumed_order,
    check_module_version_greater_or_equal,
    get_crc32_options,
    get_default_load_endianness,
    location_tag,
    mkdtemp,
    normalize_storage_type,
    set_crc32_options,
    set_default_load_endianness,
    validate_cuda_device,
)
from .saving.rebuild import Storage, normal_bools
from .saving.unpickling import Full, Restricted

__all__ = [
    "add_safe_globals",
    "clear_safe_globals",
    "default_restore_location",
    "get_safe_globals",
    "get_unsafe_globals_in_checkpoint",
    "load",
    "safe_globals",
    "save",
]
MAP_LOCATION = Callable[[Storage, str], Storage] | device | str | dict[str, str] | None


# ---------------------------------------------------------------------------------------------------------- saving


class _Global:
    """A name written as is: pickle itself would import PyTorch to check it."""

    def __init__(self, module, name):
        self.module, self.name = module, name

    def __call__(self):
        raise TypeError(f"{self.module}.{self.name} is a name in a file")


_global = functools.cache(_Global)


class _StorageRef:
    def __init__(self, key, dtype_name, location, numel):
        known = STORAGE_NAMES.get(dtype_name)
        place = _global("torch", known) if known else _global("torch.storage", "UntypedStorage")
        self.id = ("storage", place, key, location, numel)


class _Pickler(pickle._Pickler):
    """Pickler which writes tensors under PyTorch's names and collects their storages in `storages`."""

    # The Python pickler, because the C one insists on importing every global that it writes.
    def __init__(self, file, protocol, before=False):
        from .nn.parameter import Buffer, Parameter

        super().__init__(file, protocol)
        self.storages = []  # (key, elements, bytes)
        self._more = (None,) * before  # of an id in the format before zip: no storage is a part of another
        self._refs = {}
        self._parameter, self._buffer = Parameter, Buffer

    def save(self, obj, save_persistent_id=True):
        if type(obj) is dtype:
            obj = _global("torch", obj.name)
        elif isinstance(obj, (type, FunctionType)):
            place = name_in_pytorch(obj)
            obj = obj if place is None else _global(*place)
        if type(obj) is not _Global:
            super().save(obj, save_persistent_id)
        elif id(obj) in self.memo:
            self.write(self.get(self.memo[id(obj)][0]))
        else:
            self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode("ascii"))
            self.memoize(obj)

    def persistent_id(self, obj):
        return obj.id + self._more if type(obj) is _StorageRef else None

    def reducer_override(self, obj):
        if isinstance(obj, Tensor):
            if not type(obj).__reduce_ex__.__module__.startswith("numbagrad."):
                return NotImplemented  # a class that says itself how
            with DisableTorchFunction():
                return self._reduce_tensor(obj)
        if type(obj) is Size:
            return _global("torch", "Size"), (tuple(obj),)
        if type(obj) is device:
            return _global("torch", "device"), (obj.type,) if obj.index is None else (obj.type, obj.index)
        if type(obj) is bytes and not obj and self.proto < 3:
            # pickle would name the class `bytes`, which PyTorch's reader does not allow.
            return codecs.encode, ("", "latin1")
        return NotImplemented

    def _reduce_tensor(self, tensor):
        grad = tensor.requires_grad
        is_parameter = isinstance(tensor, self._parameter) and "_is_param" not in tensor.__dict__
        geometry = tuple(tensor.size()), tensor.stride(), grad and not is_parameter
        if tensor.is_meta:
            rebuild, args = _global("torch._utils", "_rebuild_meta_tensor_no_storage"), (tensor.dtype, *geometry)
        else:
            typed = tensor.dtype.name in STORAGE_NAMES
            rebuild = _global("torch._utils", "_rebuild_tensor_v2" if typed else "_rebuild_tensor_v3")
            args = (*self._storage(tensor), *geometry, OrderedDict(), *(() if typed else (tensor.dtype,)))
        state = attributes(tensor)
        if is_parameter:
            args = (_Reduced(rebuild, args), grad, OrderedDict())
            if not state:
                return _global("torch._utils", "_rebuild_parameter"), args
            return _global("torch._utils", "_rebuild_parameter_with_state"), (*args, state)
        cls = type(tensor)
        if cls is Tensor and not state:
            return rebuild, args
        if cls in (Tensor, self._buffer):
            # PyTorch's buffers are plain tensors with attributes.
            cls = _global("torch", "Tensor")
        return _global("torch._tensor", "_rebuild_from_type_v2"), (rebuild, cls, args, state)

    def _storage(self, tensor):
        """The tensor's storage, collected once, and the tensor's offset in it."""
        # Views of one storage may hold different array objects: the memory tells. An address is taken at most once,
        # because every storage stays alive until the pickle is written.
        name, location = tensor.dtype.name, str(tensor.device)
        key = location, storage_address(tensor), tensor._buf.nbytes
        if key not in self._refs or not tensor._buf.nbytes:
            buf = _storage_bytes(tensor)
            count = buf.nbytes // (tensor.element_size() if name in STORAGE_NAMES else 1)
            ref = _StorageRef(str(len(self.storages)), name, location, count)
            self._refs[key] = name, ref, tensor
            self.storages.append((str(len(self.storages)), count, buf))
        known, ref, _ = self._refs[key]
        if known != name:
            raise RuntimeError("Cannot save multiple tensors or storages that view the same data as different types")
        return ref, tensor.storage_offset()


class _Reduced:
    """Something that pickles as the call function(*args)."""

    def __init__(self, function, args):
        self._call = function, args

    def __reduce__(self):
        return self._call


def _storage_bytes(tensor):
    """The bytes of the tensor's whole storage, in CPU memory."""
    buf = tensor._buf
    if tensor.is_cuda:
        count = buf.nbytes // tensor.element_size()
        buf = raw(buf, buf.ptr, count, (count,), None, tensor._kind, [0]).cpu()._buf
    if not buf.flags.c_contiguous:
        # A strided NumPy array lent its memory: the storage is everything from its first to its last element.
        span = 1 + sum((n - 1) * step for n, step in zip(buf.shape, buf.strides, strict=True)) // buf.itemsize
        buf = np.lib.stride_tricks.as_strided(buf, (span,), (buf.itemsize,), writeable=False)
    return buf.reshape(-1).view(np.uint8)


def save(
    obj,
    f,
    pickle_module=pickle,
    pickle_protocol=2,
    _use_new_zipfile_serialization=True,
    _disable_byteorder_record=False,
):
    """Save an object with its tensors to a file which `load` and ``torch.load`` read.

    f: a path or an object with ``write``. A path is replaced in one step when everything is written, so a failure
    leaves the file that was there before. Raises what pickle raises for objects that cannot be pickled,
    RuntimeError when tensors of different dtypes share a storage or the folder does not exist.
    """
    refuse("writes a file, which replays would not")
    if pickle_module is not pickle:
        raise ValueError("save: only the standard pickle module is supported")
    is_path = isinstance(f, (str, os.PathLike))
    if not is_path and not hasattr(f, "write"):
        raise AttributeError("expected 'f' to be string, path, or a file-like object with a 'write' attribute")
    # The whole pickle exists before the first byte is written anywhere.
    data = io.BytesIO()
    pickler = _Pickler(data, pickle_protocol, not _use_new_zipfile_serialization)
    pickler.dump(obj)
    with replacing(f) if is_path else contextlib.nullcontext(f) as file:
        if _use_new_zipfile_serialization:
            _write_zip(file, data, pickler.storages, not _disable_byteorder_record)
        else:
            before_zip.write(file, data.getvalue(), pickler.storages, pickle_protocol)
        if not is_path and hasattr(file, "flush"):
            file.flush()  # whoever wraps a file may hand it on then


def _write_zip(file, data, storages, byteorder):
    records = [("data.pkl", data.getvalue())]
    if byteorder:
        records.append(("byteorder", sys.byteorder.encode()))
    records += [(f"data/{key}", buf) for key, _, buf in storages]
    records.append(("version", b"3\n"))
    write_archive(file, records)


# --------------------------------------------------------------------------------------------------------- loading


def _restore(storage, location, map_location):
    """The storage on the device that its tag and `map_location` ask for."""
    if isinstance(map_location, dict):
        location = map_location.get(location, location)
    elif callable(map_location):
        result = map_location(storage, location)
        if result is not None:
            return result.to(_checked(result.device))
    elif map_location is not None:
        location = map_location
    if str(location).split(":")[0] not in ("cpu", "cuda", "meta"):
        raise RuntimeError(f"don't know how to restore data location of a storage (tagged with {str(location)[:100]})")
    return storage.to(_checked(device(location)))


def default_restore_location(storage, location):
    """The storage of a checkpoint on the device that its tag names: what ``load`` does without a ``map_location``."""
    return _restore(storage, location, None)


def get_unsafe_globals_in_checkpoint(f):
    """Full names in a checkpoint that ``load(weights_only=True)`` refuses unless they are allowed first."""
    values, functions = table()
    with open(f, "rb") if isinstance(f, (str, os.PathLike)) else contextlib.nullcontext(f) as file:
        data = Archive(file, getattr(f, "name", str(f)), None).read("data.pkl")
    found, strings = set(), []
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name == "GLOBAL":
            module, name = argument.split(" ")
            found.add((module, name) if module == "exceptions" else current_name(module, name))  # (as PyTorch shows it)
        elif opcode.name == "STACK_GLOBAL":
            found.add(tuple(strings[-2:]))
        elif isinstance(argument, str):
            strings.append(argument)
    known = {*values, *functions, *allowed}
    return sorted([f"{module}.{name}" for module, name in found
                   if f"{module}.{name}" not in known and permitted(module, name, allowed) is None])


def _checked(target):
    """The device, with its index; raises RuntimeError when this machine does not have it."""
    target = device(target)
    if target.type != "cuda":
        return target
    from . import cuda

    if not cuda.is_available():
        raise RuntimeError(
            "Attempting to deserialize object on a CUDA device but torch.cuda.is_available() is False. If you are "
            "running on a CPU-only machine, please use torch.load with map_location=torch.device('cpu') to map your "
            "storages to the CPU."
        )
    index = cuda.current_device() if target.index is None else target.index
    if index >= cuda.device_count():
        raise RuntimeError(
            f"Attempting to deserialize object on CUDA device {index} but torch.cuda.device_count() is "
            f"{cuda.device_count()}. Please use torch.load with map_location to map your storages to an existing "
            "device."
        )
    return device("cuda", index)


def _storage_loader(archive, map_location):
    """The unpickler's function from a storage id to a Storage; every storage is read once."""
    order = archive.read("byteorder") if archive.has("byteorder") else assumed_order()
    if order not in (b"little", b"big"):
        raise ValueError(f"{archive.name}: Unknown endianness type: {shown(order)}")
    storages = {}

    def persistent_load(saved_id):
        if type(saved_id) is not tuple or len(saved_id) != 5 or saved_id[0] != "storage":
            kind = saved_id[0] if type(saved_id) is tuple and saved_id else saved_id
            raise pickle.UnpicklingError(f"unknown kind of data {shown(kind)}")
        _, element, key, location, numel = saved_id
        if type(element) is not dtype or type(key) is not str or type(location) is not str or type(numel) is not int:
            raise pickle.UnpicklingError(
                f"a storage has type {shown(element)}, key {shown(key)}, location {shown(location)}, "
                f"{shown(numel)} elements")
        if not 0 <= numel < 1 << 63:
            raise pickle.UnpicklingError(f"a storage has {shown(numel)} elements")
        if key not in storages:
            raw = archive.array(f"data/{key}", numel * element.itemsize)
            if raw.ctypes.data % element.itemsize:
                raw = raw.copy()
            buf = raw.view(element.np)
            if order.decode() != sys.byteorder:
                buf = buf.byteswap()
            if element.name == "bool":
                buf = normal_bools(buf)
            storages[key] = _restore(Storage(buf, element.name), location, map_location)
        return storages[key]

    return persistent_load


def load(f, map_location=None, pickle_module=None, *, weights_only=None, mmap=None, **pickle_load_args):
    """Load what `save` or ``torch.save`` has written.

    f: a path or a seekable file object. map_location: device, its name, a dictionary of names, or a function
    (storage, location) -> storage or None. weights_only: True (the default) reads tensors, plain data and what
    `add_safe_globals` allows, and executes nothing of the file; False unpickles any class, which can run any code, so
    use it only for files you trust. mmap: True maps the file (a path) into memory, privately: data are read when
    used, and without checking their sums.

    Raises RuntimeError for a broken archive, pickle.UnpicklingError for a file that is none or asks for names that
    are not allowed, EOFError for an empty file; each names the file.
    """
    refuse("reads a file, which may change between calls")
    weights_only = True if weights_only is None else bool(weights_only)
    if pickle_module is not None and pickle_module is not pickle:
        raise ValueError("load: only the standard pickle module is supported")
    if weights_only and pickle_module is not None:
        raise RuntimeError("Can not safely load weights when explicit pickle_module is specified")
    is_path = isinstance(f, (str, os.PathLike))
    if mmap and not is_path:
        raise ValueError("f must be a file path in order to use the mmap argument")
    if not is_path and not all(hasattr(f, name) for name in ("read", "seek", "tell")):
        raise AttributeError(f"{type(f).__name__!r} object cannot be read and seeked. You can only torch.load from a "
                             "file that is seekable. Please pre-load the data into a buffer like io.BytesIO and try "
                             "to load from it instead.")
    name = os.fspath(f) if is_path else getattr(f, "name", f"<{type(f).__name__}>")
    with open(f, "rb") if is_path else contextlib.nullcontext(f) as file:
        start = file.tell()
        magic = file.read(512)
        file.seek(start)
        if not magic:
            raise EOFError(f"{name}: the file is empty")
        if before_zip.MARK in magic:
            if mmap:
                raise RuntimeError("mmap can only be used with files saved with `torch.save(_use_new_zipfile_serialization="
                                   "True), please torch.save your checkpoint with this option in order to use mmap.")
            return _plain(_load_before_zip(file.read(), name, map_location, weights_only, pickle_load_args))
        if magic[257:262] == b"ustar":
            raise pickle.UnpicklingError(f"{name}: this is a tar archive, the format which PyTorch wrote before version "
                                         "0.1.10; load it with PyTorch and save it again")
        if not magic.startswith(ZIP_MAGIC):
            raise pickle.UnpicklingError(f"{name}: invalid magic number {magic[:4]!r}; this is not a checkpoint")
        archive = Archive(file, name, np.memmap(f, np.uint8, "c").view(np.ndarray) if mmap else None)
        loader = _storage_loader(archive, map_location)
        program = io.BytesIO(archive.read("data.pkl"))
        if not weights_only:
            return _plain(_trusted(name, Full(program, loader, **pickle_load_args).load))
        return _plain(_restricted(name, Restricted(program, loader, **pickle_load_args).load))


def _plain(loaded):
    """What was loaded; a storage, of which the file holds nothing else, as users know it."""
    return loaded.typed() if loaded.__class__ is Storage else loaded


def _load_before_zip(data, name, map_location, weights_only, options):
    """What a file of five pickles holds."""
    file = _restricted(name, lambda: before_zip.File(data))
    loader = file.loader(lambda storage, location: _restore(storage, location, map_location))
    reader = Restricted if weights_only else Full
    result = (_restricted if weights_only else _trusted)(name, reader(io.BytesIO(file.programs[3]), loader, **options).load)
    _restricted(name, file.fill)
    return result


def _trusted(name, load):
    """What the file makes when it may run anything: its errors are its own."""
    try:
        return load()
    except pickle.UnpicklingError as error:
        raise pickle.UnpicklingError(f"load failed: {name}: {error}") from error
    except EOFError as error:
        raise pickle.UnpicklingError(f"{name}: the pickle is corrupt: {error!r}") from error


def _restricted(name, load):
    """What the file holds; RuntimeError for tensors that cannot be, else pickle.UnpicklingError."""
    try:
        return load()
    except RecursionError as error:
        raise pickle.UnpicklingError(f"{name}: the pickle is nested too deeply") from error
    except RuntimeError as error:
        raise RuntimeError(str(error) if name in str(error) else f"{name}: {error}") from error
    except pickle.UnpicklingError as error:
        raise pickle.UnpicklingError(f"Weights only load failed: {name}: {error}") from error
    except (ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, TypeError, ValueError,
            struct.error) as error:
        # An error may hold a value of the file, which can take for ever to print.
        text = error.args[0] if error.args and isinstance(error.args[0], str) else ""
        raise pickle.UnpicklingError(f"{name}: the pickle is corrupt: {type(error).__name__}: {text[:300]}") from error
