"""Products over chosen dimensions: ``inner``, ``tensordot``, ``kron``, chains of matrices."""

from __future__ import annotations

import numpy as np

from numbagrad.base import arguments, modes
from numbagrad.base import dtypes as dt
from numbagrad.base.shapes import wrap_dim
from numbagrad.base.user_code import warn_once
from numbagrad.core.broadcast import sum_to_size
from numbagrad.core.tensor import numel
from numbagrad.extend import REGISTRY, Sample, Tensor, custom, function, load, store
from numbagrad.kernel.jit import kernel

from ..view.shape import unsafe_view, view
from .gemm import conj, finish, reshape
from .linear import linear
from .recipe import Recipe, Recipes


def _of_one_dtype(a, b):
    if a._kind.dtype is not b._kind.dtype:
        raise RuntimeError("both inputs should have same dtype")


@function(kinds={"other": "tensor"}, reference=np.inner, samples=(Sample((4,), (4,)), Sample((2, 3, 4), (5, 4))), dtypes="any")
def inner(input, other, *, out=None):
    """Sums of products over the last dimensions of both; ``input * other`` when one has no dimension."""
    p, q = input._shape, other._shape
    if not p or not q:
        return finish("inner", input * other, out, input, other)
    if p[-1] != q[-1]:
        raise RuntimeError("inner() the last dimension must match on both input tensors but got shapes "
                           f"{list(p)} and {list(q)}")
    _of_one_dtype(input, other)
    if len(p) == 1 and len(q) == 1:
        result = REGISTRY["dot"].callable(input, other)
    else:
        result = linear(reshape(input, (numel(p[:-1]), p[-1])), reshape(other, (numel(q[:-1]), q[-1])))
    result = view(result, (*p[:-1], *q[:-1]))
    return finish("inner", result, out, input, other)


def _dim_list(dims, argument):
    """The dimensions of one side, given as one or as several."""
    found = arguments.check_ints(dims, "tensordot", argument, 3)
    return [found] if found.__class__ is int else list(found)


@function(kinds={"b": "tensor"}, method=False, reference=np.tensordot, dtypes="any",
          samples=(Sample((2, 3, 4), (3, 4, 5)), Sample((3, 2), (4, 3), ((0,), (1,))), Sample((2, 3), (4,), 0)))
def tensordot(a, b, dims=2, out=None):
    """Sum of products over ``dims``: the last ones of ``a`` and first ones of ``b``, or a pair of lists."""
    key = recipe = None
    if dims.__class__ in (int, tuple, list) and isinstance(a, Tensor) and isinstance(b, Tensor):
        key = dims if dims.__class__ is int else repr(dims), a._shape, b._shape  # (1 and True are equal, lists have no hash)
        recipe = _contractions.get(key)
    if recipe is not None:
        _of_one_dtype(a, b)
        result = recipe(a, b)
        return result if out is None else finish("tensordot", result, out, a, b)
    if isinstance(dims, Tensor):
        dims = dims.tolist()
    if isinstance(dims, (int, np.integer, np.bool_)):
        dims = int(dims)
        if dims < 0:
            raise RuntimeError(f"tensordot expects dims >= 0, but got dims={dims}")
        if dims > min(len(a._shape), len(b._shape)):
            raise RuntimeError(f"tensordot expects dims < ndim_a or ndim_b, but got dims={dims}")
        da, db = list(range(-dims, 0)), list(range(dims))
    else:
        if not isinstance(dims, (tuple, list)):
            raise RuntimeError("tensordot expects dims to be int or tuple[list[int], list[int]] or list[list[int]] containing "
                               f"two lists, but got dims={dims}")
        da, db = dims
        da, db = _dim_list(da, "dims_self"), _dim_list(db, "dims_other")
        for t, dims_ in ((a, da), (b, db)):
            for d in dims_:
                wrap_dim(d, len(t._shape))
                if not t._shape:
                    raise RuntimeError(f"tensordot(): dimension {d} of a tensor without dimensions")
    if len(da) != len(db):
        raise RuntimeError("both dimension lists should have same length")
    _of_one_dtype(a, b)
    ia, ib = [wrap_dim(d, len(a._shape)) for d in da], [wrap_dim(d, len(b._shape)) for d in db]
    recipe = Recipe([a._shape, b._shape])
    p, q = recipe.terms
    for i, j, x, y in zip(ia, ib, da, db):
        if p._shape[i] != q._shape[j] == 1:  # a single element stands for as many as there are on the other side
            p = recipe.sum_kept(p, i)
        elif q._shape[j] != p._shape[i] == 1:
            q = recipe.sum_kept(q, j)
        elif p._shape[i] != q._shape[j]:
            raise RuntimeError(f"contracted dimensions need to match, but first has size {p._shape[i]} in dim {x} and "
                               f"second has size {q._shape[j]} in dim {y}")
    contract(recipe, p, q, ia, ib)
    if key is not None:
        _contractions.keep(key, recipe)
    return finish("tensordot", recipe(a, b), out, a, b)


