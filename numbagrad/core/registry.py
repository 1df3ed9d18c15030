"""The registry: every op by its name. It knows nothing of ops, so that any floor may look one up.

A file of the catalogue is run when one of its ops is first asked for; which file that is, the index says (``read_index``). Its
ops wait until the file has been run to the end, so that no other thread meets one without its gradient. What the index does not
name, an op of the user's or one that is new in its file, is there as soon as it is declared.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
from functools import partial

from ..kernel.tape import Untraced


class Runs:
    """The threads that run a file of the catalogue: a fork waits for them, as the child would wait for ever for a module that
    was being imported by a thread, which it does not have. (Files are not run one at a time: two that import each other's would
    wait.)"""

    def __init__(self):
        self.changed, self.threads, self.mine = threading.Condition(), 0, threading.local()

    def __enter__(self):
        depth = getattr(self.mine, "depth", 0)
        if not depth:
            with self.changed:
                self.threads += 1
        self.mine.depth = depth + 1

    def __exit__(self, *error):
        self.mine.depth -= 1
        if not self.mine.depth:
            with self.changed:
                self.threads -= 1
                self.changed.notify_all()

    def before_fork(self):
        """Wait until no other thread is at it, and keep all from beginning."""
        self.changed.acquire()
        self.changed.wait_for(lambda: self.threads == (getattr(self.mine, "depth", 0) > 0))

    def after_fork(self):
        self.changed.release()


def _runs(module):
    """Whether a file is still being run."""
    return getattr(module.__spec__, "_initializing", False)


class Registry(dict):
    """Ops by name."""

    publish = None  # puts an op where users find it: ``namespace.install``, a floor above

    def __init__(self):
        self.index = {}     # name of a place ("ops" is the registry itself) -> {name there: module that puts it there}
        self.modules = []   # those of the index
        self.package = ""
        self.waiting = {}   # module -> what to do when it has been run to the end
        self.declared = {}  # ops that wait, by name
        self.attached = []  # [(module, place, names)] of what is no op
        self.lock = threading.RLock()
        self.runs = Runs()

    def read_index(self, contents, package):
        """Take {module: {place: "name name"}} for what the catalogue has, whose modules are those of ``package``."""
        self.modules, self.package = list(contents), package + "."
        for module, places in contents.items():
            for place, names in places.items():
                self.index.setdefault(place, {}).update(dict.fromkeys(names.split(), module))

    # --- declarations

    def add(self, op):
        """Take in an op; ValueError if there is one of its name, unless its file had been interrupted and is run anew."""
        known = self.index.get("ops", {}).get(op.name)
        if known not in (None, op.module) and not op.module.startswith(self.package):  # (else it has moved since)
            self.load(known)
        other = self.declared.get(op.name) or dict.get(self, op.name)
        if other is not None and (other.module != op.module or other.fn.__globals__ is op.fn.__globals__):
            raise ValueError(f"an op named '{op.name}' is registered already ({other.family})")
        if known == op.module:
            self.declared[op.name] = op
            self.waiting.setdefault(op.module, []).append(partial(self._enter, op))
        else:
            self._enter(op)

    def _enter(self, op):
        dict.__setitem__(self, op.name, op)
        self.declared.pop(op.name, None)
        self.publish(op)

    def attach(self, module, place, names):
        """Set attributes of ``place`` (Tensor, a module) that are no ops, when ``module`` has been run."""
        self.attached.append((module, place, names))
        known = self.index.get(name_of(place), {})
        work = partial(_put_all, place, names)
        if all(known.get(n) == module for n in names):
            self.waiting.setdefault(module, []).append(work)
        else:
            work()

    # --- files

    def load(self, module):
        """Run a file of the catalogue, if that was not done, and put what it declares in its places."""
        with self.runs, Untraced():
            found = importlib.import_module(module)
            # The file itself, which is still being run, may ask for what it has declared.
            if module in self.waiting and not _runs(found):
                for name in [*self.waiting]:  # those that it imports, too: it calls their ops, which others may have layers for
                    if (other := sys.modules.get(name)) is not None and not _runs(other):
                        self._settle(name)
        return found

    def _settle(self, module):
        with self.lock:
            for work in self.waiting.get(module, ()):  # (an interrupt leaves it to the next who asks)
                work()
            self.waiting.pop(module, None)

    # --- the mapping

    def __missing__(self, name):
        known = self.index.get("ops", {}).get(name)
        if known is not None:
            self.load(known)
            if known in self.waiting:  # the file itself asks
                found = self.declared.get(name)
            elif not dict.__contains__(self, name):  # it has moved since the index was written
                found = self.all().get(name)
            else:
                found = dict.get(self, name)
            if found is not None:
                return found
        raise KeyError(name)

    def all(self):
        """{name: op} of all, in the order of the catalogue; those of others come last."""
        for module in self.modules:
            self.load(module)
        names = [n for n in self.index.get("ops", ()) if dict.__contains__(self, n)]
        return {n: self[n] for n in dict.fromkeys([*names, *dict.__iter__(self)])}

    def get(self, name, default=None):
        try:
            return self[name]
        except KeyError:
            return default

    def __contains__(self, name):
        return dict.__contains__(self, name) or self.get(name) is not None

    def __iter__(self):
        return iter(self.all())

    def __len__(self):
        return len(self.all())

    def keys(self):
        return self.all().keys()

    def values(self):
        return self.all().values()

    def items(self):
        return self.all().items()


# ``f(place, name, value, before)``, which may refuse, and ``f(place, name, value)`` of who has to know what is put where.
BEFORE = AFTER = None


def put(place, name, value, before=None):
    """Set an attribute unless a user has set it: to anything but a stand-in and what we had put there ``before``."""
    here = vars(place).get(name)
    if here is before or here is None or getattr(type(here), "stands_in", False):
        if BEFORE is not None and not BEFORE(place, name, value, before):
            return False
        setattr(place, name, value)
        if AFTER is not None:
            AFTER(place, name, value)
        return True
    return False


def name_of(place):
    """The full name of a module (``numbagrad run`` gives the package another ``__name__``), or the name of a class."""
    spec = getattr(place, "__spec__", None)
    return place.__name__ if spec is None else spec.name


def seen(place, name, value):
    """Tell who has to know that a name was set otherwise."""
    if AFTER is not None:
        AFTER(place, name, value)


def _put_all(place, names):
    for name, value in names.items():
        put(place, name, value)


REGISTRY = Registry()  # name -> ``dispatch.op.Op``


def _before_fork():
    REGISTRY.runs.before_fork()
    REGISTRY.lock.acquire()


def _after_fork():
    REGISTRY.lock.release()
    REGISTRY.runs.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
