"""Forward mode as a function of functions, and matrices of derivatives: ``jvp``, ``jacfwd``, ``jacrev``, ``hessian``."""

from __future__ import annotations

import functools

from ..base import modes
from ..core.registry import REGISTRY
from ..core.tensor import Tensor, make
from . import trees
from .dual import DualLevel, dual
from .levels import Wrapper, plain
from .reverse import check_argnums, check_outputs, check_real, finish, given_back, pull, tracked, vjp_of
from .vmap import chunk_sizes, vmap

__all__ = ["functionalize", "hessian", "jacfwd", "jacrev", "jvp", "linearize"]

JVP = "jvp(f, primals, tangents)"


def chosen(args, argnums):
    """The arguments to differentiate, as a tuple."""
    found = check_argnums(argnums, len(args))
    return (args[found],) if isinstance(found, int) else tuple([args[i] for i in found])


def check_tensors(leaves, what):
    if not leaves:
        raise RuntimeError(f"{JVP}: Expected {what} to contain at least one Tensor.")
    for t in leaves:
        if not isinstance(t, Tensor):
            raise RuntimeError(f"{JVP}: Expected {what} to only contain Tensors, got {type(t)}")


def check_dual(primal, tangent):
    """PyTorch's refusals of a primal and a tangent that do not fit."""
    if primal._kind.dtype.category < 2:
        raise ValueError(f"Expected primal to be floating point or complex, but got: {primal.dtype}")
    if tangent._kind.dtype.category < 2:
        raise ValueError(f"Expected tangent to be floating point or complex, but got: {tangent.dtype}")
    if primal._shape != tangent._shape:
        raise RuntimeError("Trying to set a forward gradient that has a different size than that of the original Tensor, "
                           "this is "
                           f"not supported. Tensor is of size {list(primal._shape)} while the given forward gradient is of "
                           "size "
                           f"{list(tangent._shape)}.")
    if primal._kind.dtype is not tangent._kind.dtype:
        raise RuntimeError("Trying to set a forward gradient that has a different dtype than that of the original Tensor, "
                           "this is "
                           "not supported.")


def jvp(func, primals, tangents, *, strict=False, has_aux=False):
    """(``func(*primals)``, its derivative in the direction of the tangents)."""
    return jvp_of(func, primals, tangents, None, strict, has_aux)


def jvp_of(func, primals, tangents, argnums, strict=False, has_aux=False):
    """``jvp`` of the arguments ``argnums``."""
    if not isinstance(primals, tuple):
        raise RuntimeError(f"{JVP}: Expected primals to be a tuple. E.g. it should be valid to call f(*primals).")
    wanted = primals if argnums is None else chosen(primals, argnums)
    leaves, spec = trees.flatten(wanted)
    directions, other = trees.flatten(tangents)
    if spec != other:
        raise RuntimeError(f"{JVP}: Expected primals and tangents to have the same python structure. For example, if primals "
                           "is "
                           f"a tuple of 3 tensors, tangents also must be. Got primals with structure {spec} and tangents with "
                           f"structure {other}")
    check_tensors(leaves, "primals")
    check_tensors(directions, "tangents")
    for p, t in zip(leaves, directions):
        check_dual(p, t)
    with DualLevel() as level:
        duals = trees.unflatten([dual(level, plain(p), plain(t)) for p, t in zip(leaves, directions)], spec)
        args = duals
        if argnums is not None:
            args, places = list(primals), check_argnums(argnums, len(primals))
            for i, d in zip((places,) if isinstance(places, int) else places, duals):
                args[i] = d
        out, aux = func(*args), None
        if has_aux:
            if not (isinstance(out, tuple) and len(out) == 2):
                raise RuntimeError(f"{JVP}: output of function f should be a tuple: (output, aux) if has_aux is True")
            out, aux = out
            aux = trees.map_tree(level.primal, aux)
        outs, made = trees.flatten(out)
        check_outputs(outs, JVP)
        slopes = [slope_of(level, o, strict) for o in outs]
    result = trees.unflatten([level.primal(o) for o in outs], made), trees.unflatten(slopes, made)
    return (*result, aux) if has_aux else result


def slope_of(level, out, strict):
    """The tangent of a result."""
    t = level.tangent(out)
    if t is None:
        if strict:
            raise RuntimeError("jvp(f, primals, tangents, strict=True): The output of f is independent of the inputs. This "
                               "is not "
                               "allowed with strict=True.")
        return out.detach().new_zeros(out._shape)
    return t


def linearize(func, *primals):
    """(``func(*primals)``, the function that takes tangents to the derivative in their direction).

    What arrives at a gradient it is linear in: the derivative is a gradient of that, of a graph that is kept."""
    leaves, spec = trees.flatten(primals)
    mode = modes.current()
    outer, own = mode.grad and not mode.inference, {}
    with modes.inference_mode(False), modes.enable_grad():
        xs = [tracked(t, outer, own) for t in leaves]
        out = func(*trees.unflatten(xs, spec))
        outs, made = trees.flatten(out)
        arriving = [tracked(o.detach().new_zeros(o._shape), False, own) for o in outs]
        pulled = pull(outs, xs, arriving, True)
    finish(own)

    def push(*tangents):
        given, other = trees.flatten(tangents)
        if other != spec:
            raise RuntimeError(f"Expected the tangents {other} to have the same argspec as the primals {spec}")
        for i, (x, t) in enumerate(zip(leaves, given)):
            for what in ("shape", "device", "dtype"):
                if getattr(x, what) != getattr(t, what):
                    raise RuntimeError(f"tangent:{i} with {what} {getattr(t, what)} in flattened pytree doesn't match the "
                                       f"{what} "
                                       f"{getattr(x, what)} of the corresponding primal.")
        pairs = [(g, t) for g, t in zip(pulled, given) if g is not None and g.requires_grad]
        found = [None] * len(outs)
        if pairs:
            found = pull([g for g, _ in pairs], arriving, [t for _, t in pairs], outer and modes.is_grad_enabled())
        return trees.unflatten([o.detach().new_zeros(o._shape) if r is None else given_back(r, own, outer)
                                for o, r in zip(outs, found)], made)
    return trees.map_tree(lambda t: given_back(t, own, outer), out), push


