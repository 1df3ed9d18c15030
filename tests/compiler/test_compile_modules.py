"""Modules, tensors and optimizers that a compiled step looks at or changes."""

from __future__ import annotations

import functools
import runpy

import numpy as np
import pytest
from compile_helpers import both, changes, noted, one

import numbagrad as ng
from numbagrad import nn
from numbagrad.compiler import CaptureError

PROGRAMS = {}
program = noted(PROGRAMS)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self._cfg = nn.Linear(1, 1), nn.Sequential(nn.ReLU(), nn.Identity()), {"k": 1.0}
        self.register_buffer("buf", ng.ones(1))
        ng.nn.init.ones_(self.a.weight)
        ng.nn.init.zeros_(self.a.bias)

    def forward(self, x):
        return self.b(self.a(x)) * self.buf * self._cfg["k"]


@program
def tables_of_modules(C):
    def run(*between):
        m = Net()
        return changes(C, m, *[functools.partial(f, m) for f in between])
    return [run(lambda m: m._buffers.update(buf=ng.full((1,), 3.0))), run(lambda m: m.b._modules.update({"0": nn.Tanh()})),
            run(lambda m: m.a._parameters.update(weight=nn.Parameter(ng.full((1, 1), 2.0)))),
            run(lambda m: m._cfg.update(k=4.0)), run(lambda m: setattr(m, "forward", lambda x: x * 6)),
            run(lambda m: m.__dict__.update(buf=ng.full((1,), 7.0))), run(lambda m: setattr(m, "b", nn.Softplus())),
            run(lambda m: setattr(m.a, "bias", None)), run(lambda m: m.a.weight.data.fill_(3.0))]


@program
def hooks_of_modules(C):
    def run(register):
        m = Net()
        handles = []
        return changes(C, m, lambda: handles.append(register(m)), lambda: handles.pop().remove())
    scale = [2.0]
    return [run(lambda m: m.a.register_forward_hook(lambda mod, a, out: out * scale[0])),
            run(lambda m: m.register_forward_pre_hook(lambda mod, a: (a[0] * 3,))),
            run(lambda m: m.b[1].register_forward_hook(lambda mod, a, k, out: out + 1, with_kwargs=True)),
            run(lambda m: nn.modules.module.register_module_forward_hook(lambda mod, a, out: out * 2)),
            run(lambda m: nn.modules.module.register_module_forward_pre_hook(lambda mod, a: (a[0] + 1,)))]


@program
def hooks_of_gradients(C):
    def run(add):
        w = nn.Parameter(ng.ones(1))
        m = nn.Linear(1, 1, bias=False)
        ng.nn.init.ones_(m.weight)

        def step(x):
            w.grad = m.weight.grad = None
            (m(w * x) * 3).sum().backward()
            return w.grad + m.weight.grad
        handles = []
        return changes(C, step, lambda: handles.append(add(w, m)), lambda: handles.pop().remove())
    return [run(lambda w, m: w.register_hook(lambda g: g * 2)), run(lambda w, m: m.weight.register_hook(lambda g: g * 5)),
            run(lambda w, m: w.register_post_accumulate_grad_hook(lambda p: p.grad.mul_(7))),
            run(lambda w, m: m.register_full_backward_hook(lambda mod, gi, go: (gi[0] * 4,))),
            run(lambda w, m: m.register_full_backward_pre_hook(lambda mod, go: (go[0] * 6,)))]


@program
def forms_of_tensors(C):
    def run(shape, change):
        w = ng.arange(4.0).reshape(shape)
        f = C(lambda x: x @ w if w.shape == (2, 2) else x[0, :1] * w)
        out = [f(ng.ones(1, 2)).tolist()]
        change(w)
        return [*out, f(ng.ones(1, 2)).tolist(), f(ng.ones(1, 2)).tolist()]
    big = ng.arange(16.0)
    return [run((2, 2), lambda w: w.t_()), run((2, 2), lambda w: setattr(w, "data", w.t())),
            run((2, 2), lambda w: setattr(w, "data", big[4:8].reshape(2, 2))), run((4,), lambda w: w.unsqueeze_(1)),
            run((4,), lambda w: setattr(w, "data", big)), run((4,), lambda w: setattr(w, "data", w.double()))]


