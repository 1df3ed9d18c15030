"""Tensors filled with random numbers in place: ``uniform_``, ``normal_``, ``random_`` and their kin."""

from __future__ import annotations

from numbagrad.autograd import inplace
from numbagrad.base import arguments
from numbagrad.base import dtypes as dt
from numbagrad.base.arguments import check_int
from numbagrad.base.modes import is_grad_enabled
from numbagrad.core.copying import contiguous_copy, copy_into
from numbagrad.core.tensor import bump_version, make, raw_view
from numbagrad.dispatch.op import Function, add_method, parameters
from numbagrad.extend import REGISTRY, Tensor
from numbagrad.kernel import rng
from numbagrad.kernel.tape import TAPE, active, capturing
from numbagrad.random import engine_of

from ..view.shape import expanded
from .draw import WIDE, draw_normal, draw_uniform, half, memory, memory_order, node_of_zeros, on_host, usual


def _fill(self, name, node, draw, *numbers):
    """Check, draw into the memory in the order PyTorch visits it, count the change and cut the history.

    ``draw(t, *numbers, contiguous)``."""
    if self._strides is None and self._kind in WIDE and inplace.unrecorded(self):
        draw(self, *numbers, True)
        bump_version(self)
        return self
    if self._kind.dtype.is_complex and name not in ("normal_", "uniform_"):
        raise NotImplementedError(f"{name}() is not implemented for '{dt.scalar_name(self._kind.dtype)}'")
    inplace.check(self, name)
    recording = self._rg and is_grad_enabled()
    record = node_of_zeros(node, (self,)) if recording else None
    if self._strides is None and self._buf.size != self._n and TAPE and active() is not None:
        fresh = make(self._shape, self._kind)  # a part of memory that has no values yet
        draw(fresh, *numbers, True)
        copy_into(self, fresh)
    elif not self._kind.cpu:
        on_host(self, lambda fresh: draw(fresh, *numbers, True))
    elif self._strides is None:
        draw(self, *numbers, True)
    else:
        permuted = raw_view(self, memory_order(self))
        fresh = make(permuted._shape, self._kind)
        draw(fresh, *numbers, False)
        copy_into(permuted, fresh)
    bump_version(self)
    if recording:
        inplace.rebase(self, record)
    return self


def _floats(name, values):
    """The values of a table of real numbers after their check."""
    return [arguments.check_float(v, name, k, i) for i, (k, v) in enumerate(values.items(), 1)]


def uniform_(self, from_=0.0, to=1.0, *, generator=None, **kwargs):
    """Fill with uniform numbers on [from, to)."""
    if kwargs:
        from_, = _floats("uniform_", {"from": kwargs.pop("from", from_)})
        if kwargs:
            raise TypeError(f"uniform_() got an unexpected keyword argument '{next(iter(kwargs))}'")
    return _fill(self, "uniform_", "UniformBackward0", draw_uniform, generator, from_, to)


def normal_(self, mean=0.0, std=1.0, *, generator=None):
    """Fill with normal numbers of the given mean and standard deviation."""
    return _fill(self, "normal_", "NormalBackward0", draw_normal, generator, mean, std)


def _simple(name, fill, doc, node, defaults, direct=None):
    def method(self, *args, generator=None, **kwargs):
        values = dict(defaults)
        if len(args) > len(values):
            raise TypeError(f"{name}() takes at most {len(values)} arguments but {len(args)} were given")
        values.update(zip(values, args))
        for k, v in kwargs.items():
            if k not in values:
                raise TypeError(f"{name}() got an unexpected keyword argument '{k}'")
            values[k] = v
        for k, v in values.items():
            if v is None:
                raise TypeError(f"{name}() missing 1 required positional arguments: \"{k}\"")
        numbers = _floats(name, values)

        def draw(t, contiguous):
            wide = WIDE.get(t._kind)
            if direct is None or wide is None or not numbers[0] > 0.0 or TAPE and capturing():
                fill(engine_of(generator), memory(t), *numbers, dtype=half(t))
            else:
                direct(engine_of(generator), t._ptr, t._n, *numbers, wide)
        return _fill(self, name, node, draw)
    method.__name__ = method.__qualname__ = name
    method.__doc__ = doc
    listed = ", ".join(k if v is None else f"{k}={v}" for k, v in defaults.items())
    method.__signature__ = parameters(f"self, {listed}, *, generator=None")
    REGISTRY.attach(__name__, Tensor, {name: method})


