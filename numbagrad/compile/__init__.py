"""``ng.compile``: a whole training step as one native call.

    capture (run once on memory without bytes) -> passes (dead calls, repeats, fusion) -> memory (one arena) -> program
    (native functions and their tables) -> variant (guards, and the call itself)
"""

from .capture import CaptureError  # noqa: F401
from .check import CompileMismatch  # noqa: F401
from .function import CompiledFunction, CompileWarning, compile  # noqa: F401
