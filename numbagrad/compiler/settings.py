"""Settings of optimizers, such as learning rates: every call compares them with those in the tables of its kernels."""

from __future__ import annotations

import contextlib
import functools

import numpy as np

from ..core.tensor import Tensor
from ..optim import optimizer as optimizers
from .capture import Recorder, recording, undo
from .places import PLAIN
from .updates import layout

# Settings that change nothing, or are looked at elsewhere.
SKIPPED = ("params", "param_names", "foreach", "fused", "capturable", "differentiable", "initial_lr")


def lines_of(variant, k, o, env):
    """Lines that look at the settings of optimizer ``k``, which tables of kernels hold; of a class of the user's, whose code is
    followed, there is nothing to look at."""
    env[f"SET{k}"] = cell = [None]
    # load_state_dict puts other groups and another state in place.
    env[f"O{k}"], env[f"OG{k}"], env[f"OS{k}"] = o, o.param_groups, o.state
    lines = [f"    if O{k}.param_groups is not OG{k} or O{k}.state is not OS{k} or len(OG{k}) != {len(o.param_groups)}:",
             "        return MISS"]
    if id(o) not in variant.updates:
        return lines
    env["refresh"] = functools.partial(refresh, variant)
    composed, env["number"] = id(o) in variant.composed, optimizers._number
    fixed = [f"G{k}_{j}[{name!r}]" for j, _ in enumerate(o.param_groups) for name in getattr(o, "_settings_of_ops", ())]
    if fixed:
        env[f"OPS{k}"] = tuple([group[name] for group in o.param_groups for name in o._settings_of_ops])
        lines += [f"    if ({', '.join(fixed)},) != OPS{k}:", "        return MISS"]
    keys, values = [], []
    for j, group in enumerate(o.param_groups):
        env[f"G{k}_{j}"] = group
        for name, v in group.items():
            if name not in SKIPPED:
                key = f"G{k}_{j}[{name!r}]"
                # A list may change without becoming another one.
                keys.append(f"tuple({key})" if isinstance(v, list) else f"number({key})" if composed else key)
                values.append(tuple(v) if isinstance(v, list) else optimizers._number(v) if composed else v)
    plain = [(key, v) for key, v in zip(keys, values) if not isinstance(v, Tensor)]
    cell[:] = tuple([v for _, v in plain]), None  # those of the tables, and some that need another program
    lines += [f"    settings = ({''.join([key + ', ' for key, _ in plain])})", f"    if settings != SET{k}[0]:"]
    if composed:
        return [*lines, "        return MISS"]
    lines += [f"        if settings == SET{k}[1] or not refresh({k}, settings):",
              f"            SET{k}[1] = settings", "            return MISS", f"        SET{k}[0] = settings"]
    return lines + [f"    if not refresh({k}):", "        return MISS"] * (len(plain) < len(values))


def refresh(variant, k, settings=None):
    """Take the settings of optimizer ``k`` into the tables again; ``settings`` are those that are no tensors, if changed.

    False if they need other memory (a momentum for the first time), which is another program. Numbers that stay zero or
    not need none."""
    others = False
    if settings is not None:
        for v in settings:
            if v.__class__ not in PLAIN and any([isinstance(x, Tensor) for x in (v if v.__class__ is tuple else (v,))]):
                return False  # a tensor is looked into in every call
        form = [v != 0 if v.__class__ in (int, float) else v for v in settings]
        others = form != variant.forms.get(k)
    optimizer = variant.optimizers[k]
    mine = [live for live in variant.program.live if live[0].optimizer is optimizer]
    r = Refresher(others)
    try:
        with recording(r), _stand_ins(optimizer, mine if others else ()):
            r.steps(variant.updates[id(optimizer)])(optimizer)  # once, whatever hooks and classes of the user's are around it
    except Exception:  # eager code fails where it comes to it
        return False
    finally:
        undo((), r.optimizers.values())
    if others:
        if any([call.layout != r.layouts[call.run % len(r.layouts)] for call, _, _ in mine]):
            return False
        variant.forms[k] = form
    with variant.program.lock:
        for call, slots, kinds in mine:
            for slot, v, kind in zip(slots, r.shared[call.run % len(r.shared)], kinds):
                if kind == "f":
                    variant.program.memory.view(np.float64)[slot] = v
                else:
                    variant.program.memory[slot] = int(v)
    return True


class Refresher(Recorder):
    """Runs an optimizer's step for its settings alone."""

    settings_only = True

    def __init__(self, compare):
        super().__init__()
        self.compare, self.shared, self.layouts = compare, [], []

    def optimize(self, kernel, tables, changed, shared):
        self.shared.append(shared)
        if self.compare:
            self.layouts.append(layout(kernel, tables))
        changed.clear()

    def stepping(self, optimizer):
        if self.compare:
            super().stepping(optimizer)

    def buffer(self, t):
        pass

    def leaf(self, t, reads=True):
        pass

    def written(self, t):
        pass


@contextlib.contextmanager
def _stand_ins(optimizer, live):
    """Gradients for the parameters that had one in the captured step, and only for them."""
    had = {id(p) for call, _, _ in live for p in call.changed}
    before = [(p, p._grad) for group in optimizer.param_groups for p in group["params"]]
    try:
        for p, _ in before:
            p._grad = p.detach() if id(p) in had else None
        yield
    finally:
        for p, grad in before:
            p._grad = grad
