"""Kernels as authors declare and launch them: what reaches a kernel as an address has been compared with its annotation.

    @kernel
    def scale_rows(x: "*T", w: "*T", out: "*T", n: int, start: int, stop: int):
        '''Each row of x (rows, n) times its element of w (rows,), into out (rows, n).'''
        for r in range(start, stop):
            ...

    scale_rows.launch(x, w, out, n, rows=x.shape[0])
"""

from __future__ import annotations

import numbers

from ..base import dtypes as dt
from ..base.device import two_devices
from ..core.storage import kind_of
from ..core.tensor import Tensor
from ..kernel import jit
from ..kernel.guard import guarded

LETTERS = "TUV"
MOST = (1 << 63) - 1


class Kernel(jit.Kernel):
    """A hand-written kernel; ``launch`` runs it on tensors, ``kernel[kind]`` is its form for addresses."""

    def __init__(self, fn, fast=jit.FAST, nogil=False):
        check_declaration(fn)
        super().__init__(fn, fast, nogil)
        self.plans = {}  # kinds and layouts of a launch's arguments -> (kinds the kernel is indexed with, converters)

    def __getitem__(self, key):
        entry = super().__getitem__(key)
        name = self.name

        def call(*arguments):
            for i, a in enumerate(arguments):
                if isinstance(a, Tensor):
                    raise TypeError(f"{name}[{key}](): argument {i + 1} is a Tensor, where addresses and numbers are taken; "
                                    f"{name}.launch(..., rows=...) takes tensors")
            return entry(*arguments)
        return call

    def launch(self, *arguments, rows, work=None):
        """Run the kernel on tensors and numbers, given in the order of its parameters, over ``range(rows)``.

        Tensors are compared with their annotations first (dtype, device, row-major memory); the range is cut over threads where
        ``work``, the number of elements that are visited (the size of the largest tensor, if None), is worth it."""
        key = tuple([(a._kind, a._strides is None) if isinstance(a, Tensor) else a.__class__ for a in arguments])
        plan = self.plans.get(key) or self._plan(key, arguments)
        if rows.__class__ is not int or not 0 <= rows <= MOST:
            raise TypeError(f"{self.name}.launch(): rows must be the length of the outer loop, not {rows!r}")
        kinds, converters = plan
        if work is None:
            work = max([a._n for a in arguments if isinstance(a, Tensor)])
        self.run(kinds, [a._ptr if c is None else c(a) for a, c in zip(arguments, converters)], rows, work)

    @guarded
    def _plan(self, key, arguments):
        """What a launch with such arguments needs, after all checks; kept, as the key says all that is checked."""
        parameters = self._parameters({})[:-2]
        if len(arguments) != len(parameters):
            raise TypeError(f"{self.name}.launch(): {len(arguments)} arguments for the parameters "
                            f"({', '.join(n for n, _ in parameters)}); start and stop are given by rows")
        letters, converters, device = {}, [], None
        for (name, kind), a in zip(parameters, arguments):
            where = f"{self.name}.launch(): argument '{name}'"
            if kind in ("i", "f"):
                wanted = numbers.Integral if kind == "i" else numbers.Real
                if isinstance(a, Tensor) or not isinstance(a, wanted):
                    raise TypeError(f"{where} must be {'int' if kind == 'i' else 'float'}, not {type(a).__name__}")
                converters.append(int if kind == "i" else float)
                continue
            if not isinstance(a, Tensor):
                raise TypeError(f"{where} must be Tensor, not {type(a).__name__}")
            d = a._kind.dtype
            if kind in LETTERS:
                if letters.setdefault(kind, d) is not d:
                    first = next(n for n, k in parameters if k == kind)
                    raise TypeError(f"{where} has the dtype {d}, but '{first}', of the same type *{kind}, has {letters[kind]}")
            elif d.code != kind:
                raise TypeError(f"{where} must have the dtype {dt.BY_CODE[kind]}, not {d}")
            if device is None:
                device = a._kind.device
            elif a._kind.device is not device:
                raise two_devices(device, a._kind.device, f"argument '{name}' of kernel {self.name}")
            if a._strides is not None:
                raise ValueError(f"{where} must be row-major (shape {list(a._shape)}, strides {list(a._strides)}): pass "
                                 f"{name}.contiguous()")
            converters.append(None)
        if device is None:
            raise TypeError(f"{self.name}.launch(): no argument is a Tensor")
        found = [kind_of(letters[x], device) for x in LETTERS if x in letters] or [kind_of(dt.float64, device)]
        found = self.plans[key] = found[0] if len(found) == 1 else tuple(found), tuple(converters)
        return found


def check_declaration(fn):
    """TypeError, with the kernel's name and the parameter's, unless every parameter is annotated as kernels need it."""
    code, notes = fn.__code__, fn.__annotations__
    names = code.co_varnames[:code.co_argcount]
    if code.co_kwonlyargcount or code.co_flags & 0x0C or fn.__defaults__:
        raise TypeError(f"kernel {fn.__name__}: parameters are positional and without defaults")
    if names[-2:] != ("start", "stop"):
        raise TypeError(f"kernel {fn.__name__}: the last two parameters must be 'start: int, stop: int', the range of the "
                        f"outer loop, not {', '.join(names[-2:]) or 'nothing'}")
    seen = set()
    for name in names:
        note = notes.get(name)
        note = note.strip("'\"") if isinstance(note, str) else note
        if note in (int, "int") or note in (float, "float") and name not in ("start", "stop"):
            continue
        kind = note[1:] if isinstance(note, str) and note.startswith("*") else None
        if kind is None or kind not in LETTERS and kind not in dt.BY_CODE or name in ("start", "stop"):
            raise TypeError(f"kernel {fn.__name__}: parameter '{name}' must be annotated as int, float, \"*T\" (a pointer to "
                            f"the dtype of the call; *U and *V for a second and third one) or \"*\" and a dtype code "
                            f"({' '.join(dt.BY_CODE)}), not {note!r}")
        seen.add(kind)
    if seen & {"U", "V"} and "T" not in seen or "V" in seen and "U" not in seen:
        raise TypeError(f"kernel {fn.__name__}: dtypes are called *T first, then *U, then *V")


def kernel(fn=None, *, fast=jit.FAST, nogil=False):
    """Declare a hand-written kernel: a loop ``for i in range(start, stop)`` over items that do not meet in memory.

    Each parameter is ``"*T"``, a pointer to the dtype that the call works in (``*U`` and ``*V`` where there are several),
    ``"*i8"`` and the like, a pointer to that dtype, ``int`` or ``float``; the last two are ``start`` and ``stop``. ``fast`` are
    the fast-math flags, ``nogil`` lets other threads run Python meanwhile."""
    if fn is None:
        return lambda f: Kernel(f, fast, nogil)
    return Kernel(fn, fast, nogil)
