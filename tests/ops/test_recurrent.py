"""Recurrent layers, their cells and packed sequences against PyTorch's: text, state, values, gradients, errors."""

import itertools
import warnings

import numpy as np
import pytest

import numbagrad as ng
from numbagrad.ops.recurrent import cells as ops

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
LIBRARIES = [ng, torch]
KINDS = [("LSTM", {}), ("GRU", {}), ("RNN", {}), ("RNN", {"nonlinearity": "relu"})]
OPTIONS = [
    {},
    {"num_layers": 2, "bidirectional": True},
    {"bias": False, "batch_first": True},
    {"num_layers": 3, "batch_first": True, "dropout": 0.25},
    {"bidirectional": True, "bias": False},
]


def ident(x):
    return "-".join(f"{k}={v}" for k, v in x.items()) or "plain" if isinstance(x, dict) else str(x[0] + str(x[1] or ""))


def module(lib, kind, options, sizes=(4, 5), dtype="float64"):
    lib.manual_seed(3)
    name, extra = kind
    return getattr(lib.nn, name)(*sizes, **extra, **options, dtype=getattr(lib, dtype))


def flat(out):
    return [t for o in out for t in (flat(o) if isinstance(o, tuple) and not hasattr(o, "batch_sizes") else
                                     [o.data if hasattr(o, "batch_sizes") else o])]


def run(lib, layer, x, states, seed=0):
    """Outputs, and gradients of their weighted sum with respect to input, states and parameters."""
    rng = np.random.default_rng(seed)
    x = lib.tensor(x, requires_grad=True)
    states = [lib.tensor(s, requires_grad=True) for s in states]
    hx = () if not states else (tuple(states),) if len(states) == 2 else (states[0],)
    lib.manual_seed(5)
    outs = flat(layer(x, *hx))
    loss = sum((o * lib.tensor(rng.standard_normal(tuple(o.shape)))).sum() for o in outs)
    loss.backward()
    return [t.detach().numpy() for t in outs], [t.grad.numpy() for t in (x, *states, *layer.parameters())]


