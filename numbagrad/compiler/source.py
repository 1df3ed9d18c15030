"""The source of a function, which must compile to the code that runs, and the code of a changed copy of it."""

from __future__ import annotations
import __future__

import ast
import functools
import inspect
import linecache
import sys
import types
import warnings

from .bindings import FUNCTIONS, SCOPES, Names

FUTURE = functools.reduce(int.__or__, [getattr(__future__, n).compiler_flag for n in __future__.all_feature_names])


class NoSource(Exception):
    """A function whose source is not there, or is not what was compiled."""


def lines_of(fn):
    name = fn.__code__.co_filename
    if name.startswith("<frozen "):
        name = getattr(sys.modules.get(name[8:-1]), "__file__", name)
    linecache.checkcache(name)
    lines = linecache.getlines(name, fn.__globals__)
    if not lines and name == "<string>" and fn.__globals__.get("__name__") == "__main__" and "-c" in sys.orig_argv[:-1]:
        lines = sys.orig_argv[sys.orig_argv.index("-c") + 1].splitlines(True)
    if not lines:
        raise NoSource(f"the source of {fn.__qualname__}() cannot be read ({name})")
    return tuple(lines)


@functools.lru_cache(64)
def _tree(lines):
    """(node, nodes around it) of each function in a file, and the imports at its top: calls of imported names compile to
    other instructions."""
    tree = ast.parse("".join(lines))
    found = []

    def walk(node, around):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, FUNCTIONS):
                found.append((child, around))
            walk(child, (*around, child) if isinstance(child, SCOPES) else around)
    walk(tree, ())
    imports = Names(tree).imports
    return found, imports


def find(code, lines):
    """(node, nodes around it, imports of its file) of a function, whose source must compile to the code that runs."""
    try:
        every, imports = _tree(lines)
    except SyntaxError as error:
        raise NoSource(f"the source of {code.co_name}() cannot be parsed: {error}") from None
    name = code.co_name
    fits = [(node, around) for node, around in every if _first_line(node) == code.co_firstlineno
            and getattr(node, "name", "<lambda>") == name]
    for node, around in fits:
        try:
            plain = compiled(node, around, code, imports, None)
        except (SyntaxError, NoSource):
            continue
        names = {}
        if _equal(plain, code, names):
            return node, around, imports, names
    if len(fits) == 1 and _has_asserts(fits[0][0]) and _similar(fits[0][0], code):
        return *fits[0], imports, {}  # a test framework may have rewritten its assertions
    raise NoSource(f"the source of {name}() in {code.co_filename}:{code.co_firstlineno} is not what runs; was the file "
                   "changed?")


def _first_line(node):
    return min([d.lineno for d in getattr(node, "decorator_list", ())] + [node.lineno])


def _has_asserts(node):
    return any(isinstance(n, ast.Assert) for n in ast.walk(node))


def _similar(node, code):
    a = node.args
    names = [p.arg for p in (*a.posonlyargs, *a.args, *a.kwonlyargs)]
    return tuple(names) == code.co_varnames[:len(names)] and any(n.startswith("@") for n in code.co_names)


def _equal(a, b, names):
    """Whether two codes do the same, wherever they stand; ``names`` is filled with the names of functions inside of them, which
    are constants before Python 3.11: {in the one: in the other}."""
    same = ("co_code", "co_names", "co_varnames", "co_freevars", "co_cellvars", "co_argcount", "co_kwonlyargcount",
            "co_posonlyargcount")
    if (a.co_flags ^ b.co_flags) & ~inspect.CO_NESTED or any(getattr(a, n) != getattr(b, n) for n in same):
        return False
    if len(a.co_consts) != len(b.co_consts):
        return False
    if not hasattr(a, "co_qualname"):
        for k, x in enumerate(a.co_consts[:-1]):
            if isinstance(x, types.CodeType):
                one, other = a.co_consts[k + 1], b.co_consts[k + 1]
                if one.__class__ is str is other.__class__ and one.endswith(x.co_name) and other.endswith(x.co_name):
                    names[one] = other
    return all([_equal(x, y, names) if isinstance(x, types.CodeType) and isinstance(y, types.CodeType) else
                type(x) is type(y) and (repr(x) == repr(y) or x.__class__ is str and names.get(x) == y
                                        or x.__class__ is frozenset and members(x) == members(y))
                for x, y in zip(a.co_consts, b.co_consts)])


def members(x):
    """What is in a frozenset, whose order is that of the first equal one in its file."""
    return frozenset([(type(v), repr(v)) for v in x])


def class_of(around):
    """The innermost class around a function, whose name its private names carry."""
    return next((n.name for n in reversed(around) if isinstance(n, ast.ClassDef)), None)


def compiled(node, around, code, imports, rewriter):
    """The code of one function: compiled inside of a function that has its free variables (and its class)."""
    copy = copied(node)
    if not isinstance(copy, ast.Lambda):
        copy.decorator_list, copy.returns = [], None
        if hasattr(copy, "type_params"):
            copy.type_params = []
    for p in (*copy.args.posonlyargs, *copy.args.args, *copy.args.kwonlyargs, copy.args.vararg, copy.args.kwarg):
        if p is not None:
            p.annotation = None
    copy.args.defaults = [ast.Constant(None) for _ in copy.args.defaults]
    copy.args.kw_defaults = [d and ast.Constant(None) for d in copy.args.kw_defaults]
    if rewriter is not None:
        copy = rewriter.function(copy)
    name = "<lambda>"
    if isinstance(copy, ast.Lambda):
        inner = ast.Expr(copy)
    else:
        inner, copy.name = copy, (name := "_____" + copy.name)  # the function's own name stays free
    of_class, cls = bool(around) and isinstance(around[-1], ast.ClassDef), class_of(around)
    if cls is not None:
        cls = "_____" + cls  # private names are the same, and the class's own name stays free
    free = [n for n in code.co_freevars if not (of_class and n == "__class__")]
    binds = [ast.Assign([ast.Name(n, ast.Store())], ast.Constant(None)) for n in free]
    body = [*binds, ast.ClassDef(cls, [], [], [inner], [], **params())] if of_class else [*binds, inner]
    none = ast.arguments([], [], None, [], [], None, [])
    outer = ast.FunctionDef("outer", none, body, [], None, **params())
    top = outer if of_class or cls is None else ast.ClassDef(cls, [], [], [outer], [], **params())
    module = ast.Module([*imports, top], [])
    ast.fix_missing_locations(module)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        made = compile(module, code.co_filename, "exec", code.co_flags & FUTURE, True)
    return _inner(made, name, 3 if of_class or cls is not None else 2)


def params():
    return {"type_params": []} if "type_params" in ast.FunctionDef._fields else {}


def _inner(code, name, depth):
    for c in code.co_consts:
        if isinstance(c, types.CodeType):
            if depth == 1:
                if c.co_name == name:
                    return c
            else:
                found = _inner(c, name, depth - 1)
                if found is not None:
                    return found
    return None


def copied(node):
    """A copy that keeps what is not changed in place: every node once, with its line."""
    if isinstance(node, ast.AST):
        new = type(node)(**{f: copied(getattr(node, f)) for f in node._fields if hasattr(node, f)})
        return ast.copy_location(new, node) if hasattr(node, "lineno") else new
    return [copied(n) for n in node] if isinstance(node, list) else node
