"""Compiled functions in other forms than a plain step: results differentiated outside, modules, methods, arguments."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from registry.steps import assert_same, data, mlp, state, trainer, variants

import numbagrad as ng
import numbagrad.nn.functional as F
from numbagrad import nn

# --- other forms ------------------------------------------------------------------------------------------------------

def test_results_are_differentiable_outside():
    model, step = mlp(), None
    x, y = data()
    x.requires_grad_()
    wanted = ng.autograd.grad(F.cross_entropy(model(x) * 2, y), [x, *model.parameters()])
    step = ng.compile(lambda x: model(x) * 2)
    for _ in range(3):
        found = ng.autograd.grad(F.cross_entropy(step(x), y), [x, *model.parameters()])
        assert_same([t.numpy() for t in found], [t.numpy() for t in wanted])


def test_two_results_used_in_part():
    w = ng.randn(4, 4, requires_grad=True)

    def heads(x):
        h = (x @ w).tanh()
        return h.sum(), {"square": h * h, "plain": (h, x)}
    step = ng.compile(heads)
    for _ in range(3):
        x = ng.randn(5, 4, requires_grad=True)
        for pick in (lambda r: r[0], lambda r: r[1]["square"].sum(), lambda r: r[0] + r[1]["plain"][0].pow(2).sum()):
            a, b = ng.autograd.grad(pick(heads(x)), [x, w]), ng.autograd.grad(pick(step(x)), [x, w])
            assert_same([t.numpy() for t in b], [t.numpy() for t in a])


def test_compiled_part_inside_an_eager_step():
    found = []
    for compiled in (False, True):
        model = mlp()
        body = ng.compile(model) if compiled else model
        opt = ng.optim.Adam(model.parameters(), lr=0.01)
        for i in range(20):
            x, y = data(i % 3)
            opt.zero_grad()
            F.cross_entropy(body(x), y).backward()
            opt.step()
        found.append(state(model))
    assert_same(*found)


def test_no_grad_inference():
    model = mlp()
    step = ng.compile(model)
    x, _ = data()
    for mode in (ng.no_grad, ng.inference_mode):
        with mode():
            out = step(x)
            assert not out.requires_grad and out.is_inference() == (mode is ng.inference_mode)
            assert_same([out.numpy()], [model(x).numpy()])
    assert step(x).requires_grad


def test_compiled_module_is_a_module():
    model = mlp()
    compiled = ng.compile(model)
    assert isinstance(compiled, nn.Module)
    assert [p is q for p, q in zip(compiled.parameters(), model.parameters())] == [True] * 4
    compiled.eval()
    assert not model.training


def test_nested_arguments_and_keywords():
    def f(pair, *, scale=1.0, options, last=None):
        a, (b, c) = pair
        out = (a + b * scale) @ c
        if options["twice"]:
            out = out * 2
        return out if last is None else {"out": out + last, "name": options["name"], "list": [out, 3]}
    step = ng.compile(f)
    for _ in range(3):
        for twice in (True, False):
            for last in (None, ng.randn(2, 2)):
                args = ([ng.randn(2, 3), (ng.randn(2, 3), ng.randn(3, 2))],)
                kwargs = {"scale": 0.5, "options": {"twice": twice, "name": "n"}, "last": last}
                a, b = f(*args, **kwargs), step(*args, **kwargs)
                if last is None:
                    assert_same([b.numpy()], [a.numpy()])
                else:
                    assert b["name"] == "n" and b["list"][1] == 3
                    assert_same([b["out"].numpy(), b["list"][0].numpy()], [a["out"].numpy(), a["list"][0].numpy()])
    assert variants(step) == 4


def test_methods_and_decorator_arguments():
    class Trainer:
        def __init__(self, seed):
            self.model = mlp(seed)
            self.opt = ng.optim.SGD(self.model.parameters(), lr=0.1)

        @ng.compile(fullgraph=True)
        def step(self, x, y):
            self.opt.zero_grad()
            loss = F.cross_entropy(self.model(x), y)
            loss.backward()
            self.opt.step()
            return loss
    x, y = data()
    one, two = Trainer(0), Trainer(1)
    plain, model, _ = trainer(False, lambda p: ng.optim.SGD(p, lr=0.1))
    for _ in range(4):
        a, b, c = one.step(x, y), two.step(x, y), plain(x, y)
        assert abs(a.item() - c.item()) < 1e-5 and abs(b.item() - c.item()) > 1e-3
    assert_same(state(one.model), state(model))


def test_disable():
    def f(x):
        return x + 1
    assert ng.compile(f, disable=True) is f


def test_layers_of_the_speed_table():
    """LSTM, attention, convolution with batch norm: one step each against eager."""
    ng.manual_seed(0)
    builds = {
        "lstm": (lambda: nn.LSTM(4, 5, batch_first=True), lambda m, x: m(x)[0][:, -1], (3, 6, 4)),
        "attention": (lambda: nn.MultiheadAttention(8, 2, batch_first=True), lambda m, x: m(x, x, x)[0], (2, 5, 8)),
        "conv": (lambda: nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)),
                 lambda m, x: m(x), (2, 1, 8, 8)),
    }
    for build, call, shape in builds.values():
        found = [conv_or_lstm(compiled, build, call, shape) for compiled in (False, True)]
        assert_same(*found)


def conv_or_lstm(compiled, build, call, shape):
    ng.manual_seed(1)
    model = build()
    opt = ng.optim.SGD(model.parameters(), lr=0.1)  # Adam would blow up the rounding of gradients that are zero

    def step(x):
        opt.zero_grad()
        loss = call(model, x).pow(2).mean()
        loss.backward()
        opt.step()
        return loss
    run = ng.compile(step) if compiled else step
    for k in range(10):
        run(ng.from_numpy(np.random.default_rng(k).standard_normal(shape).astype(np.float32)))
    return state(model)


def test_no_warnings_in_ordinary_use():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        step, _, _ = trainer(True)
        for i in range(3):
            step(*data(i))


def test_errors_of_a_backward_that_nobody_asks_for():
    """Parameters written after the forward: the result is there, and its backward raises what eager code raises."""
    found = []
    for compiled in (False, True):
        ng.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))

        def step(x, model=model):
            h = model(x)
            with ng.no_grad():
                for p in model.parameters():
                    p.mul_(0.99)
            return h.pow(2).sum()
        f, out = ng.compile(step) if compiled else step, []
        for k in range(3):
            loss = f(ng.arange(6.0).reshape(2, 3) * k)
            with pytest.raises(RuntimeError, match="modified by an inplace operation"):
                loss.backward()
            out.append((round(loss.item(), 4), loss.requires_grad))
        found.append(out)
    assert found[0] == found[1]


def test_calls_of_other_forms_find_their_variants():
    """Keywords in another order, other keys, constants of other types, missing and further arguments."""
    def step(x, *rest, k=1.0, table=None, flag=True):
        y = x * k if flag else x - k
        for r in rest:
            y = y + r
        return y + (sum(v * len(name) for name, v in table.items()) if table else 0)
    f, x = ng.compile(step), ng.ones(2)
    calls = [lambda g, c: g(x), lambda g, c: g(x, k=2.0), lambda g, c: g(x, flag=False, k=c),
             lambda g, c: g(x, k=c, flag=False), lambda g, c: g(x, x, x * c),
             lambda g, c: g(x, table={"a": x, "bb": x * c}),
             lambda g, c: g(x, table={"bb": x, "a": x * c}), lambda g, c: g(x, table={"a": x}, k=1), lambda g, c: g(x, k=True),
             lambda g, c: g(x, flag=1), lambda g, c: g(x, 2, k=c), lambda g, c: g(x=x), lambda g, c: g(x, table={})]
    for c in (1.0, 2.0, 0.5):
        for call in (*calls, *reversed(calls)):
            assert ng.equal(call(f, c), call(step, c))
    with pytest.raises(TypeError):
        f()
    with pytest.raises(TypeError):
        f(x, z=1)


def test_results_that_are_not_differentiated_have_no_part():
    """Not even zeros, which an infinite derivative would turn into NaN, and None where there is no path."""
    def f(x, w):
        return x * 2, x.sqrt(), x * w
    step = ng.compile(f)
    for k in range(3):
        x, w = ng.full((3,), 0.0 + k, requires_grad=True), ng.ones(3, requires_grad=True)
        for pick in (lambda r: r[0].sum(), lambda r: (r[0] * r[2]).sum(), lambda r: r[2].exp().sum() + r[0].sum(),
                     lambda r: sum(t.sum() for t in r)):
            wanted = ng.autograd.grad(pick(f(x, w)), [x, w], allow_unused=True)
            found = ng.autograd.grad(pick(step(x, w)), [x, w], allow_unused=True)
            assert [g is None for g in found] == [g is None for g in wanted]
            for a, b in zip(found, wanted):
                assert a is None or np.allclose(a.numpy(), b.numpy(), 1e-6, 1e-6, equal_nan=True)
    x, w = ng.zeros(3, requires_grad=True), ng.ones(3, requires_grad=True)
    step(x, w)[0].sum().backward()
    assert x.grad.tolist() == [2.0] * 3 and w.grad is None


def test_results_whose_graph_is_used_up():
    """They require gradients as in eager code, and using them again is the same error; a graph that was kept goes on."""
    def step(x, w):
        y = (x * w).tanh()
        z = (x * w).exp()
        loss = (y * y).sum()
        loss.backward(retain_graph=True)
        z.sum().backward()
        return loss, z, x * 2, loss
    compiled = ng.compile(step)
    for _ in range(3):
        found = []
        for f in (step, compiled):
            x, w = ng.arange(3.0).requires_grad_(), ng.full((3,), 0.5, requires_grad=True)
            loss, z, double, again = f(x, w)
            assert loss.requires_grad and z.requires_grad and double.requires_grad
            with pytest.raises(RuntimeError, match="backward through the graph a second time"):
                z.sum().backward()
            for t in (x, w):
                with pytest.raises(RuntimeError, match="backward through the graph a second time"):
                    ng.autograd.grad(z.sum(), t, allow_unused=True)
            x.grad = w.grad = None
            (loss + double.sum() + again).backward()
            found.append([x.grad.numpy(), w.grad.numpy()])
        assert_same(found[1], found[0])


def test_results_are_differentiated_one_after_the_other():
    """What one of them used up, and what was changed since, matters for those alone that need it."""
    v, w = ng.full((3,), 0.5, requires_grad=True), ng.full((3,), 2.0, requires_grad=True)

    def f(x):
        h = (x * v).tanh()
        return h * v, x * w, h.exp()
    step = ng.compile(f)
    for _ in range(3):
        found = []
        for g in (f, step):
            first, second, third = g(ng.arange(3.0))
            first.sum().backward()
            with ng.no_grad():
                v.mul_(1.0)  # another version
            second.sum().backward()
            for used in (first, second, third):
                with pytest.raises(RuntimeError, match="a second time"):
                    used.sum().backward()
            found.append([t.grad.numpy().copy() for t in (v, w)])
            v.grad = w.grad = None
            first, _, third = g(ng.arange(3.0))
            third.sum().backward(retain_graph=True)
            first.sum().backward(retain_graph=True)
            with ng.no_grad():
                v.mul_(1.0)
            with pytest.raises(RuntimeError, match="modified by an inplace operation"):
                first.sum().backward()
            v.grad = None
        assert_same(found[1], found[0])


def test_gradients_from_outside_keep_their_strides():
    def f(x):
        return x.transpose(0, 2) * 2
    step, x = ng.compile(f), ng.randn(2, 3, 4, requires_grad=True)
    for w in (ng.randn(4, 3, 2), ng.randn(4, 3, 2), ng.ones(4, 3, 2)):
        a, = ng.autograd.grad((f(x) * w).sum(), x)
        b, = ng.autograd.grad((step(x) * w).sum(), x)
        assert ng.equal(a, b) and a.stride() == b.stride() == (1, 2, 6)


@pytest.mark.parametrize("op", ["argmin", "argmax", "median", "mode"])
def test_kernels_that_a_function_runs_itself_on_a_tensor_it_reaches_by_name(op):
    class Box:
        pass
    box = Box()

    def run():
        return getattr(ng, op)(box.x)
    step = ng.compile(run)
    for k in range(4):
        box.x = ng.from_numpy(np.random.default_rng(k).integers(0, 9, 7))
        a, b = step(), run()
        assert ng.equal(*[r[0] if isinstance(r, tuple) else r for r in (a, b)])


def test_a_tensor_found_at_a_place_comes_out_as_itself():
    class Box:
        x = last = None
    box = Box()

    def run():
        box.last = box.x
        return box.x, box.x.real, box.x.view(3, 1), box.x * 2
    step = ng.compile(run)
    for k in range(4):
        box.x = x = ng.full((3,), float(k))
        same, real, view, new = step()
        assert same is real is box.last is x and view.data_ptr() == x.data_ptr() and new.tolist() == [2.0 * k] * 3


@pytest.mark.parametrize("dtype", [ng.float16, ng.bfloat16, ng.float64])
def test_choices_between_numbers_in_gradients_keep_the_dtype(dtype):
    def f(x, t):
        return ng.autograd.grad(F.kl_div(x, t, reduction="batchmean"), [x, t], create_graph=True)
    step = ng.compile(f)
    for g in (f, step, step):
        x = ng.tensor([[0.5, 0.25]], dtype=dtype, requires_grad=True)
        t = ng.tensor([[0.0, 2.0]], dtype=dtype, requires_grad=True)
        found = g(x, t)
        assert [r.dtype for r in found] == [dtype] * 2
        assert [r.tolist() for r in found] == [[[0.0, -2.0]], [[pytest.approx(float("nan"), nan_ok=True),
                                                                 pytest.approx(np.log(2) + 0.75, rel=1e-2)]]]
