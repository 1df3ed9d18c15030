"""ASGD: gradient descent that keeps the mean of the parameters."""

from . import _more_kernels
from ._functional import asgd
from ._recorded import record
from ._tabled import Tabled, check_lr, check_positive, number

__all__ = ["ASGD", "asgd"]


class ASGD(Tabled):
    """p = p * (1 - lambd * eta) - eta * g; the state's ``ax`` is p, and from step ``t0`` on the mean of p.

    eta = lr / (1 + lambd * lr * step)**alpha. ``weight_decay`` is added to g, ``maximize`` climbs; ``foreach`` and
    ``capturable`` change nothing.
    """

    _kernel = _more_kernels.asgd
    _tensors = ("ax",)
    _scalars = (("mu", 1.0), ("eta", "lr"), ("step", 0.0))

    def __init__(
        self,
        params,
        lr=1e-2,
        lambd=1e-4,
        alpha=0.75,
        t0=1e6,
        weight_decay=0,
        foreach=None,
        maximize=False,
        differentiable=False,
        capturable=False,
    ):
        check_lr(lr)
        check_positive(weight_decay=weight_decay)
        super().__init__(
            params,
            {
                "lr": lr,
                "lambd": lambd,
                "alpha": alpha,
                "t0": t0,
                "weight_decay": weight_decay,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "capturable": capturable,
            },
        )

    def _scalar(self, p, group, value):
        return super()._scalar(p, group, value).to(p.device)

    def _update(self, group):
        if all([p._kind.cpu for p in group["params"]]):
            super()._update(group)
        else:  # the kernel changes its numbers after its loop, which has no form on a device
            record(self, group, grad=bool(group["differentiable"]))

    def _settings(self, group):
        return *number(group, "lr", "lambd", "t0", "alpha", "weight_decay"), bool(group["maximize"])
