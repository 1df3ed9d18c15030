"""Reverse mode as a function of functions: ``grad``, ``vjp`` and what they are made of.

Nodes are recorded at the bottom, under all levels. So the inputs of a function are given leaves there (``tracked``), and a
gradient is taken of the tensors at the bottom of its outputs (``pull``): of a batch that of each element, since elements do not
depend on one another; of a dual number that of the primal, with the gradient of the tangent as tangent.
"""

from __future__ import annotations

import functools

from ..autograd import engine
from ..autograd import grad as bottom_grad
from ..base import modes
from ..core.graph import Output, disable_saved_tensors_hooks
from ..core.tensor import Tensor
from . import trees
from .batched import Batched, BatchLevel, batched, expand
from .levels import Stack, Wrapper, highest, outside, plain

__all__ = ["grad", "grad_and_value", "vjp"]


# --- the bottom -------------------------------------------------------------------------------------------------------

def bottoms(t):
    """The plain tensors that a tensor is made of."""
    return [b for part in t.below() for b in bottoms(part)] if isinstance(t, Wrapper) else [t]


def each_bottom(t, fn):
    """A tensor with ``fn`` of each plain one."""
    return t.over(lambda part: each_bottom(part, fn)) if isinstance(t, Wrapper) else fn(t)


def insert(t, level):
    """A tensor as one of a batch's level, the same for all elements if it was none."""
    if isinstance(t, Wrapper) and t.level.number >= level.number:
        return t if t.level is level else t.over(lambda part: insert(part, level))
    return batched(level, expand(t, level.size))


def in_all(t, above=None):
    """A tensor as one of all batches that run, below the level ``above``."""
    stack = modes.transform()
    for level in stack.batches() if stack else ():
        if above is None or level.number < above.number:
            t = insert(t, level)
    return t


def primal_over(t, fn):
    """``fn`` of the plain tensor that carries a tensor's value."""
    if isinstance(t, Batched):
        return t.over(lambda part: primal_over(part, fn))
    if isinstance(t, Wrapper):
        return t.with_primal(primal_over(t.primal, fn))
    return fn(t)


def tracked(t, outer, leaves, above=None):
    """A tensor whose gradient can be taken; its plain tensor is entered into ``leaves``, or goes on from the graph outside.

    It becomes one of all batches below the level ``above`` (of all that run), whose elements have gradients of their own."""
    def leaf(b):
        if outer and b.requires_grad:
            return b.view_as(b)
        new = (b.clone() if b.is_inference() else b.detach()).requires_grad_()
        leaves[id(new)] = new
        return new
    return primal_over(in_all(t, above), leaf)


def finish(leaves):
    """Say of leaves that the function which got them has returned: what hangs on them is recorded for nobody."""
    for t in leaves.values():
        t.__dict__[FINISHED] = True


FINISHED = "_finished"


def reaches(tensors, own):
    """Whether the graph of some plain tensors has other leaves than ``own``, of somebody who may want gradients."""
    stack, seen = [], set()
    for t in tensors:
        if t.requires_grad:
            stack.append(engine.edge_of(t))
    while stack:
        e = stack.pop()
        if e is None:
            continue
        if e.__class__ is Output:
            e = e.node
        if id(e) in seen:
            continue
        seen.add(id(e))
        if e.is_leaf_edge:
            if id(e) not in own and FINISHED not in e.__dict__:
                return True
        else:
            stack.extend(e.next)
    return False


# --- gradients --------------------------------------------------------------------------------------------------------

def explicit(t, level):
    """A tensor in which the batch of a level is the first dimension, beneath the levels above it."""
    if isinstance(t, Wrapper) and t.level.number > level.number:
        if isinstance(t, Batched):
            return batched(t.level, explicit(t.value, level).movedim(1, 0))
        return t.over(lambda part: explicit(part, level))
    return t.value if isinstance(t, Wrapper) and t.level is level else expand(t, level.size)


def implicit(t, level):
    """The reverse of ``explicit``."""
    if isinstance(t, Wrapper) and t.level.number > level.number:
        if isinstance(t, Batched):
            return batched(t.level, implicit(t.value.movedim(1, 0), level))
        return t.over(lambda part: implicit(part, level))
    return batched(level, t)


def pull(outs, xs, vs, create):
    """Gradients of ``outs``, weighted by ``vs``, of each of ``xs`` (None where there is no path)."""
    level = highest((*outs, *xs))
    if level is None:
        return at_bottom(outs, xs, vs, create)
    return level.pull(outs, xs, vs, create)


def pull_batch(level, outs, xs, vs, create):
    """``pull`` of tensors of a batch."""
    found = pull([insert(o, level).value for o in outs], [insert(x, level).value for x in xs],
                 [explicit(v, level) for v in vs], create)
    return [None if r is None else implicit(r, level) for r in found]


