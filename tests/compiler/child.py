"""Runs drawn programs and says so as JSON: ["start", number, text], ["fine", calls, refusals], ["found", kind, ...]."""

import faulthandler
import gc
import json
import sys
import tempfile
from pathlib import Path

from numbagrad.compiler import pace

from .draw import drawn
from .judge import judged
from .shrink import shrunk


def main(seed, first, last, small, timed):
    faulthandler.enable()
    if not timed:
        pace.BRIEF = 0  # no call runs eagerly for being quicker so
    with tempfile.TemporaryDirectory() as folder:
        for number in range(first, last):
            program = drawn(seed, number)
            text = program.text()
            say("start", number, text)
            if number % 10 == 9:  # collections take longer the more modules of the libraries there are
                gc.collect()
                gc.freeze()
            kind, found = judged(text, Path(folder, f"case{number}.py"), f"case{number}", timed)
            if kind == "fine":
                say("fine", *found)
            elif kind == "invalid":
                say("invalid", found)
            else:
                say("found", kind, found, text)
                if small:
                    say("small", *shrunk(program, kind, found, Path(folder), timed))
    say("done")


def say(*what):
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
