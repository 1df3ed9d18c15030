"""What the optimizers share whose update is one table kernel for all dtypes and layouts."""

from collections import defaultdict

import numbagrad as ng

from ..base.dtypes import float32, float64, get_default_dtype
from ..base.sparse import SparseArgument
from ..core.storage import F4 as FLOAT32
from ..core.storage import kind_of
from ..core.tensor import Tensor
from ._recorded import record
from .optimizer import Optimizer, _are_plain, _check_counts, _check_options, _closure_loss, _number, _run

FLOAT64 = kind_of(float64)


def check_lr_is_single(lr):
    """ValueError for a learning rate that is a tensor of several elements."""
    if isinstance(lr, Tensor) and lr.numel() != 1:
        raise ValueError("Tensor lr must be 1-element")


def check_lr(lr):
    """ValueError for a learning rate that is negative or a tensor of several elements."""
    check_lr_is_single(lr)
    if not 0.0 <= lr:
        raise ValueError(f"Invalid learning rate: {lr}")


def check_betas(betas):
    """ValueError for betas outside of [0, 1)."""
    for i in (0, 1):
        if not 0.0 <= betas[i] < 1.0:
            raise ValueError(f"Invalid beta parameter at index {i}: {betas[i]}")


def check_positive(**settings):
    """ValueError for the first negative setting; the words of the message are its name's."""
    for name, value in settings.items():
        if not 0.0 <= value:
            raise ValueError(f"Invalid {name} value: {value}")


class Tabled(Optimizer):
    """An optimizer whose kernel takes, for each parameter, it, its gradient, state tensors, scalars and the size.

    A subclass names its ``_kernel``, the ``_tensors`` of the state (those a group does without are passed as the
    first) and the ``_scalars`` with their start (a number or the name of a setting), and gives ``_settings``: the numbers
    that all parameters share.
    """

    _kernel = None
    _tensors = ()
    _scalars = (("step", 0.0),)
    _options = {"foreach": None, "maximize": False, "differentiable": False, "capturable": False}

    def __init__(self, params, defaults):
        _check_options(defaults["lr"], defaults["foreach"], defaults.get("fused"), defaults["differentiable"])
        super().__init__(params, defaults)

    def __setstate__(self, state):
        super().__setstate__(state)
        for group in self.param_groups:
            for name, value in self._options.items():
                group.setdefault(name, value)
            for p in group["params"]:
                own = self.state.get(p)
                for name, _ in self._scalars:
                    if own and not isinstance(own[name], Tensor):
                        own[name] = self._scalar(p, group, float(own[name]))

    def _scalar(self, p, group, value):
        on_device = group.get("capturable") or group.get("fused")
        dtype = float64 if get_default_dtype() is float64 and not group.get("fused") else float32
        return ng.tensor(value, dtype=dtype, device=p.device if on_device else "cpu")

    def _needs(self, name, group):
        """Whether a group keeps the state tensor of this name."""
        return True

    def _start(self, p, group, name):
        """The first value of a state tensor."""
        return ng.zeros_like(p, requires_grad=False)

    def _state_of(self, p, group):
        own = self.state[p]
        if not own:
            made = {name: self._scalar(p, group, number(group, value)[0] if isinstance(value, str) else value)
                    for name, value in reversed(self._scalars)}
            made.update((name, self._start(p, group, name)) for name in self._tensors if self._needs(name, group))
            own.update(made)  # all at once: later steps would take a part for the whole
        return own

    def _settings(self, group):
        raise NotImplementedError

    @property
    def _update_name(self):
        return self._kernel.name

    def step(self, closure=None):
        """One update; returns what ``closure`` returned."""
        loss = _closure_loss(closure)
        for group in self.param_groups:
            try:
                self._update(group)
            except SparseArgument:
                from . import _sparse
                _sparse.update(self, group)
        return loss

    def _update(self, group):
        if group["differentiable"]:
            record(self, group)
            return
        settings = self._settings(group)
        tables, wide, changed, changed_wide, others = defaultdict(list), defaultdict(list), [], [], []
        for p in group["params"]:
            g = p._grad
            if g is None:
                continue
            own = self._state_of(p, group)
            tensors = [own[name] for name in self._tensors if name in own]
            if len(tensors) < len(self._tensors):
                tensors = [own[name] if self._needs(name, group) else tensors[0] for name in self._tensors]
            scalars = [own[name] for name, _ in self._scalars]
            _check_counts(*scalars)
            if not _are_plain(p, g, *tensors) or any(s._kind is not FLOAT32 for s in scalars):
                if not _are_plain(p, g, *tensors) or any(s._kind is not FLOAT64 for s in scalars):
                    given, p, g, tensors, scalars = _plain(p, g, tensors, scalars)
                    others += given
                else:
                    changed_wide.append(p)
                into = tables if scalars[0]._kind is FLOAT32 else wide
            else:
                changed.append(p)
                into = tables
            pointers = [t._ptr for t in (p, g, *tensors, *scalars)]
            into[p._kind] += *pointers, p._n
        _run(self._kernel, tables, changed, *settings)
        if wide:
            _run(self._kernel.wide, wide, changed_wide, *settings)
        if others:
            _write_back(others)


@ng.no_grad()
def _write_back(pairs):
    """The values of copies to the tensors that they stand for."""
    for t, copy in pairs:
        if t is not None:
            t.copy_(copy)


def _plain(p, g, tensors, scalars):
    """Copies that the kernel takes, and the pairs (tensor, copy) to write back: of other layouts, half and complex
    types, and scalars in float64. The gradient's copy is paired with None: the list keeps its memory."""
    pairs = []

    def copied(t, dtype):
        values = ng.view_as_real(t.detach()) if t.is_complex() else t.detach()
        copy = values.to(dtype, copy=True).contiguous()
        pairs.append((values, copy))
        return copy

    kind = ng.view_as_real(p.detach()).dtype if p.is_complex() else p.dtype
    dtype = float64 if kind is float64 else float32
    first = [copied(t, dtype) for t in (p, g)]
    pairs[1] = None, first[1]
    made = {}
    for t in tensors:
        if id(t) not in made:
            made[id(t)] = copied(t, dtype)
    counts = float64 if any(s.dtype is float64 for s in scalars) else float32
    return pairs, *first, [made[id(t)] for t in tensors], [copied(s, counts) for s in scalars]


def number(group, *names):
    """Settings of a group as floats."""
    return [float(_number(group[name])) for name in names]
