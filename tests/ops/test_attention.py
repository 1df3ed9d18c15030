"""scaled_dot_product_attention, MultiheadAttention and the Transformer against PyTorch's."""

import math
import warnings

import numpy as np
import pytest

import numbagrad as ng
from numbagrad.ops.attention import attention as ops

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
LIBRARIES = [ng, torch]
rng = np.random.default_rng(0)


def sdpa(lib, arrays, g, mask=None, **options):
    """Result, and gradients of its sum weighted by ``g``."""
    tensors = [lib.tensor(a, requires_grad=True) for a in arrays]
    mask = mask if mask is None else lib.tensor(mask)
    out = lib.nn.functional.scaled_dot_product_attention(*tensors, mask, **options)
    out.backward(lib.tensor(g))
    return [out.detach().numpy(), *[t.grad.numpy() for t in tensors]]


def close(ours, theirs, tolerance=1e-11):
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        assert np.allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True)


SHAPES = [
    ((2, 3, 5, 4), (2, 3, 7, 4), (2, 3, 7, 6)),
    ((2, 2, 130, 8), (2, 2, 200, 8), (2, 2, 200, 8)),
    ((1, 1, 1, 1), (1, 1, 1, 1), (1, 1, 1, 1)),
    ((3, 70, 4), (3, 65, 4), (3, 65, 2)),
    ((4, 3), (9, 3), (9, 5)),
    ((2, 1, 2, 4, 3), (2, 1, 2, 6, 3), (2, 1, 2, 6, 3)),
]


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
@pytest.mark.parametrize("kind", ["plain", "causal", "bool", "float", "row", "scale", "both"])
def test_sdpa(shapes, kind):
    arrays = [rng.standard_normal(s) for s in shapes]
    rows, columns = shapes[0][-2], shapes[1][-2]
    g = rng.standard_normal((*shapes[0][:-1], shapes[2][-1]))
    mask, options = None, {}
    if kind == "causal":
        options = {"is_causal": True}
    elif kind == "bool":
        mask = rng.random((rows, columns)) < 0.7
        mask[:, 0] = True
    elif kind == "float":
        mask = rng.standard_normal((*shapes[0][:-1], columns))
    elif kind == "row":
        mask = rng.standard_normal((1, columns))
    elif kind == "both":
        mask, options = rng.standard_normal((rows, columns)), {"is_causal": True}
    elif kind == "scale":
        options = {"scale": 0.3}
    ours = sdpa(ng, arrays, g, mask, **options)
    if kind == "both" and not (len(shapes[0]) == 4 and shapes[0][-1] == shapes[2][-1]):
        # PyTorch's composed form, which it takes for these shapes, refuses what its fused one does.
        close(ours[:1], [ops._reference(*arrays, mask, is_causal=True)])
    else:
        close(ours, sdpa(torch, arrays, g, mask, **options))


def test_rows_that_see_nothing_are_zero():
    arrays = [rng.standard_normal((1, 2, n, 3)) for n in (4, 5, 5)]
    mask = np.ones((4, 5), bool)
    mask[1] = mask[3] = False
    g = rng.standard_normal((1, 2, 4, 3))
    ours = sdpa(ng, arrays, g, mask)
    assert not ours[0][:, :, [1, 3]].any() and np.isfinite(ours[1]).all()
    close(ours, sdpa(torch, arrays, g, mask))


def test_grouped_heads():
    arrays = [rng.standard_normal(s) for s in ((2, 6, 5, 4), (2, 2, 7, 4), (2, 2, 7, 3))]
    g = rng.standard_normal((2, 6, 5, 3))
    for options in ({}, {"is_causal": True}):
        close(*[sdpa(lib, arrays, g, enable_gqa=True, **options) for lib in LIBRARIES])


