"""Batches: the tensors of ``vmap``, and what each kind of op does with them.

A value has the batch as its first dimension. Elementwise ops line the others up behind it; a view names the same places in each
element, so its geometry gets one dimension more; a reduction counts its dimensions from the next one. Ops with kernels of their
own have rules (``batch_rules``), and those without one run in a loop, with PyTorch's warning. Functions of other ops need none.
"""

from __future__ import annotations

import warnings

from ..autograd import engine
from ..base.shapes import contiguous_strides
from ..base.transformed import Whole
from ..base.user_code import user_level
from ..core.promotion import common_dtype
from ..core.registry import REGISTRY
from ..core.tensor import Tensor
from ..dispatch.elementwise_backward import by_kernel
from ..dispatch.reduction import normalize_dims
from ..dispatch.view import ViewOp, make_view
from . import trees
from .levels import WRAPPERS, Level, Wrapper, highest, in_place, keeps, look, outside, written
from .tables import BATCH_FUNCTIONS, BATCH_RULES, BATCH_WHOLE

CONTROL = ("vmap: It looks like you're attempting to use a Tensor in some data-dependent control flow. We don't support that "
           "yet, please file an issue at https://github.com/pytorch/pytorch/issues .")
ITEM = ("vmap: It looks like you're calling .item() on a Tensor. We don't support vmap over calling .item() on a Tensor, "
        "please "
        "try to rewrite what you're doing with other operations. If error is occurring somewhere inside PyTorch internals, "
        "please "
        "file a bug report.")


class Batched(Wrapper):
    """A tensor of ``vmap``: ``value`` has the batch as its first dimension."""

    def below(self):
        return (self.value,)

    def over(self, fn):
        return batched(self.level, fn(self.value))

    def item(self):
        raise RuntimeError(ITEM)

    def tolist(self):
        return self.numpy()

    def array(self):
        self.missing()

    def __bool__(self):
        raise RuntimeError(CONTROL)

    __float__ = __int__ = __index__ = __complex__ = item

    def like(self, t):
        inner = self.value
        t = expand(t, self.level.size).clone()
        return batched(self.level, inner.like(t) if isinstance(inner, Wrapper) else t)

    def detach(self):
        return self.over(lambda t: t.detach())

    def __repr__(self, *, tensor_contents=None):
        inside = "\n".join("    " + line for line in repr(self.value).splitlines())
        return f"BatchedTensor(lvl={self.level.depth}, bdim=0, value=\n{inside}\n)"

    __hash__ = Tensor.__hash__


WRAPPERS.add(Batched)


def batched(level, value):
    """The tensor of a level around a value."""
    t = object.__new__(Batched)
    t.level, t.value = level, value
    return look(t, value, value._shape[1:], None if value._strides is None else value._strides[1:])


def expand(value, size):
    """A value that is the same for all of a batch."""
    return value.unsqueeze(0).expand(size, *value._shape)


