"""Elementwise ops: one scalar function gives kernels, gradients of every order and the Python call.

An op has one *form* per mix of tensor and number arguments: ``x * y`` is form "tt", ``x * 2.0`` form "ts". A form owns
its node class, its forward and backward kernels and a generated call whose fast path (same shape, dtype, device,
row-major, default mode) goes from Python to native code without looking anything up twice.
"""

from __future__ import annotations

import functools
import inspect

from ..base import dtypes as dt
from ..core.replay import Calls
from ..core.tensor import Tensor
from ..kernel import emit, expr
from . import elementwise_fast, plan, replays, text
from .op import BINARY, UNARY, Op, call_it, grad_name, rule_names

BY_POSITION = {"inplace", "eps"}  # the keywords that PyTorch also takes by position


class Elementwise(Op):
    """An elementwise op; see ``elementwise`` for the options."""

    kind = "elementwise"

    def __init__(self, fn, *, result=None, accepts="any", names=None, inplace=True, keywords=None, special=None,
                 counts_bool=False, complex=None, fused=False, underived=False, fits=(), usual="True", holds=(), holds_back=(),
                 stored=(), unrounded=None, numbers="any", **options):
        options.setdefault("dtypes", "float" if accepts == "float" else "any")
        tensors = sum(p.annotation is p.empty for p in inspect.signature(fn).parameters.values())
        if tensors in (1, 2) and not options.get("private"):
            options.setdefault("samples", UNARY if tensors == 1 else BINARY)
        self._traced = None
        super().__init__(fn, inplace=inplace and result != "bool", **options)
        self.result, self.accepts, self.counts_bool = result, accepts, counts_bool
        self.complex, self.fused, self.underived = complex, fused, underived
        self.names = names or {}
        self.keywords, self.special = keywords or {}, special or {}
        self.by_position = not BY_POSITION.isdisjoint(self.keywords)
        params = list(self.signature.parameters.values())
        self.tensors = tuple(p.name for p in params if p.annotation is inspect.Parameter.empty)
        self.params = tuple(p.name for p in params if p.annotation is not inspect.Parameter.empty)
        self.in_order = [p.name for p in params] == [*self.tensors, *self.params]
        self.defaults = {p.name: p.default for p in params if p.default is not inspect.Parameter.empty}
        self.fits = frozenset(fits) | {n for n in self.params if self.kinds.get(n) == "number"}
        self.usual, self.holds, self.holds_back = usual, frozenset(holds), frozenset((*holds, *holds_back))
        self.stored = self.holds_back | frozenset(stored)
        self.unrounded = unrounded and self.tensors.index(unrounded)
        self.takes_numbers = numbers
        self.rule = self.check = self.check_out = None
        self.forms = {}
        self.entries = {}  # classes of the arguments, numbers among them -> call of that form
        self.writes = {}  # plans of calls that write where they are told
        self.fast_inplace = {}  # pattern -> {kind: entry of the in-place form}, of forms that need not be made yet
        self.call = text.deferred(self)

    @property
    def expression(self):
        if self._traced is None:
            self._traced = expr.trace(self.fn, [*self.tensors, *self.params])[0]
        return self._traced

    @functools.cached_property
    def takes_complex(self):
        """Whether the scalar function has a meaning for complex numbers."""
        return self.complex is not False and expr.takes_complex((self.expression,))

    def gradient(self, fn):
        """Override the derived gradient: a scalar function of ``g``, ``y`` (the output) and any inputs by name that
        returns one expression per tensor argument (None where there is no gradient)."""
        made = expr.trace(fn, rule_names(self, fn, ("g", "y")).values())
        if len(made) != len(self.tensors):
            raise TypeError(f"gradient of {self.name} returns {len(made)} expressions for {len(self.tensors)} tensor arguments "
                            f"({', '.join(self.tensors)})")
        self.rule = call_it(fn, f"{self.name}_gradient")
        return fn

    def gradients(self, complex_):
        """One expression per tensor argument (None: no gradient), in ``g_``, ``y_`` and the arguments."""
        if self.underived:
            return (None,) * len(self.tensors)
        if self.rule is not None and not complex_:  # rules leave out the conjugates that complex gradients need
            return expr.trace(self.rule, rule_names(self, self.rule, ("g", "y")).values())
        y = self.expression
        found = expr.adjoints(y, expr.var("g_"), self.tensors, complex_)
        # Whatever part of the derivative equals the output is read from it rather than computed again.
        if y.op not in ("var", "const", "add", "sub", "neg", "mul"):
            found = tuple(None if f is None else expr.substitute((f,), {y: expr.var("y_")})[0] for f in found)
        return found

    def form(self, pattern):
        f = self.forms.get(pattern)
        if f is None:
            f = self.forms[pattern] = Form(self, pattern)
        return f

    def refuses(self, fn):
        """Declare ``fn(args, compute)``, which raises where PyTorch refuses what the dtypes alone allow.

        It runs for integers, bools, mixed dtypes and numbers that are not ``usual``: other calls on floating-point tensors
        may take the fast path past it."""
        self.check = call_it(fn, f"{self.name}_refuses")
        return fn

    def call_signature(self):
        return elementwise_fast.call_signature(self)

    def build_call(self):
        """The public call itself."""
        return elementwise_fast.build_entry(self)

    @property
    def callable(self):
        return self.call

    def mixed(self, args):
        """What calls the op with these arguments, whichever of them ``numbers`` lets a public call have in place of tensors."""
        if self.takes_numbers == "any" or all([isinstance(a, Tensor) for a in args[:len(self.tensors)]]):
            return self.call
        n, more = len(self.tensors), tuple([self.defaults[p] for p in self.params])
        return lambda *values: elementwise_fast.general(self, values[:n], values[n:] or more)

    def __call__(self, *args, **kwargs):
        return self.call(*args, **kwargs)


