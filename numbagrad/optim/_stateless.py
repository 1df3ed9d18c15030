"""An optimizer's step on other parameters and other state than its own."""

import contextlib
from collections import defaultdict

from ..core.tensor import Tensor

__all__ = ["swap_in_optimizer_params_and_state"]

_CALL = "swap_in_optimizer_params_and_state requires "


def _refuse(condition, message):
    if condition:
        raise RuntimeError(message)


def _checked_state(state):
    """The "state" of a state dict, by numbers of parameters."""
    _refuse(
        not isinstance(state, dict),
        _CALL + "swapin_optim_state['state'] to be a dict mapping packed parameter ids to per-param state dicts, got "
        f"{type(state).__name__}.",
    )
    _refuse(
        any(isinstance(key, Tensor) for key in state),
        _CALL + "optimizer.state_dict()-style state keyed by packed parameter ids.",
    )
    _refuse(
        any(isinstance(key, int) and not isinstance(value, dict) for key, value in state.items()),
        _CALL + "per-parameter optimizer state entries to be dictionaries.",
    )
    return state


def _checked_groups(optimizer, groups):
    _refuse(
        not isinstance(groups, list),
        _CALL + f"swapin_optim_state['param_groups'] to be a list of param-group dicts, got {type(groups).__name__}.",
    )
    _refuse(
        len(optimizer.param_groups) != len(groups),
        "swapin_optim_state has a different number of parameter groups than the live optimizer.",
    )
    return groups


def _numbers(i, group, other):
    """The parameters' numbers in one saved group that fits the optimizer's."""
    _refuse(not isinstance(other, dict), _CALL + "each optimizer param group to be a dictionary.")
    numbers = other.get("params")
    _refuse(
        not isinstance(numbers, list) or not all(isinstance(n, int) for n in numbers),
        _CALL + "optimizer.state_dict()-style param_groups[*]['params'] entries keyed by packed parameter ids.",
    )
    _refuse(
        len(group["params"]) != len(numbers),
        f"swapin_optim_state param group {i} has a different number of params than the live optimizer param group.",
    )
    theirs, ours = [k for k in other if k not in group], [k for k in group if k not in other]
    _refuse(
        theirs or ours,
        _CALL + "optimizer.state_dict()-style param group keys to exactly match the live optimizer group keys for "
        f"group {i}. Keys only in swap-in: {theirs}. Keys only in live: {ours}.",
    )
    return numbers


def _plan(optimizer, parameters, state_dict):
    """The state by numbers, and (group, its stand-in, parameters, numbers) for each group."""
    _refuse(not optimizer.state, _CALL + "initialized optimizer state.")
    _refuse(not isinstance(state_dict, dict), _CALL + "a DCP-style optimizer state_dict.")
    state = _checked_state(state_dict.get("state"))
    groups = _checked_groups(optimizer, state_dict.get("param_groups"))
    tensors, at, known, plan = list(parameters.values()), 0, set(), []
    for i, (group, other) in enumerate(zip(optimizer.param_groups, groups, strict=True)):
        numbers = _numbers(i, group, other)
        known.update(numbers)
        after = at + len(numbers)
        _refuse(after > len(tensors), _CALL + "the explicit parameter state to match optimizer.param_groups ordering.")
        plan.append((group, other, tensors[at:after], numbers))
        at = after
    extra = [key for key in state if key not in known]
    _refuse(
        extra,
        _CALL + "swapin_optim_state['state'] to be keyed only by packed parameter ids from "
        f"param_groups[*]['params']; got extra keys {extra!r}.",
    )
    return state, plan


@contextlib.contextmanager
def swap_in_optimizer_params_and_state(optimizer, swapin_parameters, swapin_optim_state):
    """Within the block the optimizer has the tensors in ``swapin_parameters`` and the state and settings of a state dict.

    The parameters come in the order of the groups. Tensors of the state are the given ones, so that steps change them;
    state that is made in the block is dropped at its end.
    """
    state, plan = _plan(optimizer, swapin_parameters, swapin_optim_state)
    own_state, own_groups = optimizer.state, [dict(group) for group in optimizer.param_groups]
    try:
        swapped = defaultdict(dict)
        for group, other, tensors, numbers in plan:
            group["params"] = tensors
            group.update((key, value) for key, value in other.items() if key != "params")
            for tensor, number in zip(tensors, numbers, strict=True):
                swapped[tensor] = dict(state.get(number, {}))
        optimizer.state = swapped
        yield
    finally:
        for group, kept in zip(optimizer.param_groups, own_groups, strict=True):
            group.clear()
            group.update(kept)
        optimizer.state = own_state
