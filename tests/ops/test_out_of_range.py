"""Numbers that no dtype, or not the dtype at hand, can hold: what is taken and what is refused, as PyTorch does."""

import math

import numpy as np
import pytest

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")

DTYPES = "bool uint8 int8 int16 int32 int64 float16 bfloat16 float32 float64".split()
NUMBERS = (2**31, 2**63 - 1, 2**63, -2**63, -2**63 - 1, 2**64 - 1, 2**64, 2**70, -2**70, 1e19, -1e19, 1e30, 70000, 70000.0, 300,
           -1, -129, 1.5, np.int64(2**40))
MASK = [True, False, True]


def _assigned(index):
    def call(T, t, v):
        t[index(T)] = v
        return t
    return call


CALLS = {
    "x[0] = v": _assigned(lambda T: 0), "x[:] = v": _assigned(lambda T: slice(None)), "x[...] = v": _assigned(lambda T: ...),
    "x[True] = v": _assigned(lambda T: True), "x[False] = v": _assigned(lambda T: False),
    "x[[0, 1]] = v": _assigned(lambda T: [0, 1]), "x[mask] = v": _assigned(lambda T: T.tensor(MASK)),
    "x[0, None] = v": _assigned(lambda T: (0, None)),
    "fill_": lambda T, t, v: t.fill_(v), "full": lambda T, t, v: T.full((2,), v, dtype=t.dtype),
    "full without dtype": lambda T, t, v: T.full((2,), v), "tensor": lambda T, t, v: T.tensor([v], dtype=t.dtype),
    "clamp": lambda T, t, v: T.clamp(t, 0, v), "clamp(v)": lambda T, t, v: T.clamp(t, v, 5),
    "clamp_": lambda T, t, v: t.clamp_(0, v), "clamp_min": lambda T, t, v: T.clamp(t, min=v),
    "clamp_max": lambda T, t, v: T.clamp(t, max=v), "add": lambda T, t, v: t + v, "add_": lambda T, t, v: t.add_(v),
    "mul": lambda T, t, v: t * v, "add with alpha": lambda T, t, v: T.add(t, t, alpha=v),
    "masked_fill": lambda T, t, v: t.masked_fill(T.tensor(MASK), v),
    "index_fill": lambda T, t, v: t.index_fill(0, T.tensor([0]), v),
    "where": lambda T, t, v: T.where(T.tensor(MASK), t, v), "arange": lambda T, t, v: T.arange(v, v, dtype=t.dtype),
    "eq": lambda T, t, v: t == v, "lt": lambda T, t, v: t < v, "ge": lambda T, t, v: t >= v,
    "logit": lambda T, t, v: T.logit(t, eps=v), "threshold": lambda T, t, v: T.nn.functional.threshold(t, v, 1),
}


def _outcome(T, call, dtype, v):
    try:
        result = call(T, T.tensor([1, 0, 1], dtype=getattr(T, dtype)), v)
    except (RuntimeError, OverflowError, ValueError, TypeError) as error:
        if dtype == "bool":
            return "refused"  # for one of two reasons: many calls take no bools
        # NotImplementedError is a RuntimeError.
        return "RuntimeError" if isinstance(error, RuntimeError) else type(error).__name__
    name = str(result.dtype).rpartition(".")[2]
    return name, repr((result.float() if name in ("float16", "bfloat16") else result).tolist())


@pytest.mark.parametrize("name", CALLS)
def test_numbers_as_torch_takes_them(name):
    different, refused = [], 0
    for v in NUMBERS:
        for dtype in DTYPES:
            if name == "logit" and isinstance(v, int) and not -2**63 <= v < 2**64:
                continue  # PyTorch makes a double of any int there
            ours, theirs = (_outcome(T, CALLS[name], dtype, v) for T in (ng, torch))
            refused += isinstance(theirs, str)
            if ours != theirs:
                different.append((v, dtype, ours, theirs))
    assert refused and not different, different[:5]


@pytest.mark.parametrize("v", [2**63, 2**64, 2**70, -2**63 - 1])
def test_sizes_that_are_printed_are_int64(v):
    for T in (ng, torch):
        for sizes in ((v,), (1, v)):
            made = T.Size(sizes)
            assert made == sizes and made[-1] == v
            for use in (repr, T.Size.numel):
                with pytest.raises(ValueError, match="Overflow when unpacking long long"):
                    use(made)
        assert repr(T.Size((2**63 - 1, -2**63))) == "torch.Size([9223372036854775807, -9223372036854775808])"


def test_nothing_is_written_at_false():
    for T in (ng, torch):
        x = T.ones(3)
        x[False] = 5
        x[False] = T.ones(7)
        assert x.tolist() == [1, 1, 1] and x._version == 0
        with pytest.raises(TypeError, match="can't assign a str"):
            x[False] = "5"
        leaf = T.ones(3, requires_grad=True)
        leaf[False] = 2.0
        assert leaf.grad_fn is None and leaf.is_leaf


@pytest.mark.parametrize("name", ["index_add", "index_add_", "scatter_add", "scatter_add_"])
@pytest.mark.parametrize("alpha", [1, 2])
def test_constants_added_at_an_inference_index(name, alpha):
    more = {"alpha": alpha} if alpha != 1 and "index" in name else {}
    for T in (ng, torch):
        with T.inference_mode():
            index = T.tensor([0, 1])
        x = T.ones(3, requires_grad=True)
        y = getattr(x * 2, name)(0, index, T.ones(2), **more)
        y.sum().backward()
        assert x.grad.tolist() == [2, 2, 2] and y.tolist() == [2 + max(alpha if more else 1, 1)] * 2 + [2]
        with pytest.raises(RuntimeError, match="Inference tensors cannot be saved for backward"):
            getattr(x * 2, name)(0, index, T.ones(2, requires_grad=True), **more)


def test_infinite_numbers_are_assigned():
    for T in (ng, torch):
        x = T.zeros(2)
        x[0], x[1] = math.inf, -math.inf
        assert x.tolist() == [math.inf, -math.inf]
