"""``FloatTensor`` and its kin: types that make tensors of one dtype, and that ``isinstance`` and ``Tensor.type`` take."""

from __future__ import annotations

from ..base import dtypes as dt
from ..base.device import device as Device
from . import creation
from .tensor import Size, Tensor


class TensorType(type):
    """The type of tensors of one dtype on one kind of device."""

    is_sparse = False
    layout = "torch.strided"

    def __call__(cls, *args, device=None):
        place = "cuda" if cls.is_cuda else "cpu"
        if not available(cls):
            raise TypeError(unavailable(cls))
        if device is not None and Device(device).type != place:
            raise RuntimeError(f"legacy constructor expects device type: {place} but device type: {Device(device).type} was "
                               "passed")
        where = {"dtype": cls.dtype, "device": place if device is None else device}
        first = args[0] if len(args) == 1 else None
        if isinstance(first, Tensor):
            if first._kind.dtype is not cls.dtype:
                raise TypeError(f"expected {cls.__module__}.{cls.__name__} (got {first.type()})")
            return first.detach()
        if not args or isinstance(first, Size) or all([isinstance(a, int) for a in args]):
            return creation.empty(tuple(first) if isinstance(first, Size) else args or (0,), **where)
        if hasattr(first, "_untyped_storage"):
            return creation.empty((0,), **where).set_(first)
        if isinstance(first, (str, bytes)):
            raise TypeError(f"new(): invalid data type '{type(first).__name__}'")
        if not hasattr(first, "__len__") or len(args) > 1:
            raise TypeError(f"new(): data must be a sequence (got {type(args[0]).__name__})")
        return creation.tensor(first if hasattr(first, "dtype") else list(first), **where)

    def __instancecheck__(cls, instance):
        return isinstance(instance, Tensor) and instance._kind.dtype is cls.dtype and instance._kind.cpu is not cls.is_cuda


def available(cls):
    """Whether there is a device for tensors of a type."""
    if not cls.is_cuda:
        return True
    from ..kernel import cuda
    return cuda.available()


def unavailable(cls):
    return f"type torch.cuda.{cls.__name__} not available. Torch not compiled with CUDA enabled."


NAMES = {name + "Tensor": dt.BY_NAME[of] for of, name in dt.CLASS_NAMES.items() if not dt.BY_NAME[of].is_complex}


def named(name, cuda=False):
    """The type of this name, which is made when it is first asked for; None if there is none."""
    if name not in NAMES:
        return None
    key = cuda, name
    if key not in _made:
        _made[key] = TensorType(name, (), {"dtype": NAMES[name], "is_cuda": cuda,
                                           "__module__": "torch.cuda" if cuda else "torch"})
    return _made[key]


_made: dict = {}


def __getattr__(name):
    found = named(name)
    if found is None:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return found


def set_default_tensor_type(t, /):
    """Let new floating-point tensors have the dtype, and the device, of a type or of its name; deprecated in PyTorch."""
    if isinstance(t, str):
        module, _, name = t.rpartition(".")
        found = named(name, module == "torch.cuda") if module in ("torch", "torch.cuda") else None
        if found is None and not module.startswith("torch"):
            raise ModuleNotFoundError(f"No module named '{module or t}'", name=module or t)
        if found is None:
            raise AttributeError(f"module '{module}' has no attribute '{name}'")
        t = found
    if not isinstance(t, TensorType):
        raise TypeError("invalid type object: only floating-point types are supported as the default type")
    if not t.dtype.is_floating_point:
        raise TypeError("only floating-point types are supported as the default type")
    if not available(t):
        raise TypeError(unavailable(t))
    from ..base.device import set_default_device
    dt.set_default_dtype(t.dtype)
    if t.is_cuda:
        set_default_device("cuda")
