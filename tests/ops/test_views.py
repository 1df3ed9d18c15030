"""Views: geometry, shared memory, gradients, node names, errors; PyTorch is the oracle where it is installed."""

import gc
import itertools

import numpy as np
import pytest

import numbagrad as ng


def base():
    return ng.arange(24.0, dtype=ng.float64).view(2, 3, 4).clone()


# Text evaluated with ``x`` (2, 3, 4) and ``lib``; every one is a view or a join that PyTorch has under the same name.
VIEWS = """
x.view(6, 4) | x.view(-1) | x.view((4, -1)) | x.view(1, 24, 1) | x.reshape(6, 4) | x.transpose(0, 1).reshape(6, 4)
x[0].t().view(4, 3) | x.flatten() | x.flatten(1) | x.flatten(0, 1) | x.unflatten(2, (2, 2)) | x.unflatten(-1, (-1, 2))
x.ravel() | x.transpose(0, 2).ravel() | x[:, :1].expand(2, 5, 4) | x.expand(5, 2, 3, 4) | x[:, :1].expand(-1, 3, -1)
x[0, 0].expand_as(x) | lib.broadcast_to(x[0], (2, 3, 4)) | x.transpose(0, 1) | x.transpose(-1, 0) | x.swapaxes(0, 2)
x.swapdims(1, 2) | x[0].t() | x[0, 0].t() | x.T if x.dim() == 2 else x[0].T | x.mT | x[0].H | x.mH | x.adjoint()
x.permute(2, 0, 1) | x.permute((-1, 1, 0)) | x.movedim(0, 2) | x.movedim((0, 1), (2, 0)) | x.moveaxis(2, 0)
x[None].squeeze() | x[None].squeeze(0) | x[None, :, None].squeeze((0, 2)) | x.squeeze(0) | x.unsqueeze(0)
x.unsqueeze(-1) | x.transpose(0, 2).unsqueeze(1) | x.select(1, -1) | x.narrow(2, 1, 2) | x.narrow(0, -1, 1)
x.diagonal() | x.diagonal(1, 1, 2) | x.diagonal(-1, 2, 0) | x.as_strided((2, 2), (1, 2)) | x.as_strided((3, 3), (1, 1))
x.as_strided((2, 3), (12, 4), 2) | x.unfold(2, 2, 1) | x.unfold(2, 2, 2) | x.unfold(0, 2, 1) | x.unbind(1)[2]
x.split(2, 2)[1] | x.split(2, 1)[1] | x.split([1, 3], -1)[1] | x.split_with_sizes([1, 2], 1)[0] | x.chunk(2, 1)[1]
x.chunk(5, 2)[3] | x.tensor_split(3, 2)[0] | x.tensor_split((1, 2), 2)[1] | x.hsplit(3)[2] | x.vsplit(2)[1]
x.dsplit(2)[0] | lib.atleast_1d(x[0, 0, 0]) | lib.atleast_2d(x[0, 0]) | lib.atleast_3d(x[0]) | lib.atleast_3d(x[0, 0])
lib.meshgrid(x[0, 0], x[0, :, 0], indexing="ij")[0] | lib.meshgrid(x[0, 0], x[0, :, 0], indexing="xy")[1]
lib.broadcast_tensors(x[0], x[:, :1])[1] | x.select_scatter(x[0] * 2, 0, 1) | x.slice_scatter(x[:1] * 2, 0, 1)
x.diagonal_scatter(x.diagonal() * 3) | lib.cat([x, x * 2], 1) | lib.cat([x, x[:, :0]], 1) | lib.stack([x, x * 2], -1)
lib.hstack([x, x]) | lib.vstack([x[0], x[1]]) | lib.dstack([x, x]) | lib.column_stack([x[0, 0], x[0, 1]])
x.repeat(2, 1, 2) | x.repeat(2, 1, 1, 3) | x.tile(2) | x.repeat_interleave(2, 1) | x.repeat_interleave(3)
x.repeat_interleave(lib.tensor([1, 0, 2]), 1) | x.flip(0) | x.flip(0, -1) | x[0].fliplr() | x.flipud() | x.roll(1)
x.roll(2, 1) | x.roll((1, -2), (0, 2)) | x.rot90() | x.rot90(2, (0, 2)) | x.rot90(3, (1, 2)) | x.rot90(-3, (1, 2))
lib.block_diag(x[0], x[1, 0]) | lib.cartesian_prod(x[0, 0], x[1, 0, :2]) | lib.combinations(x[0, 0])
lib.combinations(x[0, 0], 2, True) | x.tril() | x.triu(1) | x.tril(-1) | x[0].diag() | x[0].diag(-1) | x[0, 0].diag(1)
lib.diag_embed(x[0]) | lib.diag_embed(x, 1, 0, 2) | x[0].trace() | lib.cross(x[:, :, 1:], x[:, :, :3] ** 2, dim=1)
""".replace("\n", "|").split("|")
VIEWS = [v.strip() for v in VIEWS if v.strip()]


