"""Numbers that change from call to call, followed through Python's arithmetic.

In a capture such a number (an argument, an attribute, a counter) is a ``SymFloat`` or ``SymInt``: a float or an int that knows
how it was computed. Arithmetic makes further ones; where one becomes the scalar of a kernel, an effect or a result, every call
computes it anew. Whatever turns it into something fixed (a comparison, a truth value, an index, an int) is noted as a check:
in a call where it comes out otherwise, the step is another one."""

from __future__ import annotations

import math
import operator

from ..base.user_code import user_line
from ..kernel.tape import Refusal

MOST_ITEMS = 256     # of a container in which a followed number is looked for
MOST_DECISIONS = 16  # of one step: each may be a variant of its own


class Numbers:
    """The arithmetic of one capture, in its order: ``lines`` are (name or None for a check, expression, names that it uses,
    outcome of a check).

    Numbers read from tensors are there only when their kernels have run (``cells``: {name: buffer they are read from};
    ``late``: their names and those of what is computed from them). Truth values of these are ``decisions``: what they are
    in a call is not known when it is captured, so one outcome is assumed (those in ``forced`` first), and looked at in every
    run."""

    def __init__(self, forced=()):
        self.lines, self.checked, self.inputs, self.constants = [], {}, [], {}
        self.cells, self.late, self.forced, self.decisions, self.deciding = {}, set(), forced, [], set()

    def input(self, value):
        """A number that each call is given."""
        name = f"n{len(self.inputs)}"
        self.inputs.append(name)
        return self._made(value, name, frozenset([name]))

    def read(self, value, buffer, index):
        """A number that the step computes, which will be element ``index`` of a buffer; ``value`` is a guess."""
        name = f"l{len(self.cells)}"
        self.cells[name] = buffer
        self.late.add(name)
        self.lines.append((name, f"{name}_cell[{index}]", [], None))
        return self._made(value, name, frozenset([name]))

    def draw(self, draw, value):
        """A number that each call draws, at this place among its arithmetic and checks."""
        s = self.input(value)
        self.lines.append((s.name, draw, [], type(value).__name__))
        return s

    def _made(self, value, name, roots):
        cls = SymFloat if type(value) is float else SymInt if type(value) is int else SymStr
        s = cls(value)
        s.numbers, s.name, s.roots, s.plain = self, name, roots, value
        return s

    def constant(self, value):
        """The text of a number that stays."""
        if type(value) is int and abs(value) < 1 << 62:
            return repr(value) if value >= 0 else f"({value!r})"
        name = f"c{len(self.constants)}"
        self.constants[name] = value
        return name

    def make(self, pattern, value, *operands):
        """The symbol of ``value``, computed as ``pattern`` of the operands; other kinds of numbers count as fixed."""
        texts = [s.name if isinstance(s, Symbol) else self.constant(s) for s in operands]
        mine = [s for s in operands if isinstance(s, Symbol)]
        text = pattern.format(*texts)
        if type(value) not in (int, float, str):
            return self.fixed(text, value, mine)
        name = f"t{len(self.lines)}"
        self.lines.append((name, text, [s.name for s in mine], None))
        if any([s.late for s in mine]):
            self.late.add(name)
        return self._made(value, name, frozenset().union(*[s.roots for s in mine]))

    def fixed(self, text, outcome, symbols):
        """``outcome`` of an expression decided something: calls in which it differs are other steps."""
        if text not in self.checked:
            if any([s.late for s in symbols]):
                outcome = self._decided(outcome, symbols)
            self.checked[text] = outcome
            self.lines.append((None, text, [s.name for s in symbols], outcome))
        return self.checked[text]

    def _decided(self, outcome, symbols):
        """The outcome that a capture takes for a truth value which exists only when the step has run."""
        if type(outcome) is not bool:
            raise Refusal(f"ng.compile: a number read from a tensor at {user_line()} needs the values of that tensor, "
                          "which exist only when the step runs: it may be computed with, compared, stored, printed and "
                          "returned, but not be a size, an index or a key. Keep it out of the compiled function, or pass "
                          "fallback=True to run it eagerly")
        k = len(self.decisions)
        if k == MOST_DECISIONS:
            raise Refusal("ng.compile: the compiled function decides on values of tensors more than "
                          f"{MOST_DECISIONS} times, last at {user_line()}. Use ng.where for choices by value, or pass "
                          "fallback=True to run it eagerly")
        self.decisions.append(self.forced[k] if k < len(self.forced) else outcome)
        self.deciding.update(*[s.roots for s in symbols])
        return self.decisions[k]


