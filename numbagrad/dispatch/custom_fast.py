"""Generated calls and backwards of custom ops: what their declaration fixes is decided once, not in every call."""

from __future__ import annotations

from ..base import arguments
from ..core import graph
from ..core.graph import Output
from ..core.replay import Calls
from ..core.tensor import Tensor, check_empty, make, raw, too_large
from ..kernel import jit
from ..kernel.tape import TAPE
from . import plan, replays, text
from .text import group, indented

OURS = ("g", "gs", "given", "y", "ys", "shape", "shapes", "needs", *[f"y{i}" for i in range(8)])  # of gradient rules
NUMBERED = tuple(n + "_" for n in OURS[8:])  # the outputs in gradient rules of ops with several
PAD = "    "
EXACT = ("int", "bool", "str", "dtype")  # kinds of arguments of which equal ones are the same


class Lines:
    """The generated call of an op: the same steps as ``custom.general`` on the CPU in the default mode."""

    def __init__(self, op, general_path, node_class):
        self.op, self.t, self.params = op, op.tensors, group(op.params)
        self.general = f"return general_(op_, {group(self.t)}, {self.params}, AS_)"
        self.rule = f"rule_({text.passed(op.signature)})"
        own = node_class is not None or getattr(op.node_for, "__func__", None) is op.plain_node_for.__func__
        self.made = "Node_" if own else f"op_.node_for({self.params})"
        self.env = text.environment(op=op, AS=node_class, Node=node_class or op.node_class, rule=op.fn, make=make, NONE={},
                                    save_output=graph.save_output, settle=plan.settle, PLANS=plan.Table(),
                                    repr=repr, raw=raw, too_large=too_large, check_empty=check_empty, Output=Output)
        self.env.update(general_path)
        self.optional = {p.name for p in op.signature.parameters.values() if p.default is None}
        # Private ops are called with None for what is absent.
        self.absent = self.optional | set(self.t[1:] if op.private else ())

    def build(self):
        op, t, named = self.op, self.t, set(self.op.rule_names)
        lines = self.quick() if t and not op.lists and not op.recipes else []
        lines += arguments.text(op.name, op.signature.parameters, {n: kind for n, kind in op.kinds.items() if n in op.params},
                               pad="").splitlines()
        if len(t) == 1 and op.lists == t and not {t[0], "ys_"} & named and not op.keyword_only:
            lines += self.planned_list(t[0]) + self.of_list(t[0])
        elif not op.lists and {"gs_", "given_", *NUMBERED} & named and "ys_" not in named:
            lines += self.planned(True) + self.several()
        elif op.lists or {"ys_", *NUMBERED} & named:
            lines.append(self.general)
        else:
            lines += self.planned() + self.one()
        return text.call(op, op.call_signature(), indented(lines, PAD), self.env)

    def quick(self):
        """Lines that return what the native function makes of a planned call."""
        calls = self.env["PLANS_"].calls = Calls(len(self.t), [False] * len(self.op.params))
        calls.node_class = self.env["AS_"]
        self.env["replay_"] = calls
        return ["record_ = True if not STATE_ else recording_()", "if record_ is not None:",
                *indented(replays.lines([*self.t, *self.op.params]) or ["pass"], PAD)]

    def key(self):
        """What a call's plan is found by, as text: kinds and geometry of tensors, other arguments by class and value."""
        parts = []
        for n in self.t:
            geometry = f"{n}._kind, {n}._shape, {n}._strides"
            parts.append(f"None if {n} is None else ({geometry})" if n in self.absent else geometry)
        return group(parts + self.parameters())

    def parameters(self):
        """The part of the key that tells the arguments that are no tensors."""
        parts = []
        for n in self.op.params:
            if n in self.op.recipes:
                parts.append(f"{n}.key")
                continue
            kind = self.op.kinds.get(n, "any").rstrip("?")
            # 0.0 and -0.0 are equal, as are 1 and True.
            parts += [n] if kind in EXACT else [f"{n}.__class__", f"{n} or {n}.__class__ is float_ and repr_({n})"]
        return parts

    @staticmethod
    def fresh(storage, shape="shape_"):
        """Lines that make an output."""
        made, address = text.fresh("out_", "n_", storage, shape, "kind_")
        return ["try:", PAD + made, "except (ValueError_, MemoryError_) as error_:",
                "    raise too_large_(error_, shape_, n_ * kind_.itemsize) from None", address]

    def planned(self, several=False):
        """Lines that repeat what a call of the same geometry has done; ``several`` where there are always several outputs."""
        op, t = self.op, self.t
        pointers = [f"0 if {n} is None else {n}._ptr" if n in self.absent else f"{n}._ptr" for n in t]
        pointers += [f"*[t_._ptr for t_ in {n}.tensors]" for n in op.recipes]
        many = ["ptrs_, many_ = [], []", "for n_, storage_, kind_, shape_ in made_:", *indented([
            *self.fresh("storage_"), "ptrs_.append(ptr_)", "many_.append(out_)"], PAD),
            f"run_({', '.join([*pointers, '*ptrs_'])})", "kind_ = made_[0][2]", "outs_ = tuple_(many_)", "out_ = outs_[0]"]
        if op.rule is not None:
            # Where some outputs have no gradient the first may be the one without.
            many += self.record(set(t) | self.optional, "specs_", None, "record_ and ") + self.outputs()
        many.append("return outs_")
        if several:
            return self.found(self.key(), f"{group(t)}, {self.params}", many)
        one = ["n_, storage_, kind_, shape_ = made_[0]", *self.fresh("storage_"),
               f"run_({', '.join([*pointers, 'ptr_'])})"]
        if op.rule is not None and t:
            one += self.record(self.absent, "specs_", "out_", "record_ and ")
        run = ["if specs_.several:", *indented(many, PAD), *one, "return out_"]
        return self.found(self.key(), f"{group(t)}, {self.params}", run)

    def found(self, key, given, run, when="", before=()):
        """Lines that look for a plan and, where it is one, run it."""
        return ["record_ = True if not STATE_ else recording_()", f"if record_ is not None{when}:", *indented([
            "try:", *indented(before, PAD), f"    key_ = {key}", "    plan_ = PLANS_.get(key_)",
            "except (AttributeError_, TypeError_):", "    plan_ = False",
            "if plan_:", "    run_, made_, specs_, most_ = plan_", "    if most_ < LIMIT_[0]:", *indented(run, 2 * PAD),
            "elif plan_ is None:", f"    settle_(op_, PLANS_, key_, {given})"], PAD)]

    def planned_list(self, name):
        """``planned`` of an op on one list of tensors."""
        op = self.op
        recorded = op.rule is not None
        geometry = ["geometry_, ptrs_, following_, needs_, rg_ = [], [], [], [], False" if recorded else
                    "geometry_, ptrs_ = [], []", f"for t_ in {name}:", "    geometry_ += t_._kind, t_._shape, t_._strides",
                    "    ptrs_.append(t_._ptr)"]
        if recorded:
            geometry += indented(["if t_._view is not None:", "    refresh_(t_)", "if t_._rg:",
                                  "    following_.append(t_._node or t_)", "    needs_.append(True)", "    rg_ = True", "else:",
                                  "    following_.append(None)", "    needs_.append(False)"], PAD)
        key = group(["tuple_(geometry_)", *self.parameters()])
        run = ["n_, storage_, kind_, shape_ = made_[0]", *self.fresh("storage_"), "run_(*ptrs_, ptr_)"]
        if recorded:
            run += ["if record_:", *indented(self.record_list(name, "tuple_(following_)", "key_[0][1::3]", "tuple_(needs_)",
                                                              "specs_"), PAD)]
        return self.found(key, f"({name},), {self.params}", [*run, "return out_"], f" and {name}.__class__ in (list_, tuple_)",
                          geometry)

    def record_list(self, name, following, shapes, needs, specs):
        """Lines that make the node of ``out_`` for a list of tensors."""
        op = self.op
        ctx = f"({self.params}, {shapes}, {needs}, {specs}, {{{name!r}: len_({name})}})"
        node = text.recorded(self.made, following,
                             "(save_output_(out_), 0)" if "y_" in op.rule_names else "()", ctx)
        return ["if rg_ and kind_.dtype.category > 1:", PAD + node]

    def one(self):
        """Lines of the call of an op with one output."""
        op, t = self.op, self.t
        known = " and ".join(f"isinstance_({n}, Tensor_)" if n not in self.optional else
                             f"({n} is None or isinstance_({n}, Tensor_))" for n in t)
        lines = [f"if STATE_ or not ({known or 'True'}):", PAD + self.general, f"spec_ = {self.rule}",
                 "if spec_.__class__ is list_:", PAD + self.general, "shape_, kind_ = spec_", *self._cpu(), "n_ = 1",
                 "for s_ in shape_:", "    n_ *= s_", "if not n_:", "    check_empty_(shape_)"]
        lines += self.fresh("kind_.np", "shape_ if shape_.__class__ is tuple_ else tuple_(shape_)")
        names = self._row_major(lines)
        lines.append(f"launch_(out_, {', '.join(names)})")
        if op.rule is not None and t:
            lines += self.record(self.optional, "((out_._shape, kind_),)", "out_")
        return [*lines, "return out_"]

    def several(self):
        """Lines of the call of an op with several outputs."""
        known = " and ".join(f"({n} is None or isinstance_({n}, Tensor_))" for n in self.t)
        lines = [f"if STATE_ or not ({known}):", PAD + self.general, f"specs_ = {self.rule}", "kind_ = specs_[0][1]",
                 "if specs_.__class__ is not list_ or op_.cpu_launch is None or not kind_.cpu:", PAD + self.general,
                 "outs_ = [make_(shape_, k_) for shape_, k_ in specs_]"]
        names = self._row_major(lines)
        lines.append(f"op_.cpu_launch(outs_, {', '.join(names)})")
        if self.op.rule is not None:
            lines += self.record(set(self.t) | self.optional, "tuple_(specs_)") + self.outputs()
        return [*lines, "return tuple_(outs_)"]

    @staticmethod
    def outputs():
        """Lines behind ``record`` that give each of several outputs its place at the node."""
        return ["    for i_, o_ in enumerate_(outs_):", "        if o_._kind.dtype.category > 1:",
                "            o_._node = Output_(node_, i_)", "            o_._rg = True"]

    def of_list(self, name):
        """Lines of the call of an op on one list of tensors."""
        op = self.op
        order = "ts_" if op.contiguous else name
        lines = [f"if STATE_ or isinstance_({name}, Tensor_):", PAD + self.general, "rg_ = False", f"for t_ in {name}:",
                 "    if not isinstance_(t_, Tensor_):", 2 * PAD + self.general, "    if t_._view is not None:",
                 "        refresh_(t_)", "    if t_._rg:", "        rg_ = True", f"spec_ = {self.rule}",
                 "if spec_.__class__ is list_:", PAD + self.general, "shape_, kind_ = spec_", *self._cpu(),
                 "out_ = make_(tuple_(shape_), kind_)"]
        if op.contiguous:
            lines.append(f"ts_ = [t_ if t_._strides is None else row_major_(t_) for t_ in {name}]")
        lines.append(f"launch_(out_, {', '.join(order if n == name else n for n in op.signature.parameters)})")
        if op.rule is not None:
            lines += self.record_list(name, f"tuple_([(t_._node or t_) if t_._rg else None for t_ in {name}])",
                                      f"tuple_([t_._shape for t_ in {name}])", f"tuple_([t_._rg for t_ in {name}])",
                                      "((out_._shape, kind_),)")
        return [*lines, "return out_"]

    def _cpu(self):
        return ["launch_ = op_.cpu_launch", "if launch_ is None or not kind_.cpu:", PAD + self.general]

    def _row_major(self, lines):
        """Names of the arguments as the launcher takes them; lines that make them so."""
        names = list(self.op.signature.parameters)
        if not self.op.contiguous:
            return names
        lines += [f"{n}_c_ = {n} if {n} is None or {n}._strides is None else row_major_({n})" for n in self.t]
        return [n + "_c_" if n in self.t else n for n in names]

    def record(self, optional, specs, out=None, when=""):
        """Lines that make the node of ``out``, or one for several outputs."""
        op, t = self.op, self.t
        wants = {n: f"{n} is not None and {n}._rg" if n in optional else f"{n}._rg" for n in t}
        lines = [line for n in t for line in (f"if {n} is not None and {n}._view is not None:", f"    refresh_({n})")]
        # Inference tensors have no version, and what they index is recorded by nobody.
        kept = [line for n in op.recipes for line in (f"if None in {n}.versions:", f"    {n}.refuse()")]
        saved = []
        for name in op.rule_names:
            if name in t:
                conditions = [f"{name} is not None"] if name in optional else []
                if name in op.save_for:
                    conditions.append("(" + " or ".join(wants[n] for n in op.save_for[name]) + ")")
                pair = f"{name}, {name}._ver[0]"
                saved.append(f"*(({pair}) if {' and '.join(conditions)} else (None, 0))" if conditions else pair)
            elif name == "y_":
                saved.append("save_output_(out_), 0")
            elif name in NUMBERED:
                i = NUMBERED.index(name)
                saved.append(f"save_output_(outs_[{i}], {i}), 0")
        shapes = group([f"None if {n} is None else {n}._shape" if n in optional else f"{n}._shape" for n in t])
        following = group([f"({n}._node or {n}) if {wants[n]} else None" for n in t])
        ctx = f"({self.params}, {shapes}, {group(wants.values())}, {specs}, NONE_)"
        node = [text.recorded(self.made, following, group(saved), ctx, out)] if out else text.node(
            f"new_({self.made})", following, group(saved), ctx)
        wanted = " or ".join(wants.values())
        return [*lines, f"if {when}({wanted}) and kind_.dtype.category > 1:", *indented([*kept, *node], PAD)]