@pytest.mark.parametrize("causal", [False, True])
def test_layouts(causal):
    """Transposed, sliced, expanded and column-major operands give what dense ones give, and dense gradients."""
    base = rng.standard_normal((2, 6, 3, 12))
    g = rng.standard_normal((2, 3, 6, 4))

    def make(lib):
        x = lib.tensor(base, requires_grad=True)
        q, k, v = (t.transpose(1, 2) for t in x.split(4, -1))
        return x, q, k, v

    def column(t):
        return t.transpose(-1, -2).contiguous().transpose(-1, -2)
    for change in (lambda t: t, column, lambda t: t[:1].expand(2, 3, 6, 4), lambda t: t.flip(2)):
        results = []
        for lib in LIBRARIES:
            x, q, k, v = make(lib)
            out = lib.nn.functional.scaled_dot_product_attention(q, change(k), change(v), is_causal=causal)
            out.backward(lib.tensor(g).expand(2, 3, 6, 4))
            results.append([out.detach().numpy(), x.grad.numpy()])
        close(*results)
    for lib in LIBRARIES:
        x, q, k, v = make(lib)
        lib.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal).sum().backward()
        results.append(x.grad.numpy())
    assert np.allclose(results[-2], results[-1], rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("masked", [False, True])
def test_op_to_second_order(order, masked):
    q, k, v = (ng.tensor(rng.standard_normal(s), requires_grad=True) for s in ((1, 2, 3, 2), (1, 1, 4, 2), (1, 1, 4, 3)))
    mask = ng.tensor(rng.standard_normal((3, 4))) if masked else None

    def call(*tensors):
        return ops.attention(*tensors, mask, causal=not masked, scale=0.7, order=order)[0]
    plain = ops.composed(q, k, v, mask, not masked, 0.7)
    assert np.allclose(ops._back(call(q, k, v), order).detach().numpy(), plain.detach().numpy(), rtol=1e-13, atol=1e-13)
    assert ng.autograd.gradcheck(call, (q, k, v))
    assert ng.autograd.gradgradcheck(call, (q, k, v))


def test_gradient_of_the_mask():
    arrays = [rng.standard_normal((2, 2, n, 3)) for n in (4, 5, 5)]
    m = rng.standard_normal((2, 1, 4, 5))
    results = []
    for lib in LIBRARIES:
        tensors = [lib.tensor(a, requires_grad=True) for a in (*arrays, m)]
        lib.nn.functional.scaled_dot_product_attention(*tensors).sin().sum().backward()
        results.append([t.grad.numpy() for t in tensors])
    close(*results)


def test_dropout_draws_what_pytorch_draws():
    arrays = [rng.standard_normal((2, 2, n, 3)) for n in (6, 8, 8)]
    g = rng.standard_normal((2, 2, 6, 3))
    results = []
    for lib in LIBRARIES:
        lib.manual_seed(7)
        results.append(sdpa(lib, arrays, g, dropout_p=0.3))
    close(*results)


def test_dropout_of_a_transposed_tensor():
    results = []
    for lib in LIBRARIES:
        lib.manual_seed(8)
        x = lib.ones(4, 6).t()
        y = lib.ones(2, 3, 4).permute(2, 0, 1)
        results.append([lib.nn.functional.dropout(t, 0.5).numpy() for t in (x, y, x[::2])])
    close(*results)


def test_threads_and_float32():
    arrays = [rng.standard_normal((4, 4, 128, 32)).astype("float32") for _ in range(3)]
    g = rng.standard_normal((4, 4, 128, 32)).astype("float32")
    threads = ng.get_num_threads()
    results = []
    for n in (1, 3):
        ng.set_num_threads(n)
        try:
            results.append(sdpa(ng, arrays, g, is_causal=True))
        finally:
            ng.set_num_threads(threads)
    close(*results, 1e-6)
    close(results[0], sdpa(torch, arrays, g, is_causal=True), 2e-5)


def outcome(lib, call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            call(lib)
            text = "fine"
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
    return text, [f"{w.category.__name__}: {w.message}" for w in caught]


def call_sdpa(lib, *shapes, dtypes=("float32",) * 3, **options):
    tensors = [lib.zeros(s, dtype=getattr(lib, d)) for s, d in zip(shapes, dtypes, strict=False)]
    return lib.nn.functional.scaled_dot_product_attention(*tensors, **options)


FOUR = ((2, 2, 3, 4), (2, 2, 5, 4), (2, 2, 5, 4))
BAD = [
    lambda lib: call_sdpa(lib, (4,), (5, 4), (5, 4)),
    lambda lib: call_sdpa(lib, *FOUR, dtypes=("float32", "float64", "float32")),
    lambda lib: call_sdpa(lib, *FOUR, attn_mask=lib.zeros(3, 5, dtype=lib.int64)),
    lambda lib: lib.nn.MultiheadAttention(0, 1),
    lambda lib: lib.nn.MultiheadAttention(5, 2),
    lambda lib: lib.nn.MultiheadAttention(4, 2)(*[lib.zeros(1, 2, 3, 4)] * 3),
    lambda lib: lib.nn.MultiheadAttention(4, 2)(lib.zeros(3, 2, 4), lib.zeros(3, 4), lib.zeros(3, 4)),
    lambda lib: lib.nn.MultiheadAttention(4, 2)(*[lib.zeros(3, 2, 6)] * 3),
    lambda lib: lib.nn.MultiheadAttention(4, 2)(*[lib.zeros(3, 2, 4)] * 3, attn_mask=lib.zeros(2, 3)),
    lambda lib: lib.nn.MultiheadAttention(4, 2)(*[lib.zeros(3, 2, 4)] * 3, attn_mask=lib.zeros(2, 3, 3)),
    lambda lib: lib.nn.MultiheadAttention(4, 2)(*[lib.zeros(3, 2, 4)] * 3, attn_mask=lib.zeros(3)),
    lambda lib: lib.nn.MultiheadAttention(4, 2)(*[lib.zeros(3, 2, 4)] * 3, attn_mask=lib.zeros(3, 3).int()),
    lambda lib: lib.nn.MultiheadAttention(4, 2)(*[lib.zeros(3, 2, 4)] * 3, key_padding_mask=lib.zeros(3, 2)),
    lambda lib: lib.nn.MultiheadAttention(4, 2)(*[lib.zeros(3, 2, 4)] * 3, key_padding_mask=lib.zeros(3)),
    lambda lib: lib.nn.MultiheadAttention(4, 2)(*[lib.zeros(3, 2, 4)] * 3, is_causal=True),
    lambda lib: lib.nn.MultiheadAttention(4, 2)(lib.zeros(3, 2, 4), lib.zeros(5, 2, 4), lib.zeros(6, 2, 4)),
    lambda lib: lib.nn.MultiheadAttention(4, 2)(
        *[lib.zeros(3, 2, 4)] * 3, attn_mask=lib.zeros(3, 3), key_padding_mask=lib.zeros(2, 3) > 0),
    lambda lib: lib.nn.TransformerEncoderLayer(4, 2, 8, activation="tanh"),
    lambda lib: lib.nn.TransformerEncoder(lib.nn.TransformerEncoderLayer(4, 2, 8), 1),
    lambda lib: lib.nn.TransformerEncoder(lib.nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, norm_first=True), 1),
    lambda lib: lib.nn.TransformerEncoder(lib.nn.TransformerEncoderLayer(4, 1, 8, batch_first=True), 1),
    lambda lib: lib.nn.TransformerEncoder(lib.nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, bias=False), 1),
    lambda lib: lib.nn.TransformerEncoder(lib.nn.Linear(4, 2), 1),
    lambda lib: lib.nn.Transformer(4, 2, 1, 1, 8, batch_first=True)(lib.zeros(3, 2, 4), lib.zeros(2, 2, 4)),
    lambda lib: lib.nn.Transformer(4, 2, 1, 1, 8, batch_first=True)(lib.zeros(3, 2, 5), lib.zeros(3, 2, 4)),
]


