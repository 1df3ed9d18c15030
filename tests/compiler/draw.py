"""Programs at random: a list of parts, and the text of their module."""

from __future__ import annotations

import dataclasses
import random
import re
import textwrap

from . import models
from .pieces import PIECES, Piece

HEAD = """import collections, contextlib, copy, dataclasses, enum, functools, itertools, math, operator, random, types, typing

import numpy as np

import numbagrad as ng
from numbagrad import nn
from numbagrad.nn import functional as F
from numbagrad.utils.checkpoint import checkpoint
"""
NUMBERS = ["0.5", "1.5", "2.0", "-1.0", "0", "3", "0.25", "1.0", "2"]
WRAPS = ["{}", "{}", "{}", "{}", "{}", "{}", "with ng.no_grad():\n    {}", "for _ in range(2):\n    {}", "if s > 0:\n    {}",
    "if k > 1:\n    {}", "try:\n    {}\nfinally:\n    s = s + 1",
         "if x.shape[0] > 2:\n    {}", "def local():\n    nonlocal h, s\n    {}\nlocal()",
         "with contextlib.ExitStack():\n    {}", "if ng.is_grad_enabled():\n    {}",
         "try:\n    {}\nexcept KeyError:\n    h = h + 5", "for i in range(len(out) + 1):\n    {}"]
CALLS = ["x={}, k=1.5", "x={}, k=2.5", "x={}, k=0.5", "x={}, k=1", "x={}, k=True", "x={}, k=2", "x={}, k=-1.5"]
INPUTS = ["data(2)", "data(2)", "data(2)", "data(2)", "data(3)", "data(2, 'double')", "data(2, 'grad')", "data(2, 'turned')",
    "data(2, 'steps')", "kept", "data(2, 'spread')", "data(1)"]
RETURNS = ["h", "h, s, out", "{'h': h.sum(), 's': s, 'out': out}", "h.mean()", "out", "None", "h, h", "s",
    "(h, [h.detach(), s])", "h.detach(), out"]


@dataclasses.dataclass
class Part:
    """One text that may be dropped: of the module ("top"), the setup, the body, the end of the body, or call ``at``."""

    where: str
    text: str
    at: int = 0
    names: tuple = ()


@dataclasses.dataclass
class Program:
    """``parts``, and the text of each call."""

    parts: list
    calls: list

    def text(self):
        tops = [p.text for p in self.parts if p.where == "top"]
        body = [p.text for p in self.parts if p.where == "body"]
        names = sorted({n for p in self.parts if p.where == "body" for n in p.names if _assigned(n, body)})
        globs = [n for n in names if n[0] in "GW"]
        cells = [n for n in names if n[0] not in "GW"]
        setup = [p.text for p in self.parts if p.where == "setup"]
        lines = ["def program(see):", "    kept = data(2)", *[_indented(t) for t in setup], "",
                "    def step(x, y=None, k=1.0):"]
        lines += [f"        global {', '.join(globs)}"] * bool(globs) + [f"        nonlocal {', '.join(cells)}"] * bool(cells)
        lines += ["        h, s, out = x, 1.5, []", *[_indented(t, 8) for t in body], ""]
        lines += ["    call = see.compiled(step)"]
        for i, call in enumerate(self.calls):
            lines += [_indented(p.text) for p in self.parts if p.where == "between" and p.at == i]
            lines += [f"    see(call, locals(), {call})"]
        return HEAD + "\n\n" + "\n".join(tops) + "\n" + DATA + "\n\n" + "\n".join(lines) + "\n"


DATA = '''
_made = np.random.RandomState(0)


def data(n, form=""):
    a = _made.randn(n, 4).astype("float64" if form == "double" else "float32")
    t = ng.tensor(a)
    return (t.requires_grad_() if form == "grad" else ng.tensor(a.T.copy()).t() if form == "turned" else
            ng.tensor(np.repeat(a, 2, 1))[:, ::2] if form == "steps" else t[:1].expand(n, 4) if form == "spread" else t)
'''


