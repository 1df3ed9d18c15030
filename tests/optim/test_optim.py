"""Optimizers and schedules against PyTorch's: trajectories, saved state, text and errors."""

import copy
import importlib
import pickle

import numpy as np
import pytest
from optim_helpers import LIBRARIES, found_errors

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
STEPS = 20
OPTIMIZERS = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "maximize": True, "weight_decay": 0.2}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.05}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.05}),
    ("SGD", {"lr": 0.1, "momentum": 0.5, "maximize": True}),
    ("Adam", {}),
    ("Adam", {"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-6}),
    ("Adam", {"lr": 0.05, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.05, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("Adam", {"lr": 0.05, "amsgrad": True}),
    ("Adam", {"lr": 0.05, "amsgrad": True, "weight_decay": 0.1, "maximize": True}),
    ("AdamW", {"lr": 0.05}),
    ("AdamW", {"lr": 0.05, "weight_decay": 0.3, "amsgrad": True}),
    ("AdamW", {"lr": 0.05, "maximize": True}),
]


def start():
    """Values of the parameters, of different sizes, and gradients for every step."""
    rng = np.random.default_rng(0)
    shapes = [(5, 3), (1,), (), (67,), (0, 2)]
    values = [rng.standard_normal(shape) for shape in shapes]
    grads = [[rng.standard_normal(shape) for shape in shapes] for _ in range(STEPS)]
    return values, grads


def make(lib, name, kwargs, dtype="float32"):
    params = [lib.tensor(v, dtype=getattr(lib, dtype)).requires_grad_() for v in start()[0]]
    return params, getattr(lib.optim, name)(params, **kwargs)


def set_grads(lib, params, grads, skip=None):
    for i, (p, g) in enumerate(zip(params, grads, strict=True)):
        p.grad = None if i == skip else lib.tensor(g, dtype=p.dtype)


def trajectory(lib, name, kwargs, dtype="float32"):
    params, optimizer = make(lib, name, kwargs, dtype)
    out = []
    for i, grads in enumerate(start()[1]):
        set_grads(lib, params, grads, skip=1 if i % 3 == 0 else None)
        optimizer.step()
        out.append([p.detach().to(lib.float64).numpy().copy() for p in params])
    return out, optimizer


def ident(case):
    return case[0] + "-" + "-".join(f"{k}={v}" for k, v in case[1].items())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", OPTIMIZERS, ids=ident)
def test_trajectory(case, dtype):
    ours, theirs = (trajectory(lib, *case, dtype) for lib in LIBRARIES)
    # The kernels fuse what PyTorch rounds step by step.
    tolerance = 3e-6 if dtype == "float32" else 1e-14
    for step, (a, b) in enumerate(zip(ours[0], theirs[0], strict=True)):
        for i, (p, q) in enumerate(zip(a, b, strict=True)):
            assert np.allclose(p, q, rtol=tolerance, atol=tolerance), (step, i)
    mine, other = ours[1].state_dict(), theirs[1].state_dict()
    assert mine["param_groups"] == other["param_groups"]
    assert {k: list(v) for k, v in mine["state"].items()} == {k: list(v) for k, v in other["state"].items()}
    for key, state in other["state"].items():
        for name, value in state.items():
            assert str(mine["state"][key][name].dtype) == str(value.dtype)
            assert np.allclose(mine["state"][key][name].numpy(), value.numpy(), rtol=10 * tolerance, atol=tolerance)


@pytest.mark.parametrize("case", [OPTIMIZERS[5], OPTIMIZERS[12]], ids=ident)
def test_strided_parameters_use_the_composed_update(case):
    name, kwargs = case
    base = np.random.default_rng(1).standard_normal((4, 6)).astype(np.float32)
    grads = np.random.default_rng(2).standard_normal((STEPS, 6, 4)).astype(np.float32)
    results = []
    for lib in LIBRARIES:
        p = lib.tensor(base).t().requires_grad_()
        optimizer = getattr(lib.optim, name)([p], **kwargs)
        for g in grads:
            p.grad = lib.tensor(g)
            optimizer.step()
        assert not p.is_contiguous()
        results.append(p.detach().numpy())
    assert np.allclose(*results, rtol=3e-6, atol=3e-6)


def test_half_precision_parameters():
    results = []
    for lib in LIBRARIES:
        p = lib.tensor([1.0, -2.0, 3.0], dtype=lib.bfloat16).requires_grad_()
        optimizer = lib.optim.SGD([p], lr=0.5, momentum=0.5)
        for _ in range(3):
            p.grad = lib.tensor([0.5, 1.0, -0.25], dtype=lib.bfloat16)
            optimizer.step()
        results.append(p.detach().float().numpy())
    assert np.allclose(*results, rtol=2**-8)


def test_special_values_pass_through():
    for name, kwargs in (("SGD", {"lr": 0.1}), ("SGD", {"lr": 0.1, "momentum": 0.9}), ("Adam", {"amsgrad": True})):
        results = []
        for lib in LIBRARIES:
            p = lib.tensor([np.inf, -np.inf, 1.0, 1.0, np.nan], dtype=lib.float32).requires_grad_()
            optimizer = getattr(lib.optim, name)([p], **kwargs)
            for _ in range(2):
                p.grad = lib.tensor([0.0, 1.0, np.nan, np.inf, 1.0], dtype=lib.float32)
                optimizer.step()
            results.append(p.detach().numpy())
        assert np.array_equal(*results, equal_nan=True), name


def test_groups_and_text():
    def build(lib):
        a, b = lib.nn.Linear(2, 2), lib.nn.Linear(2, 1)
        groups = [{"params": a.parameters()}, {"params": b.weight, "lr": 0.5}]
        optimizers = [lib.optim.SGD(groups, lr=0.1, momentum=0.9), lib.optim.AdamW(b.named_parameters())]
        optimizers[0].add_param_group({"params": [b.bias], "weight_decay": 0.1})
        return [repr(o) for o in optimizers], [o.state_dict() for o in optimizers]

    assert build(ng) == build(torch)


def test_errors():
    def leaf(lib):
        return lib.ones(2, requires_grad=True)

    def twice(lib):
        p = leaf(lib)
        lib.optim.SGD([{"params": [p]}, {"params": [p]}])

    def named(lib):
        lib.optim.SGD([("a", leaf(lib))]).add_param_group({"params": leaf(lib)})

    actions = [
        lambda lib: lib.optim.SGD([]),
        lambda lib: lib.optim.SGD(leaf(lib)),
        lambda lib: lib.optim.SGD([3]),
        lambda lib: lib.optim.SGD([leaf(lib) * 2]),
        lambda lib: lib.optim.SGD([{"params": {leaf(lib)}}]),
        lambda lib: lib.optim.SGD([leaf(lib)]).add_param_group([leaf(lib)]),
        lambda lib: lib.optim.SGD([("a", leaf(lib)), leaf(lib)]),
        lambda lib: lib.optim.SGD([leaf(lib)], lr=-1),
        lambda lib: lib.optim.SGD([leaf(lib)], momentum=-1),
        lambda lib: lib.optim.SGD([leaf(lib)], weight_decay=-1),
        lambda lib: lib.optim.SGD([leaf(lib)], nesterov=True),
        lambda lib: lib.optim.SGD([leaf(lib)], foreach=True, fused=True),
        lambda lib: lib.optim.SGD([leaf(lib)], lr=lib.ones(2)),
        lambda lib: lib.optim.Adam([leaf(lib)], lr=-1),
        lambda lib: lib.optim.Adam([leaf(lib)], eps=-1),
        lambda lib: lib.optim.Adam([leaf(lib)], betas=(1.0, 0.9)),
        lambda lib: lib.optim.Adam([leaf(lib)], betas=(0.9, 1.0)),
        lambda lib: lib.optim.Adam([leaf(lib)], weight_decay=-1),
        lambda lib: lib.optim.Adam([leaf(lib)], betas=(0, 0.9)),
        lambda lib: lib.optim.Adam([leaf(lib)], fused=True, foreach=True),
        lambda lib: lib.optim.SGD([leaf(lib)]).load_state_dict({"state": {}, "param_groups": []}),
        lambda lib: lib.optim.SGD([leaf(lib)]).load_state_dict({"state": {}, "param_groups": [{"params": [0, 1]}]}),
        twice,
        named,
    ]
    for action in actions:
        ours, theirs = found_errors(action)
        assert ours == theirs
    with pytest.warns(UserWarning, match="duplicate parameters"):
        p = leaf(ng)
        ng.optim.SGD([p, p])
    with pytest.raises(NotImplementedError):
        ng.optim.Optimizer([leaf(ng)], {}).step()


def test_failed_group_changes_nothing():
    p, q = ng.ones(1, requires_grad=True), ng.ones(1, requires_grad=True)
    optimizer = ng.optim.SGD([p])
    with pytest.raises(ValueError, match="more than one parameter group"):
        optimizer.add_param_group({"params": [q, p]})
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize("case", [("SGD", {"lr": 0.1, "momentum": 0.9}), ("Adam", {"amsgrad": True})], ids=ident)
def test_saved_state_continues(case):
    whole, _ = trajectory(ng, *case)
    params, optimizer = make(ng, *case)
    _, grads = start()
    for i in range(STEPS):
        if i == 7:
            saved = pickle.loads(pickle.dumps(optimizer.state_dict()))
            values = [p.detach().clone() for p in params]
            params, optimizer = make(ng, case[0], {"lr": 77.0})
            with ng.no_grad():
                for p, v in zip(params, values, strict=True):
                    p.copy_(v)
            optimizer.load_state_dict(saved)
        set_grads(ng, params, grads[i], skip=1 if i % 3 == 0 else None)
        optimizer.step()
    for p, v in zip(params, whole[-1], strict=True):
        assert np.array_equal(p.detach().double().numpy(), v)


def test_state_from_pytorch_loads():
    _, theirs = trajectory(torch, "Adam", {"lr": 0.05})
    state = theirs.state_dict()
    for own in state["state"].values():
        for name in own:
            own[name] = ng.tensor(own[name].numpy())
    params, ours = make(ng, "Adam", {})
    ours.load_state_dict(state)
    set_grads(ng, params, start()[1][0])
    ours.step()
    assert ours.param_groups[0]["lr"] == 0.05 and ours.state[params[0]]["step"].item() == STEPS + 1


def test_loaded_state_follows_the_parameter_dtype():
    _, optimizer = trajectory(ng, "Adam", {})
    params, other = make(ng, "Adam", {}, dtype="float64")
    other.load_state_dict(optimizer.state_dict())
    state = other.state[params[0]]
    assert state["exp_avg"].dtype == ng.float64 and state["step"].dtype == ng.float32


def test_zero_grad():
    p = ng.ones(2, requires_grad=True)
    optimizer = ng.optim.SGD([p])
    (p * p).sum().backward()
    grad = p.grad
    optimizer.zero_grad(set_to_none=False)
    assert p.grad is grad and grad.tolist() == [0.0, 0.0]
    optimizer.zero_grad()
    assert p.grad is None
    optimizer.step()
    assert p.tolist() == [1.0, 1.0]


def test_closure_is_recorded_even_under_no_grad():
    p = ng.ones(2, requires_grad=True)
    optimizer = ng.optim.SGD([p], lr=0.5)

    def closure():
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    with ng.no_grad():
        loss = optimizer.step(closure)
    assert loss.item() == 2.0 and p.tolist() == [0.0, 0.0]


def test_step_is_an_in_place_change():
    p = ng.ones(2, requires_grad=True)
    out = (p * p).sum()
    p.grad = ng.ones(2)
    ng.optim.SGD([p], lr=0.5).step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.backward()


def test_hooks():
    def run(lib):
        log = []
        p = lib.ones(1, requires_grad=True)
        optimizer = lib.optim.SGD([p], lr=0.5)
        from_module = importlib.import_module(lib.optim.Optimizer.__module__)
        handles = [
            optimizer.register_step_pre_hook(lambda o, args, kwargs: log.append(("pre", len(args), kwargs))),
            optimizer.register_step_post_hook(lambda o, args, kwargs: log.append("post")),
            from_module.register_optimizer_step_pre_hook(lambda o, args, kwargs: log.append("global pre")),
            from_module.register_optimizer_step_post_hook(lambda o, args, kwargs: log.append("global post")),
            optimizer.register_state_dict_pre_hook(lambda o: log.append("state pre")),
            optimizer.register_state_dict_post_hook(lambda o, state: {**state, "more": 1}),
            optimizer.register_load_state_dict_pre_hook(lambda o, state: log.append(sorted(state))),
            optimizer.register_load_state_dict_post_hook(lambda o: log.append("loaded")),
        ]
        p.grad = lib.ones(1)
        optimizer.step(closure=None)
        optimizer.load_state_dict(optimizer.state_dict())
        for handle in handles:
            handle.remove()
        optimizer.step()
        return log

    assert run(ng) == run(torch)

    def bad(lib):
        optimizer = lib.optim.SGD([lib.ones(1, requires_grad=True)])
        optimizer.register_step_pre_hook(lambda o, args, kwargs: 3)
        optimizer.step()

    with pytest.raises(RuntimeError, match=r"must return None or a tuple of \(new_args, new_kwargs\), but got 3"):
        bad(ng)


def test_user_defined_optimizer():
    class Plain(ng.optim.Optimizer):
        def __init__(self, params, lr=ng.optim.optimizer.required):
            super().__init__(params, {"lr": lr})

        def step(self, closure=None):
            with ng.no_grad():
                for group in self.param_groups:
                    for p in group["params"]:
                        p.add_(p.grad, alpha=-group["lr"])

    p = ng.ones(1, requires_grad=True)
    p.grad = ng.ones(1)
    optimizer = Plain([p], lr=0.25)
    seen = []
    optimizer.register_step_post_hook(lambda *args: seen.append(1))
    optimizer.step()
    assert p.tolist() == [0.75] and seen == [1]
    with pytest.raises(ValueError, match="didn't specify a value of required optimization parameter lr"):
        Plain([ng.ones(1, requires_grad=True)])


def test_tensor_learning_rate():
    results = []
    for lib in LIBRARIES:
        p = lib.ones(3, requires_grad=True)
        optimizer = lib.optim.SGD([p], lr=lib.tensor(0.25))
        p.grad = lib.ones(3)
        optimizer.step()
        results.append(p.tolist())
    assert results[0] == results[1]


def test_copies():
    params, optimizer = make(ng, "Adam", {"amsgrad": True})
    set_grads(ng, params, start()[1][0])
    optimizer.step()
    other = pickle.loads(pickle.dumps(optimizer))
    assert repr(other) == repr(optimizer) and len(other.state) == len(params)
    assert repr(copy.deepcopy(optimizer)) == repr(optimizer)


def test_clip_grad_norm():
    for norm_type in (2.0, 1.0, float("inf"), 3):
        results = []
        for lib in LIBRARIES:
            params = make(lib, "SGD", {})[0][:-1]  # the empty one has no largest element
            set_grads(lib, params, start()[1][0][:-1], skip=1)
            total = lib.nn.utils.clip_grad_norm_(params, 1.5, norm_type)
            results.append([total.item(), *(p.grad.numpy() for p in params if p.grad is not None)])
        for a, b in zip(*results, strict=True):
            assert np.allclose(a, b, rtol=1e-6, atol=1e-7)


def test_clip_grad_edges():
    for lib in LIBRARIES:
        p = lib.ones(2, requires_grad=True)
        assert lib.nn.utils.clip_grad_norm_(p, 1.0).item() == 0.0
        p.grad = lib.tensor([float("inf"), 1.0])
        with pytest.raises(RuntimeError, match="The total norm of order 2.0 for gradients"):
            lib.nn.utils.clip_grad_norm_([p], 1.0, error_if_nonfinite=True)
        p.grad = lib.tensor([3.0, -0.5])
        lib.nn.utils.clip_grad_value_([p], 1)
        assert p.grad.tolist() == [1.0, -0.5]
        with pytest.warns(UserWarning, match="is an empty generator"):
            lib.nn.utils.clip_grad_norm_((x for x in ()), 1.0)


def test_parameters_as_a_vector():
    layer = ng.nn.Linear(2, 3)
    vector = ng.nn.utils.parameters_to_vector(layer.parameters())
    assert vector.shape == (9,) and vector.requires_grad
    new = ng.arange(9.0)
    ng.nn.utils.vector_to_parameters(new, layer.parameters())
    assert layer.bias.tolist() == [6.0, 7.0, 8.0] and layer.bias.data_ptr() == new[6:].data_ptr()
    with pytest.raises(TypeError, match="expected torch.Tensor, but got: list"):
        ng.nn.utils.vector_to_parameters([1.0], layer.parameters())
