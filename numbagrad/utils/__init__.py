"""Tools around training: data loading and removable hooks."""

from . import data, hooks

__all__ = ["data", "hooks"]
