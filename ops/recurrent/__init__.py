"""Recurrent networks."""

from numbagrad.core.registry import REGISTRY


def __getattr__(name):
    if name == "layers":  # which modules of ``nn`` run
        return REGISTRY.load(f"{__name__}.{name}")
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
