"""Functions in files, as layers hold them (``TransformerEncoderLayer.activation``), under the names of PyTorch's pickles."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest

import numbagrad as ng
from numbagrad.nn import functional as F
from numbagrad.serialization import safe_globals

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
# Those of ``torch`` itself PyTorch writes in a way that it reads only with weights_only=False.
NAMES = sorted(n for n in dir(F) if not n.startswith("_") and getattr(torch.nn.functional, n, None) is not None
               and getattr(getattr(F, n), "__qualname__", None) == getattr(torch.nn.functional, n).__qualname__ == n
               and getattr(torch.nn.functional, n).__module__ in ("torch.nn.functional", "torch._C._nn"))


def written(lib, value):
    file = io.BytesIO()
    lib.save(value, file)
    file.seek(0)
    return file


@pytest.mark.parametrize("name", NAMES)
def test_function_goes_both_ways(name):
    ours, theirs = getattr(F, name), getattr(torch.nn.functional, name)
    with torch.serialization.safe_globals([theirs]):
        assert torch.load(written(ng, {"f": ours}))["f"] is theirs
    with safe_globals([ours]):
        assert ng.load(written(ng, {"f": ours}))["f"] is ours
        assert ng.load(written(torch, {"f": theirs}))["f"] is ours
    assert ng.load(written(torch, {"f": theirs}), weights_only=False)["f"] is ours


def test_there_are_such_functions():
    assert {"relu", "gelu", "softmax", "linear"} <= set(NAMES)


def test_function_that_is_not_allowed_is_refused():
    with safe_globals([F.gelu]), pytest.raises(Exception, match="GLOBAL torch.nn.functional.relu was not an allowed global"):
        ng.load(written(ng, {"f": F.relu}))


def test_layer_that_was_used_after_it_was_made():
    """The function that it was given is built at its first call; a process of its own, as here it was called before."""
    code = """
import io, numbagrad as ng
from numbagrad import nn
layer = nn.TransformerEncoderLayer(4, 1, 4)
held = layer.activation
layer(ng.ones(2, 1, 4))
assert held is nn.functional.relu
file = io.BytesIO()
ng.save(layer, file)
file.seek(0)
allowed = [nn.TransformerEncoderLayer, nn.functional.relu, nn.MultiheadAttention, nn.Linear, nn.Dropout, nn.LayerNorm,
           nn.modules.linear.NonDynamicallyQuantizableLinear]
with ng.serialization.safe_globals(allowed):
    print(ng.load(file).activation is nn.functional.relu)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr
