"""Calls that fuzzing found, as text that both libraries run: the same values, or exceptions of the same type."""

import warnings

import numpy as np
import pytest

import numbagrad as ng

torch = pytest.importorskip("torch")


def outcome(library, text):
    """The value of the last line of ``text``, printed, or the type of what it raised."""
    *before, last = [line.strip() for line in text.split(";")]
    names = {"L": library, "F": library.nn.functional, "nan": float("nan"), "inf": float("inf")}
    library.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            exec("\n".join(before), names)
            value = str(eval(last, names))
        except Exception as error:
            return f"{type(error).__name__.lstrip('_')}"
    return value.replace("torch.", "").replace("numbagrad.", "")


def alike(text):
    ours, theirs = outcome(ng, text), outcome(torch, text)
    assert ours == theirs, f"{text}\nnumbagrad: {ours}\nPyTorch: {theirs}"
    return ours


POOLS = [(n, shape) for n, shapes in {
    1: ((2, 3, 0), (2, 0, 3), (0, 2, 3), (3, 0), (0, 3)),
    2: ((2, 3, 0, 4), (2, 0, 3, 4), (0, 2, 3, 4), (3, 4, 0), (0, 3, 4), (0, 4, 4, 0)),
    3: ((2, 3, 0, 4, 4), (0, 3, 4, 4, 4), (2, 0, 4, 4, 4), (3, 0, 4, 4))}.items() for shape in shapes]


@pytest.mark.parametrize(("n", "shape"), POOLS)
def test_adaptive_pools_of_empty_inputs(n, shape):
    for kind in ("max", "avg"):
        for size in (0, 1, 2):
            alike(f"F.adaptive_{kind}_pool{n}d(L.ones({shape}), {size}).tolist()")


@pytest.mark.parametrize("n", [1, 2, 3])
def test_output_sizes_of_adaptive_pools(n):
    for size in ("None", "1.5", "'x'", [1.5] * n, (None,) * n, [], (1,), -1, [None, 2, 2][:n], [2, 1.5, 2][:n],
                 [2, True, 2][:n], [2, None, "x"][:n], 2**64, (2**62,) * n):
        alike(f"F.adaptive_avg_pool{n}d(L.ones({(2, 3, 4, 4, 4)[:n + 2]}), {size}).shape")
        alike(f"F.adaptive_max_pool{n}d(L.ones({(2, 3, 4, 4, 4)[:n + 2]}), {size}).shape")


def test_one_mean_of_everything_is_recorded_as_a_mean():
    for n in (1, 2, 3):
        alike(f"F.adaptive_avg_pool{n}d(L.ones({(2, 3, 4, 4, 4)[:n + 2]}, requires_grad=True), 1).grad_fn.name()")


def test_sizes_are_ints_in_every_place():
    for sizes in ([2, 1.5], [-1, 1.5], [1.5, -1], [2, "x"], [2, None], [2, 2**63], [2, True, 3], [], 6, (6,), "x"):
        alike(f"L.ones(2, 6).unflatten(1, {sizes}).shape")


@pytest.mark.parametrize("text", [
    "L.ones(2, 3).repeat(0, 3, 2**62)", "L.ones(2, 3).tile(0, 3, 2**62)", "L.empty(0, 2**62).repeat_interleave(4, 1)",
    "L.empty(0, 2**62, 4)", "L.zeros(0, 2**62, 4)", "L.full((0, 2**62, 4), 1.0)", "L.rand(0, 2**62, 4)",
    "L.hstack([L.empty(0, 2**62)] * 2)", "F.pad(L.empty(0, 2**62), (2**62, 0))", "L.diag_embed(L.empty(0, 2**40))",
    "L.empty(0, 2**62, 1) + L.empty(4)", "L.kron(L.empty(0, 2**62), L.empty(0, 4))",
    "F.one_hot(L.empty(0, 2**62, dtype=L.int64), 4)", "L.einsum('ab,cd->abcd', L.empty(0, 2**62), L.empty(1, 4))",
    "F.pixel_shuffle(L.empty(0, 4, 2**61, 4), 2)", "L.empty(0, 2**40).new_ones(0, 2**40, 2**40)"])
