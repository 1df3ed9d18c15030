"""The op record and the registry that everything else is generated from."""

from __future__ import annotations

import inspect

from ..base import arguments, overriding, sparse
from ..base.transformed import Whole
from ..core.registry import REGISTRY
from ..core.tensor import Tensor
from . import text


def call_it(fn, name):
    """Give a function that was written as ``_`` a name: profiles, tracebacks and reprs show it."""
    if fn.__name__ == "_":
        fn.__name__ = fn.__qualname__ = name
        names = {"co_name": name, "co_qualname": name}
        fn.__code__ = fn.__code__.replace(**{n: v for n, v in names.items() if hasattr(fn.__code__, n)})
    return fn


class Sample:
    """One call to test and time an op with: shapes or values of the tensor arguments, then the other arguments.

    ``Sample((3, 4), (4,), dim=1)``: tuples are shapes of random tensors drawn from the op's domain; anything else is
    passed as it is. ``dtype`` of integer arguments is given as ``("int64", shape, low, high)``."""

    __slots__ = ("args", "kwargs")

    def __init__(self, *args, **kwargs):
        self.args, self.kwargs = args, kwargs

    def __repr__(self):
        parts = [repr(a) for a in self.args] + [f"{k}={v!r}" for k, v in self.kwargs.items()]
        return f"Sample({', '.join(parts)})"


# What elementwise ops of one and of two tensors and reductions are tried with, unless they bring samples of their own.
UNARY = (Sample((3, 4)), Sample(()), Sample((0, 3)))
BINARY = (Sample((3, 4), (3, 4)), Sample((3, 4), (4,)), Sample((2, 1, 3), (4, 1)), Sample((3,), ()), Sample((2, 3), 1.5))
REDUCE = (Sample((3, 4)), Sample((3, 4), 1), Sample((2, 3, 4), (0, 2), True), Sample((2, 3, 4), 1), Sample(()))


class Registered(type):
    """The class of ops: one that has been made, whatever its kind, is entered into the registry."""

    def __call__(cls, *args, **options):
        op = super().__call__(*args, **options)
        if op.registered:
            REGISTRY.add(op)
        return op