@pytest.mark.parametrize("call", BAD, ids=range(len(BAD)))
def test_same_errors(call):
    ours, theirs = (outcome(lib, call) for lib in LIBRARIES)
    assert ours == theirs


@pytest.mark.parametrize("options", [{"attn_mask": (4, 5)}, {"attn_mask": (2, 2, 2, 5)}])
def test_masks_that_do_not_fit(options):
    shape = options["attn_mask"]
    for lib in LIBRARIES:
        with pytest.raises(RuntimeError):
            call_sdpa(lib, *FOUR, attn_mask=lib.zeros(shape))
    with pytest.raises(RuntimeError, match=r"query \[3, 4\], key \[5, 3\]"):
        call_sdpa(ng, (3, 4), (5, 3), (5, 3))


MULTIHEAD = [
    {}, {"batch_first": True}, {"bias": False}, {"kdim": 3, "vdim": 5}, {"add_bias_kv": True, "add_zero_attn": True},
    {"dropout": 0.2, "batch_first": True}, {"kdim": 3, "vdim": 5, "batch_first": True, "add_bias_kv": True},
]
CALLS = [
    {}, {"need_weights": False}, {"average_attn_weights": False}, {"attn_mask": "causal", "is_causal": True,
                                                                   "need_weights": False},
    {"attn_mask": "heads", "key_padding_mask": "float"}, {"key_padding_mask": "bool", "need_weights": False},
    {"attn_mask": "bool"},
]


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("options", MULTIHEAD, ids=str)
def test_multihead_attention(options, same):
    if same and "kdim" in options:
        options = {k: v for k, v in options.items() if k not in ("kdim", "vdim")}
    first = options.get("batch_first", False)
    n, rows, columns = 2, 4, 4 if same else 5
    sizes = (6, 6, 6) if same else (6, options.get("kdim", 6), options.get("vdim", 6))
    arrays = [rng.standard_normal((n, r, e) if first else (r, n, e)) for r, e in zip((rows, columns, columns), sizes)]
    masks = {"causal": np.triu(np.full((rows, columns), -np.inf), 1), "heads": rng.standard_normal((n * 3, rows, columns)),
             "float": rng.standard_normal((n, columns)), "bool": np.arange(n * columns).reshape(n, columns) % 3 == 1}
    for call in CALLS:
        if call.get("is_causal") and not same:
            continue
        results, text = [], []
        for lib in LIBRARIES:
            lib.manual_seed(1)
            layer = lib.nn.MultiheadAttention(6, 3, dtype=lib.float64, **options)
            text.append((repr(layer), [(k, tuple(v.shape)) for k, v in layer.state_dict().items()]))
            kwargs = {k: lib.tensor(masks[v]) if isinstance(v, str) else v for k, v in call.items()}
            if kwargs.get("attn_mask") is not None and call["attn_mask"] == "bool":
                kwargs["attn_mask"] = lib.tensor(np.triu(np.ones((rows, columns), bool), 2))
            tensors = [lib.tensor(a, requires_grad=True) for a in arrays]
            given = [tensors[0]] * 3 if same else tensors
            lib.manual_seed(2)
            out, weights = layer(*given, **kwargs)
            g = np.random.default_rng(3).standard_normal(tuple(out.shape))
            loss = (out * lib.tensor(g)).sum()
            if weights is not None:
                loss = loss + (weights * weights).sum()
            loss.backward()
            got = [out, *([] if weights is None else [weights])]
            grads = [t.grad for t in (*(tensors[:1] if same else tensors), *layer.parameters())]
            results.append([t.detach().numpy() for t in got] + [t.numpy() for t in grads])
        assert text[0] == text[1]
        close(*results)


