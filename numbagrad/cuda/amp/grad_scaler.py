"""``GradScaler`` for CUDA devices by its older name."""

from ...amp import _older
from ...amp.grad_scaler import OptState  # noqa: F401

__all__ = ["GradScaler"]

GradScaler = _older.scaler("cuda", __name__)
