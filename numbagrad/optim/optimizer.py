"""Optimizer: parameter groups, state by parameter, and the form in which both are saved."""

import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Iterable
from copy import deepcopy

import numbagrad as ng

from ..autograd.gradients import zero_grad
from ..base.dtypes import float32, float64
from ..base.user_code import user_line
from ..core.tensor import Tensor
from ..kernel.tape import TAPE, active, refuse
from ..nn.modules.module import _typename
from ._for_subclasses import (  # noqa: F401  optimizers of other people import them from here
    ForSubclasses,
    ParamsT,
    _capturable_doc,
    _default_to_fused_or_foreach,
    _device_dtype_check_for_fused,
    _differentiable_doc,
    _disable_dynamo_if_unsupported,
    _foreach_doc,
    _fused_doc,
    _get_capturable_supported_devices,
    _get_scalar_dtype,
    _get_value,
    _maximize_doc,
    _params_doc,
    _stack_if_compiling,
    _to_scalar,
    _use_grad_for_differentiable,
    _view_as_real,
)
from ._step_hooks import (  # noqa: F401
    _global_optimizer_post_hooks,
    _global_optimizer_pre_hooks,
    add,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
    with_hooks,
)

__all__ = ["Optimizer", "register_optimizer_step_post_hook", "register_optimizer_step_pre_hook"]

_HOOK_TABLES = (
    "_optimizer_step_pre_hooks",
    "_optimizer_step_post_hooks",
    "_optimizer_state_dict_pre_hooks",
    "_optimizer_state_dict_post_hooks",
    "_optimizer_load_state_dict_pre_hooks",
    "_optimizer_load_state_dict_post_hooks",
)


class _Required:
    def __repr__(self):
        return "<required parameter>"


required = _Required()


