"""The general path of an elementwise op: numbers, promotion, broadcasting, strides, devices, modes.

The common case (equal kinds and shapes, row-major, default mode) never comes here: see ``elementwise_fast``.
"""

from __future__ import annotations

from ..base import arguments, modes, overriding
from ..base import dtypes as dt
from ..base.sparse import SparseArgument, instead
from ..core import graph, storage
from ..core.broadcast import broadcast_shapes
from ..core.graph import new_node, note_forward
from ..core.launch import launch, prepare, share
from ..core.out import check_out, write_out
from ..core.overlap import check_partial, overlaps, unrecorded
from ..core.promotion import check_dtype, common_device, common_dtype, is_number
from ..core.tensor import Tensor, bump_version, make, mark_inference
from ..kernel.tape import TAPE
from ..kernel.threads import LIMIT
from . import replays, writes
from .barebones_check import check_barebones


class Slow:
    """Context of a node recorded by the general path: numbers, and the input shapes when they were broadcast; ``plans`` of its
    backward where the call was planned."""

    __slots__ = ("scalars", "shapes", "kind", "plans")

    def __init__(self, scalars, shapes, kind, plans=None):
        self.scalars, self.shapes, self.kind, self.plans = scalars, shapes, kind, plans


_adders: dict = {}  # kind -> entry, once the first sum was made
_walks: dict = {}  # (kind, shape, strides) of what is added -> what ``prepare`` found, if that is not row-major


def add_into(dst, src):
    """``dst += src`` of one kind and shape, ``dst`` row-major, without recording: gradient accumulation."""
    e = _adders.get(dst._kind)
    n, strides = dst._n, src._strides
    if e is not None and not TAPE and strides is None:
        if n < LIMIT[0]:
            e(dst._ptr, src._ptr, dst._ptr, 0, n)
        else:
            share(e, (dst._ptr, src._ptr, dst._ptr), n)
    else:
        from ..core.registry import REGISTRY
        form = REGISTRY["add"].form("tt")
        if strides is not None and dst._kind.cpu and n and n < LIMIT[0] and not TAPE:
            key = dst._kind, dst._shape, strides
            if key not in _walks:
                if len(_walks) >= 4096:
                    _walks.clear()
                _walks[key] = prepare(form.forward, dst._kind.dtype, (dst, src), (dst,), dst._shape)
            entry, before, after, _, _ = _walks[key]
            entry(*before, dst._ptr, src._ptr, dst._ptr, *after)
        else:
            globals()["_adders"] = form.fast_inplace
            if not TAPE:
                remember_inplace(form, "tt", (), dst._kind)
            launch(form.forward, dst._kind.dtype, (dst, src), (), (dst,), dst._shape)
    if TAPE:
        bump_version(dst)
    else:
        dst._ver[0] += 1


def of_tensors(op, args, params, out=None):
    """``general`` of a public call that takes no numbers for tensors, or none for the first."""
    for i, a in enumerate(args if op.takes_numbers == "none" else args[:1]):
        if a.__class__ is not Tensor and is_number(a) and not isinstance(a, Tensor):
            raise refused_number(op, args, i)
    return general(op, args, params, out)


def refused_number(op, args, i):
    """PyTorch's TypeError of what may not stand for tensor ``i``: of one signature, or of two."""
    if op.takes_numbers != "later":
        return arguments.wrong(args[i], "Tensor", op.name, op.tensors[i], i + 1)
    second = op.tensors[1]
    more = "*, Number alpha = 1", "Number alpha = 1"
    more = more if op.name == "rsub" else ("*, Tensor out = None",) * 2
    return TypeError(f"{op.name}() received an invalid combination of arguments - got "
                     f"({', '.join(map(arguments.name_of, args))}), but expected one of:\n" + "".join(
                         [f" * (Tensor input, {sort} {second}, {m})\n" for sort, m in zip(("Tensor", "Number"), more)]))


def general(op, args, params, out=None):
    """Call an elementwise op on any mix of tensors and numbers."""
    if out is None:
        record_ = True if not modes.STATE else modes.recording()
        if record_ is not None:
            entry = op.entries.get(tuple([a.__class__ for a in args]))
            if entry is not None:
                result = entry(record_, *args, *params)
                if result is not None:
                    return result
    return unplanned(op, args, params, out)


