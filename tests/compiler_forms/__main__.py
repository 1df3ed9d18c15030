"""Run the forms of ops in child processes under a watchdog and print what was found."""

import argparse
import collections
import sys
import time
import zlib

from watched import Child

from .forms import FORMS
from .subject import ops

SECONDS = 300  # without a word
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "NUMBAGRAD_NUM_THREADS": "1", "NUMBAGRAD_COMPILE_VERIFY": "1"}
CHUNK = 25


def findings(names, forms="", samples="first", counts=None):
    """(op, sample, form, kind, words, text) of everything found."""
    counts = collections.Counter() if counts is None else counts
    todo, at = list(names), None
    while todo:
        child = Child("compiler_forms.child", (",".join(todo), forms, samples), ENVIRONMENT, SECONDS)
        try:
            for what, *more in child.lines():
                if what == "start":
                    at = more
                    counts["programs"] += 1
                    counts["form " + at[2]] += 1
                elif what == "fine":
                    counts["calls"] += more[0]
                    counts["seconds"] += more[2]
                    counts["refused"] += len(more[1])
                elif what == "found":
                    yield (*at, *more)
                elif what in ("hang", "crash"):
                    if at is None:
                        raise RuntimeError("the child ended before its first form: " + str(more))
                    yield (*at, what, " ".join(map(str, more)), "")
                    todo = rest(todo, at)
                    break
                elif what == "done":
                    todo = []
                    break
        finally:
            child.end()


def rest(todo, at):
    """What is left to do after the child ended in form ``at``."""
    names = [t.partition(":")[0] for t in todo]
    here = names.index(at[0])
    entry = todo[here]
    done = list(FORMS)[:list(FORMS).index(at[2]) + 1] if at[2] in FORMS else list(FORMS)
    return [entry + "".join(f":{at[1]}.{f}" for f in done), *todo[here + 1:]]


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.compiler_forms", description=__doc__)
    parser.add_argument("--ops", nargs="*", help="names; all by default")
    parser.add_argument("--forms", nargs="*", default=[], help=", ".join(FORMS))
    parser.add_argument("--without", nargs="*", default=[], help="forms to leave out")
    parser.add_argument("--samples", choices=["first", "ends", "all"], default="first")
    parser.add_argument("--part", default="0/1", help="k/n: every n-th op from the k-th on")
    given = parser.parse_args()
    k, n = map(int, given.part.split("/"))
    names = given.ops or sorted([op.name for op in ops()], key=lambda n: zlib.crc32(n.encode()))[k::n]
    forms = ",".join(f for f in given.forms or FORMS if f not in given.without)
    counts, kinds = collections.Counter(), collections.Counter()
    began = time.perf_counter()
    for i in range(0, len(names), CHUNK):
        for op, sample, form, kind, words, text in findings(names[i:i + CHUNK], forms, given.samples, counts):
            kinds[kind] += 1
            print(f"=== {kind}: {op} sample {sample} {form}\n{words}\n{text}", flush=True)
        seconds = time.perf_counter() - began
        print(f"--- {min(i + CHUNK, len(names))} ops, {counts['programs']} forms, {seconds:.0f} s, {dict(kinds)}",
              flush=True)
    for name, count in counts.most_common():
        print(count, name)
    print(dict(kinds) or "nothing found")
    return bool(kinds)


if __name__ == "__main__":
    sys.exit(main())
