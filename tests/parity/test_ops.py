"""Every op on the calls of PyTorch's ``op_db``, beside PyTorch: values, derivatives, memory, forms, errors."""

import contextlib
import functools
import re
import types
import warnings

import numpy as np
import pytest
from module_db_helpers import derivatives, leaves, noncontiguous, structure, tolerance
from op_db_helpers import name_of, named, op_db, ours, ours_of, rewritten

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
# PyTorch says it once, of its own samples, in whichever test takes them first.
pytestmark = pytest.mark.filterwarnings("ignore:torch.qr is deprecated")
DB = op_db()
if DB is None:
    pytest.skip("PyTorch was installed without its test files", allow_module_level=True)
# Sparse tensors are compared in tests/sparse; those by rows there are none.
PRESENT = [info for info in DB if ours_of(info) is not None and info.name not in ("to_sparse", "sparse.mm")]
DTYPES = ["float64", "float32", "int64", "bool", "complex128"]
UNWRITTEN = ("empty", "empty_like", "empty_strided", "empty_permuted")  # whose values are whatever the memory holds
# Conjugates are computed at once, in memory of their own, and "channels_last" is taken and changes no strides.
OWN_MEMORY = {"conj", "H", "mH"}
# Of few different numbers PyTorch's order of equal ones is that of its algorithm, if no stable one is asked for; here it is the
# stable one.
ORDER = {(name, d) for name in ("sort", "argsort") for d in (
    "bool", "uint8", "int8", "float16", "bfloat16", "uint16", "uint32", "uint64")}
# PyTorch's constant is a float32; its gradient forgets the input where it is overwritten.
GRADIENTS = {"nn.functional.hardsigmoid": 1e3, "as_strided_scatter": None}
# A window that is filled up to its transform has no gradient in PyTorch.
MORE = {"istft"}
# Second derivatives: PyTorch leaves one out, and has NaN at zero or minus infinity; sums of much larger terms; quotients by
# differences of singular values, squared, behind several factorisations.
SECOND = {"nn.functional.linear_cross_entropy": None, "masked.logaddexp": None, "linalg.norm": None, "cov": 1e5,
          "linalg.householder_product": 1e3, "svd_lowrank": 1e5, "pca_lowrank": 1e5}
SAMPLES = 60  # of one entry and dtype, spread over what the database yields
OTHERS = ["float16", "bfloat16", "complex64", "uint8", "int8", "int16", "int32"]  # of which a few samples are looked at
FEW = 6
# In half types: PyTorch finds places in the picture or among the bins, or adds up, in the dtype itself, and overflows.
COARSE = {"grid_sampler_2d", "grid_sampler_3d", "nn.functional.grid_sample", "histc", "nn.functional.hinge_embedding_loss",
          "nn.functional.soft_margin_loss", "nn.functional.multi_head_attention_forward", "matrix_exp"}
# There are no complex numbers of half types; at the poles PyTorch divides by the sine of a rounded pi.
ABSENT = {("complex", "float16"), ("view_as_complex", "float16")}
POLES = {("polygamma", d) for d in ("int8", "int16", "int32")} | {("special.polygamma", d) for d in ("int8", "int16", "int32")}


def array(t):
    t = t.detach().resolve_conj().resolve_neg()
    return t.numpy(force=True) if isinstance(t, torch.Tensor) else t.numpy()


def same(mine, theirs, what, slack=1.0, values=True):
    """Equal shape and dtype, and values within the tolerance of the dtype, relative to the largest."""
    assert str(mine.dtype).split(".")[1] == str(theirs.dtype).split(".")[1], what
    assert tuple(mine.shape) == tuple(theirs.shape), what
    if not values:
        return
    exact = "bfloat16" if theirs.dtype in (torch.bfloat16, ng.bfloat16) else None
    if exact:
        mine, theirs = mine.float(), theirs.float()
    a, b = array(mine), array(theirs)
    if a.dtype.kind not in "fc":
        assert np.array_equal(a, b), what
        return
    bound = tolerance(exact or str(b.real.dtype)) * slack
    largest = np.abs(b[np.isfinite(b)]).max(initial=1.0)
    assert np.allclose(a, b, rtol=bound, atol=bound * largest, equal_nan=True), f"{what}: {np.abs(a - b).max()} of {largest}"


