"""``custom_op``: a Python function as an operator, and what may be registered for it."""

from __future__ import annotations

import contextlib
import functools
import logging
import warnings

from ..base.device import device as Device
from .infer import Tag, infer_schema, tags_of
from .operators import Operator, enter, parts
from .schema import parse

DEFINED: dict = {}  # full name -> CustomOpDef
log = logging.getLogger(__name__)


def custom_op(name, fn=None, /, *, mutates_args, device_types=None, schema=None, tags=None):
    """Make a function an operator, whose inside autograd, ``vmap`` and ``compile`` do not look into."""
    def inner(fn):
        text = infer_schema(fn, mutates_args=mutates_args, tags=tags) if schema is None else schema
        namespace, opname, _ = parts(name)
        made = CustomOpDef(namespace, opname, text, fn, tags)
        if schema is not None:
            written = {a.name for a in made._opoverload._schema.arguments if a.is_write}
            if written != set(mutates_args):
                raise ValueError(f"Attempted to create a custom op with `mutates_args={mutates_args}` and `schema={schema}. "
                                 f"The schema suggests that the op mutates {written}which is different from what was provided "
                                 "to us in `mutates_args`. Please make these consistent.")
        made.register_kernel(device_types)(fn)
        return made
    return inner if fn is None else inner(fn)


class CustomOpDef:
    """A function that ``custom_op`` made an operator."""

    def __init__(self, namespace, name, schema, fn, tags=None):
        self._namespace, self._name, self._schema, self._tags = namespace, name, schema, tags_of(tags)
        self._init_fn, self._disabled_kernel, self._backend_fns = fn, set(), {}
        parsed = parse(f"{name}{schema}")
        if Tag.out not in self._tags and any([a.kwarg_only and a.of_tensors for a in parsed.arguments]):
            raise NotImplementedError("custom_op with kwarg-only Tensor args. Please make your tensors not kwarg-only. Got: "
                                      f"{name}{schema}")
        parsed.name = f"{namespace}::{name}"
        self._opoverload = enter(Operator(namespace, name, "default", parsed, self._tags), again=True)
        self._opoverload.owner = self
        self._opoverload.check = self._returned if {Tag.inplace, Tag.out} & set(self._tags) else None
        DEFINED[self._qualname] = self

    @property
    def _qualname(self):
        return f"{self._namespace}::{self._name}"

    def __repr__(self):
        return f"<CustomOpDef({self._qualname})>"

    def __call__(self, *args, **kwargs):
        return self._opoverload(*args, **kwargs)

    def _returned(self, result, args, kwargs):
        """RuntimeError unless an operator that writes to arguments returns these."""
        if Tag.inplace in self._tags:
            if result is not args[0]:
                raise RuntimeError(f"{self._name}: An operator tagged with torch.Tag.inplace must return its first argument.")
            return
        outs = [kwargs[a.name] for a in self._opoverload._schema.arguments if a.is_write]
        given = result if isinstance(result, tuple) else (result,)
        if len(given) != len(outs) or any([g is not o for g, o in zip(given, outs)]):
            raise RuntimeError(f"{self._name}: An operator tagged with torch.Tag.out must return its mutable keyword-only "
                               "arguments.")

    @contextlib.contextmanager
    def set_kernel_enabled(self, device_type, enabled=True):
        """Inside, the kernel of a type of device is used, or the function that was decorated in its place."""
        before = device_type in self._disabled_kernel
        if device_type not in self._backend_fns:
            log.warning("Attempted to %s kernel for %s but no kernel was registered for this device type.",
                        "enable" if enabled else "disable", device_type)
        if enabled is not before:
            log.warning("Attempted to %s kernel for %s but it was already %s.", *(
                ("enable", device_type, "enabled") if enabled else ("disable", device_type, "disabled")))
        (self._disabled_kernel.discard if enabled else self._disabled_kernel.add)(device_type)
        try:
            yield
        finally:
            (self._disabled_kernel.add if before else self._disabled_kernel.discard)(device_type)

    def register_kernel(self, device_types, fn=None, /):
        """Let a function run for tensors on types of devices; None is for all that have none of their own."""
        arguments = self._opoverload._schema.arguments
        if device_types is not None and not any([a.of_tensors for a in arguments]) and not any(
                [a.type == "Device" for a in arguments]):
            raise ValueError("Functions without tensor inputs are required to have a `device: torch.device` argument")

        def inner(fn):
            for device in [device_types] if device_types is None or isinstance(device_types, str) else device_types:
                @functools.wraps(fn)
                def chosen(*args, _device=device, **kwargs):
                    return (self._init_fn if _device in self._disabled_kernel else fn)(*args, **kwargs)
                self._backend_fns[device] = self._opoverload.kernels[device] = chosen
            return fn
        return inner if fn is None else inner(fn)

    def register_fake(self, fn, /):
        """Let a function say what results are, without values: for tensors on the meta device, and in ``compile``."""
        tag = next((t for t in self._tags if t in (Tag.inplace, Tag.out)), None)
        if tag is not None:
            warnings.warn(f"The fake registration for {self} is unnecessary. Custom ops tagged with torch.{tag} already get an "
                          "autogenerated fake kernel. The provided fake impl will be used instead.", stacklevel=2)
        self._opoverload.set_fake(fn)
        return fn

    def register_autograd(self, backward, /, *, setup_context=None):
        """Let ``backward(ctx, *grads)`` give the gradients, of what ``setup_context(ctx, inputs, output)`` kept."""
        set_autograd(self._opoverload, self, backward, setup_context)

    def register_vmap(self, func=None):
        """Let ``func(info, in_dims, *args)`` do a batch of calls; it returns (output, out_dims)."""
        def register(func):
            self._opoverload.batch = func
        return register if func is None else register(func)

    def register_autocast(self, device_type, cast_inputs):
        """In regions of autocast on a type of device, take floating-point tensors in this dtype."""
        set_autocast(self._opoverload, device_type, cast_inputs)

    def register_torch_dispatch(self, torch_dispatch_class, fn=None, /):
        """Refused: there is no ``__torch_dispatch__``."""
        raise NotImplementedError(f"{self}: numbagrad has no __torch_dispatch__, for which register_torch_dispatch() is; a "
                                  "class may define __torch_function__")

    def register_effect(self, effect):
        """Nothing: calls keep their order."""


def set_autograd(op, shown, backward, setup_context):
    """Register the gradient of an operator that writes to none of its arguments."""
    if Tag.out in op.tags:
        raise RuntimeError(f"Cannot register autograd formula for operator tagged with torch.Tag.out: {shown}. Out variants do "
                           "not support autograd.")
    if op._schema.is_mutable:
        raise RuntimeError(f"Cannot register autograd formula for non-functional operator {shown} with schema {op._schema}. "
                           "Please create a functional operator and register an autograd formula for that.")
    if any([a.kwarg_only and a.of_tensors for a in op._schema.arguments]):
        raise NotImplementedError("register_autograd with kwarg-only Tensor args. In the original definition of the op, please "
                                  f"make your tensors not kwarg-only. Got: {op._schema}")
    op.backward, op.setup = backward, setup_context


def set_autocast(op, device_type, cast_inputs):
    """Register the dtype in which an operator takes its arguments."""
    if not isinstance(device_type, str):
        raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
    if Device(device_type).type not in ("cpu", "cuda"):
        raise ValueError(f"Device type '{device_type}' does not support autocast.")
    op.casts.setdefault(device_type, cast_inputs)
