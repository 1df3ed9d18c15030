"""Hooks that run around a module's forward and backward."""

import warnings
from collections import OrderedDict
from typing import NamedTuple

from ...base.handles import RemovableHandle
from ...core.tensor import Tensor

__all__ = [
    "register_module_buffer_registration_hook",
    "register_module_forward_hook",
    "register_module_forward_pre_hook",
    "register_module_full_backward_hook",
    "register_module_full_backward_pre_hook",
    "register_module_module_registration_hook",
    "register_module_parameter_registration_hook",
]


_NOT_TENSORS = (
    "Using non-full backward hooks on a Module that does not {} Tensor or a tuple of Tensors is deprecated and will be removed "
    "in future versions. This hook will be missing some of the grad_{}. Please use register_full_backward_hook to get the "
    "documented behavior."
)
_SEVERAL_NODES = (
    "Using a non-full backward hook when {} autograd Nodes is deprecated and will be removed in future versions. This hook "
    "will be missing some grad_{}. Please use register_full_backward_hook to get the documented behavior."
)


def _are_tensors(found):
    return isinstance(found, tuple) and all(isinstance(t, Tensor) for t in found)


class _GlobalHook(NamedTuple):
    kind: str
    call: object
    with_kwargs: bool = False
    always_call: bool = False


# One table for every kind: a module call looks at a single truth value when no hook is set.
_global_hooks = OrderedDict()
_registration_hooks = {"parameter": OrderedDict(), "buffer": OrderedDict(), "module": OrderedDict()}


def _add_global(kind, hook, **options):
    handle = RemovableHandle(_global_hooks)
    _global_hooks[handle.id] = _GlobalHook(kind, hook, **options)
    return handle


def _globals_of(kind):
    return [(key, hook) for key, hook in _global_hooks.items() if hook.kind == kind]


def register_module_forward_pre_hook(hook):
    """Call ``hook(module, args)`` before every module's forward; what it returns replaces the arguments."""
    return _add_global("forward_pre", hook)


def register_module_forward_hook(hook, *, with_kwargs=False, always_call=False):
    """Call ``hook(module, args, output)`` after every module's forward; what it returns replaces the output."""
    return _add_global("forward", hook, with_kwargs=with_kwargs, always_call=always_call)


def register_module_full_backward_pre_hook(hook):
    """Call ``hook(module, grad_output)`` before the gradients of any module's inputs are computed."""
    return _add_global("backward_pre", hook)


def register_module_full_backward_hook(hook):
    """Call ``hook(module, grad_input, grad_output)`` when the gradients of any module's inputs are known."""
    return _add_global("backward", hook)


def _add_registration(kind, hook):
    table = _registration_hooks[kind]
    handle = RemovableHandle(table)
    table[handle.id] = hook
    return handle


def register_module_parameter_registration_hook(hook):
    """Call ``hook(module, name, parameter)`` whenever a parameter is registered; a result replaces it."""
    return _add_registration("parameter", hook)


def register_module_buffer_registration_hook(hook):
    """Call ``hook(module, name, buffer)`` whenever a buffer is registered; a result replaces it."""
    return _add_registration("buffer", hook)


def register_module_module_registration_hook(hook):
    """Call ``hook(module, name, submodule)`` whenever a submodule is registered; a result replaces it."""
    return _add_registration("module", hook)


def _registered(kind, module, name, value):
    """``value`` after the registration hooks of its kind have seen it."""
    for hook in _registration_hooks[kind].values():
        replacement = hook(module, name, value)
        if replacement is not None:
            value = replacement
    return value


