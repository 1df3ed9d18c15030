"""Nodes of traced graphs, under the name of PyTorch's file."""

from __future__ import annotations

import typing

Target = typing.Callable | str
Argument = typing.Any


class Node:
    """The class that ``isinstance`` asks for."""
