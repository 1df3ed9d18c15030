"""Schemas of operators: what arguments they take and which of these they write to, as text and as objects."""

from __future__ import annotations

import re

import numpy as np

from ..base.device import device as Device
from ..base.dtypes import ALL, dtype
from ..core.tensor import Tensor

ARGUMENT = re.compile(r"(?P<type>\w+)(?:\((?P<alias>[^)]*)\))?(?P<more>[\[\]?\d]*)\s+(?P<name>\w+)(?:\s*=\s*(?P<default>.+))?$")
WORDS = {"True": True, "False": False, "None": None, **{str(d).removeprefix("torch."): d for d in ALL}}
PYTHON = {"SymInt": "int", "Scalar": "number", "ScalarType": "int", "bool": "bool"}


class Argument:
    """One argument, or one result, which has no name."""

    __slots__ = ("name", "type", "alias", "default", "has_default", "kwarg_only")

    def __init__(self, name, type, alias=None, default=None, has_default=False, kwarg_only=False):
        self.name, self.type, self.alias, self.default = name, type, alias, default
        self.has_default, self.kwarg_only = has_default, kwarg_only

    @property
    def is_write(self):
        """Whether the operator writes to it."""
        return self.alias is not None and self.alias.endswith("!")

    @property
    def of_tensors(self):
        return self.type.startswith("Tensor")

    def __str__(self):
        kind = self.type if self.alias is None else f"Tensor({self.alias}){self.type[6:]}"
        text = f"{kind} {self.name}" if self.name else kind
        return f"{text}={shown(self.default)}" if self.has_default else text


def shown(value):
    """A default as PyTorch's schemas print it."""
    if isinstance(value, float) and value.is_integer():
        return f"{int(value)}."
    if isinstance(value, (str, Device)):
        return f'"{value}"'
    return str(value).removeprefix("torch.")


class Schema:
    """The arguments and results of an operator."""

    __slots__ = ("name", "arguments", "returns")

    def __init__(self, name, arguments, returns):
        self.name, self.arguments, self.returns = name, arguments, returns

    @property
    def is_mutable(self):
        return any([a.is_write for a in self.arguments])

    def __str__(self):
        parts, star = [], False
        for a in self.arguments:
            if a.kwarg_only and not star:
                parts.append("*")
                star = True
            parts.append(str(a))
        results = [str(r) for r in self.returns]
        text = results[0] if len(results) == 1 else f"({', '.join(results)})"
        return f"{self.name}({', '.join(parts)}) -> {text}"

    def bind(self, args, kwargs):
        """(arguments by position, by keyword) of a call, defaults filled in, each of its type; RuntimeError as PyTorch's."""
        by_place = [a for a in self.arguments if not a.kwarg_only]
        if len(args) > len(by_place):
            raise RuntimeError(f"{self.name}() takes {len(by_place)} positional argument(s) but {len(args)} was/were given.  "
                               f"Declaration: {self}")
        left, placed, named = dict(kwargs), [], {}
        for i, a in enumerate(self.arguments):
            if not a.kwarg_only and i < len(args):
                value = args[i]
                if a.name in left:
                    raise RuntimeError(f"{self.name}() got multiple values for argument '{a.name}'. Declaration: {self}")
            elif a.name in left:
                value = left.pop(a.name)
            elif a.has_default:
                value = a.default
            else:
                raise RuntimeError(f"{self.name}() is missing value for argument '{a.name}'. Declaration: {self}")
            try:
                value = cast(a.type, value)
            except (TypeError, ValueError):
                raise RuntimeError(self._refusal(i, a, value)) from None
            if a.kwarg_only:
                named[a.name] = value
            else:
                placed.append(value)
        if left:
            raise RuntimeError(f"Unknown keyword argument '{next(iter(left))}' for operator '{self.name}'. Schema: {self}")
        return tuple(placed), named

    def shortened(self, args, kwargs):
        """The arguments of a call without the last ones that are as by default, as PyTorch's dispatcher hands them on."""
        args, places = list(args), [a for a in self.arguments if not a.kwarg_only]
        while args and places[len(args) - 1].has_default and same(args[-1], places[len(args) - 1].default):
            args.pop()
        defaults = {a.name: a.default for a in self.arguments if a.kwarg_only and a.has_default}
        return tuple(args), {n: v for n, v in kwargs.items() if n not in defaults or not same(v, defaults[n])}

    def _refusal(self, position, argument, value):
        cls = type(value)
        kind = "Tensor" if isinstance(value, Tensor) else cls.__name__
        why = f"Unable to cast {value!r} to Tensor" if argument.type == "Tensor" else (
            f"Unable to cast Python instance of type {cls} to C++ type '?' (#define PYBIND11_DETAILED_ERROR_MESSAGES or "
            "compile in debug mode for details)")
        return (f"{self.name}() Expected a value of type '{in_words(argument.type)}' for argument '{argument.name}' but "
                f"instead found type '{kind}'.\nPosition: {position}\nValue: {value!r}\nDeclaration: {self}\n"
                f"Cast error details: {why}")


