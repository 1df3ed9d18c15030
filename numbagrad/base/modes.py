"""Per-thread modes: gradient recording, inference, saved-tensor hooks; and the process-wide anomaly mode.

``STATE`` is empty while every thread is in the default mode, so the fast path of an op pays one truth test of a dict.
Any entry sends ops to their general path, which asks ``current()``.
"""

from __future__ import annotations

import functools
import inspect
import threading
import warnings
from threading import get_ident

STATE: dict = {}
_local = threading.local()


class Reverse(threading.local):
    """How many functions of ``func`` run in a thread that have no level of their own."""

    depth = 0

    def __enter__(self):
        self.depth += 1

    def __exit__(self, *error):
        self.depth -= 1


REVERSE = Reverse()


class Mode:
    """What differs from the default in one thread."""

    __slots__ = ("grad", "inference", "hooks", "capture", "refuses", "autocast", "casting", "transform", "general")

    def __init__(self):
        self.grad, self.inference, self.hooks, self.capture, self.refuses = True, False, (), None, None
        self.autocast = self.casting = None  # what is cast to what; the same, but None inside of an op that was given casts
        self.transform = None  # the transforms of ``func`` that run (``func.levels.Stack``)
        self.general = False  # whether calls take the general path

    def is_default(self):
        return (self.grad and not self.inference and not self.hooks and self.capture is None and self.refuses is None
                and self.autocast is None and self.transform is None)


DEFAULT = Mode()


class _Leaving:
    """Removes a thread's entry when the thread ends, because thread idents are used again."""

    ident = None  # an interrupt may come before it is set

    def __init__(self, ident):
        self.ident = ident

    def __del__(self, pop=STATE.pop):
        pop(self.ident, None)


def current():
    """The calling thread's mode (read only)."""
    return STATE.get(get_ident(), DEFAULT)


def recording():
    """Whether a plain call is recorded in this thread; None when the mode asks for the general path."""
    if "anomaly" in STATE:
        return None
    mode = STATE.get(get_ident())
    if mode is None:
        return True
    return None if mode.general else mode.grad


def change(**values):
    """Set fields of the calling thread's mode."""
    ident = get_ident()
    mode = STATE.get(ident)
    if mode is None:
        mode = Mode()
        _local.leaving = _Leaving(ident)
    for name, value in values.items():
        setattr(mode, name, value)
        if name != "grad":
            mode.general = bool(mode.inference or mode.hooks or mode.capture is not None or mode.transform is not None)
    if mode.is_default():
        STATE.pop(ident, None)
    else:
        STATE[ident] = mode


def uncast(function, *args, **kwargs):
    """What a function returns where no region of autocast casts: inside of in-place forms and calls with ``out=``."""
    mode = current()
    if mode.casting is None:
        return function(*args, **kwargs)
    before, mode.casting = mode.casting, None
    try:
        return function(*args, **kwargs)
    finally:
        mode.casting = before


def transform():
    """The transforms that run in this thread, None outside of any; ask it where ``STATE`` is not empty."""
    mode = STATE.get(get_ident())
    return None if mode is None else mode.transform


def is_grad_enabled():
    """Whether operations of this thread are recorded for differentiation."""
    return current().grad


def records():
    """Whether this thread's operations may be recorded: grad mode is on, and inference mode is not."""
    mode = current()
    return mode.grad and not mode.inference


def is_inference_mode_enabled():
    """Whether this thread is in inference mode."""
    return current().inference


class _ContextDecorator:
    """A context manager that decorates functions and generators too, entering anew for every call or step."""

    def __call__(self, func):
        if inspect.isclass(func):
            warnings.warn("Decorating classes is deprecated and will be disabled in future versions. You should only "
                          "decorate functions or methods. To preserve the current behavior of class decoration, you "
                          "can directly decorate the `__init__` method and nothing else.", FutureWarning, stacklevel=2)
        if inspect.isgeneratorfunction(func):
            @functools.wraps(func)
            def generator(*args, **kwargs):
                g = func(*args, **kwargs)
                try:
                    with self.clone():
                        value = g.send(None)
                    while True:
                        try:
                            sent = yield value
                        except GeneratorExit:
                            with self.clone():
                                g.close()
                            raise
                        except BaseException as e:
                            with self.clone():
                                value = g.throw(e)
                        else:
                            with self.clone():
                                value = g.send(sent)
                except StopIteration as stop:
                    return stop.value
            return generator

        @functools.wraps(func)
        def wrapper(*args, **kwargs):
            with self.clone():
                return func(*args, **kwargs)
        return wrapper

    def clone(self):
        return type(self)()


class _GradMode(_ContextDecorator):
    value = True

    def __new__(cls, orig_func=None):
        self = object.__new__(cls)
        return self if orig_func is None else self(orig_func)

    def __enter__(self):
        self.previous = current().grad
        change(grad=self.value)

    def __exit__(self, *exc):
        change(grad=self.previous)


class no_grad(_GradMode):
    """Context manager and decorator: operations inside are not recorded."""

    value = False


class enable_grad(_GradMode):
    """Context manager and decorator: operations inside are recorded, also within ``no_grad``."""

    value = True


class set_grad_enabled(_ContextDecorator):
    """Turn recording on or off: a plain call lasts, as a context or decorator it ends with the block."""

    def __init__(self, mode):
        if mode is not True and mode is not False:
            raise TypeError("set_grad_enabled(): argument 'enabled' (position 1) must be bool, not "
                            f"{type(mode).__name__}")
        self.mode = mode
        self.previous = current().grad
        change(grad=self.mode)

    def __call__(self, func):
        change(grad=self.previous)
        return super().__call__(func)

    def __enter__(self):
        change(grad=self.mode)

    def __exit__(self, *exc):
        change(grad=self.previous)

    def clone(self):
        return type(self)(self.mode)

    def __repr__(self):
        return f"torch.autograd.grad_mode.set_grad_enabled(mode={self.mode})"


class _Nothing(_ContextDecorator):
    """A context in which all is as outside."""

    def __enter__(self):
        return None

    def __exit__(self, *exc):
        return None


class set_multithreading_enabled(_Nothing):
    """Accepted: a backward runs in the thread that calls it."""

    def __init__(self, mode):
        self.mode = mode

    def clone(self):
        return type(self)(self.mode)


class enforce_grad_layout_policy(_Nothing):
    """Accepted: a gradient has the strides that it comes with, or is row-major, whatever those of its leaf."""

    def __init__(self, enable=True):
        self.enable = enable

    def clone(self):
        return type(self)(self.enable)


class inference_mode(_ContextDecorator):
    """Context manager and decorator: no recording, and results can never take part in recording later."""

    def __new__(cls, mode=True):
        if callable(mode):
            return cls()(mode)
        return object.__new__(cls)

    def __init__(self, mode=True):
        if not callable(mode):
            self.mode = bool(mode)

    def __enter__(self):
        m = current()
        self.previous = (m.grad, m.inference)
        change(inference=self.mode, grad=not self.mode)

    def __exit__(self, *exc):
        change(grad=self.previous[0], inference=self.previous[1])

    def clone(self):
        return type(self)(self.mode)
