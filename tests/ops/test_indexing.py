"""Indexing, gather and scatter, sorting: values, gradients, in-place history and errors against PyTorch and NumPy."""

import re

import numpy as np
import pytest
from parity import agrees

import numbagrad as ng


def split(text):
    return [t.strip() for t in text.replace("\n", "|").split("|") if t.strip()]


def L(lib, *values):
    return lib.tensor(list(values))


# Evaluated with x (4, 3, 5) float64, idx (4, 3, 5) of 0..2, m a mask of that shape.
READS = split("""
x[0] | x[-1] | x[1:3] | x[::2] | x[:, 1] | x[..., 2] | x[0, 1] | x[0, :, 2] | x[None] | x[:, None, 1:2] | x[[0, 2]]
x[[0, 2], [1, 1]] | x[L(lib, 0, 1, 0)] | x[:, L(lib, 0, 2, 0)] | x[:, :, L(lib, 4, -1)] | x[L(lib, 0, 1), :, L(lib, 0, 1)]
x[0, :, L(lib, 0, 1)] | x[:, L(lib, 0, 1), 0] | x[m] | x[:, m[0, :, 0]] | x[m[:, 0, 0]] | x[m[:, :, 0]] | x[True]
x[m[:, :, 0], 1:3] | x[None, True] | x[...] | x[:] | x[:, :, :] | x[lib.tensor([[0, 1], [2, 3]])]
x[1:, L(lib, 0, 1), None] | x.transpose(0, 2)[L(lib, 0, 1)] | x.transpose(0, 2)[:, :, L(lib, 3, 1)]
x.permute(1, 0, 2)[L(lib, 0, 2), L(lib, 1, 1)] | x[lib.tensor(2)] | x[L(lib, 0, 1), m[0, :, 0]] if m[0, :, 0].sum() == 2 else x
x.index_select(1, L(lib, 2, 0)) | x.take(L(lib, 3, 7, 3)) | x.index_fill(1, L(lib, 0, 2), 3.0)
x.index_copy(0, L(lib, 1, 3), x[:2] * 2) | x.index_put((L(lib, 0, 0), L(lib, 1, 1)), x[0, 0] * 3, accumulate=True)
x.index_put((L(lib, 0, 1),), x[0] * 3) | x.put(L(lib, 1, 2), x[0, 0, :2]) | lib.where(m, x, x * 2) | x.where(m, 0.0)
x.masked_fill(m, 2.0) | x.masked_fill(m[0], x.sum()) | x.masked_select(m) | x.masked_select(m[0])
x.masked_scatter(m, x * 2) | x.gather(1, idx) | x.gather(1, idx[:2, :, :3]) | x.take_along_dim(idx, 1)
x.take_along_dim(idx[:, :1], 1) | x.scatter(1, idx, x * 2) | x.scatter(1, idx, 3.0) | x.scatter_add(1, idx, x * 2)
x.scatter_add(1, idx[:2, :, :3], x[:2, :, :3] * 2) | x.index_add(1, L(lib, 0, 2), x[:, :2] * 2, alpha=1.5)
x.index_add(0, L(lib, 1, 1, 1, 1), x) | x.sort(1)[0] | x.sort(descending=True)[0] | x.topk(2, 1)[0]
x.topk(3, 2, largest=False)[0] | x.kthvalue(2, 1)[0] | x.kthvalue(2, 2, True)[0] | lib.msort(x)
""") + [f"x.scatter_reduce(1, idx, x * x + 0.1, '{r}', include_self={s})" for r in ("sum", "prod", "mean", "amax", "amin")
        for s in (True, False)]


def inputs(lib, seed=0):
    rng = np.random.default_rng(seed)
    a, i = rng.standard_normal((4, 3, 5)), rng.integers(0, 3, (4, 3, 5))
    x = lib.tensor(a.tolist(), dtype=lib.float64, requires_grad=True)
    return {"lib": lib, "L": L, "x": x, "idx": lib.tensor(i.tolist()), "m": lib.tensor((a > 0.1).tolist()),
            "v": lib.tensor((a * 2 + 1).tolist(), dtype=lib.float64, requires_grad=True)}


