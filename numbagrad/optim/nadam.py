"""NAdam: Adam with Nesterov momentum."""

from . import _more_kernels
from ._functional import nadam
from ._tabled import Tabled, check_betas, check_lr, check_positive, number

__all__ = ["NAdam", "nadam"]


class NAdam(Tabled):
    """Adam that takes the step of the next momentum mu_{t+1} together with the present gradient.

    mu_t = beta1 * (1 - 0.96**(t * momentum_decay) / 2). ``weight_decay`` is added to g, or scales p by
    1 - lr * weight_decay when ``decoupled_weight_decay``; ``foreach`` and ``capturable`` change nothing.
    """

    _kernel = _more_kernels.nadam
    _tensors = ("exp_avg", "exp_avg_sq")
    _scalars = (("mu_product", 1.0), ("step", 0.0))
    _options = {
        "maximize": False, "foreach": None, "capturable": False, "differentiable": False, "decoupled_weight_decay": False,
    }  # fmt: skip

    def __init__(
        self,
        params,
        lr=2e-3,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0,
        momentum_decay=4e-3,
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
        check_positive(weight_decay=weight_decay, momentum_decay=momentum_decay)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum_decay": momentum_decay,
                "decoupled_weight_decay": decoupled_weight_decay,
                "maximize": maximize,
                "foreach": foreach,
                "capturable": capturable,
                "differentiable": differentiable,
            },
        )

    def _settings(self, group):
        return (
            *number(group, "lr"),
            *map(float, group["betas"]),
            *number(group, "eps", "weight_decay", "momentum_decay"),
            bool(group["decoupled_weight_decay"]),
            bool(group["maximize"]),
        )
