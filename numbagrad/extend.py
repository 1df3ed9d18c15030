"""What ops and kernels are written with: the one face for authors.

``elementwise``: a scalar function. ``reduction``: a fold over dimensions. ``view``: new geometry on the same memory.
``custom``: kernels of its own. ``function``: composed of other ops. One entry gives the namespace function, the Tensor
method, the in-place form, gradients of every order, tests, benchmarks and a line of the API page.

``kernel`` declares a loop that ``launch`` runs on tensors; inside it ``T`` is the dtype's constructor, ``load`` and ``store``
convert half types, ``accumulate`` adds in free order, ``anew`` is for loops that may write back what they read, and ``exp``,
``log`` ... are the functions of the kernel's width.
``scalar`` holds the functions of scalar expressions (``scalar.where``, ``scalar.absolute``).
"""

from .core.registry import REGISTRY
from .core.tensor import Tensor
from .dispatch.custom import custom
from .dispatch.elementwise import elementwise
from .dispatch.kernels import kernel
from .dispatch.op import BINARY, REDUCE, UNARY, Op, Sample, function
from .dispatch.reduction import reduction
from .dispatch.view import view
from .kernel import expr as scalar
from .kernel.jit import (
    T,
    accumulate,
    anew,
    erf,
    exp,
    expm1,
    inline,
    load,
    log,
    log1p,
    power,
    rint,
    rsqrt,
    sigmoid,
    sqrt,
    store,
    tanh,
)

__all__ = ["BINARY", "REDUCE", "REGISTRY", "UNARY", "Op", "Sample", "T", "Tensor", "accumulate", "anew", "custom",
           "elementwise", "erf", "exp", "expm1", "function", "inline", "kernel", "load", "log", "log1p", "power", "reduction",
           "rint", "rsqrt", "scalar", "sigmoid", "sqrt", "store", "tanh", "view"]