class Op(metaclass=Registered):
    """What is known of one operation.

    ``name`` is the function's name, ``namespaces`` where it appears ("torch", "nn.functional", "special", "linalg"),
    ``method`` its Tensor method name or None, ``inplace`` whether ``name_`` exists, "into" where that may be the call with
    ``out=``. ``samples``, ``domain``, ``points``
    and ``reference`` feed the tests; ``differentiable`` says whether gradients are tested; ``kinds`` gives the kind of a
    parameter that its annotation and name do not tell right (``arguments``). ``planned`` functions may become programs
    (``composed``): they do not do in another way what a mode changes. ``out`` gives calls that take none an ``out=``, whose
    dtype may be "wider" or has to be the "same"; another text is PyTorch's error of one that is not."""

    kind = "function"
    loop_of = None  # of calls that come to one elementwise op: gives that and its arguments
    changed = None  # of such ops: how the native function writes the first argument (``autograd.inplace_methods``)
    write_several = None  # what the in-place form does to a target some of whose elements are one in memory

    def __init__(self, fn, *, name=None, namespaces=("torch",), method=True, inplace=False, aliases=(), samples=(),
                 domain=(-2.0, 2.0), points=(), reference=None, differentiable=True, dtypes="float", torch_name=None,
                 second_order=True, random=False, private=False, tolerance=None, registered=True, kinds=None, planned=True,
                 out=None):
        self.fn = fn
        self.name = name or fn.__name__
        self.doc = inspect.getdoc(fn) or ""
        self.signature = inspect.signature(fn)
        self.namespaces = () if private else tuple(namespaces)
        self.method = None if private else (self.name if method is True else (method or None))
        self.inplace, self.aliases = bool(inplace) and not private, tuple(aliases)
        self.into = inplace == "into"
        self.samples, self.domain, self.points = tuple(samples), domain, tuple(points)
        self.reference, self.differentiable, self.dtypes = reference, differentiable, dtypes
        self.torch_name = torch_name or self.name
        self.second_order, self.random, self.private, self.tolerance = second_order, random, private, tolerance
        self.planned, self.out = planned, None if private else out
        # Private ops are called with arguments that public ones have checked.
        self.kinds = {} if private else {n: arguments.kind_of(p) for n, p in self.signature.parameters.items()}
        self.kinds.update(kinds or {})
        self.module, self.registered, self.published = fn.__module__, registered, {}  # (where, name) -> what users find there
        self.family = self.module.partition("numbagrad.ops.")[2] or self.module
        if registered:
            check_names(self)
        self.__doc__ = self.doc
        self.__name__ = self.name

    def __call__(self, *args, **kwargs):
        return self.fn(*args, **kwargs)

    def __repr__(self):
        return f"<op {self.name} ({self.kind})>"

    def call_signature(self):
        """The parameters of the public call."""
        if self.out is None:
            return self.signature
        out = inspect.Parameter("out", inspect.Parameter.KEYWORD_ONLY, default=None)
        return self.signature.replace(parameters=[*self.signature.parameters.values(), out])

    def filled(self, signature, fill):
        """[what calls with ``out=`` do], which is made of ``fill`` in the first one, with programs of its own."""
        def first(*args, **kwargs):
            fill.__signature__, fill.__name__, fill.__module__ = signature, self.name, self.module
            found[0] = Function(fill, registered=False, kinds=self.kinds, planned=self.planned).callable
            return found[0](*args, **kwargs)
        found = [first]
        return found

    @property
    def callable(self):
        """What the namespace shows."""
        return self.fn

    @property
    def summary(self):
        """First line of the docstring."""
        return self.doc.partition("\n")[0]


def check_names(op):
    """ValueError if a parameter of an op is called like what generated text names besides."""
    for n in op.signature.parameters:
        if n.endswith("_"):
            raise ValueError(f"op {op.name}: a parameter cannot be called '{n}': names that end in an underscore belong to the "
                             "generated code; choose another one")


def rule_names(op, rule, ours):
    """{parameter of a gradient rule: what it stands for}: arguments of the op by name, ``ours`` with an underscore at the end.

    A rule may leave the underscore out where the op has no argument of that name."""
    names, unknown = {}, []
    for n in inspect.signature(rule).parameters:
        if n in op.signature.parameters:
            names[n] = n
        elif n.removesuffix("_") in ours:
            names[n] = n.removesuffix("_") + "_"
        else:
            unknown.append(n)
    if unknown:
        raise TypeError(f"gradient of {op.name} asks for unknown {sorted(unknown)}: it may use {', '.join(ours)} and the "
                        f"arguments {', '.join(op.signature.parameters)}")
    return names


def parameters(text):
    """The signature of a function with these parameters."""
    scope = {}
    exec(f"def call({text}):\n    pass\n", scope)
    return inspect.signature(scope["call"])


def function(fn=None, **options):
    """Declare an op composed of other ops: an ordinary function of tensors.

    ``shown`` has the parameters that users are shown, where arguments are told apart by their types."""
    if fn is None:
        return lambda f: function(f, **options)
    op = Function(fn, **options)
    op.fn.__module__ = "numbagrad"
    return op.fn if op.private else op


