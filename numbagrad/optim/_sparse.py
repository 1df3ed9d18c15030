"""Updates from sparse gradients, which hold a few rows of their parameter."""

import math

import numbagrad as ng

from ..core.registry import REGISTRY


def add(dense, sparse, values, alpha=1.0):
    """Add values at the coordinates of a sparse tensor to a dense one."""
    add_to_dense = REGISTRY.load("numbagrad.ops.sparse.arithmetic").add_to_dense
    with ng.no_grad():
        add_to_dense(dense, sparse.with_values(values), alpha)


def at(dense, sparse):
    """Values of a dense tensor at the coordinates of a sparse one."""
    return dense.detach()[tuple(sparse._at)]


def _refused(p, g):
    raise RuntimeError("add(sparse, dense) is not supported. Use add(dense, sparse) instead.")


def sgd(optimizer, group, composed):
    """SGD where some gradients are sparse; ``composed`` is its update by tensor operations."""
    lr, momentum, decay = float(group["lr"]), float(group["momentum"]), float(group["weight_decay"])
    for p in group["params"]:
        g = p._grad
        if g is None:
            continue
        if g.is_sparse and decay != 0:
            _refused(p, g)
        if g.is_sparse and momentum == 0:
            add(p, g, g._of, lr if group["maximize"] else -lr)
            continue
        state = optimizer.state[p] if momentum != 0 else {}
        buf = state.get("momentum_buffer")
        first = buf is None
        if first and momentum != 0:
            buf = state["momentum_buffer"] = ng.zeros_like(p, requires_grad=False)
        composed(p, g.to_dense() if g.is_sparse else g, buf, first, lr, momentum, float(group["dampening"]), decay,
                 bool(group["nesterov"]), bool(group["maximize"]))


def update(optimizer, group):
    """One update by an optimizer with a table of kernels: Adagrad knows sparse gradients, the others say that they do not."""
    name = next(c.__name__ for c in type(optimizer).__mro__ if c.__module__.startswith("numbagrad.optim."))
    if name in ("Adam", "AdamW"):
        raise RuntimeError("Adam does not support sparse gradients, please consider SparseAdam instead")
    if name != "Adagrad":
        raise RuntimeError(f"{name} does not support sparse gradients")
    dense = [p for p in group["params"] if p._grad is not None and not p._grad.is_sparse]
    optimizer._update({**group, "params": dense})
    for p in group["params"]:
        if p._grad is not None and p._grad.is_sparse:
            _adagrad(p, p._grad, optimizer.state[p], group)


def _adagrad(p, g, own, group):
    if group["weight_decay"] != 0:
        raise RuntimeError("weight_decay option is not compatible with sparse gradients")
    own["step"] += 1
    g = g.detach().coalesce()
    values = -g._of if group["maximize"] else g._of
    add(own["sum"], g, values * values)
    rate = float(group["lr"]) / (1 + (own["step"].item() - 1) * group["lr_decay"])
    add(p, g, values / (at(own["sum"], g).sqrt() + group["eps"]), -rate)


def adam(p, g, own, group):
    """One update of SparseAdam."""
    beta1, beta2 = group["betas"]
    own["step"] += 1
    g = g.detach().coalesce()
    if not g._of._n:
        return
    values = -g._of if group.get("maximize") else g._of
    mean, square = at(own["exp_avg"], g), at(own["exp_avg_sq"], g)
    more, squares = (values - mean) * (1 - beta1), (values * values - square) * (1 - beta2)
    add(own["exp_avg"], g, more)
    add(own["exp_avg_sq"], g, squares)
    size = float(group["lr"]) * math.sqrt(1 - beta2 ** own["step"]) / (1 - beta1 ** own["step"])
    add(p, g, (more + mean) / ((squares + square).sqrt() + group["eps"]), -size)
