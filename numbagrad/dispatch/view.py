"""Views: new geometry on the same memory, and the gradient that carries back through it.

    @view
    def transpose(input, dim0, dim1):
        '''Swap two dimensions.'''
        return shape, strides, offset        # offset in elements from the input's first element

    @transpose.gradient
    def _(g, shape, dim0, dim1):             # ``shape`` is the input's
        return transpose(g, dim0, dim1)

A view keeps to the elements from the input's first to its last, unless it is declared with ``beyond`` (and checks that itself).
One that is declared ``retyped`` reads the memory as another kind: the function returns that, too, and offset 0.
With ``several=True`` the function returns a list of such triples and the rule takes ``gs``, one gradient per output. Without a
rule the gradient is derived: what arrives is added up at the places that the geometry names.
"""

from __future__ import annotations

import gc

from ..base import arguments, modes, overriding
from ..base.transformed import Transformed
from ..core import graph, makers
from ..core.graph import Node, new_node, note_forward
from ..core.registry import REGISTRY
from ..core.tensor import Tensor, check_empty, contiguous_strides, is_contiguous, numel, raw
from ..kernel import jit
from ..kernel.tape import TAPE
from . import plan, text
from .custom import make_zero
from .op import Op, call_it, grad_name, rule_names

new = object.__new__
OURS = ("g", "gs", "shape")  # of gradient rules
# Views from which on the garbage collector waits until all are made: it would come for each few hundred of them, now and then
# look at all that there is, and find nothing.
MANY = 100
PARTS = 1 << 16  # of all calls that an op remembers, if these are several


