"""How an elementwise op is called: the generated fast path, the general path, recording and backward.

The fast path is Python text generated per op, because a Python call costs as much as a small kernel: it tests that every
input has the same kind and shape and is row-major, allocates, runs the kernel, and makes the tensor and its node inline.
Everything else (numbers, promotion, broadcasting, strides, devices, modes) goes through ``general``.
"""

from __future__ import annotations

import numbers
from itertools import starmap

import numpy as np

from .. import dtypes as dt
from .. import modes, storage
from ..autograd import graph
from ..autograd.graph import Node
from ..kernel import emit, jit
from ..kernel.threads import LIMIT
from ..tensor import Tensor, contiguous_strides, is_contiguous, make, mark_inference, raw


class Slow:
    """Context of a node recorded by the general path: numbers, and the input shapes when they were broadcast."""

    __slots__ = ("scalars", "shapes", "kind")

    def __init__(self, scalars, shapes, kind):
        self.scalars, self.shapes, self.kind = scalars, shapes, kind


# --- generated text ------------------------------------------------------------------------------------------------------

def _record_text(form, pad):
    """Lines that record the node of ``out``; one branch per combination of inputs that require grad."""
    t = form.tensors
    ctx = f"({', '.join(form.scalars)},)" if form.scalars else "None"
    lines = []

    def node(mask, pad):
        edges = ", ".join(f"{n}._node or {n}" if mask >> i & 1 else "None" for i, n in enumerate(t))
        saved = ", ".join(f"{n}, {n}._ver[0]" if n != "y" else "(buf, ptr, n, shape, ko, ver, None, 0), 0"
                          for n in form.saves(mask))
        return [f"{pad}node = new(NodeClass)", f"{pad}node.next = ({edges},)",
                f"{pad}node.saved = ({saved + ',' if saved else ''})", f"{pad}node.seq = sequence()",
                f"{pad}node.ctx = {ctx}", f"{pad}node.hooks = None", f"{pad}out._node = node", f"{pad}out._rg = True"]

    if not form.differentiable:
        return [f"{pad}out._rg = False", f"{pad}out._node = None"]
    if len(t) == 1:
        return [f"{pad}if {t[0]}._rg and record:", *node(1, pad + "    "), f"{pad}else:", f"{pad}    out._rg = False",
                f"{pad}    out._node = None"]
    lines += [f"{pad}if not record:", f"{pad}    out._rg = False", f"{pad}    out._node = None"]
    for mask in range((1 << len(t)) - 1, 0, -1):
        word = "elif"
        cond = " and ".join(f"{n}._rg" for i, n in enumerate(t) if mask >> i & 1)
        lines += [f"{pad}{word} {cond}:", *node(mask, pad + "    ")]
    return [*lines, f"{pad}else:", f"{pad}    out._rg = False", f"{pad}    out._node = None"]


def _fast_text(form, pad, table="FAST"):
    """Lines that return the result when the fast path applies and fall through when it does not."""
    first, *rest = form.tensors
    same = "".join(f" and {n}._kind is k and {n}._strides is None and {n}._shape == shape" for n in rest)
    pointers = ", ".join(f"{n}._ptr" for n in form.tensors)
    scalars = "".join(f", {s}" for s in form.scalars)
    refresh = [f"{pad}    if {n}._view is not None:\n{pad}        refresh({n})" for n in form.tensors]
    return [
        f"{pad}e = {table}.get(k)",
        f"{pad}shape = {first}._shape if e is not None else None" if rest else f"{pad}pass",
        f"{pad}if e is not None and {first}._strides is None{same} and {first}._n < LIMIT[0]:",
        *refresh,
        f"{pad}    n = {first}._n",
        f"{pad}    run, storage, ko = e",
        f"{pad}    buf = empty(n, storage)",
        f"{pad}    ptr = peek(id(buf) + {storage.DATA_FIELD})",
        f"{pad}    run({pointers}, ptr{scalars}, 0, n)",
        f"{pad}    out = new(Tensor)",
        f"{pad}    out._buf = buf", f"{pad}    out._ptr = ptr", f"{pad}    out._n = n",
        f"{pad}    out._shape = shape = {first}._shape", f"{pad}    out._strides = None", f"{pad}    out._kind = ko",
        f"{pad}    out._ver = ver = [0]", f"{pad}    out._grad = None", f"{pad}    out._view = None",
        *_record_text(form, pad + "    "),
        f"{pad}    return out",
    ]


