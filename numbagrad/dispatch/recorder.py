"""What a launcher does, written down: it runs on memory without bytes, and its launches become calls of addresses."""

from __future__ import annotations

import contextlib
import warnings
from threading import get_ident

from ..base import modes
from ..core import launch
from ..core.copying import COPY, FILL
from ..core.tensor import raw
from ..kernel import blas, jit, native, tape, threads
from ..kernel.tape import BASE, Fake, Unlowered

SPAN = 1 << 40  # distance of the addresses of two buffers of a recording
WATCHED = BASE + (1 << 20) * SPAN  # addresses of words for bad input begin here


class Address:
    """A place in buffer number ``index`` of a recording."""

    __slots__ = ("index", "offset")

    def __init__(self, index, offset):
        self.index, self.offset = index, offset


class Number:
    """Argument ``index`` of a call that is a number, which the plan is given anew."""

    __slots__ = ("index",)

    def __init__(self, index):
        self.index = index


class Real(Number):
    """One that a kernel takes as a float."""

    __slots__ = ()


class Watch:
    """Stands for the words of a call that kernels set on bad input: where the launcher checks them, the plan does."""

    __slots__ = ("recorder", "number", "address")

    def __init__(self, recorder, number):
        self.recorder, self.number, self.address = recorder, number, WATCHED + number * SPAN

    def check(self):
        self.recorder.steps.append((None, self.number))


class Draw:
    """A kernel that draws from the stream of ``gen``."""

    __slots__ = ("entry", "gen")

    def __init__(self, entry, gen):
        self.entry, self.gen = entry, gen


