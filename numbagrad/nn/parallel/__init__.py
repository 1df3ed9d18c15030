"""Modules over several devices, as far as there are any."""

from .apply import parallel_apply
from .data_parallel import DataParallel, data_parallel
from .devices import gather, replicate, scatter

__all__ = ["DataParallel", "DistributedDataParallel", "data_parallel", "gather", "parallel_apply", "replicate", "scatter"]


class DistributedDataParallel:
    """Training in several processes, for which there is no process group here: making one is refused as PyTorch does."""

    def __init__(self, module, *args, **kwargs):
        raise ValueError(
            "Default process group has not been initialized, please make sure to call init_process_group."
        )