class Form:
    """An op for one pattern of tensor ("t") and number ("s") arguments."""

    def __init__(self, op, pattern):
        self.op, self.pattern = op, pattern
        self.name = op.name
        self.tensors = tuple(n for n, p in zip(op.tensors, pattern) if p == "t")
        self.scalars = tuple(n for n, p in zip(op.tensors, pattern) if p == "s") + op.params
        self.forward = emit.Pointwise(op.name, self.tensors, self.scalars, self._held((op.expression,), op.holds))
        name = op.names.get(pattern) if isinstance(op.names, dict) else op.names
        self.differentiable = (op.differentiable or op.underived) and op.result != "bool"
        self._entry = None
        self._rules = {}
        self._backward = {}
        self._recorded = {}
        self.fast = {}           # kind -> (entry, storage dtype, result kind)
        self.fast_inplace = op.fast_inplace.setdefault(pattern, {})
        free = [True] * len(self.scalars)
        self.calls = Calls(len(self.tensors), free)
        self.changes, self.fills = Calls(len(self.tensors), free), Calls(len(self.tensors) + 1, free)  # in place, and out=
        self.backward_plans = plan.Table()  # of nodes of the fast path that get gradients of other layouts
        self._saves = {}
        self.fast_backward = [None] + [{} for _ in range((1 << len(self.tensors)) - 1)]
        self.node_class = elementwise_fast.make_node(self, name or grad_name(op.name))

    def _held(self, expressions, names):
        """Expressions with the numbers that the op ``holds`` rounded to the dtype of the tensors."""
        return expr.substitute(expressions, {expr.var(n): expr.apply("held", expr.var(n)) for n in self.scalars
                                             if n in names})

    def _held_back(self, expressions, complex_):
        """``_held`` of gradients; a rule that says ``held`` itself means what it says."""
        every = [r for r in self.op.gradients(complex_) if r is not None]
        return expressions if any(e.op == "held" for e in expr.topological(every)) else (
            self._held(expressions, self.op.holds_back))

    def entry(self):
        """The call for this pattern alone (see ``elementwise_fast.build_form_entry``)."""
        if self._entry is None:
            self._entry = elementwise_fast.build_form_entry(self)
        return self._entry

    def records(self, context):
        """``replays.records`` of calls whose nodes have this context (None: their numbers, in an open program)."""
        return replays.records(len(self.tensors), self.node_class if self.differentiable else None, lambda mask: [
            self.tensors.index(n) if n != "y_" else replays.output(0) for n in self.saves(mask)], lambda mask: context)

    def rules(self, complex_=False):
        """Gradient expressions of the tensor arguments."""
        if complex_ not in self._rules:
            wanted = self.op.gradients(complex_)
            by_name = dict(zip(self.op.tensors, wanted))
            self._rules[complex_] = tuple(by_name.get(n) for n in self.tensors)
        return self._rules[complex_]

    def outputs_of(self, mask, complex_=False):
        """[(input index, expression)] of the gradients that ``mask`` asks for."""
        return [(i, r) for i, r in enumerate(self.rules(complex_)) if mask >> i & 1 and r is not None]

    def saves(self, mask, complex_=False):
        """Names saved for backward when the inputs of ``mask`` need gradients: tensor arguments and "y_"."""
        # What a fused gradient is connected to does not depend on which inputs need one.
        key = -1 if self.op.fused else mask, complex_
        found = self._saves.get(key)
        if found is None:
            used = set(expr.variables([r for _, r in self.outputs_of(*key)]))
            found = self._saves[key] = tuple(n for n in (*self.tensors, "y_") if n in used)
        return found

    def recorded(self, index):
        """The gradient of tensor ``index`` as an op (see ``Recorded``)."""
        found = self._recorded.get(index)
        if found is None:
            found = self._recorded[index] = Recorded(self, index)
        return found

    def backward_kernel(self, mask, complex_=False):
        """The fused gradient loop: (Pointwise, input names, indices of computed gradients, indices equal to ``g_``)."""
        key = (mask, complex_)
        if key not in self._backward:
            wanted = self.outputs_of(mask, complex_)
            passed = [i for i, r in wanted if r is expr.var("g_")]
            computed = [(i, r) for i, r in wanted if r is not expr.var("g_")]
            used = set(expr.variables([r for _, r in computed]))
            names = tuple(n for n in ("g_", *self.tensors, "y_") if n in used)
            scalars = tuple(s for s in self.scalars if s in used)
            outputs = self._held_back(tuple(r for _, r in computed), complex_)
            kernel = emit.Pointwise(self.name + "_backward", names, scalars, outputs)
            self._backward[key] = (kernel, names, [i for i, _ in computed], passed, scalars)
        return self._backward[key]

    def compute_type(self, kinds_dtype):
        """The dtype the kernel reads for inputs that promote to ``kinds_dtype``."""
        if self.op.accepts == "float" and kinds_dtype.category < 2:
            return dt.get_default_dtype()
        if self.op.counts_bool and kinds_dtype.category == 0:
            return dt.int64
        return kinds_dtype

    def result_dtype(self, d):
        return dt.bool_ if self.op.result == "bool" else d.to_real() if self.op.result == "real" else d


