"""``autograd.Function`` in transforms: by its ``vmap`` and ``jvp``."""

from __future__ import annotations

from typing import NamedTuple

from ..autograd.function import Function
from ..base import modes
from ..core.tensor import Tensor
from .batched import BatchLevel, batched
from .dual import dual
from .levels import Stack

MORE = "For more details, please see https://pytorch.org/docs/main/notes/extending.func.html"
SEPARATE = ("In order to use an autograd.Function with functorch transforms (vmap, grad, jvp, jacrev, ...), it must override "
            "the "
            f"setup_context staticmethod. {MORE}")


class VmapInfo(NamedTuple):
    """What a ``vmap`` staticmethod is told."""

    batch_size: int
    randomness: str


def apply(level, cls, args):
    """``cls.apply(*args)`` where some argument is of a level."""
    if cls.setup_context is Function.setup_context and level.strict:
        raise RuntimeError(SEPARATE)
    return in_batch(level, cls, args) if isinstance(level, BatchLevel) else in_dual(level, cls, args)


def in_batch(level, cls, args):
    """By the ``vmap`` staticmethod, or element by element."""
    own = cls.vmap is not Function.vmap
    if cls.generate_vmap_rule:
        if own:
            raise RuntimeError(f"You tried to vmap over {cls.__name__}, but it has both generate_vmap_rule=True and an "
                               "overridden vmap "
                               "staticmethod. Please set generate_vmap_rule=False or delete the overridden vmap staticmethod "
                               "to "
                               f"avoid ambiguity. {MORE}")
        return level.each(lambda *a: cls.apply(*a), tuple(args))
    if not own:
        raise RuntimeError(f"You tried to vmap over {cls.__name__}, but it does not have vmap support. Please override and "
                           "implement "
                           f"the vmap staticmethod or set generate_vmap_rule=True. {MORE}")
    dims = tuple([0 if level.own(a) else None for a in args])
    found = cls.vmap(VmapInfo(level.size, level.randomness), dims, *map(level.value, args))
    text = ("Expected the vmap staticmethod to have two returns, an output and out_dims with pytree structure compatible "
            "with the "
            "output. ")
    if not isinstance(found, tuple):
        raise RuntimeError(f"{text}Got a {type(found)} instead")
    if len(found) != 2:
        raise RuntimeError(f"{text}Got {len(found)} returns instead")
    return wrapped(level, *found)


def wrapped(level, out, dims):
    """Outputs of a ``vmap`` staticmethod as tensors of the level."""
    if isinstance(out, (tuple, list)):
        dims = dims if isinstance(dims, (tuple, list)) else [dims] * len(out)
        return type(out)([wrapped(level, o, d) for o, d in zip(out, dims)])
    if not isinstance(out, Tensor) or dims is None:
        return out
    return batched(level, out.movedim(dims, 0))


def in_dual(level, cls, args):
    """By the ``jvp`` staticmethod, which gets the tangents of the arguments."""
    primals = [level.primal(a) for a in args]
    y = cls.apply(*primals)
    outs = y if isinstance(y, tuple) else (y,)
    ctx = cls._ctx_cls()
    ctx.needs_input_grad = tuple([level.own(a) for a in args])
    with modes.no_grad():
        if cls.setup_context is Function.setup_context:
            cls.forward(ctx, *primals)
        else:
            cls.setup_context(ctx, tuple(primals), cls.forward(*primals))
    ctx._to_save = ctx._to_save_forward or ctx._to_save
    slopes = cls.jvp(ctx, *[level.tangent(a) for a in args])
    slopes = slopes if isinstance(slopes, tuple) else (slopes,)
    if len(slopes) != len(outs):
        raise RuntimeError(f"{cls.__name__}Backward: the jvp staticmethod returned {len(slopes)} tangents for {len(outs)} "
                           "outputs")
    found = tuple([dual(level, o, t) if isinstance(o, Tensor) else o for o, t in zip(outs, slopes)])
    return found if isinstance(y, tuple) else found[0]


Stack.apply = staticmethod(apply)
