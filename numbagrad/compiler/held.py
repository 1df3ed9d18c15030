"""Gradients that somebody holds: they stay what they are, and the step gets other memory for its next ones.

A step leaves its gradients in memory that it uses again in the next call, where eager code makes new tensors. That shows only
to who keeps a gradient (or a view or an array on it), which the counts of references tell: each call compares them, natively,
with what they are when only the step and the leaf hold the gradient."""

from __future__ import annotations

import numpy as np

from ..core import storage
from ..core.tensor import Tensor, raw
from .places import Member
from .words import slot_of, word


class Gradient:
    """Gradient ``number`` of a variant, which lies in ``buffer``."""

    def __init__(self, variant, number, buffer):
        self.variant, self.number, self.buffer = variant, number, buffer
        self.count()

    def count(self):
        """Take the references of now, all of which are the step's own but that of the leaf, for what they have to be."""
        t = self.variant.gradients[self.number][0]
        at, memory = id(self.variant.gradients[self.number][1]), id(self.buffer.array)
        # The leaf's, and that of a call which is given the gradient that was there before.
        more = 1 + (Member(t, Tensor._grad).key in self.variant.dynamic)
        self.row = [at, word(at) - (id(t._grad) == at), id(t) + slot_of(Tensor._grad), more, memory, word(memory)]

    def held(self):
        at, count, slot, more, memory, others = self.row
        return word(at) != count + more * (word(slot) == at) or word(memory) != others

    def renew(self):
        """Other memory, and another tensor, for what the next call computes."""
        v, k, b = self.variant, self.number, self.buffer
        leaf, old = v.gradients[k]
        before, env = b.array, v.fast.__globals__
        b.array = np.zeros(before.size, before.dtype)
        moved = storage.address(b.array) - storage.address(before)
        v.gradients[k] = leaf, raw(b.array, old._ptr + moved, old._n, old._shape, old._strides, old._kind, [0])
        env[f"grad{k}"] = v.gradients[k][1]
        with v.program.lock:
            v.program.move(b, moved)
        v.renewed(before, b.array)
        del old, before
        self.count()


def watch(variant):
    """The gradients of a variant whose memory it uses again."""
    by_array = {id(b.array): b for b in variant.kept}
    found = []
    for k, (_, g) in enumerate(variant.gradients):
        if g is not None and id(g._buf) in by_array:
            found.append((k, by_array[id(g._buf)]))
        del g
    return [Gradient(variant, k, b) for k, b in found]
