"""Special functions, and the names of ``numbagrad.special``."""

from __future__ import annotations

import math

import numpy as np

from numbagrad.autograd.inplace import apply_function
from numbagrad.base import arguments
from numbagrad.base import dtypes as dt
from numbagrad.core.out import write_out
from numbagrad.extend import REGISTRY, Sample, Tensor, elementwise, function
from numbagrad.extend import scalar as s
from numbagrad.kernel.expr import where

from .arithmetic import BINARY, INF, NAN, UNARY

BOTH = ("torch", "special")


def _scipy(name):
    """The function of ``scipy.special``, looked up when a test calls it."""
    def call(*args):
        import scipy.special
        return getattr(scipy.special, name)(*args)
    return call


@elementwise(numbers="none", accepts="realfloat", samples=BINARY[:4], reference=np.logaddexp, inplace=False, dtypes="float",
             complex="logaddexp_complex", points=(0.0, 500.0, -500.0, INF, -INF, NAN))
def logaddexp(input, other):
    """``log(exp(input) + exp(other))`` without overflow."""
    m, d = s.maximum(input, other), s.absolute(input - other)
    return where(input == other, m + math.log(2), m + s.log1pexp(-d))


@logaddexp.gradient
def _(g, input, other):
    p = s.sigmoid(input - other)
    return g * p, g * s.sigmoid(other - input)


@function(private=True, reference=np.logaddexp, dtypes="complex")
def logaddexp_complex(input, other):
    """m + log(1 + exp(n - m)), m the operand of the larger real part and n the other."""
    swap = input.real < other.real
    m, n = REGISTRY["where"].callable(swap, other, input), REGISTRY["where"].callable(swap, input, other)
    # Two zeros: nothing is subtracted from the infinity that is their logarithm.
    d = (n - m).masked_fill(m.real.detach() == -INF, -INF)
    return m + (d.exp() + 1).log()


@elementwise(numbers="none", accepts="realfloat", samples=BINARY[:4], reference=np.logaddexp2, inplace=False, dtypes="float",
             points=(0.0, 500.0, -500.0, INF, -INF, NAN))
def logaddexp2(input, other):
    """``log2(2 ** input + 2 ** other)`` without overflow."""
    m, d = s.maximum(input, other), s.absolute(input - other)
    return where(input == other, m + 1, m + s.log1p(s.exp2(-d)) * (1 / math.log(2)))


@logaddexp2.gradient
def _(g, input, other):
    return g / (1 + s.exp2(other - input)), g / (1 + s.exp2(input - other))


@elementwise(accepts="float", samples=BINARY, reference=_scipy("xlogy"), complex=False, domain=(0.2, 2.0),
             namespaces=BOTH, points=(0.0, INF, NAN), fused=True, holds=("input", "other"),
             names={"tt": "XlogyBackward0", "st": "XlogyBackward1", "ts": "XlogyBackward2"})
def xlogy(input, other):
    """``input * log(other)``, 0 where ``input`` is 0 and ``other`` is no NaN."""
    return where((input == 0) & (other == other), 0, input * s.held(s.log(other)))


@xlogy.gradient
def _(g, input, other):
    return where((input == 0) & (other <= 0), 0, g * s.log(other)), g * (input / other)


@elementwise(accepts="float", samples=BINARY, reference=_scipy("xlog1py"), complex=False,
             domain=(-0.5, 2.0), namespaces=("special",),
             method=False, inplace=False, points=(0.0, INF, NAN), fused=True, holds=("input", "other"),
             names={"tt": "SpecialXlog1PyBackward0", "st": "SpecialXlog1PyBackward1", "ts": "SpecialXlog1PyBackward2"})
def xlog1py(input, other):
    """``input * log1p(other)``, 0 where ``input`` is 0 and ``other`` is no NaN."""
    return where((input == 0) & (other == other), 0, input * s.held(s.log1p(other)))


