"""First use that compiles for long says so once on standard error; loading from the cache says nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from numbagrad.kernel import progress

LINE = (r"numbagrad: compiling kernels at their first use, (\d+) so far in (\d+\.\d) s \(now (\w+)\); "
        r"later runs load them from disk \(NUMBAGRAD_QUIET=1 hides this line\)\n")
SCRIPT = """
import sys
from numbagrad.kernel import progress
progress.PATIENCE = float(sys.argv[1])
import numbagrad as ng
x = ng.ones(3, requires_grad=True)
(x.exp() * 2).sum().backward()
print(progress._state["kernels"])
"""


def run(folder, patience=0.01, script=SCRIPT, **env):
    clean = {k: v for k, v in os.environ.items() if k not in ("CI", "NUMBAGRAD_QUIET")}
    done = subprocess.run([sys.executable, "-W", "error", "-c", script, str(patience)], capture_output=True, text=True,
                          env={**clean, "NUMBAGRAD_CACHE_DIR": str(folder), **env})
    assert done.returncode == 0, done.stderr
    return done


def test_one_line_after_patience_and_none_from_the_cache(tmp_path):
    found = re.fullmatch(LINE, run(tmp_path).stderr)
    assert found and int(found[1]) >= 1
    again = run(tmp_path)
    assert again.stderr == "" and again.stdout == "0\n"


def test_nothing_before_patience(tmp_path):
    done = run(tmp_path, 1e6)
    assert done.stderr == "" and int(done.stdout) >= 3


@pytest.mark.parametrize("env", [{"NUMBAGRAD_QUIET": "1"}, {"CI": "true"}])
def test_quiet(tmp_path, env):
    done = run(tmp_path, **env)
    assert done.stderr == "" and int(done.stdout) >= 1


@pytest.mark.parametrize("value, wanted", [("", True), ("0", True), ("false", True), ("1", False), ("yes", False)])
@pytest.mark.parametrize("name", ["CI", "NUMBAGRAD_QUIET"])
def test_what_counts_as_set(monkeypatch, name, value, wanted):
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("NUMBAGRAD_QUIET", raising=False)
    assert progress.wanted()
    monkeypatch.setenv(name, value)
    assert progress.wanted() is wanted


@pytest.fixture
def fresh(monkeypatch):
    """The counters of a new process, and no wish for quiet."""
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("NUMBAGRAD_QUIET", raising=False)
    monkeypatch.setattr(progress, "_state", {"kernels": 0, "seconds": 0.0, "said": False, "covered": 0})


def test_counts_and_says_once(fresh, capsys):
    for name in ("first", "second", "third", "fourth"):
        progress._compiled(name, 0.8)
    found = re.fullmatch(LINE, capsys.readouterr().err)
    assert found.groups() == ("3", "2.4", "third")


def test_what_a_bar_covers_is_not_said(fresh, capsys):
    with progress.covered():
        progress._compiled("inside", 5.0)
    assert capsys.readouterr().err == "" and progress._state["kernels"] == 0
    progress._compiled("outside", 5.0)
    assert "1 so far in 5.0 s (now outside)" in capsys.readouterr().err


def test_a_closed_standard_error_does_no_harm(fresh, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    progress._compiled("kernel", 3.0)
    assert progress._state["said"]


def test_without_a_cache_the_line_does_not_promise_one(fresh, monkeypatch, capsys):
    from numbagrad.kernel import cache
    monkeypatch.setattr(cache, "cache_dir", lambda: None)
    progress._compiled("kernel", 3.0)
    err = capsys.readouterr().err
    assert "they cannot be stored: no cache folder is writable" in err and "load" not in err
