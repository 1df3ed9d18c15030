"""Which functions a run enters, and hooks in the code of those that are not the engine's."""

from __future__ import annotations

import gc
import types

from .files import CORE, LIBRARY, OBSERVERS, kind_of_file, trusted
from .frames import Codes
from .objects import SPECIAL_NAMES, lookup
from .places import ORIGINALS, Field, Lookup
from .rewrite import rewritten
from .source import NoSource

CORE_CODES: dict = {}  # id -> code of the engine's that was entered in a capture: its calls need no look
CORE_TABLE = Codes()  # their ids


class Again(BaseException):
    """A function was entered that had no hooks yet: the run starts anew."""


class Follows:
    """The part of an observer that puts hooks into the functions that a run comes to."""

    def _called(self, frame):
        """A Python frame is entered whose code is new, or that of a library."""
        code = id(frame.f_code)
        if code in CORE_CODES:
            self.frames.add(code)
        elif code not in self.known:
            self._entered(frame)
        elif code in self.libraries and self._for_core(frame):
            self.quiet.add(id(frame))
            self.frames.want_ends(True)
        elif code in self.unread:
            self._read(*self.unread.pop(code), frame)
        elif code not in self.libraries:
            self.frames.add(code)

    def _left(self, frame):
        self.quiet.discard(id(frame))
        self.frames.want_ends(bool(self.quiet))

    def _for_core(self, frame):
        """Whether a frame of a library works for the engine."""
        back = frame.f_back
        while back is not None:
            code = back.f_code
            if id(back) in self.quiet:
                return True
            if code.co_filename not in OBSERVERS:
                if id(code) in self.followed:
                    return False
                kind = kind_of_file(code.co_filename)
                if kind is not LIBRARY:
                    return kind is CORE
            back = back.f_back
        return True

    def _entered(self, frame):
        code = frame.f_code
        kind = kind_of_file(code.co_filename)
        if kind is CORE:
            self._trust(code)
            return
        if code.co_name == "<module>":
            self._know(code)
            return
        if kind is LIBRARY and self._for_core(frame):
            return
        users = [f for f in gc.get_referrers(code) if f.__class__ is types.FunctionType and f.__code__ is code]
        if not users:
            self._know(code)
            if code.co_filename == "<string>":  # generated code of namedtuple and dataclass is looked at where it is called
                return
            self.refuse(f"enters {code.co_name}() of {code.co_filename}:{code.co_firstlineno}, which cannot be followed")
        for f in users:
            self.follow(f)
        if id(users[0].__code__) != id(code):
            raise Again

    def _trust(self, code):
        """A code of the engine's was met."""
        CORE_CODES[id(code)] = code
        CORE_TABLE.add(id(code))
        self.frames.add(id(code))

    def _know(self, code, followed=None):
        """A code and those inside of it need no hooks, or have them (``followed``: whose code it is)."""
        self.known.add(id(code))
        self.inside[id(code)] = code
        if followed is not None:
            self.followed.add(id(code))
            if followed is LIBRARY:
                self.libraries.add(id(code))
        for c in code.co_consts:
            if c.__class__ is types.CodeType:
                self._know(c, followed)

    def follow(self, f):
        """Put hooks into a Python function, and note that it is this one that is called."""
        code = f.__code__
        if id(code) in self.known:
            return
        if trusted(code.co_filename):
            self._trust(code)
            return
        if self._is_generated(f):
            self._know(code)
        else:
            try:
                new = rewritten(f, self.known)
            except NoSource as reason:
                self.refuse(f"calls {f.__qualname__}(), which cannot be followed: {reason}")
            self._know(new, kind_of_file(code.co_filename))
        if id(f.__code__) in self.known:
            self.unread[id(code)] = f, code
        else:
            self.unread[id(new)] = f, code
            self.swapped.append((f, code, new))
            self._swap(f, code, new)

    @staticmethod
    def _swap(f, code, new):
        ORIGINALS[id(new)] = code
        f.__code__ = new

    def _read(self, f, code, frame):
        """A followed function is entered for the first time: the step relies on its code and defaults."""
        self.note(Field(f, "__code__"), code)
        self.note(Field(f, "__defaults__"), f.__defaults__)
        self.note(Field(f, "__kwdefaults__"), f.__kwdefaults__)
        if f.__kwdefaults__:
            self.content(f.__kwdefaults__)
        if f.__name__ in SPECIAL_NAMES and code.co_argcount:
            cls = type(frame.f_locals[code.co_varnames[0]])
            if lookup(cls, f.__name__) is f:
                self.note(Lookup(cls, f.__name__), f)

    def _is_generated(self, f):
        """Whether a function without source is one that namedtuple or dataclass wrote: it only takes and sets fields."""
        code = f.__code__
        if not code.co_filename.startswith("<"):
            return False
        if f.__name__ in ("__new__", "<lambda>") and "_tuple_new" in code.co_names + code.co_freevars:
            return True
        return f.__name__ in ("__init__", "__eq__", "__repr__", "__hash__", "__lt__", "__le__", "__gt__", "__ge__",
                              "__setattr__", "__delattr__") and code.co_filename == "<string>"