@xlog1py.gradient
def _(g, input, other):
    return where((input == 0) & (other <= -1), 0, g * s.log1p(other)), g * (input / (other + 1))


@elementwise(accepts="float", samples=UNARY, reference=np.sinc, namespaces=BOTH, points=(0.0, 0.5))
def sinc(input):
    """``sin(pi * input) / (pi * input)``, 1 at 0."""
    x = input * math.pi
    return where(input == 0, 1, s.sin(x) / where(input == 0, 1, x))


@sinc.gradient
def _(g, input):
    x, square = input * math.pi, input * input * math.pi
    return where(square == 0, 0, g * ((x * s.cos(x) - s.sin(x)) / square))


def _logit_form(input, eps, out=None, inplace=False):
    eps = arguments.check_float(eps, "logit", "eps", 2)
    if inplace:
        from numbagrad.autograd.inplace import apply
        return apply(logit_between, input, (eps,))
    return logit_between(input, eps, out=out)


def _logit_reference(x, eps=None):
    x = x if eps is None else np.clip(x, eps, 1 - eps)
    return np.log(x / (1 - x))


@elementwise(accepts="float", samples=(*UNARY, Sample((3, 4), eps=0.2)), reference=_logit_reference, complex=False,
             domain=(0.1, 0.9),
             namespaces=BOTH, points=(0.0, 1.0, 1.5), keywords={"eps": (None, _logit_form)}, fused=True)
def logit(input):
    """``log(input / (1 - input))``; ``eps`` first brings ``input`` into [eps, 1 - eps]."""
    return s.log(s.held(input / s.held(1 - input)))


@logit.gradient
def _(g, input):
    return where((input < 0) | (input > 1), NAN, g / (input * (1 - input)))


@elementwise(private=True, accepts="float", samples=(Sample((3, 4), 0.2),), reference=_logit_reference, complex=False,
             fits=("eps",), holds=("eps",),
             domain=(0.0, 1.0),
             names="LogitBackward0", torch_name="logit")
def logit_between(input, eps: float):
    """``logit`` of ``input`` brought into [eps, 1 - eps]."""
    high = s.held(1 - eps)
    x = where(input < eps, eps, where(input > high, high, input))
    return s.log(s.held(x / s.held(1 - x)))


@logit_between.gradient
def _(g, input, eps):
    # PyTorch forgets a negative eps here.
    outside = (input < eps) | (input > 1 - eps)
    x = where(outside, 0.5, input)  # second derivatives outside are 0 and not NaN
    return where(eps < 0, logit.rule(g, input), where(outside, 0, g / (x * (1 - x))))


@elementwise(accepts="float", samples=UNARY, reference=_scipy("gammaln"), domain=(0.3, 4.0), points=(1.0, 2.0, 0.0, -1.5))
def lgamma(input):
    """Logarithm of ``|Gamma(input)|``."""
    return s.lgamma(input)


@elementwise(accepts="float", samples=UNARY, reference=_scipy("digamma"), domain=(0.3, 4.0), points=(1.0, 20.0, -1.5),
             namespaces=BOTH, tolerance=64)  # ulps of a small value next to the root at 1.46, where terms of size one cancel
def digamma(input):
    """Derivative of ``lgamma``."""
    return s.digamma(input)


@elementwise(private=True, accepts="float", samples=(Sample((3, 4), 1), Sample((3, 4), 3)), domain=(0.3, 4.0),
             reference=lambda x, n: _scipy("polygamma")(n, x), names="PolygammaBackward0", inplace=False)
def polygamma_kernel(input, order: int):
    """``polygamma`` with its arguments in the order of a method."""
    return s.polygamma(order, input)


@elementwise(private=True, accepts="float", samples=UNARY, reference=_scipy("digamma"), domain=(0.3, 4.0), inplace=False,
             names="PolygammaBackward0", tolerance=64)
def polygamma_zero(input):
    """``polygamma(0, input)``, which is ``digamma``."""
    return s.digamma(input)


