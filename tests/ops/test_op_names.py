"""Parameters of elementwise ops: the generated call and its kernels use names of their own, which are refused."""

import ast

import pytest

import numbagrad as ng
from numbagrad.dispatch import elementwise_fast
from numbagrad.extend import REGISTRY, elementwise
from numbagrad.kernel import expr

NAMES = """n k e c t buf out ptr shape storage node ver run record new start stop i row T exp pow t0 k1 a2 o0_a input_p
input_near load_f4 LIMIT id args g y""".split()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("note", ["", ": float"])
def test_refused(name, note):
    scope = {"__name__": __name__}
    exec(f"def planted(input, {name}{note}):\n    return input * {name}", scope)
    with pytest.raises(ValueError, match=f"elementwise op planted: a parameter cannot be called '{name}'"):
        elementwise(private=True)(scope["planted"])
    assert "planted" not in REGISTRY


def test_refused_where_the_kernel_looks_at_blocks():
    def planted(input, end):
        return expr.sin(input) * end
    with pytest.raises(ValueError, match="cannot be called 'end'"):
        elementwise(private=True)(planted)
    assert "planted" not in REGISTRY and ng.lerp(ng.zeros(1), end=ng.ones(1), weight=0.5).item() == 0.5


def used(text):
    """Names that generated text reads or binds as variables."""
    tree = ast.parse(text)
    found = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return found | {a.arg for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) for a in node.args.args}


@pytest.mark.parametrize("name", ["add", "pow", "lerp", "sin", "clamp_between", "addcmul", "softplus"])
def test_the_list_is_complete(name, monkeypatch):
    """Every name in the texts generated for an op is refused, or belongs to one of its parameters."""
    texts = []
    define = elementwise_fast.jit.define
    monkeypatch.setattr(elementwise_fast.jit, "define", lambda text, *more: texts.append(text) or define(text, *more))
    op = REGISTRY[name]
    elementwise_fast._build_entry(op)
    for form in op.forms.values():
        for kernel in [form.forward, *[form.backward_kernel(m)[0] for m in range(1, 1 << len(form.tensors))]]:
            for code in ("f4", "i8", "c8"):
                if kernel.outputs and (code == "f4" or name in ("add", "addcmul")):
                    ins = (code,) * len(kernel.inputs)
                    for how in ({}, {"inplace": True}, {"constant": 1}):
                        texts.append(kernel.source(code, ins, (code,) * len(kernel.outputs), **how)[0])
    mine = set(op.signature.parameters) | set(op.keywords) | {"DEFAULT_" + k for k in op.keywords}
    mine |= {"AttributeError", "TypeError"}
    functions = {n for n, p in expr.PRIMS.items() if p.text.startswith(n + "(")} | {"ipow"}
    for n in set().union(*map(used, texts)) - mine - elementwise_fast.RESERVED - functions - {n + "_near" for n in functions}:
        temporary = elementwise_fast.TEMPORARY.fullmatch(n)
        of_parameter = any(n == m + suffix for m in {*mine, "g", "y"} for suffix in elementwise_fast.SUFFIXES)
        assert temporary or of_parameter or n in elementwise_fast.BLOCKS, n
