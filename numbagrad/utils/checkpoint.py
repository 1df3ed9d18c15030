"""Checkpointing: forward keeps only its inputs, and backward computes the rest again.

Without reentry, saved tensors become numbered holders, and the first one that backward asks for makes the function
run again up to the last tensor it needs. With reentry, a Function runs the whole graph of the recomputation inside
backward.
"""

from __future__ import annotations

import contextlib
import functools
import warnings
import weakref

from ..autograd import backward, engine
from ..autograd.function import Function
from ..base import modes
from ..base.user_code import user_line
from ..core import graph
from ..core.tensor import Tensor
from ..dispatch import autocast
from ..kernel.tape import TAPE, Refusal, active

__all__ = ["checkpoint", "checkpoint_sequential", "CheckpointError", "CheckpointFunction", "check_backward_validity",
           "detach_variable", "noop_context_fn", "set_checkpoint_early_stop", "set_checkpoint_debug_enabled",
           "DefaultDeviceType", "GraphExecGroup", "get_device_states", "set_device_states"]


class CheckpointError(RuntimeError):
    """The recomputation saved other tensors than the forward."""


class _Stop(Exception):
    """Everything backward needs has been computed again."""


_early_stop = [None]


class set_checkpoint_early_stop:
    """Context manager: whether recomputation may stop once the last saved tensor is there."""

    def __init__(self, enable):
        self.enable = enable

    def __enter__(self):
        self.previous = _early_stop[0]
        _early_stop[0] = self.enable

    def __exit__(self, *exc):
        _early_stop[0] = self.previous


_debug = [None]


@contextlib.contextmanager
def set_checkpoint_debug_enabled(enabled):
    """Context manager: whether checkpoints trace what they do, whatever their ``debug`` says (None: as that says)."""
    previous, _debug[0] = _debug[0], enabled
    try:
        yield
    finally:
        _debug[0] = previous


class DefaultDeviceType:
    """The kind of devices whose random state is kept if no argument is on one: that of the machine, or the one set."""

    _default_device_type = None

    @staticmethod
    def set_device_type(device="cuda"):
        """Set it."""
        DefaultDeviceType._default_device_type = device

    @staticmethod
    def get_device_type():
        """The kind of devices."""
        if not DefaultDeviceType._default_device_type:
            from .. import cuda
            DefaultDeviceType._default_device_type = "cuda" if cuda.is_available() else "cpu"
        return DefaultDeviceType._default_device_type


class GraphExecGroup:
    """Backwards that are parts of one: a checkpoint computes anew in each of them in any case."""

    _current = None

    def __enter__(self):
        if GraphExecGroup._current is not None:
            raise RuntimeError("GraphExecGroup contexts cannot be nested. Already inside group "
                               f"{GraphExecGroup._current}")
        GraphExecGroup._current = self
        return self

    def __exit__(self, *args):
        GraphExecGroup._current = None


def _devices(args):
    """Numbers of the devices that tensors in (nested) arguments are on, in order."""
    for a in args:
        if isinstance(a, Tensor):
            if a.device.type not in ("cpu", "meta"):
                yield a.get_device()
        elif isinstance(a, dict):
            yield from _devices(a.values())
        elif isinstance(a, (list, tuple)):
            yield from _devices(a)


def get_device_states(*args):
    """(numbers of the devices that tensors are on, the states of their generators)."""
    devices = list(_devices(args))
    if not devices:
        return [], []
    from .. import cuda
    return devices, [cuda.get_rng_state(i) for i in devices]


def set_device_states(devices, states, *, device_type=None):
    """Give the generators of devices states that ``get_device_states`` gave."""
    if (device_type or DefaultDeviceType.get_device_type()) == "meta" or not len(devices):
        return
    from .. import cuda
    for i, state in zip(devices, states):
        cuda.set_rng_state(state, i)


def noop_context_fn():
    """Default ``context_fn``: no contexts around forward and recomputation."""
    return contextlib.nullcontext(), contextlib.nullcontext()


def check_backward_validity(inputs):
    """Warn when no input of a checkpointed function requires grad."""
    if not any(t.requires_grad for t in inputs if isinstance(t, Tensor)):
        warnings.warn("None of the inputs have requires_grad=True. Gradients will be None", UserWarning, stacklevel=4)


def detach_variable(inputs):
    """New leaves on the memory of the given tensors, requiring grad as they do."""
    if not isinstance(inputs, tuple):
        raise RuntimeError("Only tuple of tensors is supported. Got Unsupported input type: ", type(inputs).__name__)
    out = []
    for t in inputs:
        if isinstance(t, Tensor):
            x = t.detach()
            if t.requires_grad:
                x.requires_grad_()
            out.append(x)
        else:
            out.append(t)
    return tuple(out)


