"""Attention."""

from numbagrad.core.registry import REGISTRY


def __getattr__(name):
    if name == "multihead":  # which modules of ``nn`` run
        return REGISTRY.load(f"{__name__}.{name}")
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
