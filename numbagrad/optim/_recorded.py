"""Updates that autograd records, for ``differentiable=True``: gradients reach parameters and settings of before the step.

Each takes a parameter, its gradient, its state, its group and the number of the step, and writes new values into the first
and the third. What a derivative needs is never written to: state is read, computed anew and copied back.
"""

import numbagrad as ng

from ..core.tensor import Tensor
from .optimizer import _note_composed


def record(optimizer, group, grad=True):
    """One update of a group's parameters, which autograd records with ``grad``."""
    _note_composed()
    with ng.set_grad_enabled(grad):
        for p in group["params"]:
            g = p._grad
            if g is None:
                continue
            own = optimizer._state_of(p, group)
            if optimizer._update_name == "sgd":
                sgd(p, -g if group["maximize"] else g, own, group)
            else:
                update_one(optimizer._update_name, p, g, own, group)


def update_one(name, p, g, own, group):
    """One update of one parameter, whose state has a count; complex numbers are pairs of independent ones."""
    if own["step"].requires_grad:
        raise RuntimeError("`requires_grad` is not supported for `step` in differentiable mode")
    own["step"].add_(1)
    d = -g if group["maximize"] else g
    if p.is_complex():
        p, d = ng.view_as_real(p), ng.view_as_real(d)
        own = {key: ng.view_as_real(s) if s.is_complex() else s for key, s in own.items()}
    globals()[name](p, d, own, group, own["step"].item())


def setting(group, name):
    """A setting as it is, a tensor of one element without dimensions."""
    value = group[name]
    return value.squeeze() if isinstance(value, Tensor) else value


def decayed(x, d, group):
    """The gradient with the decay of the weights."""
    decay = setting(group, "weight_decay")
    return d + decay * x if decay != 0 else d


def shrunk(x, d, group):
    """Parameter and gradient after the decay, which goes to the one or the other."""
    if not group["decoupled_weight_decay"]:
        return x, decayed(x, d, group)
    decay = setting(group, "weight_decay")
    return (x * (1 - setting(group, "lr") * decay) if decay != 0 else x), d


def mean(own, name, value, keep):
    """The running mean ``own[name]`` after one more value."""
    # A product with a tensor keeps its other factor, which is written to below.
    new = (own[name].clone() if isinstance(keep, Tensor) else own[name]) * keep + value * (1 - keep)
    own[name].copy_(new)
    return new


def sgd(p, d, state, group):
    """SGD's update; ``state`` is the parameter's own dict, which gets the momentum."""
    x, momentum = p.clone(), setting(group, "momentum")
    d = decayed(x, d, group)
    if momentum != 0:
        buf = state.get("momentum_buffer")
        if buf is None:
            # PyTorch's first momentum is a value, through which nothing flows.
            new = state["momentum_buffer"] = d.detach().clone()
        else:
            new = buf * momentum + d * (1 - group["dampening"])
            buf.copy_(new)
        d = d + new * momentum if group["nesterov"] else new
    p.copy_(x - d * setting(group, "lr"))


def moments(own, d, group):
    """The running means of d and d**2, and the betas."""
    beta1, beta2 = (b.squeeze() if isinstance(b, Tensor) else b for b in group["betas"])
    return mean(own, "exp_avg", d, beta1), mean(own, "exp_avg_sq", d * d, beta2), beta1, beta2


def adam(p, d, own, group, t):
    x, d = shrunk(p.clone(), d, group)
    m, v, beta1, beta2 = moments(own, d, group)
    if group["amsgrad"]:
        largest = ng.maximum(own["max_exp_avg_sq"].clone(), v)
        own["max_exp_avg_sq"].copy_(largest)
        v = largest
    root = v.sqrt() / (1 - beta2**t) ** 0.5 + group["eps"]
    p.copy_(x - m / root * (setting(group, "lr") / (1 - beta1**t)))


