"""The op record, its registry and the decorators that ops are written with.

``elementwise``: a scalar function. ``reduction``: a fold over dimensions. ``view``: new geometry on the same memory.
``custom``: kernels of its own. ``function``: composed of other ops. One entry gives the namespace function, the Tensor
method, the in-place form, gradients of every order, tests, benchmarks and a line of the API page.
"""

from .custom import custom
from .elementwise import elementwise
from .record import Op, Sample, function
from .reduction import reduction
from .registry import REGISTRY
from .view import view

__all__ = ["REGISTRY", "Op", "Sample", "custom", "elementwise", "function", "reduction", "view"]
