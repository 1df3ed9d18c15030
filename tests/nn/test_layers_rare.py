"""Layers and tools that few programs have against PyTorch's: bags, adaptive softmax, parallel modules, backends, compile."""

import copy
import pickle
import warnings

import numpy as np
import parity
import pytest

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
pytest.importorskip("torch.nn.attention", reason="PyTorch is the oracle here")
LIBRARIES = [ng, torch]


def close(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype and np.allclose(a, b, rtol=1e-9, atol=1e-9), np.abs(a - b).max()


def second_order(lib, loss, inputs):
    """Values of first and second derivatives."""
    first = lib.autograd.grad(loss, inputs, create_graph=True)
    second = lib.autograd.grad(sum((g * g).sum() for g in first), inputs, allow_unused=True)
    return [t.detach().numpy() for t in (*first, *second) if t is not None]


# ``scale_grad_by_freq`` is left out: PyTorch divides by the counts of other rows where the indices are not sorted.
BAGS = [
    {"mode": "sum"}, {"mode": "mean"}, {"mode": "max"}, {"mode": "sum", "padding_idx": 1}, {"max_norm": 0.7},
    {"include_last_offset": True}, {"mode": "mean", "padding_idx": -2, "norm_type": 1.0, "max_norm": 1.0},
]


@pytest.mark.parametrize("dtype, bound", [("float32", 1e-6), ("float64", 1e-14), ("bfloat16", 0.02)])
@pytest.mark.parametrize("padding", [None, 3])
@pytest.mark.parametrize("width", [1, 15, 17, 64, 80, 300])
def test_bags_of_many_widths(width, padding, dtype, bound):
    """Columns are summed in blocks of vectors, and what is left of them under a mask; a bag may be empty."""
    rng = np.random.default_rng(width)
    w, at, offsets = rng.standard_normal((9, width)), rng.integers(0, 9, 21), np.array([0, 0, 5, 6, 20, 21])
    for mode in ("sum", "mean"):
        ours, theirs = (lib.nn.functional.embedding_bag(
            lib.tensor(at), lib.tensor(w).to(getattr(lib, dtype)), lib.tensor(offsets), mode=mode,
            padding_idx=padding).double().numpy() for lib in LIBRARIES)
        assert np.allclose(ours, theirs, rtol=bound, atol=bound)


@pytest.mark.parametrize("options", BAGS, ids=str)
def test_embedding_bag(options):
    found = []
    for lib in LIBRARIES:
        lib.manual_seed(2)
        layer = lib.nn.EmbeddingBag(6, 3, dtype=lib.float64, **options)
        flat, starts = lib.tensor([0, 1, 1, 5, 4, 1, 2]), [0, 2, 2, 5] + [7] * ("include_last_offset" in options)
        outs = [layer(flat, lib.tensor(starts)), layer(lib.tensor([[0, 1, 4], [4, 2, 2]]))]
        if options.get("mode") == "sum":
            outs.append(layer(flat, lib.tensor(starts), lib.arange(7, dtype=lib.float64)))
        sum((o * o).sum() for o in outs).backward()
        texts = [repr(layer), list(layer.state_dict()), repr(pickle.loads(pickle.dumps(layer)))]
        frozen = lib.nn.EmbeddingBag.from_pretrained(layer.weight.detach(), mode="sum")
        values = [t.detach().numpy() for t in (*outs, layer.weight.grad, layer.weight)]
        found.append((texts, frozen.weight.requires_grad, values))
    assert found[0][:2] == found[1][:2]
    close(found[0][2], found[1][2])


def test_adaptive_softmax():
    found = []
    x = np.random.default_rng(0).standard_normal((6, 8))
    for lib in LIBRARIES:
        lib.manual_seed(1)
        layer = lib.nn.AdaptiveLogSoftmaxWithLoss(8, 12, [3, 7], 2.0, True, dtype=lib.float64)
        t, target = lib.tensor(x, requires_grad=True), lib.tensor([0, 4, 11, 3, 8, 1])
        out = layer(t, target)
        values = [out.output, layer.log_prob(t), layer.predict(t), layer(t[0], target[0]).output]
        derivatives = second_order(lib, out.loss, [t, *layer.parameters()])
        found.append((repr(layer), list(layer.state_dict()), [v.detach().numpy() for v in values] + derivatives))
    assert found[0][:2] == found[1][:2]
    close(found[0][2], found[1][2])


def test_multilabel_margin_loss():
    x = np.random.default_rng(0).standard_normal((3, 5))
    for reduction in ("mean", "sum", "none"):
        found = []
        for lib in LIBRARIES:
            t = lib.tensor(x, requires_grad=True)
            labels = lib.tensor([[3, 0, -1, 1, 2], [-1, 0, 0, 0, 0], [4, 4, 2, 0, 1]])
            out = lib.nn.MultiLabelMarginLoss(reduction=reduction)(t, labels)
            found.append([out.detach().numpy(), lib.autograd.grad(out.sum(), t)[0].numpy()])
        close(*found)


@pytest.mark.parametrize("hard", [False, True])
def test_gumbel_softmax(hard):
    found = []
    for lib in LIBRARIES:
        lib.manual_seed(3)
        t = lib.arange(12, dtype=lib.float64).reshape(3, 4).requires_grad_()
        out = lib.nn.functional.gumbel_softmax(t, 0.7, hard, dim=0)
        found.append([out.detach().numpy(), *second_order(lib, (out * out).sum(), [t])])
    close(*found)


@pytest.mark.parametrize("size", [2, 3, 4, 5, 7])
def test_cross_map_normalization(size):
    x, found = np.random.default_rng(0).standard_normal((2, 6, 3, 2)), []
    for lib in LIBRARIES:
        t = lib.tensor(x, requires_grad=True)
        layer = lib.nn.CrossMapLRN2d(size, 0.5, k=2)
        out = layer(t)
        (out * out).sum().backward()
        found.append((repr(layer), [out.detach().numpy(), t.grad.numpy()]))
    assert found[0][0] == found[1][0]
    close(found[0][1], found[1][1])


CALLS = [
    lambda lib: lib.nn.CrossMapLRN2d(3)(lib.ones(2, 3)),
    lambda lib: lib.nn.functional.channel_shuffle(lib.ones(4, 2), 2),
    lambda lib: lib.nn.functional.channel_shuffle(lib.ones(2, 4, 3), 3),
    lambda lib: lib.nn.ChannelShuffle(2)(lib.arange(8).reshape(1, 4, 2)),
    lambda lib: lib.nn.functional.multilabel_margin_loss(lib.ones(1, 4), lib.tensor([[5, 0, 1, 2]])),
    lambda lib: lib.nn.functional.multilabel_margin_loss(lib.ones(1, 4), lib.tensor([5, 0, 1, 2])),
    lambda lib: lib.nn.AdaptiveLogSoftmaxWithLoss(6, 10, [3, 3]),
    lambda lib: lib.nn.AdaptiveLogSoftmaxWithLoss(6, 10, [3, 6])(lib.ones(2, 6), lib.tensor([3, 10])),
    lambda lib: lib.nn.EmbeddingBag(2, 2, padding_idx=2),
    lambda lib: lib.nn.Container(a=lib.nn.Tanh()),
    lambda lib: lib.nn.NLLLoss2d(),
    lambda lib: lib.nn.SyncBatchNorm.convert_sync_batchnorm(lib.nn.Sequential(lib.nn.BatchNorm2d(3), lib.nn.Tanh())),
    lambda lib: lib.nn.SyncBatchNorm(2)(lib.ones(3)),
    lambda lib: lib.nn.LinearCrossEntropyOptions(acc_policy="x"),
    lambda lib: (lib.nn.LinearCrossEntropyOptions(), lib.nn.LinearCrossEntropyLoss(2, 3, out_features=(2,))),
    lambda lib: (lib.nn.DataParallel(lib.nn.Tanh()), list(lib.nn.DataParallel(lib.nn.Linear(1, 1)).state_dict())),
    lambda lib: lib.nn.parallel.data_parallel(lib.nn.Tanh(), lib.ones(2)),
    lambda lib: lib.nn.parallel.DistributedDataParallel(lib.nn.Tanh()),
    lambda lib: lib.nn.parallel.replicate(lib.nn.Linear(1, 1), [0, 1]),
    lambda lib: lib.nn.parallel.gather([lib.ones(2), lib.ones(2)], 0),
    lambda lib: lib.nn.utils.skip_init(lib.nn.Tanh),
    lambda lib: lib.geqrf(lib.ones(3)),
    lambda lib: lib.linalg.householder_product(lib.ones(2, 3), lib.ones(2)),
    lambda lib: lib.linalg.householder_product(lib.ones(3, 2), lib.ones(3)),
    lambda lib: lib.norm_except_dim(lib.ones(2, 3), 2, 5),
]


@pytest.mark.parametrize("call", CALLS, ids=range(len(CALLS)))
def test_calls(call):
    parity.agrees(call)


def test_skipped_starting_values_draw_nothing():
    def code(lib):
        lib.manual_seed(0)
        layer = lib.nn.utils.skip_init(lib.nn.Linear, 3, 2, dtype=lib.float64)
        return [layer, layer.weight.shape, layer.weight.dtype, layer.weight.requires_grad, lib.rand(2)]
    parity.agrees(code)


def attention(lib, backends, dropout=0.0):
    q = lib.arange(12.0).reshape(1, 1, 3, 4) / 10
    with lib.nn.attention.sdpa_kernel(backends(lib.nn.attention.SDPBackend)):
        return lib.nn.functional.scaled_dot_product_attention(q, q, q, dropout_p=dropout).shape


BACKENDS = [lambda b: b.MATH, lambda b: [b.MATH, b.FLASH_ATTENTION], lambda b: b.FLASH_ATTENTION,
            lambda b: b.EFFICIENT_ATTENTION, lambda b: b.CUDNN_ATTENTION, lambda b: [], lambda b: "MATH"]


@pytest.mark.parametrize("backends", BACKENDS, ids=range(len(BACKENDS)))
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_attention_backends(backends, dropout):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(12):  # calls that come again are repeated from a program
            attention(ng, lambda b: b.MATH, dropout)
    parity.agrees(lambda lib: attention(lib, backends, dropout))
    parity.agrees(lambda lib: attention(lib, lambda b: b.FLASH_ATTENTION))


def test_parallel_apply_and_gather_of_errors():
    a, b = ng.nn.Linear(2, 3), ng.nn.Linear(2, 4)
    out = ng.nn.parallel.parallel_apply([a, b], [ng.ones(1, 2), (ng.ones(2, 2),)])
    assert [tuple(o.shape) for o in out] == [(1, 3), (2, 4)] and all(o.requires_grad for o in out)
    with pytest.raises(RuntimeError):
        ng.nn.parallel.parallel_apply([a, b], [ng.ones(1, 2), ng.ones(1, 5)])


def test_compiled_in_place():
    ng.manual_seed(0)
    model = ng.nn.Sequential(ng.nn.Linear(3, 4), ng.nn.Tanh(), ng.nn.Linear(4, 2))
    plain, x = copy.deepcopy(model), ng.ones(5, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.compile()
        for _ in range(3):
            for m in (model, plain):
                m.zero_grad()
                (m(x) ** 2).sum().backward()
        assert model._compiled_call_impl is not None and plain._compiled_call_impl is None
        for p, q in zip(model.parameters(), plain.parameters(), strict=True):
            assert ng.allclose(p.grad, q.grad)
        copied = pickle.loads(pickle.dumps(model))
    assert copied._compiled_call_impl is None and "forward" not in vars(copied) and ng.equal(copied(x), plain(x))
    assert list(model.state_dict()) == list(plain.state_dict()) and repr(model) == repr(plain)


def test_embedding_bag_with_the_former_order_of_arguments():
    found = []
    for lib in (ng, torch):
        weight, rows = lib.arange(12.0).reshape(4, 3).requires_grad_(), lib.tensor([[0, 2], [3, 3]])
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            out = lib.nn.functional.embedding_bag(weight, rows, mode="sum")
        out.sum().backward()
        found.append((out.tolist(), weight.grad.tolist(), [(w.category, str(w.message), w.filename == __file__) for w in told]))
    assert found[0] == found[1] and len(found[0][2]) == 1
