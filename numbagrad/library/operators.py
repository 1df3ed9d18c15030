"""Operators that users define: kernels for devices, gradients, batches and casts around them."""

from __future__ import annotations

import inspect
import warnings

from ..autograd.function import Function
from ..base import modes
from ..base.overriding import OFF, STATE, overloaded
from ..base.user_code import user_line
from ..core.graph import bump_version
from ..core.storage import storage_address
from ..core.tensor import Tensor
from ..dispatch import asked
from ..kernel.tape import TAPE, Unlowered, active, refuse

OPERATORS: dict = {}  # {namespace: {name: {overload: operator}}}
KEYS = {"CompositeExplicitAutograd": None, "CompositeImplicitAutograd": None, "CPU": "cpu", "CUDA": "cuda", "Meta": "meta"}
ALIASED = ("The output of this custom operator (1) must not also be an input to this custom operator and (2) may not alias any "
           "inputs to this custom operator or other returns. The most common way to trigger this error is if we have y = "
           "custom_op(x) and y and x are the same Tensor. Please instead return a clone of the offending output tensor(s) "
           "(e.g. return x.clone()) or refactor the custom operator to not return y.")


def tensors_of(values):
    """The tensors among values, those of lists and tuples too."""
    return [t for v in values for t in (v if isinstance(v, (list, tuple)) else (v,)) if isinstance(t, Tensor)]