def build(op, general_path, node_class=None):
    """The call of a custom op as generated text."""
    return Lines(op, general_path, node_class).build()


# --- backward ---------------------------------------------------------------------------------------------------------

def evaluators(op):
    """(plain, recorded) backward of an op: ``f(node, g)`` calls the gradient rule with what it names."""
    op.evaluators = _evaluator(op, plain, True), _evaluator(op, graph.unpack)
    return op.evaluators


PLANNED = """
if outs_.__class__ is Specs_ and not TAPE_:
    plans_ = outs_.plans
    if g_.__class__ is list_:
        key_ = (needs_, *[None if x_ is None else (x_._kind, x_._shape, x_._strides) for x_ in g_])
    else:
        key_ = (needs_, g_._kind, g_._shape, g_._strides)
    plan_ = plans_.get(key_)
    if plan_:
        found_ = plan_(g_, saved_, others_)
        if found_ is not None:
            return found_
    elif plan_ is None:
        settle_(node_, g_, key_, plans_, evaluate_)
""".strip().splitlines()  # lines of the first-order backward of a node whose forward call had a plan


def planned_lines(op):
    places = [f"params_[{op.params.index(n)}].current(node_)" for n in op.recipes]
    given = places[0] if len(places) == 1 else group(["*" + p for p in places])
    return [f"others_ = {given}", *PLANNED]


