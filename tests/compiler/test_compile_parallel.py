"""Cold kernels compile in two processes: the same results, and everything in the cache afterwards."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import sys
import numbagrad as ng
import numbagrad.nn.functional as F
from numbagrad import nn
from numbagrad.compiler import parallel
from numbagrad.kernel import cache
ng.set_num_threads(1)
children = []
class Counted(parallel.Child):
    def __init__(self, *args):
        children.append(1)
        super().__init__(*args)
parallel.Child = Counted
ng.manual_seed(0)
model = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.LayerNorm(8), nn.Linear(8, 3))
opt = ng.optim.SGD(model.parameters(), lr=0.1)
@ng.compile
def step(x, y):
    opt.zero_grad()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    opt.step()
    return loss
x, y = ng.randn(16, 6), ng.randint(0, 3, (16,))
losses = [step(x, y).item() for _ in range(5)]
print(len(children), cache.cache_info()["misses"], *[v.hex() for v in losses])
"""


def run(folder, **more):
    env = {**os.environ, "NUMBAGRAD_CACHE_DIR": str(folder), "OMP_NUM_THREADS": "1", **more}
    done = subprocess.run([sys.executable, "-W", "error", "-c", SCRIPT], env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    children, misses, *losses = done.stdout.split()
    return int(children), int(misses), losses


@pytest.mark.skipif(not sys.platform.startswith("linux") or len(os.sched_getaffinity(0)) < 2, reason="needs two cores of Linux")
def test_two_processes_share_the_work(tmp_path):
    children, misses, losses = run(tmp_path / "both")
    serial, alone, expected = run(tmp_path / "alone", NUMBAGRAD_COMPILE_SERIAL="1")
    assert losses == expected
    assert (children, serial) == (1, 0)
    assert misses < alone  # what the child compiled was loaded
    again = run(tmp_path / "both")
    assert again == (0, 0, losses)