class _Ambient:
    """The random and the autocast state at forward, to be had again at recomputation."""

    def __init__(self, preserve, args):
        self.preserve, self.casts = preserve, autocast.current()
        self.devices = sorted({t.device.index or 0 for t in args if isinstance(t, Tensor) and t.is_cuda})
        if preserve:
            from ..random import get_rng_state
            self.state = get_rng_state()
            if self.devices:
                from .. import cuda
                self.device_states = [cuda.get_rng_state(i) for i in self.devices]

    @contextlib.contextmanager
    def again(self):
        """Inside, random numbers and casts are those of the forward; afterwards generators go on as if nothing happened."""
        from ..random import fork_rng, set_rng_state
        with fork_rng(devices=self.devices, enabled=self.preserve), autocast.again(self.casts):
            if self.preserve:
                set_rng_state(self.state)
                if self.devices:
                    from .. import cuda
                    for i, state in zip(self.devices, self.device_states):
                        cuda.set_rng_state(state, i)
            yield


class CheckpointFunction(Function):
    """Reentrant checkpointing: backward runs the function again with recording and differentiates that graph."""

    @staticmethod
    def forward(ctx, run_function, preserve_rng_state, *args):
        check_backward_validity(args)
        ctx.run_function, ctx.ambient = run_function, _Ambient(preserve_rng_state, args)
        ctx.inputs = [None if isinstance(a, Tensor) else a for a in args]
        ctx.places = [i for i, a in enumerate(args) if isinstance(a, Tensor)]
        ctx.save_for_backward(*[args[i] for i in ctx.places])
        return run_function(*args)

    @staticmethod
    def backward(ctx, *args):
        if engine.is_limited():
            raise RuntimeError("When use_reentrant=True, torch.utils.checkpoint is incompatible with .grad() or "
                               "passing an `inputs` parameter to .backward(). To resolve this error, you can either "
                               "set use_reentrant=False, or call .backward() without passing the `inputs` argument.")
        inputs = list(ctx.inputs)
        for i, t in zip(ctx.places, ctx.saved_tensors):
            inputs[i] = t
        with ctx.ambient.again():
            inputs = detach_variable(tuple(inputs))
            with modes.enable_grad():
                outputs = ctx.run_function(*inputs)
        if isinstance(outputs, Tensor):
            outputs = (outputs,)
        pairs = [(o, g) for o, g in zip(outputs, args) if isinstance(o, Tensor) and o.requires_grad]
        if not pairs:
            raise RuntimeError("none of output has requires_grad=True, this checkpoint() is not necessary")
        backward([o for o, _ in pairs], [g for _, g in pairs])
        return (None, None, *[t.grad if isinstance(t, Tensor) and t.is_leaf else None for t in inputs])


class _Holder:
    """Stands for a saved tensor that will be computed again."""

    __slots__ = ("number", "__weakref__")

    def __init__(self, number):
        self.number = number


def _metadata(t):
    return {"shape": t.shape, "dtype": t.dtype, "device": t.device}


class _Frame:
    """One checkpointed call: how to run it again, and what it saved."""

    def __init__(self, function, kwargs, ambient, recompute_context, early_stop, check, args):
        self.function, self.kwargs, self.ambient = function, kwargs, ambient
        self.context, self.early_stop, self.check = recompute_context, early_stop, check
        self.holders, self.metadata, self.found = [], [], {}
        # Tensor inputs are saved as an op would save them, so that an outer checkpoint can recompute them in turn.
        self.args = [(graph.save_input(a), a._ver[0]) if isinstance(a, Tensor) else a for a in args]
        self.tensors = [isinstance(a, Tensor) for a in args]

    def pack(self, t):
        holder = _Holder(len(self.holders))
        self.holders.append(weakref.ref(holder))
        self.metadata.append(_metadata(t))
        return holder

    def unpack(self, holder):
        key = engine.current_run()
        found = None if key is None else self.found.get(key)
        if found is None:
            found = self.recompute()
            self.found.clear()
            if key is not None:
                self.found[key] = found
        if holder.number not in found:
            raise CheckpointError("torch.utils.checkpoint: Unpack is being triggered for a tensor that was already "
                                  "unpacked once. If you are calling ctx.saved_tensors in backward, make sure to do so "
                                  "only once. Otherwise please open an issue with details on your use case.")
        return found.pop(holder.number)

    def inputs(self):
        """The arguments of the call; tensors come from their saved form."""
        node = _InputsOf()
        return [graph.unpack(node, *a, which="input") if is_tensor else a
                for a, is_tensor in zip(self.args, self.tensors)]

    def recompute(self):
        """Run the function again; {number: saved tensor}."""
        found, count = {}, [0]

        def pack(t):
            number = count[0]
            count[0] += 1
            if number < len(self.holders) and self.holders[number]() is not None:
                found[number] = t.detach()
            if self.early_stop and count[0] == len(self.holders):
                raise _Stop
            return t.detach()

        def unpack(t):
            return t
        try:
            with self.ambient.again(), self.context, graph.saved_tensors_hooks(pack, unpack), modes.enable_grad():
                self.function(*self.inputs(), **self.kwargs)
        except _Stop:
            pass
        if count[0] != len(self.holders):
            raise CheckpointError("torch.utils.checkpoint: A different number of tensors was saved during the original "
                                  "forward and recomputation.\nNumber of tensors saved during forward: "
                                  f"{len(self.holders)}\nNumber of tensors saved during recomputation: {count[0]}.")
        if self.check:
            different = [(i, self.metadata[i], _metadata(t)) for i, t in found.items()
                         if _metadata(t) != self.metadata[i]]
            if different:
                lines = "".join(f"tensor at position {i}:\nsaved metadata: {a}\nrecomputed metadata: {b}\n"
                                for i, a, b in different)
                raise CheckpointError("torch.utils.checkpoint: Recomputed values for the following tensors have "
                                      f"different metadata than during the forward pass.\n{lines}.")
        return found