@pytest.mark.parametrize("text", READS)
def test_like_torch(text):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
    results = []
    for lib in (torch, ng):
        names = inputs(lib)
        y = eval(text, names)
        first, = lib.autograd.grad((y * y * y).sum(), names["x"], create_graph=True)
        second, = lib.autograd.grad((first * first).sum(), names["x"])
        results.append((type(y.grad_fn).__name__, y, first, second))
    theirs, ours = results
    assert ours[0] == theirs[0]
    for t, n in zip(theirs[1:], ours[1:]):
        assert n.shape == tuple(t.shape)
        np.testing.assert_allclose(n.detach().numpy(), t.detach().numpy(), rtol=1e-12, atol=1e-12)


WRITES = split("""
y[0] = 1.0 | y[0] = v[0] | y[:, 1] = v[:, 0] * 2 | y[y > 0] = 0 | y[v > 0] = 3.0 | y[m] = v[m] | y[L(lib, 0, 2)] = v[:2]
y[:, L(lib, 0, 2)] = v[:, :2] | y[L(lib, 0, 1), :, L(lib, 1, 1)] = v[0, :, :2].t() | y[..., 0] = v[..., 1]
y[1:3, None] = 2.0 | y[0, 1] = v[1, 1] | y[0, 1, 2] = v[0, 0, 0] | y[[0, 1]] = 0 | y[True] = 1.0 | y[m[:, :, 0]] = 1.5
y.masked_fill_(m, 2.0) | y.masked_fill_(m, v.sum()) | y.masked_scatter_(m, v) | y.index_fill_(1, L(lib, 0), v[0, 0, 0])
y.index_copy_(0, L(lib, 2, 0), v[:2]) | y.index_add_(0, L(lib, 2, 2), v[:2], alpha=2) | y.scatter_(1, idx, v)
y.index_put_((L(lib, 0, 0), L(lib, 1, 1)), v[0, 0], accumulate=True) | y.scatter_(1, idx, 2.0)
y.scatter_add_(1, idx, v) | y.scatter_reduce_(1, idx, v, 'mean') | y.scatter_reduce_(1, idx, v, 'amax')
y.put_(L(lib, 3, 1), v[0, 0, :2]) | y[0].index_add_(0, L(lib, 1, 1), v[0, :2]) | y[:, 0].masked_fill_(m[:, 0], 0.0)
y[0][v[0] > 0] = 0.0 | y.transpose(0, 1)[L(lib, 0, 1)] = v.transpose(0, 1)[:2] * 3 | y.tril_()
y.view(-1)[::7] = v.view(-1)[::7] | y.zero_(); y.add_(v) | y[:, 0].zero_() | y.diagonal(0, 1, 2).fill_(2.0)
y[0].copy_(v[1]); y.mul_(2) | z = y.view(12, 5); z[0] = v[0, 0]; z.mul_(v.view(12, 5)) | y[1] = y[0]
y[L(lib, 0, 1)] = y[L(lib, 1, 0)] | y[0] += v[0] | y[m] *= 2 | y[:, 0] = v[:1, 0] | y[0] = v[:1]
""")


@pytest.mark.parametrize("text", WRITES)
def test_writes_like_torch(text):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
    results = []
    for lib in (torch, ng):
        names = inputs(lib)
        names["y"] = names["x"] * 1.5
        exec(text, names)
        y, both = names["y"], [names["x"], names["v"]]
        first = lib.autograd.grad((y * y * y).sum(), both, create_graph=True, allow_unused=True)
        total = sum((g * g).sum() for g in first if g is not None)
        second = lib.autograd.grad(total, both, allow_unused=True) if total.requires_grad else (None, None)
        results.append([(type(y.grad_fn).__name__, y._version), y, *first, *second])
    theirs, ours = results
    assert ours[0] == theirs[0]
    for t, n in zip(theirs[1:], ours[1:]):
        # PyTorch gives None or zeros for no dependence, from case to case.
        t, n = (np.zeros(1) if g is None else g.detach().numpy() for g in (t, n))
        np.testing.assert_allclose(n, t, rtol=1e-12, atol=1e-12)


