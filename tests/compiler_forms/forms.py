"""The forms: functions of a subject that return a ``Program``, or None where the op has no such form."""

from __future__ import annotations

import numpy as np

import numbagrad as ng

from .subject import Given

FORMS = {}


class Program:
    """A module's text and the arguments of its calls.

    ``body`` are the lines of the step with the parameters ``params``, ``before`` lines that run once, ``state`` names what
    is looked at after each call, ``after`` an expression of the result ``r`` and of the arguments that runs outside."""

    def __init__(self, params, body, calls, before=(), state="", after="", build="compile(step)", variants=1, loose=1.0,
                 wide=False, terms=0.0, zeros=True):
        self.params, self.body, self.calls, self.before = params, body, calls, before
        self.state, self.after, self.build, self.variants, self.loose = state, after, build, variants, loose
        self.wide = wide  # terms that cancel may be as large as squares of the arguments
        self.terms = terms  # they may be as large as this
        self.zeros = zeros and not wide  # whether signs of zeros are compared

    def text(self):
        lines = ["import numbagrad as ng", "import numbagrad.nn.functional as F", "from numbagrad import nn", "", "",
                 "def program(compile):", *(f"    {b}" for b in self.before)]
        if self.body is not None:
            lines += [f"    def step({', '.join(self.params)}):", *(f"        {b}" for b in self.body)]
        lines += [f"    return {self.build}, lambda: [{self.state}]", "", "",
                  f"def after({', '.join(['r', *self.params])}):", f"    return {self.after or None}"]
        return "\n".join(lines) + "\n"


def form(fn):
    FORMS[fn.__name__] = fn
    return fn


def public_form(fn):
    """A form with arguments that only public ops check."""
    def checked(s):
        return None if s.op.private else fn(s)
    FORMS[fn.__name__] = checked
    return fn


def grad_of(wanted, loss, more=""):
    return f"ng.autograd.grad({loss}, [{', '.join(wanted)}], allow_unused=True{more})"


def leaves(s):
    return [s.names[i] for i in s.grads]


def three(s, **options):
    """Arguments of three calls: the first, the one that confirms it, and a replay."""
    return [s.given(v, **options) for v in s.values[:3]]


# --- plain calls ------------------------------------------------------------------------------------------------------

@form
def plain(s):
    return Program(s.names, [f"return {s.call()}"], three(s))


@form
def method(s):
    text = s.method()
    return text and Program(s.names, [f"return {text}"], three(s))


@form
def no_grad(s):
    return Program(s.names, ["with ng.no_grad():", f"    y = {s.call()}", "return y"], three(s, grad=True))


@form
def inference(s):
    return Program(s.names, ["with ng.inference_mode():", f"    y = {s.call()}", "return y"], three(s))


# --- derivatives ------------------------------------------------------------------------------------------------------

@form
def backward(s):
    return s.grads and Program(s.names, [f"y = {s.call()}", f"loss = {s.loss()}", "loss.backward()", "return loss.detach()"],
                               three(s, grad=True))


@form
def outside(s):
    return s.grads and Program(s.names, [f"return {s.call()}"], three(s, grad=True), after=grad_of(leaves(s), s.loss("r")))


@form
def second(s):
    if not s.grads or not s.op.second_order:
        return None
    body = [f"y = {s.call()}", f"first = {grad_of(leaves(s), s.loss(), ', create_graph=True')}",
            "again = [(g * (g + 0.5)).sum() for g in first if g is not None and g.requires_grad]",
            "if not again:", "    return first",
            f"return first, {grad_of(leaves(s), 'sum(again)')}"]
    return Program(s.names, body, three(s, grad=True), loose=100.0)


@form
def partly(s):
    """Of two results only one is differentiated; the derivative of the other is infinite."""
    if not s.grads:
        return None
    others = ", ".join(f"({n} * 0).sqrt()" for n in leaves(s))
    after = f"[{grad_of(leaves(s), s.loss('r[0]'), ', retain_graph=True')}, {grad_of(leaves(s)[-1:], 'r[1][-1].exp().sum()')}]"
    return Program(s.names, [f"y = {s.call()}", f"return y, [{others}]"], three(s, grad=True), after=after)