def compare(ours, theirs, tolerance=1e-11):
    for a, b in zip(ours, theirs, strict=True):
        for p, q in zip(a, b, strict=True):
            assert p.shape == q.shape
            assert np.allclose(p, q, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("options", OPTIONS, ids=ident)
@pytest.mark.parametrize("kind", KINDS, ids=ident)
def test_layer(kind, options):
    rng = np.random.default_rng(1)
    ours, theirs = (module(lib, kind, options) for lib in LIBRARIES)
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert np.array_equal(p.detach().numpy(), q.detach().numpy())
    assert [[tuple(w.shape) for w in ws] for ws in ours.all_weights] == [
        [tuple(w.shape) for w in ws] for ws in theirs.all_weights]
    first = options.get("num_layers", 1) * (2 if options.get("bidirectional") else 1)
    count = 2 if kind[0] == "LSTM" else 1
    for states in (0, count):
        x = rng.standard_normal((6, 3, 4))
        batch = 6 if options.get("batch_first") else 3
        hx = [rng.standard_normal((first, batch, 5)) for _ in range(states)]
        ours.zero_grad(), theirs.zero_grad()
        compare(run(ng, ours, x, hx), run(torch, theirs, x, hx))
    ours.eval(), theirs.eval()
    x, hx = rng.standard_normal((6, 4)), [rng.standard_normal((first, 5)) for _ in range(count)]
    ours.zero_grad(), theirs.zero_grad()
    compare(run(ng, ours, x, hx), run(torch, theirs, x, hx))


@pytest.mark.parametrize("kind", KINDS, ids=ident)
@pytest.mark.parametrize(("hidden", "batch"), [(3, 1), (70, 5), (130, 37), (520, 2), (64, 200)])
def test_sizes(kind, hidden, batch):
    """Both ways of multiplying, every remainder of their loops, and gates of more than one strip."""
    rng = np.random.default_rng(2)
    ours, theirs = (module(lib, kind, {}, (4, hidden)) for lib in LIBRARIES)
    x = rng.standard_normal((3, batch, 4))
    hx = [rng.standard_normal((1, batch, hidden)) for _ in range(2 if kind[0] == "LSTM" else 1)]
    compare(run(ng, ours, x, hx), run(torch, theirs, x, hx), 1e-10)


@pytest.mark.parametrize("kind", KINDS, ids=ident)
def test_float32_and_threads(kind):
    rng = np.random.default_rng(3)
    x, g = rng.standard_normal((9, 40, 24)).astype("float32"), rng.standard_normal((9, 40, 48)).astype("float32")
    results, threads = [], ng.get_num_threads()
    for lib, n in ((torch, 1), (ng, 1), (ng, 4)):
        layer = module(lib, kind, {}, (24, 48), "float32")
        if lib is ng:
            ng.set_num_threads(n)
        try:
            y = layer(lib.tensor(x))[0]
            y.backward(lib.tensor(g))
        finally:
            ng.set_num_threads(threads)
        results.append([y.detach().numpy(), *[p.grad.numpy() for p in layer.parameters()]])
    for a, b in zip(results[0], results[1], strict=True):
        assert np.allclose(a, b, rtol=1e-4, atol=1e-5 * np.abs(a).max())
    for a, b in zip(results[1], results[2], strict=True):
        assert np.allclose(a, b, rtol=1e-5, atol=1e-6 * np.abs(a).max())


@pytest.mark.parametrize("mode", list(ops.GATES))
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("given", [False, True])
def test_both_orders_of_the_walk(mode, reverse, given):
    """The op itself, for batches that shrink, with and without initial states; ``composed`` is the same walk."""
    sizes, n = (3, 3, 2, 1), 2
    gen = np.random.default_rng(4)

    def leaf(*shape):
        return ng.tensor(gen.standard_normal(shape), requires_grad=True)
    g = ops.GATES[mode] * n
    gates, weight = leaf(sum(sizes), g), leaf(g, n)
    h0 = leaf(3, n) if given else None
    c0 = leaf(3, n) if given and mode == "LSTM" else None
    bias = leaf(g) if mode == "GRU" else None
    inputs = [t for t in (gates, h0, c0, weight, bias) if t is not None]

    def fused(*ts):
        ts = iter(ts)
        full = [None if t is None else next(ts) for t in (gates, h0, c0, weight, bias)]
        y, h, c, _ = ops.recurrent(*full, mode=mode, sizes=sizes, reverse=reverse)
        return (y, h, c) if mode == "LSTM" else (y, h)

    zeros = gates.new_zeros((3, n))
    plain = ops.composed(gates, zeros if h0 is None else h0, zeros if c0 is None else c0, weight, bias, mode, sizes, reverse)
    for a, b in zip(fused(*inputs), plain, strict=False):
        assert np.allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-12, atol=1e-12)
    assert ng.autograd.gradcheck(fused, inputs)
    if mode != "RNN_RELU" or given:
        assert ng.autograd.gradgradcheck(fused, inputs)


def test_third_derivative():
    x = ng.tensor([[[0.3], [-0.2]]], dtype=ng.float64, requires_grad=True)
    t = torch.tensor([[[0.3], [-0.2]]], dtype=torch.float64, requires_grad=True)
    results = []
    for lib, v in ((ng, x), (torch, t)):
        layer = module(lib, ("LSTM", {}), {}, (1, 2))
        out = layer(v)[0].sum()
        for _ in range(3):
            (out,) = lib.autograd.grad(out.sum(), v, create_graph=True)
        results.append(out.detach().numpy())
    assert np.allclose(*results, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("enforce", [True, False])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True, "batch_first": True}], ids=ident)
