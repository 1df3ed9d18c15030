"""The arithmetic of numbers that change, as lines of a variant's generated call."""

from __future__ import annotations

import math

from .places import alike


class Missed:
    """Returned by a variant in which values of tensors decided otherwise than in its capture; nothing else has happened.

    ``outcomes`` are those of its decisions up to that one."""

    def __init__(self, outcomes):
        self.outcomes = outcomes


def lines_of(numbers, used, middle, env):
    """(before, between, after): lines for what the step needs before it runs, between its two parts, and after it.

    ``used`` are the names that are needed at all, ``middle`` those that kernels of the second part take. Between the parts
    stand decisions on values of tensors as well; what is computed from such values otherwise comes last."""
    late, kept, wanted = numbers.late, [], {*used, *middle}
    for name, text, uses, outcome in reversed(numbers.lines):
        if name is None or name in wanted or outcome is not None:
            wanted.update(uses)
            kept.append((name, text, uses, outcome))
    soon = set(middle)
    for name, _, uses, _ in kept:
        if name in soon or name is None and not late.isdisjoint(uses):
            soon.update(uses)
    before, between, after, decided = [], [], [], 0
    for k, (name, text, uses, outcome) in enumerate(reversed(kept)):
        if name is None and not late.isdisjoint(uses):
            env[f"MISS_{decided}"] = Missed([*numbers.decisions[:decided], not numbers.decisions[decided]])
            between += [f"    if ({text}) is not {outcome}:", f"        missed = MISS_{decided}", "        break"]
            decided += 1
        elif name is None:
            before += _check(f"outcome{k}", text, outcome, env)
        elif outcome is not None:
            env[f"draw_{name}"] = text
            before += [f"    {name} = take(draw_{name})", f"    if {name}.__class__ is not {outcome}:", "        return MISS"]
        else:
            if name in numbers.cells:
                env[f"{name}_cell"] = numbers.cells[name].array.data
            (before if name not in late else between if name in soon else after).append(f"    {name} = {text}")
    env.update(numbers.constants, math=math)
    return before, between, after


def _check(name, text, outcome, env):
    if outcome is True or outcome is False:
        test = f"({text}) is {outcome}"
    else:
        env[name], env["alike"] = outcome, alike
        test = f"alike({text}, {name})"
    return [f"    if not {test}:", "        return MISS"]
