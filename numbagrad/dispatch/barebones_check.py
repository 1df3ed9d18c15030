"""The question whether an op takes a barebones dtype; the answers (``barebones``) are imported with the first such tensor."""

from __future__ import annotations

from ..core import storage


def check_barebones(name, d, *args, dtype=None):
    """Refuse a dtype of few operations where PyTorch does: in an op of its name, or as the ``dtype`` of the result."""
    from . import barebones
    barebones.check_result(name, dtype)
    barebones.check(name, d, *args)


def _begin():
    from . import barebones
    barebones.begin()


storage.BEGIN.append(_begin)
