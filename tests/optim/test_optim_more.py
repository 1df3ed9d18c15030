"""The less common optimizers against PyTorch's: trajectories, saved state, other dtypes and layouts, errors."""

import numpy as np
import pytest

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
LIBRARIES = [ng, torch]
STEPS = 12

OPTIMIZERS = [
    ("RMSprop", {}),
    ("RMSprop", {"lr": 0.05, "alpha": 0.9, "weight_decay": 0.1, "maximize": True}),
    ("RMSprop", {"centered": True}),
    ("RMSprop", {"centered": True, "momentum": 0.9, "eps": 1e-3}),
    ("RMSprop", {"momentum": 0.5}),
    ("Adagrad", {"lr": 0.1}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.3, "eps": 1e-4}),
    ("Adagrad", {"maximize": True, "fused": True}),
    ("Adamax", {"lr": 0.05}),
    ("Adamax", {"betas": (0.5, 0.8), "weight_decay": 0.1, "maximize": True}),
    ("NAdam", {"lr": 0.05}),
    ("NAdam", {"betas": (0.5, 0.8), "weight_decay": 0.1, "momentum_decay": 0.1, "maximize": True}),
    ("NAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("RAdam", {"lr": 0.05}),
    ("RAdam", {"betas": (0.5, 0.8), "weight_decay": 0.1, "maximize": True}),
    ("RAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("Adadelta", {}),
    ("Adadelta", {"lr": 0.5, "rho": 0.7, "eps": 1e-4, "weight_decay": 0.1, "maximize": True}),
    ("ASGD", {}),
    ("ASGD", {"lr": 0.1, "lambd": 0.1, "t0": 4, "alpha": 0.5}),
    ("ASGD", {"lr": 0.1, "t0": 2, "weight_decay": 0.1, "maximize": True}),
    ("Rprop", {}),
    ("Rprop", {"lr": 0.1, "etas": (0.3, 1.5), "step_sizes": (1e-3, 0.2), "maximize": True}),
    ("Adafactor", {}),
    ("Adafactor", {"lr": 0.1, "beta2_decay": -0.5, "eps": (1e-3, 1e-2), "d": 1.5, "weight_decay": 0.1, "maximize": True}),
]
REAL = {"Adafactor"}  # refuse complex parameters
NAMES = sorted({name for name, _ in OPTIMIZERS})


def ident(case):
    return case[0] + "-" + "-".join(f"{k}={v}" for k, v in case[1].items())


def start(dtype):
    rng = np.random.default_rng(0)
    shapes = [(5, 3), (1,), (), (67,), (0, 2), (2, 3, 4), (3, 70)]

    def values(shape):
        v = rng.standard_normal(shape)
        return v + 1j * rng.standard_normal(shape) if dtype == "complex128" else v
    return [values(s) for s in shapes], [[values(s) for s in shapes] for _ in range(STEPS)]


def trajectory(lib, name, kwargs, dtype):
    values, grads = start(dtype)
    if name == "Adafactor":  # PyTorch's divides by the number of elements
        values, grads = [v for v in values if v.size], [[g for g in step if g.size] for step in grads]
    params = [lib.tensor(v, dtype=getattr(lib, dtype)).requires_grad_() for v in values]
    optimizer = getattr(lib.optim, name)(params, **kwargs)
    out = []
    for i, step in enumerate(grads):
        for k, (p, g) in enumerate(zip(params, step, strict=True)):
            p.grad = None if k == 1 and i % 3 == 0 else lib.tensor(g, dtype=p.dtype)
        optimizer.step()
        out.append([p.detach().numpy().copy() for p in params])
    return out, optimizer


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
@pytest.mark.parametrize("case", OPTIMIZERS, ids=ident)
def test_trajectory(case, dtype):
    if dtype == "complex128" and (case[1].get("fused") or case[0] in REAL):
        return
    ours, theirs = (trajectory(lib, *case, dtype) for lib in LIBRARIES)
    # The kernels fuse what PyTorch rounds step by step; NAdam keeps a product in float32 for every dtype.
    tolerance = 5e-6 if dtype == "float32" else 2e-7 if case[0] == "NAdam" else 1e-13
    for step, (a, b) in enumerate(zip(ours[0], theirs[0], strict=True)):
        for i, (p, q) in enumerate(zip(a, b, strict=True)):
            assert np.allclose(p, q, rtol=tolerance, atol=tolerance), (step, i)
    mine, other = ours[1].state_dict(), theirs[1].state_dict()
    assert mine["param_groups"] == other["param_groups"]
    assert {k: list(v) for k, v in mine["state"].items()} == {k: list(v) for k, v in other["state"].items()}
    for key, state in other["state"].items():
        for name, value in state.items():
            got = mine["state"][key][name]
            assert str(got.dtype) == str(value.dtype) and tuple(got.shape) == tuple(value.shape)
            assert np.allclose(got.numpy(), value.numpy(), rtol=10 * tolerance, atol=tolerance)
    assert repr(ours[1]) == repr(theirs[1])


@pytest.mark.parametrize("name", NAMES)
def test_other_layouts_and_types(name):
    """Strided and half-precision parameters, and step counts in float64."""
    rng = np.random.default_rng(1)
    base, grads = rng.standard_normal((4, 6)), rng.standard_normal((STEPS, 6, 4))
    for dtype, tolerance in (("float32", 5e-6), ("float64", 2e-7), ("bfloat16", 0.05)):
        results = []
        for lib in LIBRARIES:
            p = lib.tensor(base, dtype=getattr(lib, dtype)).t().requires_grad_()
            optimizer = getattr(lib.optim, name)([p])
            before = p._version
            for g in grads:
                p.grad = lib.tensor(g, dtype=p.dtype)
                optimizer.step()
            assert not p.is_contiguous() and p._version > before and p.dtype is getattr(lib, dtype)
            results.append(p.detach().double().numpy())
        # bfloat16 has 8 bits, and PyTorch rounds to them after every operation. One step of NAdam or ASGD alters a float32.
        assert np.allclose(*results, rtol=tolerance, atol=tolerance)
    ng.set_default_dtype(ng.float64)
    try:
        p = ng.ones(3, requires_grad=True)
        optimizer = getattr(ng.optim, name)([p])
        for i in range(2):
            p.grad = ng.ones(3)
            optimizer.step()
            state = optimizer.state[p]
            assert state["step"].dtype is ng.float64 and state["step"].item() == i + 1
    finally:
        ng.set_default_dtype(ng.float32)


@pytest.mark.parametrize("name", NAMES)
def test_state_is_taken_from_pytorch(name):
    """A state saved by PyTorch goes on as it would have there; a number as step count is accepted."""
    values = np.random.default_rng(2).standard_normal(7)
    results = []
    p = torch.tensor(values).requires_grad_()
    theirs = getattr(torch.optim, name)([p])
    for k in range(6):
        p.grad = torch.tensor(values * (k + 1))
        theirs.step()
        if k == 2:
            q = ng.tensor(p.detach().numpy().copy()).requires_grad_()
            ours = getattr(ng.optim, name)([q])
            saved = theirs.state_dict()
            state = {key: ng.tensor(v.numpy().copy()) if v.dim() else float(v) for key, v in saved["state"][0].items()}
            ours.load_state_dict({"state": {0: state}, "param_groups": saved["param_groups"]})
        elif k > 2:
            q.grad = ng.tensor(values * (k + 1))
            ours.step()
    results = [q.detach().numpy(), p.detach().numpy()]
    assert np.allclose(*results, rtol=1e-7 if name == "NAdam" else 1e-12)


def test_special_values_pass_through():
    for name in NAMES:
        results = []
        for lib in LIBRARIES:
            p = lib.tensor([np.inf, -np.inf, 1.0, 1.0, np.nan], dtype=lib.float32).requires_grad_()
            optimizer = getattr(lib.optim, name)([p], lr=0.1)
            for _ in range(2):
                p.grad = lib.tensor([0.0, 1.0, np.nan, np.inf, 1.0], dtype=lib.float32)
                optimizer.step()
            results.append(p.detach().numpy())
        assert np.allclose(*results, rtol=1e-6, equal_nan=True), name


BAD = [
    *[(name, {key: value}) for name in NAMES for key, value in
      (("lr", -1), ("eps", -1), ("weight_decay", -1), ("lr", "tensor")) if name not in ("ASGD", "Rprop", "Adafactor")],
    *[(name, {key: value}) for name in ("ASGD", "Rprop", "Adafactor", "Muon", "SparseAdam")
      for key, value in (("lr", -1), ("lr", "tensor"))],
    ("ASGD", {"weight_decay": -1}), ("Rprop", {"etas": (1.0, 0.5)}), ("Rprop", {"etas": (0.0, 2.0)}),
    *[("Adafactor", options) for options in
      ({"beta2_decay": 0.1}, {"eps": (-1, 0)}, {"eps": (0, -1)}, {"d": 0.5}, {"weight_decay": -1})],
    *[("Muon", options) for options in ({"momentum": -1}, {"weight_decay": -1}, {"adjust_lr_fn": "up"}, {})],
    *[("SparseAdam", options) for options in ({"lr": 0}, {"eps": 0}, {"betas": (1.0, 0)}, {"betas": (0, -1)})],
    ("RMSprop", {"momentum": -1}), ("RMSprop", {"alpha": -1}), ("Adagrad", {"lr_decay": -1}),
    ("Adagrad", {"initial_accumulator_value": -1}), ("Adagrad", {"foreach": True, "fused": True}),
    ("Adadelta", {"rho": 2}), ("NAdam", {"momentum_decay": -1}),
    *[(name, {"betas": betas}) for name in ("Adamax", "NAdam", "RAdam") for betas in ((1.0, 0.9), (0.9, -1))],
    ("LBFGS", {"lr": -1}), ("LBFGS", {"lr": "tensor"}),
]


@pytest.mark.parametrize("case", BAD, ids=ident)
def test_errors(case):
    name, kwargs = case
    found = []
    for lib in LIBRARIES:
        options = {k: lib.ones(2) if v == "tensor" else v for k, v in kwargs.items()}
        with pytest.raises(Exception) as caught:
            getattr(lib.optim, name)([lib.ones(2, requires_grad=True)], **options)
        found.append((type(caught.value).__name__, str(caught.value)))
    assert found[0] == found[1]


def test_adafactor_without_elements():
    for shape in ((0,), (0, 2), (2, 0), (0, 2, 3)):
        p, q = ng.ones(shape, requires_grad=True), ng.ones(3, requires_grad=True)
        optimizer = ng.optim.Adafactor([p, q])
        p.grad, q.grad = ng.ones(shape), ng.ones(3)
        optimizer.step()
        assert p.shape == shape and np.all(q.detach().numpy() < 1)


def test_adafactor_state_of_another_size():
    for name, shape in (("row_var", (2, 2, 1)), ("row_var", (1,)), ("col_var", (2, 1, 3)), ("col_var", (0,))):
        p = ng.ones(2, 3, 4, requires_grad=True)
        optimizer = ng.optim.Adafactor([p])
        p.grad = ng.ones(2, 3, 4)
        optimizer.step()
        optimizer.state[p][name] = ng.ones(shape)
        with pytest.raises(RuntimeError, match="sizes of a parameter and of its state"):
            optimizer.step()


def test_muon():
    shapes = [(5, 3), (3, 5), (1, 4), (20, 33), (0, 2)]
    for dtype in ("float32", "float64", "bfloat16"):
        for options in ({}, {"nesterov": False, "momentum": 0.3}, {"lr": 0.1, "weight_decay": 0.2, "ns_steps": 3},
                        {"adjust_lr_fn": "match_rms_adamw"}, {"ns_coefficients": (3.4, -4.7, 2.0), "eps": 1.0}):
            results = []
            for lib in LIBRARIES:
                rng = np.random.default_rng(0)
                params = [lib.tensor(rng.standard_normal(s), dtype=getattr(lib, dtype)).requires_grad_() for s in shapes]
                strided = lib.tensor(rng.standard_normal((4, 6)), dtype=getattr(lib, dtype)).t().requires_grad_()
                optimizer = lib.optim.Muon([*params, strided], **options)
                for _ in range(4):
                    for p in (*params, strided):
                        p.grad = lib.tensor(rng.standard_normal(tuple(p.shape)), dtype=p.dtype)
                    optimizer.step()
                state = [s["momentum_buffer"] for s in optimizer.state_dict()["state"].values()]
                results.append(([t.detach().double().numpy() for t in (*params, strided, *state)], repr(optimizer)))
            assert results[0][1] == results[1][1]
            # The direction is computed in bfloat16: where a sum is rounded otherwise, it differs by one unit of 2**-8.
            tolerance = 4 * 2**-8 * options.get("lr", 1e-3) if dtype != "bfloat16" else 2**-7
            for a, b in zip(results[0][0], results[1][0], strict=True):
                assert np.allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ["Muon", "Adafactor", "SparseAdam"])
