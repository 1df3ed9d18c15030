"""Compiled modules."""

from __future__ import annotations

import copy

from ..nn.modules.module import Module
from .function import CompiledFunction

_OWN = ("training", "_orig_mod", "forward")


class OptimizedModule(Module):
    """A module whose calls run compiled; everything else is the original's, which stays at ``_orig_mod``."""

    def __init__(self, module, **options):
        super().__init__()
        fields = self.__dict__
        fields["_modules"]["_orig_mod"] = module
        del fields["training"]  # the original's
        fields["_options"] = options
        fields["compiled"] = CompiledFunction(module.__call__, **options)

    def __reduce__(self):
        return OptimizedModule._made, (self._orig_mod, self._options)

    @staticmethod
    def _made(module, options):
        return OptimizedModule(module, **options)

    def __deepcopy__(self, memo):
        return OptimizedModule(copy.deepcopy(self._orig_mod, memo), **self._options)

    @property
    def training(self):
        """Whether the original is in training mode."""
        return self._orig_mod.training

    @training.setter
    def training(self, value):
        self._orig_mod.training = value

    def __setattr__(self, name, value):
        if name in _OWN:
            super().__setattr__(name, value)
        else:
            setattr(self._orig_mod, name, value)

    def __delattr__(self, name):
        delattr(self._orig_mod, name)

    def __call__(self, *args, **kwargs):
        if self._forward_hooks or self._forward_pre_hooks or self._backward_hooks or self._backward_pre_hooks:
            return super().__call__(*args, **kwargs)
        return self.compiled(*args, **kwargs)  # hooks of all modules run on the original

    def forward(self, *args, **kwargs):
        """The original's call as one native call."""
        return self.compiled(*args, **kwargs)

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "_orig_mod" or "_modules" not in self.__dict__:
                raise
            return getattr(self._orig_mod, name)

    def explain(self, profile=False):
        """See ``CompiledFunction.explain``."""
        return self.compiled.explain(profile)
