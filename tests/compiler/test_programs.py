"""Some programs at random, run eagerly and compiled."""

import sys

import pytest

from .__main__ import findings

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="sizes of the watchdog are those of Linux")


@pytest.mark.parametrize("seed", [1])
def test_compiled_programs_do_what_eager_ones_do(seed):
    found = [f"{kind}: {what}\n{text}\npython -m tests.compiler --seed {seed} --only {number}"
             for number, kind, what, text in findings(seed, 0, 12, small=False)]
    assert not found, "\n".join(found)
