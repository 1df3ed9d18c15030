"""Comparisons and logic; none of them is differentiable."""

from __future__ import annotations

import numpy as np

from numbagrad.extend import Sample, elementwise
from numbagrad.extend import scalar as s

BINARY = (Sample((3, 4), (3, 4)), Sample((3, 4), (4,)), Sample((2, 3), 0.5))


def _comparison(name, reference, symbol, aliases=(), accepts="real"):
    def fn(input, other):
        return s.apply(name, input, other)
    fn.__name__ = fn.__qualname__ = name
    fn.__module__ = __name__
    fn.__doc__ = f"Elementwise ``input {symbol} other`` as a bool tensor."
    return elementwise(fn, numbers="later", result="bool", differentiable=False, reference=reference, samples=BINARY,
                       aliases=aliases, accepts=accepts, holds=("other",))


lt = _comparison("lt", np.less, "<", ("less",))
le = _comparison("le", np.less_equal, "<=", ("less_equal",))
gt = _comparison("gt", np.greater, ">", ("greater",))
ge = _comparison("ge", np.greater_equal, ">=", ("greater_equal",))
eq = _comparison("eq", np.equal, "==", accepts="any")
ne = _comparison("ne", np.not_equal, "!=", ("not_equal",), accepts="any")
