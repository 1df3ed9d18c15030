"""Marks in models where they would be quantized: without quantization they change nothing."""

from __future__ import annotations

from ..nn.modules.module import Module

__all__ = ["DeQuantStub", "QuantStub"]


class _Mark(Module):
    """Its input, unchanged."""

    def __init__(self, qconfig=None):
        super().__init__()
        if qconfig:
            self.qconfig = qconfig

    def forward(self, x):
        return x


class QuantStub(_Mark):
    """Where a model's inputs would be quantized."""


class DeQuantStub(_Mark):
    """Where a model's outputs would be floating point again."""


class ObserverBase(Module):
    """The class that ``isinstance`` asks for; no module is one."""


class FakeQuantizeBase(Module):
    """The same."""


def _refused(name):
    def function(*args, **kwargs):
        raise RuntimeError(f"torch.ao.quantization.{name}: numbagrad quantizes no models; float16 and bfloat16 are "
                           "narrower types")
    function.__name__ = function.__qualname__ = name
    function.__doc__ = "Refused: models are not quantized."
    return function


prepare, prepare_qat, convert = map(_refused, ("prepare", "prepare_qat", "convert"))
fuse_modules, fuse_modules_qat = map(_refused, ("fuse_modules", "fuse_modules_qat"))
quantize, quantize_dynamic, quantize_qat = map(_refused, ("quantize", "quantize_dynamic", "quantize_qat"))


def __getattr__(name):
    raise AttributeError(f"module '{__name__}' has no attribute '{name}' (torch.ao.quantization.{name} is not available here)")
