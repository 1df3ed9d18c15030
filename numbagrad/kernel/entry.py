"""What a cache file holds of a compiled function: plain text and machine code, and no pickle.

A pickle may call anything when it is read. Here a file can say only what the reader makes of it: plain values and types
of Numba from a fixed list, modules of Numba, of numbagrad or already imported, one function that starts Numba's threads.
A function that needs more than that is not stored.
"""

import functools
import importlib
import json
import struct
import sys

__all__ = ["dump", "load"]

# Bytes of the JSON header, the machine code and the bitcode; the annotated text is the rest.
_LENGTHS = struct.Struct("<3Q")
_SCALARS = ("none boolean int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 complex64 "
            "complex128").split()
_PACKAGES = ("numba", "numbagrad")


def dump(symbols, starters, parts):
    """Bytes of what ``link.reduce`` returns; TypeError when it holds something that a file cannot."""
    library, function, environment, signature, object_mode, lifted, note, starters_again, environments = parts
    if object_mode or lifted or list(starters_again) != list(starters) or signature.recvr or signature.pysig:
        raise TypeError("only functions compiled without Python objects are stored")
    label, (machine_code, bitcode, defined) = library
    header = json.dumps([
        symbols, [_starter_name(s) for s in starters], label, defined,
        [[slot, _value(getattr(function, slot))] for slot in _slots()],
        [_type(t) for t in (signature.return_type, *signature.args)],
        [[e.globals["__name__"], _value(e.consts), e.env_name] for e in (environment, *environments)],
    ]).encode()
    lengths = _LENGTHS.pack(len(header), len(machine_code), len(bitcode))
    return b"".join((lengths, header, machine_code, bitcode, note.encode()))


def load(data):
    """What ``link.rebuild`` needs, from the bytes that :func:`dump` made; some exception when they are something else."""
    from numba.core.environment import _rebuild_env
    from numba.core.typing.templates import Signature

    lengths = _LENGTHS.unpack_from(data)
    pieces, start = [], _LENGTHS.size
    for length in (*lengths, max(0, len(data) - start - sum(lengths))):
        pieces.append(bytes(data[start : start + length]))
        start += length
    if start != len(data):
        raise ValueError("the lengths do not add up")
    header, machine_code, bitcode, note = pieces
    symbols, starters, label, defined, function, (result, *args), environments = json.loads(header)
    starters = [_starters()[name] for name in starters]
    function = _descriptor(function)
    signature = Signature(_made_type(result), tuple(map(_made_type, args)), None)
    made = [_rebuild_env(_known_module(module), _made(consts), name) for module, consts, name in environments]
    library = label, (machine_code, bitcode, defined)
    return symbols, starters, (library, function, made[0], signature, False, (), note.decode(), starters, tuple(made[1:]))


# ---------------------------------------------------------------------------------------------------- Numba's objects


@functools.cache
def _starters():
    from numba.core.typed_passes import _reload_parfors

    return {"parfors": _reload_parfors}


def _starter_name(function):
    for name, known in _starters().items():
        if function is known:
            return name
    raise TypeError(f"{function} is not known to start anything")


@functools.cache
def _slots():
    from numba.core.funcdesc import FunctionDescriptor

    return FunctionDescriptor.__slots__


def _descriptor(values):
    from numba.core.funcdesc import PythonFunctionDescriptor

    self = PythonFunctionDescriptor.__new__(PythonFunctionDescriptor)
    for name, value in values:
        if name not in _slots():
            raise ValueError(f"{name} is no part of a function")
        setattr(self, name, _made(value))
    _known_module(self.modname)
    return self


def _known_module(name):
    # Numba imports the module when it links: a file must not choose one.
    if name not in sys.modules:
        if name.split(".")[0] not in _PACKAGES:
            raise ValueError(f"module {name} is not imported")
        importlib.import_module(name)
    return name


# ---------------------------------------------------------------------------------------------------- values and types


def _value(value):
    """A plain value or a type as JSON has it; tuples and types are marked."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        items = [_value(item) for item in value]
        return {"tuple": items} if isinstance(value, tuple) else items
    return {"type": _type(value)}


def _made(value):
    if isinstance(value, list):
        return [_made(item) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    return tuple(map(_made, content)) if kind == "tuple" else _made_type(content)


@functools.cache
def _scalars():
    from numba.core import types

    return {name: getattr(types, name) for name in _SCALARS}


def _type(value):
    """A scalar type as its name, a compound one as a list."""
    from numba.core import types

    for name, known in _scalars().items():
        if value is known:
            return name
    kind = type(value)
    if kind is types.CPointer and value.addrspace is None:
        return ["pointer", _type(value.dtype)]
    if kind is types.Array:
        return ["array", _type(value.dtype), value.ndim, value.layout, not value.mutable, value.aligned]
    if kind in (types.Tuple, types.UniTuple):
        return ["tuple", *map(_type, value.types)]
    raise TypeError(f"{value} is not stored")


def _made_type(content):
    from numba.core import types

    if isinstance(content, str):
        return _scalars()[content]
    kind, *rest = content
    if kind == "tuple":
        return types.Tuple([_made_type(item) for item in rest])
    element, *rest = rest
    if kind == "pointer":
        return types.CPointer(_made_type(element))
    dimensions, layout, read_only, aligned = rest
    return types.Array(_made_type(element), dimensions, layout, readonly=read_only, aligned=aligned)