@pytest.mark.parametrize("kind", KINDS, ids=ident)
def test_packed(kind, options, enforce):
    rng = np.random.default_rng(5)
    lengths = [5, 4, 4, 1] if enforce else [4, 1, 5, 4]
    x, first = rng.standard_normal((5, 4, 4)), options.get("num_layers", 1) * (2 if options.get("bidirectional") else 1)
    states = [rng.standard_normal((first, 4, 5)) for _ in range(2 if kind[0] == "LSTM" else 1)]
    results = []
    for lib in LIBRARIES:
        layer = module(lib, kind, options)
        seen = []

        def packed(data, *hx, lib=lib, layer=layer, seen=seen):
            p = lib.nn.utils.rnn.pack_padded_sequence(data, lengths, enforce_sorted=enforce)
            out, *rest = layer(p, *hx)
            assert out.batch_sizes.tolist() == p.batch_sizes.tolist() == [4, 3, 3, 3, 1]
            padded, back = lib.nn.utils.rnn.pad_packed_sequence(out, padding_value=-1.0, total_length=6)
            seen.append(back.tolist())
            return (padded, *rest)
        packed.parameters = layer.parameters
        results.append(run(lib, packed, x, states))
        assert seen == [lengths]
    compare(*results)


@pytest.mark.parametrize("name", ["LSTMCell", "GRUCell", "RNNCell", "relu"])
@pytest.mark.parametrize("bias", [True, False])
def test_cell(name, bias):
    rng = np.random.default_rng(6)
    extra = {"nonlinearity": "relu"} if name == "relu" else {}
    name = "RNNCell" if name == "relu" else name
    ours, theirs = (module(lib, (name, extra), {"bias": bias}) for lib in LIBRARIES)
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert np.array_equal(p.detach().numpy(), q.detach().numpy())
    for batch in ((), (3,)):
        x = rng.standard_normal((*batch, 4))
        states = [rng.standard_normal((*batch, 5)) for _ in range(2 if name == "LSTMCell" else 1)]
        for hx in ([], states):
            ours.zero_grad(), theirs.zero_grad()
            compare(run_cell(ng, ours, x, hx), run_cell(torch, theirs, x, hx))


def run_cell(lib, cell, x, hx):
    def call(*args):
        out = cell(*args)
        return out if isinstance(out, tuple) else (out,)
    call.parameters = cell.parameters
    return run(lib, call, x, hx)


def test_half():
    """Half types are computed in float32 and rounded once."""
    layer, other = (module(lib, ("LSTM", {}), {"num_layers": 2}, dtype="bfloat16") for lib in LIBRARIES)
    x = np.random.default_rng(7).standard_normal((4, 2, 4)).astype("float32")
    y, t = layer(ng.tensor(x).bfloat16())[0], other(torch.tensor(x).bfloat16())[0]
    assert y.dtype is ng.bfloat16
    # PyTorch rounds after every operation: eight bits of mantissa, a few roundings.
    assert np.allclose(y.float().detach().numpy(), t.float().detach().numpy(), atol=0.02)


