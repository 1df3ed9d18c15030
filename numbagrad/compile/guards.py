"""What a compiled variant relies on outside of its arguments, and how that is checked again at each call.

The function's surroundings are walked once, at capture: cells of its closure, globals that its code names, the modules,
optimizers, tensors and plain values found there. Modules count changes of their attributes (``module.CHANGED``), so an
unchanged model costs one comparison.
"""

from __future__ import annotations

import types

from ..nn.modules import module as modules
from ..nn.modules.module import Module
from ..optim.optimizer import Optimizer
from ..tensor import Tensor

PLAIN = (bool, int, float, complex, str, bytes, type(None))


class Surroundings:
    """Tensors, modules, optimizers and values that a function can reach by name."""

    def __init__(self, fn):
        self.tensors, self.modules, self.optimizers = {}, {}, {}
        self.cells, self.names, self.fields = [], [], []
        self.seen = set()
        self.function(fn, 0)

    def function(self, fn, depth):
        if isinstance(fn, types.MethodType):
            self.value(fn.__self__, depth)
            fn = fn.__func__
        if isinstance(fn, Module) or not isinstance(fn, types.FunctionType):
            if not isinstance(fn, (type, types.BuiltinFunctionType)):
                self.value(fn, depth)
            return
        if id(fn) in self.seen or fn.__module__.partition(".")[0] == "numbagrad":
            return
        self.seen.add(id(fn))
        for cell in fn.__closure__ or ():
            try:
                content = cell.cell_contents
            except ValueError:
                continue
            if isinstance(content, PLAIN):
                self.cells.append((cell, content))
            else:
                self.value(content, depth + 1)
        for content in (*(fn.__defaults__ or ()), *(fn.__kwdefaults__ or {}).values()):
            self.value(content, depth + 1)
        for name in _names(fn.__code__):
            if name in fn.__globals__:
                content = fn.__globals__[name]
                if isinstance(content, PLAIN):
                    self.names.append((fn.__globals__, name, content))
                elif not isinstance(content, types.ModuleType):
                    self.value(content, depth + 1)

    def value(self, x, depth):
        if depth > 6 or id(x) in self.seen or isinstance(x, PLAIN):
            return
        if isinstance(x, Tensor):
            self.tensors[id(x)] = x
        elif isinstance(x, Module):
            self.module(x)
        elif isinstance(x, Optimizer):
            self.optimizers[id(x)] = x
            for group in x.param_groups:
                for p in group["params"]:
                    self.tensors[id(p)] = p
        elif isinstance(x, (types.FunctionType, types.MethodType)):
            self.function(x, depth)
        elif isinstance(x, (list, tuple, set, frozenset)):
            self.seen.add(id(x))
            for y in x:
                self.value(y, depth + 1)
        elif isinstance(x, dict):
            self.seen.add(id(x))
            for k, y in x.items():
                if isinstance(y, PLAIN) and isinstance(k, str):
                    self.fields.append((x, k, y))
                self.value(y, depth + 1)
        elif hasattr(x, "__dict__") and not isinstance(x, (type, types.ModuleType)) and not type(
                x).__module__.startswith("numbagrad"):
            self.seen.add(id(x))
            for k, y in vars(x).items():
                if isinstance(y, PLAIN):
                    self.fields.append((vars(x), k, y))
                else:
                    self.value(y, depth + 1)

    def module(self, root):
        for m in root.modules():
            if id(m) not in self.modules:
                self.modules[id(m)] = m
                for t in (*m._parameters.values(), *m._buffers.values()):
                    if t is not None:
                        self.tensors[id(t)] = t
                for k, y in vars(m).items():
                    if k[0] != "_" and not isinstance(y, PLAIN):
                        self.value(y, 3)


def _names(code):
    yield from code.co_names
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            yield from _names(const)


def snapshot(module):
    """What a capture takes from one module: its plain attributes and who its parts are."""
    fields = tuple([(k, v) for k, v in vars(module).items() if isinstance(v, PLAIN)])
    parts = tuple([(k, id(v)) for table in ("_parameters", "_buffers", "_modules")
                   for k, v in vars(module)[table].items()])
    return fields, parts, len(module._forward_hooks), len(module._forward_pre_hooks)


class ModuleGuard:
    """Whether the captured modules are as they were; ``version`` is the count of changes at the last look."""

    def __init__(self, found):
        self.kept = [(m, snapshot(m)) for m in found]
        self.version = modules.CHANGED[0]

    def holds(self):
        now = modules.CHANGED[0]
        if now != self.version:
            if self.difference() is not None:
                return False
            self.version = now
        return True

    def difference(self):
        """What changed, in words; None when nothing did."""
        for m, before in self.kept:
            after = snapshot(m)
            if after != before:
                old, new = dict(before[0]), dict(after[0])
                for k in {**old, **new}:
                    if old.get(k, "(none)") != new.get(k, "(none)"):
                        return f"{type(m).__name__}.{k} changed from {old.get(k, '(none)')} to {new.get(k, '(none)')}"
                return f"the parameters, submodules or hooks of a {type(m).__name__} changed"
        return None


SETTINGS_SKIP = ("params", "param_names", "foreach", "fused", "capturable", "differentiable", "initial_lr")


def settings(optimizer):
    """The hyperparameters of an optimizer as they are now."""
    return tuple([tuple([_plain(v) for k, v in group.items() if k not in SETTINGS_SKIP])
                  for group in optimizer.param_groups])


def _plain(v):
    return v.item() if isinstance(v, Tensor) else tuple([_plain(x) for x in v]) if isinstance(v, (tuple, list)) else v
