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

# Bytes of the JSON header, the machine code and the bitcode.
_LENGTHS = struct.Struct("<3Q")
_SCALARS = ("none boolean int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 complex64 "
            "complex128").split()
_NOTE = "(the annotated source is not kept in the kernel cache)"
_PACKAGES = ("numba", "numbagrad")


def dump(symbols, starters, parts):
    """Bytes of what ``link.reduce`` returns; TypeError when it holds something that a file cannot."""
    # The annotated source, a third of all bytes, is not kept.
    library, function, environment, signature, object_mode, lifted, _, starters_again, environments = parts
    if object_mode or lifted or list(starters_again) != list(starters) or signature.recvr or signature.pysig:
        raise TypeError("only functions compiled without Python objects are stored")
    label, (machine_code, bitcode, defined) = library
    environments = environment, *environments
    header = json.dumps([
        _joined(symbols), _joined(defined), label, [_starter_name(s) for s in starters],
        {slot: _value(getattr(function, slot)) for slot in sorted(_slots())},
        [_type(t) for t in (signature.return_type, *signature.args)],
        _joined(e.env_name for e in environments), _joined(e.globals["__name__"] for e in environments),
        [_value(e.consts) for e in environments],
    ]).encode()
    lengths = _LENGTHS.pack(len(header), len(machine_code), len(bitcode))
    return b"".join((lengths, header, machine_code, bitcode))


def load(data):
    """What ``link.rebuild`` needs, from the bytes that :func:`dump` made; some exception when they are something else."""
    from numba.core.environment import _rebuild_env
    from numba.core.typing.templates import Signature

    lengths = _LENGTHS.unpack_from(data)
    if _LENGTHS.size + sum(lengths) != len(data):
        raise ValueError("the lengths do not add up")
    pieces, start = [], _LENGTHS.size
    for length in lengths:
        pieces.append(bytes(data[start : start + length]))
        start += length
    header, machine_code, bitcode = pieces
    symbols, defined, label, starters, function, (result, *args), names, modules, constants = json.loads(header)
    symbols, defined, names, modules = map(str.splitlines, (symbols, defined, names, modules))
    starters = [_starters()[name] for name in starters]
    function = _descriptor(function)
    signature = Signature(_made_type(result), tuple(map(_made_type, args)), None)
    for module in set(modules):
        _known_module(module)
    environment, *others = map(_rebuild_env, modules, map(_made, constants), names)
    library = label, (machine_code, bitcode, defined)
    return symbols, starters, (library, function, environment, signature, False, (), _NOTE, starters, tuple(others))


def _joined(names):
    # One long text is read in a tenth of the time of a list.
    return "\n".join(names)


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

    return frozenset(FunctionDescriptor.__slots__)


def _descriptor(values):
    from numba.core.funcdesc import PythonFunctionDescriptor

    if values.keys() != _slots():
        raise ValueError("these are not the parts of a function")
    self = PythonFunctionDescriptor.__new__(PythonFunctionDescriptor)
    for name, value in values.items():
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


_PLAIN = (type(None), bool, int, float, str)


def _value(value):
    """A plain value, a type or several of one kind as JSON has it; tuples and types are marked."""
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, (list, tuple)) and all(isinstance(item, _PLAIN) for item in value):
        return list(value) if isinstance(value, list) else {"tuple": value}
    return {"types": list(map(_type, value))} if isinstance(value, tuple) else {"type": _type(value)}


def _made(value):
    if type(value) is not dict:
        return value
    ((kind, content),) = value.items()
    if kind == "tuple":
        return tuple(content)
    return _made_type(content) if kind == "type" else tuple(map(_made_type, content))


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