@form
def interleaved(s):
    """Differentiated outside after a second call."""
    if not s.grads:
        return None
    before = ["def run(" + ", ".join(s.names) + "):", f"    y = {s.call()}", "    return y", "compiled = compile(run)",
              f"def step({', '.join(s.names)}):", f"    first = compiled({', '.join(s.names)})",
              *[f"    z{i} = ({n}.detach() * 0.9375).requires_grad_()" for i, n in enumerate(s.names) if i in s.grads],
              f"    second = compiled({', '.join(f'z{i}' if i in s.grads else n for i, n in enumerate(s.names))})",
              "    return first, second", "step.inner = compiled"]
    return Program(s.names, None, three(s, grad=True), before, build="step", after=grad_of(leaves(s), s.loss("r[0]")))


@form
def one_gradient(s):
    """Only the last of the inputs wants a gradient."""
    if len(s.grads) < 2:
        return None
    last = s.grads[-1:]
    tops = ", ".join(p for p, _ in s.tops)
    body = [f"y = {s.call()}", f"if not any(t.requires_grad for t in [{tops}]):", "    return y"]
    loss = " + ".join(f"(({p}.real if {p}.is_complex() else {p}) * 1.5).sum()" for p, _ in s.tops[:1])
    return Program(s.names, [*body, f"return {grad_of([s.names[last[0]]], loss)}"], three(s, grad=last))


@form
def accumulated(s):
    """Parameters of a closure whose gradients add up over calls."""
    if not s.grads:
        return None
    before = [f"p{i} = nn.Parameter(V{i}.clone())" for i in s.grads]
    names = [f"p{i}" if i in s.grads else n for i, n in enumerate(s.names)]
    inputs = [n for i, n in enumerate(s.names)]
    mixed = [f"({n} + {x} * 0.25)" if n != x else n for n, x in zip(names, inputs)]
    body = [f"y = {s.call(mixed)}", f"loss = {s.loss()}", "loss.backward()", "return loss.detach() * 2"]
    held = [f"p{i}" for i in s.grads]
    return Program(s.names, body, three(s), before, ", ".join(held + [f"{h}.grad" for h in held]), variants=2)


@form
def hooked(s):
    """A hook on the result changes the gradient (one that is the argument itself would keep it: refused)."""
    if not s.grads or not s.single or s.outs[0][1].is_leaf:
        return None
    body = [f"y = {s.call()}", "y.register_hook(lambda g: g * 2 + 1)", f"({s.loss()}).backward()", "return y.detach()"]
    return Program(s.names, body, three(s, grad=True))


# --- among other ops --------------------------------------------------------------------------------------------------

def mixed(s, text="({} * 1.0625 + 0.03125)"):
    return [text.format(n) if i in s.floats else n for i, n in enumerate(s.names)]


@form
def chain(s):
    if not s.floats:
        return None
    outs = ", ".join(f"{p} * 0.5 - 1" for p, t in s.outs if t.dtype.is_floating_point or t.is_complex())
    body = [f"y = {s.call(mixed(s))}", f"return [{outs or 'y'}]"]
    if s.grads:
        body[-1:] = [f"out = [{outs}]", f"return out, {grad_of(leaves(s), s.loss())}"]
    return Program(s.names, body, three(s, grad=True))


def fold(s, folds):
    if not s.outs:
        return None
    body = [f"y = {s.call()}", "out = []"]
    used = []
    for p, t in s.outs:
        if t.dim() and t.dtype.is_floating_point:
            for f in folds:
                for dim in {0, t.dim() - 1}:
                    body.append(f"out.append(({p} * 1.5).{f.format(dim)})")
            used.append(p)
        else:
            body.append(f"out.append({p})")
    if not used:
        return None
    if s.grads:
        body.append("tops = [o for o in out if o.requires_grad and o.dtype.is_floating_point]")
        body.append(f"return out, {grad_of(leaves(s), 'sum((o * (o + 1)).sum() for o in tops)')}")
    else:
        body.append("return out")
    return Program(s.names, body, three(s, grad=True), loose=10.0)


@form
def fold_sum(s):
    return fold(s, ("sum({})", "mean({})"))


@form
def fold_extreme(s):
    return fold(s, ("amax({})", "prod({})"))


