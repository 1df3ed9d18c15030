"""Tensors of two dimensions as Python's lists, by a native function once that has come often (``Tensor.tolist``)."""

from __future__ import annotations

import numpy as np

from ..kernel import objects
from . import replay
from .tensor import Tensor, from_array
from .values import LISTED, LISTS

# The dtypes for which that is done: how many bytes a number has, and CPython's function of a double or of a word.
NUMBERS = {"f4": (4, "PyFloat_FromDouble"), "f8": (8, "PyFloat_FromDouble"), "i4": (4, "PyLong_FromLongLong"),
           "i8": (8, "PyLong_FromLongLong")}


def make(kind):
    """Make the native function of a kind of tensors on the CPU, if it does what it should."""
    code = kind.dtype.code
    if code not in NUMBERS or not kind.cpu or not replay.POSSIBLE:
        return
    try:
        native = _native(code)
    except (AttributeError, ImportError, OSError):
        return
    some = np.array([[-1, 2, 3], [4, -5, 1 << 20]], code)
    if native(from_array(some)) == some.tolist():
        LISTS[kind] = native


def install():
    LISTED.append(make)


def _native(code):
    size, function = NUMBERS[code]
    w = objects.Writer("list")
    ir, b = w.ir, w.builder
    shape = w.load(w.argument(0), objects.slot(Tensor, "_shape"))
    address, count, length = [w.made(w.call(objects.c_api("PyNumber_AsSsize_t"), x, id(ValueError)), -1) for x in (
        w.load(w.argument(0), objects.slot(Tensor, "_ptr")), *[w.load(shape, objects.TUPLE_ITEMS + 8 * i) for i in range(2)])]
    stored = {"f4": ir.FloatType(), "f8": ir.DoubleType(), "i4": ir.IntType(32), "i8": w.word}[code]
    taken = ir.DoubleType() if code[0] == "f" else w.word
    number = b.inttoptr(w.value(objects.c_api(function)), ir.FunctionType(w.word, [taken]).as_pointer())
    outer = w.made(w.call(objects.c_api("PyList_New"), count))
    with w.each(count) as i:
        inner = w.made(w.call(objects.c_api("PyList_New"), length))
        items, first = w.load(inner, objects.LIST_ITEMS), b.mul(i, length)
        with w.each(length) as j:
            at = b.add(address, b.mul(b.add(first, j), w.value(size)))
            x = b.load(b.inttoptr(at, stored.as_pointer()), align=size)
            x = b.fpext(x, taken) if code == "f4" else b.sext(x, taken) if code == "i4" else x
            w.store(w.made(b.call(number, [x])), b.add(items, b.mul(j, w.value(8))))
        w.store(inner, b.add(w.load(outer, objects.LIST_ITEMS), b.mul(i, w.value(8))))
    return w.finish(outer, ())
