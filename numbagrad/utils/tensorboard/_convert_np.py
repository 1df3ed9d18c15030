"""What users log as NumPy arrays."""

from __future__ import annotations

import numpy as np

from ...base import dtypes as dt
from ...core.tensor import Tensor


def make_np(x):
    """A number, array or tensor as an array."""
    if isinstance(x, np.ndarray):
        return x
    if np.isscalar(x):
        return np.array([x])
    if isinstance(x, Tensor):
        x = x.detach().cpu()
        return (x.to(dt.float16) if x.dtype is dt.bfloat16 else x).numpy()
    raise NotImplementedError(f"Got {type(x)}, but numpy array or torch tensor are expected.")
