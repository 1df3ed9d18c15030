"""LLVM's fast-math flags: what its optimiser may assume in kernels."""

# Left out on purpose: nnan and ninf, as NaN and infinity must come out right; arcp, as x * (1 / d) is not x / d; reassoc,
# as (x - top) - shift is not x - (top + shift). Only ``accumulate`` has the last one, which SIMD needs in sums.
FAST = ("contract", "afn", "nsz")
ACCUMULATE = (*FAST, "reassoc")


def loop_flags(compute):
    """Fast-math flags of a loop by its compute type: none for complex numbers, whose branch cuts follow the sign of a zero and
    where a fused product would leave ``z * conj(z)`` an imaginary part."""
    return () if compute[0] == "c" else FAST
