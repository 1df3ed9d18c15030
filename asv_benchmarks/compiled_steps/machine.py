"""What the machine does at best on one thread: GFLOP/s of a large matrix product, GB/s of a copy outside of the caches."""

from __future__ import annotations

import json
import time

import numpy as np


def best(work, rounds=5):
    spent = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        spent.append(time.perf_counter() - start)
    return min(spent)


def measure():
    """(GFLOP/s, GB/s read and written)."""
    n = 1024
    a, b, c = (np.ones((n, n), "float32") for _ in range(3))
    x, y = (np.ones(1 << 25, "float32") for _ in range(2))
    np.matmul(a, b, out=c)
    return 2 * n**3 / best(lambda: np.matmul(a, b, out=c)) / 1e9, 2 * x.nbytes / best(lambda: np.copyto(y, x)) / 1e9


if __name__ == "__main__":
    print(json.dumps(measure()))
