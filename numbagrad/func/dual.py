"""Dual numbers: the tensors of forward mode, a primal and its tangent, and what each kind of op does with them.

A scalar expression has its derivative, a view and whatever is linear takes the tangent as it takes the primal, a product has
the product rule (``dual_rules``). The tangent of any other op that can be differentiated twice is a gradient of its gradient,
which is linear in what arrives.
"""

from __future__ import annotations

from ..base import dtypes as dt
from ..base import modes
from ..base.transformed import Whole
from ..core.broadcast import broadcast_shapes
from ..core.tensor import Tensor
from ..dispatch.elementwise_backward import by_kernel, recorded_gradient
from ..dispatch.rules import rule_function
from ..kernel import expr
from . import trees
from .batched import batched
from .levels import WRAPPERS, Level, Wrapper, highest, in_place, keeps, look, outside, written
from .reverse import bottoms, finish, given_back, insert, pull, tracked, zeros
from .tables import DUAL_RULES, DUAL_WHOLE


class Dual(Wrapper):
    """A tensor of forward mode."""

    def below(self):
        return (self.primal, self.tangent)

    def over(self, fn):
        return dual(self.level, fn(self.primal), fn(self.tangent))

    def with_primal(self, primal):
        return dual(self.level, primal, self.tangent)

    def like(self, t):
        slope = t.new_zeros(t._shape)
        if isinstance(self.primal, Wrapper):
            t = self.primal.like(t)
        if t._kind.dtype.category < 2:
            return t
        return dual(self.level, t, self.tangent.like(slope) if isinstance(self.tangent, Wrapper) else slope)

    def detach(self):
        return self.primal.detach()

    def item(self):
        return self.primal.item()

    def tolist(self):
        return self.primal.tolist()

    def array(self):
        return self.primal.array()

    def __bool__(self):
        return bool(self.primal)

    def __int__(self):
        return int(self.primal)

    def __float__(self):
        return float(self.primal)

    def __complex__(self):
        return complex(self.primal)

    def __index__(self):
        return self.primal.__index__()

    def __repr__(self, *, tensor_contents=None):
        inside = repr(self.primal)
        return f"{inside[:-1]}, tangent={self.tangent!r})" if inside.endswith(")") else inside

    __hash__ = Tensor.__hash__


WRAPPERS.add(Dual)


def dual(level, primal, tangent):
    """The tensor of a level with that tangent (None: the primal itself)."""
    if tangent is None:
        return primal
    t = object.__new__(Dual)
    if not tangent.is_contiguous() and primal.is_contiguous():
        tangent = tangent.contiguous()  # views of it have to be those of the primal
    t.level, t.primal, t.tangent = level, primal, tangent
    level.entered(t)
    return look(t, primal, primal._shape, primal._strides)


