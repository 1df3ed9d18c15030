"""Where pickles find the functions that stood for ops until these were used: somebody may hold one, such as a layer.

In another process, where the name is no function that was replaced, the op itself is found."""

from .registry import REGISTRY

FORMER: dict = {}  # name of an op: the function that stood for it


def __getattr__(name):
    if name in FORMER:
        return FORMER[name]
    if not name.startswith("__") and name in REGISTRY:
        return REGISTRY[name].callable
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def replaced(entry, name):
    """Let a function that no name leads to any more be pickled."""
    FORMER[name] = entry
    entry.__module__, entry.__qualname__ = __name__, name