BAD = [
    lambda lib: lib.nn.LSTM(4, 5, proj_size=6),
    lambda lib: lib.nn.GRU(4, 5, proj_size=2),
    lambda lib: lib.nn.LSTM(4, 5, proj_size=2)(lib.zeros(3, 2, 4), (lib.zeros(1, 2, 5), lib.zeros(1, 2, 5))),
    lambda lib: lib.nn.LSTM(4, 5, proj_size=2)(lib.zeros(3, 2, 4), (lib.zeros(1, 2, 2), lib.zeros(1, 2, 2))),
    lambda lib: lib.nn.RNN(4, 5, nonlinearity="sin"),
    lambda lib: lib.nn.LSTM(4, 0),
    lambda lib: lib.nn.LSTM(0, 5),
    lambda lib: lib.nn.LSTM(4.0, 5),
    lambda lib: lib.nn.LSTM(4, 5.0),
    lambda lib: lib.nn.LSTM(4, 5, 0),
    lambda lib: lib.nn.LSTM(4, 5, bias=1),
    lambda lib: lib.nn.LSTM(4, 5, batch_first=1),
    lambda lib: lib.nn.LSTM(4, 5, dropout=2),
    lambda lib: lib.nn.LSTM(4, 5, 1, True, False, 0.5),
    lambda lib: lib.nn.LSTM(4, 5)(lib.zeros(4)),
    lambda lib: lib.nn.GRU(4, 5)(lib.zeros(4)),
    lambda lib: lib.nn.RNN(4, 5)(lib.zeros(4)),
    lambda lib: lib.nn.LSTM(4, 5)(lib.zeros(3, 2, 3)),
    lambda lib: lib.nn.LSTM(4, 5)(lib.zeros(3, 2, 4).double()),
    lambda lib: lib.nn.LSTM(4, 5)(lib.zeros(3, 2, 4), (lib.zeros(1, 3, 5), lib.zeros(1, 2, 5))),
    lambda lib: lib.nn.LSTM(4, 5)(lib.zeros(3, 2, 4), (lib.zeros(1, 2, 5), lib.zeros(1, 2, 6))),
    lambda lib: lib.nn.LSTM(4, 5)(lib.zeros(3, 4), (lib.zeros(1, 2, 5), lib.zeros(1, 2, 5))),
    lambda lib: lib.nn.LSTM(4, 5)(lib.zeros(3, 2, 4), (lib.zeros(1, 5), lib.zeros(1, 5))),
    lambda lib: lib.nn.GRU(4, 5)(lib.zeros(3, 2, 4), lib.zeros(2, 2, 5)),
    lambda lib: lib.nn.GRU(4, 5)(lib.zeros(3, 4), lib.zeros(1, 2, 5)),
    lambda lib: lib.nn.RNN(4, 5)(lib.zeros(3, 2, 4), lib.zeros(2, 5)),
    lambda lib: lib.nn.LSTM(4, 5)(lib.zeros(0, 2, 4)),
    lambda lib: lib.nn.LSTMCell(4, 5)(lib.zeros(1, 2, 4)),
    lambda lib: lib.nn.LSTMCell(4, 5)(lib.zeros(2, 4), (lib.zeros(1, 2, 5), lib.zeros(2, 5))),
    lambda lib: lib.nn.GRUCell(4, 5)(lib.zeros(2, 4), lib.zeros(1, 2, 5)),
    lambda lib: lib.nn.utils.rnn.pad_sequence(3),
    lambda lib: lib.nn.utils.rnn.pack_padded_sequence(lib.zeros(3, 2, 4), [2, 3]),
    lambda lib: lib.nn.utils.rnn.pack_padded_sequence(lib.zeros(3, 2, 4), [2, 0]),
    lambda lib: lib.nn.utils.rnn.pack_padded_sequence(lib.zeros(3, 2, 4), [2]),
    lambda lib: lib.nn.utils.rnn.pad_packed_sequence(
        lib.nn.utils.rnn.pack_sequence([lib.zeros(3)]), total_length=2),
]


