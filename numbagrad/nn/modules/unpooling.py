"""What goes beyond pools of even windows: their inverse, and windows whose distances are drawn."""

from .. import functional as F
from .conv import _tuple_of
from .module import Module

__all__ = ["FractionalMaxPool2d", "FractionalMaxPool3d", "MaxUnpool1d", "MaxUnpool2d", "MaxUnpool3d"]


class _MaxUnpoolNd(Module):
    _dims = 0

    def __init__(self, kernel_size, stride=None, padding=0):
        super().__init__()
        self.kernel_size = _tuple_of(kernel_size, self._dims)
        self.stride = _tuple_of(kernel_size if stride is None else stride, self._dims)
        self.padding = _tuple_of(padding, self._dims)

    def forward(self, input, indices, output_size=None):
        unpool = getattr(F, f"max_unpool{self._dims}d")
        return unpool(input, indices, self.kernel_size, self.stride, self.padding, output_size)

    def extra_repr(self):
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxUnpool1d(_MaxUnpoolNd):
    """The values of an (N, C, L) or (C, L) input where the indices of :class:`MaxPool1d` say, zeros elsewhere."""

    _dims = 1


class MaxUnpool2d(_MaxUnpoolNd):
    """The values of an (N, C, H, W) or (C, H, W) input where the indices of :class:`MaxPool2d` say, zeros elsewhere."""

    _dims = 2


class MaxUnpool3d(_MaxUnpoolNd):
    """The values of an (N, C, D, H, W) or (C, D, H, W) input where the indices of :class:`MaxPool3d` say, zeros elsewhere."""

    _dims = 3


class _FractionalMaxPool(Module):
    _dims = 0

    def __init__(self, kernel_size, output_size=None, output_ratio=None, return_indices=False, _random_samples=None):
        super().__init__()
        n, name = self._dims, type(self).__name__
        if n == 3:
            each = (kernel_size,) if isinstance(kernel_size, int) else kernel_size
            if isinstance(each, (tuple, list)) and not all(k > 0 for k in each):
                raise ValueError(f"kernel_size must be greater than 0, but got {kernel_size}")
        self.kernel_size = _tuple_of(kernel_size, n)
        self.return_indices = return_indices
        self.register_buffer("_random_samples", _random_samples)
        self.output_size = None if output_size is None else _tuple_of(output_size, n)
        self.output_ratio = None if output_ratio is None else _tuple_of(output_ratio, n)
        if output_size is None and output_ratio is None:
            raise ValueError(f"{name} requires specifying either an output size, or a pooling ratio")
        if output_size is not None and output_ratio is not None:
            raise ValueError("only one of output_size and output_ratio may be specified")
        if self.output_ratio is not None and not all(0 < ratio < 1 for ratio in self.output_ratio[:n]):
            raise ValueError(f"output_ratio must be between 0 and 1 (got {output_ratio})")

    def forward(self, input):
        pool = getattr(F, f"fractional_max_pool{self._dims}d")
        sizes = self.kernel_size, self.output_size, self.output_ratio
        return pool(input, *sizes, self.return_indices, _random_samples=self._random_samples)


class FractionalMaxPool2d(_FractionalMaxPool):
    """The largest values of ``output_size`` windows of an (N, C, H, W) or (C, H, W) input, at drawn distances."""

    _dims = 2


class FractionalMaxPool3d(_FractionalMaxPool):
    """The largest values of ``output_size`` windows of an (N, C, D, H, W) or (C, D, H, W) input, at drawn distances."""

    _dims = 3
