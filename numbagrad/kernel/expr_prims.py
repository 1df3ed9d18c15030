"""The primitives of scalar expressions: partial derivatives, printed form, value; and the functions that ops call them by."""

from __future__ import annotations

import math

from .expr_nodes import PRIMS, apply, is_const, prim


def _function(name):
    def f(*args):
        return apply(name, *args)
    f.__name__ = name
    return f


def _tiny(a):
    """Whether |a| is so small that 1 / a may be infinite."""
    return apply("lt", apply("abs", a), 1e-30)


def where(condition, a, b):
    """``a`` where the condition holds, else ``b``; both sides are evaluated."""
    return apply("where", condition, a, b)


prim("add", 2, lambda a, b, y: (1, 1), "({} + {})", lambda a, b: a + b)
prim("sub", 2, lambda a, b, y: (1, -1), "({} - {})", lambda a, b: a - b)
prim("mul", 2, lambda a, b, y: (b, a), "({} * {})", lambda a, b: a * b)
prim("div", 2, lambda a, b, y: (1 / b, -y / b), "({} / {})", lambda a, b: a / b)
prim("neg", 1, lambda a, y: (-1,), "(-{})", lambda a: -a)
prim("pow", 2, lambda a, b, y: (
    where(apply("eq", b, 0), 0, b * apply("pow", a, b - 1)) if not is_const(b) else b * apply("pow", a, b - 1),
    where(apply("and", apply("eq", a, 0), apply("ge", apply("real", b), 0)), 0, y * apply("log", a))), "pow({}, {})")
prim("exp", 1, lambda a, y: (y,))
prim("exp2", 1, lambda a, y: (y * math.log(2),))
prim("expm1", 1, lambda a, y: (y + 1,))
prim("log", 1, lambda a, y: (1 / a,))
prim("log2", 1, lambda a, y: (1 / (a * math.log(2)),))
prim("log10", 1, lambda a, y: (1 / (a * math.log(10)),))
prim("log1p", 1, lambda a, y: (1 / (a + 1),))
prim("sin", 1, lambda a, y: (apply("cos", a),))
prim("cos", 1, lambda a, y: (-apply("sin", a),))
prim("tan", 1, lambda a, y: (1 + y * y,))
prim("sinh", 1, lambda a, y: (apply("cosh", a),))
prim("cosh", 1, lambda a, y: (apply("sinh", a),))
prim("tanh", 1, lambda a, y: (1 - y * y,))
prim("asin", 1, lambda a, y: (apply("rsqrt", 1 - a * a),))
prim("acos", 1, lambda a, y: (-apply("rsqrt", 1 - a * a),))
prim("atan", 1, lambda a, y: (1 / (1 + a * a),))
prim("asinh", 1, lambda a, y: (apply("rsqrt", a * a + 1),))
prim("acosh", 1, lambda a, y: (apply("rsqrt", a * a - 1),))
prim("atanh", 1, lambda a, y: (1 / (1 - a * a),))
prim("atan2", 2, lambda a, b, y: (b / (a * a + b * b), -a / (a * a + b * b)))
prim("erf", 1, lambda a, y: (2 / math.sqrt(math.pi) * apply("exp", -(a * a)),))
prim("erfc", 1, lambda a, y: (-2 / math.sqrt(math.pi) * apply("exp", -(a * a)),))
prim("erfinv", 1, lambda a, y: (math.sqrt(math.pi) / 2 * apply("exp", y * y),))
prim("sqrt", 1, lambda a, y: (0.5 / y,))
prim("rsqrt", 1, lambda a, y: (-0.5 * (y * (y * y)),))
prim("sigmoid", 1, lambda a, y: (y * (1 - y),))
prim("normal_cdf", 1, lambda a, y: (1 / math.sqrt(2 * math.pi) * apply("exp", -0.5 * (a * a)),))
prim("gelu_slope", 1, lambda a, y: ((2 - a * a) * (1 / math.sqrt(2 * math.pi)) * apply("exp", -0.5 * (a * a)),))
prim("log1pexp", 1, lambda a, y: (apply("sigmoid", a),))
prim("lgamma", 1, lambda a, y: (apply("digamma", a),))
prim("digamma", 1, lambda a, y: (apply("trigamma", a),))
prim("trigamma", 1, lambda a, y: (apply("polygamma", 2, a),))
prim("polygamma", 2, lambda n, a, y: (0, apply("polygamma", n + 1, a)))
# Modified Bessel functions, the exponentially scaled ones as primitives.
prim("i0e", 1, lambda a, y: (apply("i1e", a) - apply("sign", a) * y,))
# Near 0, where 1 / a may be infinite, y / a is 0.5.
prim("i1e", 1, lambda a, y: (apply("i0e", a) - y * (apply("sign", a) + where(_tiny(a), 0, 1 / a)) - where(_tiny(a), 0.5, 0),))
prim("abs", 1, lambda a, y: (apply("sign", a),), "abs({})")
prim("sign", 1, lambda a, y: (0,))
# z / |z| of complex numbers, whose gradient is a matter of both parts: that of ``sgn_complex``.
prim("sgn", 1)
prim("floor", 1, lambda a, y: (0,))
prim("ceil", 1, lambda a, y: (0,))
prim("trunc", 1, lambda a, y: (0,))
prim("round", 1, lambda a, y: (0,))
# C's fmod and Python's remainder: a - b * trunc(a / b) and a - b * floor(a / b).
prim("fmod", 2, lambda a, b, y: (1, -apply("trunc", a / b)))
prim("remainder", 2, lambda a, b, y: (1, -apply("floor_divide", a, b)))
prim("copysign", 2, lambda a, b, y: (where(apply("eq", a, 0), 0, y / a), 0))
# NaN wins in min and max as in PyTorch; at a tie each side gets half the gradient.
prim("max", 2, lambda a, b, y: (where(apply("gt", a, b), 1, where(apply("eq", a, b), 0.5, 0)),
                                where(apply("gt", b, a), 1, where(apply("eq", a, b), 0.5, 0))),
     "({0} if ({0} > {1} or {0} != {0}) else {1})")
