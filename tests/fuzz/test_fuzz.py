"""A bounded run of the fuzzer: no crash, no hang, nothing written outside of an array or into an input."""

import sys

import pytest

from .__main__ import findings
from .judge import FATAL

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs mprotect and /proc")


@pytest.mark.parametrize("seed, threads", [(1, 1), (2, 2)])
def test_drawn_calls_stay_in_their_memory(seed, threads):
    found = [f"{kind}: {call}\n{text}\npython -m tests.fuzz --seed {seed} --threads {threads} --only {number} --memory"
             for number, kind, text, call in findings(seed, 0, 400, threads, compare=False, seconds=6) if kind in FATAL]
    assert not found, "\n".join(found)


def test_calls_cut_over_threads(torch):
    """One drawn call of each function: on one to three threads and compiled, the numbers of one and PyTorch's."""
    from . import cuts
    found = {}
    for name in cuts.CALLS:
        text, wrong = cuts.differences(name, 7, compiled=True)
        if wrong:
            found[text] = wrong
    assert not found
