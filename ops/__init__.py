"""The catalogue of operations; importing it fills the registry."""

from . import activation, compare, copy, elementwise, linear, matmul, reduce, shape, softmax  # noqa: F401
