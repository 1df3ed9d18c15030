"""Every layer and loss against PyTorch's: text, state, starting values, outputs and gradients."""

import numpy as np
import pytest
from layer_cases import LAYERS, REDUCED_LOSSES, loss_data

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")

def ident(case):
    args = [str(a) for a in case[1]] + [f"{k}={v}" for k, v in case[2].items()]
    return f"{case[0]}({', '.join(args)})"


def array(t):
    return None if t is None else t.detach().numpy()


def pair(name, args, kwargs):
    """The same layer of both libraries, made from the same seed."""
    made = []
    for lib in (ng, torch):
        lib.manual_seed(7)
        made.append(getattr(lib.nn, name)(*args, **kwargs))
    return made


def close(a, b, what):
    if b is None:
        assert a is None, what
        return
    a, b = array(a), array(b)
    assert a.dtype == b.dtype and a.shape == b.shape, what
    # float32 with sums in another order: a few units in the last place of the largest value.
    assert np.allclose(a, b, rtol=1e-5, atol=4e-6 * max(1.0, np.abs(b).max(initial=0.0))), what


def forward_backward(lib, layer, x):
    t = lib.tensor(x, requires_grad=True)
    # A sum before the layer, because an in-place layer may not change a leaf.
    out = layer(t + 0)
    grad = lib.tensor(np.random.default_rng(5).standard_normal(tuple(out.shape)).astype(np.float32))
    out.backward(grad)
    return out, t.grad


@pytest.mark.parametrize("case", LAYERS, ids=ident)
def test_layer(case):
    name, args, kwargs, shape = case
    ours, theirs = pair(name, args, kwargs)
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for key, value in theirs.state_dict().items():
        assert np.array_equal(array(ours.state_dict()[key]), array(value)), key
    x = np.random.default_rng(3).standard_normal(shape).astype(np.float32)
    for training in (True, False):
        ours.train(training), theirs.train(training)
        (out, grad), (want, want_grad) = forward_backward(ng, ours, x), forward_backward(torch, theirs, x)
        close(out, want, "output")
        close(grad, want_grad, "input gradient")
    for (key, p), (_, q) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        close(p.grad, q.grad, key)
    for key, value in theirs.state_dict().items():
        close(ours.state_dict()[key], value, key)


@pytest.mark.parametrize("case", REDUCED_LOSSES, ids=lambda c: f"{c[0]}-{c[2]}-{','.join(c[1])}-{c[3]}")
def test_loss(case):
    name, kwargs, kind, reduction = case
    x, target = loss_data(kind)
    results = []
    for lib in (ng, torch):
        options = {k: lib.tensor(v) if isinstance(v, list) else v for k, v in kwargs.items()}
        loss = getattr(lib.nn, name)(reduction=reduction, **options)
        t = lib.tensor(x, requires_grad=True)
        if name == "KLDivLoss" and reduction == "mean":
            with pytest.warns(UserWarning, match="reduction: 'mean' divides the total loss"):
                out = loss(t, lib.tensor(target))
        else:
            out = loss(t, lib.tensor(target))
        out.sum().backward()
        results.append((repr(loss), list(loss.state_dict()), out, t.grad))
    ours, theirs = results
    assert ours[:2] == theirs[:2]
    close(ours[2], theirs[2], "value")
    close(ours[3], theirs[3], "gradient")


def test_legacy_reduction_arguments():
    for size_average, reduce in ((True, None), (False, None), (None, False), (False, True)):
        texts = []
        for lib in (ng, torch):
            with pytest.warns(UserWarning) as caught:
                loss = lib.nn.MSELoss(size_average, reduce)
            texts.append((loss.reduction, str(caught[0].message)))
        assert texts[0] == texts[1]


def test_embedding():
    for kwargs in ({}, {"padding_idx": 1}, {"padding_idx": -1}, {"max_norm": 1.0}, {"scale_grad_by_freq": True}):
        ours, theirs = pair("Embedding", (5, 3), kwargs)
        assert repr(ours) == repr(theirs)
        assert np.array_equal(array(ours.weight), array(theirs.weight))
        index = np.array([[1, 4, 1], [0, 4, 4]])
        outs = []
        for lib, layer in ((ng, ours), (torch, theirs)):
            out = layer(lib.tensor(index))
            (out * out).sum().backward()
            outs.append(out)
        close(*outs, "output")
        close(ours.weight.grad, theirs.weight.grad, "gradient")
        close(ours.weight, theirs.weight, "weight")
    table = ng.randn(4, 2)
    layer = ng.nn.Embedding.from_pretrained(table)
    assert not layer.weight.requires_grad and layer.weight.data_ptr() == table.data_ptr()


