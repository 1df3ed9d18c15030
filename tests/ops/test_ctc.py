"""ctc_loss and CTCLoss beside PyTorch, and their gradients against differences behind a log_softmax."""

import numpy as np
import pytest

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
LABELS = np.array([[1, 2, 2], [2, 3, 1], [3, 3, 3]])
CALLS = {
    "padded": (LABELS, (6, 6, 6), (3, 3, 3)),
    "in a row": (np.array([1, 2, 3, 3]), (6, 5, 6), (1, 1, 2)),
    "short": (LABELS, (2, 6, 5), (3, 2, 3)),
    "no labels": (LABELS, (6, 4, 0), (0, 2, 0)),
    "nothing": (LABELS[:, :0], (6, 4, 0), (0, 0, 0)),
}


def both(lib, dtype, labels, steps, counts, **options):
    """The node's name, values and gradient of logits of a log_softmax."""
    rng = np.random.default_rng(0)
    x = lib.tensor(rng.standard_normal((6, 3, 4)).astype(dtype), requires_grad=True)
    y = lib.nn.functional.ctc_loss(x.log_softmax(-1), lib.tensor(labels), steps, counts, **options)
    g = lib.tensor(rng.standard_normal(tuple(y.shape)).astype(dtype))
    d, = lib.autograd.grad(y, x, g)
    return type(y.grad_fn).__name__, y.detach().numpy(), d.numpy()


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("zero_infinity", [False, True])
@pytest.mark.parametrize("dtype, bound", [("float64", 1e-12), ("float32", 2e-5)])
def test_values_and_gradients(call, reduction, zero_infinity, dtype, bound):
    for blank in (0, 3) if call == "padded" else (0,):
        options = {"reduction": reduction, "zero_infinity": zero_infinity, "blank": blank}
        (node, *ours), (theirs_node, *theirs) = (both(lib, dtype, *CALLS[call], **options) for lib in (ng, torch))
        assert node == theirs_node
        for a, b in zip(ours, theirs, strict=True):
            assert a.dtype == b.dtype and np.allclose(a, b, rtol=bound, atol=bound, equal_nan=True)


@pytest.mark.parametrize("dtype, bound", [("float64", 1e-12), ("float32", 2e-4)])
@pytest.mark.parametrize("longest", [4, 5, 8, 13])
def test_states_that_fill_vectors_or_do_not(dtype, bound, longest):
    """States are walked through in vectors of 16; behind the last of a sequence nothing counts, whatever is there."""
    counts, steps = (longest, 0, 1, 3, longest), (40, 40, 3, 39, 0)
    rng = np.random.default_rng(longest)
    x, labels = rng.standard_normal((40, 5, 6)), rng.integers(1, 6, (5, longest))
    x[3, 1, 2], x[4, 3, 5], x[0, 2, 0] = -np.inf, -np.inf, np.nan

    def run(lib):
        t = lib.tensor(x.astype(dtype), requires_grad=True)
        y = lib.nn.functional.ctc_loss(t, lib.tensor(labels), steps, counts, reduction="none")
        y.sum().backward()
        return y.detach().numpy(), t.grad.numpy()
    for ours, theirs in zip(run(ng), run(torch), strict=True):
        assert np.allclose(ours, theirs, rtol=bound, atol=bound, equal_nan=True)


def test_gradient_by_differences():
    rng = np.random.default_rng(4)
    x, weights = rng.standard_normal((6, 3, 4)), ng.tensor([0.5, -1.0, 2.0], dtype=ng.float64)

    def value(array):
        return (ng.nn.functional.ctc_loss(ng.tensor(array).log_softmax(-1), ng.tensor(LABELS), (6, 5, 6), (3, 2, 2),
                                          reduction="none") * weights).sum().item()
    t = ng.tensor(x, requires_grad=True)
    (ng.nn.functional.ctc_loss(t.log_softmax(-1), ng.tensor(LABELS), (6, 5, 6), (3, 2, 2), reduction="none")
     * weights).sum().backward()
    for at in np.ndindex(*x.shape):
        step = np.zeros_like(x)
        step[at] = 1e-6
        assert t.grad.numpy()[at] == pytest.approx((value(x + step) - value(x - step)) / 2e-6, abs=1e-7)


def test_what_lengths_and_labels_may_be():
    def values(lib):
        x = lib.linspace(-3, 0, 24).reshape(6, 1, 4).log_softmax(-1)
        labels = lib.tensor([[1, 2]])
        F = lib.nn.functional
        return [t.item() for t in (
            F.ctc_loss(x, labels, (6,), (2,)), F.ctc_loss(x, labels.int(), [6], [2]),
            F.ctc_loss(x, labels, lib.tensor([6]), lib.tensor([2]).int()), F.ctc_loss(x, labels.short(), (5,), (1,)),
            F.ctc_loss(x[:, 0], labels[0], (6,), (2,), reduction="none"),
            F.ctc_loss(x[:, 0], labels[0], lib.tensor(6), lib.tensor(2)),
            F.ctc_loss(x.transpose(0, 1).contiguous().transpose(0, 1), labels, (6,), (2,)),
            lib.ctc_loss(x, labels, (6,), (2,), 0, 2, True), lib.ctc_loss(x, labels, (6,), (2,)))]
    assert values(ng) == pytest.approx(values(torch), rel=1e-6)


