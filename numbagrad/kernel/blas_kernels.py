"""The compiled functions behind ``blas.py``: calls of Fortran BLAS by symbol.

Plain loops for tiny matrices were tried: OpenBLAS is as fast at 4 x 4 and faster from 8 x 8 on.
"""

import functools

import numpy as np

from . import inlined, small_products
from .guard import guarded

# Flags for calls from kernels. A literal in a call would be a type of its own, and each combination of them another
# compilation of what is called.
NO, YES, FLIP = np.int64(0), np.int64(1), np.int64(2)
LETTERS = {"f4": "s", "f8": "d", "c8": "c", "c16": "z"}
_MATRIX = ", ".join(["int64"] * 11 + ["float64"] * 2)
_FAST = {"contract"}
_CALLS = {"error_model": "numpy", "fastmath": _FAST}


def fortran(symbol, spec, code, returns=False, taken=None):
    """Intrinsic that calls a Fortran routine with a tuple of values (those at the places ``taken``, where it takes fewer): each
    is put on the stack and passed by address.

    `spec` has a letter per argument: t transposition flag, c the code of a character, i integer, s scalar, p address or
    pointer; o, which is last, stands for LAPACK's ``info``, the result then.
    """
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic

    single = code in ("f4", "c8")
    real = ir.FloatType() if single else ir.DoubleType()
    byte, word = ir.IntType(8), ir.IntType(32)
    result = (types.float32 if single else types.float64) if returns else types.void
    informs = spec.endswith("o")

    def place(builder, letter, value):
        if letter == "p":
            turn = builder.bitcast if isinstance(value.type, ir.PointerType) else builder.inttoptr
            return turn(value, byte.as_pointer())
        if letter == "c":
            slot = cgutils.alloca_once(builder, byte)
            builder.store(builder.trunc(value, byte), slot)
            return slot
        if letter == "t":
            mark = builder.select(
                builder.icmp_signed("==", value, value.type(0)),
                byte(ord("N")),
                builder.select(builder.icmp_signed("==", value, value.type(1)), byte(ord("T")), byte(ord("C"))),
            )
            slot = cgutils.alloca_once(builder, byte)
            builder.store(mark, slot)
            return slot
        if letter == "i":
            slot = cgutils.alloca_once(builder, word)
            builder.store(builder.trunc(value, word), slot)
        else:
            slot = cgutils.alloca_once(builder, ir.ArrayType(real, 2))
            first = builder.bitcast(slot, real.as_pointer())
            builder.store(builder.fptrunc(value, real) if single else value, first)
            builder.store(real(0.0), builder.gep(first, [word(1)]))
        return builder.bitcast(slot, byte.as_pointer())

    def routine(typingctx, values):
        def codegen(context, builder, signature, args):
            given = cgutils.unpack_tuple(builder, args[0])
            kind = ir.FunctionType(real if returns else ir.VoidType(), [byte.as_pointer()] * len(spec))
            function = cgutils.get_or_insert_function(builder.module, kind, symbol)
            if taken is not None:
                given = [given[i] for i in taken if i < len(given)]
            places = [place(builder, *pair) for pair in zip(spec.rstrip("o"), given, strict=True)]
            if informs:
                info = cgutils.alloca_once(builder, word)
                builder.store(word(0), info)
                places.append(builder.bitcast(info, byte.as_pointer()))
            out = builder.call(function, places)
            if informs:
                return builder.sext(builder.load(info), ir.IntType(64))
            return out if returns else context.get_dummy_value()

        return (types.int64 if informs else result)(values), codegen

    return intrinsic(routine)


def pointer(code):
    """Intrinsic that reads an address as a pointer to dtype `code`."""
    from numba import types
    from numba.extending import intrinsic

    names = {"f4": "float32", "f8": "float64", "c8": "complex64", "c16": "complex128", "i8": "int64"}
    kind = types.CPointer(getattr(types, names[code]))

    @intrinsic
    def at(typingctx, address):
        def codegen(context, builder, signature, args):
            return builder.inttoptr(args[0], context.get_value_type(kind))

        return kind(types.int64), codegen

    return at


@guarded
def _function(fn, signature=None, **options):
    """`fn` as a disk-cached dispatcher, compiled when a signature is given."""
    from numba import njit

    from . import cache, progress

    dispatcher = cache.attach(njit(**{**_CALLS, "pipeline_class": inlined.kernels(), **options})(fn), cache.fingerprint(fn))
    if signature:
        progress.compile_signature(dispatcher, signature)
    return dispatcher


def _product(code):
    """``gemm_X`` (see ``blas.py``) as Python."""
    real = code in ("f4", "f8")
    at, cast = pointer(code), np.dtype(code).type
    xgemm = fortran(f"numbagrad_blas_{LETTERS[code]}gemm", "ttiiispipispi", code)
    xgemv = fortran(f"numbagrad_blas_{LETTERS[code]}gemv", "tiispipispi", code) if real else None
    width, deepest, most, small = small_products.found(code)

    def product(a, b, c, m, n, k, lda, ldb, ldc, ta, tb, alpha, beta):
        if m == 0 or n == 0:
            return
        if k == 0:
            out = at(c)
            for i in range(m):
                for j in range(n):
                    out[i * ldc + j] = out[i * ldc + j] * cast(beta) if beta != 0.0 else cast(0)
        elif real and n == 1:
            # BLAS is column-major: it sees every stored matrix transposed.
            if ta == 0:
                xgemv((1, k, m, alpha, a, lda, b, ldb if tb == 0 else 1, beta, c, ldc))
            else:
                xgemv((0, m, k, alpha, a, lda, b, ldb if tb == 0 else 1, beta, c, ldc))
        elif real and m == 1:
            if tb == 0:
                xgemv((0, n, k, alpha, b, ldb, a, 1 if ta == 0 else lda, beta, c, 1))
            else:
                xgemv((1, k, n, alpha, b, ldb, a, 1 if ta == 0 else lda, beta, c, 1))
        elif width > 0 and n % width == 0 and m > 3 and k <= deepest and n * k <= most and (tb == 0 or m > 7) and (
                ta == 0 or 4 * m * k <= 3 * most) and alpha != 0.0:  # (BLAS does not look at what is times 0)
            small(a, b, c, m, n, k, lda if ta == 0 else 1, 1 if ta == 0 else lda, ldb, tb, ldc, alpha, beta)
        else:
            # C^T = op(B)^T op(A)^T
            xgemm((tb, ta, n, m, k, alpha, b, ldb, a, lda, beta, c, ldc))

    return product


