"""Which names a function, class or comprehension binds, from its source."""

from __future__ import annotations

import ast

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
SCOPES = (*FUNCTIONS, ast.ClassDef)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


class Names:
    """The names that a scope binds (``bound``) or declares global (``globals``), and the imports among its statements;
    ``private`` completes private names. ``fresh`` are those of the arguments that every call makes anew (``*args, **kwargs``)
    and that nothing else is bound to."""

    def __init__(self, node, private=lambda name: name):
        self.bound, self.globals, self.outer, self.imports, self.fresh = set(), set(), set(), [], set()
        self.rebound = set()
        self.is_class = isinstance(node, ast.ClassDef)
        if isinstance(node, COMPREHENSIONS):
            for g in node.generators:
                self._targets(g.target)
        else:
            if hasattr(node, "args"):
                a = node.args
                self.bound.update([p.arg for p in (*a.posonlyargs, *a.args, *a.kwonlyargs, a.vararg, a.kwarg) if p])
                self.fresh = {p.arg for p in (a.vararg, a.kwarg) if p}
            for child in [node.body] if isinstance(node, ast.Lambda) else node.body:
                self._walk(child)
        self.fresh -= self.rebound
        self.bound -= self.globals | self.outer
        self.bound, self.globals = {private(n) for n in self.bound}, {private(n) for n in self.globals}

    def _targets(self, node):
        self.bound.update([n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)])

    def _walk(self, node):
        if isinstance(node, SCOPES):
            if hasattr(node, "name"):
                self.bound.add(node.name)
            inside = [*getattr(node, "decorator_list", ()), *getattr(node, "bases", ()), *getattr(node, "keywords", ())]
            if hasattr(node, "args"):
                inside += [*node.args.defaults, *[d for d in node.args.kw_defaults if d]]
            for child in inside:  # evaluated here
                self._walk(child)
            return
        if isinstance(node, COMPREHENSIONS):
            # Their targets are their own; what ":=" binds in them is not.
            self.bound.update([n.target.id for n in ast.walk(node) if isinstance(n, ast.NamedExpr)])
            return
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            self.bound.add(node.id)
            self.rebound.add(node.id)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            self.bound.update([(a.asname or a.name).partition(".")[0] for a in node.names])
            if getattr(node, "module", None) != "__future__":
                self.imports.append(node)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            self.bound.add(node.name)
        elif isinstance(node, (ast.MatchAs, ast.MatchStar)) and node.name:
            self.bound.add(node.name)
        elif isinstance(node, ast.MatchMapping) and node.rest:
            self.bound.add(node.rest)
        elif isinstance(node, ast.Global):
            self.globals.update(node.names)
        elif isinstance(node, ast.Nonlocal):
            self.outer.update(node.names)
        for child in ast.iter_child_nodes(node):
            self._walk(child)


def bound_by(node):
    """(name, whether it is read as well) of the names that a statement itself binds or deletes."""
    found = {}

    def walk(n, top):
        if isinstance(n, FUNCTIONS) and not top:
            return
        if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load):
            found.setdefault(n.id, False)
        elif isinstance(n, (ast.FunctionDef, ast.ClassDef)):
            found.setdefault(n.name, False)
            if not top or isinstance(n, ast.FunctionDef):
                return
        elif isinstance(n, (ast.Import, ast.ImportFrom)):
            for a in n.names:
                found.setdefault((a.asname or a.name).partition(".")[0], False)
        elif isinstance(n, ast.ExceptHandler) and n.name:
            found.setdefault(n.name, False)
        if isinstance(n, ast.AugAssign) and isinstance(n.target, ast.Name):
            found[n.target.id] = True
        for child in ast.iter_child_nodes(n):
            if not isinstance(child, ast.stmt):
                walk(child, False)
    walk(node, True)
    return list(found.items())
