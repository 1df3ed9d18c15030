"""The process that runs calls: says the number of each before it starts, and what was found after it.

Arguments: seed, first, last, threads, whether to ask PyTorch, names of ops. Written to standard output, one JSON list per
line: ["start", n, text], ["ours", n], ["found", n, class, text], ["done"]."""

import faulthandler
import json
import os
import resource
import sys

from . import TESTS, fence

fence.install()

import numbagrad as ng  # noqa: E402
from numbagrad.kernel import threads as pool  # noqa: E402

from . import draw, judge, known  # noqa: E402
from .play import Absent, Player  # noqa: E402

ROOT = str(TESTS / "fuzz")


def say(*what):
    os.write(OUT, (json.dumps(what) + "\n").encode())


def outcome(player, call, function, check=None):
    """Results, or the Failure of a call; ``check`` looks at the inputs afterwards."""
    args, kwargs, made = player.arguments(call)
    before = [bytes(memoryview(base_bytes(base))) for _, _, base in made] if check else ()
    try:
        out = player.run(call, function, args, kwargs, made)
    except Absent:
        return Absent
    except MemoryError as error:
        out = judge.Failure(error, ROOT)
    except Exception as error:
        out = judge.Failure(error, ROOT)
        del error
    if check:
        check([i for i, (_, _, base) in enumerate(made) if bytes(memoryview(base_bytes(base))) != before[i]])
    return out


def base_bytes(t):
    """The memory of a storage as bytes."""
    return t.detach().view(ng.uint8).numpy() if t.dtype is ng.bfloat16 else t.detach().numpy().view("u1")


def play(number, call, other):
    """Run one call and say what was found."""
    fence.side(call.side)
    found = []
    fence.harmed()

    def check(changed):
        bad = fence.harmed()
        if bad:
            found.append(("fence", f"{bad} arrays lost bytes around them"))
        if changed and call.mode != "inplace" and not call.op.name.endswith("_"):
            found.append(("changed", f"storages {changed} of the inputs were written to"))
    ours = outcome(Player(ng, fence.place), call, call.op.callable, check)
    say("ours", number)
    theirs = None
    if ours is not Absent and other is not None:
        function = judge.oracle(call.op)
        if function is not None:
            theirs = outcome(other, call, function)
            theirs = None if theirs is Absent else theirs
    if ours is not Absent:
        difference = judge.verdict(ours, theirs, ng, other and other.lib, call.mode == "twice",
                                   {t.dtype for t in call.tensors()})
        if difference and not known.known(call.op.name, *difference, repr(call)):
            found.append(difference)
    for kind, text in found:
        say("found", number, kind, text)


def main(seed, first, last, threads, compare, *names):
    ng.set_num_threads(int(threads))
    for key in pool.SERIAL_BELOW:
        pool.SERIAL_BELOW[key] = 1
    if int(threads) > 1:
        pool.LIMIT[0] = 2
    resource.setrlimit(resource.RLIMIT_AS, (16 << 30, resource.getrlimit(resource.RLIMIT_AS)[1]))
    other = None
    if compare == "1":
        import torch
        torch.set_num_threads(1)
        other = Player(torch)
    for number in range(int(first), int(last)):
        call = draw.drawn(int(seed), number, names)
        say("start", number, repr(call))
        play(number, call, other)
    say("done")


if __name__ == "__main__":
    OUT = os.dup(1)
    os.dup2(2, 1)  # what libraries print goes elsewhere
    faulthandler.enable()
    main(*sys.argv[1:])
