"""In-place operations: what may be written, the version count, and how history is rewritten.

An in-place op on a tensor that is no view gets a new node in front of the old one; for views see ``views``.
"""

from __future__ import annotations

from ..base import arguments, modes, overriding
from ..base import dtypes as dt
from ..base.sparse import SparseArgument, instead
from ..base.transformed import Transformed
from ..core import copying, graph, makers, replay, storage
from ..core.broadcast import broadcast_shapes
from ..core.graph import Node, new_node, note_forward
from ..core.launch import launch
from ..core.overlap import check_partial, check_single, is_expanded, is_several, overlaps, unrecorded
from ..core.promotion import check_dtype, common_device, common_dtype, is_number
from ..core.replay import Calls
from ..core.tensor import Tensor, bump_version
from ..core.view_history import forbidden, rebase
from ..dispatch import plan, replays, writes
from ..dispatch.barebones_check import check_barebones
from ..dispatch.elementwise_general import Slow, fitted, general, met_in_float32, remember_inplace
from ..kernel.tape import TAPE, active
from ..kernel.threads import LIMIT

STATE = modes.STATE


def check(t, name="", others=()):
    """Raise if ``t`` may not be written in the current mode, from the ``others``; nothing has changed yet."""
    check_mode(t, others)
    check_single(t)
    if others:
        check_partial(t, others)


def check_mode(t, others=()):
    """Raise if history or the current mode forbids writing ``t`` from the ``others``."""
    if t._ver.__class__ is Transformed:
        return
    mode = modes.current()
    if "_inference" in t.__dict__ and not mode.inference:
        raise RuntimeError("Inplace update to inference tensor outside InferenceMode is not allowed.You can make a "
                           "clone to get a normal tensor before doing inplace update.See "
                           "https://github.com/pytorch/rfcs/pull/17 for more details.")
    if not mode.grad or mode.inference:
        return
    if t._view is not None:
        graph.refresh(t)
        view = t._view
        if view.mode is not None and (view.base._rg or t._rg or any([o._rg for o in others])):
            raise RuntimeError(forbidden(t, view.mode))
        if view.base._rg and view.base._node is None or t._rg and t._node is None:
            raise RuntimeError("a view of a leaf Variable that requires grad is being used in an in-place operation.")
    if t._rg and t._node is None:
        raise RuntimeError("a leaf Variable that requires grad is being used in an in-place operation.")


def transformed(op, t, args, kwargs=None):
    """What the transforms that run do in place of an in-place op; NotImplemented where they leave it."""
    stack = modes.transform()
    return NotImplemented if stack is None else stack.inplace(op, t, args, kwargs or {})


def old_self(t):
    """A copy of ``t`` as it is now, with its history: what an in-place op saves of the value it overwrites."""
    old = copying.contiguous_copy(t)
    if t._rg and modes.records():
        graph.with_edge(old, graph.edge(t))
    return old


def apply_function(op, t, args, kwargs):
    """In-place form of any other op: run it on the old value, then make the result this tensor's value and history."""
    if op.loop_of is not None and t.__class__ is Tensor and not t.is_sparse:
        loop, values = op.loop_of(t, *args)
        if loop.writes and writes.repeat(loop, t, values, fitted):
            return t
    if STATE and (found := transformed(op, t, args, kwargs)) is not NotImplemented:
        return found
    try:
        check_mode(t)
    except AttributeError:
        ask = overriding.method(op.name + "_", (t, *args))
        if ask is None:
            raise
        return ask(t, *args, **kwargs)
    if op.write_several is not None and is_several(t) and not t._rg and (len(t._shape) == 2 or is_expanded(t)):
        op.write_several(t, *args, **kwargs)
        bump_version(t)
        return t
    check_single(t)
    if op.name == "clamp":
        given = (*args, *kwargs.values())
        tensors = [a for a in given if isinstance(a, Tensor)]
        if len(tensors) < len(given) and any([hasattr(a, "__torch_function__") for a in given]) and (
                ask := overriding.method("clamp_", (t, *given))) is not None:
            return ask(t, *args, **kwargs)
        check_partial(t, tensors)
    lean = unrecorded(t) and not any([a._rg if isinstance(a, Tensor) else isinstance(a, (tuple, list))
                                      for a in (*args, *kwargs.values())])
    if lean and op.into and all([a._kind is t._kind and a._shape == t._shape for a in args if isinstance(a, Tensor)]):
        return op.callable(t, *args, out=t)
    result = modes.uncast(op.callable, t if lean else old_self(t), *args, **kwargs)
    if result is t:  # (of a real number the conjugate ...)
        bump_version(t)
        return t
    if result._buf is t._buf:  # a view of it
        result = copying.contiguous_copy(result)
    if op.name == "float_power" and result._kind is not t._kind:
        raise RuntimeError(f"the base given to float_power_ has dtype {dt.scalar_name(t._kind.dtype)} but the operation's "
                           f"result requires dtype {dt.scalar_name(result._kind.dtype)}")
    return replace(t, result, op.name + "_")


