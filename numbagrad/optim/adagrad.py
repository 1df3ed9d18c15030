"""Adagrad: steps scaled by the sum of all squared gradients so far."""

import numbagrad as ng

from . import _more_kernels
from ._functional import adagrad
from ._tabled import Tabled, check_lr, check_positive, number
from .optimizer import _check_fused

__all__ = ["Adagrad", "adagrad"]


class Adagrad(Tabled):
    """v += g**2; p -= lr / (1 + (step - 1) * lr_decay) * g / (sqrt(v) + eps), v from ``initial_accumulator_value``.

    ``weight_decay`` is added to g, ``maximize`` climbs; ``foreach`` and ``fused`` change nothing.
    """

    _kernel = _more_kernels.adagrad
    _tensors = ("sum",)
    _options = {"foreach": None, "maximize": False, "differentiable": False, "fused": None}

    def __init__(
        self,
        params,
        lr=1e-2,
        lr_decay=0,
        weight_decay=0,
        initial_accumulator_value=0,
        eps=1e-10,
        foreach=None,
        *,
        maximize=False,
        differentiable=False,
        fused=None,
    ):
        check_lr(lr)
        check_positive(
            lr_decay=lr_decay, weight_decay=weight_decay, initial_accumulator_value=initial_accumulator_value
        )
        if not 0.0 <= eps:
            raise ValueError(f"Invalid epsilon value: {eps}")
        super().__init__(
            params,
            {
                "lr": lr,
                "lr_decay": lr_decay,
                "eps": eps,
                "weight_decay": weight_decay,
                "initial_accumulator_value": initial_accumulator_value,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "fused": fused,
            },
        )
        # Unlike those of the others, this state exists before the first step.
        for group in self.param_groups:
            for p in group["params"]:
                self._state_of(p, group)

    def _start(self, p, group, name):
        value = self.defaults["initial_accumulator_value"]
        return ng.full_like(p, complex(value, value) if p.is_complex() else value, requires_grad=False)

    def _settings(self, group):
        if group["fused"]:
            _check_fused(group["params"])
        return *number(group, "lr", "lr_decay", "eps", "weight_decay"), bool(group["maximize"])
