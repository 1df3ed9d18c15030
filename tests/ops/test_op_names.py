"""Parameters of ops may have any name: those of the generated code end in an underscore, which is refused."""

import ast

import numpy as np
import pytest

import numbagrad as ng
from numbagrad.dispatch import elementwise_fast, pairwise
from numbagrad.dispatch.custom_fast import evaluators
from numbagrad.dispatch.text import numpy_names
from numbagrad.extend import REGISTRY, custom, elementwise, function, reduction, scalar, view
from numbagrad.kernel import jit
from numbagrad.kernel.cuda import emit as cuda_emit

# What generated code, kernels and Python itself call something, with and without their underscores.
NAMES = """n k e c t buf out ptr shape storage node ver run record new start stop i row T exp pow sin t0 k1 a0 o0 o0_a input_p
input_near load_f4 LIMIT id args g y int float range min abs isinstance inf complex end block op fn key found self spec saved
unpack needs TypeError Tensor n_c len STATE rule e_a out_p""".split()
CHUNKS = [NAMES[at:at + 7] for at in range(0, len(NAMES), 7)]


def declared(decorate, head, body):
    """An op from the text of its parameters and of what it returns."""
    scope = {"__name__": __name__, "s": scalar, "ng": ng}
    exec(f"def planted({head}):\n    {body}", scope)
    return decorate(scope["planted"])


def elementwise_pair(names, **options):
    """An op of two tensors and numbers with these names, and the same with letters."""
    made = []
    for a, b, *more in (names, [f"p{i}p" for i in range(len(names))]):
        numbers = " + ".join(f"{m} * {i + 1}" for i, m in enumerate(more)) or "0"
        body = f"return s.sin({a}) * s.exp({b}) + s.power(s.absolute({a}), {b}) / ({b} + 3) + s.maximum({a}, {numbers})"
        head = ", ".join([a, b, *[f"{m}: float" for m in more]])
        made.append(declared(elementwise(registered=False, private=True, **options), head, body))
    return made


def everything(op, numbers, dtype, shape, strided):
    """Value, first and second derivatives of a call."""
    rng = np.random.default_rng(5)
    a, b = [ng.tensor(rng.uniform(0.2, 0.9, shape), dtype=dtype) for _ in range(2)]
    if strided:
        a, b = a.t(), b[:1].expand(b.shape).t()
    a, b = a.detach().requires_grad_(), b.detach().requires_grad_()
    out = []
    for _ in range(2):  # by the general path, then by the generated one
        y = op.call(a, b, *numbers)
        first = ng.autograd.grad(y.sum(), (a, b), retain_graph=True)
        recorded = ng.autograd.grad((y * y).sum(), (a, b), create_graph=True)
        second = ng.autograd.grad(sum(r.sum() for r in recorded), (a, b))
        out += [y, *first, *recorded, *second]
    return [t.detach().numpy() for t in out]


@pytest.mark.parametrize("names", [*CHUNKS, *[c[::-1] for c in CHUNKS]], ids=lambda names: "-".join(names[:2]))
def test_elementwise(names):
    mine, plain = elementwise_pair(names)
    numbers = [0.25 * i for i in range(len(names) - 2)]
    for strided in (False, True):
        found, expected = [everything(op, numbers, ng.float32, (3, 5), strided) for op in (mine, plain)]
        for f, x in zip(found, expected):
            np.testing.assert_array_equal(f, x)
    a = np.random.default_rng(5).uniform(0.2, 0.9, (3, 5))
    b = np.asarray(0.5)
    got = mine.call(ng.tensor(a), ng.tensor(b), *numbers).numpy()
    total = sum(v * (i + 1) for i, v in enumerate(numbers))
    np.testing.assert_allclose(got, np.sin(a) * np.exp(b) + a ** b / (b + 3) + np.maximum(a, total), rtol=1e-12)


