"""``numbagrad.cuda``: devices, memory, seeds and synchronisation, with PyTorch's names.

Nothing here loads a CUDA package before a function needs one; seeding and statistics work without.
"""

from __future__ import annotations

import os
import warnings
from collections import OrderedDict

from ..kernel import cuda as _backend
from ..kernel.cuda import generator as _generator
from ._index import _index

CudaUnavailable = _backend.CudaUnavailable


def is_available():
    """Whether a CUDA device can be used (or the simulator, where it was asked for)."""
    return _backend.available()


def why_not():
    """Why CUDA is not available, in one sentence; None when it is."""
    return _backend.why_not()


def is_initialized():
    """Whether a CUDA device has been used in this process."""
    from ..kernel.cuda import launch
    return launch._target is not None


def init():
    """Find the devices now rather than at first use."""
    _backend.target()


def device_count():
    """Number of CUDA devices."""
    return _backend.device_count()


def current_device():
    """Index of this thread's current device."""
    return _backend.current_device()


def set_device(device):
    """Make ``device`` this thread's current one; a negative index changes nothing."""
    index = _index(device, optional=False)
    if index >= 0:
        _backend.set_device(index)


class device:
    """``with cuda.device(1):`` makes a device current within the block; None or a negative index changes nothing."""

    def __init__(self, device):
        self.idx = -1 if device is None else _index(device)
        self.prev_idx = -1

    def __enter__(self):
        if self.idx >= 0:
            self.prev_idx = _backend.current_device()
            _backend.set_device(self.idx)
        return self

    def __exit__(self, *exc):
        if self.prev_idx >= 0:
            _backend.set_device(self.prev_idx)
        return False


class device_of(device):
    """``with cuda.device_of(t):`` makes the device of a tensor current; CPU tensors change nothing."""

    def __init__(self, obj):
        super().__init__(obj.get_device() if obj.is_cuda else -1)


def get_device_name(device=None):
    """Name of a device."""
    return _backend.device_name(_index(device))


def get_device_capability(device=None):
    """Compute capability of a device: (major, minor)."""
    return _backend.target().capability(_index(device))


def is_bf16_supported(including_emulation=True):
    """Whether there is a device, which computes in bfloat16, if need be by float32."""
    return is_available() and (including_emulation or get_device_capability()[0] >= 8)


def synchronize(device=None):
    """Wait for all work on a device."""
    _backend.synchronize(_index(device))


# --- memory ----------------------------------------------------------------------------------------------------------

def memory_allocated(device=None):
    """Bytes that tensors hold on a device; 0 before anything was allocated."""
    return _backend.allocated(_index(device)) if is_initialized() else 0


def max_memory_allocated(device=None):
    """The most bytes that tensors have held on a device."""
    return _backend.peak(_index(device)) if is_initialized() else 0


def reset_peak_memory_stats(device=None):
    """Let ``max_memory_allocated`` start again from the present."""
    if is_initialized():
        _backend.reset_peak(_index(device))


def empty_cache():
    """Give unused memory of the pools back to the driver."""
    if is_initialized():
        for i in range(_backend.device_count()):
            _backend.target().trim(i)


def memory_reserved(device=None):
    """Bytes that the pools of a device hold; here they keep none that tensors do not."""
    return memory_allocated(device)


def max_memory_reserved(device=None):
    """The most bytes that the pools of a device have held."""
    return max_memory_allocated(device)


def reset_max_memory_allocated(device=None):
    """``reset_peak_memory_stats`` under an older name."""
    warnings.warn("torch.cuda.reset_max_memory_allocated now calls torch.cuda.reset_peak_memory_stats, which resets /all/ peak "
                  "memory stats.", FutureWarning, stacklevel=2)
    reset_peak_memory_stats(device)


def memory_stats(device=None):
    """Bytes that tensors hold and have held, by PyTorch's names; nothing before anything was allocated."""
    if not is_initialized():
        return OrderedDict()
    now, most = memory_allocated(device), max_memory_allocated(device)
    return OrderedDict((f"{what}_bytes.all.{when}", n) for what in ("allocated", "active", "reserved")
                       for when, n in (("current", now), ("peak", most)))


def is_current_stream_capturing():
    """False: there are no graphs of calls."""
    return False


def get_arch_list():
    """None: kernels are compiled for the device that is there."""
    return []


def ipc_collect():
    """Nothing: memory of devices is not shared by processes."""


def is_tf32_supported():
    """False: products are computed in the precision of their operands."""
    return False


# --- random numbers --------------------------------------------------------------------------------------------------

def manual_seed(seed):
    """Seed the generator of the current device; without CUDA it takes effect should a device be used later."""
    _generator.seed(_backend.current_device() if is_initialized() else 0, int(seed) % (1 << 64))


def manual_seed_all(seed):
    """Seed the generators of all devices; without CUDA it takes effect should a device be used later."""
    _generator.seed_all(int(seed) % (1 << 64))


def seed():
    """Seed the generator of the current device with a number nobody can foretell."""
    manual_seed(int.from_bytes(os.urandom(8), "little"))


def seed_all():
    """Seed the generators of all devices with one number nobody can foretell."""
    manual_seed_all(int.from_bytes(os.urandom(8), "little"))


def initial_seed():
    """The seed of the current device's generator."""
    return _generator.state(_backend.current_device())[0]


def get_rng_state(device="cuda"):
    """State of a device's generator, a uint8 tensor on the CPU."""
    from .. import from_numpy
    return from_numpy(_generator.to_bytes(_index(device)).copy())


def set_rng_state(new_state, device="cuda"):
    """Put a device's generator into a state that ``get_rng_state`` returned."""
    from ..random import _state_bytes
    _generator.from_bytes(_index(device), _state_bytes(new_state))


def get_rng_state_all():
    """States of all devices' generators."""
    return [get_rng_state(i) for i in range(device_count())]


def set_rng_state_all(new_states):
    """Put the generators of all devices into the given states."""
    for i, s in enumerate(new_states):
        set_rng_state(s, i)


def __getattr__(name):
    """``cuda.amp``, streams, ``cuda.FloatTensor`` and its kin; without a device these say so when they are called."""
    if name == "amp":
        import importlib
        return importlib.import_module(".amp", __name__)
    if name in _STREAMS:
        from . import streams
        return getattr(streams, name)
    if name == "OutOfMemoryError":
        from ..base.errors import OutOfMemoryError
        return OutOfMemoryError
    from ..core import legacy
    found = legacy.named(name, cuda=True)
    if found is None:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}' (torch.cuda.{name} is not available here)")
    return found


_STREAMS = ("CUDAGraph", "Event", "Stream", "StreamContext", "current_stream", "default_stream", "get_device_properties",
            "graph", "set_stream", "stream")
default_generators = ()  # (those of devices are set by ``manual_seed``)
