"""Losses, softmax and normalization against PyTorch: every option, second derivatives, node names, errors, warnings."""

import warnings

import numpy as np
import pytest

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")

rng = np.random.default_rng(3)
X, Y = rng.standard_normal((4, 5)), rng.standard_normal((4, 5))
P, Q = rng.uniform(0.05, 0.95, (4, 5)), rng.uniform(0.05, 0.95, (4, 5))
LABELS = np.array([1, 4, 0, 4])
WEIGHT = np.array([0.5, 1.0, 2.0, 0.25, 1.5])
IMAGE, CLASSES = rng.standard_normal((2, 5, 3, 70)), rng.integers(0, 5, (2, 3, 70))


def compare(call, *arrays, names=True, rtol=1e-10):
    """Value, gradients and gradients of their squares for the float arrays; the name of the node."""
    results = []
    for lib in (ng, torch):
        leaves = [lib.tensor(a) for a in arrays]
        wanted = [t.requires_grad_() for t in leaves if t.is_floating_point()]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            y = call(lib, lib.nn.functional, *leaves)
        seed = lib.tensor(np.random.default_rng(5).standard_normal(tuple(y.shape)))
        plain = lib.autograd.grad(y, wanted, seed, allow_unused=True, retain_graph=True)
        recorded = lib.autograd.grad(y, wanted, seed, allow_unused=True, create_graph=True)
        found = [g for g in recorded if g is not None and g.requires_grad]
        second = lib.autograd.grad(sum((g * g).sum() for g in found), wanted, allow_unused=True) if found else []
        results.append((y.grad_fn.name(), [y.detach(), *plain, *[g if g is None else g.detach() for g in recorded], *second]))
    (name, ours), (expected_name, theirs) = results
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs):
        if a is None or b is None:
            rest = a if b is None else b
            assert rest is None or float(abs(rest).max()) == 0
        else:
            np.testing.assert_allclose(a.numpy(), b.numpy(force=True), rtol=rtol, atol=1e-12)
    if names:
        assert name == expected_name


REDUCTIONS = ["mean", "sum", "none"]


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name, arrays, options", [
    ("mse_loss", (X, Y), {}), ("l1_loss", (X, Y), {}), ("smooth_l1_loss", (X, Y), {"beta": 0.7}),
    ("huber_loss", (X, Y), {"delta": 0.7}), ("binary_cross_entropy", (P, Q), {}),
    ("binary_cross_entropy_with_logits", (X, Q), {}), ("kl_div", (X, Q), {}), ("kl_div", (X, Y), {"log_target": True}),
    ("poisson_nll_loss", (X, P), {"full": True}), ("poisson_nll_loss", (P, Q), {"log_input": False}),
    ("gaussian_nll_loss", (X, Y, P), {"full": True}), ("gaussian_nll_loss", (X, Y, P[:, :1]), {})])
def test_pointwise_losses(name, arrays, options, reduction):
    # PyTorch adds 1e-12 to denominators in the second derivative of binary_cross_entropy.
    compare(lambda lib, F, *t: getattr(F, name)(*t, reduction=reduction, **options), *arrays,
            rtol=1e-8 if name == "binary_cross_entropy" else 1e-10)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_losses_with_constant_targets(reduction):
    def signs(lib):
        return lib.tensor(np.sign(Y))
    compare(lambda lib, F, x: F.soft_margin_loss(x, signs(lib), reduction=reduction), X)
    compare(lambda lib, F, x: F.hinge_embedding_loss(x, signs(lib), 0.6, reduction=reduction), X)
    compare(lambda lib, F, a, b: F.margin_ranking_loss(a, b, signs(lib), 0.3, reduction=reduction), X, Y)
    compare(lambda lib, F, a, b: F.cosine_embedding_loss(a, b, signs(lib)[:, 0], 0.1, reduction=reduction), X, Y)
    compare(lambda lib, F, a, b, c: F.triplet_margin_loss(a, b, c, swap=True, reduction=reduction), X, Y, P)
    compare(lambda lib, F, x: F.binary_cross_entropy(x, lib.tensor(Q), lib.tensor(WEIGHT), reduction=reduction), P, rtol=1e-8)
    compare(lambda lib, F, x: F.binary_cross_entropy_with_logits(x, lib.tensor(Q), lib.tensor(WEIGHT), reduction=reduction,
                                                                 pos_weight=lib.tensor(WEIGHT)), X)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
@pytest.mark.parametrize("options", [{}, {"ignore_index": 4}, {"weight": WEIGHT}, {"label_smoothing": 0.3},
                                     {"weight": WEIGHT, "ignore_index": 0, "label_smoothing": 0.2}])
