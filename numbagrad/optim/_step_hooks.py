"""Hooks around every optimizer's step."""

import functools
from collections import OrderedDict

from ..base.handles import RemovableHandle
from ..kernel.tape import TAPE, active

_global_optimizer_pre_hooks = OrderedDict()
_global_optimizer_post_hooks = OrderedDict()


def add(table, hook, prepend=False):
    handle = RemovableHandle(table)
    table[handle.id] = hook
    if prepend:
        table.move_to_end(handle.id, last=False)
    return handle


def register_optimizer_step_pre_hook(hook):
    """Call ``hook(optimizer, args, kwargs)`` before every optimizer's step; it may return new (args, kwargs)."""
    return add(_global_optimizer_pre_hooks, hook)


def register_optimizer_step_post_hook(hook):
    """Call ``hook(optimizer, args, kwargs)`` after every optimizer's step."""
    return add(_global_optimizer_post_hooks, hook)


def with_hooks(step):
    """``step`` with the hooks of the optimizer and the global ones around it."""

    @functools.wraps(step)
    def hooked(self, *args, **kwargs):
        recorder = active() if TAPE else None
        run = step if recorder is None else recorder.steps(step)
        fields = self.__dict__
        own_pre, own_post = fields["_optimizer_step_pre_hooks"], fields["_optimizer_step_post_hooks"]
        if not (own_pre or own_post or _global_optimizer_pre_hooks or _global_optimizer_post_hooks):
            return run(self, *args, **kwargs)
        args = (self, *args)
        for hook in (*_global_optimizer_pre_hooks.values(), *own_pre.values()):
            result = hook(self, args, kwargs)
            if result is not None:
                if not (isinstance(result, tuple) and len(result) == 2):
                    raise RuntimeError(
                        f"{step} must return None or a tuple of (new_args, new_kwargs), but got {result}."
                    )
                args, kwargs = result
        out = run(*args, **kwargs)
        for hook in (*own_post.values(), *_global_optimizer_post_hooks.values()):
            hook(self, args, kwargs)
        return out

    hooked.hooked = True
    return hooked