def _namespace(form):
    return {"STATE": modes.STATE, "LIMIT": LIMIT, "empty": np.empty, "peek": storage._peek or storage_peek,
            "new": object.__new__, "Tensor": Tensor, "NodeClass": form.node_class if form else None,
            "sequence": graph.sequence, "refresh": graph.refresh, "general": general, "Slow": Slow,
            "freed": graph.freed, "recording": modes.recording}


def storage_peek(address):
    """Stands in for the native reader on an interpreter whose arrays are laid out differently."""
    import ctypes
    return ctypes.c_int64.from_address(address).value


def make_entry(op):
    """The public call: a light function that builds the real one on first use and hands over to it."""
    target = []

    def build():
        jit.nb()
        target.append(_build_entry(op))
        op.call = target[0]
        from ..namespace import install
        install(op, target[0])
        return target[0]

    if op.params or len(op.tensors) > 2 or len(op.tensors) == 1:
        def entry(*args, **kwargs):
            return (target[0] if target else build())(*args, **kwargs)
    else:
        def entry(input, other, **kwargs):
            return (target[0] if target else build())(input, other, **kwargs)
    entry.__name__ = entry.__qualname__ = op.name
    entry.__doc__ = op.doc
    entry.__module__ = "numbagrad"
    return entry


def _build_entry(op):
    names = list(op.signature.parameters)
    head = []
    for p in op.signature.parameters.values():
        head.append(p.name + (f"=DEFAULTS[{p.name!r}]" if p.default is not p.empty else ""))
    full = op.form("t" * len(op.tensors))
    env = _namespace(full)
    env.update(DEFAULTS=op.defaults, OP=op, FAST=full.fast)
    extra = "".join(f", {k}=KEYWORDS[{k!r}][0]" for k in op.keywords)
    env["KEYWORDS"], env["SPECIAL"] = op.keywords, op.special
    star = ", *, out=None" if "inplace" in op.keywords else f", *{extra}, out=None"
    if "inplace" in op.keywords:  # the one option that PyTorch also takes by position
        head += extra.split(", ")[1:]
    text = [f"def {op.name}({', '.join(head)}{star}):"]
    for k in op.keywords:
        env["DEFAULT_" + k] = op.keywords[k][0]
        text += [f"    if {k} is not DEFAULT_{k}:",
                 f"        return KEYWORDS[{k!r}][1]({', '.join(names)}, {k}, out=out)"]
    text += ["    record = True if not STATE else recording()", "    if out is None and record is not None:"]
    pad = " " * 8
    if len(op.tensors) == 2 and not op.params:
        a, b = op.tensors
        ts = op.form("ts")
        env.update(FLOATS=ts.fast.setdefault("f", {}), INTS=ts.fast.setdefault("i", {}), NodeTS=ts.node_class)
        text += [f"{pad}c = {b}.__class__", f"{pad}if c is float or c is int:"]
        text += [f"{pad}    try:",
                 f"{pad}        k = {a}._kind", f"{pad}    except AttributeError:", f"{pad}        k = None"]
        if op.special:  # a float exponent makes an integer tensor a float one
            text += [f"{pad}    if {b} in SPECIAL and k is not None and (c is int or k.dtype.category >= 2):",
                     f"{pad}        return SPECIAL[{b}]({a})"]
        text += [f"{pad}    t = FLOATS if c is float else INTS"]
        text += [line.replace("NodeClass", "NodeTS") for line in _fast_text(ts, pad + "    ", "t")]
        text += [f"{pad}    return general(OP, ({a}, {b}), (), out)"]
    text += [f"{pad}try:", f"{pad}    k = {op.tensors[0]}._kind"]
    text += [f"{pad}    {n}._kind" for n in op.tensors[1:]]
    text += [f"{pad}except AttributeError:", f"{pad}    k = None"]
    text += _fast_text(full, pad)
    text += [f"    return general(OP, ({', '.join(op.tensors)},), ({''.join(n + ', ' for n in op.params)}), out)"]
    fn = jit.define("\n".join(text) + "\n", op.name, env)
    fn.__doc__, fn.__module__, fn.__qualname__ = op.doc, "numbagrad", op.name
    del names
    return fn