class Recorder:
    """Writes launches down as (callable, arguments) with ``Address`` for what points into a buffer."""

    compiles = False  # bits are those of the eager call: nothing is done in another way to be fused later
    drawn, observer = 0, None

    def __init__(self):
        self.thread, self.paused = get_ident(), 0
        self.steps, self.buffers, self.most = [], [], 0
        self.kept = {}   # address -> array that a launcher made from shapes, and what else a plan has to keep
        self.flags = []  # whose words the call takes
        self.streams = []  # that it draws from

    # --- memory

    def alloc(self, kind, n):
        if not kind.cpu:
            raise Unlowered("is on another device")
        fake = Fake(BASE + len(self.buffers) * SPAN, n, kind.np)
        if fake.nbytes > SPAN // 2:
            raise Unlowered("takes too much memory")
        self.buffers.append(fake)
        return fake, fake.base

    def shadow(self, t):
        """A tensor like ``t`` on memory without bytes; what is absent has a place, too."""
        if t is None:
            self.buffers.append(None)
            return None
        if not t._kind.cpu:
            raise Unlowered("is on another device")
        span = t._n if t._strides is None else 1 + sum([(s - 1) * k for s, k in zip(t._shape, t._strides)])
        fake, base = self.alloc(t._kind, span)
        return raw(fake, base, t._n, t._shape, t._strides, t._kind, [0])

    def output(self, shape, kind):
        """A tensor for a result of the call."""
        n = 1
        for s in shape:
            n *= s
        fake, base = self.alloc(kind, n)
        return raw(fake, base, n, shape, None, kind, [0])

    def address(self, array):
        if array.__class__ is Fake:
            return array.base
        value = array.__array_interface__["data"][0]
        self.kept[value] = array
        return value

    def buffer(self, t):
        """Memory that a launcher wants to use: only that of the call has a place in its plan."""
        if t._buf.__class__ is not Fake:
            raise Unlowered("uses memory of its own")
        return t._buf

    def argument(self, value):
        """An argument that is an address, which the kernel's annotation or its place says: numbers may have any value."""
        if value >= WATCHED:
            return Address(-1 - (value - WATCHED) // SPAN, 0)
        if value >= BASE:  # (behind the last buffer nothing is)
            index, offset = divmod(value - BASE, SPAN)
            return Address(index, offset)
        if value == 0 or value in tape.TABLES:
            return self.constant_word(value)
        raise Unlowered("uses memory of its own")

    def constant_word(self, value):
        """A number, or the address of a table that the plan keeps."""
        table = tape.TABLES.get(value)
        if table is not None:
            self.kept[value] = table
        return value

    def flag(self, flag):
        """What a launcher takes for bad input."""
        self.flags.append(flag)
        return Watch(self, len(self.flags) - 1)

    def pause(self):
        return _Pause(self)

    # --- launches

    def add(self, entry, values, work, items=0):
        """A call of a kernel on ``range(items)``, the last two of ``values``: cut over the threads, where there are several, if
        its work (in elements) is worth it."""
        limit = threads.LIMIT[0]
        behind = native.behind(entry) if work >= limit and items > 1 else None
        if behind is None:
            self.steps.append((entry, values))
            self.most = max(self.most, work)
            return
        address, letters = behind
        with self.pause():
            fn = jit.through(letters[:-2])
        words = (address, *[_word(v, x) for v, x in zip(values[:-2], letters)])
        self.steps.append((threads.parallel_call, [fn, words, items, max(1, items * (limit // 2) // work)]))

    def pointwise(self, kernel, compute, ins, scalars, outs, shape):
        for t in (*ins, *outs):
            self.buffer(t)
        with self.pause():
            found = launch.prepare(kernel, compute, ins, outs, shape)
        if found is None:
            return
        entry, before, after, n, held = found
        self.kept[id(held)] = held
        pointers = [self.argument(t._ptr) for t in (*ins, *outs)]
        if any([s.__class__ is Number for s in scalars]):
            if compute.is_complex or not compute.category:
                raise Unlowered("takes numbers as complex or truth values")
            numbers = [s if s.__class__ is Number else launch.raw_scalars(compute, (s,))[0] for s in scalars]
        else:
            numbers = launch.raw_scalars(compute, scalars)
        self.add(entry, [*before, *pointers, *numbers, *after], n, after[-1])

    def fill(self, buf, ptr, kind, n, value):
        if kind.dtype.code in ("f2", "bf") or value.__class__ not in (int, float, bool):
            raise Unlowered("fills memory of a half type")
        if n:
            self.pointwise(FILL, kind.dtype, (), (value,), (raw(buf, ptr, n, (n,), None, kind, [0]),), (n,))

    def fill_with(self, t, value):
        if t._n:
            self.pointwise(FILL, t._kind.dtype, (), (value,), (t,), t._shape)

    def fold(self, op, key, numbers, items):
        x, out, *rest = numbers
        with self.pause():
            entry = op.native(*key).entry
        self.add(entry, [self.argument(x), self.argument(out), *rest, 0, items], rest[-1], items)

    def custom(self, op, out, args, params, launcher, order):
        launcher(out, *order)

    def kernel(self, kernel, dtype):
        def call(*args):
            self.run(kernel, dtype, args, None, 0)
        return call

    def run(self, kernel, dtype, args, items, work):
        with self.pause():
            entry = jit.Kernel.__getitem__(kernel, dtype)
        kinds = kernel.parameters({})
        values = [float(a) if kind == "f" else int(a) if kind == "i" and name not in kernel.addresses else
                  self.argument(int(a)) for a, (name, kind) in zip(args, kinds)]
        if items is not None:
            values += [0, items]
        self.add(entry, values, work if items is not None and items > 1 else 0, items or 0)

    def gemm(self, code, a, b, c, m, n, k, lda, ldb, ldc, ta, tb, alpha, beta, batch, sa, sb, sc):
        if m * n * k * batch > threads.SERIAL_BELOW["gemm"]:
            raise Unlowered("is a large product")
        values = [*[self.argument(p) for p in (a, b, c)], m, n, k, lda, ldb, ldc, ta, tb, float(alpha), float(beta)]
        with self.pause():
            entry = getattr(blas, f"gemm_{code}" if batch == 1 else f"gemm_batched_{code}")
        self.add(entry, values if batch == 1 else [*values, batch, sa, sb, sc], 0)

    def parallel_for(self, fn, table, n, grain, addresses):
        """A native loop over a table of addresses, at those places, and numbers, which each call fills anew."""
        if table.__class__ is int:
            table = self.kept.pop(table, None)
        if table is None or fn.__class__ is not int or addresses is None:
            raise Unlowered("runs a native loop over a table of its own")
        words = table.tolist()
        for i in addresses:
            words[i] = self.argument(words[i])
        self.add(threads.parallel_call, [fn, tuple(words), n, grain], 0)

    def direct(self, entry, addresses, numbers, work):
        """A call of a compiled function with addresses of tensors and numbers."""
        self.add(entry, [*[self.argument(a) for a in addresses], *numbers], work)

    def draw(self, gen, kernel, n, args):
        """A kernel that draws about n numbers from a stream, whose state it finds at addresses that stay."""
        if self.streams and gen not in self.streams:
            raise Unlowered("draws from several streams")
        self.streams.append(gen)
        own = gen.mt_at, gen.words_at, gen.kept_at
        values = []
        for a, note in zip(args, kernel.notes.values()):
            a = int(a) if a.__class__ is bool else a
            values.append(self.argument(a) if note[0] == "*" and a not in own else a)
        self.add(Draw(kernel.kept(), gen), values, n)

    def constant(self, t, args):
        """A tensor of values that Python computed: a plan copies them, as they may be written to or handed on."""
        kind, n, address = t._kind, t._n, t._ptr
        if t._strides is not None:
            raise Unlowered("makes a tensor with gaps from Python data")
        self.kept[address] = t._buf
        t._buf, t._ptr = self.alloc(kind, n)
        if n:
            with self.pause():
                entry = COPY.native(kind.dtype.compute, (kind.dtype.code,), (kind.dtype.code,)).entry
            self.add(entry, [address, self.argument(t._ptr), 0, n], n)

    # --- what has no plan

    def _refuse(self, *args, **kwargs):
        raise Unlowered("does what depends on values")

    host = reads = values = leaf = hook = setting = optimize = compose = _refuse
    checkpointed = backward = owns = shared = _refuse

    def written(self, t):
        self.buffer(t)

    @property
    def born(self):
        raise Unlowered("makes a leaf")


def _word(value, letter):
    """A kernel's argument as a word of a table."""
    if letter == "f" and value.__class__ in (int, Number):
        return float(value) if value.__class__ is int else Real(value.index)
    return value


class _Pause:
    __slots__ = ("recorder",)

    def __init__(self, recorder):
        self.recorder = recorder

    def __enter__(self):
        self.recorder.paused += 1
        modes.change(capture=None)

    def __exit__(self, *error):
        self.recorder.paused -= 1
        modes.change(capture=self.recorder)


@contextlib.contextmanager
def recording(recorder):
    """Write down what this thread launches in the block (one thread at a time)."""
    warn = warnings.warn

    def warned(*args, **kwargs):
        if get_ident() != recorder.thread:
            return warn(*args, **kwargs)
        raise Unlowered("warns, which every call has to do")
    tape.TAPE.append(recorder)
    modes.change(capture=recorder)
    warnings.warn = warned
    try:
        yield
    finally:
        warnings.warn = warn
        tape.TAPE.remove(recorder)
        modes.change(capture=None)
