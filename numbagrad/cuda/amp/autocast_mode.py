"""``autocast`` on CUDA devices by its older names."""

from __future__ import annotations

import functools

from ... import amp
from ...amp import _older
from ...amp.autocast_mode import _cast as _cast_on
from ...base import dtypes as dt

__all__ = ["autocast", "custom_fwd", "custom_bwd"]

autocast = _older.autocast("cuda", dt.float16, __name__)


@_older.deprecated("`torch.cuda.amp.autocast_mode._cast(value, dtype)` is deprecated. "
                   "Please use `torch.amp.autocast_mode._cast(value, 'cuda', dtype)` instead.")
def _cast(value, dtype):
    return _cast_on(value, "cuda", dtype)


@_older.deprecated("`torch.cuda.amp.custom_fwd(args...)` is deprecated. "
                   "Please use `torch.amp.custom_fwd(args..., device_type='cuda')` instead.")
def custom_fwd(fwd=None, *, cast_inputs=None):
    """``amp.custom_fwd`` for CUDA devices."""
    return functools.partial(amp.custom_fwd, device_type="cuda")(fwd=fwd, cast_inputs=cast_inputs)


@_older.deprecated("`torch.cuda.amp.custom_bwd(args...)` is deprecated. "
                   "Please use `torch.amp.custom_bwd(args..., device_type='cuda')` instead.")
def custom_bwd(bwd):
    """``amp.custom_bwd`` for CUDA devices."""
    return functools.partial(amp.custom_bwd, device_type="cuda")(bwd)
