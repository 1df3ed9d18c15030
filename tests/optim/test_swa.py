"""Averages of weights, and an optimizer's step on other parameters, against PyTorch's."""

import copy
import io

import numpy as np
import pytest
from optim_helpers import LIBRARIES, found_errors

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")


def network(lib):
    """A network with floating, integer and frozen parts, the same in both libraries."""
    net = lib.nn.Sequential(lib.nn.Linear(3, 4), lib.nn.BatchNorm1d(4), lib.nn.Linear(4, 2).to(lib.float64))
    net.register_buffer("halves", lib.tensor([0.5, 1.5]))
    fill(lib, net, 0)
    return net


def fill(lib, net, seed):
    rng = np.random.default_rng(seed)
    with lib.no_grad():
        for t in (*net.parameters(), *net.buffers()):
            values = abs(rng.standard_normal(tuple(t.shape))) * 3  # variances are among them
            t.copy_(lib.tensor(np.round(values) if not t.is_floating_point() else values).to(t.dtype))


def averages(lib):
    utils = lib.optim.swa_utils
    return {
        "mean": {},
        "swa": {"multi_avg_fn": utils.get_swa_multi_avg_fn()},
        "ema": {"multi_avg_fn": utils.get_ema_multi_avg_fn(0.9)},
        "ema by one": {"avg_fn": utils.get_ema_avg_fn(0.8)},
        "swa by one": {"avg_fn": utils.get_swa_avg_fn()},
        "own": {"avg_fn": lambda average, current, n: average * 0.5 + current * (n + 1)},
    }


# PyTorch's mean of whole numbers in a list divides them in place, which it refuses: see test_averages_of_whole_numbers.
CASES = [(name, buffers) for name in averages(torch) for buffers in (False, True) if (name, buffers) != ("swa", True)]


@pytest.mark.parametrize("name, use_buffers", CASES)
def test_averages(name, use_buffers):
    results = []
    for lib in LIBRARIES:
        net = network(lib)
        model = lib.optim.swa_utils.AveragedModel(net, use_buffers=use_buffers, **averages(lib)[name])
        assert model.module is not net and model.n_averaged.dtype is lib.int64
        states = []
        for k in range(4):
            fill(lib, net, k + 1)
            model.update_parameters(net)
            states.append({key: t.detach().double().numpy().copy() for key, t in model.state_dict().items()})
        assert model.n_averaged.item() == 4
        restored = lib.optim.swa_utils.AveragedModel(network(lib))
        restored.load_state_dict(copy.deepcopy(model.state_dict()))
        x = lib.ones(2, 3)
        model.eval(), restored.eval()
        inner = model.module[:2]
        states.append({"out": inner(x).detach().numpy(), "again": restored.module[:2](x).detach().numpy()})
        results.append(states)
    for a, b in zip(*results, strict=True):
        assert list(a) == list(b)
        for key in a:
            assert np.allclose(a[key], b[key], rtol=2e-6, atol=2e-6), key
    assert np.array_equal(results[0][-1]["out"], results[0][-1]["again"])


def test_averages_of_whole_numbers():
    results = []
    for lib in LIBRARIES:
        mean, new = [lib.tensor([3, 8, -5])], [lib.tensor([9, 1, -2])]
        lib.optim.swa_utils.get_ema_multi_avg_fn(0.5)(mean, new, 1)
        results.append(mean[0].tolist())
    assert results[0] == results[1]
    for count in (lambda lib: 2, lambda lib: lib.tensor(2)):
        ours, theirs = found_errors(lambda lib, count=count: lib.optim.swa_utils.get_swa_multi_avg_fn()(
            [lib.tensor([3, 8])], [lib.tensor([9, 1])], count(lib)))
        assert ours[0] == theirs[0] and ours[1][:40] == theirs[1][:40]  # the rest of addcdiv's advice is our own


def test_update_bn():
    results = []
    for lib in LIBRARIES:
        rng = np.random.default_rng(3)
        net = lib.nn.Sequential(lib.nn.BatchNorm1d(3), lib.nn.ReLU(), lib.nn.BatchNorm1d(3, momentum=0.3))
        batches = [lib.tensor(rng.standard_normal((5, 3)).astype(np.float32)) for _ in range(4)]
        net.eval()
        lib.optim.swa_utils.update_bn([batches[0], (batches[1], 7), [batches[2]]], net)
        assert not net.training and net[2].momentum == 0.3 and net[0].momentum == 0.1
        lib.optim.swa_utils.update_bn(batches, net, device="cpu")
        results.append([t.double().numpy() for t in net.buffers()])
        lib.optim.swa_utils.update_bn(None, lib.nn.Linear(2, 2))  # nothing to update: the loader is not asked
    for a, b in zip(*results, strict=True):
        assert np.allclose(a, b, rtol=1e-6, atol=1e-6)


