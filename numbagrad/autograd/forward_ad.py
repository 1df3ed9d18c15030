"""Forward-mode differentiation, which ``func`` has: this module shows it under its public name."""

from . import transforms

_found = transforms("forward_ad")
UnpackedDualTensor, dual_level = _found.UnpackedDualTensor, _found.dual_level
enter_dual_level, exit_dual_level = _found.enter_dual_level, _found.exit_dual_level
make_dual, unpack_dual = _found.make_dual, _found.unpack_dual

__all__ = ["UnpackedDualTensor", "enter_dual_level", "exit_dual_level", "make_dual", "unpack_dual", "dual_level"]