def replace(t, result, name):
    """Make ``result`` the value and history of ``t``."""
    if not dt.can_cast(result._kind.dtype, t._kind.dtype):
        raise RuntimeError(f"result type {dt.scalar_name(result._kind.dtype)} can't be cast to the desired output type "
                           f"{dt.scalar_name(t._kind.dtype)}")
    if result._shape != t._shape:
        raise RuntimeError(f"output with shape {list(t._shape)} doesn't match the broadcast shape "
                           f"{list(result._shape)} (in {name})")
    if result._kind is not t._kind:
        result = result.to(device=t.device, dtype=t.dtype)
    if t._view is not None and result._rg:
        # The last node of ``result`` need not lead straight to the old value, as history of a view must: copying does.
        return copy_(t, result)
    copying.copy_into(t, result)
    bump_version(t)
    if result._node is not None:
        rebase(t, result._node)
    return t


def apply(op, t, args):
    """Run an elementwise op with its first argument as the output."""
    if STATE and (found := transformed(op, t, args)) is not NotImplemented:
        return found
    if op.special and len(args) == 1 and args[0].__class__ is (
            float if t._kind.dtype.category > 1 else int) and args[0] in op.special:
        return apply(op.special[args[0]], t, ())
    if op.writes and len(args) + 1 == len(op.tensors) + len(op.params) and writes.repeat(op, t, (t, *args), fitted, HISTORY):
        return t
    if not op.params and len(args) + 1 == len(op.tensors):
        operands, params = (t, *args), ()
    else:
        bound = op.signature.bind(t, *args)
        bound.apply_defaults()
        values = bound.arguments
        operands = [values[n] for n in op.tensors]
        params = arguments.checked(op.name + "_", op.signature, op.kinds, {n: values[n] for n in op.params})
    pattern = "".join("t" if isinstance(a, Tensor) else "s" for a in operands)
    for n, a, p in zip(op.tensors, operands, pattern):
        if p == "s" and (a is t or op.takes_numbers == "none" or not is_number(a)):
            ask = overriding.method(op.name + "_", (t, *args))
            if ask is not None:
                return ask(t, *args)
            raise arguments.wrong(a, "Tensor", f"{op.name}_", n, op.tensors.index(n))
    form = op.form(pattern)
    tensors = [a for a, p in zip(operands, pattern) if p == "t"]
    scalars = [a for a, p in zip(operands, pattern) if p == "s"]
    try:
        check(t, op.name + "_", tensors)
        compute = form.compute_type(common_dtype(tensors, scalars))
    except SparseArgument as error:
        return replace(t, instead(op, error)(*operands, **dict(zip(op.params, params))), op.name + "_")
    if compute.is_complex and op.result == "real":
        raise RuntimeError(f"In-place {op.name} is not supported for complex tensors.")
    if compute.is_complex and op.complex:
        return replace(t, op.callable(old_self(t), *args), op.name + "_")
    if op.check is not None:
        op.check((*operands, *params), compute)
    if compute.barebones:
        check_barebones(op.name, compute)
    check_dtype(op, compute)
    numbers = fitted(form, [*scalars, *params], compute)
    result = form.result_dtype(compute)
    if not dt.can_cast(result, t._kind.dtype):
        raise RuntimeError(f"result type {dt.scalar_name(result)} can't be cast to the desired output type "
                           f"{dt.scalar_name(t._kind.dtype)}")
    common_device(op.name + "_", tensors)
    shape = broadcast_shapes(op.name + "_", tensors)
    if shape != t._shape:
        raise RuntimeError(f"output with shape {list(t._shape)} doesn't match the broadcast shape {list(shape)} (in "
                           f"{op.name}_)")
    if compute is not t._kind.dtype:
        # Promoted arithmetic, then a conversion into the target's type.
        out = op.call(*operands, *params) if not params else general(op, operands, params)
        return t.copy_(out)
    operands = tensors
    if op.unrounded and pattern == "tt" and compute in dt.HALF:
        operands = met_in_float32(op.unrounded, tensors, compute)
    for i, a in enumerate(tensors):
        if a._kind is not t._kind:
            tensors[i] = a.to(device=t.device, dtype=compute)
        elif i and a is not t and a._buf is t._buf and overlaps(a, t):
            tensors[i] = a.clone()
    record = modes.records() and form.differentiable and any(a._rg for a in tensors)
    node = None
    if record:
        node = prepare(form, t, tensors, numbers, shape, operands)
    launch(form.forward, compute, operands, numbers, (t,), shape)
    bump_version(t)
    if t._kind.cpu and result is compute:
        if compute.category >= 2 or compute.category and not op.params and op.check is None:
            remember_inplace(form, pattern, scalars, t._kind)
        if operands is tensors and op.in_order:
            writes.remember(form, t, (t, *args), compute, shape)
    if node is not None:
        finish(form, node, t)
    return t


