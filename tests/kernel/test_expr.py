"""Scalar expressions: tracing, simplification, derivatives of every primitive, printing."""

import math

import numpy as np
import pytest

from numbagrad.extend import REGISTRY
from numbagrad.kernel import emit, expr
from numbagrad.kernel import expr as s

x, y, g = expr.var("x"), expr.var("y"), expr.var("g")


def value(e, **values):
    """The value of an expression at plain numbers."""
    return expr.evaluate([expr.lift(e)], values, lambda op: lambda *a: expr.number(op, *a))[0]


def test_equal_expressions_are_one_object():
    assert (x + y * 2) is (x + y * 2)
    assert (x + y) is not (y + x)
    assert expr.const(1) is not expr.const(1.0) and expr.const(0.0) is not expr.const(-0.0)
    assert expr.const(True) is not expr.const(1)


def test_comparison_operators_trace():
    """``==`` is an expression too, so a formula cannot silently compare identities."""
    for e, op in ((x == y, "eq"), (x != y, "ne"), (x < y, "lt"), (x >= 0, "ge")):
        assert isinstance(e, expr.Expr) and e.op == op
    assert len({x, y, x + y, x}) == 3 and x in {x: 1}
    with pytest.raises(TypeError, match="use where"):
        bool(x == y)
    with pytest.raises(TypeError, match="use where"):
        if x > 0:
            pass


@pytest.mark.parametrize("made, simple", [
    (x + 0, x), (0 + x, x), (x - 0, x), (0 - x, -x), (x * 1, x), (1 * x, x), (x * -1, -x), (x / 1, x),
    (expr.apply("neg", -x), x),
    (x + (-y), x - y), (x - (-y), x + y), ((-x) * (-y), x * y), (x**1, x), (x**2, x * x), (s.where(x > 0, y, y), y),
    (s.where(expr.const(True), x, y), x), ((x > 0).__invert__().__invert__(), x > 0),
])
def test_simplification(made, simple):
    assert made is simple


def test_simplification_keeps_nan_and_zero():
    """0 * x, x - x and x / x are not folded: x may be NaN or infinite."""
    assert (x * 0).op == "mul" and (x - x).op == "sub" and (x / x).op == "div"


def test_constants_fold():
    assert (expr.const(2) * 3.5).value == 7.0
    assert (expr.lift(1) / 0).op == "div"  # left to the kernel, which knows infinity


def test_trace_wants_expressions():
    assert expr.trace(lambda x: x + 1, ["x"])[0] is x + 1
    assert expr.trace(lambda x, y: (x, None, 3), ["x", "y"])[1] is None
    assert expr.trace(lambda x: 2.0, ["x"])[0].value == 2.0


# A point inside the domain of each primitive.
POINTS = {"acosh": (1.7,), "asin": (0.3,), "acos": (0.3,), "atanh": (0.3,), "erfinv": (0.3,), "log": (0.7,), "log2": (0.7,),
          "log10": (0.7,), "log1p": (0.7,), "sqrt": (0.7,), "rsqrt": (0.7,), "pow": (0.7, 1.3), "div": (0.7, 1.3),
          "lgamma": (2.3,), "digamma": (2.3,), "trigamma": (2.3,),
          "polygamma": (2, 2.3), "fmod": (1.7, 0.6), "remainder": (-1.7, 0.6),
          "atan2": (0.7, 0.4), "copysign": (0.7, -1.0), "floor_divide": (1.7, 0.6)}
SKIPPED = {"where", "conj", "real", "imag", "cast", "and", "or", "xor", "not", "bitand", "bitor", "bitxor", "bitnot", "shl",
           "shr", "gcd", "lcm", "sgn", "as_f2", "as_bf"}


def numeric(op, *args):
    """A primitive of numbers by SciPy and NumPy."""
    import scipy.special as sp
    table = {"erf": sp.erf, "erfc": sp.erfc, "erfinv": sp.erfinv, "lgamma": sp.gammaln, "digamma": sp.digamma,
             "trigamma": lambda v: float(sp.polygamma(1, v)),
             "polygamma": lambda n, v: float(sp.polygamma(n, v)), "i0e": sp.i0e, "i1e": sp.i1e,
             "floor_divide": lambda a, b: float(np.floor_divide(a, b)), "where": lambda c, a, b: a if c else b}
    return float(table[op](*args)) if op in table else expr.number(op, *args)