def make_node(form, name):
    """The node class of a form, with a generated first-order backward."""
    cls = type(name, (Node,), {"__slots__": (), "op": form.op, "form": form, "__module__": "numbagrad"})
    state = []

    def backward(self, g):
        if not state:
            state.append(True)
            if form.differentiable:
                cls.backward = _build_backward(form)
        return cls.backward(self, g)

    cls.backward = backward
    cls.backward_graph = backward_graph
    return cls


def _build_backward(form):
    """Text of the first-order backward: one branch per set of inputs that need a gradient."""
    env = _namespace(form)
    env["slow_backward"] = slow_backward
    text = ["def backward(node, g):", "    saved = node.saved", "    if saved is None:", "        freed()",
            "    if node.ctx.__class__ is not Slow and g._strides is None and g._n < LIMIT[0]:"]
    if len(form.tensors) > 1:
        text.append("        following = node.next")
    count = len(form.tensors)
    for mask in range((1 << count) - 1, 0, -1):
        kernel, names, computed, passed, scalars = form.backward_kernel(mask)
        pad = " " * 8
        if count > 1:
            cond = " and ".join(f"following[{i}] is {'not ' if mask >> i & 1 else ''}None" for i in range(count))
            text.append(f"{pad}if {cond}:")
            pad += "    "
        checks, pointers = [], {"g": "g._ptr"}
        for j, s in enumerate(form.saves(mask)):
            v = f"s{j}"
            text.append(f"{pad}{v} = saved[{2 * j}]")
            if s == "y":
                checks.append(f"{v}[5][0] == saved[{2 * j + 1}]")
                pointers[s] = f"{v}[1]"
            else:
                checks.append(f"{v}._ver[0] == saved[{2 * j + 1}] and {v}._n == g._n")
                pointers[s] = f"{v}._ptr"
        results = [("None" if i not in computed else f"r{computed.index(i)}") if i not in passed else "g"
                   for i in range(count)]
        if computed:
            env[f"FAST{mask}"] = form.fast_backward[mask]
            values = "".join(f", node.ctx[{form.scalars.index(s)}]" for s in scalars)
            text += [f"{pad}e = FAST{mask}.get(g._kind)",
                     f"{pad}if e is not None{''.join(' and ' + c for c in checks)}:",
                     f"{pad}    run, storage, ko = e", f"{pad}    n = g._n", f"{pad}    shape = g._shape"]
            pad += "    "
            for j in range(len(computed)):
                text += [f"{pad}b{j} = empty(n, storage)", f"{pad}p{j} = peek(id(b{j}) + {storage.DATA_FIELD})"]
            ins = ", ".join(pointers[n] for n in names)
            outs = ", ".join(f"p{j}" for j in range(len(computed)))
            text.append(f"{pad}run({ins}{', ' if ins else ''}{outs}{values}, 0, n)")
            for j in range(len(computed)):
                text += [f"{pad}r{j} = new(Tensor)"] + [
                    f"{pad}r{j}.{field} = {value}" for field, value in (
                        ("_buf", f"b{j}"), ("_ptr", f"p{j}"), ("_n", "n"), ("_shape", "shape"), ("_strides", "None"),
                        ("_kind", "ko"), ("_ver", "[0]"), ("_grad", "None"), ("_view", "None"), ("_node", "None"),
                        ("_rg", "False"))]
        text.append(f"{pad}return ({', '.join(results)},)")
    text.append("    return slow_backward(node, g)")
    return jit.define("\n".join(text) + "\n", "backward", env)