def test_refused_in_the_step(name):
    found = []
    for lib in LIBRARIES:
        p = lib.ones(2, 2, requires_grad=True, **({} if name == "SparseAdam" else {"dtype": lib.complex64}))
        optimizer = getattr(lib.optim, name)([p])
        assert optimizer.step() is None
        p.grad = lib.ones_like(p)
        with pytest.raises(RuntimeError) as caught:
            optimizer.step()
        found.append(str(caught.value))
    assert found[0] == found[1]
    complex_ = [{"params": [lib.ones(2), lib.ones(2, dtype=lib.complex64)]} for lib in LIBRARIES]
    texts = []
    for lib, group in zip(LIBRARIES, complex_):
        with pytest.raises(ValueError) as caught:
            lib.optim.SparseAdam([group], lr=-1) if name != "SparseAdam" else lib.optim.SparseAdam([group])
        texts.append(str(caught.value))
    assert texts[0] == texts[1]


def test_expanded_gradient():
    p = ng.ones(2, 3, requires_grad=True)
    p.sum().backward()
    p.grad = ng.ones(1, 1).expand(2, 3)
    ng.optim.Adagrad([p], lr=0.5).step()
    assert np.allclose(p.detach().numpy(), 0.5) and p.grad.stride() == (0, 0)


