"""Functions rewritten so that whatever they read, call, write and look into passes through a hook.

Before a capture runs a function, its code is replaced by one compiled from the same source, in which every attribute, item,
global name, free variable, call, iteration and truth test goes through a function of ``hooks.HOOKS``: ``a.b`` becomes
``attribute(a, "b")``. Lines, names and meaning stay what they are, and hooks do nothing but the operation itself in threads
that capture nothing. The hooks stand in the code's constants, so that no name of the user's can meet theirs.
"""

from __future__ import annotations

import ast
import functools
import types

from ..kernel.tape import Untraced
from .bindings import Names, bound_by
from .source import NoSource, class_of, compiled, copied, find, lines_of, members

MARK = "\0hook "  # before the name of a hook, where the code has it among its constants
CELLS, GLOBALS = MARK + "closure", MARK + "globals"
# Functions that look at the frame which calls them.
OF_THE_FRAME = ("locals", "globals", "vars", "dir", "eval", "exec", "super")


def rewritten(fn, known):
    """The code of a function with hooks in it, whose id is not ``known``; NoSource where its source cannot be found."""
    kept = _template(fn)
    if fn.__closure__ is not None:
        return _filled(kept[1], {CELLS: fn.__closure__, GLOBALS: fn.__globals__})
    if kept[2] is fn.__globals__ and id(kept[3]) not in known:
        return kept[3]
    new = _filled(kept[1], {CELLS: (), GLOBALS: fn.__globals__})
    if kept[2] is not fn.__globals__:
        kept[2:] = fn.__globals__, new
    return new


HOOKS: dict = {}  # name -> function, which ``hooks`` puts here


@functools.cache
def _hooks():
    return {MARK + name: hook for name, hook in HOOKS.items()}


def _filled(code, table):
    """The code with what stands for its marks in the place of them."""
    consts = tuple([table.get(c, c) if c.__class__ is str else _filled(c, table) if isinstance(c, types.CodeType) else
                    table.get(members(c), c) if c.__class__ is frozenset else c for c in code.co_consts])
    return code.replace(co_consts=consts)


def _frozensets(code):
    """{members: frozenset} of the constants of a code, which order their items as they run."""
    found = {}
    for c in code.co_consts:
        if isinstance(c, types.CodeType):
            found.update(_frozensets(c))
        elif c.__class__ is frozenset:
            found[members(c)] = c
    return found


_templates: dict = {}


def _template(fn):
    """[code of ``fn``, the same with hooks and marks for its globals and cells, and, for a function without cells, these
    globals and the code with them]; made once for each code object."""
    code = fn.__code__
    kept = _templates.get(id(code))
    if kept is None or kept[0] is not code:
        with Untraced():
            node, within, imports, names = find(code, lines_of(fn))
            found = compiled(node, within, code, imports, Rewriter(code.co_freevars, class_of(within)))
            found = _filled(_like(found, code), {**names, **_hooks(), **_frozensets(code)})
        kept = _templates[id(code)] = [code, found, None, None]
    return kept


def _like(new, code):
    changes = {"co_name": code.co_name}
    if hasattr(code, "co_qualname"):
        changes["co_qualname"] = code.co_qualname
    if new.co_freevars != code.co_freevars:
        raise NoSource(f"the free variables of {code.co_name}() differ from those of its source")
    return new.replace(**changes)


def hook(name, *args, keywords=(), at=None):
    """A call of a hook as a node at the place of another."""
    node = ast.Call(ast.Constant(MARK + name), list(args), list(keywords))
    if at is not None:
        for n in ast.walk(node):
            if not hasattr(n, "lineno"):
                ast.copy_location(n, at)
    return node


