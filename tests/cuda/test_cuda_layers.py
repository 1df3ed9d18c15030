"""Every layer and loss on the device: outputs, gradients of inputs and parameters, and state, against the CPU."""

import numpy as np
import pytest
from cuda_twin import assert_close, tensors
from layer_cases import LAYERS, MORE_LAYERS, MORE_LOSSES, REDUCED_LOSSES, SEQUENCE_LAYERS, TARGETS, loss_data

import numbagrad as ng

SEED = 3
# float32 with sums in another order, through several layers: units in the last place of the largest value.
LOOSE = 10


def made(name, args, kwargs):
    ng.manual_seed(7)
    return getattr(ng.nn, name)(*args, **{k: ng.tensor(v) if isinstance(v, list) and name.endswith("Loss") else v
                                          for k, v in kwargs.items()})


def run(layer, arrays, device, more=()):
    """(outputs, gradients, state) of a call with inputs of these values."""
    inputs = [ng.tensor(a, device=device, requires_grad=True) for a in arrays]
    layer.to(device)
    ng.manual_seed(1)
    # A sum before the layer, because an in-place layer may not change a leaf.
    outs = tensors(layer(*[t + 0 for t in inputs], *[m.to(device) for m in more]))
    total = 0
    for out in outs:
        if out.requires_grad:
            total = total + (out * ng.arange(1.0, out.numel() + 1, device=device).reshape(out.shape)).sum()
    total.backward()
    for p in layer.parameters():
        assert p.device.type == device
    leaves = (*inputs, *layer.parameters())
    found = [*outs, *[t.grad for t in leaves if t.grad is not None], *layer.state_dict().values()]
    assert all(t.device.type == device for t in found)
    return found


def same(name, args, kwargs, shapes, more=(), modes=(True, False)):
    rng = np.random.default_rng
    arrays = [s if isinstance(s, np.ndarray) else rng(SEED).standard_normal(s).astype(np.float32) for s in shapes]
    for training in modes:
        want = run(made(name, args, kwargs).train(training), arrays, "cpu", more)
        got = run(made(name, args, kwargs).train(training), arrays, "cuda", more)
        for g, w in zip(got, want, strict=True):
            assert_close(g, w, name, LOOSE)


def ident(case):
    return f"{case[0]}-{case[1]}-{case[2]}"


@pytest.mark.parametrize("case", LAYERS, ids=ident)
def test_layer(case):
    name, args, kwargs, shape = case
    same(name, args, kwargs, [shape])


@pytest.mark.parametrize("case", [*MORE_LAYERS, *SEQUENCE_LAYERS], ids=ident)
@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True")
def test_layer_of_several_inputs(case):
    name, args, kwargs, shapes = case
    same(name, args, kwargs, shapes)


@pytest.mark.parametrize("case", REDUCED_LOSSES, ids=lambda c: f"{c[0]}-{c[2]}-{','.join(c[1])}-{c[3]}")
@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")
def test_loss(case):
    name, kwargs, kind, reduction = case
    x, target = loss_data(kind)
    same(name, (), {**kwargs, "reduction": reduction}, [x], [ng.tensor(target)], (True,))


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("case", MORE_LOSSES, ids=lambda c: f"{c[0]}-{c[1]}")
def test_margin_loss(case, reduction):
    name, kwargs, count, target = case
    more = [] if target is None else [TARGETS[target].astype("float32") if target != "class" else TARGETS[target]]
    if name == "GaussianNLLLoss":
        more.append(np.full((3, 4), 0.5, "float32"))
    same(name, (), {**kwargs, "reduction": reduction}, [(3, 4)] * count, list(map(ng.tensor, more)), (True,))


@pytest.mark.parametrize("kwargs", [{"padding_idx": 1}, {"max_norm": 1.0}, {"scale_grad_by_freq": True}], ids=str)
def test_embedding(kwargs):
    at = ng.tensor([[1, 5, 0], [2, 2, 3]])
    grads = []
    for device in ("cpu", "cuda"):
        layer = made("Embedding", (6, 3), kwargs).to(device)
        out = layer(at.to(device))
        out.sum().backward()
        grads.append((out, layer.weight.grad, layer.weight))
    for g, w in zip(grads[1], grads[0], strict=True):
        assert_close(g, w, str(kwargs))


def test_random_layers_are_drawn_on_the_device():
    ng.manual_seed(0)
    x = ng.ones(1000, device="cuda", requires_grad=True)
    y = ng.nn.Dropout(0.25)(x)
    assert y.device.type == "cuda" and set(y.tolist()) == {0.0, float(np.float32(1) / np.float32(0.75))}
    assert 200 < (y == 0).sum().item() < 300
    y.sum().backward()
    assert (x.grad == y.detach()).all().item()
