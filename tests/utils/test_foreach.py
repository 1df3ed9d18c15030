"""``_foreach_*`` functions against PyTorch's: values, results, gradients, in-place forms and errors."""

import numpy as np
import pytest
from optim_helpers import LIBRARIES, found_errors

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
NAMES = [name for name in dir(torch) if name.startswith("_foreach_")]
# PyTorch has no derivatives of the last three.
WITHOUT = "_foreach_mm", "_foreach_powsum", "_foreach_addcmul", "_foreach_addcdiv"


def lists(lib, n=3, dtype="float64", **options):
    rng = np.random.default_rng(0)
    shapes = (2, 3), (4,), ()
    return [[lib.tensor(rng.uniform(0.1, 0.9, s), dtype=getattr(lib, dtype), **options) for s in shapes] for _ in range(n)]


def forms(lib, name):
    """The arguments besides the first list."""
    _, b, c = lists(lib)
    op = name.removeprefix("_foreach_").rstrip("_")
    numbers, scalar = [0.5, 2.0, 3.0], lib.tensor(0.25, dtype=lib.float64)
    if op in ("add", "sub"):
        more = [((scalar,), {"alpha": 3})] if op == "add" else []
        return [((0.5,), {}), ((b,), {}), ((b,), {"alpha": 2}), ((numbers,), {}), *more]
    if op in ("mul", "div"):
        return [((0.5,), {}), ((b,), {}), ((numbers,), {}), ((scalar,), {})]
    if op in ("pow", "clamp_max", "clamp_min", "maximum", "minimum"):
        return [((0.5,), {}), ((b,), {}), ((numbers,), {}), ((tuple(b),), {})]
    if op in ("addcmul", "addcdiv"):
        return [((b, c), {}), ((b, c, 0.5), {}), ((b, c), {"value": 2}), ((b, c, numbers), {}),
                ((b, c, lib.tensor(numbers)), {})]
    if op == "lerp":
        return [((b, 0.25), {}), ((b, c), {}), ((b, numbers), {}), ((b, scalar), {})]
    if op in ("norm", "powsum"):
        return [((), {}), ((1,), {}), ((3.0,), {}), ((2, lib.float64), {})]
    if op == "copy":
        return [((b,), {})]
    return [((), {})]


def numbers_of(tensors):
    return [(t.detach().numpy().copy(), str(t.dtype), tuple(t.shape)) for t in tensors]


def test_every_name_is_there():
    assert len(NAMES) > 80
    for name in NAMES:
        assert getattr(ng, name).__name__ == name
    with pytest.raises(AttributeError, match="_foreach_nothing"):
        _ = ng._foreach_nothing


@pytest.mark.parametrize("name", NAMES)
def test_values(name):
    for k in range(len(forms(torch, name))):
        results = []
        for lib in LIBRARIES:
            first = [lib.eye(2, dtype=lib.float64)] * 3 if name == "_foreach_mm" else lists(lib)[0]
            args, options = ((first,), {}) if name == "_foreach_mm" else forms(lib, name)[k]
            made = getattr(lib, name)(first, *args, **options)
            if name.endswith("_"):
                assert all(a is b for a, b in zip(made, first))
            results.append((type(made), made))
        assert results[0][0] is results[1][0]
        for (a, *about), (b, *other) in zip(numbers_of(results[0][1]), numbers_of(results[1][1]), strict=True):
            assert about == other
            assert np.allclose(a, b, rtol=1e-6 if "float32" in about[0] else 1e-13)


def test_powers_of_a_number():
    results = [[t.tolist() for t in lib._foreach_pow(2.0, lists(lib)[0])] for lib in LIBRARIES]
    for a, b in zip(*results):
        assert np.allclose(a, b)


@pytest.mark.parametrize("name", [n for n in NAMES if not n.endswith("_") and n not in WITHOUT])
def test_gradients(name):
    results = []
    for lib in LIBRARIES:
        first = lists(lib, requires_grad=True)[0]
        args, options = forms(lib, name)[-1]
        total = sum((t.double() ** 3).sum() for t in getattr(lib, name)(first, *args, **options))
        grads = lib.autograd.grad(total, first, create_graph=True)
        seconds = lib.autograd.grad(sum((g * g).sum() for g in grads), first, allow_unused=True) \
            if any(g.requires_grad for g in grads) else grads
        results.append([np.zeros(t.shape) if g is None else g.detach().numpy()
                        for t, g in zip(first * 2, (*grads, *seconds))])
    for a, b in zip(*results, strict=True):
        assert np.allclose(a, b, rtol=1e-6 if "norm" in name or "powsum" in name else 1e-10)


def test_errors():
    def pair(lib):
        return [lib.ones(2), lib.ones(3)]
    actions = [
        lambda lib: lib._foreach_add(pair(lib), [lib.ones(2)]),
        lambda lib: lib._foreach_add([], []),
        lambda lib: lib._foreach_abs([]),
        lambda lib: lib._foreach_zero_([]),
        lambda lib: lib._foreach_abs(iter(pair(lib))),
        lambda lib: lib._foreach_mul(pair(lib), lib.ones(2)),
        lambda lib: lib._foreach_add(pair(lib), [1.0, 2.0, 3.0]),
        lambda lib: lib._foreach_addcmul(pair(lib), pair(lib), pair(lib), [1.0]),
        lambda lib: lib._foreach_addcmul(pair(lib), pair(lib), pair(lib), lib.ones(3)),
        lambda lib: lib._foreach_addcmul(pair(lib), pair(lib), pair(lib), lib.tensor(1.0)),
        lambda lib: lib._foreach_addcmul(pair(lib), pair(lib), pair(lib)[:1]),
        lambda lib: lib._foreach_abs([3]),
        lambda lib: lib._foreach_add_([lib.tensor([1, 2])], 1.5),
        lambda lib: lib._foreach_add_([lib.ones(2, requires_grad=True)], 1.5),
        lambda lib: lib._foreach_copy_(pair(lib), [lib.ones(2)]),
    ]
    for action in actions:
        ours, theirs = found_errors(action)
        assert ours == theirs


def test_groups_by_device_and_dtype():
    from torch.utils._foreach_utils import _group_tensors_by_device_and_dtype as theirs

    from numbagrad.utils._foreach_utils import _group_tensors_by_device_and_dtype as ours
    found = []
    for lib, group in ((ng, ours), (torch, theirs)):
        given = [[lib.ones(1), lib.ones(1).double(), lib.ones(2)], [None, lib.zeros(1).double(), None], []]
        found.append({(str(device), str(dtype)): ([[None if t is None else t.tolist() for t in one] for one in held], places)
                      for (device, dtype), (held, places) in group(given, True).items()})
    assert found[0] == found[1]
