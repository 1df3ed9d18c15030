"""In-place operations: on leaves, on views, through views, the version check, and random programs against PyTorch."""

import random

import numpy as np
import pytest
from parity import agrees, said
from parity import torch as oracle

import numbagrad as ng


def leaf(T, *values):
    return T.tensor(list(values), requires_grad=True)


# --- what may be written ----------------------------------------------------------------------------------------------

def change(view):
    """In-place change of a view of a non-leaf, a leaf, and a tensor without grad."""
    def code(T):
        x = leaf(T, 1., 2., 3., 4.)
        return view(T, x * 1)
    return code


FORBIDDEN = [
    lambda T: leaf(T, 1.).add_(1),
    lambda T: leaf(T, 1., 2.)[0].add_(1),
    lambda T: leaf(T, 1., 2.).__setitem__(0, 3.),
    lambda T: leaf(T, 1., 2.).zero_(),
    lambda T: leaf(T, 1., 2.).copy_(T.ones(2)),
    lambda T: leaf(T, 1., 2.).view(2, 1).exp_(),
    lambda T: T.zeros(3)[0].requires_grad_().mul_(2),
    lambda T: leaf(T, 1., 2.).unbind(0)[1].mul_(2),
    lambda T: (leaf(T, 1., 2.) * 2).unbind(0)[1].mul_(2),
    lambda T: (leaf(T, 1., 2.) * 2).chunk(2)[1].mul_(2),
    lambda T: (leaf(T, 1., 2.) * 2).split(1)[0].mul_(2),
    lambda T: T.zeros(1).expand(3).add_(1),
    lambda T: T.arange(6.)[1:].add_(T.arange(6.)[:-1]) and T.ones(2).add_(T.ones(3)),
    lambda T: T.ones(2).add_(T.ones(2, 2)),
    lambda T: T.ones(2, dtype=T.int64).add_(0.5),
    lambda T: T.ones(2, dtype=T.int64).mul_(T.ones(2)),
    lambda T: T.ones(2).copy_(T.ones(3)),
    lambda T: T.ones(2).fill_(T.ones(2)),
]


@pytest.mark.parametrize("code", FORBIDDEN)
def test_forbidden(code):
    ours = said(ng, code)
    assert ours.startswith("RuntimeError: ")
    if oracle():
        theirs = said(oracle(), code)
        # Where shapes do not fit, ours adds the operation.
        assert ours.split(" (in ")[0].split(" at non-singleton")[0] == theirs.split(" at non-singleton")[0]


def test_overlapping_memory():
    def code(T):
        a = T.arange(6.)
        a[::2].add_(a[1::2])
        return a, a.add_(a), a[1:].add_(a[:-1])
    text = agrees(code)
    assert "some elements of the input tensor and the written-to tensor refer to a single memory location" in text


@pytest.mark.parametrize("mode", ["no_grad", "inference_mode"])
def test_views_made_without_recording(mode):
    def code(T):
        base = leaf(T, 1., 2.) * 1
        with getattr(T, mode)():
            view = base[0]
        view.mul_(2)
    assert f"inside the {mode} block" in agrees(code)

    def with_grad(T):
        base = T.zeros(3)
        with getattr(T, mode)():
            view = base[0]
        view.mul_(3)
        view.mul_(leaf(T, 2.)[0])
    assert f"inside the {mode} block" in agrees(with_grad)


def test_nothing_changes_before_the_check():
    x = leaf(ng, 1., 2.)
    for attempt in (lambda: x.add_(1), lambda: x[0].add_(1), lambda: x.fill_(7), lambda: x.copy_(ng.zeros(2)),
                    lambda: x.__setitem__(0, 5.)):
        with pytest.raises(RuntimeError):
            attempt()
    assert x.tolist() == [1., 2.] and x._version == 0
    a = ng.ones(2, dtype=ng.int64)
    with pytest.raises(RuntimeError, match="result type Float can't be cast to the desired output type Long"):
        a.add_(0.5)
    assert a.tolist() == [1, 1] and a._version == 0


