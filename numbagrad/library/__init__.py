"""``torch.library``: operators of the user's own, which autograd, ``vmap`` and ``compile`` take as one call."""

from __future__ import annotations

import re

from .definition import DEFINED, CustomOpDef, custom_op, set_autocast, set_autograd
from .infer import Tag, infer_schema, tags_of
from .opcheck import opcheck
from .operators import KEYS, Operator, enter, look_up, parts
from .schema import parse

__all__ = ["Library", "impl", "define", "fallthrough_kernel", "impl_abstract", "register_autocast", "register_fake",
           "register_torch_dispatch", "register_vmap", "get_ctx", "get_kernel", "custom_op", "triton_op", "wrap_triton",
           "infer_schema"]
NAMELESS = re.compile(r"\(.*\) -> .*")
# Names by position: ``Library.impl`` and others take a dispatch key, or a type of device, or nothing.
DEVICES = {"cpu": "CPU", "cuda": "CUDA", "meta": "Meta", "default": "CompositeExplicitAutograd"}


def fallthrough_kernel():
    """What ``Library.impl`` is given for a key that has nothing to do."""
    raise NotImplementedError("fallthrough_kernel() should never be called.")


class Library:
    """Operators of a namespace, defined by schemas."""

    def __init__(self, ns, kind, dispatch_key=""):
        if kind not in ("IMPL", "DEF", "FRAGMENT"):
            raise ValueError(f"Unsupported kind: {kind}")
        if ns == "prim" and kind != "IMPL":
            raise ValueError(f"{ns} is a reserved namespace. Please try creating a library with another name.")
        if ns == "aten":
            raise NotImplementedError("torch.library.Library('aten', ...): numbagrad has no dispatcher in which operators of "
                                      "PyTorch could be replaced; define one in a namespace of your own")
        self.ns, self.kind, self.dispatch_key = ns, kind, dispatch_key

    def __repr__(self):
        return f"Library(kind={self.kind}, ns={self.ns}, dispatch_key={self.dispatch_key})>"

    def define(self, schema, alias_analysis="", *, tags=()):
        """Define an operator by its schema; returns its name."""
        if alias_analysis not in ("", "FROM_SCHEMA", "CONSERVATIVE"):
            raise RuntimeError(f"Invalid alias_analysis type {alias_analysis}")
        parsed = parse(schema)
        name, _, overload = parsed.name.partition(".")
        parsed.name = f"{self.ns}::{parsed.name}"
        enter(Operator(self.ns, name, overload or "default", parsed, tags_of(tags)))
        return schema.split("(")[0]

    def impl(self, op_name, fn, dispatch_key="", *, with_keyset=False, allow_override=False):
        """Let a function run for a dispatch key."""
        if not callable(fn):
            raise TypeError(f"Input function is required to be a callable but found type {type(fn)}")
        key = dispatch_key or self.dispatch_key or "CompositeImplicitAutograd"
        name = op_name if isinstance(op_name, str) else op_name.name()
        op = look_up(name if "::" in name else f"{self.ns}::{name}")
        if key not in KEYS or with_keyset or fn is fallthrough_kernel:
            raise NotImplementedError(f"torch.library: numbagrad has no dispatch key {key}; there are {', '.join(KEYS)}. "
                                      "register_autograd(), register_vmap() and register_autocast() do what others are for")
        device = KEYS[key]
        if device in op.kernels and not allow_override:
            raise RuntimeError(f"This is not allowed since there's already a kernel registered from python overriding "
                               f"{op._opname}'s behavior for {key} dispatch key and {self.ns} namespace.")
        if key == "CompositeImplicitAutograd":
            op.implicit = fn
        op.kernels[device] = fn

    def fallback(self, fn, dispatch_key="", *, with_keyset=False):
        """Refused: there is no dispatcher that would fall back."""
        raise NotImplementedError("torch.library.Library.fallback: numbagrad has no dispatcher; a TorchFunctionMode "
                                  "(torch.overrides) sees every call")

    def _register_fake(self, op_name, fn, _stacklevel=1, *, allow_override=True):
        look_up(f"{self.ns}::{op_name}").set_fake(fn, allow_override)


def define(qualname, schema, *, lib=None, tags=()):
    """Define an operator by its full name and the schema without a name."""
    if isinstance(qualname, Library):  # as it was called before
        def wrap(fn):
            qualname.impl(qualname.define(schema), fn)
            return fn
        return wrap
    if not isinstance(qualname, str):
        raise ValueError(f"define(qualname, schema): expected qualname to be instance of str, got {type(qualname)}")
    namespace, name, overload = parts(qualname)
    if not NAMELESS.fullmatch(schema):
        raise ValueError(f'define(qualname, schema, ...): expected schema to look like e.g. "(Tensor x) -> Tensor" but got '
                         f'"{schema}"')
    name = name if overload == "default" else f"{name}.{overload}"
    (lib or Library(namespace, "FRAGMENT")).define(name + schema, tags=tags)
    return None


