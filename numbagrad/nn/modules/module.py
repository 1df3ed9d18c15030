"""Module: the base of everything that has parameters."""

from collections import OrderedDict

import numbagrad as ng

from ...autograd.gradients import zero_grad
from ...core.tensor import Tensor
from ..parameter import Buffer, Parameter
from . import _hooks
from ._convert import _Conversion, _typename
from ._hooks import *  # noqa: F403
from ._hooks import _global_hooks, _Hooks, _registered
from ._state import (  # noqa: F401 (also found here, as in PyTorch)
    _EXTRA_STATE_KEY_SUFFIX,
    _IncompatibleKeys,
    _State,
    _WrappedHook,
)

__all__ = ["Module", *_hooks.__all__]

_PLAIN_TABLES = ("_parameters", "_buffers", "_modules")
# OrderedDict, because a RemovableHandle refers to these weakly and a plain dict cannot be.
_HOOK_TABLES = (
    "_backward_pre_hooks",
    "_backward_hooks",
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)


def _addindent(text, width):
    """``text`` with every line but the first moved right; blank lines stay empty."""
    head, *tail = text.split("\n")
    return "\n".join([head, *(" " * width + line if line.strip() else "" for line in tail)])


class Slot:
    """Makes reading a registered parameter or buffer of a layer three times faster than ``__getattr__`` does.

    It has no ``__set__``: an attribute that the instance itself holds under this name, such as a plain tensor put in
    the place of a removed parameter, comes first.
    """

    def __init__(self, table="_parameters"):
        self.table = table

    def __set_name__(self, owner, name):
        self.name = name

    def __get__(self, module, owner=None):
        if module is None:
            return self
        try:
            return module.__dict__[self.table][self.name]
        except KeyError:
            raise AttributeError(self.name) from None


# Counts changes of any module's attributes, so that compiled steps notice them.
CHANGED = [0]


