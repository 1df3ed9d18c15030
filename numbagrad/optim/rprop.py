"""Rprop: steps whose sizes follow the signs of the gradients alone."""

import numbagrad as ng

from . import _more_kernels
from ._functional import rprop
from ._tabled import Tabled, check_lr, number

__all__ = ["Rprop", "rprop"]


class Rprop(Tabled):
    """p -= size * sign(g); size is multiplied by ``etas[1]`` while the sign of g stays, by ``etas[0]`` when it changes.

    Sizes begin at ``lr`` and stay within ``step_sizes``; p stays where the sign changed. ``maximize`` climbs; ``foreach``
    and ``capturable`` change nothing.
    """

    _kernel = _more_kernels.rprop
    _tensors = ("prev", "step_size")

    def __init__(
        self,
        params,
        lr=1e-2,
        etas=(0.5, 1.2),
        step_sizes=(1e-6, 50),
        *,
        capturable=False,
        foreach=None,
        maximize=False,
        differentiable=False,
    ):
        check_lr(lr)
        if not 0.0 < etas[0] < 1.0 < etas[1]:
            raise ValueError(f"Invalid eta values: {etas[0]}, {etas[1]}")
        super().__init__(
            params,
            {
                "lr": lr,
                "etas": etas,
                "step_sizes": step_sizes,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "capturable": capturable,
            },
        )

    def _start(self, p, group, name):
        if name == "prev":
            return super()._start(p, group, name)
        (lr,) = number(group, "lr")
        return ng.full_like(p, complex(lr, lr) if p.is_complex() else lr, requires_grad=False)

    def _settings(self, group):
        return *map(float, group["etas"]), *map(float, group["step_sizes"]), bool(group["maximize"])