def run(lib, text, a, order=2):
    x = lib.tensor(a.tolist(), dtype=lib.float64, requires_grad=True)
    y = eval(text, {"x": x, "lib": lib})
    first, = lib.autograd.grad((y * y * y).sum(), x, create_graph=True)
    second, = lib.autograd.grad((first * first).sum(), x)
    return y, first, second


@pytest.mark.parametrize("text", VIEWS)
def test_like_torch(text):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
    a = np.random.default_rng(0).standard_normal((2, 3, 4))
    theirs, ours = run(torch, text, a), run(ng, text, a)
    assert type(ours[0].grad_fn).__name__ == type(theirs[0].grad_fn).__name__
    assert ours[0]._is_view() == theirs[0]._is_view()
    for t, n in zip(theirs, ours):
        assert n.shape == tuple(t.shape)
        np.testing.assert_allclose(n.detach().numpy(), t.detach().numpy(), rtol=1e-13, atol=1e-13)


ERRORS = """
x.view(5) | x.transpose(0, 2).view(-1) | x.view(-1, -1) | x.view(-2, 3) | x.reshape(-1, 5)
lib.zeros(0, 3).view(-1, 0) | x.expand(3, 3, 4) | x.expand(-1, 3) | x.expand(-1, 2, 3, 4) | x.expand(2, -2, 4)
x.transpose(0, 3) | x.t() | x.permute(0, 1) | x.permute(0, 0, 1) | x.permute(0, 1, 5) | x.movedim((0, 1), (0,))
x.movedim((0, 0), (0, 1)) | x.squeeze(5) | x.unsqueeze(5) | x.select(0, 5) | x.select(5, 0) | s.select(0, 0)
x.narrow(0, 0, 3) | x.narrow(0, 0, -1) | x.narrow(0, 4, 1) | x.diagonal(0, 0, 0) | v.diagonal()
x.as_strided((100,), (1,)) | x.as_strided((2,), (1, 2)) | x.as_strided((2,), (-1,)) | v.unfold(0, 7, 1) | v.unfold(0, 2, 0)
s.unbind() | x.split(-1) | x.split(0) | x.split([1, 2]) | x.split_with_sizes([3]) | x.chunk(0) | s.split(1) | s.chunk(2)
v.vsplit(2) | s.hsplit(2) | v.hsplit(4) | x.vsplit(3) | x.tensor_split(0) | lib.view_as_complex(x[..., :3])
lib.view_as_real(x) | x.imag | x.unflatten(2, (3, 2)) | x.unflatten(2, (-1, 3)) | x.flatten(2, 1) | x.mT.H | v.mT
lib.cat([]) | lib.cat([x, v]) | lib.cat([x, x], 5) | lib.cat([x, x[:, :2]], 0) | lib.cat([s, s]) | lib.cat(x)
lib.stack([]) | lib.stack([x, v]) | lib.stack([x, x], 9) | lib.hstack([]) | x.repeat(2) | x.repeat(2, -1, 1)
v.repeat_interleave(-1) | v.repeat_interleave(lib.tensor([1, 2])) | x.flip(5) | x.flip(0, 0) | v.fliplr() | x.roll(1, 5)
x.roll((1, 2), (0,)) | v.rot90() | x.rot90(1, (0, 0)) | v.tril() | x.diag() | lib.diag_embed(v, 0, 1, 1) | lib.trace(v)
lib.cross(x, x, dim=0)
""".replace("\n", "|").split("|")
ERRORS = [e.strip() for e in ERRORS if e.strip()]


@pytest.mark.parametrize("text", ERRORS)
def test_errors_like_torch(text):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
    raised = []
    for lib in (torch, ng):
        names = {"lib": lib, "x": lib.zeros(2, 3, 4), "v": lib.zeros(6), "s": lib.tensor(1.0)}
        with pytest.raises((RuntimeError, IndexError, TypeError, ValueError)) as e:
            eval(text, names)
        raised.append(e)
    theirs, ours = raised
    assert ours.type is theirs.type
    assert str(ours.value) == str(theirs.value)


