"""A child process that says one JSON list per line, and a watchdog over it: what the fuzzers run their cases in."""

import json
import os
import pathlib
import select
import signal
import subprocess
import sys
import tempfile
import time

TESTS = pathlib.Path(__file__).resolve().parent
PATHS = [p for p in [os.environ.get("PYTHONPATH")] if p]  # the child tests the same package
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            fields = f.read().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS


class Child:
    """``python -m module arguments...``, and the lines it says.

    It is ended after ``wall`` seconds, or ``cpu`` seconds of its own work, without a line."""

    def __init__(self, module, arguments, environment, wall, cpu=float("inf")):
        self.wall, self.cpu = wall, cpu
        self.errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *map(str, arguments)], stdout=subprocess.PIPE, stderr=self.errors, cwd=TESTS,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *PATHS]), "PYTHONWARNINGS": "ignore", **environment})
        self.rest = b""

    def lines(self):
        """What the child says until it ends; ["hang", last words] or ["crash", signal or status, last words] are added."""
        cpu, wall = cpu_seconds(self.process.pid), time.monotonic()
        while True:
            if select.select([self.process.stdout], [], [], 1.0)[0]:
                piece = os.read(self.process.stdout.fileno(), 1 << 16)
                if not piece:
                    yield ["crash", self.process.wait(), self.last_words()]
                    return
                *whole, self.rest = (self.rest + piece).split(b"\n")
                yield from map(json.loads, whole)
                cpu, wall = cpu_seconds(self.process.pid), time.monotonic()
            elif cpu_seconds(self.process.pid) - cpu > self.cpu or time.monotonic() - wall > self.wall:
                self.process.send_signal(signal.SIGABRT)  # faulthandler prints where it is
                self.process.wait()
                yield ["hang", self.last_words()]
                return

    def last_words(self):
        self.errors.seek(0)
        text = self.errors.read().decode(errors="replace")
        frames = [line.strip() for line in text.splitlines() if "File " in line]
        return " < ".join(frames[:3]) or text[-1500:]

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.errors.close()
