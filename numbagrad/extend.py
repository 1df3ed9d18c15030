"""What ops and kernels are written with: everything that a file of ``ops/`` needs of the library comes from here.

``elementwise``: a scalar function. ``reduction``: a fold over dimensions. ``view``: new geometry on the same memory.
``custom``: kernels of its own. ``function``: composed of other ops. One entry gives the namespace function, the Tensor
method, the in-place form, gradients of every order, tests, benchmarks and a line of the API page.
"""

from .core.registry import REGISTRY
from .dispatch.custom import custom
from .dispatch.elementwise import elementwise
from .dispatch.op import Op, Sample, function
from .dispatch.reduction import reduction
from .dispatch.view import view

__all__ = ["REGISTRY", "Op", "Sample", "custom", "elementwise", "function", "reduction", "view"]