def strides_of(a):
    return tuple(s // a.itemsize for s in a.strides)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("shape", [(6, 4), (24,), (2, 12), (3, 8), (2, 1, 3, 4, 1), (4, 3, 2), (12, 2)])
def test_view_rules_follow_strides(order, shape):
    """A view exists exactly when NumPy can reshape without a copy."""
    x = base().permute(order)
    a = np.arange(24.0).reshape(2, 3, 4).transpose(order)
    copied = a.reshape(shape)
    if np.shares_memory(a, copied):
        y = x.view(shape)
        assert y.data_ptr() == x.data_ptr()
        real = [i for i, s in enumerate(shape) if s > 1]
        assert [y.stride()[i] for i in real] == [strides_of(copied)[i] for i in real]
    else:
        with pytest.raises(RuntimeError, match="view size is not compatible"):
            x.view(shape)
    np.testing.assert_array_equal(x.reshape(shape).numpy(), copied)


def test_views_share_memory_and_version():
    x = base()
    for y in (x.view(-1), x.t() if x.dim() == 2 else x.mT, x[0], x[:, 1:], x.unfold(2, 2, 1), x.diagonal(), x[None],
              x.squeeze(), x.expand(2, 2, 3, 4), x.unbind(0)[0], x.split(1)[1]):
        assert y._base is x
    y = x[1, 2]
    y[3] = -1
    assert x[1, 2, 3].item() == -1 and x._version == y._version == 1


def test_view_of_a_view_has_the_first_base():
    x = base()
    assert x[0].t()[1:]._base is x


def test_contiguity_is_noticed():
    x = base()
    assert x.transpose(0, 2).transpose(0, 2).is_contiguous() and x[1:].is_contiguous() and x[:, :1][1:].is_contiguous()
    assert not x[:, 1:].is_contiguous() and not x.mT.is_contiguous()
    assert x.mT.contiguous().stride() == (12, 3, 1)


def test_multiple_views_refuse_in_place_changes():
    x = (base() + 0).requires_grad_()
    for parts in ((x * 1).unbind(0), (x * 1).split(1), (x * 1).chunk(2)):
        assert [p.output_nr for p in parts] == [0, 1] and parts[0].grad_fn is parts[1].grad_fn
        with pytest.raises(RuntimeError, match="is a view and is being modified inplace"):
            parts[1].mul_(2)


def test_parts_without_gradient_count_as_zero():
    x = base().requires_grad_()
    a, b, c = x.split(1, 1)
    (b * 3).sum().backward()
    expected = np.zeros((2, 3, 4))
    expected[:, 1] = 3
    np.testing.assert_array_equal(x.grad.numpy(), expected)


def test_metadata_changes_in_place():
    x = base()
    z = x.clone().requires_grad_() * 1
    z.transpose_(0, 2).unsqueeze_(1).squeeze_()
    assert z.shape == (4, 3, 2) and type(z.grad_fn).__name__ == "SqueezeBackward3" and z._version == 3
    np.testing.assert_array_equal(z.detach().numpy(), x.numpy().transpose(2, 1, 0))
    m = base()[0].clone()
    assert m.t_().shape == (4, 3) and m.squeeze_(0).shape == (4, 3)
    leaf = base().requires_grad_()
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad is being used in an in-place operation"):
        leaf.transpose_(0, 1)
    assert leaf.shape == (2, 3, 4)


def test_view_as_another_dtype():
    x = ng.tensor([1.0, -2.0, 0.5, 3.0])
    np.testing.assert_array_equal(x.view(ng.int32).numpy(), x.numpy().view(np.int32))
    np.testing.assert_array_equal(x.view(ng.float64).numpy(), x.numpy().view(np.float64))
    np.testing.assert_array_equal(x.view(2, 2).view(ng.uint8).numpy(), x.numpy().reshape(2, 2).view(np.uint8))
    with pytest.raises(RuntimeError, match="must be divisible by 2"):
        x[:3].view(ng.float64)


def test_complex_parts_are_views():
    z = ng.view_as_complex(ng.arange(6.0).view(3, 2))
    assert z.dtype is ng.complex64 and z.tolist() == [1j, 2 + 3j, 4 + 5j]
    z.real.fill_(7)
    z.imag = ng.zeros(3)
    assert z.tolist() == [7, 7, 7]
    assert ng.view_as_real(z)._base is z._base
    assert (z * 1j).conj().tolist() == [-7j, -7j, -7j]


def test_overlapping_memory_is_not_written():
    x = ng.zeros(3).expand(2, 3)
    with pytest.raises(RuntimeError, match="more than one element of the written-to tensor refers to a single memory"):
        x.add_(1)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0, 2)])
