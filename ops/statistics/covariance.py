"""Covariances and correlations of variables in rows."""

from __future__ import annotations

import warnings

import numpy as np

from numbagrad.base import dtypes as dt
from numbagrad.base.user_code import user_level
from numbagrad.core.tensor import Tensor
from numbagrad.extend import Sample, function

from ..linalg.common import op


def _weights(which, w, count, kind, category):
    """Checked weights of observations."""
    if not isinstance(w, Tensor) or len(w._shape) > 1:
        raise RuntimeError(f"cov(): expected {which} to have one or fewer dimensions but got {which} with "
                           f"{len(w._shape)} dimensions")
    if w._kind.dtype.category != category:
        raise RuntimeError(f"cov(): expected {which} to have {kind} dtype but got {which} with "
                           f"{dt.scalar_name(w._kind.dtype)} dtype")
    if w._n != count:
        raise RuntimeError(f"cov(): expected {which} to have the same numel as there are observations in the input but got "
                           f"{w._n} != {count}")
    if count and not bool(w.min() >= 0):
        raise RuntimeError(f"cov(): {which} cannot be negative")
    return w


@function(kinds={"fweights": "tensor?", "aweights": "tensor?", "correction": "int"},
          reference=lambda x, correction=1: np.cov(x, ddof=correction),
          samples=(Sample((3, 5)), Sample((2, 4), correction=0), Sample((6,))))
def cov(input, *, correction=1, fweights=None, aweights=None):
    """Covariances ``E[(x - E x)(y - E y)*]`` of the variables in the rows of ``input``, whose columns are observations.

    A vector is one variable; ``fweights`` counts the observations, ``aweights`` weighs them."""
    if len(input._shape) > 2:
        raise RuntimeError(f"cov(): expected input to have two or fewer dimensions but got an input with "
                           f"{len(input._shape)} dimensions")
    if input._kind.dtype is dt.bool_:
        raise RuntimeError("cov(): bool dtype is not supported for input")
    x = input if len(input._shape) == 2 else input.reshape(1, -1)
    count, w = x._shape[1], None
    if fweights is not None:
        w = _weights("fweights", fweights, count, "integral", 1)
    if aweights is not None:
        a = _weights("aweights", aweights, count, "floating point", 2)
        w = a if w is None else w * a
    total = count if w is None else w.sum()
    if w is not None and not bool(total != 0):
        raise RuntimeError("cov(): weights sum to zero, can't be normalized")
    mean = (x if w is None else x * w).sum(1) / total
    degrees = total - correction
    if w is not None and aweights is not None and correction:
        degrees = total - correction * (w * aweights).sum() / total
    if not bool(degrees > 0):
        warnings.warn("cov(): degrees of freedom is <= 0. Correction should be strictly less than the number of observations.",
                      UserWarning, stacklevel=user_level())
        degrees = 0
    x = x - mean.unsqueeze(1)
    right = (x if w is None else x * w).t()
    c = op("mm")(x, op("conj")(right) if right._kind.dtype.is_complex else right)
    return (c / degrees).squeeze()


@function(reference=lambda x: np.corrcoef(x), samples=(Sample((3, 5)), Sample((2, 4))))
def corrcoef(input):
    """Pearson's correlations of the variables in the rows of ``input``: covariances over both deviations, within [-1, 1]."""
    if len(input._shape) > 2:
        raise RuntimeError(f"corrcoef(): expected input to have two or fewer dimensions but got an input with "
                           f"{len(input._shape)} dimensions")
    c = cov.fn(input)
    if not c._shape:
        return c / c
    d = c.diag()
    deviations = (op("real")(d) if d._kind.dtype.is_complex else d).sqrt()
    c = c / deviations.view(-1, 1) / deviations.view(1, -1)
    if c._kind.dtype.is_complex:
        return op("complex")(op("real")(c).clip(-1, 1), op("imag")(c).clip(-1, 1))
    return c.clip(-1, 1)
