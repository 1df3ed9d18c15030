"""``peers.py --registry --memory``: what a call holds at its peak beyond what was there before, in both libraries."""

from __future__ import annotations

from figures import processors

from .sweep import WORDS, collect, label, mean, prepared

MORE, LEAST = 1.1, 4.0  # a row is above PyTorch's by more than this factor, and so many MiB


def measure(found, threads, window=0.001):
    """[(size, mode, label, MiB of numbagrad, of PyTorch)]"""
    out = []
    for size, case, workers, modes, _ in prepared(found, processors(threads), window):
        for mode in range(modes):
            found_ = [w.ask("peak", mode, window) for w in workers]
            if str in map(type, found_):
                raise RuntimeError(f"{label(case)}: {found_}")
            out.append((size, mode, label(case), *found_))
    return out


def high(ours, theirs):
    return ours > theirs * MORE and ours > theirs + LEAST


def lines(measured, all_rows=False):
    """The report: rows above their limit (or all), the largest difference first, and the mean of rows that hold anything."""
    out = []
    for size, mode in dict.fromkeys([m[:2] for m in measured]):
        rows = [m[2:] for m in measured if m[:2] == (size, mode)]
        ratios = [ours / theirs for _, ours, theirs in rows if min(ours, theirs) >= 1]
        words = f", geometric mean of those with at least 1 MiB {mean(ratios):.2f}" if ratios else ""
        above = sorted([r for r in rows if all_rows or high(*r[1:])], key=lambda r: r[2] - r[1])
        out += ["", f"{size}, {WORDS[mode]}: {len(rows)} rows{words}, {sum([high(*r[1:]) for r in rows])} rows above PyTorch's",
                "", "| work | numbagrad | PyTorch |", "|---|---|---|"]
        out += [f"| {name} | {ours:.1f} MiB | {theirs:.1f} MiB |" for name, ours, theirs in above]
    return out


def main(options, machine, date):
    measured = measure(collect(options.sizes, options.only or ()), options.threads)
    if not measured:
        return f"no case is named like {' or '.join(options.only)}"
    print(f"{date}, {machine}, {options.threads} thread(s), memory at the peak of a call above that before it")
    print("\n".join(lines(measured, options.all)))
    return None
