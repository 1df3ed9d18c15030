"""Where PyTorch has layers of ``resample``."""

from .resample import PixelShuffle, PixelUnshuffle

__all__ = ["PixelShuffle", "PixelUnshuffle"]
