"""What the source of a kernel says: its tree, the names it reads and sets, what its loops carry from turn to turn."""

from __future__ import annotations

import ast
import inspect
import textwrap

SCRATCH = {"lanes": ("LANES_", "T_type_"), "strip": ("STRIP_", "T_type_"), "wide_strip": ("STRIP_", "f8_type_"),
           "acc_strip": ("STRIP_", "acc_type_")}


def tree_of(fn):
    """The syntax tree of a kernel function: no decorators, no annotations, no docstring."""
    try:
        source = getattr(fn, "__source__", None) or textwrap.dedent(inspect.getsource(fn))
    except OSError:
        raise NotImplementedError(f"kernel {fn.__name__} has no form on a device, because its source cannot be read: define it "
                                  "in a file") from None
    tree = ast.parse(source).body[0]
    tree.decorator_list, tree.returns = [], None
    for a in tree.args.args:
        a.annotation = None
    first = tree.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and len(tree.body) > 1:
        tree.body = tree.body[1:]
    return tree


def names(node, ctx=ast.Load):
    """Names that are read (or, with ``ast.Store``, set) in a tree."""
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ctx)}


def called(node):
    """The name of the function that a node calls, or an empty text."""
    return getattr(node.func, "id", "") if isinstance(node, ast.Call) else ""


def pairs(assign):
    """(target, value) of an assignment; of unpacked values that are not written out, each target with all of them."""
    for target in assign.targets:
        if isinstance(target, ast.Tuple) and isinstance(assign.value, ast.Tuple):
            yield from zip(target.elts, assign.value.elts)
        elif isinstance(target, ast.Tuple):
            yield from ((t, assign.value) for t in target.elts)
        else:
            yield target, assign.value


def stores(tree):
    """Elements of arrays that are stored."""
    return [n for n in ast.walk(tree) if isinstance(n, ast.Subscript) and isinstance(n.ctx, ast.Store)
            and isinstance(n.value, ast.Name)]


def scratch(tree):
    """Names of memory that belongs to one call."""
    return {t.id for n in ast.walk(tree) if isinstance(n, ast.Assign) for t, v in pairs(n)
            if isinstance(t, ast.Name) and called(v) in SCRATCH}


def is_range(loop):
    return isinstance(loop, ast.For) and called(loop.iter) == "range" and isinstance(loop.target, ast.Name)


def over_items(node):
    """Whether a node is the loop over a kernel's items."""
    return is_range(node) and [ast.unparse(a) for a in node.iter.args] == ["start", "stop"]


def is_polynomial(node):
    """Whether an index is a sum of products of names and numbers."""
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, (ast.Add, ast.Mult)) and is_polynomial(node.left) and is_polynomial(node.right)
    return isinstance(node, (ast.Name, ast.Constant))


def growing(loop):
    """Names that grow with a loop's variable: itself, and sums and products with it that are set at one place."""
    found = {loop.target.id}
    given = [(t.id, v) for n in ast.walk(loop) if isinstance(n, ast.Assign) for t, v in pairs(n) if isinstance(t, ast.Name)]
    others = {n.target.id for n in ast.walk(loop)
              if isinstance(n, (ast.AugAssign, ast.For)) and isinstance(n.target, ast.Name) and n is not loop}
    again = True
    while again:
        again = False
        for name, value in given:
            once = [s for s, _ in given].count(name) == 1
            if name not in found and name not in others and once and is_polynomial(value) and names(value) & found:
                found.add(name)
                again = True
    return found


def read_first(body, known):
    """Names that a list of statements may read before it sets them; ``known`` gets what it sets in any case."""
    found = set()

    def read(node):
        found.update(names(node) - known)

    for s in body:
        if isinstance(s, ast.Assign):
            read(s.value)
            for t in s.targets:
                read(t)
                known |= names(t, ast.Store)
        elif isinstance(s, ast.AugAssign):
            read(s.value)
            read(s.target)
            found.update({s.target.id} - known if isinstance(s.target, ast.Name) else ())
        elif isinstance(s, ast.If):
            read(s.test)
            first, second = set(known), set(known)
            found |= read_first(s.body, first) | read_first(s.orelse, second)
            known |= first & second
        elif isinstance(s, (ast.For, ast.While)):
            read(s.iter if isinstance(s, ast.For) else s.test)
            found |= read_first(s.body, known | (names(s.target, ast.Store) if isinstance(s, ast.For) else set()))
        else:
            read(s)
    return found


def carried(loop):
    """Scalars whose value may come into a turn from the one before: read before they are set in the loop's body."""
    return read_first(loop.body, {loop.target.id}) & names(loop, ast.Store)


def read_after(tree, loop):
    """Names that may be read after a loop before they are set again: in what follows it, and in the next turn of a loop
    around it."""
    def within(body):
        for k, s in enumerate(body):
            if s is loop:
                return read_first(body[k + 1:], set())
            if any(n is loop for n in ast.walk(s)):
                found = within(s.body)
                found = within(s.orelse) if found is None and isinstance(s, ast.If) else found
                if isinstance(s, (ast.For, ast.While)):
                    found = found | read_first(s.body, set()) | (names(s.test) if isinstance(s, ast.While) else set())
                return found | read_first(body[k + 1:], set())
        return None
    return within(tree.body)