@program
def optimizers(C):
    def run(make, *between):
        w, v = nn.Parameter(ng.ones(2)), nn.Parameter(ng.ones(2))
        o = make([w, v])

        def step(x):
            o.zero_grad()
            ((w + v * 2) * x).pow(2).sum().backward()
            o.step()
            return w.sum() + v.sum()
        return changes(C, step, *[functools.partial(f, o, w, v) for f in between])
    SGD, Adam = (lambda p: ng.optim.SGD(p, lr=0.01)), (lambda p: ng.optim.Adam(p, lr=0.01))
    counted = []
    return [run(SGD, lambda o, w, v: o.param_groups[0].update(lr=0.1), lambda o, w, v: o.param_groups[0].update(momentum=0.9)),
            run(SGD, lambda o, w, v: o.param_groups[0]["params"].remove(w), lambda o, w, v: o.add_param_group({"params": [w]})),
            run(Adam, lambda o, w, v: o.state.clear(), lambda o, w, v: o.state[w].update(exp_avg=ng.ones(2))),
            run(Adam, lambda o, w, v: o.state.pop(v), lambda o, w, v: o.param_groups[0].update(betas=[0.5, 0.9]),
                lambda o, w, v: o.param_groups[0]["betas"].__setitem__(0, 0.1)),
            run(Adam, lambda o, w, v: o.register_step_post_hook(lambda *a: counted.append(1)), lambda o, w, v: None),
            len(counted)]


@program
def default_dtype(C):
    try:
        f = C(lambda x: ng.zeros(2) + x)
        out = [str(f(one()).dtype)]
        ng.set_default_dtype(ng.float64)
        return [*out, str(f(one()).dtype)]
    finally:
        ng.set_default_dtype(ng.float32)