@form
def loop(s):
    """Three uses in a loop whose results are added; sums in one loop do not keep the signs of zeros (``nsz``)."""
    tops = [p for p, t in s.outs if t.dtype.is_floating_point]
    if not s.floats or not tops:
        return None
    call = s.call([f"({n} * (1 - k * 0.125))" if i in s.floats else n for i, n in enumerate(s.names)])
    return Program(s.names, ["total = 0", "for k in range(3):", f"    y = {call}", f"    total = total + {tops[0]} * (k + 1)",
                             "return total"], three(s, grad=True),
                   after=grad_of(leaves(s), "(r * (r + 1)).sum()") if s.grads and s.outs[0][1].requires_grad else "",
                   loose=4.0, zeros=False)


@form
def same_tensor(s):
    """One tensor for all inputs of the same shape and dtype."""
    first = {}
    kinds = [(sh, a.dtype) for sh, a in zip(s.shapes, s.values[0])]
    names = [first.setdefault(k, n) if i in s.floats else n for i, (k, n) in enumerate(zip(kinds, s.names))]
    if names == s.names:
        return None
    body = [f"y = {s.call(names)}", "return y"]
    wanted = sorted({n for i, n in enumerate(names) if i in s.grads})
    return Program(s.names, body, three(s, grad=True), after=grad_of(wanted, s.loss("r")) if wanted else "")


# --- where inputs lie -------------------------------------------------------------------------------------------------

@form
def turned(s):
    """Arguments that are transposed or every second element of memory."""
    if not any(s.shapes[i] for i in s.floats):
        return None
    return Program(s.names, [f"return {s.call()}"], three(s, grad=True, layout="turned"),
                   after=grad_of(leaves(s), s.loss("r")) if s.grads else "")


def inside(a):
    """(a larger array that holds ``a`` in a view, the text of that view)."""
    if a.ndim == 0:
        return np.stack([a - 1, a]) if a.dtype.kind in "fc" else np.stack([a, a]), "{}[1]"
    big = np.zeros((a.shape[0] + 1, *a.shape[1:-1], *([a.shape[-1] * 2] if a.ndim > 1 else [])), a.dtype)
    if a.ndim == 1:
        big[1:] = a
        return big, "{}[1:]"
    big[1:, ..., ::2] = a
    big = np.ascontiguousarray(np.swapaxes(big, 0, -1))
    return big, "{}.transpose(0, -1)[1:, ..., ::2]"


@form
def views(s):
    """Views that the step itself takes of larger tensors."""
    if not s.floats:
        return None
    texts = [inside(a)[1].format(n) if i in s.floats else n for i, (a, n) in enumerate(zip(s.values[0], s.names))]
    calls = [s.given([inside(a)[0] if i in s.floats else a for i, a in enumerate(v)], grad=True) for v in s.values[:3]]
    body = [f"y = {s.call(texts)}"]
    if s.grads:
        body += [f"({s.loss()}).backward()"]
    return Program(s.names, [*body, "return y" if not s.grads else "return [t.detach() for t in [" + ", ".join(
        p for p, _ in s.outs) + "]]"], calls)


@public_form
def expanded(s):
    which = [i for i in s.floats if s.shapes[i] and s.shapes[i][0] > 1]
    if not which:
        return None
    names = [f"{n}.expand({s.shapes[i]})" if i in which else n for i, n in enumerate(s.names)]
    calls = [s.given([a[:1] if i in which else a for i, a in enumerate(v)], grad=True) for v in s.values[:3]]
    return Program(s.names, [f"return {s.call(names)}"], calls, after=grad_of(leaves(s), s.loss("r")) if s.grads else "")


# --- writing ----------------------------------------------------------------------------------------------------------

@form
def buffer(s):
    """The result is written into a slice of a tensor that was there before."""
    if not s.outs:
        return None
    makers = [f"ng.zeros({(3, *t.shape)}, dtype={t.dtype!r})".replace("torch.", "ng.") for _, t in s.outs]
    before = [f"b{i} = {m}" for i, m in enumerate(makers)]
    body = [f"y = {s.call()}"]
    for i, (p, _) in enumerate(s.outs):
        body += [f"b{i}[1] = {p}", f"b{i}[2].add_(b{i}[1])" if s.outs[i][1].dtype is not ng.bool else f"b{i}[2].copy_(b{i}[1])"]
    return Program(s.names, [*body, f"return {', '.join(f'b{i}[1:].clone()' for i in range(len(s.outs)))}"],
                   three(s), before, ", ".join(f"b{i}" for i in range(len(s.outs))))


