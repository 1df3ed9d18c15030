"""The guards of a compiled variant: every place that its capture read, with what was there."""

from __future__ import annotations

from .places import ORIGINALS
from .words import Table, words_of

FICKLE = 4  # times that a place has other words and the same value before it is asked at once


class Guards:
    """(place, value) pairs; ``table`` compares those that are words of memory, ``asked`` are the others."""

    def __init__(self, pairs):
        self.pairs, self.table, self.misses = list(pairs), Table(), {}
        self.asked = []
        self._build()

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
        self.table.fill(words)

    def ask(self):
        """Whether the places without words hold what they held."""
        return all([place.holds(value) for place, value in self.asked])

    def hold(self):
        """Whether everything holds what it held, though some words differ."""
        if self.difference() is not None:
            return False
        if ORIGINALS:  # another thread captures, and has code of its own in some places
            return True
        for k, (place, _) in enumerate(self.pairs):
            value = place.get()
            if k in self.places and words_of(place, value) != self.places[k]:
                self.misses[k] = self.misses.get(k, 0) + 1
            self.pairs[k] = place, value
        self._build()
        return True

    def difference(self):
        """The first (place, value) that does not hold any more, or None."""
        return next(((place, value) for place, value in self.pairs if not place.holds(value)), None)
