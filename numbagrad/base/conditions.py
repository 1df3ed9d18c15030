"""``torch._check`` and its kin."""

from __future__ import annotations

import warnings

from .user_code import user_level

IMPROVE = ("Expected cond to be True, but got False. (Could this error message be improved? If so, please report an "
           "enhancement request to PyTorch.)")


def _check_with(error_type, cond, message=None):
    if type(cond) is not bool:
        if hasattr(cond, "data_ptr"):
            raise TypeError("cond must be a bool, but got a Tensor. For tensor conditions, use torch._check_tensor_all() to "
                            "assert that all elements are true.")
        raise TypeError(f"cond must be a bool, but got {type(cond)}")
    if cond:
        return
    if message is not None and not callable(message):
        raise TypeError("message must be a callable")
    raise error_type(IMPROVE if message is None else str(message()))


def _check(cond, message=None):
    """RuntimeError, with what ``message()`` says, unless the condition is True."""
    _check_with(RuntimeError, cond, message)


def _check_index(cond, message=None):
    """IndexError unless the condition is True."""
    _check_with(IndexError, cond, message)


def _check_value(cond, message=None):
    """ValueError unless the condition is True."""
    _check_with(ValueError, cond, message)


def _check_type(cond, message=None):
    """TypeError unless the condition is True."""
    _check_with(TypeError, cond, message)


def _check_not_implemented(cond, message=None):
    """NotImplementedError unless the condition is True."""
    _check_with(NotImplementedError, cond, message)


def _check_is_size(i, message=None, *, max=None):
    """RuntimeError unless a number is a size, of at most ``max``."""
    warnings.warn("_check_is_size will be removed in a future PyTorch release along with guard_size_oblivious.     Use "
                  "_check(i >= 0) instead.", FutureWarning, stacklevel=user_level())
    _check(i >= 0, message)
    if max is not None:
        _check(i <= max, message)


def _check_tensor_all_with(error_type, cond, message=None):
    if not hasattr(cond, "data_ptr"):
        raise TypeError(f"cond must be a tensor, but got {type(cond)}")
    if str(cond.dtype) != "torch.bool":
        raise TypeError(f"cond tensor must have dtype torch.bool, but got {cond.dtype}")
    _check_with(error_type, cond.all().item(), message)


def _check_tensor_all(cond, message=None):
    """RuntimeError unless all elements are True."""
    _check_tensor_all_with(RuntimeError, cond, message)


def _assert(condition, message):
    """Python's ``assert`` as a function."""
    assert condition, message


def _assert_async(input, assert_msg=None):
    """RuntimeError unless the one element is not zero."""
    if input.numel() != 1:
        raise RuntimeError("Boolean value of Tensor with no values is ambiguous" if input.numel() == 0 else
                           "Boolean value of Tensor with more than one value is ambiguous")
    if not input.item():
        raise RuntimeError(assert_msg or "Expected Tensor with single nonzero value, but got zero")
