"""``torch.distributed`` as in a program that made no process group: it says so, and training is in one process."""

import enum

__all__ = ["ReduceOp", "get_rank", "get_world_size", "group", "init_process_group", "is_available", "is_initialized"]


class ReduceOp(enum.Enum):
    """What would be done with the tensors of all processes."""

    SUM, AVG, PRODUCT, MIN, MAX, BAND, BOR, BXOR = range(8)


class ProcessGroup:
    """The class that ``isinstance`` asks for; no object is one."""


class group:
    """Names of process groups."""

    WORLD = None


class GroupMember:
    """The same under older names."""

    WORLD = NON_GROUP_MEMBER = None


def is_available():
    """False: there are no process groups."""
    return False


is_initialized = is_torchelastic_launched = is_nccl_available = is_gloo_available = is_mpi_available = is_available
is_ucc_available = is_xccl_available = is_available


def init_process_group(*args, **kwargs):
    """Refused: there are no process groups."""
    raise RuntimeError("torch.distributed.init_process_group: numbagrad has no process groups; train in one process, or give "
                       "multiprocessing the parts of the work")


def _without_group(*args, **kwargs):
    """Refused, as by PyTorch before ``init_process_group``."""
    raise ValueError("Default process group has not been initialized, please make sure to call init_process_group.")


get_rank = get_world_size = get_backend = new_group = barrier = all_reduce = all_gather = broadcast = reduce = _without_group
all_gather_object = all_gather_into_tensor = all_to_all = broadcast_object_list = gather = scatter = _without_group
reduce_scatter = _without_group
all_to_all_single = batch_isend_irecv = get_global_rank = get_process_group_ranks = _without_group
gather_object = scatter_object_list = reduce_scatter_tensor = monitored_barrier = send = recv = isend = irecv = _without_group


def destroy_process_group(group=None):
    """Refused: there is none."""
    raise AssertionError("Process group cannot be None")


def __getattr__(name):
    import importlib
    if name in ("device_mesh", "fsdp", "nn", "optim", "stores", "tensor"):
        return importlib.import_module("." + name, __name__)
    if name in ("DeviceMesh", "init_device_mesh"):
        return getattr(importlib.import_module(".device_mesh", __name__), name)
    stores = importlib.import_module(".stores", __name__)
    if name in stores.__all__:
        globals()[name] = getattr(stores, name)
        return globals()[name]
    raise AttributeError(f"module '{__name__}' has no attribute '{name}' (torch.distributed.{name} is not available here)")
