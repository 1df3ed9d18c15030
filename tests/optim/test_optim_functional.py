"""Steps as functions of lists (``torch.optim.adam.adam``): signatures, and values against the optimizers and PyTorch's."""

import importlib
import inspect

import numpy as np
import pytest
from optim_helpers import LIBRARIES, found_errors

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
COMMON = {"lr": 0.1, "weight_decay": 0.1, "maximize": True}
ADAM = {"beta1": 0.8, "beta2": 0.9, "eps": 1e-6}
# The lists of the state with their first values, and settings.
FORMS = {
    "adadelta": ({"square_avgs": 0.0, "acc_deltas": 0.0}, {"rho": 0.8, "eps": 1e-3, **COMMON}),
    "adagrad": ({"state_sums": 0.1}, {"lr_decay": 0.1, "eps": 1e-6, **COMMON}),
    "adam": ({"exp_avgs": 0.0, "exp_avg_sqs": 0.0, "max_exp_avg_sqs": 0.0}, {"amsgrad": True, **ADAM, **COMMON}),
    "adamw": ({"exp_avgs": 0.0, "exp_avg_sqs": 0.0, "max_exp_avg_sqs": None}, {"amsgrad": False, **ADAM, **COMMON}),
    "adamax": ({"exp_avgs": 0.0, "exp_infs": 0.0}, {**ADAM, **COMMON}),
    "asgd": ({"axs": 0.0, "mus": "1", "etas": "0.1"}, {"lambd": 0.01, "t0": 1, "alpha": 0.75, **COMMON}),
    "nadam": ({"exp_avgs": 0.0, "exp_avg_sqs": 0.0, "mu_products": "1"}, {"momentum_decay": 0.1, **ADAM, **COMMON}),
    "radam": ({"exp_avgs": 0.0, "exp_avg_sqs": 0.0}, {**ADAM, **COMMON}),
    "rmsprop": ({"square_avgs": 0.0, "grad_avgs": 0.0, "momentum_buffer_list": 0.0},
                {"alpha": 0.9, "eps": 1e-6, "momentum": 0.5, "centered": True, **COMMON}),
    "rprop": ({"prevs": 0.0, "step_sizes": 0.1},
              {"step_size_min": 1e-6, "step_size_max": 50, "etaminus": 0.5, "etaplus": 1.2, "maximize": True}),
    "sgd": ({"momentum_buffer_list": "none"}, {"momentum": 0.5, "dampening": 0.1, "nesterov": False, **COMMON}),
}


def function(lib, name):
    return getattr(importlib.import_module(f"{lib.__name__}.optim.{name}"), name)


@pytest.mark.parametrize("name", FORMS)
def test_signature(name):
    ours, theirs = ([(p.name, p.default, p.kind) for p in inspect.signature(function(lib, name)).parameters.values()]
                    for lib in LIBRARIES)
    assert ours == theirs
    assert getattr(importlib.import_module("numbagrad.optim._functional"), name) is function(ng, name)


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("name", FORMS)
def test_values(name, dtype):
    lists, settings = FORMS[name]
    results = []
    for lib in LIBRARIES:
        rng = np.random.default_rng(0)

        def draw(shape, rng=rng, lib=lib):
            v = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
            return lib.tensor(v if dtype == "complex128" else v.real, dtype=getattr(lib, dtype))
        params = [draw((3, 2)), draw((4,))]

        def filled(value, lib=lib, params=params):
            if value is None:
                return []
            if value == "none":
                return [None] * len(params)
            if isinstance(value, str):
                return [lib.tensor(float(value)) for _ in params]
            both = complex(value, value) if dtype == "complex128" else value
            return [lib.full_like(p, both) for p in params]
        state = {key: filled(value) for key, value in lists.items()}
        steps = {} if name == "sgd" else {"state_steps": [lib.tensor(0.0) for _ in params]}
        for _ in range(4):
            grads = [draw(tuple(p.shape)) for p in params]
            with lib.no_grad():
                function(lib, name)(params, grads, *state.values(), *steps.values(), **settings)
        results.append([t.numpy() for part in (params, *state.values(), *steps.values()) for t in part])
    for a, b in zip(*results, strict=True):
        assert a.dtype == b.dtype and np.allclose(a, b, rtol=1e-6 if name == "nadam" else 1e-9)


def test_counts_have_to_be_tensors():
    ours, theirs = found_errors(lambda lib: function(lib, "adam")(
        [lib.ones(1)], [lib.ones(1)], [lib.ones(1)], [lib.ones(1)], [], [3], amsgrad=False, **ADAM, **COMMON))
    assert ours == theirs
