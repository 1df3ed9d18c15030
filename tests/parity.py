"""Runs one piece of code under numbagrad and, where it is installed, under PyTorch, and compares what it says."""

import json
import os
import pathlib
import re
import warnings

import pytest

import numbagrad as ng

FILE = pathlib.Path(__file__).with_name("parity.json")
_torch, _texts, _calls = [], {}, {}
# Warnings that both libraries give once in a process, which may have happened before.
ONCE = ("Using backward() with create_graph=True", "Converting a tensor with requires_grad=True to a scalar",
        "torch.sparse.SparseTensor(",
        # Given by PyTorch alone: numbagrad checks coordinates, and has one sparse layout.
        "Sparse invariant checks are implicitly disabled", "Sparse CSR tensor support is in beta state")


def torch():
    """PyTorch, or None where it is not installed."""
    if not _torch:
        try:
            import torch
            import torch.utils.checkpoint  # noqa: F401
            torch.set_num_threads(1)
            _torch.append(torch)
        except ImportError:
            _torch.append(None)
    return _torch[0]


def said(library, code):
    """What ``code(library)`` returns, raises and warns, as one text without addresses and module names."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            out = code(library)
            text = "\n".join(map(str, out)) if isinstance(out, list) else str(out)
        except Exception as e:
            text = f"{type(e).__name__}: {e}"
    for w in caught:
        if str(w.message).startswith(ONCE):
            continue
        text += f"\n{w.category.__name__}: {w.message}"
    text = re.sub(r" \(Triggered internally at [^)]*\)", "", text)
    text = re.sub(r"0x[0-9a-f]+", "0x", text).replace("numbagrad.", "torch.")
    return text


def recorded(text=None):
    """What PyTorch said at this place of the running test: read, or (with RECORD_PARITY=1) written."""
    place = os.environ["PYTEST_CURRENT_TEST"].rpartition("/")[2].rpartition(" ")[0]
    _calls[place] = _calls.get(place, -1) + 1
    key = f"{place} {_calls[place]}"
    if not _texts:
        _texts.update(json.loads(FILE.read_text()) if FILE.exists() else {"": ""})
    if text is not None and os.environ.get("RECORD_PARITY"):
        _texts[key] = text
        FILE.write_text(json.dumps(dict(sorted(_texts.items())), indent=0, ensure_ascii=False) + "\n")
    return _texts.get(key)


def agrees(code, expected=None):
    """Assert that ``code`` says ``expected`` (if given) under numbagrad, and the same under PyTorch; returns it.

    Without ``expected`` and PyTorch, what PyTorch said when the text was recorded counts."""
    ours = said(ng, code)
    if expected is not None:
        assert ours == expected, f"got\n{ours}\nexpected\n{expected}"
    theirs = said(torch(), code) if torch() else None
    if expected is None:
        theirs = recorded(theirs) if theirs is None or os.environ.get("RECORD_PARITY") else theirs
        if theirs is None:
            pytest.skip("PyTorch is the oracle here")
    if theirs is not None:
        assert ours == theirs, f"numbagrad says\n{ours}\nPyTorch says\n{theirs}"
    return ours
