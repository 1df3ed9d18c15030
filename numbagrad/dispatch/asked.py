"""A call that ``__torch_function__`` is asked about: what it is told, who is asked in which order, and the errors."""

from __future__ import annotations

import inspect
import warnings

from ..base import in_python, overriding
from ..base.overriding import STATE, overloaded
from ..core.tensor import Tensor
from .overridable import OF_DATA


class Asked:
    """What ``__torch_function__`` is told of a function: itself, its full name, and in which form PyTorch hands the arguments.

    PyTorch's functions in Python say defaults by their names, and count plain tensors among the classes; operators leave what
    nobody takes to Python."""

    __slots__ = ("func", "name", "operator", "python", "property", "data", "signature")

    def __init__(self, func, name, operator):
        self.func, self.name, self.operator = func, name, operator
        self.python, self.property = name in in_python.NAMES, name.endswith("__") and name.count(".") == 3
        self.data, self.signature = name.removeprefix("torch.") in OF_DATA, None

    def found(self, args, kwargs):
        """The arguments that override."""
        return [] if self.data else overloaded((*args, *kwargs.values()) if kwargs else args)

    def classes(self, found, args, kwargs):
        if self.property:
            return (type(args[0]),)
        if self.python:
            given = args[:1] if self.name.startswith("torch.Tensor") else (*args, *kwargs.values())
            found = relevant([x for v in given for x in (v if isinstance(v, (list, tuple)) else (v,))])
        return tuple([type(v) for v in found])

    def handed(self, args, kwargs):
        """The arguments as they are handed on."""
        if not self.python:
            return args, kwargs or None
        try:
            if self.signature is None:
                self.signature = inspect.signature(self.func)
            bound = self.signature.bind(*args, **kwargs)
        except (TypeError, ValueError):
            return args, kwargs
        bound.apply_defaults()
        if self.name.startswith("torch.autograd."):
            _as_tuples(bound.arguments)
        given, named = [], {}
        for p in self.signature.parameters.values():
            if p.name == "grad_variables":
                continue
            value = bound.arguments[p.name]
            if p.kind is p.VAR_POSITIONAL:
                given += value
            elif p.kind is p.VAR_KEYWORD:
                named.update(value)
            elif p.default is p.empty and not self.name.startswith("torch.nn.init") and p.kind is not p.KEYWORD_ONLY:
                given.append(value)
            elif value is not None or p.name != "out" or "nn.functional" not in self.name and self.name[-2:] != "__":
                named[p.name] = value
        return tuple(given), named

    def __call__(self, found, args, kwargs):
        """The result of who overrides."""
        classes = self.classes(found, args, kwargs)
        args, kwargs = self.handed(args, kwargs)
        try:
            result = ask(self.func, found, args, kwargs, classes)
        except TypeError:
            if self.operator:
                return NotImplemented
            raise
        if result is not NotImplemented or self.operator:
            return result
        raise unimplemented(self.name, classes) if self.python else refused(self.name, found)


def _as_tuples(arguments):
    """What ``autograd.grad`` and ``backward`` hand on: tensors in tuples, and no None for ``allow_unused``."""
    for name in ("outputs", "inputs", "tensors"):
        value = arguments.get(name)
        if value is not None and not isinstance(value, tuple):
            arguments[name] = tuple(value) if isinstance(value, list) else (value,)
    if "allow_unused" in arguments:
        arguments["allow_unused"] = bool(arguments["allow_unused"] or arguments["materialize_grads"])


def relevant(values):
    """Like ``overloaded`` of single values, a plain tensor among them."""
    found = []
    if STATE.off:
        return found
    for v in values:
        if type(v) is Tensor and all([type(x) is not Tensor for x in found]):
            found.append(v)
        elif type(v) is not Tensor and overriding.override(v) is not None:
            overriding.insert(found, v)
    return found


def ask(func, found, args, kwargs, classes, level=5):
    """What the innermost mode, or else one of the arguments, makes of a call; NotImplemented where none takes it."""
    modes = STATE.modes
    if modes:
        mode = modes.pop()
        try:
            result = mode.__torch_function__(func, classes, args, kwargs)
        finally:
            modes.append(mode)
        if result is not NotImplemented:
            return result
    for value in found:
        method = value.__torch_function__
        if getattr(method, "__self__", None) is value:
            warnings.warn("Defining your `__torch_function__ as a plain method is deprecated and will be an error in future, "
                          "please define it as a classmethod.", DeprecationWarning, stacklevel=level)
        result = method(func, classes, args, kwargs)
        if result is not NotImplemented:
            return result
    return NotImplemented


def refused(name, found):
    """The TypeError of a call that all who override left to others."""
    lines = [f"\n  - mode object {STATE.modes[-1]}"] if STATE.modes else []
    lines += [f"\n  - tensor subclass {type(v)}" for v in found]
    return TypeError(f"Multiple dispatch failed for '{name}'; all __torch_function__ handlers returned NotImplemented:\n"
                     + "".join(lines) + "\n\nFor more information, try re-running with TORCH_LOGS=not_implemented")


def unimplemented(name, classes):
    """The same as PyTorch's functions in Python say it."""
    return TypeError(f"no implementation found for '{name}' on types that implement __torch_function__: "
                     f"{list(classes)}" + (f" nor in mode {STATE.modes[-1]}" if STATE.modes else ""))
