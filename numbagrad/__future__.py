"""``torch.__future__``: what conversions of modules do with parameters."""

from __future__ import annotations

from .nn.modules import _convert

__all__ = ["get_overwrite_module_params_on_conversion", "get_swap_module_params_on_conversion",
           "set_overwrite_module_params_on_conversion", "set_swap_module_params_on_conversion"]


def set_overwrite_module_params_on_conversion(value):
    """Whether modules get new parameters where they are converted, instead of new values in those that they have."""
    _convert.overwrite = value


def get_overwrite_module_params_on_conversion():
    """Whether modules get new parameters where they are converted."""
    return _convert.overwrite


def set_swap_module_params_on_conversion(value):
    """Whether ``torch.utils.swap_tensors`` puts what was converted or loaded into the parameters that modules have."""
    _convert.swap = value


def get_swap_module_params_on_conversion():
    """Whether parameters that were converted or loaded are swapped with those that modules have."""
    return _convert.swap
