"""Views whose result has memory of its own (``view_copy`` and its kin), and splits that are called unsafe."""

from __future__ import annotations

import numbagrad
from numbagrad.dispatch.op import add_function, parameters
from numbagrad.extend import REGISTRY, Tensor
from numbagrad.kernel.define import define

# Views with their parameters.
COPIED = {
    "as_strided": "input, size, stride, storage_offset=None", "detach": "input", "expand": "input, size, *, implicit=False",
    "diagonal": "input, offset=0, dim1=0, dim2=1", "narrow": "input, dim, start, length", "permute": "input, dims",
    "select": "input, dim, index", "split": "input, split_size, dim=0", "split_with_sizes": "input, split_sizes, dim=0",
    "squeeze": "input, dim=None", "t": "input", "transpose": "input, dim0, dim1", "unbind": "input, dim=0",
    "unfold": "input, dimension, size, step", "unsqueeze": "input, dim", "view": "input, size",
    "view_as_complex": "input", "view_as_real": "input"}
UNSAFE = {"chunk": "input, chunks, dim=0", "split": "input, split_size, dim=0", "split_with_sizes": "input, split_sizes, dim=0"}
FUNCTIONS = ("view_as_complex", "view_as_real")  # views that are no methods
METHODS = ("narrow",)  # of those that are copied


def _own(x):
    return x.clone(memory_format=numbagrad.contiguous_format) if isinstance(x, Tensor) else tuple([_own(t) for t in x])


def _public(name, shown, doc, run, method):
    """``name(input, ...)`` at top level, and as a method."""
    call = ", ".join([p for p in parameters(shown).parameters if p not in ("input", "implicit")])
    fn = define(f"def {name}({shown}):\n    return run_(input, [{call}])\n", name, {"run_": run})
    fn.__doc__, fn.__module__ = doc, __name__
    kinds = {"index": "int"} if "index" in call else {}
    add_function(numbagrad, fn, method=method, out=None if name.startswith("unsafe") else "wider", **kinds)


def _viewed(name):
    """The method of that name; an argument that was left out as None is none."""
    def view(input, args):
        args = [a for a in args if a is not None]
        return _own(getattr(input, name)(*args) if name not in FUNCTIONS else getattr(numbagrad, name)(input))
    return view


def _split(name):
    return lambda input, args: getattr(input, name)(*args)


for _name, _shown in COPIED.items():
    _public(_name + "_copy", _shown, f"``{_name}`` with memory of its own.", _viewed(_name), _name in METHODS)
_public("alias_copy", "input", "A copy.", lambda input, args: _own(input), False)
_public("slice_copy", "input, dim=0, start=None, end=None, step=1", "Elements ``start`` to ``end`` of a dimension, with memory "
        "of their own.", lambda input, args: _own(REGISTRY["slice"].call(input, *args)), False)
for _name, _shown in UNSAFE.items():
    _public("unsafe_" + _name, _shown, f"``{_name}``, whose parts nothing checks for being written in place.",
            _split(_name), True)
