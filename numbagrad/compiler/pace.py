"""Whether a call is quicker compiled or eager: a step that does little is timed both ways, and the quicker way is taken.

Both ways leave the same behind, so which one a call takes is a matter of time alone."""

from __future__ import annotations

import math
from time import perf_counter as clock

from ..core.tensor import Tensor

BRIEF = 200e-6       # seconds: of longer calls, the way to the variant is a small part (0: nothing is timed)
PER_LAUNCH = 0.3e-6  # seconds that an eager launch takes at least
REPLAYS = 4          # that are timed
TIMED = 12           # eager calls that are timed (the first of which may write plans)
REST = 1024          # calls that run eagerly, once that was quicker
AGAIN = 256          # calls that run compiled, once that was quicker, before both are timed again; then twice as many
STREAK = 4           # calls in a pause for which there was a variant, and it ends
MOST = 4096          # outlines of arguments that a function keeps


class Pace:
    """How quick calls are of one outline of arguments, and how many are to run eagerly."""

    __slots__ = ("left", "paused", "replays", "compiled", "eager", "wait", "spell", "verdict", "streak")

    def __init__(self):
        self.left, self.paused = 0, False  # calls to run eagerly; whether because of too many captures
        self.streak = 0  # calls in a pause for which there was a variant, one after the other
        self.replays, self.compiled, self.eager = 0, math.inf, math.inf  # number, best times in seconds
        self.wait, self.spell = 0, AGAIN
        self.verdict = None  # (seconds of a compiled call, of an eager one), as last found

    def looks(self):
        """Whether a call looks for a variant: in a pause those do that are a power of two from its end, and those after
        one that found its own, as a look at all takes longer than many a step."""
        return self.left <= 0 or self.paused and (self.streak or not self.left & (self.left - 1))

    def pause(self, calls):
        """So many calls run eagerly, as captures take too much of the time."""
        self.left, self.paused, self.streak = calls, True, 0

    def run(self, fn, args, kwargs):
        """An eager call; the last ones before variants are looked for again are timed."""
        self.left -= 1
        self.streak = 0
        if self.left >= TIMED or self.paused:
            return fn(*args, **kwargs)
        start = clock()
        result = fn(*args, **kwargs)
        self.eager = min(self.eager, clock() - start)
        return result

    def replayed(self, seconds, launches):
        """A replay took so long: whether its variant is the quicker way as far as is known."""
        if self.left > 0:  # in a pause
            self.left -= 1
            self.streak += 1
            if self.streak < STREAK:
                return False
        self.left = 0
        if self.wait or not BRIEF:
            self.wait -= self.wait > 0
            return True
        self.replays += 1
        self.compiled = min(self.compiled, seconds)
        if self.replays < REPLAYS:
            return self.compiled < launches * PER_LAUNCH
        quicker = not launches * PER_LAUNCH < self.compiled < BRIEF
        if not quicker and self.eager == math.inf:
            self.left, self.paused = TIMED, False
            return False
        if not quicker:
            self.verdict, quicker = (self.compiled, self.eager), self.compiled <= self.eager
        if quicker:
            self.wait, self.spell = self.spell, 2 * self.spell
        else:
            self.left, self.paused = REST, False
        self.replays, self.compiled, self.eager = 0, math.inf, math.inf
        return quicker


class Paces(dict):
    """The paces of a function: {outline of arguments: Pace}."""

    def of(self, args, kwargs):
        if kwargs:
            args = (*args, *kwargs.values())
        outline = tuple([a._shape if isinstance(a, Tensor) else _outline(a) for a in args])
        found = self.get(outline)
        if found is None:
            if len(self) >= MOST:
                self.clear()
            found = self[outline] = Pace()
        return found


    def text(self):
        """Which calls run eagerly now, in words."""
        lines = []
        for outline, pace in self.items():
            if pace.left > 0 and (pace.paused or pace.left > TIMED):
                why = "captures took too much of the time"
                if not pace.paused:
                    why = "that is quicker: compiled {:.1f} us, eager {:.1f} us".format(*[t * 1e6 for t in pace.verdict])
                lines.append(f"the next {pace.left} calls with {list(outline)} run eagerly, as {why}")
        return lines


def _outline(x):
    """The shapes of the tensors in an argument."""
    if isinstance(x, Tensor):
        return x._shape
    cls = x.__class__
    if cls is list or cls is tuple:
        return tuple([_outline(y) for y in x])
    return tuple([_outline(y) for y in x.values()]) if cls is dict else None
