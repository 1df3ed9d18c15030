"""Flags that PyTorch scripts set (``backends.cudnn.deterministic = True``); kept, and without effect on the CPU."""

from __future__ import annotations

from types import SimpleNamespace


def _flags(available, **values):
    return SimpleNamespace(is_available=lambda: available, is_built=lambda: available, **values)


cudnn = _flags(False, enabled=False, benchmark=False, deterministic=True, allow_tf32=False, version=lambda: None)
mps = _flags(False)
mkl = _flags(False)
mkldnn = _flags(False, enabled=False)
openmp = _flags(False)
cuda = _flags(False, matmul=SimpleNamespace(allow_tf32=False))