def test_sizes_of_empty_results_fit_64_bits(text):
    assert alike(text).endswith("Error")


def test_empty_tensors_of_vast_sizes():
    for text in ("", ".tolist()", ".shape", ".stride()", ".T", ".unsqueeze(1).shape", ".to(L.float64)"):
        alike(f"L.empty(0, 2**62){text}")
    alike("L.empty(2, 0, 3).tolist()")
    alike("L.empty(0, 2**62).unflatten(1, [2**31, 2**31])")


LOGIC = ("logical_and_(L.tensor([1.0, 0.0]))", "logical_or_(L.tensor([1.0, 0.0]))", "logical_xor_(L.tensor([1.0, 0.0]))",
         "logical_not_()")


@pytest.mark.parametrize("call", LOGIC)
def test_logic_in_place_is_not_seen_by_autograd(call):
    x = "x = L.tensor([[0.3, 0.0], [0.7, 0.2]], requires_grad=True)"
    for text in (f"x.{call}", f"x[0].{call}; x", f"y = x * 2; y.{call}; (y, y._version)",
                 f"y = x * 2; y.{call}; y.sum().backward(); x.grad", f"y = x.exp(); y.{call}; y.sum().backward(); x.grad",
                 f"y = x.unbind()[0]; y.{call}; y.sum().backward(); x.grad", f"y = x[0]; y.{call}; y.sum().backward(); x.grad",
                 f"y = (x * 1)[0]; y.{call}; y.sum().backward(); (x.grad, y)", f"L.zeros(1).expand(2).{call}",
                 f"x.to(L.int8).{call}", f"x.to(L.complex64).{call}"):
        alike(f"{x}; {text}")


@pytest.mark.parametrize("alpha", [-2.0, -1.0, -0.5, 0.5, 2.0])
def test_celu_of_any_sign(alpha):
    """The gradient is exp(x / alpha) below zero, whatever the sign of alpha."""
    def derivatives(library):
        x = library.tensor([-2.0, -0.5, -0.0, 0.0, 0.5, 2.0], dtype=library.float64, requires_grad=True)
        y = library.nn.functional.celu(x, alpha)
        g, = library.autograd.grad(y.sum(), x, create_graph=True)
        h, = library.autograd.grad((g * g).sum(), x)
        return [t.tolist() for t in (y, g, h)]
    for ours, theirs in zip(derivatives(ng), derivatives(torch)):
        assert ours == pytest.approx(theirs, rel=1e-12, abs=1e-15)


NOT_A_NUMBER = ["F.smooth_l1_loss(L.ones(3), L.zeros(3), beta={})", "F.huber_loss(L.ones(3), L.zeros(3), delta={})",
                "F.cosine_similarity(L.ones(2, 3), L.ones(2, 3), eps={})", "F.dropout(L.ones(3), {}, training=False)",
                "F.dropout3d(L.ones(0, 3, 4, 5, 6), {}, False)", "F.alpha_dropout(L.ones(3), {}, training=True)",
                "F.gaussian_nll_loss(L.ones(3), L.zeros(3), L.ones(3), eps={})", "F.rrelu(L.ones(3), {}, 0.3)",
                "F.multi_margin_loss(L.ones(2, 3), L.tensor([0, 1]), margin={})", "F.layer_norm(L.ones(2, 3), (3,), eps={})",
                "F.cosine_embedding_loss(L.ones(2, 3), L.ones(2, 3), L.ones(2), margin={})",
                "F.normalize(L.ones(2, 3), eps={})", "F.triplet_margin_loss(L.ones(2, 3), L.ones(2, 3), L.ones(2, 3), {})",
                "F.hinge_embedding_loss(L.ones(3), L.ones(3), margin={})", "F.lp_pool2d(L.ones(1, 4, 4), {}, 2)",
                "L.ones(3).bernoulli_({})", "L.ones(3).exponential_({})", "L.ones(3).uniform_({}, 1)"]


