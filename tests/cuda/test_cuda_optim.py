"""Every optimizer on the device: parameters and state after some steps, against the CPU."""

import numpy as np
import pytest
from cuda_twin import assert_close

import numbagrad as ng

OPTIMIZERS = [
    ("SGD", {}), ("SGD", {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("SGD", {"momentum": 0.5, "dampening": 0.3}),
    ("Adam", {}), ("Adam", {"amsgrad": True, "weight_decay": 0.1, "maximize": True}), ("Adam", {"capturable": True}),
    ("AdamW", {}), ("Adagrad", {"lr_decay": 0.1, "weight_decay": 0.1}), ("Adadelta", {}), ("Adamax", {"weight_decay": 0.1}),
    ("NAdam", {}), ("NAdam", {"decoupled_weight_decay": True, "weight_decay": 0.1}), ("RAdam", {"weight_decay": 0.1}),
    ("RMSprop", {"centered": True, "momentum": 0.9}), ("RMSprop", {}), ("LBFGS", {"max_iter": 4}),
    ("ASGD", {"t0": 1, "weight_decay": 0.1}), ("Rprop", {}), ("Adafactor", {"weight_decay": 0.1, "maximize": True}),
    ("Muon", {}),
]


@pytest.mark.parametrize("name,options", OPTIMIZERS, ids=lambda v: str(v))
def test_steps(name, options):
    found = []
    for device in ("cpu", "cuda"):
        rng = np.random.default_rng(4)
        arrays = [rng.standard_normal((3, 5)).astype("float32"), rng.standard_normal(7).astype("float32")]
        arrays = arrays[:1] if name == "Muon" else arrays
        arrays += [] if name == "LBFGS" else [rng.standard_normal((2, 2))]
        params = [ng.tensor(a, device=device, requires_grad=True) for a in arrays]
        slopes = [ng.tensor(rng.standard_normal(p.shape)).to(p) for p in params]
        optimizer = getattr(ng.optim, name)(params, lr=0.01, **options)

        def loss(params=params, slopes=slopes, optimizer=optimizer):
            optimizer.zero_grad()
            total = sum(((p * g).sin() + p * p).sum().double() for p, g in zip(params, slopes))
            total.backward()
            return total
        for _ in range(3):
            optimizer.step(loss) if name == "LBFGS" else (loss(), optimizer.step())
        state = [t for p in params for _, t in sorted(optimizer.state[p].items()) if isinstance(t, ng.Tensor)]
        found.append([*params, *state])
        assert all(p.device.type == device for p in params)
    for got, want in zip(found[1], found[0], strict=True):
        # Three steps add up what rounds differently in one.
        assert_close(got.cpu() if got.is_cuda else got, want, name, 10)


def test_half_parameters():
    for device in ("cpu", "cuda"):
        p = ng.tensor([1.0, -2.0], dtype=ng.bfloat16, device=device, requires_grad=True)
        optimizer = ng.optim.Adam([p], lr=0.5)
        (p * p).sum().backward()
        optimizer.step()
        assert p.detach().cpu().tolist() == [0.498046875, -1.5]
