"""Errors of both libraries side by side."""

import pytest

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
LIBRARIES = [ng, torch]


def found_errors(action):
    found = []
    for lib in LIBRARIES:
        with pytest.raises(Exception) as caught:
            action(lib)
        text = str(caught.value).replace("numbagrad.Tensor", "torch.Tensor").replace("numbagrad.", "torch.")
        found.append((type(caught.value).__name__, text))
    return found
