"""Events of a profile as a table."""

from __future__ import annotations

import math

WIDTH = 12  # of columns of numbers
SCALES = ("FLOPs", "KFLOPs", "MFLOPs", "GFLOPs", "TFLOPs", "PFLOPs")


def time(us, unit=None):
    """Microseconds as text, in a unit or in one that fits."""
    unit = unit or ("s" if us >= 1e6 else "ms" if us >= 1e3 else "us")
    return f"{us / {'s': 1e6, 'ms': 1e3, 'us': 1.0}[unit]:.3f}{unit}"


def share(us, total):
    """A part of all as text."""
    return "NaN" if total == 0 else f"{us * 100.0 / total:.2f}%"


def memory(n):
    """Bytes as text."""
    for unit, size in (("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10)):
        if abs(n) >= size:
            return f"{n / size:.2f} {unit}"
    return f"{n} B"


def _cut(text, width):
    return text[:width - 3] + "..." if width is not None and len(text) >= width - 3 else text


def _end(path, width):
    """The end of a path that is too long."""
    return path if len(path) <= width else "..." + path[len(path) - width + 3:] if width > 3 else path[-width:]


def _least(widest, most):
    return widest + 4 if most is None else min(widest + 4, most)


class Columns:
    """The table's columns: titles, widths, and the cells of a row."""

    def __init__(self):
        self.titles, self.formats, self.widths, self.cells = [], [], [], []

    def add(self, title, width, cell, side=">"):
        self.titles.append(title)
        self.formats.append(f"{{: {side}{width}}}  ")
        self.widths.append(width)
        self.cells.append(cell)

    @property
    def length(self):
        return sum(self.widths) + 2 * len(self.widths) - 2

    @property
    def rule(self):
        return "".join(["-" * w + "  " for w in self.widths])

    def row(self, values):
        return "".join(self.formats).format(*values)


def build(events, header, row_limit, source_most, name_most, shapes_most, with_flops, with_memory, top_only, unit):
    """The table as text; empty without events."""
    if not events:
        return ""
    total = sum([e.self_cpu_time_total for e in events])
    columns = _columns(events, total, source_most, name_most, shapes_most, with_flops, with_memory, unit)
    stacks = any([e.stack for e in events])
    lines = []
    if header is not None:
        lines += ["=" * columns.length, header]
    if top_only:
        lines += ["=" * columns.length, "This report only display top-level ops statistics"]
    lines += [columns.rule, columns.row(columns.titles), columns.rule]
    shown = [e for e in events if not (top_only and e.cpu_parent is not None)]
    for e in shown if row_limit < 0 else shown[:row_limit]:
        e.self_cpu_percent, e.total_cpu_percent = share(e.self_cpu_time_total, total), share(e.cpu_time_total, total)
        lines.append(columns.row([cell(e) for cell in columns.cells]))
        if stacks:
            blank = [""] * (len(columns.titles) - 1)
            lines += [columns.row([*blank, _end(entry, columns.widths[-1])]) for entry in e.stack[1:]]
            lines.append(columns.row([*blank, ""]))
    return "\n".join([*lines, columns.rule, f"Self CPU time total: {time(total, unit)}", ""])


def _columns(events, total, source_most, name_most, shapes_most, with_flops, with_memory, unit):
    columns = Columns()
    columns.add("Name", _least(max([len(e.key) for e in events]), name_most), lambda e: _cut(e.key, name_most))
    for title, cell in (("Self CPU %", lambda e: share(e.self_cpu_time_total, total)),
                        ("Self CPU", lambda e: time(e.self_cpu_time_total, unit)),
                        ("CPU total %", lambda e: share(e.cpu_time_total, total)),
                        ("CPU total", lambda e: time(e.cpu_time_total, unit)),
                        ("CPU time avg", lambda e: time(e.cpu_time, unit))):
        columns.add(title, WIDTH, cell)
    if with_memory:
        columns.add("CPU Mem", WIDTH, lambda e: memory(e.cpu_memory_usage))
        columns.add("Self CPU Mem", WIDTH, lambda e: memory(e.self_cpu_memory_usage))
    columns.add("# of Calls", WIDTH, lambda e: e.count)
    if any([e.input_shapes for e in events]):
        width = _least(max([len(str(e.input_shapes)) for e in events]), shapes_most)
        columns.add("Input Shapes", width, lambda e: str(e.input_shapes)[:width])
    stacks = [e.stack for e in events if e.stack]
    counted = [e.flops for e in events if e.flops] if with_flops else []
    if stacks:
        source = _least(max([len(entry) for stack in stacks for entry in stack]), source_most)
    if counted:
        scale = max(0, min(int(math.log10(min(counted)) / 3), len(SCALES) - 1))
        columns.add(f"Total {SCALES[scale]}", WIDTH, lambda e: f"{e.flops * 1e-3 ** scale:8.3f}" if e.flops else "--")
    if stacks:
        columns.add("Source Location", source, lambda e: _end(e.stack[0], source) if e.stack else "", "<")
    return columns
