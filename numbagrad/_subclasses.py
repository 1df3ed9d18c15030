"""``torch._subclasses``: what packages ask about fake tensors; here tensors without memory are those of the meta device."""

import sys
import types

from .core.tensor import Tensor

__all__ = ["FakeTensor", "FakeTensorMode"]
__path__: list = []  # what lies below is in sys.modules


class FakeTensor(Tensor):
    """The class that ``isinstance`` asks for; no tensor is one."""

    def __new__(cls, *args, **kwargs):
        raise NotImplementedError("torch._subclasses.FakeTensor is not available here; use the meta device")


class FakeTensorMode:
    """Refused: tensors without memory are those of the meta device."""

    def __init__(self, **kwargs):
        raise NotImplementedError("torch._subclasses.FakeTensorMode is not available here; use torch.device('meta')")


fake_tensor = types.ModuleType(__name__ + ".fake_tensor", "The same, and whether a value is a fake tensor.")
fake_tensor.FakeTensor, fake_tensor.FakeTensorMode = FakeTensor, FakeTensorMode
fake_tensor.is_fake = lambda x: False
sys.modules[fake_tensor.__name__] = fake_tensor
