"""One library's process: ``python worker.py LIBRARY``, commands on standard input, answers as JSON lines."""

from __future__ import annotations

import json
import os
import sys
import time
import traceback

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def make(library, name, threads):
    """(step without arguments, wait for its result, what else is known of it)."""
    if library == "jax":
        from compiled_steps import jax_steps
        return jax_steps.build(name), lambda value: value.block_until_ready(), None
    from compiled_steps import models
    if library in ("pytorch", "torch.compile"):
        import torch as lib
    else:
        import numbagrad as lib
    lib.set_num_threads(threads)
    built, batch = models.build(lib, name)
    if library == "torch.compile":
        # The way PyTorch documents: the forward with its loss, and the optimizer's step.
        step = built.function(lib.compile(built.traced), lib.compile(built.optimizer.step))
    else:
        step = built.function()
    if library == "numbagrad":
        step = lib.compile(step)
    return lambda: step(*batch), lambda value: value, step


def spent(step, wait, number):
    start = time.perf_counter()
    for _ in range(number):
        value = step()
    wait(value)
    return (time.perf_counter() - start) / number


def calibrate(step, wait, target=0.1):
    """How many calls take about ``target`` seconds."""
    number = 1
    while True:
        once = spent(step, wait, number)
        if once * number > target / 4:
            return max(1, int(target / once))
        number *= 4


def start(library, name, threads):
    """Seconds to import, to build model and optimizer, and for the first step; MiB over import, at the peak."""
    from process_memory import peak
    begin = time.perf_counter()
    __import__({"jax": "jax", "numbagrad": "numbagrad", "eager": "numbagrad"}.get(library, "torch"))
    imported, before = time.perf_counter(), peak()
    step, wait, compiled = make(library, name, threads)
    built = time.perf_counter()
    wait(step())
    first = time.perf_counter()
    for _ in range(3):
        wait(step())
    answer = {"import": imported - begin, "build": built - imported, "first": first - built, "peak": peak() - before}
    if library == "numbagrad":
        program = compiled.variants[-1].program
        answer.update(arena=program.arena_bytes / 2**20, temporaries=program.total_bytes / 2**20, calls=len(program.calls))
    return answer


def main(library, threads):
    sys.path.insert(0, HERE)
    from figures import pin, processors
    # What libraries print must not mix with the answers.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    step = wait = None
    number = 1
    for line in sys.stdin:
        command, name = json.loads(line)
        try:
            if command == "start":
                answer = start(library, name, threads)
            elif command == "prepare":
                pin(processors(threads))
                step, wait, _ = make(library, name, threads)
                answer = [wait(step()).item() for _ in range(20)]
                number = calibrate(step, wait)
            else:
                before, wall = time.process_time(), time.perf_counter()
                once = spent(step, wait, number)
                answer = once, (time.process_time() - before) / (time.perf_counter() - wall)
        except Exception as e:
            traceback.print_exc()
            answer = f"{type(e).__name__}: {e}".partition("\n")[0]
        print(json.dumps({"error": answer} if isinstance(answer, str) else answer), file=out, flush=True)


if __name__ == "__main__":
    sys.path.insert(0, HERE)
    import own_frames
    own_frames.run(main, sys.argv[1], int(sys.argv[2]))