class Operator:
    """One overload of an operator, and what has been registered for it."""

    def __init__(self, namespace, name, overload, schema, tags=()):
        self.namespace, self._opname, self._overloadname = namespace, name, overload
        self._schema, self.tags = schema, list(tags)
        self.__name__, self.__qualname__, self.__module__ = f"{name}.{overload}", str(self), f"torch._ops.{namespace}"
        self.fake_place = None
        self.kernels, self.fake, self.backward, self.setup, self.batch, self.casts = {}, None, None, None, None, {}
        self.view = any([a.alias and not a.is_write for a in schema.arguments])
        self.owner, self.check, self.function = self, None, None
        self.implicit = None  # a kernel made of ops that have gradients

    def __repr__(self):
        return f"<OpOverload(op='{self.namespace}.{self._opname}', overload='{self._overloadname}')>"

    def __str__(self):
        return f"{self.namespace}.{self._opname}.{self._overloadname}"

    def name(self):
        """The full name with colons."""
        return self._schema.name

    def __call__(self, /, *args, **kwargs):
        if STATE.off != OFF:
            found = [] if STATE.off else overloaded((*args, *kwargs.values()))
            if found or STATE.modes:
                return self._asked(found, args, kwargs)
        return self.run(*self._schema.bind(args, kwargs))

    def _asked(self, found, args, kwargs):
        result = asked.ask(self, found, args, kwargs, tuple([type(v) for v in found]))
        if result is NotImplemented:
            raise asked.refused(f"torch.ops.{self}", found)
        return result

    # --- layers around the kernel

    def run(self, args, kwargs):
        """The call with arguments of the right types."""
        if modes.STATE:
            mode = modes.current()
            if mode.casting is not None and self.casts:
                found = next((d for d, _ in mode.casting if d in self.casts), None)
                if found is not None:
                    return self._cast(mode, found, args, kwargs)
            if mode.transform is not None:
                from ..func.levels import highest
                level = highest([*args, *kwargs.values()])
                if level is not None:
                    return self._transformed(level.living(), args, kwargs)
        if self.implicit is not None and self.backward is None:
            args, kwargs = self._schema.shortened(args, kwargs)
            return self.implicit(*args, **kwargs)
        if not modes.records():
            return self.compute(args, kwargs)
        wanted = not self._schema.is_mutable and any([t.requires_grad for t in tensors_of(args)])
        if wanted:
            return self._recorded(args, kwargs)
        with modes.no_grad():
            return self.compute(args, kwargs)

    def _cast(self, mode, device, args, kwargs):
        def cast(v):
            if isinstance(v, (list, tuple)):
                return type(v)(map(cast, v))
            fits = isinstance(v, Tensor) and v.is_floating_point() and v.device.type == device and v.dtype.itemsize < 8
            return v.to(self.casts[device]) if fits else v
        if kwargs:
            raise AssertionError(f"Custom ops do not support kwargs yet, got {list(kwargs)}")
        before, mode.casting = mode.casting, None
        try:
            return self.run(tuple(map(cast, args)), kwargs)
        finally:
            mode.casting = before

    def _transformed(self, level, args, kwargs):
        from ..func.batched import BatchLevel
        from ..func.custom_function import VmapInfo, wrapped
        if not isinstance(level, BatchLevel):
            raise NotImplementedError(f"Trying to use forward AD with {self._schema.name} that does not support it because it "
                                      "has not been implemented yet.")
        if self.batch is None:
            warnings.warn("There is a performance drop because we have not yet implemented the batching rule for "
                          f"{self._schema.name}. Please file us an issue on GitHub so that we can prioritize its "
                          "implementation.", UserWarning, stacklevel=4)
            return level.each(lambda *a: self.run(a, kwargs), args)

        def each(fn, v):
            return type(v)([each(fn, x) for x in v]) if isinstance(v, (list, tuple)) else fn(v)
        dims = tuple([each(lambda v: 0 if level.own(v) else None, a) for a in args])
        args, kwargs = self._schema.shortened(args, kwargs)
        found = self.batch(VmapInfo(level.size, level.randomness), dims[:len(args)], *each(level.value, args),
                           **{n: each(level.value, v) for n, v in kwargs.items()})
        if not isinstance(found, tuple) or len(found) != 2:
            raise RuntimeError("Expected the vmap staticmethod to have two returns, an output and out_dims with pytree "
                               f"structure compatible with the output. Got {found!r:.100} instead")
        return wrapped(level, *found)

    def _recorded(self, args, kwargs):
        if self.function is None:
            self.function = function_of(self)
        counts = [len(a) if isinstance(a, list) and a and all([isinstance(t, Tensor) for t in a]) else None for a in args]
        call = Call(self, counts, kwargs)
        flat = self.function.apply(call, *spread(args, counts))
        flat = list(flat) if isinstance(flat, tuple) else [flat]
        found = gathered(flat, call.results)
        return found[0] if call.single else tuple(found)

    # --- the kernel

    def compute(self, args, kwargs):
        """What a kernel makes of the arguments, outside of the graph."""
        given = tensors_of((*args, *kwargs.values()))
        if TAPE and active() is not None:
            return self._captured(args, kwargs, given)
        place = next((a for a, s in zip(args, self._schema.arguments) if s.type == "Device"), None)
        device = given[0].device.type if given else place.type if place is not None else "cpu"
        if device == "meta" and "meta" not in self.kernels and not (place is not None and not given):
            return self.described(args, kwargs)
        kernel = self.kernels.get(device) or self.kernels.get(None)
        if kernel is None:
            raise self._no_kernel(device, given)
        short, words = self._schema.shortened(args, kwargs)
        result = self._cast_result(kernel(*short, **words), kernel, given)
        if self.check is not None:
            self.check(result, args, kwargs)
        written = [t for a, s in zip(args, self._schema.arguments) if s.is_write for t in tensors_of([a])]
        written += [t for s in self._schema.arguments if s.is_write and s.name in kwargs for t in tensors_of([kwargs[s.name]])]
        for t in written:
            bump_version(t)
        return result

    def set_fake(self, fn, allow_override=True):
        """Take a function that says what is returned, without values; where it was given is kept."""
        if self.fake is not None and not allow_override:
            raise RuntimeError(f"register_fake(...): the operator {self.namespace}::{self._opname} already has a fake impl "
                               f"registered at {self.fake_place}.")
        self.fake, self.fake_place = fn, user_line()

    def described(self, args, kwargs):
        """Results without values, by what ``register_fake`` was given."""
        if self.fake is None:
            if self._schema.is_mutable and not self._schema.returns:
                return None
            raise RuntimeError(f"There was no fake impl registered for {self.owner!r}. This is necessary for "
                               "torch.compile/export/fx tracing to work. Please use "
                               f"`{self._opname}.register_fake` to add an fake impl.")
        args, kwargs = self._schema.shortened(args, kwargs)
        return self.fake(*args, **kwargs)

    def _no_kernel(self, device, given):
        if not given and any([a.type == "Device" for a in self._schema.arguments]):
            return RuntimeError(f"{self._opname} does not have a kernel registered for {device}. Please use register_kernel to "
                                "do so.")
        known = [k for k, d in KEYS.items() if d is not None and d in self.kernels]
        return NotImplementedError(f"Could not run '{self._schema.name}' with arguments from the '{device.upper()}' backend. "
                                   "This could be because the operator doesn't exist for this backend, or was omitted during "
                                   "the selective/custom build process (if using custom build). "
                                   f"'{self._schema.name}' is only available for these backends: [{', '.join(known)}].")

    def _cast_result(self, result, kernel, given):
        kinds = [r.type for r in self._schema.returns]
        if not kinds or kinds == ["()"]:
            return None
        results = (result,) if len(kinds) == 1 else result
        if len(kinds) > 1 and (not isinstance(result, (tuple, list)) or len(result) != len(kinds)):
            raise RuntimeError(f"{self._schema.name}() returned {result!r:.100} where the schema says {len(kinds)} results")
        if len(kinds) == 1 and isinstance(result, tuple) and len(result) == 1:
            results = result
        for value, kind in zip(results, kinds):
            if kind == "Tensor" and not isinstance(value, Tensor):
                raise RuntimeError(f"Unable to cast {value!r} to Tensor")
        if not (self._schema.is_mutable and any([r.is_write for r in self._schema.returns]) or self.view):
            self._check_apart(results, kernel, given)
        return tuple(results) if len(kinds) > 1 else result

    def _check_apart(self, results, kernel, given):
        places = {(t.device, storage_address(t)) for t in given if t.numel()}
        for t in tensors_of(results):
            place = t.device, storage_address(t)
            if any([t is g for g in given]) or t.numel() and not t.is_meta and place in places:
                fn = getattr(kernel, "__wrapped__", kernel)
                raise RuntimeError(f"{self._opname} (with implementation in {inspect.getmodule(fn)}): {ALIASED}")
            places.add(place)

    def _captured(self, args, kwargs, given):
        """In a capture of ``ng.compile``: the kernel is called between two native parts, with results as ``fake`` says."""
        if self.fake is None or self._schema.is_mutable:
            refuse(f"calls {self._schema.name}, an operator " + (
                "that writes to its arguments" if self._schema.is_mutable else
                f"of which nothing says what it returns before it has run ({self._opname}.register_fake does)"))
        outs = self.described(args, kwargs)
        made = tensors_of([outs] if isinstance(outs, Tensor) else outs)

        def launch(out, *values):
            if TAPE and active() is not None:
                raise Unlowered(f"calls {self._schema.name}")
            found = self.compute(values, kwargs)
            for t, value in zip(out, tensors_of([found] if isinstance(found, Tensor) else found)):
                t.copy_(value)
        active().custom(Named(self._opname), made, given, (), launch, args)
        return outs