class _InputsOf(graph.Node):
    """Names the checkpoint in errors about inputs that were modified in place."""

    __slots__ = ()

    def name(self):
        return "Checkpoint"


def checkpoint(function, *args, use_reentrant=None, context_fn=noop_context_fn, determinism_check="default",
               debug=False, early_stop=True, **kwargs):
    """``function(*args, **kwargs)`` without keeping what its backward needs: that is computed again in backward.

    ``use_reentrant=False`` is the better form (any inputs, ``autograd.grad``, higher order); ``preserve_rng_state``
    (default True) gives dropout the same mask again."""
    if use_reentrant is None:
        warnings.warn("torch.utils.checkpoint: the use_reentrant parameter should be passed explicitly. Starting in "
                      "PyTorch 2.9, calling checkpoint without use_reentrant will raise an exception. "
                      "use_reentrant=False is recommended, but if you need to preserve the current default behavior, "
                      "you can pass use_reentrant=True. Refer to docs for more details on the differences between the "
                      "two variants.", UserWarning, stacklevel=2)
        use_reentrant = True
    if debug if _debug[0] is None else _debug[0]:
        raise NotImplementedError("checkpoint: debug=True (a trace of all operations) is not supported")
    preserve = kwargs.pop("preserve_rng_state", True)
    if use_reentrant:
        if kwargs:
            raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
        if context_fn is not noop_context_fn:
            raise ValueError("Passing `context_fn` or `debug` is only supported when use_reentrant=False.")
        if TAPE and active() is not None:
            check_backward_validity(args)
            differentiable = any([isinstance(t, Tensor) and t.requires_grad for t in args])
            with contextlib.nullcontext() if differentiable else modes.no_grad():
                return _captured(function, args, {}, preserve)
        return CheckpointFunction.apply(function, preserve, *args)
    if determinism_check not in ("default", "none"):
        raise ValueError(f"determinism_check should be one of ['default', 'none'] but got {determinism_check}")
    forward_context, recompute_context = context_fn()
    if not modes.is_grad_enabled():
        with forward_context:
            return function(*args, **kwargs)
    if TAPE and active() is not None:
        with forward_context:
            return _captured(function, args, kwargs, preserve)
    stop = early_stop if _early_stop[0] is None else _early_stop[0]
    check = determinism_check == "default"
    frame = _Frame(function, kwargs, _Ambient(preserve, args), recompute_context, stop, check, args)
    with graph.saved_tensors_hooks(frame.pack, frame.unpack), forward_context:
        return function(*args, **kwargs)


def _captured(function, args, kwargs, preserve):
    """In a compiled step nothing is computed again: its memory is planned as a whole, and the values are the same."""
    recorder = active()
    before = recorder.drawn
    with recorder.checkpointed(user_line()):
        out = function(*args, **kwargs)
    if not preserve and recorder.drawn != before:
        raise Refusal(f"ng.compile: checkpoint(preserve_rng_state=False) at {user_line()} draws other random numbers "
                      "when it computes again, which a compiled step does not do")
    return out


def checkpoint_sequential(functions, segments, input, use_reentrant=None, **kwargs):
    """Run a sequence of functions in ``segments`` checkpointed parts; the last part is run plainly."""
    if use_reentrant is None:
        warnings.warn("torch.utils.checkpoint.checkpoint_sequential: the use_reentrant parameter should be passed "
                      "explicitly. In version 2.9 we will raise an exception if use_reentrant is not passed. "
                      "use_reentrant=False is recommended, but if you need to preserve the current default behavior, "
                      "you can pass use_reentrant=True. Refer to docs for more details on the differences between the "
                      "two variants.", UserWarning, stacklevel=2)
        use_reentrant = True
    preserve = kwargs.pop("preserve_rng_state", True)
    if kwargs:
        raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
    from ..nn import Sequential
    if isinstance(functions, Sequential):
        functions = list(functions.children())

    def part(start, end, input):
        return functools.reduce(lambda x, f: f(x), functions[start:end + 1], input)
    size, end = len(functions) // segments, -1
    for start in range(0, size * (segments - 1), size):
        end = start + size - 1
        input = checkpoint(functools.partial(part, start, end), input, use_reentrant=use_reentrant,
                           preserve_rng_state=preserve)
    return part(end + 1, len(functions) - 1, input)
