"""Launches of kernels, written down instead of run."""

from __future__ import annotations

from bisect import insort

import numpy as np

from ..base.user_code import user_place
from ..core.copying import FILL
from ..core.tensor import Tensor
from ..kernel import tape
from ..kernel.tape import Fake, Unlowered
from . import symbols
from .effects import effects
from .files import trusted
from .ir import Fold, Gemm, Host, KernelCall, Operand, Pointwise, Ptr, Raw, whole


class Launches:
    """The part of a recorder that what launches kernels calls."""

    def add(self, call):
        call.label, call.line = self.label, user_place()
        self.calls.append(call)

    def pointwise(self, kernel, compute, ins, scalars, outs, shape):
        n = 1
        for s in shape:
            n *= s
        if n:
            if symbols.any_in(scalars):
                scalars = [symbols.float_of(s) if isinstance(s, symbols.Symbol) and compute.compute in ("f4", "f8") else
                           symbols.settled(s) for s in scalars]
            self.add(Pointwise(kernel, compute, [self.operand(t, shape) for t in ins], list(scalars),
                               [self.operand(t, shape) for t in outs], shape))

    def fill(self, buf, ptr, kind, n, value):
        """All elements of new memory become one value (given in the storage type)."""
        if kind.dtype.code in ("f2", "bf"):
            bits = np.array([value], kind.np).view(np.uint16)
            value = float(bits.view(np.float16)[0] if kind.dtype.code == "f2" else
                          (bits.astype(np.uint32) << 16).view(np.float32)[0])
        if n:
            b = self.buffers.get(id(buf)) or self._real(buf)
            o = Operand(b, ptr - b.base, (n,), (1,), kind.dtype)
            self.add(Pointwise(FILL, kind.dtype, [], [value], [o], (n,)))

    def fill_with(self, t, value):
        """All elements of a tensor become a number."""
        if t._n:
            self.pointwise(FILL, t._kind.dtype, (), (value,), (t,), t._shape)

    def fold(self, op, key, numbers, items):
        """One stage of a reduction."""
        x, out, *rest = numbers
        self.add(Fold(op, key, self.pointer(x, "x", False, ()), self.pointer(out, "out", False, ()), rest, items))

    def custom(self, op, out, args, params, launch, order):
        """Lower an op with kernels of its own: its launcher runs, and the kernels it calls are written down."""
        for t in (*(out if isinstance(out, list) else [out]), *args):
            if isinstance(t, (list, tuple)):
                for x in t:
                    self.buffer(x)
            elif t is not None:
                self.buffer(t)
        before, label = len(self.calls), self.label
        self.label = op.name
        self.inside += 1
        code = getattr(launch, "__code__", None)
        own = code is not None and trusted(code.co_filename)
        try:
            if own:
                self.aside(1)
            launch(out, *order)
        except Unlowered:
            del self.calls[before:]
            order = symbols.settled(tuple(order))
            self.add(Host(op.name, launch, (out, *order), [self.buffer(t) for t in _tensors((out, order))]))
        finally:
            if own:
                self.aside(0)
            self.inside -= 1
            self.label = label

    def host(self, fn, gen, out, args, kwargs):
        """A fill from a random stream, or other work on the host."""
        self.drawn += 1
        args = [a if isinstance(a, symbols.Symbol) and isinstance(a, float) else symbols.settled(a) for a in args]
        values, kwargs = (gen, out, *args), {k: symbols.settled(v) for k, v in kwargs.items()}
        buffers = []
        for v in values:
            if hasattr(v, "nbytes") and (v.__class__ is Fake or hasattr(v, "ctypes")):
                buffers.append(self.buffers.get(id(v)) or self._real(v))
        self.add(Host(fn.__name__, fn, values, buffers, kwargs))

    def _real(self, array):
        found = self._add(array, array.__array_interface__["data"][0], array.nbytes, False)
        insort(self.real, (found.base, found.index, found))
        return found

    def kernel(self, kernel, dtype):
        """What stands for ``kernel[dtype]``: a function that writes its call down."""
        def call(*args):
            self.run(kernel, dtype, args, None, 0)
        return call

    def run(self, kernel, dtype, args, items, work):
        """``Kernel.run`` and, with ``items`` None, a direct call."""
        kinds = kernel.parameters({})
        reads, writes = effects(kernel.fn)
        values, read, written, checks = [], [], [], []
        for (name, kind), a in zip(kinds, args):
            if kind in ("i", "f"):
                # Kernels that call BLAS take some addresses as integers.
                p = self.resolve(a) if a and name in kernel.addresses else None
                values.append(whole(a) if p is None else p)
                if p is not None:
                    read.append(p.buffer)
                    written.append(p.buffer)
                continue
            p = self.pointer(a, name, name in writes, checks)
            values.append(p)
            if p.__class__ is Ptr:
                if name in reads:
                    read.append(p.buffer)
                if name in writes:
                    written.append(p.buffer)
        self.add(KernelCall(kernel, dtype, values, [k for _, k in kinds], read, written, items, work, checks))

    def pointer(self, value, name, written, checks):
        value = int(value)
        if value == 0:
            return 0
        p = self.resolve(value)
        if p is not None:
            return p
        words = tape.FLAGS.get(value)
        if words is not None:
            checks.append(words)
            return value
        if written:
            raise Unlowered(f"takes results of a kernel ('{name}') to the host")
        for base, array in self.scratch.items():
            if base <= value < base + max(array.nbytes, 1):
                # A table that the host made from shapes: as constant as they are.
                b = self.buffers.get(id(array)) or self._real(array)
                return Ptr(b, value - b.base)
        array = tape.TABLES.get(value)
        if array is None:
            raise Unlowered(f"reads memory that the capture does not know ('{name}')")
        return Ptr(self.buffers.get(id(array)) or self._real(array), 0)

    def gemm(self, code, a, b, c, m, n, k, lda, ldb, ldc, ta, tb, alpha, beta, batch, sa, sb, sc):
        pa, pb, pc = (self.pointer(v, "matrix", False, ()) for v in (a, b, c))
        self.add(Gemm(code, pa, pb, pc, (m, n, k), (lda, ldb, ldc), (ta, tb), alpha, beta, batch, (sa, sb, sc)))

    def parallel_for(self, fn, table, n, grain, addresses):
        """A native loop over a table that a launcher filled, with addresses at those places."""
        if type(table) is int:
            table = self.scratch.get(table)
        if table is None or addresses is None:
            raise Unlowered("runs a native loop over a table of its own")
        words, buffers = [whole(v) for v in table.tolist()], []
        for i in addresses:
            p = words[i] = self.pointer(words[i], "table", False, ())
            if p.__class__ is Ptr:
                buffers.append(p.buffer)
        self.add(Raw(fn, words, buffers, n, grain))


def _tensors(value):
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for v in value:
            yield from _tensors(v)
