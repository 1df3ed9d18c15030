"""Forward-mode differentiation, which ``func`` has: this module shows it under its public name."""

from . import transforms

__all__ = ["UnpackedDualTensor", "enter_dual_level", "exit_dual_level", "make_dual", "unpack_dual", "dual_level"]

globals().update({name: getattr(transforms("forward_ad"), name) for name in __all__})
