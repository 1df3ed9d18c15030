"""``torch.types``: names for annotations."""

from __future__ import annotations

import os
from typing import IO

from .base.device import device
from .core.storages import TypedStorage, UntypedStorage

__all__ = ["Device", "FileLike", "Number", "Storage"]
Number = int | float | bool
Device = device | str | int | None
FileLike = str | os.PathLike | IO[bytes]
Storage = TypedStorage | UntypedStorage
