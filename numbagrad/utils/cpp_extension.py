"""``torch.utils.cpp_extension``: names that packages import; code for PyTorch's C++ interface is not compiled here."""

__all__ = ["CUDA_HOME", "BuildExtension", "CUDAExtension", "CppExtension", "load", "load_inline"]
CUDA_HOME = ROCM_HOME = None  # as where there is no compiler for devices


def _refuse(name):
    raise RuntimeError(f"torch.utils.cpp_extension.{name}: code for PyTorch's C++ interface is not compiled here; write a "
                       "kernel with numba, or an operator with torch.library.custom_op")


def load(name, sources, *args, **kwargs):
    """Refused: there is no C++ interface."""
    _refuse("load")


def load_inline(name, cpp_sources, *args, **kwargs):
    """Refused: there is no C++ interface."""
    _refuse("load_inline")


def CppExtension(name, sources, *args, **kwargs):  # noqa: N802 (PyTorch's name)
    """Refused: there is no C++ interface."""
    _refuse("CppExtension")


def CUDAExtension(name, sources, *args, **kwargs):  # noqa: N802 (PyTorch's name)
    """Refused: there is no C++ interface."""
    _refuse("CUDAExtension")


class BuildExtension:
    """Refused: there is no C++ interface."""

    def __init__(self, *args, **kwargs):
        _refuse("BuildExtension")