def test_no_grad_allows_leaves():
    def code(T):
        x = leaf(T, 1., 2.)
        with T.no_grad():
            x.mul_(3)
            x[0] = 7
            x[1:].add_(1)
        (x * x).sum().backward()
        return x, x.is_leaf, x.grad, x._version
    agrees(code, "(tensor([7., 7.], requires_grad=True), True, tensor([14., 14.]), 3)")


# --- gradients --------------------------------------------------------------------------------------------------------

PROGRAMS = [
    lambda T, x: x.mul_(x.clone()),
    lambda T, x: x.exp_(),
    lambda T, x: x.mul_(2).add_(1).pow_(3),
    lambda T, x: x[0].mul_(5),
    lambda T, x: x[0][1:].exp_(),
    lambda T, x: x.t()[1].mul_(x[:, 0].clone()),
    lambda T, x: x.view(-1)[2:].sin_(),
    lambda T, x: x[1].zero_(),
    lambda T, x: x[1].fill_(3.),
    lambda T, x: x[1].copy_(x[0] * 2),
    lambda T, x: x.__setitem__((slice(None), 0), x[:, 1] + x[:, 2] * 2),
    lambda T, x: x.__setitem__(x > 1, 0.5),
    lambda T, x: x.diagonal().mul_(3),
    lambda T, x: x.unsqueeze(0)[0, 1].add_(x[0].clone()),
    lambda T, x: x.transpose(0, 1).view_as(x.t())[0].sigmoid_(),
    lambda T, x: x.clamp_(0.6, 1.2),
    lambda T, x: x[0].clamp_(min=1.),
    lambda T, x: x.transpose_(0, 1).mul_(2),
    lambda T, x: x.relu_(),
    lambda T, x: x[0].softmax(0).mul_(2),
]


@pytest.mark.parametrize("change", PROGRAMS)
@pytest.mark.parametrize("order", [1, 2])
def test_gradients_of_in_place_programs(change, order):
    start = np.random.default_rng(0).uniform(0.5, 1.5, (2, 3))

    def loss(T, x):
        y = x * 1.5
        early = y[0] * 1  # reads the value before the change
        view = y.view(-1)
        change(T, y)
        return (y * y).sum() + view[1] * 3 + (view * view * view).sum() + early.sum()

    def gradient(x):
        if order == 1:
            g, = ng.autograd.grad(loss(ng, x), x)
            return g
        g, = ng.autograd.grad(loss(ng, x), x, create_graph=True)
        return ng.autograd.grad((g * g).sum(), x)[0]

    def value(a):
        x = ng.tensor(a, requires_grad=True)
        if order == 1:
            return loss(ng, x).item()
        g, = ng.autograd.grad(loss(ng, x), x)
        return (g * g).sum().item()
    got = gradient(ng.tensor(start, requires_grad=True)).numpy()
    for k in np.ndindex(start.shape):
        ends = []
        for h in (1e-6, -1e-6):
            a = start.copy()
            a[k] += h
            ends.append(value(a))
        assert got[k] == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-6, abs=1e-6)  # the differences' own error


def test_views_follow_their_base():
    def code(T):
        x = leaf(T, 1., 2., 3.)
        base = x * 1
        a, b = base[0], base[1:]
        deep = b[1:]
        base.mul_(T.tensor([2., 3., 4.]))
        out = [a.grad_fn, deep, b.is_leaf]
        (a * 10 + deep.sum() * 100).backward()
        return [*out, x.grad]
    agrees(code, "<AsStridedBackward0 object at 0x>\ntensor([12.], grad_fn=<AsStridedBackward0>)\nFalse\n"
                 "tensor([ 20.,   0., 400.])")


