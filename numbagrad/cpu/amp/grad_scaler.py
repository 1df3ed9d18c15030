"""``GradScaler`` for the CPU by its older name."""

from ...amp import _older

__all__ = ["GradScaler"]

GradScaler = _older.scaler("cpu", __name__)
