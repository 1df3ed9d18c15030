"""Sizes, shapes and dimensions under their names, where PyTorch takes them one by one, too."""

import inspect

import parity
import pytest

import numbagrad as ng

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