def test_history_through_a_view_of_a_plain_tensor():
    def code(T):
        w, out = leaf(T, 1., 2.), T.zeros(2, 2)
        row = out[0]
        for i in range(2):
            out[i] = w * (i + 1)
        assert row.grad_fn is not None  # only now does PyTorch notice that its base has a history
        row.mul_(3)
        out.sum().backward()
        return out, row, w.grad, out.requires_grad
    agrees(code)


def test_expanded_view_sums_its_gradient():
    def code(T):
        x = leaf(T, 1., 2.)
        base = x * 1
        wide = base.expand(3, 2)
        base.mul_(2)
        wide.sum().backward()
        return x.grad
    agrees(code, "tensor([6., 6.])")


def test_noncontiguous_base():
    def code(T):
        a = T.from_numpy(np.arange(6, dtype=np.float32).reshape(2, 3).T)
        w = leaf(T, 2., 3.)
        a[1].mul_(w)
        (a * a).sum().backward()
        return a, w.grad, a.stride()
    agrees(code)


def test_real_and_imaginary_parts():
    def code(T):
        z = T.tensor([1 + 2j, 3 - 1j], requires_grad=True)
        y = z * 2
        y.real.mul_(3)
        y.imag[0].zero_()
        (y * y.conj()).real.sum().backward()
        r = T.tensor([[1., 2.], [3., 4.]], requires_grad=True)
        c = T.view_as_complex(r * 1)
        T.view_as_real(c)[0].mul_(5)
        (c * c).real.sum().backward()
        return y, z.grad, r.grad
    agrees(code)


def test_copy_and_fill():
    def code(T):
        x, s = leaf(T, 1., 2.), T.tensor(3., dtype=T.double, requires_grad=True)
        y = T.zeros(2, 2, dtype=T.double)
        y.copy_(x)
        z = T.ones(2).fill_(s)
        (y.sum() + (z * z).sum()).backward()
        return y, z, x.grad, s.grad
    agrees(code)


def test_in_place_on_a_tensor_used_before():
    def code(T):
        x = leaf(T, 1., 2.)
        y = x * 1
        z = y + 1
        y.mul_(5)
        (z * z + y).sum().backward()
        return x.grad
    agrees(code, "tensor([ 9., 11.])")


# --- versions ---------------------------------------------------------------------------------------------------------

STALE = [
    (lambda T, x: ((v := x.sin()), (w := v * v), v.add_(1), w), "MulBackward0", "self"),
    (lambda T, x: ((w := x.exp()), w.add_(1), w), "ExpBackward0", "result"),
    (lambda T, x: ((v := T.ones(2)), (w := v * x), v.add_(1), w), "MulBackward0", "self"),
    (lambda T, x: ((v := x * 1), (w := v.sin()), v[0].add_(1), w), "SinBackward0", "self"),
    (lambda T, x: ((v := x * 1), (w := v[1:].sin()), v.add_(1), w), "SinBackward0", "self"),
    (lambda T, x: ((v := x * 1), (w := v.sin()), v.detach().add_(1), w), "SinBackward0", "self"),
    (lambda T, x: ((v := T.ones(2)), (w := x / v), v.zero_(), w), "DivBackward0", "other"),
    (lambda T, x: ((v := T.ones(2, 2)), (w := T.mv(v, x)), v.__setitem__((0, 0), 4.), w), None, None),
]


@pytest.mark.parametrize("code, node, name", STALE)
def test_modified_saved_tensors(code, node, name):
    def run(T):
        code(T, leaf(T, 1., 2.))[-1].sum().backward()
    ours = said(ng, run)
    assert "modified by an inplace operation: [torch.FloatTensor" in ours and "test_inplace.py:" in ours
    if node:
        assert f"The tensor was saved by {node} as '{name}' and modified at" in ours
    if oracle():
        theirs = said(oracle(), run)
        head, _, rest = ours.partition(" The tensor was saved")
        assert theirs == head + " Hint:" + rest.partition(" Hint:")[2]


