"""What a first compilation needs of Numba, and what users' functions get of it as ever."""

from __future__ import annotations

import os
import subprocess
import sys

SCRIPT = """
import sys
import numpy as np
import numbagrad as ng
x = ng.ones(2, 2)
print((x @ x).tolist(), "scipy.linalg" in sys.modules, "numbagrad.ops.conv.conv" in sys.modules)
import numba
from numba.core.codegen import JITCodeLibrary
print(numba.njit(lambda a: np.dot(a, a) + min(1, int(a[0, 0])))(np.ones((2, 2))).tolist())
largest = numba.njit(lambda a, b: max(a, b))
print(largest(2.0, 3.0), largest(4, 3), type(largest.overloads[largest.signatures[0]].library) is JITCodeLibrary)
"""


def test_a_product_needs_no_linear_algebra_of_scipy(tmp_path):
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=200,
                          env={**os.environ, "NUMBAGRAD_CACHE_DIR": str(tmp_path)})
    assert done.stdout.splitlines() == [
        "[[2.0, 2.0], [2.0, 2.0]] False False", "[[3.0, 3.0], [3.0, 3.0]]", "3.0 4 True"], done.stderr
