"""What optimizers of other people, written for PyTorch, take from ``torch.optim.optimizer`` and from their base class."""

import functools
import warnings
from collections.abc import Iterable
from typing import Any, TypeAlias

import numbagrad as ng

from ..base.dtypes import float32, float64, get_default_dtype
from ..core.tensor import Tensor
from ..utils._foreach_utils import (
    _foreach_supported_types,
    _get_foreach_kernels_supported_devices,
    _get_fused_kernels_supported_devices,
    _group_tensors_by_device_and_dtype,
)

ParamsT: TypeAlias = Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]

# Pieces of docstrings, one for each argument.
_params_doc = "params (iterable): parameters, pairs of names and parameters, or dicts that define groups"
_foreach_doc = "foreach (bool, optional): accepted; one native call updates all parameters anyway (default: None)"
_fused_doc = "fused (bool, optional): accepted; one native call updates all parameters anyway (default: None)"
_capturable_doc = "capturable (bool, optional): whether step counts lie on the parameters' device (default: False)"
_differentiable_doc = "differentiable (bool, optional): whether autograd records the update (default: False)"
_maximize_doc = "maximize (bool, optional): climb instead of descending (default: False)"


def _use_grad_for_differentiable(func):
    """The step in which autograd records just if the optimizer's default "differentiable" says so."""

    @functools.wraps(func)
    def _use_grad(*args, **kwargs):
        with ng.set_grad_enabled(args[0].defaults["differentiable"]):
            return func(*args, **kwargs)

    return _use_grad


def _disable_dynamo_if_unsupported(single_tensor_fn=None):
    return lambda func: func


def _get_value(x):
    return x.item() if isinstance(x, Tensor) else x


def _stack_if_compiling(x):
    return x


def _to_scalar(x):
    return x.squeeze() if isinstance(x, Tensor) and x.dim() != 0 else x


def _get_scalar_dtype(is_fused=None):
    return float64 if not is_fused and get_default_dtype() is float64 else float32


def _get_capturable_supported_devices(supports_xla=True):
    return ["cuda", "xpu", "hpu", "privateuseone"] + ["xla"] * supports_xla


def _default_to_fused_or_foreach(params, differentiable, use_fused=False):
    """(fused, foreach): what PyTorch would take where nothing was asked for."""

    def all_on(devices, inexact=False):
        return all(
            p is None
            or (type(p) in _foreach_supported_types and p.device.type in devices and (not inexact or p.is_floating_point()))
            for p in params
        )

    if differentiable:
        return False, False
    fused = use_fused and all_on(_get_fused_kernels_supported_devices(), True)
    return fused, not fused and all_on(_get_foreach_kernels_supported_devices())


def _device_dtype_check_for_fused(p, cuda_unsupported=False):
    devices = _get_fused_kernels_supported_devices()
    if cuda_unsupported:
        devices.remove("cuda")
    if not (p.device.type in devices and p.is_floating_point()):
        raise RuntimeError(
            f"`fused=True` requires all the params to be floating point Tensors of supported devices: {devices} but "
            f"{p.dtype} and {p.device.type}"
        )


def _view_as_real(params, *state_and_grads):
    """Put the pairs of real numbers into the lists in the place of complex parameters and what belongs to them."""
    for i, p in enumerate(params):
        if p.is_complex():
            params[i] = ng.view_as_real(p)
            for tensors in state_and_grads:
                tensors[i] = ng.view_as_real(tensors[i])


class ForSubclasses:
    """Methods of PyTorch's base class that no optimizer here needs."""

    _group_tensors_by_device_and_dtype = staticmethod(_group_tensors_by_device_and_dtype)

    def _accelerator_graph_capture_health_check(self):
        """Nothing to check: no step is captured into a graph of the device."""

    def _cuda_graph_capture_health_check(self):
        warnings.warn("Use _accelerator_graph_capture_health_check instead", DeprecationWarning, stacklevel=2)

    def _optimizer_step_code(self):
        """Where profilers look at an optimizer after its step."""
