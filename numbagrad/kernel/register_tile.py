"""A block of a matrix product whose sums stay in registers, written as LLVM vectors.

Columns of the right side lie side by side and are vectors; numbers of the left side are spread over a vector each, from
wherever a table of offsets says, so that it may be a window that moves over data nobody copied. LLVM's own vectoriser makes
no such blocks of loops: sums would be loaded and stored in every step."""

from __future__ import annotations

import functools


@functools.lru_cache(None)
def machine(itemsize):
    """(elements of a vector, vector registers) of this processor."""
    from llvmlite.binding import get_host_cpu_features
    features = get_host_cpu_features()
    if features.get("avx512f"):
        return 64 // itemsize, 32
    if features.get("avx2") and features.get("fma"):
        return 32 // itemsize, 16
    return 16 // itemsize, 32 if features.get("neon") else 16


def widest(itemsize, vectors):
    """Most rows of a block of ``vectors`` vectors of columns, so that sums, columns and two more have registers."""
    return (machine(itemsize)[1] - vectors - 2) // vectors


class Vectors:
    """LLVM's vectors of a dtype: pieces of kernel functions."""

    def __init__(self, code):
        from llvmlite import ir
        self.size = {"f4": 4, "f8": 8}[code]
        self.lanes = machine(self.size)[0]
        self.real = ir.FloatType() if code == "f4" else ir.DoubleType()
        self.vector, self.mask = ir.VectorType(self.real, self.lanes), ir.VectorType(ir.IntType(1), self.lanes)
        self.name, self.ir, self.word = f"v{self.lanes}f{8 * self.size}", ir, ir.IntType(64)

    def declared(self, builder, what, result, *arguments):
        """One of LLVM's own functions."""
        known = builder.module.globals.get("llvm." + what)
        return known or self.ir.Function(builder.module, self.ir.FunctionType(result, arguments), "llvm." + what)

    def chosen(self, builder, a, b, places):
        return builder.shuffle_vector(a, b, self.ir.Constant(self.ir.VectorType(self.ir.IntType(32), len(places)), places))

    def spread(self, builder, value, kind):
        """A vector of one value."""
        one = builder.insert_element(self.ir.Constant(kind, self.ir.Undefined), value, self.ir.IntType(32)(0))
        return self.chosen(builder, one, one, [0] * self.lanes)

    def at(self, builder, pointer, *offset):
        place = offset[0] if len(offset) == 1 else builder.add(builder.mul(*offset[:2]), offset[2])
        return builder.bitcast(builder.gep(pointer, [place]), self.vector.as_pointer())

    def load(self, builder, place, inside=None):
        """A vector from any address; zeros where the mask ``inside`` says so."""
        if inside is None:
            return builder.load(place, align=self.size)
        call = self.declared(builder, f"masked.load.{self.name}.p0", self.vector, place.type, self.ir.IntType(32), self.mask,
                             self.vector)
        return builder.call(call, [place, self.ir.IntType(32)(self.size), inside, self.ir.Constant(self.vector, None)])

    def store(self, builder, line, place, inside=None):
        if inside is None:
            return builder.store(line, place, align=self.size)
        call = self.declared(builder, f"masked.store.{self.name}.p0", self.ir.VoidType(), self.vector, place.type,
                             self.ir.IntType(32), self.mask)
        return builder.call(call, [line, place, self.ir.IntType(32)(self.size), inside])

    def below(self, builder, count):
        """The mask of the first ``count`` elements."""
        kind = self.ir.VectorType(self.word, self.lanes)
        return builder.icmp_signed("<", self.ir.Constant(kind, list(range(self.lanes))), self.spread(builder, count, kind))

    def when(self, builder, test):
        """The mask of all elements, or of none."""
        return self.spread(builder, test, self.mask)

    def transposed(self, builder, lines):
        """The square of vectors ``lines``, turned by halves, quarters and so on."""
        h, n = self.lanes // 2, self.lanes
        while h:
            out = list(lines)
            for i in range(n):
                if not i & h:
                    pair = lines[i], lines[i + h]
                    out[i] = self.chosen(builder, *pair, [k if not k & h else n + k - h for k in range(n)])
                    out[i + h] = self.chosen(builder, *pair, [k + h if not k & h else n + k for k in range(n)])
            lines, h = out, h // 2
        return lines


@functools.lru_cache(None)
def turn(code):
    """Kernel function ``turn(x, step, out, to, rows, columns)``: ``out[q * to + j] = x[j * step + q]`` for j below ``rows`` and
    q below ``columns``, of both at most a vector's; zeros for the other j of a vector."""
    from numba import types
    from numba.extending import intrinsic
    v = Vectors(code)

    def codegen(context, builder, signature, args):
        x, step, out, to, rows, columns = args
        x, out = [builder.inttoptr(p, v.real.as_pointer()) for p in (x, out)]
        inside = v.below(builder, columns)
        lines = []
        for j in range(v.lanes):
            wanted = v.when(builder, builder.icmp_signed("<", v.word(j), rows))
            lines.append(v.load(builder, v.at(builder, x, step, v.word(j), v.word(0)), builder.and_(wanted, inside)))
        for q, line in enumerate(v.transposed(builder, lines)):
            wanted = v.when(builder, builder.icmp_signed("<", v.word(q), columns))
            v.store(builder, line, v.at(builder, out, to, v.word(q), v.word(0)), wanted)
        return context.get_dummy_value()

    @intrinsic
    def turned(typingctx, x, step, out, to, rows, columns):
        return types.void(*[types.int64] * 6), codegen

    return turned


