"""Run drawn programs in child processes under a watchdog and print what was found."""

import argparse
import collections
import re
import sys

from watched import Child

SECONDS = 240  # without a word


def findings(seed, first, last, small=True, counts=None, timed=False):
    """(number, kind, what, text) of everything found among the programs ``first`` to ``last``."""
    counts = collections.Counter() if counts is None else counts
    at, text = first, ""
    while at < last:
        child = Child("compiler.child", (seed, at, last, int(small), int(timed)),
                      {"OMP_NUM_THREADS": "1", "NUMBAGRAD_NUM_THREADS": "1", "PYTHONHASHSEED": str(seed)}, SECONDS)
        pending = None
        try:
            for what, *more in child.lines():
                if what == "start":
                    if pending:
                        yield pending
                    at, text, pending = more[0], more[1], None
                    counts["programs"] += 1
                elif what == "fine":
                    counts["calls"] += more[0]
                    counts["refused"] += bool(more[1])
                    for r in more[1][:1]:
                        counts["refusal: " + r.partition(" at /")[0].partition(" at case")[0][:120]] += 1
                elif what == "invalid":
                    counts["invalid: " + re.sub(r"case\d+", "case", more[0])[:80]] += 1
                elif what == "found":
                    pending = at, more[0], more[1], more[2] or text
                elif what in ("hang", "crash"):
                    pending = at, what, " ".join(map(str, more)), text
                elif what == "small":
                    pending = at, *more
                elif what == "done":
                    if pending:
                        yield pending
                    return
            yield pending
        finally:
            child.end()
        if not text:
            raise RuntimeError("the child ended before its first program: " + str(pending))
        at += 1


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.compiler", description=__doc__)
    parser.add_argument("--programs", type=int, default=200, help="how many")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first program")
    parser.add_argument("--only", type=int, help="run this program alone")
    parser.add_argument("--timed", action="store_true", help="steps that are slower compiled than eager are findings, too")
    parser.add_argument("--whole", action="store_true", help="print findings as they are, not made smaller")
    given = parser.parse_args()
    first = given.first if given.only is None else given.only
    last = first + (given.programs if given.only is None else 1)
    counts, kinds = collections.Counter(), collections.Counter()
    for number, kind, what, text in findings(given.seed, first, last, not given.whole, counts, given.timed):
        kinds[kind] += 1
        own = text.partition("\n_made")[0].partition("checkpoint import checkpoint\n")[2]
        shown = own + "...\n" + text[text.index("def program"):]
        print(f"=== {kind}: {what}\n    python -m tests.compiler --seed {given.seed} --only {number}\n{shown}", flush=True)
    for name, n in counts.most_common():
        print(n, name)
    print(dict(kinds) or "nothing found")
    return bool(kinds)


if __name__ == "__main__":
    sys.exit(main())
