"""Moving and converting all tensors of a module."""

import warnings

import numbagrad as ng

from ...base.device import device as _device
from ...base.dtypes import PYTHON_TYPES, scalar_name
from ...base.dtypes import dtype as _dtype
from ...core.tensor import Tensor


def _typename(obj):
    """How error messages name what was given: a tensor's type string, or the dotted name of a class."""
    if isinstance(obj, Tensor):
        return f"torch.{'cuda.' if obj.is_cuda else ''}{scalar_name(obj.dtype)}Tensor"
    cls = obj if isinstance(obj, type) else type(obj)
    module = cls.__module__
    return cls.__qualname__ if module in ("builtins", "__builtin__", None) else f"{module}.{cls.__qualname__}"


overwrite = swap = False  # as ``torch.__future__`` sets them


class _Conversion:
    """The part of Module that changes the device or dtype of its tensors."""

    def _apply(self, fn, recurse=True):
        if recurse:
            for module in self.children():
                module._apply(fn)
        for name, param in self._parameters.items():
            if param is None:
                continue
            grad = param.grad
            with ng.no_grad():
                new_data = fn(param)
                new_grad = None if grad is None else fn(grad)
            if grad is not None:
                new_grad.requires_grad_(grad.requires_grad)
            if swap:
                self._swapped(name, param, new_data)
            elif overwrite:
                param = self._parameters[name] = ng.nn.Parameter(new_data, param.requires_grad)
            else:  # Assigning .data keeps the Parameter object, so an optimizer made earlier still sees it.
                param.data = new_data
            if grad is not None:
                param.grad = new_grad
        for name, buffer in self._buffers.items():
            if buffer is not None:
                self._buffers[name] = fn(buffer)
        return self

    def _swapped(self, name, param, new_data):
        from ...core.swapping import swap_tensors
        grad, param.grad = param.grad, None
        try:
            swap_tensors(param, ng.nn.Parameter(new_data, requires_grad=param.requires_grad))
        except Exception as e:
            param.grad = grad
            raise RuntimeError(f"_apply(): Couldn't swap {self._get_name()}.{name}") from e

    def to(self, *args, **kwargs):
        """Move or convert parameters and buffers: ``to(device)``, ``to(dtype)``, ``to(device, dtype)``, ``to(tensor)``.

        Only floating point (and complex) tensors change dtype; the module changes in place.
        """
        device, dtype, non_blocking = _parse_to(*args, **kwargs)
        if dtype is not None:
            if not (dtype.is_floating_point or dtype.is_complex):
                raise TypeError(
                    "nn.Module.to only accepts floating point or complex dtypes, "
                    f"but got desired dtype={dtype}"
                )
            if dtype.is_complex:
                warnings.warn(
                    "Complex modules are a new feature under active development whose design may change, and some "
                    "modules might not work as expected when using complex tensors as parameters or buffers. Please "
                    "file an issue at https://github.com/pytorch/pytorch/issues/new?template=bug-report.yml if a "
                    "complex module does not work as expected.",
                    stacklevel=2,
                )

        def convert(t):
            wanted = dtype if t.is_floating_point() or t.is_complex() else None
            if device is None:
                return t if wanted is None else t.to(wanted, non_blocking)
            if t.is_meta and _device(device).type != "meta":
                raise NotImplementedError(
                    "Cannot copy out of meta tensor; no data! Please use torch.nn.Module.to_empty() instead of "
                    "torch.nn.Module.to() when moving module from meta to a different device."
                )
            return t.to(device, t.dtype if wanted is None else wanted, non_blocking)

        return self._apply(convert)

    def to_empty(self, *, device, recurse=True):
        """Move to ``device`` without copying the values."""
        return self._apply(lambda t: ng.empty_like(t, device=device), recurse=recurse)

    def cpu(self):
        """Move parameters and buffers to the CPU."""
        return self._apply(lambda t: t.cpu())

    def cuda(self, device=None):
        """Move parameters and buffers to a GPU."""
        return self._apply(lambda t: t.cuda(device))

    def type(self, dst_type):
        """Convert all parameters and buffers to ``dst_type``."""
        return self._apply(lambda t: t.type(dst_type))

    def float(self):
        """Convert floating point parameters and buffers to float32."""
        return self._apply(lambda t: t.float() if t.is_floating_point() else t)

    def double(self):
        """Convert floating point parameters and buffers to float64."""
        return self._apply(lambda t: t.double() if t.is_floating_point() else t)

    def half(self):
        """Convert floating point parameters and buffers to float16."""
        return self._apply(lambda t: t.half() if t.is_floating_point() else t)

    def bfloat16(self):
        """Convert floating point parameters and buffers to bfloat16."""
        return self._apply(lambda t: t.bfloat16() if t.is_floating_point() else t)


def _parse_to(*args, device=None, dtype=None, non_blocking=False, tensor=None, copy=False, memory_format=None):
    """(device, dtype, non_blocking) of the three ways in which ``to`` may be called."""
    args = [PYTHON_TYPES.get(a, a) if a.__class__ is type else a for a in args]
    dtype = PYTHON_TYPES.get(dtype, dtype) if dtype.__class__ is type else dtype
    if args and isinstance(args[0], Tensor):
        tensor = args.pop(0)
    if tensor is not None:
        device, dtype = tensor.device, tensor.dtype
    elif args and isinstance(args[0], _dtype):
        dtype = args.pop(0)
    elif args:
        device = args.pop(0)
        if args and (args[0] is None or isinstance(args[0], _dtype)):
            dtype = args.pop(0)
    if args:
        non_blocking = args.pop(0)
    if args and not isinstance(args[0], bool):
        raise TypeError(f"to() received an invalid combination of arguments - got ({_typename(args[0])})")
    return (None if device is None else _device(device)), dtype, non_blocking
