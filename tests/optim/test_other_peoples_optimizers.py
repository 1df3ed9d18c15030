"""Optimizers as people write them for PyTorch, on its base class: the same source, run with both libraries."""

import copy
import math
import pickle
import sys
import types
import warnings

import numpy as np
import pytest
from optim_helpers import LIBRARIES, found_errors

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")

SOURCES = {
    "Lion": '''
class Lion(Optimizer):
    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        if not 0.0 <= lr:
            raise ValueError("Invalid learning rate: {}".format(lr))
        super().__init__(params, dict(lr=lr, betas=betas, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                p.data.mul_(1 - group["lr"] * group["weight_decay"])
                grad, state = p.grad, self.state[p]
                if len(state) == 0:
                    state["exp_avg"] = torch.zeros_like(p)
                exp_avg, (beta1, beta2) = state["exp_avg"], group["betas"]
                update = exp_avg * beta1 + grad * (1 - beta1)
                p.add_(update.sign_(), alpha=-group["lr"])
                exp_avg.mul_(beta2).add_(grad, alpha=1 - beta2)
        return loss
''',
    "OldAdam": '''
class OldAdam(torch.optim.Optimizer):
    """On ``.data``, with a count that is a number."""
    def __init__(self, params, lr=required, betas=(0.9, 0.999), eps=1e-8):
        super(OldAdam, self).__init__(params, dict(lr=lr, betas=betas, eps=eps))

    def __setstate__(self, state):
        super(OldAdam, self).__setstate__(state)
        for group in self.param_groups:
            group.setdefault('amsgrad', False)

    def step(self, closure=None):
        loss = closure() if closure is not None else None
        for group in self.param_groups:
            for p in group['params']:
                if p.grad is None:
                    continue
                grad = p.grad.data
                if grad.is_sparse:
                    raise RuntimeError('OldAdam does not support sparse gradients')
                state = self.state[p]
                if len(state) == 0:
                    state['step'] = 0
                    state['exp_avg'] = torch.zeros_like(p.data)
                    state['exp_avg_sq'] = torch.zeros_like(p.data, memory_format=torch.preserve_format)
                exp_avg, exp_avg_sq = state['exp_avg'], state['exp_avg_sq']
                beta1, beta2 = group['betas']
                state['step'] += 1
                exp_avg.mul_(beta1).add_(grad, alpha=1 - beta1)
                exp_avg_sq.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
                denom = exp_avg_sq.sqrt().add_(group['eps'])
                step_size = group['lr'] * math.sqrt(1 - beta2 ** state['step']) / (1 - beta1 ** state['step'])
                p.data.addcdiv_(exp_avg, denom, value=-step_size)
        return loss
''',
    "Foreach": '''
class Foreach(Optimizer):
    """An AdamW of lists of tensors."""
    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2, *, foreach=True, capturable=False):
        defaults = dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, foreach=foreach, capturable=capturable,
                        differentiable=False)
        super().__init__(params, defaults)

    @_use_grad_for_differentiable
    def step(self, closure=None):
        self._cuda_graph_capture_health_check()
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params, grads, ms, vs, steps = [], [], [], [], []
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["step"] = torch.tensor(0.0, dtype=_get_scalar_dtype())
                    state["exp_avg"] = torch.zeros_like(p, memory_format=torch.preserve_format)
                    state["exp_avg_sq"] = torch.zeros_like(p, memory_format=torch.preserve_format)
                params.append(p), grads.append(p.grad), ms.append(state["exp_avg"]), vs.append(state["exp_avg_sq"])
                steps.append(state["step"])
            fused, foreach = _default_to_fused_or_foreach(params, False, use_fused=True)
            assert fused and not foreach
            if not params:
                continue
            beta1, beta2 = group["betas"]
            for (lists, _) in Optimizer._group_tensors_by_device_and_dtype([params, grads, ms, vs, steps]).values():
                params, grads, ms, vs, steps = lists
                _view_as_real(params, grads, ms, vs)
                torch._foreach_add_(steps, 1)
                torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_lerp_(ms, grads, 1 - beta1)
                torch._foreach_mul_(vs, beta2)
                torch._foreach_addcmul_(vs, grads, grads, 1 - beta2)
                c1 = [1 - beta1 ** _get_value(t) for t in steps]
                c2 = [(1 - beta2 ** _get_value(t)) ** 0.5 for t in steps]
                roots = torch._foreach_sqrt(vs)
                torch._foreach_div_(roots, c2)
                torch._foreach_add_(roots, group["eps"])
                torch._foreach_addcdiv_(params, ms, roots, [-group["lr"] / c for c in c1])
        return loss
''',
    "SAM": '''
class SAM(Optimizer):
    def __init__(self, params, base_optimizer=torch.optim.SGD, rho=0.05, **kwargs):
        super().__init__(params, dict(rho=rho, **kwargs))
        self.base_optimizer = base_optimizer(self.param_groups, **kwargs)
        self.param_groups = self.base_optimizer.param_groups
        self.defaults.update(self.base_optimizer.defaults)

    @torch.no_grad()
    def step(self, closure=None):
        closure = torch.enable_grad()(closure)
        loss = closure()
        norm = torch.norm(torch.stack([p.grad.norm(p=2) for g in self.param_groups for p in g["params"]]), p=2)
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p]["old_p"] = p.data.clone()
                p.add_(p.grad * (group["rho"] / (norm + 1e-12)))
        self.zero_grad()
        closure()
        for group in self.param_groups:
            for p in group["params"]:
                p.data = self.state[p]["old_p"]
        self.base_optimizer.step()
        return loss

    def load_state_dict(self, state_dict):
        super().load_state_dict(state_dict)
        self.base_optimizer.param_groups = self.param_groups
''',
    "Lookahead": '''
class Lookahead(Optimizer):
    """Does not call the initializer of its base."""
    def __init__(self, params, k=2, alpha=0.5):
        self.optimizer = torch.optim.Adam(params, lr=0.1)
        self.k, self.alpha, self.count, self.defaults = k, alpha, 0, self.optimizer.defaults
        self.param_groups = self.optimizer.param_groups
        self.state = defaultdict(dict)
        self.slow = [[p.clone().detach() for p in group['params']] for group in self.param_groups]

    def zero_grad(self, set_to_none=True):
        self.optimizer.zero_grad(set_to_none)

    def step(self, closure=None):
        loss = self.optimizer.step(closure)
        self.count += 1
        if self.count % self.k == 0:
            for group, slow in zip(self.param_groups, self.slow):
                for p, q in zip(group['params'], slow):
                    q.data.add_(p.data - q.data, alpha=self.alpha)
                    p.data.copy_(q.data)
        return loss
''',
}


