"""Padding: values around the borders."""

from .. import functional as F
from .conv import _tuple_of
from .module import Module

__all__ = [
    f"{kind}Pad{n}d" for kind in ("Circular", "Constant", "Reflection", "Replication", "Zero") for n in (1, 2, 3)
]


class _Pad(Module):
    """Pads the last ``_dims`` dimensions; ``padding`` is (before, after) of the last one, then of the one before..."""

    _dims = 0
    _mode = None

    def __init__(self, padding):
        super().__init__()
        self.padding = _tuple_of(padding, 2 * self._dims)

    def _check(self, input):
        """Circular padding wants the channels to be there; the others leave the check to ``F.pad``."""

    def forward(self, input):
        self._check(input)
        return F.pad(input, self.padding, self._mode)

    def extra_repr(self):
        return f"{self.padding}"


class _ConstantPadNd(_Pad):
    def __init__(self, padding, value):
        super().__init__(padding)
        self.value = value

    def forward(self, input):
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self):
        return f"padding={self.padding}, value={self.value}"


class _Zero(_ConstantPadNd):
    def __init__(self, padding):
        super().__init__(padding, 0.0)

    def extra_repr(self):
        return f"{self.padding}"


class _CircularPadNd(_Pad):
    _mode = "circular"

    def _check(self, input):
        allowed = self._dims + 1, self._dims + 2
        if input.dim() not in allowed:
            raise ValueError(f"expected {allowed[0]}D or {allowed[1]}D input (got {input.dim()}D input)")


class _ReflectionPadNd(_Pad):
    _mode = "reflect"


class _ReplicationPadNd(_Pad):
    _mode = "replicate"


_TEXTS = {
    "Constant": (_ConstantPadNd, "Pads with ``value``"),
    "Zero": (_Zero, "Pads with zeros"),
    "Reflection": (_ReflectionPadNd, "Pads with the values mirrored at the border, which is not repeated"),
    "Replication": (_ReplicationPadNd, "Pads with the value at the border"),
    "Circular": (_CircularPadNd, "Pads with the values of the opposite side"),
}
for _kind, (_base, _text) in _TEXTS.items():
    for _n, _shape in ((1, "(N, C, L) or (C, L)"), (2, "(N, C, H, W) or (C, H, W)"), (3, "(N, C, D, H, W) or (C, D, H, W)")):
        _name = f"{_kind}Pad{_n}d"
        _members = {"_dims": _n, "__doc__": f"{_text}, of {_shape}.", "__module__": __name__, "__qualname__": _name}
        _bases = (_base, globals()[f"ConstantPad{_n}d"]) if _base is _Zero else (_base,)
        globals()[_name] = type(_name, _bases, _members)
