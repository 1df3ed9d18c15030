"""Runs short pieces of code, written for ``torch``, under both libraries and compares what comes of them."""

import ast

import parity


def said(library, text):
    """What the expressions of ``text`` print, then what it raises and warns; ``torch``, ``F`` and ``nn`` are the library's."""
    def run(lib):
        names = {"torch": lib, "F": lib.nn.functional, "nn": lib.nn, "optim": lib.optim}
        out = []
        try:
            for node in ast.parse(text).body:
                if isinstance(node, ast.Expr):
                    value = eval(compile(ast.Expression(node.value), text, "eval"), names)
                    if value is not None:
                        out.append(value)
                else:
                    exec(compile(ast.Module([node], []), text, "exec"), names)
        except Exception as e:
            out.append(f"{type(e).__name__}: {e}")
        return out
    library.manual_seed(0)
    return parity.said(library, run)
