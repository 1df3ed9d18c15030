"""The native function behind planned calls, as text that Numba compiles (see ``replay``).

Objects are read as words: the count of references, the class, then the data of an array, the value of a float, how many items a
tuple, list or dict has; a tuple's items lie from word 3 on, a list's where word 3 points, and the last digits of an int in the
low bits of word 3. ``X_slot`` is the word of a slot; ``k`` are the words of this process's ``KNOWN``, found by number.
"""

from __future__ import annotations

import re
import sys

import numpy as np

from ..kernel import inlined, native, objects, strided, trampoline
from ..kernel.define import define
from ..kernel.mt19937 import MT19937
from ..kernel.threads import LIMIT
from .graph import Node, Output, refresh, sequence
from .node import View
from .tensor import Tensor

FLOATS = 8                 # that a kernel gets in registers
FORMS = (6, 14, 22, 34)    # how many words a call passes; each form comes without and with floats
MOST = 24                  # tensors, results and nodes of a call, at most
BUCKETS = 64
DIGIT = (1 << 30) - 1      # of an int
# Words of a table: tensors, results, bytes of scratch memory, numbers, changed words, steps, whether it is open, most work of a
# kernel, the only state that it is for (which tensors require grad, and STATE if that is recorded) or -1, how many results are
# returned, the random stream that kernels draw from (or 0), the tensor that is written and returned where nothing is new (or
# -1).
HEADER = 12
HELD = 4                   # where an RLock says how often it is held
STATE = 1 << 16
STEP = 6                   # words before a step's arguments: function, form, how many, a flag's address, its words, its report
EXACT, WHOLE, REAL = 0, 1, 2  # how a number becomes a word: a float; a whole number; a whole number as a float
HEAD = 4                   # words of a call: tensors, numbers, known words, most of its work; then whether each number is free
KEY, TABLE, MADE, REPORTS, RECORDS, WRAP = 3, 4, 5, 6, 7, 8   # words of a line, a tuple
SEVERAL = 32               # more than the results of a node, and than those of a call