# --- general path --------------------------------------------------------------------------------------------------------

_adders: dict = {}  # kind -> entry, once the first sum was made


def add_into(dst, src):
    """``dst += src`` for two row-major tensors of one kind and shape, without recording: gradient accumulation."""
    e = _adders.get(dst._kind)
    if e is not None and dst._n < LIMIT[0]:
        e(dst._ptr, src._ptr, dst._ptr, 0, dst._n)
    else:
        from .record import REGISTRY
        form = REGISTRY["add"].form("tt")
        globals()["_adders"] = form.fast_inplace
        remember_inplace(form, "tt", (), dst._kind)
        launch(form.forward, dst._kind.dtype, (dst, src), (), (dst,), dst._shape)
    dst._ver[0] += 1


def is_number(x):
    return isinstance(x, (numbers.Number, np.number, np.bool_))


def general(op, args, params, out=None):
    """Call an elementwise op on any mix of tensors and numbers."""
    pattern = "".join(["t" if isinstance(a, Tensor) else "s" for a in args])
    if "t" not in pattern or any(p == "s" and not is_number(a) for a, p in zip(args, pattern)):
        bad = next((i for i, (a, p) in enumerate(zip(args, pattern)) if p == "s" and not is_number(a)), 0)
        raise TypeError(f"{op.name}(): argument '{op.tensors[bad]}' (position {bad + 1}) must be Tensor, not "
                        f"{type(args[bad]).__name__}")
    form = op.form(pattern)
    tensors = [a for a, p in zip(args, pattern) if p == "t"]
    scalars = [a for a, p in zip(args, pattern) if p == "s"]
    common = common_dtype(tensors, scalars)
    compute = form.compute_type(common)
    check_dtype(op, compute)
    device = common_device(op.name, tensors)
    plain = True
    for i, t in enumerate(tensors):
        if t._kind.dtype is not compute or t._kind.device is not device:
            tensors[i] = t.to(device=device, dtype=compute)
            plain = False
    shape = broadcast_shapes(op.name, tensors)
    scalars = [*scalars, *params]
    result_kind = storage.kind_of(form.result_dtype(compute), device)
    result = make(shape, result_kind)
    launch(form.forward, compute, tensors, scalars, (result,), shape)
    if plain and device.type == "cpu" and compute.category and (compute.category >= 2 or not op.params):
        remember(form, pattern, scalars, compute, result_kind)
    if out is not None:
        return write_out(op.name, out, result, tensors)
    record(form, tensors, scalars, result, shape)
    return result


def remember(form, pattern, scalars, compute, result_kind):
    """Open the fast path for this kind: the general path found that it needs no conversion."""
    if compute.is_complex:
        return
    kind = storage.kind_of(compute)
    codes = (compute.code,) * len(form.tensors)
    entry = (form.forward.native(compute.compute, codes, (result_kind.dtype.code,)).entry, result_kind.np, result_kind)
    if "s" not in pattern:
        form.fast[kind] = entry
    elif pattern == "ts":
        if type(scalars[0]) is float and compute.category == 2:
            form.fast.setdefault("f", {})[kind] = entry
        if type(scalars[0]) is int:
            form.fast.setdefault("i", {})[kind] = entry


def remember_inplace(form, pattern, scalars, kind):
    """Open the fast path of the in-place form for this kind."""
    if not kind.cpu or kind.dtype.is_complex:
        return
    codes = (kind.dtype.code,) * len(form.tensors)
    entry = form.forward.native(kind.dtype.compute, codes, codes[:1], inplace=True).entry
    if "s" not in pattern:
        form.fast_inplace[kind] = entry
    elif pattern == "ts":
        if type(scalars[0]) is float and kind.dtype.category == 2:
            form.fast_inplace.setdefault("f", {})[kind] = entry
        if type(scalars[0]) is int:
            form.fast_inplace.setdefault("i", {})[kind] = entry