@program
def rebound_states(C):
    class R(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("run", ng.zeros(2))
            self.w, self.h = nn.Linear(2, 2), ng.zeros(2)
            ng.nn.init.constant_(self.w.weight, 0.5)
            ng.nn.init.zeros_(self.w.bias)

        def forward(self, x):
            self.run = self.run * 0.5 + x
            self.h = (self.w(x) + self.h).tanh().detach()
            return x - self.run + self.h
    m = R()
    f = C(m)
    return [[round(v, 4) for v in f(ng.full((2,), float(k))).tolist()] for k in range(5)] + [m.state_dict()["run"].tolist()]


@program
def requires_grad_set_inside(C):
    w, frozen, out = ng.ones(2, requires_grad=True), ng.ones(2, requires_grad=True), []

    def step(x):
        x.requires_grad_(True)
        frozen.requires_grad_(False)
        return ng.autograd.grad((x * x * w * frozen).sum(), x)[0]
    f = C(step)
    for _ in range(4):
        x = ng.ones(2)
        out.append((f(x).tolist(), x.requires_grad, frozen.requires_grad))
        frozen.requires_grad_(True)
    if C is ng.compile:
        assert len(f.variants) == 1  # not one for each new argument
    return out


@program
def graphs_used_inside(C):
    w = ng.ones(2, requires_grad=True)

    def step(x):
        loss = (x * w).pow(2).sum()
        loss.backward()
        kept = (x * w).sum()
        kept.backward(retain_graph=True)
        return loss, kept
    f, out = C(step), []
    for _ in range(3):
        loss, kept = f(ng.ones(2))
        with pytest.raises(RuntimeError, match="second time"):
            loss.backward()
        kept.backward()
        with pytest.raises(RuntimeError, match="second time"):
            ng.autograd.grad(loss, w, allow_unused=True)
        out.append([loss.requires_grad, loss.is_leaf, kept.requires_grad, w.grad.tolist()])
    return out


@program
def several_results_differentiated_apart(C):
    """No gradient is not a gradient of zeros, and zero times infinity is NaN."""
    w, v = ng.ones(2, requires_grad=True), ng.ones(2, requires_grad=True)

    def step(x):
        h = (w * x).tanh()
        return h, h.sum(), (v * x).sum(), ((w * 0).log() * x).sum()
    f, out = C(step), []
    for k in range(6):
        w.grad = v.grad = None
        h, a, b, c = f(ng.ones(2) * (k + 1))
        if k == 4:
            (a * 2 + b).backward()
        elif k == 5:
            (h.sum() + a + b + c).backward()
        else:
            (h.sum(), a, b, c)[k].backward()
            if k == 2:
                a.backward()  # shares nothing with the graph of b
            if k == 1:
                with pytest.raises(RuntimeError, match="second time"):
                    h.sum().backward()
        out.append([None if t.grad is None else [round(v, 5) for v in t.grad.tolist()] for t in (w, v)])
    return out


@program
def many_results_differentiated_apart(C):
    w, v = ng.ones(2, requires_grad=True), ng.ones(2, requires_grad=True)

    def step(x):
        return [(w * x * i).sum() for i in range(10)], (v * x).sum()
    f, out = C(step), []
    for k in range(3):
        w.grad = v.grad = None
        many, one = f(ng.ones(2) * (k + 1))
        (sum(many[k:]) if k else one).backward()
        out.append([None if t.grad is None else t.grad.tolist() for t in (w, v)])
    return out


@program
def constants_written_in_a_step(C):
    """What is made from Python data is made anew in every call, whatever the step then does to it."""
    w = ng.ones(2, requires_grad=True)

    def step(x):
        c = ng.tensor([1.0, 2.0])
        c.add_(x)
        before = c * 2
        c += 1
        i = ng.tensor([1, 2])
        i[0] = 7
        v = ng.tensor([1.0, 3.0], requires_grad=True)
        g, = ng.autograd.grad((v * x).sum(), v)
        with ng.no_grad():
            v -= g
        w.grad = ng.tensor([1.0, 2.0])
        (w * x).sum().backward()
        return c, before, c[0], c.view(2, 1), i * x, v.detach().clone(), w.grad.clone()
    f = C(step)
    return [[t.tolist() for t in f(ng.ones(2) * k)] for k in range(4)]


@program
def values_of_constants_written_in_a_step(C):
    def step(x):
        c = ng.tensor([1.0, 2.0])
        c.add_(x)
        return (x * 2 if c[0].item() > 2.5 else x) * c[1].item(), c[0].item()
    f = C(step)
    return [[v if isinstance(v, float) else v.tolist() for v in f(ng.ones(2) * k)] for k in (0, 0, 1, 2, 3, 2)]


@program
def counters_kept_by_c_code(C):
    """Numbers that change are followed through setattr, extend, update and setdefault."""
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.calls, self.log, self.d = 0, [], {}

        def forward(self, x):
            self.calls += 1
            self.log.extend([self.calls])
            self.d.update(a=self.calls)
            self.d.setdefault("b", self.calls)
            self.twice = self.calls * 2
            object.__setattr__(self, "own", self.calls)
            return x * self.calls + self.twice
    net, out = Net(), []
    f = C(lambda x: net(x))
    for _ in range(6):
        out.append([f(one()).item(), net.calls, list(net.log), dict(net.d), net.twice, net.own])
    if C is ng.compile:
        assert len(f.variants) == 2
    return out


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(name):
    found, wanted = both(PROGRAMS[name])
    assert found == wanted


def test_a_constant_that_shares_memory_is_not_written():
    def shared(x):
        c = ng.from_numpy(np.ones(2, dtype=np.float32))
        c.add_(1)
        return x * c
    with pytest.raises(CaptureError, match="NumPy array"):
        ng.compile(shared)(ng.ones(2))


def test_rebound_tensors_need_one_more_variant():
    w = ng.ones(2)
    f = ng.compile(lambda x: x * w)
    for k in range(6):
        w = ng.full((2,), float(k))
        assert f(ng.ones(2)).tolist() == [k, k]
    assert len(f.variants) == 2


@pytest.mark.parametrize("later", [True, False])
def test_hooks_of_leaves_run_once_in_a_backward_outside(later):
    w, f = ng.ones(2, requires_grad=True), ng.compile(lambda x: x * w)
    if later:
        f(ng.ones(2)), f(ng.ones(2))
    w.register_hook(lambda g: g * 1.5)
    for _ in range(3):
        assert ng.autograd.grad(f(ng.ones(2)).sum(), w)[0].tolist() == [1.5, 1.5]
    f(ng.ones(2)).sum().backward()
    assert w.grad.tolist() == [1.5, 1.5]


@pytest.mark.parametrize("change", ["t.t_()", "t.data = t * 2", "t.mul_(w)", "t.unsqueeze_(0)", "w.register_hook(lambda g: g)"])
@pytest.mark.parametrize("given", [True, False])
def test_changes_of_what_a_tensor_is_are_refused_and_undone(change, given, tmp_path, monkeypatch):
    path = tmp_path / "changes.py"
    path.write_text(f"def step(x, t, w):\n    {change}\n    return (x * w).sum()\n\n\n"
                    f"def named(x):\n    return step(x, T, W)\n")
    space = runpy.run_path(str(path))
    named = space["named"].__globals__
    t, w = ng.ones(2, 2), ng.ones(2, requires_grad=True)
    named.update(T=t, W=w)
    f = ng.compile(space["step"] if given else space["named"])
    for _ in range(2):
        with pytest.raises(CaptureError, match="changes.py:"):
            f(ng.ones(2), *((t, w) if given else ()))
        assert t.shape == (2, 2) and not t.requires_grad and t.is_leaf and t.tolist() == [[1, 1], [1, 1]]
        (w * 2).sum().backward()
        assert w.grad.tolist() == [2, 2]
        w.grad = None


def test_other_memory_between_a_call_and_its_backward_is_an_error():
    w = ng.ones(2, requires_grad=True)
    f = ng.compile(lambda x: (x * w).sum())
    for k in range(3):
        x = ng.ones(2, requires_grad=True)
        y = f(x)
        w.data = ng.full((2,), 2.0 + k)
        with pytest.raises(CaptureError, match=r"reads, at .*test_compile_modules\.py:\d+, was given other memory"):
            y.backward()
    y = f(x)
    y.backward()
    assert x.grad.tolist() == [4.0, 4.0]