def unplanned(op, args, params, out):
    """``general`` of a call that has no plan."""
    if out is not None and op.writes and isinstance(out, Tensor) and writes.repeat(op, out, (*args, *params), fitted):
        return out
    if modes.STATE and (stack := modes.transform()) is not None and (
            found := stack.elementwise(op, args, params, out)) is not NotImplemented:
        return found
    pattern = "".join(["t" if isinstance(a, Tensor) else "s" for a in args])
    if op.takes_numbers == "alone" and "t" not in pattern and all(map(is_number, args)):
        return op.call(*map(scalar, args), *params, out=out)
    if "t" not in pattern or any(p == "s" and not is_number(a) for a, p in zip(args, pattern)):
        asked = overriding.asked(op, named(op, args, params, out))
        if asked is not None:
            return asked[0]
        bad = next((i for i, (a, p) in enumerate(zip(args, pattern)) if p == "s" and not is_number(a)), 0)
        raise refused_number(op, args, bad)
    form = op.form(pattern)
    if "s" in pattern:
        classes = tuple([a.__class__ for a in args])
        if classes not in op.entries and len(op.entries) < 64 and all([c is int or c is float or p == "t" for c, p in
                                                                       zip(classes, pattern)]):
            op.entries[classes] = form.entry()
    tensors = [a for a, p in zip(args, pattern) if p == "t"]
    scalars = [a for a, p in zip(args, pattern) if p == "s"]
    for s in scalars:
        if s.__class__ is int:
            dt.check_long(s)
    if out is not None:
        if not isinstance(out, Tensor):
            asked = overriding.asked(op, named(op, args, params, out))
            if asked is not None:
                return asked[0]
            raise arguments.wrong(out, "Tensor", op.name, "out", None)
        check_partial(out, tensors)
        if op.check_out is not None:
            op.check_out(tensors, out)
    try:
        common = common_dtype(tensors, scalars)
    except SparseArgument as error:
        return instead(op, error)(*args, **dict(zip(op.params, params)))
    compute = form.compute_type(common)
    if op.complex and compute.is_complex:
        from ..core.registry import REGISTRY
        result = REGISTRY[op.complex].callable(*args, *params)
        return result if out is None else write_out(op.name, out, result, tensors, True)
    if op.check is not None:
        op.check((*args, *params), compute)
    if compute.barebones:
        check_barebones(op.name, compute)
    check_dtype(op, compute)
    scalars = fitted(form, [*scalars, *params], compute)
    device = common_device(op.name, tensors)
    plain, operands = True, tensors
    if op.unrounded and pattern == "tt" and compute in dt.HALF:
        operands = met_in_float32(op.unrounded, tensors, compute)
    for i, t in enumerate(tensors):
        if t._kind.dtype is not compute or t._kind.device is not device:
            tensors[i] = t.to(device=device, dtype=compute)
            plain = False
    if operands is not tensors:
        operands[1 - op.unrounded] = tensors[1 - op.unrounded]
    elif not plain and out is None and op.check is None and not op.fits:
        return op.call(*whole_arguments(args, tensors), *params)
    shape = broadcast_shapes(op.name, tensors)
    result_kind = storage.kind_of(form.result_dtype(compute), device)
    if out is not None and takes(out, result_kind, shape, operands):
        check_out(op.name, out, out, tensors, True)
        launch(form.forward, compute, operands, scalars, (out,), shape)
        bump_version(out)
        if plain and operands is tensors:
            writes.remember(form, out, (*args, *params), compute, shape)
        return out
    result = make(shape, result_kind)
    launch(form.forward, compute, operands, scalars, (result,), shape)
    if plain and device.type == "cpu" and compute.category and (
            compute.category >= 2 or not op.params and op.check is None):
        remember(form, pattern, scalars, compute, result_kind)
        numbers = [*[a for a, p in zip(args, pattern) if p == "s"], *params]
        replays.open_programs(form, form.fast, compute, numbers)
    if out is not None:
        return write_out(op.name, out, result, tensors, True)
    record(form, tensors, scalars, result, shape, operands)
    return result


def takes(out, kind, shape, operands):
    """Whether a loop over ``operands`` may write its results of this kind and shape where they shall go."""
    return out._kind is kind and out._shape == shape and unrecorded(out) and not any([
        a._buf is out._buf and overlaps(a, out) for a in operands])


def met_in_float32(i, tensors, compute):
    """The operands of a kernel of a half type, with tensor ``i`` in float32 where it is of another dtype and has no dimensions:
    PyTorch takes its number as it is."""
    t = tensors[i]
    if t._shape or t._kind.dtype is compute or not t._kind.cpu:
        return tensors
    tensors[i] = t.to(dtype=dt.float32)  # what is recorded comes from it, so that all nodes are behind the result
    return [*tensors]


def scalar(number):
    """A tensor without dimensions, of the dtype that a number alone has."""
    from ..core.creation import full
    return full((), number)


def named(op, args, params, out):
    """The arguments of a call by name."""
    return {**dict(zip(op.tensors, args)), **dict(zip(op.params, params)), **({} if out is None else {"out": out})}


def whole_arguments(args, tensors):
    """The arguments of a call with its tensors converted."""
    converted = iter(tensors)
    return [next(converted) if isinstance(a, Tensor) else a for a in args]


def fitted(form, numbers, compute):
    """The numbers of a call, those that have to fit (see ``elementwise``) as ``compute`` holds them."""
    fits, stored = form.op.fits, form.op.stored
    return [(dt.fit if n in stored else dt.parameter)(v, compute) if n in fits else v
            for n, v in zip(form.scalars, numbers)] if fits else numbers


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
    entry = form.forward.native(kind.dtype.compute, codes, codes[:1], inplace=1).entry
    if "s" not in pattern:
        form.fast_inplace[kind] = entry
    elif pattern == "ts" and not form.op.fits:
        if type(scalars[0]) is float and kind.dtype.category == 2:
            form.fast_inplace.setdefault("f", {})[kind] = entry
        if type(scalars[0]) is int:
            form.fast_inplace.setdefault("i", {})[kind] = entry


def record(form, tensors, scalars, result, shape, operands):
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
        if n == "y_":
            saved += [graph.save_output(result), result._ver[0]]
        else:
            t = operands[form.tensors.index(n)]
            saved += [graph.save_input(t), t._ver[0]]
    node.saved = tuple(saved)
    shapes = None if all([t._shape == shape for t in tensors]) else tuple([t._shape for t in tensors])
    node.ctx = Slow(tuple(scalars), shapes, result._kind)
    result._node, result._rg = node, True
    note_forward(node, tensors)
