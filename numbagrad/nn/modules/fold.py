"""Where PyTorch has layers of ``resample``."""

from .resample import Fold, Unfold

__all__ = ["Fold", "Unfold"]
