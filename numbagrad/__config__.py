"""``torch.__config__``: what this build consists of, as text."""

from __future__ import annotations


def show():
    """Versions of what compiles and computes, a line each."""
    from .cli.main import info
    return "numbagrad built with:\n" + "".join([f"  - {name}: {value}\n" for name, value in info().items()])


def parallel_info():
    """Threads inside and between operations."""
    from . import get_num_threads
    from .base.settings import get_num_interop_threads
    from .kernel import threads
    return (f"ATen/Parallel:\n\tat::get_num_threads() : {get_num_threads()}\n\tat::get_num_interop_threads() : "
            f"{get_num_interop_threads()}\nnumbagrad threading layer: {threads.layer()}\n")