class Named:
    """What a capture asks of an op."""

    def __init__(self, name):
        self.name = name


# --- gradients --------------------------------------------------------------------------------------------------------

class Call:
    """What a recorded call of an operator keeps beside its tensors."""

    __slots__ = ("op", "counts", "kwargs", "results", "single")

    def __init__(self, op, counts, kwargs):
        self.op, self.counts, self.kwargs = op, counts, kwargs


def spread(values, counts):
    """Values with the lists that have a count spread out."""
    return [x for v, n in zip(values, counts) for x in (v if n is not None else (v,))]


def gathered(flat, counts):
    """The reverse of ``spread``."""
    flat = iter(flat)
    return [next(flat) if n is None else [next(flat) for _ in range(n)] for n in counts]


def forward(ctx, call, *flat):
    op = call.op
    args = tuple(gathered(flat, call.counts))
    result = op.compute(args, call.kwargs)
    if op.setup is not None:
        words = {"keyword_only_inputs": call.kwargs} if any([a.kwarg_only for a in op._schema.arguments]) else {}
        op.setup(ctx=ctx, inputs=args, output=result, **words)
    call.single = not isinstance(result, tuple)
    results = (result,) if call.single else result
    call.results = [len(r) if isinstance(r, list) else None for r in results]
    ctx._call = call
    flat = spread(results, call.results)
    return flat[0] if call.single and call.results == [None] else tuple(flat)


