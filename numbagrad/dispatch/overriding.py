"""Functions that ask ``__torch_function__`` of their arguments and of the thread's modes.

Until a class that overrides is made, or a mode entered, no function asks: what follows gives all public functions another layer
(``layers``), whose text looks at the classes of the arguments. Names keep the function that they lead to while this lasts, even
where an op's first use makes another: ``func`` may be a key of somebody's table.
"""

from __future__ import annotations

import functools
import sys
import types

from ..base import arguments, overriding
from ..base.device import device as Device
from ..base.dtypes import dtype
from ..base.overriding import KNOWN, PLAIN, STATE
from ..core import registry
from ..core.registry import REGISTRY
from ..core.tensor import Tensor
from ..core.values import recast, subclass
from . import layers
from .asked import Asked
from .layers import LOCK
from .overridable import BINARY, CONSTANTS, OPERATORS, PLACES, asks, full_name, space_of

_held: list = []      # why functions ask: "classes", and a mode for each that is entered
_asking: dict = {}    # functions that have the layer
_replaced: list = []  # (place, name, function) of what an op's first use made meanwhile


for _plain in (dtype, Device):
    overriding.plain(_plain)

# --- a call -----------------------------------------------------------------------------------------------------------

# (Names that end in an underscore are no function's own variables.)
GETTER = """
def call(self_):
    return 'OWN'(self_) if self_.__class__ in 'PLAIN' else 'ASKED'((self_,), {})
"""
STUB = """
def call(*args_, **words_):
    for x_ in args_:
        if x_.__class__ not in 'PLAIN':
            return 'ASKED'(args_, words_)
    if words_:
        for x_ in words_.values():
            if x_.__class__ not in 'PLAIN':
                return 'ASKED'(args_, words_)
        return 'OWN'(*args_, **words_)
    return 'OWN'(*args_) if args_ else 'ASKED'(args_, words_)
"""


def asking(about, before, own):
    """Code that asks whoever overrides before it runs ``own``."""
    def look(args, kwargs):
        state = STATE
        if state.once:
            state.once = False
            return own(*args, **kwargs)
        if state.off:
            if state.off == overriding.OFF or not state.modes:
                return own(*args, **kwargs)
            found = []
        else:
            found = about.found(args, kwargs)
        if found or state.modes:
            return about(found, args, kwargs)
        if about.data:
            with overriding.DisableTorchFunctionSubclass():
                return own(*args, **kwargs)
        return own(*args, **kwargs)
    consts = {"PLAIN": PLAIN, "ASKED": look, "OWN": own}
    code = layers.nested(GETTER if about.name.endswith(".__get__") else STUB, before.co_freevars)
    return code.replace(co_consts=tuple([consts.get(c, c) if c.__class__ is str else c for c in code.co_consts]),
                        co_name=before.co_name)


# --- which functions --------------------------------------------------------------------------------------------------

def _take(place, name, value):
    """Let one function ask, or those of a property."""
    if not asks(place, name):
        return
    space = space_of(place)
    if isinstance(value, property):
        for part, attribute in (("__get__", "fget"), ("__set__", "fset"), ("__delete__", "fdel")):
            fn = getattr(value, attribute)
            if isinstance(fn, types.FunctionType):
                _layer(fn, getattr(value, part), f"{space}.{name}.{part}", False)
    elif isinstance(value, types.FunctionType) and value.__module__.partition(".")[0] == "numbagrad":
        public = OPERATORS.get(name)
        func = vars(Tensor).get(public, value) if public and place is Tensor else value
        if getattr(type(func), "stands_in", False):
            func = getattr(Tensor, public)
        _layer(value, func, full_name(space, public or name), place is Tensor and name[2:-2] in BINARY and name[:2] == "__")
        if func is value and public is None and (name[:2] == "__" or value.__name__ == "<lambda>"):
            value.__name__ = name


def _layer(fn, func, name, operator):
    if fn not in _asking:
        own = layers.add(fn, "overrides", functools.partial(asking, Asked(func, name, operator), fn.__code__)).own
        if "__signature__" not in fn.__dict__ and "__wrapped__" not in fn.__dict__:
            fn.__wrapped__ = own  # which has the parameters
        _asking[fn] = func
    layers.switch(fn, "overrides", True)


def _put(place, name, value, before):
    """A name gets a function: one that takes the place of another is run by that, whose name stays; False then."""
    if space_of(place) is None:
        return True
    with LOCK:
        if before not in _asking or not isinstance(value, types.FunctionType):
            return True
        if value is not before:
            layers.retarget(before, value)
            _replaced.append((place, name, value))
        return False


def _was_put(place, name, value):
    if space_of(place) is not None:
        with LOCK:
            if _held:
                _take(place, name, value)