_simple("exponential_", rng.fill_exponential, "Fill with exponential numbers of rate ``lambd``.", "ExponentialBackward0",
        {"lambd": 1.0}, rng.exponential)
_simple("geometric_", rng.fill_geometric, "Fill with the number of trials up to the first success of probability ``p``.",
        "GeometricBackward0", {"p": None})
_simple("cauchy_", rng.fill_cauchy, "Fill with Cauchy numbers.", "CauchyBackward0", {"median": 0.0, "sigma": 1.0})
_simple("log_normal_", rng.fill_log_normal, "Fill with exponentials of normal numbers.", "LogNormalBackward0",
        {"mean": 1.0, "std": 2.0})


def random_(self, *args, generator=None, **kwargs):
    """Fill with integers: ``random_()`` over the dtype's range, ``random_(to)`` below it, ``random_(from, to)``."""
    given = {k.rstrip("_"): kwargs.pop(k) for k in ("from", "from_", "to") if k in kwargs}
    if kwargs:
        raise TypeError(f"random_() got an unexpected keyword argument '{next(iter(kwargs))}'")
    places = ("from", "to") if len(args) == 2 or "to" in given else ("to",)
    if len(args) > len(places) or args and (args[0] is None or set(places[:len(args)]) & set(given)) or (
            given and not args and "to" not in given):
        raise TypeError("random_() received an invalid combination of arguments - got ("
                        + ", ".join([*map(arguments.name_of, args), *given]) + ")")
    given.update(zip(places, args))
    low, high = given.get("from"), given.get("to")
    low, high = (None if v is None else check_int(v, "random_", k, i, -arguments.MOST - 1)
                 for i, (k, v) in enumerate((("from", low), ("to", high)), 1))
    if low is None and high is None:
        return _fill(self, "random_", "RandomBackward2",
                     lambda t, c: rng.fill_random(engine_of(generator), memory(t), half(t)))
    return _fill(self, "random_", "RandomBackward1" if low is None else "RandomBackward0", lambda t, c: rng.fill_randint(
        engine_of(generator), memory(t), low or 0, high, half(t)))


def bernoulli_(self, p=0.5, *, generator=None):
    """Fill with ones of probability ``p`` (a number or a tensor) and zeros."""
    if not isinstance(p, Tensor):
        p = arguments.check_float(p, "bernoulli_", "p", 1)
        return _fill(self, "bernoulli_", "BernoulliBackward2", lambda t, c: rng.fill_bernoulli_scalar(
            engine_of(generator), memory(t), p, half(t)))
    chances = contiguous_copy(expanded.call(p.detach().to(device="cpu"), self._shape))

    def draw(t, contiguous):
        x = chances if contiguous else contiguous_copy(raw_view(chances, memory_order(self)))
        rng.fill_bernoulli_tensor(engine_of(generator), memory(t), memory(x), half(t), half(x))
    return _fill(self, "bernoulli_", "BernoulliBackward1", draw)


# PyTorch's ``from`` is a keyword of Python, and can be passed by ``**``.
for _f, _shown in ((bernoulli_, None), (random_, "self, from_=None, to=None, *, generator=None")):
    add_method(_f, _shown, p="any")
for _f, _shown, _numbers, _test in (
        (uniform_, "self, from_=0.0, to=1.0, *, generator=None", ("from_", "to"), "-BOUND_ < from_ <= to < BOUND_"),
        (normal_, None, ("mean", "std"), "std >= 0.0")):
    REGISTRY.attach(__name__, Tensor, {_f.__name__: usual(
        Function(_f, registered=False, shown=_shown, kinds=dict.fromkeys(_numbers, "float")),
        [*[f"{n}.__class__ is float_" for n in _numbers], _test, "self._strides is None", "self._kind in WIDE_",
         "unrecorded_(self)"],
        [f"fill_{_f.__name__}(engine_of_(), self._ptr, self._n, {', '.join(_numbers)}, WIDE_[self._kind])",
         "bump_version_(self)", "return self"], True).callable})
