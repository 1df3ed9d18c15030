"""Tracebacks as users read them: of an error that nobody catches, only the lines that are not this package's own."""

from __future__ import annotations

import os
import sys
import traceback

from .user_code import is_ours


def folded(kind, error, trace):
    """(text, frames left out) of a traceback without the frames of this package; of one that has no others, all are kept."""
    top = traceback.TracebackException(kind, error, trace)
    hidden, todo, seen = 0, [top], set()
    while todo:
        e = todo.pop()
        if e is None or id(e) in seen:
            continue
        seen.add(id(e))
        todo += [e.__cause__, e.__context__]
        kept = [f for f in e.stack if not is_ours(f.filename)]
        if kept and len(kept) < len(e.stack):
            hidden += len(e.stack) - len(kept)
            e.stack = traceback.StackSummary.from_list(kept)
    return "".join(top.format()), hidden


def hook(kind, error, trace):
    """``sys.excepthook``: ``NUMBAGRAD_TRACEBACK=full`` shows all frames."""
    if os.environ.get("NUMBAGRAD_TRACEBACK", "") != "full":
        text, hidden = folded(kind, error, trace)
        if hidden and sys.stderr is not None:
            # First, so that the last line is the error, as ever.
            sys.stderr.write(f"({hidden} frames inside numbagrad are left out; NUMBAGRAD_TRACEBACK=full shows them)\n{text}")
            return
    sys.__excepthook__(kind, error, trace)


def install():
    """Fold tracebacks unless the program has a hook of its own."""
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = hook