def pull_of(outs, xs, vs, create):
    """``pull`` for ``autograd.grad``."""
    for i, (o, v) in enumerate(zip(outs, vs)):
        if not o.requires_grad:
            raise RuntimeError(f"element {i} of tensors does not require grad and does not have a grad_fn")
        if v is None and o._n != 1:
            raise RuntimeError("grad can be implicitly created only for scalar outputs")
    with modes.set_grad_enabled(create):
        return pull(list(outs), list(xs), [ones_like(o) if v is None else v for o, v in zip(outs, vs)], create)


BatchLevel.pull, Stack.pull = pull_batch, staticmethod(pull_of)


def at_bottom(outs, xs, vs, create):
    """``pull`` of plain tensors; the weights may be of levels that were entered later."""
    pairs = [(o, v) for o, v in zip(outs, vs) if v is not None and o.requires_grad]
    if not pairs:
        return [None] * len(xs)
    outs, vs = zip(*pairs)
    if create or highest(vs) is None:
        return list(outside(_taken, outs, xs, vs, create))
    return engine.run_by_rules(list(map(engine.edge_of, outs)), vs, xs)


def _taken(outs, xs, vs, create):
    return bottom_grad(outs, xs, vs, retain_graph=True, create_graph=create, allow_unused=True)


def gradients(outs, xs, vs, own, outer):
    """``pull`` with zeros where there is no path, recorded where the graph outside is met."""
    parts = [b for t in (*outs, *vs) for b in bottoms(t)]
    create = outer and reaches(parts, own)
    vs = [v.to(dtype=o.dtype) if v._kind is not o._kind else v for o, v in zip(outs, vs)]
    found = pull(outs, xs, vs, create)
    return [zeros(x) if r is None else r for x, r in zip(xs, found)]


def zeros(x):
    return each_bottom(x, lambda b: b.detach().new_zeros(b._shape))


def given_back(t, own, outer):
    """A result of a function whose inputs were tracked, as it is seen outside."""
    if not isinstance(t, Tensor):
        raise RuntimeError(f"Expected tensors, got unsupported type {type(t)}")

    def free(b):
        return b if not b.requires_grad or outer and reaches([b], own) else b.detach()
    return each_bottom(t, free)


# --- the functions ----------------------------------------------------------------------------------------------------

def check_argnum(n, count):
    """An argument's number, counted from the front."""
    if not isinstance(n, int):
        raise RuntimeError(f"argnum must be int, got: {type(n)}")
    if not -count <= n < count:
        raise RuntimeError(f"Got argnum={n}, but only {count} positional inputs")
    return n % count


def check_argnums(argnums, count):
    """The numbers of the arguments to differentiate."""
    if isinstance(argnums, int):
        return check_argnum(argnums, count)
    if not isinstance(argnums, tuple):
        raise RuntimeError(f"argnums must be int or Tuple[int, ...], got: {type(argnums)}")
    argnums = tuple([check_argnum(n, count) for n in argnums])
    if not argnums:
        raise RuntimeError("argnums must be non-empty")
    if len(set(argnums)) != len(argnums):
        raise RuntimeError(f"argnums elements must be unique, got {argnums}")
    return argnums


class Tracked:
    """A call of a function whose arguments ``argnums`` (None: all) are differentiated."""

    def __init__(self, func, args, kwargs, argnums):
        mode = modes.current()
        self.outer, self.own = mode.grad and not mode.inference, {}  # (the leaves by their ids)
        argnums = argnums if argnums is None else check_argnums(argnums, len(args))
        alone = isinstance(argnums, int)
        chosen = range(len(args)) if argnums is None else (argnums,) if alone else argnums
        args = list(args)
        with modes.REVERSE, modes.inference_mode(False), modes.enable_grad():
            for i in chosen:
                args[i] = trees.map_tree(self.track, args[i])
            self.diff = args[argnums] if alone else tuple([args[i] for i in chosen])
            self.out = func(*args, **kwargs)
        finish(self.own)

    def track(self, t):
        if not isinstance(t, Tensor):
            raise ValueError(f"Thing passed to transform API must be Tensor, got {type(t)}")
        if t._kind.dtype.category < 2:
            raise RuntimeError("only Tensors of floating point dtype can require gradients")
        return tracked(plain(t), self.outer, self.own)

    def free(self, tree):
        """A result as it is seen outside."""
        return trees.map_tree(lambda t: given_back(t, self.own, self.outer), tree)

    def pulled(self, outs, vs):
        leaves, spec = trees.flatten(self.diff)
        mode = modes.current()
        outer = self.outer and mode.grad
        with modes.inference_mode(False), modes.enable_grad():
            return trees.unflatten(gradients(outs, leaves, vs, self.own, outer), spec)


