"""Averages of a model's weights over the course of training: stochastic weight averaging and moving averages."""

import itertools
import math
import warnings
from copy import deepcopy

import numbagrad as ng

from ..core.tensor import Tensor
from ..nn import Module
from ..nn.modules.batchnorm import _BatchNorm
from ..utils._foreach_utils import _group_tensors_by_device_and_dtype
from .lr_scheduler import LRScheduler, _format_param

__all__ = [
    "AveragedModel", "SWALR", "get_ema_avg_fn", "get_ema_multi_avg_fn", "get_swa_avg_fn", "get_swa_multi_avg_fn", "update_bn",
]  # fmt: skip


def _is_inexact(t):
    return t.is_floating_point() or t.is_complex()


def _check_decay(decay):
    if decay < 0.0 or decay > 1.0:
        raise ValueError(f"Invalid decay value {decay} provided. Please provide a value in [0,1] range.")


def get_ema_multi_avg_fn(decay=0.999):
    """The function that sets a list of averages to decay * average + (1 - decay) * current."""
    _check_decay(decay)

    @ng.no_grad()
    def ema_update(ema_param_list, current_param_list, _):
        if _is_inexact(ema_param_list[0]):
            ng._foreach_lerp_(ema_param_list, current_param_list, 1 - decay)
        else:
            for average, current in zip(ema_param_list, current_param_list, strict=True):
                average.copy_(average * decay + current * (1 - decay))

    return ema_update


def get_swa_multi_avg_fn():
    """The function that takes one more set of values into a list of means of ``num_averaged``."""

    @ng.no_grad()
    def swa_update(averaged_param_list, current_param_list, num_averaged):
        if _is_inexact(averaged_param_list[0]):
            ng._foreach_lerp_(averaged_param_list, current_param_list, 1 / (num_averaged + 1))
            return
        differences = ng._foreach_sub(current_param_list, averaged_param_list)
        if isinstance(num_averaged, Tensor):
            counts = [num_averaged + 1] * len(averaged_param_list)
            ng._foreach_addcdiv_(averaged_param_list, differences, counts)
        else:
            ng._foreach_add_(averaged_param_list, differences, alpha=1.0 / (num_averaged + 1))

    return swa_update


def get_ema_avg_fn(decay=0.999):
    """The function that returns decay * average + (1 - decay) * current for one parameter."""
    _check_decay(decay)

    @ng.no_grad()
    def ema_update(ema_param, current_param, num_averaged):
        return decay * ema_param + (1 - decay) * current_param

    return ema_update


def get_swa_avg_fn():
    """The function that returns the mean of ``num_averaged`` values and one more for one parameter."""

    @ng.no_grad()
    def swa_update(averaged_param, current_param, num_averaged):
        return averaged_param + (current_param - averaged_param) / (num_averaged + 1)

    return swa_update


class AveragedModel(Module):
    """A copy of ``model`` that holds an average of its parameters, and of its buffers with ``use_buffers``.

    ``update_parameters`` takes a model's present values into it: by ``avg_fn(average, current, n_averaged)`` for each
    parameter, by ``multi_avg_fn`` for lists of them, in place, or else as the mean of all. The first call copies.
    """

    def __init__(self, model, device=None, avg_fn=None, multi_avg_fn=None, use_buffers=False):
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise AssertionError("Only one of avg_fn and multi_avg_fn should be provided")
        self.module = deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        self.register_buffer("n_averaged", ng.tensor(0, dtype=ng.int64, device=device))
        self.avg_fn, self.multi_avg_fn, self.use_buffers = avg_fn, multi_avg_fn, use_buffers

    def forward(self, *args, **kwargs):
        """What the averaged model returns."""
        return self.module(*args, **kwargs)

    def _values(self, model):
        return itertools.chain(model.parameters(), model.buffers()) if self.use_buffers else model.parameters()

    def update_parameters(self, model):
        """Take the values that ``model`` has now into the average."""
        own = self.module if self.use_buffers else self
        averages, currents = [], []
        for average, current in zip(self._values(own), self._values(model)):
            averages.append(average.detach())
            currents.append(current.detach().to(average.device))
        if self.n_averaged == 0:
            for average, current in zip(averages, currents):
                average.copy_(current)
        else:
            self._average(averages, currents)
        if not self.use_buffers:  # they follow the model
            for kept, current in zip(self.module.buffers(), model.buffers(), strict=True):
                kept.detach().copy_(current.detach().to(kept.device))
        self.n_averaged += 1

    def _average(self, averages, currents):
        if self.multi_avg_fn is None and self.avg_fn is not None:
            for average, current in zip(averages, currents, strict=True):
                count = self.n_averaged.to(average.device)
                average.detach().copy_(self.avg_fn(average.detach(), current, count))
            return
        for (device, _), ((mine, new), _) in _group_tensors_by_device_and_dtype([averages, currents]).items():
            count = self.n_averaged.to(device)
            if self.multi_avg_fn:
                self.multi_avg_fn(mine, new, count)
            else:
                one = get_swa_avg_fn()
                for average, current in zip(mine, new, strict=True):
                    average.copy_(one(average, current, count))


