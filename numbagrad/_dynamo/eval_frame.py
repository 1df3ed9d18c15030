"""The class of compiled modules, under the name of PyTorch's file."""

from ..compiler.module import OptimizedModule  # noqa: F401
