"""Hooks: handles that remove them again, and those around the forward of a module."""

import warnings

from ..base.handles import RemovableHandle

__all__ = ["BackwardHook", "RemovableHandle", "unserializable_hook", "warn_if_has_hooks"]


def unserializable_hook(f):
    """Mark a hook of which nobody expects that it is saved with its tensor."""
    f.__torch_unserializable__ = True
    return f


def warn_if_has_hooks(tensor):
    """Warn of hooks that are not saved with a tensor."""
    for hook in list(_hooks_of(tensor).values()):
        if not hasattr(hook, "__torch_unserializable__"):
            warnings.warn(f"backward hook {hook!r} on tensor will not be serialized.  If this is expected, you can decorate "
                          "the function with @torch.utils.hooks.unserializable_hook to suppress this warning", stacklevel=2)


def _hooks_of(tensor):
    if tensor.is_leaf:
        return tensor.__dict__.get("_numbagrad", {}).get("hooks", {})
    hooks = tensor.grad_fn.hooks
    return {} if hooks is None else hooks.tensor.get(tensor.output_nr, {})


class BackwardHook:
    """The full backward hooks of one call of a module: ``setup_input_hook`` before it, ``setup_output_hook`` after it."""

    def __init__(self, module, user_hooks, user_pre_hooks):
        from ..nn.modules._backward_hooks import BackwardBracket
        self.module, self.user_hooks, self.user_pre_hooks = module, user_hooks, user_pre_hooks
        self._bracket = BackwardBracket(module, user_pre_hooks, user_hooks)

    def setup_input_hook(self, args):
        """The arguments, through a node that the gradient of the inputs passes."""
        return self._like(args, self._bracket.enter(tuple(args)))

    def setup_output_hook(self, args):
        """The results, through a node that the gradient of the outputs passes."""
        return self._bracket.leave(args)

    @staticmethod
    def _like(args, passed):
        return passed if type(args) is tuple else type(args)(*passed)