class ViewOp(Op):
    """An op whose result shares the input's memory; see the module text."""

    kind = "view"

    def __init__(self, fn, *, node=None, several=False, beyond=False, retyped=False, **options):
        options.setdefault("dtypes", "any")
        super().__init__(fn, **options)
        self.several, self.beyond, self.retyped = several, beyond or retyped, retyped
        self.params = tuple(self.signature.parameters)[1:]
        self.rule = self.evaluate = None
        self.plans = plan.Table()  # of backward
        self.node_class = type(node or grad_name(self.name), (MultiViewNode if several else ViewNode,),
                               {"__slots__": (), "op": self, "__module__": "numbagrad"})
        self.call = self.build_call()

    def gradient(self, fn):
        call_it(fn, f"{self.name}_gradient")
        self.rule, self.evaluate = fn, self._evaluator(fn, rule_names(self, fn, OURS))
        return fn

    def derive(self):
        """Make the rule from the geometry that the view of a row-major input has: it names the same elements."""
        def rule(shape_, grads_, **params):
            grads = list(grads_) if self.several else [grads_]
            geometry = self.fn(grads[0].new_empty(shape_), *[params[n] for n in self.params])
            rows = [REGISTRY["strided"].rule(g, (numel(shape_),), tuple(size), tuple(steps or contiguous_strides(size)), offset)
                    for g, (size, steps, offset) in zip(grads, geometry if self.several else [geometry])]
            total = rows[0]
            for row in rows[1:]:
                total = total + row
            return total.view(shape_)
        names = {"shape_": "shape_", "grads_": "gs_" if self.several else "g_", **{n: n for n in self.params}}
        self.rule, self.evaluate = rule, self._evaluator(rule, names)
        return self.evaluate

    def _evaluator(self, rule, names):
        """``f(g, shape, params)``, which calls the rule with what it names."""
        known = {"g_": "g_", "gs_": "g_", "shape_": "shape_", **{n: f"params_[{i}]" for i, n in enumerate(self.params)}}
        given = ", ".join(f"{n}={known[what]}" for n, what in names.items())
        source = f"def {self.name}_backward(g_, shape_, params_):\n    return (rule_({given}),)\n"
        return jit.define(source, f"{self.name}_backward", {"rule_": rule}, f"{self.name} backward")

    def build_call(self):
        """The public call: geometry depends on shape, strides and arguments alone, so one computed before is looked up."""
        kinds = {n: kind for n, kind in self.kinds.items() if n in self.params}
        first, params = next(iter(self.signature.parameters)), text.group(self.params)
        key = text.group([*([f"{first}._kind"] if self.retyped else []), f"{first}._shape", f"{first}._strides", *self.params])
        checks = arguments.text(self.name, self.signature.parameters, kinds, pad="    ").splitlines()
        lines = [*arguments.text(self.name, self.signature.parameters, kinds, arguments.QUICK, pad="").splitlines(),
                 "try:", f"    key_ = {key}", "    found_ = MEMO_.get(key_)",
                 "except (AttributeError_, TypeError_):", "    found_ = key_ = None", "if found_ is None:",
                 f"    if not isinstance_({first}, Tensor_):",
                 f"        return asked_(op_, {first}, {{{', '.join([f'{n!r}: {n}' for n in self.signature.parameters])}}})",
                 *checks,
                 f"    found_ = settle_(geometry_({text.passed(self.signature)}), MEMO_, key_, op_, {first})",
                 *(self.placed_all if self.several else self.placed)(first, params)]
        env = {**arguments.ENVIRONMENT, "op_": self, "MEMO_": {}, "geometry_": self.fn, "Tensor_": Tensor,
               **text.NAMES, "makers_": makers, "None_": None, "Node_": self.node_class,
               "asked_": asked, "settle_": settle_all if self.several else settle,
               "place_": make_views if self.several else place}
        return text.call(self, self.signature, text.indented(lines, "    "), env)

    def placed(self, first, params):
        """Lines of ``place`` in the default mode."""
        general, kind = [f"return place_(op_, {first}, found_, {params})"], []
        if self.retyped:
            kind = ["out_._kind = found_[4]"]
            general = [f"out_ = place_(op_, {first}, found_[:4], {params})", *kind, "return out_"]
        return [f"ver_ = {first}._ver", "if STATE_ or ver_.__class__ is not list_:", *text.indented(general, "    "),
                f"shape_, strides_, offset_, n_{', _' if kind else ''} = found_",
                f"above_ = {first}._view", "version_ = ver_[0]", f"base_, mode_ = {first}, None_",
                "if above_ is not None:", "    if above_.version != version_:", f"        refresh_({first})",
                "    base_, mode_ = above_.base, above_.mode",
                f"out_ = makers_.share({first}, {first}._ptr + offset_ * {first}._kind.itemsize, n_, shape_, strides_, base_, "
                "version_, mode_)", *kind, f"if {first}._rg:",
                f"    makers_.record(out_, Node_, ({first}._node or {first},), (), ({first}._shape, {params}))", "return out_"]

    def placed_all(self, first, params):
        """Lines of ``make_views`` in the default mode."""
        share = f"share_({first}, pointer_ + offset_ * item_, n_, shape_, strides_, base_, version_, 'multi')"
        return [f"ver_, count_ = {first}._ver, len_(found_)",
                f"if STATE_ or ver_.__class__ is not list_ or not 0 < count_ <= {MANY}:",
                f"    return place_(op_, {first}, found_, {params})",
                f"base_, above_, version_, outs_ = {first}, {first}._view, ver_[0], []", "if above_ is not None:",
                "    if above_.version != version_:", f"        refresh_({first})", "    base_ = above_.base",
                f"share_, pointer_, item_ = makers_.share, {first}._ptr, {first}._kind.itemsize",
                "for shape_, strides_, offset_, n_ in found_:", f"    outs_.append({share})",
                f"if {first}._rg:", "    out_ = outs_[0]",
                f"    makers_.record(out_, Node_, ({first}._node or {first},), (), ({first}._shape, {params}, found_, "
                f"{first}._kind))", "    node_, number_ = out_._node, makers_.number", "    for i_ in range_(count_):",
                "        number_(outs_[i_], node_, i_)", "return tuple_(outs_)"]

    @property
    def callable(self):
        return self.call

    def __call__(self, *args, **kwargs):
        return self.call(*args, **kwargs)


