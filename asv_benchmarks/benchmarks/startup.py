"""Whole processes: import, first step with a warm and with an empty cache of compiled kernels."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

FIRST = """
import numpy as np
import numbagrad as ng
model = ng.nn.Sequential(ng.nn.Linear(64, 128), ng.nn.ReLU(), ng.nn.Linear(128, 10))
x, y = ng.tensor(np.ones((64, 64), dtype="float32")), ng.tensor(np.zeros(64, dtype="int64"))
ng.nn.functional.cross_entropy(model(x), y).backward()
"""


def process(code, **env):
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, **env})


class Startup:
    timeout = 300
    number = 1
    warmup_time = 0

    def setup_cache(self):
        process(FIRST)

    def time_import(self):
        process("import numbagrad")

    def time_first_gradient_warm(self):
        process(FIRST)


class ColdStart:
    timeout = 300
    number = 1
    rounds = 1
    repeat = 2
    warmup_time = 0

    def time_first_gradient_cold(self):
        with tempfile.TemporaryDirectory() as folder:
            process(FIRST, NUMBAGRAD_CACHE_DIR=folder)