ERRORS = split("""
x[5] | x[0, 0, 0, 0] | s[0] | s[:] | x[::-1] | x[::0] | x[1.0] | x['a'] | x[L(lib, 0, 5)] | x[L(lib, 0.5)]
x[L(lib, 0, 1), L(lib, 0, 1, 2)] | x[lib.ones(3, dtype=lib.bool)] | x[lib.ones(2, 4, dtype=lib.bool)] | x[{}]
x[lib.tensor([1], dtype=lib.int16)] | x[L(lib, -3)] | x.index_select(0, L(lib, 5)) | x.index_select(0, L(lib, -1))
x.index_select(0, L(lib, [0])) | x.index_select(0, L(lib, 0.5)) | x.gather(0, L(lib, 0)) | x.gather(0, L(lib, [[5]]))
x.gather(1, lib.zeros(3, 1, 1, dtype=lib.int64)) | x.gather(0, L(lib, [[0.5]])) | v.take(L(lib, 10)) | v.take(L(lib, 0.5))
x.scatter(0, L(lib, [[5]]), 1.0) | x.scatter(0, L(lib, [[0]]), x.double()) | x.scatter_add(0, L(lib, [[0]]), 1.0)
x.scatter_add(0, lib.zeros(3, 3, 4).long(), x) | x.scatter(1, lib.zeros(3, 3, 4).long(), x)
x.index_add(0, L(lib, 0, 5), x) | x.index_add(0, L(lib, 0), x) | x.index_copy(0, L(lib, 0), x)
x.index_copy(0, L(lib, 0, 5), x) | x.index_fill(0, L(lib, 5), 1.0) | x.index_put((L(lib, 5),), x[0])
x.index_put((L(lib, 0, 1),), v) | x.masked_fill(x, 1.0) | x.masked_fill(x > 0, v) | x.masked_select(x)
x.masked_scatter(x > -9, v) | lib.where(x, x, x) | v.topk(9) | v.kthvalue(9) | v.kthvalue(0) | v.sort(3)
lib.bincount(x) | lib.bincount(L(lib, -1)) | lib.bincount(L(lib, 0, 1), weights=v) | lib.histc(v, 0)
lib.histc(v, 2, 3, 1) | lib.searchsorted(x, v) | lib.bucketize(v, x)
""")


@pytest.mark.parametrize("text", ERRORS)
def test_errors_like_torch(text):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
    raised = []
    for lib in (torch, ng):
        names = {"lib": lib, "L": L, "x": lib.zeros(2, 3, 4), "v": lib.zeros(6), "s": lib.tensor(1.0)}
        with pytest.raises((RuntimeError, IndexError, TypeError, ValueError, NotImplementedError)) as e:
            eval(text, names)
        raised.append(e)
    theirs, ours = raised
    assert ours.type is theirs.type
    # PyTorch counts the arguments of a method without the tensor, and we with it.
    assert re.sub(r" \(position \d\)", "", str(ours.value)) == re.sub(r" \(position \d\)", "", str(theirs.value))


@pytest.mark.parametrize("text", split("""
x[0] = v | x[5] = 1 | x[L(lib, 5)] = 0 | x[0] = 'a' | x[0] = 1j | x['a'] = 1 | x[L(lib, 0, 7)] = x[:2].clone()
x.index_add_(0, L(lib, 0, 7), x.clone()) | x.scatter_(0, L(lib, [[7]])[None], 1.0) | x.masked_fill_(x.double(), 1.0)
x.index_fill_(0, L(lib, 7), 1.0) | x[x > -1] = L(lib, 1.0, 2.0) | x.put_(L(lib, 99), v[:1])
"""))
def test_a_refused_write_changes_nothing(text):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
    raised = []
    for lib in (torch, ng):
        x = lib.zeros(2, 3, 4)
        with pytest.raises((RuntimeError, IndexError, TypeError)) as e:
            exec(text, {"lib": lib, "L": L, "x": x, "v": lib.ones(6)})
        assert not x.any() and x._version == 0 or lib is torch
        raised.append(e)
    assert raised[0].type is raised[1].type
    assert str(raised[0].value) == str(raised[1].value)


