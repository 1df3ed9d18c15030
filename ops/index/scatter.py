"""Reading and writing along a dimension by an index of the same rank: gather, scatter and their reductions."""

from __future__ import annotations

import numpy as np

from numbagrad.base import arguments
from numbagrad.base import dtypes as dt
from numbagrad.base.shapes import wrap_dim
from numbagrad.core.out import write_out
from numbagrad.core.overlap import check_apart
from numbagrad.core.promotion import is_number
from numbagrad.core.tensor import raw
from numbagrad.dispatch.op import add_method, unlisted
from numbagrad.extend import Sample, Tensor, function

from ..view.shape import expanded, reshaped
from . import along
from . import plans as ix
from .by_plan import putter
from .places import shape_of, taken
from .reduced import REDUCTIONS, reduce_in_place, reduced_at
from .select_put import both, outside
from .setitem import held

_gather = taken.recorded_as("GatherBackward0")
_gather.node_class.holds_more = True


def _check_index(name, shape_, dim, index, source=None):
    """Wrap ``dim`` and check ranks and sizes of gather (no source) and scatter."""
    shape, small = shape_ or (1,), index._shape or (1,)
    at = wrap_dim(dim, len(shape))
    if index._n == 0:
        return at
    if index._kind.dtype not in (dt.int64, dt.int32):
        raise RuntimeError(f"{name}(): Expected dtype int32/int64 for index")
    kind = "input" if name == "gather" else "self"
    if len(small) != len(shape):
        raise RuntimeError(f"Index tensor must have the same number of dimensions as {kind} tensor")
    if source is not None and len(source._shape or (1,)) != len(small):
        raise RuntimeError("Index tensor must have the same number of dimensions as src tensor")
    for d in range(len(shape)):
        if d != at and small[d] > shape[d] or source is not None and small[d] > (source._shape or (1,))[d]:
            if name == "gather":
                raise RuntimeError(f"Size does not match at dimension {d} expected index {list(index._shape)} to be no "
                                   f"larger than self {list(shape_)} apart from dimension {at}")
            more = "" if source is None else f" and to be no larger size than src {list(source._shape)}"
            raise RuntimeError(f"Expected index {list(index._shape)} to be no larger than self {list(shape_)} apart from "
                               f"dimension {at}{more}")
    return at


def _fail(i, dim, size):
    raise RuntimeError(f"index {i} is out of bounds for dimension {dim} with size {size}")


def _gathered(shape, dim, index, kind=None, values=None):
    return along.named_within(shape, _check_index("gather", shape, dim, index), index, _fail)


@function(dtypes="any", reference=lambda a, dim, index: _gather_reference(a, dim, index),
          samples=(Sample((3, 4), 1, ("int64", (3, 2), 0, 4)), Sample((3, 4), 0, ("int64", (5, 2), 0, 3))))
def gather(input, dim, index, *, sparse_grad=False, out=None):
    """``out[i][j] = input[index[i][j]][j]`` for dim 0, and so on: elements picked along one dimension."""
    result = _gather.call(input, index, _gathered, dim)
    return result if out is None else write_out("gather", out, result, (input,))


def _turned(shape, dim, index, kind=None, values=None):
    """``where`` of ``take_along_dim``: indices count modulo the size."""
    return (_modulo, (shape, dim)), *along.named_within(shape, dim, index, _fail)[1:]


def _modulo(tensors, shape, dim):
    return along._within((tensors[0].remainder(shape[dim]),), shape, dim, _fail)


def _gather_reference(a, dim, index):
    return np.take_along_axis(a[tuple(slice(None) if d == dim else slice(n) for d, n in enumerate(index.shape))], index, dim)


@function(dtypes="any", reference=lambda a, index, dim=None: np.take_along_axis(a, index, dim),
          samples=(Sample((3, 4), ("int64", (3, 2), 0, 4), 1), Sample((3, 4), ("int64", (5,), 0, 12))))
