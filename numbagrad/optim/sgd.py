"""Stochastic gradient descent."""

from collections import defaultdict

import numbagrad as ng

from ..base.sparse import SparseArgument
from ..core.tensor import Tensor
from . import _kernels
from ._functional import sgd
from ._recorded import record
from .optimizer import (
    _PLAIN,
    Optimizer,
    _are_plain,
    _check_fused,
    _check_options,
    _closure_loss,
    _note_composed,
    _number,
    _run,
)

__all__ = ["SGD", "sgd"]


class SGD(Optimizer):
    """p -= lr * d with d = g + weight_decay * p; with ``momentum`` b = momentum * b + (1 - dampening) * d replaces d.

    ``nesterov`` uses d + momentum * b; ``maximize`` climbs instead. The first step sets b = d. ``foreach`` and
    ``fused`` are accepted: all parameters are updated by one native call anyway.
    """

    _update_name = "sgd"

    def __init__(
        self,
        params,
        lr=1e-3,
        momentum=0,
        dampening=0,
        weight_decay=0,
        nesterov=False,
        *,
        maximize=False,
        foreach=None,
        differentiable=False,
        fused=None,
    ):
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        if lr < 0.0:
            raise ValueError(f"Invalid learning rate: {lr}")
        if momentum < 0.0:
            raise ValueError(f"Invalid momentum value: {momentum}")
        if weight_decay < 0.0:
            raise ValueError(f"Invalid weight_decay value: {weight_decay}")
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        _check_options(lr, foreach, fused, differentiable)
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
                "foreach": foreach,
                "differentiable": differentiable,
                "fused": fused,
            },
        )

    def __setstate__(self, state):
        super().__setstate__(state)
        for group in self.param_groups:
            for name, value in (("nesterov", False), ("maximize", False), ("foreach", None)):
                group.setdefault(name, value)
            for name in ("differentiable", "fused"):
                group.setdefault(name, False)

    def _state_of(self, p, group):
        return self.state[p] if group["momentum"] != 0 else {}

    def step(self, closure=None):
        """One update; returns what ``closure`` returned."""
        loss = _closure_loss(closure)
        for group in self.param_groups:
            try:
                if group["differentiable"]:
                    record(self, group)
                    continue
                lr, decay = float(_number(group["lr"])), float(_number(group["weight_decay"]))
                momentum, dampening = float(group["momentum"]), float(group["dampening"])
                settings = lr, momentum, dampening, decay, bool(group["nesterov"]), bool(group["maximize"])
                if group["fused"]:
                    _check_fused(group["params"])
                tables, changed = defaultdict(list), []
                fresh = []
                buf, first, buf_ptr = None, False, 0
                for p in group["params"]:
                    g = p._grad
                    if g is None:
                        continue
                    if p._shape != g._shape:  # before a buffer is made
                        _are_plain(p, g)
                    if momentum != 0.0:
                        state = self.state[p]
                        buf = state.get("momentum_buffer")
                        first = buf is None
                        if first:
                            # An error or an interrupt may come before the kernel fills it: to the next step zeros are the
                            # same as none; with a dampening they are not, and it becomes state afterwards.
                            buf = ng.zeros_like(p, requires_grad=False)
                            if dampening == 0.0:
                                state["momentum_buffer"] = buf
                            else:
                                fresh.append((state, buf))
                        buf_ptr = buf._ptr
                    kind = p._kind
                    if (
                        kind.dtype in _PLAIN
                        and kind is g._kind
                        and p._strides is g._strides is None
                        and (buf is None or _are_plain(p, g, buf))
                    ):
                        tables[kind] += p._ptr, g._ptr, buf_ptr, p._n, first
                        changed.append(p)
                    else:
                        _are_plain(p, g, g if buf is None else buf)
                        _composed(p, g, buf, first, *settings)
                        if first:
                            state["momentum_buffer"] = buf
                _run(_kernels.sgd, tables, changed, *settings)
                for state, buf in fresh:
                    state["momentum_buffer"] = buf
            except SparseArgument:
                from . import _sparse
                _sparse.sgd(self, group, _composed)
        return loss


def _composed(p, g, buf, first, lr, momentum, dampening, weight_decay, nesterov, maximize):
    """The same update by tensor operations, for the dtypes and layouts that the kernel does not take."""
    _note_composed()
    with ng.no_grad():
        d = -g if maximize else g
        if weight_decay != 0:
            d = d.add(p, alpha=weight_decay)
        if buf is not None:
            if first:
                buf.copy_(d)
            else:
                buf.mul_(momentum).add_(d, alpha=1 - dampening)
            d = d.add(buf, alpha=momentum) if nesterov else buf
        p.add_(d, alpha=-lr)
