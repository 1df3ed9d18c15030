"""Generators of random numbers and the state of the default one; the streams are those of PyTorch on the CPU."""

from __future__ import annotations

import contextlib
import importlib
import os

import numpy as np

from .base import arguments
from .base.device import CPU
from .base.device import device as _device
from .base.user_code import warn_once
from .kernel.mt19937 import MT19937
from .kernel.tape import refuse

__all__ = ["Generator", "default_generator", "fork_rng", "get_rng_state", "initial_seed", "manual_seed", "seed",
           "set_rng_state"]


_STATE = "reads or sets the state of a random generator, which replays would not do"


class Generator:
    """A stream of pseudorandom numbers of its own: the Mersenne Twister on the CPU.

    A fresh generator has PyTorch's fixed default seed. Threads may share it: each call that draws takes its numbers
    undivided. Pickling and copying keep the position in the stream."""

    __slots__ = ("engine", "__weakref__")

    def __init__(self, device="cpu"):
        place = CPU if device is None else _device(device)
        if place.type != "cpu":
            raise RuntimeError(f"Cannot get a generator for device {place}: generators exist for the cpu")
        self.engine = MT19937()

    @property
    def device(self):
        """The device whose tensors this generator fills."""
        return CPU

    def manual_seed(self, seed):
        """Restart from ``seed``, an int in [-2^63, 2^64); negative ones count from 2^64 down. Returns the generator."""
        refuse("seeds a random generator, which replays would not do")
        if not isinstance(seed, (int, np.integer)) or isinstance(seed, bool):
            raise RuntimeError(f"manual_seed expected a long, but got {type(seed).__name__}")
        if not -(1 << 63) <= seed < 1 << 64:
            raise ValueError("Overflow when unpacking long long")
        self.engine.seed(int(seed) % (1 << 64))
        return self

    def seed(self):
        """Restart from 64 bits of the operating system's entropy and return them."""
        refuse(_STATE)
        value = int.from_bytes(os.urandom(8), "little")
        self.engine.seed(value)
        return value

    def initial_seed(self):
        """The seed that this stream was started from."""
        refuse(_STATE)
        return self.engine.initial_seed

    def get_state(self):
        """The state as a uint8 tensor of 5056 bytes in PyTorch's layout."""
        refuse(_STATE)
        from . import from_numpy
        return from_numpy(self.engine.get_state())

    def set_state(self, new_state):
        """Continue from a state that ``get_state`` returned, here or in PyTorch."""
        refuse("sets the state of a random generator, which replays would not do")
        self.engine.set_state(_state_bytes(new_state))

    def clone_state(self):
        """A new generator at the same place of the same stream."""
        other = Generator()
        other.engine.set_state(self.engine.get_state())
        return other

    def get_offset(self):
        """CPU generators have no offset: RuntimeError."""
        raise RuntimeError("CPU Generator does not use offset")

    def set_offset(self, offset):
        """CPU generators have no offset: RuntimeError."""
        raise RuntimeError("CPU Generator does not use offset")

    def __reduce__(self):
        return Generator, (self.device,), self.engine.get_state().tobytes()

    def __setstate__(self, state):
        self.engine.set_state(np.frombuffer(state, np.uint8))


def _state_bytes(state):
    from . import Tensor
    if not isinstance(state, Tensor):
        raise TypeError(f"expected a torch.ByteTensor, but got {type(state).__name__}")
    if state.device.type != "cpu":
        raise TypeError("RNG state must be a torch.ByteTensor")
    return state.detach().numpy()


default_generator = Generator()


def _check_generator(value, name, argument, position):
    """A random generator."""
    if not isinstance(value, Generator):
        raise arguments.wrong(value, "torch.Generator", name, argument, position)
    return value


arguments.add_kind("generator", _check_generator)
default_generator.seed()


def engine_of(generator=None):
    """The stream behind ``generator``, or behind the default generator; what the ``fill_*`` kernels take."""
    if generator is None:
        return default_generator.engine
    if not isinstance(generator, Generator):
        raise TypeError(f"expected a Generator, but got {type(generator).__name__}")
    return generator.engine


def _cuda():
    """The package's CUDA module, or None where it has none."""
    name = f"{__package__}.cuda"
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        return None


def manual_seed(seed):
    """Seed the default generator of every device; returns the CPU one."""
    seed = int(seed)
    default_generator.manual_seed(seed)
    cuda = _cuda()
    if cuda is not None:
        cuda.manual_seed_all(seed)
    return default_generator


def seed():
    """Seed the default generator of every device with one number nobody can foretell, and return it."""
    value = default_generator.seed()
    cuda = _cuda()
    if cuda is not None:
        cuda.manual_seed_all(value)
    return value


def initial_seed():
    """The seed of the default CPU generator."""
    return default_generator.initial_seed()


def get_rng_state():
    """The state of the default CPU generator, a uint8 tensor."""
    return default_generator.get_state()


def set_rng_state(new_state):
    """Put the default CPU generator into a state that ``get_rng_state`` returned."""
    default_generator.set_state(new_state)


@contextlib.contextmanager
def fork_rng(devices=None, enabled=True, _caller="fork_rng", _devices_kw="devices", device_type=None):
    """Put the generators back to their present state when the block ends.

    The CPU generator always; with it those of the CUDA ``devices`` (default: all). ``enabled=False`` does nothing."""
    if device_type == "meta" or not enabled:
        yield
        return
    if device_type not in (None, "cpu", "cuda"):
        raise RuntimeError(f"torch has no module of `{device_type}`, you should register a module by "
                           "`torch._register_device_module`.")
    cuda = None if device_type == "cpu" else _cuda()
    if devices is None:
        count = 0 if cuda is None else cuda.device_count()
        if count > 1:
            warn_once(f"{count} CUDA devices are available and {_caller} was not told which ones to save, so it "
                      f"saves the state of all of them, which is slow. Give '{_devices_kw}', for example [0] or "
                      "[] for the CPU alone, to save fewer.")
        devices = range(count)
    devices = list(devices)
    if devices and cuda is None:
        raise RuntimeError(f"{_caller} cannot save the random number state of devices {devices}: no CUDA is available")
    saved = default_generator.engine.get_state()
    saved_devices = [(index, cuda.get_rng_state(index)) for index in devices]
    try:
        yield
    finally:
        default_generator.engine.set_state(saved)
        for index, state in saved_devices:
            cuda.set_rng_state(state, index)
