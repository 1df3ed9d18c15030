"""``ng.compile(check=True)``: each call runs eagerly, too, in a forked copy of the process, and what both leave is compared."""

from __future__ import annotations

import os
import pickle
import sys

import numpy as np

from ..core.tensor import Tensor
from ..kernel import tape
from .lines import Missed
from .places import PLAIN, alike
from .structure import fields_of, is_record
from .tensor_places import State

# Relative to the largest element: sums in another order differ by so much, also after an optimizer has divided by them.
TOLERANCE = {"f4": 2e-4, "f8": 1e-10, "c8": 2e-4, "c16": 1e-10, "f2": 1e-2, "bf": 5e-2}
ALWAYS = os.environ.get("NUMBAGRAD_COMPILE_CHECK", "0") not in ("", "0")


class CompileMismatch(RuntimeError):
    """A compiled call gave or left something else than the same call run eagerly."""


def checked(name, fn, args, kwargs, variant, run):
    """The result of ``run()``, compared with that of ``fn(*args, **kwargs)``, and all that either leaves behind."""
    if not hasattr(os, "fork"):
        raise RuntimeError("ng.compile(check=True) needs os.fork(), which this system does not have")
    watched = [("a tensor of the function", p.root) for p, _ in variant.guards.pairs if p.__class__ is State]
    watched += [("an argument", t) for t in _tensors((args, kwargs))]
    places = [e.place for e in variant.effects if e.place is not None]
    read, write = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        variant.owner.drawn.put_back()  # what the compiled call has drawn is drawn again
        _eager(fn, args, kwargs, watched, places, read, write)
    os.close(write)
    with os.fdopen(read, "rb") as f:
        found, error = None, None
        try:
            found = run()
        except Exception as e:
            error = e
        data = f.read()
    os.waitpid(child, 0)
    if found.__class__ is Missed:  # nothing has happened: another variant runs
        return found
    if not data:
        raise CompileMismatch(f"{name}: the eager call ended its process")
    wanted = pickle.loads(data)
    mine = type(error).__name__ if error is not None else _picture(found, watched, places)
    if isinstance(wanted, str) or isinstance(mine, str):
        if wanted != mine:
            raise CompileMismatch(f"{name}: compiled {_ended(mine)}, eager {_ended(wanted)}") from error
        raise error
    for (what, a), (_, b) in zip(mine, wanted):
        difference = _difference(a, b)
        if difference:
            raise CompileMismatch(f"{name}: {what} is not what eager code gives: {difference}")
    if len(mine) != len(wanted):
        raise CompileMismatch(f"{name}: another number of results or states than eager code gives")
    return found


def _ended(x):
    return f"raises {x}" if isinstance(x, str) else "gives a result"


def _eager(fn, args, kwargs, watched, places, read, write):
    """The child: run, tell, end."""
    status = 1
    try:
        os.close(read)
        sys.stdout = open(os.devnull, "w")  # what the step prints is printed once
        del tape.TAPE[:]
        try:
            picture = _picture(fn(*args, **kwargs), watched, places)
        except Exception as error:
            picture = type(error).__name__
        with os.fdopen(write, "wb") as f:
            f.write(pickle.dumps(picture))
        status = 0
    finally:
        os._exit(status)


def _picture(result, watched, places):
    """[(name, value)] of all that can be compared: NumPy arrays for tensors, plain values as they are, types of the rest."""
    found = []

    def look(what, x):
        if isinstance(x, Tensor):
            found.append((what, (x._kind.dtype.name, tuple(x._shape), x._rg, x.detach().double().numpy().copy() if (
                x._kind.dtype.code in ("f2", "bf")) else x.detach().numpy().copy(), x._kind.dtype.code)))
        elif isinstance(x, (*PLAIN, np.generic)):
            found.append((what, x))
        elif isinstance(x, dict):
            for k, v in x.items():
                look(f"{what}[{k!r}]" if isinstance(k, PLAIN) else what, v)
        elif isinstance(x, (list, tuple)):
            for i, v in enumerate(x):
                look(f"{what}[{i}]", v)
        elif is_record(x):
            for v in fields_of(x):
                look(what, v)
        else:
            found.append((what, type(x).__name__))
    look("the result", result)
    for what, t in watched:
        look(f"{what} of shape {list(t._shape)}", t)
        look(f"the gradient of {what} of shape {list(t._shape)}", t._grad)
    for p in places:
        look(p.text(), p.get())
    return found


def _difference(a, b):
    """How two values differ, in words, or None."""
    if not (isinstance(a, tuple) and isinstance(b, tuple)):
        return None if alike(a, b) else f"{a!r} instead of {b!r}"
    if a[:3] != b[:3]:
        return f"dtype, shape and requires_grad {a[:3]} instead of {b[:3]}"
    x, y = a[3], b[3]
    allowed = TOLERANCE.get(a[4], 0.0)
    with np.errstate(all="ignore"):
        finite = np.isfinite(x) & np.isfinite(y) if x.dtype.kind in "fc" else np.ones(x.shape, bool)
        if not np.array_equal(x[~finite], y[~finite], equal_nan=x.dtype.kind in "fc"):
            return "other infinities or NaNs"
        if x.dtype.kind not in "fc":
            return None if np.array_equal(x, y) else f"{int((x != y).sum())} of {x.size} elements differ"
        off = np.abs(x[finite] - y[finite]).max(initial=0.0)
        scale = np.abs(y[finite]).max(initial=0.0)
    return None if off <= allowed * (scale + 1e-6) else f"it is off by {off:.3g} where the largest element is {scale:.3g}"


def _tensors(x):
    if isinstance(x, Tensor):
        return [x]
    values = x.values() if isinstance(x, dict) else fields_of(x) if is_record(x) else x if isinstance(x, (list, tuple)) else ()
    return [t for v in values for t in _tensors(v)]
