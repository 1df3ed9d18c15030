"""Adafactor: steps scaled by a running mean of the squared gradient of which only two factors are kept."""

from collections import defaultdict

import numbagrad as ng

from ..base.dtypes import finfo, float32, float64, get_default_dtype
from ..core.storage import F4 as FLOAT32
from ..core.tensor import Tensor
from . import _more_kernels
from ._tabled import _plain, _write_back, check_lr_is_single, number
from .optimizer import Optimizer, _are_plain, _check_counts, _closure_loss, _number, _run

__all__ = ["Adafactor"]


class Adafactor(Optimizer):
    """p -= alpha * g / sqrt(v), v the product of running means of g**2 over rows and over columns; a vector keeps it whole.

    The mean of step t takes a share t**beta2_decay of the new; alpha = max(eps[1], rms(p)) * min(lr, 1 / sqrt(t)), and an
    update of an rms above ``d`` is cut to it. eps[0] bounds v's root from below: that of the dtype if None.
    ``weight_decay`` scales p by 1 - lr * weight_decay, ``maximize`` climbs; ``foreach`` changes nothing.
    """

    def __init__(
        self,
        params,
        lr=1e-2,
        beta2_decay=-0.8,
        eps=(None, 1e-3),
        d=1.0,
        weight_decay=0.0,
        *,
        foreach=None,
        maximize=False,
    ):
        check_lr_is_single(lr)
        if not 0.0 <= lr:
            raise ValueError(f"Learning rate should be >= 0 but is: {lr}")
        if not 0.0 >= beta2_decay:
            raise ValueError(f"beta2_decay should be <= 0 but is: {beta2_decay}")
        if eps[0] is not None and not 0.0 <= eps[0]:
            raise ValueError(f"epsilon1 should be >= 0 but is: {eps[0]}")
        if not 0.0 <= eps[1]:
            raise ValueError(f"epsilon2 should be >= 0 but is: {eps[1]}")
        if not 1.0 <= d:
            raise ValueError(f"Clipping threshold d should be >= 1 but is: {d}")
        if not 0.0 <= weight_decay:
            raise ValueError(f"weight_decay should be >= 0 but is: {weight_decay}")
        super().__init__(
            params,
            {
                "lr": lr,
                "beta2_decay": beta2_decay,
                "eps": eps,
                "d": d,
                "weight_decay": weight_decay,
                "foreach": foreach,
                "maximize": maximize,
            },
        )

    def __setstate__(self, state):
        super().__setstate__(state)
        for group in self.param_groups:
            group.setdefault("foreach", None)
            for p in group["params"]:
                own = self.state.get(p)
                if own and not isinstance(own["step"], Tensor):
                    own["step"] = _count(float(own["step"]))

    def _state_of(self, p, g):
        own = self.state[p]
        if not own:
            shape = list(g.shape)
            if len(shape) > 1:
                factors = {"row_var": shape[:-1] + [1], "col_var": shape[:-2] + [1] + shape[-1:]}
                made = {name: g.new_zeros(sizes) for name, sizes in factors.items()}
            else:
                made = {"variance": ng.zeros_like(g, requires_grad=False)}
            own.update({"step": _count(0.0), **made})  # all at once: later steps would take a part for the whole
        return own

    def step(self, closure=None):
        """One update; returns what ``closure`` returned."""
        loss = _closure_loss(closure)
        for group in self.param_groups:
            tables, wide, changed, changed_wide, others = defaultdict(list), defaultdict(list), [], [], []
            small = group["eps"][0]
            for p in group["params"]:
                g = p._grad
                if g is None:
                    continue
                if p.is_complex():
                    raise RuntimeError("Adafactor does not support complex parameters")
                if g.is_sparse:
                    raise RuntimeError("Adafactor does not support sparse gradients")
                own = self._state_of(p, g)
                if small is None:
                    small = finfo(p.dtype).eps
                if not p._kind.cpu:  # sums over all elements have no form on a device
                    _composed(p, g, own, small, group)
                    continue
                row = own["row_var"] if "row_var" in own else own["variance"]
                col, step = own.get("col_var", row), own["step"]
                _check_counts(step)
                rows, cols = g._shape[-2:] if len(g._shape) > 1 else (0, 1)
                if row._n * cols != g._n or rows and col._n * rows != g._n:
                    raise RuntimeError(f"The sizes of a parameter and of its state must match in an optimizer's step, but got "
                                       f"{list(g._shape)}, {list(row._shape)} and {list(col._shape)}")
                plain = _are_plain(p, g) and all(t._kind is p._kind and t._strides is None for t in (row, col))
                if plain and step.dtype in (float32, float64) and step.device.type == p.device.type:
                    (changed if step._kind is FLOAT32 else changed_wide).append(p)
                else:
                    given, p, g, (row, col), (step,) = _plain(p, g, [row, col], [step])
                    others += given
                into = tables if step._kind is FLOAT32 else wide
                into[p._kind] += p._ptr, g._ptr, row._ptr, col._ptr, step._ptr, rows, cols, p._n
            if small is None:  # nothing to update: settings are asked for without gradients too
                small = next((finfo(p.dtype).eps for p in group["params"] if p.is_floating_point()), 0.0)
            lr, decay2, clip, decay = number(group, "lr", "beta2_decay", "d", "weight_decay")
            settings = lr, decay2, float(small), float(group["eps"][1]), clip, decay, bool(group["maximize"])
            _run(_more_kernels.adafactor, tables, changed, *settings)
            if wide:
                _run(_more_kernels.adafactor.wide, wide, changed_wide, *settings)
            if others:
                _write_back(others)
        return loss


def _count(value):
    return ng.tensor(value, dtype=float64 if get_default_dtype() is float64 else float32, device="cpu")


@ng.no_grad()
def _composed(p, g, own, small, group):
    """The same update by tensor operations."""
    own["step"].add_(1)
    t = own["step"].item()
    new, lr = t ** group["beta2_decay"], _number(group["lr"])
    alpha = max(group["eps"][1], p.norm().item() / p.numel() ** 0.5) * min(lr, 1 / t**0.5)
    if group["weight_decay"] != 0:
        p.mul_(1 - lr * group["weight_decay"])
    if g.dim() > 1:
        row, col = own["row_var"], own["col_var"]
        row.lerp_((g * g).mean(-1, keepdim=True), new)
        col.lerp_((g * g).mean(-2, keepdim=True), new)
        v = row @ col / row.mean(-2, keepdim=True).clamp_(min=small)
    else:
        v = own["variance"].lerp_(g * g, new).clone()
    update = v.clamp_(min=small * small).rsqrt_().mul_(g)
    excess = update.norm().item() / (update.numel() ** 0.5 * group["d"])
    p.add_(update, alpha=(alpha if group["maximize"] else -alpha) / max(1.0, excess))