def _indented(text, n=4):
    return textwrap.indent(text, " " * n)


def _assigned(name, body):
    return any(f"{name} {o}" in t for t in body for o in ("=", "+=", "|=")) or any(f"{name}, " in t and "=" in t for t in body)


def _filled(text, number, rng):
    while "$" in text:
        text = text.replace("$", rng.choice(NUMBERS), 1)
    return re.sub(r"(?<=\w)@", str(number), text)


def _wrapped(text, rng):
    wrap = rng.choice(WRAPS)
    if "{}" == wrap:
        return text
    before = wrap[:wrap.index("{}")].rpartition("\n")[2]
    return wrap.replace("{}", text.replace("\n", "\n" + before))


def drawn(seed, number):
    """The program of this number."""
    rng = random.Random(f"{seed} {number}")
    kinds = rng.choices(list(PIECES), k=rng.randint(1, 3))
    pieces = [PIECES[k] for k in kinds] + [models.module(rng.choice(models.MODULES)) for _ in range(rng.choice([0, 0, 1, 1,
            2]))]
    rng.shuffle(pieces)
    parts, changes, body = [], [], []
    for n, piece in enumerate(pieces):
        parts.append(Part("top", _filled(piece.top, n, rng)))
        parts.append(Part("setup", _filled(piece.setup, n, rng)))
        changes += [(piece, n)] * bool(piece.between)
        for _ in range(rng.randint(1, 3)):
            text = _filled(rng.choice(piece.body), n, rng)
            names = tuple(x.replace("@", str(n)) for x in piece.names)
            local = [x for x in names if f"{x} =" in text or f"{x} +=" in text]
            body.append(Part("body", text if local else _wrapped(text, rng), names=names))
    rng.shuffle(body)
    back = rng.choice(RETURNS)
    if rng.random() < 0.5:
        changes += [_trained(parts, body, rng)] * 2
        back = rng.choice(["loss", "loss, s, out", "loss.detach()", "h.detach()", back])
    body.append(Part("body", f"return {back}"))
    parts = [p for p in parts if p.text] + body
    calls = []
    for i in range(rng.randint(4, 8)):
        if i > 1 and changes and rng.random() < 0.7:
            for _ in range(rng.choice([1, 1, 2])):
                piece, n = rng.choice(changes)
                parts.append(Part("between", _filled(rng.choice(piece.between), n, rng), i))
        calls.append(_call(calls, rng))
    return Program(parts, calls)


def _call(before, rng):
    if before and rng.random() < 0.5:
        return before[-1]
    x = rng.choice(INPUTS) if rng.random() < 0.4 else "data(2)"
    call = rng.choice(CALLS) if rng.random() < 0.4 else CALLS[0]
    rows = x[5] if x.startswith("data") else "2"
    return call.format(x) + f", y=ng.arange({rows})"


def _trained(parts, body, rng):
    """Add a training step; returns the piece of its changes."""
    model, opt = rng.choice(models.MODULES), rng.choice(models.OPTIMIZERS)
    text = _filled(models.module(model.replace("@", "9")).top, 9, rng)
    parts += [Part("top", text), Part("setup",
            f"model, ticks = {model.replace('@', '9')}, types.SimpleNamespace(n=0, hooked=0)"),
              Part("setup", f"opt = {opt}"), Part("setup", f"sched = {rng.choice(models.SCHEDULERS)}")]
    body.insert(rng.randrange(len(body) + 1), Part("body", "h = model(h)"))
    step, loss = rng.choice(models.STEPS), rng.choice(models.LOSSES)
    body.append(Part("body", step.replace("{loss}", loss)))
    more = models.module(model).between
    return Piece([], [t.replace("{opt}", opt) for t in models.TRAINING] + [
        t.replace("m@", "model") for t in more if "hook@" not in t and "count@" not in t and "m@ =" not in t], ""), 9