def take_along_dim(input, indices, dim=None, *, out=None):
    """Elements picked along a dimension; the other dimensions of index and input are broadcast together."""
    if indices._kind.dtype is not dt.int64:
        raise RuntimeError("torch.take_along_dim(): dtype of indices should be Long but got "
                           f"{dt.scalar_name(indices.dtype)}")
    if dim is None:
        return gather.fn(input.reshape(-1), 0, indices.reshape(-1), out=out)
    if len(input._shape) != len(indices._shape):
        raise RuntimeError("torch.take_along_dim(): input and indices should have the same number of dimensions, but got "
                           f"{len(input._shape)} dimensions for input, and {len(indices._shape)} dimensions for indices")
    at = wrap_dim(dim, len(input._shape))
    if out is None and indices._n <= along.LISTED and input._shape[at] and all([
            m == n or d == at for d, (m, n) in enumerate(zip(input._shape, indices._shape))]):
        return _gather.call(input, indices, _turned, at)
    a, b = list(input._shape), list(indices._shape)
    for d in range(len(a)):
        if d != at:
            if a[d] != b[d] and 1 not in (a[d], b[d]):
                raise RuntimeError(f"The size of tensor a ({a[d]}) must match the size of tensor b ({b[d]}) at non-singleton "
                                   f"dimension {d} (in take_along_dim of shapes {a} and {b})")
            a[d] = b[d] = b[d] if a[d] == 1 else a[d]
    x = input if tuple(a) == input._shape else expanded.call(input, tuple(a))
    index = indices if tuple(b) == indices._shape else expanded.call(indices, tuple(b))
    if a[at]:  # PyTorch takes these indices modulo the size
        index = index.remainder(a[at])
    return gather.fn(x, at, index, out=out)


# --- scatter ----------------------------------------------------------------------------------------------------------

def _narrowed(source, index):
    """The part of the source that the index covers."""
    if source._shape == index._shape:
        return source
    if not source._shape or not index._shape:  # a number and a vector of one are alike
        return reshaped(source if source._n == index._n else source.narrow(0, 0, index._n), index._shape)
    for d, n in enumerate(index._shape):
        if source._shape[d] != n:
            source = source.narrow(d, 0, n)
    return source


def _scatter_reference(a, dim, index, src, add=False):
    out = a.copy()
    where = list(np.indices(index.shape))
    where[dim] = index
    values = src[tuple(slice(n) for n in index.shape)] if np.ndim(src) else np.broadcast_to(src, index.shape)
    if add:
        np.add.at(out, tuple(where), values)
    else:
        out[tuple(where)] = values
    return out


_scatter, _scatter_number, _scatter_add = (putter("ScatterBackward0"), putter("ScatterBackward1"),
                                           putter("ScatterAddBackward0"))


def _prepare_scatter(name, input, dim, index, src):
    if src._kind.dtype is not input._kind.dtype:
        raise RuntimeError(f"{name}(): Expected self.dtype to be equal to src.dtype")
    at = _check_index(name, input._shape, dim, index, src)
    return _narrowed(src, index), along.plan_dim(input._shape, at, index, _fail)


def _scatterer(name):
    """``where`` of scatter and its kin with values of the index's shape."""
    def where(shape, dim, index, kind=None, values=None):
        if values is not None and values._kind.dtype is not kind.dtype:
            raise RuntimeError(f"{name}(): Expected self.dtype to be equal to src.dtype")
        return along.named_within(shape, _check_index(name, shape, dim, index, values), index, _fail)
    return where


def _scattered_number(shape, dim, index, kind=None, values=None):
    """``where`` of ``scatter`` of a number."""
    return along.named_within(shape, _check_index("scatter", shape, dim, index), index, _fail)


_scattered, _scatter_added, _scatter_reduced = map(_scatterer, ("scatter", "scatter_add", "scatter_reduce"))