class Symbol:
    """What the symbolic numbers share."""

    __slots__ = ()
    __array_ufunc__ = None  # NumPy's numbers leave the arithmetic to these
    __hash__ = None

    @property
    def late(self):
        """Whether it is there only when kernels of the step have run."""
        return self.name in self.numbers.late

    def fix(self):
        """The plain number, which the step relies on from now on."""
        return self.numbers.fixed(self.name, self.plain, [self])

    def symbolic(self, d):
        """As a scalar of dtype ``d``."""
        if d.category == 2 and d.itemsize > 2:
            return self if isinstance(self, float) else float_of(self)
        return self.fix()

    def __reduce_ex__(self, protocol):
        return type(self.plain), (self.fix(),)

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self


def plain(x):
    """The number itself, without relying on it."""
    return x.plain if isinstance(x, Symbol) else x


def float_of(s):
    """``float(s)``."""
    if not isinstance(s, Symbol):
        return float(s)
    return s if isinstance(s, SymFloat) else s.numbers.make("float({})", float(s.plain), s)


def guess(f, *args):
    """``f`` of plain numbers; the guesses for late ones may be where it has no value, which says nothing."""
    try:
        return f(*map(plain, args))
    except (ArithmeticError, ValueError):
        if any([isinstance(a, Symbol) and a.late for a in args]):
            return 1.0
        raise


def _binary(op, sign, swapped):
    def method(self, other):
        if type(other) not in (int, float, bool) and not isinstance(other, Symbol):
            if hasattr(other, "dtype") and not hasattr(other, "_buf"):  # a number of NumPy's
                other = other.item()
            if type(other) not in (int, float, bool):
                return NotImplemented
        a, b = (other, self) if swapped else (self, other)
        return self.numbers.make(f"({{}} {sign} {{}})", guess(op, a, b), a, b)
    return method


def _compared(op, sign):
    def method(self, other):
        if type(other) not in (int, float, bool) and not isinstance(other, Symbol):
            return NotImplemented
        outcome = op(self.plain, plain(other))
        text = f"({self.name} {sign} {other.name if isinstance(other, Symbol) else self.numbers.constant(other)})"
        return self.numbers.fixed(text, outcome, [s for s in (self, other) if isinstance(s, Symbol)])
    return method


def _unary(pattern, op):
    def method(self):
        return self.numbers.make(pattern, guess(op, self), self)
    return method


def _shown(pattern, op):
    def method(self, *args):
        return self.numbers.make(pattern, op(self.plain, *args), self, *args)
    return method


def _fixing(op):
    def method(self, *args):
        return op(self.fix(), *args)
    return method


_SIGNS = {"add": "+", "sub": "-", "mul": "*", "truediv": "/", "floordiv": "//", "mod": "%", "pow": "**"}
_BITS = {"and_": "&", "or_": "|", "xor": "^", "lshift": "<<", "rshift": ">>"}
_COMPARED = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}
_METHODS = {"__neg__": _unary("(-{})", operator.neg), "__pos__": _unary("(+{})", operator.pos),
            "__abs__": _unary("abs({})", abs),
            "__bool__": lambda self: self.numbers.fixed(f"bool({self.name})", bool(self.plain), [self]),
            **{f"__{n}__": _fixing(f) for n, f in (
                ("float", float), ("int", int), ("index", operator.index), ("trunc", math.trunc), ("floor", math.floor),
                ("ceil", math.ceil), ("round", round), ("hash", hash), ("divmod", divmod), ("complex", complex),
                ("repr", repr), ("str", str), ("format", format))}}
