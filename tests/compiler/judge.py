"""One program run eagerly and compiled: what is visible after each call, and what differs."""

from __future__ import annotations

import collections
import dataclasses
import enum
import importlib.util
import inspect
import itertools
import random
import re
import sys
import time
import types
import warnings

import numpy as np

import numbagrad as ng
from numbagrad.compiler import CaptureError

SIMPLE = (int, float, complex, bool, str, bytes, type(None), slice, range, enum.Enum, np.generic, type(ng.float32))
SKIPPED = ("_compiled_methods", "__weakref__", "__dict__", "_numbagrad", "__module__", "__doc__", "__firstlineno__")
# Of the largest element and the addend: sums are taken in another order, and optimizers divide gradients that are nothing but
# rounding by numbers down to 1e-8.
RELATIVE = {"f": (1e-5, 1e-3), "d": (1e-9, 10.0)}
REFUSED = object()  # a gradient that a compiled step does not give
SLOWER, LEAST = 1.3, 3e-6  # a compiled call that takes so many times what an eager one does, and so many seconds more, is slow


class View:
    """``lines`` [(path, kind, value)] of all that can be reached from some names."""

    def __init__(self, names, graphs):
        self.lines, self.seen, self.held, self.graphs, self.tops, self.leaves = [], {}, [], graphs, [], []
        self.memory = {}  # id of memory -> (path of the first tensor in it, its address)
        for name in sorted(names):
            self.look(name, names[name])
        for path, t in self.tops[-2:]:
            self.gradients(path, t)

    def gradients(self, path, t):
        """What the graph of a result gives the leaves."""
        try:
            with ng.enable_grad():
                found = ng.autograd.grad(t.sum(), self.leaves, retain_graph=True, allow_unused=True)
        except CaptureError as e:
            assert re.search(r"\.py:\d+", str(e)), f"a refusal without a line: {e}"
            found = [REFUSED] * len(self.leaves)
        except RuntimeError as e:
            return self.add(path, "no gradients", type(e).__name__)
        for i, g in enumerate(found):
            self.add(f"gradient of {path} to {i}", *(("none", None) if g is None else ("refused", None) if g is REFUSED else (
                "numbers", g.detach().numpy().copy())))

    def add(self, path, kind, value):
        self.lines.append((path, kind, value))

    def look(self, path, x):
        if isinstance(x, SIMPLE):
            return self.add(path, type(x).__name__, repr(x))
        if id(x) in self.seen:
            return self.add(path, "same", self.seen[id(x)])
        self.seen[id(x)] = path
        self.held.append(x)
        if isinstance(x, ng.Tensor):
            return self.tensor(path, x)
        if type(x).__name__ == "RemovableHandle":
            return None
        self.add(path, "class", type(x).__qualname__)
        if isinstance(x, (dict, list, tuple, set, frozenset, collections.deque)):
            self.container(path, x)
        elif isinstance(x, np.ndarray):
            self.add(path, "array", (x.dtype.str, x.shape, x.tolist()))
        elif isinstance(x, random.Random):
            self.add(path, "state", hash(x.getstate()))
        elif isinstance(x, np.random.Generator):
            self.add(path, "state", repr(x.bit_generator.state))
        elif isinstance(x, ng.Generator):
            self.add(path, "state", x.get_state().numpy().tobytes())
        elif isinstance(x, (itertools.count, type(iter([])))):
            self.add(path, "state", repr(x.__reduce__()[1:]))
        elif isinstance(x, type):
            self.names(path, {n: v for n, v in vars(x).items() if not n.startswith("__") and not callable(v)})
        elif isinstance(x, types.FunctionType):
            self.names(path, vars(x) if x.__module__.startswith("case") else {})
        elif not isinstance(x, types.ModuleType) and type(x).__module__ not in ("builtins", "functools"):
            self.names(path, getattr(x, "__dict__", {}))
            self.names(path, {n: getattr(x, n, "absent") for c in type(x).__mro__ for n in _slots(c)})
            if type(x).__module__.startswith("case"):
                self.look(path + ".__class__", type(x))

    def names(self, path, table):
        for n, v in table.items():
            if n not in SKIPPED:
                self.look(f"{path}.{n}", v)

    def container(self, path, x):
        self.names(path, getattr(x, "__dict__", {}))
        self.add(path, "length", len(x))
        if isinstance(x, dict):
            for i, (k, v) in enumerate(x.items()):  # hooks are numbered by a counter of the process
                k = i if "_hooks" in path else k
                self.look(f"{path}[{k if not isinstance(k, ng.Tensor) else self.seen.get(id(k), 'tensor')!r}]", v)
        else:
            ordered = not isinstance(x, (set, frozenset)) or all([isinstance(v, SIMPLE) for v in x])
            for i, v in enumerate(x if ordered else sorted(x, key=repr)):  # objects lie elsewhere in each run
                self.look(f"{path}[{i}]", v)

    def tensor(self, path, t):
        self.add(path, "tensor", (type(t).__name__, str(t.dtype), tuple(t.shape), t.stride(), t.requires_grad, t.is_leaf))
        first, at = self.memory.setdefault(id(t._buf), (path, t._ptr))
        self.add(path, "memory", (first, t._ptr - at))
        if self.graphs and t.requires_grad and not t.is_leaf:
            self.tops.append((path, t))
        elif t.requires_grad:
            self.leaves.append(t)
        self.add(path, "numbers", t.detach().numpy().copy())
        if t.requires_grad and t.is_leaf or not t.requires_grad:
            if t.grad is not None:
                self.look(path + ".grad", t.grad)


