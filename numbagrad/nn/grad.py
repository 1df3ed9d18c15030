"""Gradients of convolutions as functions of their own."""

from ..autograd import grad as _grad
from ..base import modes as _modes
from ..core.registry import REGISTRY as _REGISTRY

_DIMS = {1: "conv1d", 2: "conv2d", 3: "conv3d"}


def _gradient(n, input, weight, wanted, grad_output, options):
    """The gradient of a convolution by one of its operands, whose values do not count; recorded if the others are."""
    given = [t for t in (input, weight, grad_output) if t is not None]
    recorded = _modes.is_grad_enabled() and any(t.requires_grad for t in given)
    with _modes.enable_grad():
        wanted = wanted.detach().requires_grad_()
        operands = (wanted, weight) if input is None else (input, wanted)
        y = _REGISTRY[_DIMS[n]].callable(*operands, None, *options)
        return _grad(y, wanted, grad_output, create_graph=recorded)[0]


def _by_input(n):
    def gradient(input_size, weight, grad_output, stride=1, padding=0, dilation=1, groups=1):
        whole = grad_output.new_zeros(tuple(input_size))
        return _gradient(n, None, weight, whole, grad_output, (stride, padding, dilation, groups))

    gradient.__name__ = gradient.__qualname__ = f"conv{n}d_input"
    gradient.__doc__ = f"The gradient of ``conv{n}d`` by an input of ``input_size``, of ``grad_output``."
    return gradient


def _by_weight(n):
    def gradient(input, weight_size, grad_output, stride=1, padding=0, dilation=1, groups=1):
        whole = grad_output.new_zeros(tuple(weight_size))
        return _gradient(n, input, None, whole, grad_output, (stride, padding, dilation, groups))

    gradient.__name__ = gradient.__qualname__ = f"conv{n}d_weight"
    gradient.__doc__ = f"The gradient of ``conv{n}d`` by a weight of ``weight_size``, of ``grad_output``."
    return gradient


conv1d_input, conv2d_input, conv3d_input = map(_by_input, (1, 2, 3))
conv1d_weight, conv2d_weight, conv3d_weight = map(_by_weight, (1, 2, 3))