def test_empty(shape):
    x = ng.zeros(shape).requires_grad_()
    y = ng.cat([x.flatten(), x.reshape(-1), x.permute(*reversed(range(len(shape)))).reshape(-1), x.flip(0).view(-1)])
    assert y.shape == (0,)
    y.sum().backward()
    assert x.grad.shape == shape


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "int64", "float16", "bfloat16", "complex64"])
def test_moves_keep_any_dtype(dtype):
    d = getattr(ng, dtype)
    x = ng.arange(24).view(2, 3, 4).to(dtype=d)
    wide = ng.complex64 if dtype == "complex64" else ng.float64
    a = x.to(dtype=wide).numpy()
    for ours, expected in ((ng.cat([x, x], 2), np.concatenate([a, a], 2)), (ng.stack([x, x]), np.stack([a, a])),
                           (x.flip(2), a[:, :, ::-1]), (x.roll(1, 1), np.roll(a, 1, 1)), (x.tril(), np.tril(a)),
                           (x.repeat(1, 2, 1), np.tile(a, (1, 2, 1))), (x.mT.contiguous(), a.swapaxes(1, 2))):
        assert ours.dtype is d
        np.testing.assert_array_equal(ours.to(dtype=wide).numpy(), expected)


def test_join_promotes_and_converts_gradients_back():
    x, y = ng.ones(2, requires_grad=True), ng.ones(2, dtype=ng.float64, requires_grad=True)
    z = ng.cat([x, y, ng.ones(1, dtype=ng.int64)])
    assert z.dtype is ng.float64
    z.sum().backward()
    assert x.grad.dtype is ng.float32 and y.grad.dtype is ng.float64


def test_as_strided_of_a_view_reaches_the_base():
    x = base().requires_grad_()
    y = (x * 1)[1].as_strided((2, 2), (4, 1), 12)
    y.sum().backward()
    expected = np.zeros((2, 3, 4))
    expected[1, :2, :2] = 1
    np.testing.assert_array_equal(x.grad.numpy(), expected)


@pytest.mark.parametrize("row, col, offset", [(3, 4, 0), (4, 3, -1), (2, 5, 2), (0, 3, 0), (3, 3, -5)])
def test_triangle_indices(row, col, offset):
    lower, upper = ng.tril_indices(row, col, offset), ng.triu_indices(row, col, offset)
    np.testing.assert_array_equal(lower.numpy(), np.stack(np.tril_indices(row, offset, col)))
    np.testing.assert_array_equal(upper.numpy(), np.stack(np.triu_indices(row, offset, col)))
    assert lower.dtype is ng.int64 and ng.triu_indices(row, col, dtype=ng.int32).dtype is ng.int32
    with pytest.raises(RuntimeError, match="must be non-negative"):
        ng.tril_indices(-1, 2)


def test_untyped_storage_is_shared_by_views():
    def run(lib):
        x = lib.arange(6.0)
        a, b, c = (t.untyped_storage() for t in (x, x[2:].view(2, 2), x.clone()))
        return [a.data_ptr() == b.data_ptr(), a.data_ptr() == c.data_ptr(), b.nbytes(), len(c), x[2:].data_ptr() - b.data_ptr()]
    assert run(ng) == [True, False, 24, 24, 8]
    assert run(pytest.importorskip("torch", reason="PyTorch is the oracle here")) == run(ng)


def test_many_views_are_made_without_a_collection():
    """The collector would come for each few hundred views; it is left as it was."""
    a, phases = ng.ones(2000, 2, requires_grad=True), []
    gc.collect()
    gc.callbacks.append(lambda phase, info: phases.append(phase))
    try:
        rows = a.unbind()
        assert gc.isenabled() and not phases
    finally:
        gc.callbacks.pop()
    assert len(rows) == 2000 and rows[1999].grad_fn is not None
    gc.disable()
    try:
        a.unbind()
        assert not gc.isenabled()
    finally:
        gc.enable()
