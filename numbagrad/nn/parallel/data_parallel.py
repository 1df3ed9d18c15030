"""A module over the devices of this machine, each working on a part of the batch."""

import numbagrad as ng

from ..modules.module import Module
from .apply import parallel_apply
from .devices import _index, gather, replicate, scatter

__all__ = ["DataParallel", "data_parallel"]


def _all_devices():
    return list(range(ng.cuda.device_count())) if ng.cuda.is_available() else []


def _check_place(module, index):
    home = ng.device("cuda", index)
    for t in (*module.parameters(), *module.buffers()):
        if t.device != home:
            raise RuntimeError(
                f"module must have its parameters and buffers on device {home} (device_ids[0]) but found one of them "
                f"on device: {t.device}"
            )


def _run(module, inputs, kwargs, device_ids, output_device, dim):
    parts = list(zip(scatter(inputs, device_ids, dim), scatter(kwargs, device_ids, dim), strict=True))
    if len(device_ids) == 1:
        return module(*parts[0][0], **parts[0][1])
    replicas = replicate(module, device_ids, not ng.is_grad_enabled())
    outputs = parallel_apply(replicas, [p[0] for p in parts], [p[1] for p in parts], device_ids)
    return gather(outputs, output_device, dim)


class DataParallel(Module):
    """Runs ``module`` on each of several GPUs with a part of the batch; without a GPU it calls the module as it is.

    The module is the attribute, and the prefix of the ``state_dict``, "module".
    """

    def __init__(self, module, device_ids=None, output_device=None, dim=0):
        super().__init__()
        found = _all_devices()
        self.module = module
        if not found:
            self.device_ids = []
            return
        self.dim = dim
        self.device_ids = [_index(device) for device in (found if device_ids is None else device_ids)]
        self.output_device = _index(self.device_ids[0] if output_device is None else output_device)
        self.src_device_obj = ng.device("cuda", self.device_ids[0])
        if len(self.device_ids) == 1:
            self.module.to(self.src_device_obj)

    def forward(self, *inputs, **kwargs):
        if not self.device_ids:
            return self.module(*inputs, **kwargs)
        _check_place(self.module, self.device_ids[0])
        return _run(self.module, inputs, kwargs, self.device_ids, self.output_device, self.dim)


def data_parallel(module, inputs, device_ids=None, output_device=None, dim=0, module_kwargs=None):
    """One call of a module over several GPUs."""
    inputs = inputs if isinstance(inputs, tuple) else () if inputs is None else (inputs,)
    found = _all_devices()
    if not found:
        raise RuntimeError("device type could not be determined")
    device_ids = [_index(device) for device in (found if device_ids is None else device_ids)]
    output_device = _index(device_ids[0] if output_device is None else output_device)
    _check_place(module, device_ids[0])
    return _run(module, inputs, module_kwargs or {}, device_ids, output_device, dim)
