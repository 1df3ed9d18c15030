"""The generated call of a variant: guards, addresses, the native run, results, as one Python function.

The text is generated because its Python costs as much as a small step's kernels: it names exactly what is to be checked.
"""

from __future__ import annotations

import re
from collections import Counter

import numpy as np

from ..base import modes
from ..core import storage
from ..core.graph import Output
from ..core.tensor import Tensor, raw
from ..dispatch.text import indented, tensor, unrecorded
from ..kernel import jit, tape
from . import settings
from .driver import walk_with
from .lines import lines_of
from .places import PLAIN, Cell, Entry
from .structure import MISS, mode_key, rebuild
from .tensor_places import Hooks, Itself
from .unpack import SLOW, unpacked
from .words import compare

SAVE, BETWEEN = "# save", "# between"
MISSED = re.compile(r"        return (MISS|missed)\n")
GIVEN_UP = re.compile(r"return self\.slow\(.*")
SAME = "    if not same(TABLE) and not hold() or ASKED and not ask():"


def text_of(self):
    """Source of the call: guards, addresses, the native run, results."""
    flat = not self.draws and self.structure[2] == (dict,) and all([p == "*" or p[0] == "#" for p in self.structure[1][1:]])
    names = [f"a{i}" for i in range(len(self.leaves))]
    env = {"MISS": MISS, "STATE": modes.STATE, "mode_key": mode_key, "MODE": self.mode, "V": self, "TAPE": tape.TAPE,
           "empty": np.empty, "peek": storage._peek, "new_": object.__new__, "Tensor_": Tensor}
    p = self.program
    public = len(self.leaves) - len(self.hidden) - len(self.places)
    numbers = [f"n{k}" for k in range(len(self.given_numbers))]
    head = f"def call({''.join(n + ', ' for n in (*names[:public], *numbers))}):\n"
    for k, i in enumerate(self.hidden):
        env[f"C{i}"] = self.leaves[i][0]
        head += f"    a{public + k} = a{i}._grad if a{i}.__class__ is C{i} else None\n"
    for k, place in enumerate(self.places, public + len(self.hidden)):
        head += f"    a{k} = {_fetched(place, k, env)}\n"
    for k, place in enumerate(self.counters, len(numbers)):
        head += f"    n{k} = {_fetched(place, f'n{k}', env)}\n"
    checks = [f"n{k}.__class__ is {t}" for k, t in enumerate(self.number_types)]
    for i, (cls, kind, shape, strides, rg, leaf) in enumerate(self.leaves):
        env[f"C{i}"], env[f"K{i}"], env[f"S{i}"] = cls, kind, shape
        checks += [f"a{i}.__class__ is C{i}", f"a{i}._kind is K{i}", f"a{i}._shape == S{i}",
                   f"a{i}._strides is None" if strides is None else f"a{i}._strides == {strides!r}",
                   f"a{i}._rg is {rg!r}"]
        if rg:
            checks.append(f"a{i}._node is {'None' if leaf else 'not None'}")
        if leaf and i not in self.fixed:
            checks.append(f"('_numbagrad' not in a{i}.__dict__ or not Hooks(a{i}).get())")
            env["Hooks"] = Hooks
    for i, j, one in self.aliases:
        checks.append(f"a{j} is a{i}" if one else f"a{i}._buf is not a{j}._buf")
    for i, others in self.apart:
        env[f"others{i}"] = others
        checks.append(f"id(a{i}._buf) not in others{i}")
    for i, t in self.fixed.items():
        env[f"fix{i}"] = t
        checks.append(f"a{i} is fix{i}")
    checks += [f"a{i}._grad is None" for i in self.no_gradient]
    guards = self.guards
    env.update(same=compare(), TABLE=guards.table.address, hold=guards.hold, ASKED=guards.asked, ask=guards.ask)
    if self.draws:
        drawn = self.owner.drawn
        env.update(take=drawn.take, again=drawn.again, advance=drawn.advance, done=drawn.done)
    lines = [f"    if not ({' and '.join(checks) or 'True'}):", "        return MISS",
             SAME, "        return MISS"]
    plain = self.mode == (True, False, None)
    other = "mode_key() != MODE or TAPE and active() is not None"
    env["active"] = tape.active
    lines += [f"    if STATE and ({other}):" if plain else f"    if not STATE or {other}:", "        return MISS"]
    at_numbers = len(lines)
    for k, o in enumerate(self.optimizers):
        lines += settings.lines_of(self, k, o, env)
    at_run = len(lines)
    if self.draws and not self.decisions:  # (with them, another variant may still be what runs)
        lines.append("    advance()")
    env["lock"], env["bases"] = p.lock, p.base_values
    body = []
    n_in = len(p.inputs)
    given = [f"a{i}._ptr{f' - {offset}' if offset else ''}" for i, offset in self.arguments]
    given += [f"q{k}" for k in range(len(self.outputs))]
    if not p.atomic:
        body += [f"bases[{k}] = {v}" for k, v in enumerate(given[:n_in])]
    for k, b in enumerate(self.outputs):
        env[f"dt{k}"], env[f"size{k}"] = b.obj.dtype, b.obj.size
        env["address"] = storage.address
        at = f"peek(id(o{k}) + {storage.DATA_FIELD})" if storage._peek else f"address(o{k})"
        body += [f"o{k} = empty(size{k}, dt{k})", f"q{k} = {at}"]
        if not p.atomic:
            body.append(f"bases[{n_in + k}] = q{k}")
    env["program"] = p
    if p.atomic:
        env["walk"], env["header"] = walk_with(len(given)), p.header_address
        body += [f"failed = walk(header, {p.count}{''.join(', ' + v for v in given)})", "if failed >= 0:",
                 "    program.failed(failed)"]
    elif p.plain and not p.first:
        env["walk"], env["header"] = p.walk, p.header_address
        body += [f"failed = walk(header, 0, {p.count})", "if failed >= 0:", "    program.failed(failed)"]
    else:
        objects = [f"a{i}._buf, " for i, _ in self.arguments] + [f"o{k}, " for k in range(len(self.outputs))]
        runs = [SAVE, "program.run(0)", BETWEEN, "program.run(1)"] if p.first else ["program.run()"]
        body += [f"program.objects = ({''.join(objects)})", *runs, "program.objects = None"]
    used = [name for _, name in p.symbolic]
    if used or p.middle:
        env["NUMBERS"] = p.memory.data.cast("B").cast("d")
        body = [*[f"NUMBERS[{slot}] = {name}" for slot, name in p.symbolic], *body]
    at_body = len(lines)
    if self.decisions:  # the lock is released before another variant runs
        body = ["missed = None", "while True:", *["    " + b for b in body], "    break"]
    lines += ["    " + b for b in body] if p.atomic and not used else ["    with lock:", *["        " + b for b in body]]
    if self.decisions:
        lines += ["    if missed is not None:", "        return missed"]
    at_end = len(lines)
    for k, (t, value) in enumerate(self.flags):
        name = t if t.__class__ is str else f"flag{k}"
        env[name] = t
        lines.append(f"    {name}._rg = {value}")
    for k, (v, n) in enumerate(self.versions):
        env[f"ver{k}"] = v
        lines.append(f"    ver{k}[0] += {n}")
    for i, n in self.written_args:
        lines.append(f"    a{i}._ver[0] += {n}")
    for k, (t, g) in enumerate(self.gradients):
        env[f"leaf{k}"], env[f"grad{k}"] = t, g
        lines.append(f"    leaf{k}._grad = grad{k}")
        if g is not None:
            lines.append(f"    grad{k}._ver[0] += 1")
    made = []
    if self.backward is not None:
        env["node_of"] = self.backward.node
        later = [name for _, name in self.backward.symbolic]
        used += later
        lines.append(f"    node = node_of(({''.join(f'o{k}, ' for k in range(len(self.outputs)))}), "
                     f"({''.join(n + ', ' for n in names)}){', (' + ''.join(n + ', ' for n in later) + ')' if later else ''})")
    used += [res[1] for res in self.results if res[0] == "number"]
    shared, counted = Counter([res[0] for res in self.results]), set()
    for k, res in enumerate(self.results):
        if res[0] == "number":
            made.append(res[1])
            continue
        if res[0] == "again":
            made.append(made[res[1]])
            continue
        if res[0] == "argument":
            made.append(f"a{res[1]}")
            continue
        if res[0] == "object":
            env[f"r{k}"] = res[1]
            made.append(f"r{k}")
            continue
        if res[0] == "copy":
            env[f"fixed{k}"] = fixed(*res[1:])
            lines.append(f"    r{k} = fixed{k}.clone()")
            made.append(f"r{k}")
            continue
        if res[0] == "view":
            _, i, offset, t = res
            n, shape, strides, kind = t._n, t._shape, t._strides, t._kind
            if i is None:
                env[f"rb{k}"], env[f"rv{k}"] = t._buf, t._ver
                memory = f"rb{k}", offset, f"rv{k}"
            else:
                memory = f"a{i}._buf", f"a{i}._ptr{f' + {offset}' if offset else ''}", f"a{i}._ver"
        else:
            o, offset, n, shape, strides, kind, _ = res
            memory = f"o{o}", f"q{o}{f' + {offset}' if offset else ''}", "[0]"
            if shared[o] > 1:  # results that share memory share its version
                if o not in counted:
                    lines.append(f"    w{o} = [0]")
                counted.add(o)
                memory = (*memory[:2], f"w{o}")
        env[f"rs{k}"], env[f"rt{k}"], env[f"rk{k}"] = shape, strides, kind
        lines += indented([*tensor(f"r{k}", n, f"rs{k}", f"rk{k}", *memory, f"rt{k}"), *unrecorded(f"r{k}")], "    ")
        if self.backward is not None and k in self.backward.order:
            env["Output"] = Output
            at = self.backward.order.index(k)
            lines += [f"    r{k}._node = {'node' if len(self.backward.order) == 1 else f'Output(node, {at})'}",
                      f"    r{k}._rg = True"]
        elif k in self.spent:
            env[f"spent{k}"] = self.spent[k]
            way = "" if hasattr(self.spent[k], "next") else f"(({''.join(n + ', ' for n in names)}))"
            lines += [f"    r{k}._node = spent{k}{way}", f"    r{k}._rg = True"]
        if self.mode[1]:
            env["mark_inference"] = _inference
            lines.append(f"    mark_inference(r{k})")
        made.append(f"r{k}")
    lines += [f"    a{i}._grad = None" for i in self.cleared]
    if self.gradient_of:
        lines += [f"    a{i}._grad = {m}" for i, m in zip(self.gradient_of, made[-len(self.gradient_of):])]
        del made[-len(self.gradient_of):]
    at = len(made) - sum([e.count for e in self.effects])
    built = ""
    if self.met:  # a container comes more than once: the result is made first, as in the capture
        env["rebuild"], env["RESULT"], built = rebuild, self.result_structure, ", None, built"
        lines += ["    built = []", f"    result = rebuild(RESULT, iter(({''.join(m + ', ' for m in made)})){built})"]
    for k, e in enumerate(self.effects):
        env[f"effect{k}"], env["rebuild"] = e.apply, rebuild
        if e.structure == "*":
            value = made[at]
        elif e.count == 0 and e.structure[0] in ("object", *[c.__name__ for c in PLAIN]):
            env[f"value{k}"] = rebuild(e.structure, iter(()))
            value = f"value{k}"
        else:
            env[f"value{k}"] = e.structure
            value = f"rebuild(value{k}, iter(({''.join(m + ', ' for m in made[at:at + e.count])})){built})"
        at += e.count
        lines.append(f"    effect{k}({value})")
    if self.draws:
        lines.append("    done()")
    if self.met:
        lines.append("    return result")
    elif self.result_structure == "*":
        lines.append(f"    return {made[0]}")
    elif self.result_structure[0] == "NoneType":
        lines.append("    return None")
    else:
        env["rebuild"], env["RESULT"] = rebuild, self.result_structure
        lines.append(f"    return rebuild(RESULT, iter(({''.join(m + ', ' for m in made)})))")
    if self.numbers is not None:
        more, between, after = lines_of(self.numbers, used, [name for _, name in p.middle], env)
        if self.draws:
            more.insert(0, "    again()")
        lines[at_end:at_end] = after
        lines = _divided(lines, at_body, at_end, self, between, env)
        lines[at_numbers:at_numbers] = more
        at_run += len(more)
    self.probe = head + "\n".join(lines[:at_run]) + "\n    return None\n"
    return head + "\n".join(lines) + "\n", env, flat