def prepare(form, t, tensors, scalars, shape, operands):
    """The node of an in-place op before it runs: edges and saved inputs with their present versions."""
    edges, mask = [], 0
    for i, a in enumerate(tensors):
        if a._view is not None:
            graph.refresh(a)
        if a._rg:
            mask |= 1 << i
            edges.append(graph.edge(a))
        else:
            edges.append(None)
    node = new_node(form.node_class, tuple(edges))
    saved = []
    for n in form.saves(mask, t._kind.dtype.is_complex):
        if n == "y_":
            saved += [None, None]
        else:
            a = operands[form.tensors.index(n)]
            saved += [old_self(a), 0] if a is t else [graph.save_input(a), a._ver[0]]
    node.saved = tuple(saved)
    shapes = None if all(a._shape == shape for a in tensors) else tuple(a._shape for a in tensors)
    if shapes is None and all([a._strides is None and a._kind is t._kind for a in (t, *operands)]):
        node.ctx = tuple(scalars) or None  # as of a call that makes its result
    else:
        node.ctx = Slow(tuple(scalars), shapes, t._kind)
    note_forward(node, tensors)
    return node


def finish(form, node, t):
    """Fill in the saved output, now that it exists, and rewrite the history of ``t``."""
    if None in node.saved:
        saved = list(node.saved)
        i = saved.index(None)
        saved[i], saved[i + 1] = graph.save_output(t), t._ver[0]
        node.saved = tuple(saved)
    rebase(t, node)


HISTORY = prepare, finish


class CopyBackwards(Node):
    """Backward of ``copy_``: the target's old value gets zero, the source what arrives, summed to its shape."""

    __slots__ = ()

    def name(self):
        return "torch::autograd::CopyBackwards"

    def backward(self, g):
        from ..core.broadcast import sum_to_size
        shape, kind = self.ctx
        own = g.new_zeros(g._shape) if self.next[0] is not None else None
        src = None
        if self.next[1] is not None:
            src = sum_to_size(g, shape)
            if src._kind is not kind:
                src = src.to(kind.device, kind.dtype)
        return (own, src)


COPIED = Calls(2)  # becomes the native function
copies = plan.Table()
copies.calls = COPIED


def copy_(self, src, non_blocking=False):
    """Copy ``src``, broadcast and converted, into this tensor and return it."""
    record = True if not STATE else modes.recording()
    if record is not None and COPIED(record, src, self) is not None:
        bump_version(self)
        return self
    if src.__class__ is Tensor and src._buf is not self._buf and unrecorded(self) and unrecorded(src) and (
            src._shape == self._shape and self._strides is None or not is_several(self)
            and broadcast_shapes("copy_", (self, src)) == self._shape):
        copying.copy_into(self, src)
        if plan.due(copies, (LIMIT[0], *replays.key_of((src, self), ()))):
            writes.write_down(copies.calls, copying.kernel_of(src._kind, self._kind), src._kind.dtype, (src, self), 1, 1)
        bump_version(self)
        return self
    if src.__class__ is Tensor and src._buf is self._buf and src._ptr == self._ptr and src._kind is self._kind and (
            src._shape == self._shape and src._strides == self._strides and (src is self or not is_several(self))) and (
            unrecorded(self) and unrecorded(src)):  # itself, as the end of x[:, 0] += y has it
        bump_version(self)
        return self
    if not isinstance(src, Tensor):
        ask = overriding.method("copy_", (src,))
        if ask is not None:
            return ask(self, src, non_blocking)
        raise arguments.wrong(src, "Tensor", "copy_", "other", 1)
    if STATE and (found := transformed("copy", self, (src,))) is not NotImplemented:
        return found
    check(self, "copy_", (src,))
    if broadcast_shapes("copy_", (self, src)) != self._shape:
        raise RuntimeError(f"output with shape {list(self._shape)} doesn't match the broadcast shape "
                           f"{list(broadcast_shapes('copy_', (self, src)))} (in copy_)")
    record = modes.records() and (self._rg or src._rg) and self._kind.dtype.category >= 2
    node = None
    if record:
        node = new_node(CopyBackwards, (graph.edge(self) if self._rg else None,
                                              graph.edge(src) if src._rg else None))
        node.ctx = (src._shape, src._kind)
    source = src.detach()
    if src._buf is self._buf and overlaps(src, self):
        source = copying.contiguous_copy(source)
    if src._kind.device is not self._kind.device:
        source = source.to(self.device)
    copying.copy_into(self, source)
    bump_version(self)
    if node is not None:
        rebase(self, node)
    return self


