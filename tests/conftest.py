"""Shared settings of the tests."""

import os

# One thread each: results do not depend on it, and the machine may be shared.
os.environ.setdefault("OMP_NUM_THREADS", "1")
