"""Settings of optimizers that change between calls, in all the ways that an optimizer comes by its update."""

from __future__ import annotations

import pytest

import numbagrad as ng
from numbagrad import nn
from numbagrad.compiler import CaptureError


class Twice(ng.optim.SGD):
    """A step of two updates that counts itself."""

    count = 0

    def step(self, closure=None):
        self.count += 1
        loss = super().step(closure)
        super().step()
        return loss


class Hooked(ng.optim.Adam):
    count = 0

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.register_step_pre_hook(self.seen)
        self.register_step_post_hook(self.seen)

    def seen(self, *_):
        self.count += 1


class Own(ng.optim.Optimizer):
    """An update in Python."""

    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})

    @ng.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                p.sub_(p.grad * group["lr"])


def one_step(model, opt):
    def step(x):
        opt.zero_grad()
        loss = (model(x) ** 2).mean()
        loss.backward()
        opt.step()
        return loss.detach()
    return step


def two_steps(model, opt):
    step = one_step(model, opt)
    return lambda x: (step(x), step(x))


def with_closure(model, opt):
    def step(x):
        def closure():
            opt.zero_grad()
            loss = (model(x) ** 2).mean()
            loss.backward()
            return loss
        return opt.step(closure).detach()
    return step


def two_optimizers(model, opt):
    other, step = ng.optim.Adam(model.parameters(), lr=0.01), one_step(model, opt)

    def both(x):
        other.param_groups[0]["params"][0].grad = None
        loss = step(x)
        other.step()
        return loss
    return both


def seen(wrap, make, steps, number, dtype):
    """(losses, parameters and counters) of calls between which the learning rate changes."""
    ng.manual_seed(0)
    model = nn.Linear(4, 4).to(dtype)
    opt = make(model.parameters(), ng.tensor(0.01) if number == "tensor" else 0.01)
    group, f, found = opt.param_groups[0], wrap(steps(model, opt)), []
    changes = {3: lambda: group.update(lr=0.02), 4: lambda: group.update(lr=0.03), 6: lambda: group.update(lr=0.0),
               7: lambda: group.update(lr=0.01), 8: lambda: group.update(weight_decay=0.1)} if number == "number" else {
        3: lambda: group["lr"].fill_(0.03), 5: lambda: group["lr"].mul_(0.5), 6: lambda: group.update(lr=ng.tensor(0.1)),
        8: lambda: group.update(lr=0.02)}
    for k in range(10):
        changes.get(k, int)()
        loss = f(ng.ones(2, 4, dtype=dtype) + k % 2)
        found.append([*(loss if isinstance(loss, tuple) else (loss,)), *[p.detach().clone() for p in model.parameters()]])
    return found, getattr(opt, "count", 0)


KINDS = {"sgd": lambda p, lr: ng.optim.SGD(p, lr=lr, momentum=0.5), "adamw": lambda p, lr: ng.optim.AdamW(p, lr=lr),
         "rmsprop": lambda p, lr: ng.optim.RMSprop(p, lr=lr), "twice": lambda p, lr: Twice(p, lr=lr),
         "hooked": lambda p, lr: Hooked(p, lr=lr), "own": Own}


@pytest.mark.parametrize("steps", [one_step, two_steps, with_closure, two_optimizers])
@pytest.mark.parametrize("number", ["number", "tensor"])
@pytest.mark.parametrize("kind", KINDS)
def test_settings_that_change(kind, number, steps):
    if steps is with_closure and kind == "own":
        pytest.skip("its step takes no closure")
    compare(*[seen(wrap, KINDS[kind], steps, number, ng.float32) for wrap in (lambda f: f, ng.compile)], 1e-5)


@pytest.mark.parametrize("number", ["number", "tensor"])
@pytest.mark.parametrize("kind", ["sgd", "adamw", "rmsprop"])
def test_settings_of_half_parameters(kind, number):
    """SGD and Adam update them by tensor operations."""
    compare(*[seen(wrap, KINDS[kind], one_step, number, ng.bfloat16) for wrap in (lambda f: f, ng.compile)], 2e-2)


def test_an_update_that_fails_with_other_settings_fails_as_in_eager_code():
    found = []
    for wrap in (lambda f: f, ng.compile):
        ng.manual_seed(0)
        model, log = nn.Linear(4, 4), []
        opt = ng.optim.RMSprop(model.parameters(), lr=0.01)
        group, own = opt.param_groups[0], one_step(model, opt)
        f = wrap(lambda x, log=log, own=own: log.append(own(x)))
        for k in range(8):
            group["momentum"] = 0.5 if k == 4 else 0
            group["lr"] = ng.tensor(0.02) if k == 6 else "fast" if k == 7 else 0.01
            try:
                f(ng.ones(2, 4))
            except Exception as e:
                log.append(type(e).__name__)
            log.append(model.weight.grad.sum().item())
        found.append(log)
    assert [v for v in found[0] if isinstance(v, str)] == ["KeyError", "ValueError"]
    assert [v if isinstance(v, str) else round(float(v), 4) for v in found[0]] == [
        v if isinstance(v, str) else round(float(v), 4) for v in found[1]]


def compare(wanted, found, tolerance):
    assert found[1] == wanted[1]
    for k, (a, b) in enumerate(zip(wanted[0], found[0])):
        for x, y in zip(a, b):
            assert ng.allclose(x.double(), y.double(), tolerance, tolerance), f"call {k}: {x} became {y}"


@pytest.mark.parametrize("change", [
    lambda group: group.update(lr=0.5), lambda group: group.__setitem__("lr", 0.5), lambda group: group["lr"].mul_(0.5),
    lambda group: group.__setitem__("lr", ng.tensor(0.5)), lambda group: group["lr"].fill_(0.5) and group.update(lr=0.5),
], ids=["update", "item", "in place", "tensor", "both"])
def test_a_setting_that_the_step_changes_before_its_update_is_refused(change):
    model = nn.Linear(4, 4)
    opt = ng.optim.SGD(model.parameters(), lr=ng.tensor(0.1))

    def step(x):
        model(x).sum().backward()
        change(opt.param_groups[0])
        opt.step()
    before = opt.param_groups[0]["lr"]
    with pytest.raises(CaptureError, match=r"of an optimizer before its step at .*test_compile_settings.py:\d+"):
        ng.compile(step)(ng.ones(2, 4))
    assert opt.param_groups[0]["lr"] is before and before.item() == pytest.approx(0.1)