for _name, _sign in {**_SIGNS, **_BITS}.items():
    _op, _name = getattr(operator, _name), _name.strip("_")
    _METHODS[f"__{_name}__"], _METHODS[f"__r{_name}__"] = _binary(_op, _sign, False), _binary(_op, _sign, True)
for _name, _sign in _COMPARED.items():
    _METHODS[f"__{_name}__"] = _compared(getattr(operator, _name), _sign)

_OWN = {"real": property(lambda self: self), "imag": property(lambda self: 0), "conjugate": lambda self: self}
_FLOAT = {n: _fixing(getattr(float, n)) for n in ("is_integer", "as_integer_ratio", "hex")}
_INT = {n: _fixing(getattr(int, n)) for n in ("bit_length", "to_bytes", "as_integer_ratio")}
SymFloat = type("SymFloat", (Symbol, float), {**{k: v for k, v in _METHODS.items() if k.strip("_").lstrip("r") not in (
    "and", "or", "xor", "lshift", "rshift", "shift")}, **_OWN, **_FLOAT, "__doc__": "A float that changes from call to call."})
SymInt = type("SymInt", (Symbol, int), {**_METHODS, **_OWN, **_INT, "numerator": property(lambda self: self),
                                        "__invert__": _unary("(~{})", operator.invert),
                                        "__doc__": "An int that changes from call to call."})
_TEXT = {n: _fixing(getattr(str, n)) for n in dir(str) if callable(getattr(str, n)) and n not in (
    "__new__", "__init__", "__class__", "__init_subclass__", "__subclasshook__", "__getattribute__", "__setattr__",
    "__delattr__", "__dir__", "__getnewargs__", "__reduce__", "__reduce_ex__", "__sizeof__", "__getstate__")}
SymStr = type("SymStr", (Symbol, str), {**_TEXT, "__doc__": "A text with numbers in it that change from call to call."})

_MATH = {f: f"math.{n}({{}})" for n, f in vars(math).items() if callable(f) and n not in (
    "fsum", "prod", "dist", "hypot", "gcd", "lcm", "isclose", "pow", "fmod", "atan2", "copysign", "ldexp", "remainder", "comb",
    "perm", "nextafter", "ulp", "sumprod", "fma", "isqrt", "factorial", "modf", "frexp", "isnan", "isinf", "isfinite")}
_TWO = {getattr(math, n): f"math.{n}({{}}, {{}})" for n in ("pow", "fmod", "atan2", "copysign", "ldexp", "remainder", "log")}


_OPERATORS = {"Add": "add", "Sub": "sub", "Mult": "mul", "Div": "truediv", "FloorDiv": "floordiv", "Mod": "mod", "Pow": "pow",
              "BitAnd": "and", "BitOr": "or", "BitXor": "xor", "LShift": "lshift", "RShift": "rshift", "Eq": "eq",
              "NotEq": "ne", "Lt": "lt", "LtE": "le", "Gt": "gt", "GtE": "ge"}
_SWAPPED = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le", "eq": "eq", "ne": "ne"}


def arithmetic(op, x, y):
    """``x op y`` where one of them is a symbol; NotImplemented where the other is no number."""
    name = _OPERATORS.get(op)
    if name is None:
        return NotImplemented
    if isinstance(x, Symbol):
        return getattr(x, f"__{name}__", lambda y: NotImplemented)(y)
    return getattr(y, f"__{_SWAPPED[name]}__" if name in _SWAPPED else f"__r{name}__", lambda x: NotImplemented)(x)


