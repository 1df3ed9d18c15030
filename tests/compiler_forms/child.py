"""Runs forms of ops and says so as JSON: ["start", op, sample, form], ["fine", ...], ["found", kind, words, text]."""

import faulthandler
import gc
import json
import sys
import tempfile
import time
from pathlib import Path

from numbagrad.extend import REGISTRY

from .forms import FORMS
from .judge import judged
from .subject import Subject


def main(names, forms, samples):
    faulthandler.enable()
    chosen = {f: FORMS[f] for f in forms.split(",")} if forms else FORMS
    with tempfile.TemporaryDirectory() as folder:
        for entry in names.split(","):
            name, _, skipped = entry.partition(":")
            op = REGISTRY[name]
            for index in sorted({0, len(op.samples) - 1} if samples == "ends" else {0} if samples == "first" else
                                range(len(op.samples))):
                subject = Subject(op, index)
                if subject.error is not None:
                    say("start", name, index, "probe")
                    say("found", "probe", repr(subject.error), subject.call())
                    continue
                for form, make in chosen.items():
                    if f"{index}.{form}" in skipped.split(":"):
                        continue
                    run(subject, form, make, Path(folder, f"form_{name}_{index}_{form}.py"))
            gc.collect()
    say("done")


def run(subject, form, make, path):
    program = make(subject)
    if program is None or not program:
        return
    say("start", subject.op.name, subject.index, form)
    began = time.perf_counter()
    kind, *found = judged(subject, program, path)
    if kind == "fine":
        say("fine", len(program.calls), found[0], time.perf_counter() - began)
    else:
        say("found", *found, program.text())


def say(*what):
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
