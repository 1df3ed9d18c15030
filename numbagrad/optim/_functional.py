"""One step of each optimizer as a function of lists: parameters, gradients, state, and settings by name."""

from ..core.tensor import Tensor
from . import _recorded

__all__ = [
    "adadelta", "adagrad", "adam", "adamax", "adamw", "asgd", "nadam", "radam", "rmsprop", "rprop", "sgd",
]  # fmt: skip


def _update(name, given, **lists):
    """Step every parameter by the update ``name``; ``lists`` are those of the state, by the names of a parameter's own."""
    steps = given["state_steps"]
    if not all(isinstance(t, Tensor) for t in steps):
        raise RuntimeError("API has changed, `state_steps` argument must contain a list of singleton tensors")
    group = {key: value for key, value in given.items() if key not in ("params", "grads", "state_steps")}
    if "beta1" in group:
        group["betas"] = group["beta1"], group["beta2"]
    for i, (p, g) in enumerate(zip(given["params"], given["grads"], strict=True)):
        own = {key: values[i] for key, values in lists.items() if values}
        _recorded.update_one(name, p, g, {**own, "step": steps[i]}, group)


def adadelta(
    params, grads, square_avgs, acc_deltas, state_steps, capturable=False, foreach=None, differentiable=False,
    has_complex=False, *, lr, rho, eps, weight_decay, maximize,
):  # fmt: skip
    """One step of Adadelta."""
    _update("adadelta", locals(), square_avg=square_avgs, acc_delta=acc_deltas)


def adagrad(
    params, grads, state_sums, state_steps, fused=None, grad_scale=None, found_inf=None, has_sparse_grad=False, foreach=None,
    differentiable=False, has_complex=False, *, lr, weight_decay, lr_decay, eps, maximize,
):  # fmt: skip
    """One step of Adagrad."""
    _update("adagrad", locals(), sum=state_sums)


def adam(
    params, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, state_steps, foreach=None, capturable=False, differentiable=False,
    fused=None, grad_scale=None, found_inf=None, has_complex=False, decoupled_weight_decay=False, *, amsgrad, beta1, beta2,
    lr, weight_decay, eps, maximize,
):  # fmt: skip
    """One step of Adam."""
    _update("adam", locals(), exp_avg=exp_avgs, exp_avg_sq=exp_avg_sqs, max_exp_avg_sq=max_exp_avg_sqs)


def adamw(
    params, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, state_steps, foreach=None, capturable=False, differentiable=False,
    fused=None, grad_scale=None, found_inf=None, has_complex=False, *, amsgrad, beta1, beta2, lr, weight_decay, eps, maximize,
):  # fmt: skip
    """One step of AdamW."""
    adam(**locals(), decoupled_weight_decay=True)


def adamax(
    params, grads, exp_avgs, exp_infs, state_steps, foreach=None, maximize=False, differentiable=False, capturable=False,
    has_complex=False, *, eps, beta1, beta2, lr, weight_decay,
):  # fmt: skip
    """One step of Adamax."""
    _update("adamax", locals(), exp_avg=exp_avgs, exp_inf=exp_infs)


def asgd(
    params, grads, axs, mus, etas, state_steps, foreach=None, maximize=False, differentiable=False, capturable=False,
    has_complex=False, *, lambd, lr, t0, alpha, weight_decay,
):  # fmt: skip
    """One step of ASGD."""
    _update("asgd", locals(), ax=axs, mu=mus, eta=etas)


def nadam(
    params, grads, exp_avgs, exp_avg_sqs, mu_products, state_steps, decoupled_weight_decay=False, foreach=None,
    capturable=False, differentiable=False, has_complex=False, maximize=False, *, beta1, beta2, lr, weight_decay,
    momentum_decay, eps,
):  # fmt: skip
    """One step of NAdam."""
    _update("nadam", locals(), exp_avg=exp_avgs, exp_avg_sq=exp_avg_sqs, mu_product=mu_products)


def radam(
    params, grads, exp_avgs, exp_avg_sqs, state_steps, decoupled_weight_decay=False, foreach=None, differentiable=False,
    capturable=False, has_complex=False, maximize=False, *, beta1, beta2, lr, weight_decay, eps,
):  # fmt: skip
    """One step of RAdam."""
    _update("radam", locals(), exp_avg=exp_avgs, exp_avg_sq=exp_avg_sqs)


def rmsprop(
    params, grads, square_avgs, grad_avgs, momentum_buffer_list, state_steps, foreach=None, maximize=False,
    differentiable=False, capturable=False, has_complex=False, *, lr, alpha, eps, weight_decay, momentum, centered,
):  # fmt: skip
    """One step of RMSprop."""
    lists = {"square_avg": square_avgs, "grad_avg": grad_avgs, "momentum_buffer": momentum_buffer_list}
    _update("rmsprop", locals(), **lists)


def rprop(
    params, grads, prevs, step_sizes, state_steps, foreach=None, capturable=False, maximize=False, differentiable=False,
    has_complex=False, *, step_size_min, step_size_max, etaminus, etaplus,
):  # fmt: skip
    """One step of Rprop."""
    given = {**locals(), "etas": (etaminus, etaplus), "step_sizes": (step_size_min, step_size_max)}
    _update("rprop", given, prev=prevs, step_size=step_sizes)


def sgd(
    params, d_p_list, momentum_buffer_list, has_sparse_grad=False, foreach=None, fused=None, grad_scale=None, found_inf=None,
    *, weight_decay, momentum, lr, dampening, nesterov, maximize,
):  # fmt: skip
    """One step of SGD; momenta that are None are made."""
    group = locals()
    for i, (p, d) in enumerate(zip(params, d_p_list, strict=True)):
        state = {} if momentum_buffer_list[i] is None else {"momentum_buffer": momentum_buffer_list[i]}
        _recorded.sgd(p, -d if maximize else d, state, group)
        momentum_buffer_list[i] = state.get("momentum_buffer")