@pytest.mark.parametrize("text", NOT_A_NUMBER)
def test_numbers_outside_of_their_range(text):
    for value in ("nan", "-1.0", "True", "0.0"):
        alike(text.format(value))


def test_pooling_with_infinite_norms():
    for p in ("inf", "-inf"):
        alike(f"F.lp_pool2d(L.arange(24.0).reshape(1, 2, 3, 4).sub(9.5), {p}, 2)")
        alike(f"F.lp_pool2d(L.arange(24.0).reshape(1, 2, 3, 4).sub(9.5), {p}, (2, 3), 1, True)")


@pytest.mark.parametrize("p", [0.5, -0.5, 2, 3, 2.0])
def test_powers_that_have_a_form_of_their_own(p):
    x = "x = L.tensor([4.0, 0.25, 16.0], dtype=L.float64, requires_grad=True)"
    alike(f"L.tensor([-inf, nan, -0.0, inf, 4.0]).pow({p})")
    alike(f"L.tensor([-inf, nan, -0.0, inf, 4.0]).pow_({p})")
    alike(f"L.tensor([1, 2, 3]).pow_({p})")
    alike(f"L.tensor([True, False]).pow_({p})")
    alike(f"{x}; y = (x * 1).pow_({p}); L.autograd.grad(y.sum(), x)[0]")
    alike(f"{x}; y = x * 1; z = y[1:].pow_({p}); L.autograd.grad(y.sum(), x)[0]")
    alike(f"{x}; g = L.autograd.grad(x.pow({p}).sum(), x, create_graph=True)[0]; L.autograd.grad(g.sum(), x)[0]")


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "int64", "bool", "float16", "float32"])
def test_single_values_that_a_dtype_cannot_hold(dtype):
    """Fills refuse them where a tensor stands for a number, copies wrap them around."""
    for value in ("nan", "-inf", "300.5", "-1.5", "300", "2**40", "1e30", "1j", "True"):
        x, mask = f"x = L.ones(2, dtype=L.{dtype})", "L.tensor([True, False])"
        for text in (f"x.masked_fill({mask}, L.tensor({value}))", f"x.masked_fill_({mask}, L.tensor({value}))",
                     f"x.index_fill(0, L.tensor([0]), L.tensor({value}))", f"x[{mask}] = L.tensor({value}); x",
                     f"x[{mask}] = L.tensor([{value}]); x", f"x[0] = L.tensor({value}); x", f"x.fill_(L.tensor({value}))"):
            alike(f"{x}; {text}")


@pytest.mark.parametrize("name", ["clamp", "clip", "clamp_", "clip_"])
def test_bounds_of_which_one_is_a_single_tensor(name):
    for dtype in ("float32", "int64", "float16"):
        for bounds in ("L.tensor(0.5), 1.0", "0.5, L.tensor(1.0)", "L.tensor(0), 1", "L.tensor([0.5]), 1.0",
                       "min=L.tensor(0.5), max=1", "L.tensor(0.5, requires_grad=True), 1.0", "L.tensor(True), 1",
                       "L.tensor(nan), 1.0"):
            alike(f"(L.arange(3) - 1).to(L.{dtype}).{name}({bounds})")
    alike(f"x = (L.arange(3.0) - 1).requires_grad_(); y = (x * 1).{name}(L.tensor(0.5), 1.0); y.sum().backward(); (x.grad, y)")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "complex64", "int64"])