def test_nan_and_impossible_outputs():
    def values(lib):
        x = lib.zeros(4, 2, 3).log_softmax(-1)
        x[0, 0, 0], x[1, 1] = float("nan"), -float("inf")
        x.requires_grad_()
        y = lib.nn.functional.ctc_loss(x, lib.tensor([[1, 2], [1, 2]]), (4, 4), (2, 2), reduction="none")
        y.sum().backward()
        return y.detach().numpy(), x.grad.numpy()
    for a, b in zip(values(ng), values(torch), strict=True):
        assert np.array_equal(a, b, equal_nan=True)


def said(lib, action):
    x = lib.zeros(5, 2, 4)
    with pytest.raises(Exception) as caught:  # noqa: PT011
        action(lib, lib.nn.functional.ctc_loss, x, lib.tensor([[1, 2], [2, 3]]))
    return caught.type.__name__, str(caught.value)


@pytest.mark.parametrize("action", [
    lambda lib, loss, x, t: loss(x, t, lib.tensor([5.0, 5.0]), lib.tensor([2, 2])),
    lambda lib, loss, x, t: loss(x, t, lib.tensor([5, 5]), lib.tensor([2.0, 2.0])),
    lambda lib, loss, x, t: loss(x, t, (5,), (2, 2)),
    lambda lib, loss, x, t: loss(x, t, (5, 5), (2,)),
    lambda lib, loss, x, t: loss(x, t, (5, 6), (2, 2)),
    lambda lib, loss, x, t: loss(x, t, (5, -1), (2, 2)),
    lambda lib, loss, x, t: loss(x, t, (5, 5), (2, 3)),
    lambda lib, loss, x, t: loss(x, t, (5, 5), (2, -2)),
    lambda lib, loss, x, t: loss(x, t[0], (5, 5), (2, 2)),
    lambda lib, loss, x, t: loss(x, t[None], (5, 5), (2, 2)),
    lambda lib, loss, x, t: loss(x, t[:1], (5, 5), (2, 2)),
    lambda lib, loss, x, t: loss(x[None], t, (5, 5), (2, 2)),
    lambda lib, loss, x, t: loss(x[0, 0], t, (5, 5), (2, 2)),
    lambda lib, loss, x, t: loss(x, t, (5, 5), (2, 2), blank=4),
    lambda lib, loss, x, t: loss(x, t, (5, 5), (2, 2), reduction="x"),
    lambda lib, loss, x, t: loss(x.half(), t, (5, 5), (2, 2)),
    lambda lib, loss, x, t: loss(x.long(), t, (5, 5), (2, 2)),
    lambda lib, loss, x, t: loss(x[:0], t, (0, 0), (2, 2)),
    lambda lib, loss, x, t: loss(x.requires_grad_(), t, (5, 5), (2, 2)).backward(create_graph=True) or lib.autograd.grad(
        lib.autograd.grad(loss(x, t, (5, 5), (2, 2)), x, create_graph=True)[0].sum(), x),
])
@pytest.mark.filterwarnings("ignore:Using backward")
def test_errors(action):
    assert said(ng, action) == said(torch, action)


def test_labels_out_of_range_are_refused():
    """PyTorch reads whatever lies there."""
    with pytest.raises(RuntimeError, match="label 7 in targets is none of the 4 classes"):
        ng.nn.functional.ctc_loss(ng.zeros(5, 1, 4), ng.tensor([[1, 7]]), (5,), (2,))
    ng.nn.functional.ctc_loss(ng.zeros(5, 1, 4), ng.tensor([[1, 7]]), (5,), (1,))  # padding may be anything


def test_layer():
    def run(lib):
        layer = lib.nn.CTCLoss(blank=1, zero_infinity=True)
        return repr(layer), layer(lib.zeros(5, 1, 4).log_softmax(-1), lib.tensor([[2, 3]]), (5,), (2,)).item()
    assert run(ng) == (run(torch)[0], pytest.approx(run(torch)[1], rel=1e-6))


def test_compiled():
    @ng.compile
    def step(x, labels):
        return ng.nn.functional.ctc_loss(x.log_softmax(-1), labels, (6, 6), (2, 2), reduction="none")
    x, labels = ng.randn(6, 2, 4), ng.tensor([[1, 2], [2, 3]])
    for _ in range(3):
        got = step(x, labels)
        assert np.allclose(got.numpy(), ng.nn.functional.ctc_loss(x.log_softmax(-1), labels, (6, 6), (2, 2),
                                                                  reduction="none").numpy(), rtol=1e-6)
    with pytest.raises(RuntimeError, match="none of the 4 classes"):
        step(x, labels + 2)