class Function(Op):
    """An op composed of other ops. Users get it behind a guard that names the argument that is no tensor."""

    guarded = programs = None
    # Lines of the usual call, before the checks of its arguments; what they name; whether programs are looked for after them.
    first = (), {}, False

    def __init__(self, fn, *, shown=None, **options):
        super().__init__(fn, **options)
        self.shown = shown

    @property
    def callable(self):
        if self.guarded is None:
            self.guarded = self._guard()
            if self.shown is not None:
                self.guarded.__signature__ = parameters(self.shown)
        return self.guarded

    def _guard(self):
        if not self.signature.parameters:
            return self.fn
        args = text.passed(self.signature)
        checks = arguments.text(self.name, self.signature.parameters, self.kinds).splitlines()
        values = ", ".join([f"{n!r}: {n}" for n, p in self.signature.parameters.items() if p.kind != p.VAR_KEYWORD])
        asks = [f"        asked_ = asked_by_(op_, {{{values}}})", "        if asked_ is not None:",
                "            return asked_[0]"]
        lines = ["    try:", *text.indented(checks, "    "), f"        return fn_({args})"]
        if args.startswith("*"):
            lines += ["    except Whole_ as error_:", f"        return error_.again(op_, {args})",
                      "    except (AttributeError_, TypeError_):", *asks, "        raise"]
        else:
            lines += ["    except (AttributeError_, TypeError_) as error_:",
                      "        if error_.__class__ is SparseArgument_:", f"            return instead_(op_, error_)({args})",
                      "        if error_.__class__ is Whole_:", f"            return error_.again(op_, {args})",
                      *asks, f"        refuse_(op_, {args.partition(',')[0]}, error_)", "        raise"]
        usual, names, before = ["    " + line for line in self.first[0]], *self.first[1:]
        lines = lines if before else usual + lines
        env = {**arguments.ENVIRONMENT, "fn_": self.fn, "op_": self, "refuse_": refuse,
               "asked_by_": overriding.asked, "Tensor_": Tensor, "Whole_": Whole,
               "SparseArgument_": sparse.SparseArgument, "instead_": sparse.instead, **names}
        from . import composed
        found = composed.attached(self)
        if found is not None:
            self.programs, looks, more = found
            lines = ["    " + line for line in looks] + lines
            env.update(more, STATE_=text.NAMES["STATE_"], recording_=text.NAMES["recording_"])
        return text.call(self, self.call_signature(), usual + lines if before else lines, env)


def unlisted(fn, **kinds):
    """``fn`` behind the checks of its arguments, with programs of its own (``composed``), as part of other functions."""
    return Function(fn, registered=False, kinds=kinds).callable


def add_method(fn, shown=None, aliases=(), out=None, **kinds):
    """Make ``fn(self, ...)`` a method of Tensor behind the checks of its arguments, and return it; the rest as in ``Op``."""
    made = Function(fn, registered=False, shown=shown, kinds=kinds, out=out).callable
    REGISTRY.attach(fn.__module__, Tensor, {fn.__name__: made, **dict.fromkeys(aliases, made)})
    return made


def add_function(place, fn, name=None, method=False, out=None, **kinds):
    """Make ``fn`` a function of the module ``place`` behind the checks of its arguments, where an op of another place has its
    name, and a method of Tensor too if that is said; returns ``fn``."""
    made = add_method(fn, out=out, **kinds) if method else Function(fn, registered=False, kinds=kinds, out=out).callable
    REGISTRY.attach(fn.__module__, place, {name or fn.__name__: made})
    return fn


def refuse(op, value, error):
    """The TypeError for a first argument that is neither a tensor nor a number or a list."""
    if isinstance(error, TypeError) and (isinstance(value, (int, float, complex, tuple, list)) or str(error).startswith(
            f"{op.name}(): argument")):
        return
    if value is None or not hasattr(value, "_kind"):
        name, p = next(iter(op.signature.parameters.items()))
        if p.annotation is not p.empty:
            return
        raise arguments.wrong(value, "Tensor", op.name, name, 1) from None


def grad_name(name, suffix="0"):
    """PyTorch's node name: ``log_softmax`` -> ``LogSoftmaxBackward0``."""
    return "".join(p.capitalize() if p.islower() else p for p in name.strip("_").split("_")) + "Backward" + suffix