class Module(_State, _Hooks, _Conversion):
    """Base of all layers and networks: it registers what is assigned to it, and calls ``forward`` with its hooks.

    A Parameter, Buffer or Module assigned as an attribute is registered under that name; ``parameters()``,
    ``state_dict()``, ``to()``, ``train()`` and the like reach the whole tree of submodules.
    """

    training: bool
    dump_patches: bool = False
    call_super_init: bool = False
    _compiled_call_impl = None

    def __init__(self, *args, **kwargs):
        if not self.call_super_init:
            name = type(self).__name__
            if kwargs:
                raise TypeError(f"{name}.__init__() got an unexpected keyword argument '{next(iter(kwargs))}'")
            if args:
                raise TypeError(f"{name}.__init__() takes 1 positional argument but {len(args) + 1} were given")
        fields = self.__dict__
        fields["training"] = True
        fields["_non_persistent_buffers_set"] = set()
        fields["_is_full_backward_hook"] = None
        for name in _PLAIN_TABLES:
            fields[name] = {}
        for name in _HOOK_TABLES:
            fields[name] = OrderedDict()
        if self.call_super_init:
            super().__init__(*args, **kwargs)

    def forward(self, *input):
        """What a call of the module computes; every subclass defines it."""
        raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')

    def __call__(self, *args, **kwargs):
        if (
            _global_hooks
            or self._forward_hooks
            or self._forward_pre_hooks
            or self._backward_hooks
            or self._backward_pre_hooks
        ):
            return self._call_hooked(args, kwargs)
        return self.forward(*args, **kwargs)

    _call_impl = _wrapped_call_impl = __call__  # which subclasses with a call of their own end in

    def _slow_forward(self, *input, **kwargs):
        return self.forward(*input, **kwargs)

    # Registration

    def _check_name(self, kind, name, table):
        if not isinstance(name, str):
            raise TypeError(f"{kind} name should be a string. Got {_typename(name)}")
        if kind == "module":
            # A submodule may not hide an attribute even if its name is bad in other ways.
            if hasattr(self, name) and name not in table:
                raise KeyError(f"attribute '{name}' already exists")
            if "." in name:
                raise KeyError(f'module name can\'t contain ".", got: {name}')
        elif "." in name:
            raise KeyError(f'{kind} name can\'t contain "."')
        if name == "":
            raise KeyError(f'{kind} name can\'t be empty string ""')
        if hasattr(self, name) and name not in table:
            raise KeyError(f"attribute '{name}' already exists")

    def register_parameter(self, name, param):
        """Add a Parameter, or None for one that this module could have and does not."""
        CHANGED[0] += 1
        table = self.__dict__.get("_parameters")
        if table is None:
            raise AttributeError("cannot assign parameter before Module.__init__() call")
        self._check_name("parameter", name, table)
        if param is None:
            table[name] = None
            return
        if not isinstance(param, Parameter):
            raise TypeError(
                f"cannot assign '{_typename(param)}' object to parameter '{name}' (torch.nn.Parameter or None required)"
            )
        if param.grad_fn is not None:
            raise ValueError(
                f"Cannot assign non-leaf Tensor to parameter '{name}'. Model parameters must be created explicitly. "
                f"To express '{name}' as a function of another Tensor, compute the value in the forward() method."
            )
        table[name] = _registered("parameter", self, name, param)

    def register_buffer(self, name, tensor, persistent=True):
        """Add a tensor that is state but no parameter; without ``persistent`` it stays out of ``state_dict``."""
        CHANGED[0] += 1
        table = self.__dict__.get("_buffers")
        if table is None:
            raise AttributeError("cannot assign buffer before Module.__init__() call")
        self._check_name("buffer", name, table)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"cannot assign '{_typename(tensor)}' object to buffer '{name}' (torch Tensor or None required)"
            )
        table[name] = _registered("buffer", self, name, tensor)
        (self._non_persistent_buffers_set.discard if persistent else self._non_persistent_buffers_set.add)(name)

    def add_module(self, name, module):
        """Add a submodule, or None for one that is left out."""
        CHANGED[0] += 1
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"{_typename(module)} is not a Module subclass")
        self._check_name("module", name, self._modules)
        self._modules[name] = _registered("module", self, name, module)

    def register_module(self, name, module):
        """The same as :meth:`add_module`."""
        self.add_module(name, module)

    def __getattr__(self, name):
        fields = self.__dict__
        if "_parameters" in fields:  # not so before __init__ has run
            if name in fields["_parameters"]:
                return fields["_parameters"][name]
            if name in fields["_modules"]:
                return fields["_modules"][name]
            if name in fields["_buffers"]:
                return fields["_buffers"][name]
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def _forget(self, name, *tables):
        for table in tables:
            if isinstance(table, set):
                table.discard(name)
            else:
                table.pop(name, None)

    def __setattr__(self, name, value):
        CHANGED[0] += 1
        fields = self.__dict__
        params, modules, buffers = fields.get("_parameters"), fields.get("_modules"), fields.get("_buffers")
        tensor = isinstance(value, Tensor)
        if tensor and isinstance(value, Parameter):
            if params is None:
                raise AttributeError("cannot assign parameters before Module.__init__() call")
            self._forget(name, fields, buffers, modules, self._non_persistent_buffers_set)
            self.register_parameter(name, value)
        elif params is not None and name in params:
            if value is not None:
                raise TypeError(
                    f"cannot assign '{_typename(value)}' as parameter '{name}' (torch.nn.Parameter or None expected)"
                )
            self.register_parameter(name, None)
        elif isinstance(value, Module):
            if modules is None:
                raise AttributeError("cannot assign module before Module.__init__() call")
            self._forget(name, fields, params, buffers, self._non_persistent_buffers_set)
            modules[name] = _registered("module", self, name, value)
        elif modules is not None and name in modules:
            if value is not None:
                raise TypeError(
                    f"cannot assign '{_typename(value)}' as child module '{name}' (torch.nn.Module or None expected)"
                )
            modules[name] = _registered("module", self, name, None)
        elif tensor and isinstance(value, Buffer) or (buffers is not None and name in buffers):
            if value is not None and not tensor:
                raise TypeError(
                    f"cannot assign '{_typename(value)}' as buffer '{name}' "
                    "(torch.nn.Buffer, torch.Tensor or None expected)"
                )
            if isinstance(value, Buffer):
                persistent = value.persistent
            else:
                persistent = name not in self._non_persistent_buffers_set
            self.register_buffer(name, value, persistent)
        else:
            object.__setattr__(self, name, value)

    def __delattr__(self, name):
        for table in _PLAIN_TABLES:
            if name in self.__dict__[table]:
                del self.__dict__[table][name]
                self._non_persistent_buffers_set.discard(name)
                return
        object.__delattr__(self, name)

    def __getstate__(self):
        state = self.__dict__.copy()
        if state.pop("_compiled_call_impl", None) is not None:
            del state["forward"]
        return state

    def __setstate__(self, state):
        self.__dict__.update(state)

    def __dir__(self):
        names = [*dir(type(self)), *self.__dict__, *self._parameters, *self._modules, *self._buffers]
        return sorted(name for name in names if not name[0].isdigit())

    # Walking the tree

    def _named_members(self, get_members_fn, prefix="", recurse=True, remove_duplicate=True):
        """(dotted name, value) of the pairs that ``get_members_fn`` gives for this module and those below it."""
        seen = set()
        modules = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate) if recurse else [(prefix, self)]
        for path, module in modules:
            for name, value in get_members_fn(module):
                if value is None or id(value) in seen:
                    continue
                if remove_duplicate:
                    seen.add(id(value))
                yield (f"{path}.{name}" if path else name), value

    def named_parameters(self, prefix="", recurse=True, remove_duplicate=True):
        """(dotted name, parameter) of this module and, with ``recurse``, of its submodules."""
        return self._named_members(lambda module: module._parameters.items(), prefix, recurse, remove_duplicate)

    def parameters(self, recurse=True):
        """The parameters, each once."""
        for _, param in self.named_parameters(recurse=recurse):
            yield param

    def named_buffers(self, prefix="", recurse=True, remove_duplicate=True):
        """(dotted name, buffer) of this module and, with ``recurse``, of its submodules."""
        return self._named_members(lambda module: module._buffers.items(), prefix, recurse, remove_duplicate)

    def buffers(self, recurse=True):
        """The buffers, each once."""
        for _, buffer in self.named_buffers(recurse=recurse):
            yield buffer

    def named_modules(self, memo=None, prefix="", remove_duplicate=True):
        """(dotted name, module) of this module and all below it, depth first."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                yield from module.named_modules(memo, f"{prefix}.{name}" if prefix else name, remove_duplicate)

    def modules(self, remove_duplicate=True):
        """This module and all below it."""
        for _, module in self.named_modules(remove_duplicate=remove_duplicate):
            yield module

    def named_children(self):
        """(name, module) of the direct submodules, each once."""
        seen = set()
        for name, module in self._modules.items():
            if module is not None and module not in seen:
                seen.add(module)
                yield name, module

    def children(self):
        """The direct submodules, each once."""
        for _, module in self.named_children():
            yield module

    def get_submodule(self, target):
        """The module at a dotted path such as "encoder.layers.0"; "" is this module."""
        module = self
        for part in target.split(".") if target else ():
            module = _member(module, part)
            if not isinstance(module, Module):
                raise AttributeError(f"`{part}` is not an nn.Module")
        return module

    def set_submodule(self, target, module, strict=False):
        """Put ``module`` at a dotted path; ``strict`` refuses a path that does not exist yet."""
        if target == "":
            raise ValueError("Cannot set the submodule without a target name!")
        if not isinstance(module, Module):
            raise ValueError(f"`module` is not an nn.Module, found {type(module)}")
        path, _, name = target.rpartition(".")
        parent = self.get_submodule(path)
        if strict or hasattr(parent, name):
            if not isinstance(_member(parent, name), Module):
                raise AttributeError(f"`{name}` is not an nn.Module")
        setattr(parent, name, module)

    def get_parameter(self, target):
        """The parameter at a dotted path."""
        path, _, name = target.rpartition(".")
        param = _member(self.get_submodule(path), name)
        if not isinstance(param, Parameter):
            raise AttributeError(f"`{name}` is not an nn.Parameter")
        return param

    def get_buffer(self, target):
        """The buffer at a dotted path."""
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        buffer = _member(module, name)
        if name not in module._buffers:
            raise AttributeError(f"`{name}` is not a buffer")
        return buffer

    # Changing the whole tree

    def apply(self, fn):
        """Call ``fn`` on every submodule, children first, and on this module."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def train(self, mode=True):
        """Set training mode, which changes layers such as Dropout and BatchNorm."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self):
        """Set evaluation mode: ``train(False)``."""
        return self.train(False)

    def requires_grad_(self, requires_grad=True):
        """Say for every parameter whether autograd records it."""
        for param in self.parameters():
            param.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none=True):
        """Drop the gradients of all parameters, or fill them with zeros."""
        for param in self.parameters():
            zero_grad(param, set_to_none)

    def compile(self, *args, **kwargs):
        """Compile the module's forward in place by :func:`numbagrad.compile`, which gets the arguments."""
        self.__dict__.pop("forward", None)
        # An entry of the instance is found by every call as it is: one that is not compiled pays nothing.
        self.forward = self._compiled_call_impl = ng.compile(self.forward, *args, **kwargs)

    def share_memory(self):
        """Move parameters and buffers to memory that processes share."""
        return self._apply(lambda t: t.share_memory_())

    def _replicate_for_data_parallel(self):
        replica = self.__new__(type(self))
        replica.__dict__ = self.__dict__.copy()
        replica._parameters = {}
        replica._buffers, replica._modules = self._buffers.copy(), self._modules.copy()
        replica._is_replica = True
        return replica

    # Text

    def _get_name(self):
        return type(self).__name__

    def extra_repr(self):
        """The text between the parentheses of ``repr``; subclasses override it."""
        return ""

    def __repr__(self):
        extra = self.extra_repr()
        own = extra.split("\n") if extra else []
        children = [f"({name}): {_addindent(repr(module), 2)}" for name, module in self._modules.items()]
        if len(own) == 1 and not children:
            return f"{self._get_name()}({extra})"
        if not own and not children:
            return f"{self._get_name()}()"
        return f"{self._get_name()}(\n  " + "\n  ".join(own + children) + "\n)"


def _member(module, name):
    try:
        return getattr(module, name)
    except AttributeError:
        raise AttributeError(f"{module._get_name()} has no attribute `{name}`") from None
