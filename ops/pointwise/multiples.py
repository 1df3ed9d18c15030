"""``input + alpha * other``: the keyword ``alpha`` of sums and differences, as one loop that rounds once."""

from __future__ import annotations

from numbagrad.autograd.inplace import apply, replace
from numbagrad.autograd.inplace_methods import changed
from numbagrad.base import arguments
from numbagrad.base import dtypes as dt
from numbagrad.base.sparse import SparseArgument, instead
from numbagrad.core.promotion import common_dtype, is_number
from numbagrad.dispatch.elementwise_general import general
from numbagrad.extend import REGISTRY, Sample, Tensor, elementwise


def _checked_alpha(first, second, alpha):
    """The dtype in which ``first op alpha * second`` is computed, after PyTorch's checks of ``alpha``."""
    both = (first, second)
    d = common_dtype([a for a in both if isinstance(a, Tensor)], [a for a in both if not isinstance(a, Tensor)])
    arguments.check_factor("alpha", alpha, d)
    return d


def multiple(name, first, second, alpha, out, inplace):
    """``first op alpha * second`` of floating-point tensors by one loop."""
    op = MULTIPLES[name]
    if not inplace:
        return op.call(first, second, alpha, out=out)
    if (op.changed or changed(op))(first, second, alpha) is not None:
        return first
    return apply(op, first, (second, alpha))


def scaled(name, swapped=False):
    """``input op alpha * other`` for the ``alpha`` keyword; ``swapped``: ``other op alpha * input``."""
    def run(input, other, alpha, out=None, inplace=False):
        first, second = (other, input) if swapped else (input, other)
        try:
            if isinstance(alpha, Tensor) and not alpha._shape and not alpha._rg:
                alpha = alpha.item()
            op = REGISTRY[name]
            if alpha.__class__ is float and isinstance(second, Tensor) and isinstance(first, Tensor) and (
                    first._kind is second._kind and first._kind.dtype.category == 2 and -65504.0 <= alpha <= 65504.0):
                return multiple(name, first, second, alpha, out, inplace)  # the usual case, which passes all of the following
            if not all(isinstance(a, Tensor) or is_number(a) for a in (first, second)):
                return general(op, (first, second), ())  # which raises the TypeError
            if not is_number(alpha):
                called = "rsub" if swapped else name + "_" if inplace else name
                raise TypeError(f"{called}(): argument 'alpha' must be Number, not {type(alpha).__name__}")
            if name == "sub":
                op.check((first, second), None)
            d = _checked_alpha(first, second, alpha)
            alpha = dt.fit(alpha, d)
            if d.category == 2 and isinstance(first, Tensor) and alpha.__class__ is not complex:
                second = second.to(dtype=d) if isinstance(second, Tensor) and second._shape else second
                return multiple(name, first, second, alpha, out, inplace)
            # In the dtype of the result: an integer tensor times a float would be float32 beside a float64 input.
            second = second.to(dtype=d) * alpha if isinstance(second, Tensor) and second._shape else second * alpha
            if inplace:
                return getattr(input, op.name + "_")(second)
            return op.call(first, second, out=out)
        except SparseArgument as error:
            result = instead(REGISTRY[name], error)(first, second, alpha=alpha)
            return result if not inplace else replace(input, result, "add_")
    return run


@elementwise(private=True, accepts="realfloat", dtypes="float", reference=lambda a, b, alpha: a + alpha * b,
             names="AddBackward0", samples=(Sample((3, 4), (3, 4), 0.3), Sample((3, 4), (4,), -2.0)),
             holds=("input", "other", "alpha"))
def add_multiple(input, other, alpha: float):
    """``input + alpha * other``, rounded once."""
    return input + alpha * other


@elementwise(private=True, accepts="realfloat", dtypes="float", reference=lambda a, b, alpha: a - alpha * b,
             names="SubBackward0", samples=(Sample((3, 4), (3, 4), 0.3), Sample((3, 4), (4,), -2.0)),
             holds=("input", "other", "alpha"))
def sub_multiple(input, other, alpha: float):
    """``input - alpha * other``, rounded once."""
    return input - alpha * other


MULTIPLES = {"add": add_multiple, "sub": sub_multiple}
