"""``python -m numbagrad source NAME``: what an op is made of, and the code that was generated from it."""

from __future__ import annotations

import difflib
import inspect
import textwrap

from ..base import dtypes as dt
from ..core.registry import REGISTRY
from ..dispatch import layers
from ..dispatch.op import Op
from ..dispatch.reduction import stages
from ..kernel import expr, jit

DTYPES = {str(d).removeprefix("torch."): d for d in dt.ALL}


def find(name):
    """The op that users call by this name (``relu``, ``torch.relu``, ``nn.functional.relu``); LookupError with close ones."""
    space, _, last = name.removeprefix("torch.").rpartition(".")
    names = {n: op for op in REGISTRY.values() for n in op.aliases} | REGISTRY
    names.update((n, op) for op in REGISTRY.values() if space in op.namespaces for n in (op.name, *op.aliases))
    if last not in names:
        close = difflib.get_close_matches(last, names, 5)
        raise LookupError(f"no op is called '{name}'" + (f"; is it one of {', '.join(close)}?" if close else ""))
    return names[last]


def text(name, dtype="float32", device="cpu"):
    """All of it as text, one part after the other with a line above each."""
    op, d = find(name), DTYPES[dtype]
    return "\n\n".join(f"# {title}\n{textwrap.dedent(body).strip()}" for title, body in _parts(op, d, device)) + "\n"


def _parts(op, d, device):
    """(title, text) of everything that is to be shown of an op, and of the private ops that a composed one calls."""
    yield f"{op.name}: {op.kind} op of ops/{op.family.replace('.', '/')}.py", op.summary
    yield from {"elementwise": _elementwise, "reduction": _reduction}.get(op.kind, _written)(op, d, device)
    if op.kind == "function":
        for inner in reached(op.fn, Op):
            if inner.private:
                yield from _parts(inner, d, device)


def formula(e):
    """An expression as it is written in Python."""
    text = _formula(e)
    return text[1:-1] if text[0] == "(" and e.op != "const" and text.endswith(")") and _closes_last(text) else text


def _closes_last(text):
    """Whether the first parenthesis is closed by the last character."""
    depth = 0
    for i, c in enumerate(text):
        depth += (c == "(") - (c == ")")
        if not depth:
            return i == len(text) - 1
    return False


def _formula(e):
    if e.op in ("var", "const"):
        return str(e.value)
    if e.op in ("real", "conj") and not e.args[0].args:
        return _formula(e.args[0])
    return expr.PRIMS[e.op].text.format(*[_formula(a) for a in e.args])


def _written(op, d, device):
    """Ops whose Python is their source: the declared function, launchers, rule, and the kernels that these name."""
    yield "the function that is called" if op.kind == "function" else "shape and kind of the result", inspect.getsource(op.fn)
    launch = getattr(op, "cpu_launch", None)
    launch = launch if device == "cpu" else getattr(op, "cuda_launch", None) or launch
    if launch is not None:
        where = "the host, where the data travels" if device != "cpu" and op.on_host else device
        yield f"launcher for {where}", inspect.getsource(launch)
        for kernel in reached(launch, jit.Kernel):
            yield f"kernel {kernel.name}, compiled for {d.code} where *T is {d}", inspect.getsource(kernel.fn)
            if device != "cpu" and not op.on_host:
                yield from _device_forms(kernel, d)
    elif op.kind == "custom":
        yield f"launcher for {device}", "# none"
    if getattr(op, "rule", None) is not None:
        yield "gradient", inspect.getsource(op.rule)


def _device_forms(kernel, d):
    """What a kernel becomes for a thread and for a block of a device."""
    from ..kernel.cuda import block_form, thread_form
    letters = thread_form.letters_of((d, *[dt.int64] * 2))
    try:
        yield f"kernel {kernel.name} of one thread", thread_form.function(kernel.fn, letters).__source__
        made = block_form.block_function(kernel.fn, letters)
    except NotImplementedError as error:
        yield f"kernel {kernel.name} on a device", f"# {error}"
        return
    if made.dealt:
        yield f"kernel {kernel.name} of a block of threads", made.function.__source__


def reached(function, wanted):
    """The objects of a class that a function names, itself or through functions of its module."""
    found, seen, todo = [], set(), [function]
    while todo:
        fn = todo.pop()
        for name in layers.own(fn).__code__.co_names:
            value = fn.__globals__.get(name)
            if isinstance(value, wanted) and value not in found:
                found.append(value)
            elif inspect.isfunction(value) and value.__globals__ is fn.__globals__ and value not in seen:
                seen.add(value)
                todo.append(value)
    return found


def _elementwise(op, d, device):
    form = op.form("t" * len(op.tensors))
    compute = form.compute_type(d)
    complex_ = compute.is_complex
    yield "value", formula(op.expression)
    rules = form.outputs_of((1 << len(form.tensors)) - 1, complex_) if form.differentiable else []
    for i, rule in rules:
        yield f"gradient of {form.tensors[i]} (g_: what arrives, y_: the result)", formula(rule)
    results = (form.result_dtype(compute).code,)
    yield from _loops("", form.forward, compute, len(form.tensors) * (compute.code,), results, device)
    if any(r is not expr.var("g_") for _, r in rules):
        kernel, names, computed, _, _ = form.backward_kernel((1 << len(form.tensors)) - 1, complex_)
        yield from _loops(" of the gradient", kernel, compute, len(names) * (compute.code,), len(computed) * (compute.code,),
                          device)
    jit.nb()
    yield "the call", op.build_call().__source__


def _loops(what, loop, compute, in_codes, out_codes, device):
    """The loop of a pointwise kernel; on a GPU, operands of any strides have one of their own."""
    if device == "cpu":
        yield (f"loop{what}, {device} (blocks of operands of other than row-major strides: numbagrad/kernel/strided.py)",
               loop.source(compute.compute, in_codes, out_codes)[0])
        return
    from ..kernel.cuda import emit
    for dims, which in ((0, "row-major operands"), (2, "operands of any strides")):
        yield (f"loop{what}, {which}, {device}",
               _device_text(emit.pointwise(loop, compute.compute, in_codes, out_codes, dims, True)))


def _reduction(op, d, device):
    yield "fn(acc, x), which takes in elements and joins parts", inspect.getsource(op.combine)
    for name, fn in (("map(x)", op.map_fn), ("finish(acc, n)", op.finish_fn)):
        if fn is not None:
            yield name, formula(expr.trace(fn, list(inspect.signature(fn).parameters))[0])
    out = op.result_dtype(d)
    for flags, title in (((False, True), "over the last dimension"), ((True, False), "over the first dimension")):
        form = stages((64, 4096), flags)[0][0]
        title = f"loop {title} ({form}), {device}"
        if device == "cpu":
            yield title, op.native(form, d.code, out.code, op.accumulator(d)).source
        else:
            from ..kernel.cuda import reduce
            yield title, _device_text(reduce.source(op, form, d.code, out.code, op.accumulator(d), True, True, 256, True))
    op.complete()
    if op.rule is not None:
        yield "gradient", inspect.getsource(op.rule)
    jit.nb()
    yield "the call", op.build_call().__source__


def _device_text(source):
    """A CUDA kernel's text with its parameters."""
    head = ", ".join(f"{name}: {kind!r}" for name, kind in source.params)
    return f"def {source.name}({head}):\n" + "\n".join("    " + line for line in source.body) + "\n"