def _scatter_call(which):
    def run(input, dim, index, src=None, *, value=None, reduce=None):
        src = value if src is None else src
        if not which and reduce is None and src.__class__ is Tensor and src._shape == index._shape:
            return _scatter[2].call(input, src, index, _scattered, dim, False)
        if reduce is not None:
            if reduce not in ("add", "multiply"):
                raise RuntimeError("reduce argument must be either add or multiply.")
            if not isinstance(src, Tensor):
                src = expanded.call(ix.scalar_like(src, input), index._shape)
            target = input if which else input.clone()
            values, _ = _prepare_scatter("scatter", target, dim, index, src)
            check_apart(target, (index, src))
            how = "sum" if reduce == "add" else "prod"
            return reduce_in_place(target, values, index, _scattered, dim, how, True, "scatter_")
        if isinstance(src, Tensor):
            values, plan = _prepare_scatter("scatter", input, dim, index, src)
            if which:
                check_apart(input, (index, src))
            return _scatter[which](input, values, plan, False, *(["scatter_"] if which else []))
        if not is_number(src):
            raise TypeError(f"scatter(): argument 'src' (position 3) must be Tensor or Number, not {type(src).__name__}")
        if not which:
            number = held(src, input)
            number = ix.scalar_like(src, input) if number is None else number
            return _scatter_number[2].call(input, number, index, _scattered_number, dim, False)
        at = _check_index("scatter", input._shape, dim, index)
        plan = along.plan_dim(input._shape, at, index, _fail)
        check_apart(input, (index,))
        return _scatter_number[which](input, ix.scalar_like(src, input), plan, False, *(["scatter_"] if which else []))
    return run


def scatter(input, dim, index, src=None, *, value=None, reduce=None):
    """A copy of ``input`` with ``out[index[i][j]][j] = src[i][j]`` for dim 0, and so on; ``src`` may be a number.

    ``reduce`` "add" or "multiply" combines with what is there (not differentiable)."""
    return _scatter_call(0)(input, dim, index, src, value=value, reduce=reduce)


scatter = function(scatter, kinds={"src": "any"}, dtypes="any", out="same", reference=_scatter_reference, samples=(
    Sample((3, 4), 1, ("int64", (3, 1), 0, 4), ("float64", (3, 1))), Sample((3, 4), 0, ("int64", (1, 4), 0, 3), 2.5)))


def scatter_(self, dim, index, src=None, *, value=None, reduce=None):
    """In-place form of ``scatter``."""
    if reduce is None and (src.__class__ is float or src.__class__ is int) and (number := held(src, self)) is not None:
        return _scatter_one(self, index, number, dim)
    if reduce is None and ix.is_few(self, (index, src, value)):
        return ix.take_values(self, scatter(self, dim, index, src, value=value))
    return _scatter_call(1)(self, dim, index, src, value=value, reduce=reduce)


add_method(scatter_, src="any")


def scatter_one_(self, index, values, dim: int):
    """``scatter_`` of a number in a tensor."""
    if ix.is_few(self, (index, values), ix.is_quiet):
        return ix.take_values(self, _scatter_number[2].call(self, values, index, _scattered_number, dim, False))
    return _scatter_call(1)(self, dim, index, values.item())


_scatter_one = unlisted(scatter_one_)


def _of_constant(index, source):
    """The index of an addition as its node may save it: of a constant nothing is read there, so any index will do."""
    if index.__class__ is not Tensor or index._ver is not ix.INFERENCE_VERSION or getattr(source, "_rg", True):
        return index
    return raw(index._buf, index._ptr, index._n, index._shape, index._strides, index._kind, [0])


def _prepare_add(input, dim, index, src):
    if not isinstance(src, Tensor):
        raise arguments.wrong(src, "Tensor", "scatter_add", "src", 3)
    return (*_prepare_scatter("scatter_add", input, dim, _of_constant(index, src), src), True)


