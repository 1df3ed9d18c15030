"""Names of symbolic numbers: sizes are plain numbers here, so that none is an instance, and functions of them are Python's."""

from __future__ import annotations

import builtins
import math
import numbers

import numpy as np

__all__ = ["SymBool", "SymFloat", "SymInt", "init_num_threads", "sym_float", "sym_int", "sym_ite", "sym_max", "sym_min",
           "sym_not", "sym_sum", "thread_safe_generator"]


class SymInt:
    """The class that ``isinstance`` asks for; no size is one."""

    def __init__(self, node):
        self.node = node


class SymFloat:
    """The class that ``isinstance`` asks for; no number is one."""

    def __init__(self, node):
        self.node = node


class SymBool:
    """The class that ``isinstance`` asks for; no truth is one."""

    def __init__(self, node):
        self.node = node


for _public in (SymInt, SymFloat, SymBool):
    _public.__module__ = "numbagrad"


def sym_int(a):
    """``a`` without its fraction."""
    return builtins.int(a) if not isinstance(a, float) else math.trunc(a)


def sym_float(a):
    """``a`` as a float."""
    return builtins.float(a)


def sym_not(a):
    """``not a``."""
    return not a


def sym_ite(b, t, f):
    """``t if b else f``, which must be of one type."""
    if not isinstance(b, bool):
        raise AssertionError(f"expected SymBool or bool, got {type(b)}")
    if type(t) is not type(f):
        raise AssertionError(f"type mismatch: {type(t)} vs {type(f)}")
    return t if b else f


def _larger(choose, a, b):
    known = (np.integer, np.floating, int, float)
    for x in (a, b):
        if not isinstance(x, known):
            raise AssertionError(f"expected {known}, got {type(x)}")
    found = choose(a, b)
    real = any(isinstance(x, numbers.Real) and not isinstance(x, numbers.Integral) for x in (a, b))
    return builtins.float(found) if real else found


def sym_max(a, b):
    """The larger of two numbers, a float if one of them is."""
    return _larger(max, a, b)


def sym_min(a, b):
    """The smaller of two numbers, a float if one of them is."""
    return _larger(min, a, b)


def sym_sum(*args):
    """The sum of numbers, or of one list of them."""
    return sum(args[0] if len(args) == 1 and isinstance(args[0], (list, tuple)) else args)


def init_num_threads():
    """Nothing: each thread finds the number of threads by itself."""


def thread_safe_generator():
    """None: workers of a DataLoader are processes, of which each has a default generator of its own."""
