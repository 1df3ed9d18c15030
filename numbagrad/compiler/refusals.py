"""What a capture refuses, in words: the function that the user called, and the line."""

from __future__ import annotations

import inspect
import sys

from ..base.user_code import INSIDE, user_line
from ..kernel.tape import Refusal, Unlowered
from .files import OBSERVING

_OBSERVING = tuple([f"{__package__}.{n}" for n in OBSERVING])
_UNNAMED = ("numbagrad.compiler", "numbagrad.kernel.tape")  # modules whose functions no user has called


class CaptureError(RuntimeError):
    """A step cannot be compiled as it is written; the message names the line."""


def set_before(what):
    """A refusal of a setting of an optimizer that the step changes first."""
    return Refusal(f"ng.compile: the compiled function {what} of an optimizer before its step at {user_line()}, which replays "
                   "read at the start of a call: set it (lr_scheduler.step()) after optimizer.step(), or outside of the "
                   "compiled function")


def asked(what):
    """The function that the user called when code on the host came to ask for a tensor's values."""
    f = sys._getframe(2)
    while f is not None and (f.f_globals.get("__name__", "") + ".").startswith(INSIDE):
        if f.f_globals["__name__"] not in _OBSERVING:
            what = f.f_code.co_name
        f = f.f_back
    return what.strip("_")


def refused(e):
    """The message of a refused capture; for something without a compiled form, from where it was raised."""
    if not isinstance(e, Unlowered):
        return str(e)
    line, layer, function, tb = None, None, None, e.__traceback__
    while tb is not None:
        code, module = tb.tb_frame.f_code, tb.tb_frame.f_globals.get("__name__", "")
        if not module.startswith("numbagrad") and not code.co_filename.startswith("<numbagrad"):
            line, layer, function = f"{code.co_filename}:{tb.tb_lineno}", None, None
        elif module.startswith("numbagrad.nn.modules"):
            layer = layer or code.co_name
        elif function is None and not module.startswith(_UNNAMED):
            function = code.co_name
        tb = tb.tb_next
    what = f"ng.compile: {(function or layer or 'a function').strip('_')}() at {line}"
    if "which" in str(e):  # something lasting, or another in each call
        return f"{what} {e}. Keep it out of the compiled function, or pass fallback=True to run it eagerly."
    return (f"{what} has no compiled form: it {e}. Its result depends on values that exist only when the step runs; keep it "
            "out of the compiled function, or pass fallback=True to run it eagerly.")


def defined(f):
    """Where a function that is compiled was written."""
    f = getattr(f, "func", getattr(f, "__func__", f))
    code = getattr(inspect.unwrap(f) if callable(f) else f, "__code__", getattr(type(f).__call__, "__code__", None))
    return f"in {f!r}" if code is None else f"in {code.co_name}() at {code.co_filename}:{code.co_firstlineno}"
