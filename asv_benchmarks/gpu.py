"""Elementwise operations and reductions on a GPU against PyTorch on the same card: ``python asv_benchmarks/gpu.py``.

Large sizes as a share of what a copy on the card moves, small ones as host time of a call. Both libraries take turns in one
process, as they share the card; each figure is the median of several rounds.
"""

import statistics
import sys
import time

import numbagrad as ng

LARGE, SMALL, ROUNDS = 1 << 26, 64, 7


def calls(lib, n, device="cuda"):
    """(name, bytes read and written, function) of each row."""
    x, y = lib.ones(n, device=device) * 0.5, lib.ones(n, device=device)
    rows = x.reshape(-1, 64 if n == SMALL else 4096)
    size = 4 * n
    return [("add", 3 * size, lambda: x + y), ("exp", 2 * size, lambda: x.exp()), ("tanh", 2 * size, lambda: x.tanh()),
            ("sum", size, lambda: x.sum()), ("amax", size, lambda: x.amax()), ("row sums", size, lambda: rows.sum(1)),
            ("column sums", size, lambda: rows.sum(0))]


def seconds(function, wait, repeat):
    function()
    wait()
    begin = time.perf_counter()
    for _ in range(repeat):
        function()
    wait()
    return (time.perf_counter() - begin) / repeat


def main():
    if not ng.cuda.is_available() or "simulator" in ng.cuda.get_device_name():
        sys.exit(f"no GPU: {ng.cuda.why_not() or 'this process runs the simulator'}")
    import torch
    print(ng.cuda.get_device_name(), "; numbagrad", ng.__version__, "; torch", torch.__version__)
    for n, repeat, unit in ((LARGE, 20, "GB/s"), (SMALL, 500, "us a call")):
        pairs = list(zip(calls(ng, n), calls(torch, n)))
        found = {name: ([], []) for (name, _, _), _ in pairs}
        for _ in range(ROUNDS):
            for (name, _, ours), (_, _, theirs) in pairs:
                found[name][0].append(seconds(ours, ng.cuda.synchronize, repeat))
                found[name][1].append(seconds(theirs, torch.cuda.synchronize, repeat))
        print(f"\n{n} float32, {unit}: numbagrad, torch, time as a share of torch's")
        for (name, size, _), _ in pairs:
            a, b = map(statistics.median, found[name])
            shown = [size / s / 1e9 if unit == "GB/s" else s * 1e6 for s in (a, b)]
            print(f"  {name:12} {shown[0]:9.1f} {shown[1]:9.1f} {a / b:7.2f}")


if __name__ == "__main__":
    main()
