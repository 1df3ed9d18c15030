"""Reading PyTorch's pickles without executing them.

A pickle is a program: its GLOBAL opcode imports any name, REDUCE calls it, BUILD sets any attribute. `Restricted`
runs only the opcodes that build plain data, resolves names in a fixed table instead of importing them, calls only the
functions of that table, and sets attributes only on the few types where they are harmless. The table maps PyTorch's
names to numbagrad's own objects.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import importlib
import operator
import pickle

from .limits import Budget, check_depth, shown
from .names import allowed, current_name, permitted, refuse_unsupported, table
from .rebuild import set_attributes

__all__ = ["Full", "Restricted"]

_BLOCKED_MODULES = {"sys", "os", "posix", "nt"}
_HASHING = (set, frozenset, collections.Counter, collections.OrderedDict)
# What a call copies, however often it is made with the same value.
_COPIED = (str, bytes, bytearray, tuple, list, dict, set, frozenset)


class _Opcodes(dict):
    def __missing__(self, code):
        raise pickle.UnpicklingError(f"Unsupported operand {code}")


class Restricted(pickle._Unpickler):
    """Unpickler of tensors and plain data; raises pickle.UnpicklingError for anything else."""

    # The Python unpickler, because the C one runs every opcode.
    dispatch = _Opcodes(
        (getattr(pickle, name)[0], pickle._Unpickler.dispatch[getattr(pickle, name)[0]])
        for name in (
            "PROTO FRAME STOP MARK POP POP_MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 LONG4 BINFLOAT "
            "BINUNICODE SHORT_BINUNICODE BINUNICODE8 SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8 EMPTY_LIST "
            "EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_DICT EMPTY_SET FROZENSET BINGET LONG_BINGET BINPUT "
            "LONG_BINPUT MEMOIZE GLOBAL STACK_GLOBAL BINPERSID"
        ).split()
    )

    def __init__(self, file, persistent_load, encoding="utf-8"):
        super().__init__(file, encoding=encoding)
        self._size = len(file.getbuffer())
        self._budget = Budget(self._size)
        self.persistent_load = persistent_load
        self._values, self._functions = table()
        self._user = dict(allowed)

    def load(self):
        result = super().load()
        # Each level takes a byte at least.
        if self._size > 1000:
            check_depth(result)
        return result

    def find_class(self, module, name):
        if type(module) is not str or type(name) is not str or len(module) + len(name) > 1000:
            raise pickle.UnpicklingError(f"a global has the name {shown(module)}, {shown(name)}")
        module, name = current_name(module, name)
        full = f"{module}.{name}"
        if module in _BLOCKED_MODULES:
            raise pickle.UnpicklingError(
                f"Trying to load unsupported GLOBAL {full} whose module {module} is blocked."
            )
        for known in (self._values, self._functions, self._user):
            if full in known:
                return known[full]
        found = permitted(module, name, self._user)
        if found is not None:
            return found
        if full.startswith("torch."):
            refuse_unsupported(name)
        short = full.removeprefix("builtins.")
        raise pickle.UnpicklingError(
            f"Unsupported global: GLOBAL {short} was not an allowed global by default. If you trust the file, allow it "
            f"with `torch.serialization.add_safe_globals([{short}])` or load with `weights_only=False`."
        )

    def _is_user(self, value):
        return any(value is known for known in self._user.values())

    def _reduce(self):
        args, function = self.stack.pop(), self.stack[-1]
        if not any(function is known for known in self._functions.values()) and not self._is_user(function):
            raise pickle.UnpicklingError(f"Trying to call reduce for unrecognized function {shown(function)}")
        if type(args) is not tuple:
            raise pickle.UnpicklingError(f"{shown(function)} is called with {shown(args)} for arguments")
        for arg in args:
            if isinstance(arg, _COPIED):
                self._budget.charge(len(arg))
        if function in _HASHING and args and isinstance(args[0], (tuple, list, set, frozenset)):
            for item in args[0]:
                self._budget.key(item)
        self.stack[-1] = function(*args)

    def _newobj(self):
        args, cls = self.stack.pop(), self.stack.pop()
        if not self._is_user(cls):
            raise pickle.UnpicklingError(
                f"Can only create new object for classes allowlisted via `add_safe_globals` but got {shown(cls)}"
            )
        self.append(cls.__new__(cls, *args))

    def _build(self):
        target = self.stack[-2]
        if self._is_user(type(target)):
            self.load_build()
        elif type(target) is collections.OrderedDict:
            state = self.stack.pop()
            # Setting an attribute takes as long as visiting several items.
            self._budget.charge(8 * len(state) if isinstance(state, dict) else 1)
            set_attributes(target, state)
        else:
            raise pickle.UnpicklingError(f"Can only set the state of an OrderedDict, but got {type(target)}")

    def _expect(self, position, kind):
        if not isinstance(self.stack[position], kind):
            raise pickle.UnpicklingError(f"Can only add items to a {kind.__name__}, got {type(self.stack[position])}")

    def _append(self):
        self._expect(-2, list)
        self.load_append()

    def _setitem(self):
        self._expect(-3, dict)
        self._budget.key(self.stack[-2])
        self.load_setitem()

    def _many(self, kind):
        items = self.pop_mark()
        self._expect(-1, kind)
        target = self.stack[-1]
        for key in () if kind is list else items[::2] if kind is dict else items:
            self._budget.key(key)
        if kind is dict:
            target.update(zip(items[::2], items[1::2], strict=True))
        else:
            (target.extend if kind is list else target.update)(items)

    def _frozenset(self):
        items = self.pop_mark()
        for item in items:
            self._budget.key(item)
        self.append(frozenset(items))

    def _global_from_stack(self):
        name, module = self.stack.pop(), self.stack.pop()
        self.append(self.find_class(module, name))

    dispatch[pickle.FROZENSET[0]] = _frozenset
    dispatch[pickle.STACK_GLOBAL[0]] = _global_from_stack
    dispatch[pickle.REDUCE[0]] = _reduce
    dispatch[pickle.NEWOBJ[0]] = _newobj
    dispatch[pickle.BUILD[0]] = _build
    dispatch[pickle.APPEND[0]] = _append
    dispatch[pickle.SETITEM[0]] = _setitem
    dispatch[pickle.APPENDS[0]] = functools.partial(_many, kind=list)
    dispatch[pickle.SETITEMS[0]] = functools.partial(_many, kind=dict)
    dispatch[pickle.ADDITEMS[0]] = functools.partial(_many, kind=set)


class Full(pickle.Unpickler):
    """Ordinary unpickler (it runs what the file says) which finds numbagrad's objects under PyTorch's names."""

    def __init__(self, file, persistent_load, **kwargs):
        super().__init__(file, **kwargs)
        self._load = persistent_load

    def persistent_load(self, saved_id):
        return self._load(saved_id)

    def find_class(self, module, name):
        full = "{}.{}".format(*current_name(module, name))
        for known in table():
            # Python's own names need no stand-in here.
            if full in known and full.startswith("torch"):
                return known[full]
        if module.split(".")[0] == "torch":
            return _translated(module, name)
        return super().find_class(module, name)


def _translated(module, name):
    """The numbagrad object called `name` in the module of PyTorch's name, or in the nearest package above it."""
    place = "torch.nn.functional" if module == "torch._C._nn" else module
    parts = ["numbagrad", *place.split(".")[1:]]
    while parts:
        with contextlib.suppress(ModuleNotFoundError, AttributeError):
            return operator.attrgetter(name)(importlib.import_module(".".join(parts)))
        parts.pop()
    raise AttributeError(f"numbagrad has no counterpart of {module}.{name}")
