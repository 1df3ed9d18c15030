"""The guards of a compiled variant: every place that its capture read, with what was there."""

from __future__ import annotations

import numpy as np

from .places import ORIGINALS
from .words import Table, counts_are_known, words_of

FICKLE = 4  # times that a place has other words and the same value before it is asked at once


class Guards:
    """(place, value) pairs; ``table`` compares those that are words of memory, ``asked`` are the others."""

    def __init__(self, pairs, like=None):
        self.table, self.misses = Table(), {}
        self.differed = None  # number of the pair that did not hold last, which is asked first
        self.asked, self.gradients = [], []
        if like is None:
            self.pairs = list(pairs)
            self._build()
        else:  # others of the same places, which hold what they held
            self.pairs, self.places, self.asked = list(like.pairs), dict(like.places), [
                (p, v) for p, v in like.asked if p.__class__ is not Renewed]
            self.table.fill(like.table.words)

    def _build(self):
        words, self.asked[:] = [], []
        self.places = {}  # number of a pair -> its words
        for k, (place, value) in enumerate(self.pairs):
            found = None if self.misses.get(k, 0) >= FICKLE else words_of(place, value)
            if found is None:
                self.asked.append((place, value))
            else:
                self.places[k] = found
                words += found
        self.table.fill(np.array([w for pair in dict.fromkeys(words) for w in pair], np.int64))
        self._look_at_gradients()

    def _look_at_gradients(self):
        self.table.fill(self.table.words, [g.row for g in self.gradients])
        if self.gradients and not counts_are_known():
            self.asked.append((Renewed(self.gradients), True))

    def watch(self, gradients):
        """Gradients get other memory before a call where somebody else holds them."""
        self.gradients = gradients
        self._look_at_gradients()

    def ask(self):
        """Whether the places without words hold what they held."""
        return all([place.holds(value) for place, value in self.asked])

    def hold(self):
        """Whether everything holds what it held, though some words differ."""
        if self._differs():
            return False
        for g in self.gradients:
            if g.held():
                g.renew()
        if ORIGINALS:  # another thread captures, and has code of its own in some places
            return True
        for k, (place, _) in enumerate(self.pairs):
            value = place.get()
            if k in self.places and words_of(place, value) != self.places[k]:
                self.misses[k] = self.misses.get(k, 0) + 1
            self.pairs[k] = place, value
        self._build()
        return True

    def _differs(self):
        pairs, last = self.pairs, self.differed
        if last is not None and not pairs[last][0].holds(pairs[last][1]):
            return True
        self.differed = next((k for k, (place, value) in enumerate(pairs) if not place.holds(value)), None)
        return self.differed is not None

    def difference(self):
        """The first (place, value) that does not hold any more, or None."""
        return next(((place, value) for place, value in self.pairs if not place.holds(value)), None)


class Renewed:
    """Stands for gradients where no counts of references are known: they get other memory before every call."""

    def __init__(self, gradients):
        self.gradients = gradients

    def holds(self, value):
        for g in self.gradients:
            g.renew()
        return value
