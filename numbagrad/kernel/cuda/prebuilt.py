"""A folder of kernels that were compiled elsewhere: ``NUMBAGRAD_CUBINS=folder``.

A file is found by the kernel's text, parameters and architecture alone, whatever compiled it, so that a machine with a GPU
needs no compiler and a machine without one can fill the folder. What is not there is compiled, and stored there if possible.
The folder is trusted like the program: what is in it runs on the GPU.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile

MAGIC = b"NGCUBIN1"


def _path(key):
    folder = os.environ.get("NUMBAGRAD_CUBINS")
    return folder and os.path.join(folder, hashlib.sha256(key.encode()).hexdigest() + ".cubin")


def read(key):
    """The bytes under a key; None where there is no folder, no file, or one that is damaged or belongs to another key."""
    path = _path(key)
    if not path:
        return None
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError:
        return None
    content = data[len(MAGIC) + 32:]
    return content if data[:len(MAGIC) + 32] == MAGIC + _checksum(key, content) else None


def write(key, content):
    """Store bytes under a key, whole or not at all; a folder that cannot be written is left alone."""
    path = _path(key)
    if not path:
        return
    temporary = None
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        handle, temporary = tempfile.mkstemp(suffix=".part", dir=os.path.dirname(path))
        with open(handle, "wb") as file:
            file.write(MAGIC + _checksum(key, content) + content)
        os.replace(temporary, path)
    except OSError:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def _checksum(key, content):
    return hashlib.sha256(key.encode() + b"\0" + content).digest()
