"""Products of small matrices, whose right side fits into the first-level caches: blocks of sums in registers, nothing copied.

BLAS copies both sides into an order of its own first, which small matrices do not earn back. The function is written as LLVM
instructions; kernels call it by its name. It is for processors with vectors of 256 bits: for longer ones OpenBLAS has code for
small matrices of its own.

Measured there (AMD EPYC, GFLOP/s of square matrices of float32, BLAS and this): 16 rows 19 and 73, 32 rows 37 and 84, 64 rows
58 and 87, 128 rows 72 and 84, 256 rows 79 and 73; of float64: 16 rows 13 and 36, 64 rows 34 and 43, 128 rows 37 and 37.
"""

from __future__ import annotations

import functools
import hashlib

from . import inlined, objects, register_tile
from .guard import guarded
from .objects import each
from .register_tile import Vectors, machine

ROWS = 6, 4, 2, 1   # of blocks; six by two vectors of sums, two of columns and one number take 15 of 16 registers
CHUNK = 96          # rows of the left side that meet all columns before the next ones
DEEPEST = 256       # products in a sum
ELEMENTS = {"f4": 1 << 14, "f8": 1 << 13}  # of the right side, and, three quarters of that, of a left side that is turned
_kept: list = []    # what compiled code belongs to


@functools.lru_cache(None)
def width(code):
    """The columns of a block on this processor, which those of a product have to be a multiple of; 0 where BLAS does all."""
    if code not in ELEMENTS:
        return 0
    lanes, registers = machine(int(code[1]))
    return 2 * lanes if lanes * int(code[1]) == 32 and registers == 16 else 0


def name(code):
    """What LLVM calls the function of a dtype."""
    return f"numbagrad_small_{code}"


class Writer:
    """Writes the module of a dtype."""

    def __init__(self, code):
        self.v = v = Vectors(code)
        self.ir, self.word, self.real, self.code = v.ir, v.word, v.ir.DoubleType(), code
        self.module = v.ir.Module(name(code))

    def function(self, name, words, reals=0):
        kind = self.ir.FunctionType(self.ir.VoidType(), [self.word] * words + [self.real] * reals)
        made = self.ir.Function(self.module, kind, name)
        return made, self.ir.IRBuilder(made.append_basic_block())

    def pointer(self, b, address):
        return b.inttoptr(address, self.v.real.as_pointer())

    def offset(self, b, address, count):
        """The address of an element further on."""
        return b.add(address, b.mul(count, self.word(self.v.size)))

    def block(self, rows):
        """``f(a, row, step, b, ldb, c, ldc, k, alpha, beta)``: C (rows, two vectors) = alpha A B + beta C, of a at ``row`` from
        row to row and ``step`` along it."""
        v, word = self.v, self.word
        made, b = self.function(f"block_{rows}", 8, 2)
        a, row, step, right, ldb, c, ldc, k, alpha, beta = made.args
        a, right, c = [self.pointer(b, p) for p in (a, right, c)]
        fma = v.declared(b, "fma." + v.name, v.vector, *[v.vector] * 3)
        starts = [b.gep(a, [b.mul(row, word(i))]) for i in range(rows)]
        before, loop, done = b.block, b.append_basic_block(), b.append_basic_block()
        b.branch(loop)
        b.position_at_end(loop)
        q = b.phi(word)
        q.add_incoming(word(0), before)
        totals = [b.phi(v.vector) for _ in range(2 * rows)]
        line, at = b.gep(right, [b.mul(q, ldb)]), b.mul(q, step)
        columns = [v.load(b, v.at(b, line, word(j * v.lanes))) for j in range(2)]
        sums = []
        for i in range(rows):
            number = v.spread(b, b.load(b.gep(starts[i], [at])), v.vector)
            sums += [b.call(fma, [number, columns[j], totals[2 * i + j]]) for j in range(2)]
        more = b.add(q, word(1))
        for t, s in zip(totals, sums):
            t.add_incoming(self.ir.Constant(v.vector, None), before)
            t.add_incoming(s, loop)
        q.add_incoming(more, loop)
        b.cbranch(b.icmp_signed("<", more, k), loop, done)
        b.position_at_end(done)
        factors = [v.spread(b, b.fptrunc(x, v.real) if v.size == 4 else x, v.vector) for x in (alpha, beta)]
        places = [v.at(b, c, ldc, word(i), word(j * v.lanes)) for i in range(rows) for j in range(2)]
        with b.if_else(b.fcmp_ordered("==", beta, self.real(0.0))) as (fresh, old):
            with fresh:
                for s, place in zip(sums, places):
                    v.store(b, b.fmul(factors[0], s), place)
            with old:
                for s, place in zip(sums, places):
                    v.store(b, b.call(fma, [factors[1], v.load(b, place), b.fmul(factors[0], s)]), place)
        b.ret_void()
        return made

    def turn(self):
        """``f(x, step, out, count)``: ``out[2 * lanes * q + j] = x[step * j + q]`` for j below a vector's lanes and q below
        ``count``, which is at most as many."""
        v, word = self.v, self.word
        made, b = self.function("turn", 4)
        x, step, out, count = made.args
        x, out, inside = self.pointer(b, x), self.pointer(b, out), v.below(b, count)
        lines = [v.load(b, v.at(b, x, step, word(j), word(0)), inside) for j in range(v.lanes)]
        for q, line in enumerate(v.transposed(b, lines)):
            v.store(b, line, v.at(b, out, word(2 * v.lanes * q)))
        b.ret_void()
        return made

    def product(self):
        """``f(a, b, c, m, n, k, row, step, ldb, tb, ldc, alpha, beta)``."""
        v, word = self.v, self.word
        blocks, turn = [self.block(rows) for rows in ROWS], self.turn()
        made, b = self.function(name(self.code), 11, 2)
        a, right, c, m, n, k, row, step, ldb, tb, ldc, alpha, beta = made.args
        wide = 2 * v.lanes
        panel = b.ptrtoint(b.alloca(v.real, (DEEPEST + v.lanes) * wide), word)
        turned = b.icmp_signed("!=", tb, word(0))
        with each(b, word(0), m, CHUNK) as top:
            end = b.add(top, word(CHUNK))
            end = b.select(b.icmp_signed("<", end, m), end, m)
            with each(b, word(0), n, wide) as j:
                with b.if_then(turned):
                    for half in range(2):
                        column = b.mul(b.add(j, word(half * v.lanes)), ldb)
                        with each(b, word(0), k, v.lanes) as q:
                            left = b.sub(k, q)
                            out = self.offset(b, panel, b.add(b.mul(q, word(wide)), word(half * v.lanes)))
                            b.call(turn, [self.offset(b, right, b.add(column, q)), ldb, out, left])
                line, apart = b.select(turned, panel, self.offset(b, right, j)), b.select(turned, word(wide), ldb)

                def run(block, i, line=line, apart=apart, j=j):
                    b.call(block, [self.offset(b, a, b.mul(i, row)), row, step, line, apart,
                                   self.offset(b, c, b.add(b.mul(i, ldc), j)), ldc, k, alpha, beta])
                # Whole blocks, then what is left of their rows.
                whole = b.add(top, b.mul(b.sdiv(b.sub(end, top), word(ROWS[0])), word(ROWS[0])))
                with each(b, top, whole, ROWS[0]) as i:
                    run(blocks[0], i)
                i = whole
                for rows, block in zip(ROWS[1:], blocks[1:]):
                    fits = b.icmp_signed("<=", b.add(i, word(rows)), end)
                    with b.if_then(fits):
                        run(block, i)
                    i = b.select(fits, b.add(i, word(rows)), i)
        b.ret_void()


