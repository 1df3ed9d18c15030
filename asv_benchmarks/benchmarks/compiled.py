"""Training steps under ``ng.compile``: one call, its memory, and the first call of a process."""

from __future__ import annotations

import os
import sys
import tempfile

import numbagrad as ng

from .startup import process

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
if ROOT not in sys.path:
    sys.path.insert(0, ROOT)
from compiled_steps import models  # noqa: E402

FIRST = f"""
import sys
sys.path.insert(0, {ROOT!r})
import numbagrad as ng
from compiled_steps import models
built, batch = models.build(ng, "mlp_32x64x64x10")
ng.compile(built.function())(*batch)
"""


class Compiled:
    """One call of a step that was compiled before."""

    params = [list(models.STEPS), [1, 2]]
    param_names = ["step", "threads"]
    timeout = 600

    def setup(self, name, threads):
        ng.set_num_threads(threads)
        built, self.batch = models.build(ng, name)
        self.step = ng.compile(built.function())
        for _ in range(2):  # the first call makes the optimizer's state, the second is the one that stays
            self.step(*self.batch)

    def time_step(self, name, threads):
        self.step(*self.batch)

    def track_arena(self, name, threads):
        return self.step.variants[-1].program.arena_bytes

    track_arena.unit = "bytes"

    def track_calls(self, name, threads):
        return len(self.step.variants[-1].program.calls)

    track_calls.unit = "native calls"


class CompiledStart:
    timeout = 300
    number = 1
    rounds = 1
    repeat = 2
    warmup_time = 0

    def setup_cache(self):
        process(FIRST)

    def time_first_step_warm(self):
        process(FIRST)

    def time_first_step_cold(self):
        with tempfile.TemporaryDirectory() as folder:
            process(FIRST, NUMBAGRAD_CACHE_DIR=folder)
