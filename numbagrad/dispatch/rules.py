"""Gradient rules evaluated with tensor operations, for a backward that is itself recorded."""

from __future__ import annotations

from ..core.registry import REGISTRY
from ..core.tensor import Tensor
from ..kernel import expr

# Scalar primitives whose tensor function has another name.
PRIMITIVES = {"max": "maximum", "min": "minimum", "and": "logical_and", "or": "logical_or", "xor": "logical_xor",
              "not": "logical_not", "bitand": "bitwise_and", "bitor": "bitwise_or", "bitxor": "bitwise_xor",
              "bitnot": "bitwise_not"}

_tensor_functions: dict = {}


def tensor_function(prim):
    """The tensor operation of a scalar primitive (for recorded backward)."""
    f = _tensor_functions.get(prim)
    if f is None and prim == "held":  # what takes the number next rounds it
        f = _tensor_functions[prim] = lambda x: x
    if f is None:
        op = REGISTRY.get(PRIMITIVES.get(prim, prim))
        if op is None:
            raise NotImplementedError(f"the scalar function '{prim}' has no tensor operation")
        f = _tensor_functions[prim] = _numbers_too(prim, op)
    return f


def rule_function(g):
    """``tensor_function`` for a gradient rule: a choice between two numbers has the dtype of ``g``, not the default one."""
    def function(prim):
        f = tensor_function(prim)
        if prim != "where":
            return f

        def choose(condition, a, b):
            if isinstance(condition, Tensor) and not isinstance(a, Tensor) and not isinstance(b, Tensor):
                a = g.detach().new_full((), a)
            return f(condition, a, b)
        return choose
    return function


def _numbers_too(prim, op):
    """Like the op, but plain numbers on both sides stay numbers."""
    def call(*args):
        if any(isinstance(a, Tensor) for a in args):
            if prim == "where" and not isinstance(args[0], Tensor):
                return args[1] if args[0] else args[2]
            if not isinstance(args[0], Tensor) and len(args) == 2:
                return reverse(op, args[0], args[1])
            return mixed(op, *args)
        return expr.number(prim, *args)
    return call


def reverse(op, number, tensor):
    """``number op tensor``."""
    if op.name in ("add", "mul", "maximum", "minimum"):
        return mixed(op, tensor, number)
    if op.name == "sub":
        return REGISTRY["rsub"].callable(tensor, number)
    return mixed(op, number, tensor)


def mixed(op, *args):
    """The call of an op of tensors and numbers, of which the public one may take fewer."""
    return (op.mixed(args) if op.kind == "elementwise" else op.callable)(*args)
