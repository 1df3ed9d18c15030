"""Data that the tests of checkpoints share."""

import collections
import io

import numpy as np

from numbagrad.core.tensor import from_storage
from numbagrad.saving.archive import write_archive


def views(buf, name):
    """Tensors of many layouts on one storage."""
    layouts = [(0, (2, 3, 4), (12, 4, 1)), (0, (4, 6), (1, 4)), (5, (), ()), (3, (4,), (2,)), (2, (3, 0), (1, 1)),
               (1, (5, 2), (0, 3)), (24, (0,), (1,)), (0, (1, 24), (7, 1))]
    return [from_storage(buf, name, *layout) for layout in layouts]


PLAIN = {
    "ints": [0, -1, 255, 65536, 2**31, -(2**63), 10**30],
    "floats": (0.5, -0.0, float("inf"), 1e300),
    "text": ["", "ascii", "Grüße\n\u4e16"],
    "none": None,
    "bools": (True, False),
    "bytes": [b"", b"\x00\xff"],
    "sets": {1, 2, "three"},
    "complex": 1 - 2j,
    "ordered": collections.OrderedDict([("z", 1), ("a", {"deep": [{}, (), []]})]),
    "counter": collections.Counter("abca"),
    3: {(1, "a"): "tuple key"},
}


def crafted(program, storages=None):
    """A checkpoint file around a pickle program of the test's own."""
    file = io.BytesIO()
    records = [("data.pkl", program), ("version", b"3\n")]
    storages = [np.arange(4.0)] if storages is None else storages
    write_archive(file, records + [(f"data/{i}", data) for i, data in enumerate(storages)])
    file.seek(0)
    return file
