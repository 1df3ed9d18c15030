"""One sample of one op as text: its call, its arguments for several calls, and what it returns."""

from __future__ import annotations

import itertools
import warnings
import zlib

import numpy as np

import numbagrad as ng
from numbagrad.dispatch.sampling import Case, Slot, flat
from numbagrad.extend import REGISTRY

HEADS = {"torch": "ng.", "nn.functional": "F.", "special": "ng.special.", "linalg": "ng.linalg."}
PLAIN = (int, float, complex, bool, str, type(None))


class Given:
    """A tensor argument of one call: its values, dtype, whether it wants a gradient, and how it lies in memory."""

    def __init__(self, array, dtype=None, grad=False, layout="plain"):
        self.array, self.dtype, self.grad, self.layout = array, dtype, grad, layout

    def tensor(self):
        t = ng.tensor(self.array)
        if self.dtype is not None:
            t = t.to(getattr(ng, self.dtype))
        if self.layout == "turned" and t.dim() > 1:
            t = t.transpose(0, -1).contiguous().transpose(0, -1)
        elif self.layout == "turned" and t.dim() == 1:
            t = ng.stack([t, t], 1)[:, 1]
        return t.detach().requires_grad_(self.grad)


class Subject:
    """The text of the op's call; ``outs`` are paths, shapes and dtypes of what it returns."""

    def __init__(self, op, index):
        self.op, self.index, self.case = op, index, Case(op, index)
        self.count = len(self.case.specs)
        self.names = [f"x{i}" for i in range(self.count)]
        self.shapes = [s[1] for s in self.case.specs]
        self.constants = {}
        heads = [HEADS[n] for n in op.namespaces if n in HEADS]
        self.head = heads[0] + op.name if heads else "OP"
        self.floats = self.case.differentiable
        self.values = [self._drawn(k) for k in range(4)]
        self.probe()

    def _drawn(self, k):
        """Arguments of call ``k``; where eager code refuses those of the draw, the first ones with the floats moved."""
        if k == 0:
            return self.case.arrays
        first = self.case.arrays
        self.case.rng = np.random.default_rng(zlib.crc32(f"{self.op.name}/{self.index}/{k}".encode()))
        drawn = self.case._draw()
        moved = [np.roll(a.reshape(-1), k).reshape(a.shape) if i in self.floats else a for i, a in enumerate(first)]
        return next((c for c in (drawn, moved) if self.runs(c)), first)

    def runs(self, arrays, **replaced):
        """Whether eager code takes these arrays."""
        return self.eager(arrays, **replaced)[0] is None

    def eager(self, arrays, dtype=None, grad=False, text=None):
        """(error, result) of the call in eager code."""
        tensors = [Given(a, dtype and self.cast(i, dtype), grad and i in self.floats).tensor() for i, a in enumerate(arrays)]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return None, eval(text or self.call(), {**self.environment(), **dict(zip(self.names, tensors))})
        except Exception as e:
            return e, None

    def environment(self):
        return {"ng": ng, "F": ng.nn.functional, "OP": self.op.callable, **self.constants}

    def cast(self, i, dtype):
        """The dtype of argument ``i`` where floats become ``dtype``."""
        a = self.case.arrays[i]
        if a.dtype.kind == "c":
            return {"float32": "complex64"}.get(dtype)
        return dtype if a.dtype.kind == "f" else None

    def probe(self):
        """What the call returns with gradients wanted."""
        self.error, y = self.eager(self.values[0], grad=self.op.differentiable)
        self.outs = list(paths("y", y))
        self.single = isinstance(y, ng.Tensor)
        self.tops = [(p, t) for p, t in self.outs if t.requires_grad]
        self.grads = [i for i in self.floats if self.op.differentiable] if self.tops else []

    # --- text ---------------------------------------------------------------------------------------------------------

    def constant(self, value):
        if isinstance(value, PLAIN) or isinstance(value, (tuple, list)) and all(isinstance(v, PLAIN) for v in value):
            text = repr(value)
            if "inf" not in text and "nan" not in text:
                return text
        name = f"K{len(self.constants)}"
        self.constants[name] = value
        return name

    def put(self, value, names):
        if isinstance(value, Slot):
            return names[value.number]
        if isinstance(value, list) and value and isinstance(value[0], Slot):
            return f"[{', '.join(names[v.number] for v in value)}]"
        return self.constant(value)

    def parts(self, names=None, numbers=None):
        """Texts of the arguments; ``numbers`` {position or keyword: text} replaces plain ones."""
        names, numbers = names or self.names, numbers or {}
        out = [numbers.get(i) or self.put(a, names) for i, a in enumerate(self.case.args)]
        return out + [f"{k}={numbers.get(k) or self.put(v, names)}" for k, v in self.case.kwargs.items()]

    def call(self, names=None, numbers=None, more=()):
        return f"{self.head}({', '.join([*self.parts(names, numbers), *more])})"

    def method(self, suffix="", names=None):
        """The call as a method of its first tensor, or None."""
        name = (self.op.method or "") + suffix
        if not self.op.method or not hasattr(ng.Tensor, name) or not self.case.args or not isinstance(self.case.args[0], Slot):
            return None
        first, *rest = self.parts(names)
        return f"{first}.{name}({', '.join(rest)})"

    def loss(self, y="y", extra="1.0"):
        """A number made of all outputs that carry gradients, with another weight for each element."""
        terms = []
        for path, t in self.tops:
            path = path.replace("y", y, 1)
            terms.append(f"({path}.real * 1.5 + {path}.imag).sum()" if t.is_complex() else
                         f"({path} * ({path} * 0.3 + {extra})).sum()")
        return " + ".join(terms)

    def numbers(self):
        """{position or keyword: value} of plain numbers in the call."""
        items = [*enumerate(self.case.args), *self.case.kwargs.items()]
        return {k: v for k, v in items if type(v) in (int, float) and abs(v) < 1e6}

    def given(self, arrays, grad=False, dtype=None, layout="plain"):
        wanted = self.grads if grad is True else grad or ()
        return [Given(a, dtype and self.cast(i, dtype), i in wanted, layout if i in self.floats else "plain")
                for i, a in enumerate(arrays)]

    def other_shape(self):
        """Arrays of another shape that eager code takes, or None."""
        for axis, which in itertools.product((0, -1, 1), (range(self.count), self.floats, [0])):
            size = self.shapes[0][axis] if self.shapes and len(self.shapes[0]) > abs(axis) - (axis < 0) else None
            if size is None:
                continue
            arrays = [np.concatenate([a, np.roll(a, 1, axis)], axis) if i in which and fits(a, axis, size) else a
                      for i, a in enumerate(self.values[1])]
            if [a.shape for a in arrays] != self.shapes and self.runs(arrays):
                return arrays
        return None


def fits(a, axis, size):
    return a.ndim > abs(axis) - (axis < 0) and a.shape[axis] == size


def paths(path, y):
    """(text, tensor) of all tensors in a result."""
    if isinstance(y, ng.Tensor):
        yield path, y
    elif isinstance(y, (tuple, list)):
        for i, v in enumerate(y):
            yield from paths(f"{path}[{i}]", v)


def subjects(op):
    """The subjects of an op: its first sample, and the last."""
    last = len(op.samples) - 1
    return [Subject(op, i) for i in sorted({0, last} - {-1})]


def ops():
    """All ops with samples."""
    return [op for op in REGISTRY.values() if op.samples]


__all__ = ["Given", "Subject", "flat", "ops", "subjects"]
