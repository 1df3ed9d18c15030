"""What ``help`` and ``inspect.signature`` show of every public function before it is called: names and defaults."""

import inspect
import subprocess
import sys

import pytest

import numbagrad as ng
from numbagrad.extend import REGISTRY

# {name: why it is shown with a star}; all others show every parameter.
SIZES = "PyTorch documents one star, or takes one list or several numbers alike"
TENSORS = "PyTorch documents one star: any number of tensors"
STARS = {
    **dict.fromkeys("empty ones zeros rand randn new_empty new_ones new_zeros broadcast_to expand flip permute repeat reshape "
                    "tile view".split(), SIZES),
    **dict.fromkeys("atleast_1d atleast_2d atleast_3d block_diag broadcast_tensors cartesian_prod chain_matmul meshgrid einsum "
                    "broadcast_shapes".split(), TENSORS),
    **dict.fromkeys(("resize_", "sum_to_size"), "documented as *sizes"),
    **dict.fromkeys("gru lstm rnn_relu rnn_tanh".split(), "two calls under one name, which PyTorch does not document"),
    "to": "documented as Tensor.to(*args, **kwargs)",
    "new": "sizes or data, which PyTorch does not document",
    "sym_sum": "PyTorch documents one star",
    "load": "documented with **pickle_load_args",
}
SPACES = {"numbagrad": ng, "nn.functional": ng.nn.functional, "linalg": ng.linalg, "special": ng.special, "Tensor": ng.Tensor}
if "fft" in vars(ng):
    SPACES["fft"] = ng.fft


def functions(space):
    """(name, function) of what users find there."""
    for name in dir(space):
        value = getattr(space, name)
        if not name.startswith("_") and callable(value) and not inspect.isclass(value) and not inspect.ismodule(value):
            yield name, value


def starred(function):
    return [p.name for p in inspect.signature(function).parameters.values() if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]


@pytest.mark.parametrize("space", SPACES)
def test_every_parameter_is_shown(space):
    found = dict(functions(SPACES[space]))
    assert {name for name, f in found.items() if starred(f) and name not in STARS} == set()
    assert len(found) >= 15


def test_the_list_has_no_more_than_it_needs():
    some = {name for space in SPACES.values() for name, f in functions(space) if starred(f)}
    assert some == set(STARS)


def test_nothing_changes_with_the_first_call():
    """Signatures of a new process before any call are those of the built calls."""
    code = ("import inspect, numbagrad as ng; from numbagrad.extend import REGISTRY\n"
            "from numbagrad.kernel import jit\n"
            "bare = lambda f: str(inspect.Signature([p.replace(annotation=p.empty) for p in "
            "inspect.signature(f).parameters.values()]))\n"
            "before = {op.name: bare(op.callable) for op in REGISTRY.values() if hasattr(op, 'build_call')\n"
            "          and op.name not in ('dot', 'mv')}\n"  # whose calls stand in their file
            "jit.nb()\n"
            "after = {n: bare(REGISTRY[n].build_call()) for n in before}\n"
            "assert len(before) > 300, len(before)\n"
            "print({n: (before[n], after[n]) for n in before if before[n] != after[n]})\n")
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300).stdout
    assert out.strip() == "{}"


def test_ops_and_their_methods():
    """Each public op's function and method show the op's own parameters by their names."""
    for op in REGISTRY.values():
        for space in op.namespaces:
            function = getattr(SPACES["numbagrad" if space == "torch" else space], op.name)
            shown = inspect.signature(function).parameters
            assert set(op.signature.parameters) <= set(shown) or starred(op.fn), op
        if op.method:
            method = inspect.signature(getattr(ng.Tensor, op.method)).parameters
            assert len(method) >= len(op.signature.parameters) or starred(op.fn), op
        if op.inplace:
            method = inspect.signature(getattr(ng.Tensor, op.name + "_")).parameters
            assert list(method)[:len(op.signature.parameters)] == [
                n for n in op.signature.parameters if n != "out" or op.kind == "elementwise"][:len(method)], op


@pytest.mark.parametrize("function, text", [
    (ng.add, "(input, other, *, alpha=1, out=None)"), (ng.Tensor.add_, "(input, other, *, alpha=1)"),
    (ng.Tensor.clamp_, "(input, min=None, max=None)"), (ng.Tensor.relu_, "(input)"),
    (ng.sum, "(input, dim=None, keepdim=False, *, dtype=None, out=None, axis=None, keepdims=None)"),
    (ng.nn.functional.leaky_relu_, "(input, negative_slope=0.01)"),
    (ng.randint, "(low=0, high=None, size=None, *, generator=None, out=None, dtype=None, layout=None, device=None, "
                 "requires_grad=False)"),
    (ng.Tensor.exponential_, "(self, lambd=1.0, *, generator=None)"), (ng.einsum, "(equation, *operands)"),
])
def test_some(function, text):
    assert str(inspect.signature(function)) == text


def test_names_in_errors_are_those_of_the_method():
    with pytest.raises(TypeError, match=r"^add_\(\) missing 1 required positional argument: 'other'"):
        ng.ones(2).add_()
    with pytest.raises(TypeError, match=r"^sinh\(\) got an unexpected keyword argument 'axis'"):
        ng.sinh(ng.ones(2), axis=0)


def test_uniform_and_random_take_from_by_name():
    x = ng.zeros(50)
    assert 3 <= x.uniform_(**{"from": 3}, to=4).min() <= x.max() <= 4 and 2 <= x.uniform_(from_=2, to=3).min() <= 3
    assert set(x.random_(**{"from": 5}, to=7).tolist()) <= {5, 6} and set(x.random_(from_=7, to=8).tolist()) == {7}