def test_numbers_are_drawn_in_the_dtype_of_out(dtype):
    x = f"x = L.zeros(20, dtype=L.{dtype})"
    for call in ("rand(20, out=x)", "randn(20, out=x)", "normal(0.5, 2.0, (20,), out=x)", "randint(0, 9, (20,), out=x)",
                 "randperm(20, out=x)", "bernoulli(L.full((20,), 0.5), out=x)"):
        alike(f"{x}; L.{call}.tolist()")
    if dtype != "int64":
        for call in ("normal(L.ones(20), 2.0, out=x)", "normal(L.ones(20), L.full((20,), 2.0), out=x)", "normal(x, 2.0)",
                     "normal(x, L.full((20,), 2.0, dtype=L.float64))", "normal(0.5, x)"):
            alike(f"{x}; L.{call}.tolist()")


@pytest.mark.parametrize("n", [3, 15, 16, 40])
def test_means_of_complex_normal_numbers(n):
    """PyTorch adds the mean to real and imaginary parts alike."""
    for dtype in ("complex64", "complex128"):
        x = f"L.zeros({n}, dtype=L.{dtype})"
        for y in (x, f"{x}[::2]", f"L.zeros({n}, 2, dtype=L.{dtype}).T"):
            alike(f"{y}.normal_(0.5, 2.0).tolist()")
            alike(f"{y}.normal_(0.5, 0.0).tolist()")
        alike(f"L.normal(L.full(({n},), 1 + 2j, dtype=L.{dtype}), 0.5).tolist()")
        alike(f"L.normal(0.5, L.full(({n},), 0.5, dtype=L.{dtype}))")


def test_choices_of_nothing_keep_the_graph():
    for n, r in ((0, 2), (0, 1), (0, 0), (3, 4), (3, 3), (1, 2)):
        for again in (False, True):
            x = f"x = L.arange({n}, dtype=L.float64).requires_grad_()"
            alike(f"{x}; y = L.combinations(x, {r}, {again}); (y.tolist(), y.shape, y.requires_grad)")
    alike("x = L.ones(3, requires_grad=True); y = L.combinations(x, 4); L.autograd.grad(y.sum(), x)")


def test_ranking_of_bools_is_refused_as_their_difference():
    bools, numbers = "L.tensor([True, False])", "L.tensor([0.5, 1.0])"
    for a, b, c in ((bools, numbers, numbers), (numbers, bools, numbers), (bools, bools, numbers), (numbers, numbers, bools)):
        for reduction in ("none", "mean"):
            assert alike(f"F.margin_ranking_loss({a}, {b}, {c}, 0.5, reduction='{reduction}')") == "RuntimeError"
    alike(f"F.margin_ranking_loss({numbers}, {numbers}, L.tensor([1, -1])).item()")


FACTOR = "L.tensor([[2.0, 0.0, 0.0], [1.0, 4.0, 0.0], [0.5, -1.0, 1.0]], dtype=L.float64)"


def test_factors_with_a_zero_on_the_diagonal():
    for place in ("0, 0", "1, 1", "2, 2"):
        for upper in (False, True):
            assert alike(f"x = {FACTOR}; x[{place}] = -0.0; L.cholesky_inverse(x, {upper})") == "LinAlgError"
    alike(f"x = {FACTOR}; x[0, 1] = 3.0; (L.cholesky_inverse(x) * 64).round().tolist()")
    alike("L.cholesky_inverse(L.zeros(2, 0, 0)).shape")
    with pytest.raises(ng.linalg.LinAlgError, match=r"\(Batch element 1\): The diagonal element 2 is zero"):
        ng.cholesky_inverse(ng.stack([ng.eye(2), ng.tensor([[1.0, 0.0], [0.0, 0.0]])]))


