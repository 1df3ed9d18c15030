"""Sizes, shapes and dimensions under their names, where PyTorch takes them one by one, too."""

import inspect

import parity
import pytest

import numbagrad as ng
from numbagrad.extend import REGISTRY

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
CALLS = {"permute": ("dims", (1, 0)), "flip": ("dims", (0,)), "tile": ("dims", (2, 2)), "reshape": ("shape", (4,)),
         "expand": ("size", (3, 2, 2)), "repeat": ("repeats", (2, 1)), "view": ("size", (-1,)),
         "broadcast_to": ("size", (2, 2, 2)), "new_zeros": ("size", (2, 3)), "new_ones": ("size", [2]),
         "new_empty": ("size", (0, 2))}
MADE = ("zeros", "ones", "empty", "rand", "randn")


@pytest.mark.parametrize("name", CALLS)
def test_methods_and_functions(name):
    argument, value = CALLS[name]

    def code(lib):
        x = lib.arange(4.0).reshape(2, 2)
        found = [getattr(x, name)(**{argument: value})]
        if hasattr(torch, name):
            found.append(getattr(lib, name)(x, **{argument: value}))
        for y, one in zip(found, [getattr(x, name)(*value)] * 2):
            assert y.shape == one.shape
        return [y.tolist() for y in found]
    assert parity.said(ng, code) == parity.said(torch, code)
    with pytest.raises(TypeError, match="multiple values"):
        getattr(ng.ones(2, 2), name)(*value, **{argument: value})
    with pytest.raises(TypeError):
        getattr(ng.ones(2, 2), name)(**{argument: "no"})
    shown = inspect.signature(getattr(ng.Tensor, name)).parameters
    assert shown[argument].kind is inspect.Parameter.VAR_POSITIONAL


@pytest.mark.parametrize("name", MADE)
def test_new_tensors(name):
    ng.manual_seed(0)
    one = getattr(ng, name)(2, 3)
    ng.manual_seed(0)
    other = getattr(ng, name)(size=(2, 3))
    assert other.shape == one.shape == (2, 3) and (name == "empty" or other.tolist() == one.tolist())
    assert getattr(ng, name)(size=[2, 0], dtype=ng.float64).shape == (2, 0)
    with pytest.raises(TypeError, match="multiple values"):
        getattr(ng, name)(2, size=(2, 3))
    with pytest.raises(RuntimeError, match="negative dimension"):
        getattr(ng, name)(size=(-1,))


# --- NumPy's names of arguments ---

NUMPY = {"dim": ("axis", 0), "keepdim": ("keepdims", True)}
SPACES = {"torch": "", "special": "special", "linalg": "linalg"}


def renamed():
    """(where, op, parameter) of what PyTorch's C++ functions take under NumPy's name, too."""
    for op in REGISTRY.values():
        for n in NUMPY:
            if n in op.signature.parameters and not op.private:
                yield from ((space, op.name, n) for space in op.namespaces if space in SPACES)
                if op.method:
                    yield "Tensor", op.name, n


def called(lib, space, name, words):
    """``name`` of a matrix, and what else it requires."""
    where = lib.Tensor if space == "Tensor" else getattr(lib, SPACES[space]) if SPACES[space] else lib
    x = lib.arange(9.0).reshape(3, 3) + lib.eye(3)
    more = {"other": x + 1, "index": lib.zeros(3, 3, dtype=lib.int64), "source": x, "src": x, "chunks": 3, "k": 1}
    op = REGISTRY[name].signature.parameters
    given = [more[n] for n, p in op.items() if p.default is p.empty and n in more]
    found = getattr(where, name)(x, *given, **words)
    return [t.tolist() if hasattr(t, "tolist") else t for t in (found if isinstance(found, (tuple, list)) else [found])]


@pytest.mark.parametrize("space, name, parameter", sorted(set(renamed())), ids=str)
def test_numpys_names_of_arguments(space, name, parameter):
    other, value = NUMPY[parameter]
    more = {"dim": 0} if parameter == "keepdim" and "dim" in REGISTRY[name].signature.parameters else {}
    try:
        called(torch, space, name, {other: value, **more})
    except Exception as e:
        pytest.skip(f"PyTorch takes no {other} here: {e}"[:100])
    assert called(ng, space, name, {other: value, **more}) == called(ng, space, name, {parameter: value, **more})
    if REGISTRY[name].kind == "function" and "axis" not in REGISTRY[name].signature.parameters:
        with pytest.raises(TypeError, match="multiple values"):
            called(ng, space, name, {other: value, parameter: {"dim": 1, "keepdim": True}[parameter], **more})


@pytest.mark.parametrize("name", ["unsqueeze", "cumsum", "cummax", "logcumsumexp"])
def test_a_dimension_that_is_missing(name):
    for call in (lambda t: getattr(t, name)(t.ones(2)), lambda t: getattr(t.ones(2), name)()):
        with pytest.raises(TypeError, match="missing 1 required positional argument.*dim"):
            call(ng)
        with pytest.raises(TypeError):
            call(torch)
    assert "axis" not in inspect.signature(getattr(ng, name)).parameters
