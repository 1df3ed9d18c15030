"""Muon: momentum whose matrix is made orthogonal before every step."""

from collections import defaultdict

import numbagrad as ng

from ..kernel.tape import TAPE, active
from . import _more_kernels
from ._tabled import check_lr_is_single, number
from .optimizer import Optimizer, _are_plain, _closure_loss, _note_composed, _run

__all__ = ["Muon"]

EPS = 1e-7
DEFAULT_A, DEFAULT_B, DEFAULT_C = 3.4445, -4.7750, 2.0315
DEFAULT_NS_STEPS = 5


class Muon(Optimizer):
    """p = p * (1 - lr * weight_decay) - rate * o for matrices p, o the momentum with singular values near 1.

    b = lerp(b, g, 1 - momentum), o is made of it (of lerp(g, b, momentum) with ``nesterov``) by ``ns_steps`` of
    Newton and Schulz in bfloat16 with the ``ns_coefficients`` of their polynomial. rate = lr * sqrt(max(1, rows / columns)),
    or 0.2 * lr * sqrt(max(rows, columns)) with ``adjust_lr_fn`` "match_rms_adamw".
    """

    # Tensor operations take these, so that a compiled step that saw other ones is another program.
    _settings_of_ops = ("ns_coefficients", "eps", "ns_steps")

    def __init__(
        self,
        params,
        lr=1e-3,
        weight_decay=0.1,
        momentum=0.95,
        nesterov=True,
        ns_coefficients=(DEFAULT_A, DEFAULT_B, DEFAULT_C),
        eps=EPS,
        ns_steps=DEFAULT_NS_STEPS,
        adjust_lr_fn=None,
    ):
        check_lr_is_single(lr)
        if not 0.0 <= lr:
            raise ValueError(f"Learning rate should be >= 0 but is: {lr}")
        if not 0.0 <= momentum:
            raise ValueError(f"momentum should be >= 0 but is: {momentum}")
        if not 0.0 <= weight_decay:
            raise ValueError(f"weight decay should be >= 0 but is: {weight_decay}")
        if adjust_lr_fn is not None and adjust_lr_fn not in ("original", "match_rms_adamw"):
            raise ValueError(f"Adjust learning rate function {adjust_lr_fn} is not supported")
        super().__init__(
            params,
            {
                "lr": lr,
                "weight_decay": weight_decay,
                "momentum": momentum,
                "nesterov": nesterov,
                "ns_coefficients": ns_coefficients,
                "eps": eps,
                "ns_steps": ns_steps,
                "adjust_lr_fn": adjust_lr_fn,
            },
        )
        for group in self.param_groups:
            for p in group["params"]:
                if p.ndim != 2:
                    raise ValueError(
                        f"Muon only supports 2D parameters whereas we found a parameter with size: {p.size()}"
                    )

    def step(self, closure=None):
        """One update; returns what ``closure`` returned."""
        loss = _closure_loss(closure)
        for group in self.param_groups:
            momenta, tables, changed, updates, others = defaultdict(list), defaultdict(list), [], [], []
            lr, decay, momentum = number(group, "lr", "weight_decay", "momentum")
            for p in group["params"]:
                g = p._grad
                if g is None:
                    continue
                if p.is_complex():
                    raise RuntimeError("Muon does not support complex parameters")
                if g.is_sparse:
                    raise RuntimeError("Muon does not support sparse gradients")
                own = self.state[p]
                if "momentum_buffer" not in own:
                    own["momentum_buffer"] = ng.zeros_like(g, requires_grad=False)
                buf = own["momentum_buffer"]
                if _are_plain(p, g, buf) and p._kind.cpu:
                    out = ng.empty_like(p, requires_grad=False)
                    momenta[p._kind] += g._ptr, buf._ptr, out._ptr, p._n
                    changed.append(p)
                    updates.append(out)
                else:
                    others.append((p, g, buf))
            _run(_more_kernels.muon_momentum, momenta, [], momentum, bool(group["nesterov"]))
            scheme = group["ns_coefficients"], group["ns_steps"], group["eps"]
            updates = [_orthogonal(out, *scheme) for out in updates]
            for p, out in zip(changed, updates):
                tables[p._kind] += p._ptr, out._ptr, *p._shape
            adjusted = {None: 1, "original": 1, "match_rms_adamw": 2}.get(group["adjust_lr_fn"], 0)
            _run(_more_kernels.muon, tables, changed, lr, decay, adjusted)
            for p, g, buf in others:
                _composed(p, g, buf, momentum, group["nesterov"], scheme, lr, decay, adjusted)
        return loss


@ng.no_grad()
def _orthogonal(update, coefficients, steps, eps):
    """The matrix with the singular vectors of ``update`` and singular values near 1, in its dtype."""
    recorder = active() if TAPE else None
    if recorder is not None and recorder.settings_only:
        return update
    return _zeropower_via_newtonschulz(update, coefficients, steps, eps).to(update.dtype).contiguous()


def _zeropower_via_newtonschulz(grad, ns_coefficients, ns_steps, eps):
    """``ns_steps`` of x = a x + (b x x^T + c (x x^T)^2) x in bfloat16, from ``grad`` divided by its norm."""
    if ns_steps >= 100:
        raise ValueError("Number of steps must be less than 100 for computational efficiency")
    if len(grad.shape) != 2:
        raise ValueError("Input tensor gradient must be a 2D matrix")
    if len(ns_coefficients) != 3:
        raise ValueError("Coefficients must be a tuple of exactly 3 values")
    a, b, c = ns_coefficients
    x = grad.bfloat16()
    tall = grad.size(0) > grad.size(1)
    if tall:
        x = x.T
    x.div_(x.norm().clamp(min=eps))
    for _ in range(ns_steps):
        gram = x @ x.T
        x = ng.addmm(x, ng.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x


@ng.no_grad()
def _composed(p, g, buf, momentum, nesterov, scheme, lr, decay, adjusted):
    """The same update by tensor operations, for the dtypes and layouts that the kernels do not take."""
    _note_composed()
    buf.lerp_(g, 1 - momentum)
    update = _zeropower_via_newtonschulz(g.lerp(buf, momentum) if nesterov else buf, *scheme)
    rows, cols = p.shape
    factor = (1.0, max(1, rows / cols) ** 0.5, 0.2 * max(rows, cols) ** 0.5)[adjusted]
    p.mul_(1 - lr * decay)
    p.add_(update, alpha=-lr * factor)