class FillBackward2(Node):
    """Backward of ``zero_`` and ``fill_``: nothing of the old value is left; a tensor value gets the sum."""

    __slots__ = ()

    def backward(self, g):
        grads = [g.new_zeros(g._shape) if self.next[0] is not None else None]
        if len(self.next) > 1:
            grads.append(g.sum().to(self.ctx.device, self.ctx.dtype) if self.next[1] is not None else None)
        return tuple(grads)


class FillBackward3(FillBackward2):
    __slots__ = ()


class ZeroBackward0(FillBackward2):
    __slots__ = ()


def fill_(self, value, cls=None):
    """Set every element to ``value`` (a number or a 0-d tensor) and return this tensor."""
    try:
        kind = self._kind
    except AttributeError as error:
        return overriding.again(fill_, error, self, value)
    if value.__class__ in NUMBERS and kind.direct and unrecorded(self):
        write(self, dt.fit(value, self._kind.dtype))
        bump_version(self)
        return self
    if STATE and (found := transformed("fill", self, (value,))) is not NotImplemented:
        return found
    src = value if isinstance(value, Tensor) else None
    check_mode(self, () if src is None else (src,))
    if src is not None and src._shape:
        raise RuntimeError(f"fill_ only supports 0-dimension value tensor but got tensor with {len(src._shape)} "
                           "dimensions.")
    record = modes.records() and (self._rg or (src is not None and src._rg))
    node = None
    if record:
        edges = [graph.edge(self) if self._rg else None]
        if src is not None:
            edges.append(graph.edge(src) if src._rg else None)
        node = new_node(cls or (FillBackward2 if src is None else FillBackward3), tuple(edges))
        node.ctx = None if src is None else src._kind
    if TAPE and active() is not None and src is not None:
        copying.copy_into(self, src)
    else:
        if src is not None:
            value = (src if src._kind.dtype is self._kind.dtype else src.detach().to(self.dtype)).item()
        _fill(self, value)
    bump_version(self)
    if node is not None:
        rebase(self, node)
    return self


def _fill(t, value):
    zero = value.__class__ is int and value == 0
    value = dt.fit(value, t._kind.dtype)
    if TAPE:
        recorder = active()
        if recorder is not None:
            return recorder.fill_with(t, value)
    if not t._kind.direct:
        return copying.fill_into(t, value)
    write(t, 0 if zero else value)
    return None


NUMBERS = frozenset((int, float))


def write(t, value):
    """Set every element in memory that NumPy may write."""
    buf = t._buf
    if t._strides is None:
        if buf.size == t._n and buf.dtype is t._kind.np:
            if t._n < copying.LARGE:
                buf.fill(value)
            elif value.__class__ is int and not value and t._n < LIMIT[0]:
                storage.fill_array(buf, value)
            else:
                copying.fill_into(t, value)
        else:
            copying.fill_into(t, value)
    else:
        storage.fill_array(t.array(), value)


def zero_(self):
    """Set every element to zero and return this tensor."""
    try:
        kind = self._kind
    except AttributeError as error:
        return overriding.again(zero_, error, self)
    if kind.cpu and not STATE and not TAPE and self._n < LIMIT[0] and makers.clear(self, kind.itemsize):
        bump_version(self)
        return self
    if kind.direct and unrecorded(self):
        write(self, 0)
        bump_version(self)
        return self
    return fill_(self, 0, ZeroBackward0)


def install():
    Tensor.copy_, Tensor.fill_, Tensor.zero_ = replay.attach(copy_), fill_, zero_


__all__ = ["apply", "check", "install", "rebase"]