def rosenbrock(lib, options, steps):
    """Losses and end of a minimization, and the state that is left."""
    x = lib.tensor([-1.5, 2.0], dtype=lib.float64).requires_grad_()
    y = lib.tensor([[0.5]], dtype=lib.float64).requires_grad_()
    unused = lib.tensor([1.0], dtype=lib.float64).requires_grad_()
    optimizer = lib.optim.LBFGS([x, y, unused], **options)
    calls = [0]

    def closure():
        calls[0] += 1
        optimizer.zero_grad()
        loss = (1 - x[0]) ** 2 + 5 * (x[1] - x[0] ** 2) ** 2 + ((y - x[1]) ** 2).sum() + 0.1 * (y**4).sum()
        loss.backward()
        return loss
    losses = [optimizer.step(closure).item() for _ in range(steps)]
    return losses, [p.detach().numpy().copy() for p in (x, y, unused)], optimizer, calls[0]


@pytest.mark.parametrize("options", [
    {}, {"lr": 0.1, "max_iter": 4}, {"line_search_fn": "strong_wolfe"}, {"line_search_fn": "strong_wolfe", "max_iter": 3},
    {"history_size": 2, "line_search_fn": "strong_wolfe", "lr": 0.01}, {"max_eval": 3, "line_search_fn": "strong_wolfe"},
    {"tolerance_change": 1e-2}, {"tolerance_grad": 1.0, "line_search_fn": "strong_wolfe"}, {"lr": 50.0,
                                                                              "line_search_fn": "strong_wolfe"},
], ids=str)
@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad=True to a scalar")  # PyTorch's own line search
def test_lbfgs(options):
    steps = 1 if not options else 4  # without a search the fixed step diverges
    ours, theirs = (rosenbrock(lib, options, steps) for lib in LIBRARIES)
    assert ours[3] == theirs[3]
    # Some hundred evaluations of a curved valley magnify the last digit.
    assert np.allclose(ours[0], theirs[0], rtol=1e-6, atol=1e-12)
    for a, b in zip(ours[1], theirs[1], strict=True):
        assert np.allclose(a, b, rtol=1e-6, atol=1e-9)
    mine, other = (list(o[2].state_dict()["state"].values())[0] for o in (ours, theirs))
    assert set(mine) == set(other)
    assert mine["n_iter"] == other["n_iter"] and mine["func_evals"] == other["func_evals"]
    assert len(mine["old_dirs"]) == len(other["old_dirs"])
    assert repr(ours[2]) == repr(theirs[2])


def test_lbfgs_complex_groups_and_search():
    results = []
    for lib in LIBRARIES:
        z = lib.tensor([1 + 2j, -0.5j], dtype=lib.complex128).requires_grad_()
        optimizer = lib.optim.LBFGS([z], line_search_fn="strong_wolfe")

        def closure(z=z, optimizer=optimizer):
            optimizer.zero_grad()
            loss = ((z - 1).abs() ** 2).sum() + (z.abs() ** 4).sum()
            loss.backward()
            return loss
        optimizer.step(closure)
        results.append(z.detach().numpy())
        with pytest.raises(ValueError, match="per-parameter options"):
            lib.optim.LBFGS([{"params": [lib.ones(2, requires_grad=True)]}, {"params": [lib.ones(1, requires_grad=True)]}])
    assert np.allclose(*results, rtol=1e-6)
    p = ng.ones(2, requires_grad=True)
    optimizer = ng.optim.LBFGS([p], line_search_fn="newton")

    def closure():
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss
    with pytest.raises(RuntimeError, match="only 'strong_wolfe' is supported"):
        optimizer.step(closure)
