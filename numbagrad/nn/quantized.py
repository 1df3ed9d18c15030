"""``torch.nn.quantized``, of which models that are not quantized use ``FloatFunctional``."""

from __future__ import annotations

import numbagrad as ng

from .modules import Identity
from .modules.module import Module

__all__ = ["FloatFunctional"]


class FloatFunctional(Module):
    """Arithmetic as methods, so that what would measure ranges can be put behind it."""

    def __init__(self):
        super().__init__()
        self.activation_post_process = Identity()

    def forward(self, x):
        raise RuntimeError("FloatFunctional is not intended to use the 'forward'. Please use the underlying operation")

    def add(self, x, y):
        return self.activation_post_process(ng.add(x, y))

    def add_scalar(self, x, y):
        return ng.add(x, y)

    def mul(self, x, y):
        return self.activation_post_process(ng.mul(x, y))

    def mul_scalar(self, x, y):
        return ng.mul(x, y)

    def cat(self, x, dim=0):
        return self.activation_post_process(ng.cat(x, dim=dim))

    def add_relu(self, x, y):
        return self.activation_post_process(ng.add(x, y).relu())

    def matmul(self, x, y):
        return self.activation_post_process(ng.matmul(x, y))