def test_data_bypasses_the_check():
    def code(T):
        x = leaf(T, 1., 2.)
        y = x.exp()
        y.data.mul_(2)
        y.sum().backward()
        return x.grad
    agrees(code, "tensor([ 5.4366, 14.7781])")


def test_unneeded_tensors_may_change():
    def code(T):
        x = leaf(T, 1., 2.)
        y = x * 2
        z = y + T.ones(2)
        y.zero_()
        z.sum().backward()
        return x.grad
    agrees(code, "tensor([2., 2.])")


# --- random programs --------------------------------------------------------------------------------------------------

KINDS = ("unary", "binary", "view", "change", "change with", "copy", "set", "fill", "change", "view", "detached",
         "deep view")


def view_of(t, k):
    views = [lambda: t[0] if t.dim() else t, lambda: t[..., 1:] if t.dim() and t.shape[-1] > 1 else t,
             lambda: t.transpose(0, -1) if t.dim() > 1 else t, lambda: t.view_as(t), lambda: t[::2] if t.dim() else t,
             lambda: t.unsqueeze(0), lambda: t.diagonal() if t.dim() == 2 else t]
    return views[k % len(views)]()


def step(T, pool, kind, a, b, k):
    t, u = pool[a % len(pool)], pool[b % len(pool)]
    if kind == "unary":
        pool.append([t.sin, t.exp, t.tanh, lambda: t * 2, lambda: t**2, t.sigmoid][k % 6]())
    elif kind == "binary" and t.shape == u.shape:
        pool.append(t * u if k % 2 else t + u)
    elif kind == "view":
        pool.append(view_of(t, k))
    elif kind == "deep view":
        pool.append(view_of(view_of(t, k), b))
    elif kind == "change":
        [lambda: t.mul_(2), t.sin_, t.exp_, lambda: t.add_(1), t.sigmoid_, lambda: t.pow_(2), t.tanh_,
         lambda: t.clamp_(0.6, 1.2)][k % 8]()
    elif kind == "change with" and t.shape == u.shape and t is not u:
        (t.mul_ if k % 2 else t.add_)(u)
    elif kind == "copy" and t.shape == u.shape:
        t.copy_(u)
    elif kind == "set" and t.dim():
        t[k % t.shape[0]] = 0.7 if k % 3 else (u.sum() if u is not t else 0.3)
    elif kind == "fill":
        t.fill_(0.8) if k % 2 else t.zero_()
    elif kind == "detached":
        t.detach().mul_(1.1)


def random_program(T, seed, order):
    """What each step says, the state afterwards, and gradients of a sum over everything that was made."""
    draw, rng = random.Random(seed), np.random.default_rng(seed)
    x, w, c = (T.tensor(rng.uniform(0.5, 1.5, (3, 4)), requires_grad=r) for r in (True, True, False))
    pool, log = [x, w, c, x * 1.5, w.sin(), c.clone()], []
    for _ in range(draw.randint(2, 9)):
        kind = draw.choice(KINDS)
        # PyTorch remakes the history of a view when asked for it, and only then sees it in its checks.
        [t.grad_fn for t in pool]
        try:
            step(T, pool, kind, *(draw.randrange(10**6) for _ in range(3)))
            log.append("fine")
        except RuntimeError as e:
            log.append(str(e)[:60])
    state = [(t.requires_grad, t._version, t.detach().numpy().copy()) for t in pool]
    loss = sum((t * t).sum() for t in pool[3:] if t.requires_grad)
    try:
        if order == 1:
            loss.backward()
            grads = [x.grad, w.grad]
        else:
            first = T.autograd.grad(loss, [x, w], create_graph=True, allow_unused=True)
            total = sum((g * g).sum() for g in first if g is not None and g.requires_grad)
            grads = T.autograd.grad(total, [x, w], allow_unused=True) if T.is_tensor(total) else []
    except RuntimeError as e:
        return log, state, str(e)[:60]
    return log, state, [None if g is None else g.detach().numpy().copy() for g in grads]