@functools.lru_cache(None)
def piece(code):
    """Kernel function ``piece(x, out, low, high)``: a vector of ``out`` is that of ``x`` from element ``low`` to ``high``, zero
    elsewhere, where ``x`` need not have memory."""
    from numba import types
    from numba.extending import intrinsic
    v = Vectors(code)

    def codegen(context, builder, signature, args):
        x, out, low, high = args
        x, out = [builder.inttoptr(p, v.vector.as_pointer()) for p in (x, out)]
        inside = builder.and_(builder.not_(v.below(builder, low)), v.below(builder, high))
        v.store(builder, v.load(builder, x, inside), out)
        return context.get_dummy_value()

    @intrinsic
    def copied(typingctx, x, out, low, high):
        return types.void(*[types.int64] * 4), codegen

    return copied


@functools.lru_cache(None)
def tile(code, vectors, rows, adds=False):
    """Kernel function ``tile(x, offsets, k, w, start, out, step, columns)``, all addresses but the counts ``k`` and ``columns``
    and the elements ``step``: ``out[j * step + i] = start[j] + sum(x[offsets[q] + i] * w[q, j] for q in range(k))`` for i below
    ``rows`` and j below ``columns``, which are at most ``vectors`` vectors; ``w`` and ``start`` have memory for all of them.
    One that ``adds`` adds this to ``out``."""
    from numba import types
    from numba.extending import intrinsic
    v = Vectors(code)
    ir, word = v.ir, v.word

    def sums(builder, x, offsets, k, w, start):
        fma = v.declared(builder, "fma." + v.name, v.vector, *[v.vector] * 3)
        first = [v.load(builder, v.at(builder, start, word(i * v.lanes))) for i in range(vectors)]
        before, loop, after = builder.block, builder.append_basic_block("sum"), builder.append_basic_block("summed")
        builder.branch(loop)
        builder.position_at_end(loop)
        q = builder.phi(word)
        q.add_incoming(word(0), before)
        totals = [builder.phi(v.vector) for _ in range(rows * vectors)]
        for n, t in enumerate(totals):
            t.add_incoming(first[n % vectors], before)
        line = builder.gep(w, [builder.mul(q, word(vectors * v.lanes))])
        columns = [v.load(builder, v.at(builder, line, word(i * v.lanes))) for i in range(vectors)]
        window = builder.gep(x, [builder.load(builder.gep(offsets, [q]))])
        after_ = []
        for i in range(rows):
            number = v.spread(builder, builder.load(builder.gep(window, [word(i)])), v.vector)
            after_ += [builder.call(fma, [number, columns[c], totals[i * vectors + c]]) for c in range(vectors)]
        for t, value in zip(totals, after_):
            t.add_incoming(value, loop)
        more = builder.add(q, word(1))
        q.add_incoming(more, loop)
        builder.cbranch(builder.icmp_signed("<", more, k), loop, after)
        builder.position_at_end(after)
        return after_

    def codegen(context, builder, signature, args):
        x, offsets, k, w, start, out, step, columns = args
        x, w, start, out = [builder.inttoptr(p, v.real.as_pointer()) for p in (x, w, start, out)]
        totals = sums(builder, x, builder.inttoptr(offsets, word.as_pointer()), k, w, start)
        nothing = ir.Constant(v.vector, ir.Undefined)
        for c in range(vectors):
            for i in range(0, rows, v.lanes):
                held = min(v.lanes, rows - i)
                lines = [totals[(i + r) * vectors + c] if r < held else nothing for r in range(v.lanes)]
                inside = ir.Constant(v.mask, [int(r < held) for r in range(v.lanes)])
                for j, line in enumerate(v.transposed(builder, lines)):
                    wanted = v.when(builder, builder.icmp_signed("<", word(c * v.lanes + j), columns))
                    place, wanted = v.at(builder, out, step, word(c * v.lanes + j), word(i)), builder.and_(wanted, inside)
                    line = builder.fadd(line, v.load(builder, place, wanted)) if adds else line
                    v.store(builder, line, place, wanted)
        return context.get_dummy_value()

    @intrinsic
    def product(typingctx, x, offsets, k, w, start, out, step, columns):
        return types.void(*[types.int64] * 8), codegen

    return product


def key(code, *sizes):
    """What the machine code of a tile depends on, beside the processor."""
    return f"register tile 1 {code} {machine(int(code[1]))} {sizes}"