@form
def placed(s):
    """The result is written into a slice of a tensor of the graph."""
    if not s.grads:
        return None
    (p, t), *_ = s.tops
    before = [f"b = ng.ones({(2, *t.shape)}, dtype={t.dtype!r})".replace("torch.", "ng.")]
    body = [f"y = {s.call()}", "z = b * 2", f"z[1] = {p}", "z[0].mul_(z[1])",
            "z = z * (z + 1)" if not t.is_complex() else "z = z.abs()"]
    return Program(s.names, [*body, f"return z, {grad_of(leaves(s), 'z.sum()')}"], three(s, grad=True), before, "b")


@form
def twice(s):
    """Two results, one of them written in place after."""
    if not s.outs or s.outs[0][1].dtype is ng.bool:
        return None
    (p, t), *_ = s.outs
    p, q = p.replace("y", "a", 1), p.replace("y", "b", 1)
    half = "2" if not t.dtype.is_floating_point else "0.5"
    return Program(s.names, [f"a = {s.call()}", f"b = {s.call()}", f"{q}.mul_({half})", f"return a, b, {p} + {q}"], three(s))


@form
def result_written(s):
    """The result is written in place before the backward, which may need it."""
    if not s.grads:
        return None
    (p, t), *_ = s.tops
    body = [f"y = {s.call(mixed(s))}", f"z = {p}", "z.mul_(0.5)",
            f"return {grad_of(leaves(s), '(z.real * 2).sum()' if t.is_complex() else '(z * (z + 1)).sum()')}"]
    return Program(s.names, body, three(s, grad=True))


@form
def input_written(s):
    """The input is written in place after the op and before the backward, which may need it."""
    if not s.grads:
        return None
    i = s.grads[0]
    names = [f"z{k}" if k in s.grads else n for k, n in enumerate(s.names)]
    body = [f"z{k} = {s.names[k]} * 1.0625" for k in s.grads]
    body += [f"y = {s.call(names)}", f"loss = {s.loss()}", f"z{i}.add_(0.25)", f"return z{i}, {grad_of(leaves(s), 'loss')}"]
    return Program(s.names, body, three(s, grad=True))


@form
def inplace(s):
    """The in-place form on a tensor of the graph."""
    names = ["z", *s.names[1:]]
    text = s.method("_", names)
    if text is None or not s.outs:
        return None
    body = ["z = x0 * 1" if 0 in s.floats else "z = x0.clone()", f"y = {text}"]
    after = grad_of(leaves(s), s.loss("r[0]")) if s.grads else ""
    return Program(s.names, [*body, "return y, z"], three(s, grad=True), after=after)


@form
def inplace_argument(s):
    """The in-place form on an argument."""
    text = None if s.op.kind == "view" else s.method("_")  # a call that gives its argument another shape is always captured
    return text and Program(s.names, [text, "return x0 * 2 if x0.dtype != ng.bool else ~x0"], three(s))


@form
def out(s):
    """Into a tensor of the caller."""
    if not s.outs or len({p.count("[") for p, _ in s.outs}) > 1 or s.op.private:
        return None
    names = [f"o{i}" for i in range(len(s.outs))]
    given = names[0] if s.single else f"({', '.join(names)})"
    text = s.call(more=[f"out={given}"])
    makers = [f"ng.zeros({tuple(t.shape)}, dtype={t.dtype!r})".replace("torch.", "ng.") for _, t in s.outs]
    probe = text
    for n, m in zip(names, makers):
        probe = probe.replace(n, m)
    if isinstance(s.eager(s.values[0], text=probe)[0], TypeError):
        return None
    before = [f"{n} = {m}" for n, m in zip(names, makers)]
    return Program(s.names, [f"y = {text}", "return y"], three(s), before, ", ".join(names))


# --- values and dtypes ------------------------------------------------------------------------------------------------