prim("min", 2, lambda a, b, y: (where(apply("lt", a, b), 1, where(apply("eq", a, b), 0.5, 0)),
                                where(apply("lt", b, a), 1, where(apply("eq", a, b), 0.5, 0))),
     "({0} if ({0} < {1} or {0} != {0}) else {1})")
# fmax and fmin prefer the number to the NaN; at a tie the first argument is taken, of zeros that with its sign, and gets the
# gradient.
prim("fmax", 2, lambda a, b, y: (where(apply("or", apply("ge", a, b), apply("ne", b, b)), 1, 0),
                                 where(apply("or", apply("ge", a, b), apply("ne", b, b)), 0, 1)),
     "({1} if ({1} > {0} or {0} != {0}) else {0})")
prim("fmin", 2, lambda a, b, y: (where(apply("or", apply("le", a, b), apply("ne", b, b)), 1, 0),
                                 where(apply("or", apply("le", a, b), apply("ne", b, b)), 0, 1)),
     "({1} if ({1} < {0} or {0} != {0}) else {0})")
prim("gcd", 2, lambda a, b, y: (0, 0))
prim("lcm", 2, lambda a, b, y: (0, 0))
prim("where", 3, None, "({1} if {0} else {2})")
prim("cast", 1, lambda a, y: (1,), "{0}")
# A number as the dtype of the tensors holds it: printed as one of the two behind it for half types, and as the number itself
# where arithmetic is in the dtype.
prim("held", 1, lambda a, y: (1,), "{0}", lambda a: a)
prim("as_f2", 1, lambda a, y: (1,))
prim("as_bf", 1, lambda a, y: (1,))
prim("conj", 1, None, "{0}.conjugate()")
prim("real", 1, None, "{0}.real", lambda a: a.real)
prim("imag", 1, None, "{0}.imag", lambda a: a.imag)
prim("floor_divide", 2, lambda a, b, y: (0, 0))
for _name, _sym, _f in (("lt", "<", lambda a, b: a < b), ("le", "<=", lambda a, b: a <= b),
                        ("gt", ">", lambda a, b: a > b), ("ge", ">=", lambda a, b: a >= b),
                        ("eq", "==", lambda a, b: a == b), ("ne", "!=", lambda a, b: a != b)):
    prim(_name, 2, lambda a, b, y: (0, 0), "({} " + _sym + " {})", _f, boolean=True)
prim("and", 2, lambda a, b, y: (0, 0), "({} & {})", boolean=True)
prim("or", 2, lambda a, b, y: (0, 0), "({} | {})", boolean=True)
prim("xor", 2, lambda a, b, y: (0, 0), "({} ^ {})", boolean=True)
prim("not", 1, lambda a, y: (0,), "(not {})", boolean=True)
# Integer bit operations print like the logical ones but keep the operand type.
prim("bitand", 2, lambda a, b, y: (0, 0), "({} & {})")
prim("bitor", 2, lambda a, b, y: (0, 0), "({} | {})")
prim("bitxor", 2, lambda a, b, y: (0, 0), "({} ^ {})")
prim("bitnot", 1, lambda a, y: (0,), "(~{})")
prim("shl", 2, lambda a, b, y: (0, 0), "({} << {})")
prim("shr", 2, lambda a, b, y: (0, 0), "({} >> {})")

# Functions of integers, which have no derivative.
STEPS = frozenset(("gcd", "lcm", "bitand", "bitor", "bitxor", "bitnot", "shl", "shr"))

SPELLED = {"max": "maximum", "min": "minimum", "abs": "absolute", "pow": "power", "round": "rint"}
NAMED = {SPELLED.get(n, n): n for n in PRIMS if n.isidentifier() and n not in (
    "add", "sub", "mul", "div", "neg", "and", "or", "not", "where", "lambda")}
globals().update({name: _function(op) for name, op in NAMED.items()})
__all__ = ["where", *NAMED]
