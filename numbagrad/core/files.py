"""Memory of tensors in a file of the user's."""

from __future__ import annotations

import mmap
import os

import numpy as np

from ..kernel.tape import refuse


def mapped(filename, shared, nbytes):
    """The first bytes of a file as an array; what is written to it goes to the file if ``shared``."""
    refuse("maps a file")
    if not nbytes:
        return np.empty(0, np.uint8)
    try:
        fd = os.open(filename, os.O_RDWR | os.O_CREAT if shared else os.O_RDONLY, 0o600)
    except OSError as e:
        raise RuntimeError(f"unable to open file <{filename}> in read-{'write' if shared else 'only'} mode: {e.strerror} "
                           f"({e.errno})") from None
    try:
        size = os.fstat(fd).st_size
        if size < nbytes and not shared:
            raise RuntimeError(f"file <{filename}> size <{size}> is smaller than the required mapping size <{nbytes}>")
        if size < nbytes:
            os.ftruncate(fd, nbytes)
        return np.frombuffer(mmap.mmap(fd, nbytes, access=mmap.ACCESS_WRITE if shared else mmap.ACCESS_COPY), np.uint8)
    finally:
        os.close(fd)