def nadam(p, d, own, group, t):
    x, d = shrunk(p.clone(), d, group)
    m, v, beta1, beta2 = moments(own, d, group)
    decay, lr = group["momentum_decay"], setting(group, "lr")
    mu = beta1 * (1.0 - 0.5 * 0.96 ** (t * decay))
    following = beta1 * (1.0 - 0.5 * 0.96 ** ((t + 1) * decay))
    own["mu_product"].mul_(mu)
    product = own["mu_product"].item()
    root = (v / (1 - beta2**t)).sqrt() + group["eps"]
    x = x - d / root * (lr * (1.0 - mu) / (1.0 - product))
    p.copy_(x - m / root * (lr * following / (1.0 - product * following)))


def radam(p, d, own, group, t):
    x, d = shrunk(p.clone(), d, group)
    m, v, beta1, beta2 = moments(own, d, group)
    correct2, limit = 1 - beta2**t, 2 / (1 - beta2) - 1
    rho = limit - 2 * t * beta2**t / correct2
    step = m / (1 - beta1**t) * setting(group, "lr")
    if rho > 5.0:
        rectified = ((rho - 4) * (rho - 2) * limit / ((limit - 4) * (limit - 2) * rho)) ** 0.5
        step = step * (correct2**0.5 / (v.sqrt() + group["eps"])) * rectified
    p.copy_(x - step)


def adamax(p, d, own, group, t):
    x = p.clone()
    d = decayed(x, d, group)
    beta1, beta2 = group["betas"]
    m = mean(own, "exp_avg", d, beta1)
    largest = ng.maximum(own["exp_inf"] * beta2, d.abs() + group["eps"])
    own["exp_inf"].copy_(largest)
    p.copy_(x - m / largest * (setting(group, "lr") / (1 - beta1**t)))


def adagrad(p, d, own, group, t):
    x = p.clone()
    d = decayed(x, d, group)
    total = own["sum"] + d * d
    own["sum"].copy_(total)
    p.copy_(x - d / (total.sqrt() + group["eps"]) * (setting(group, "lr") / (1 + (t - 1) * group["lr_decay"])))


def adadelta(p, d, own, group, t):
    x, rho, eps = p.clone(), group["rho"], group["eps"]
    d = decayed(x, d, group)
    v = mean(own, "square_avg", d * d, rho)
    step = (own["acc_delta"] + eps).sqrt() / (v + eps).sqrt() * d
    mean(own, "acc_delta", step * step, rho)
    p.copy_(x - step * setting(group, "lr"))


def rmsprop(p, d, own, group, t):
    x, alpha, momentum = p.clone(), group["alpha"], group["momentum"]
    d = decayed(x, d, group)
    v = mean(own, "square_avg", d * d, alpha)
    if group["centered"]:
        m = mean(own, "grad_avg", d, alpha)
        v = v - m * m
    step = d / (v.sqrt() + group["eps"])
    if momentum > 0:
        step = own["momentum_buffer"] * momentum + step
        own["momentum_buffer"].copy_(step)
    p.copy_(x - step * setting(group, "lr"))


def asgd(p, d, own, group, t):
    x = p.clone()
    d = decayed(x, d, group)
    lr, lambd, eta, mu = setting(group, "lr"), group["lambd"], own["eta"].item(), own["mu"].item()
    x = x * (1 - lambd * eta) - d * eta
    p.copy_(x)
    own["ax"].copy_(x if mu == 1 else own["ax"] + (x - own["ax"]) * mu)
    with ng.no_grad():
        own["eta"].copy_(ng.as_tensor(lr / (1 + lambd * lr * t) ** group["alpha"]))
        own["mu"].copy_(ng.as_tensor(1 / max(1, t - group["t0"])))


def rprop(p, d, own, group, t):
    x, (shrink, grow), (least, most) = p.clone(), group["etas"], group["step_sizes"]
    both = (d * own["prev"]).detach()
    one = ng.ones_like(both)
    size = (own["step_size"] * ng.where(both > 0, one * grow, ng.where(both < 0, one * shrink, one))).clamp(least, most)
    own["step_size"].copy_(size)
    d = ng.where(both < 0, ng.zeros_like(d), d)
    own["prev"].copy_(d)
    p.copy_(x - d.sign() * size)