@pytest.mark.parametrize("names", ["n k", "out e", "g y", "y g", "T c", "id i", "float int", "isinstance t"])
def test_elementwise_with_a_number(names):
    mine, plain = elementwise_pair(names.split())
    x = ng.tensor([0.5, 0.25], requires_grad=True)
    for op in (mine, plain) * 2:
        y = op.call(x, 2.0)
        expected = [np.sin(v) * np.exp(2.0) + v * v / 5 + v for v in (0.5, 0.25)]
        np.testing.assert_allclose(y.detach().numpy(), expected, rtol=1e-6)
    (a,), (b,) = [ng.autograd.grad(op.call(x, 2.0).sum(), x) for op in (mine, plain)]
    assert a.tolist() == b.tolist()


def test_an_op_with_a_parameter_called_out_has_no_other_one():
    mine, plain = elementwise_pair(["out", "k"])
    out = ng.zeros(2)
    assert plain.call(ng.ones(2), ng.ones(2), out=out) is out
    with pytest.raises(TypeError, match="out"):
        mine.call(ng.ones(2), ng.ones(2), out=out)


@pytest.mark.parametrize("rule", ["g_, y, g", "g, y_, k"])
def test_gradient_rules_say_ours_with_an_underscore(rule):
    """Where a parameter is called g or y, the rule's g or y is the parameter."""
    ours, _, other = rule.split(", ")
    second = "y" if "y_" not in rule else "k"
    op = declared(elementwise(registered=False, private=True), f"{other}, {second}" if other != second else f"n, {other}",
                  f"return {other} * 3 + {second}")
    names = list(op.signature.parameters)
    scope = {}
    exec(f"def rule({ours}, {', '.join(names)}):\n    return {ours} * {names[1]}, {ours} * 7", scope)
    op.gradient(scope["rule"])
    a, b = ng.tensor([2.0], requires_grad=True), ng.tensor([5.0], requires_grad=True)
    for _ in range(2):
        a.grad = b.grad = None
        op.call(a, b).sum().backward()
        assert a.grad.item() == 5.0 and b.grad.item() == 7.0


@pytest.mark.parametrize("names", CHUNKS, ids=lambda names: "-".join(names[:2]))
def test_custom(names):
    """One output, several outputs, a list; values are passed by the kinds of their annotations."""
    a, b, c, *more = names
    head = ", ".join([a, b, *[f"{m}: float" for m in more], f"{c}=None"])
    one = declared(custom(registered=False, private=True), head, f"return {a}._shape, {a}._kind")
    two = declared(custom(registered=False, private=True), head, f"return [({a}._shape, {a}._kind), ({b}._shape, {b}._kind)]")
    many = declared(custom(registered=False, private=True), f"{a}: list, {b}: float", f"return {a}[0]._shape, {a}[0]._kind")
    late = declared(custom(registered=False, private=True), f"{a}: list, {b}, {c}: float",
                    f"return [({b}._shape, {b}._kind)] * 2")

    @one.cpu
    def _(result, first, second, *numbers):
        *numbers, third = numbers
        result.array()[:] = first.array() * second.array() * (1 if third is None else third.array()) + sum(numbers)

    @two.cpu
    def _(results, first, second, *numbers):
        results[0].array()[:] = first.array() * 2 + sum(numbers[:-1])
        results[1].array()[:] = second.array() ** 2

    @many.cpu
    def _(result, tensors, number):
        result.array()[:] = sum(t.array() for t in tensors) * number

    @late.cpu
    def _(results, tensors, factor, number):
        results[0].array()[:] = sum(t.array() for t in tensors) * factor.array() * number
        results[1].array()[:] = np.exp(factor.array())

    scope = {}
    exec(f"def one(g_, {a}, {b}, {more[0]}, needs_, shape_):\n    return g_ * {b}, g_ * {a}, None\n"
         f"def two(gs_, {b}, y0_):\n    return gs_[0] * 2, gs_[1] * {b} * 2, None\n"
         f"def many(g_, {a}, {b}):\n    return [g_ * {b} for _ in {a}]\n"
         f"def late(gs_, ys_, {a}, {b}, {c}):\n"
         f"    return [*[gs_[0] * {b} * {c} for _ in {a}], gs_[0] * ys_[0] / {b} + gs_[1] * ys_[1]]", scope)
    for op, name in ((one, "one"), (two, "two"), (many, "many"), (late, "late")):
        op.gradient(scope[name])
    numbers = [0.5] * len(more)
    for _ in range(2):
        x, w = ng.tensor([2.0, 3.0], requires_grad=True), ng.tensor([5.0, 7.0], requires_grad=True)
        y = one.call(x, w, *numbers)
        assert y.tolist() == [10 + sum(numbers), 21 + sum(numbers)]
        assert [t.tolist() for t in ng.autograd.grad(y.sum(), (x, w), create_graph=True)] == [[5, 7], [2, 3]]
        p, q = two.call(x, w, *numbers)
        assert p.tolist() == [4 + sum(numbers), 6 + sum(numbers)] and q.tolist() == [25, 49]
        assert [t.tolist() for t in ng.autograd.grad((p + q).sum(), (x, w))] == [[2, 2], [10, 14]]
        z = many.call([x, w], 3.0)
        assert z.tolist() == [21, 30] and ng.autograd.grad(z.sum(), w)[0].tolist() == [3, 3]
        p, q = late.call([x, x], w, 0.5)
        assert p.tolist() == [10, 21] and ng.autograd.grad(p.sum(), (x, w), retain_graph=True)[0].tolist() == [5, 7]
        np.testing.assert_allclose(ng.autograd.grad((p + q).sum(), w, create_graph=True)[0].tolist(), [2, 3] + np.exp([5, 7]))