def test_multihead_without_batch_and_function():
    arrays = [rng.standard_normal((r, 6)) for r in (4, 5, 5)]
    for first in (True, False):
        results = []
        for lib in LIBRARIES:
            lib.manual_seed(1)
            layer = lib.nn.MultiheadAttention(6, 2, batch_first=first, dtype=lib.float64)
            ts = [lib.tensor(a) for a in arrays]
            results.append([t.detach().numpy() for t in layer(*ts, key_padding_mask=lib.tensor([False, True] + [False] * 3))])
            out = lib.nn.functional.multi_head_attention_forward(
                *[t.unsqueeze(1) for t in ts], 6, 2, layer.in_proj_weight, layer.in_proj_bias, None, None, False, 0.0,
                layer.out_proj.weight, layer.out_proj.bias, static_k=lib.ones(2, 3, 3, dtype=lib.float64),
                static_v=lib.ones(2, 3, 3, dtype=lib.float64))
            results[-1] += [t.detach().numpy() for t in out]
        close(*results)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("options", [{}, {"batch_first": True, "activation": "gelu"}, {"norm_first": True, "bias": False},
                                     {"batch_first": True, "norm_first": True}], ids=str)
@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True", "ignore:The PyTorch API of nested tensors")
def test_transformer(options, training):
    """The seeded start, the dropout's stream, values and gradients; the causal mask is found by its values."""
    s, t = rng.standard_normal((3, 3, 8)), rng.standard_normal((3, 3, 8))
    results, text = [], []
    for lib in LIBRARIES:
        lib.manual_seed(4)
        net = lib.nn.Transformer(8, 2, 2, 2, 12, dtype=lib.float64, **options)
        net.train(training)
        text.append((repr(net), list(net.state_dict())))
        mask = net.generate_square_subsequent_mask(3, dtype=lib.float64)
        src, tgt = lib.tensor(s, requires_grad=True), lib.tensor(t, requires_grad=True)
        padding = lib.tensor([[False] * 3, [False, False, True], [False] * 3])
        lib.manual_seed(5)
        out = net(src, tgt, tgt_mask=mask, memory_key_padding_mask=padding, src_key_padding_mask=padding)
        (out * out).sum().backward()
        results.append([out.detach().numpy(), *[x.grad.numpy() for x in (src, tgt, *net.parameters())]])
    assert text[0] == text[1]
    close(*results, 1e-9)