KEYS = [(slice(None), slice(None, None, 2)), (Ellipsis, 1), (0, Ellipsis, slice(1, 3)), (None, 2, None), (slice(-3, -1),),
        (np.array([0, 2, 1]),), (slice(None), np.array([[0, 1], [2, 0]])), (np.array([0, 1]), slice(None), np.array([4, 0])),
        (np.array([[0], [3]]), np.array([0, 2])), (1, np.array([0, 1]), slice(None, 2)), (np.array([], dtype=np.int64),)]


@pytest.mark.parametrize("key", KEYS, ids=str)
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_reads_and_writes_like_numpy(key, order):
    a = np.arange(60.0).reshape(4, 3, 5)
    sizes = [a.shape[d] for d in order]
    back = [order.index(d) for d in range(3)]
    x = ng.tensor(np.ascontiguousarray(a.transpose(order))).permute(back)  # every layout, the same values
    assert list(x.shape) == [4, 3, 5] and x.stride() == ng.empty(sizes).permute(back).stride()
    ours = tuple(ng.from_numpy(k) if isinstance(k, np.ndarray) else k for k in key)
    # NumPy lets an integer take part in advanced indexing, PyTorch selects first.
    theirs = a[1][key[1:]] if isinstance(key[0], int) and any(isinstance(k, np.ndarray) for k in key) else a[key]
    np.testing.assert_array_equal(x[ours].numpy(), theirs)
    changed = a.copy()
    changed[key] = -1
    x[ours] = -1
    np.testing.assert_array_equal(x.numpy(), changed)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "int64", "float16", "bfloat16", "float32", "complex64"])
def test_any_dtype(dtype):
    d = getattr(ng, dtype)
    wide = ng.complex64 if dtype == "complex64" else ng.float64
    x = (ng.arange(12).view(3, 4) % 5).to(dtype=d)
    a, i = x.to(dtype=wide).numpy(), np.array([2, 0])
    index = ng.from_numpy(i)
    y = x.clone()
    y[index] = y[:2].clone()
    b = a.copy()
    b[i] = a[:2]
    pairs = [(x[index], a[i]), (x[x.bool()], a[a != 0]), (x.gather(1, index[None].expand(3, 2)), a[:, i]), (y, b),
             (x.masked_fill(x.bool(), 1), np.where(a != 0, 1, a)), (x.index_select(1, index), a[:, i]),
             (ng.where(x.bool(), x, x.flip(0)), np.where(a != 0, a, a[::-1]))]
    if dtype not in ("bool", "complex64"):
        pairs += [(x.index_add(0, index, x[:2]), b_added(a, i)), (x.sort(1)[0], np.sort(a, 1)),
                  (x.sort(1, descending=True)[0], -np.sort(-a, 1)), (x.topk(2)[0], -np.sort(-a, 1)[:, :2])]
    for ours, expected in pairs:
        assert ours.dtype is d
        np.testing.assert_array_equal(ours.to(dtype=wide).numpy(), expected)


def b_added(a, i):
    out = a.copy()
    np.add.at(out, i, a[:2])
    return out


SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, np.nan, 5e-324, 1e-45, 3.4e38, 0.0]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("descending", [False, True])
def test_order_of_special_values(dtype, descending):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
    results = []
    for lib in (torch, ng):
        x = lib.tensor(SPECIAL, dtype=lib.float64).to(getattr(lib, dtype))
        values, indices = lib.sort(x, stable=True, descending=descending)
        results.append((values.double().numpy(), indices.numpy()))
    for t, n in zip(*results):
        np.testing.assert_array_equal(n, t)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64", "float32", "float64"])