def same(value, default):
    """Whether an argument is what it is by default."""
    return value is default or type(value) is type(default) and not isinstance(value, (Tensor, list)) and value == default


def in_words(kind):
    """A type of a schema as messages call it."""
    if kind.endswith("?"):
        return f"Optional[{in_words(kind[:-1])}]"
    if kind.endswith("]"):
        return f"List[{in_words(kind[:kind.rindex('[')])}]"
    return PYTHON.get(kind, kind)


def cast(kind, value):
    """A value as an argument of this type gets it; TypeError if it cannot be one."""
    if kind.endswith("?"):
        return None if value is None else cast(kind[:-1], value)
    if kind.endswith("]"):
        inner, size = kind[:-1].rsplit("[", 1)
        if size and not isinstance(value, (list, tuple)):
            return [cast(inner, value)] * int(size)
        if not isinstance(value, (list, tuple)):
            raise TypeError
        return [cast(inner, v) for v in value]
    return CASTS[kind](value)


def _tensor(value):
    if not isinstance(value, Tensor):
        raise TypeError
    return value


def _number(value, classes, of):
    if isinstance(value, Tensor) and value.numel() == 1:
        return of(value.item())
    if isinstance(value, (*classes, *((np.integer, np.bool_) if int in classes else ()), *(
            (np.floating,) if float in classes else ()))):
        return of(value)
    raise TypeError


def _of(cls):
    def check(value):
        if not isinstance(value, cls):
            raise TypeError
        return value
    return check


def _scalar(value):
    if isinstance(value, Tensor) and not value.dim():
        return value.item()
    return _of((int, float, complex, np.number))(value)


def _int(value):
    return _number(value, (int,), int)


CASTS = {"Tensor": _tensor, "int": _int, "SymInt": _int, "float": lambda v: _number(v, (int, float), float),
         "bool": _of((bool, np.bool_)), "str": _of(str), "Scalar": _scalar, "ScalarType": _of(dtype),
         "Device": lambda v: Device(v) if isinstance(v, (str, int)) else _of(Device)(v)}


def split(text):
    """The parts between commas that stand in no brackets."""
    parts, depth, start = [], 0, 0
    for i, c in enumerate(text):
        depth += (c in "([") - (c in ")]")
        if c == "," and not depth:
            parts.append(text[start:i])
            start = i + 1
    return [p.strip() for p in (*parts, text[start:]) if p.strip()]


def parse(text):
    """The ``Schema`` that a text says; RuntimeError if it is none."""
    head, arrow, tail = text.rpartition("->")
    name, bracket, inside = head.strip().partition("(")
    if not arrow or not bracket or not inside.endswith(")"):
        raise RuntimeError(f"expected a schema like 'name(Tensor x) -> Tensor', but got '{text}'")
    arguments, only = [], False
    for part in split(inside[:-1]):
        if part == "*":
            only = True
            continue
        found = ARGUMENT.match(part)
        if found is None or found["type"] not in CASTS:
            raise RuntimeError(f"'{part}' is no argument of a schema: {text}")
        default = found["default"]
        arguments.append(Argument(found["name"], found["type"] + found["more"], found["alias"],
                                  None if default is None else literal(default, found["type"]), default is not None, only))
    tail = tail.strip()
    results = split(tail[1:-1]) if tail.startswith("(") and tail.endswith(")") else [tail]
    return Schema(name.strip(), arguments, [result(r.removeprefix("(").removesuffix(")") if r[:1] == "(" else r)
                                            for r in results])


def result(text):
    """One result of a schema."""
    found = re.match(r"(\w+)(?:\(([^)]*)\))?([\[\]?\d]*)(?:\s+(\w+))?$", text)
    if found is None:
        raise RuntimeError(f"'{text}' is no result of a schema")
    return Argument(found[4], found[1] + found[3], found[2])


def literal(text, kind):
    """The value of a default in a schema."""
    text = text.strip()
    if text in WORDS:
        return WORDS[text]
    if text[:1] in "'\"":
        return Device(text[1:-1]) if kind == "Device" else text[1:-1]
    if text[:1] == "[":
        return [literal(t, kind) for t in split(text[1:-1])]
    return float(text) if kind == "float" or "." in text or "e" in text else int(text)