def test_whole_training_with_averages():
    results = []
    for lib in LIBRARIES:
        rng = np.random.default_rng(5)
        net = lib.nn.Sequential(lib.nn.Linear(3, 4), lib.nn.Tanh(), lib.nn.Linear(4, 1))
        fill(lib, net, 1)
        optimizer = lib.optim.SGD(net.parameters(), lr=0.1, momentum=0.5)
        model = lib.optim.swa_utils.AveragedModel(net)
        first = lib.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)
        later = lib.optim.swa_utils.SWALR(optimizer, swa_lr=0.05, anneal_epochs=3)
        losses = []
        for epoch in range(12):
            x, y = (lib.tensor(rng.standard_normal(s).astype(np.float32)) for s in ((8, 3), (8, 1)))
            optimizer.zero_grad()
            loss = ((net(x) - y) ** 2).mean()
            loss.backward()
            optimizer.step()
            if epoch > 5:
                model.update_parameters(net)
                later.step()
            else:
                first.step()
            losses.append((loss.item(), optimizer.param_groups[0]["lr"], ((model(x) - y) ** 2).mean().item()))
        file = io.BytesIO()
        lib.save(model.state_dict(), file)
        file.seek(0)
        loaded = lib.load(file)
        assert all((loaded[key] == value).all() for key, value in model.state_dict().items())
        results.append(losses)
    assert np.allclose(*results, rtol=1e-5)


def test_errors():
    def utils(lib):
        return lib.optim.swa_utils
    actions = [
        lambda lib: utils(lib).get_ema_avg_fn(1.5),
        lambda lib: utils(lib).get_ema_multi_avg_fn(-0.1),
        lambda lib: utils(lib).AveragedModel(lib.nn.Linear(1, 1), avg_fn=max, multi_avg_fn=max),
    ]
    for action in actions:
        ours, theirs = found_errors(action)
        assert ours == theirs
    assert sorted(ng.optim.swa_utils.__all__) == sorted(torch.optim.swa_utils.__all__)


def prepared(lib, steps=2):
    rng = np.random.default_rng(1)
    params = [lib.tensor(rng.standard_normal(s)).requires_grad_() for s in ((3, 2), (4,), (1,))]
    optimizer = lib.optim.Adam([{"params": params[:2]}, {"params": params[2:], "lr": 0.5}])
    for _ in range(steps):
        for p in params:
            p.grad = lib.tensor(rng.standard_normal(tuple(p.shape)))
        optimizer.step()
    return params, optimizer


def test_step_on_other_parameters():
    results = []
    for lib in LIBRARIES:
        params, optimizer = prepared(lib)
        state = copy.deepcopy(optimizer.state_dict())
        state["param_groups"][0]["lr"] = 0.25
        others = {str(i): p.detach().clone() for i, p in enumerate(params)}
        before, groups, kept = [p.detach().clone() for p in params], optimizer.param_groups, optimizer.state
        seen = []
        optimizer.register_step_pre_hook(lambda o, args, kwargs, seen=seen: seen.append(o.param_groups[0]["lr"]))
        with lib.optim.swap_in_optimizer_params_and_state(optimizer, others, state):
            for p in others.values():
                p.grad = lib.ones_like(p)
            optimizer.step()
        assert optimizer.param_groups is groups and optimizer.state is kept and seen == [0.25]
        assert optimizer.param_groups[0]["lr"] == 1e-3 and optimizer.param_groups[0]["params"][0] is params[0]
        assert all((p == b).all() for p, b in zip(params, before))
        results.append([*(p.numpy() for p in others.values()),
                        *(t.numpy() for own in state["state"].values() for t in own.values())])
    for a, b in zip(*results, strict=True):
        assert np.allclose(a, b, rtol=1e-12)


def test_refused_swaps():
    def swap(change, steps=1, parameters=3):
        def action(lib):
            params, optimizer = prepared(lib, steps)
            state = change(lib, copy.deepcopy(optimizer.state_dict()))
            with lib.optim.swap_in_optimizer_params_and_state(
                    optimizer, {str(i): p for i, p in enumerate(params[:parameters])}, state):
                raise AssertionError("entered")
        return action

    def changed(**kwargs):
        return lambda lib, state: {**state, **kwargs}

    def group(**kwargs):
        return lambda lib, state: {**state, "param_groups": [{**state["param_groups"][0], **kwargs}, state["param_groups"][1]]}
    actions = [
        swap(changed(), steps=0), swap(lambda lib, state: 3), swap(changed(state=[])), swap(changed(state={0: 3})),
        swap(lambda lib, state: {**state, "state": {lib.ones(1): {}}}), swap(changed(param_groups=3)),
        swap(changed(param_groups=[])), swap(changed(param_groups=[3, 4])), swap(group(params=3)), swap(group(params=[0])),
        swap(group(more=3)), swap(changed(), parameters=2), swap(changed(state={7: {}})),
    ]
    for action in actions:
        ours, theirs = found_errors(action)
        assert ours == theirs
