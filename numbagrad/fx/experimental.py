"""``torch.fx.experimental``: what code asks that may be traced; nothing is."""

import sys
import types

__all__ = ["proxy_tensor", "symbolic_shapes"]
__path__: list = []  # what lies below is in sys.modules


def _module(name, **functions):
    module = types.ModuleType(f"{__name__}.{name}", f"Functions of {name} where nothing is traced.")
    module.__dict__.update(functions)
    sys.modules[module.__name__] = module
    return module


class GuardOnDataDependentSymNode(RuntimeError):
    """The error that code catches; sizes are numbers here."""


def get_proxy_mode():
    """None: nothing is traced."""


def _known(x):
    """A condition, which is known."""
    return bool(x)


def is_symbolic(x):
    """False: sizes are numbers."""
    return False


def free_symbols(x):
    """The unknown sizes in a value: none."""
    return set()


proxy_tensor = _module("proxy_tensor", get_proxy_mode=get_proxy_mode)
symbolic_shapes = _module(
    "symbolic_shapes", GuardOnDataDependentSymNode=GuardOnDataDependentSymNode, free_symbols=free_symbols,
    free_unbacked_symbols=free_symbols, guard_or_false=_known, guard_or_true=_known, guard_size_oblivious=_known,
    is_symbolic=is_symbolic, statically_known_true=_known)
