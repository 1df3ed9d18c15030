"""``autocast`` on the CPU by its older name."""

from ...amp import _older
from ...base import dtypes as dt

__all__ = ["autocast"]

autocast = _older.autocast("cpu", dt.bfloat16, __name__)
