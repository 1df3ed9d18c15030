"""The catalogue of operations; importing it fills the registry."""

from . import activation, compare, copy, elementwise, matmul, reduce, shape  # noqa: F401