def _most(op, args):
    late = [x for x in args if isinstance(x, Symbol) and x.late]
    if late and len({type(plain(x)) for x in args}) == 1:  # a number of the same type, whichever it is
        f = max if op == "Gt" else min
        return late[0].numbers.make(f"{f.__name__}({', '.join(['{}'] * len(args))})", f(map(plain, args)), *args)
    best = args[0]
    for x in args[1:]:
        if arithmetic(op, x, best) if isinstance(x, Symbol) or isinstance(best, Symbol) else (
                x > best if op == "Gt" else x < best):
            best = x
    return best


def call(f, args, kwargs):
    """(whether it is known how, result) of calling a function of Python with symbols among its arguments."""
    if kwargs:
        return False, None
    s = args[0] if args and isinstance(args[0], Symbol) else None
    if len(args) == 1 and f in (float, int) and not isinstance(s, SymStr):
        return True, float_of(s) if f is float else s if isinstance(s, SymInt) else s.numbers.make("int({})", guess(int, s), s)
    if f is type and len(args) == 1:
        return True, type(s.plain)
    if s is not None and (f in (str, repr, ascii) and len(args) == 1 or f is format and len(args) <= 2):
        return True, s.numbers.make(f"{f.__name__}({', '.join(['{}'] * len(args))})", f(*map(plain, args)), *args)
    if f is round and s is not None and all([type(a) is int for a in args[1:]]):
        return True, s.numbers.make(f"round({', '.join(['{}'] * len(args))})", guess(round, *args), *args)
    if f in (math.isnan, math.isinf, math.isfinite) and len(args) == 1:
        s, = args
        return True, s.numbers.fixed(f"math.{f.__name__}({s.name})", f(s.plain), [s])
    pattern = {1: _MATH, 2: _TWO}.get(len(args), {}).get(f) if f.__class__ is type(math.sin) else None
    if pattern is not None and all([type(plain(a)) in (int, float, bool) for a in args]):
        s = next(a for a in args if isinstance(a, Symbol))
        return True, s.numbers.make(pattern, guess(f, *args), *args)
    if f in (round, divmod):
        return False, None
    if f in (min, max):
        items = args[0] if len(args) == 1 else args
        if items.__class__ in (tuple, list) and items and all([type(plain(x)) in (int, float, bool) for x in items]):
            return True, _most("Gt" if f is max else "Lt", items)
    return f in (abs, isinstance, operator.neg), None


def contained(s, x):
    """``s in x`` of a followed number and a container of numbers and texts; None where it holds anything else, or too much."""
    if x.__class__ is not range:
        if len(x) > MOST_ITEMS or not all([type(v) in (int, float, bool, str, type(None)) for v in x]):
            return None
        x = tuple([v for v in x if type(v) in (int, float, bool)])
    return s.numbers.fixed(f"({s.name} in {s.numbers.constant(x)})", s.plain in x, [s])


def settled(x):
    """``x`` with plain numbers in the place of symbols, also in tuples, lists and slices; lists stay themselves."""
    if isinstance(x, Symbol):
        return x.fix()
    if x.__class__ is list:
        for i, y in enumerate(x):
            if isinstance(y, Symbol) or y.__class__ in (tuple, list, slice):
                x[i] = settled(y)
        return x
    if x.__class__ is tuple:
        found = [settled(y) for y in x]
        return x if all(map(operator.is_, found, x)) else tuple(found)
    if x.__class__ is slice:
        return slice(settled(x.start), settled(x.stop), settled(x.step))
    return x


def any_in(values):
    """Whether a symbol is among values, or in tuples and lists of them."""
    return any([isinstance(x, Symbol) or x.__class__ in (tuple, list) and any_in(x) for x in values])


def key(v):
    """Equal for numbers that are the same in every call."""
    return v.name if isinstance(v, Symbol) else repr(v)