def test_layers_without_batch():
    s = rng.standard_normal((4, 6))
    results = []
    for lib in LIBRARIES:
        lib.manual_seed(6)
        encoder = lib.nn.TransformerEncoderLayer(6, 2, 8, dtype=lib.float64, activation=lib.nn.ReLU())
        decoder = lib.nn.TransformerDecoder(lib.nn.TransformerDecoderLayer(6, 2, 8, dtype=lib.float64), 1)
        x = lib.tensor(s)
        lib.manual_seed(7)
        memory = encoder(x, src_mask=lib.tensor(np.triu(np.ones((4, 4), bool), 1)), is_causal=True)
        results.append([memory.detach().numpy(), decoder(x, memory).detach().numpy()])
    close(*results, 1e-10)


def test_long_sequences_hold_no_table_of_weights():
    """Memory grows with the length, not with its square: 64 rows of weights are held at a time."""
    n = 6000
    q = ng.zeros(1, 1, n, 2, requires_grad=True)
    value = ng.arange(float(n)).reshape(1, 1, n, 1)
    out = ng.nn.functional.scaled_dot_product_attention(q, q.detach(), value, is_causal=True)
    expected = np.arange(n) / 2
    assert np.allclose(out.detach().numpy()[0, 0, :, 0], expected, rtol=1e-5)
    assert math.isclose(float(out.detach()[0, 0, -1, 0]), (n - 1) / 2, rel_tol=1e-5)
    out.sum().backward()
    assert np.isfinite(q.grad.numpy()).all()
