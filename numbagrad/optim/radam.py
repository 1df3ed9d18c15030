"""RAdam: Adam that waits until the variance of its scaling is tractable."""

from . import _more_kernels
from ._functional import radam
from ._tabled import Tabled, check_betas, check_lr, check_positive, number

__all__ = ["RAdam", "radam"]


class RAdam(Tabled):
    """Momentum alone for the first steps, then Adam times the rectification of its variance.

    ``weight_decay`` is added to g, or scales p by 1 - lr * weight_decay when ``decoupled_weight_decay``; ``maximize``
    climbs; ``foreach`` and ``capturable`` change nothing.
    """

    _kernel = _more_kernels.radam
    _tensors = ("exp_avg", "exp_avg_sq")
    _options = {
        "foreach": None, "maximize": False, "differentiable": False, "decoupled_weight_decay": False, "capturable": False,
    }  # fmt: skip

    def __init__(
        self,
        params,
        lr=1e-3,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0,
        decoupled_weight_decay=False,
        *,
        foreach=None,
        maximize=False,
        capturable=False,
        differentiable=False,
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
                "maximize": maximize,
                "foreach": foreach,
                "capturable": capturable,
                "decoupled_weight_decay": decoupled_weight_decay,
                "differentiable": differentiable,
            },
        )

    def _settings(self, group):
        return (
            *number(group, "lr"),
            *map(float, group["betas"]),
            *number(group, "eps", "weight_decay"),
            bool(group["decoupled_weight_decay"]),
            bool(group["maximize"]),
        )