def gemm(code, **options):
    """Dispatcher of ``gemm_X`` (see ``blas.py``)."""
    return _function(_product(code), f"void({_MATRIX})", **options)


def gemm_free(code):
    """Dispatcher of ``gemm_free_X``."""
    return gemm(code, nogil=True)


@functools.cache
def inner(code):
    """``gemm_X`` for callers that are compiled too."""
    return inlined.njit(_FAST, error_model="numpy")(_product(code))


def gemm_batched(code, **options):
    """Dispatcher of ``gemm_batched_X``."""
    one = inner(code)
    size = np.dtype(code).itemsize

    def batched(a, b, c, m, n, k, lda, ldb, ldc, ta, tb, alpha, beta, batch, sa, sb, sc):
        for i in range(batch):
            one(
                a + size * sa * i, b + size * sb * i, c + size * sc * i, m, n, k, lda, ldb, ldc, ta, tb, alpha, beta
            )  # fmt: skip

    return _function(batched, f"void({_MATRIX}, int64, int64, int64, int64)", **options)


def gemm_batched_free(code):
    """Dispatcher of ``gemm_batched_free_X``."""
    return gemm_batched(code, nogil=True)


def gemm_piece(code):
    """Dispatcher of a piece for ``threads.parallel_for``: units of a batch of products cut into row x column parts.

    Table: a, b, c, m, n, k, lda, ldb, ldc, ta, tb, batch strides sa, sb, sc, parts along m and n, alpha, beta (the
    last two as the bits of float64).
    """
    one = inner(code)
    size = np.dtype(code).itemsize
    word, real = pointer("i8"), pointer("f8")

    def piece(table, start, stop):
        t = word(table)
        a, b, c, m, n, k, lda, ldb, ldc, ta, tb = t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7], t[8], t[9], t[10]
        rows, columns = t[14], t[15]
        alpha, beta = real(table)[16], real(table)[17]
        for unit in range(start, stop):
            item, top, bottom, left, right = unit, 0, m, 0, n
            if rows * columns > 1:  # divisions take longer than the call of a small product
                item, part = unit // (rows * columns), unit % (rows * columns)
                i, j = part // columns, part % columns
                # Cuts at multiples of 16 keep BLAS's register blocks whole.
                top, bottom = (m * i // rows + 15) // 16 * 16, min(m, (m * (i + 1) // rows + 15) // 16 * 16)
                left, right = (n * j // columns + 15) // 16 * 16, min(n, (n * (j + 1) // columns + 15) // 16 * 16)
            if top < bottom and left < right:
                one(
                    a + size * (t[11] * item + top * (lda if ta == 0 else 1)),
                    b + size * (t[12] * item + left * (1 if tb == 0 else ldb)),
                    c + size * (t[13] * item + top * ldc + left),
                    bottom - top, right - left, k, lda, ldb, ldc, ta, tb, alpha, beta,
                )  # fmt: skip

    return _function(piece, "void(int64, int64, int64)", nogil=True, no_cpython_wrapper=True)


def gemv(code):
    """Dispatcher of ``gemv_X``."""
    at, cast = pointer(code), np.dtype(code).type
    xgemv = fortran(f"numbagrad_blas_{LETTERS[code]}gemv", "tiispipispi", code)

    def product(a, x, y, m, n, lda, incx, incy, ta, alpha, beta):
        if m > 0 and n > 0:
            xgemv((1 - ta, n, m, alpha, a, lda, x, incx, beta, y, incy))
        else:
            out = at(y)
            for i in range(m if ta == 0 else n):
                out[i * incy] = out[i * incy] * cast(beta) if beta != 0.0 else cast(0)

    return _function(product, f"void({', '.join(['int64'] * 9)}, float64, float64)")


def ger(code):
    """Dispatcher of ``ger_X``."""
    xger = fortran(f"numbagrad_blas_{LETTERS[code]}ger", "iispipipi", code)

    def update(a, x, y, m, n, lda, incx, incy, alpha):
        if m > 0 and n > 0:
            xger((n, m, alpha, y, incy, x, incx, a, lda))

    return _function(update, f"void({', '.join(['int64'] * 8)}, float64)")


def dot(code):
    """Dispatcher of ``dot_X``."""
    xdot, cast = fortran(f"numbagrad_blas_{LETTERS[code]}dot", "ipipi", code, returns=True), np.dtype(code).type

    def product(x, y, n, incx, incy):
        return xdot((n, x, incx, y, incy)) if n > 0 else cast(0)

    return _function(product, f"{'float32' if code == 'f4' else 'float64'}(int64, int64, int64, int64, int64)")
