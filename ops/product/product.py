"""The matrix products behind ``matmul.py``: native entries for small ones, and BLAS on any layout, batch and dtype."""

from __future__ import annotations

from itertools import product as every

from numbagrad.base import dtypes as dt
from numbagrad.base.shapes import expanded_strides
from numbagrad.core import storage
from numbagrad.core.copying import contiguous_copy, copy_into, row_major  # noqa: F401 (what those above take from here)
from numbagrad.core.launch import launch
from numbagrad.core.tensor import contiguous_strides, make, raw, raw_view
from numbagrad.extend import T, accumulate
from numbagrad.kernel import blas, emit, expr, jit, threads
from numbagrad.kernel.jit import kernel

# Multiply-adds up to which a product runs at once in the calling thread, holding the GIL.
LIMIT = threads.SERIAL_BELOW["gemm"]
# Products over one term: BLAS reads what it is to add to, and needs two passes.
OUTER = emit.Pointwise("outer", ("a", "b"), (), (expr.var("a") * expr.var("b"),))
SHORT = 1 << 12  # elements up to which it does not matter
BLAS_CODES = ("f4", "f8", "c8", "c16")


# --- small products of row-major or transposed matrices ---

# ``one`` is BLAS's product with all its arguments; an entry with fewer costs half as much to call from Python.
# Flags: 2 when A is stored transposed, 1 when B is. An address of 0 means that this result is not wanted.
SOURCE = """def mm(a, b, c, m, n, k, flags):
    ta = flags >> 1
    tb = flags & 1
    one(a, b, c, m, n, k, m if ta else k, k if tb else n, n, ta, tb, 1.0, 0.0)
""", """def mm_backward(g, a, b, ga, gb, m, n, k, flags):
    ta = flags >> 1
    tb = flags & 1
    if ga != 0:
        one(g, b, ga, m, k, n, n, k if tb else n, k, NO, 1 - tb, 1.0, 0.0)
    if gb != 0:
        one(a, g, gb, k, n, m, m if ta else k, n, n, 1 - ta, NO, 1.0, 0.0)
""", """def bmm(a, b, c, batch, m, n, k, flags):
    ta = flags >> 1
    tb = flags & 1
    lda = m if ta else k
    ldb = k if tb else n
    for i in range(batch):
        one(a + i * m * k * SIZE, b + i * k * n * SIZE, c + i * m * n * SIZE, m, n, k, lda, ldb, n, ta, tb, 1.0, 0.0)
""", """def bmm_backward(g, a, b, ga, gb, batch, m, n, k, flags):
    ta = flags >> 1
    tb = flags & 1
    lda = m if ta else k
    ldb = k if tb else n
    for i in range(batch):
        if ga != 0:
            one(g + i * m * n * SIZE, b + i * k * n * SIZE, ga + i * m * k * SIZE, m, k, n, n, ldb, k, NO, 1 - tb, 1.0, 0.0)
        if gb != 0:
            one(a + i * m * k * SIZE, g + i * m * n * SIZE, gb + i * k * n * SIZE, k, n, m, lda, n, n, 1 - ta, NO, 1.0, 0.0)
""", """def linear(x, w, bias, out, m, n, k):
    if bias != 0:
        b = ptr(bias)
        y = ptr(out)
        for i in range(m):
            for j in range(n):
                y[i * n + j] = b[j]
    one(x, w, out, m, n, k, k, k, n, NO, YES, 1.0, 1.0 if bias != 0 else 0.0)
""", """def linear_backward(g, x, w, gx, gw, gb, m, n, k):
    if gx != 0:
        one(g, w, gx, m, k, n, n, k, k, NO, NO, 1.0, 0.0)
    if gw != 0:
        one(g, x, gw, n, k, m, n, k, k, YES, NO, 1.0, 0.0)
    if gb != 0:
        p = ptr(g)
        out = ptr(gb)
        for j in range(n):
            out[j] = 0
        whole = m - m % 4
        for i in range(0, whole, 4):
            q = i * n
            for j in range(n):
                out[j] += (p[q + j] + p[q + n + j]) + (p[q + 2 * n + j] + p[q + 3 * n + j])
        for i in range(whole, m):
            for j in range(n):
                out[j] += p[i * n + j]
"""