class Optimizer(ForSubclasses):
    """Base of the optimizers: parameters in groups, each with its own options, and the state kept for each.

    ``params`` holds tensors, (name, tensor) pairs, or dicts with the key "params" and options that override
    ``defaults``. TypeError and ValueError for anything else, for tensors that are no leaves, and for a parameter in two
    groups.
    """

    def __init__(self, params, defaults):
        self.defaults = defaults
        for name in _HOOK_TABLES:
            setattr(self, name, OrderedDict())
        self._patch_step_function()
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or dicts, but got "
                + _typename(params)
            )
        self.state = defaultdict(dict)
        self.param_groups = []
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        for group in groups if isinstance(groups[0], dict) else [{"params": groups}]:
            self.add_param_group(group)

    def add_param_group(self, param_group):
        """Add a dict with the key "params" and any options; the optimizer's defaults fill in the rest."""
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        params = param_group["params"]
        if isinstance(params, set):
            raise TypeError(
                "optimizer parameters need to be organized in ordered collections, but the ordering of tensors in sets "
                "will change between runs. Please use a list instead."
            )
        entries = [params] if isinstance(params, Tensor) else list(params)
        names = [entry[0] for entry in entries if isinstance(entry, tuple)]
        if names and len(names) != len(entries):
            raise ValueError("all optimizer params should be with/without names. Some param names are missing")
        params = [entry[1] if isinstance(entry, tuple) else entry for entry in entries]
        for param in params:
            if not isinstance(param, Tensor):
                raise TypeError(
                    f"optimizer can only optimize Tensors, but one of the params is {_typename(param)}"
                )
            if not (self.defaults.get("differentiable") or param.is_leaf or param.retains_grad):
                raise ValueError("can't optimize a non-leaf Tensor")
        for name, default in self.defaults.items():
            if default is required and name not in param_group:
                raise ValueError(
                    f"parameter group didn't specify a value of required optimization parameter {name}"
                )
        ids = {id(param) for param in params}
        if len(ids) != len(params):
            warnings.warn(
                "optimizer contains a parameter group with duplicate parameters; in future, this will cause an error; "
                "see github.com/pytorch/pytorch/issues/40967 for more information",
                stacklevel=3,
            )
        named = bool(names) or "param_names" in param_group
        for group in self.param_groups:
            if named != ("param_names" in group):
                raise ValueError(
                    "all optimizer param groups should be with/without names. cannot add param group "
                    f"{'with' if named else 'without'} names to the optimizer"
                )
        if any(id(param) in ids for group in self.param_groups for param in group["params"]):
            raise ValueError("some parameters appear in more than one parameter group")

        param_group["params"] = params
        if names:
            param_group["param_names"] = names
        for name, default in self.defaults.items():
            param_group.setdefault(name, default)
        self.param_groups.append(param_group)

    def _patch_step_function(self):
        """Put the hooks around the class's ``step``, whoever defined it and when."""
        cls = type(self)
        if not getattr(cls.step, "hooked", False):
            cls.step = with_hooks(cls.step)

    profile_hook_step = staticmethod(with_hooks)

    def step(self, closure=None):
        """Update the parameters once from their gradients; ``closure`` computes the loss again and returns it."""
        raise NotImplementedError

    def zero_grad(self, set_to_none=True):
        """Drop the gradients of all parameters, or fill them with zeros."""
        for group in self.param_groups:
            for param in group["params"]:
                zero_grad(param, set_to_none)

    def __repr__(self):
        refuse("shows an optimizer, which changes between calls")
        text = f"{type(self).__name__} ("
        for i, group in enumerate(self.param_groups):
            text += f"\nParameter Group {i}\n"
            text += "".join(f"    {key}: {group[key]}\n" for key in sorted(group) if key != "params")
        return text + ")"

    # Hooks

    def register_step_pre_hook(self, hook):
        """Call ``hook(optimizer, args, kwargs)`` before each step; it may return new (args, kwargs)."""
        return add(self._optimizer_step_pre_hooks, hook)

    def register_step_post_hook(self, hook):
        """Call ``hook(optimizer, args, kwargs)`` after each step."""
        return add(self._optimizer_step_post_hooks, hook)

    def register_state_dict_pre_hook(self, hook, prepend=False):
        """Call ``hook(optimizer)`` before the state is collected."""
        return add(self._optimizer_state_dict_pre_hooks, hook, prepend)

    def register_state_dict_post_hook(self, hook, prepend=False):
        """Call ``hook(optimizer, state_dict)`` after; a result replaces the state dict."""
        return add(self._optimizer_state_dict_post_hooks, hook, prepend)

    def register_load_state_dict_pre_hook(self, hook, prepend=False):
        """Call ``hook(optimizer, state_dict)`` before loading; a result replaces the state dict."""
        return add(self._optimizer_load_state_dict_pre_hooks, hook, prepend)

    def register_load_state_dict_post_hook(self, hook, prepend=False):
        """Call ``hook(optimizer)`` after loading."""
        return add(self._optimizer_load_state_dict_post_hooks, hook, prepend)

    # Saving

    def state_dict(self):
        """{"state": {number: state}, "param_groups": [options]}; parameters appear by number, in order of the groups.

        The state's tensors are the optimizer's own, not copies.
        """
        refuse("takes the state of an optimizer, which changes between calls")
        for hook in self._optimizer_state_dict_pre_hooks.values():
            hook(self)
        number = {}
        position = 0
        groups = []
        for group in self.param_groups:
            for i, param in enumerate(group["params"], position):
                number.setdefault(id(param), i)
            position += len(group["params"])
            packed = {key: value for key, value in group.items() if key != "params"}
            packed["params"] = [number[id(param)] for param in group["params"]]
            groups.append(packed)
        state = {number[id(key)] if isinstance(key, Tensor) else key: value for key, value in self.state.items()}
        state_dict = {"state": state, "param_groups": groups}
        for hook in self._optimizer_state_dict_post_hooks.values():
            result = hook(self, state_dict)
            if result is not None:
                state_dict = result
        return state_dict

    def load_state_dict(self, state_dict):
        """Take over the options and state of ``state_dict``, whose groups must have the sizes of this optimizer's.

        State tensors are converted to the dtype and device of their parameter, except the step counts.
        """
        state_dict = state_dict.copy()
        for hook in self._optimizer_load_state_dict_pre_hooks.values():
            result = hook(self, state_dict)
            if result is not None:
                state_dict = result
        groups, saved = self.param_groups, deepcopy(state_dict["param_groups"])
        if len(groups) != len(saved):
            raise ValueError("loaded state dict has a different number of parameter groups")
        if any(len(group["params"]) != len(other["params"]) for group, other in zip(groups, saved, strict=True)):
            raise ValueError(
                "loaded state dict contains a parameter group that doesn't match the size of optimizer's group"
            )
        owner = {}
        for group, other in zip(groups, saved, strict=True):
            owner.update((i, (param, other)) for i, param in zip(other["params"], group["params"], strict=True))
        state = defaultdict(dict)
        for key, value in state_dict["state"].items():
            if key in owner:
                param, options = owner[key]
                state[param] = _fitted(value, param, options)
            else:
                state[key] = value
        for group, other in zip(groups, saved, strict=True):
            other["params"] = group["params"]
            if "param_names" in group:
                other.setdefault("param_names", group["param_names"])
        self.__setstate__({"state": state, "param_groups": saved})
        for hook in self._optimizer_load_state_dict_post_hooks.values():
            hook(self)

    def __getstate__(self):
        return {"defaults": self.defaults, "state": self.state, "param_groups": self.param_groups}

    def __setstate__(self, state):
        self.__dict__.update(state)
        for name in _HOOK_TABLES:
            self.__dict__.setdefault(name, OrderedDict())
        self._patch_step_function()
        self.defaults.setdefault("differentiable", False)


