"""Losses over class indices where some, all or none of the targets are ignored: values, gradients, recorded gradients."""

import itertools

import numpy as np
import pytest

import numbagrad as ng

torch = pytest.importorskip("torch")

SHAPES = {"row": (3,), "rows": (4, 3), "sequence": (2, 3, 4), "image": (2, 3, 2, 2), "volume": (2, 3, 2, 1, 2),
          "wide": (4, 600)}
WEIGHTS = {"none": None, "ones": lambda n: np.ones(n), "zeros": lambda n: np.zeros(n), "ramp": lambda n: np.arange(n) * 0.5}


def _targets(shape, ignored):
    full = shape[:1] + shape[2:] if len(shape) > 1 else ()
    t = np.arange(int(np.prod(full))).reshape(full) % 3
    if ignored == "all":
        t = np.full(full, -100)
    elif ignored == "some" and full:
        t.reshape(-1)[::2] = -100
    return t


def _run(T, name, x, t, weight, create_graph, options):
    F = T.nn.functional
    x = T.tensor(x, requires_grad=True)
    w = None if weight is None else T.tensor(weight, dtype=x.dtype)
    scores = F.log_softmax(x, 0 if x.ndim == 1 else 1) if name == "nll_loss" else x
    loss = getattr(F, name)(scores, T.tensor(t), weight=w, **options)
    g, = T.autograd.grad(loss.sum(), x, create_graph=create_graph)
    out = [loss, g]
    if create_graph:
        along = T.tensor(np.linspace(-1, 1, int(np.prod(x.shape)))).reshape(x.shape)
        out += T.autograd.grad((g * along).sum(), x, allow_unused=True)
    return [v if v is None else v.detach().numpy() for v in out]


@pytest.mark.parametrize("create_graph", [False, True], ids=["plain", "recorded"])
@pytest.mark.parametrize("ignored", ["all", "some", "no"])
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_of_ignored_targets(shape, ignored, create_graph):
    x = np.random.RandomState(0).randn(*SHAPES[shape])
    t = _targets(SHAPES[shape], ignored)
    for name, weight, reduction in itertools.product(("cross_entropy", "nll_loss"), WEIGHTS, ("mean", "sum", "none")):
        for smoothing in (0.0, 0.1) if name == "cross_entropy" else (None,):
            w = WEIGHTS[weight] and WEIGHTS[weight](SHAPES[shape][0 if shape == "row" else 1])
            options = {"reduction": reduction} | ({} if smoothing is None else {"label_smoothing": smoothing})
            expected, got = (_run(T, name, x, t, w, create_graph, options) for T in (torch, ng))
            for what, e, o in zip(("loss", "gradient", "second"), expected, got):
                if e is None or o is None:
                    assert not np.any(e if o is None else o), (name, weight, options, what)
                    continue
                np.testing.assert_allclose(o, e, 1e-9, 1e-12, err_msg=f"{name} {weight} {options} {what}")
