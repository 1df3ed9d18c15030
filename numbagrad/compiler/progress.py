"""A progress bar for compilations that take long, where ``kernel.progress.wanted``."""

from __future__ import annotations

import sys
import time

from ..kernel.progress import wanted

PATIENCE = 2.0  # seconds before it shows


class Progress:
    """Counts kernels as they are made; after two seconds a bar appears (tqdm's, or plain lines without it)."""

    def __init__(self, total, name):
        self.total, self.name, self.done = total, name, 0
        self.start, self.bar, self.last = time.perf_counter(), None, 0.0

    def __call__(self):
        self.done += 1
        spent = time.perf_counter() - self.start
        if spent < PATIENCE or not wanted():
            return
        if self.bar is None:
            try:
                from tqdm import tqdm
                self.bar = tqdm(total=self.total, initial=self.done, desc=f"compiling {self.name}", leave=False)
            except ImportError:
                self.bar = False
        elif self.bar:
            self.bar.update()
        if self.bar is False and spent - self.last > 1.0:
            self.last = spent
            print(f"compiling {self.name}: {self.done}/{self.total} kernels", file=sys.stderr)

    def close(self):
        if self.bar:
            self.bar.close()