SAME = """
def same(k, x, y):
    if x == y:
        return True
    p, q = ptr_i8(x), ptr_i8(y)
    if p[1] != q[1]:
        return False
    if p[1] == k[INT] or p[1] == k[STR]:
        return call(k[COMPARE], x, y, 2) & 1 == 1
    if p[1] == k[FLOAT]:
        return p[2] == q[2]
    if p[1] != k[TUPLE] or p[2] != q[2]:
        return False
    for i in range(p[2]):
        if p[3 + i] != q[3 + i]:
            v, w = ptr_i8(p[3 + i]), ptr_i8(q[3 + i])
            if v[1] != k[INT] or w[1] != k[INT] or call(k[COMPARE], p[3 + i], q[3 + i], 2) & 1 == 0:
                return False
    return True
"""
GIVEN = """
def given(k, function, x):
    arguments = call(k[NEW_TUPLE], 1)
    if arguments == 0:
        return 0
    hold(x)
    ptr_i8(arguments)[3] = x
    out = call(k[CALL_WITH], function, arguments)
    call(k[DECREMENT], arguments)
    return out
"""
MIXED = """
def mixed(k, h, x):
    p = ptr_i8(x)
    if p[1] == k[INT]:
        return (h * 31 + (p[3] & DIGIT)) & DIGIT
    if p[1] == k[TUPLE]:
        h = (h * 31 + p[2]) & DIGIT
        for i in range(p[2]):
            if ptr_i8(p[3 + i])[1] == k[INT]:
                h = (h * 31 + (ptr_i8(p[3 + i])[3] & DIGIT)) & DIGIT
    return h
"""
# What a call of a program does: how many results there are in ``outs``; 0 where an error is set, -1 where the random stream
# that it draws from is in use. Making them may collect garbage, and so run the same program: its table is written when all are
# there. From then on no other thread runs.
RUN = """
def run(k, line, a, outs):
    table = ptr_i8(line[TABLE])[2]
    t, f, made, reports = ptr_i8(table), ptr_f8(table), ptr_i8(line[MADE]), ptr_i8(line[REPORTS])
    tensors, results, scratch = t[0], t[1], t[2]
    after, sizes, places = HEADER + tensors, words(), words()
    for i in range(results):
        storage, kind, shape, n = made[3 + 4 * i], made[4 + 4 * i], made[5 + 4 * i], made[6 + 4 * i]
        if t[6] != 0:
            o = ptr_i8(a[0])
            shape, n = o[tensor_shape], o[tensor_n]
        sizes[0] = call(k[AS_LONG], n)
        hold(storage)
        array = call(k[EMPTY_ARRAY], 1, address(sizes), storage, 0)
        if array == 0:
            return 0
        data = ptr_i8(array)[2]
        places[i] = data
        out, ver, ptr = call(k[ALLOC], k[TENSOR], 0), call(k[NEW_LIST], 1), call(k[FROM_LONG], data)
        if out == 0 or ver == 0 or ptr == 0:
            return 0
        hold(k[ZERO])
        hold(n)
        hold(shape)
        hold(kind)
        hold(k[FALSE])
        hold(k[NONE], 4)
        ptr_i8(ptr_i8(ver)[3])[0] = k[ZERO]
        o = ptr_i8(out)
        o[tensor_buf], o[tensor_ptr], o[tensor_n] = array, ptr, n
        o[tensor_shape], o[tensor_kind], o[tensor_ver] = shape, kind, ver
        o[tensor_rg], o[tensor_strides], o[tensor_grad] = k[FALSE], k[NONE], k[NONE]
        o[tensor_view], o[tensor_node] = k[NONE], k[NONE]
        outs[i] = out
    for i in range(tensors):
        p = 0
        if a[i] != k[NONE]:
            p = call(k[AS_LONG], ptr_i8(a[i])[tensor_ptr])
        t[HEADER + i] = p
    for i in range(results):
        t[after + i] = places[i]
    t[after + results + 1] = sizes[0]
    if scratch != 0:
        t[after + results] = call(k[MALLOC], scratch)
        if t[after + results] == 0:
            call(k[NO_MEMORY])
            return 0
    at = after + results + 2
    for i in range(t[3]):
        x, how = a[tensors + t[at + 1]], t[at + 2]
        if how == EXACT:
            t[t[at]] = ptr_i8(x)[2]
        elif how == WHOLE:
            whole = call(k[AS_LONG], x)
            if whole == -1 and call(k[OCCURRED]) != 0:
                return 0
            t[t[at]] = whole
        else:
            whole = call(k[AS_LONG], x)
            if whole == -1 and call(k[OCCURRED]) != 0:
                return 0
            f[t[at]] = float(whole)
        at += 3
    for i in range(t[4]):
        t[t[at]] = t[HEADER + t[at + 1]] + t[at + 2]
        at += 3
    if t[10] != 0 and ptr_i8(ptr_i8(t[10])[stream_lock])[HELD] != 0:  # another thread draws: nothing more is done
        if scratch != 0:
            call(k[FREE], t[after + results])
        for i in range(results):
            call(k[DECREMENT], outs[i])
        return -1
    refused, flag = 0, t[5]
    for i in range(t[5]):
        function, form, g = t[at], t[at + 1], at + STEP
        CALLS
        if t[at + 5] != 0 and ptr_i8(t[at + 3])[0] != -1:
            refused, flag = t[at + 5], at + 3
            break
        at = g + t[at + 2]
    if scratch != 0:
        call(k[FREE], t[after + results])
    if refused != 0:  # (other threads may call the program while the report is made)
        left = ptr_i8(t[flag])
        seen, report = call(k[NEW_TUPLE], t[flag + 1]), reports[2 + refused]
        for i in range(t[flag + 1]):
            ptr_i8(seen)[3 + i] = call(k[FROM_LONG], left[i])
        left[0] = -1
        for i in range(results):
            call(k[DECREMENT], outs[i])
        call(k[CALL_WITH], report, seen)  # which raises
        call(k[DECREMENT], seen)
        return 0
    if t[11] >= 0:
        outs[0], results = a[t[11]], 1
        hold(outs[0])
    return results
"""
# The place of a result at one of the nodes that were made, the edge to it.
PLACE = """
def place(k, nodes, which):
    edge, number = nodes[which // SEVERAL], which % SEVERAL
    if number == 0:
        hold(edge)
        return edge
    out, index = call(k[ALLOC], k[OUTPUT], 0), call(k[FROM_LONG], number - 1)
    if out == 0 or index == 0:
        return 0
    hold(edge)
    p = ptr_i8(out)
    p[output_node], p[output_index] = edge, index
    return out
"""
# The nodes of results, by what a line's records say of the tensors that require grad: 0 where an error is set. ``e`` are
# classes and contexts, one after the other; ``s`` how many nodes there are, then of each: 1 if the numbers are its context (the
# word of a slot if they are there in it, or 0), how many it saves, how many edges it has, these (a tensor; -1: none; an earlier
# node and its place), what it saves; at last the places of the results.
RECORD = """
def record(k, entry, a, tensors, numbers, mask, outs, results):
    e, nodes = ptr_i8(entry), words()
    s = ptr_i8(ptr_i8(e[3])[2])
    at = 1
    for j in range(s[0]):
        ctx, several, edges, c = e[5 + 2 * j], s[at + 1], s[at + 2], at + 3
        following, saved = call(k[NEW_TUPLE], edges), call(k[NEW_TUPLE], 2 * several)
        node, seq = call(k[ALLOC], e[4 + 2 * j], 0), call(k[CALL], k[SEQUENCE])
        if following == 0 or saved == 0 or node == 0 or seq == 0:
            return 0
        for i in range(edges):
            edge, which = k[NONE], s[c + i]
            if which < -1:
                edge = place(k, nodes, -2 - which)
                if edge == 0:
                    return 0
            else:
                if which >= 0:
                    edge = ptr_i8(a[which])[tensor_node]
                    if edge == k[NONE]:
                        edge = a[which]
                hold(edge)
            ptr_i8(following)[3 + i] = edge
        c += edges
        for i in range(several):
            which, x, version = s[c + i], k[NONE], k[ZERO]
            if which >= 0:
                x = outs[which - MOST] if which >= MOST else a[which]
                version = ptr_i8(ptr_i8(ptr_i8(x)[tensor_ver])[3])[0]
                hold(x)
            elif which == -1:
                hold(x)
            else:
                o, x = ptr_i8(outs[(-2 - which) // SEVERAL]), call(k[NEW_TUPLE], 8)
                index = call(k[FROM_LONG], (-2 - which) % SEVERAL)
                if x == 0 or index == 0:
                    return 0
                hold(o[tensor_buf])
                hold(o[tensor_ptr])
                hold(o[tensor_n])
                hold(o[tensor_shape])
                hold(o[tensor_kind])
                hold(o[tensor_ver])
                hold(k[NONE])
                p = ptr_i8(x)
                p[3], p[4], p[5], p[6] = o[tensor_buf], o[tensor_ptr], o[tensor_n], o[tensor_shape]
                p[7], p[8], p[9], p[10] = o[tensor_kind], o[tensor_ver], k[NONE], index
            hold(version)
            ptr_i8(saved)[3 + 2 * i] = x
            ptr_i8(saved)[4 + 2 * i] = version
        if s[at] != 0:
            found = call(k[NEW_TUPLE], numbers)
            if found == 0:
                return 0
            for i in range(numbers):
                hold(a[tensors + i])
                ptr_i8(found)[3 + i] = a[tensors + i]
            if s[at] == 1:
                ctx = found
            else:  # an object like the context, of four slots
                p, ctx = ptr_i8(ctx), call(k[ALLOC], ptr_i8(ctx)[1], 0)
                if ctx == 0:
                    return 0
                for i in range(2, 6):
                    if i == s[at]:
                        ptr_i8(ctx)[i] = found
                    else:
                        hold(p[i])
                        ptr_i8(ctx)[i] = p[i]
        else:
            hold(ctx)
        hold(k[NONE])
        n = ptr_i8(node)
        n[node_next], n[node_saved], n[node_ctx], n[node_seq], n[node_hooks] = following, saved, ctx, seq, k[NONE]
        nodes[j], at = node, c + several
    for i in range(results):
        if s[at + i] >= 0:
            edge = place(k, nodes, s[at + i])
            if edge == 0:
                return 0
            o = ptr_i8(outs[i])
            o[tensor_node], o[tensor_rg] = edge, k[TRUE]
            call(k[DECREMENT], k[NONE])
            call(k[DECREMENT], k[FALSE])
            hold(k[TRUE])
    for j in range(s[0]):
        call(k[DECREMENT], nodes[j])
    return 1
"""
# Whether a tensor may be written with no look at history: nothing has one, and no other tensor lies in its memory.
WRITABLE = """
def writable(k, a, tensors, into, recorded):
    out, good = ptr_i8(a[into]), True
    for i in range(tensors):
        if a[i] != k[NONE]:
            o = ptr_i8(a[i])
            good = good and ptr_i8(o[tensor_ver])[1] == k[LIST] and (i == into or o[tensor_buf] != out[tensor_buf])
            if recorded:
                good = good and o[tensor_rg] != k[TRUE]
                if o[tensor_view] != k[NONE]:
                    good = good and ptr_i8(ptr_i8(o[tensor_view])[view_base])[tensor_rg] != k[TRUE]
    return good
"""
# ``replay(recorded, tensors..., numbers...)``: the result of a planned call, a tuple of several, or None where there is none.
CALL = """
def replay(bound, args, count):
    own, a = ptr_i8(bound), ptr_i8(args + 8)
    head = ptr_i8(ptr_i8(own[3])[2])
    k, tensors, numbers, recorded = ptr_i8(head[2]), head[0], head[1], ptr_i8(args)[0]
    found, h, plain, x, first = 0, 0, True, 0, ptr_i8(args)
    for i in range(tensors):
        if a[i] == k[NONE]:
            plain = False
        else:
            o = ptr_i8(a[i])
            if o[1] != k[TENSOR] and call(k[IS_SUBTYPE], o[1], k[TENSOR]) & 1 == 0:
                hold(k[NONE])
                return k[NONE]
            if i == 0:
                first = o
            elif plain:
                plain = o[tensor_kind] == first[tensor_kind] and same(k, o[tensor_shape], first[tensor_shape])
            plain = plain and o[tensor_strides] == k[NONE]
            if o[tensor_view] != k[NONE]:
                x = given(k, k[REFRESH], a[i])
                if x == 0:
                    return 0
                call(k[DECREMENT], x)
    opened = ptr_i8(own[5])
    if plain:
        for j in range(opened[2]):
            line = ptr_i8(ptr_i8(opened[3])[j])
            key, good = ptr_i8(line[KEY]), True
            if key[3] == first[tensor_kind]:
                for i in range(numbers):
                    good = good and ptr_i8(a[tensors + i])[1] == key[4 + i]
                if good and call(k[AS_LONG], first[tensor_n]) < call(k[AS_LONG], ptr_i8(ptr_i8(k[LIMIT])[3])[0]):
                    found = ptr_i8(opened[3])[j]
                    break
    lines = ptr_i8(own[4])
    if found == 0 and lines[2] != 0:
        for i in range(tensors):
            if a[i] != k[NONE]:
                o = ptr_i8(a[i])
                h = mixed(k, mixed(k, (h * 31 + (o[tensor_kind] >> 4)) & DIGIT, o[tensor_shape]), o[tensor_strides])
        for i in range(numbers):
            if head[HEAD + i] == 0:
                h = mixed(k, h, a[tensors + i])
        h = (h ^ h >> 6 ^ h >> 12) & (BUCKETS - 1)
        bucket = ptr_i8(ptr_i8(lines[3])[h])
        for j in range(bucket[2]):
            line = ptr_i8(ptr_i8(bucket[3])[j])
            key, good = ptr_i8(line[KEY]), True
            for i in range(tensors):
                if a[i] == k[NONE]:
                    good = key[3 + 3 * i] == k[NONE]
                else:
                    o = ptr_i8(a[i])
                    good = (key[3 + 3 * i] == o[tensor_kind] and same(k, o[tensor_shape], key[4 + 3 * i])
                            and same(k, o[tensor_strides], key[5 + 3 * i]))
                if not good:
                    break
            only = ptr_i8(ptr_i8(line[TABLE])[2])[8]
            if only >= 0 and good:
                state = STATE * (recorded == k[TRUE])
                for i in range(tensors):
                    if a[i] != k[NONE] and ptr_i8(a[i])[tensor_rg] == k[TRUE]:
                        state |= 1 << i
                good = only == state
            for i in range(numbers):
                y = key[3 + 3 * tensors + i]
                if head[HEAD + i] != 0:
                    good = good and ptr_i8(a[tensors + i])[1] == y
                else:
                    good = good and same(k, a[tensors + i], y)
            if good:
                if ptr_i8(ptr_i8(line[TABLE])[2])[7] < call(k[AS_LONG], ptr_i8(ptr_i8(k[LIMIT])[3])[0]):
                    found = ptr_i8(bucket[3])[j]
                break
    if found == 0:
        hold(k[NONE])
        return k[NONE]
    line, mask = ptr_i8(found), 0
    if recorded == k[TRUE]:
        if line[RECORDS] == k[NONE] or ptr_i8(line[RECORDS])[2] != 0:
            for i in range(tensors):
                if a[i] != k[NONE] and ptr_i8(a[i])[tensor_rg] == k[TRUE]:
                    mask |= 1 << i
        good = mask == 0 or line[RECORDS] != k[NONE]
        if mask != 0:
            for i in range(tensors):  # (tensors of inference mode have no plain list)
                good = good and (a[i] == k[NONE] or ptr_i8(ptr_i8(a[i])[tensor_ver])[1] == k[LIST])
        if not good:
            hold(k[NONE])
            return k[NONE]
    outs, t = words(), ptr_i8(ptr_i8(line[TABLE])[2])
    if t[11] >= 0 and not writable(k, a, tensors, t[11], recorded == k[TRUE]):
        hold(k[NONE])
        return k[NONE]
    which = 0 if t[8] >= 0 else mask
    hold(found)
    results = run(k, line, a, outs)
    if results < 0:
        call(k[DECREMENT], found)
        hold(k[NONE])
        return k[NONE]
    if results != 0 and mask != 0:
        if record(k, ptr_i8(line[RECORDS])[3 + which], a, tensors, numbers, mask, outs, results) == 0:
            results = 0
    several, returned = 0, t[9]
    if results != 0:
        for i in range(returned, results):
            call(k[DECREMENT], outs[i])
        several = outs[0]
        if returned > 1:
            several = call(k[NEW_TUPLE], returned)
            if several != 0:
                for i in range(returned):
                    ptr_i8(several)[3 + i] = outs[i]
        if several != 0 and line[WRAP] != k[NONE]:
            x = several
            several = given(k, line[WRAP], x)
            call(k[DECREMENT], x)
    call(k[DECREMENT], found)
    return several
"""
# What ``k`` has: addresses of objects, and of CPython's functions, by name, and NumPy's, by their number in its C interface.
EMPTY_ARRAY = 184
KNOWN = {
    "NONE": None, "TRUE": True, "FALSE": False, "ZERO": 0, "INT": int, "STR": str, "FLOAT": float,
    "TUPLE": tuple, "LIST": list, "TENSOR": Tensor, "OUTPUT": Output, "SEQUENCE": sequence, "REFRESH": refresh, "LIMIT": LIMIT,
}
FUNCTIONS = {
    "EMPTY_ARRAY": EMPTY_ARRAY,
    "AS_LONG": "PyLong_AsLongLong", "IS_SUBTYPE": "PyType_IsSubtype", "ALLOC": "PyType_GenericAlloc", "NEW_LIST": "PyList_New",
    "FROM_LONG": "PyLong_FromSsize_t", "MALLOC": "PyMem_RawMalloc", "FREE": "PyMem_RawFree", "NO_MEMORY": "PyErr_NoMemory",
    "OCCURRED": "PyErr_Occurred", "CALL": "PyObject_CallNoArgs",
    "CALL_WITH": "PyObject_CallObject", "NEW_TUPLE": "PyTuple_New", "INCREMENT": "Py_IncRef", "DECREMENT": "Py_DecRef",
    "COMPARE": "PyObject_RichCompareBool",
}