class Recorded(Elementwise):
    """The gradient of a ``fused`` op for one of its tensors, as an op of ``upstream`` and of what the form saves.

    It is connected to all of them: with derivatives of zero where it depends on them in a choice only."""

    def __init__(self, form, index):
        self.depth = getattr(form.op, "depth", 0) + 1
        self.g, self.y = f"upstream{self.depth}_", f"result{self.depth}_"
        table = {expr.var("g_"): expr.var(self.g), expr.var("y_"): expr.var(self.y)}
        expression, = expr.substitute((form.rules()[index],), table)
        used = expr.variables((expression,))
        plain, kind = inspect.Parameter.empty, inspect.Parameter.POSITIONAL_OR_KEYWORD
        self.saved = tuple(self.y if n == "y_" else n for n in form.saves(-1))
        self.numbers = tuple(n for n in form.scalars if n in used)

        def fn():
            raise NotImplementedError
        fn.__name__ = f"{form.name}_backward"
        fn.__signature__ = inspect.Signature(
            [inspect.Parameter(n, kind, annotation=plain) for n in (self.g, *self.saved)]
            + [inspect.Parameter(n, kind, annotation=float) for n in self.numbers])
        super().__init__(fn, private=True, registered=False, inplace=False, accepts=form.op.accepts, fused=True,
                         names=form.node_class.__name__ + "Backward0", holds=form.op.holds_back)
        self._traced = expression

    def gradients(self, complex_):
        return tuple(expr.const(0) if f is None else f for f in super().gradients(complex_))


def elementwise(fn=None, **options):
    """Declare an elementwise op: a function of scalars in plain arithmetic and ``kernel.expr`` functions.

    Unannotated parameters are tensors (or numbers), annotated ones are numbers. ``keywords`` maps a keyword to its default
    and what runs for any other value (``alpha``, ``rounding_mode``); ``special`` maps numbers to cheaper ops (``x ** 2``).
    ``accepts="float"`` promotes integers to the default floating dtype, ``counts_bool`` computes bools in int64,
    ``complex`` names the op that stands in for complex tensors (False: they are refused), ``result="bool"`` makes
    comparisons. With ``fused`` the
    recorded gradient is one op as well, where PyTorch has a ``..._backward``, and not the tensor operations that its formula
    names. The result of an ``underived`` op requires grad, and backward refuses it. ``domain``, ``points`` and ``reference``
    feed the tests; ``names`` overrides the printed node name.

    ``fits`` names arguments whose numbers are refused where the dtype of the result holds none such, as PyTorch does with
    its parameters (all of kind "number" are) and not with operands; ``holds`` names those that are rounded to the dtype of the
    tensors before anything is computed (PyTorch makes tensors of them: ``bfloat16(0.7) == 0.7``), ``holds_back`` in gradients
    alone; others meet half types in float32, where they have to fit, or in the dtype that the result may hold them in
    (``stored``). ``unrounded`` names the tensor that meets half types in float32 like a number where it has another dtype and
    no dimensions. ``usual`` is a condition on the parameters, without which the fast path is not taken.

    ``numbers`` says which tensors of a public call may be numbers: "any" but not all, all ("alone"), "later" ones but not the
    first, or "none"."""
    if fn is None:
        return lambda f: elementwise(f, **options)
    return Elementwise(fn, **options)

