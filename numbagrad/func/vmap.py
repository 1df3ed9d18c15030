"""``vmap``: a function of one element as a function of a batch of them."""

from __future__ import annotations

import functools
import itertools

from ..core.registry import REGISTRY
from ..core.tensor import Tensor
from ..random import get_rng_state, set_rng_state
from . import trees
from .batched import BatchLevel, batched, expand
from .levels import plain

__all__ = ["vmap", "chunk_vmap"]


def name_of(func):
    """The name of a function in messages."""
    if hasattr(func, "__name__"):
        return func.__name__
    if isinstance(func, functools.partial):
        return f"functools.partial({name_of(func.func)}, ...)"
    return repr(func)


def batch_size(dims, args):
    """The size that all dimensions which are mapped have."""
    sizes = [a.size(d) for d, a in zip(dims, args) if d is not None]
    if not sizes:
        raise ValueError("vmap: Expected at least one Tensor to vmap over")
    if any([s != sizes[0] for s in sizes]):
        raise ValueError("vmap: Expected all tensors to have the same size in the mapped dimension, got sizes "
                         f"{sizes} for the mapped dimension")
    return sizes[0]


def inputs(func, in_dims, args):
    """(size of the batch, dimension of each leaf, leaves, their nest), after all checks."""
    name = name_of(func)
    call = f"vmap({name}, in_dims={in_dims}, ...)(<inputs>): "
    if not isinstance(in_dims, (int, tuple)):
        raise ValueError(f"{call}expected `in_dims` to be int or a (potentially nested) tuple matching the structure of "
                         "inputs, "
                         f"got: {type(in_dims)}.")
    if not args:
        raise ValueError(f"vmap({name})(<inputs>): got no inputs. Maybe you forgot to add inputs, or you are trying to vmap "
                         "over "
                         "a function with no inputs. The latter is unsupported.")
    leaves, spec = trees.flatten(args)
    dims = trees.spread(in_dims, spec)
    if dims is None:
        raise ValueError(f"{call}in_dims is not compatible with the structure of `inputs`. in_dims has structure "
                         f"{trees.flatten(in_dims)[1]} but inputs has structure {spec}.")
    for i, (a, d) in enumerate(zip(leaves, dims)):
        if not isinstance(d, int) and d is not None:
            raise ValueError(f"{call}Got in_dim={d} for an input but in_dim must be either an integer dimension or None.")
        if isinstance(d, int) and not isinstance(a, Tensor):
            raise ValueError(f"{call}Got in_dim={d} for an input but the input is of type {type(a)}. We cannot vmap over "
                             "non-Tensor arguments, please use None as the respective in_dim")
        if d is not None and not -a.dim() <= d < a.dim():
            raise ValueError(f"{call}Got in_dim={d} for some input, but that input is a Tensor of dimensionality {a.dim()} so "
                             f"expected in_dim to satisfy -{a.dim()} <= in_dim < {a.dim()}.")
        if d is not None and d < 0:
            dims[i] = d % a.dim()
    return batch_size(dims, leaves), dims, leaves, spec


def add(level, t, dim):
    """A tensor of a level, whose batch is a dimension of ``t``; ``t`` itself for None."""
    if dim is None:
        return t
    t = plain(t)
    return batched(level, t.movedim(dim, 0) if dim else t)


def removed(name, level, t, dim):
    """The value of a result, its batch at dimension ``dim``."""
    if dim is None:
        if isinstance(t, Tensor) and level.own(t):
            raise ValueError(f"vmap({name}, ...): `{name}` can not return a BatchedTensor when out_dim is None")
        return t
    if not isinstance(t, Tensor):
        raise ValueError(f"vmap({name}, ...): `{name}` must only return Tensors, got type {type(t)}. Did you mean to set "
                         "out_dims= to None for output?")
    value = t.value if level.own(t) else expand(t, level.size)
    n = value.dim()
    if not -n <= dim < n:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-n}, {n - 1}], but got {dim})")
    return value.movedim(0, dim) if dim % n else value