_contractions = Recipes()  # by the dimensions and the operands' shapes


def contract(recipe, a, b, ia, ib):
    """Sum of products over dimensions ``ia`` of ``a`` and ``ib`` of ``b`` as one matrix product."""
    ra, rb = ([i for i in range(len(t._shape)) if i not in used] for t, used in ((a, ia), (b, ib)))
    m, k, n = [a._shape[i] for i in ra], [a._shape[i] for i in ia], [b._shape[i] for i in rb]
    product = recipe.matrices(recipe.permute(a, (*ra, *ia)), recipe.permute(b, (*ib, *rb)), m, k, n)
    return recipe.view(product, (*m, *n))


@kernel
def kron_rows(a: "*T", b: "*T", out: "*T", columns: int, rows: int, width: int, start: int, stop: int):
    """Rows of the Kronecker product of a (., columns) and b (rows, width), into out (., columns width)."""
    for r in range(start, stop):
        i = r // rows
        k = r - i * rows
        for j in range(columns):
            x = load(a[i * columns + j])
            at = (r * columns + j) * width
            for c in range(width):
                out[at + c] = store(x * load(b[k * width + c]))


@custom(private=True, node="UnsafeViewBackward0", reference=np.kron, samples=(Sample((2, 3), (3, 2)), Sample((2,), (3,))),
        save_for={"input": ("other",), "other": ("input",)})
def kron_alike(input, other):
    """``kron`` of two matrices, or two vectors, of one floating kind."""
    return tuple([x * y for x, y in zip(input._shape, other._shape)]), input._kind


kron_alike.node_class.order = 1, 0