def impl(qualname, types, func=None, *, lib=None):
    """Let a function run for types of devices (or "default"); without one, a decorator."""
    if isinstance(qualname, Library):  # as it was called before
        def wrap(fn):
            qualname.impl(types, fn, "" if func is None else func)
            return fn
        return wrap

    def register(func):
        use = lib or Library(parts(qualname)[0], "FRAGMENT")
        for key in (types,) if isinstance(types, str) else types:
            use.impl(qualname, func, DEVICES.get(key, key))
    return register if func is None else register(func)


def _known(op, what):
    """(the definition, None) or (None, the operator) of what ``register_...`` functions take."""
    if not isinstance(op, (str, Operator, CustomOpDef)):
        raise ValueError(f"{what}({op}): got unexpected type for op: {type(op)}")
    if isinstance(op, CustomOpDef):
        return op, None
    name = op if isinstance(op, str) else op._schema.name
    return (DEFINED[name], None) if name in DEFINED else (None, look_up(name))


def register_kernel(op, device_types, func=None, /, *, lib=None):
    """Let a function run an operator for tensors on types of devices."""
    defined, known = _known(op, "register_kernel")
    if defined is not None:
        return defined.register_kernel(device_types, func)
    return impl(known._schema.name, "default" if device_types is None else device_types, func, lib=lib)


def register_fake(op, func=None, /, *, lib=None, _stacklevel=1, allow_override=True):
    """Let a function say what an operator returns, without values."""
    defined, known = _known(op, "register_fake")
    if defined is not None:
        return defined.register_fake if func is None else defined.register_fake(func)

    def register(func):
        known.set_fake(func, allow_override)
        return func
    return register if func is None else register(func)


def impl_abstract(qualname, func=None, *, lib=None, _stacklevel=1):
    """The former name of ``register_fake``."""
    return register_fake(qualname, func, lib=lib)


def register_autograd(op, backward, /, *, setup_context=None, lib=None):
    """Let ``backward(ctx, *grads)`` give an operator's gradients."""
    defined, known = _known(op, "register_autograd")
    set_autograd(known or defined._opoverload, known or defined, backward, setup_context)


def register_vmap(op, func=None, /, *, lib=None):
    """Let ``func(info, in_dims, *args)`` do a batch of an operator's calls."""
    defined, known = _known(op, "register_vmap")

    def register(func):
        (known or defined._opoverload).batch = func
    return register if func is None else register(func)


def register_autocast(op, device_type, cast_inputs, /, *, lib=None):
    """In regions of autocast, take an operator's floating-point tensors in a dtype."""
    defined, known = _known(op, "register_autocast")
    set_autocast(known or defined._opoverload, device_type, cast_inputs)


def register_torch_dispatch(op, torch_dispatch_class, func=None, /, *, lib=None):
    """Refused: there is no ``__torch_dispatch__``."""
    raise NotImplementedError("torch.library.register_torch_dispatch: numbagrad has no __torch_dispatch__; a class may define "
                              "__torch_function__")


def get_ctx():
    """Refused: sizes that depend on values have no symbols here."""
    raise NotImplementedError("torch.library.get_ctx: numbagrad's compiled steps have no symbolic sizes; an operator whose "
                              "result depends on values is called outside of compiled functions")


def get_kernel(op, dispatch_key):
    """Refused: there is no table of kernels by dispatch key."""
    raise NotImplementedError("torch.library.get_kernel: numbagrad has no dispatcher; call the operator itself")


def triton_op(name, fn=None, /, *, mutates_args, schema=None):
    """Refused: kernels are Python functions that Numba compiles, not Triton's."""
    raise NotImplementedError("torch.library.triton_op: numbagrad runs no Triton kernels; custom_op takes any Python function, "
                              "and numbagrad.extend.kernel one for the CPU and CUDA")


def wrap_triton(triton_kernel, /):
    """Refused: see ``triton_op``."""
    raise NotImplementedError("torch.library.wrap_triton: numbagrad runs no Triton kernels; numbagrad.extend.kernel takes one "
                              "for the CPU and CUDA")


Tag.__module__ = "torch"
for _public in (custom_op, infer_schema, opcheck):
    _public.__module__ = "torch.library"
