"""Gradients that leaves keep although others have their memory: what a view's backward makes of the gradient that it got.

As in PyTorch, ``x.view(-1).backward(g)`` leaves ``x.grad`` on the memory of ``g``. Other than there, no two leaves get the same
elements, and what is still to be read is not added to in place: PyTorch adds such gradients up wrongly.
"""

from __future__ import annotations

from sys import getrefcount

from ..core.overlap import is_dense
from ..core.tensor import raw
from . import hooks


# References to a gradient that nobody but the engine's loop holds; found by trying, as it is the interpreter's business.
class _Holder:
    __slots__ = ("_buf",)


def _calibrate():
    grads = (_Holder(),)
    r = grads[0]
    r._buf = object()
    return getrefcount(r), getrefcount(r._buf)


OWNED, OWNED_MEMORY = _calibrate()


EVER: list = []  # not empty once a leaf has kept such a gradient in this process
MOST = 64  # gradients of a node, each of which counts how many of them share its memory


class Kept:
    """What the leaves of one run have kept; ``gradients`` are those that the caller passed."""

    def __init__(self, gradients):
        self.gradients = gradients
        self.memory = {}  # id of memory -> (memory, first address that a leaf has, address behind the last, number of leaves)

    def take(self, t, r, grads):
        """(``r``, one of a node's gradients, as leaf ``t`` keeps it, True), or (``r``, False) where it has to be copied.

        All references to its memory have to be known: those of the node's gradients, of the caller's, of what they are views
        of, and of gradients of leaves that have other elements of it."""
        if r._strides is not None or t._strides is not None and is_dense(t) or r._ver.__class__ is not list or (
                len(grads) > MOST or "_numbagrad" in t.__dict__ and hooks.on_leaf(t)):
            return r, False
        at, first, base = id(r._buf), r._ptr, None if r._view is None else r._view.base
        last, found = first + r._n * r._kind.itemsize, self.memory.get(at)
        low, high, leaves = found[1:] if found else (last, first, 0)
        if first < high and low < last:
            return r, False
        others = leaves + (leaves > 0) + sum([x is not None and x is not r and x._buf is r._buf for x in grads])
        for g in self.gradients:
            others += g._buf is r._buf
            base = None if base is g else base
        others += base is not None and base._buf is r._buf
        if getrefcount(r._buf) != OWNED_MEMORY + others:
            return r, False
        if not EVER:
            EVER.append(True)
        self.memory[at] = r._buf, min(low, first), max(high, last), leaves + 1
        return raw(r._buf, first, r._n, r._shape, None, r._kind, r._ver), True


def flows(grad, gradients, kept):
    """Whether a run may still read the memory of a leaf's gradient."""
    return kept is not None and id(grad._buf) in kept.memory or any([g._buf is grad._buf for g in gradients])

