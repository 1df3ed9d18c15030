"""Some ops, each in one form: which, a checksum of the op's name says. All of them: ``python -m tests.compiler_forms``."""

import sys
import zlib

import pytest

from .forms import FORMS
from .judge import judged
from .subject import Subject, ops

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="as the programs of tests/compiler")


def chosen():
    """(subject, form, program) of one op in 144: the first form after its own that the op has."""
    forms = list(FORMS)
    for op in sorted(ops(), key=lambda op: op.name):
        number = zlib.crc32(op.name.encode())
        if number % 144 == 5:
            subject = Subject(op, 0)
            first = number // 144 % len(forms)
            yield next((subject, f, p) for f in forms[first:] + forms[:first] if (p := FORMS[f](subject)))


def test_compiled_forms_do_what_eager_ones_do(tmp_path):
    found, many = [], 0
    for subject, form, program in chosen():
        kind, *more = judged(subject, program, tmp_path / f"form_{subject.op.name}_{form}.py")
        many += 1
        if kind == "found":
            found.append(f"{subject.op.name} in the form {form}: {more[0]}: {more[1]}\n{program.text()}")
    assert many > 1
    assert not found, "\n".join(found)


def test_every_public_op_has_sixteen_forms():
    few = {}
    for op in sorted(ops(), key=lambda op: op.name)[::150]:
        subject = Subject(op, 0)
        names = [name for name, make in FORMS.items() if make(subject)]
        if op.differentiable and not op.private and len(names) < 16:
            few[op.name] = names
    assert not few
