"""The general path of an elementwise op: numbers, promotion, broadcasting, strides, devices, modes, and its backward.

The common case (equal kinds and shapes, row-major, default mode) never comes here: see ``generate``.
"""

from __future__ import annotations

import numbers
import warnings
from itertools import starmap

import numpy as np

from .. import dtypes as dt
from .. import modes, storage
from ..autograd import graph
from ..geometry import expanded_strides
from ..kernel import emit
from ..kernel.tape import TAPE, active
from ..kernel.threads import LIMIT
from ..overlap import check_partial, check_single
from ..tensor import Tensor, bump_version, contiguous_strides, is_contiguous, make, mark_inference, raw
from .rules import rule_function


class Slow:
    """Context of a node recorded by the general path: numbers, and the input shapes when they were broadcast."""

    __slots__ = ("scalars", "shapes", "kind")

    def __init__(self, scalars, shapes, kind):
        self.scalars, self.shapes, self.kind = scalars, shapes, kind


def storage_peek(address):
    """Stands in for the native reader on an interpreter whose arrays are laid out differently."""
    import ctypes
    return ctypes.c_int64.from_address(address).value


_adders: dict = {}  # kind -> entry, once the first sum was made


def add_into(dst, src):
    """``dst += src`` for two row-major tensors of one kind and shape, without recording: gradient accumulation."""
    e = _adders.get(dst._kind)
    if e is not None and dst._n < LIMIT[0] and not TAPE:
        e(dst._ptr, src._ptr, dst._ptr, 0, dst._n)
    else:
        from .registry import REGISTRY
        form = REGISTRY["add"].form("tt")
        globals()["_adders"] = form.fast_inplace
        if not TAPE:
            remember_inplace(form, "tt", (), dst._kind)
        launch(form.forward, dst._kind.dtype, (dst, src), (), (dst,), dst._shape)
    if TAPE:
        bump_version(dst)
    else:
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
    if out is not None:
        if not isinstance(out, Tensor):
            raise TypeError(f"{op.name}(): argument 'out' must be Tensor, not {type(out).__name__}")
        check_partial(out, tensors)
    common = common_dtype(tensors, scalars)
    compute = form.compute_type(common)
    if op.complex and compute.is_complex:
        from .registry import REGISTRY
        result = REGISTRY[op.complex].callable(*args, *params)
        return result if out is None else write_out(op.name, out, result, tensors, True)
    if op.check is not None:
        op.check((*args, *params), compute)
    check_dtype(op, compute)
    scalars = fitted(form, [*scalars, *params], compute)
    device = common_device(op.name, tensors)
    plain = True
    for i, t in enumerate(tensors):
        if t._kind.dtype is not compute or t._kind.device is not device:
            tensors[i] = t.to(device=device, dtype=compute)
            plain = False
    shape = broadcast_shapes(op.name, tensors)
    result_kind = storage.kind_of(form.result_dtype(compute), device)
    result = make(shape, result_kind)
    launch(form.forward, compute, tensors, scalars, (result,), shape)
    if plain and device.type == "cpu" and compute.category and (
            compute.category >= 2 or not op.params and op.check is None):
        remember(form, pattern, scalars, compute, result_kind)
    if out is not None:
        return write_out(op.name, out, result, tensors, True)
    record(form, tensors, scalars, result, shape)
    return result


def fitted(form, numbers, compute):
    """The numbers of a call, those that have to fit (see ``elementwise``) as ``compute`` holds them."""
    fits = form.op.fits
    return [dt.parameter(v, compute) if n in fits else v for n, v in zip(form.scalars, numbers)] if fits else numbers


def remember(form, pattern, scalars, compute, result_kind):
    """Open the fast path for this kind: the general path found that it needs no conversion."""
    if compute.is_complex or TAPE:
        return
    kind = storage.kind_of(compute)
    codes = (compute.code,) * len(form.tensors)
    entry = (form.forward.native(compute.compute, codes, (result_kind.dtype.code,)).entry, result_kind.np, result_kind)
    if "s" not in pattern:
        form.fast[kind] = entry
    elif pattern == "ts":
        if type(scalars[0]) is float and compute.category == 2:
            form.fast.setdefault("f", {})[kind] = entry
        if type(scalars[0]) is int and (compute.category == 2 or not form.op.fits):
            form.fast.setdefault("i", {})[kind] = entry


def remember_inplace(form, pattern, scalars, kind):
    """Open the fast path of the in-place form for this kind."""
    if not kind.cpu or kind.dtype.is_complex or TAPE:
        return
    codes = (kind.dtype.code,) * len(form.tensors)
    entry = form.forward.native(kind.dtype.compute, codes, codes[:1], inplace=True).entry
    if "s" not in pattern:
        form.fast_inplace[kind] = entry
    elif pattern == "ts" and not form.op.fits:
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
    if not ok or d.is_complex and not op.takes_complex:
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


def raw_scalars(compute, scalars):
    if compute.is_complex:
        flat = []
        for s in scalars:
            s = complex(s)
            flat += [s.real, s.imag]
        return flat
    if compute.category > 1:
        return [float(s) for s in scalars]
    return [s if s.__class__ is int and -127 <= s <= 127 else dt.fit(int(s), dt.int64) for s in scalars]


_plans: dict = {}  # (shape, geometry of each operand) -> strided plan: finding the strides takes longer than a small loop


