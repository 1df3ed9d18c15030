"""Transforms of slices, side by side along a dimension."""

import numbagrad as ng

from . import constraints
from ._transform import Transform
from .utils import _sum_rightmost, lazy_property


class _Joined(Transform):
    """Transforms of slices along a dimension."""

    def __init__(self, tseq, dim, cache_size):
        if not all(isinstance(t, Transform) for t in tseq):
            raise AssertionError("All elements of tseq must be Transform instances")
        if cache_size:
            tseq = [t.with_cache(cache_size) for t in tseq]
        Transform.__init__(self, cache_size=cache_size)
        self.transforms, self.dim = list(tseq), dim

    def _check(self, value, name, shown=None):
        if not -value.dim() <= self.dim < value.dim():
            raise AssertionError(f"dim {self.dim} out of range for {shown or name} with {value.dim()} dimensions")
        self._check_size(value.size(self.dim), f"{name}.size({self.dim})")

    def _call(self, x):
        self._check(x, "x", "tensor")
        return self._join([t(part) for t, part in zip(self.transforms, self._slice(x))])

    def _inverse(self, y):
        self._check(y, "y", "tensor")
        return self._join([t.inv(part) for t, part in zip(self.transforms, self._slice(y))])

    def _jacobians(self, x, y):
        self._check(x, "x")
        self._check(y, "y")
        return [t.log_abs_det_jacobian(a, b) for t, a, b in zip(self.transforms, self._slice(x), self._slice(y))]

    @property
    def bijective(self):
        return all(t.bijective for t in self.transforms)


class CatTransform(_Joined):
    """Transforms of slices of some lengths."""

    def __init__(self, tseq, dim=0, lengths=None, cache_size=0):
        super().__init__(tseq, dim, cache_size)
        self.lengths = [1] * len(self.transforms) if lengths is None else list(lengths)
        if len(self.lengths) != len(self.transforms):
            raise AssertionError(f"lengths ({len(self.lengths)}) must match transforms ({len(self.transforms)})")

    @lazy_property
    def event_dim(self):
        return max(t.event_dim for t in self.transforms)

    @lazy_property
    def length(self):
        return sum(self.lengths)

    def with_cache(self, cache_size=1):
        return self._recached(cache_size, CatTransform, self.transforms, self.dim, self.lengths)

    def _check_size(self, size, shown):
        if size != self.length:
            raise AssertionError(f"{shown} = {size} must equal length {self.length}")

    def _slice(self, z):
        starts = [sum(self.lengths[:i]) for i in range(len(self.lengths))]
        return [z.narrow(self.dim, start, length) for start, length in zip(starts, self.lengths)]

    def _join(self, parts):
        return ng.cat(parts, dim=self.dim)

    def log_abs_det_jacobian(self, x, y):
        terms = [_sum_rightmost(j, self.event_dim - t.event_dim) for t, j in zip(self.transforms, self._jacobians(x, y))]
        dim = (self.dim - x.dim() if self.dim >= 0 else self.dim) + self.event_dim
        return ng.cat(terms, dim=dim) if dim < 0 else sum(terms)

    @constraints.dependent_property
    def domain(self):
        return constraints.cat([t.domain for t in self.transforms], self.dim, self.lengths)

    @constraints.dependent_property
    def codomain(self):
        return constraints.cat([t.codomain for t in self.transforms], self.dim, self.lengths)


class StackTransform(_Joined):
    """Transforms of the slices that have an index along a dimension."""

    def __init__(self, tseq, dim=0, cache_size=0):
        super().__init__(tseq, dim, cache_size)

    def with_cache(self, cache_size=1):
        return self._recached(cache_size, StackTransform, self.transforms, self.dim)

    def _check_size(self, size, shown):
        if size != len(self.transforms):
            raise AssertionError(f"{shown} = {size} must equal len(transforms) {len(self.transforms)}")

    def _slice(self, z):
        return [z.select(self.dim, i) for i in range(z.size(self.dim))]

    def _join(self, parts):
        return ng.stack(parts, dim=self.dim)

    def log_abs_det_jacobian(self, x, y):
        return self._join(self._jacobians(x, y))

    @constraints.dependent_property
    def domain(self):
        return constraints.stack([t.domain for t in self.transforms], self.dim)

    @constraints.dependent_property
    def codomain(self):
        return constraints.stack([t.codomain for t in self.transforms], self.dim)
