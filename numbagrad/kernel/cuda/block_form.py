"""The block form of hand-written kernels: the loops inside of an item are dealt out to the threads of a block.

All threads of a block run the kernel's text with the same scalars. An innermost loop whose turns do not meet is shared among
them: thread t takes turns t, t + 256, ...; what the loop sums, multiplies, or takes the extremum of is joined by a tree in
shared memory and then known to all. Outside of such loops one thread stores, ``lanes()`` and ``strip()`` are shared memory,
and barriers stand wherever one thread may read what another wrote. What cannot be dealt out is run by all threads alike.

* *block*: a block per item, for kernels whose items do not meet in memory;
* *one*: a single block for all items, for the others.
"""

from __future__ import annotations

import ast

from ...base import dtypes as dt
from .. import jit
from . import emit, shim, thread_form
from .folds import FOLDS, fold_of
from .syntax import SCRATCH, called, carried, growing, is_polynomial, is_range, names, pairs, read_after, stores, tree_of

BLOCK = ["i_ = start_ + cuda.blockIdx.x", "while i_ < stop_:", "    body({args}i_, i_ + 1)", "    cuda.syncthreads()",
         "    i_ += cuda.gridDim.x"]
ONE = ["body({args}start_, stop_)"]
# The first elements of a row go to LANES accumulators on the CPU, for its vectors; here the loop over the rest takes all.
VECTORISED = ("n - n % LANES",)


def threads():
    """Threads of a block: a power of two."""
    return 4 if shim.simulated() else 256


class Dealer(ast.NodeTransformer):
    """Rewrites a kernel function for a block; ``dealt`` counts loops that are shared, ``left`` innermost ones that are not."""

    def __init__(self, tree, types, inlines):
        self.tree, self.types, self.inlines = tree, types, inlines
        self.dealt = self.left = self.fresh = 0
        self.read = {n.value.id for n in ast.walk(tree) if isinstance(n, ast.Subscript) and isinstance(n.value, ast.Name)
                     and (isinstance(n.ctx, ast.Load) or self._adds(n))}

    def _adds(self, node):
        return any(isinstance(n, ast.AugAssign) and n.target is node for n in ast.walk(self.tree))

    # --- statements that all threads run

    def visit_For(self, loop):
        if not any(isinstance(n, (ast.For, ast.While)) for n in ast.walk(loop) if n is not loop):
            folds = self.folds(loop) if is_range(loop) else None
            if folds is not None:
                self.dealt += 1
                return self.share(loop, folds)
            self.left += 1
        return self.generic_visit(loop)

    def visit_Assign(self, node):
        if ast.unparse(node.value) in VECTORISED:
            node.value = ast.Constant(0)
            return node
        if any(called(v) in SCRATCH for _, v in pairs(node)):
            return [_shared(t, v) for t, v in pairs(node)]
        return self.alone(node, node.targets)

    def visit_AugAssign(self, node):
        return self.alone(node, [node.target])

    def alone(self, node, targets):
        """A store into an array: one thread does it."""
        flat = [e for t in targets for e in (t.elts if isinstance(t, ast.Tuple) else [t])]
        arrays = [t for t in flat if isinstance(t, ast.Subscript)]
        if not arrays:
            return node
        if len(arrays) < len(flat):
            raise thread_form.Refused("a store mixed with an assignment")
        guarded = ast.parse("if cuda.threadIdx.x == 0:\n    pass").body[0]
        guarded.body = [node]
        if {t.value.id for t in arrays} & self.read:
            return [_barrier(), guarded, _barrier()]
        return guarded

    # --- loops that are shared

    def folds(self, loop):
        """{scalar: how it is folded} where the turns of an innermost loop may be dealt out, else None."""
        if any(isinstance(n, (ast.Return, ast.Break)) for n in ast.walk(loop)) or len(loop.iter.args) > 2:
            return None
        found = {name: fold_of(loop, name) for name in sorted(carried(loop))}
        if None in found.values():
            return None
        if (names(loop, ast.Store) - set(found)) & read_after(self.tree, loop):
            return None
        grows, written = growing(loop), {}
        for t in stores(loop):
            if not names(t.slice) & grows or not is_polynomial(t.slice):
                return None
            written.setdefault(t.value.id, set()).add(ast.unparse(t.slice))
        for n in ast.walk(loop):
            if isinstance(n, ast.Subscript) and isinstance(n.ctx, ast.Load) and getattr(n.value, "id", None) in written and (
                    ast.unparse(n.slice) not in written[n.value.id]):
                return None
        return found

    def share(self, loop, folds):
        """The loop with its turns dealt out, and the joins of what it folds."""
        first, last = (["0"] if len(loop.iter.args) == 1 else []) + [ast.unparse(a) for a in loop.iter.args]
        loop.iter = ast.parse(f"range(({first}) + cuda.threadIdx.x, {last}, cuda.blockDim.x)").body[0].value
        for n in ast.walk(loop):
            if called(n) in self.inlines:
                n.func.id += "__alone"
        before, after = [], []
        for name, how in folds.items():
            kind, neutral = self.types.of(name), FOLDS[how][1]
            if neutral is not None:
                self.fresh += 1
                held = f"{name}_{self.fresh}_"
                before += ast.parse(f"{held} = {name}\n{name} = {kind}_({neutral})").body
                after += ast.parse(f"{name} = {FOLDS[how][0].format(a=held, b=f'{how}_{kind}_({name})')}").body
            else:
                after += ast.parse(f"{name} = {how}_{kind}_({name})").body
        return [*before, loop, *after, _barrier()]