# --- matrices of derivatives ------------------------------------------------------------------------------------------

def bases(tensors, chunk=None):
    """The unit vectors of all tensors together, cut to the tensors, at most ``chunk`` of them at a time."""
    counts = [t._n for t in tensors]
    total, start = sum(counts), 0
    for size in chunk_sizes(total, chunk) if chunk is not None else [total]:
        parts, offset = [], 0
        for t, n in zip(tensors, counts):
            kind = t._kind
            part = make((size, n), kind, zeroed=True)
            first, last = max(start, offset), min(start + size, offset + n)
            if first < last:
                part[first - start:last - start].diagonal(first - offset).fill_(1)
            parts.append(part.view(size, *t._shape))
            offset += n
        yield parts
        start += size


def jacrev(func, argnums=0, *, has_aux=False, chunk_size=None, _preallocate_and_copy=False):
    """The matrix of derivatives of a function, by reverse mode: one row of it for each number of the result."""
    if not (chunk_size is None or chunk_size > 0):
        raise ValueError("jacrev: `chunk_size` should be greater than 0.")

    @functools.wraps(func, updated=())
    def wrapper(*args):
        check_real("jacrev", args, True)
        found = vjp_of(func, args, argnums, has_aux)
        out, pullback = found[:2]
        outs, spec = trees.flatten(out)
        check_real("jacrev", outs, False)
        inputs, nest = trees.flatten(chosen(args, argnums))
        columns = []
        for basis in bases(outs, chunk_size):
            if chunk_size == 1:
                rows = [t.unsqueeze(0) for t in trees.leaves_of(pullback(trees.unflatten([b.squeeze(0) for b in basis], spec)))]
            else:
                rows = trees.leaves_of(vmap(pullback)(trees.unflatten(basis, spec)))
            columns.append(rows)
        rows = columns[0] if len(columns) == 1 else [REGISTRY["cat"].callable(c, 0) for c in zip(*columns)]
        counts = [o._n for o in outs]
        blocks = [[part.view(*o._shape, *x._shape) for part, o in zip(r.split(counts, 0), outs)] for r, x in zip(rows, inputs)]
        nests = [trees.unflatten(parts, nest) for parts in zip(*blocks)]
        if isinstance(argnums, int):
            nests = [n[0] for n in nests]
        result = trees.unflatten(nests, spec)
        return (result, found[2]) if has_aux else result
    return wrapper


def jacfwd(func, argnums=0, has_aux=False, *, randomness="error"):
    """The matrix of derivatives of a function, by forward mode: one column of it for each number of the arguments."""
    @functools.wraps(func, updated=())
    def wrapper(*args):
        check_real("jacfwd", args, True)
        wanted = args if argnums is None else chosen(args, argnums)
        inputs, nest = trees.flatten(wanted)
        (basis,) = bases(inputs)

        def push(directions):
            found = jvp_of(func, args, directions, argnums, False, has_aux)
            check_real("jacfwd", found[0], False)
            return found[1:] if has_aux else found[1]
        results = vmap(push, randomness=randomness)(trees.unflatten(basis, nest))
        aux = None
        if has_aux:
            results, aux = results
            aux = trees.map_tree(lambda t: t[0], aux)
        outs, spec = trees.flatten(results)
        counts = [x._n for x in inputs]
        nests = [trees.unflatten([part.unflatten(-1, x._shape) if x._shape else part.squeeze(-1) for x, part in zip(
            inputs, o.movedim(0, -1).split(counts, -1))], nest) for o in outs]
        if isinstance(argnums, int):
            nests = [n[0] for n in nests]
        result = trees.unflatten(nests, spec)
        return (result, aux) if has_aux else result
    return wrapper


def hessian(func, argnums=0):
    """The matrix of second derivatives: ``jacfwd`` of ``jacrev``."""
    return jacfwd(jacrev(func, argnums), argnums)


def functionalize(func, *, remove="mutations"):
    """``func`` as it is: nothing traces programs here in which operations in place and views would have to be replaced."""
    if remove not in ("mutations", "mutations_and_views"):
        raise RuntimeError(
            f"functionalize(f, remove='mutations'): received invalid argument for remove={remove}. Valid options are:\n"
            "     remove='mutations': all inplace and out= operators will be removed from the program, and replaced with their "
            "out-of-place equivalents.\n     remove='mutations_and_views': In addition to the above, all aliasing operators "
            "{view} will be replaced with their non-aliasing counterparts, {view}_copy.\n")

    @functools.wraps(func, updated=())
    def wrapper(*args, **kwargs):
        with modes.REVERSE:
            return func(*args, **kwargs)
    return wrapper


def debug_unwrap(tensor, *, recurse=True):
    """What a tensor of a transform is made of, for a look in a debugger."""
    if not isinstance(tensor, Wrapper):
        return tensor
    found = tensor.below()[0]
    return debug_unwrap(found) if recurse else found
