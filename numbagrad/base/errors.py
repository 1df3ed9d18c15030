"""Errors that scripts catch by PyTorch's names."""

from __future__ import annotations

__all__ = ["AcceleratorError", "FatalError", "JITException", "OutOfMemoryError"]


class OutOfMemoryError(RuntimeError):
    """A device has no memory left."""


class AcceleratorError(RuntimeError):
    """A device reported an error."""


class FatalError(Exception):
    """The base of errors that nothing can be done about."""


class JITException(Exception):
    """An error of TorchScript, which there is none of."""


for _public in (OutOfMemoryError, AcceleratorError, FatalError):
    _public.__module__ = "numbagrad"
