"""Errors of both libraries side by side."""

import pytest

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
LIBRARIES = [ng, torch]


def error_of(action):
    """(type name, text) of what ``action`` raises, without the library's own name."""
    with pytest.raises(Exception) as caught:
        action()
    return type(caught.value).__name__, str(caught.value).replace("numbagrad.", "torch.")


def same_error(action):
    """Both libraries raise the same error with the same text; returns it."""
    ours, theirs = (error_of(lambda lib=lib: action(lib)) for lib in LIBRARIES)
    assert ours == theirs
    return ours