class BatchLevel(Level):
    """A running ``vmap``."""

    name = "vmap"
    watch = draw = None  # of ``batch_random``

    def __init__(self, size, randomness="error"):
        super().__init__()
        self.size, self.randomness, self.depth = size, randomness, 1

    def __enter__(self):
        self.watch.begin()
        super().__enter__()
        self.depth = 1 + len(self.outer.levels if self.outer else ())
        return self

    def __exit__(self, *error):
        super().__exit__(*error)
        self.watch.end()

    # --- values

    def own(self, t):
        """Whether something is a tensor of this level."""
        return t.__class__ is Batched and t.level is self

    def value(self, t):
        """The value of a tensor of this level; anything else is below it as it is."""
        return t.value if t.__class__ is Batched and t.level is self else t

    def spread(self, t):
        """The value of any tensor, with the batch."""
        return t.value if self.own(t) else expand(t, self.size)

    def wrap(self, result):
        """Each tensor of a result as one of this level."""
        if isinstance(result, Tensor):
            return batched(self, result)
        if isinstance(result, (tuple, list)):
            parts = [self.wrap(r) for r in result]
            return type(result)(*parts) if trees.is_named(result) else type(result)(parts)
        return result

    def lined_up(self, t, rank):
        """The value with as many dimensions behind the batch as ``rank`` says."""
        if not self.own(t):
            return t
        value, missing = t.value, rank - len(t._shape)
        if missing > 0:
            value = value.reshape(value._shape[0], *(1,) * missing, *value._shape[1:])
        return value

    # --- kinds of ops

    def elementwise(self, op, args, params, out):
        if out is not None:
            raise RuntimeError(f"Batching rule not implemented for aten::{op.name}.out; the fallback path doesn't work on "
                               "out= or "
                               "view ops.")
        tensors = [a for a in args if isinstance(a, Tensor)]
        if any([t._kind is not tensors[0]._kind for t in tensors]):
            # Tensors without dimensions count less in promotion; with the batch they would count.
            common = common_dtype(tensors, [a for a in args if not isinstance(a, Tensor)])
            args = [a.to(common) if isinstance(a, Tensor) and a._kind.dtype is not common and (
                common.category >= a._kind.dtype.category) else a for a in args]
        rank = max([len(t._shape) for t in tensors])
        args = [self.lined_up(a, rank) if isinstance(a, Tensor) else a for a in args]
        return batched(self, outside(op.mixed(args), *args, *params))

    def gradients(self, form, mask, values, numbers, g):
        if highest((g.value, *values.values())) is not None or keeps((g, *values.values())):
            return None
        found = by_kernel(form, mask, dict(values), dict(zip(form.scalars, numbers)), g.value)[0]
        return [None if r is None else batched(self, r) for r in found]

    def reduction(self, op, input, dim, keepdim, dtype, out):
        if out is not None:
            raise RuntimeError(f"Batching rule not implemented for aten::{op.name}.out; the fallback path doesn't work on "
                               "out= or "
                               "view ops.")
        value, rank = input.value, len(input._shape)
        dims = normalize_dims(dim, rank)
        if len(dims) == rank != 1 and not keepdim:
            value, dims, keepdim = value.reshape(value._shape[0], -1 if value._n else input._n), (0,), False
        dims = tuple([d + 1 for d in dims])
        return batched(self, outside(op.call, value, dims[0] if len(dims) == 1 else dims, keepdim, dtype=dtype))

    def view(self, op, input, geometry, params):
        if op.several:
            return self._parts(op, input, geometry, params)
        value = input.value
        if op.retyped:
            return batched(self, op.call(value, *params))
        return batched(self, outside(make_view, in_batch, value, *widened(value, *geometry[:3]), (op, params)))

    def _parts(self, op, input, geometry, params):
        given = dict(zip(op.params, params))
        dim = given["dim"] % max(len(input._shape), 1)
        if op.name == "unbind":
            return tuple([input.select(dim, i) for i in range(len(geometry))])
        outs, start = [], 0
        for shape, *_ in geometry:
            outs.append(input.narrow(dim, start, shape[dim]))
            start += shape[dim]
        return tuple(outs)

    def custom(self, op, args, params, node_class):
        rule = op.batch_rule or BATCH_RULES.get(op.name)
        if rule is not None:
            found = rule(self, op, args, params)
            if found is not NotImplemented:
                return found
        if op.name in BATCH_WHOLE and engine.current_run() is None or highest(params) is not None:
            self._missing()  # (a gradient rule has no function around it)
        return self.loop(op, op.call_in_order, (args, params))

    def _missing(self):
        raise Whole(f"an op inside of {self.name} is transformed with the function that called it", self.again)

    def loop(self, op, call, nest):
        """``call`` for each element of the batch, and the results stacked."""
        warnings.warn("There is a performance drop because we have not yet implemented the batching rule for "
                      f"aten::{op.torch_name if hasattr(op, 'torch_name') else op}. Please file us an issue on GitHub so that "
                      "we can help you fix this.", UserWarning, stacklevel=user_level())
        return self.each(call, nest)

    def each(self, call, nest):
        """``loop`` without a warning."""
        if not self.size:
            raise RuntimeError("Batching rule not implemented for a batch of size zero; the fallback path doesn't work on it")
        leaves, spec = trees.flatten(nest)
        parts = [t.value.unbind(0) if self.own(t) else None for t in leaves]
        results = []
        for i in range(self.size):
            found = trees.unflatten([t if p is None else p[i] for t, p in zip(leaves, parts)], spec)
            results.append(trees.flatten(outside(call, *found)))
        spec = results[0][1]
        joined = []
        for column in zip(*[r[0] for r in results]):
            if isinstance(column[0], Tensor):
                if any([t._shape != column[0]._shape for t in column]):
                    raise RuntimeError("vmap: the results of the elements of a batch have different sizes: "
                                       f"{[list(t._shape) for t in column]}")
                joined.append(batched(self, stacked(column)))
            elif any([v != column[0] for v in column]):
                raise RuntimeError(CONTROL)
            else:
                joined.append(column[0])
        return trees.unflatten(joined, spec)

    def again(self, op, *args, **kwargs):
        """A function of other ops that works on memory: its rule, or a loop."""
        rule = BATCH_FUNCTIONS.get(op.name)
        if rule is not None:
            found = rule(self, op, *args, **kwargs)
            if found is not NotImplemented:
                return found
        if in_place(op):
            return written(op, args, kwargs)
        if op.random:
            return self.random_again(op, *args, **kwargs)
        return self.loop(op, lambda a, k: op.callable(*a, **k), (args, kwargs))

    def random_again(self, op, *args, **kwargs):
        """A function that was to draw."""
        return self.draw(op, args, kwargs)


def stacked(tensors):
    """A batch of tensors."""
    return outside(REGISTRY["stack"].callable, list(tensors), 0)


def widened(value, shape, strides, offset):
    """The geometry of a view of a batch, of that of each element."""
    first = (value._strides or contiguous_strides(value._shape))[0]
    return (value._shape[0], *shape), (first, *(contiguous_strides(shape) if strides is None else strides)), offset


class InBatch(ViewOp):
    """A view of each element of a batch; its gradient is that of the view, of a batch."""

    def __init__(self):
        def in_batch(input, op, params):
            """The view of each element of a batch."""
            return widened(input, *op.fn(batched(LOOK, input), *params))
        super().__init__(in_batch, private=True, registered=False, node="ViewBackward0", beyond=True)
        self.node_class.backward = self.node_class.carry

        @self.gradient
        def _(g, shape, op, params):
            with BatchLevel(shape[0]) as level:
                (r,) = (op.evaluate or op.derive())(batched(level, g), shape[1:], params)
                return level.spread(r)


LOOK = BatchLevel(0)  # of what has the sizes of an element, for a look at them
in_batch = InBatch()