def outputs(func, level, results, out_dims):
    """The results of a function without their level."""
    leaves, spec = trees.flatten(results)
    if isinstance(results, Tensor):
        dims = [out_dims] if isinstance(out_dims, int) or out_dims is None else (
            list(out_dims) if isinstance(out_dims, tuple) and len(out_dims) == 1 else None)
    else:
        dims = trees.spread(out_dims, spec)
    if dims is None:
        raise ValueError(f"vmap({name_of(func)}, ..., out_dims={out_dims})(<inputs>): out_dims is not compatible with the "
                         f"structure of `outputs`. out_dims has structure {trees.flatten(out_dims)[1]} but outputs has "
                         "structure "
                         f"{spec}.")
    name = name_of(func)
    return trees.unflatten([removed(name, level, t, d) for t, d in zip(leaves, dims)], spec)


def run(func, size, dims, leaves, spec, out_dims, randomness, kwargs):
    """One call of the function with a batch."""
    with BatchLevel(size, randomness) as level:
        args = trees.unflatten([add(level, a, d) for a, d in zip(leaves, dims)], spec)
        return outputs(func, level, func(*args, **kwargs), out_dims)


def chunk_sizes(total, size):
    """``total`` in pieces of ``size``, the last one smaller."""
    return [size] * (total // size) + ([total % size] if total % size else [])


def in_chunks(func, size, dims, leaves, spec, out_dims, randomness, kwargs, chunk_size):
    """``run`` on one part of the batch after the other."""
    stops = tuple(itertools.accumulate(chunk_sizes(size, chunk_size)))
    parts = [[a] * len(stops) if d is None else a.tensor_split(stops, dim=d) for a, d in zip(leaves, dims)]
    state = get_rng_state() if randomness == "same" else None
    results = []
    for part in zip(*parts):
        n = batch_size(dims, part)
        if n:
            if state is not None:
                set_rng_state(state)
            results.append(trees.flatten(run(func, n, dims, part, spec, out_dims, randomness, kwargs)))
    made = results[0][1]
    cat = REGISTRY["cat"].callable
    joined = [cat(column, dim=d) for column, d in zip(zip(*[r[0] for r in results]), trees.spread(out_dims, made))]
    return trees.unflatten(joined, made)


def check_options(func, out_dims, randomness, chunk_size):
    if randomness not in ("error", "different", "same"):
        raise RuntimeError(f"Only allowed values for randomness are 'error', 'different', or 'same'. Got {randomness}")
    if not (chunk_size is None or chunk_size > 0):
        raise ValueError(f"vmap: chunk_size should be None or greater than 0. (got {chunk_size})")


def vmap(func, in_dims=0, out_dims=0, randomness="error", *, chunk_size=None):
    """``func`` mapped over a dimension of its tensors: a function of batches, without a loop."""
    check_options(func, out_dims, randomness, chunk_size)

    @functools.wraps(func, updated=())
    def wrapped(*args, **kwargs):
        for d in trees.leaves_of(out_dims):
            if not (isinstance(d, int) or d is None):
                raise ValueError(f"vmap({name_of(func)}, ..., out_dims={out_dims}): `out_dims` must be an int, None or a "
                                 "python "
                                 "collection of ints representing where in the outputs the vmapped dimension should appear.")
        size, dims, leaves, spec = inputs(func, in_dims, args)
        if chunk_size is None:
            return run(func, size, dims, leaves, spec, out_dims, randomness, kwargs)
        return in_chunks(func, size, dims, leaves, spec, out_dims, randomness, kwargs, chunk_size)
    return wrapped


def chunk_vmap(func, in_dims=0, out_dims=0, randomness="error", chunks=2):
    """``vmap`` of a batch in ``chunks`` parts, one after the other."""
    check_options(func, out_dims, randomness, None)
    if chunks == 1:
        return vmap(func, in_dims=in_dims, out_dims=out_dims, randomness=randomness)

    @functools.wraps(func, updated=())
    def wrapped(*args, **kwargs):
        size, dims, leaves, spec = inputs(func, in_dims, args)
        return in_chunks(func, size, dims, leaves, spec, out_dims, randomness, kwargs, -(-size // chunks))
    return wrapped