@elementwise(private=True, accepts="float", samples=UNARY, reference=lambda x: _scipy("polygamma")(1, x), domain=(0.3, 4.0),
             inplace=False, names="PolygammaBackward0", tolerance=64)
def trigamma(input):
    """``polygamma(1, input)``, the trigamma function."""
    return s.trigamma(input)


@function(out="wider", namespaces=BOTH, method=False, samples=(Sample(1, (3, 4)), Sample(2, (3, 4)), Sample(0, (3, 4))),
          reference=_scipy("polygamma"), domain=(0.3, 4.0), points=(1.0, 20.0))
def polygamma(n, input):
    """The n-th derivative of ``digamma``, n >= 0."""
    if n < 0:
        raise RuntimeError(f"polygamma(n, x) does not support negative n. (n = {n})")
    return polygamma_zero(input) if n == 0 else trigamma(input) if n == 1 else polygamma_kernel(input, n)


@function(name="polygamma_method", namespaces=(), method="polygamma", differentiable=False, torch_name="polygamma",
          samples=(Sample((3, 4), 1),), domain=(0.3, 4.0), reference=lambda x, n: _scipy("polygamma")(n, x))
def _polygamma_method(input, n):
    """The method ``input.polygamma(n)``."""
    return polygamma(n, input)


def polygamma_(self, n):
    """``polygamma(n)`` in place."""
    return apply_function(REGISTRY["polygamma_method"], self, (n,), {})


REGISTRY.attach(__name__, Tensor, {"polygamma_": polygamma_})


@function(kinds={"p": "int"}, inplace=True, namespaces=("torch",), samples=(Sample((3, 4), 2),), domain=(1.5, 5.0),
          reference=lambda x, p: np.vectorize(lambda v: _scipy("multigammaln")(v, p))(x))
def mvlgamma(input, p, *, out=None):
    """Logarithm of the multivariate gamma function of dimension ``p``."""
    if not isinstance(input, Tensor):
        raise arguments.wrong(input, "Tensor", "mvlgamma", "input", 1)
    if p < 1:
        raise RuntimeError(f"p has to be greater than or equal to 1, but got {p}")
    if p > 1 << 16:
        raise RuntimeError(f"mvlgamma(): p = {p} is too large: the result is a sum of p terms, at most {1 << 16} here")
    total = p * (p - 1) * math.log(math.pi) / 4
    for j in range(p):
        total = lgamma(input - j / 2 if j else input) + total
    return total if out is None else write_out("mvlgamma", out, total, [input], True)


@elementwise(accepts="float", samples=UNARY, reference=_scipy("i0"), domain=(-4.0, 4.0), points=(0.0, 40.0),
             namespaces=BOTH)
def i0(input):
    """Modified Bessel function of the first kind of order 0."""
    return s.i0e(input) * s.exp(s.absolute(input))


@i0.gradient
def _(g, input):
    return g * (s.i1e(input) * s.exp(s.absolute(input)))


def _bessel(name, formula, doc, node):
    def fn(input):
        return formula(input)
    fn.__name__ = fn.__qualname__ = name
    fn.__module__, fn.__doc__ = __name__, doc
    return elementwise(fn, accepts="float", samples=UNARY, reference=_scipy(name), domain=(0.4, 4.0), points=(0.0, 5.0),
                       namespaces=("special",), method=False, inplace=False, names=node, fused=True)


i0e = _bessel("i0e", s.i0e, "``exp(-|input|) * i0(input)``.", "SpecialI0EBackward0")
i1e = _bessel("i1e", s.i1e, "``exp(-|input|) * i1(input)``.", "SpecialI1EBackward0")
i1 = _bessel("i1", lambda x: s.i1e(x) * s.exp(s.absolute(x)), "Modified Bessel function of the first kind of order 1.",
             "SpecialI1Backward0")


