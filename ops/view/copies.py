"""Views whose result has memory of its own (``view_copy`` and its kin), and splits that are called unsafe."""

from __future__ import annotations

import numbagrad
from numbagrad.dispatch.op import Function, add_method
from numbagrad.extend import REGISTRY, Tensor

COPIED = """as_strided detach diagonal expand narrow permute select split split_with_sizes squeeze t transpose unbind unfold
unsqueeze view view_as_complex view_as_real""".split()
UNSAFE = ("chunk", "split", "split_with_sizes")
METHODS = ("narrow",)  # of those that are copied


def _own(x):
    return x.clone(memory_format=numbagrad.contiguous_format) if isinstance(x, Tensor) else tuple([_own(t) for t in x])


def _public(name, doc, run, method):
    """``name(input, *args, **kwargs)`` at top level, and as a method."""
    def fn(input, *args, **kwargs):
        return run(input, args, kwargs)
    fn.__name__ = fn.__qualname__ = name
    fn.__doc__ = doc
    fn.__module__ = __name__
    made = add_method(fn) if method else Function(fn, registered=False).callable
    REGISTRY.attach(__name__, numbagrad, {name: made})


def _viewed(name):
    def run(input, args, kwargs):
        return _own(getattr(input, name)(*args, **kwargs))
    return run


def _split(name):
    def run(input, args, kwargs):
        return getattr(input, name)(*args, **kwargs)
    return run


for _name in COPIED:
    _public(_name + "_copy", f"``{_name}`` with memory of its own.", _viewed(_name), _name in METHODS)
_public("alias_copy", "A copy.", lambda input, args, kwargs: _own(input), False)
for _name in UNSAFE:
    _public("unsafe_" + _name, f"``{_name}``, whose parts nothing checks for being written in place.", _split(_name), True)