def in_dtype(s, dtype):
    if not s.floats:
        return None
    if s.eager(s.values[0], dtype)[0] is not None:
        return Program(s.names, [f"return {s.call()}"], three(s, dtype=dtype))
    body = [f"y = {s.call(mixed(s, '({} * 1.5)'))}"]
    if s.grads:
        body.append(f"return y, {grad_of(leaves(s), s.loss())}")
    else:
        body.append("return y")
    # (A product that rides on another loop is not contracted there: near a pole the last digit is magnified.)
    return Program(s.names, body, three(s, grad=True, dtype=dtype), loose=4.0, terms=1.0)


@form
def float32(s):
    return in_dtype(s, "float32")


@form
def float16(s):
    return in_dtype(s, "float16")


@form
def bfloat16(s):
    return in_dtype(s, "bfloat16")


@public_form
def integers(s):
    """int64 where the samples have floats."""
    if not s.floats:
        return None
    calls = [[Given(np.round(a * 3).astype(np.int64) if i in s.floats else a) for i, a in enumerate(v)] for v in s.values[:3]]
    return Program(s.names, [f"return {s.call()}"], calls)


@public_form
def int32_and_float(s):
    """The first float tensor int32, the others float32: promotion."""
    if not s.floats:
        return None
    i = s.floats[0]
    calls = [[Given(np.round(a * 3).astype(np.int32)) if k == i else Given(a, s.cast(k, "float32")) for k, a in enumerate(v)]
             for v in s.values[:3]]
    return Program(s.names, [f"return {s.call()}"], calls)


SPECIAL = (np.nan, np.inf, -np.inf, -0.0, 0.0, 1e8, -1e8, 1e8 + 1, 1.0, 1e-300)


def strange(a, k):
    a = a.copy()
    if a.dtype.kind == "f" and a.size:
        values = np.resize(np.roll(SPECIAL, -3 * k), a.size)
        keep = (np.arange(a.size) + k) % 3 == 0
        a = np.where(keep, a.reshape(-1), values).reshape(a.shape)
    return a


def offset(a, i, s):
    return a * 0.001 + 1e8 if i in s.floats else a


@form
def special(s):
    """nan, infinities, zeros of both signs and large offsets from the second call on."""
    if not s.floats:
        return None
    v = s.values
    given = [v[0], [strange(a, 0) if i in s.floats else a for i, a in enumerate(v[1])],
             [strange(a, 1) if i in s.floats else a for i, a in enumerate(v[2])], v[1]]
    body = [f"y = {s.call(mixed(s, '({} * 1)'))}", f"return y, {grad_of(leaves(s), s.loss())}" if s.grads else "return y"]
    return Program(s.names, body, [s.given(g, grad=True) for g in given], loose=10.0, wide=True)


@form
def large_offset(s):
    """Values near 1e8, where sums must not cancel."""
    if not s.floats:
        return None
    given = [s.values[0], *([offset(a, i, s) for i, a in enumerate(v)] for v in s.values[1:3])]
    return Program(s.names, [f"y = {s.call()}", "return y"], [s.given(g) for g in given], loose=10.0, wide=True)


@public_form
def shapes(s):
    """Another shape in the second call, then both in turn."""
    other = s.other_shape()
    if other is None:
        return None
    moved = [np.roll(a, 1, 0) if i in s.floats and a.ndim else a for i, a in enumerate(other)]
    calls = [s.given(v, grad=True) for v in (s.values[0], other, s.values[1], moved, s.values[2], other)]
    return Program(s.names, [f"y = {s.call(mixed(s))}", "return y"], calls, variants=2,
                   after=grad_of(leaves(s), s.loss("r")) if s.grads else "")


@public_form
def empty(s):
    """No elements along the first dimension."""
    if not any(s.shapes):
        return None
    n = s.shapes[0][0] if s.shapes[0] else -1
    arrays = [[a[:0] if a.ndim and a.shape[0] == n else a for a in v] for v in s.values[:3]]
    return Program(s.names, [f"return {s.call()}"], [s.given(a, grad=True) for a in arrays],
                   after=grad_of(leaves(s), s.loss("r")) if s.grads else "")


# --- Python around it -------------------------------------------------------------------------------------------------

