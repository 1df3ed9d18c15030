"""Text that pins what the compiled code of a Python function depends on, the same in every process.

Numba compiles bytecode, so bytecode, not source, is what is recorded: it exists for generated functions too, does not
change with comments, and reading it takes microseconds where ``inspect.getsource`` takes milliseconds. The Python
version, on which bytecode depends, is part of every cache key.
"""

import dis
import enum
import functools
import hashlib
import types

import numpy as np

# Named by path only: their versions are in the cache key, or the interpreter's is.
_VERSIONED = ("numba", "numpy", "llvmlite", "math", "cmath", "builtins", "operator", "scipy")
_ABSENT = object()


def fingerprint(pyfunc, overrides=None):
    """Text that changes when the code `pyfunc` compiles to may change, and only then.

    It covers bytecode, defaults, annotations and closure of the function and, recursively, every global that its code
    names: Python functions, Numba dispatchers, intrinsics, modules' members and constants. `overrides` gives values
    that stand for globals of those names. TypeError for a global that is none of these.
    """
    writer = _Writer(dict(overrides or {}))
    writer.function(getattr(pyfunc, "py_func", pyfunc))
    return "\n".join(writer.lines)


def callees(pyfunc):
    """The Numba dispatchers that a Python function names, directly or as members of modules."""
    names, attributes = _names(pyfunc.__code__)
    values = [pyfunc.__globals__.get(name) for name in names]
    for module in [v for v in values if isinstance(v, types.ModuleType)]:
        values += [getattr(module, name, None) for name in attributes]
    for cell in pyfunc.__closure__ or ():
        values.append(cell.cell_contents)
    return [v for v in values if isinstance(getattr(v, "py_func", None), types.FunctionType)]


@functools.cache
def _code_text(code):
    constants = [_code_text(c) if isinstance(c, types.CodeType) else _constant(c) for c in code.co_consts]
    exceptions = getattr(code, "co_exceptiontable", b"")
    return (
        f"code({code.co_argcount},{code.co_posonlyargcount},{code.co_kwonlyargcount},{code.co_flags},"
        f"{code.co_code.hex()},{exceptions.hex()},[{','.join(constants)}],{code.co_names},{code.co_varnames},"
        f"{code.co_freevars},{code.co_cellvars})"
    )


@functools.cache
def _names(code):
    """(globals read, attributes read) by the code and the functions nested in it, each sorted."""
    read, attributes = set(), set()
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            read.add(step.argval)
        elif step.opname in ("LOAD_ATTR", "LOAD_METHOD"):
            attributes.add(step.argval)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            inner_read, inner_attributes = _names(constant)
            read.update(inner_read)
            attributes.update(inner_attributes)
    return sorted(read), sorted(attributes)


def _constant(value):
    """Text of a simple constant; TypeError when it is none."""
    if value is None or value is Ellipsis or isinstance(value, (bool, int, str, bytes)):
        return f"{type(value).__name__}:{value!r}"
    if isinstance(value, enum.Enum):
        return f"{type(value).__qualname__}.{value.name}={value.value!r}"
    if isinstance(value, np.generic):
        return f"{value.dtype.str}:{value.tobytes().hex()}"
    if isinstance(value, float):
        return f"float:{value.hex()}"
    if isinstance(value, complex):
        return f"complex:{value.real.hex()},{value.imag.hex()}"
    if isinstance(value, (tuple, list)):
        return f"{type(value).__name__}({','.join(map(_constant, value))})"
    if isinstance(value, (set, frozenset)):
        return f"set({','.join(sorted(map(_constant, value)))})"
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return f"array:{value.dtype.str}{value.shape}{value.flags.f_contiguous}{digest}"
    if isinstance(value, np.dtype):
        return f"dtype:{value.str}"
    raise TypeError(f"cannot fingerprint a {type(value).__name__}")


def _path(value):
    """Dotted path of something that belongs to a package whose version is in the key, else None."""
    module = getattr(value, "__module__", None) or getattr(type(value), "__module__", "")
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    if isinstance(module, str) and module.split(".")[0] in _VERSIONED and isinstance(name, str):
        return f"{module}.{name}"
    return None


class _Writer:
    def __init__(self, overrides):
        self.overrides = overrides
        self.lines = []
        self.seen = {}

    def function(self, fn):
        """Write `fn` and what it names, once; returns its number in the text."""
        number = self.seen.get(id(fn))
        if number is not None:
            return number
        number = self.seen[id(fn)] = len(self.seen)
        notes = ",".join(f"{k}:{v if isinstance(v, str) else repr(_path(v) or v)}" for k, v in _annotations(fn).items())
        defaults = ",".join(self.value(v, "default") for v in fn.__defaults__ or ())
        keywords = ",".join(f"{k}={self.value(v, k)}" for k, v in sorted((fn.__kwdefaults__ or {}).items()))
        closure = zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True)
        cells = [self.value(cell.cell_contents, name) for name, cell in closure]
        names, attributes = _names(fn.__code__)
        uses = []
        for name in names:
            value = self.overrides.get(name, fn.__globals__.get(name, _ABSENT))
            if value is not _ABSENT:
                uses.append(f"{name}={self.value(value, name, attributes)}")
        parts = (f"({notes})", f"({defaults})", f"({keywords})", f"({','.join(cells)})", f"{{{';'.join(uses)}}}")
        self.lines.append(f"#{number} {_code_text(fn.__code__)} {' '.join(parts)}")
        return number

    def value(self, value, name, attributes=()):
        """Text of one value that a function refers to."""
        try:
            return _constant(value)
        except TypeError:
            pass
        if isinstance(value, types.ModuleType):
            if value.__name__.split(".")[0] in _VERSIONED:
                return f"module:{value.__name__}"
            # Of another module only the members that the code may touch matter.
            members = [(a, getattr(value, a)) for a in attributes if hasattr(value, a)]
            return f"module:{value.__name__}({','.join(f'{a}={self.value(v, a, attributes)}' for a, v in members)})"
        inner = getattr(value, "py_func", None) or getattr(value, "_defn", None)
        if isinstance(inner, types.FunctionType):
            given = getattr(value, "targetoptions", {})
            options = ",".join(sorted(f"{k}={_option(v)}" for k, v in given.items() if k != "cache"))
            return f"{type(value).__name__}#{self.function(inner)}({options})"
        path = _path(value)
        if path is not None:
            return f"path:{path}"
        if isinstance(value, types.FunctionType):
            return f"function#{self.function(value)}"
        kind = type(value)
        if kind.__module__.split(".")[0] in _VERSIONED and " at 0x" not in str(value):
            # Numba types, external functions and the like print what they are.
            return f"{kind.__module__}.{kind.__qualname__}:{value}"
        raise TypeError(
            f"cannot fingerprint global {name!r} of type {kind.__name__}: a kernel may name functions, "
            "modules, types and constants"
        )


def _annotations(fn):
    try:
        return dict(fn.__annotations__)
    except NameError:
        # Python 3.14 evaluates annotations on access; unknown names are no dependency of the code.
        return {}


def _option(value):
    return repr(sorted(map(str, value))) if isinstance(value, (set, frozenset)) else repr(value)