def _shared(target, value):
    """Scratch memory of the block, or what else is assigned beside it."""
    text = f"cuda.shared.array({', '.join(SCRATCH[called(value)])})" if called(value) in SCRATCH else ast.unparse(value)
    return ast.parse(f"{target.id} = {text}").body[0]


def _barrier():
    return ast.parse("cuda.syncthreads()").body[0]


class Types:
    """The types of scalars that are folded, from what they are set to: "T", "acc", "f8" or "i8"."""

    def __init__(self, tree):
        self.values, self.scratch = {}, {}
        for n in ast.walk(tree):
            if isinstance(n, ast.Assign):
                for t, v in pairs(n):
                    if isinstance(t, ast.Name):
                        self.values.setdefault(t.id, []).append(v)
                        if called(v) in SCRATCH:
                            self.scratch[t.id] = SCRATCH[called(v)][1].removesuffix("_type_")

    def of(self, name, seen=()):
        for v in self.values.get(name, ()):
            found = self._value(v, (*seen, name))
            if found:
                return found
        raise thread_form.Refused(f"the type of {name} is not seen")

    def _value(self, v, seen):
        if isinstance(v, ast.Constant):
            return "f8" if isinstance(v.value, float) else "i8"
        if called(v) in ("T", "load", "jit_load"):
            return "T"
        if called(v) == "acc":
            return "acc"
        if isinstance(v, ast.BinOp):  # of load(x) * 0
            return self._value(v.left, seen)
        if isinstance(v, ast.Subscript) and isinstance(v.value, ast.Name):
            return self.scratch.get(v.value.id)
        if isinstance(v, ast.Name) and v.id in self.values and v.id not in seen:
            return self.of(v.id, seen)
        return None


TREE = """def {how}_{kind}_(value):
    shared = cuda.shared.array({size}, {kind}_type_)
    thread = cuda.threadIdx.x
    cuda.syncthreads()
    shared[thread] = value
    cuda.syncthreads()
    width = {size} // 2
    while width > 0:
        if thread < width:
            a = shared[thread]
            b = shared[thread + width]
            shared[thread] = {join}
        cuda.syncthreads()
        width //= 2
    return shared[0]
"""

_made: dict = {}


class Made:
    """A function of a block, and how much of it is shared."""

    def __init__(self, function, dealt, left):
        self.function, self.dealt, self.left = function, dealt, left


def block_function(fn, letters):
    """What a kernel function, or one that it calls, becomes for the threads of a block together."""
    key = fn.__code__, tuple(sorted(letters.items()))
    found = _made.get(key)
    if found is None:
        found = _made[key] = _make(fn, letters)
    return found


def _make(fn, letters):
    tree = tree_of(fn)
    inlines = {n for n, v in fn.__globals__.items() if isinstance(v, jit.Inline)}
    dealer = Dealer(tree, Types(tree), inlines)
    counts = [0, 0]

    def together(function):
        # A copy for each caller: a module with shared memory that is linked by two ways is an error of NVVM's linker.
        made = _make(function, letters)
        counts[0] += made.dealt
        counts[1] += made.left
        return made.function
    env = thread_form.environment(fn, letters, together)
    tree = ast.fix_missing_locations(dealer.visit(tree))
    alone = thread_form.environment(fn, letters, lambda function: thread_form.function(function, letters))
    env.update((name + "__alone", alone[name]) for name in inlines & set(alone))
    text = emit.portable(ast.unparse(tree)) + "\n"
    space = {**env, **thread_form.scratch_types(letters), "__name__": "numbagrad.kernel.generated"}
    size = threads()
    for kind, code in (("T", letters["T"]), ("f8", "f8"), ("i8", "i8")):
        compute = dt.BY_CODE[code].compute
        types = {f"{kind}_type_": shim.element_type(compute), "cuda": space["cuda"]}
        space[kind + "_"] = emit.cast("T", code)[0]
        for how, (join, _) in FOLDS.items():
            name = f"{how}_{kind}_"
            if name in text:
                made = jit.define(TREE.format(how=how, kind=kind, size=size, join=join.format(a="a", b="b")), name,
                                  {**types, "__name__": "numbagrad.kernel.generated"})
                made.key = made.__source__ + compute
                space[name] = env[name] = made
    function = jit.define(text, fn.__name__, space)
    function.key = "\n".join([text, repr(sorted(letters.items())), *thread_form.texts(env)])
    return Made(function, dealer.dealt + counts[0], dealer.left + counts[1])


def source(kernel, dtypes, form):
    """The kernel of a form ("block" or "one") for dtypes."""
    letters = thread_form.letters_of(dtypes)
    made = block_function(kernel.fn, letters)
    return thread_form.wrapped(kernel, letters, made.function, form, BLOCK if form == "block" else ONE)


def worth(kernel, dtypes, partly=False):
    """Whether a block form shares all that a kernel does in innermost loops (or, with ``partly``, some of it)."""
    try:
        made = block_function(kernel.fn, thread_form.letters_of(dtypes))
    except thread_form.Refused:
        return False
    return made.dealt > 0 and (partly or made.left == 0)