class DualLevel(Level):
    """A running ``jvp``, or a level of ``autograd.forward_ad``."""

    name = "jvp"

    def entered(self, t):
        """Called for each tensor of this level that is made."""

    def own(self, t):
        """Whether something is a tensor of this level."""
        return t.__class__ is Dual and t.level is self

    def primal(self, t):
        return t.primal if t.__class__ is Dual and t.level is self else t

    def tangent(self, t):
        """The tangent, None where there is none."""
        return t.tangent if t.__class__ is Dual and t.level is self else None

    def split(self, nest):
        """A nest of arguments with their primals, and its tensors that have tangents."""
        leaves, spec = trees.flatten(nest)
        return trees.unflatten([self.primal(t) for t in leaves], spec), [t for t in leaves if self.own(t)]

    # --- kinds of ops

    def elementwise(self, op, args, params, out):
        if out is not None:
            raise RuntimeError(f"{op.name}(): functions with out=... arguments don't support automatic differentiation, but "
                               "one "
                               "of the arguments requires grad.")
        primals = [self.primal(a) for a in args]
        call = op.mixed(args)
        y = outside(call, *primals, *params)
        if y._kind.dtype.category < 2 or op.underived:
            return y
        if y._kind.dtype.is_complex:
            return self.by_backward(lambda *a: call(*a, *params), (args, {}), y)
        return dual(self, y, slope(self, op, args, primals, params, y))

    def reduction(self, op, input, dim, keepdim, dtype, out):
        if out is not None:
            raise RuntimeError(f"{op.name}(): functions with out=... arguments don't support automatic differentiation, but "
                               "one "
                               "of the arguments requires grad.")

        def call(x):
            return op.call(x, dim, keepdim, dtype=dtype)
        y = outside(call, input.primal)
        if op.name in LINEAR_REDUCTIONS:
            return dual(self, y, outside(call, input.tangent)) if y._kind.dtype.category > 1 else y
        return self.by_backward(call, ((input,), {}), y)

    def view(self, op, input, geometry, params):
        primal, tangent = outside(op.call, input.primal, *params), outside(op.call, input.tangent, *params)
        if isinstance(primal, tuple):
            return tuple([dual(self, p, t) for p, t in zip(primal, tangent)])
        return dual(self, primal, tangent)

    def custom(self, op, args, params, node_class):
        op.complete()
        rule = op.forward_rule or DUAL_RULES.get(op.name)
        if rule is not None:
            return rule(self, op, args, params)
        if op.name in DUAL_WHOLE or highest(params) is not None:
            raise Whole(f"an op inside of {self.name} is transformed with the function that called it", self.again)
        # Other outputs than the first are what backward needs, where a rule names one gradient alone.
        return self.by_backward(op.call_in_order, ((tuple(args), params), {}), alone="g_" in op.rule_names)

    def again(self, op, *args, **kwargs):
        if in_place(op):
            return written(op, args, kwargs)
        return self.by_backward(op.callable, (args, kwargs))

    def by_backward(self, call, nest, y=None, alone=False):
        """The dual result of a call (``alone``: the first of its outputs is dual): the tangent by two gradients, the second of
        which is of the first with respect to what arrived."""
        mode = modes.current()
        outer = mode.grad and not mode.inference
        (args, kwargs), owned = self.split(nest)
        if y is None:
            y = call(*args, **kwargs)
        outs, spec = trees.flatten(y)
        if not any([isinstance(o, Tensor) and o._kind.dtype.category > 1 for o in outs]):
            return y
        own, memo = {}, {}

        def variable(t):
            if not self.own(t) or t.primal._kind.dtype.category < 2:
                return self.primal(t)
            if id(t) not in memo:
                memo[id(t)] = tracked(t.primal, outer, own, self)
            return memo[id(t)]
        with modes.inference_mode(False), modes.enable_grad():
            args, kwargs = trees.map_tree(variable, nest)
            owned = {id(t): t for t in owned if id(t) in memo}
            xs, vs = [memo[i] for i in owned], [t.tangent for t in owned.values()]
            made = trees.leaves_of(call(*args, **kwargs))
            found = []
            for i, (o, made_o) in enumerate(zip(outs, made)):
                if alone and i or not (isinstance(o, Tensor) and o._kind.dtype.category > 1) or not made_o.requires_grad:
                    found.append(o)
                    continue
                arriving = tracked(made_o.detach().new_zeros(made_o._shape), False, own, self)
                pulled = pull([made_o], xs, [arriving], True)
                pairs = [(g, v) for g, v in zip(pulled, vs) if g is not None and g.requires_grad]
                if not pairs:
                    found.append(o)
                    continue
                gs, ws = zip(*pairs)
                record = outer and any([b.requires_grad for t in (*xs, *ws) for b in bottoms(t)])
                (tangent,) = pull(list(gs), [arriving], list(ws), record)
                found.append(dual(self, o, None if tangent is None else given_back(tangent, own, outer)))
        finish(own)
        return trees.unflatten(found, spec)

    # --- indices and writing

    def getitem(self, x, index):
        primals, _ = self.split(index)
        y = self.primal(x)[primals]
        return dual(self, y, x.tangent[primals]) if self.own(x) else y

    def setitem(self, x, index, value):
        index, _ = self.split(index)
        if not self.own(x):
            raise NotImplementedError("a tangent cannot be written into a tensor that has none inside of jvp: begin with a "
                                      "tensor computed from the input, or use torch.where, torch.stack or torch.cat")
        x.primal[index] = self.primal(value)
        x.tangent[index] = self.tangent(value) if self.own(value) else 0

    def inplace(self, op, t, args, kwargs):
        if not self.own(t):
            raise NotImplementedError("a tangent cannot be written into a tensor that has none inside of jvp: use the form "
                                      "of the "
                                      "operation that is not in place")
        if op == "fill" or op == "copy":
            new = args[0]
            tangent = self.tangent(new)
            (Tensor.fill_ if op == "fill" else Tensor.copy_)(t.primal, self.primal(new))
            if tangent is None:
                t.tangent.zero_()
            else:
                t.tangent.copy_(tangent)
            return t
        new = op.callable(t.clone() if keeps((t, *args)) else t, *args, **kwargs)
        tangent = self.tangent(new)
        primal = self.primal(new)
        if not dt.can_cast(primal._kind.dtype, t._kind.dtype):
            raise RuntimeError(f"result type {dt.scalar_name(primal._kind.dtype)} can't be cast to the desired output type "
                               f"{dt.scalar_name(t._kind.dtype)}")
        if primal._shape != t._shape:
            raise RuntimeError(f"output with shape {list(t._shape)} doesn't match the broadcast shape {list(primal._shape)}")
        t.primal.copy_(primal)
        if tangent is None:
            t.tangent.zero_()
        else:
            t.tangent.copy_(tangent)
        return t


