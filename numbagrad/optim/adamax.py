"""Adamax: Adam scaled by the largest recent gradient instead of the root of a mean square."""

from . import _more_kernels
from ._functional import adamax
from ._tabled import Tabled, check_betas, check_lr, check_positive, number

__all__ = ["Adamax", "adamax"]


class Adamax(Tabled):
    """u = max(beta2 * u, |g| + eps), m the running mean of g; p -= lr / (1 - beta1**step) * m / u.

    ``weight_decay`` is added to g, ``maximize`` climbs; ``foreach`` and ``capturable`` change nothing.
    """

    _kernel = _more_kernels.adamax
    _tensors = ("exp_avg", "exp_inf")

    def __init__(
        self,
        params,
        lr=2e-3,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0,
        foreach=None,
        *,
        maximize=False,
        differentiable=False,
        capturable=False,
    ):
        check_lr(lr)
        if not 0.0 <= eps:
            raise ValueError(f"Invalid epsilon value: {eps}")
        check_betas(betas)
        check_positive(weight_decay=weight_decay)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "capturable": capturable,
            },
        )

    def _settings(self, group):
        return (
            *number(group, "lr"),
            *map(float, group["betas"]),
            *number(group, "eps", "weight_decay"),
            bool(group["maximize"]),
        )