def common_dtype(tensors, scalars):
    """Promotion of tensors with dimensions, 0-d tensors and numbers."""
    dims = zero = number = None
    for t in tensors:
        d = t._kind.dtype
        if t._shape:
            dims = d if dims is None or dims is d else dt.promote_types(dims, d)
        else:
            zero = d if zero is None or zero is d else dt.promote_types(zero, d)
    for s in scalars:
        d = dt.of_number(s)
        number = d if number is None else dt.promote_types(number, d)
    return dt.combine(dims, zero, number)


def check_dtype(op, d):
    ok = {"any": True, "float": d.category >= 2, "real": d.category < 3, "realfloat": d.category == 2,
          "int": d.category <= 1, "number": d.category >= 1, "integer": d.category == 1,
          "ordered": 1 <= d.category < 3, "inexact": d.category >= 2}[op.accepts]
    if not ok:
        raise NotImplementedError(f"\"{op.name}\" not implemented for '{dt.scalar_name(d)}'")


def common_device(name, tensors):
    """The device of all tensors; 0-d CPU tensors follow the others."""
    device = tensors[0]._kind.device
    for t in tensors[1:]:
        d = t._kind.device
        if d is not device:
            if not t._shape and d.type == "cpu":
                continue
            if all(not s._shape and s._kind.cpu for s in tensors if s._kind.device is device):
                device = d
                continue
            raise RuntimeError(f"Expected all tensors to be on the same device, but found at least two devices, {device} "
                               f"and {d}! (in {name})")
    return device


def broadcast_shapes(name, tensors):
    """The common shape of the tensors, or PyTorch's error for sizes that do not match."""
    shape = tensors[0]._shape
    for t in tensors[1:]:
        other = t._shape
        if other == shape:
            continue
        n = max(len(shape), len(other))
        a, b = (1,) * (n - len(shape)) + shape, (1,) * (n - len(other)) + other
        for i in range(n - 1, -1, -1):
            if a[i] != b[i] and a[i] != 1 and b[i] != 1:
                raise RuntimeError(f"The size of tensor a ({a[i]}) must match the size of tensor b ({b[i]}) at "
                                   f"non-singleton dimension {i} (in {name} of shapes "
                                   f"{' and '.join(str(list(x._shape)) for x in tensors)})")
        shape = tuple(starmap(lambda x, y: y if x == 1 else x, zip(a, b)))
    return shape


def expanded_strides(t, shape):
    """Strides of ``t`` seen with a shape it broadcasts to."""
    strides = t._strides or contiguous_strides(t._shape)
    lead = len(shape) - len(strides)
    return (0,) * lead + tuple(0 if s == 1 and shape[lead + i] != 1 else k
                               for i, (s, k) in enumerate(zip(t._shape, strides)))


def raw_scalars(compute, scalars):
    if compute.is_complex:
        flat = []
        for s in scalars:
            s = complex(s)
            flat += [s.real, s.imag]
        return flat
    return [int(s) for s in scalars] if compute.category < 2 else [float(s) for s in scalars]


