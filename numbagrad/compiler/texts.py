"""Texts with numbers in them that change from call to call: f-strings, ``%``, ``format()`` and sums of these."""

from __future__ import annotations

import re
import string

from ..core.tensor import Tensor
from .symbols import Symbol, any_in, plain, settled

CONVERT = {-1: lambda x: x, 115: str, 114: repr, 97: ascii}


def number(x, form):
    """What a format of numbers is given for a tensor: its value."""
    return x.item() if form and isinstance(x, Tensor) and x._shape == () else x


def numbers(text, values, percent=False):
    """``values`` for the formats in a text, with numbers in the place of tensors where each format is one of numbers."""
    if not any([isinstance(v, Tensor) for v in values]):
        return values
    if re.search("%[-+ #0-9.*]*[sra]", text) if percent else not all([
            form for _, name, form, _ in string.Formatter().parse(text) if name is not None]):
        return values
    return values.__class__([number(v, True) for v in values])


def _first(values):
    return next(v for v in values if isinstance(v, Symbol))


def added(a, b):
    """``a + b``."""
    return _first((a, b)).numbers.make("({} + {})", plain(a) + plain(b), a, b)


def joined(parts):
    """The text of an f-string: ``parts`` are strings and (value, conversion, format) with symbols among them."""
    pieces, marks, operands = [], "", []
    for p in parts:
        if p.__class__ is not tuple:
            pieces.append(plain(p))
            marks += "{}, "
            operands.append(p)
            continue
        value, conversion, form = p
        if not isinstance(value, Symbol):
            value, conversion = CONVERT[conversion](settled(value)), -1
            value = format(value, settled(form))
            pieces.append(value)
            marks += "{}, "
            operands.append(value)
            continue
        pieces.append(format(CONVERT[conversion](plain(value)), plain(form)))
        shown = "{}" if conversion < 0 else f"{CONVERT[conversion].__name__}({{}})"
        marks += f"format({shown}, {{}}), "
        operands += [value, form]
    return _first(operands).numbers.make(f'"".join(({marks}))', "".join(pieces), *operands)


def formatted(text, args, kwargs):
    """``text.format(*args, **kwargs)``."""
    every = (*args, *kwargs.values())
    marks = ["{}"] * len(args) + [f"{k}={{}}" for k in kwargs]
    value = plain(text).format(*map(plain, args), **{k: plain(v) for k, v in kwargs.items()})
    return _first(every).numbers.make(f"{{}}.format({', '.join(marks)})", value, text, *every)


def percent(text, values):
    """``text % values``."""
    values = values if values.__class__ is tuple else (values,)
    if any([any_in(v) for v in values if v.__class__ in (tuple, list)]):
        return plain(text) % settled(values)
    marks = "".join(["{}, "] * len(values))
    return _first((text, *values)).numbers.make(f"({{}} % ({marks}))", plain(text) % tuple(map(plain, values)), text, *values)