def _slots(cls):
    found = vars(cls).get("__slots__", ())
    return [found] if isinstance(found, str) else [n for n in found if n not in SKIPPED]


def differs(a, b):
    """(path, first difference of two views in words), or None."""
    for one, two in itertools.zip_longest(a.lines, b.lines):
        if two is not None and two[1] == "refused" and one is not None and one[0] == two[0]:
            continue
        if one is None or two is None or one[:2] != two[:2]:
            return None, f"{one} became {two}"
        x, y = one[2], two[2]
        if one[1] == "numbers":
            if x.dtype.kind in "fc" and x.size and np.isfinite(x).any():
                relative, more = RELATIVE["d" if x.itemsize // (1 + (x.dtype.kind == "c")) == 8 else "f"]
                same = x.dtype == y.dtype and np.allclose(
                    x, y, 0, relative * (more + np.abs(x[np.isfinite(x)]).max()), equal_nan=True)
            else:
                same = np.array_equal(x, y, equal_nan=x.dtype.kind in "fc")
        else:
            same = x == y
        if not same:
            return one[1], f"{one[0]}: {one[1]} {x} became {y}"
    return None


class Stop(Exception):
    """The program ended with an error of its own."""


class See:
    """What a run of a program sees; compares it with ``eager``, an earlier one."""

    def __init__(self, module, eager=None):
        self.module, self.eager, self.views, self.kept, self.refusals = module, eager, [], [], []
        self.graphs = not re.search(r"backward\(\)|grad\(|checkpoint\(",
                inspect.getsource(module.program))  # still whole after the step
        self.last = None

    def compiled(self, f):
        self.f = f
        return ng.compile(f) if self.eager is not None else f

    def view(self, names):
        own = {n: v for n, v in vars(self.module).items() if not n.startswith("_") and n not in self.module.BEFORE}
        names = {**own, **{f"local {n}": v for n, v in names.items() if n not in ("see", "step", "call")},
                "results": self.kept}
        names["state"] = (hash(random.getstate()), np.random.get_state()[1].tobytes(), np.random.get_state()[2],
            ng.get_rng_state().numpy().tobytes(), ng.is_grad_enabled(), str(ng.get_default_dtype()))
        return View(names, self.graphs)

    def __call__(self, call, names, **given):
        names, i, self.last = {**names, "given": given}, len(self.views), (call, given)
        if self.eager is None:
            self.kept.append(result := self.outcome(call, given))
            self.views.append((self.view(names), result))
        else:
            if i >= len(self.eager.views):
                raise Found(i, "the compiled program goes on where the eager one ended")
            before = self.view(names)
            try:
                result = self.outcome(call, given)
            except CaptureError as e:
                self.refused(i, e, before, names)
                result = self.outcome(self.f, given)
            self.kept.append(result)
            view, expected = self.eager.views[i]
            if str(result) != str(expected) and Failed in (type(result), type(expected)):
                raise Found(i, f"eager {expected}, compiled {result}" if isinstance(result, Failed) else
                            f"eager {expected}, compiled none")
            different = differs(view, self.view(names))
            if different is not None:
                raise Found(i, different[1] + (f" (after {result})" if isinstance(result, Failed) else ""),
                            different[0] == "numbers")
            self.views.append(None)
        if isinstance(result, Failed):
            raise Stop

    def outcome(self, call, given):
        try:
            return call(**given)
        except CaptureError:
            raise
        except Exception as e:
            return Failed(type(e).__name__, re.sub(r"0x[0-9a-f]+", "0x", str(e)))

    def refused(self, i, e, before, names):
        self.refusals.append(str(e))
        if not re.search(r"\.py:\d+", str(e)):
            raise Found(i, f"a refusal without a line: {e}")
        different = differs(before, self.view(names))
        if different is not None:
            raise Found(i, f"not as before after {e}: {different[1]}")

    def seconds(self):
        """What further calls like the last one take, or None where they raise."""
        call, given = self.last
        ng.set_grad_enabled(self.modes[0])
        ng.set_default_dtype(self.modes[1])
        found = []
        try:
            for _ in range(24):  # (in which a compiled function tries both ways)
                call(**given)
            for _ in range(8):
                start = time.perf_counter()
                call(**given)
                found.append(time.perf_counter() - start)
        except Exception:
            return None
        finally:
            ng.set_grad_enabled(True)
            ng.set_default_dtype(ng.float32)
        return sorted(found)[1]


@dataclasses.dataclass
class Failed:
    """An error of a call."""

    kind: str
    text: str


class Found(Exception):
    """A difference in call ``at``; ``numbers``: in numbers alone."""

    def __init__(self, at, text, numbers=False):
        self.at, self.text, self.numbers = at, text, numbers


def loaded(path, name):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def played(path, name, eager=None):
    """Run the program of a file."""
    random.seed(1)
    np.random.seed(1)
    ng.manual_seed(1)
    ng.set_default_dtype(ng.float32)
    ng.set_grad_enabled(True)
    try:
        module = loaded(path, name)
        module.BEFORE = BEFORE
        see = See(module, eager)
        try:
            module.program(see)
        except Stop:
            see.last = None
        see.modes = ng.is_grad_enabled(), ng.get_default_dtype()
    finally:
        sys.modules.pop(name, None)
        ng.set_default_dtype(ng.float32)
        ng.set_grad_enabled(True)
    return see


BEFORE = frozenset("collections contextlib copy dataclasses enum functools itertools math operator random "
                   "types typing np ng nn F checkpoint data program "
                   "BEFORE".split())


def judged(text, path, name, timed=False):
    """(kind, text) of what is wrong with a program, or ("fine", (calls, refusals, ratio of times)), or ("invalid", error of the
    program).

    What differs in numbers alone is looked at again in float64, where another order of sums makes no difference."""
    found = _judged(text, path, name, timed)
    if found[0] == "numbers":
        again = _judged(_doubled(text), path.with_name(f"{name}_double.py"), f"{name}_double", False)
        if again[0] in ("fine", "invalid"):
            return "fine", (0, [], None)
        return ("wrong", f"in float64, too: {again[1]}") if again[0] == "numbers" else again
    return found


def _doubled(text):
    """A program in float64."""
    return re.sub(r"float\(\)", "double()", re.sub(r"\bfloat32\b", "float64", text)).replace(
        "\n_made", "\nng.set_default_dtype(ng.float64)\n_made")


def _judged(text, path, name, timed):
    path.write_text(text)
    warnings.simplefilter("ignore")
    warnings.filterwarnings("error", ".*please report this")
    try:
        eager = played(path, name)
    except Exception as e:
        return "invalid", f"{type(e).__name__}: {e}"
    try:
        compiled = played(path, name, eager)
        ratio = _ratio(eager, compiled) if timed else None
    except Found as e:
        kind = "refusal" if "refusal without" in e.text or "not as before" in e.text else (
            "error" if "compiled Failed" in e.text else "numbers" if e.numbers else "wrong")
        return kind, f"call {e.at}: {e.text}"
    except Exception as e:
        return "outside", f"{type(e).__name__}: {e}"
    if ratio is not None and ratio[0] > SLOWER * ratio[1] + LEAST:
        return "slow", "compiled {:.1f} us, eager {:.1f} us".format(*[t * 1e6 for t in ratio])
    return "fine", (len(eager.views), compiled.refusals, ratio)


def _ratio(eager, compiled):
    """(seconds of a compiled call, of an eager one) after the program; None where there are none."""
    if eager.last is None or compiled.refusals:
        return None
    found = None
    for _ in range(3):  # other work on the machine slows either
        times = compiled.seconds(), eager.seconds()
        if None in times:
            return None
        found = times if found is None else tuple(map(min, found, times))
        if found[0] <= SLOWER * found[1] + LEAST:
            break
    return found
