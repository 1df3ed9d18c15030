"""``ng.compile``: a whole training step as one native call.

    capture (run once on memory without bytes) -> passes (dead calls, repeats, fusion) -> memory (one arena) -> program
    (native functions and their tables) -> variant (guards, and the call itself)
"""

from . import hooks  # noqa: F401 (what rewritten functions call)
from .capture import CaptureError  # noqa: F401
from .check import CompileMismatch  # noqa: F401
from .function import CompiledFunction, CompileWarning  # noqa: F401
from .module import compile  # noqa: F401
