"""Saved tensors: what a node keeps of its inputs and outputs, the in-place check, and the user's pack hooks.

A node saves a flat tuple (object, version, object, version, ...). An input is saved as the Tensor itself; the node's
own output as the tuple (buf, ptr, n, shape, kind, ver, strides, index), because the Tensor would make a cycle.
"""

from __future__ import annotations

import functools
from sys import _getframe

from ..base import modes
from ..base.dtypes import scalar_name
from ..base.user_code import line_at, user_frame
from ..kernel.tape import TAPE, active
from .node import AliasBackward0, Node, Output, extra, function_of, new_node, short_name
from .values import Values
from .view_history import edge, part_of

# Versions count in-place changes; every exchange of a tensor's memory for another form (``x.data = other``) adds this.
EXCHANGE = 1 << 40
raw = None  # ``tensor.raw``, which needs this module first


class Packed:
    """A saved tensor that went through the user's pack hook, and the form that kernels expect of it."""

    __slots__ = ("value", "unpack", "shape", "kind", "edge", "is_output", "index")

    def __init__(self, value, unpack, shape, kind, edge, is_output, index=0):
        self.value, self.unpack, self.shape, self.kind = value, unpack, shape, kind
        self.edge, self.is_output, self.index = edge, is_output, index


def exchanged(t):
    """Note that ``t`` is about to get memory of another form: what was saved of it is compared when backward wants it."""
    version = t._ver[0]
    extra(t).setdefault("forms", {})[version // EXCHANGE] = t._shape, t._kind
    t._ver = [version + EXCHANGE]
    if t._view is not None and t._view.version == version:
        t._view.version = t._ver[0]


def _after_exchange(node, t, version, which):
    """A saved input whose memory was exchanged since; the in-place error where a change is what happened."""
    now = t._ver[0]
    if now // EXCHANGE == version // EXCHANGE or now % EXCHANGE != version % EXCHANGE:
        modified(node, t._shape, t._kind, t._ver, version, which, False, t)
    return fitting(node, t, *t.__dict__["_numbagrad"]["forms"][version // EXCHANGE], which)


def fitting(node, t, shape, kind, which):
    """``t`` as the saved tensor of this shape and kind that a backward relies on; RuntimeError where it cannot be that."""
    if not node.trusts_saved:
        return t
    if t._shape == shape and t._kind is kind:
        return t.contiguous()  # native backwards of row-major inputs do not look at strides
    name = f"{type(node).__name__}: the tensor saved" + (f" as '{which}'" if which else "")
    if t._shape != shape:
        at = max((i for i, (a, b) in enumerate(zip(shape, t._shape)) if a != b), default=0)
        where = (f"The size of tensor a ({shape[at]}) must match the size of tensor b ({t._shape[at]}) at non-singleton "
                 f"dimension {at}: " if len(shape) == len(t._shape) else "")
        raise RuntimeError(f"{where}{name} had the sizes {list(shape)}, but backward finds {list(t._shape)}: the size of the "
                           "tensors must match")
    if t._kind.device is not kind.device:
        raise RuntimeError(f"Expected all tensors to be on the same device, but {name} was on {kind.device} and is now on "
                           f"{t._kind.device}")
    if t._kind.dtype.is_complex and not kind.dtype.is_complex:
        raise RuntimeError(f"{name} had the dtype {kind.dtype}, but backward finds {t._kind.dtype}")
    return t.to(kind.dtype).contiguous()


def _pack(t):
    """The value of the innermost pack hook for ``t``, its unpack hook, and the form of ``t``."""
    pack, unpack = modes.current().hooks[-1]
    plain = t.detach()
    version = t._ver[0]
    with modes.no_grad():
        value = pack(plain)
    if t._ver[0] != version:
        raise RuntimeError("A saved tensor pack hook is modifying its input in place. Tensors provided as input to "
                           "pack hook can not be modified by in-place operations as this can lead to unexpected "
                           "side-effects. Please open an issue if you need to perform in-place operations on the input "
                           "to a pack hook.")
    return value, unpack, t._shape, t._kind


def save_input(t):
    """The saved form of an input (one object; its version is saved beside it)."""
    if modes.STATE and modes.current().hooks:
        return Packed(*_pack(t), edge(t) if t._rg else None, False)
    return t


def save_output(t, index=0):
    """The saved form of a node's own output."""
    if modes.STATE and modes.current().hooks:
        return Packed(*_pack(t), None, True, index)
    return (t._buf, t._ptr, t._n, t._shape, t._kind, t._ver, t._strides, index)


def _own_edge(node, index):
    """The edge of a node's own output; that of an in-place op on a view is the view, taken out of its base."""
    more = node.__dict__
    if "_slices" in more:
        return part_of(more["_slices"]())
    node = more.get("_whole", node)
    return node if node.outputs == 1 else Output(node, index)


def unpack(node, obj, version, which=""):
    """The saved tensor behind one entry, with its history, checked against in-place changes."""
    cls = obj.__class__
    if cls is tuple:
        if obj[5][0] != version:
            modified(node, obj[3], obj[4], obj[5], version, which or "result", True)
        out = raw(obj[0], obj[1], obj[2], obj[3], obj[6], obj[4], obj[5])
        if obj[4].dtype.category >= 2:  # (indices have no history)
            out._node, out._rg = _own_edge(node, obj[7]), True
        return out
    if cls is Packed:
        out = _unpacked(node, obj, which)
        e = obj.edge if not obj.is_output else _own_edge(node, obj.index) if out._kind.dtype.category >= 2 else None
        return out if e is None else with_edge(out, e)
    if obj._ver[0] != version:
        return _after_exchange(node, obj, version, which)
    return obj


def unpack_plain(node, obj, version, which=""):
    """The saved tensor behind one entry outside the graph: what a backward that is not recorded works with."""
    cls = obj.__class__
    if cls is tuple:
        if obj[5][0] != version:
            modified(node, obj[3], obj[4], obj[5], version, which or "result", True)
        return raw(obj[0], obj[1], obj[2], obj[3], obj[6], obj[4], obj[5])
    if cls is Packed:
        return _unpacked(node, obj, which)
    if obj._ver[0] != version:
        obj = _after_exchange(node, obj, version, which)
    if obj._rg:
        return raw(obj._buf, obj._ptr, obj._n, obj._shape, obj._strides, obj._kind, obj._ver)
    return obj


def _unpacked(node, packed, which):
    out = packed.unpack(packed.value)
    if not isinstance(out, Values):
        raise TypeError("Output of saved tensor unpack_hook expected to be a Tensor but got result of type "
                        f"{type(out).__name__}")
    return fitting(node, out.detach(), packed.shape, packed.kind, which)


def with_edge(t, to):
    """Make ``to`` the history of ``t``, a tensor outside the graph."""
    if to.is_leaf_edge:
        # A leaf's own edge is the leaf itself, so another tensor with its history needs a node between them.
        to = new_node(AliasBackward0, (to,))
    t._node, t._rg = to, True
    return t


def bump_version(t):
    """Note an in-place change of ``t``'s memory, with the user's place for the error message."""
    ver = t._ver
    if ver.__class__ is not list:  # of inference tensors
        return
    ver[0] += 1
    try:
        f = _getframe(2)  # the user's, of one who calls a method
        code = f.f_code
        place = (code, f.f_lasti) if code.co_filename in _users else _place_of(f)
    except ValueError:  # a method was called from C
        place = None
    try:
        ver[1] = place
    except IndexError:
        ver.append(place)
    if TAPE:
        recorder = active()
        if recorder is not None:
            recorder.written(t)


_users: set = set()  # files of code that is not of this package


def _place_of(f):
    """(code, instruction) of the user's call, from frame ``f`` outwards; None where there is no such frame."""
    found = user_frame(f)
    if found is None:
        return None
    _users.add(found.f_code.co_filename)
    return found.f_code, found.f_lasti


def freed():
    raise RuntimeError("Trying to backward through the graph a second time (or directly access saved tensors after "
                       "they have already been freed). Saved intermediate values of the graph are freed when you call "
                       ".backward() or autograd.grad(). Specify retain_graph=True if you need to backward through the "
                       "graph a second time or if you need to access saved tensors after calling backward.")


def modified(node, shape, kind, ver, version, which, is_output, tensor=None):
    """Raise PyTorch's in-place error, naming also the saved tensor and the line that modified it."""
    producer = ""
    if is_output:
        producer = f", which is output 0 of {short_name(node)},"
    elif tensor is not None and tensor.grad_fn is not None:
        fn, index = function_of(tensor._node)
        producer = f", which is output {index} of {short_name(fn)},"
    place = ver[1] if len(ver) > 1 else None
    if isinstance(place, tuple):
        place = line_at(*place)
    where = "" if place is None else f" and modified at {place}"
    name = "self" if which == "input" else which
    what = f" saved by {type(node).__name__}" + (f" as '{name}'" if name else "")
    prefix = "torch.cuda." if kind.device.type == "cuda" else "torch."
    raise RuntimeError(
        "one of the variables needed for gradient computation has been modified by an inplace operation: "
        f"[{prefix}{scalar_name(kind.dtype)}Tensor {list(shape)}]{producer} is at version {ver[0] % EXCHANGE}; expected "
        f"version {version % EXCHANGE} instead. The tensor was{what}{where}. Hint: enable anomaly detection to find the "
        "operation that failed to compute its gradient, with torch.autograd.set_detect_anomaly(True, check_nan=False).")


Node._unpack, Node._freed = staticmethod(unpack), staticmethod(freed)


# --- hooks ------------------------------------------------------------------------------------------------------------

class saved_tensors_hooks:
    """Context manager: what backward needs is kept as ``pack_hook(tensor)`` and comes back by ``unpack_hook``."""

    def __init__(self, pack_hook, unpack_hook):
        self.pack_hook, self.unpack_hook = pack_hook, unpack_hook

    def __enter__(self):
        message = modes.current().refuses
        if message is not None:
            raise RuntimeError(message)
        modes.change(hooks=(*modes.current().hooks, (self.pack_hook, self.unpack_hook)))

    def __exit__(self, *exc):
        modes.change(hooks=modes.current().hooks[:-1])


class save_on_cpu(saved_tensors_hooks):
    """Keep saved tensors in CPU memory and bring them back to their device for backward.

    ``pin_memory`` is accepted; pages are pinned by the device transfer itself where that pays."""

    def __init__(self, pin_memory=False, device_type="cuda"):
        def pack(t):
            return t.device, t.cpu()

        def unpack(packed):
            device, t = packed
            return t.to(device)
        super().__init__(pack, unpack)


class disable_saved_tensors_hooks:
    """Context manager and decorator: entering ``saved_tensors_hooks`` inside raises RuntimeError(``error_message``)."""

    def __init__(self, error_message):
        self.error_message = error_message

    def __enter__(self):
        mode = modes.current()
        if mode.hooks:
            raise RuntimeError(self.error_message)
        self.previous = mode.refuses
        modes.change(refuses=self.error_message)

    def __exit__(self, *exc):
        modes.change(refuses=self.previous)

    def __call__(self, fn):
        @functools.wraps(fn)
        def wrapper(*args, **kwargs):
            with disable_saved_tensors_hooks(self.error_message):
                return fn(*args, **kwargs)
        return wrapper


class allow_mutation_on_saved_tensors:
    """Context manager: saved tensors may be modified in place; backward works on copies made before the change.

    Every saved tensor is copied when it is saved, so the block needs more memory than PyTorch's copy on write."""

    def __enter__(self):
        self.hooks = saved_tensors_hooks(lambda t: t.clone(), lambda t: t)
        self.hooks.__enter__()
        return self

    def __exit__(self, *exc):
        self.hooks.__exit__(*exc)

    def clear(self):
        """Nothing is kept beside the graph."""
