"""The class of compiled modules, under the name of PyTorch's file."""

from ..compiler.module import OptimizedModule  # noqa: F401


def is_dynamo_supported():
    """True: ``compile`` works on every Python that this package does."""
    return True
