"""The things that every call makes, by native code where that can be had: a tensor on new memory, a view, a node.

``tensor(n, storage, shape, kind)`` is a new uninitialised row-major tensor outside the graph; ``share(input, address, n, shape,
strides, base, version, mode)`` is a view on the memory of ``input``, whose history begins at ``base``; ``record(out,
node_class, following, saved, ctx)`` gives a tensor a node, ``number(out, node, index)`` its place among the results of one;
``clear(input, itemsize)`` sets a row-major tensor to zero, if nothing of it is recorded. They stand for the
lines in plain Python below, which run where the interpreter lays its objects out in another way.
"""

from __future__ import annotations

import ctypes
import functools
import sys

import numpy as np

from ..kernel import native, objects
from . import storage
from . import tensor as tensors
from .graph import Node, Output, View, sequence
from .tensor import Tensor

new = object.__new__
EMPTY, ZEROS = 184, 183  # PyArray_Empty and PyArray_Zeros in NumPy's C interface


def plain_tensor(n, storage_, shape, kind):
    """A new uninitialised row-major tensor outside of the graph."""
    buf = np.empty(n, storage_)
    out = new(Tensor)
    out._buf, out._ptr, out._n, out._shape, out._strides, out._kind = buf, storage.address(buf), n, shape, None, kind
    out._ver, out._grad, out._view, out._rg, out._node = [0], None, None, False, None
    return out


def plain_share(input, address, n, shape, strides, base, version, mode):
    """A view on the memory of ``input``, outside of the graph."""
    out = new(Tensor)
    out._buf, out._ptr, out._n, out._shape, out._strides, out._kind = input._buf, address, n, shape, strides, input._kind
    out._ver, out._grad, out._rg, out._node = input._ver, None, False, None
    out._view = view = new(View)
    view.base, view.version, view.mode = base, version, mode
    return out


def plain_record(out, node_class, following, saved, ctx):
    """Give ``out`` a node of that class."""
    node = new(node_class)
    node.next, node.saved, node.ctx, node.seq, node.hooks = following, saved, ctx, sequence(), None
    out._node, out._rg = node, True


def plain_number(out, node, index):
    """Make ``out`` result ``index`` of a node of several."""
    out._node, out._rg = Output(node, index), True


def plain_clear(input, itemsize):
    """Set a row-major tensor to zero, if it and what it is a view of are outside the graph; whether that was done."""
    if input._strides is not None or input._rg or input._ver.__class__ is not list or (
            input._view is not None and input._view.base._rg):
        return False
    ctypes.memset(input._ptr, 0, input._n * itemsize)
    return True


tensor, share, record, number, clear = plain_tensor, plain_share, plain_record, plain_number, plain_clear


def _native_tensor(array):
    """A native function (n, storage, shape, kind) by NumPy's function ``array``; (n, array, shape, kind) without one."""
    w, empty, zero = objects.Writer("tensor"), (), 0
    n, given, shape, kind = [w.argument(i) for i in range(4)]
    if array is None:
        buf = w.hold(given)
    else:
        count = w.made(w.call(objects.c_api("PyNumber_AsSsize_t"), n, id(ValueError)), -1)
        size = w.room(count)
        buf = w.made(w.call(objects.numpy_api(array), 1, size, w.hold(given), 0))
    out = w.made(w.call(objects.new_object(), id(Tensor), id(empty), 0))
    ver = w.made(w.call(objects.c_api("PyList_New"), 1))
    w.store(w.hold(id(zero)), w.load(ver, objects.LIST_ITEMS))
    address = w.made(w.call(objects.c_api("PyLong_FromSsize_t"), w.load(buf, objects.ARRAY_DATA)))
    fields = {"_buf": buf, "_ptr": address, "_n": w.hold(n), "_shape": w.hold(shape), "_kind": w.hold(kind), "_ver": ver,
              "_rg": w.hold(id(False)), **{f: w.hold(id(None)) for f in ("_strides", "_grad", "_view", "_node")}}
    for name, value in fields.items():
        w.store(value, out, objects.slot(Tensor, name))
    return w.finish(out, (empty, zero))


def _native_share():
    w, empty = objects.Writer("share"), ()
    input, *given, base, version, mode = [w.argument(i) for i in range(8)]
    out = w.made(w.call(objects.new_object(), id(Tensor), id(empty), 0))
    view = w.made(w.call(objects.new_object(), id(View), id(empty), 0))
    for name, value in {"base": base, "version": version, "mode": mode}.items():
        w.store(w.hold(value), view, objects.slot(View, name))
    fields = dict(zip(("_ptr", "_n", "_shape", "_strides"), given))
    fields.update({f: w.load(input, objects.slot(Tensor, f)) for f in ("_buf", "_kind", "_ver")})
    fields.update(_grad=id(None), _node=id(None), _rg=id(False))
    for name, value in fields.items():
        w.store(w.hold(value), out, objects.slot(Tensor, name))
    w.store(view, out, objects.slot(Tensor, "_view"))
    return w.finish(out, (empty,))


def _native_record():
    w, empty = objects.Writer("record"), ()
    out, cls, following, saved, ctx = [w.argument(i) for i in range(5)]
    node = w.made(w.call(objects.new_object(), cls, id(empty), 0))
    number = w.made(w.call(objects.c_api("PyObject_CallNoArgs"), id(sequence)))
    fields = {"next": w.hold(following), "saved": w.hold(saved), "ctx": w.hold(ctx), "seq": number, "hooks": w.hold(id(None))}
    for name, value in fields.items():
        w.store(value, node, objects.slot(Node, name))
    w.replace(w.hold(id(True)), out, objects.slot(Tensor, "_rg"))
    w.replace(node, out, objects.slot(Tensor, "_node"))
    return w.finish(w.hold(id(None)), (empty, sequence))


