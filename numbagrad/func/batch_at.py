"""Rules of batches for what is read, written and added up at places."""

from __future__ import annotations

from ..autograd import engine
from ..core.creation import arange
from .batch_rules import rule, run, shifted
from .batched import batched
from .levels import outside


def by_index(level, op, tensors, index, params, shape=None):
    """An op at the places of one index tensor. The index of ``gather`` and its kin has the tensor's dimensions, and gets the
    batch with it; to others, if they are the same for all, the batch is a last dimension more."""
    given = dict(zip(op.params, params))
    aligned = given["where"].__name__ in ("_gathered", "_turned", "where")
    rank = len(given["shape"] if "shape" in given else tensors[0]._shape)
    if not rank:
        return NotImplemented
    if aligned and len(index._shape) == rank and all([len(t._shape) == rank for t in tensors]):
        later = shifted(op, params, rank)
        later = [(level.size, *p) if n == "shape" else p for n, p in zip(op.params, later)]
        return run(level, op, [*map(level.spread, tensors), level.spread(index)], later)
    if aligned or level.own(index) or given["where"].__name__ not in (
            "of_one", "_selected", "_copied", "_index_added", "_filled"):
        return NotImplemented
    later = [p % rank if n == "dim" else (*p, level.size) if n == "shape" else p for n, p in zip(op.params, params)]
    return batched(level, outside(op.call_in_order, (*[level.spread(t).movedim(0, -1) for t in tensors], index), tuple(later)
                                  ).movedim(-1, 0))


@rule("taken", "piled", "placed")
def at_index(level, op, args, params):
    """Elements at one index tensor."""
    if engine.current_run() is None:
        return NotImplemented
    *tensors, index = args
    if op.name == "placed" and len(tensors[0]._shape) != len(tensors[1]._shape):
        return NotImplemented
    return by_index(level, op, tensors, index, params)


@rule("rows_of")
def rows_of(level, op, args, params):
    """Rows of a table: of one for all, or of that of each element, behind one another."""
    weight, index = args
    if not level.own(weight):
        return run(level, op, [weight, index.value], params)
    padding, scale = params
    if scale:
        return NotImplemented
    rows = weight._shape[0]
    if padding >= 0:
        return NotImplemented
    index = level.spread(index)
    first = (arange(level.size) * rows).reshape(level.size, *(1,) * (len(index._shape) - 1))
    return batched(level, outside(op.call, weight.value.reshape(level.size * rows, *weight.value._shape[2:]), index + first))


@rule("sum_rows")
def sum_rows(level, op, args, params):
    """Rows added at indices: those of each element behind the ones before."""
    g, index = args
    given = dict(zip(op.params, params))
    if given["padding_idx"] >= 0 or given["scale_grad_by_freq"]:
        return NotImplemented
    index = level.spread(index)
    rows = given["rows"]
    first = (arange(level.size) * rows).reshape(level.size, *(1,) * (len(index._shape) - 1))
    more = [p * level.size if n == "rows" else p for n, p in zip(op.params, params)]
    out = outside(op.call_in_order, (level.spread(g), index + first), tuple(more))
    return batched(level, out.reshape(level.size, rows, *out._shape[1:]))
