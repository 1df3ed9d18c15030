"""Every hand-written kernel, and every function that kernels call, says what it computes and what its pointers are."""

import ast
import functools
import inspect
import re
import sys
import textwrap

import pytest

from numbagrad.extend import REGISTRY
from numbagrad.kernel import jit, lapack, mt19937_kernels

CALLED = lapack.Routine, type(lapack.past)  # functions that are written elsewhere


def found():
    """{module:name: the object} of all that the package declares."""
    REGISTRY.all()  # runs all files
    kinds = jit.Kernel, jit.Inline, mt19937_kernels.kernel
    return {f"{name}:{key}": value for name, module in list(sys.modules.items()) if name.partition(".")[0] == "numbagrad"
            for key, value in vars(module).items()
            if isinstance(value, kinds) and not isinstance(value, CALLED) and function(value).__module__ == name}


def function(declared):
    return declared.fn if hasattr(declared, "fn") else declared.make  # ``make``: of one that LLVM compiles by itself


FOUND = found()


@functools.cache
def pointers(declared):
    """Names of the parameters that are pointers: by annotation, or because the body indexes them or hands them on as such."""
    fn = function(declared)
    # (``w_at: "*"`` is where w lies, as a number)
    notes = {name.removesuffix("_at") if str(note).strip("'\"") == "*" else name
             for name, note in fn.__annotations__.items() if str(note).strip("'\"").startswith("*")}
    if not isinstance(declared, jit.Inline) or not hasattr(declared, "fn"):
        return notes
    parameters = list(inspect.signature(fn).parameters)
    names = set()
    for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(fn)))):
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
            names.add(node.value.id)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            called = fn.__globals__.get(node.func.id)
            if isinstance(called, jit.Inline) and hasattr(called, "fn") and called is not declared:
                taken = inspect.signature(called.fn).parameters
                names |= {a.id for a, name in zip(node.args, taken) if name in pointers(called) and isinstance(a, ast.Name)}
    return {p for p in parameters if p in names}


def unsaid(declared):
    """The pointers that the docstring does not name."""
    text = inspect.getdoc(function(declared)) or ""
    return sorted(p for p in pointers(declared) if not re.search(rf"(?<!\w){p}(?!\w)", text))


def test_kernels_are_found():
    assert len(FOUND) > 140 and any(k.startswith("numbagrad.kernel.mt19937_kernels:") for k in FOUND)
    assert sum(isinstance(v, jit.Inline) for v in FOUND.values()) > 15


@pytest.mark.parametrize("name", FOUND)
def test_a_docstring_names_every_pointer(name):
    declared = FOUND[name]
    assert len((inspect.getdoc(function(declared)) or "").split()) > 3, f"{name} has no docstring"
    assert not unsaid(declared), f"{name}: the docstring does not say what {', '.join(unsaid(declared))} are"


def test_a_pointer_that_is_handed_on_is_found():
    @jit.inline
    def first(x, i):
        """Element i."""
        return x[i]

    @jit.kernel
    def planted(x: "*T", out: "*T", n: int, start: int, stop: int):
        """The first of x."""
        out[start] = x[0]
    assert pointers(first) == {"x"} and unsaid(first) == ["x"]
    assert unsaid(planted) == ["out"]
    assert pointers(FOUND["numbagrad.ops.index.select_kernels:partial_sort"]) == {"x", "q"}