class _Hooks:
    """The part of Module that registers hooks, and runs a call that has some."""

    def _add_hook(self, table_name, hook, prepend, flags=()):
        table = self.__dict__[table_name]
        extra = {name: self.__dict__[name] for name, _ in flags}
        handle = RemovableHandle(table, extra_dict=list(extra.values()))
        table[handle.id] = hook
        if prepend:
            table.move_to_end(handle.id, last=False)
        for name, wanted in flags:
            if wanted:
                extra[name][handle.id] = True
        return handle

    def register_forward_pre_hook(self, hook, *, prepend=False, with_kwargs=False):
        """Call ``hook(module, args)`` (``hook(module, args, kwargs)``) before forward; a result replaces them."""
        return self._add_hook("_forward_pre_hooks", hook, prepend, [("_forward_pre_hooks_with_kwargs", with_kwargs)])

    def register_forward_hook(self, hook, *, prepend=False, with_kwargs=False, always_call=False):
        """Call ``hook(module, args, output)`` (or with ``kwargs`` third) after forward; a result replaces the output.

        With ``always_call`` the hook runs even when forward raises.
        """
        flags = [("_forward_hooks_with_kwargs", with_kwargs), ("_forward_hooks_always_called", always_call)]
        return self._add_hook("_forward_hooks", hook, prepend, flags)

    def register_full_backward_pre_hook(self, hook, prepend=False):
        """Call ``hook(module, grad_output)`` when the outputs' gradients are known; a result replaces them."""
        return self._add_hook("_backward_pre_hooks", hook, prepend)

    def register_full_backward_hook(self, hook, prepend=False):
        """Call ``hook(module, grad_input, grad_output)`` after the module's backward; a result replaces grad_input."""
        if self._is_full_backward_hook is False:
            raise RuntimeError(
                "Cannot use both regular backward hooks and full backward hooks on a single Module. "
                "Please use only one of them."
            )
        self._is_full_backward_hook = True
        return self._add_hook("_backward_hooks", hook, prepend)

    def register_backward_hook(self, hook):
        """The older form of :meth:`register_full_backward_hook`, run on the node that made the output."""
        if self._is_full_backward_hook is True:
            raise RuntimeError(
                "Cannot use both regular backward hooks and full backward hooks on a single Module. "
                "Please use only one of them."
            )
        self._is_full_backward_hook = False
        return self._add_hook("_backward_hooks", hook, False)

    def _call_hooked(self, args, kwargs):
        done = set()
        state = [args, kwargs, None]
        try:
            return self._run_hooked(state, done)
        except Exception:
            self._run_always_called(state, done)
            raise

    def _run_hooked(self, state, done):
        for _, hook in _globals_of("forward_pre"):
            self._replace_args(state, hook.call(self, state[0]))
        for key, hook in list(self._forward_pre_hooks.items()):
            if key in self._forward_pre_hooks_with_kwargs:
                result = hook(self, state[0], state[1])
                if result is not None:
                    if not (isinstance(result, tuple) and len(result) == 2):
                        raise RuntimeError(
                            "forward pre-hook must return None or a tuple of (new_args, new_kwargs), "
                            f"but got {result}."
                        )
                    state[:2] = result
            else:
                self._replace_args(state, hook(self, state[0]))

        pre = [hook.call for _, hook in _globals_of("backward_pre")] + list(self._backward_pre_hooks.values())
        full = [hook.call for _, hook in _globals_of("backward")]
        if self._is_full_backward_hook:
            full += self._backward_hooks.values()
        bracket = None
        if pre or full:
            from ._backward_hooks import BackwardBracket  # needs the autograd engine, which few modules do on import

            bracket = BackwardBracket(self, pre, full)
        if bracket:
            state[0] = bracket.enter(state[0])
        result = state[2] = self.forward(*state[0], **state[1])

        for key, call, with_kwargs, always in self._forward_hook_list():
            if always:
                done.add(key)
            replacement = call(self, *state[:2], result) if with_kwargs else call(self, state[0], result)
            if replacement is not None:
                result = state[2] = replacement
        if bracket:
            if not isinstance(result, (Tensor, tuple)):
                warnings.warn(
                    "For backward hooks to be called, module output should be a Tensor or a tuple of Tensors "
                    f"but received {type(result)}",
                    stacklevel=4,
                )
            else:
                result = bracket.leave(result)
        if self._is_full_backward_hook is False:
            self._hook_output_node(state[0], result)
        return result

    def _replace_args(self, state, result):
        if result is not None:
            state[0] = result if isinstance(result, tuple) else (result,)

    def _forward_hook_list(self):
        """(key, hook, takes kwargs, runs after an error) for the global hooks, then for this module's own."""
        shared = [(key, hook.call, hook.with_kwargs, hook.always_call) for key, hook in _globals_of("forward")]
        takes_kwargs, always = self._forward_hooks_with_kwargs, self._forward_hooks_always_called
        return shared + [(key, hook, key in takes_kwargs, key in always) for key, hook in self._forward_hooks.items()]

    def _run_always_called(self, state, done):
        """After an error: the hooks that asked to run anyway. Their own errors become warnings."""
        for key, call, with_kwargs, always in self._forward_hook_list():
            if not always or key in done:
                continue
            try:
                result = call(self, *state) if with_kwargs else call(self, state[0], state[2])
            except Exception as error:
                kind = "global module forward hook" if key in _global_hooks else "module forward hook"
                warnings.warn(
                    f"{kind} with ``always_call=True`` raised an exception that was silenced as another error was "
                    f"raised in forward: {error}",
                    stacklevel=4,
                )
                continue
            if result is not None:
                state[2] = result

    def _hook_output_node(self, inputs, whole):
        result = whole
        while not isinstance(result, Tensor):
            if isinstance(result, dict):
                result = next(value for value in result.values() if isinstance(value, Tensor))
            else:
                result = result[0]
        if result.grad_fn is not None:
            for hook in self._backward_hooks.values():
                result.grad_fn.register_hook(lambda *grads, _hook=hook: _hook(self, *grads))
            self._maybe_warn_non_full_backward_hook(inputs, whole, result.grad_fn)

    def _maybe_warn_non_full_backward_hook(self, inputs, result, grad_fn):
        """Warn where hooks of the older form miss gradients of the module's outputs or inputs."""
        inputs, result = ((x,) if isinstance(x, Tensor) else x for x in (inputs, result))
        text = None
        if not _are_tensors(result):
            text = _NOT_TENSORS.format("return a single", "output")
        elif not _are_tensors(inputs):
            text = _NOT_TENSORS.format("take as input a single", "input")
        else:
            made = {r.grad_fn for r in result if r.grad_fn is not None}
            if len(made) > 1:
                text = _SEVERAL_NODES.format("outputs are generated by different", "output")
            elif {i.grad_fn for i in inputs if i.grad_fn is not None} != {n[0] for n in grad_fn.next_functions}:
                text = _SEVERAL_NODES.format("the forward contains multiple", "input")
        if text is not None:
            warnings.warn(text, FutureWarning, stacklevel=2)
