"""Adam: steps scaled by running means of the gradient and of its square."""

from collections import defaultdict

import numbagrad as ng

from ..base.dtypes import float32, get_default_dtype
from ..base.sparse import SparseArgument
from ..core.storage import F4 as FLOAT32
from ..core.tensor import Tensor
from . import _kernels
from ._functional import adam
from ._recorded import record
from .optimizer import (
    Optimizer,
    _are_plain,
    _check_counts,
    _check_fused,
    _check_options,
    _closure_loss,
    _note_composed,
    _number,
    _run,
)

__all__ = ["Adam", "adam"]


class Adam(Optimizer):
    """m and v are running means of g and g**2 with ``betas``; p -= lr * (m / c1) / (sqrt(v / c2) + eps).

    c1 and c2 = 1 - beta**step. ``weight_decay`` is added to g, or scales p by 1 - lr * weight_decay when
    ``decoupled_weight_decay``; ``amsgrad`` uses the largest v so far; ``maximize`` climbs instead. ``foreach``,
    ``fused`` and ``capturable`` are accepted: all parameters are updated by one native call anyway.
    """

    _update_name = "adam"

    def __init__(
        self,
        params,
        lr=1e-3,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0,
        amsgrad=False,
        *,
        foreach=None,
        maximize=False,
        capturable=False,
        differentiable=False,
        fused=None,
        decoupled_weight_decay=False,
    ):
        if isinstance(lr, Tensor):
            if foreach and not capturable:
                raise ValueError("lr as a Tensor is not supported for capturable=False and foreach=True")
            if lr.numel() != 1:
                raise ValueError("Tensor lr must be 1-element")
        if not 0.0 <= lr:
            raise ValueError(f"Invalid learning rate: {lr}")
        if not 0.0 <= eps:
            raise ValueError(f"Invalid epsilon value: {eps}")
        for i in (0, 1):
            if not 0.0 <= betas[i] < 1.0:
                raise ValueError(f"Invalid beta parameter at index {i}: {betas[i]}")
        if not 0.0 <= weight_decay:
            raise ValueError(f"Invalid weight_decay value: {weight_decay}")
        if not any(all(isinstance(beta, kind) for beta in betas) for kind in (float, Tensor)):
            raise ValueError("betas must be either both floats or both Tensors")
        for i, beta in enumerate(betas):
            if isinstance(beta, Tensor):
                if foreach and not capturable:
                    raise ValueError(f"betas[{i}] as a Tensor is not supported for capturable=False and foreach=True")
                if beta.numel() != 1:
                    raise ValueError(f"Tensor betas[{i}] must be 1-element")
        _check_options(lr, foreach, fused, differentiable)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": tuple(betas),
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "maximize": maximize,
                "foreach": foreach,
                "capturable": capturable,
                "differentiable": differentiable,
                "fused": fused,
                "decoupled_weight_decay": decoupled_weight_decay,
            },
        )

    def __setstate__(self, state):
        super().__setstate__(state)
        missing = {
            "amsgrad": False,
            "maximize": False,
            "foreach": None,
            "capturable": False,
            "differentiable": False,
            "decoupled_weight_decay": False,
            "fused": None,
        }
        for group in self.param_groups:
            for name, value in missing.items():
                group.setdefault(name, value)
            for p in group["params"]:
                own = self.state.get(p)
                if own and not isinstance(own["step"], Tensor):
                    own["step"] = _step_count(group, p, float(own["step"]))

    def _state_of(self, p, group):
        own = self.state[p]
        if not own:
            names = ["exp_avg", "exp_avg_sq"] + ["max_exp_avg_sq"] * bool(group["amsgrad"])
            # All at once: an interrupt in between would leave a state that later steps take for a whole one.
            own.update({"step": _step_count(group, p), **{name: ng.zeros_like(p, requires_grad=False) for name in names}})
        return own

    def step(self, closure=None):
        """One update; returns what ``closure`` returned."""
        loss = _closure_loss(closure)
        for group in self.param_groups:
            try:
                if group["differentiable"]:
                    record(self, group)
                    continue
                amsgrad = bool(group["amsgrad"])
                settings = (
                    float(_number(group["lr"])),
                    *(float(_number(beta)) for beta in group["betas"]),
                    float(group["eps"]),
                    float(_number(group["weight_decay"])),
                    bool(group["decoupled_weight_decay"]),
                    amsgrad,
                    bool(group["maximize"]),
                )
                if group["fused"]:
                    _check_fused(group["params"])
                tables, changed = defaultdict(list), []
                for p in group["params"]:
                    g = p._grad
                    if g is None:
                        continue
                    own = self._state_of(p, group)
                    m, v, step = own["exp_avg"], own["exp_avg_sq"], own["step"]
                    v_max = own["max_exp_avg_sq"] if amsgrad else v
                    if step._n != 1:
                        _check_counts(step)
                    if _are_plain(p, g, m, v, v_max) and step._kind is FLOAT32:
                        tables[p._kind] += p._ptr, g._ptr, m._ptr, v._ptr, v_max._ptr, step._ptr, p._n
                        changed.append(p)
                    else:
                        _composed(p, g, m, v, v_max, step, *settings)
                _run(_kernels.adam, tables, changed, *settings)
            except SparseArgument:
                from . import _sparse
                _sparse.update(self, group)
        return loss


def _step_count(group, p, value=0.0):
    on_device = group["capturable"] or group["fused"]
    dtype = float32 if group["fused"] else get_default_dtype()
    return ng.tensor(value, dtype=dtype, device=p.device if on_device else "cpu")


def _composed(p, g, m, v, v_max, step, lr, beta1, beta2, eps, weight_decay, decoupled, amsgrad, maximize):
    """The same update by tensor operations, for the dtypes and layouts that the kernel does not take."""
    _note_composed()
    with ng.no_grad():
        step.add_(1)
        t = step.item()
        if p.is_complex():  # pairs of independent numbers
            p, g, m, v, v_max = (ng.view_as_real(x) for x in (p, g, m, v, v_max))
        d = -g if maximize else g
        if weight_decay != 0:
            if decoupled:
                p.mul_(1 - lr * weight_decay)
            else:
                d = d.add(p, alpha=weight_decay)
        m.lerp_(d, 1 - beta1)
        v.mul_(beta2).addcmul_(d, d, value=1 - beta2)
        if amsgrad:
            v_max.copy_(ng.maximum(v_max, v))
            v = v_max
        denominator = v.sqrt().div_((1 - beta2**t) ** 0.5).add_(eps)
        p.addcdiv_(m, denominator, value=-lr / (1 - beta1**t))
