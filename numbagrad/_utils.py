"""``torch._utils``: parts of PyTorch that packages take from there."""

from __future__ import annotations

import numbagrad as ng

from .base.device import device as _device
from .core.storages import TypedStorage
from .nn.parameter import Parameter
from .saving.rebuild import rebuild_parameter_with_state

__all__ = []


def _element_size(dtype):
    """Bytes of an element."""
    return dtype.itemsize


def _get_device_index(device, optional=False, allow_cpu=False):
    """The index of a device given as a number, text or device; of the current one for None."""
    if isinstance(device, int):
        return device
    device = _device(device) if isinstance(device, str) else device
    if isinstance(device, _device):
        if device.type == "cpu" and not allow_cpu:
            raise ValueError(f"Expected a non cpu device, but got: {device}")
        if device.index is not None or device.type == "cpu":
            return -1 if device.type == "cpu" else device.index
    if not optional:
        raise ValueError(f"Expected a torch.device with a specified index or an integer, but got:{device}")
    return ng.cuda.current_device() if ng.cuda.is_available() else -1


# --- tensors made of their parts -------------------------------------------------------------------------------------------

def _rebuild_tensor(storage, storage_offset, size, stride):
    """The tensor of a geometry on a storage with a dtype."""
    memory = storage._untyped_storage if isinstance(storage, TypedStorage) else storage
    return ng.empty(0, dtype=storage.dtype, device=memory.device).set_(memory, storage_offset, size, stride)


def _rebuild_tensor_v2(storage, storage_offset, size, stride, requires_grad, backward_hooks, metadata=None):
    """The same as a leaf, with its hooks."""
    made = _rebuild_tensor(storage, storage_offset, size, stride).requires_grad_(requires_grad)
    made._backward_hooks = backward_hooks
    return made


def _rebuild_parameter(data, requires_grad, backward_hooks):
    """A parameter on the memory of a tensor."""
    made = Parameter(data, requires_grad)
    made._backward_hooks = backward_hooks
    return made


_rebuild_parameter_with_state = rebuild_parameter_with_state


# --- many tensors as one ---------------------------------------------------------------------------------------------------

def _flatten_dense_tensors(tensors):
    """The elements of all tensors in one row."""
    return ng.cat([t.contiguous().view(-1) for t in tensors])


def _unflatten_dense_tensors(flat, tensors):
    """Parts of a row as views of the shapes of these tensors."""
    parts = flat.split([t.numel() for t in tensors])
    return tuple([part.view(t.shape) for part, t in zip(parts, tensors)])


def _take_tensors(tensors, size_limit):
    """Groups of one dtype, each of at most ``size_limit`` bytes if it has more than one tensor."""
    groups = {}
    for t in tensors:
        group, size = groups.get(t.type(), ([], 0))
        more = t.numel() * t.element_size()
        if size + more > size_limit and size > 0:
            yield group
            group, size = [], 0
        group.append(t)
        groups[t.type()] = group, size + more
    for group, _ in groups.values():
        if group:
            yield group


def _reorder_tensors_as(tensors, ordered_tensors):
    """The tensors in the order in which their types are met in the others."""
    by_type = {}
    for t in tensors:
        by_type.setdefault(t.type(), []).append(t)
    each = {kind: iter(group) for kind, group in by_type.items()}
    return tuple([next(each[t.type()]) for t in ordered_tensors])
