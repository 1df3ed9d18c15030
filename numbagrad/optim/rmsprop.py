"""RMSprop: steps scaled by a running mean of the squared gradient."""

from . import _more_kernels
from ._functional import rmsprop
from ._tabled import Tabled, check_lr, check_positive, number

__all__ = ["RMSprop", "rmsprop"]


class RMSprop(Tabled):
    """v = alpha * v + (1 - alpha) * g**2; p -= lr * g / (sqrt(v) + eps), through a buffer with ``momentum``.

    ``centered`` subtracts the square of the running mean of g from v. ``weight_decay`` is added to g, ``maximize``
    climbs; ``foreach`` and ``capturable`` change nothing.
    """

    _kernel = _more_kernels.rmsprop
    _tensors = ("square_avg", "momentum_buffer", "grad_avg")
    _options = {"momentum": 0, "centered": False, **Tabled._options}

    def __init__(
        self,
        params,
        lr=1e-2,
        alpha=0.99,
        eps=1e-8,
        weight_decay=0,
        momentum=0,
        centered=False,
        capturable=False,
        foreach=None,
        maximize=False,
        differentiable=False,
    ):
        check_lr(lr)
        if not 0.0 <= eps:
            raise ValueError(f"Invalid epsilon value: {eps}")
        check_positive(momentum=momentum, weight_decay=weight_decay, alpha=alpha)
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "alpha": alpha,
                "eps": eps,
                "centered": centered,
                "weight_decay": weight_decay,
                "capturable": capturable,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
            },
        )

    def _needs(self, name, group):
        return name == "square_avg" or (group["momentum"] > 0 if name == "momentum_buffer" else group["centered"])

    def _settings(self, group):
        return (
            *number(group, "lr", "alpha", "eps", "weight_decay", "momentum"),
            bool(group["centered"]),
            bool(group["maximize"]),
        )
