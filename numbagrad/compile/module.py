"""Compiled modules."""

from __future__ import annotations

from ..nn.modules.module import Module
from .function import CompiledFunction


class OptimizedModule(Module):
    """A module whose calls run compiled; everything else is the original's, which stays at ``_orig_mod``."""

    def __init__(self, module, **options):
        super().__init__()
        self._orig_mod = module
        self.training = module.training
        object.__setattr__(self, "compiled", CompiledFunction(module.__call__, **options))

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