def test_gradients_of_factors_are_those_of_triangles():
    """PyTorch gives the triangle that is not read a gradient too, so differences are those of a triangle's elements."""
    x = ng.tensor([[2.0, 0.3, -0.4], [1.0, 3.0, 0.7], [0.5, -1.0, 1.5]], dtype=ng.float64, requires_grad=True)
    for upper in (False, True):
        part = ng.triu if upper else ng.tril
        assert ng.autograd.gradcheck(lambda a, u=upper, p=part: ng.cholesky_inverse(p(a), u), (x,))
        assert ng.autograd.gradcheck(
            lambda a, u=upper, p=part: ng.cholesky_solve(ng.ones(3, 2, dtype=ng.float64), p(a), u), (x,))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_out_takes_what_it_can_be_cast_to(dtype):
    out = f"out = L.empty(0, dtype=L.{dtype})"
    for call in (f"cholesky_inverse({FACTOR}, out=out)", f"cholesky_solve(L.ones(3, 2, dtype=L.float64), {FACTOR}, out=out)",
                 f"matrix_power({FACTOR}, 1, out=out)", f"matrix_power({FACTOR}, 4, out=out)",
                 "mvlgamma(L.full((2,), 3.0, dtype=L.float64), 2, out=out)",
                 "addr(L.ones(2, 2, dtype=L.float64), L.ones(2, dtype=L.float64), L.ones(2, dtype=L.float64), out=out)"):
        alike(f"{out}; L.{call}; (out.dtype, (out * 64).real.round().tolist())")


@pytest.mark.parametrize("text", [
    "L.searchsorted(L.ones(5), None)", "L.searchsorted(L.ones(5), [])", "L.bucketize(None, L.ones(5))",
    "F.hardtanh(L.ones(3), L.tensor(1j), 1.5)", "F.softshrink(L.ones(3), 1j)", "F.rrelu(L.ones(3), 1j, 0.3)",
    "F.l1_loss(L.ones(3), L.ones(3) * 1j, reduction='x')", "F.l1_loss(L.ones(3) * 1j, L.ones(3), reduction=-100)",
    "L.normal(L.ones(3), 2.0, [3])", "L.normal(L.ones(3), 2.0, True)", "L.normal(1.0, L.ones(2), (3,))",
    "L.ones(2, 0).repeat(1, 2**63)", "L.linalg.lstsq(L.ones(1, 3, 1), L.ones(4, 3))", "L.linalg.lstsq(L.ones(3, 3), L.ones(0))",
    "L.mean(L.tensor([1 - 1j]), out=L.zeros(1))", "L.searchsorted(L.tensor(1.5), L.tensor(1.5))",
    "L.searchsorted(L.ones(2, 3), L.tensor(1.5))", "L.searchsorted(L.tensor(1.5), L.ones(3))",
    "import numpy as np; L.norm(L.ones(3), np.array(1))", "F.unfold(L.ones(3, 6, 5).to(L.int8), 2)",
    "F.unfold(L.ones(3, 6, 5).to(L.int64), 2)",
    "L.randint_like(L.ones(2), 2, 5, (2,))", "L.randint_like(L.ones(2), 5, no=1)",
    "F.lp_pool2d(L.ones(1, 2, 5, 5), 0, (2, 3), -100)"])
def test_refused_with_a_reason(text):
    assert alike(text).endswith("Error")


@pytest.mark.parametrize("states", [0, 1, 2])
def test_states_of_empty_batches(states):
    for name in ("rnn_tanh", "rnn_relu"):
        alike(f"L.{name}(L.ones(0, 2, 4), L.ones(1, {states}, 3), [L.ones(3, 4), L.ones(3, 3), L.ones(3), L.ones(3)], "
              "True, 1, 0.0, False, False, True)[0].shape")


def test_blocks_of_bools():
    alike("F.unfold(L.arange(90).reshape(3, 6, 5) % 4 == 0, (2, 3), 2, 1, (2, 1))")


def test_no_dims_may_be_said():
    alike("L.arange(12).reshape(4, 3).roll(5, None)")


def test_numbers_among_the_values_to_find():
    for text in ("L.isin(1e30, L.tensor([2, 1]))", "L.isin(2, L.tensor([2, 1]))", "L.searchsorted(L.tensor([1, 3]), 2)",
                 "L.bucketize(2.5, L.tensor([1, 3]))"):
        alike(text)