def _fitted(value, param, options, key=None):
    """A loaded piece of state in the dtype and on the device of its parameter."""
    if isinstance(value, Tensor):
        if key == "step":
            on_device = options.get("capturable", False) or options.get("fused", False)
            return value.to(device=param.device, dtype=float32) if on_device else value
        if param.is_floating_point():
            return value.to(device=param.device, dtype=param.dtype)
        return value.to(device=param.device)
    if isinstance(value, dict):
        return {name: _fitted(item, param, options, name) for name, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes)):
        return type(value)(_fitted(item, param, options) for item in value)
    return value


# What the optimizers share


def _check_options(lr, foreach, fused, differentiable):
    if fused and differentiable:
        raise RuntimeError("`fused` does not support `differentiable`")
    if fused and foreach:
        raise RuntimeError("`fused` and `foreach` cannot be `True` together.")


def _check_fused(params):
    for param in params:
        if not param.is_floating_point():
            raise RuntimeError(
                "`fused=True` requires all the params to be floating point Tensors of supported devices: "
                f"['cpu', 'cuda'] but {param.dtype} and {param.device.type}"
            )


def _number(value):
    """A setting that may be given as a one-element tensor."""
    if isinstance(value, Tensor):
        recorder = active() if TAPE else None
        return value.item() if recorder is None else recorder.setting(value)
    return value


def _closure_loss(closure):
    if closure is None:
        return None
    with ng.enable_grad():
        return closure()


# The dtypes that the kernels take. A tensor is plain when it is contiguous and of one of them.
_PLAIN = float32, float64


def _are_plain(*tensors):
    """Whether one kernel call may take the parameter (the first), its gradient and its state tensors as they are."""
    kind, shape = tensors[0]._kind, tensors[0]._shape
    plain = kind.dtype in _PLAIN
    for t in tensors:
        if t._shape != shape:
            _misfit(tensors)
        if t._kind is not kind or t._strides is not None:
            plain = False
    return plain


def _misfit(tensors):
    """RuntimeError for a gradient (the second) or state of another shape than its parameter (the first)."""
    for i, t in enumerate(tensors):
        if t._shape != tensors[0]._shape:
            what = "gradient" if i == 1 else "state"
            raise RuntimeError(f"The sizes of a parameter and of its {what} must match in an optimizer's step, but got "
                               f"{list(tensors[0]._shape)} and {list(t._shape)}")


def _check_counts(*counts):
    """RuntimeError for a step count that is not one number."""
    for t in counts:
        if t._n != 1:
            raise RuntimeError(f"a Tensor with {t._n} elements cannot be converted to Scalar (a step count of an optimizer)")


def _note_composed():
    """Tell a capture that an update is made of tensor operations, which take the settings as numbers of now."""
    recorder = active() if TAPE else None
    if recorder is not None:
        recorder.compose()


def _run(kernel, tables, changed, *shared):
    """One native call for each kind in ``tables``; the parameters in ``changed`` count as written to."""
    recorder = active() if TAPE else None
    if recorder is not None:
        recorder.optimize(kernel, tables, changed, shared)
        tables = {}
    # Counted first: an interrupt after the kernel must not leave new values under an old version.
    if changed:
        where = (user_line(),)
        for param in changed:
            version = param._ver
            version[0] += 1
            version[1:] = where
            if recorder is not None:
                recorder.written(param)
    for kind, cells in tables.items():
        kernel.run(kind, cells, *shared)
