"""How the values of a loss are reduced: ``reduction=`` and the two flags that it replaced."""

from __future__ import annotations

from numbagrad.base.user_code import caller_level

NONE, MEAN, SUM = 0, 1, 2
REDUCTIONS = {"none": NONE, "mean": MEAN, "sum": SUM}


def reduction_code(reduction):
    """The number of a reduction; ValueError for what is none."""
    try:
        return REDUCTIONS[reduction]
    except (KeyError, TypeError):
        raise ValueError(f"{reduction} is not a valid value for reduction") from None


def legacy(size_average, reduce):
    """``reduction`` from the two flags it replaced, with the warning that says so."""
    import warnings
    average, reduced = size_average is None or size_average, reduce is None or reduce
    reduction = ("mean" if average else "sum") if reduced else "none"
    warnings.warn(f"size_average and reduce args will be deprecated, please use reduction='{reduction}' instead.",
                  stacklevel=caller_level())
    return reduction


def finish(values, reduction):
    """Reduce the values of a composed loss."""
    code = reduction_code(reduction)
    return values if code == NONE else values.mean() if code == MEAN else values.sum()