class ViewNode(Node):
    """Backward of a view through its rule; ``ctx`` is (input shape, params)."""

    __slots__ = ()

    def backward(self, g):
        if TAPE:
            return self.carry(g)
        shape, params = self.ctx[:2]
        plans = self.op.plans
        key = (shape, params, *[None if x is None else (x._kind, x._shape, x._strides) for x in
                                (g if g.__class__ is list else (g,))])
        try:
            found = plans.get(key)
        except TypeError:  # a list among the arguments
            return self.carry(g)
        if found:
            grads = found(g, ())
            if grads is not None:
                return grads
        elif found is None:
            plan.settle_view(self, g, key, plans)
        return self.carry(g)

    def backward_graph(self, g):
        return self.carry(g)

    def carry(self, g):
        """The input's gradient, by the rule."""
        shape, params = self.ctx[:2]
        op = self.op
        return (op.evaluate or op.derive())(g, shape, params)


def view(fn=None, **options):
    """Declare a view (see the module text)."""
    if fn is None:
        return lambda f: view(f, **options)
    return ViewOp(fn, **options)


def asked(op, value, values):
    """What something else than a tensor makes of the call, if it overrides; or the error."""
    found = overriding.asked(op, values)
    if found is not None:
        return found[0]
    raise arguments.wrong(value, "Tensor", op.name, next(iter(op.signature.parameters)), 1)


def check_inside(op, input, shape, strides, offset):
    """RuntimeError unless a geometry keeps to the elements from the input's first one to its last."""
    own = input._strides or contiguous_strides(input._shape)
    span = 1 + sum([(s - 1) * k for s, k in zip(input._shape, own)])
    last = offset + sum([(s - 1) * k for s, k in zip(shape, strides or contiguous_strides(shape))])
    if offset < 0 or last >= span:
        raise RuntimeError(f"{op.name}(): a view of sizes {list(shape)}, strides {list(strides or ())} and offset {offset} "
                           f"leaves its input of sizes {list(input._shape)} and strides {list(own)}, which span {span}")


def settle(geometry, memo=None, key=None, op=None, input=None):
    """(shape, strides or None where row-major, offset, number of elements), remembered under the key."""
    shape, strides, offset, *kind = geometry
    if op is not None and not op.beyond and 0 not in shape:
        check_inside(op, input, shape, strides, offset)
    if strides is not None and is_contiguous(shape, strides):
        strides = None
    found = (shape, strides, offset, numel(shape), *kind)
    if not found[3]:
        check_empty(shape)
    elif found[3] >= 1 << 63:
        raise RuntimeError("numel: integer multiplication overflow")
    if key is not None:
        if len(memo) >= 4096:
            memo.clear()
        memo[key] = found
    return found


def settle_all(geometries, memo, key, op, input):
    """``settle`` for an op with several views."""
    found = [settle(g, None, None, op, input) for g in geometries]
    if key is not None:
        remember(memo, key, found)
    return found


def remember(memo, key, found):
    """Keep what was found for several views, 200 bytes for each: of many only the last ones."""
    if len(memo) >= 256 or sum(map(len, memo.values())) + len(found) > PARTS:
        memo.clear()
    memo[key] = found


def make_view(op, input, shape, strides, offset, params, mode=None):
    """A tensor on ``input``'s memory with the given geometry, recorded and linked to its base."""
    return place(op, input, settle((shape, strides, offset)), params, mode)


