"""Arguments for an op, drawn from its samples."""

from __future__ import annotations

import inspect
import warnings
import zlib

import numpy as np

import numbagrad as ng
from numbagrad import dtypes as dt
from numbagrad.op import REGISTRY

NUMPY = {"bool": np.bool_, "int64": np.int64, "int32": np.int32, "uint8": np.uint8, "float32": np.float32,
         "float64": np.float64, "complex64": np.complex64, "complex128": np.complex128}


def is_shape(x):
    return isinstance(x, tuple) and all(type(n) is int for n in x)


def is_typed(x):
    """("int64", shape, low, high), ("bool", shape), ("float64", shape)."""
    return isinstance(x, tuple) and len(x) > 1 and isinstance(x[0], str) and x[0] in NUMPY and is_shape(x[1])


class Slot:
    """Marks a place in a call that takes the tensor with this number."""

    def __init__(self, number):
        self.number = number


class Case:
    """One sample of one op: its tensors as arrays and the call with them."""

    def __init__(self, op, index):
        self.op, self.index = op, index
        sample = op.samples[index]
        self.rng = np.random.default_rng(zlib.crc32(f"{op.name}/{index}".encode()))
        self.specs = []
        names = list(op.signature.parameters)
        kinds = [p.kind for p in op.signature.parameters.values()]
        self.args = []
        for i, a in enumerate(sample.args):
            name = names[min(i, len(names) - 1)] if names else ""
            self.args.append(self._slot(name, a, bool(kinds) and kinds[min(i, len(kinds) - 1)]))
        self.kwargs = {k: self._slot(k, v, None) for k, v in sample.kwargs.items()}
        self.arrays = self._draw()

    def _is_tensor(self, name, kind):
        op = self.op
        if op.kind == "view":
            return name == next(iter(op.signature.parameters))
        tensors = getattr(op, "tensors", None)
        if tensors is not None:
            return name in tensors
        p = op.signature.parameters.get(name)
        return p is None or p.annotation is inspect.Parameter.empty or kind is inspect.Parameter.VAR_POSITIONAL

    def _slot(self, name, value, kind):
        if isinstance(value, np.ndarray):  # a constant of the sample, never differentiated
            return self._add(("constant", value.shape, value))
        if is_typed(value):
            return self._add(value)
        if is_shape(value) and self._is_tensor(name, kind):
            return self._add((self.default_type(), value))
        if isinstance(value, list) and value and all(is_shape(v) or is_typed(v) for v in value):
            return [self._add(v if is_typed(v) else (self.default_type(), v)) for v in value]
        return value

    def _add(self, spec):
        self.specs.append(spec)
        return Slot(len(self.specs) - 1)

    def default_type(self):
        return {"int": "int64", "bool": "bool", "complex": "complex128"}.get(self.op.dtypes, "float64")

    def _draw(self):
        """Arrays whose float values are all different and hold in float32, a good step away from 0, 1/2, 1..."""
        low, high = self.op.domain
        total = sum(int(np.prod(s[1])) for s in self.specs if s[0].startswith(("float", "complex"))) * 2
        count = max(97, 4 * total)
        step = (high - low) / count
        grid = np.float32(low + (np.arange(count) + 0.37) * step).astype(np.float64)
        twice = 2 * grid
        # Kinks of ops sit at multiples of one half, where a difference quotient means nothing.
        grid = grid[np.abs(twice - np.round(twice)) > min(0.02, step)]
        grid = self.rng.permutation(grid)
        at, out = 0, []
        for kind, shape, *limits in self.specs:
            n = int(np.prod(shape))
            if kind == "constant":
                out.append(limits[0].copy())
                continue
            if kind == "bool":
                a = self.rng.integers(0, 2, n).astype(bool)
            elif kind.startswith(("int", "uint")):
                lo, hi = limits or (0, 10)
                a = self.rng.integers(lo, hi, n)
            else:
                a = grid[np.arange(at, at + n) % len(grid)]
                at += n
                if kind.startswith("complex"):
                    a = a + 1j * grid[np.arange(at, at + n) % len(grid)]
                    at += n
            out.append(np.ascontiguousarray(a.reshape(shape).astype(NUMPY[kind])))
        return out

    @property
    def differentiable(self):
        """Numbers of the tensors that a gradient can be taken for."""
        return [i for i, (a, s) in enumerate(zip(self.arrays, self.specs)) if a.dtype.kind == "f" and s[0] != "constant"]

    def call(self, tensors, function=None):
        """The op called with these tensors (or arrays) in its slots."""
        def fill(x):
            if isinstance(x, Slot):
                return tensors[x.number]
            if isinstance(x, list) and x and isinstance(x[0], Slot):
                return [fill(v) for v in x]
            return x
        args, kwargs = [fill(a) for a in self.args], {k: fill(v) for k, v in self.kwargs.items()}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "(?s).*(deprecated|in an upcoming release)")  # PyTorch's, and ours after it
            return (function or self.op.callable)(*args, **kwargs)

    def tensors(self, dtype=None, requires_grad=False, arrays=None):
        out = []
        for i, a in enumerate(self.arrays if arrays is None else arrays):
            if dtype is not None and a.dtype.kind == "f":
                a = a.astype(dtype)
            t = ng.tensor(a)
            if requires_grad and i in self.differentiable:
                t.requires_grad_()
            out.append(t)
        return out

    def reference(self, arrays=None):
        return self.call(self.arrays if arrays is None else arrays, self.op.reference)

    def __repr__(self):
        return f"{self.op.name}{self.op.samples[self.index]!r}"


def flat(result):
    """The tensors of a result: one, several, or none for a plain Python value."""
    if isinstance(result, ng.Tensor):
        return [result]
    if isinstance(result, (tuple, list)):
        return [t for r in result for t in flat(r)]
    return []


def floats(result):
    return [t for t in flat(result) if t.dtype.is_floating_point]


def cases(op):
    return [Case(op, i) for i in range(len(op.samples))]


def ops(**wanted):
    """Ops with samples, by attribute values; random ones are tested elsewhere."""
    return [op for op in REGISTRY.values() if op.samples and not op.random
            and all(getattr(op, k) == v for k, v in wanted.items())]


def ids(op):
    return op.name


def to_numpy(t):
    t = t.detach()
    return t.float().numpy() if t.dtype in (dt.float16, dt.bfloat16) else t.numpy()