def _divided(lines, at_body, at_end, variant, between, env):
    """The lines of a call with those between the two parts of the program in their place."""
    p, out = variant.program, lines[:at_body]
    env["undo"] = p.undo
    for line in lines[at_body:at_end]:
        room = line[:len(line) - len(line.lstrip()) - 4]
        if line.endswith(SAVE):
            out += [f"{room}    undo.save(program)"] if p.undo and variant.decisions else []
        elif line.endswith(BETWEEN):
            for more in between:
                if more == "        break":
                    out += [f"{room}        undo.restore(program)"] if p.undo else []
                    out.append(f"{room}        program.objects = None")
                out.append(room + more)
            out += [f"{room}    NUMBERS[{slot}] = {name}" for slot, name in p.middle]
        else:
            out.append(line)
    return [*out, *lines[at_end:]]


def build(self):
    """Make ``fast`` (given the tensors of the arguments)."""
    text, env, self.flat = text_of(self)
    self.fast, self.env = jit.define_again(text, "call", env), env
    looked = [f"n{k}" for k in range(len(self.first_numbers))]
    if looked:  # a variant's own call is trusted with the numbers that it was captured with, and with those that were tried
        env["UNPROVEN"] = self.unproven
        text = text.replace(SAME, f"    if UNPROVEN and V.moved({', '.join(looked)}):\n        return MISS\n{SAME}")
    lines = None if self.flat or self.draws else unpacked(self.structure, env)
    if lines is not None:
        bound = MISSED.sub(SLOW + "\n", text[text.index("\n") + 1:])
        self.own = "def call(self, *args, **kwargs):\n" + "\n".join(lines) + "\n" + bound
        self.flat = True
    elif self.flat:
        # The same as the owner's own call: what does not fit goes the slow way.
        tensors = iter([f"a{i}" for i in range(len(self.leaves))])
        numbers = iter([f"n{k}" for k in range(len(self.given_numbers))])
        names = [next(tensors) if p == "*" else next(numbers) for p in self.structure[1][1:]]
        every = "".join(n + ", " for n in names)
        bound = MISSED.sub(f"        return self.slow(given(({every})), {{}})\n", text[text.index("\n") + 1:])
        head = f"def call(self, {''.join(n + '=MISS, ' for n in names)}*more, **kwargs):\n"
        head += f"    if more or kwargs:\n        return self.slow((*given(({every})), *more), kwargs)\n"
        env["given"] = _given
        self.own = head + bound
    if self.flat:
        self.bound = jit.define_again(self.own, "call", env)


def tried(self):
    """The owner's own call that gives MISS where what is given does not fit."""
    return jit.define_again(GIVEN_UP.sub("return MISS", self.own), "call", self.env)


def _fetched(place, k, env):
    """An expression for what is at a place now."""
    env[f"place{k}"] = place.root if place.__class__ in (Entry, Itself, Cell) else place
    if place.__class__ is Entry and isinstance(place.name, str):
        return f"place{k}.get({place.name!r})"
    return f"place{k}" + {Itself: "", Cell: ".cell_contents"}.get(place.__class__, ".get()")


def _given(args):
    return tuple([a for a in args if a is not MISS])


def fixed(array, offset, t):
    """A tensor like ``t`` in memory that stays, ``offset`` bytes from its start."""
    return raw(array, storage.address(array) + offset, t._n, t._shape, t._strides, t._kind, [0])


def _inference(t):
    from ..core.tensor import mark_inference
    mark_inference(t)
