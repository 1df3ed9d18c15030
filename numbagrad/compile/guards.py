"""What a compiled variant relies on outside of its arguments, and how that is checked again at each call.

The function's surroundings are walked once, at capture: cells of its closure, globals that its code names, the modules,
optimizers, tensors and plain values found there. Modules count changes of their attributes (``module.CHANGED``), so an
unchanged model costs one comparison.
"""

from __future__ import annotations

import sys
import types

from ..nn.modules import module as modules
from ..nn.modules.module import Module
from ..optim.optimizer import Optimizer
from ..tensor import Tensor

PLAIN = (bool, int, float, complex, str, bytes, type(None))


DYNAMIC = {"getattr", "vars", "__dict__", "__getattribute__", "attrgetter"}  # code that may read any attribute


class Surroundings:
    """Tensors, modules, optimizers and values that a function can reach by name.

    ``cells``, ``names`` and ``fields`` are places of plain values: (cell, value), (dict, key, value). ``held_cells`` and
    ``held`` are places whose object must stay the same one, ``sequences`` lists with what was in them."""

    def __init__(self, fn, arguments=()):
        self.used = None
        self._walk(fn, arguments)
        # Again, without the attributes that no function names: other code may change them freely.
        self.used = None if self.words & DYNAMIC else self.words
        self._walk(fn, arguments)

    def changed(self):
        """What the function itself has changed since the walk, in words; None when nothing."""
        for table, name, v in (*self.names, *self.fields):
            if not same((table.get(name),), (v,)):
                return f"'{name}' changes from {v!r} to {table.get(name)!r}"
        for cell, v in self.cells:
            if not same((cell.cell_contents,), (v,)):
                return f"a variable of the enclosing function changes from {v!r} to {cell.cell_contents!r}"
        for table, name, v in self.held:
            if table.get(name) is not v:
                return f"'{name}' becomes another object"
        for cell, v in self.held_cells:
            if cell.cell_contents is not v:
                return "a variable of the enclosing function becomes another object"
        for x, v in self.sequences:
            if not same(x, v):
                return f"a {type(x).__name__} of {len(v)} items changes"
        return None

    def _walk(self, fn, arguments):
        self.tensors, self.modules, self.optimizers = {}, {}, {}
        self.cells, self.names, self.fields = [], [], []
        self.held_cells, self.held, self.sequences = [], [], []
        self.seen, self.words = set(), set()
        self.function(fn, 0)
        for x in objects(arguments):
            self.value(x, 1)

    def function(self, fn, depth):
        if isinstance(fn, types.MethodType):
            self.value(fn.__self__, depth)
            fn = fn.__func__
        if isinstance(fn, Module) or not isinstance(fn, types.FunctionType):
            if not isinstance(fn, (type, types.BuiltinFunctionType)):
                self.value(fn, depth)
            return
        if id(fn) in self.seen or _inside(fn):
            return
        self.seen.add(id(fn))
        words = list(dict.fromkeys(_names(fn.__code__)))
        self.words.update(words)
        for cell in fn.__closure__ or ():
            try:
                content = cell.cell_contents
            except ValueError:
                continue
            if isinstance(content, PLAIN):
                self.cells.append((cell, content))
            else:
                self.held_cells.append((cell, content))
                self.content(content, words, depth)
        for content in (*(fn.__defaults__ or ()), *(fn.__kwdefaults__ or {}).values()):
            self.value(content, depth + 1)
        for name in words:
            if name in fn.__globals__:
                self.name(fn.__globals__, name, words, depth)

    def name(self, table, name, words, depth):
        """A global variable that a function names."""
        content = table[name]
        if isinstance(content, PLAIN):
            self.names.append((table, name, content))
        elif isinstance(content, types.ModuleType):
            self.content(content, words, depth)
        elif not _inside(content):
            self.held.append((table, name, content))
            self.value(content, depth + 1)

    def content(self, x, words, depth):
        """What a variable holds: of a Python module, what the function may reach in it (``tools.loss``)."""
        if not isinstance(x, types.ModuleType):
            self.value(x, depth + 1)
        elif not _library(x):
            for word in words:
                if word in vars(x) and not isinstance(vars(x)[word], types.ModuleType):
                    self.name(vars(x), word, (), depth + 1)

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
            if isinstance(x, (list, set)):
                self.sequences.append((x, tuple(x)))
            for y in x:
                self.value(y, depth + 1)
        elif isinstance(x, dict):
            self.seen.add(id(x))
            self.sequences.append((x, tuple(x)))
            for k, y in x.items():
                self.place(x, k, y, depth)
        elif isinstance(x, type):
            self.methods(x, depth)
        elif hasattr(x, "__dict__") and not isinstance(x, types.ModuleType) and not _inside(type(x)):
            self.seen.add(id(x))
            self.methods(type(x), depth)
            for k, y in vars(x).items():
                if self.used is None or k in self.used:
                    self.place(vars(x), k, y, depth)

    def place(self, table, key, content, depth):
        if isinstance(content, PLAIN):
            self.fields.append((table, key, content))
        else:
            self.held.append((table, key, content))
            self.value(content, depth + 1)

    def methods(self, cls, depth):
        """Functions of a class of the user's, by the names that are in use."""
        for c in cls.__mro__:
            if id(c) in self.seen or c is object or _inside(c):
                continue
            self.seen.add(id(c))
            for k, y in vars(c).items():
                y = y.fget if isinstance(y, property) else getattr(y, "__func__", y)
                if isinstance(y, types.FunctionType) and k != "__init__" and (
                        self.used is None or k in self.used or k in ("forward", "backward", "setup_context", "__call__")):
                    self.function(y, depth + 1)

    def module(self, root):
        for m in root.modules():
            if id(m) not in self.modules:
                self.modules[id(m)] = m
                self.methods(type(m), 3)
                for t in (*m._parameters.values(), *m._buffers.values()):
                    if t is not None:
                        self.tensors[id(t)] = t
                for k, y in vars(m).items():
                    if k[0] != "_" and not isinstance(y, PLAIN):
                        self.value(y, 3)


def objects(x):
    """What is neither a tensor nor a plain value among nested arguments."""
    if isinstance(x, (list, tuple)):
        for y in x:
            yield from objects(y)
    elif isinstance(x, dict):
        yield from objects(list(x.values()))
    elif not isinstance(x, (Tensor, *PLAIN)):
        yield x


def _inside(x):
    """Whether a function or class is this package's own."""
    return str(getattr(x, "__module__", None)).partition(".")[0] == "numbagrad"


def _library(module):
    """Whether a Python module's functions are left alone: this package, the standard library, installed packages."""
    top = module.__name__.partition(".")[0]
    return top == "numbagrad" or top in sys.stdlib_module_names or "site-packages" in str(getattr(module, "__file__", None))


def same(now, then):
    """Whether a list (or the keys of a dict) holds what it held."""
    return len(now) == len(then) and all([a is b or a.__class__ is b.__class__ and isinstance(a, PLAIN) and a == b
                                          for a, b in zip(now, then)])


def _names(code):
    yield from code.co_names
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            yield from _names(const)


def snapshot(module):
    """What a capture takes from one module: its plain attributes and who its parts are."""
    fields = tuple([(k, v) for k, v in vars(module).items() if isinstance(v, PLAIN)])
    fields += tuple([(k, id(v)) for k, v in vars(module).items() if k[0] != "_" and not isinstance(v, PLAIN)])
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