def _hold(match):
    """One reference more is one added where no object is immortal and nobody else counts."""
    pad, x, times = match[1], match[2], int(match[3] or 1)
    if sys.version_info < (3, 12) and not hasattr(sys, "gettotalrefcount"):
        return f"{pad}ptr_i8({x})[0] += {times}"
    return f"{pad}call(k[INCREMENT], {x})" * times


def _numbered(text):
    """A text with its names as numbers."""
    calls = []
    for i in range(2 * len(FORMS)):
        given = [f"t[g + {j}]" for j in range(FORMS[i // 2])]
        given += [f"f[g + {len(given) + j}]" for j in range(FLOATS * (i % 2))]
        calls += [f"{'el' * (i > 0)}if form == {i}:", f"    call(function, {', '.join(given)})"]
    text = text.replace("CALLS", "\n        ".join(calls))
    text = re.sub(r"(\n +)hold\(([^,\n]*?)(?:, (\d))?\)(?=\n)", _hold, text)
    names = {**globals(), **{n: i for i, n in enumerate([*KNOWN, *FUNCTIONS])}}
    text = re.sub(r"\b[A-Z_]{3,}\b", lambda m: str(names[m[0]]), text)
    classes = {"tensor": Tensor, "node": Node, "output": Output, "stream": MT19937, "view": View}
    return re.sub(r"\b(tensor|node|output|stream|view)_(\w+)", lambda m: str(objects.slot(
        classes[m[1]], m[2] if m[1] != "tensor" else "_" + m[2]) // 8), text)


def known():
    """The words of ``k``."""
    functions = [objects.c_api(f) if f.__class__ is str else objects.numpy_api(f) for f in FUNCTIONS.values()]
    return np.array([*map(id, KNOWN.values()), *functions], np.int64)


def compiled():
    """The native function."""
    numba = native.nb()
    env = {"ptr_" + code: p for code, p in numba.pointers.items()}
    env.update(call=trampoline.calling(), words=numba.stack("i8", MOST), address=strided.address_of())
    key = [f"replay {MOST}"]
    for name, text in (("same", SAME), ("given", GIVEN), ("mixed", MIXED), ("run", RUN), ("place", PLACE), ("record", RECORD),
                       ("writable", WRITABLE)):
        text = _numbered(text)
        key.append(text)
        env[name] = inlined.njit((), error_model="numpy")(define(text, name, dict(env)))
    return native.compile_source(_numbered(CALL), "replay", "iii", env, "\n".join(key), returns=True)
