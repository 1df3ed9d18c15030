"""One library's process: a case from a file at a time, commands on standard input, answers as JSON lines."""

from __future__ import annotations

import json
import os
import pickle
import statistics
import sys
import time
import traceback
import warnings

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def find(lib, names):
    """The function of a registry entry: from its namespaces, else the method."""
    *spaces, method, name = names
    inside, _, name = name.rpartition(".")
    for space in (inside, *spaces) if inside else spaces:
        place = lib
        for part in space.split(".") if space != "torch" else ():
            place = getattr(place, part)
        if hasattr(place, name):
            return getattr(place, name)
    for n in (name, method):
        if n and hasattr(lib.Tensor, n):
            return getattr(lib.Tensor, n)
    raise AttributeError(f"no function {name}")


def tensors_of(lib, result):
    if isinstance(result, lib.Tensor):
        return [result]
    if isinstance(result, (tuple, list)):
        return [t for r in result for t in tensors_of(lib, r)]
    return []


def flow(given, results, leaves=()):
    """(bytes read, bytes written) that a call cannot do without, of tensors ``given``, ``results`` and those of ``leaves`` that
    get gradients.

    What it is given is read once, new memory written once; what it changes in place is written. With backward, so are what
    arrives and what leaves get. None where a call makes nothing new, as views, or changes a part of what it is given."""
    size = {t.data_ptr(): t.nbytes for t in given}
    spans = [(at, at + n) for at, n in size.items()]
    written = {t.data_ptr(): t.nbytes for t in results}
    inside = [at for at in written if any(low <= at < high for low, high in spans)]
    if not written or any(written[at] != size.get(at) for at in inside):
        return None
    read = sum(n for at, n in size.items() if at not in written)
    return read + bool(leaves) * sum(written.values()), sum(written.values()) + sum(t.nbytes for t in leaves)


def form(lib, name, names, args, kwargs):
    """The call of a registry entry in the form that its name has (``cases.FORMS``)."""
    from registry_sweep.cases import FORMS
    inplace, into = [name.endswith(f) for f in FORMS]
    function = getattr(lib.Tensor, names[1]) if inplace else find(lib, names)
    if inplace:
        kept = args[0].clone()

        def forward():
            args[0].copy_(kept)
            return function(*args, **kwargs)
        return forward
    if into:
        kwargs = dict(kwargs, out=function(*args, **kwargs))

    def forward():
        return function(*args, **kwargs)
    return forward


def build(lib, case):
    """(forward, forward and backward or None) of a case."""
    return parts(lib, case)[:2]


def parts(lib, case):
    """The same, and what each of them reads and writes at least (``flow``)."""
    from registry_sweep.cases import fill
    if len(case) == 4:
        _, text, used, grads = case
        names = {k: lib.tensor(v) if hasattr(v, "dtype") else v for k, v in used.items()}
        names.update(lib=lib, F=lib.nn.functional, array=None)
        if "array" in text:
            import numpy as np
            names["array"] = np.ones((8, 8), "float32")
        given = [t for t in names.values() if isinstance(t, lib.Tensor)]
        leaves = [names[k] for k in grads]
        scope = dict(names)
        statement = " = " in text
        exec("def forward():\n    " + ("" if statement else "return ") + text, scope)
        forward = scope["forward"]
    else:
        _, names, arrays, args, kwargs, grads = case
        given = [lib.tensor(a) for a in arrays]
        leaves = [given[i] for i in grads]
        args, kwargs = fill(args, given), fill(kwargs, given)
        forward = form(lib, case[0], names, args, kwargs)
    for t in leaves:
        t.requires_grad_()
    results = tensors_of(lib, forward())
    outs = [t for t in results if t.requires_grad]
    if not outs:
        return forward, None, [flow(given, results)]
    gs = [lib.ones_like(t) for t in outs]
    backward = lib.autograd.backward
    lone = len(outs) == 1

    def both():
        result = forward()
        ys = [result] if lone and isinstance(result, lib.Tensor) else [t for t in tensors_of(lib, result) if t.requires_grad]
        backward(ys, gs)
        for t in leaves:
            t.grad = None
    return forward, both, [flow(given, results), flow(given, results, leaves)]


WARM = 12  # calls before any is timed: numbagrad plans a call when it has come eight times
# On one thread the process's own time: what else runs on the machine does not count.
clock = time.process_time


def warm(run):
    run()  # (compiles, and may take long)
    run()
    start = clock()
    for _ in range(WARM - 2):
        run()
        if clock() - start > 0.2:
            break


COLD = 3  # calls that are not timed at the beginning of a turn: the other library's had the caches meanwhile


def turn(run, number):
    """Seconds of a call, the mean of so many; those of which there is one in a turn are too long for caches to matter."""
    from figures import timed
    if number > 1:
        timed(run, min(COLD, number), clock)
    return timed(run, number, clock) / number


def often(run, target):
    """How many calls take about ``target`` seconds; asked twice, as the first ones find cold caches, or compile."""
    from figures import calibrate
    return max([calibrate(run, target, clock) for _ in range(2)])


def median(run, target):
    """Median seconds of a call."""
    warm(run)
    number = often(run, target)
    return statistics.median([turn(run, number) for _ in range(5)])


def floor(lib, case, mode, bytes_, target, threads):
    """What limits a case: (bytes, seconds of a loop that reads and writes so many, seconds of the work without all else)."""
    from registry_sweep import bare, cases, limits
    plain = not case[0].endswith(cases.FORMS)
    work = limits.seconds(lib, case, mode, parts, lambda run: median(run, target), threads) if plain else None
    return sum(bytes_) if bytes_ else None, median(bare.loop(*bytes_), target) if bytes_ else None, work


def said(error):
    return f"{type(error).__name__}: {error}".partition("\n")[0][:120]


def main(library, path, processors):
    sys.path.insert(0, HERE)
    import process_memory
    from figures import pin
    pin(processors)
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    lib = __import__(library)
    if library == "torch":
        import torch.nn  # noqa: F401
    lib.set_num_threads(len(processors))
    if len(processors) > 1:
        global clock
        clock = time.perf_counter
    runs, numbers, flows, case = (), (), (), None
    for line in sys.stdin:
        command, number, target = json.loads(line)
        try:
            if command == "prepare":
                r, runs, numbers, flows, case = None, (), (), (), None
                process_memory.release()
                with open(path, "rb") as f:
                    case = pickle.load(f)
                *runs, flows = parts(lib, case)
                runs = [r for r in runs if r is not None]
                wrong = None
                for mode, r in enumerate(runs):
                    try:
                        warm(r)
                    except Exception as e:
                        if not mode:
                            raise
                        runs, wrong = runs[:1], said(e)  # the forward call is compared all the same
                numbers = [often(r, target) for r in runs]
                answer = numbers, wrong
            elif command == "peak":
                answer = process_memory.above(runs[number])
            elif command == "floor":
                answer = floor(lib, case, number, flows[number], target, len(processors))
            else:
                answer = turn(runs[number], numbers[number])
        except Exception as e:
            if os.environ.get("SWEEP_TRACE"):
                traceback.print_exc()
            answer = said(e)
        print(json.dumps(answer), file=out, flush=True)


if __name__ == "__main__":
    sys.path.insert(0, HERE)
    import own_frames
    own_frames.run(main, sys.argv[1], sys.argv[2], [int(p) for p in sys.argv[3].split(",")])
