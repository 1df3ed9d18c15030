"""LAPACK for use inside kernels: routines called through the addresses that SciPy publishes.

    info = getrf((m, n, a, m, pivots))

Arguments come as one tuple, in LAPACK's order: characters as their codes, numbers by value, matrices as pointers (``past``
gives the place of an element). ``info`` is the result. What only one form of a routine takes is given always. Matrices
are column-major, as LAPACK has them. In the specifications a letter stands for an argument as in ``blas_kernels.fortran``, and
"r" and "l" for real memory and its length, which only complex routines take, "q" for memory that only real ones take.
"""

from __future__ import annotations

import numpy as np

from . import blas, blas_kernels
from .cache import fingerprint
from .jit import Inline

# Codes of the characters that routines are told with. A literal would be a type of its own in each call.
LEFT, RIGHT, LOWER, UPPER, PLAIN, TURNED, ADJOINT, UNIT = map(np.int64, b"LRLUNTCU")
NONE, SOME, ALL, VECTORS = map(np.int64, b"NSAV")
BLOCK = 64  # columns that routines work on together, at most: work memory of so many is enough


class Routine(Inline):
    """A routine of LAPACK (or BLAS, where it informs of nothing) in the dtype of the kernel that calls it."""

    def __init__(self, name, spec, complex_name=None):
        self.name, self.spec, self.complex_name, self.made = name, spec, complex_name or name, {}

    def form(self, code):
        """(name, specification without what is not taken, places of what is) for a dtype code."""
        complex_ = code[0] == "c"
        taken = [i for i, letter in enumerate(self.spec) if letter not in ("q" if complex_ else "rl")]
        letters = "".join(self.spec[i] for i in taken).translate(str.maketrans("rql", "ppi"))
        return blas_kernels.LETTERS[code] + (self.complex_name if complex_ else self.name), letters, taken

    def specialise(self, letters):
        code = letters["T"]
        if code not in self.made:
            name, spec, taken = self.form(code)
            if spec.endswith("o"):
                blas.load_lapack(name)
            else:
                blas._load()
            symbol = f"numbagrad_{'lapack' if spec.endswith('o') else 'blas'}_{name}"
            self.made[code] = blas_kernels.fortran(symbol, spec, code, taken=taken)
        return self.made[code]

    def key(self, letters):
        return f"{self.form(letters['T'])} {fingerprint(blas_kernels.fortran)}"


geqrf = Routine("geqrf", "iipippio")
orgqr = Routine("orgqr", "iiipippio", "ungqr")
ormqr = Routine("ormqr", "cciiipippipio", "unmqr")
syevd = Routine("syevd", "ccipippirlpio", "heevd")
geev = Routine("geev", "ccipipqpipipiro")
gesdd = Routine("gesdd", "ciipippipipirpo")
getrf = Routine("getrf", "iipipo")
getri = Routine("getri", "ipippio")
potrf = Routine("potrf", "cipio")
potri = Routine("potri", "cipio")
sytrf = Routine("sytrf", "cipippio")
sytrs = Routine("sytrs", "ciipippio")
hetrf = Routine("sytrf", "cipippio", "hetrf")
hetrs = Routine("sytrs", "ciipippio", "hetrs")
gemm = Routine("gemm", "cciiispipispi")
trsm = Routine("trsm", "cccciispipi")


class _Past(Inline):
    """``past(pointer, n)``: the pointer to the element n places on."""

    def __init__(self):
        self.found = None

    def specialise(self, letters):
        if self.found is None:
            from numba import types
            from numba.extending import intrinsic

            @intrinsic
            def past(typingctx, pointer, n):
                def codegen(context, builder, signature, args):
                    return builder.gep(args[0], [context.cast(builder, args[1], signature.args[1], types.int64)])

                return pointer(pointer, n), codegen

            self.found = past
        return self.found

    def key(self, letters):
        return "past, by a gep"


past = _Past()