LINEAR_REDUCTIONS = {"sum", "mean"}


def slope(level, op, args, primals, params, y):
    """The tangent of a scalar expression: the derivative with respect to each argument, times its tangent."""
    pattern = "".join(["t" if isinstance(a, Tensor) else "s" for a in primals])
    form = op.form(pattern)
    values = dict(zip((*op.tensors, *op.params), (*primals, *params)))
    values["y_"] = y
    tensors = [(n, a) for n, a, p in zip(op.tensors, args, pattern) if p == "t"]
    values = {n: v.to(y._kind.dtype) if isinstance(v, Tensor) and v._kind.dtype is not y._kind.dtype else v
              for n, v in values.items()}
    plain = highest(values.values()) is None
    total = None
    for i, (_, a) in enumerate(tensors):
        t = level.tangent(a)
        if t is None:
            continue
        if t._kind.dtype is not y._kind.dtype:
            t = t.to(y._kind.dtype)
        if plain and t.__class__ not in WRAPPERS and not keeps((t, *values.values())):
            t = t if t._shape == y._shape else t.expand(y._shape)
            part = by_kernel(form, 1 << i, dict(values), {n: values[n] for n in form.scalars}, t)[0][i]
            if part is not None:
                total = part if total is None else total + part
            continue
        for _, rule in form.outputs_of(1 << i, False):
            part = outside(_evaluated, form, i, rule, {**values, "g_": t})
            if not isinstance(part, Tensor):
                part = t.detach().new_full(t._shape, part)
            total = part if total is None else total + part
    if total is not None and total._shape != y._shape:
        total = total.expand(broadcast_shapes("tangent", (total, y)))
    return total


def _evaluated(form, i, rule, values):
    if form.op.fused:
        return recorded_gradient(form, i, rule, values)
    return expr.evaluate([rule], values, rule_function(values["g_"]))[0]


# --- gradients of dual numbers ----------------------------------------------------------------------------------------

def parted(t, level):
    """(primal, tangent or None) of a tensor at a level, beneath the levels above it."""
    if isinstance(t, Wrapper) and t.level.number > level.number:
        parts = [parted(part, level) for part in t.below()]
        primal = t.over(lambda part: parted(part, level)[0])
        if all([p[1] is None for p in parts]):
            return primal, None
        return primal, t.over(lambda part: _or_zeros(*parted(part, level)))
    return (t.primal, t.tangent) if isinstance(t, Dual) and t.level is level else (t, None)


def _or_zeros(primal, tangent):
    return primal.detach().new_zeros(primal._shape) if tangent is None else tangent


def joined(primal, tangent, level):
    """The reverse of ``parted``: either may have levels above that the other has not."""
    if tangent is None:
        return primal
    top = highest((primal, tangent))
    if top is None or top.number <= level.number:
        return dual(level, primal, tangent)
    if top.size is not None:
        return batched(top, joined(insert(primal, top).value, insert(tangent, top).value, level))
    pairs = [_or_zeros(top.primal(t), top.tangent(t)) for t in (primal, tangent)]
    slope = joined(*pairs, level)
    return dual(top, joined(top.primal(primal), top.primal(tangent), level), slope)


def pull_dual(level, outs, xs, vs, create):
    """``reverse.pull`` where some tensors are dual numbers of a level."""
    primals = [level.primal(x) for x in xs]
    pairs = [parted(v, level) for v in vs]
    first = pull([level.primal(o) for o in outs], primals, [p for p, _ in pairs], create)
    rest = [(level.tangent(o), p) for o, (p, _) in zip(outs, pairs) if level.own(o)]
    rest += [(level.primal(o), t) for o, (_, t) in zip(outs, pairs) if t is not None]
    second = [None] * len(xs)
    if rest:
        second = pull([o for o, _ in rest], primals, [v for _, v in rest], create)
    return [None if p is None and t is None else joined(zeros(x) if p is None else p, t, level)
            for x, p, t in zip(primals, first, second)]


DualLevel.pull = pull_dual
