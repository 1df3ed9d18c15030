"""Names that hand-written kernels use and each specialisation replaces: ``T``, ``load``, ``exp``..."""

from __future__ import annotations

# Elements behind ``lanes()``: enough independent accumulators to keep four vector registers of any width busy.
LANES = 64
# Elements behind ``strip()``: columns that are worked on together, few enough for several strips in the first-level cache
# and many enough for long stretches of each row.
STRIP = 512


class Placeholder:
    """A name that kernels use and each specialisation replaces (``T``, ``exp``...)."""

    def __init__(self, name):
        self.name = name

    def __repr__(self):
        return f"<kernel name {self.name}>"

    def __call__(self, *args):
        raise RuntimeError(f"{self.name} has a meaning only inside a compiled kernel")


T = Placeholder("T")          # constructor of the compute type
acc = Placeholder("acc")      # constructor of what running totals are kept in: twice as wide for float32 and complex64
U, V = Placeholder("U"), Placeholder("V")  # the same of kernels with ``*U`` and ``*V``
load = Placeholder("load")    # storage -> compute type (identity except for half types and bool)
store = Placeholder("store")  # compute -> storage type
lanes = Placeholder("lanes")  # lanes(): pointer to LANES elements of the compute type on the stack
strip = Placeholder("strip")  # strip(): pointer to STRIP elements of the compute type on the stack
wide_strip = Placeholder("wide_strip")  # the same of float64
acc_strip = Placeholder("acc_strip")  # the same of the type of ``acc``
box_maximum = Placeholder("box_maximum")  # see that file; of processors' kernels of float32 and float64 alone
anew = Placeholder("anew")    # anew(x): x, of which LLVM does not see that it was just loaded from where it goes
accumulate = Placeholder("accumulate")  # accumulate(total, x): total + x, of which the order of additions is free
fmaximum = Placeholder("fmaximum")  # fmaximum(a, b) and fminimum(a, b): the extremum of two floats, NaN if one of them is
fminimum = Placeholder("fminimum")
MATH = ("exp exp2 expm1 log log2 log10 log1p sin cos tan sinh cosh tanh asin acos atan atan2 asinh acosh atanh erf "
        "erfc erfinv pow sqrt rsqrt sigmoid floor ceil trunc round fabs").split()
# Two are spelled unlike Python's functions of numbers.
SPELLED = {"pow": "power", "round": "rint"}
globals().update({SPELLED.get(name, name): Placeholder(name) for name in MATH})
__all__ = ["T", "U", "V", "acc", "acc_strip", "accumulate", "anew", "box_maximum", "fmaximum", "fminimum", "lanes", "load",
           "store", "strip", "wide_strip", *[SPELLED.get(name, name) for name in MATH]]
