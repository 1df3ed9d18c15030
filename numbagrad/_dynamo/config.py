"""Settings of PyTorch's compiler: kept, and without effect, as a step is captured anew where shapes change."""

from __future__ import annotations

import contextlib
import sys
import types


class _Config(types.ModuleType):
    """The module, with settings as attributes that ``patch`` changes for a while."""

    suppress_errors, verbose, cache_size_limit, recompile_limit = False, False, 8, 8
    accumulated_cache_size_limit, accumulated_recompile_limit = 256, 256
    capture_scalar_outputs, capture_dynamic_output_shape_ops = False, False
    automatic_dynamic_shapes, assume_static_by_default, optimize_ddp = True, True, True

    @contextlib.contextmanager
    def _changed(self, changes):
        before = {name: getattr(self, name) for name in changes}
        self.__dict__.update(changes)
        try:
            yield
        finally:
            self.__dict__.update(before)

    def patch(self, arg1=None, arg2=None, **kwargs):
        """A context, or decorator, in which settings have other values."""
        changes = {arg1: arg2} if isinstance(arg1, str) else {**(arg1 or {}), **kwargs}
        return self._changed({name.replace("-", "_"): value for name, value in changes.items()})


sys.modules[__name__].__class__ = _Config