@public_form
def number(s):
    """A number of the call changes from call to call; where it has none, one that multiplies an input."""
    found = {k: v for k, v in s.numbers().items() if type(v) is float}
    if found:
        (at, v), *_ = found.items()
        steps, text = [v, v * 1.0625 + 0.01, v * 0.9375, v * 1.125], s.call(numbers={at: "n"})
    elif s.floats:
        steps, text = [1.0, 1.0625, 0.9375, 1.125], s.call(mixed(s, "({} * n)"))
    else:
        return None
    calls = [[*s.given(v, grad=True), n] for v, n in zip(s.values, steps)]
    return Program([*s.names, "n"], [f"y = {text}", "return y, n * 2"], calls, variants=2,
                   after=grad_of(leaves(s), s.loss("r[0]")) if s.grads else "")


@public_form
def whole_number(s):
    """A size, index or dimension of the call changes."""
    found = {k: v for k, v in s.numbers().items() if type(v) is int}
    for at, v in found.items():
        text = s.call(numbers={at: "n"})
        for w in (v - 1, v + 1, v + 2):
            if s.eager(s.values[0], text=s.call(numbers={at: repr(w)}))[0] is None:
                calls = [[*s.given(a, grad=True), n] for a, n in zip([*s.values, s.values[1]], (v, w, v, w, w))]
                return Program([*s.names, "n"], [f"y = {text}", "return y"], calls, variants=3,
                               after=grad_of(leaves(s), s.loss("r")) if s.grads else "")
    return None


@form
def rebound(s):
    """Inputs are attributes of an object that are bound anew between calls."""
    names = [f"self.{n}" for n in s.names]
    before = ["class Box:", "    pass", "self = Box()"]
    before += [f"self.{n} = V{i}.clone()" for i, n in enumerate(s.names)]
    before += ["def run():", f"    y = {s.call(names)}", "    return y",
               "compiled = compile(run)",
               f"def step({', '.join(s.names)}):", *(f"    self.{n} = {n}" for n in s.names), "    return compiled()",
               "step.inner = compiled"]
    return Program(s.names, None, three(s, grad=True), before, build="step",
                   after=grad_of(leaves(s), s.loss("r")) if s.grads else "", variants=9 if s.grads else 2)


@form
def module(s):
    """In the forward of a module with a parameter, trained for some steps."""
    if not s.grads:
        return None
    i = s.grads[0]
    text = s.call([f"{n} * self.scale + self.moved" if k == i else n for k, n in enumerate(s.names)])
    before = ["class Model(nn.Module):", "    def __init__(self):", "        super().__init__()",
              "        self.scale = nn.Parameter(ng.ones((), dtype=ng.float64))",
              "        self.register_buffer('moved', ng.zeros((), dtype=ng.float64))",
              f"    def forward(self, {', '.join(s.names)}):", f"        y = {text}",
              "        self.moved += 0.001", f"        return {s.loss()}",
              "model = Model()", "opt = ng.optim.SGD(model.parameters(), lr=1e-3, momentum=0.5)"]
    body = ["opt.zero_grad()", f"loss = model({', '.join(s.names)})", "loss.backward()", "opt.step()", "return loss"]
    calls = [s.given(v) for v in (s.values[0], *s.values)]
    return Program(s.names, body, calls, before, "*model.parameters(), *model.buffers(), model.scale.grad",
                   loose=10.0, variants=3)


@form
def container(s):
    """Inputs come in a dict and results go into one, and into a list that was there before."""
    names = [f"given[{n!r}]" for n in s.names]
    text = ", ".join(f"{n!r}: {n}" for n in s.names)
    body = [f"given = {{{text}}}", f"y = {s.call(names)}", "kept['last'] = y", "kept['count'] += 1",
            "return {'y': y, 'count': kept['count']}"]
    return Program(s.names, body, three(s), ["kept = {'last': None, 'count': 0}"], "kept['last'], kept['count']", variants=2)


@form
def checkpointed(s):
    """Inside an activation checkpoint."""
    if not s.grads or not s.single:
        return None
    body = [f"y = ng.utils.checkpoint.checkpoint(lambda {', '.join(s.names)}: {s.call()} * 1.5, {', '.join(s.names)}, "
            "use_reentrant=False)", f"({s.loss()}).backward()", "return y.detach()"]
    return Program(s.names, body, three(s, grad=True))
