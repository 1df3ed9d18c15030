"""What an outcome means: which exceptions come from inside, and where values differ from PyTorch's."""

import linecache
import re
import traceback

import numpy as np
from registry.oracle import torch_function

from .play import numbers

FATAL = ("crash", "hang", "fence", "changed")
INSIDE = ("KeyError", "OverflowError", "ZeroDivisionError", "AttributeError", "UnboundLocalError", "StopIteration", "NameError",
          "AssertionError", "SystemError", "FloatingPointError", "RecursionError", "UFuncTypeError", "_UFuncInputCastingError",
          "TypingError", "LoweringError", "UnsupportedError", "ArrayMemoryError", "ComplexWarning")
WORDS = ("Placeholder", "fingerprint", "nopython", "NoneType' object", "numpy", "ndarray", "truth value", "C long", "C int")
TOLERANCE = {"float16": 1e-2, "bfloat16": 6e-2, "float32": 2e-4, "complex64": 2e-4, "float64": 2e-7, "complex128": 2e-7,
             "float": 2e-4, "complex": 2e-4}
HALF = {name: TOLERANCE[name] for name in ("float16", "bfloat16")}


class Failure:
    """An exception as text, and whether it was raised on purpose."""

    def __init__(self, error, here):
        self.kind, self.text = type(error).__name__, " ".join(str(error).split())[:160]
        last = traceback.extract_tb(error.__traceback__)[-1]
        line = (last.line or linecache.getline(last.filename, last.lineno)).strip()
        self.place = f"{last.filename.rpartition('numbagrad/')[2]}:{last.lineno}"
        self.deliberate = line.startswith("raise") or last.filename.startswith(here) or "<" in last.filename

    def inside(self, theirs):
        """Whether this is an accident, judged by its type, its words, or by PyTorch giving another type."""
        if self.kind == "TypeError" and re.search(r"\(\): argument '\w+'.* must be", self.text):
            return False  # the check of an argument names its class, which may be one of the words below
        if self.kind in INSIDE or any(w in self.text for w in WORDS):
            return not (isinstance(theirs, Failure) and theirs.kind == self.kind and self.deliberate)
        return not self.deliberate and not (isinstance(theirs, Failure) and theirs.kind == self.kind)

    def __str__(self):
        return f"{self.kind}: {self.text}"


def oracle(op):
    """PyTorch's function for an op, or None."""
    try:
        return torch_function(op)
    except (ImportError, AttributeError):
        return None


def verdict(ours, theirs, ng, torch, twice=False, dtypes=()):
    """(class, text) of the difference between two outcomes (lists of results, or Failures), or None.

    ``theirs`` is None where PyTorch was not asked; ``dtypes`` are those of the inputs, whose half types may be rounded to."""
    if isinstance(ours, Failure):
        if ours.inside(theirs):
            return "internal", f"{ours} ({ours.place})"
        if theirs is not None and not isinstance(theirs, Failure):
            return "refused", str(ours)
        return None
    if theirs is None:
        return None
    if isinstance(theirs, Failure):
        return "accepted", f"PyTorch: {theirs}"
    if twice and len(ours) > len(theirs) and not any(nonzero(a, ng) for a in ours[len(theirs):]):
        ours = ours[:len(theirs)]  # second derivatives of 0 where PyTorch has no graph
    if len(ours) != len(theirs):
        return "value", f"{len(ours)} results for {len(theirs)}"
    for i, (a, b) in enumerate(zip(ours, theirs)):
        text = difference(*numbers(a, ng), *numbers(b, torch), max([HALF.get(d, 0) for d in dtypes], default=0))
        if text:
            return "value", f"result {i}: {text}"
    return None


def nonzero(x, lib):
    """Whether a result has elements that are not zero."""
    values = numbers(x, lib)[1]
    return values.dtype != object and values.any()


def difference(name, a, other, b, least=0):
    """What differs between two results by more than their tolerance or ``least``, or None."""
    if name != other:
        return f"{name} for {other}"
    if a.shape != b.shape:
        return f"shape {a.shape} for {b.shape}"
    if a.dtype == object:
        return None if a.item() == b.item() else f"{a} for {b}"
    if not a.size:
        return None
    allowed = max(TOLERANCE[name], least) if name in TOLERANCE else 0
    with np.errstate(all="ignore"):
        finite = np.isfinite(a) & np.isfinite(b)
        same = np.array_equal(a[~finite], b[~finite], equal_nan=a.dtype.kind in "fc")
        wide = "c16" if a.dtype.kind == "c" else "f8"
        x, y = a[finite].astype(wide), b[finite].astype(wide)
        scale = np.abs(y).max(initial=0)
        off = np.abs(x - y).max(initial=0)
    if not same:
        return f"not finite: {short(a)} for {short(b)}"
    return None if off <= allowed * (scale + 1e-6) else f"{short(a)} for {short(b)}"


def short(a):
    return f"{name}[{', '.join(f'{v:.6g}' for v in a.reshape(-1)[:6])}]" if (name := a.dtype.name) else ""
