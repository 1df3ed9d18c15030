"""Powers and exponentials of matrices."""

from __future__ import annotations

import numpy as np

from numbagrad.base import dtypes as dt
from numbagrad.core.copying import copy_into
from numbagrad.core.out import write_out
from numbagrad.core.tensor import from_array
from numbagrad.extend import Sample, custom, function

from ..product.matmul import matmul
from .common import checked, eye_like, mh, op


@function(reference=np.linalg.matrix_power, domain=(0.2, 1.5), namespaces=("torch", "linalg"), dtypes="any",
          samples=(Sample((3, 3), 3), Sample((2, 2, 2), 2), Sample((2, 2), -2)))
def matrix_power(A, n, *, out=None):
    """``A`` multiplied with itself ``n`` times; powers of the inverse for negative ``n``."""
    if len(A._shape) < 2:
        raise RuntimeError("linalg.matrix_power: The input tensor A must have at least 2 dimensions.")
    if A._shape[-1] != A._shape[-2]:
        raise RuntimeError(f"linalg.matrix_power: A must be batches of square matrices, but they are {A._shape[-2]} by "
                           f"{A._shape[-1]} matrices")
    if n == 0:
        zero = op("masked_fill")(A, A.new_ones((), dtype=dt.bool_), 0)  # which hangs on A, as in PyTorch
        y = zero + eye_like(A, A._shape[-1])
    else:
        base, count = op("inv")(A) if n < 0 else A, abs(n)
        y = base.clone() if n == 1 else None
        while count and n != 1:
            if count % 2:
                y = base if y is None else matmul(y, base)
            count //= 2
            base = matmul(base, base) if count else base
    return y if out is None else write_out("matrix_power", out, y, (A,), True)


def _block_exponential(a, g):
    """d exp at a along g: the upper right block of exp [[a, g], [0, a]]."""
    n = a._shape[-1]
    zero = a * 0
    top, bottom = op("cat")((a, g), -1), op("cat")((zero, a), -1)
    whole = matrix_exp(op("cat")((top, bottom), -2))
    return op("narrow")(op("narrow")(whole, -2, 0, n), -1, n, n)


def _expm(a):
    from scipy.linalg import expm
    return expm(a)


@custom(reference=_expm, namespaces=("torch", "linalg"), node="LinalgMatrixExpBackward0",
        samples=(Sample((3, 3)), Sample((2, 2, 2))))
def matrix_exp(input):
    """Matrix exponential."""
    checked("linalg.matrix_exp", input, half=True)
    return input._shape, input._kind


@matrix_exp.host
def _(out, input):
    if not out._n:
        return
    if out._kind.itemsize == 2:
        copy_into(out, from_array(_expm(input.detach().float().array())))
    else:
        out.array()[...] = _expm(input.array())


@matrix_exp.gradient
def _(g, input):
    return _block_exponential(mh(input), g)