@kron_alike.cpu
def _(out, input, other):
    if out._n:
        rows, width = (1, *other._shape)[-2:]
        columns = input._shape[-1]
        kron_rows.run(out._kind, (input._ptr, other._ptr, out._ptr, columns, rows, width), out._n // (columns * width), out._n)


@kron_alike.gradient
def _(g, input, other, needs, shapes):
    p, q = shapes
    left, right = [s for x in p for s in (x, 1)], [s for y in q for s in (1, y)]
    g = reshape(g, [s for x, y in zip(p, q) for s in (x, y)])
    ga = reshape(sum_to_size(g * conj(reshape(other, right)), tuple(left)), p) if needs[0] else None
    return ga, reshape(sum_to_size(g * conj(reshape(input, left)), tuple(right)), q) if needs[1] else None


@function(kinds={"other": "tensor"},
          reference=np.kron, samples=(Sample((2, 3), (3, 2)), Sample((2,), (2, 3)), Sample((), (2,))), dtypes="any")
def kron(input, other, *, out=None):
    """Kronecker product: every element of ``input`` times the whole of ``other``."""
    if out is None and input._kind is other._kind and 0 < len(input._shape) == len(other._shape) < 3 and (
            input._kind.dtype.category > 1):
        return kron_alike(input, other)
    n = max(len(input._shape), len(other._shape))
    p, q = (1,) * (n - len(input._shape)) + input._shape, (1,) * (n - len(other._shape)) + other._shape
    left = reshape(input, [s for x in p for s in (x, 1)])
    right = reshape(other, [s for y in q for s in (1, y)])
    result = unsafe_view(left * right, tuple([x * y for x, y in zip(p, q)]))
    result._view = None  # nobody else holds the product
    return finish("kron", result, out, input, other)


@function(namespaces=("linalg",), method=False, reference=np.linalg.multi_dot, dtypes="any",
          samples=(Sample([(2, 3), (3, 4), (4, 5)]), Sample([(3,), (3, 4), (4,)])))
def multi_dot(tensors, *, out=None):
    """Product of two or more matrices in the order of fewest multiplications; the first and last may be vectors."""
    tensors = list(tensors)
    shapes = tuple([t._shape for t in tensors])
    if modes.STATE:  # autocast would make them one
        _all_of_one_dtype(tensors)
    recipe = _chains.get(shapes) or _chains.keep(shapes, _chain(shapes))
    try:
        result = recipe(*tensors)
    except RuntimeError:
        _all_of_one_dtype(tensors)
        raise
    return result if out is None else finish("multi_dot", result, out, *tensors)


def _all_of_one_dtype(tensors):
    for i, t in enumerate(tensors):
        if t._kind.dtype is not tensors[0]._kind.dtype:
            raise RuntimeError("multi_dot(): all tensors must have be the same dtype but tensor 0 is "
                               f"{dt.c_name(tensors[0]._kind.dtype)} and tensor {i} {dt.c_name(t._kind.dtype)}") from None


_chains = Recipes()  # by the operands' shapes


def _chain(shapes):
    """The recipe of a product of several matrices."""
    if len(shapes) < 2:
        raise RuntimeError(f"multi_dot(): expected at least 2 tensors but got {len(shapes)}")
    for i, s in enumerate(shapes):
        edge = i in (0, len(shapes) - 1)
        if len(s) != 2 and not (edge and len(s) == 1):
            raise RuntimeError(f"multi_dot(): {'the first and last tensors' if edge else f'tensor {i}'} must be "
                               f"{'1D or 2D' if edge else '2D'} but got {len(s)}D")
    first, last = len(shapes[0]) == 1, len(shapes[-1]) == 1
    recipe = Recipe(shapes)
    tensors = list(recipe.terms)
    if first:
        tensors[0] = recipe.reshape(tensors[0], (1, *shapes[0]))
    if last:
        tensors[-1] = recipe.reshape(tensors[-1], (*shapes[-1], 1))
    for i in range(len(tensors) - 1):
        if tensors[i]._shape[1] != tensors[i + 1]._shape[0]:
            raise RuntimeError(f"multi_dot(): tensors {i} and {i + 1} with shapes {list(shapes[i])} and "
                               f"{list(shapes[i + 1])} cannot be multiplied")
    result = _in_best_order(recipe, tensors)
    recipe.view(result, tuple(s for s, drop in zip(result._shape, (first, last)) if not drop))
    return recipe


def _in_best_order(recipe, tensors):
    """Dynamic program over where to split the chain last."""
    n = len(tensors)
    d = [tensors[0]._shape[0], *[t._shape[1] for t in tensors]]
    cost, split = {(i, i): 0 for i in range(n)}, {}
    for width in range(1, n):
        for i in range(n - width):
            j = i + width
            cost[i, j], split[i, j] = min((cost[i, s] + cost[s + 1, j] + d[i] * d[s + 1] * d[j + 1], s)
                                          for s in range(i, j))

    def build(i, j):
        return tensors[i] if i == j else recipe.mm(build(i, split[i, j]), build(split[i, j] + 1, j))
    return build(0, n - 1)


@function(method=False, reference=lambda *m: np.linalg.multi_dot(m), dtypes="any",
          samples=(Sample((2, 3), (3, 4), (4, 5)),))
def chain_matmul(*matrices, out=None):
    """Product of matrices in the order of fewest multiplications; use ``linalg.multi_dot``."""
    warn_once("torch.chain_matmul is deprecated and will be removed in a future PyTorch release. Use "
              "torch.linalg.multi_dot instead, which accepts a list of two or more tensors rather than multiple "
              "parameters.")
    for i, m in enumerate(matrices):
        if not isinstance(m, Tensor):
            raise arguments.wrong(m, "Tensor", "chain_matmul", "matrices", i + 1)
        if len(m._shape) != 2:
            raise RuntimeError(f"Tensor dimension is {len(m._shape)}, expected 2 instead.")
    if not matrices:
        raise RuntimeError("chain_matmul(): Expected one or more matrices")
    return matrices[0] if len(matrices) == 1 else multi_dot(list(matrices), out=out)