SOURCE = {text[4:text.index("(")]: text for text in SOURCE}
BATCHED = ("bmm", "bmm_backward")


class Small:
    """Native entries for one kind: see ``SOURCE``. Each is compiled when it is first asked for."""

    __slots__ = (*SOURCE, "code", "np", "peek", "itemsize")

    def __init__(self, kind):
        jit.nb()
        self.code, self.itemsize, self.np, self.peek = kind.dtype.code, kind.itemsize, kind.np, storage._peek

    def __getattr__(self, name):
        if name not in SOURCE:
            raise AttributeError(name)
        from numbagrad.kernel import blas_kernels
        # The code of a product is part of those that have it in a loop.
        one, key = (blas.inner if name in BATCHED else blas.by_name)(self.code)
        env = {"one": one, "ptr": jit.nb().pointers[self.code], "NO": blas_kernels.NO, "YES": blas_kernels.YES}
        source = SOURCE[name].replace("SIZE", str(self.itemsize))
        letters = "i" * (source[:source.index(")")].count(",") + 1)
        entry = jit.compile_source(source, name, letters, env, key + self.code).entry
        setattr(self, name, entry)
        return entry


class Large:
    """What ``Small`` has, for products that are cut over the threads and do not hold the GIL.

    None of a single term, which BLAS is slow at, nor of more rows than it can count."""

    __slots__ = ("code", "itemsize", "np", "kind")

    def __init__(self, kind):
        self.kind, self.code, self.itemsize, self.np = kind, kind.dtype.code, kind.itemsize, kind.np

    def mm(self, a, b, c, m, n, k, flags):
        ta, tb = flags >> 1, flags & 1
        blas.gemm(self.code, a, b, c, m, n, k, m if ta else k, k if tb else n, n, ta, tb, 1.0, 0.0)

    def mm_backward(self, g, a, b, ga, gb, m, n, k, flags):
        self.bmm_backward(g, a, b, ga, gb, 1, m, n, k, flags)

    def bmm(self, a, b, c, batch, m, n, k, flags):
        ta, tb = flags >> 1, flags & 1
        blas.gemm(self.code, a, b, c, m, n, k, m if ta else k, k if tb else n, n, ta, tb, 1.0, 0.0, batch, m * k, k * n, m * n)

    def bmm_backward(self, g, a, b, ga, gb, batch, m, n, k, flags):
        ta, tb = flags >> 1, flags & 1
        one, two, three = m * k, k * n, m * n
        if ga:
            blas.gemm(self.code, g, b, ga, m, k, n, n, k if tb else n, k, 0, 1 - tb, 1.0, 0.0, batch, three, two, one)
        if gb:
            blas.gemm(self.code, a, g, gb, k, n, m, m if ta else k, n, n, 1 - ta, 0, 1.0, 0.0, batch, one, three, two)

    def linear(self, x, w, bias, out, m, n, k):
        if bias:
            spread_row.run(self.kind, (bias, out, n), m, m * n)
        blas.gemm(self.code, x, w, out, m, n, k, k, k, n, 0, 1, 1.0, 1.0 if bias else 0.0)

    def linear_backward(self, g, x, w, gx, gw, m, n, k):
        if gx:
            blas.gemm(self.code, g, w, gx, m, k, n, n, k, k, 0, 0, 1.0, 0.0)
        if gw:
            blas.gemm(self.code, g, x, gw, n, k, m, n, k, k, 1, 0, 1.0, 0.0)


@kernel
def spread_row(row: "*T", out: "*T", n: int, start: int, stop: int):
    """The numbers of row (n,) in each row of out (rows, n)."""
    for i in range(start, stop):
        for j in range(n):
            out[i * n + j] = row[j]


SMALL: dict = {}  # kind -> Small, filled by the first general call of a kind
LARGE: dict = {}  # kind -> Large, of those that have the other
MOST = (1 << 31) - 1  # multiply-adds of what goes there: no matrix has more rows than BLAS can count


