"""Sparse tensors in coordinates: what they are, print, compute and hand to gradients, as PyTorch says it."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
from parity import agrees

import numbagrad as ng
from numbagrad.autograd import grad, gradcheck, gradgradcheck

AT, OF = [[0, 1, 1, 0], [2, 0, 2, 2]], [3.0, 4.0, 5.0, 6.0]


def example(T, **options):
    return T.sparse_coo_tensor(T.tensor(AT), T.tensor(OF), (2, 3), **options)


def blocks(T):
    return T.sparse_coo_tensor(T.tensor(AT), T.arange(24.0).reshape(4, 2, 3), (2, 3, 2, 3))


WORDS = {
    "repr": lambda T, a: a, "size found": lambda T, a: T.sparse_coo_tensor(AT, OF).shape,
    "coalesced": lambda T, a: a.coalesce(), "dense": lambda T, a: a.to_dense(), "indices": lambda T, a: a.indices(),
    "values": lambda T, a: a.values(), "parts": lambda T, a: [a._indices(), a._values(), a._nnz(), a.coalesce()._nnz()],
    "counts": lambda T, a: [a.sparse_dim(), a.dense_dim(), a.is_coalesced(), a.coalesce().is_coalesced(), a.numel(), a.dim()],
    "kind": lambda T, a: [a.dtype, a.device, a.is_sparse, str(a.layout), a.layout == T.sparse_coo, len(a), a.ndim, a.type()],
    "t": lambda T, a: a.t(), "T": lambda T, a: a.T, "transposed": lambda T, a: a.transpose(0, 1).coalesce().indices(),
    "twice": lambda T, a: a + a, "coalesced sum": lambda T, a: a.coalesce() + a.t().t().coalesce(),
    "difference": lambda T, a: a - a,
    "other places": lambda T, a: (a + T.eye(2, 3).to_sparse()).to_dense(),
    "scaled": lambda T, a: T.add(a, a, alpha=2).to_dense(),
    "times": lambda T, a: [a * 2, 2 * a, a / 2, -a], "dense sum": lambda T, a: T.ones(2, 3) + a,
    "sum with dense": lambda T, a: a + T.ones(2, 3), "times dense": lambda T, a: a * T.arange(6.0).reshape(2, 3),
    "times sparse": lambda T, a: a.coalesce() * T.tensor([[1.0, 0, 2], [0, 0, 3]]).to_sparse(),
    "other shape": lambda T, a: isinstance(T.is_tensor(a), bool),
    "matmul": lambda T, a: [a @ T.ones(3, 2), T.mm(a, T.ones(3, 2)), T.matmul(a, T.ones(3, 2)), T.spmm(a, T.ones(3, 2)),
                            T.sparse.mm(a, T.ones(3, 2)), a.mm(T.ones(3, 2)), a.matmul(T.ones(3, 2)), a @ T.arange(3.0),
                            a.mv(T.ones(3)), T.ones(2, 2) @ a],
    "both": lambda T, a: [a @ a.t(), T.sparse.mm(a, a.t()).to_dense()],
    "addmm": lambda T, a: T.sparse.addmm(T.ones(2, 2), a, T.ones(3, 2), beta=2, alpha=3),
    "sum": lambda T, a: [T.sparse.sum(a), a.sum(), T.sparse.sum(a, dtype=T.float64), T.sparse.sum(a, 0), T.sparse.sum(a, 1),
                         a.sum(1), T.sparse.sum(a, (0, 1))],
    "softmax": lambda T, a: [T.sparse.softmax(a, 1), T.sparse.softmax(a, 0), T.sparse.log_softmax(a, 0)],
    "to_sparse": lambda T, a: [T.tensor([[0, 1.0], [2.0, 0]]).to_sparse(), T.ones(2, 2, 2).to_sparse(1),
                               T.eye(2).to_sparse().to_sparse(), T.tensor([0, 2]).to_sparse()],
    "other sizes": lambda T, a: T.sparse_coo_tensor(T.tensor(AT), T.tensor(OF)[:2], (2, 3)),
    "too few": lambda T, a: T.sparse_coo_tensor(T.tensor(AT), T.tensor(OF), (2,)),
    "of nothing": lambda T, a: [T.sparse_coo_tensor((2, 3)), T.sparse_coo_tensor(size=(2, 3))],
    "rows": lambda T, a: T.sparse_coo_tensor(T.tensor(AT), T.ones(4, 2), (2, 3, 2)),
    "rows dense": lambda T, a: T.sparse_coo_tensor(T.tensor(AT), T.arange(8.0).reshape(4, 2), (2, 3, 2)).to_dense(),
    "dtype": lambda T, a: [T.sparse_coo_tensor(AT, OF, (2, 3), dtype=T.float64), a.to(T.float64), a.double().dtype],
    "leaf": lambda T, a: [example(T, requires_grad=True), example(T, requires_grad=True).is_leaf],
    "of values": lambda T, a: T.sparse_coo_tensor(AT, T.tensor(OF, requires_grad=True), (2, 3)),
    "older name": lambda T, a: [T.sparse.FloatTensor(T.tensor(AT), T.tensor(OF), T.Size([2, 3])), T.sparse.FloatTensor(2, 3)],
    "clone": lambda T, a: [a.clone(), a.detach().is_sparse, a.float() is a, a.cpu() is a, a.is_same_size(a)],
    "rows of it": lambda T, a: [a[0], a.coalesce()[1].to_dense(), a.index_select(0, T.tensor([1, 0, 1])).to_dense(),
                                a.select(1, 2).to_dense()],
    "functions": lambda T, a: [a.abs(), a.pow(2), T.relu(a), a.sqrt().coalesce(), a.neg(), a.norm(), T.tanh(a).to_dense()],
    "joined": lambda T, a: [T.cat([a, a]), T.cat([a, a], 1).to_dense(), T.stack([a, a]), a.unsqueeze(0).shape],
    "in place": lambda T, a: [T.zeros(2, 3).add_(a), T.zeros(2, 3).add_(a, alpha=-1), T.zeros(2, 3).sub_(a), a.mul_(2),
                              a.div_(4)],
    "order": lambda T, a: [a.permute(1, 0).to_dense(), a.transpose(0, 0), blocks(T).permute(1, 0, 3, 2).to_dense()],
    "dense order": lambda T, a: blocks(T).transpose(2, 3), "totals": lambda T, a: [T.sum(a), T.sum(a, 1), a.data.is_sparse],
    "mask": lambda T, a: a.to_dense().sparse_mask(a.coalesce()), "numpy": lambda T, a: a.numpy(), "item": lambda T, a: a.item(),
    "dense asked": lambda T, a: T.ones(2, 3).coalesce(), "dense indices": lambda T, a: T.ones(2).indices(),
    "shapes": lambda T, a: a @ T.ones(2, 2), "integers": lambda T, a: T.sparse_coo_tensor([[0, 1], [1, 0]], [1, 2])}


@pytest.mark.parametrize("name", WORDS)
def test_words(name):
    agrees(lambda T: WORDS[name](T, example(T)))


@pytest.mark.parametrize("f", [
    lambda T, a, x: T.sparse.mm(a, x).pow(2).sum(), lambda T, a, x: (a.coalesce().values() * T.tensor([1.0, 2.0, 3.0])).sum(),
    lambda T, a, x: (a.to_dense() * T.arange(6.0).reshape(2, 3)).sum(), lambda T, a, x: (x.t() @ a.t()).sum(),
    lambda T, a, x: T.sparse.softmax(a * 0.1, 1).to_dense()[1].pow(2).sum(), lambda T, a, x: (a.to_dense() @ x).sum(),
    lambda T, a, x: T.sparse.sum(a * 2, 1).to_dense().pow(2).sum(), lambda T, a, x: (a + a).coalesce().values().pow(2).sum(),
    lambda T, a, x: (T.sparse.mm(a, a.t()).to_dense() ** 2).sum()])
def test_gradients_of_values_and_matrix(f):
    def code(T):
        w, x = T.tensor(OF, requires_grad=True), T.arange(6.0).reshape(3, 2).requires_grad_()
        w.grad = x.grad = None
        f(T, T.sparse_coo_tensor(AT, w, (2, 3)), x).backward()
        return [w.grad, x.grad]
    agrees(code)


def test_leaves_have_sparse_gradients():
    def code(T):
        a = example(T, requires_grad=True)
        T.sparse.mm(a, T.arange(6.0).reshape(3, 2)).pow(2).sum().backward()
        return [a.grad, a.is_leaf, a.requires_grad]
    agrees(code)


def test_second_derivatives():
    at = ng.tensor([[0, 1, 1, 0], [2, 0, 2, 2]])

    def product(v, x):
        return ng.sparse.mm(ng.sparse_coo_tensor(at, v, (2, 3)), x).sin()

    def attention(v, x):
        return ng.sparse.mm(ng.sparse.softmax(ng.sparse_coo_tensor(at, v, (2, 3)), 1), x)
    ng.manual_seed(0)
    given = ng.randn(4, dtype=ng.float64, requires_grad=True), ng.randn(3, 2, dtype=ng.float64, requires_grad=True)
    for f in (product, attention):
        assert gradcheck(f, given) and gradgradcheck(f, given)


def test_other_peoples_functions_save_sparse_tensors():
    class Product(ng.autograd.Function):
        @staticmethod
        def forward(ctx, a, b):
            m = a * 2
            ctx.save_for_backward(m, b)
            return m @ b

        @staticmethod
        def backward(ctx, g):
            m, b = ctx.saved_tensors
            return None, m.t() @ g
    b = ng.ones(3, 2, requires_grad=True)
    Product.apply(example(ng), b).sum().backward()
    assert ng.equal(b.grad, 2 * example(ng).to_dense().sum(0)[:, None].expand(3, 2))


def embedded(T, optimizer, steps=4, **options):
    T.manual_seed(0)
    e = T.nn.Embedding(6, 2, padding_idx=0, sparse=True)
    T.nn.init.ones_(e.weight)
    o = optimizer(T)(e.parameters(), **options)
    for i in range(steps):
        o.zero_grad()
        e(T.tensor([[1, 2, 1], [i, 0, 4]])).pow(2).sum().backward()
        o.step()
    return [e.weight.grad, e.weight.grad.is_coalesced(), e.weight.detach()]


@pytest.mark.parametrize("options", [{}, {"momentum": 0.9}, {"momentum": 0.5, "nesterov": True}, {"maximize": True},
                                     {"weight_decay": 0.1}])
def test_sgd(options):
    agrees(lambda T: embedded(T, lambda T: T.optim.SGD, lr=0.1, **options))


@pytest.mark.parametrize("name, options", [("SparseAdam", {}), ("SparseAdam", {"maximize": True, "betas": (0.5, 0.9)}),
                                           ("Adagrad", {}), ("Adagrad", {"lr_decay": 0.1, "maximize": True}),
                                           ("Adagrad", {"weight_decay": 0.1}), ("Adam", {}), ("AdamW", {}), ("RMSprop", {}),
                                           ("Adadelta", {})])
def test_optimizers(name, options):
    agrees(lambda T: embedded(T, lambda T: getattr(T.optim, name), lr=0.1, **options))


def test_sparse_adam_keeps_its_state():
    def code(T):
        e = T.nn.Embedding(4, 2, sparse=True)
        T.nn.init.ones_(e.weight)
        o = T.optim.SparseAdam(e.parameters(), lr=0.1)
        e(T.tensor([1, 2, 1])).pow(2).sum().backward()
        o.step()
        return [o.state_dict()]
    agrees(code)

    def dense(T):
        p = T.nn.Parameter(T.ones(2))
        p.sum().backward()
        T.optim.SparseAdam([p]).step()
    agrees(dense)


def test_gradients_accumulate():
    def code(T):
        e = T.nn.Embedding(5, 2, sparse=True)
        said = []
        for i in ([1, 2, 1], [3], [1]):
            e(T.tensor(i)).sum().backward()
            said.append(str(e.weight.grad))
        e.zero_grad(set_to_none=False)
        said.append(e.weight.grad)
        e.weight.grad = None
        e.weight.sum().backward()
        e(T.tensor([2])).sum().backward()
        return [*said, e.weight.grad]
    agrees(code)


@pytest.mark.parametrize("options", [{"mode": "sum"}, {"mode": "mean"}, {"mode": "mean", "padding_idx": 1}, {"mode": "max"},
                                     {"mode": "sum", "scale_grad_by_freq": True}])
def test_bags(options):
    def code(T):
        b = T.nn.EmbeddingBag(5, 2, sparse=True, _weight=T.arange(10.0).reshape(5, 2), **options)
        y = b(T.tensor([1, 2, 4, 1]), T.tensor([0, 3]))
        y.pow(2).sum().backward()
        return [y, b.weight.grad.to_dense(), b.weight.grad.is_sparse]
    agrees(lambda T: [str(t).partition(", grad_fn")[0] for t in code(T)])


def test_weighted_bags():
    def code(T):
        w, scale = T.ones(5, 2, requires_grad=True), T.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
        T.nn.functional.embedding_bag(T.tensor([[1, 2], [2, 0]]), w, mode="sum", sparse=True,
                                      per_sample_weights=scale).pow(2).sum().backward()
        return [w.grad.to_dense(), scale.grad]
    agrees(code)


def test_many_sparse_gradients():
    """No plan is made of a backward that returns one."""
    e, at = ng.nn.Embedding(10, 2, sparse=True), ng.tensor([1, 2, 1])
    bag = ng.nn.EmbeddingBag(10, 2, sparse=True, mode="sum")
    optimizer = ng.optim.SparseAdam([*e.parameters(), *bag.parameters()])
    for _ in range(150):
        optimizer.zero_grad()
        (e(at).sum() + bag(at[None]).sum()).backward()
        optimizer.step()
    assert e.weight.grad._nnz() == bag.weight.grad._nnz() == 3 and optimizer.state[e.weight]["step"] == 150


def test_scaled_losses():
    def code(T):
        e = T.nn.Embedding(5, 2, sparse=True)
        T.nn.init.ones_(e.weight)
        o, s = T.optim.SGD(e.parameters(), 0.5), T.amp.GradScaler("cpu", 8.0)
        s.scale(e(T.tensor([1, 2, 1])).sum()).backward()
        s.step(o)
        s.update()
        return [e.weight.detach(), e.weight.grad]
    agrees(code)


def test_bad_coordinates_are_refused():
    for at, message in (([[0, 2], [0, 0]], "for dim 0, size is 2 but found index 2"),
                        ([[0, -1], [0, 0]], "found negative index -1")):
        with pytest.raises(RuntimeError, match=message):
            ng.sparse_coo_tensor(at, [1.0, 2.0], (2, 3))
    a = example(ng)
    a._indices()[0, 0] = 1000
    with pytest.raises(RuntimeError, match="lies outside"):
        a @ ng.ones(3, 2)
    with pytest.raises(RuntimeError, match="same dtype"):
        example(ng) @ ng.ones(3, 2, dtype=ng.float64)


@pytest.mark.parametrize("act", [
    lambda a: a.exp(), lambda a: ng.cumsum(a, 0), lambda a: a == a, lambda a: ng.layer_norm(a, (3,)), lambda a: ng.sort(a),
    lambda a: ng.linalg.inv(ng.eye(2).to_sparse()), lambda a: a.data_ptr(), lambda a: ng.max(a), lambda a: a.reshape(6),
    lambda a: ng.transpose(a, 0, 1), lambda a: ng.t(a), lambda a: ng.mean(a), lambda a: ng.ones(2, 3).copy_(a),
    lambda a: ng.where(a, a, a), lambda a: ng.compile(
        lambda x: x + 1)(a)])
def test_what_knows_no_sparse_tensors_says_so(act):
    for _ in range(2):
        with pytest.raises((NotImplementedError, RuntimeError, TypeError), match="(?i)sparse|to_dense|memory"):
            act(example(ng))


def test_many_calls():
    """The native function, plans and programs leave sparse arguments alone."""
    code = ("import numbagrad as ng\na, x = ng.eye(3).to_sparse(), ng.ones(3, 3)\n"
            "for i in range(400):\n"
            "    y = ng.mm(a, x) + a\n    z = a * 2 + a\n    w = ng.matmul(x, a)\n    u = ng.add(x, a, alpha=2.0)\n"
            "    x + x, ng.mm(x, x), ng.add(x, x, alpha=2.0)\n"
            "    try:\n        a.exp()\n    except NotImplementedError:\n        pass\n"
            "print(y.sum().item(), z.to_dense().sum().item(), w.sum().item(), u.sum().item())")
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split() == ["12.0", "9.0", "9.0", "15.0"]


def test_pickles_and_copies():
    a = example(ng, requires_grad=True)
    b = pickle.loads(pickle.dumps(a))
    assert repr(a) == repr(b) and b.is_leaf and type(b) is type(a)


def test_larger_matrices():
    rng = np.random.default_rng(0)
    dense = np.where(rng.random((300, 200)) < 0.05, rng.standard_normal((300, 200)), 0).astype(np.float32)
    x = rng.standard_normal((200, 64)).astype(np.float32)
    a = ng.from_numpy(dense).to_sparse()
    assert a._nnz() == np.count_nonzero(dense) and np.array_equal(a.to_dense().numpy(), dense)
    assert np.allclose((a @ ng.from_numpy(x)).numpy(), dense @ x, atol=1e-4)
    assert np.allclose((a @ a.t()).to_dense().numpy(), dense @ dense.T, atol=1e-4)
    g, = grad((a.requires_grad_() @ ng.from_numpy(x)).sum(), [a._of])
    assert np.allclose(g.numpy(), x.sum(1)[a._indices()[1].numpy()], atol=1e-4)