def _scatter_add_of(input, dim, index, src):
    if src.__class__ is Tensor and src._shape == index._shape:
        return _scatter_add[2].call(input, src, _of_constant(index, src), _scatter_added, dim, True)
    return None


scatter_add = both("scatter_add", _prepare_add, _scatter_add,
                   "A copy of ``input`` with ``out[index[i][j]][j] += src[i][j]`` for dim 0, and so on.",
                   (Sample((3, 4), 1, ("int64", (3, 2), 0, 4), ("float64", (3, 2))),
                    Sample((3, 4), 0, ("int64", (5, 4), 0, 3), ("float64", (5, 4)))),
                   lambda a, dim, index, src: _scatter_reference(a, dim, index, src, True), quick=_scatter_add_of, out="same")


def _prepare_index_add(input, dim, index, source, *, alpha=1):
    return _along("index_add_", input, dim, _of_constant(index, source), source, alpha)


def _along(name, input, dim, index, source, alpha=1):
    """(values, plan, accumulate) of what ``source`` brings to the slices that ``index`` names, checked."""
    plan = ix.Plan(*_slices(name, input._shape, dim, index, input._kind, source))
    alpha = dt.fit(alpha, source._kind.dtype)
    return source if alpha == 1 else source * alpha, plan, True


def _slices(name, shape, dim, index, kind, source):
    """What ``Plan`` is made of for slices that a vector names; ``source``, if given, is checked, too."""
    at = wrap_dim(dim, len(shape))
    if len(index._shape) > 1:
        raise IndexError(f"{name}(): Index is supposed to be a vector, but got dim: "
                         f"{len(index._shape)} with type: {dt.scalar_name(index.dtype)} and size: {list(index._shape)}")
    if index._kind.dtype not in (dt.int64, dt.int32):
        raise RuntimeError(f"{name}(): Expected dtype int32/int64 for index but got: " + dt.scalar_name(index.dtype))
    made = ix.named_along(shape, at, index, _fail if len(shape) > 1 else outside, False)
    if source is None:
        return made
    if source._kind.dtype is not kind.dtype:
        raise RuntimeError(f"{name}(): self and source must have the same scalar type")
    given = source._shape
    if at >= max(len(given), 1):
        raise RuntimeError(f"{name}(): Indexing dim {at} is out of bounds of the source tensor with dim {len(given)}")
    if index._n != (given[at] if given else 1):
        raise RuntimeError(f"{name}(): Number of indices ({index._n}) should be equal to source.size(dim): "
                           f"({given[at] if given else 1}), for dim: {at}")
    if given and given != shape_of(*made[1:]):
        raise RuntimeError("source tensor shape must match self tensor shape, excluding the specified dimension. Got "
                           f"self.shape = {list(shape)} source.shape = {list(given)}")
    return made


def _index_added(shape, dim, index, kind=None, values=None):
    """``where`` of ``index_add``."""
    return _slices("index_add_", shape, dim, index, kind, values)


def _index_reduced(shape, dim, index, kind=None, values=None):
    """``where`` of ``index_reduce``."""
    return _slices("index_reduce_", shape, dim, index, kind, values)


def _index_add_of(input, dim, index, source, *, alpha=1):
    if alpha.__class__ is int and alpha == 1:
        return _index_add[2].call(input, source, _of_constant(index, source), _index_added, dim, True)
    return None


def _index_add_reference(a, dim, index, source, alpha=1):
    out = a.copy()
    np.add.at(out, (slice(None),) * dim + (index,), source * alpha)
    return out


_index_add = putter("IndexAddBackward0")
index_add = both("index_add", _prepare_index_add, _index_add,
                 "A copy of ``input`` with ``alpha * source`` added to the slices along ``dim`` that ``index`` names.",
                 (Sample((4, 3), 0, ("int64", (5,), 0, 4), ("float64", (5, 3))),
                  Sample((4, 3), 1, ("int64", (2,), 0, 3), ("float64", (4, 2)), alpha=2.5)),
                 _index_add_reference, quick=_index_add_of, out="same")


