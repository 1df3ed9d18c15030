"""The op record and the registry that everything else is generated from."""

from __future__ import annotations

import inspect

from ..base import arguments
from ..core.registry import REGISTRY
from ..core.tensor import Tensor


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


class Op:
    """What is known of one operation.

    ``name`` is the function's name, ``namespaces`` where it appears ("torch", "nn.functional", "special", "linalg"),
    ``method`` its Tensor method name or None, ``inplace`` whether ``name_`` exists. ``samples``, ``domain``, ``points``
    and ``reference`` feed the tests; ``differentiable`` says whether gradients are tested; ``kinds`` gives the kind of a
    parameter that its annotation and name do not tell right (``arguments``)."""

    kind = "function"
    write_several = None  # what the in-place form does to a target some of whose elements are one in memory

    def __init__(self, fn, *, name=None, namespaces=("torch",), method=True, inplace=False, aliases=(), samples=(),
                 domain=(-2.0, 2.0), points=(), reference=None, differentiable=True, dtypes="float", torch_name=None,
                 second_order=True, random=False, private=False, tolerance=None, registered=True, kinds=None):
        self.fn = fn
        self.name = name or fn.__name__
        self.doc = inspect.getdoc(fn) or ""
        self.signature = inspect.signature(fn)
        self.namespaces = () if private else tuple(namespaces)
        self.method = None if private else (self.name if method is True else (method or None))
        self.inplace, self.aliases = inplace, tuple(aliases)
        self.samples, self.domain, self.points = tuple(samples), domain, tuple(points)
        self.reference, self.differentiable, self.dtypes = reference, differentiable, dtypes
        self.torch_name = torch_name or self.name
        self.second_order, self.random, self.private, self.tolerance = second_order, random, private, tolerance
        # Private ops are called with arguments that public ones have checked.
        self.kinds = {} if private else {n: arguments.kind_of(p) for n, p in self.signature.parameters.items()}
        self.kinds.update(kinds or {})
        self.family = fn.__module__.partition("numbagrad.ops.")[2] or fn.__module__
        if registered:
            if self.name in REGISTRY:
                raise ValueError(f"an op named '{self.name}' is registered already ({REGISTRY[self.name].family})")
            REGISTRY[self.name] = self
        self.__doc__ = self.doc
        self.__name__ = self.name

    publish = None  # ``namespace.install``, a floor above

    def __call__(self, *args, **kwargs):
        return self.fn(*args, **kwargs)

    def __repr__(self):
        return f"<op {self.name} ({self.kind})>"

    @property
    def callable(self):
        """What the namespace shows."""
        return self.fn

    @property
    def summary(self):
        """First line of the docstring."""
        return self.doc.partition("\n")[0]


def function(fn=None, **options):
    """Declare an op composed of other ops: an ordinary function of tensors."""
    if fn is None:
        return lambda f: function(f, **options)
    op = Function(fn, **options)
    op.fn.__module__ = "numbagrad"
    return op.fn if op.private else op


class Function(Op):
    """An op composed of other ops. Users get it behind a guard that names the argument that is no tensor."""

    guarded = None

    @property
    def callable(self):
        if self.guarded is None:
            self.guarded = self._guard()
        return self.guarded

    def _guard(self):
        from ..kernel import jit
        head, pass_on, defaults, star = [], [], {}, False
        for p in self.signature.parameters.values():
            if p.kind is p.VAR_POSITIONAL:
                star = True
                head.append("*" + p.name)
                pass_on.append("*" + p.name)
            elif p.kind is p.VAR_KEYWORD:
                head.append("**" + p.name)
                pass_on.append("**" + p.name)
            else:
                if p.kind is p.KEYWORD_ONLY and not star:
                    star = True
                    head.append("*")
                pass_on.append(f"{p.name}={p.name}" if p.kind is p.KEYWORD_ONLY else p.name)
                if p.default is p.empty:
                    head.append(p.name)
                else:
                    defaults[p.name] = p.default
                    head.append(f"{p.name}=DEFAULTS_[{p.name!r}]")
        if not pass_on:
            return self.fn
        args = ", ".join(pass_on)
        checks = arguments.text(self.name, self.signature.parameters, self.kinds)
        text = f"def {self.name}({', '.join(head)}):\n{checks}"
        if pass_on[0].startswith("*"):
            text += f"    return fn_({args})\n"
        else:
            text += (f"    try:\n        return fn_({args})\n"
                     f"    except (AttributeError, TypeError) as error_:\n        refuse_(OP_, {pass_on[0]}, error_)\n"
                     "        raise\n")
        fn = jit.define(text, self.name, {**arguments.ENVIRONMENT, "DEFAULTS_": defaults, "fn_": self.fn, "OP_": self,
                                          "refuse_": refuse, "Tensor_": Tensor})
        fn.__doc__, fn.__module__, fn.__qualname__ = self.doc, "numbagrad", self.name
        return fn


def add_method(fn, **kinds):
    """Make ``fn(self, ...)`` a method of Tensor behind the checks of its arguments; ``kinds`` as in ``Op``."""
    setattr(Tensor, fn.__name__, Function(fn, registered=False, kinds=kinds).callable)


def refuse(op, value, error):
    """The TypeError for a first argument that is neither a tensor nor a number or a list."""
    if isinstance(value, (int, float, complex, tuple, list)) and isinstance(error, TypeError):
        return
    if value is None or not hasattr(value, "_kind"):
        name, p = next(iter(op.signature.parameters.items()))
        if p.annotation is not p.empty:
            return
        raise arguments.wrong(value, "Tensor", op.name, name, 1) from None


def grad_name(name, suffix="0"):
    """PyTorch's node name: ``log_softmax`` -> ``LogSoftmaxBackward0``."""
    return "".join(p.capitalize() if p.islower() else p for p in name.strip("_").split("_")) + "Backward" + suffix
