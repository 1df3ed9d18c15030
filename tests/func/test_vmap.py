"""``vmap``: dimensions, nesting, chunks, indices, writes, random numbers and errors, as PyTorch has them."""

import warnings

import pytest
from sides import W, X, same

import numbagrad as ng

CODES = {
    "in_dims": lambda T, x, w: T.vmap(lambda a, b: a * b, in_dims=(1, 0))(x[:3, :].T, w),
    "negative": lambda T, x, w: T.vmap(lambda a: a.sum(), in_dims=-1)(x),
    "none": lambda T, x, w: T.vmap(lambda a, b: b @ a, in_dims=(0, None))(x, w),
    "out_dims": lambda T, x, w: T.vmap(lambda a: (a * 2, a.sum(), a), out_dims=(1, 0, -1))(x),
    "nested_out": lambda T, x, w: T.vmap(lambda a: {"y": a, "z": (a,)}, out_dims={"y": 1, "z": 0})(x),
    "nested_in": lambda T, x, w: T.vmap(lambda d: d["a"] * d["b"], in_dims=({"a": 0, "b": None},))({"a": x, "b": x[0]}),
    "constant": lambda T, x, w: T.vmap(lambda a: T.ones(2))(x),
    "out_none": lambda T, x, w: T.vmap(lambda a: (a, 3), out_dims=(0, None))(x),
    "twice": lambda T, x, w: T.vmap(T.vmap(lambda a, b: a * b, (None, 0)), (0, None))(x, w[0]),
    "thrice": lambda T, x, w: T.vmap(T.vmap(T.vmap(lambda a, b: a + b, (0, None)), (None, 0)), (0, None))(x[:2, None], w[0]),
    "matrices": lambda T, x, w: T.vmap(lambda a: T.vmap(lambda b: a @ b)(x))(x),
    "chunks": lambda T, x, w: T.vmap(lambda a: a * 2, chunk_size=3)(x),
    "chunks_out": lambda T, x, w: T.vmap(lambda a: (a * 2, a), out_dims=(1, 0), chunk_size=1)(x),
    "kwargs": lambda T, x, w: T.vmap(lambda a, k=1: a * k)(x, k=3),
    "promotion": lambda T, x, w: T.vmap(lambda a: a.sum() + T.ones(2))(x),
    "promotion_int": lambda T, x, w: T.vmap(lambda a: a.sum() * T.ones(2, dtype=T.int64))(x),
    "scalars": lambda T, x, w: T.vmap(lambda a: a * 2.5 + a // 2)(T.arange(4)),
    "views": lambda T, x, w: T.vmap(lambda a: a.view(3, 1).transpose(0, 1).expand(2, 3)[:, 1:].unbind(0))(x),
    "splits": lambda T, x, w: T.vmap(lambda a: (*a.split(2), *a.chunk(2)))(x),
    "reductions": lambda T, x, w: T.vmap(lambda a: (a.sum(), a.mean(0), a.max(), a.argmax(), a.std(), a.norm(), a.prod()))(x),
    "keepdim": lambda T, x, w: T.vmap(lambda a: (a.sum(0, True), a.amax(-1, keepdim=True), a.logsumexp(0)))(x),
    "pick": lambda T, x, w: T.vmap(lambda a, i: a[i])(x, T.tensor([0, 2, 1, 0])),
    "pick_shared": lambda T, x, w: T.vmap(lambda i: x[i, 1])(T.tensor([0, 2, 1, 3])),
    "pick_many": lambda T, x, w: T.vmap(lambda i: w[i, :, None])(T.tensor([[0, 2], [1, 1]])),
    "pick_apart": lambda T, x, w: T.vmap(lambda a, i: a[i, :, i])(w.expand(2, 3, 3, 3), T.tensor([[0, 2], [1, 1]])),
    "pick_fixed": lambda T, x, w: T.vmap(lambda a: a[T.tensor([[0, 2], [1, 1]])])(x),
    "pick_mask": lambda T, x, w: T.vmap(lambda a: a[T.tensor([True, False, True])])(x),
    "gather": lambda T, x, w: T.vmap(lambda a, i: a.gather(0, i))(x, T.tensor([[0, 2]] * 4)),
    "select": lambda T, x, w: T.vmap(lambda a, i: w.index_select(1, i) + a[0])(x, T.tensor([[0, 2]] * 4)),
    "where": lambda T, x, w: T.vmap(lambda a: T.where(a > 0, a, 0.0))(x),
    "sort": lambda T, x, w: T.vmap(lambda a: (*a.sort(), *a.topk(2), a.argsort()))(x),
    "sort_numbers": lambda T, x, w: T.vmap(lambda a: (*a.sort(), *a.topk(1), a.softmax(0), a.cumsum(0)))(x[0]),
    "searchsorted": lambda T, x, w: T.vmap(lambda a, s: (T.searchsorted(s, a), T.searchsorted(s, x), T.searchsorted(s, a[0])))(
        x, x.sort()[0]),
    "bucketize": lambda T, x, w: T.vmap(lambda a, s: T.bucketize(a, s, right=True))(x, x.sort()[0]),
    "fft": lambda T, x, w: T.vmap(lambda a: (T.fft.rfft(a), T.fft.ifft2(w * a), T.fft.irfft(a, 4)))(x),
    "margins": lambda T, x, w: T.vmap(lambda a: T.nn.functional.multi_margin_loss(w * a, T.tensor([0, 2, 1])))(x),
    "cat": lambda T, x, w: T.vmap(lambda a: T.cat([a, w[0]]) + T.stack([a, w[0]]).sum())(x),
    "solve": lambda T, x, w: T.vmap(lambda a: T.linalg.solve(w + 3 * T.eye(3, dtype=T.double), a))(x),
    "det": lambda T, x, w: T.vmap(lambda a: T.linalg.det(w + T.diag(a)))(x),
    "einsum": lambda T, x, w: T.vmap(lambda a: T.einsum("i,ij,j->", a, w, a))(x),
    "layers": lambda T, x, w: T.vmap(lambda a: T.nn.functional.layer_norm(a, (3,), a, a))(x),
    "conv": lambda T, x, w: T.vmap(lambda k: T.nn.functional.conv1d(x[None], k))(w.expand(2, 4, 3, 3).transpose(1, 2)),
    "zeros_like": lambda T, x, w: T.vmap(lambda a: filled(T, a))(x),
    "add_": lambda T, x, w: T.vmap(lambda a: (a * 1).add_(w[0]).mul_(2).clamp_(min=0))(x),
    "setitem": lambda T, x, w: T.vmap(lambda a: put(T, a * 1))(x),
    "properties": lambda T, x, w: properties(T, x),
}


def properties(T, x):
    out = []

    def f(a):
        out.extend([tuple(a.shape), a.dim(), a.numel(), a.requires_grad, str(a.dtype), a.is_contiguous(), a.stride(), len(a)])
        return a
    T.vmap(f)(x)
    return out


def filled(T, a):
    out, wide, full = T.zeros_like(a), a.new_zeros(5), T.full_like(a, 2.0)
    out[0] = a[1]
    wide[1:4] = a
    full[T.tensor([0, 2])] += a[:2]
    return out, wide, full, T.empty_like(a).copy_(a), T.ones_like(a)


def put(T, a):
    a[0] = 2.0
    a[T.tensor([1, 2])] = a[:2] * 3
    a[1:] += a[0]
    return a


@pytest.mark.parametrize("name", CODES)
def test_values(name, torch):
    same(torch, lambda T: CODES[name](T, T.tensor(X), T.tensor(W)))


# (No gradients, those of indices alone, or none of second order in PyTorch.)
FIRST = ("scalars", "properties", "constant", "sort", "reductions", "searchsorted", "bucketize", "margins")


@pytest.mark.parametrize("name", [n for n in CODES if n not in FIRST])
def test_gradients_go_through(name, torch):
    def code(T):
        x, w = T.tensor(X, requires_grad=True), T.tensor(W, requires_grad=True)
        outs = CODES[name](T, x, w)
        outs = list(outs.values()) if isinstance(outs, dict) else outs
        outs = outs if isinstance(outs, (tuple, list)) else [outs]
        total = sum([(o**2).sum() for o in outs if hasattr(o, "shape") and o.requires_grad])
        first = T.autograd.grad(total, (x, w), create_graph=True, allow_unused=True)
        return first, T.autograd.grad(sum([(g**2).sum() for g in first if g is not None]), x, allow_unused=True)
    same(torch, code, grad=False)


ERRORS = {
    "no_input": lambda T, x: T.vmap(lambda: x)(),
    "in_dims_type": lambda T, x: T.vmap(lambda a: a, in_dims="0")(x),
    "in_dims_structure": lambda T, x: T.vmap(lambda a: a, in_dims=(0, 0))(x),
    "in_dims_range": lambda T, x: T.vmap(lambda a: a, in_dims=3)(x),
    "in_dims_entry": lambda T, x: T.vmap(lambda a: a, in_dims=("a",))(x),
    "no_tensor": lambda T, x: T.vmap(lambda a: a)(3),
    "all_none": lambda T, x: T.vmap(lambda a: a, in_dims=(None,))(x),
    "sizes": lambda T, x: T.vmap(lambda a, b: a)(x, x[:2]),
    "no_tensor_out": lambda T, x: T.vmap(lambda a: 3)(x),
    "out_none": lambda T, x: T.vmap(lambda a: a, out_dims=None)(x),
    "out_structure": lambda T, x: T.vmap(lambda a: a, out_dims=(0, 0))(x),
    "out_type": lambda T, x: T.vmap(lambda a: a, out_dims="0")(x),
    "chunk_size": lambda T, x: T.vmap(lambda a: a, chunk_size=0)(x),
    "randomness": lambda T, x: T.vmap(lambda a: a, randomness="none")(x),
    "item": lambda T, x: T.vmap(lambda a: a.sum().item())(x),
    "float": lambda T, x: T.vmap(lambda a: float(a.sum()))(x),
    "branch": lambda T, x: T.vmap(lambda a: a if a.sum() > 0 else -a)(x),
    "numpy": lambda T, x: T.vmap(lambda a: a.numpy())(x),
    "nonzero": lambda T, x: T.vmap(lambda a: a.nonzero())(x),
    "mask": lambda T, x: T.vmap(lambda a: a[a > 0])(x),
    "masked_select": lambda T, x: T.vmap(lambda a: a.masked_select(a > 0))(x),
    "unique": lambda T, x: T.vmap(lambda a: a.unique())(x),
    "copy_": lambda T, x: T.vmap(lambda a: T.zeros(3).copy_(a))(x),
    "mul_": lambda T, x: T.vmap(lambda a: T.zeros(3, dtype=T.double).mul_(a))(x),
    "fill_": lambda T, x: T.vmap(lambda a: T.zeros(3, dtype=T.double).fill_(a[0]))(x),
    "setitem": lambda T, x: T.vmap(lambda a: T.zeros(3, dtype=T.double).__setitem__(0, a[0]))(x),
    "out": lambda T, x: T.vmap(lambda a: T.add(a, a, out=T.zeros(3, dtype=T.double)))(x),
    "shape": lambda T, x: T.vmap(lambda a: a + T.ones(2))(x)[0, :0],
}


@pytest.mark.parametrize("name", [n for n in ERRORS if n != "shape"])
def test_errors(name, torch):
    same(torch, lambda T: ERRORS[name](T, T.tensor(X)))


def test_errors_of_ops_speak_of_the_sizes_of_one_element():
    with pytest.raises(RuntimeError, match=r"size of tensor a \(3\) must match the size of tensor b \(2\)"):
        ERRORS["shape"](ng, ng.tensor(X))


def test_text(torch):
    texts = []
    for T in (ng, torch):
        T.vmap(lambda a: texts.append(repr(a)) or a)(T.ones(2, 3))  # noqa: B023
    assert texts[0] == texts[1]


DRAWS = {
    "rand": lambda T, x: T.rand(3) + x,
    "randn": lambda T, x: T.randn(2, 2) + x.sum(),
    "randint": lambda T, x: T.randint(0, 9, (3,)) + x,
    "randperm": lambda T, x: T.randperm(5) + x.sum(),
    "rand_like": lambda T, x: T.rand_like(x),
    "dropout": lambda T, x: T.nn.functional.dropout(x, 0.5),
    "bernoulli": lambda T, x: x.sigmoid().bernoulli(),
    "normal": lambda T, x: T.normal(x, 1.0),
    "normal_": lambda T, x: (x * 1).normal_(),
    "new": lambda T, x: T.zeros(3).normal_() + x,
    "multinomial": lambda T, x: T.multinomial(x.softmax(0), 2),
    "shared": lambda T, x: T.nn.functional.dropout(T.ones(3)) + x,
}


@pytest.mark.parametrize("randomness", ["error", "different", "same"])
@pytest.mark.parametrize("name", DRAWS)
def test_random_numbers(name, randomness, torch):
    """The same numbers as PyTorch, and the stream at the same place after them."""
    def code(T):
        T.manual_seed(3)
        return T.vmap(lambda x: DRAWS[name](T, x), randomness=randomness)(T.tensor(X).float()), T.rand(2)
    same(torch, code)


@pytest.mark.parametrize("randomness", ["different", "same"])
def test_random_numbers_in_chunks(randomness, torch):
    def code(T):
        T.manual_seed(3)
        return T.vmap(lambda x: T.rand(3) + x, randomness=randomness, chunk_size=2)(T.tensor(X).float()), T.rand(2)
    same(torch, code)


def test_the_generator_is_itself_again():
    assert type(ng.default_generator) is ng.Generator
    with pytest.raises(RuntimeError, match="randomness error mode"):
        ng.vmap(lambda x: ng.rand(3))(ng.ones(2))
    assert type(ng.default_generator) is ng.Generator


def test_an_op_of_a_user_runs_in_a_loop_or_by_its_rule():
    import numpy as np

    from numbagrad.extend import custom

    @custom(private=True, registered=False)
    def doubled_rows(input):
        """Twice the input, if that has one dimension."""
        assert len(input._shape) == 1
        return input._shape, input._kind

    @doubled_rows.cpu
    def _(out, input):
        out.array()[...] = 2 * input.array()

    @doubled_rows.gradient
    def _(g):
        return g * 2
    x = ng.tensor(X)
    with pytest.warns(UserWarning, match="performance drop because we have not yet implemented the batching rule for aten::d"):
        got = ng.vmap(doubled_rows)(x)
    np.testing.assert_array_equal(got.numpy(), 2 * X)
    np.testing.assert_allclose(ng.func.jvp(doubled_rows, (x[0],), (x[1],))[1].numpy(), 2 * X[1])

    @doubled_rows.batch
    def _(level, op, args, params):
        return args[0] * 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(ng.vmap(doubled_rows)(x).numpy(), 2 * X)