def test_sizes_beside_single_tensors_for_normal():
    for mean, std in (("L.tensor(1.0)", "2.0"), ("L.tensor(1.0)", "L.tensor(2.0)"), ("1.0", "L.tensor(2.0)")):
        alike(f"L.normal({mean}, {std}, (3,)).tolist()")
        alike(f"L.normal({mean}, {std}).tolist()")


@pytest.mark.parametrize("order", ["-2**31", "-1.0", "-0.5", "-inf", "inf", "0", "2", "0.5"])
def test_norms_of_nothing(order):
    for dim in ("0", "1", "None", "(0, 1)", "()"):
        alike(f"L.linalg.vector_norm(L.ones(0, 3), {order}, dim={dim})")
        alike(f"L.norm(L.ones(0, 3), {order}, dim={dim})")
    alike(f"L.linalg.norm(L.ones(0), {order})")


@pytest.mark.parametrize("dim", ["None", "(0, 1)", "[1, 0]", "(1,)", "()"])
def test_dims_of_normalize(dim):
    x = "x = L.arange(12.0, dtype=L.float64).reshape(3, 4).requires_grad_()"
    for order in ("1.0", "2.0", "3.0"):
        alike(f"{x}; y = F.normalize(x, {order}, {dim}); y")
        alike(f"{x}; y = F.normalize(x, {order}, {dim}); L.autograd.grad(y.pow(3).sum(), x)[0].mul(1e6).round() + 0.0")


def test_order_0_has_no_slope_beside_nan():
    x = "x = L.tensor([[0.5, nan], [1.0, inf]], requires_grad=True)"
    alike(f"{x}; L.autograd.grad(F.normalize(x, 0.0, -1).sum(), x)[0]")


@pytest.mark.parametrize("correction", [1, 3, 4, 6, 100, 3.5, "inf", "nan"])
def test_variances_with_more_corrections_than_elements(correction):
    """The gradient divides by n - correction, whatever its sign; over all elements it is infinite."""
    for name in ("var", "std", "var_mean", "std_mean"):
        for dim in ("1", "0", "(0, 1)", "None"):
            x = "x = L.tensor([[1.0, -2.0, 4.0], [0.5, 2.0, 8.0]], dtype=L.float64, requires_grad=True)"
            y = f"y = L.{name}(x, {dim}, correction={correction}); y = y if L.is_tensor(y) else y[0] + 2 * y[1]"
            alike(f"{x}; {y}; L.autograd.grad(y.sum(), x)[0] + 0.0")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_variances_of_nothing_have_gradients_of_their_dtype(dtype):
    for name in ("var", "std"):
        for size in ("2, 0", "1"):
            x = f"x = L.ones({size}, dtype=L.{dtype}, requires_grad=True)"
            alike(f"{x}; L.autograd.grad(L.{name}(x), x)[0]")
            alike(f"{x}; L.autograd.grad(L.{name}(x), x, create_graph=True)[0].detach()")


@pytest.mark.parametrize("driver", [None, "gels", "gelsy", "gelsd", "gelss"])
def test_what_least_squares_tell(driver):
    for a, b in (("5, 3", "5, 2"), ("5, 3", "5"), ("2, 5, 3", "2, 5, 2"), ("2, 5, 3", "2, 5"), ("3, 5", "3, 2")):
        alike(f"L.manual_seed(1); a = L.randn({a}, dtype=L.float64); r = L.linalg.lstsq(a, L.randn({b}, dtype=L.float64), "
              f"driver={driver!r}); [(t.shape, t.dtype) for t in r]")