def test_class_losses(name, options, reduction):
    if name == "nll_loss" and "label_smoothing" in options:
        pytest.skip("nll_loss has no label smoothing")

    def call(lib, F, x, t):
        more = {k: lib.tensor(v) if k == "weight" else v for k, v in options.items()}
        return getattr(F, name)(x, t, reduction=reduction, **more)
    compare(call, X, LABELS)
    compare(call, IMAGE, CLASSES)
    compare(call, IMAGE[:, :, :, 0], CLASSES[:, :, 0])
    compare(call, X[0], np.array(2))


def test_cross_entropy_with_probabilities():
    compare(lambda lib, F, x, t: F.cross_entropy(x, t, lib.tensor(WEIGHT), reduction="sum", label_smoothing=0.1), X, P)


@pytest.mark.parametrize("weight", [np.inf, -np.inf, np.nan])
def test_weights_that_are_not_finite_concern_their_class_alone(weight):
    """In the recorded gradient too."""
    x = ng.tensor(X, requires_grad=True)
    weights = ng.tensor([*WEIGHT[:4], weight])
    y = ng.nn.functional.cross_entropy(x, ng.tensor(LABELS), weights, reduction="none").sum()
    plain, = ng.autograd.grad(y, x, retain_graph=True)
    recorded, = ng.autograd.grad(y, x, create_graph=True)
    np.testing.assert_allclose(recorded.detach().numpy(), plain.numpy(), rtol=1e-12)
    assert np.isfinite(plain.numpy()).all(1).tolist() == (LABELS != 4).tolist()


def test_cross_entropy_of_large_scores_keeps_its_digits():
    x = ng.tensor(np.float32([[1000.0, 1001.0, 999.0]]), requires_grad=True)
    ng.nn.functional.cross_entropy(x, ng.tensor([0])).backward()
    e = np.exp([-1.0, 0.0, -2.0])
    np.testing.assert_allclose(x.grad.numpy()[0], e / e.sum() - [1, 0, 0], rtol=1e-6)


def failures(lib):
    F, x, image = lib.nn.functional, lib.tensor(X), lib.tensor(IMAGE)
    t, p, y = lib.tensor(LABELS), lib.tensor(P), lib.tensor(Y)
    return [
        lambda: F.cross_entropy(x, lib.tensor([1, 2, 3, 7])), lambda: F.cross_entropy(x, lib.tensor([1, 2, 3, -1])),
        lambda: F.nll_loss(x, lib.tensor([1, 2, 3, 5])), lambda: F.cross_entropy(x, lib.tensor([1, 2, 3])),
        lambda: F.cross_entropy(x, lib.tensor([1.0, 2.0, 3.0, 4.0])), lambda: F.cross_entropy(x, t, lib.tensor(WEIGHT[:3])),
        lambda: F.cross_entropy(image, t), lambda: F.cross_entropy(x, t, reduction="foo"),
        lambda: F.cross_entropy(x, t, label_smoothing=2.0), lambda: F.mse_loss(x, y, reduction="foo"),
        lambda: F.binary_cross_entropy(x, p), lambda: F.binary_cross_entropy(p, x),
        lambda: F.binary_cross_entropy(p, p[0]), lambda: F.binary_cross_entropy_with_logits(x, p[0]),
        lambda: F.smooth_l1_loss(x, y, beta=-1.0), lambda: F.huber_loss(x, y, delta=0.0),
        lambda: F.gaussian_nll_loss(x, y, y), lambda: F.batch_norm(x[:1], None, None, training=True),
        lambda: F.batch_norm(x, None, None), lambda: F.batch_norm(x, lib.tensor(WEIGHT[:3]), lib.tensor(WEIGHT)),
        lambda: F.layer_norm(x, (4,)), lambda: F.layer_norm(x, (5,), lib.tensor(WEIGHT[:3])),
        lambda: F.group_norm(x, 2), lambda: F.softmax(t, 0), lambda: F.softmax(x, 2)]


@pytest.mark.parametrize("k", range(len(failures(ng))))
def test_errors_are_torchs(k):
    with pytest.raises(Exception) as theirs:
        failures(torch)[k]()
    with pytest.raises(type(theirs.value)) as ours:
        failures(ng)[k]()
    assert str(ours.value) == str(theirs.value)


