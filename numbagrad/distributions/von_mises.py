"""The von Mises distribution of angles."""

import functools
import math

import numbagrad as ng

from . import constraints
from ._centred import Centred
from .distribution import Distribution
from .utils import lazy_property

__all__ = ["VonMises"]

# Polynomials of Abramowitz and Stegun, 9.8.1 to 9.8.4, for the Bessel functions I0 and I1: up to 3.75, and above it.
SMALL = ((1.0, 3.5156229, 3.0899424, 1.2067492, 0.2659732, 0.360768e-1, 0.45813e-2),
         (0.5, 0.87890594, 0.51498869, 0.15084934, 0.2658733e-1, 0.301532e-2, 0.32411e-3))
LARGE = ((0.39894228, 0.1328592e-1, 0.225319e-2, -0.157565e-2, 0.916281e-2, -0.2057706e-1, 0.2635537e-1, -0.1647633e-1,
          0.392377e-2),
         (0.39894228, -0.3988024e-1, -0.362018e-2, 0.163801e-2, -0.1031555e-1, 0.2282967e-1, -0.2895312e-1, 0.1787654e-1,
          -0.420059e-2))


def _eval_poly(y, coef):
    return functools.reduce(lambda value, c: c + y * value, coef[-2::-1], coef[-1])


def _log_modified_bessel_fn(x, order=0):
    """The logarithm of I0, or of I1, at positive numbers."""
    if order not in (0, 1):
        raise AssertionError(f"order must be 0 or 1, got {order}")
    small = _eval_poly((x / 3.75) * (x / 3.75), SMALL[order])
    small = (x.abs() * small if order else small).log()
    large = x - 0.5 * x.log() + _eval_poly(3.75 / x, LARGE[order]).log()
    return ng.where(x < 3.75, small, large)


def _rejection_sample(loc, concentration, proposal_r, x):
    """Angles by rejection from a wrapped Cauchy distribution (Best and Fisher, 1979)."""
    done = ng.zeros(x.shape, dtype=ng.bool, device=loc.device)
    while not done.all():
        u1, u2, u3 = ng.rand((3, *x.shape), dtype=loc.dtype, device=loc.device).unbind()
        z = ng.cos(math.pi * u1)
        f = (1 + proposal_r * z) / (proposal_r + z)
        c = concentration * (proposal_r - f)
        accept = ((c * (2 - c) - u2) > 0) | ((c / u2).log() + 1 - c >= 0)
        if accept.any():
            x = ng.where(accept, (u3 - 0.5).sign() * f.acos(), x)
            done = done | accept
    return (x + math.pi + loc) % (2 * math.pi) - math.pi


class VonMises(Centred, Distribution):
    """Angles around ``loc``, the closer the larger the ``concentration``; samples are drawn in double precision."""

    arg_constraints = {"loc": constraints.real, "concentration": constraints.positive}
    support = constraints.real
    has_rsample = False

    def __init__(self, loc, concentration, validate_args=None):
        self._take(loc=loc, concentration=concentration)
        super().__init__(self.loc.shape, ng.Size(), validate_args)

    def log_prob(self, value):
        if self._validate_args:
            self._validate_sample(value)
        log_prob = self.concentration * ng.cos(value - self.loc)
        return log_prob - math.log(2 * math.pi) - _log_modified_bessel_fn(self.concentration, order=0)

    @lazy_property
    def _loc(self):
        return self.loc.to(ng.double)

    @lazy_property
    def _concentration(self):
        return self.concentration.to(ng.double)

    @lazy_property
    def _proposal_r(self):
        """The parameter of the wrapped Cauchy distribution; a series where the concentration is small."""
        kappa = self._concentration
        tau = 1 + (1 + 4 * kappa ** 2).sqrt()
        rho = (tau - (2 * tau).sqrt()) / (2 * kappa)
        return ng.where(kappa < 1e-5, 1 / kappa + kappa, (1 + rho ** 2) / (2 * rho))

    @ng.no_grad()
    def sample(self, sample_shape=ng.Size()):
        x = ng.empty(self._extended_shape(sample_shape), dtype=self._loc.dtype, device=self.loc.device)
        return _rejection_sample(self._loc, self._concentration, self._proposal_r, x).to(self.loc.dtype)

    def expand(self, batch_shape, _instance=None):
        return type(self)(self.loc.expand(batch_shape), self.concentration.expand(batch_shape),
                          validate_args=vars(self).get("_validate_args"))

    @lazy_property
    def variance(self):
        """1 minus the length of the mean of unit vectors."""
        kappa = self.concentration
        return 1 - (_log_modified_bessel_fn(kappa, order=1) - _log_modified_bessel_fn(kappa, order=0)).exp()