@ng.no_grad()
def update_bn(loader, model, device=None):
    """Compute the statistics of a model's batch norms anew from one pass over ``loader``.

    Its items are batches, or lists and tuples that begin with one; they are moved to ``device``.
    """
    momenta = {}
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.reset_running_stats()
            momenta[module] = module.momentum
    if not momenta:
        return
    was_training = model.training
    model.train()
    for module in momenta:
        module.momentum = None
    for batch in loader:
        if isinstance(batch, (list, tuple)):
            batch = batch[0]
        if device is not None:
            batch = batch.to(device)
        model(batch)
    for module, momentum in momenta.items():
        module.momentum = momentum
    model.train(was_training)


class SWALR(LRScheduler):
    """Each group's rate goes to its ``swa_lr`` in ``anneal_epochs`` epochs, along a cosine or a line, and stays there."""

    def __init__(self, optimizer, swa_lr, anneal_epochs=10, anneal_strategy="cos", last_epoch=-1):
        for lr, group in zip(_format_param("swa_lr", optimizer, swa_lr), optimizer.param_groups, strict=True):
            group["swa_lr"] = lr
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}")
        self._set_anneal_func(anneal_strategy)
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(f"anneal_epochs must be equal or greater than 0, got {anneal_epochs}")
        self.anneal_epochs = anneal_epochs
        super().__init__(optimizer, last_epoch)

    @staticmethod
    def _linear_anneal(t):
        return t

    @staticmethod
    def _cosine_anneal(t):
        return (1 - math.cos(math.pi * t)) / 2

    @staticmethod
    def _get_initial_lr(lr, swa_lr, alpha):
        return swa_lr if alpha == 1 else (lr - alpha * swa_lr) / (1 - alpha)

    def get_lr(self):
        """The rates for the next epoch, computed from those of now."""
        if not self._get_lr_called_within_step:
            warnings.warn(
                "To get the last learning rate computed by the scheduler, please use `get_last_lr()`.",
                UserWarning,
                stacklevel=2,
            )
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        epochs = max(1, self.anneal_epochs)
        before = self.anneal_func(max(0, min(1, (step - 1) / epochs)))
        now = self.anneal_func(max(0, min(1, step / epochs)))
        rates = []
        for group in self.optimizer.param_groups:
            start = self._get_initial_lr(group["lr"], group["swa_lr"], before)
            rates.append(group["swa_lr"] * now + start * (1 - now))
        return rates

    def _set_anneal_func(self, anneal_strategy):
        self._anneal_strategy = anneal_strategy
        self.anneal_func = self._cosine_anneal if anneal_strategy == "cos" else self._linear_anneal

    def state_dict(self):
        """Everything but the optimizer and the function of the curve."""
        return {key: value for key, value in self.__dict__.items() if key not in ("optimizer", "anneal_func")}

    def load_state_dict(self, state_dict):
        """Take back what :meth:`state_dict` returned."""
        self.__dict__.update(state_dict)
        self._set_anneal_func(self._anneal_strategy)
