"""PyTorch's own database of optimizers (``optim_db``): values, state, groups, closures, schedules and errors, side by side."""

import copy
import io
import pickle
import types
import warnings

import numpy as np
import pytest

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here, and holds the samples")
optimizers = pytest.importorskip("torch.testing._internal.common_optimizers", reason="this PyTorch has no samples")
LIBRARIES = [ng, torch]
DATABASE = {info.name: info for info in optimizers.optim_db}
SHAPES = [(10, 5), (10,), (3, 4)]
STEPS = 6


def inputs(info):
    """{description: keyword arguments}, the ways to run an update (fused, differentiable) included."""
    found = optimizers._get_optim_inputs_including_global_cliquey_kwargs("cpu", torch.float32, info)
    return {one.desc: one.kwargs for one in found}


CASES = [(name, desc) for name, info in DATABASE.items() for desc in inputs(info)]
# Both libraries say so of the parameters of a recorded update, which are no leaves.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
every_case = pytest.mark.parametrize("name, desc", CASES, ids=lambda text: text)
every_optimizer = pytest.mark.parametrize("name", DATABASE)


def translated(lib, value, known):
    """A sample's value for a library: its tensors, wherever they are; ``known`` has those that were met, by identity."""
    if isinstance(value, torch.Tensor):
        if lib is torch:
            return value
        if id(value) not in known:
            made = ng.tensor(value.detach().numpy().copy())
            made = ng.nn.Parameter(made, value.requires_grad) if isinstance(value, torch.nn.Parameter) else made
            if value.grad is not None:
                made.grad = ng.tensor(value.grad.numpy().copy())
            known[id(value)] = made
        return known[id(value)]
    if isinstance(value, dict):
        return {key: translated(lib, item, known) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(translated(lib, item, known) for item in value)
    return value


def of_library(lib, fn):
    """A function of the database that names PyTorch's classes, for a library."""
    names = {name: getattr(lib.optim.lr_scheduler, name) for name in torch.optim.lr_scheduler.__all__}
    return types.FunctionType(fn.__code__, {**fn.__globals__, **names}, fn.__name__, fn.__defaults__, fn.__closure__)


class Run:
    """An optimizer of a library on a small problem."""

    def __init__(self, lib, name, kwargs, dtype="float64", groups=None):
        self.lib, self.dtype = lib, getattr(lib, dtype)
        self.rng = np.random.default_rng(0)
        self.kwargs = translated(lib, copy.deepcopy(kwargs), {})
        self.differentiable = self.kwargs.get("differentiable", False)
        self.fused = self.kwargs.get("fused", False)  # PyTorch's fused SGD stops at a gradient that comes later
        shapes = [s for s in SHAPES if name != "Muon" or len(s) == 2]
        self.leaves = [lib.tensor(self.values(s), dtype=self.dtype).requires_grad_() for s in shapes]
        # An update that is recorded may not write to leaves.
        self.params = [p.clone() for p in self.leaves] if self.differentiable else self.leaves
        given = self.params if groups is None else groups(self.params)
        self.name, self.optimizer = name, getattr(lib.optim, name)(given, **self.kwargs)
        self.targets = [lib.tensor(self.values(s), dtype=self.dtype) for s in shapes]

    def values(self, shape):
        v = self.rng.standard_normal(shape)
        return v + 1j * self.rng.standard_normal(shape) if self.dtype.is_complex else v

    def loss(self, scale=1.0):
        sign = -1.0 if self.kwargs.get("maximize") else 1.0
        parts = [((p - t).abs() ** 2).sum() for p, t in zip(self.params, self.targets)]
        return sign * scale * sum(parts[1:], parts[0])

    def step(self, k=0):
        """One step from gradients that differ from step to step; the second parameter has none at first."""
        def closure():
            self.optimizer.zero_grad()
            loss = self.loss(1.0 + 0.3 * k)
            grads = self.lib.autograd.grad(loss, self.params)
            if DATABASE[self.name].only_supports_sparse_grads:
                grads = [g.to_sparse() for g in grads]
            for i, (p, g) in enumerate(zip(self.params, grads)):
                p.grad = None if i == 1 and k == 0 and not self.fused else g
            return loss
        if DATABASE[self.name].step_requires_closure or k % 2:
            return self.optimizer.step(closure).item()
        closure()
        assert self.optimizer.step() is None
        return self.loss().item()

    def observed(self):
        """Values, and everything that can be said of the state."""
        state = self.optimizer.state_dict()
        found, said = [p.detach().numpy().copy() for p in self.params], []

        def look(place, value):
            if hasattr(value, "dtype"):
                said.append((place, "tensor", str(value.dtype).split(".")[-1], tuple(value.shape), str(value.device)))
                found.append(value.detach().numpy().copy())
            elif isinstance(value, dict):
                said.append((place, list(value)))
                for key, item in value.items():
                    look((*place, key), item)
            elif isinstance(value, (list, tuple)):
                said.append((place, type(value).__name__, len(value)))
                for i, item in enumerate(value):
                    look((*place, i), item)
            elif isinstance(value, float) and place[0] == "state":  # a loss, for one
                said.append((place, "float"))
                found.append(np.asarray(value))
            else:
                said.append((place, value))
        look(("state",), state["state"])
        look(("param_groups",), state["param_groups"])
        return found, said


def assert_close(ours, theirs, tolerance=1e-10):
    assert ours[1] == theirs[1]
    for a, b in zip(ours[0], theirs[0], strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def tolerance(name, dtype="float64", kwargs=()):
    if name == "Muon":  # the direction is computed in bfloat16
        return 1e-3
    if dtype in ("float32", "complex64"):
        return 1e-3 if name == "LBFGS" else 2e-5
    # With counts, products or settings in float32. PyTorch's recorded Adam has its corrections of the bias in it too.
    if dict(kwargs).get("differentiable") and name.startswith("Adam"):
        return 1e-5
    return 2e-7 if name == "NAdam" or any(isinstance(v, torch.Tensor) for v in dict(kwargs).values()) else 1e-10


@every_case
def test_values_and_state(name, desc):
    kwargs = inputs(DATABASE[name])[desc]
    for dtype in ("float64", "float32"):
        steps = 2 if name == "LBFGS" else STEPS
        runs = [Run(lib, name, kwargs, dtype) for lib in LIBRARIES]
        losses = [[run.step(k) for k in range(steps)] for run in runs]
        close = tolerance(name, dtype, kwargs)
        np.testing.assert_allclose(*losses, rtol=10 * close)
        seen = [run.observed() for run in runs]
        if name == "LBFGS" and dtype == "float32":  # what it remembers, and how often it looked, is noise once it has converged
            seen = [(values[:len(SHAPES)], [s for s in said if s[0][0] != "state" or len(s[0]) < 3]) for values, said in seen]
        assert_close(*seen, close)
        assert repr(runs[0].optimizer) == repr(runs[1].optimizer)


@every_case
def test_complex_parameters(name, desc):
    info, kwargs = DATABASE[name], inputs(DATABASE[name])[desc]
    if not info.supports_complex or kwargs.get("fused") or info.only_supports_sparse_grads:
        with pytest.raises((RuntimeError, ValueError)):
            Run(ng, name, kwargs, "complex128").step()
        return
    runs = [Run(lib, name, kwargs, "complex128") for lib in LIBRARIES]
    for run in runs:
        for k in range(2 if name == "LBFGS" else STEPS):
            run.step(k)
    assert_close(*[run.observed() for run in runs], tolerance(name, "complex128", kwargs))


@every_optimizer
def test_groups_with_settings_of_their_own(name):
    info = DATABASE[name]
    if not info.supports_param_groups:
        with pytest.raises(ValueError, match="doesn't support per-parameter options"):
            Run(ng, name, {}, groups=lambda params: [{"params": [p]} for p in params])
        return
    runs = []
    for lib in LIBRARIES:
        def groups(params, lib=lib):
            options = [{"lr": 0.05}, {"weight_decay": 0.2} if name != "Rprop" else {"etas": (0.4, 1.3)}, {}]
            return [{"params": [p], **more} for p, more in zip(params, options)]
        run = Run(lib, name, {"lr": 0.01}, groups=groups)
        for k in range(STEPS):
            run.step(k)
        more = lib.ones(2, 2, dtype=lib.float64, requires_grad=True)
        run.optimizer.add_param_group({"params": more, "lr": 0.5})
        more.grad = lib.full((2, 2), 0.25, dtype=lib.float64)
        if info.only_supports_sparse_grads:
            more.grad = more.grad.to_sparse()
        run.optimizer.step()
        run.params.append(more)
        runs.append(run)
    assert_close(*[run.observed() for run in runs], tolerance(name))


@every_optimizer
def test_saved_state_goes_on(name):
    """Through a file, a pickle of the optimizer, and from a state dict of before some options came."""
    kwargs = next(iter(inputs(DATABASE[name]).values()))
    ends = []
    for lib in LIBRARIES:
        run = Run(lib, name, kwargs)
        for k in range(3):
            run.step(k)
        file = io.BytesIO()
        lib.save(run.optimizer.state_dict(), file)
        file.seek(0)
        loaded, older = lib.load(file), copy.deepcopy(run.optimizer.state_dict())
        for flag in DATABASE[name].not_og_supported_flags:
            for group in older["param_groups"]:
                group.pop(flag, None)
        start = [p.detach().clone() for p in run.params]
        results = []
        for state in (loaded, older):
            other = Run(lib, name, kwargs)
            with lib.no_grad():
                for p, v in zip(other.params, start):
                    p.copy_(v)
            other.optimizer.load_state_dict(state)
            if state is older and name != "LBFGS":  # PyTorch's cannot be taken out of a pickle
                other.optimizer = pickle.loads(pickle.dumps(other.optimizer))
                other.params = [p for group in other.optimizer.param_groups for p in group["params"]]
            for k in range(3, 6):
                other.step(k)
            results.append(other.observed())
        for k in range(3, 6):
            run.step(k)
        # Bit for bit, but for the numbers that loading casts to the parameter's dtype (ASGD's eta, NAdam's product).
        close = 1e-6 if name in ("ASGD", "NAdam") else 0
        for a, b in zip(results[0][0], run.observed()[0]):
            np.testing.assert_allclose(a, b, rtol=close, atol=close)
        ends.append(results)
    assert_close(ends[0][0], ends[1][0], max(tolerance(name), close))
    np.testing.assert_allclose(ends[0][1][0][0], ends[1][1][0][0], rtol=max(tolerance(name), close))
    assert [text for text in ends[0][1][1] if text[0][0] == "param_groups"] == [
        text for text in ends[1][1][1] if text[0][0] == "param_groups"]


@every_optimizer
def test_under_schedules(name):
    for constructors in DATABASE[name].scheduler_inputs:
        runs = []
        for lib in LIBRARIES:
            run = Run(lib, name, {"lr": 0.01})
            schedules = [of_library(lib, make)(run.optimizer) for make in constructors]
            rates = []
            for k in range(15 if name != "LBFGS" else 3):
                loss = run.step(k)
                for schedule in schedules:
                    plateau = isinstance(schedule, lib.optim.lr_scheduler.ReduceLROnPlateau)
                    schedule.step(*[loss] * plateau)
                rates.append([group["lr"] for group in run.optimizer.param_groups])
            runs.append((run.observed(), rates))
        np.testing.assert_allclose(runs[0][1], runs[1][1], rtol=1e-12)
        assert_close(runs[0][0], runs[1][0], 1e-5 if name == "LBFGS" else tolerance(name))


def is_sparse(value):
    if isinstance(value, torch.Tensor):
        return value.is_sparse
    if isinstance(value, dict):
        return any(map(is_sparse, value.values()))
    return isinstance(value, list) and any(map(is_sparse, value))


@pytest.mark.parametrize("name", DATABASE)
def test_errors(name):
    """Every error input of the database: class and text of the error, or the warning."""
    tried = 0
    for sample in DATABASE[name].optim_error_inputs_func("cpu", torch.float32):
        given = sample.optimizer_error_input
        if is_sparse(given.params):
            continue  # no sparse layout here
        found = []
        for lib in LIBRARIES:
            known = {}
            params = given.params
            if params is None:
                params = [torch.nn.Parameter(torch.ones(1, 1)), torch.nn.Parameter(torch.ones(2, 2))]
            params, kwargs = (translated(lib, v, known) for v in (params, given.kwargs))
            if sample.error_type is UserWarning:
                with pytest.warns(UserWarning) as caught:
                    getattr(lib.optim, name)(params, **kwargs)
                found.append((UserWarning, str(caught[0].message)))
                continue
            with pytest.raises(sample.error_type, match=sample.error_regex) as caught:
                getattr(lib.optim, name)(params, **kwargs).step()
            found.append((caught.type, str(caught.value).replace("numbagrad.", "torch.")))
        assert found[0] == found[1], given.desc
        tried += 1
    assert tried > 3


def test_sparse_adam_is_made():
    for one in DATABASE["SparseAdam"].optim_inputs_func("cpu"):
        made = [lib.optim.SparseAdam([lib.ones(2, requires_grad=True)], **translated(lib, one.kwargs, {})) for lib in LIBRARIES]
        assert repr(made[0]) == repr(made[1])
        assert made[0].step() is made[1].step() is None


def test_every_name_of_the_namespace():
    for path in ("optim", "optim.lr_scheduler", "optim.swa_utils"):
        ours, theirs = ng, torch
        for part in path.split("."):
            ours, theirs = getattr(ours, part), getattr(theirs, part)
        assert set(theirs.__all__) <= set(ours.__all__), path
        assert all(hasattr(ours, name) for name in theirs.__all__)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(AttributeError, match="has no attribute"):
            _ = ng.optim.Nothing