def test_warnings():
    F = ng.nn.functional
    with pytest.warns(UserWarning, match=r"Using a target size \(torch.Size\(\[5\]\)\) that is different to the input size"):
        F.mse_loss(ng.tensor(X), ng.tensor(X[0]))
    with pytest.warns(UserWarning, match="please use reduction='sum' instead"):
        assert F.mse_loss(ng.tensor(X), ng.tensor(Y), size_average=False).item() == pytest.approx(((X - Y) ** 2).sum())
    with pytest.warns(UserWarning, match="Implicit dimension choice for softmax"):
        F.softmax(ng.tensor(X))


@pytest.mark.parametrize("shape, dim", [((3, 4), 1), ((3, 4), 0), ((2, 3, 70), 1), ((2, 300), 1), ((), 0)])
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "softmin"])
def test_softmax(name, shape, dim):
    compare(lambda lib, F, x: getattr(F, name)(x, dim), np.asarray(rng.standard_normal(shape)))


@pytest.mark.parametrize("shape", [(6, 5), (4, 5, 3), (2, 5, 3, 4), (3, 600)])
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm(shape, training):
    channels = shape[1]
    mean, var = rng.standard_normal(channels), rng.uniform(0.5, 2.0, channels)
    kept = []

    def call(lib, F, x, w, b):
        kept.append((lib.tensor(mean), lib.tensor(var)))
        return F.batch_norm(x, *kept[-1], w, b, training, 0.2, 1e-3)
    compare(call, rng.standard_normal(shape), rng.standard_normal(channels), rng.standard_normal(channels))
    for ours, theirs in zip(*kept):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-12)


@pytest.mark.parametrize("affine", [True, False])
def test_other_norms(affine):
    image, w3, w4 = rng.standard_normal((2, 6, 3, 4)), rng.standard_normal(6), rng.standard_normal((3, 4))
    extra = [w3, w3 + 1] if affine else []
    compare(lambda lib, F, x, *wb: F.group_norm(x, 3, *wb), image, *extra)
    compare(lambda lib, F, x, *wb: F.instance_norm(x, None, None, *wb), image, *extra)
    compare(lambda lib, F, x, *wb: F.layer_norm(x, (3, 4), *wb), image, *([w4, w4 + 1] if affine else []))
    compare(lambda lib, F, x, *wb: F.rms_norm(x, (3, 4), *wb), image, *([w4] if affine else []))
    compare(lambda lib, F, x: F.local_response_norm(x, 3, 0.1), image)
    compare(lambda lib, F, x: F.normalize(x, 3.0, 1), image)
    compare(lambda lib, F, x, y: F.cosine_similarity(x, y, 0), X, Y)
    compare(lambda lib, F, x, y: F.pairwise_distance(x, y), X, Y)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_types_compute_in_float32(dtype):
    x = ng.tensor(X.astype(np.float32)).to(getattr(ng, dtype))
    wide = x.float()
    F = ng.nn.functional
    for call in (lambda t: F.softmax(t, 1), lambda t: F.layer_norm(t, (5,)), lambda t: t.logsumexp(1), lambda t: t.std(1),
                 lambda t: F.cross_entropy(t, ng.tensor(LABELS)), lambda t: F.mse_loss(t, t * 0)):
        got, expected = call(x), call(wide)
        assert got.dtype is getattr(ng, dtype)
        assert bool((got == expected.to(got.dtype)).all())


CONSTANTS = {
    "nll_loss_forward": lambda F, L, w: F.nll_loss(L.ones(2, 3), L.tensor([0, 1]), w),
    "nll_loss2d_forward": lambda F, L, w: F.cross_entropy(L.ones(2, 3, 4), L.zeros(2, 4).long(), w, label_smoothing=0.1),
    "multi_margin_loss": lambda F, L, w: F.multi_margin_loss(L.ones(2, 3), L.tensor([0, 1]), weight=w),
    "running_mean": lambda F, L, w: F.batch_norm(L.ones(2, 3), w, L.ones(3)),
    "running_var": lambda F, L, w: F.instance_norm(L.ones(2, 3, 4), L.zeros(3), w),
}


@pytest.mark.parametrize("name", CONSTANTS)
def test_weights_and_statistics_without_a_gradient_are_refused(torch, name):
    texts = []
    for library in (ng, torch):
        with pytest.raises(RuntimeError, match=f"not differentiable with respect to .*{name}|{name}.* is not diff") as caught:
            CONSTANTS[name](library.nn.functional, library, library.ones(3, requires_grad=True))
        texts.append(str(caught.value))
        with library.no_grad():
            CONSTANTS[name](library.nn.functional, library, library.ones(3, requires_grad=True))
    assert texts[0] == texts[1]


