"""The thread form of hand-written kernels: the loop of the CPU, of which each thread of a grid runs single items.

A kernel is a function ``fn(..., start, stop)`` over items. From its source comes a device function (types and functions of the
kernel's dtypes put in, ``lanes()`` and ``strip()`` as memory of the thread) and around it the loop of a grid:

* *items*, for kernels whose items do not meet in memory: a thread runs ``fn(..., i, i + 1)`` for its items;
* *serial*, for all others: the first thread of the grid runs ``fn(..., start, stop)``.
"""

from __future__ import annotations

import ast
import inspect

from ...base import dtypes as dt
from .. import casts, jit, vecmath
from . import emit, shim
from .shim import Source
from .syntax import SCRATCH, tree_of

ITEMS = ["i_ = start_ + cuda.grid(1)", "while i_ < stop_:", "    body({args}i_, i_ + 1)", "    i_ += cuda.gridsize(1)"]
SERIAL = ["if cuda.grid(1) == 0:", "    body({args}start_, stop_)"]

_made: dict = {}


def letters_of(dtypes):
    return dict(zip("TUV", (d.code for d in (dtypes if isinstance(dtypes, tuple) else (dtypes,)))))


class Refused(NotImplementedError):
    """A kernel that has no form on a device."""


class _Scratch(ast.NodeTransformer):
    """``lanes()`` and ``strip()`` as arrays of the thread."""

    def visit_Call(self, node):
        known = SCRATCH.get(getattr(node.func, "id", ""))
        if known is None:
            return self.generic_visit(node)
        return ast.parse("cuda.local.array({}, {})".format(*known)).body[0].value


def add(total, x):
    """What ``accumulate`` stands for: the order of additions is that of the loop."""
    return total + x


def same(x):
    """What ``anew`` stands for."""
    return x


def larger(a, b):
    """What ``fmaximum`` stands for."""
    return a if a > b or a != a else b


def smaller(a, b):
    """What ``fminimum`` stands for."""
    return a if a < b or a != a else b


SAME = {"accumulate": add, "anew": same, "fmaximum": larger, "fminimum": smaller}


def environment(fn, letters, inline):
    """{name: plain function, type or constant} of what a kernel function names; ``inline`` makes device functions of those that
    it calls."""
    code = letters["T"]
    compute = dt.BY_CODE[code].compute
    width = compute if compute in ("f4", "f8") else None if compute[0] == "c" else "f8"
    env = {}
    for name in set(jit._names(fn.__code__)):
        value = fn.__globals__.get(name)
        if isinstance(value, jit.Placeholder):
            if value.name in ("T", "acc", "load", "store"):
                env[name] = emit.cast(value.name, code)[0]
            elif value.name in SAME:
                env[name] = SAME[value.name]
            elif value.name == "box_maximum":
                raise Refused(f"{fn.__name__} calls {name}, which has no form on a device")
            elif value.name not in SCRATCH and value.name not in letters:
                if width is None:
                    raise Refused(f"{fn.__name__}: '{value.name}' is not implemented for complex numbers")
                env[name] = vecmath.ALL[value.name][width]
        elif isinstance(value, jit.Inline):
            if not hasattr(value, "fn"):
                raise Refused(f"{fn.__name__} calls {name}, which has no form on a device")
            env[name] = inline(value.fn)
        elif name in fn.__globals__:
            module = getattr(value, "__module__", None) or ""
            if isinstance(value, (jit.Kernel, type(None))) or module.startswith("numbagrad.kernel.blas"):
                raise Refused(f"{fn.__name__} calls {name}, which has no form on a device")
            env[name] = value
    for letter in "UV":
        if letter in letters and letter in fn.__code__.co_names:
            env[letter] = emit.cast("T", letters[letter])[0]
    return env


def scratch_types(letters):
    """What the text of scratch memory names."""
    compute = dt.BY_CODE[letters["T"]].compute
    if shim.simulated():
        from .simulator import inside as cuda
    else:
        cuda = shim.numba_cuda
    return {"T_type_": shim.element_type(compute), "f8_type_": shim.element_type("f8"),
            "acc_type_": shim.element_type(casts.accumulated(letters["T"])),
            "LANES_": jit.LANES, "STRIP_": jit.STRIP, "cuda": cuda()}


def function(fn, letters, change=None, more=()):
    """The plain function of one thread that a kernel function, or one that it calls, becomes for dtype codes.

    ``change`` is a class that rewrites its tree, ``more`` are names of further parameters."""
    key = fn.__code__, tuple(sorted(letters.items())), change
    found = _made.get(key)
    if found is None:
        env = environment(fn, letters, lambda called: function(called, letters))
        tree = tree_of(fn)
        tree.args.args += [ast.arg(name) for name in more]
        tree = ast.fix_missing_locations(_Scratch().visit(change().visit(tree) if change else tree))
        space = {**env, **scratch_types(letters), "__name__": "numbagrad.kernel.generated"}
        found = _made[key] = jit.define(emit.portable(ast.unparse(tree)) + "\n", fn.__name__, space)
        found.key = "\n".join([found.__source__, repr(key[1]), *texts(env)])
    return found


def texts(env):
    """What pins the meaning of names: the texts of functions, and constants."""
    for name, value in sorted(env.items()):
        value = getattr(value, "py_func", value)
        if hasattr(value, "key"):
            yield value.key
        elif inspect.isfunction(value):
            yield f"{name}: " + (getattr(value, "__source__", None) or inspect.getsource(value))
        else:
            yield f"{name}: {getattr(value, '__name__', value)!r}"


def params_of(kernel, letters):
    """Parameters of a device kernel, as ``Source`` has them."""
    return [(n, "i8" if k == "i" else "f8" if k == "f" else "*" + k) for n, k in kernel.parameters(letters)]


def source(kernel, dtypes, form):
    """The kernel of a form ("items" or "serial") for dtypes."""
    letters = letters_of(dtypes)
    return wrapped(kernel, letters, function(kernel.fn, letters), form, ITEMS if form == "items" else SERIAL)


def wrapped(kernel, letters, body, form, skeleton):
    """The kernel that runs a plain function on a range of items by the lines of a form."""
    params = params_of(kernel, letters)
    names = [n for n, _ in params]
    if names[-2:] == ["start", "stop"]:
        params[-2:] = [("start_", "i8"), ("stop_", "i8")]
        args = "".join(n + ", " for n in names[:-2])
        lines = [line.format(args=args) for line in skeleton]
    elif form == "one":
        lines = [f"body({', '.join(names)})"]
    else:
        lines = ["if cuda.grid(1) == 0:", f"    body({', '.join(names)})"]
    return Source(f"{kernel.name}_{form}", params, lines, {"body": body}, body.key)