@i1.gradient
def _(g, input):
    tiny = s.absolute(input) < 1e-30
    ratio = where(tiny, 0.5, s.i1e(input) / where(tiny, 1, input))
    return g * ((s.i0e(input) - ratio) * s.exp(s.absolute(input)))


@elementwise(accepts="float", samples=UNARY, reference=_scipy("entr"), domain=(0.2, 2.0), namespaces=("special",),
             method=False, inplace=False, points=(0.0, -1.0, NAN), names="SpecialEntrBackward0")
def entr(input):
    """Entropy term ``-input * log(input)``: 0 at 0, -inf below."""
    return where(input != input, input, where(input > 0, -input * s.held(s.log(input)), where(input == 0, 0, -INF)))


@entr.gradient
def _(g, input):
    return g * (-s.log(input) - 1)


@elementwise(accepts="float", samples=UNARY, reference=_scipy("ndtr"), namespaces=("special",), method=False, inplace=False,
             points=(0.0, -4.0, 10.0, INF, -INF), names="MulBackward1")
def ndtr(input):
    """Distribution function of the standard normal distribution."""
    return 0.5 * s.erfc(input * -math.sqrt(0.5))


@ndtr.gradient
def _(g, input):
    return g * (s.exp(-0.5 * (input * input)) * (1 / math.sqrt(2 * math.pi)))


@elementwise(private=True, accepts="realfloat", samples=(Sample((3, 4), 0.0, 3e38, -3e38),), dtypes="float",
             reference=lambda x, a, b, c: np.nan_to_num(x, nan=a, posinf=b, neginf=c), names="NanToNumBackward0",
             torch_name="nan_to_num", points=(INF, -INF, NAN))
def nan_to_num_kernel(input, nan: float, posinf: float, neginf: float):
    """``nan_to_num`` with every replacement given."""
    return where(input != input, nan, where(input == INF, posinf, where(input == -INF, neginf, input)))


@nan_to_num_kernel.gradient
def _(g, input):
    return where((input - input) == (input - input), g, 0)


@function(inplace="into", samples=(*UNARY, Sample((3, 4), 1.0, 2.0, -2.0)), points=(NAN, 2.0), dtypes="any",
          reference=lambda x, nan=0.0, posinf=None, neginf=None: np.nan_to_num(x, nan=nan, posinf=posinf, neginf=neginf))
def nan_to_num(input, nan=None, posinf=None, neginf=None, *, out=None):
    """NaN and infinities replaced: by 0, and the largest and smallest finite numbers, where nothing else is given."""
    d = input._kind.dtype
    if d.category < 2:
        return input.clone() if out is None else out.copy_(input)
    if d.is_complex:
        parts = [nan_to_num(REGISTRY[p].callable(input), nan, posinf, neginf) for p in ("real", "imag")]
        result = REGISTRY["complex"].callable(*parts)
        return result if out is None else write_out("nan_to_num", out, result, [input])
    limits = dt.finfo(d)
    return nan_to_num_kernel(input, 0.0 if nan is None else nan, limits.max if posinf is None else posinf,
                             limits.min if neginf is None else neginf, out=out)


# --- second names --------------------------------------------------------------------------------------------------------

def _alias(name, target, **options):
    """``special.name``: what PyTorch calls ``target`` elsewhere."""
    op = REGISTRY[target]

    def fn(*args, **kwargs):
        return op.callable(*args, **kwargs)
    fn.__signature__ = op.call_signature()
    fn.__name__ = fn.__qualname__ = name
    fn.__module__ = __name__
    fn.__doc__ = f"Another name of ``{target}``."
    return function(fn, namespaces=("special",), method=False, samples=op.samples, reference=op.reference, domain=op.domain,
                    points=op.points, torch_name="special." + name, **options)


expit = _alias("expit", "sigmoid")
gammaln = _alias("gammaln", "lgamma")
psi = _alias("psi", "digamma")
multigammaln = _alias("multigammaln", "mvlgamma")
