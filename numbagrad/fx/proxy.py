"""What stands for values while a function is traced, under the name of PyTorch's file."""

from __future__ import annotations


class Proxy:
    """The class that ``isinstance`` asks for."""