def _evaluator(op, unpack, planned=False):
    # How many outputs there are is known from the node alone.
    special = {"g_": "g_ if len_(outs_) == 1 else first_(g_)",
               "gs_": "materialize_(g_, outs_) if len_(outs_) > 1 else [g_]",
               "given_": "g_ if len_(outs_) > 1 else [g_]", "needs_": "needs_", "shape_": "shapes_[0]", "shapes_": "shapes_"}
    lines = ["saved_ = node_.saved", "if saved_ is None:", "    freed_()",
             "params_, shapes_, needs_, outs_, lists_ = node_.ctx", *(planned_lines(op) if planned else ())]
    values, j, lists = [], 0, []  # what is saved after lists begins as much later as they are long
    for k, name in enumerate(op.rule_names):
        which = name if name in op.tensors else "result"
        if name in special:
            values.append(special[name])
        elif name in op.params:
            values.append(f"params_[{op.params.index(name)}]")
        elif name in op.lists or name == "ys_":
            begin = " + ".join([str(j), *lists])
            lists.append(f"n{k}_")
            lines += [f"n{k}_ = 2 * {'len_(outs_)' if name == 'ys_' else f'lists_[{name!r}]'}",
                      f"v{k}_ = [unpack_(node_, saved_[i_], saved_[i_ + 1], {which!r}) "
                      f"for i_ in range_({begin}, {begin} + n{k}_, 2)]"]
            values.append(f"v{k}_")
        else:
            at = " + ".join([str(j), *lists])
            lines.append(f"s{k}_ = saved_[{at}]")
            values.append(f"None if s{k}_ is None else unpack_(node_, s{k}_, saved_[{at} + 1], {which!r})")
            j += 2
    # By keyword: a rule may have defaults and other parameters between.
    lines += [f"grads_ = op_.rule({', '.join(f'{n}={v}' for n, v in zip(op.rule_takes, values))})",
              "if grads_.__class__ is not tuple_:", "    grads_ = tuple_(grads_) if grads_.__class__ is list_ else (grads_,)",
              "if len_(grads_) != len_(node_.next):", "    wrong_(node_, grads_)", "return grads_"]
    source = "\n".join([f"def {op.name}_backward(node_, g_):", *indented(lines, PAD), ""])
    env = text.environment(first=first, materialize=materialize, unpack=unpack, op=op, wrong=wrong, Specs=plan.Specs,
                           TAPE=TAPE, settle=plan.settle_backward)
    env["evaluate_"] = made = jit.define(source, f"{op.name}_backward", env, f"{op.name} backward")
    return made


def wrong(node, grads):
    raise RuntimeError(f"{node.name()}: the gradient rule returned {len(grads)} gradients for {len(node.next)} inputs")


def plain(node, obj, version, which):
    """``graph.unpack_plain``, with the usual case first: an input that was not changed."""
    if obj.__class__ is Tensor and obj._ver[0] == version:
        if obj._rg:
            return raw(obj._buf, obj._ptr, obj._n, obj._shape, obj._strides, obj._kind, obj._ver)
        return obj
    if obj.__class__ is tuple and obj[5][0] == version:
        return raw(obj[0], obj[1], obj[2], obj[3], obj[6], obj[4], obj[5])
    return graph.unpack_plain(node, obj, version, which)


def first(g):
    """The gradient of output 0, which is the only one that is used."""
    return g[0] if isinstance(g, list) else g


def materialize(grads, outs):
    """One gradient per differentiable output: zeros where none arrived."""
    return [make_zero(shape, kind) if g is None and kind.dtype.category >= 2 else g for g, (shape, kind) in
            zip(grads, outs)]


def make_zero(shape, kind):
    out = make(shape, kind)
    out._buf, out._ptr = kind.zeros(out._n)
    return out