def test_bilinear():
    ours, theirs = pair("Bilinear", (3, 4, 2), {})
    assert repr(ours) == repr(theirs)
    a, b = (np.random.default_rng(i).standard_normal((5, n)).astype(np.float32) for i, n in ((0, 3), (1, 4)))
    assert np.array_equal(array(ours.weight), array(theirs.weight))
    assert np.array_equal(array(ours.bias), array(theirs.bias))
    close(ours(ng.tensor(a), ng.tensor(b)), theirs(torch.tensor(a), torch.tensor(b)), "output")


@pytest.mark.parametrize("name", ["Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout"])
def test_dropout_draws_the_same(name):
    shape = {"Dropout1d": (4, 3, 8), "Dropout2d": (4, 3, 4, 4), "Dropout3d": (4, 3, 2, 3, 3)}.get(name, (40, 5))
    ours, theirs = pair(name, (0.4,), {})
    assert repr(ours) == repr(theirs)
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    outs = []
    for lib, layer in ((ng, ours), (torch, theirs)):
        lib.manual_seed(1)
        outs.append(layer(lib.tensor(x)))
    close(*outs, "training")
    ours.eval(), theirs.eval()
    assert np.array_equal(array(ours(ng.tensor(x))), x)


def same_error(action):
    found = []
    for lib in (ng, torch):
        with pytest.raises(Exception) as caught:
            action(lib)
        found.append((type(caught.value).__name__, str(caught.value)))
    assert found[0] == found[1]


def test_constructor_errors():
    same_error(lambda lib: lib.nn.Dropout(1.5))
    same_error(lambda lib: lib.nn.Unflatten(1, 3))
    same_error(lambda lib: lib.nn.Unflatten(1, (2, "a")))
    same_error(lambda lib: lib.nn.GroupNorm(3, 4))
    same_error(lambda lib: lib.nn.Conv2d(3, 4, 3, groups=2))
    same_error(lambda lib: lib.nn.Conv2d(4, 3, 3, groups=2))
    same_error(lambda lib: lib.nn.Conv2d(4, 4, 3, groups=0))
    same_error(lambda lib: lib.nn.Conv2d(4, 4, 3, stride=2, padding="same"))
    same_error(lambda lib: lib.nn.Embedding(3, 2, padding_idx=3))
    same_error(lambda lib: lib.nn.Embedding(3, 2, padding_idx=-4))
    same_error(lambda lib: lib.nn.Embedding(3, 2, _weight=lib.ones(2, 2)))
    same_error(lambda lib: lib.nn.Embedding.from_pretrained(lib.ones(2)))
    same_error(lambda lib: lib.nn.Bilinear(0, 2, 2))
    same_error(lambda lib: lib.nn.HuberLoss(delta="a"))
    same_error(lambda lib: lib.nn.Hardtanh(2.0, 1.0))
    for make in (lambda: ng.nn.Conv2d(1, 1, 1, padding="full"), lambda: ng.nn.Conv2d(1, 1, 1, padding_mode="wrap")):
        with pytest.raises(ValueError, match="should be one of|must be one of"):
            make()


def test_input_errors():
    same_error(lambda lib: lib.nn.BatchNorm1d(2)(lib.ones(2)))
    same_error(lambda lib: lib.nn.BatchNorm2d(2)(lib.ones(2, 2)))
    same_error(lambda lib: lib.nn.BatchNorm3d(2)(lib.ones(2, 2)))
    same_error(lambda lib: lib.nn.InstanceNorm1d(2)(lib.ones(2)))
    same_error(lambda lib: lib.nn.InstanceNorm1d(2, affine=True)(lib.ones(1, 3, 4)))
    same_error(lambda lib: lib.nn.Softmax2d()(lib.ones(2, 2)))
    with pytest.warns(UserWarning, match="does not match num_features"):
        ng.nn.InstanceNorm1d(2)(ng.ones(1, 3, 4))


def test_dtype_argument():
    for layer in (ng.nn.Linear(2, 2, dtype=ng.float64), ng.nn.BatchNorm1d(2, dtype=ng.float64)):
        assert all(t.dtype == ng.float64 for n, t in layer.state_dict().items() if n != "num_batches_tracked")


def test_training_trajectory_of_a_network():
    """A small network of many layers, trained 20 steps: losses equal PyTorch's."""
    losses = []
    x = np.random.default_rng(0).standard_normal((16, 1, 8, 8)).astype(np.float32)
    y = np.random.default_rng(1).integers(0, 4, 16)
    for lib in (ng, torch):
        nn = lib.nn
        lib.manual_seed(3)
        model = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(64, 16), nn.LayerNorm(16), nn.GELU(), nn.Linear(16, 4),
        )  # fmt: skip
        optimizer = lib.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        run = []
        for _ in range(20):
            optimizer.zero_grad()
            loss = nn.CrossEntropyLoss()(model(lib.tensor(x)), lib.tensor(y))
            loss.backward()
            optimizer.step()
            run.append(loss.item())
        losses.append(run)
    # Rounding differences grow along the trajectory; ten steps would agree to 1e-5.
    assert np.allclose(losses[0], losses[1], rtol=2e-4, atol=1e-5)