@pytest.mark.parametrize("shape, dim", [((50, 7), 0), ((3, 100), 1), ((4, 5, 6), 1), ((1000,), 0), ((0, 3), 1), ((3, 0), 1)])
def test_sorting_many_ties(dtype, shape, dim):
    rng = np.random.default_rng(1)
    a = rng.integers(0, 9, shape).astype(dtype)
    x = ng.from_numpy(a)
    np.testing.assert_array_equal(x.argsort(dim).numpy(), np.argsort(a, dim, kind="stable"))
    down = np.argsort(-a.astype(np.float64), dim, kind="stable")
    values, indices = x.sort(dim, descending=True)
    np.testing.assert_array_equal(indices.numpy(), down)
    np.testing.assert_array_equal(values.numpy(), np.take_along_axis(a, down, dim))
    k = min(3, shape[dim])
    values, indices = x.topk(k, dim)  # which of equal elements: tests/test_corners_reductions.py
    np.testing.assert_array_equal(values.numpy(), np.take_along_axis(a, np.take(down, range(k), dim), dim))
    np.testing.assert_array_equal(np.take_along_axis(a, indices.numpy(), dim), values.numpy())


def test_wide_integers_sort_right():
    a = np.array([2**62, -2**62, 5, 2**40, -1, 2**31], np.int64)
    np.testing.assert_array_equal(ng.from_numpy(a).sort()[0].numpy(), np.sort(a))
    b = a[2:] % 2**31 + 2**45  # a narrow range far from zero
    np.testing.assert_array_equal(ng.from_numpy(b).sort(descending=True)[0].numpy(), np.sort(b)[::-1])


def test_large_topk_takes_the_partition():
    a = np.random.default_rng(2).standard_normal((3, 500)).astype(np.float32)
    np.testing.assert_array_equal(ng.from_numpy(a).topk(60)[0].numpy(), -np.sort(-a, 1)[:, :60])
    got = ng.from_numpy(a).topk(60, sorted=False)[0].numpy()
    np.testing.assert_array_equal(np.sort(got, 1), np.sort(a, 1)[:, -60:])


def test_named_results_print_like_torch():
    values, indices = ng.tensor([2.0, 1.0]).sort()
    assert repr(ng.tensor([2.0, 1.0]).sort()) == (
        "torch.return_types.sort(\nvalues=tensor([1., 2.]),\nindices=tensor([1, 0]))")
    assert ng.tensor([2.0, 1.0]).topk(1).indices.tolist() == [0] and values.tolist() == [1.0, 2.0]


def test_bisection_among_nan():
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
    rng = np.random.default_rng(4)
    numbers = [np.nan, np.inf, -np.inf, -1.0, 0.0, 1.0, 2.0]
    for draw in range(200):
        edges, values = np.sort(rng.choice(numbers, rng.integers(1, 9))), rng.choice([*numbers, 0.5], 5)
        if draw % 2:  # not sorted: what bisection finds then
            rng.shuffle(edges)
        for right in (False, True):
            expected = torch.searchsorted(torch.from_numpy(edges), torch.from_numpy(values), right=right).tolist()
            assert ng.searchsorted(ng.from_numpy(edges), ng.from_numpy(values), right=right).tolist() == expected
            assert ng.bucketize(ng.from_numpy(values), ng.from_numpy(edges), right=right).tolist() == expected