def outcome(lib, call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            call(lib)
            text = "fine"
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
    return text, [f"{w.category.__name__}: {w.message}" for w in caught]


@pytest.mark.parametrize("call", BAD, ids=range(len(BAD)))
def test_same_errors(call):
    ours, theirs = (outcome(lib, call) for lib in LIBRARIES)
    assert ours == theirs


@pytest.mark.parametrize("options", [o for o in OPTIONS if "dropout" not in o], ids=ident)
def test_projection(options):
    results = []
    rng = np.random.default_rng(1)
    x = rng.standard_normal((2, 6, 4) if options.get("batch_first") else (6, 2, 4))
    count = options.get("num_layers", 1) * (1 + options.get("bidirectional", False))
    states = [rng.standard_normal((count, 2, n)) for n in (3, 5)]
    layers = [module(lib, ("LSTM", {"proj_size": 3}), options) for lib in LIBRARIES]
    assert repr(layers[0]) == repr(layers[1])
    assert list(layers[0].state_dict()) == list(layers[1].state_dict())
    for given in (states, []):
        results = [run(lib, layer, x, given) for lib, layer in zip(LIBRARIES, layers)]
        compare(*results)


def test_projection_of_packed_rows():
    results = []
    for lib in LIBRARIES:
        layer = module(lib, ("LSTM", {"proj_size": 2}), {"bidirectional": True})
        rows = [lib.tensor(np.random.default_rng(n).standard_normal((n, 4))) for n in (4, 4, 2, 1)]
        out, (h, c) = layer(lib.nn.utils.rnn.pack_sequence(rows))
        (out.data.sum() + (h * h).sum() * c.sum()).backward()
        results.append(([t.detach().numpy() for t in (out.data, h, c)], [p.grad.numpy() for p in layer.parameters()]))
    compare(*results)


def test_functions_refuse_what_does_not_fit():
    w = [ng.zeros(20, 4), ng.zeros(20, 5), ng.zeros(20), ng.zeros(20)]
    hx = [ng.zeros(1, 2, 5), ng.zeros(1, 2, 5)]
    for bad in ([ng.zeros(20, 3), *w[1:]], [w[0], ng.zeros(20, 6), *w[2:]], [*w[:3], ng.zeros(21)], w[:2]):
        with pytest.raises(RuntimeError, match="lstm: expected"):
            ng.lstm(ng.zeros(3, 2, 4), hx, bad, True, 1, 0.0, False, False, False)
    with pytest.raises(RuntimeError, match=r"lstm: expected hx of shape \[2, 5\].*got \[3, 5\]"):
        ng.lstm(ng.zeros(3, 2, 4), [ng.zeros(1, 3, 5), hx[1]], w, True, 1, 0.0, False, False, False)
    with pytest.raises(RuntimeError, match="batch sizes"):
        ng.lstm(ng.zeros(5, 4), ng.tensor([2, 3]), hx, w, True, 1, 0.0, False, False)


def test_packing():
    for lengths, batch_first, side in itertools.product([[3, 1, 2], [1, 4]], [False, True], ["left", "right"]):
        results = []
        for lib in LIBRARIES:
            rnn = lib.nn.utils.rnn
            seqs = [lib.arange(float(3 * n)).reshape(n, 3) + 10 * i for i, n in enumerate(lengths)]
            packed = rnn.pack_sequence(seqs, enforce_sorted=False)
            padded = rnn.pad_sequence(seqs, batch_first, 7.0, side)
            back = rnn.unpack_sequence(packed)
            plain = rnn.unpad_sequence(rnn.pad_sequence(seqs, batch_first), lib.tensor(lengths), batch_first)
            results.append([t.tolist() for t in (*packed, padded, *back, *plain)])
        assert results[0] == results[1]
    p, q = (lib.nn.utils.rnn.pack_sequence([lib.tensor([1, 2, 3]), lib.tensor([4, 5])]) for lib in LIBRARIES)
    assert repr(p) == repr(q)
    assert p.double().data.dtype is ng.float64 and p.to(ng.int64) is p


def test_state_dict_loads_from_torch(tmp_path):
    layer, other = (module(lib, ("GRU", {}), {"num_layers": 2}) for lib in LIBRARIES)
    with torch.no_grad():
        for p in other.parameters():
            p.mul_(1.5)
    torch.save(other.state_dict(), tmp_path / "gru.pt")
    layer.load_state_dict(ng.load(tmp_path / "gru.pt"))
    x = np.random.default_rng(8).standard_normal((3, 2, 4))
    assert np.allclose(layer(ng.tensor(x))[0].detach().numpy(), other(torch.tensor(x))[0].detach().numpy(), rtol=1e-12)


def test_in_place_on_last_state_leaves_the_output():
    layer = ng.nn.GRU(2, 3)
    y, h = layer(ng.zeros(2, 1, 2))
    before = y.detach().clone()
    with ng.no_grad():
        h.zero_()
    assert np.array_equal(y.detach().numpy(), before.numpy())


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
@pytest.mark.parametrize("start", [0, 16, 32, 48])
def test_what_is_saved_may_come_back_anywhere(kind, start):
    ng.manual_seed(1)
    layer, x = getattr(ng.nn, kind)(2, 3), ng.randn(4, 2, 2)

    def moved(t):
        if t.dtype is not ng.uint8:
            return t
        memory = ng.zeros(t.numel() + 128, dtype=ng.uint8)
        at = (start - memory.data_ptr()) % 64
        return memory[at:at + t.numel()].copy_(t)
    grads = []
    for unpack in (lambda t: t, moved):
        layer.zero_grad()
        with ng.autograd.graph.saved_tensors_hooks(lambda t: t, unpack):
            layer(x)[0].sum().backward()
        grads.append([p.grad.tolist() for p in layer.parameters()])
    assert grads[0] == grads[1]