def no_hooks(fn):
    """Refuse hooks of saved tensors, as PyTorch does."""
    message = ("torch.func.{grad, vjp, jacrev, hessian} don't yet support saved tensor hooks. Please open an issue with your "
               "use "
               "case.")

    @functools.wraps(fn)
    def wrapper(*args, **kwargs):
        with disable_saved_tensors_hooks(message):
            return fn(*args, **kwargs)
    return wrapper


def check_outputs(outs, what):
    """The outputs of a function have to be tensors, at least one."""
    if not outs or outs == [None]:
        raise RuntimeError(f"{what}: Expected f to be a function that has non-empty output (got output = {outs})")
    for o in outs:
        if not isinstance(o, Tensor):
            raise RuntimeError(f"{what}: expected f(*primals) to return only tensors, got unsupported type {type(o)}")


def vjp(func, *primals, has_aux=False):
    """(``func(*primals)``, the function that takes cotangents to those of the primals)."""
    return vjp_of(func, primals, None, has_aux)


@no_hooks
def vjp_of(func, primals, argnums, has_aux):
    """``vjp`` of the arguments ``argnums``."""
    call = Tracked(func, primals, {}, argnums)
    out, aux = call.out, None
    if has_aux:
        if not (isinstance(out, tuple) and len(out) == 2):
            raise RuntimeError("vjp(f, *primals): output of function f should be a tuple: (output, aux) if has_aux is True")
        out, aux = out
    outs, spec = trees.flatten(out)
    check_outputs(outs, "vjp(f, *primals)")
    for o in outs:
        if o._kind.dtype.category < 2:
            raise RuntimeError("vjp(f, ...): All outputs of f must be floating-point or complex Tensors, got Tensor with dtype "
                               f"{o.dtype}")

    def pullback(cotangents, retain_graph=True, create_graph=None):
        vs, given = trees.flatten(cotangents)
        if given != spec:
            raise RuntimeError("Expected pytree structure of cotangents to be the same as pytree structure of outputs to the "
                               f"function. cotangents: {trees.text(given)}, primal output: {trees.text(spec)}")
        for i, (o, v) in enumerate(zip(outs, vs)):
            if isinstance(v, Tensor) and v._shape != o._shape:
                raise RuntimeError(f"Mismatch in shape: grad_output[{i}] has a shape of {v.shape} and output[{i}] has a shape "
                                   f"of {o.shape}.")
        return call.pulled(outs, vs)
    result = call.free(out)
    return (result, pullback, call.free(aux)) if has_aux else (result, pullback)


def check_real(name, args, is_input):
    """``jacrev`` and ``jacfwd`` do not take complex numbers."""
    for i, a in enumerate(trees.leaves_of(args)):
        if isinstance(a, Tensor) and a.dtype.is_complex:
            raise RuntimeError(f"{name}: Expected all {'inputs' if is_input else 'outputs'} to be real but received complex "
                               f"tensor at flattened input idx: {i}")


@no_hooks
def value_and_gradient(func, argnums, has_aux, args, kwargs):
    """(gradient, value or (value, auxiliary output)) of a function that returns one number."""
    call = Tracked(func, args, kwargs, argnums)
    out, aux = call.out, None
    if has_aux:
        if not (isinstance(out, tuple) and len(out) == 2):
            raise RuntimeError("grad_and_value(f)(*args): output of function f should be a tuple: (output, aux) if has_aux is "
                               "True")
        out, aux = out
    if not isinstance(out, Tensor):
        raise RuntimeError(f"grad_and_value(f)(*args): Expected f(*args) to return a Tensor, got {type(out)}")
    if out.dim() != 0:
        raise RuntimeError("grad_and_value(f)(*args): Expected f(*args) to return a scalar Tensor, got tensor with "
                           f"{out.dim()} dims. Maybe you wanted to use the vjp or jacrev APIs instead?")
    found = call.pulled([out], [ones_like(out)])
    value = call.free(out)
    return found, (value, call.free(aux)) if has_aux else value


def grad_and_value(func, argnums=0, has_aux=False):
    """A function that returns ``grad``'s result and what ``func`` returned."""
    @functools.wraps(func, updated=())
    def wrapper(*args, **kwargs):
        return value_and_gradient(func, argnums, has_aux, args, kwargs)
    return wrapper


def grad(func, argnums=0, has_aux=False):
    """The gradient of a function of one number, with respect to the arguments ``argnums``."""
    @functools.wraps(func, updated=())
    def wrapper(*args, **kwargs):
        found, value = value_and_gradient(func, argnums, has_aux, args, kwargs)
        return (found, value[1]) if has_aux else found
    return wrapper


def ones_like(t):
    """A tensor of ones for the gradient of a result."""
    return bottoms(t)[0].detach().new_ones(t._shape)