def outcome(lib, function, args, kwargs):
    """(result, None), or (None, the error)."""
    lib.manual_seed(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return function(*args, **kwargs), None
        except Exception as e:
            return None, e


def given(sample):
    return [sample.input, *sample.args]


def samples(info, dtype):
    torch.manual_seed(0)
    grad = dtype in ("float64", "complex128") and info.supports_autograd
    found = list(info.sample_inputs("cpu", getattr(torch, dtype), requires_grad=grad))
    step = -(-len(found) // (FEW if dtype in OTHERS else SAMPLES))
    return found[::step or 1]


@contextlib.contextmanager
def described(sample):
    """Failures say of which call."""
    try:
        yield
    except Exception as e:
        call = f"{sample.input!r}, {sample.args}, {sample.kwargs}"
        raise AssertionError(f"{type(e).__name__}: {e} of {call[:600]}") from e


@pytest.mark.parametrize("dtype", [*DTYPES, *OTHERS])
@pytest.mark.parametrize("info", PRESENT, ids=name_of)
def test_values(info, dtype):
    if getattr(torch, dtype) not in info.dtypes or (info.name, dtype) in ABSENT:
        pytest.skip("PyTorch has no such kernel, or there is no such dtype here")
    for sample in samples(info, dtype):
        with described(sample):
            compare(info, sample, dtype)


BAREBONES = ["uint16", "uint32", "uint64"]
WORDS = re.compile("not implemented for|Promotion for")


def in_dtype(value, dtype):
    """Tensors of bytes, also in lists and dictionaries, in another dtype."""
    if isinstance(value, torch.Tensor):
        return value.to(dtype) if value.dtype is torch.uint8 else value
    if type(value) in (list, tuple):
        return type(value)(in_dtype(v, dtype) for v in value)
    return {k: in_dtype(v, dtype) for k, v in value.items()} if isinstance(value, dict) else value


@pytest.mark.parametrize("info", [i for i in PRESENT if torch.uint8 in i.dtypes], ids=name_of)
def test_barebones(info):
    """The wider unsigned integers, which few entries list: elsewhere samples of bytes give and raise the same in them."""
    for name in BAREBONES:
        dtype = getattr(torch, name)
        found = samples(info, name if dtype in info.dtypes else "uint8")
        for sample in found[::-(-len(found) // 8) or 1]:
            sample.input, sample.args, sample.kwargs = (in_dtype(v, dtype) for v in (
                sample.input, tuple(sample.args), sample.kwargs))
            with described(sample):
                args, kwargs = ours(sample)
                _, refused = outcome(torch, info.op, given(sample), sample.kwargs)
                if refused and WORDS.search(str(refused)):
                    _, error = outcome(ng, ours_of(info), args, kwargs)
                    assert type(error) is type(refused), f"{error!r}, {refused!r}"
                    assert text(error) == text(refused)
                else:
                    compare(info, sample, name)


def of_one_triangle(info, function, args, kwargs):
    """The call as the database derives it: functions of a factor are given nothing but its triangle."""
    wrapper = info.gradcheck_wrapper
    names = wrapper.__name__, *wrapper.__code__.co_names
    if info.name != "cholesky_inverse" and "gradcheck_wrapper_triangular_input" in names:
        return functools.partial(info.gradcheck_wrapper, function), args, kwargs
    return function, args, kwargs


def compare(info, sample, dtype):
    args, kwargs = ours(sample)
    wanted, refused = outcome(torch, *of_one_triangle(info, info.op, given(sample), sample.kwargs))
    got, error = outcome(ng, *of_one_triangle(info, ours_of(info), args, kwargs))
    if refused:
        assert type(error) is type(refused), f"{error!r}, {refused!r}"
        return
    if error:
        raise error
    assert structure(got) == structure(wanted)
    if not leaves(wanted):
        assert got == wanted or str(got) == str(wanted).replace("torch.", "numbagrad.")
        return
    got, wanted = sample.output_process_fn_grad(got), sample.output_process_fn_grad(wanted)
    inputs, their_inputs = leaves([args, kwargs]), leaves([given(sample), sample.kwargs])
    pairs = list(zip(leaves(got), leaves(wanted), strict=True))
    for a, b in pairs:
        tied = (info.name, dtype) in ORDER and b.dtype is torch.int64
        coarse = dtype in ("float16", "bfloat16") and info.name in COARSE or (info.name, dtype) in POLES
        same(a, b, "output", values=not (info.name.endswith(UNWRITTEN) or tied or coarse))
        assert a.requires_grad == b.requires_grad
        if info.name not in OWN_MEMORY and sample.kwargs.get("memory_format") is not torch.channels_last:
            assert shared(a, inputs) == shared(b, their_inputs), "memory"
    if dtype in ("float64", "complex128") and info.supports_autograd:
        compare_derivatives(info, pairs, inputs, their_inputs)


def compare_derivatives(info, pairs, inputs, their_inputs):
    """First derivatives, and second ones where PyTorch has them."""
    twice = info.supports_gradgrad
    first = derivatives(ng, [a for a, _ in pairs], inputs, twice)
    theirs = derivatives(torch, [b for _, b in pairs], their_inputs, twice)
    assert (first is None) == (theirs is None)
    same_gradients(first, theirs, info.name if info.name in MORE else "gradient", GRADIENTS.get(info.name, 10))
    if twice and first is not None:
        wanted, refused = outcome(torch, derivatives, [torch, [g for g in theirs if g is not None], their_inputs], {})
        if not refused:
            got = derivatives(ng, [g for g in first if g is not None], inputs)
            same_gradients(got, wanted, info.name if info.name in MORE else "second derivative", SECOND.get(info.name, 100))


def same_gradients(mine, theirs, what, slack):
    """What one library knows to be nothing may be zeros in the other; no ``slack`` compares no values."""
    found = mine or theirs or ()
    for a, b in zip(mine or [None] * len(found), theirs or [None] * len(found), strict=True):
        if slack is None or b is None and what in MORE:
            continue
        if a is None or b is None:
            assert all(t is None or not array(t).any() for t in (a, b)), what
        else:
            same(a, b, what, slack)


def shared(out, inputs):
    """The places of the inputs whose memory a result shares."""
    def place(t):
        return t.untyped_storage().data_ptr()
    return [i for i, t in enumerate(inputs) if out.numel() and place(t) == place(out)]


def first_dtype(info):
    return next((d for d in DTYPES if getattr(torch, d) in info.dtypes), None)


def drawn(info):
    """Whether the op draws numbers: into memory with gaps PyTorch does it in another order."""
    return any(word in info.name for word in ("normal", "rand", "bernoulli", "multinomial", "dropout", "uniform"))


def some(info):
    """A few samples without gradients, in the first dtype that the op takes."""
    torch.manual_seed(0)
    dtype = torch.float32 if torch.float32 in info.dtypes else getattr(torch, first_dtype(info))
    found = list(info.sample_inputs("cpu", dtype, requires_grad=False))
    return found[:: -(-len(found) // 12) or 1]


def alike(mine, theirs, what, values=True):
    """Equal outcomes of both libraries: results, or the type of the error."""
    (got, error), (wanted, refused) = mine, theirs
    if refused or error:
        assert type(error) is type(refused), f"{what}: {error!r}, {refused!r}"
        return
    assert structure(got) == structure(wanted), what
    for a, b in zip(leaves(got), leaves(wanted), strict=True):
        same(a, b, what, values=values)


def variants(info):
    """(what, our form, PyTorch's form) of an entry's methods and operators."""
    found = [("method", info.method_variant), ("in place", info.inplace_variant), ("operator", info.operator_variant),
             ("operator in place", info.inplace_operator_variant)]
    for what, theirs in found:
        if theirs is not None and (what, info.name) != ("in place", "addbmm"):  # which in PyTorch may change its own shape
            mine = theirs if what.startswith("operator") else method_of(theirs)
            yield what, mine, theirs


def method_of(theirs):
    if isinstance(theirs, types.FunctionType) and theirs.__module__.startswith("torch.testing"):
        return rewritten(theirs)
    return getattr(ng.Tensor, theirs.__name__)


WITH_VARIANTS = [i for i in PRESENT if isinstance(i.op, types.BuiltinFunctionType) and first_dtype(i)
                 and name_of(i) != "as_strided.partial_views"]  # whose tensors are parts of larger memory


@pytest.mark.parametrize("info", WITH_VARIANTS, ids=name_of)
def test_methods(info):
    """Methods and operators, in place too: the result, what is written, and that the tensor itself comes back."""
    for sample in some(info):
        if not isinstance(sample.input, torch.Tensor):
            continue
        for what, mine, theirs in variants(info):
            (first, *args), kwargs = ours(sample)
            their_first = sample.input.clone()
            a = outcome(ng, mine, [first, *args], kwargs)
            b = outcome(torch, theirs, [their_first, *sample.args], sample.kwargs)
            alike(a, b, what)
            same(first, their_first, f"{what}: the tensor")
            assert (a[0] is first) == (b[0] is their_first), what


@pytest.mark.parametrize("info", [i for i in PRESENT if i.supports_out and first_dtype(i)], ids=name_of)
def test_out(info):
    """``out=``: of the right shape, empty, of gaps, and of another dtype, which ours may take where PyTorch does not."""
    for sample in some(info):
        wanted, refused = outcome(torch, info.op, given(sample), sample.kwargs)
        if refused or not isinstance(wanted, torch.Tensor):
            continue
        for what, make in OUTS.items():
            args, kwargs = ours(sample)
            out = make(ng, wanted)
            strides = out.stride()
            got, error = outcome(ng, ours_of(info), args, {**kwargs, "out": out})
            _, refused = outcome(torch, info.op, given(sample), {**sample.kwargs, "out": make(torch, wanted)})
            # PyTorch takes bools for the sum of a single number.
            if what in ("wide", "narrow") and (refused or info.name in ("cumsum", "cumprod")):
                assert error is None or isinstance(error, (RuntimeError, TypeError)), f"out {what}: {error!r}"
            elif (what, info.name) != ("empty", "normal"):  # PyTorch refuses one whose shape it does not have
                assert type(error) is type(refused), f"out {what}: {error!r}, {refused!r}"
            if not error:
                # PyTorch's gelu, avg_pool3d and narrow_copy write nonsense into gaps: the result without out counts.
                values = not (info.name.endswith(UNWRITTEN) or what not in ("whole", "empty") and drawn(info))
                got_values = out.real if out.dtype.is_complex and not wanted.dtype.is_complex else out
                same(got_values.to(getattr(ng, str(wanted.dtype)[6:])) if what == "wide" else out,
                     wanted.to(torch.bool) if what == "narrow" else wanted, f"out {what}", values=values)
                assert got is out and (what == "empty" or out.stride() == strides), f"out {what}"


def like(lib, wanted, dtype=None):
    return {"dtype": getattr(lib, str(dtype or wanted.dtype).removeprefix("torch."))}


WIDE = {torch.float32: "float64", torch.complex64: "complex128", torch.int64: "float32", torch.bool: "int64"}
OUTS = {
    "whole": lambda lib, t: lib.zeros(tuple(t.shape), **like(lib, t)),
    "empty": lambda lib, t: lib.zeros(0, **like(lib, t)),
    "of gaps": lambda lib, t: lib.zeros((*t.shape, 2), **like(lib, t))[..., 0],
    "wide": lambda lib, t: lib.zeros(tuple(t.shape), **like(lib, t, WIDE.get(t.dtype, "complex128"))),
    "narrow": lambda lib, t: lib.zeros(tuple(t.shape), **like(lib, t, "bool")),
}


@pytest.mark.parametrize("info", [i for i in PRESENT if first_dtype(i)], ids=name_of)
def test_gaps(info):
    """Operands with gaps in memory, and gradients through them."""
    if info.name.endswith(UNWRITTEN) or drawn(info) or info.name.startswith(("as_strided", "view_as_complex")):
        pytest.skip("its result depends on the memory")
    for sample in some(info):
        args, kwargs = ours(sample)
        apart, more = noncontiguous(args), noncontiguous(kwargs)
        want, refused = outcome(ng, ours_of(info), args, kwargs)
        got, error = outcome(ng, ours_of(info), apart, more)
        assert type(error) is type(refused), f"{error!r}, {refused!r}"
        for a, b in zip(leaves(got), leaves(want), strict=True):
            if info.name not in UNWRITTEN:
                same(a, b, "from gaps")


# Parts of PyTorch's texts where ours has words of its own: dtypes of out, shapes of convolutions, and what is internal.
OURS = ("argument 'out'", "multinomial expects Long tensor out", "out's dtype", "internal error", "dimensional weight[",
        "with negative dimension", "non-batch dimension", "exceeds dimension size", "Optional dtype must be")
INTERNAL = ("Could this error message be improved", "distribution (encountering probability entry")
# Calls of a method's C function on a number, which Python refuses by itself.
REFLECTED = re.compile("__r[a-z]+__")


@pytest.mark.parametrize("info", [i for i in PRESENT if i.error_inputs_func and not REFLECTED.match(i.name)], ids=name_of)
def test_errors(info):
    """The database's wrong calls raise PyTorch's type, and a text that says what PyTorch's says, and may say more."""
    for entry in info.error_inputs("cpu"):
        sample = entry.sample_input
        if any(t.dim() > 64 or t.device.type == "meta" for t in leaves([given(sample), sample.kwargs])):
            continue  # NumPy has no such arrays, nor have these any values
        args, kwargs = ours(sample)
        _, refused = outcome(torch, info.op, given(sample), sample.kwargs)
        _, error = outcome(ng, ours_of(info), args, kwargs)
        if error is None and any(words in str(refused) for words in ("single memory location", "is not resizable")):
            continue  # results are made apart and written then: what they are made of may overlap them, and they may grow
        if any(words in str(refused) for words in INTERNAL):
            continue
        assert type(error) is type(refused), f"{error!r}, {refused!r}"
        if any(words in str(refused) for words in OURS):
            continue
        said, wanted = text(error), text(refused)
        # Where PyTorch lists its overloads, ours names the argument that fits none.
        assert wanted in said or re.search(entry.error_regex, said) or (
            "invalid combination" in wanted and "must be" in said), f"{said}, {wanted}"


def text(error):
    return re.sub(r"numbagrad\.", "torch.", str(error)).rstrip(".")


@pytest.mark.parametrize("info", [i for i in PRESENT if i.aliases], ids=name_of)
def test_aliases(info):
    for alias in info.aliases:
        function = named(alias.name.removeprefix("torch."))
        assert function is not None
        for sample in some(info):
            args, kwargs = ours(sample)
            alike(outcome(ng, function, args, kwargs),
                  outcome(torch, info.op, given(sample), sample.kwargs), alias.name)
