"""A kernel has its own fast-math flags, whatever was compiled before it in the process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

FIRST = {
    "a kernel with flags": "kernel(jit.FAST)",
    "a user's function": "import numba\nnumba.njit(fastmath=True)(lambda z: z * z)(1j)",
    "nothing": "",
}
SCRIPT = """
import numpy as np
from numbagrad.kernel import jit
jit.nb()
z, out = np.array([1e200 + 1e200j]), np.zeros(1, complex)

def kernel(fast):
    text = "def f(x, o):\\n    ptr_c16(o)[0] = ptr_c16(x)[0] * ptr_c16(x)[0]\\n"
    jit.compile_source(text, "f", "ii", fast=fast).entry(z.ctypes.data, out.ctypes.data)

{first}
kernel(())
print(out[0])
"""


@pytest.mark.parametrize("first", FIRST)
def test_a_complex_product_is_not_contracted(first, tmp_path):
    """Numba keeps one compiled form of a complex product for all callers: infinity less infinity came out as -infinity where
    the first caller had it contracted."""
    done = subprocess.run([sys.executable, "-c", SCRIPT.format(first=FIRST[first])], capture_output=True, text=True,
                          env={**os.environ, "NUMBAGRAD_CACHE_DIR": str(tmp_path)}, timeout=100)
    assert done.stdout.strip() == "(nan+infj)", done.stderr


MAXIMUM = """
from numbagrad.kernel import jit
jit.nb()
text = "def f(x, o):\\n    ptr_f8(o)[0] = max(ptr_f8(x)[0], ptr_f8(x)[1])\\n"
for fast in (("nnan",), ()):
    print("nnan" in jit.compile_source(text, "f", "ii", key=str(fast), fast=fast).cres.library.get_llvm_str())
"""


def test_functions_that_numba_has_in_python_have_the_flags_of_their_caller(tmp_path):
    done = subprocess.run([sys.executable, "-c", MAXIMUM], capture_output=True, text=True,
                          env={**os.environ, "NUMBAGRAD_CACHE_DIR": str(tmp_path)}, timeout=100)
    assert done.stdout.split() == ["True", "False"], done.stderr