def test_counting_and_searching():
    a = np.random.default_rng(3).integers(0, 6, 40)
    x = ng.from_numpy(a)
    np.testing.assert_array_equal(x.bincount(minlength=9).numpy(), np.bincount(a, minlength=9))
    np.testing.assert_allclose(x.bincount(ng.from_numpy(a / 7)).numpy(), np.bincount(a, a / 7), rtol=1e-14)
    values, inverse, counts = x.view(8, 5).unique(return_inverse=True, return_counts=True)
    for ours, expected in zip((values, inverse.view(-1), counts), np.unique(a, return_inverse=True, return_counts=True)):
        np.testing.assert_array_equal(ours.numpy(), expected)
    runs, where, length = ng.tensor([1, 1, 2, 2, 2, 1]).unique_consecutive(return_inverse=True, return_counts=True)
    assert (runs.tolist(), where.tolist(), length.tolist()) == ([1, 2, 1], [0, 0, 1, 1, 1, 2], [2, 3, 1])
    edges = np.sort(a)[::4].astype(np.float64)
    for right in (False, True):
        got = ng.searchsorted(ng.from_numpy(edges), x.double(), right=right)
        np.testing.assert_array_equal(got.numpy(), np.searchsorted(edges, a, "right" if right else "left"))
    np.testing.assert_array_equal(ng.histc(x.double(), 4, 0, 6).numpy(), np.histogram(a, 4, (0, 6))[0])
    assert ng.isin(ng.tensor([1, 2, 9]), ng.tensor([9, 1])).tolist() == [True, False, True]


@pytest.mark.parametrize("values", [[1, 0, 1, 0, 0], [0, 0, 0], [1, 1], [0, 1], [np.nan, 0.0]])
def test_numbers_of_nonzero_elements_end_with_the_last(values):
    from numbagrad.ops.index.kernels import find_true
    x, out = ng.tensor(values), ng.full((len(values) + 1,), -7, dtype=ng.int64)
    find_true[x._kind](x._ptr, out._ptr, 0, len(values))
    wanted = np.flatnonzero(values).tolist()
    assert out.tolist() == wanted + [-7] * (len(values) + 1 - len(wanted))
    assert ng.nonzero(x).flatten().tolist() == wanted


def test_nonzero_forms():
    a = np.random.default_rng(4).integers(0, 3, (4, 5, 3))
    x = ng.from_numpy(a)
    np.testing.assert_array_equal(x.nonzero().numpy(), np.argwhere(a))
    np.testing.assert_array_equal(x.transpose(0, 2).nonzero().numpy(), np.argwhere(a.T))
    for ours, expected in zip(ng.where(x > 1), np.nonzero(a > 1)):
        np.testing.assert_array_equal(ours.numpy(), expected)
    assert ng.tensor(3).nonzero().shape == (1, 0) and ng.zeros(0, 2).nonzero().shape == (0, 2)


@pytest.mark.parametrize("read", [lambda x, i: x[i], lambda x, i: x.index_select(0, i), lambda x, i: x.take(i),
                                  lambda x, i: x.gather(0, i), lambda x, i: x.scatter_add(0, i, x[:2]),
                                  lambda x, i: x.index_add(0, i, x[:2]), lambda x, i: x.put(i, x[:2])])
def test_an_index_that_was_changed_before_backward_is_refused(read):
    def run(T):
        x, i = T.arange(4.0).requires_grad_(), T.tensor([0, 2])
        y = read(x, i)
        i.fill_(3)
        with pytest.raises(RuntimeError, match="LongTensor \\[2\\]\\] is at version 1; expected version 0"):
            y.sum().backward()
    agrees(run)


def test_repeated_indices_add_up():
    x = ng.zeros(3, requires_grad=True)
    x[ng.tensor([1, 1, 1, 2])].sum().backward()
    assert x.grad.tolist() == [0.0, 3.0, 1.0]


@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_large_scatter(dtype):
    """Beyond a few thousand elements no list of places is made."""
    rng = np.random.default_rng(3)
    x, values = (rng.integers(-9, 9, (80, 90)) for _ in range(2))
    index = np.argsort(rng.random((80, 90)), 0)  # no place twice
    x, values = x.astype(dtype), values.astype(dtype)
    got = ng.from_numpy(x).scatter(0, ng.from_numpy(index), ng.from_numpy(values))
    np.put_along_axis(x, index, values, 0)
    assert np.array_equal(got.numpy(), x)
    with pytest.raises(RuntimeError, match="index 80 is out of bounds for dimension 0 with size 80"):
        ng.zeros(80, 90).scatter(0, ng.from_numpy(index + 1), ng.zeros(80, 90))
