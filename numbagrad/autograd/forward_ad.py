"""Forward-mode differentiation, which is not supported: every entry says so and names the way round it."""

__all__ = ["UnpackedDualTensor", "enter_dual_level", "exit_dual_level", "make_dual", "unpack_dual", "dual_level"]


def _refuse(name):
    raise NotImplementedError(f"autograd.forward_ad.{name}: forward-mode differentiation is not supported; "
                              "autograd.functional.jvp computes Jacobian-vector products by differentiating backward "
                              "twice")


class UnpackedDualTensor:
    """Result of ``unpack_dual`` where forward mode exists."""

    def __init__(self, *args, **kwargs):
        _refuse("UnpackedDualTensor")


class dual_level:
    """Context in which dual tensors live; not supported."""

    def __init__(self, *args, **kwargs):
        _refuse("dual_level")


def enter_dual_level():
    """Not supported."""
    _refuse("enter_dual_level")


def exit_dual_level(*, level=None):
    """Not supported."""
    _refuse("exit_dual_level")


def make_dual(tensor, tangent, *, level=None):
    """Not supported."""
    _refuse("make_dual")


def unpack_dual(tensor, *, level=None):
    """Not supported."""
    _refuse("unpack_dual")