def made(lib, name):
    """The class that a source gives with a library for ``torch``."""
    module = types.ModuleType("others_" + lib.__name__)
    sys.modules[module.__name__] = module  # pickles look there
    optimizer = __import__(lib.__name__ + ".optim.optimizer", fromlist=["*"])
    names = ("Optimizer", "required", "_use_grad_for_differentiable", "_get_value", "_get_scalar_dtype", "_view_as_real",
             "_default_to_fused_or_foreach")
    from collections import defaultdict
    vars(module).update({n: getattr(optimizer, n) for n in names}, torch=lib, math=math, defaultdict=defaultdict)
    exec(SOURCES[name], vars(module))
    return getattr(module, name)


def problem(lib, name, **options):
    rng = np.random.default_rng(0)
    params = [lib.tensor(rng.standard_normal(s)).requires_grad_() for s in ((3, 4), (5,))]
    targets = [lib.tensor(rng.standard_normal(s)) for s in ((3, 4), (5,))]
    optimizer = made(lib, name)(params, **options)

    def closure():
        optimizer.zero_grad()
        loss = sum(((p - t) ** 4).sum() for p, t in zip(params, targets))
        loss.backward()
        return loss
    return params, optimizer, closure


OPTIONS = {"Lion": {"lr": 0.01, "weight_decay": 0.1}, "OldAdam": {"lr": 0.05}, "Foreach": {"lr": 0.05}, "Lookahead": {},
           "SAM": {"lr": 0.01, "momentum": 0.5}}


# The former name of a method says so in both libraries.
FORMER = pytest.mark.filterwarnings("ignore:Use _accelerator_graph_capture_health_check")


@FORMER
@pytest.mark.parametrize("name", SOURCES)
def test_values(name):
    results = []
    for lib in LIBRARIES:
        params, optimizer, closure = problem(lib, name, **OPTIONS[name])
        losses = [optimizer.step(closure).item() for _ in range(6)]
        state = {} if name == "Lookahead" else optimizer.state_dict()
        results.append((losses, [p.detach().numpy() for p in params], repr(optimizer).replace("numbagrad", "torch"),
                        {k: list(v) for k, v in state.get("state", {}).items()}, state.get("param_groups")))
    assert np.allclose(results[0][0], results[1][0], rtol=1e-6)
    for a, b in zip(results[0][1], results[1][1]):
        assert np.allclose(a, b, rtol=1e-6)
    assert results[0][2:] == results[1][2:]