def _native_number():
    w, empty = objects.Writer("number"), ()
    out, node, index = [w.argument(i) for i in range(3)]
    edge = w.made(w.call(objects.new_object(), id(Output), id(empty), 0))
    w.store(w.hold(node), edge, objects.slot(Output, "node"))
    w.store(w.hold(index), edge, objects.slot(Output, "index"))
    w.replace(w.hold(id(True)), out, objects.slot(Tensor, "_rg"))
    w.replace(edge, out, objects.slot(Tensor, "_node"))
    return w.finish(w.hold(id(None)), (empty, Output))


def _native_clear():
    w = objects.Writer("clear")
    input, b = w.argument(0), w.builder
    good = [b.icmp_signed("==", w.load(input, objects.slot(Tensor, f)), w.value(id(wanted))) for f, wanted in (
        ("_strides", None), ("_rg", False))]
    good.append(b.icmp_signed("==", w.load(w.load(input, objects.slot(Tensor, "_ver")), objects.CLASS), w.value(id(list))))
    with b.if_then(b.not_(functools.reduce(b.and_, good))):
        b.ret(w.value(w.hold(id(False))))
    view = w.load(input, objects.slot(Tensor, "_view"))
    with b.if_then(b.icmp_signed("!=", view, w.value(id(None)))):
        recorded = w.load(w.load(view, objects.slot(View, "base")), objects.slot(Tensor, "_rg"))
        with b.if_then(b.icmp_signed("!=", recorded, w.value(id(False)))):
            b.ret(w.value(w.hold(id(False))))
    address, n, size = [w.made(w.call(objects.c_api("PyNumber_AsSsize_t"), x, id(ValueError)), -1) for x in (
        w.load(input, objects.slot(Tensor, "_ptr")), w.load(input, objects.slot(Tensor, "_n")), w.argument(1))]
    w.call(objects.c_api("memset"), address, 0, b.mul(n, size))
    return w.finish(w.hold(id(True)), ())


FIELDS = ("_n", "_shape", "_strides", "_kind", "_ver", "_grad", "_view", "_rg", "_node")


def _tried(make, part, note, zeros, around, place, wipe):
    """Whether the native functions do what the plain ones do, for objects that are then dropped."""
    kind, shape, array, before = storage.F4, (3,), np.empty(3, np.float32), sys.getrefcount(storage.F4)
    for maker, given in ((make, kind.np), (zeros, kind.np), (around, array), (make, kind.np)):
        out = maker(3, given, shape, kind)
        if any([getattr(out, f) != v for f, v in zip(FIELDS, (3, shape, None, kind, [0], None, None, False, None))]) or (
                out._buf.shape != (3,) or out._buf.dtype is not kind.np or out._ptr != out._buf.ctypes.data):
            return False
        if maker is zeros and out._buf.any() or maker is around and out._buf is not array:
            return False
        seen = part(out, 5, 1, (1,), (2,), out, 7, "mode")
        if any([getattr(seen, f) != v for f, v in zip(FIELDS, (1, (1,), (2,), kind, [0], None, seen._view, False, None))]) or (
                seen._buf is not out._buf or seen._ver is not out._ver or seen._ptr != 5 or (
                    seen._view.base is not out, seen._view.version, seen._view.mode) != (False, 7, "mode")):
            return False
        if note(out, Node, (None,), (1,), "ctx") is not None or out._rg is not True or out._node.__class__ is not Node:
            return False
        node = out._node
        if (node.next, node.saved, node.ctx, node.hooks) != ((None,), (1,), "ctx", None) or sequence() != node.seq - 1:
            return False
        before_, out._rg = sys.getrefcount(node), False
        if place(out, node, 3) is not None or out._rg is not True or (out._node.node, out._node.index) != (node, 3) or (
                out._node.__class__ is not Output or sys.getrefcount(node) != before_):
            return False
        out._rg, out._buf[:] = False, 1
        if wipe(seen, 4) is not False or not out._buf.all() or wipe(out, 4) is not True or out._buf.any():
            return False
        out._rg, out._buf[:], seen._strides, seen._ptr = True, 1, None, out._ptr
        if wipe(seen, 4) is not False or not out._buf.all():
            return False
        out._rg = False
        if wipe(seen, 4) is not True or out._buf[0] or not out._buf[1:].all():
            return False
        del node, out, seen
    return sys.getrefcount(kind) == before and sys.getrefcount(array) == 2


def start(_peek):
    """Take the native functions, if this interpreter's objects are laid out as they expect."""
    global tensor, share, record, number, clear
    if sys.implementation.name != "cpython" or ctypes.sizeof(ctypes.c_void_p) != 8 or not sys.version_info < (3, 14):
        return
    try:
        made = (_native_tensor(EMPTY), _native_share(), _native_record(), _native_tensor(ZEROS), _native_tensor(None),
                _native_number(), _native_clear())
        if _tried(*made):
            tensor, share, record, tensors.fresh_zeros, tensors.around, number, clear = made
            tensors.fresh = tensor
    except (AttributeError, KeyError, ImportError, OSError):
        return


native.STARTS += (start,)