def launch(pointwise, compute, ins, scalars, outs, shape):
    """Run a pointwise kernel: contiguous or strided, on one thread or several, on the CPU or a GPU."""
    if TAPE:
        recorder = active()
        if recorder is not None:
            return recorder.pointwise(pointwise, compute, ins, scalars, outs, shape)
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
    key = (shape, *[(t._shape, t._strides) for t in tensors])
    found = _plans.get(key)
    if found is None:
        if len(_plans) >= 8192:
            _plans.clear()
        found = _plans[key] = emit.plan(shape, tuple([expanded_strides(t, shape) for t in tensors]))
    meta, address, rows = found
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
        if g._kind.cpu and not complex_ and node.ctx.__class__ is not Slow and not TAPE:
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
    form, mask = node.form, _mask(node)
    if node.saved is None:
        graph.freed()
    complex_ = g._kind.dtype.is_complex
    values = _unpacked(node, form, mask, complex_)
    values["g"] = g
    values.update(zip(form.scalars, _numbers(node)))
    wanted = form.outputs_of(mask, complex_)
    if form.op.fused and not complex_:
        results = [recorded_gradient(form, i, r, values) for i, r in wanted]
    else:
        results = expr.evaluate([r for _, r in wanted], values, rule_function(values["g"]))
    grads = [None] * len(form.tensors)
    c = node.ctx
    for (i, _), r in zip(wanted, results):
        if not isinstance(r, Tensor):  # zeros that depend on nothing
            r = g.detach().new_full(g._shape, r)
        shape = c.shapes[i] if c.__class__ is Slow and c.shapes is not None else None
        grads[i] = r if shape is None else sum_to_size(r, shape)
    return tuple(grads)


def recorded_gradient(form, i, rule, values):
    """The gradient of tensor ``i`` by the op that the form has for it."""
    if rule.op in ("var", "const"):
        return values["g"] if rule.op == "var" else rule.value
    op = form.recorded(i)
    saved = [values["y" if n == op.y else n] for n in op.saved]
    return op.call(values["g"], *saved, *[values[n] for n in op.numbers])


def write_out(name, out, result, tensors, cast=False):
    """Put a result into the ``out=`` tensor (resized if its shape differs) and return it; see ``check_out``."""
    check_out(name, out, result, tensors, cast)
    return _put(out, result)


def write_outs(name, outs, results, tensors, cast=False):
    """``write_out`` for several results: all are checked before the first is written."""
    if not isinstance(outs, (tuple, list)):
        raise TypeError(f"{name}(): argument 'out' must be tuple of Tensors, not {type(outs).__name__}")
    if len(outs) != len(results):
        raise TypeError(f"expected tuple of {len(results)} elements but got {len(outs)}")
    for out, result in zip(outs, results):
        check_out(name, out, result, tensors, cast)
    return [_put(out, result) for out, result in zip(outs, results)]


def write_new(name, out, result):
    """Put what a factory function made into the ``out=`` tensor, which takes its shape."""
    check_out(name, out, result, (), True)
    if out._shape != result._shape:
        resize(out, result._shape)
    return _put(out, result)


def check_out(name, out, result, tensors, cast=False):
    """Raise unless ``result``, which was made of ``tensors``, may be written into ``out``; ``cast``: with a conversion."""
    if not isinstance(out, Tensor):
        raise TypeError(f"{name}(): argument 'out' must be Tensor, not {type(out).__name__}")
    d, to = result._kind.dtype, out._kind.dtype
    if modes.is_grad_enabled() and (out._rg or d.category > 1 and any([t._rg for t in tensors])):
        raise RuntimeError(f"{name}(): functions with out=... arguments don't support automatic differentiation, but one "
                           "of the arguments requires grad.")
    if out._kind.device is not result._kind.device:
        raise RuntimeError(f"Expected out tensor to be on the same device as the result of {name}(), but found "
                           f"{out._kind.device} and {result._kind.device}")
    if not dt.can_cast(d, to):
        raise RuntimeError(f"result type {dt.scalar_name(d)} can't be cast to the desired output type {dt.scalar_name(to)}")
    if not cast and d is not to:
        raise RuntimeError(f"Expected out tensor to have dtype {dt.c_name(d)}, but got {dt.c_name(to)} instead")
    if out._shape == result._shape:
        check_single(out)
    check_partial(out, tensors)


def _put(out, result):
    if out._shape != result._shape:
        if out._n:
            warnings.warn(f"An output with one or more elements was resized since it had shape {list(out._shape)}, which "
                          f"does not match the required output shape {list(result._shape)}. This behavior is deprecated, "
                          "and in a future PyTorch release outputs will not be resized unless they have zero elements. You "
                          "can explicitly reuse an out tensor t by resizing it, inplace, to zero elements with "
                          "t.resize_(0).", UserWarning, stacklevel=3)
        resize(out, result._shape)
    out.copy_(result.detach())
    return out


def resize(t, shape):
    """Give ``t`` a new contiguous shape, with new memory (the old values are dropped)."""
    fresh = make(tuple(shape), t._kind)
    t._buf, t._ptr, t._n, t._shape, t._strides = fresh._buf, fresh._ptr, fresh._n, fresh._shape, None


__all__ = ["general", "launch", "record", "raw", "is_contiguous"]
