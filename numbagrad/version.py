"""Which PyTorch is followed, and what this build is for."""

from . import __version__

__all__ = ["__version__", "cuda", "debug", "git_version", "hip", "rocm", "xpu"]
debug, cuda, git_version, hip, rocm, xpu = False, None, "Unknown", None, None, None
