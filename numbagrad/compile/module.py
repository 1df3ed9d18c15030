"""``ng.compile(model)``: a Module whose call is compiled and whose parts are the model's own."""

from __future__ import annotations

from ..nn.modules.module import Module


class OptimizedModule(Module):
    """A compiled Module; what it does not have itself is looked up in the module it was made from, ``_orig_mod``."""

    def __init__(self, module, compiled):
        super().__init__()
        self._orig_mod = module
        self.__dict__["compiled"] = compiled
        self.__dict__["training"] = module.training

    def __call__(self, *args, **kwargs):
        return self.__dict__["compiled"](*args, **kwargs)

    def forward(self, *args, **kwargs):
        return self(*args, **kwargs)

    def train(self, mode=True):
        super().train(mode)
        return self

    def __getattr__(self, name):
        if name == "_orig_mod":
            return self._modules["_orig_mod"]
        return getattr(self._modules["_orig_mod"], name)

    def __deepcopy__(self, memo):
        import copy

        from .function import CompiledFunction
        module = copy.deepcopy(self._modules["_orig_mod"], memo)
        return OptimizedModule(module, CompiledFunction(module, self.compiled.fallback, self.compiled.limit))


__all__ = ["OptimizedModule"]
