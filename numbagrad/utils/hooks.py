"""Handles that remove a registered hook again."""

from ..base.handles import RemovableHandle

__all__ = ["RemovableHandle"]
