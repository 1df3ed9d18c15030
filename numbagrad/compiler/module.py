"""Compiled modules, and ``ng.compile`` itself."""

from __future__ import annotations

import copy
import functools

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
    def dynamo_ctx(self):
        """What compiles; packages ask for it to know that a module is compiled."""
        return self.compiled

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


def compile(model=None, *, fullgraph=False, dynamic=None, backend="numba", mode=None, options=None, disable=False,
            fallback=False, check=False):
    """Compile a function of tensors, or a Module: the first call captures it, later ones run as one native call.

    Works as a decorator, with or without arguments. ``fallback=True`` runs what cannot be captured eagerly, with a
    warning, where otherwise ``CaptureError`` (a RuntimeError) names the line. ``disable=True`` returns ``model`` itself.
    A function keeps up to 1024 combinations of argument shapes, each captured in milliseconds without compiling anything;
    with ``dynamic=False`` it keeps 16, and warns of more. ``check=True`` (or ``NUMBAGRAD_COMPILE_CHECK=1``) runs each call
    eagerly, too, in a forked process, and raises ``CompileMismatch`` where results, gradients, states or effects differ.
    ``fullgraph``, ``backend``, ``mode`` and ``options`` are
    accepted for PyTorch's sake: there is one backend, and graphs are always whole."""
    if model is None:
        return functools.partial(compile, fullgraph=fullgraph, dynamic=dynamic, backend=backend, mode=mode,
                                 options=options, disable=disable, fallback=fallback, check=check)
    if disable:
        return model
    if isinstance(model, Module):
        return OptimizedModule(model, fallback=fallback, dynamic=dynamic, check=check)
    if not callable(model):
        raise TypeError(f"compile() expects a function or a Module, not {type(model).__name__}")
    return CompiledFunction(model, fallback, dynamic, check)