def dense(kind, batch, m, n, k):
    """What multiplies dense matrices (m, k) and (k, n), or None."""
    work = batch * m * n * k
    if work <= (LONG if m == n == 1 else LIMIT):
        return SMALL.get(kind)
    return LARGE.get(kind) if work <= MOST and k > 1 and (m > 1 or n > 1) else None


def dense_backward(kind, batch, m, n, k, limit=LIMIT):
    """What makes the gradients of their product, or None."""
    work = batch * m * n * k
    if work <= limit:
        return SMALL.get(kind)
    return LARGE.get(kind) if work <= MOST and m > 1 and n > 1 and k > 1 else None


def small(kind):
    """The native entries of a kind, or None where there are none."""
    found = SMALL.get(kind)
    if found is None and kind.cpu and kind.dtype.code in ("f4", "f8"):
        found = Small(kind)
        if storage._peek is not None:
            SMALL[kind], LARGE[kind] = found, Large(kind)
    return found


# --- any layout ---

# --- two long vectors ---

LONG = 1 << 17  # elements from which on a loop of our own is quicker than BLAS (a million: 65 against 83 us), on one thread too
PART = 1 << 14  # of them, whose products one thread adds up before it begins another part


@kernel
def dot_parts(a: "*T", b: "*T", sums: "*T", n: int, part: int, start: int, stop: int):
    """Into sums the sums of the products of vectors a and b (n,), part by part."""
    for i in range(start, stop):
        total = T(0)
        for j in range(i * part, min(n, (i + 1) * part)):
            total = accumulate(total, a[j] * b[j])
        sums[i] = total


@kernel
def sum_all(sums: "*T", out: "*T", n: int):
    """out[0] = the sum of sums (n,)."""
    total = T(0)
    for i in range(n):
        total += sums[i]
    out[0] = total