def launch(pointwise, compute, ins, scalars, outs, shape):
    """Run a pointwise kernel: contiguous or strided, on one thread or several, on the CPU or a GPU."""
    if not outs[0]._kind.cpu:
        from ..kernel import cuda
        return cuda.launch_pointwise(pointwise, compute, ins, scalars, outs, shape)
    in_codes = tuple([t._kind.dtype.code for t in ins])
    out_codes = tuple([t._kind.dtype.code for t in outs])
    tensors = (*ins, *outs)
    pointers = [t._ptr for t in tensors]
    values = raw_scalars(compute, scalars)
    n = 1
    for s in shape:
        n *= s
    if n == 0:
        return None
    if all([t._strides is None and t._shape == shape for t in tensors]):
        if ins and outs[0]._ptr == ins[0]._ptr and in_codes[0] == out_codes[0] and n < LIMIT[0]:
            return pointwise.native(compute.compute, in_codes, out_codes, inplace=True).entry(*pointers, *values, 0, n)
        if n >= LIMIT[0]:
            return _parallel(pointwise, compute, in_codes, out_codes, False, [*pointers, *values], n, LIMIT[0] // 2,
                             bool(ins) and outs[0]._ptr == ins[0]._ptr and in_codes[0] == out_codes[0])
        return pointwise.native(compute.compute, in_codes, out_codes).entry(*pointers, *values, 0, n)
    meta, address, rows = emit.plan(shape, tuple([expanded_strides(t, shape) for t in tensors]))
    if n >= LIMIT[0] and rows > 1:
        return _parallel(pointwise, compute, in_codes, out_codes, True, [*pointers, *values, address], rows,
                         max(1, LIMIT[0] * rows // (2 * n)))
    return pointwise.native(compute.compute, in_codes, out_codes, True).entry(*pointers, *values, address, 0, rows)


def _parallel(pointwise, compute, in_codes, out_codes, strided, arguments, n, grain, inplace=False):
    from ..kernel import threads
    native = pointwise.native(compute.compute, in_codes, out_codes, strided, True, inplace)
    table = np.empty(len(arguments), np.int64)
    floats = table.view(np.float64)
    for i, a in enumerate(arguments):
        if isinstance(a, float):
            floats[i] = a
        else:
            table[i] = a
    threads.parallel_for(native.address, table, n, grain)


def record(form, tensors, scalars, result, shape):
    """Make the node of a general call, if this thread records and an input requires grad."""
    mode = modes.current()
    if mode.inference:
        return mark_inference(result)
    if not mode.grad or not form.differentiable or result._kind.dtype.category < 2:
        return
    mask, edges = 0, []
    for i, t in enumerate(tensors):
        if t._view is not None:
            graph.refresh(t)
        if t._rg:
            mask |= 1 << i
            edges.append(graph.edge(t))
        else:
            edges.append(None)
    if not mask:
        return
    node = new_node(form.node_class, tuple(edges))
    complex_ = result._kind.dtype.is_complex
    saved = []
    for n in form.saves(mask, complex_):
        if n == "y":
            saved += [graph.save_output(result), result._ver[0]]
        else:
            t = tensors[form.tensors.index(n)]
            saved += [graph.save_input(t), t._ver[0]]
    node.saved = tuple(saved)
    shapes = None if all([t._shape == shape for t in tensors]) else tuple([t._shape for t in tensors])
    node.ctx = Slow(tuple(scalars), shapes, result._kind)
    result._node, result._rg = node, True
    note_forward(node, tensors)


def new_node(cls, edges):
    """A node with its edges and place in the order, nothing saved yet."""
    node = object.__new__(cls)
    node.next, node.saved, node.seq, node.ctx, node.hooks = edges, (), graph.sequence(), None, None
    return node


def note_forward(node, tensors):
    """In anomaly mode, remember the user's line and the shapes."""
    if "anomaly" in modes.STATE:
        from ..autograd.anomaly import ANOMALY
        shapes = ", ".join(f"{t.dtype} {list(t._shape)}" for t in tensors)
        ANOMALY.note(node, f" with inputs {shapes}")


def _unpacked(node, form, mask, complex_):
    values = {}
    for j, n in enumerate(form.saves(mask, complex_)):
        values[n] = graph.unpack(node, node.saved[2 * j], node.saved[2 * j + 1], "result" if n == "y" else n)
    return values


def raw_view(t, order):
    """``t`` with its dimensions in another order, outside the graph."""
    strides = t._strides or contiguous_strides(t._shape)
    shape, strides = tuple([t._shape[i] for i in order]), tuple([strides[i] for i in order])
    return raw(t._buf, t._ptr, t._n, shape, None if is_contiguous(shape, strides) else strides, t._kind, t._ver)


def _mask(node):
    mask = 0
    for i, e in enumerate(node.next):
        if e is not None:
            mask |= 1 << i
    return mask


def _numbers(node):
    c = node.ctx
    return c.scalars if c.__class__ is Slow else (c or ())


def slow_backward(node, g):
    """First-order backward for any layout: one fused kernel, then sums over broadcast dimensions."""
    form, mask = node.form, _mask(node)
    if node.saved is None:
        graph.freed()
    complex_ = g._kind.dtype.is_complex
    values = _unpacked(node, form, mask, complex_)
    values["g"] = g
    kernel, names, computed, passed, used = form.backward_kernel(mask, complex_)
    grads = [None] * len(form.tensors)
    for i in passed:
        grads[i] = g
    if computed:
        numbers_ = dict(zip(form.scalars, _numbers(node)))
        outs = tuple([make(g._shape, g._kind) for _ in computed])
        launch(kernel, g._kind.dtype, [values[n] for n in names], [numbers_[s] for s in used], outs, g._shape)
        for i, o in zip(computed, outs):
            grads[i] = o
        if g._kind.cpu and not complex_ and node.ctx.__class__ is not Slow:
            codes = (g._kind.dtype.code,)
            form.fast_backward[mask][g._kind] = (kernel.native(g._kind.dtype.compute, codes * len(names),
                                                               codes * len(outs)).entry, g._kind.np, g._kind)
    c = node.ctx
    if c.__class__ is Slow and c.shapes is not None:
        from ..broadcast import sum_to_size
        grads = [None if r is None else sum_to_size(r, s) for r, s in zip(grads, c.shapes)]
    return tuple(grads)


def backward_graph(node, g):
    """Recorded backward: the same gradient expressions evaluated with tensor operations."""
    from ..broadcast import sum_to_size
    from ..kernel import expr
    from ..namespace import tensor_function
    form, mask = node.form, _mask(node)
    if node.saved is None:
        graph.freed()
    complex_ = g._kind.dtype.is_complex
    values = _unpacked(node, form, mask, complex_)
    values["g"] = g
    values.update(zip(form.scalars, _numbers(node)))
    wanted = form.outputs_of(mask, complex_)
    results = expr.evaluate([r for _, r in wanted], values, tensor_function)
    grads = [None] * len(form.tensors)
    c = node.ctx
    for (i, _), r in zip(wanted, results):
        if not isinstance(r, Tensor):
            r = g * 0 + r
        shape = c.shapes[i] if c.__class__ is Slow and c.shapes is not None else None
        grads[i] = r if shape is None else sum_to_size(r, shape)
    return tuple(grads)


def write_out(name, out, result, tensors):
    """Put a result into the ``out=`` tensor (resized if its shape differs) and return it."""
    if modes.is_grad_enabled() and (out._rg or any(t._rg for t in tensors)):
        raise RuntimeError(f"{name}(): functions with out=... arguments don't support automatic differentiation, but one "
                           "of the arguments requires grad.")
    if not dt.can_cast(result._kind.dtype, out._kind.dtype):
        raise RuntimeError(f"result type {dt.scalar_name(result.dtype)} can't be cast to the desired output type "
                           f"{dt.scalar_name(out.dtype)}")
    if out._shape != result._shape:
        resize(out, result._shape)
    out.copy_(result)
    return out


def resize(t, shape):
    """Give ``t`` a new contiguous shape, with new memory (the old values are dropped)."""
    fresh = make(tuple(shape), t._kind)
    t._buf, t._ptr, t._n, t._shape, t._strides = fresh._buf, fresh._ptr, fresh._n, fresh._shape, None


__all__ = ["general", "launch", "record", "raw", "is_contiguous"]
