"""The public names: every op of the registry in its module, on Tensor, and as an in-place method."""

from __future__ import annotations

import inspect
import operator
import re
import sys

import numpy as np

from ..autograd import inplace_methods
from ..autograd.inplace_methods import TAKEN, left
from ..core import replay
from ..core.registry import REGISTRY, put
from ..core.tensor import Tensor, from_array
from ..kernel import jit

MODULES = {"torch": "numbagrad", "nn.functional": "numbagrad.nn.functional", "special": "numbagrad.special",
           "linalg": "numbagrad.linalg", "fft": "numbagrad.fft"}
DUNDERS = {"add": "__add__ __radd__", "sub": "__sub__", "mul": "__mul__ __rmul__", "div": "__truediv__ __div__",
           "pow": "__pow__", "neg": "__neg__", "abs": "__abs__", "lt": "__lt__", "le": "__le__", "gt": "__gt__", "ge": "__ge__",
           "eq": "__eq__", "ne": "__ne__", "bitwise_and": "__and__ __rand__", "bitwise_or": "__or__ __ror__",
           "bitwise_xor": "__xor__ __rxor__", "bitwise_not": "__invert__", "remainder": "__mod__",
           "floor_divide": "__floordiv__", "matmul": "__matmul__", "bitwise_left_shift": "__lshift__",
           "bitwise_right_shift": "__rshift__", "positive": "__pos__"}
INPLACE_DUNDERS = {"add": "__iadd__", "sub": "__isub__", "mul": "__imul__", "div": "__itruediv__ __idiv__", "pow": "__ipow__",
                   "remainder": "__imod__", "floor_divide": "__ifloordiv__", "bitwise_and": "__iand__",
                   "bitwise_or": "__ior__", "bitwise_xor": "__ixor__", "bitwise_left_shift": "__ilshift__",
                   "bitwise_right_shift": "__irshift__"}
REFLECTED = {"rsub": "__rsub__", "reciprocal": "__rtruediv__ __rdiv__", "pow": "__rpow__", "floor_divide": "__rfloordiv__",
             "remainder": "__rmod__", "matmul": "__rmatmul__", "bitwise_left_shift": "__rlshift__",
             "bitwise_right_shift": "__rrshift__"}


def install(op, fn=None):
    """Put an op's callable where users find it."""
    if op.namespaces and "torch" not in op.namespaces:  # pickles look it up
        made = fn or op.callable
        made.__module__, made.__qualname__ = MODULES[op.namespaces[0]], op.name
    for place, name, value in places(op, fn or op.callable):
        if put(place, name, value, op.published.get((place, name))):
            op.published[place, name] = value


def places(op, fn):
    """(Tensor or a module, name, what is found there) of all that users see of an op."""
    names = (op.name, *op.aliases)
    for space in op.namespaces:
        module = sys.modules[MODULES[space]]
        yield from ((module, name, fn) for name in names)
    if op.method:
        yield from ((Tensor, name, fn) for name in (op.method, *op.aliases))
    if op.private:
        return
    yield from ((Tensor, name, method) for name, method in _operators(op, fn))
    if op.inplace:
        call = inplace_methods.method(op)
        for name in names:
            yield Tensor, name + "_", call
            if name in INPLACE_FUNCTIONS:
                yield sys.modules["numbagrad"], name + "_", call


def _operators(op, fn):
    for dunder in DUNDERS.get(op.name, "").split():
        if dunder in ("__neg__", "__abs__", "__pos__"):
            yield dunder, fn
        elif dunder == "__invert__":
            yield dunder, _inverted(fn)
        else:  # The left side of an operator is a tensor: a function needs no guard that finds out.
            yield dunder, _guarded(op.fn if op.kind == "function" else fn, op.name in ("eq", "ne"),
                                   Tensor if op.name == "matmul" else TAKEN)
    for table, make in ((INPLACE_DUNDERS, lambda: inplace_methods.operator(op)), (REFLECTED, lambda: _reflected(op.name, fn))):
        if op.name in table:
            made = make()
            yield from ((dunder, made) for dunder in table[op.name].split())


REGISTRY.publish = install
SLOW_WAY = re.compile(r"return ((?:general|of_tensors|slow)_\(.*)")


def _guarded(fn, equality=False, taken=TAKEN):
    """An operator that leaves operands which cannot be part of arithmetic to Python, and to its error.

    Arrays are left to NumPy, which hands its result to ``Tensor.__array_wrap__``; equality takes them as tensors."""
    source = getattr(fn, "__source__", None)
    refuse = _compared if equality else _left
    if source is not None and SLOW_WAY.search(source):
        # The same text with the test where the fast way has been left: a wrapper would add a fifth to a small sum.
        first, other = list(inspect.signature(fn).parameters)[:2]
        text = SLOW_WAY.sub(rf"return \1 if isinstance_({other}, TAKEN_) else refuse_({first}, {other}, fn_)", source)
        env = {**fn.__globals__, "TAKEN_": taken, "refuse_": refuse, "fn_": fn}
        return replay.follow(jit.define(text, fn.__name__, env), fn)

    def operator(self, other):
        return fn(self, other) if isinstance(other, taken) else refuse(self, other, fn)
    return operator


def _left(self, other, fn):
    return left(other, fn, self, other)


def _compared(self, other, fn):
    if not isinstance(other, np.ndarray):
        return _left(self, other, fn)
    return fn(self, from_array(np.ascontiguousarray(other)).to(self.device))


def _inverted(fn):
    def invert(self):
        if self._kind.dtype.category > 1:
            raise TypeError("~ (operator.invert) is only implemented on integer and Boolean-type tensors")
        return fn(self)
    return invert


def _reflected(name, fn):
    """An operator whose right side is a tensor."""
    if name == "reciprocal":
        return lambda self, other: (fn(self) * other if other.__class__ is float or isinstance(other, TAKEN) else
                                    left(other, operator.mul, fn(self), other))
    if name == "rsub":
        return lambda self, other: fn(self, other) if isinstance(other, TAKEN) else _left(self, other, fn)
    taken = Tensor if name == "matmul" else TAKEN
    return lambda self, other: fn(other, self) if isinstance(other, taken) else left(other, fn, other, self)


# The in-place methods that are functions of the module too.
INPLACE_FUNCTIONS = frozenset("""
abs acos acosh addmv arccos arccosh arcsin arcsinh arctan arctanh asin asinh atan atanh ceil clamp clamp_max clamp_min
clip conj_physical cos cosh deg2rad detach erf erfc exp exp2 expm1 fill fix floor frac gcd i0 index_put lcm ldexp log
log10 log1p log2 logit nan_to_num neg negative rad2deg reciprocal relu resize_as round rsqrt sigmoid sin sinc sinh sqrt
square tan tanh trunc xlogy zero""".split())


def install_methods():
    """Install the in-place functions whose methods are no ops."""
    for name in INPLACE_FUNCTIONS:
        if name + "_" in vars(Tensor):
            setattr(sys.modules["numbagrad"], name + "_", vars(Tensor)[name + "_"])
