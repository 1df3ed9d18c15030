"""Names for annotations of functions that PyTorch compiles as TorchScript."""

import typing
from typing import Any, Dict, List, Optional, Tuple, Union  # noqa: F401, UP035 (which packages take from here)

_T = typing.TypeVar("_T")


class BroadcastingList1(typing.Generic[_T]):
    """A list of one number, or the number."""


class BroadcastingList2(typing.Generic[_T]):
    """A list of two numbers, or one for both."""


class BroadcastingList3(typing.Generic[_T]):
    """A list of three numbers, or one for all."""
