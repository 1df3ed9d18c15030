"""``SobolEngine`` gives PyTorch's points to the last bit."""

from __future__ import annotations

import numpy as np
import pytest

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")


def story(lib, dimension, **how):
    """Points that an engine gives, with pauses."""
    lib.manual_seed(3)
    e = lib.quasirandom.SobolEngine(dimension, **how)
    said = [repr(e), e.sobolstate.numpy().copy(), e.shift.numpy().copy()]
    said += [e.draw(n).numpy() for n in (1, 2, 5)] + [e.fast_forward(6).draw(3, dtype=lib.float64).numpy()]
    said += [e.reset().fast_forward(1).draw(4).numpy(), e.reset().fast_forward(9).draw().numpy(), e.num_generated]
    e.reset()
    said += [e.draw_base2(2).numpy(), e.draw_base2(2).numpy()]
    out = lib.empty(0)
    return [*said, e.draw(3, out=out).numpy(), e.draw(40).numpy()]


@pytest.mark.parametrize("how", [{}, {"scramble": True}, {"scramble": True, "seed": 5}], ids=str)
@pytest.mark.parametrize("dimension", [1, 3, 70])
def test_points_are_pytorchs(dimension, how):
    for ours, theirs in zip(story(ng, dimension, **how), story(torch, dimension, **how), strict=True):
        if isinstance(ours, np.ndarray):
            assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


def test_all_dimensions():
    for ours, theirs in zip((ng.quasirandom.SobolEngine(21201),), (torch.quasirandom.SobolEngine(21201),)):
        np.testing.assert_array_equal(ours.sobolstate.numpy(), theirs.sobolstate.numpy())
        np.testing.assert_array_equal(ours.draw(3).numpy(), theirs.draw(3).numpy())


def test_refusals_are_pytorchs():
    said = []
    for lib in (ng, torch):
        e = lib.quasirandom.SobolEngine(2)
        e.draw(3)
        for call in (lambda e=e: e.draw_base2(2), lambda lib=lib: lib.quasirandom.SobolEngine(0),
                     lambda lib=lib: lib.quasirandom.SobolEngine(21202)):
            with pytest.raises(ValueError) as error:
                call()
            said.append(str(error.value))
    assert said[:3] == said[3:]
