"""``kl_divergence`` and the table of what it calls."""

import functools
import math
import warnings

import numbagrad as ng

from .distribution import Distribution

_KL_REGISTRY = {}  # (class of p, class of q): function
_KL_MEMOIZE = {}  # the same for classes that were asked for


def register_kl(type_p, type_q):
    """A decorator: the function gives KL(p || q) for distributions of these classes and of subclasses."""
    for name, cls in (("p", type_p), ("q", type_q)):
        if not isinstance(cls, type) and issubclass(cls, Distribution):
            raise TypeError(f"Expected type_{name} to be a Distribution subclass but got {cls}")

    def enter(fun):
        _KL_REGISTRY[type_p, type_q] = fun
        _KL_MEMOIZE.clear()
        return fun
    return enter


@functools.total_ordering
class _Match:
    """A pair of classes; less is what is closer to the classes asked for, the first class counting first."""

    __slots__ = ("types",)

    def __init__(self, *types):
        self.types = types

    def __eq__(self, other):
        return self.types == other.types

    def __le__(self, other):
        for x, y in zip(self.types, other.types):
            if not issubclass(x, y):
                return False
            if x is not y:
                break
        return True


def _dispatch_kl(type_p, type_q):
    """The function of the closest classes; NotImplemented without one, a warning where p and q disagree what is closest."""
    fits = [(p, q) for p, q in _KL_REGISTRY if issubclass(type_p, p) and issubclass(type_q, q)]
    if not fits:
        return NotImplemented
    left = min(_Match(p, q) for p, q in fits).types
    right = min(_Match(q, p) for p, q in fits).types[::-1]
    found = _KL_REGISTRY[left]
    if found is not _KL_REGISTRY[right]:
        warnings.warn(f"Ambiguous kl_divergence({type_p.__name__}, {type_q.__name__}). Please register_kl({left[0].__name__}, "
                      f"{right[1].__name__})", RuntimeWarning, stacklevel=3)
    return found


def kl_divergence(p, q):
    """The divergence of Kullback and Leibler KL(p || q), the mean over p of ``log(p / q)``; one number per distribution.

    NotImplementedError for a pair of classes that nothing was registered for."""
    pair = type(p), type(q)
    fun = _KL_MEMOIZE.get(pair)
    if fun is None:
        fun = _KL_MEMOIZE[pair] = _dispatch_kl(*pair)
    if fun is NotImplemented:
        raise NotImplementedError(f"No KL(p || q) is implemented for p type {p.__class__.__name__} and q type "
                                  f"{q.__class__.__name__}")
    return fun(p, q)


def infinite(type_p, types_q, like):
    """Register classes of q outside of whose support p has values: the divergence has the shape of p's parameter ``like``."""
    def divergence(p, q):
        return ng.full_like(getattr(p, like), math.inf)
    for type_q in types_q:
        register_kl(type_p, type_q)(divergence)