def dot(out, a, b):
    """The sum of the products of two vectors; threads share long ones."""
    kind, n = a._kind, a._n
    if n < LONG or not kind.cpu or kind.dtype.code not in ("f4", "f8") or (a._strides or b._strides) is not None:
        multiply(reshaped(out, (1, 1)), row(a), column(b))
        return
    count = -(-n // PART)
    sums = make((count,), kind)
    dot_parts.run(kind, (a._ptr, b._ptr, sums._ptr, n, PART), count, n)
    sum_all[kind](sums._ptr, out._ptr, count)


@kernel
def integer_product(a: "*T", b: "*T", c: "*T", n: int, k: int, ai: int, ak: int, bk: int, bj: int, alpha: int,
                    beta: int, start: int, stop: int):
    """c (rows, n) = beta c + alpha a b, with a (rows, k) and b (k, n) of any strides, every step rounded to T."""
    for i in range(start, stop):
        for j in range(n):
            old = T(0)
            if beta != 0:
                old = T(c[i * n + j] * T(beta))
            acc = T(0)
            for p in range(k):
                acc = T(acc + T(a[i * ai + p * ak] * b[p * bk + j * bj]))
            c[i * n + j] = T(old + T(acc * T(alpha)))


def converted(t, kind):
    """The values of ``t`` in another dtype, outside the graph."""
    out = make(t._shape, kind)
    copy_into(out, t)
    return out


def transposed(t):
    """``t`` with its last two dimensions swapped, outside the graph."""
    n = len(t._shape)
    return raw_view(t, (*range(n - 2), n - 1, n - 2))


def column(t):
    """A vector as an (n, 1) matrix on the same memory, outside the graph."""
    s = t._strides
    return raw(t._buf, t._ptr, t._n, (t._n, 1), None if s is None else (s[0], 1), t._kind, t._ver)


def row(t):
    """A vector as a (1, n) matrix on the same memory, outside the graph."""
    s = t._strides
    return raw(t._buf, t._ptr, t._n, (1, t._n), None if s is None else (1, s[0]), t._kind, t._ver)


def reshaped(t, shape):
    """A row-major ``t`` in another shape, outside the graph."""
    return raw(t._buf, t._ptr, t._n, shape, None, t._kind, t._ver)


def _operand(t, adjoint, complex_, args):
    """(tensor, BLAS flag, leading dimension) of the matrices in the last two dimensions."""
    rows, columns = t._shape[-2:]
    found = None
    if t._strides is not None:
        found = args((rows, columns), t._strides[-2:])
        if found is None or (adjoint and complex_ and found[0]):
            t = contiguous_copy(t)
            found = None
    flag, ld = found or (0, max(columns, 1))
    if adjoint:
        flag = 2 if complex_ else 1 - flag
    return t, flag, ld


def multiply(out, a, b, ta=0, tb=0, alpha=1.0, beta=0.0):
    """``out = alpha op(a) op(b) + beta out`` for matrices in the last two dimensions, batch dimensions broadcast.

    ``ta`` and ``tb`` say whether an operand is taken as its conjugate transpose. ``out`` is row-major."""
    d = out._kind.dtype
    if d.code in ("f2", "bf"):
        kind = storage.kind_of(dt.float32, out._kind.device)
        wide = make(out._shape, kind)
        if beta:
            copy_into(wide, out)
        multiply(wide, converted(a, kind), converted(b, kind), ta, tb, alpha, beta)
        return copy_into(out, wide)
    if d.code not in BLAS_CODES:
        return _integers(out, transposed(a) if ta else a, transposed(b) if tb else b, alpha, beta)
    complex_ = d.is_complex
    m, n = out._shape[-2:]
    k = a._shape[-2] if ta else a._shape[-1]
    if k == 1 and m * n > SHORT and len(out._shape) == 2 and not complex_ and alpha == 1 and beta == 0:
        a, b = transposed(a) if ta else a, transposed(b) if tb else b
        return launch(OUTER, d, (a, b), (), (out,), out._shape)
    a, fa, lda = _operand(a, ta, complex_, blas.matmul_args)
    b, fb, ldb = _operand(b, tb, complex_, blas.matmul_args)
    ldc = max(n, 1)
    if len(out._shape) == 2:
        return blas.gemm(d.code, a._ptr, b._ptr, out._ptr, m, n, k, lda, ldb, ldc, fa, fb, alpha, beta)
    dims = _batch(out, a, b)
    if len(dims) == 1 and fa == 0 and dims[0][2] == 0 and dims[0][1] == m * lda:
        # One matrix for the whole batch: a single, taller product.
        return blas.gemm(d.code, a._ptr, b._ptr, out._ptr, dims[0][0] * m, n, k, lda, ldb, ldc, fa, fb, alpha, beta)
    count, sa, sb, sc = dims[-1] if dims else (1, 0, 0, 0)
    size = d.itemsize
    for index in every(*[range(s) for s, *_ in dims[:-1]]):
        pa, pb, pc = (p._ptr + size * sum(i * dim[j] for i, dim in zip(index, dims))
                      for j, p in ((1, a), (2, b), (3, out)))
        blas.gemm(d.code, pa, pb, pc, m, n, k, lda, ldb, ldc, fa, fb, alpha, beta, count, sa, sb, sc)
    return None


def _batch(out, a, b):
    """Batch dimensions as few as possible: [(size, stride of a, of b, of out)]."""
    shape = out._shape[:-2]
    sa = expanded_strides(a, (*shape, *a._shape[-2:]))
    sb = expanded_strides(b, (*shape, *b._shape[-2:]))
    sc = contiguous_strides(out._shape)
    dims = []
    for i, s in enumerate(shape):
        if s != 1:
            here = (s, sa[i], sb[i], sc[i])
            if dims and all(p == q * s for p, q in zip(dims[-1][1:], here[1:])):
                here = (dims.pop()[0] * s, *here[1:])
            dims.append(here)
    return dims


def _integers(out, a, b, alpha, beta):
    run = integer_product[out._kind]
    m, n = out._shape[-2:]
    k = a._shape[-1]
    sa, sb = a._strides or contiguous_strides(a._shape), b._strides or contiguous_strides(b._shape)
    dims = _batch(out, a, b)
    size = out._kind.itemsize
    for index in every(*[range(s) for s, *_ in dims]):
        pa, pb, pc = (p._ptr + size * sum(i * dim[j] for i, dim in zip(index, dims))
                      for j, p in ((1, a), (2, b), (3, out)))
        run(pa, pb, pc, n, k, sa[-2], sa[-1], sb[-2], sb[-1], int(alpha), int(beta), 0, m)
