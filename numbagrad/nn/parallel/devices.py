"""Batches cut over devices and put together again."""

import numbagrad as ng

from ...core.tensor import Tensor

__all__ = ["gather", "replicate", "scatter"]


def _mapped(fn, value):
    """``value`` with ``fn`` of every tensor in it."""
    if isinstance(value, Tensor):
        return fn(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*[_mapped(fn, item) for item in value])
    if isinstance(value, (list, tuple)):
        return type(value)(_mapped(fn, item) for item in value)
    if isinstance(value, dict):
        return type(value)((key, _mapped(fn, item)) for key, item in value.items())
    return value


def _index(device):
    if isinstance(device, int):
        return device
    device = ng.device(device)
    return ng.cuda.current_device() if device.index is None else device.index


def scatter(inputs, target_gpus, dim=0):
    """The tensors in ``inputs`` cut along ``dim`` into one part for each device, as a tuple of such inputs."""
    targets = [ng.device("cuda", _index(gpu)) for gpu in target_gpus]

    def part(i):
        def cut(t):
            return t.chunk(len(targets), dim)[i].to(targets[i])

        return _mapped(cut, inputs)

    return tuple(part(i) for i in range(len(targets)))


def gather(outputs, target_device, dim=0):
    """The results of several devices put together along ``dim`` on one."""
    first = outputs[0]
    if isinstance(first, Tensor):
        if not all(t.is_cuda for t in outputs):
            raise AssertionError("Gather function not implemented for CPU tensors")
        target = ng.device("cuda", target_device) if isinstance(target_device, int) else target_device
        return ng.cat([t.to(target) for t in outputs], dim)
    if first is None:
        return None
    if isinstance(first, dict):
        return type(first)((key, gather([d[key] for d in outputs], target_device, dim)) for key in first)
    return type(first)(gather(group, target_device, dim) for group in zip(*outputs, strict=True))


def replicate(network, devices, detach=False):
    """A copy of the network on each device, which computes with the parameters of the first."""
    if not devices:
        return []
    if not all(t.is_cuda for t in network.parameters()):
        raise AssertionError("Broadcast function not implemented for CPU tensors")
    targets = [ng.device("cuda", _index(device)) for device in devices]
    return [_replica(network, target, detach, {}) for target in targets]


def _replica(module, target, detach, known):
    made = known.get(id(module))
    if made is None:
        made = known[id(module)] = module._replicate_for_data_parallel()
        for name, child in module._modules.items():
            made._modules[name] = None if child is None else _replica(child, target, detach, known)
        for name, parameter in module._parameters.items():
            if parameter is None:
                made._parameters[name] = None
            else:
                made.__dict__[name] = (parameter.detach() if detach else parameter).to(target)
        for name, buffer in module._buffers.items():
            made._buffers[name] = None if buffer is None else buffer.to(target)
    return made