FLOATING = ("float16", "bfloat16", "float32", "float64")
MIXED = {
    "huber_loss": lambda F, a, b, c: F.huber_loss(a, b),
    "hinge_embedding_loss": lambda F, a, b, c: F.hinge_embedding_loss(a, b.sign()),
    "soft_margin_loss": lambda F, a, b, c: F.soft_margin_loss(a, b, reduction="none"),
    "logits": lambda F, a, b, c: F.binary_cross_entropy_with_logits(a, b),
    "weighted logits": lambda F, a, b, c: F.binary_cross_entropy_with_logits(a, b, c, reduction="none"),
    "logits of positives": lambda F, a, b, c: F.binary_cross_entropy_with_logits(a, b, pos_weight=c),
    "mse_loss": lambda F, a, b, c: F.mse_loss(a, b), "l1_loss": lambda F, a, b, c: F.l1_loss(a, b),
    "smooth_l1_loss": lambda F, a, b, c: F.smooth_l1_loss(a, b)}


def outcome(call, library, types):
    """The dtype and values of a loss of tensors of three dtypes, or the kind of its error."""
    x = [library.tensor(a).to(getattr(library, d)) for a, d in zip((X, Y, P), types)]
    try:
        y = call(library.nn.functional, *x)
    except (RuntimeError, NotImplementedError) as e:
        return type(e).__name__, None
    return str(y.dtype), y.double().numpy()


@pytest.mark.parametrize("name", MIXED)
def test_dtype_of_a_loss_of_two_dtypes(name):
    cases = [(a, b, c) for a in FLOATING for b in FLOATING for c in ("float32", "float64")]
    cases += [(a, b, "float32") for a in ("int64", "bool", "float32") for b in ("int64", "bool", "float32") if a != b]
    for types in cases:
        (ours, a), (theirs, b) = (outcome(MIXED[name], library, types) for library in (ng, torch))
        if ours != theirs and a is None:
            continue  # refused where PyTorch computes something
        assert ours == theirs, types
        if a is not None:
            half = {"bfloat16": 2e-2, "float16": 3e-3, "float32": 1e-6}
            rtol = max(half.get(d, 1e-7) for d in types)
            np.testing.assert_allclose(a, b, rtol, rtol * np.abs(b).max(), err_msg=str(types))


PAIRS = ("l1_loss", "mse_loss", "smooth_l1_loss", "huber_loss", "kl_div", "poisson_nll_loss", "gaussian_nll_loss",
         "soft_margin_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits", "hinge_embedding_loss")


@pytest.mark.parametrize("reduction", ["sum", "none"])
@pytest.mark.parametrize("name", PAIRS)
def test_mixed_dtypes(name, reduction):
    """The dtype of the result, or that it is refused (hinge_embedding_loss of integers is not there)."""
    for first in ("float32", "float64", "float16", "bool", "int64"):
        for second in ("float32", "float64", "float16", "bool", "int64"):
            if first == "int64" and name == "hinge_embedding_loss":
                continue
            said = []
            for lib in (torch, ng):
                a, b = (lib.tensor([0.25, 1.0, 0.5]).to(getattr(lib, d)) for d in (first, second))
                try:
                    t = getattr(lib.nn.functional, name)(a, b, *[b] * (name == "gaussian_nll_loss"), reduction=reduction)
                    said.append((str(t.dtype).rpartition(".")[2], np.round(t.double().numpy(), 2).tolist()))
                except RuntimeError:  # of which NotImplementedError is one
                    said.append("refused")
            assert said[0] == said[1], (first, second)


def test_variances_of_gaussian_nll_loss():
    x, y = X[:, :3], Y[:, :3]
    for var in (0.5, np.float64(0.5), P[:, :1], P[:1, :3], P[:, :3], P[:, 0]):
        ours, theirs = (lib.nn.functional.gaussian_nll_loss(lib.tensor(x), lib.tensor(y), lib.tensor(var) if np.ndim(var)
                                                            else var) for lib in (ng, torch))
        assert ours.item() == pytest.approx(theirs.item(), rel=1e-12)
    with pytest.raises(TypeError, match="argument 'var'"):
        ng.nn.functional.gaussian_nll_loss(ng.tensor(x), ng.tensor(y), "x")


def test_many_labels_are_summed_without_loss():
    """A row of 4,000 labels has 16 million terms, of whose sum float32 holds no single ones."""
    rng = np.random.default_rng(0)
    x, target = rng.standard_normal((1, 8000)), rng.permutation(8000)[None]
    target[:, 4000:] = -1
    loss = ng.nn.functional.multilabel_margin_loss
    found, wanted = (loss(ng.tensor(x.astype(d)), ng.tensor(target)).item() for d in ("f4", "f8"))
    assert abs(found - wanted) < 1e-5 * wanted
