"""Products of matrices on a device: the one kernel behind ``blas.gemm`` there.

A block makes a tile of C, rows by columns, from pieces of A and B that lie in shared memory; each thread keeps a few rows by a
few columns of it in registers. Tiles that reach over an edge read zeros there. A piece is read along its memory whether it is
transposed or not, so that neighbours among the threads read neighbours in memory."""

from __future__ import annotations

import functools

from . import emit, shim
from .address import plain
from .launch import target
from .shim import Source

TEXT = """As = cuda.shared.array((DEPTH, PITCH_A), T_type_)
Bs = cuda.shared.array((DEPTH, PITCH_B), T_type_)
acc = cuda.local.array(KEPT, T_type_)
thread = cuda.threadIdx.x
first_row, first_column = thread // WIDE, thread % WIDE
tile = cuda.blockIdx.x
while tile < tiles:
    batch = tile // (tall * wide)
    left = tile - batch * (tall * wide)
    row, column = left // wide * ROWS, left % wide * COLUMNS
    for i in range(KEPT):
        acc[i] = T(0)
    for p in range(0, k, DEPTH):
        for e in range(thread, ROWS * DEPTH, THREADS):
            i, q = PLACE_A
            if row + i < m and p + q < k:
                As[q, i] = CONJ_A(A[batch * sa + READ_A])
            else:
                As[q, i] = T(0)
        for e in range(thread, COLUMNS * DEPTH, THREADS):
            j, q = PLACE_B
            if column + j < n and p + q < k:
                Bs[q, j] = CONJ_B(B[batch * sb + READ_B])
            else:
                Bs[q, j] = T(0)
        cuda.syncthreads()
        for q in range(DEPTH):
            for i in range(DOWN):
                a = As[q, first_row + i * TALL]
                for j in range(ACROSS):
                    acc[i * ACROSS + j] += a * Bs[q, first_column + j * WIDE]
        cuda.syncthreads()
    for i in range(DOWN):
        for j in range(ACROSS):
            r, c = row + first_row + i * TALL, column + first_column + j * WIDE
            if r < m and c < n:
                at = batch * sc + r * ldc + c
                if beta == 0:
                    C[at] = T(alpha) * acc[i * ACROSS + j]
                else:
                    C[at] = T(alpha) * acc[i * ACROSS + j] + T(beta) * C[at]
    tile += cuda.gridDim.x"""
# (places of element e of a piece, where it lies in the matrix) of a matrix as it is and transposed
A_FORMS = ("e // DEPTH, e % DEPTH", "(row + i) * lda + p + q"), ("e % ROWS, e // ROWS", "(p + q) * lda + row + i")
B_FORMS = ("e % COLUMNS, e // COLUMNS", "(p + q) * ldb + column + j"), ("e // DEPTH, e % DEPTH", "(column + j) * ldb + p + q")


def conjugated(x):
    return x.conjugate()


def same(x):
    return x


@functools.cache
def source(code, ta, tb, shape):
    """The kernel for a dtype code and transposes (0, 1, or 2 for conjugate ones); ``shape`` is that of its tiles."""
    rows, columns, depth, down, across = shape
    tall, wide = rows // down, columns // across
    forms = {"PLACE_A": A_FORMS[ta > 0][0], "READ_A": A_FORMS[ta > 0][1], "PLACE_B": B_FORMS[tb > 0][0],
             "READ_B": B_FORMS[tb > 0][1]}
    text = TEXT
    for name, value in forms.items():
        text = text.replace(name, value)
    made, key = emit.cast("T", code)
    env = {"T": made, "CONJ_A": conjugated if ta == 2 else same, "CONJ_B": conjugated if tb == 2 else same, "ROWS": rows,
           "COLUMNS": columns, "DEPTH": depth, "DOWN": down, "ACROSS": across, "TALL": tall, "WIDE": wide,
           "THREADS": tall * wide, "KEPT": down * across, "PITCH_A": rows + 1, "PITCH_B": columns + 1,  # (apart in the banks)
           "T_type_": shim.element_type(code)}
    number = "f8" if code in ("f8", "c16") else "f4"
    params = [("A", "*" + code), ("B", "*" + code), ("C", "*" + code), *[(x, "i8") for x in SIZES], ("alpha", number),
              ("beta", number)]
    return Source(f"gemm_{code}_{'nth'[ta]}{'nth'[tb]}", params, text.split("\n"), env, f"{key} {shape}")


SIZES = "m n k lda ldb ldc sa sb sc tall wide tiles".split()


def gemm(code, a, b, c, m, n, k, lda, ldb, ldc, ta, tb, alpha, beta, batch, sa, sb, sc):
    """C = alpha op(A) op(B) + beta C for row-major matrices at addresses of one device, or a batch of them."""
    if not m * n * batch:
        return
    gpu = target()
    if gpu.instead is not None and m * n * k * batch > gpu.instead.LEAST:
        places = [plain(p) for p in (a, b, c)]
        return gpu.instead.product(gpu, code, places, m, n, k, (lda, ldb, ldc), (ta, tb), alpha, beta, batch, (sa, sb, sc))
    index = int(c.device.rpartition(":")[2])
    shape = gpu.tiles(code)
    rows, columns, _, down, across = shape
    tall, wide = -(-m // rows), -(-n // columns)
    tiles = tall * wide * batch
    args = [gpu.pointer(plain(p), code) for p in (a, b, c)]
    args += [m, n, k, lda, ldb, ldc, sa, sb, sc, tall, wide, tiles, float(alpha), float(beta)]
    gpu.launch(source(code, ta, tb, shape), args, min(tiles, gpu.grid), (rows // down) * (columns // across), index)
