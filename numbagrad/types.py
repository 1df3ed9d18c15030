"""``torch.types``: names for annotations."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import IO

from .base.device import device
from .base.dtypes import dtype, layout
from .base.symbolic import SymBool, SymFloat, SymInt
from .core.storages import TypedStorage, UntypedStorage
from .core.tensor import Size, Tensor

__all__ = ["Device", "FileLike", "Number", "Storage"]
Number = int | float | bool
Device = device | str | int | None
FileLike = str | os.PathLike | IO[bytes]
Storage = TypedStorage | UntypedStorage
_device, _dtype, _layout = device, dtype, layout
_int, _float, _bool, _complex, _str, _bytes = int, float, bool, complex, str, bytes
_size = Size | list[int] | tuple[int, ...]
_TensorOrTensors = Tensor | Sequence[Tensor]
_TensorOrOptionalTensors = Tensor | Sequence[Tensor | None]
_Number = int, float, bool
IntLikeType, FloatLikeType, BoolLikeType = int | SymInt, float | SymFloat, bool | SymBool
py_sym_types = SymInt, SymFloat, SymBool
PySymType = SymInt | SymFloat | SymBool
