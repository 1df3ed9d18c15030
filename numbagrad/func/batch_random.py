"""Random numbers in batches: none, the same for all elements, or different ones.

While a batch runs, the default generator is of a class that knows of it: whoever draws from it without a batch's leave is
stopped, and the function that draws is called again here.
"""

from __future__ import annotations

import threading

from ..base import modes
from ..base.transformed import Whole
from ..core.tensor import Tensor
from ..random import Generator, default_generator
from . import trees
from .batched import BatchLevel, batched
from .levels import outside

ERROR = ("vmap: called random operation while in randomness error mode. Please either use the 'same' or 'different' "
         "randomness flags "
         "on vmap or perform the randomness operation out of vmap")
UNBATCHED = ("vmap: Cannot ask for different inplace randomness on an unbatched tensor. This will appear like same "
             "randomness. If "
             "this is necessary for your usage, please file an issue with functorch.")


class _Allowed(threading.local):
    levels = ()  # whose leave the draw has


_allowed = _Allowed()
_own = Generator.engine


class Watched(Generator):
    """The default generator while a batch runs in some thread."""

    __slots__ = ()

    @property
    def engine(self):
        stack = modes.transform()
        for level in stack.batches()[::-1] if stack is not None else ():
            if level not in _allowed.levels:
                if level.randomness == "error":
                    raise RuntimeError(ERROR)
                raise Whole("random numbers of a batch", level.random_again)
        return _own.__get__(self)


def _free(name):
    """A method of the generator that draws nothing."""
    plain = getattr(Generator, name)

    def method(self, *args):
        stack = modes.transform()
        return permitted(stack.batches() if stack is not None else (), plain, self, *args)
    return method


for _name in ("manual_seed", "seed", "initial_seed", "get_state", "set_state"):
    setattr(Watched, _name, _free(_name))


def permitted(levels, fn, *args, **kwargs):
    """``fn(*args)``, which may draw as outside of some levels."""
    before = _allowed.levels
    _allowed.levels = (*before, *levels)
    try:
        return fn(*args, **kwargs)
    finally:
        _allowed.levels = before


class Watch:
    """Counts the batches that run, in all threads: with the first the generator is watched, with the last no more."""

    def __init__(self):
        self.lock, self.running = threading.RLock(), 0

    def begin(self):
        with self.lock:
            self.running += 1
            default_generator.__class__ = Watched

    def end(self):
        with self.lock:
            self.running -= 1
            if not self.running:
                default_generator.__class__ = Generator


WHOLE = ("dropout", "alpha_dropout", "bernoulli", "poisson", "rand_like", "randn_like", "randint_like", "_standard_gamma",
         "_sample_dirichlet", "bernoulli_", "uniform_", "normal_", "exponential_", "geometric_", "cauchy_",
         "log_normal_", "random_")


def draw(level, op, args, kwargs):
    """A random function in a batch."""
    if level.randomness == "error":
        raise RuntimeError(ERROR)
    own = [t for t in trees.leaves_of((args, kwargs)) if level.own(t)]
    if level.randomness == "same":
        return same(level, op, args, kwargs, own)
    first = args[0] if args else None
    if op.name.endswith("_") and isinstance(first, Tensor) and not level.own(first):
        raise RuntimeError(UNBATCHED)
    if op.name in ("rand", "randn"):
        sizes = args[0] if len(args) == 1 and isinstance(args[0], (tuple, list)) else args
        if "size" in kwargs:
            sizes = kwargs.pop("size")
        return batched(level, permitted((level,), outside, op.callable, level.size, *sizes, **kwargs))
    if op.name in ("randint", "normal") and not own:
        found = _sized(level, op, args, kwargs)
        if found is not None:
            return found
    if op.name in WHOLE and isinstance(first, Tensor) or op.name == "normal":
        return whole(level, op, args, kwargs)
    return permitted((level,), level.each, lambda a, k: op.callable(*a, **k), (args, kwargs))


def _sized(level, op, args, kwargs):
    """``randint`` and ``normal`` of a size, which gets the batch; None where there is none."""
    if "size" in kwargs:
        kwargs = {**kwargs, "size": (level.size, *kwargs["size"])}
    elif args and isinstance(args[-1], (tuple, list)):
        args = (*args[:-1], (level.size, *args[-1]))
    else:
        return None
    return batched(level, permitted((level,), outside, op.callable, *args, **kwargs))


def whole(level, op, args, kwargs):
    """A draw for each number of tensors that have the batch."""
    def value(t):
        return level.spread(t) if isinstance(t, Tensor) and (t is args[0] or level.own(t) or op.name == "normal") else t
    if op.name.endswith("_"):
        permitted((level,), outside, op.callable, args[0].value, *map(value, args[1:]), **kwargs)
        return args[0]
    return level.wrap(permitted((level,), outside, op.callable, *map(value, args), **{k: value(v) for k, v in kwargs.items()}))


def same(level, op, args, kwargs, own):
    """One draw for all: the stream begins anew for each element."""
    if not own:
        return permitted((level,), op.callable, *args, **kwargs)
    if not (op.name.startswith("dropout") or op.name.endswith(("_like", "_", "dropout"))):
        raise RuntimeError("Vmap does not currently support same randomness with a batched tensor input. Please file an "
                           "issue with "
                           "functorch")
    state = default_generator.get_state()

    def call(a, k):
        default_generator.set_state(state)
        return op.callable(*a, **k)
    if op.name.endswith("_"):
        for part in args[0].value.unbind(0):
            permitted((level,), call, (part, *args[1:]), kwargs)
        return args[0]
    return permitted((level,), level.each, call, (args, kwargs))


BatchLevel.watch, BatchLevel.draw = Watch(), draw