@pytest.mark.parametrize("names", CHUNKS, ids=lambda names: "-".join(names[:2]))
def test_reduction(names):
    a, b, c, d, *_ = names
    scope = {"s": scalar, "__name__": __name__}
    exec(f"def fn({a}, {b}):\n    return {a} + {b}\ndef mapped({c}):\n    return s.exp({c})\n"
         f"def finish({d}, {a}):\n    return {d} / {a}", scope)
    options = {"map": scope["mapped"], "finish": scope["finish"], "registered": False, "private": True}
    op = reduction(start=0.0, wide=True, **options)(scope["fn"])
    x = ng.tensor([[0.5, 1.0], [2.0, 0.0]], requires_grad=True)
    for dim in (None, 0, 1) * 2:
        y = op.call(x, dim)
        np.testing.assert_allclose(y.detach().numpy(), np.exp(x.detach().numpy()).mean(axis=dim), rtol=1e-6)
        got, = ng.autograd.grad(y.sum(), x)
        np.testing.assert_allclose(got.numpy(), np.exp(x.detach().numpy()) / (4 if dim is None else 2), rtol=1e-6)


@pytest.mark.parametrize("names", CHUNKS, ids=lambda names: "-".join(names[:2]))
def test_views_and_functions(names):
    a, b, c, *_ = names
    turned = declared(view(registered=False, private=True), f"{a}, {b}, {c}: int = 1",
                      f"return {a}._shape[::-1], ({a}._strides or (2, 1))[::-1], 0")
    add = declared(function(registered=False, kinds={a: "any"}), f"{a}, {b}: float = 1.0, *, {c}: float = 0.0",
                   f"return {a} + {b} * {c}")
    x = ng.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    for _ in range(2):
        y = turned.call(x, 2)
        assert y.tolist() == [[1, 3], [2, 4]]
        assert ng.autograd.grad((y * ng.tensor([[1.0, 2.0], [3.0, 4.0]])).sum(), x)[0].tolist() == [[1, 3], [2, 4]]
        assert add.callable(x, 2, **{c: 3.0}).tolist() == [[7, 8], [9, 10]]
    with pytest.raises(TypeError, match=f"argument '{a}' "):
        add.callable(None)