def backward(ctx, *grads):
    call = ctx._call
    op = call.op
    if op.backward is None:
        raise RuntimeError(f"Trying to backward through {op} but no autograd formula was registered. Please use "
                           "register_autograd to add one.")
    before = ctx.needs_input_grad
    ctx.needs_input_grad = tuple(gathered(before[1:], call.counts))
    try:
        found = op.backward(ctx, *gathered(grads, call.results))
    finally:
        ctx.needs_input_grad = before
    found = found if isinstance(found, tuple) else (found,)
    fits = len(found) == len(call.counts) and all([
        n is None and not isinstance(g, list) or isinstance(g, (list, tuple)) and len(g) == n or g is None
        for g, n in zip(found, call.counts)])
    if not fits and any([n is not None for n in call.counts]):
        raise RuntimeError("Expected the return from backward to be of the same structure as the inputs. Got: "
                           f"{[len(g) if isinstance(g, (list, tuple)) else None for g in found]} (return from backward), "
                           f"{call.counts} (inputs)")
    found = [[None] * n if g is None and n is not None else g for g, n in zip(found, call.counts)] if fits else found
    return (None, *(spread(found, call.counts) if fits else found))


def function_of(op):
    """The ``autograd.Function`` of an operator."""
    return type(f"GeneratedBackwardFor_{op.namespace}_{op._opname}_{op._overloadname}", (Function,),
                {"forward": staticmethod(forward), "backward": staticmethod(backward)})


# --- torch.ops --------------------------------------------------------------------------------------------------------

class Packet:
    """All overloads of one name: ``torch.ops.namespace.name``."""

    def __init__(self, namespace, name):
        self._namespace, self.__name__ = namespace, name
        self.__module__, self._qualified_op_name = f"torch.ops.{namespace}", f"{namespace}::{name}"

    def overloads(self):
        """Names of the overloads."""
        return list(OPERATORS[self._namespace][self.__name__])

    def __getattr__(self, name):
        found = OPERATORS.get(self._namespace, {}).get(self.__name__, {}).get(name)
        if found is None:
            raise AttributeError(f"The underlying op of '{self._namespace}.{self.__name__}' has no overload name '{name}'")
        return found

    def __repr__(self):
        return f"<OpOverloadPacket(op='{self._namespace}.{self.__name__}')>"

    def __str__(self):
        return f"{self._namespace}.{self.__name__}"

    def __call__(self, /, *args, **kwargs):
        found = list(OPERATORS[self._namespace][self.__name__].values())
        for op in found[:-1]:
            try:
                bound = op._schema.bind(args, kwargs)
            except RuntimeError:
                continue
            return op.run(*bound)
        return found[-1](*args, **kwargs)


class Namespace:
    """``torch.ops.namespace``."""

    def __init__(self, name):
        self._name = name

    def __getattr__(self, name):
        if name not in OPERATORS.get(self._name, ()):
            raise AttributeError(f"'_OpNamespace' '{self._name}' object has no attribute '{name}'")
        found = self.__dict__[name] = Packet(self._name, name)
        return found

    def __dir__(self):
        return sorted(OPERATORS.get(self._name, ()))

    def __repr__(self):
        return f"<module 'torch.ops.{self._name}' from 'torch.ops'>"


def enter(op, again=False):
    """Take in an operator; RuntimeError if there is one of its name."""
    overloads = OPERATORS.setdefault(op.namespace, {}).setdefault(op._opname, {})
    if op._overloadname in overloads and not again:
        raise RuntimeError(f"Tried to register an operator ({op._schema}) with the same name and overload name multiple times. "
                           "Each overload's schema should only be registered with a single call to def(). Duplicate "
                           "registration.")
    overloads[op._overloadname] = op
    return op


def look_up(qualname):
    """The operator of a full name; RuntimeError if there is none."""
    namespace, name, overload = parts(qualname)
    found = OPERATORS.get(namespace, {}).get(name, {}).get(overload)
    if found is None:
        raise RuntimeError(f"operator {qualname} does not exist")
    return found


def parts(qualname):
    """(namespace, name, overload) of a full name."""
    split = qualname.split("::")
    if len(split) != 2:
        raise ValueError(f"Expected `qualname` to be of the form \"namespace::name\", but got {qualname}. The qualname passed "
                         "to the torch.library APIs must consist of a namespace and a name, e.g. aten::sin")
    name, _, overload = split[1].partition(".")
    return split[0], name, overload or "default"