def every():
    """(place, name, value) of what users find that has been loaded."""
    for place in (*[sys.modules[n] for n in PLACES if n in sys.modules], *reversed(Tensor.__mro__[:-1])):
        for name, value in list(vars(place).items()):
            yield (Tensor if isinstance(place, type) else place), name, value


# --- when -------------------------------------------------------------------------------------------------------------

def hold(reason):
    """Let functions ask."""
    with LOCK:
        _held.append(reason)
        if len(_held) == 1:
            for name in CONSTANTS:
                setattr(Tensor, name, property(_constant(name)))
            for place, name, value in every():
                _take(place, name, value)
            registry.BEFORE, registry.AFTER = _put, _was_put


def release(reason):
    """End a ``hold``."""
    with LOCK:
        _held.remove(reason)
        if not _held:
            registry.BEFORE = registry.AFTER = None
            for fn in _asking:
                layers.switch(fn, "overrides", False)
            for name in CONSTANTS:
                delattr(Tensor, name)
            owners = {at: op for op in dict.values(REGISTRY) for at in op.published} if _replaced else {}
            for place, name, value in _replaced:
                setattr(place, name, value)
                if (place, name) in owners:
                    owners[place, name].published[place, name] = value
            _replaced.clear()


def _constant(name):
    plain = next(vars(c)[name] for c in Tensor.__mro__[1:] if name in vars(c))

    def get(self):
        return plain.__get__(self) if hasattr(plain, "__get__") else plain
    get.__name__ = name
    return get


def subclassed(cls):
    """A class of tensors was made."""
    if cls.__torch_function__ is not overriding._disabled_torch_function_impl and "classes" not in _held:
        hold("classes")


def asked(op, values):
    """(result,) of the public function of an op, which asks, for a call that did not ask: from then on functions ask. None for
    an op that users do not have: who called it is told by an error."""
    if "classes" not in _held:
        hold("classes")
    ask = next((f for (_, name), f in op.published.items() if name == op.name and f in _asking), None)
    if ask is None:
        ask = getattr(op, "guarded", None)  # a method or function that is no op
    if ask not in _asking:
        return None
    args, words, parameters = [], {}, op.call_signature().parameters
    for name, value in values.items():
        p = parameters[name]
        if p.kind is p.VAR_POSITIONAL:
            args += value
        elif value is p.default or value.__class__ is p.default.__class__ is not Tensor and value == p.default:
            parameters = {n: q.replace(kind=q.KEYWORD_ONLY) for n, q in parameters.items()}  # (those after it by name)
        elif p.kind is p.KEYWORD_ONLY:
            words[name] = value
        else:
            args.append(value)
    return (ask(*args, **words),)


def begin(fn):
    """Let functions ask because of a call of one that asked nobody; whether that does now."""
    if "classes" in _held:
        return False
    hold("classes")
    return fn in _asking


def method(name):
    """The same of a method: the function that asks, or None if it has been asked."""
    if "classes" in _held:
        return None
    hold("classes")
    return getattr(Tensor, name)


# --- modes ------------------------------------------------------------------------------------------------------------

def push(mode):
    """Enter a mode."""
    with LOCK:
        first = bool(PLAIN)
        PLAIN.clear()
        hold(id(mode))
    if first:
        for fn in overriding.ENTERED:
            fn()
    STATE.modes.append(mode)


def pop():
    """Leave the innermost mode."""
    mode = STATE.modes.pop()
    with LOCK:
        release(id(mode))
        if not any([h.__class__ is int for h in _held]):
            PLAIN.update(KNOWN)
    return mode


# --- tensors ----------------------------------------------------------------------------------------------------------

NOWRAP = frozenset({Tensor._base.__get__, Tensor.grad.__get__})  # whose result stays of the class it has


def converted(result, cls):
    """Tensors of a result as instances of a class."""
    if cls is Tensor:
        return result
    if isinstance(result, Tensor) and not isinstance(result, cls):
        result = result.as_subclass(cls)
    if isinstance(result, (tuple, list)):
        result = type(result)([converted(r, cls) for r in result])
    return result


def default(cls, func, types, args=(), kwargs=None):
    """The function itself, its tensors as instances of ``cls``; NotImplemented if another class takes part."""
    if not all([issubclass(cls, t) for t in types]):
        return NotImplemented
    with overriding.DisableTorchFunctionSubclass():
        result = func(*args, **(kwargs or {}))
    return result if func in NOWRAP else converted(result, cls)


def leaf(cls, data, require_grad):
    """``Tensor._make_subclass``."""
    if not isinstance(data, Tensor):
        raise arguments.wrong(data, "Tensor", "_make_subclass", "data", 2)
    subclass(cls)
    with overriding.DisableTorchFunction():
        out = recast(data.detach(), cls)
        return out.requires_grad_() if require_grad else out
