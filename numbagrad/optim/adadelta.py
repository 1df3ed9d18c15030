"""Adadelta: steps in the units of the steps before."""

from . import _more_kernels
from ._functional import adadelta
from ._tabled import Tabled, check_lr, check_positive, number

__all__ = ["Adadelta", "adadelta"]


class Adadelta(Tabled):
    """d = sqrt(u + eps) / sqrt(v + eps) * g, v and u the running means of g**2 and d**2 with ``rho``; p -= lr * d.

    ``weight_decay`` is added to g, ``maximize`` climbs; ``foreach`` and ``capturable`` change nothing.
    """

    _kernel = _more_kernels.adadelta
    _tensors = ("square_avg", "acc_delta")

    def __init__(
        self,
        params,
        lr=1.0,
        rho=0.9,
        eps=1e-6,
        weight_decay=0,
        foreach=None,
        *,
        capturable=False,
        maximize=False,
        differentiable=False,
    ):
        check_lr(lr)
        if not 0.0 <= rho <= 1.0:
            raise ValueError(f"Invalid rho value: {rho}")
        if not 0.0 <= eps:
            raise ValueError(f"Invalid epsilon value: {eps}")
        check_positive(weight_decay=weight_decay)
        super().__init__(
            params,
            {
                "lr": lr,
                "rho": rho,
                "eps": eps,
                "weight_decay": weight_decay,
                "maximize": maximize,
                "capturable": capturable,
                "foreach": foreach,
                "differentiable": differentiable,
            },
        )

    def _settings(self, group):
        return *number(group, "lr", "rho", "eps", "weight_decay"), bool(group["maximize"])