@FORMER
@pytest.mark.parametrize("name", ["Lion", "OldAdam", "Foreach"])
def test_pickles_hooks_and_schedules(name):
    results = []
    for lib in LIBRARIES:
        params, optimizer, closure = problem(lib, name, **OPTIONS[name])
        log = []
        optimizer.register_step_pre_hook(lambda o, args, kwargs, log=log: log.append(("pre", len(args), sorted(kwargs))))
        optimizer.register_step_post_hook(lambda o, args, kwargs, log=log: log.append("post"))
        schedule = lib.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)
        for _ in range(3):
            optimizer.step(closure)
            schedule.step()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            copies = copy.deepcopy(optimizer.state_dict()), pickle.loads(pickle.dumps(optimizer))
        other = copies[1]
        moved = [p for group in other.param_groups for p in group["params"]]
        for p, q in zip(moved, params):
            p.grad = q.grad.clone()
        other.step()
        fresh = problem(lib, name, **OPTIONS[name])[1]
        fresh.load_state_dict(copies[0])
        results.append((log, [g["lr"] for g in fresh.param_groups], sorted(other.__dict__.keys() & optimizer.__dict__.keys()),
                        [p.detach().numpy() for p in moved], {k: sorted(v) for k, v in fresh.state_dict()["state"].items()}))
    ours, theirs = results
    assert ours[0] == theirs[0] and ours[1] == theirs[1] and ours[4] == theirs[4]
    for a, b in zip(ours[3], theirs[3]):
        assert np.allclose(a, b, rtol=1e-6)


def test_a_step_that_is_put_into_the_class_later():
    for lib in LIBRARIES:
        class Own(lib.optim.Optimizer):
            pass
        calls = []
        Own.step = lambda self, closure=None, calls=calls: calls.append("step")
        p = lib.ones(1, requires_grad=True)
        optimizer = Own([p], {"lr": 1})
        optimizer.register_step_pre_hook(lambda o, args, kwargs, calls=calls: calls.append("hook"))
        optimizer.step()
        assert calls == ["hook", "step"] and Own.step.hooked
        assert lib.optim.Optimizer.profile_hook_step(lambda self: 7)(optimizer) == 7


def test_required_settings_and_other_errors():
    def own(lib):
        optimizer = __import__(lib.__name__ + ".optim.optimizer", fromlist=["*"])

        class Own(lib.optim.Optimizer):
            def __init__(self, params, lr=optimizer.required):
                super().__init__(params, {"lr": lr})
        return Own

    def hook(lib):
        optimizer = own(lib)([lib.ones(1, requires_grad=True)], lr=1)
        type(optimizer).step = lib.optim.Optimizer.profile_hook_step(lambda self: None)
        optimizer.register_step_pre_hook(lambda o, args, kwargs: 3)
        optimizer.step()
    actions = [
        lambda lib: own(lib)([lib.ones(1, requires_grad=True)]),
        lambda lib: own(lib)([{"params": [lib.ones(1, requires_grad=True)]}]),
        lambda lib: own(lib)([lib.ones(1, requires_grad=True)], lr=1).step(),
    ]
    for action in actions:
        ours, theirs = found_errors(action)
        assert ours == theirs
    ours, theirs = found_errors(hook)
    assert ours[0] == theirs[0] and ours[1].endswith(theirs[1][-60:])


def test_helpers():
    from torch.optim import optimizer as theirs

    from numbagrad.optim import optimizer as ours
    for name in ("_params_doc", "_foreach_doc", "_fused_doc", "_maximize_doc", "_capturable_doc", "_differentiable_doc"):
        assert getattr(ours, name).split(" (")[0].split()[-1] == getattr(theirs, name).split(" (")[0].split()[-1]
    for lib, module in ((ng, ours), (torch, theirs)):
        assert module._get_scalar_dtype() is lib.float32 and module._get_scalar_dtype(True) is lib.float32
        assert module._to_scalar(lib.ones(1, 1)).shape == () and module._to_scalar(3) == 3
        assert module._get_value(lib.tensor(2.0)) == 2.0
        assert module._get_capturable_supported_devices(False)[:3] == ["cuda", "xpu", "hpu"]
        assert module._default_to_fused_or_foreach([lib.ones(1)], False, True) == (True, False)
        assert module._default_to_fused_or_foreach([lib.ones(1, dtype=lib.int64), None], False, True) == (False, False)
        assert module._default_to_fused_or_foreach([lib.ones(1)], True, True) == (False, False)
        with pytest.raises(RuntimeError, match="requires all the params to be floating point"):
            module._device_dtype_check_for_fused(lib.ones(1, dtype=lib.int64))