@pytest.mark.parametrize("name", [n for n in expr.PRIMS if n not in SKIPPED])
def test_partial_derivatives(name):
    """Each primitive's partials against fourth-order differences."""
    arity = expr.PRIMS[name].arity
    point = POINTS.get(name, (0.7, 1.3)[:arity])
    names = "abc"[:arity]
    e = expr.apply(name, *map(expr.var, names))
    found = expr.adjoints(e, expr.var("g"), tuple(names))

    def at(values):
        return float(expr.evaluate([e], dict(zip(names, values)), lambda op: lambda *a: numeric(op, *a))[0])
    for i, d in enumerate(found):
        if name == "polygamma" and i == 0:
            continue
        h = 1e-4

        def moved(delta, i=i):
            p = list(point)
            p[i] += delta
            return at(p)
        expected = (8 * (moved(h) - moved(-h)) - (moved(2 * h) - moved(-2 * h))) / (12 * h)
        got = 0.0 if d is None else float(expr.evaluate([d], {**dict(zip(names, point)), "g": 1.0},
                                                        lambda op: lambda *a: numeric(op, *a))[0])
        assert got == pytest.approx(expected, rel=1e-9, abs=1e-9), f"{name}, argument {i}"


def test_adjoints_of_shared_subexpressions():
    """A variable used on several paths gets the sum of them."""
    e = s.sin(x) * x + s.sin(x)
    d, = expr.adjoints(e, expr.const(1.0), ("x",))
    assert value(d, x=0.7) == pytest.approx(math.cos(0.7) * 0.7 + math.sin(0.7) + math.cos(0.7), rel=1e-15)


def test_adjoint_of_where_masks():
    """No NaN comes from the branch that was not taken."""
    d, = expr.adjoints(s.where(x > 0, s.log(x), x), g, ("x",))
    assert value(d, x=-1.0, g=2.0) == 2.0 and value(d, x=4.0, g=2.0) == 0.5


def test_derivatives_of_any_order():
    e = s.exp(2 * x)
    for order in range(1, 6):
        e, = expr.adjoints(e, expr.const(1.0), ("x",))
        assert value(e, x=0.3) == pytest.approx(2**order * math.exp(0.6), rel=1e-14)


def test_independent_variable_has_no_adjoint():
    assert expr.adjoints(x * 2, g, ("x", "y"))[1] is None


def test_deep_expressions_do_not_recurse():
    e = x
    for _ in range(20000):
        e = s.sin(e)
    assert len(expr.topological([e])) == 20001
    del e


def test_substitute_and_variables():
    e = s.exp(x) * y + s.exp(x)
    new, = expr.substitute((e,), {s.exp(x): expr.var("z")})
    assert expr.variables([new]) == ["z", "y"]


def test_lines_share_subexpressions():
    consts, body, results, used = expr.lines((s.exp(x) + 1, s.exp(x) * 2.5), "f4")
    assert sum("exp_(" in line for line in body) == 1 and used == ["exp"] and len(results) == 2
    assert consts == ["k0_ = T_(1)", "k1_ = T_(2.5)"]


def test_lines_of_constants():
    for v, text in ((math.inf, "T_(inf_)"), (-math.inf, "T_(-inf_)"), (math.nan, "T_(nan_)"), (True, "True"),
                    (1j, "T_(complex_(0.0, 1.0))")):
        assert expr.lines((expr.const(v),), "c16" if v == 1j else "f8")[0] == [f"k0_ = {text}"]


def test_printed_source_is_python():
    """The text of every elementwise op's kernels compiles as Python, with and without a constant operand."""
    for op in REGISTRY.values():
        if op.kind != "elementwise":
            continue
        form = op.form("t" * len(op.tensors))
        for constant in (0, 1):
            code = "i8" if op.accepts in ("int", "integer") else "f4"
            text, letters, _ = form.forward.source(code, (code,) * len(op.tensors), (code,), constant=constant)
            compile(text, op.name, "exec")
            assert len(letters) == text[:text.index("):")].count(",") + 1


@pytest.mark.parametrize("shape, strides, dims, rows", [
    ((2, 3, 4), ((12, 4, 1), (12, 4, 1)), 1, 1),       # row-major: one long row
    ((2, 3, 4), ((12, 4, 1), (0, 0, 1)), 2, 6),        # a row broadcast over the rest
    ((2, 3, 4), ((12, 4, 1), (1, 2, 6)), 3, 6),        # transposed: nothing merges
    ((1, 3, 1), ((3, 1, 1), (3, 1, 1)), 1, 1),         # dimensions of one element vanish
    ((), ((), ()), 1, 1),
])
def test_plan_merges_dimensions(shape, strides, dims, rows):
    array, address, found, constant = emit.plan(shape, strides)
    assert array[0] == dims and found == rows and address == array.ctypes.data
    assert int(np.prod(array[1:1 + dims])) == int(np.prod(shape)) and constant == 0


@pytest.mark.parametrize("strides, constant", [
    (((64, 1), (0, 1), (64, 1)), 0), (((64, 1), (1, 0), (64, 1)), 2), (((0, 0), (1, 0), (64, 1)), 3),
    (((64, 1), (1, 0), (1, 3)), 0),                    # beside an operand of another stride it is copied
])
def test_plan_finds_constant_operands(strides, constant):
    """Bits of the operands that stand still along rows that are long enough."""
    assert emit.plan((3, 64), strides)[3] == constant
    assert emit.plan((3, 63), tuple((63 if r == 64 else r, c) for r, c in strides))[3] == 0
