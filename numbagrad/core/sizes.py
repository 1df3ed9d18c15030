"""``Tensor.shape`` and items of a ``Size`` by native code, where that can be had.

Both stand in nearly every line of user code. A tuple's items are CPython's own, but slices of a ``Size`` have to be one again,
so that the class needs a ``__getitem__``; written in Python it takes longer than all the rest. CPython puts a wrapper like
those of its own classes straight into the slots of the class, and asks a getter like its own without a Python call.
"""

from __future__ import annotations

import ctypes
import sys

from ..base.shapes import Size
from ..kernel import native, objects
from .metadata import Metadata
from .tensor import Tensor

LENGTH, ITEMS = 16, 24  # of a tuple
BASE = 40               # of a wrapper: what it wraps for Python, and how
SUBSCRIPT = 5           # the number of a type's function for items
TYPE = 8


class _Getter(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("get", ctypes.c_void_p), ("set", ctypes.c_void_p), ("doc", ctypes.c_char_p),
                ("more", ctypes.c_void_p)]


def _of_items(w, items):
    """A new Size with the items of a tuple."""
    n = w.load(items, LENGTH)
    out = w.made(w.call(objects.c_api("PyType_GenericAlloc"), id(Size), n))
    with w.each(n) as i:
        at = w.builder.add(w.builder.mul(i, w.value(8)), w.value(ITEMS))
        w.store(w.hold(w.load(items, at)), out, at)
    return out


def _shape():
    """The getter of ``Tensor.shape``."""
    w, slot = objects.Writer("shape"), "_shape"
    items = w.load(w.function.args[0], objects.slot(Tensor, slot))
    with w.builder.if_then(w.builder.icmp_signed("==", items, w.value(0)), likely=False):  # of an object that was not filled
        w.builder.ret(w.call(objects.c_api("PyObject_GetAttr"), w.function.args[0], id(slot)))
    return w.address(_of_items(w, items), (Size, slot))


def _item():
    """``size[i]``: a tuple's, but of slices a Size."""
    w = objects.Writer("size_item")
    size, index = w.function.args[:2]
    found = w.made(w.call(objects.type_slot(tuple, SUBSCRIPT), size, index))
    plain = w.builder.icmp_signed("!=", w.load(index, TYPE), w.value(id(slice)))
    with w.builder.if_then(plain, likely=True):
        w.builder.ret(found)
    out = _of_items(w, found)
    w.call(objects.c_api("Py_DecRef"), found)
    return w.address(out, (Size,))


def _described(maker, cls, *given):
    make = ctypes.pythonapi[maker]
    make.restype, make.argtypes = ctypes.py_object, [ctypes.py_object, *[ctypes.c_void_p] * len(given)]
    return make(cls, *given)


def _tried(shape, item):
    """Whether the native functions do what the ones in Python do, for objects that are then dropped."""
    t, big = object.__new__(Tensor), int("9" * 20)
    watched = (2, big, 3), big, Size
    for sizes in ((), watched[0]):
        before = [*map(sys.getrefcount, watched)]
        t._shape = sizes
        size = shape.__get__(t)
        if (size.__class__, tuple(size)) != (Size, sizes) or sys.getrefcount(size) != sys.getrefcount(t):
            return False
        for part in (slice(None), slice(1, None), slice(None, None, -1)):
            found = item(size, part)
            if (found.__class__, tuple(found)) != (Size, sizes[part]):
                return False
        if [item(size, i) for i in range(-len(sizes), len(sizes))] != [*sizes, *sizes]:
            return False
        try:
            return item(size, len(sizes)) is None
        except IndexError:
            t._shape = size = found = None
        if [*map(sys.getrefcount, watched)] != before:
            return False
    return True


def start(_peek):
    """Take the native functions, if this interpreter's objects are laid out as they expect."""
    if sys.implementation.name != "cpython" or ctypes.sizeof(ctypes.c_void_p) != 8 or not sys.version_info < (3, 14):
        return
    try:
        getter = _Getter(b"shape", _shape(), None, Metadata.shape.__doc__.encode(), None)
        objects._kept.append(getter)
        shape = _described("PyDescr_NewGetSet", Metadata, ctypes.addressof(getter))
        base = ctypes.c_void_p.from_address(id(tuple.__getitem__) + BASE).value
        item = _described("PyDescr_NewWrapper", Size, base, _item())
        if _tried(shape, item):
            Metadata.shape, Size.__getitem__ = shape, item
    except (AttributeError, KeyError, ImportError, OSError):
        return


def install():
    """Take them when Numba starts."""
    native.STARTS.append(start)
