"""The device form of kernels over the elements of one array, which also count their calls: the updates of optimizers.

Such a kernel changes numbers of its own (``step[0] += 1``) and then loops ``for i in range(n)`` over elements that do not meet
in memory. On a device these are two launches: one thread changes the numbers, then the elements are dealt out to a grid
whose threads read them. Numbers that lie on the host are changed there, and their new values sent along."""

from __future__ import annotations

import ast
import ctypes
import functools

import numpy as np

from .. import jit
from . import memory, thread_form
from .address import Address
from .independence import elements_apart
from .launch import launch, target
from .shim import Source
from .syntax import tree_of


class _WithoutLoops(ast.NodeTransformer):
    def visit_For(self, node):
        return ast.Pass()


class _Dealt(ast.NodeTransformer):
    """Loops over a grid's threads; numbers have been changed before."""

    def visit_For(self, node):
        node.iter = ast.parse(f"range(first_, {ast.unparse(node.iter.args[-1])}, step_)").body[0].value
        return node

    def visit_AugAssign(self, node):
        return ast.Pass() if _is_number(node.target) else node


def _is_number(target):
    return isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Constant)


@functools.cache
def counted(fn):
    """Names of the parameters whose first element a kernel function changes."""
    tree = tree_of(fn)
    if not elements_apart(fn):
        raise NotImplementedError(f"kernel {fn.__name__} is no loop over elements that do not meet: it has no form on a device")
    return tuple(sorted({n.target.value.id for n in ast.walk(tree) if isinstance(n, ast.AugAssign) and _is_number(n.target)}))


def body(fn, letters, part):
    """The plain function of one part of a kernel: "counts" or "elements"."""
    if part == "counts":
        return thread_form.function(fn, letters, _WithoutLoops)
    return thread_form.function(fn, letters, _Dealt, ("first_", "step_"))


def source(kernel, dtypes, part):
    """The kernel of a part for dtypes."""
    letters = thread_form.letters_of(dtypes)
    made = body(kernel.fn, letters, part)
    params = thread_form.params_of(kernel, letters)
    names = ", ".join(n for n, _ in params)
    if part == "counts":
        lines = ["if cuda.grid(1) == 0:", f"    body({names})"]
    else:
        lines = [f"body({names}, cuda.grid(1), cuda.gridsize(1))"]
    return Source(f"{kernel.name}_{part}", params, lines, {"body": made}, made.key)


def run(launcher, arguments):
    """Both launches of a kernel for one array."""
    kernel, index = launcher.kernel, launcher.index
    names = [n for n, _ in launcher.kinds]
    gpu, given, held = target(), dict(zip(names, arguments)), []
    own = counted(kernel.fn)
    hosted = [n for n in own if not isinstance(given[n], Address)]
    if own and len(hosted) == len(own):
        letters = thread_form.letters_of(launcher.dtypes)
        codes = dict(launcher.kinds)
        numbers = {n: _number_at(given[n], codes[n]) for n in own}
        # NumPy's numbers, so that a count in float32 times a setting is computed in float64, as compiled.
        body(kernel.fn, letters, "counts")(*[numbers.get(n, np.float64(given[n]) if codes[n] == "f" else given[n])
                                             for n in names])
        for n, array in numbers.items():
            there = memory.upload(array, index)
            held.append(there)
            given[n] = launcher.address(there)
    elif hosted:
        raise NotImplementedError(f"kernel {kernel.name}: {', '.join(own)} lie on different devices")
    for part in ("elements",) if hosted or not own else ("counts", "elements"):
        made = launcher.sources.get(part)
        if made is None:
            made = launcher.sources[part] = source(kernel, launcher.dtypes, part)
        values = launcher.values(gpu, [given[n] for n in names])
        if part == "counts":
            gpu.launch(made, values, 1, 1, index)
        else:
            launch(made, values, given["n"], index)


def _number_at(address, code):
    """The array of one element at an address on the host."""
    dtype = np.dtype(jit.POINTEE[code])
    return np.frombuffer((ctypes.c_char * dtype.itemsize).from_address(address), dtype)
