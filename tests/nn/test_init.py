"""Starting values against PyTorch's for the same seed."""

import math

import numpy as np
import pytest

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")

CASES = [
    ("uniform_", (40, 5), {"a": -2.0, "b": 3.0}),
    ("normal_", (40, 5), {"mean": 1.0, "std": 0.1}),
    ("normal_", (3,), {}),
    ("constant_", (2, 3), {"val": 0.3}),
    ("ones_", (2, 3), {}),
    ("zeros_", (2, 3), {}),
    ("eye_", (3, 5), {}),
    ("dirac_", (4, 3, 3), {}),
    ("dirac_", (6, 2, 3, 3), {"groups": 2}),
    ("dirac_", (2, 3, 3, 3, 3), {}),
    ("xavier_uniform_", (8, 6), {"gain": 1.5}),
    ("xavier_normal_", (8, 6, 3), {}),
    ("kaiming_uniform_", (8, 6), {"nonlinearity": "relu"}),
    ("kaiming_uniform_", (8, 6, 2, 2), {"a": 0.5, "mode": "fan_out"}),
    ("kaiming_normal_", (8, 6), {}),
    ("trunc_normal_", (40, 5), {}),
    ("trunc_normal_", (40, 5), {"mean": 0.5, "std": 0.2, "a": 0.3, "b": 1.0}),
    ("trunc_normal_", (40, 5), {"std": 1.0, "a": 1.5, "b": 2.0}),
    ("orthogonal_", (6, 4), {}),
    ("orthogonal_", (4, 6), {"gain": 2.0}),
    ("orthogonal_", (4, 3, 2), {}),
    ("sparse_", (10, 4), {"sparsity": 0.3}),
]
# Values that go through log, sqrt, cos or a factorisation differ by rounding; the rest are equal bit for bit.
ROUNDED = ("normal_", "xavier_normal_", "kaiming_normal_", "trunc_normal_", "orthogonal_", "sparse_")


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c[0]}{c[1]}{''.join(c[2])}")
def test_values(case):
    name, shape, kwargs = case
    results = []
    for lib in (ng, torch):
        lib.manual_seed(5)
        t = lib.empty(shape)
        assert getattr(lib.nn.init, name)(t, **kwargs) is t
        results.append((t.numpy(), lib.rand(3).numpy()))
    (ours, ours_next), (theirs, theirs_next) = results
    if name in ROUNDED:
        assert np.allclose(ours, theirs, rtol=2e-6, atol=2e-6)
    else:
        assert np.array_equal(ours, theirs)
    assert np.array_equal(ours_next, theirs_next), "another number of draws was used"


def test_generator_and_parameters():
    values = []
    for lib in (ng, torch):
        g = lib.Generator()
        g.manual_seed(3)
        p = lib.nn.Parameter(lib.empty(4, 3))
        lib.nn.init.kaiming_uniform_(p, generator=g)
        lib.nn.init.eye_(lib.nn.Parameter(lib.empty(2, 2)))
        values.append(p.detach().numpy())
        assert p.is_leaf and p.grad_fn is None
    assert np.array_equal(*values)


def test_gains():
    for args in (("linear",), ("conv2d",), ("sigmoid",), ("tanh",), ("relu",), ("leaky_relu",), ("leaky_relu", 0.3)):
        assert ng.nn.init.calculate_gain(*args) == torch.nn.init.calculate_gain(*args)
    assert ng.nn.init.calculate_gain("leaky_relu", 1) == math.sqrt(1.0)


def test_errors_and_warnings():
    actions = [
        lambda lib: lib.nn.init.calculate_gain("nope"),
        lambda lib: lib.nn.init.calculate_gain("leaky_relu", "a"),
        lambda lib: lib.nn.init.xavier_uniform_(lib.ones(3)),
        lambda lib: lib.nn.init.kaiming_uniform_(lib.ones(3, 3), mode="fan"),
        lambda lib: lib.nn.init.eye_(lib.ones(3)),
        lambda lib: lib.nn.init.dirac_(lib.ones(3)),
        lambda lib: lib.nn.init.dirac_(lib.ones(3, 3, 3), groups=2),
        lambda lib: lib.nn.init.orthogonal_(lib.ones(3)),
        lambda lib: lib.nn.init.sparse_(lib.ones(3), 0.1),
    ]
    for action in actions:
        found = []
        for lib in (ng, torch):
            with pytest.raises(Exception) as caught:
                action(lib)
            found.append((type(caught.value).__name__, str(caught.value)))
        assert found[0] == found[1]
    with pytest.warns(UserWarning, match="Initializing zero-element tensors is a no-op"):
        ng.nn.init.kaiming_uniform_(ng.empty(0, 3))
    with pytest.warns(UserWarning, match="mean is more than 2 std"):
        ng.nn.init.trunc_normal_(ng.empty(3), mean=5.0)
    with pytest.warns(FutureWarning, match="`nn.init.uniform` is now deprecated in favor of `nn.init.uniform_`"):
        ng.nn.init.uniform(ng.empty(3))
