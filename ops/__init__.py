"""The catalogue of operations; importing it fills the registry."""

from . import compare, copy, elementwise, reduce, shape  # noqa: F401