def test_a_contracted_size_of_one_stands_for_any():
    for a, b, dims in (("3, 2", "1, 1", "([0], [1])"), ("3, 2", "1, 4", "([0], [0])"), ("1, 2", "3, 4", "([0], [0])"),
                       ("1, 2", "3, 2", "2"), ("3, 1", "1, 2", "2"), ("2, 1", "3, 3", "1"), ("3, 2", "2, 4", "([0], [0])")):
        for dtype in ("float32", "int32"):
            alike(f"L.tensordot(L.arange({a[0]} * {a[-1]}).reshape({a}).to(L.{dtype}), L.ones({b}, dtype=L.{dtype}), {dims})")
    alike("a, b = L.ones(3, 2, requires_grad=True), L.ones(1, 4, requires_grad=True); y = L.tensordot(a, b, ([0], [0])); "
          "L.autograd.grad(y.sum(), (a, b))")


def test_kernels_without_elements():
    for text in ("L.conv1d(L.ones(1, 1, 4), L.ones(1, 1, 0))", "L.conv2d(L.ones(1, 1, 4, 4), L.ones(1, 1, 0, 2), padding=1)",
                 "L.conv3d(L.ones(1, 1, 4, 4, 4), L.ones(1, 1, 0, 2, 2))",
                 "L.conv_transpose1d(L.ones(1, 1, 4), L.ones(1, 1, 0))",
                 "L.conv_transpose2d(L.ones(1, 1, 4, 4), L.ones(1, 1, 2, 0))"):
        assert alike(text) == "RuntimeError"


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16", "complex64"])
def test_root_mean_squares_with_weights_of_another_dtype(dtype):
    for weight in ("float64", "float32", "float16", "int64"):
        for eps in ("", ", 1.0"):
            x, w = f"L.arange(1, 7).reshape(2, 3).to(L.{dtype})", f"L.tensor([1, 2, 4]).to(L.{weight})"
            alike(f"y = F.rms_norm({x}, (3,), {w}{eps}); (y.dtype, (y.to(L.complex64).real * 64).round())")


def test_slope_of_the_divergence_at_a_target_of_zero():
    for reduction in ("none", "mean", "batchmean"):
        for target in ("[0.25, 0.0]", "[0.25, -0.0]", "[0.5, 1.0]"):
            alike(f"x = L.tensor([0.5, -1.0], requires_grad=True); t = L.tensor({target}, requires_grad=True); "
                  f"y = F.kl_div(x, t, reduction='{reduction}'); L.autograd.grad(y.sum(), (x, t))")


@pytest.mark.parametrize("dim", [0, 1])
@pytest.mark.parametrize("shape", [(4,), (1, 4), (4, 1), (4, 1, 1), (2, 2), (4, 3)])
def test_lengths_of_a_weight_count_as_they_lie_in_memory(shape, dim):
    v, g = np.arange(1.0, 17.0).reshape(4, 4), np.arange(1.0, 1.0 + np.prod(shape)).reshape(shape)
    expected = torch._weight_norm(torch.tensor(v), torch.tensor(g), dim).numpy()
    np.testing.assert_allclose(ng._weight_norm(ng.tensor(v), ng.tensor(g), dim).numpy(), expected, rtol=1e-12)


def test_too_few_lengths_of_a_weight_are_refused():
    for dim, g in ((0, ng.ones(3, 1)), (1, ng.ones(1)), (0, ng.ones(()))):
        with pytest.raises(RuntimeError, match="slices of v"):
            ng._weight_norm(ng.ones(4, 4), g, dim)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("upper", [False, True])
@pytest.mark.parametrize("value", [float("inf"), -float("inf"), float("nan"), 0.5])
def test_inverses_by_factors_that_are_not_finite(value, upper, dtype):
    for n in (1, 2, 3, 5):
        for place in range(n * n):
            x = np.random.default_rng(n).uniform(0.5, 2.0, (n, n)).astype(dtype)
            x.reshape(-1)[place] = value
            theirs = torch.cholesky_inverse(torch.tensor(x), upper=upper).numpy()
            np.testing.assert_allclose(ng.cholesky_inverse(ng.tensor(x), upper=upper).numpy(), theirs, rtol=1e-3, atol=1e-4)