@pytest.mark.parametrize("order", [1, 2])
def test_random_programs(order):
    if oracle() is None:
        pytest.skip("PyTorch is the oracle here")
    finished = 0
    for seed in range(60):
        ours, theirs = random_program(ng, seed, order), random_program(oracle(), seed, order)
        assert ours[0] == theirs[0], seed
        for a, b in zip(ours[1], theirs[1]):
            assert a[:2] == b[:2], seed
            np.testing.assert_allclose(a[2], b[2], rtol=1e-12, err_msg=str(seed))
        assert isinstance(ours[2], str) == isinstance(theirs[2], str), (seed, ours[2], theirs[2])
        if isinstance(ours[2], str):
            assert ours[2] == theirs[2], seed
            continue
        finished += 1
        for a, b in zip(ours[2], theirs[2]):
            assert (a is None) == (b is None), seed
            if a is not None:
                np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12, err_msg=str(seed))
    assert finished > 30


def test_in_place_functions_of_the_module():
    def run(lib):
        x = lib.tensor([0.25, 0.5])
        return [f(x) is x for f in (lib.sigmoid_, lib.exp_, lib.neg_, lib.abs_, lib.sqrt_, lib.zero_)] + [x.tolist()]
    assert run(ng) == [True] * 6 + [[0.0, 0.0]]
    assert run(pytest.importorskip("torch", reason="PyTorch is the oracle here")) == run(ng)


@pytest.mark.parametrize("dtype", ("float32", "float16", "bfloat16", "complex64", "int64", "bool"))
def test_zero_of_all_layouts(dtype):
    dtype = getattr(ng, dtype)
    for shape, cut in (((3, 4), None), ((), None), ((0, 3), None), ((6, 4), slice(None, None, 2)), ((70, 70), None)):
        whole = ng.ones(shape, dtype=dtype)
        t = whole if cut is None else whole[:, cut]
        version = whole._version
        assert t.zero_() is t and not t.any() and t._version == version + 1
        assert whole.sum().item() == whole.numel() - t.numel()


def test_zero_is_refused_and_recorded_like_other_changes():
    leaf = ng.ones(3, requires_grad=True)
    with pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
        leaf.zero_()
    with ng.no_grad():
        leaf.zero_()
    y = ng.ones(3, requires_grad=True) * 2
    assert y.zero_().grad_fn.name() == "ZeroBackward0"
    kept = ng.ones(3)
    z = (ng.ones(3, requires_grad=True) * kept).sum()
    kept.zero_()
    with pytest.raises(RuntimeError, match=r"modified at .*test_inplace.py:\d+"):
        z.backward()
    with ng.inference_mode():
        assert ng.ones(3).zero_().is_inference()


def test_zero_of_views():
    """Row-major views are cleared as memory is, unless what they are views of has a history: then it is told."""
    x = ng.ones(4, 3)
    row, flat, column, again = x[1], x.view(-1), x[:, 1], x.detach()
    assert row.zero_() is row and x.tolist() == [[1.0] * 3, [0.0] * 3, [1.0] * 3, [1.0] * 3]
    assert column.zero_() is column and again.tolist()[3] == [1.0, 0.0, 1.0]
    assert flat[9:].zero_().tolist() == [0.0] * 3 and again.tolist()[3] == [0.0] * 3
    assert [t._version for t in (x, row, flat, column)] == [3] * 4
    leaf = ng.ones(2, 3, requires_grad=True)
    made = leaf * 2
    made[0].zero_()
    made.sum().backward()
    assert leaf.grad.tolist() == [[0.0] * 3, [2.0] * 3]
    with pytest.raises(RuntimeError, match="view of a leaf Variable that requires grad"):
        leaf[0].zero_()
    with ng.no_grad():
        leaf[0].zero_()
    leaf.detach()[1:].zero_()
    assert not leaf.any() and leaf._version == 2
    saved = ng.ones(3, requires_grad=True)
    given = ng.ones(3)
    y = saved * given
    given[:2].zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
