"""``torch.ao``: marks in models that could be quantized."""

__all__ = ["quantization"]


def __getattr__(name):
    if name == "quantization":
        import importlib
        return importlib.import_module("." + name, __name__)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}' (torch.ao.{name} is not available here)")
