"""Functions whose ``out=`` has to be of the dtype of the operands, with PyTorch's words; and objects in place of bounds."""

import pytest

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")

CALLS = {
    "index_select": lambda lib, t, out: lib.index_select(t, 0, lib.tensor([0, 2, 1]), out=out),
    "heaviside": lambda lib, t, out: lib.heaviside(t, t, out=out)}


def outcome(lib, call, dtype, to):
    out = lib.zeros(3).to(getattr(lib, to))
    try:
        found = call(lib, lib.tensor([1, 0, 2]).to(getattr(lib, dtype)), out)
    except RuntimeError as e:
        return type(e).__name__, str(e)
    return found is out, out.tolist()


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("dtype", ["float32", "int64", "float16", "complex64"])
@pytest.mark.parametrize("to", ["float32", "float64", "int64", "float16", "complex64"])
def test_dtypes(name, dtype, to):
    assert outcome(ng, CALLS[name], dtype, to) == outcome(torch, CALLS[name], dtype, to)


class Bound:
    """What is no tensor and has a say."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return func.__name__, len(args), sorted(kwargs or {})


@pytest.mark.parametrize("call", [lambda t, b: t.clamp_(b), lambda t, b: t.clamp_(0, b), lambda t, b: t.clamp_(min=b),
                                  lambda t, b: t.clamp(b), lambda t, b: t.clamp_min_(b)])
def test_bounds_that_override(call):
    assert call(ng.ones(3), Bound())[0] == call(torch.ones(3), Bound())[0]