@pytest.mark.parametrize("decorate", [elementwise, custom, view, function])
@pytest.mark.parametrize("name", ["n_", "input_p_", "_"])
def test_names_of_the_generated_code_are_refused(name, decorate):
    with pytest.raises(ValueError, match=f"op planted: a parameter cannot be called '{name}'"):
        declared(decorate(private=True), f"input, {name}", "return input")
    assert "planted" not in REGISTRY


# --- the texts --------------------------------------------------------------------------------------------------------

def named(text):
    """Names that generated text reads or binds."""
    tree = ast.parse(text)
    found = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    found |= {node.name for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler) and node.name}
    return found | {a.arg for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)
                    for a in (*node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg) if a}


def kernels(form):
    """The texts of an op's loops on both devices."""
    masks = range(1, 1 << len(form.tensors))
    for loop in [form.forward, *[form.backward_kernel(m)[0] for m in masks if form.differentiable]]:
        for code in ("f4", "i8", "c8"):
            ins, outs = (code,) * len(loop.inputs), (code,) * len(loop.outputs)
            for how in ({}, {"inplace": True}, {"constant": 1}):
                if outs and (ins or not how):
                    yield loop.source(code, ins, outs, **how)[0]
            for dims in (0, 2):
                if outs and code == "f4":
                    yield cuda_emit.pointwise(loop, code, ins, outs, dims, True).text


def texts(op):
    jit.nb()
    if op.kind == "function":
        return [getattr(op.callable, "__source__", "")]
    built = [op.build_call().__source__, op.call.__source__]
    if op.kind == "elementwise":
        form = op.form("t" * len(op.tensors))
        if form.differentiable:
            built.append(elementwise_fast._build_backward(form).__source__)
        built += kernels(form)
    elif op.kind == "view" and op.evaluate is not None:
        built.append(op.evaluate.__source__)
    elif op.kind in ("custom", "reduction") and op.rule is not None:
        built += [getattr(f, "__source__", "") for f in evaluators(op)]
    return built


@pytest.mark.parametrize("kind", ["elementwise", "custom", "reduction", "view", "function"])
def test_own_names_end_in_an_underscore(kind):
    """In the texts of every op, what does not end in an underscore is one of its parameters."""
    count = 0
    for op in REGISTRY.values():
        if op.kind != kind or op.fn.__name__ in ("linear", "matmul", "mm", "mv", "dot"):  # whose texts stand in their files
            continue
        mine = set(op.signature.parameters) | set(getattr(op, "keywords", ())) | {"out"}
        if kind == "reduction":
            mine |= {"dtype", "axis", "keepdims"}
        mine |= set(numpy_names(op, op.call_signature())[0].values())
        for text in texts(op):
            count += 1
            assert not {n for n in named(text) - mine if not n.endswith("_")}, (op.name, text)
    assert count > 20


def test_own_names_of_sums_of_elementwise_ops(monkeypatch):
    found = []

    def compile_source(text, *more):
        found.append(text)
        raise NotImplementedError
    op = declared(elementwise(registered=False, private=True), "n, k, e: float", "return s.exp(n * k) * e")
    monkeypatch.setattr(pairwise, "custom", lambda fn, **options: custom(fn, registered=False, **options))
    reduced = pairwise.Reduced(op, ("PlantedBackward0", "PlantedBackward0"))
    a, b = ng.tensor([0.5, 2.0], requires_grad=True), ng.tensor([3.0, 1.0])
    y = reduced(a, b, mean=True, e=2.0)
    np.testing.assert_allclose(y.item(), np.exp([1.5, 2.0]).sum(), rtol=1e-6)
    np.testing.assert_allclose(ng.autograd.grad(y, a)[0].numpy(), np.exp([1.5, 2.0]) * [3, 1], rtol=1e-6)
    monkeypatch.setattr(pairwise.jit, "compile_source", compile_source)
    for build in (lambda: reduced._build_forward(ng.float64), lambda: reduced._build_backward(ng.float64, (True, True))):
        with pytest.raises(NotImplementedError):
            build()
    assert len(found) == 2
    for text in found:
        assert not {n for n in named(text) - {"n", "k", "e"} if not n.endswith("_")}, text
