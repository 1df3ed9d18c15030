"""Calls of an op from its samples: one way of making arguments for tests, benchmarks and warm-up."""

from __future__ import annotations

import inspect
import warnings
import zlib

import numpy as np

from ..base import dtypes as dt
from ..core.creation import tensor
from ..core.tensor import Tensor

NUMPY = {"bool": np.bool_, "int64": np.int64, "int32": np.int32, "uint8": np.uint8, "float32": np.float32,
         "float64": np.float64, "complex64": np.complex64, "complex128": np.complex128}
COMPLEX = {"float32": "complex64", "float64": "complex128"}


# Parameters of composed ops whose tuples are sizes or dimensions, not shapes of tensors.
SIZES = {"dim", "dims", "shape", "size", "sizes", "normalized_shape", "output_size", "kernel_size", "stride", "padding",
         "dilation", "output_padding", "shifts", "repeats", "scale_factor", "pad"}


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
    """One sample of one op: its tensors as arrays (float64 unless the sample says otherwise) and the call with them."""

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
        if name in SIZES:
            return False
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
        return [i for i, (a, s) in enumerate(zip(self.arrays, self.specs))
                if a.dtype.kind == "f" and s[0] != "constant"]

    def fill(self, tensors):
        """(args, kwargs) of the call with these tensors (or arrays) in its slots."""
        def put(x):
            if isinstance(x, Slot):
                return tensors[x.number]
            if isinstance(x, list) and x and isinstance(x[0], Slot):
                return [put(v) for v in x]
            return x
        return [put(a) for a in self.args], {k: put(v) for k, v in self.kwargs.items()}

    def call(self, tensors, function=None):
        """What the op, or another function, returns for these tensors (or arrays)."""
        args, kwargs = self.fill(tensors)
        with warnings.catch_warnings():
            # PyTorch's deprecations, and ours after them.
            warnings.filterwarnings("ignore", "(?s).*(deprecated|in an upcoming release|is in beta)")
            return (function or self.op.callable)(*args, **kwargs)

    def tensors(self, dtype=None, requires_grad=False, arrays=None):
        """The arrays as tensors; ``dtype`` (a name or a NumPy type) replaces float64, and complex128 where it can."""
        name = dtype if dtype is None or isinstance(dtype, str) else np.dtype(dtype).name
        differentiable = self.differentiable if requires_grad else ()
        out = []
        for i, a in enumerate(self.arrays if arrays is None else arrays):
            t = tensor(a)
            wanted = name if a.dtype.kind == "f" else COMPLEX.get(name) if a.dtype.kind == "c" else None
            if wanted is not None:
                t = t.to(dt.BY_NAME[wanted])
            out.append(t.requires_grad_() if i in differentiable else t)
        return out

    def reference(self, arrays=None):
        return self.call(self.arrays if arrays is None else arrays, self.op.reference)

    def __repr__(self):
        return f"{self.op.name}{self.op.samples[self.index]!r}"


def arguments(op, sample, dtype="float64", requires_grad=None):
    """(args, kwargs) of one sample of an op, in a floating dtype, with gradients wanted where the op has them."""
    case = Case(op, op.samples.index(sample))
    grad = op.differentiable if requires_grad is None else requires_grad
    return case.fill(case.tensors(dtype, grad))


def flat(result):
    """The tensors of a result: one, several, or none for a plain Python value."""
    if isinstance(result, Tensor):
        return [result]
    if isinstance(result, (tuple, list)):
        return [t for r in result for t in flat(r)]
    return []