def found(code):
    """(columns of a block or 0 where BLAS does all, products in a sum at most, elements of the right side at most, what kernels
    call: ``small(a, b, c, m, n, k, row, step, ldb, tb, ldc, alpha, beta)``) of a dtype."""
    from numba import types
    if not width(code):
        return 0, 0, 0, inlined.njit((), error_model="numpy")(_nothing)
    install(code)
    words = types.void(*[types.int64] * 11, types.float64, types.float64)
    return width(code), DEEPEST, ELEMENTS[code], types.ExternalFunction(name(code), words)


def _nothing(a, b, c, m, n, k, row, step, ldb, tb, ldc, alpha, beta):
    pass


@guarded
def install(code):
    """Make the function of a dtype known to LLVM by its name: compiled, or as it lies in the cache."""
    if code in _kept:
        return
    from llvmlite import binding

    from . import cache_files
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    cpu, features = binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten()
    key = _key(code, cpu, features)
    target = binding.Target.from_default_triple().create_target_machine(cpu=cpu, features=features, opt=3)
    stored = cache_files.read_bytes(key)
    if stored is None:
        writer = Writer(code)
        writer.product()
        module = binding.parse_assembly(str(writer.module))
        stored = target.emit_object(module)
        cache_files.write_bytes(key, stored)
    engine = binding.create_mcjit_compiler(binding.parse_assembly(""), target)
    engine.add_object_file(binding.ObjectFileRef.from_data(bytes(stored)))
    engine.finalize_object()
    _kept.extend((code, engine))
    binding.add_symbol(name(code), engine.get_function_address(name(code)))


def _key(code, *machine_):
    """The name of what is stored: a hash of all that it depends on beside the versions that the cache's folder is for."""
    digest = hashlib.sha256(repr((code, machine_)).encode())
    for text in (__file__, objects.__file__, register_tile.__file__):
        with open(text, "rb") as file:
            digest.update(file.read())
    return f"small-{digest.hexdigest()}"
