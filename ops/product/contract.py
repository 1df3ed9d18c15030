"""Products over chosen dimensions: ``inner``, ``tensordot``, ``kron``, chains of matrices."""

from __future__ import annotations

import numpy as np

from numbagrad.base import arguments
from numbagrad.base.shapes import wrap_dim
from numbagrad.core.tensor import numel
from numbagrad.extend import REGISTRY, Sample, Tensor, function

from ..view.shape import unsafe_view, view
from .gemm import finish, reshape
from .linear import linear
from .matmul import mm


@function(kinds={"other": "tensor"}, reference=np.inner, samples=(Sample((4,), (4,)), Sample((2, 3, 4), (5, 4))), dtypes="any")
def inner(input, other, *, out=None):
    """Sums of products over the last dimensions of both; ``input * other`` when one has no dimension."""
    p, q = input._shape, other._shape
    if not p or not q:
        return finish("inner", input * other, out, input, other)
    if p[-1] != q[-1]:
        raise RuntimeError("inner() the last dimension must match on both input tensors but got shapes "
                           f"{list(p)} and {list(q)}")
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
    ia, ib = [wrap_dim(d, len(a._shape)) for d in da], [wrap_dim(d, len(b._shape)) for d in db]
    for i, j, x, y in zip(ia, ib, da, db):
        if a._shape[i] != b._shape[j] == 1:  # a single element stands for as many as there are on the other side
            a = a.sum(i, True, dtype=a.dtype)
        elif b._shape[j] != a._shape[i] == 1:
            b = b.sum(j, True, dtype=b.dtype)
        elif a._shape[i] != b._shape[j]:
            raise RuntimeError(f"contracted dimensions need to match, but first has size {a._shape[i]} in dim {x} and "
                               f"second has size {b._shape[j]} in dim {y}")
    result = contract(a, b, ia, ib)
    return finish("tensordot", result, out, a, b)


def contract(a, b, ia, ib):
    """Sum of products over dimensions ``ia`` of ``a`` and ``ib`` of ``b`` as one matrix product."""
    permute = REGISTRY["permute"].callable
    ra, rb = ([i for i in range(len(t._shape)) if i not in used] for t, used in ((a, ia), (b, ib)))
    sizes_a, sizes_b = [a._shape[i] for i in ra], [b._shape[i] for i in rb]
    k = numel([a._shape[i] for i in ia])
    left = reshape(permute(a, (*ra, *ia)) if a._shape else a, (numel(sizes_a), k))
    right = reshape(permute(b, (*ib, *rb)) if b._shape else b, (k, numel(sizes_b)))
    return view(mm(left, right), (*sizes_a, *sizes_b))


@function(kinds={"other": "tensor"},
          reference=np.kron, samples=(Sample((2, 3), (3, 2)), Sample((2,), (2, 3)), Sample((), (2,))), dtypes="any")
def kron(input, other, *, out=None):
    """Kronecker product: every element of ``input`` times the whole of ``other``."""
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
    if len(tensors) < 2:
        raise RuntimeError(f"multi_dot(): expected at least 2 tensors but got {len(tensors)}")
    for i, t in enumerate(tensors):
        edge = i in (0, len(tensors) - 1)
        if len(t._shape) != 2 and not (edge and len(t._shape) == 1):
            raise RuntimeError(f"multi_dot(): {'the first and last tensors' if edge else f'tensor {i}'} must be "
                               f"{'1D or 2D' if edge else '2D'} but got {len(t._shape)}D")
    first, last = len(tensors[0]._shape) == 1, len(tensors[-1]._shape) == 1
    shapes = [t._shape for t in tensors]
    if first:
        tensors[0] = reshape(tensors[0], (1, tensors[0]._n))
    if last:
        tensors[-1] = reshape(tensors[-1], (tensors[-1]._n, 1))
    for i in range(len(tensors) - 1):
        if tensors[i]._shape[1] != tensors[i + 1]._shape[0]:
            raise RuntimeError(f"multi_dot(): tensors {i} and {i + 1} with shapes {list(shapes[i])} and "
                               f"{list(shapes[i + 1])} cannot be multiplied")
    result = _in_best_order(tensors)
    result = view(result, tuple(s for s, drop in zip(result._shape, (first, last)) if not drop))
    return finish("multi_dot", result, out, *tensors)


def _in_best_order(tensors):
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
        return tensors[i] if i == j else mm(build(i, split[i, j]), build(split[i, j] + 1, j))
    return build(0, n - 1)


@function(method=False, reference=lambda *m: np.linalg.multi_dot(m), dtypes="any",
          samples=(Sample((2, 3), (3, 4), (4, 5)),))
def chain_matmul(*matrices, out=None):
    """Product of matrices in the order of fewest multiplications; use ``linalg.multi_dot``."""
    import warnings
    warnings.warn("torch.chain_matmul is deprecated and will be removed in a future PyTorch release. Use "
                  "torch.linalg.multi_dot instead, which accepts a list of two or more tensors rather than multiple "
                  "parameters.", UserWarning, stacklevel=2)
    for i, m in enumerate(matrices):
        if not isinstance(m, Tensor):
            raise arguments.wrong(m, "Tensor", "chain_matmul", "matrices", i + 1)
    return matrices[0] if len(matrices) == 1 else multi_dot(list(matrices), out=out)
