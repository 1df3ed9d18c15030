"""Whether there is a device for mixed precision."""

from ...kernel import cuda as _cuda


def amp_definitely_not_available():
    """Whether no CUDA device can be used."""
    return not _cuda.available()
