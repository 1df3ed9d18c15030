"""Calls that write where they are told, in place and with ``out=``: their plans, and loops over one memory."""

import itertools

import numpy as np
import pytest

import numbagrad as ng
from numbagrad.core import replay

RNG = np.random.default_rng(5)


def layouts(*shape):
    """(memory, tensor of this shape in it, the same part as an array) in several layouts."""
    rows, columns = shape
    memory = RNG.standard_normal((3 * rows + 2, 2 * columns + 4)).astype("float32")
    for part in ((slice(0, rows), slice(0, columns)), (slice(1, 1 + rows), slice(2, 2 + columns)),
                 (slice(0, 3 * rows, 3), slice(0, 2 * columns, 2))):
        t, a = ng.tensor(memory), memory.copy()
        yield t, t[part], a, a[part]
    turned = RNG.standard_normal((columns, rows)).astype("float32")
    t, a = ng.tensor(turned), turned.copy()
    yield t, t.t(), a, a.T
    t, a = ng.tensor(memory[:rows, :columns].copy()), memory[:rows, :columns].copy()
    yield t, t, a, a


CALLS = {
    "add_": (lambda x, o: x.add_(o), np.add), "mul_": (lambda x, o: x.mul_(o), np.multiply),
    "maximum": (lambda x, o: ng.maximum(x, o, out=x), np.maximum),
    "maximum, second": (lambda x, o: ng.maximum(o, x, out=x), np.maximum),
    "relu_": (lambda x, o: x.relu_(), lambda a, o: np.maximum(a, 0)),
    "clamp_": (lambda x, o: x.clamp_(-0.5, 0.5), lambda a, o: np.clip(a, np.float32(-0.5), np.float32(0.5))),
    "masked_fill_": (lambda x, o: x.masked_fill_(o > 0, 2.5), lambda a, o: np.where(o > 0, np.float32(2.5), a)),
    "where": (lambda x, o: ng.where(x > o, x, o, out=x), np.maximum),
    "leaky_relu_": (lambda x, o: ng.nn.functional.leaky_relu_(x, 0.5), lambda a, o: np.where(a > 0, a, a * np.float32(0.5))),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("shape", [(3, 5), (40, 70), (5, 3000), (300, 257), (1, 9000)], ids=str)
def test_targets_of_any_layout(name, shape):
    call, reference = CALLS[name]
    for (memory, x, whole, a), other in itertools.product(layouts(*shape), (shape, (1, shape[1]), (shape[0], 1), ())):
        for _ in range(3):  # the second call has a plan
            o = RNG.standard_normal(other).astype("float32")
            a[...] = reference(a, o)
            call(x, ng.tensor(o))
        np.testing.assert_array_equal(memory.numpy(), whole)


def test_numbers_are_those_of_each_call():
    x, y, out = ng.tensor([1.0, -2.0, 3.0]), ng.tensor([4.0, 5.0, -6.0]), ng.zeros(3)
    for k in (0.5, -1.25, 3.0, 2):
        expected = x + k * y
        assert ng.add(x, y, alpha=k, out=out) is out and out.tolist() == expected.tolist()
        z = x.clone()
        version = z._version
        assert z.add_(y, alpha=k) is z and z.tolist() == expected.tolist() and z._version == version + 1
        z = x.clone()
        assert z.addcmul_(y, y, value=k).tolist() == ng.addcmul(x, y, y, value=k).tolist()
        z = x.clone()
        assert z.lerp_(y, k).tolist() == ng.lerp(x, y, k).tolist()
        z = x.clone()
        assert z.clamp_(-abs(k), abs(k)).tolist() == x.clamp(-abs(k), abs(k)).tolist()
        z = x.clone()
        assert z.clamp_(max=k).tolist() == x.clamp(max=k).tolist()
        assert ng.nan_to_num(ng.tensor([float("nan")]), nan=float(k)).item() == k
        assert ng.tensor([float("nan")]).nan_to_num_(nan=float(k)).item() == k


def test_refusals_are_those_of_each_call():
    for _ in range(3):
        x = ng.tensor([1.0, -2.0])
        ng.nn.functional.hardtanh_(x, -1.0, 1.0)
        x.clamp_(max=0.5)
        x.add_(1.0)
        with pytest.raises(ValueError, match="min_val cannot be greater than max_val"):
            ng.nn.functional.hardtanh_(x, 1.0, -1.0)
        with pytest.raises(RuntimeError, match="overflow"):
            x.clamp_(max=1e300)
        with pytest.raises(RuntimeError, match="doesn't match the broadcast shape"):
            x.add_(ng.ones(3, 2))
        leaf = ng.tensor([1.0, -2.0], requires_grad=True)
        for write in (lambda t: t.relu_(), lambda t: t.add_(1.0), lambda t: t.clamp_(0.0, 1.0), lambda t: t.addcmul_(t, t)):
            with pytest.raises(RuntimeError, match="a leaf Variable that requires grad"):
                write(leaf)
        with pytest.raises(RuntimeError, match="don't support automatic differentiation"):
            ng.exp(leaf, out=ng.zeros(2))
        with ng.no_grad():
            ng.exp(leaf, out=x)
            leaf.relu_()
        assert leaf.tolist() == [1.0, 0.0]


def test_history_is_recorded_though_there_is_a_plan():
    for _ in range(3):
        plain = ng.tensor([1.0, -2.0, 3.0])
        plain.relu_().clamp_(0.5, 2.0).mul_(ng.tensor(2.0)).addcmul_(plain, plain, value=0.5)
        w = ng.tensor([1.0, -2.0, 3.0], requires_grad=True)
        y = w * 1
        y.clamp_(0.5, 2.0)
        y.mul_(w)
        y.sum().backward()  # of (1, 0.5, 2), with slopes (1, 0, 0), times w
        assert w.grad.tolist() == [2.0, 0.5, 2.0]


def test_views_that_must_not_be_written_are_refused_though_there_is_a_plan():
    w = ng.tensor([1.0, 2.0], requires_grad=True)
    for _ in range(3):
        base = ng.zeros(2, 2)
        with ng.no_grad():
            row = base[0]
        row.mul_(w.detach())
        row.add_(ng.ones(2))
        for view in (base.unbind()[0], row):
            with pytest.raises(RuntimeError, match="is being modified inplace with grad mode enabled"):
                view.mul_(w)
        part = base[1]
        part.mul_(w)
        assert base.requires_grad and type(base.grad_fn).__name__ == "CopySlices"


def test_what_shares_memory_is_not_written_while_it_is_read():
    for _ in range(3):
        base = ng.arange(6.0)
        base[1:].add_(base[:-1].clone())
        assert base.tolist() == [0.0, 1.0, 3.0, 5.0, 7.0, 9.0]
        with pytest.raises(RuntimeError, match="refer to a single memory location"):
            base[1:].add_(base[:-1])
        square = ng.arange(4.0).reshape(2, 2)
        square.add_(square)
        assert square.tolist() == [[0.0, 2.0], [4.0, 6.0]]
        same = square.view(2, 2)
        square.mul_(same)
        assert square.tolist() == [[0.0, 4.0], [16.0, 36.0]]


def test_other_dtypes_are_converted_each_time():
    for _ in range(3):
        x = ng.tensor([1.0, 2.0])
        x.add_(ng.tensor(0.5, dtype=ng.float64))
        x.add_(ng.tensor([1, 2]))
        assert x.tolist() == [2.5, 4.5]
        out = ng.zeros(2, dtype=ng.float64)
        assert ng.add(x, x, out=out).tolist() == [5.0, 9.0] and out.dtype is ng.float64


def test_an_index_in_place_is_the_index_apart():
    index, source = ng.tensor([2, 0, 2]), ng.tensor(RNG.standard_normal((3, 4)).astype("float32"))
    wide = ng.tensor(RNG.integers(0, 4, (4, 4)))
    for _ in range(3):
        x = ng.tensor(RNG.standard_normal((4, 4)).astype("float32"))
        y = x.clone()
        assert y.index_add_(0, index, source) is y and y.tolist() == x.index_add(0, index, source).tolist()
        y = x.clone()
        assert y.scatter_add_(1, wide, x).tolist() == x.scatter_add(1, wide, x).tolist()
        y = x.clone()
        assert y.index_fill_(0, index, 2.0).tolist() == x.index_fill(0, index, 2.0).tolist()
        y, z = x.clone(), x.numpy().copy()
        y[index], z[[2, 0, 2]] = source, source.numpy()
        y[index - 4], z[[-2, -4, -2]] = source * 2, source.numpy() * 2
        y[wide], z[wide.numpy()] = y[wide] + 1, z[wide.numpy()] + 1
        assert y.tolist() == z.tolist()
        version = y._version
        y[index] = source
        assert y._version == version + 1
        with pytest.raises(IndexError, match="out of bounds"):
            y[index + 9] = source
        with pytest.raises((IndexError, RuntimeError)):
            y.index_add_(0, index + 9, source)
        with pytest.raises(RuntimeError, match="refer to a single memory location"):
            y.index_add_(0, index, y[1:])
        w = ng.zeros(4, 4, requires_grad=True)
        z = w * 1
        z.index_add_(0, index, source)
        z.sum().backward()
        assert w.grad.tolist() == ng.ones(4, 4).tolist()


def test_large_results_go_where_they_shall():
    a, b = [ng.tensor(RNG.standard_normal((rows, 130)).astype("float32")) for rows in (200, 70)]
    for _ in range(2):
        out = ng.zeros(270, 130)
        at, version = out.data_ptr(), out._version
        assert ng.cat([a, b], out=out) is out and out.data_ptr() == at and out._version == version + 1
        assert out.equal(ng.cat([a, b]))
        out = ng.zeros(130, 270).t()
        assert ng.cat([a, b], out=out).equal(ng.cat([a, b]))
        out = ng.zeros(270, 130, dtype=ng.float64)
        assert ng.cat([a, b], out=out).equal(ng.cat([a, b]).double())
        out = ng.zeros(2, 200, 130)
        assert ng.stack([a, a + 1], out=out).equal(ng.stack([a, a + 1]))
        whole = ng.zeros(400, 130)
        whole[:200] = a
        with pytest.raises(RuntimeError, match="refer to a single memory location"):
            ng.cat([whole[:200], a], out=whole)
        with pytest.raises(RuntimeError, match="don't support automatic differentiation"):
            ng.cat([a.clone().requires_grad_(), b], out=ng.zeros(270, 130))
        with pytest.warns(UserWarning, match="was resized"):
            assert ng.cat([a, b], out=ng.zeros(300, 130)).shape == (270, 130)
        for reduce in (ng.sum, ng.amax, ng.mean, ng.logsumexp):
            out = ng.zeros(130)
            assert reduce(a, 0, out=out).equal(reduce(a, 0))
            assert reduce(a, 0, out=ng.zeros(130, dtype=ng.float64)).dtype is ng.float64
        for product, x, y in ((ng.mm, a, b.t()), (ng.matmul, a, b.t()), (ng.bmm, a[None], b.t()[None])):
            assert product(x, y, out=ng.zeros(product(x, y).shape)).equal(product(x, y))
            with pytest.raises(RuntimeError, match="don't support automatic differentiation"):
                product(x.clone().requires_grad_(), y, out=ng.zeros(product(x, y).shape))


def test_a_view_written_back_is_left_as_it_is():
    x, row = ng.zeros(4, 3), ng.tensor([1.0, 2.0, 3.0, 4.0])
    for k in range(1, 4):
        version = x._version
        x[:, 1] += row
        assert x[:, 1].tolist() == (k * row).tolist() and x.sum().item() == 10 * k and x._version == version + 2
    w = ng.ones(4, 3, requires_grad=True)
    y = w * 2
    y[:, 1] += row
    y[:, 1] *= row
    y.sum().backward()
    assert w.grad.tolist() == [[2.0, 2.0 * r, 2.0] for r in row.tolist()]
    wide = ng.zeros(1).expand(3)
    assert wide.copy_(wide) is wide
    with pytest.raises(RuntimeError, match="more than one element"):
        wide.copy_(wide.view(3))


INDICES = [lambda t: (slice(None), t), lambda t: (Ellipsis, t), lambda t: (t, t), lambda t: (slice(None), t, slice(None)),
           lambda t: (slice(None), slice(None), t), lambda t: (t, t, t), lambda t: (t, slice(None), t), lambda t: (0, t),
           lambda t: (slice(1, 3), t), lambda t: (t, 1), lambda t: (None, t), lambda t: (t[0], t), lambda t: [0, 2],
           lambda t: (slice(None), [1, -1]), lambda t: (t[:, None], t), lambda t: (t[:1], t)]


@pytest.mark.parametrize("number", range(len(INDICES)))
@pytest.mark.parametrize("turned", [False, True])
def test_indices_in_any_place(number, turned):
    index = ng.tensor([[0, 2, -1], [1, 1, -3]])
    places = INDICES[number](index)

    def plain(i):
        return tuple(map(plain, i)) if isinstance(i, tuple) else i.numpy() if isinstance(i, ng.Tensor) else i
    at = plain(places)
    for _ in range(10):  # the ninth has a plan
        a = RNG.standard_normal((4, 3, 5))
        x = ng.tensor(a).requires_grad_()
        x, a = (x.transpose(0, 2), a.transpose(2, 1, 0)) if turned else (x, a)
        y = x[places]
        np.testing.assert_array_equal(y.detach().numpy(), a[at])
        w = RNG.standard_normal(y.shape)
        (g,) = ng.autograd.grad(y, [x], ng.tensor(w))
        expected = np.zeros_like(a)
        np.add.at(expected, at, w)
        np.testing.assert_allclose(g.numpy(), expected, rtol=1e-14, atol=1e-14)
        z, b = x.detach().clone(), a.copy()
        z[places] += 1.0
        b[at] += 1.0
        np.testing.assert_array_equal(z.numpy(), b)
        z[places] = ng.tensor(w)
        b[at] = w  # the last of several wins
        np.testing.assert_array_equal(z.numpy(), b)
    with pytest.raises(IndexError):
        x[beyond(places)]


def beyond(places):
    """The same index beyond every size."""
    if isinstance(places, tuple):
        return tuple([beyond(i) for i in places])
    return places + 9 if isinstance(places, ng.Tensor) else [i + 9 for i in places] if isinstance(places, list) else places


def test_an_index_that_changed_is_noticed():
    index = ng.tensor([0, 1])
    x = ng.ones(3, 3, requires_grad=True)
    y = x[:, index]
    index.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_a_sparse_operand_has_no_plan():
    dense, sparse = ng.ones(3, 3), ng.eye(3).to_sparse()
    for _ in range(3):
        dense.clone().add_(dense).neg_()
        assert dense.clone().add_(sparse).tolist() == (dense + ng.eye(3)).tolist()
        assert ng.eye(3).to_sparse().neg_().to_dense().tolist() == (-ng.eye(3)).tolist()


def test_a_tensor_of_one_number_as_a_number_is_no_operand_of_a_plan():
    half = ng.tensor(0.5)
    for _ in range(3):
        x, a, b = (ng.tensor([1.0, -2.0, 3.0], requires_grad=True) for _ in range(3))
        y = x.clone().addcmul_(a, b, value=half)
        assert y.tolist() == [1.5, 0.0, 7.5]
        first = ng.autograd.grad((y * y).sum(), (x, a, b), create_graph=True)
        assert [g.tolist() for g in first] == [[3.0, 0.0, 15.0], [1.5, 0.0, 22.5], [1.5, 0.0, 22.5]]
        assert ng.autograd.grad(first[1].sum(), b)[0].tolist() == [2.0, 2.0, 12.0]  # value (y + value a b)
        out, plain = ng.empty(3), x.detach()
        assert ng.addcmul(plain, plain, plain, value=half, out=out) is out and out.tolist() == [1.5, 0.0, 7.5]
        assert ng.add(plain, plain, alpha=half, out=out).tolist() == plain.clone().add_(plain, alpha=half).tolist()
        assert plain.clone().lerp_(plain, half).tolist() == plain.tolist()
        assert plain.clone().clamp_(half).tolist() == ng.clamp(plain, half, out=out).tolist() == [1.0, 0.5, 3.0]


AT = {"index_add_": lambda c, i: c.index_add_(0, i, B), "index_copy_": lambda c, i: c.index_copy_(0, i, B),
      "scatter_": lambda c, i: c.scatter_(0, i[:, None].expand(4, 5), B), "index_fill_": lambda c, i: c.index_fill_(0, i, 1.0),
      "scatter_add_": lambda c, i: c.scatter_add_(0, i[:, None].expand(4, 5).contiguous(), B),
      "index_reduce_": lambda c, i: c.index_reduce_(0, i, B, "amax"), "index_put_": lambda c, i: c.index_put_((i,), B),
      "put_": lambda c, i: c.put_(i + 15, B[0, :4]), "c[i] = b": lambda c, i: c.__setitem__(i, B),
      "c[i] = 2": lambda c, i: c.__setitem__(i, 2.0), "c[i, i] = b": lambda c, i: c.__setitem__((i, i), B[0, :4]),
      "gather": lambda c, i: ng.gather(B, 0, i[:, None].expand(4, 5).contiguous(), out=c),
      "index_select": lambda c, i: ng.index_select(B, 0, i, out=c)}
B = ng.rand(4, 5)


@pytest.mark.parametrize("name", AT)
def test_a_planned_call_looks_at_all_indices_before_it_writes(name):
    replay.start()
    said = []
    for number in range(14):
        c = ng.zeros(4, 5)
        if number in (0, 13):
            with pytest.raises((IndexError, RuntimeError)) as caught:
                AT[name](c, ng.tensor([0, 3, 1, 9]))
            said.append(repr(caught.value))
            assert not c.any() and c._version == 0
        AT[name](c, ng.tensor([0, 3, 1, 2]))
        assert c.any() and c._version == 1
    assert said[0] == said[1]


def test_lists_made_natively_are_numpys():
    for dtype in (ng.float32, ng.float64, ng.int32, ng.int64, ng.bool, ng.bfloat16, ng.uint8):
        x = (ng.rand(7, 5) * 100).to(dtype)
        wanted = [[v.item() for v in row] for row in x]
        for _ in range(60):
            assert x.tolist() == wanted
        assert {type(v) for row in x.tolist() for v in row} == {type(x[0, 0].item())}
        assert x.t().tolist() == [list(column) for column in zip(*wanted)] and x[2:4].tolist() == wanted[2:4]
        assert x[:0].tolist() == [] and x[:2, :0].tolist() == [[], []]
    assert repr(ng.tensor([[float("nan"), float("-inf"), -0.0]]).tolist()) == "[[nan, -inf, -0.0]]"


def test_rows_are_written_natively_as_they_are_otherwise():
    replay.start()
    for dtype in (ng.float32, ng.float64, ng.int64, ng.bool, ng.bfloat16, ng.complex64):
        c, wanted = ng.zeros(4, 5, dtype=dtype), ng.zeros(4, 5, dtype=dtype).tolist()
        for k in range(30):
            row, i = (ng.rand(5) * 9).to(dtype), k % 8 - 4
            version, wanted[i] = c._version, row.tolist()
            c[i] = row
            assert c.tolist() == wanted and c._version == version + 1
        for i in (4, -5):
            with pytest.raises(IndexError, match="out of bounds for dimension 0 with size 4"):
                c[i] = row
    c, w = ng.zeros(4, 5), ng.rand(5, requires_grad=True)
    c[1] = c[0] = w.detach()
    c[2] = w
    c[0] = c[2]
    c.sum().backward()
    assert w.grad.tolist() == [2.0] * 5
    leaf = ng.zeros(4, 5, requires_grad=True)
    with pytest.raises(RuntimeError, match="a view of a leaf Variable"):
        leaf[0] = ng.ones(5)
    with ng.no_grad():
        leaf[0] = ng.ones(5)
    assert leaf.sum().item() == 5


@pytest.mark.parametrize("index", [
    lambda ng: ng.tensor([0, -2]), lambda ng: [2, 0], lambda ng: (slice(None), ng.tensor([1, 0])), lambda ng: ([0, 1], [2, 1]),
    lambda ng: (ng.tensor([[0], [1]]), ng.tensor([0, 2])), lambda ng: (1, [0, 2]), lambda ng: ([0, 2], slice(0, 2)),
    lambda ng: ng.tensor([True, False, True]), lambda ng: [True, True, False],
    lambda ng: (slice(None), ng.tensor([False, True, True])),
    lambda ng: (ng.tensor([True, False, True]), 1), lambda ng: (ng.tensor([0, 2]), -1), lambda ng: (0, ng.tensor([False] * 3))])
def test_places_take_numbers_that_change(index):
    """However often, and whatever the number: a plan is of tensors, and the number one of them; numbers that do not fit are
    refused, wrong places too, and nothing is changed."""
    index = index(ng)
    for dtype in (ng.float32, ng.int32):
        x, y = ng.arange(9).reshape(3, 3).to(dtype), np.arange(9).reshape(3, 3)
        plain = [t.numpy() if isinstance(t, ng.Tensor) else t for t in (index if isinstance(index, tuple) else (index,))]
        for i in range(12):
            x[index] = i
            y[tuple(plain)] = i
            assert x.tolist() == y.tolist() and x._version == i + 1
        row = ng.full((1,), 40, dtype=dtype)  # (of a mask it may be of another dtype, too)
        for _ in range(5):
            x[index] = row
        assert x[index].tolist() == (x[index] * 0 + 40).tolist()
        base = ng.zeros(3, 3, dtype=ng.float32, requires_grad=True)
        z = base * 1
        z[index] = 2.0
        z.sum().backward()
        assert base.grad[index].abs().sum() == 0 and base.grad.sum() == 9 - x[index].numel()
    before = x.tolist()
    with pytest.raises((RuntimeError, OverflowError)):
        x[index] = 1 << 40
    with pytest.raises(IndexError):
        x[ng.tensor([0, 3])] = 1
    with pytest.raises(IndexError):
        x[[0, 1], [0, 3]] = 1
    assert x.tolist() == before


def test_scatter_and_index_fill_of_numbers_that_change():
    x, index = ng.zeros(3, 4), ng.tensor([[1], [0], [3]])
    for i in range(8):
        x.scatter_(1, index, i + 0.5)
        x.index_fill_(1, ng.tensor([2]), i)
        assert x.tolist() == [[0, i + 0.5, i, 0], [i + 0.5, 0, i, 0], [0, 0, i, i + 0.5]] and x._version == 2 * i + 2
    with pytest.raises(RuntimeError, match="index 4 is out of bounds for dimension 1 with size 4"):
        x.scatter_(1, index + 1, 2.0)
    with pytest.raises(IndexError):
        x.index_fill_(1, ng.tensor([7]), 2.0)
    assert x.max() == 7.5 and x._version == 16
    one_hot = ng.zeros(3, 4, dtype=ng.int64)
    assert one_hot.scatter_(1, index, 1).sum(1).tolist() == [1, 1, 1]
    leaf = ng.ones(3, 4, requires_grad=True)
    y = leaf * 1
    assert type(y.scatter_(1, index, 2.0).grad_fn).__name__ == "ScatterBackward1"
    y.sum().backward()
    assert leaf.grad.sum() == 9