def place(op, input, geometry, params, mode=None):
    """``make_view`` for a settled geometry."""
    shape, strides, offset, n = geometry
    kind, ver, above = input._kind, input._ver, input._view
    if ver.__class__ is not list:
        if ver.__class__ is Transformed:
            return ver.place(op, input, geometry, params)
        return _inference_view(input, shape, strides, offset)
    version, base = ver[0], input
    if above is not None:
        if above.version != version:
            graph.refresh(input)
        base, mode = above.base, mode or above.mode
    out = makers.share(input, input._ptr + offset * kind.itemsize, n, shape, strides, base, version, mode)
    if modes.STATE:
        return _in_mode(op, out, input, params)
    if input._rg:
        makers.record(out, op.node_class, (input._node or input,), (), (input._shape, params))
    return out


def place_each(op, input, geometries):
    """Views by settled geometries, each with its own params and its own node."""
    ver, above = input._ver, input._view
    if modes.STATE or ver.__class__ is not list or above is not None:
        return tuple([place(op, input, geometry, params) for geometry, params in geometries])
    share, version, ptr, item = makers.share, ver[0], input._ptr, input._kind.itemsize
    outs = [share(input, ptr + offset * item, n, shape, strides, input, version, None)
            for (shape, strides, offset, n), _ in geometries]
    if input._rg:
        following, record, cls, shape = (input._node or input,), makers.record, op.node_class, input._shape
        for out, (_, params) in zip(outs, geometries):
            record(out, cls, following, (), (shape, params))
    return tuple(outs)


def _inference_view(input, shape, strides, offset):
    """A view of an inference tensor: nothing is recorded and nothing has to follow its base."""
    out = raw(input._buf, input._ptr + offset * input._kind.itemsize, numel(shape), shape,
              None if strides is None or is_contiguous(shape, strides) else strides, input._kind, input._ver)
    out.__dict__["_inference"] = True
    return out


def _in_mode(op, out, input, params):
    """Finish a view where some thread is in another than the default mode."""
    m = modes.current()
    out._node, out._rg = None, False
    if not m.grad or m.inference:
        out._view.mode = "inference" if m.inference else "no_grad"
    elif input._rg:
        node = new_node(op.node_class, (input._node or input,))
        node.ctx = (input._shape, params)
        out._node, out._rg = node, True
        note_forward(node, (input,))
    return out


def make_views(op, input, geometries, params):
    """Several views of one input that share one node; none of them may be modified in place."""
    if not geometries:
        return ()
    if len(geometries) > MANY and gc.isenabled():
        gc.disable()
        try:
            return make_views(op, input, geometries, params)
        finally:
            gc.enable()
    ver, above, ptr, item = input._ver, input._view, input._ptr, input._kind.itemsize
    if ver.__class__ is not list:
        if ver.__class__ is Transformed:
            return ver.place(op, input, geometries, params)
        return tuple([_inference_view(input, *g[:3]) for g in geometries])
    share = makers.share
    if modes.STATE:
        first = place(op, input, geometries[0], params, "multi")
        node, above = first._node, first._view
        outs = [first, *[share(input, ptr + offset * item, n, shape, strides, above.base, above.version, above.mode)
                         for shape, strides, offset, n in geometries[1:]]]
    else:
        version, base = ver[0], input
        if above is not None:
            if above.version != version:
                graph.refresh(input)
            base = above.base
        outs = [share(input, ptr + offset * item, n, shape, strides, base, version, "multi")
                for shape, strides, offset, n in geometries]
        if not input._rg:
            return tuple(outs)
        first = outs[0]
        makers.record(first, op.node_class, (input._node or input,), (), None)
        node = first._node
    if node is not None:
        node.ctx, number = (input._shape, params, geometries, input._kind), makers.number
        for i, out in enumerate(outs):
            number(out, node, i)
    return tuple(outs)


class MultiViewNode(ViewNode):
    """Backward of an op that returns several views; missing gradients are zeros."""

    __slots__ = ()

    @property
    def outputs(self):
        return len(self.ctx[2])

    def carry(self, g):
        grads = g if isinstance(g, (list, tuple)) else [g]
        _, _, geometries, kind = self.ctx
        return super().carry([make_zero(g[0], kind) if x is None else x for x, g in zip(grads, geometries)])