# --- reductions over what meets in one place --------------------------------------------------------------------------

def _reduce_reference(a, dim, index, src, reduce, include_self=True):
    out = a.copy()
    groups: dict = {}
    for where in np.ndindex(*index.shape):
        to = list(where)
        to[dim] = int(index[where])
        groups.setdefault(tuple(to), []).append(src[where])
    for to, values in groups.items():
        values = ([a[to]] if include_self else []) + values
        out[to] = {"sum": np.sum, "prod": np.prod, "mean": np.mean, "amax": np.max, "amin": np.min}[reduce](values)
    return out


def _check_reduce(name, reduce):
    if reduce not in REDUCTIONS:
        raise RuntimeError(f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}")


@function(out="same", kinds={"reduce": "str"}, dtypes="any", reference=_reduce_reference, samples=tuple(
    Sample((3, 4), 1, ("int64", (3, 3), 0, 4), ("float64", (3, 3)), r, include_self=b)
    for r in REDUCTIONS for b in (True, False)))
def scatter_reduce(input, dim, index, src, reduce, *, include_self=True):
    """A copy of ``input`` with the values of ``src`` combined into the places that ``index`` names along ``dim``.

    ``reduce`` is "sum", "prod", "mean", "amax" or "amin"; without ``include_self`` what was there does not count."""
    if src._shape != index._shape:
        src, _ = _prepare_scatter("scatter_reduce", input, dim, index, src)
    if reduce not in REDUCTIONS:
        _check_reduce("scatter_reduce", reduce)
    return reduced_at.call(input, src, index, _scatter_reduced, dim, reduce, include_self)


def scatter_reduce_(self, dim, index, src, reduce, *, include_self=True):
    """In-place form of ``scatter_reduce``."""
    values, _ = _prepare_scatter("scatter_reduce_", self, dim, index, src)
    _check_reduce("scatter_reduce_", reduce)
    check_apart(self, (index, src))
    return reduce_in_place(self, values, index, _scatter_reduced, dim, reduce, include_self, "scatter_reduce_")


add_method(scatter_reduce_, reduce="str")
_index_reduce = reduced_at.recorded_as("IndexReduceBackward0")


def _index_reduce_reference(a, dim, index, source, reduce):
    where = np.broadcast_to(index.reshape((-1,) + (1,) * (a.ndim - 1 - dim)), source.shape)
    return _reduce_reference(a, dim, where, source, reduce)


@function(out="same", kinds={"reduce": "str"}, dtypes="any", reference=_index_reduce_reference, samples=(
    Sample((4, 3), 0, ("int64", (5,), 0, 4), ("float64", (5, 3)), "amax"),
    Sample((4, 3), 1, ("int64", (2,), 0, 3), ("float64", (4, 2)), "prod")))
def index_reduce(input, dim, index, source, reduce, *, include_self=True):
    """A copy of ``input`` with slices of ``source`` combined into those that ``index`` names along ``dim``."""
    _check_index_reduce(reduce)
    return _index_reduce.call(input, source, index, _index_reduced, dim, reduce, include_self)


def _check_index_reduce(reduce):
    if reduce not in ("prod", "mean", "amax", "amin"):
        raise RuntimeError(f"index_reduce(): Expected reduce to be one of prod, mean, amax or amin but got {reduce}.")


def index_reduce_(self, dim, index, source, reduce, *, include_self=True):
    """In-place form of ``index_reduce``."""
    _check_index_reduce(reduce)
    check_apart(self, (index, source))
    return reduce_in_place(self, source, index, _index_reduced, dim, reduce, include_self, "index_reduce_")


add_method(index_reduce_, reduce="str")
