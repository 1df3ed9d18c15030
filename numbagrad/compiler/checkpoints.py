"""Checkpoints in a captured step, in which nothing is computed again: what would then come out otherwise is refused."""

from __future__ import annotations

import contextlib

from ..core import graph
from ..kernel.tape import Fake, Refusal


class Checkpoint:
    """One call of ``checkpoint()``: its nodes, the memory from before that it reads, and what it leaves changed."""

    def __init__(self, recorder, line):
        self.recorder, self.line, self.last, self.effect = recorder, line, None, None
        self.first, self.calls, self.next = graph.sequence(), len(recorder.calls), recorder.next
        self.constants, self.python, self.later = set(recorder.constants), self._python(), []

    def _python(self):
        o = self.recorder.observer
        return None if o is None else (o.changes, o.drawn.used, len(o.said))

    def _is_old(self, memory):
        """Whether memory was there before the call."""
        if memory.__class__ is Fake:
            return memory.base < self.next
        return id(memory) in self.constants or id(memory) not in self.recorder.constants

    def end(self):
        self.last = graph.sequence()
        self.reads = {b for call in self.recorder.calls[self.calls:] for b in call.reads if self._is_old(b.obj)}
        if self._python() != self.python:
            self.effect = "changes Python objects, prints or draws random numbers of Python"

    def written(self, t):
        """A tensor is written in place."""
        if self.last is not None:
            self.later.append(t._buf)
        elif self._is_old(t._buf):
            self.effect = f"writes into a tensor of shape {list(t._shape)} from before"

    def check(self):
        """Backward comes to what eager code would compute again now."""
        if self.effect is not None:
            raise Refusal(f"ng.compile: the function of checkpoint() at {self.line} {self.effect}, which eager code does once "
                          "more in backward, where a compiled step computes nothing again: do it outside of the function")
        memory = {id(b.obj) for b in self.reads}
        if any([id(m) in memory for m in self.later]):
            raise Refusal(f"ng.compile: a tensor that the function of checkpoint() at {self.line} reads is written before "
                          "backward computes it again in eager code, which a compiled step does not: write it afterwards")


@contextlib.contextmanager
def checkpointed(recorder, line):
    """Watch a checkpointed function in the block."""
    found = Checkpoint(recorder, line)
    recorder.checkpoints.append(found)
    yield
    found.end()


def check(recorder, node):
    """``check`` the checkpoints that a node belongs to."""
    for c in recorder.checkpoints:
        if c.last is not None and c.first > node.seq > c.last:  # they count down
            c.check()