class Rewriter(ast.NodeTransformer):
    """Puts hooks into one function and the functions inside of it."""

    def __init__(self, free, cls):
        self.free, self.cls, self.names = {n: i for i, n in enumerate(free)}, cls, []

    def function(self, node):
        """The rewritten outermost function."""
        return self._scope(node)

    # --- names

    def _kind(self, name):
        """Where a name lives: "inside" (of the function), "cell" or "global"."""
        name = self._private(name)
        for depth, scope in enumerate(reversed(self.names)):
            if scope.is_class and depth:
                continue  # methods do not see the names of their class
            if name in scope.globals:
                return "global"
            if name in scope.bound:
                return "inside"
        return "cell" if name in self.free else "global"

    def _private(self, name):
        if self.cls and name.startswith("__") and not name.endswith("__") and "." not in name:
            return f"_{self.cls.lstrip('_')}{name}" if self.cls.strip("_") else name
        return name

    def visit_Name(self, node):
        if not isinstance(node.ctx, ast.Load):
            return node
        kind, name = self._kind(node.id), self._private(node.id)
        if kind == "global":
            return hook("name", ast.Constant(GLOBALS), ast.Constant(name), node, at=node)
        if kind == "cell":
            return hook("free", ast.Constant(CELLS), ast.Constant(self.free[name]), ast.Constant(name), node, at=node)
        return node

    def _announced(self, node, stmts):
        """Statements with notes before them of the global names and free variables that they bind."""
        notes = []
        for name, reads in bound_by(node):
            kind, name = self._kind(name), self._private(name)
            if kind == "global":
                notes.append(("binds_name", ast.Constant(GLOBALS), ast.Constant(name), ast.Constant(reads)))
            elif kind == "cell":
                notes.append(("binds_free", ast.Constant(CELLS), ast.Constant(self.free[name]), ast.Constant(name),
                              ast.Constant(reads)))
        return [*[ast.copy_location(ast.Expr(hook(*n, at=node)), node) for n in notes], *stmts]

    # --- scopes

    def _scope(self, node):
        self.names.append(Names(node, self._private))
        if isinstance(node, ast.Lambda):
            node.body = self.visit(node.body)
        else:
            node.body = self._body(node.body)
            if node.args.kwarg is not None:  # a dict that every call makes anew
                made = hook("made", ast.Name(node.args.kwarg.arg, ast.Load()), at=node.body[0])
                node.body.insert(1 if _is_text(node.body[0]) else 0, ast.copy_location(ast.Expr(made), node.body[0]))
        self.names.pop()
        return node

    def _signature(self, node):
        a = node.args
        a.defaults = [self.visit(d) for d in a.defaults]
        a.kw_defaults = [d and self.visit(d) for d in a.kw_defaults]
        if not isinstance(node, ast.Lambda):
            node.decorator_list = [self.visit(d) for d in node.decorator_list]
            for p in (*a.posonlyargs, *a.args, *a.kwonlyargs, a.vararg, a.kwarg):
                if p is not None:
                    p.annotation = None
            node.returns = None

    def visit_FunctionDef(self, node):
        self._signature(node)
        return self._announced(ast.copy_location(ast.Assign([ast.Name(node.name, ast.Store())], node), node),
                               [self._scope(node)])

    def visit_Lambda(self, node):
        self._signature(node)
        return hook("made", self._scope(node), at=node)

    def visit_ClassDef(self, node):
        self._signature_of_class(node)
        self.names.append(Names(node, self._private))
        before, self.cls = self.cls, node.name
        node.body = self._body(node.body)
        self.cls = before
        self.names.pop()
        return node

    def _signature_of_class(self, node):
        node.bases = [self.visit(b) for b in node.bases]
        node.keywords = [self.visit(k) for k in node.keywords]
        node.decorator_list = [self.visit(d) for d in node.decorator_list]

    def _comprehension(self, node):
        first = node.generators[0]
        first.iter = self._iterated(first.iter, first.target)
        self.names.append(Names(node, self._private))
        for k, g in enumerate(node.generators):
            if g.is_async:
                self._refused(node, "asynchronous code")
            if k:
                g.iter = self._iterated(g.iter, g.target)
            g.target = self.visit(g.target)
            g.ifs = [self._content(i) for i in g.ifs]
        for field in ("elt", "key", "value"):
            if hasattr(node, field):
                setattr(node, field, self.visit(getattr(node, field)))
        self.names.pop()
        return hook("made", node, at=node)

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension

    # --- statements

    def _body(self, body):
        out = []
        for k, stmt in enumerate(body):
            if k == 0 and _is_text(stmt):
                out.append(stmt)  # a docstring
                continue
            new = self.visit(stmt)
            out.extend(new if isinstance(new, list) else [new])
        return out

    def generic_visit(self, node):
        bound = bound_by(node) if isinstance(node, ast.stmt) else ()
        for field, old in ast.iter_fields(node):
            if isinstance(old, list) and old and isinstance(old[0], ast.stmt):
                setattr(node, field, self._body(old))
            elif isinstance(old, list):
                setattr(node, field, [self.visit(x) if isinstance(x, ast.AST) else x for x in old])
            elif isinstance(old, ast.AST):
                setattr(node, field, self.visit(old))
        return self._announced(node, [node]) if bound else node

    def visit_Assign(self, node):
        unpacks = any(isinstance(t, (ast.Tuple, ast.List)) for t in node.targets)
        node.value = self._iterated(node.value, None) if unpacks and not isinstance(node.value, ast.Tuple) else self.visit(
            node.value)
        node.targets = [self.visit(t) for t in node.targets]
        return self._announced(node, [node])

    def visit_AnnAssign(self, node):
        if node.value is not None:
            node.value = self.visit(node.value)
        if not isinstance(node.target, ast.Name):
            node.target = self.visit(node.target)
        node.annotation = ast.copy_location(ast.Constant(None), node)
        return self._announced(node, [node])

    def visit_AugAssign(self, node):
        value, op = self._content(node.value), type(node.op).__name__
        if isinstance(node.target, ast.Name):
            old = self.visit(ast.copy_location(ast.Name(node.target.id, ast.Load()), node.target))
            new = ast.Assign([node.target], hook("update", ast.Constant(op), old, value, at=node))
            return self._announced(node, [ast.copy_location(new, node)])
        # The old value is read before the new one is computed, which may change it.
        target, none = node.target, ast.arguments([], [], None, [], [], None, [])
        later = not any(isinstance(n, (ast.Yield, ast.YieldFrom, ast.NamedExpr)) for n in ast.walk(value))
        place = ast.Constant(self._private(target.attr)) if isinstance(target, ast.Attribute) else self._index(target.slice)
        new = hook("update_attribute" if isinstance(target, ast.Attribute) else "update_item", ast.Constant(op),
                   self.visit(target.value), place, ast.Lambda(none, value) if later else value, ast.Constant(later), at=node)
        return self._announced(node, [ast.copy_location(ast.Expr(new), node)])

    def visit_For(self, node):
        announced = bound_by(node)
        node.iter = self._iterated(node.iter, node.target)
        node.target = self.visit(node.target)
        node.body, node.orelse = self._body(node.body), self._body(node.orelse)
        return self._announced(node, [node]) if announced else node

    def visit_If(self, node):
        node.test = self._content(node.test)
        node.body, node.orelse = self._body(node.body), self._body(node.orelse)
        return self._announced(node, [node])

    visit_While = visit_If

    def visit_Assert(self, node):
        node.test = self._content(node.test)
        node.msg = node.msg and self.visit(node.msg)
        return node

    def visit_With(self, node):
        for item in node.items:
            item.context_expr = hook("context", self.visit(item.context_expr), at=item.context_expr)
            if item.optional_vars is not None:
                item.optional_vars = self.visit(item.optional_vars)
        node.body = self._body(node.body)
        return self._announced(node, [node])

    def visit_ExceptHandler(self, node):
        node.type = node.type and self.visit(node.type)
        node.body = self._body(node.body)
        node.body.insert(0, ast.copy_location(ast.Expr(hook("handled", at=node)), node))
        return node

    def visit_Match(self, node):
        before = []
        for p in ast.walk(ast.Module([ast.Expr(ast.Constant(None)), *[ast.Expr(c.pattern) for c in node.cases]], [])):
            if isinstance(p, ast.MatchClass):
                self._refused(node, "a class pattern")
            if isinstance(p, ast.MatchValue):
                before.append(ast.copy_location(ast.Expr(self.visit(copied(p.value))), node))
        node.subject = self._content(node.subject)
        for case in node.cases:
            case.guard = case.guard and self._content(case.guard)
            case.body = self._body(case.body)
        return self._announced(node, [*before, node])

    def visit_ImportFrom(self, node):
        notes = [ast.copy_location(ast.Expr(hook("imported", ast.Constant(GLOBALS), ast.Constant(node.module or ""),
                                                 ast.Constant(a.name), ast.Constant(node.level), at=node)), node)
                 for a in node.names]
        return self._announced(node, [node, *notes])

    def _refused(self, node, what):
        raise NoSource(f"{what} in line {node.lineno} is not followed by ng.compile")

    def visit_AsyncFunctionDef(self, node):
        self._refused(node, "asynchronous code")

    visit_Await = visit_AsyncFor = visit_AsyncWith = visit_AsyncFunctionDef

    # --- expressions

    def _content(self, node):
        """An operand that C code looks into."""
        new = self.visit(node)
        if self._fresh(node) or isinstance(node, (ast.Constant, ast.Compare, ast.JoinedStr)) or (
                isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)):
            return new
        return hook("content", new, at=node)

    def _fresh(self, node):
        """Whether a name is that of arguments which every call collects anew."""
        return isinstance(node, ast.Name) and bool(self.names) and node.id in self.names[-1].fresh

    def _iterated(self, node, target):
        if self._fresh(node):
            return self.visit(node)
        deep = ast.Constant(isinstance(target, (ast.Tuple, ast.List)))
        return hook("iterated", self.visit(node), deep, at=node)

    def visit_Attribute(self, node):
        value, name = self.visit(node.value), self._private(node.attr)
        if isinstance(node.ctx, ast.Load):
            return hook("attribute", value, ast.Constant(name), at=node)
        node.value = hook("writes", value, ast.Constant(name), at=node)
        return node

    def visit_Subscript(self, node):
        value = self.visit(node.value)
        if isinstance(node.ctx, ast.Load):
            return hook("item", value, self._index(node.slice), at=node)
        node.value = hook("puts", value, at=node)
        node.slice = hook("stored" if isinstance(node.ctx, ast.Store) else "removed", self._index(node.slice), at=node)
        return node

    def _index(self, node):
        """An index as an expression: ``a:b`` is no expression where no brackets are."""
        if isinstance(node, ast.Slice):
            parts = [ast.Constant(None) if p is None else self.visit(p) for p in (node.lower, node.upper, node.step)]
            return hook("slice", *parts, at=node)
        if isinstance(node, ast.Tuple):
            node.elts = [self._index(e) for e in node.elts]
            return node
        return self.visit(node)

    def visit_Call(self, node):
        f = node.func
        if isinstance(f, ast.Name) and f.id in OF_THE_FRAME and self._kind(f.id) == "global":
            node.args, node.keywords = [self.visit(a) for a in node.args], [self.visit(k) for k in node.keywords]
            if f.id != "super" and not (node.args and f.id in ("vars", "dir")):
                node.func = hook("of_the_frame", f, at=node)
                return node
            if f.id == "super":
                return node
        func = self.visit(f)
        args = [self.visit(a) for a in node.args]
        keywords = [ast.keyword(k.arg, self.visit(k.value) if k.arg else self._content(k.value)) for k in node.keywords]
        return hook("call", func, *args, keywords=keywords, at=node)

    def visit_Starred(self, node):
        node.value = self._iterated(node.value, None) if isinstance(node.ctx, ast.Load) else self.visit(node.value)
        return node

    def visit_YieldFrom(self, node):
        node.value = self._iterated(node.value, None)
        return node

    def visit_BinOp(self, node):
        return hook("binary", ast.Constant(type(node.op).__name__), self.visit(node.left), self.visit(node.right), at=node)

    def visit_UnaryOp(self, node):
        node.operand = self._content(node.operand)
        return node

    def visit_BoolOp(self, node):
        node.values = [*[self._content(v) for v in node.values[:-1]], self.visit(node.values[-1])]
        return node

    def visit_IfExp(self, node):
        node.test, node.body, node.orelse = self._content(node.test), self.visit(node.body), self.visit(node.orelse)
        return node

    def visit_Compare(self, node):
        if len(node.ops) == 1 and isinstance(node.ops[0], (ast.In, ast.NotIn)):
            node.left = self.visit(node.left)
            found = hook("contains", node.left, self.visit(node.comparators[0]), at=node)
            return found if isinstance(node.ops[0], ast.In) else ast.copy_location(ast.UnaryOp(ast.Not(), found), node)
        if all(isinstance(op, (ast.Is, ast.IsNot)) for op in node.ops):
            node.left, node.comparators = self.visit(node.left), [self.visit(c) for c in node.comparators]
            return node
        if len(node.ops) == 1:
            return hook("compared", ast.Constant(type(node.ops[0]).__name__), self.visit(node.left),
                        self.visit(node.comparators[0]), at=node)
        node.left, *node.comparators = [hook("content", hook("chained", self.visit(c), at=c), at=c)
                                        for c in (node.left, *node.comparators)]
        return node

    def visit_JoinedStr(self, node):
        parts = [ast.Tuple([self.visit(p.value), ast.Constant(p.conversion), self.visit(p.format_spec) if p.format_spec else
                            ast.Constant("")], ast.Load()) if isinstance(p, ast.FormattedValue) else p for p in node.values]
        return hook("joined", *parts, at=node)

    def visit_Dict(self, node):
        node.values = [self._content(v) if k is None else self.visit(v) for k, v in zip(node.keys, node.values)]
        node.keys = [k and self.visit(k) for k in node.keys]
        return hook("made", node, at=node)

    def visit_List(self, node):
        node.elts = [self.visit(e) for e in node.elts]
        return hook("made", node, at=node) if isinstance(node.ctx, ast.Load) else node

    def visit_Set(self, node):
        node.elts = [self.visit(e) for e in node.elts]
        return hook("made", node, at=node)


def _is_text(stmt):
    """Whether the first statement of a body is a docstring."""
    return isinstance(stmt, ast.Expr) and isinstance(stmt.value, ast.Constant)
