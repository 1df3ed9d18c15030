"""Autocast: ops of PyTorch's tables take their tensors in another dtype while a thread asks for it.

Calls without autocast pay nothing: while some thread is inside, and only then, the functions of the listed ops have another
layer (``layers``). So whoever holds a function, composed ops included, gets the one that casts.
"""

from __future__ import annotations

import contextlib
import threading
import types
import weakref
from functools import partial
from threading import get_ident

from ..base import dtypes as dt
from ..base import modes
from ..core import storage
from ..core.registry import REGISTRY
from ..core.tensor import Tensor
from ..kernel.tape import TAPE
from . import layers

LOWER, FULL, WIDEST = "lower", "float32", "widest"
LAST = "last"  # tensors as they are, the result of its last product in the lower dtype
PLAIN = "plain"  # tensors as they are: PyTorch has other ops inside than ours
STATES = "states"  # the lower dtype; the results have that of the states, which go from step to step

_BOTH_LOWER = """conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d conv_tbc bmm mm baddbmm addmm addbmm
linear matmul prelu scaled_dot_product_attention pixels_mapped"""
_BOTH_FULL = """prod cdist binary_cross_entropy_with_logits poisson_nll_loss cosine_embedding_loss hinge_embedding_loss kl_div
l1_loss margin_ranking_loss mse_loss multi_margin_loss multilabel_margin_loss smooth_l1_loss soft_margin_loss
triplet_margin_loss nll_loss"""
# What PyTorch's dispatcher has for each type of device, by our names (``grid_sample`` calls ``grid_sampler``,
# ``max_unpool1d`` the unpooling of planes, ``pixels_mapped`` is a ``bmm``).
POLICIES = {
    "cpu": {
        LOWER: _BOTH_LOWER + " vecdot rnn_tanh rnn_relu rnn_tanh_cell rnn_relu_cell lstm",
        STATES: "gru gru_cell lstm_cell", PLAIN: "bilinear", LAST: "pinv",
        FULL: _BOTH_FULL + """ avg_pool3d binary_cross_entropy grid_sample polar quantile nanquantile stft trace view_as_complex
cholesky cholesky_inverse cholesky_solve inverse lu_solve orgqr ormqr pinverse max_pool3d max_unpool2d max_unpool3d
adaptive_avg_pool3d adaptive_max_pool3d fractional_max_pool2d fractional_max_pool3d cross_entropy huber_loss ctc_loss fft fft2
grid_sampler grid_sampler_2d grid_sampler_3d max_unpool1d
fftn ifft ifft2 ifftn rfft rfft2 rfftn irfft irfft2 irfftn hfft ihfft cond matrix_rank solve svdvals eigvals eigvalsh inv
householder_product tensorinv tensorsolve geqrf qr svd triangular_solve cholesky_ex eig eigh lstsq inv_ex""",
        WIDEST: "stack cat index_copy"},
    "cuda": {
        LAST: "pinv",
        LOWER: _BOTH_LOWER + " addmv addr mv chain_matmul multi_dot gru_cell lstm_cell rnn_tanh_cell rnn_relu_cell",
        FULL: _BOTH_FULL + """ acos asin cosh erfinv exp expm1 log log10 log2 log1p reciprocal rsqrt sinh tan pow softplus
layer_norm group_norm rms_norm cosine_similarity cumprod cumsum dist pdist renorm logsumexp softmax log_softmax sum norm
vector_norm matrix_norm""",
        WIDEST: "addcdiv addcmul atan2 bilinear cross dot vdot grid_sample grid_sampler index_put scatter_add tensordot"}}
TABLES = {device: {name: policy for policy, names in table.items() for name in names.split()}
          for device, table in POLICIES.items()}
# An op of a parameter that makes it another one for PyTorch: the values for which it is that.
ONLY_WHERE = {"pad": lambda input, pad, mode="constant", value=None: mode == "replicate" or mode == "reflect" and len(pad) < 6,
              "max_pool3d": lambda *args, return_indices=False, **named: not (args[6] if len(args) > 6 else return_indices),
              "local_response_norm": lambda input, *rest, **named: input.dim() > 3}
TABLES["cpu"].update({**dict.fromkeys(ONLY_WHERE, FULL), "run_layers": LOWER, "run_packed": LOWER})


class State(threading.local):
    """What a thread asks for, by type of device."""

    def __init__(self):
        self.enabled, self.nesting, self.cache_enabled, self.cache = {}, 0, True, {}
        self.dtypes = dict.fromkeys(("cpu", "xla", "hpu"), dt.bfloat16) | dict.fromkeys(
            ("cuda", "mtia", "maia", "xpu", "ipu", "mps", "privateuseone"), dt.float16)


STATE = State()
_inside = dict.fromkeys(TABLES, 0)  # threads for which casts are on
_listed = {device: {} for device in TABLES}    # functions of listed ops
_programs = {device: {} for device in TABLES}  # programs of listed ops
_publish = [None]


def enable(device, on):
    """Turn casts of tensors on a type of device on or off in this thread."""
    on = bool(on)
    if on == STATE.enabled.get(device, False):
        return
    STATE.enabled[device] = on
    if device in TABLES:
        with layers.LOCK:
            _inside[device] += 1 if on else -1
            if on and _inside[device] == 1:
                _install(device)
            elif not _inside[device]:
                _switch(device)
    tell()


def tell():
    """Let the mode of this thread have what is cast to what."""
    active = tuple([(d, STATE.dtypes[d]) for d, on in STATE.enabled.items() if on]) or None
    modes.change(autocast=active, casting=active)


def current():
    """What this thread asks for, for ``again``."""
    return STATE.enabled.copy(), STATE.dtypes.copy(), STATE.cache_enabled


@contextlib.contextmanager
def again(asked):
    """Inside, the thread asks for what it did when ``asked`` was taken; casts that are kept are its own."""
    before = (*current(), STATE.cache)
    _take(*asked, {})
    try:
        yield
    finally:
        _take(*before)


def _take(enabled, dtypes, cache_enabled, cache):
    STATE.dtypes, STATE.cache_enabled, STATE.cache = dtypes.copy(), cache_enabled, cache
    for device in {*enabled, *STATE.enabled}:
        enable(device, enabled.get(device, False))
    tell()


# --- casts ------------------------------------------------------------------------------------------------------------

def eligible(t, device):
    """Whether a tensor is cast: a floating-point one of at most 32 bits on that type of device."""
    kind = t._kind
    return kind.dtype.is_floating_point and kind.dtype is not dt.float64 and kind.device.type == device


def cast(t, dtype, lower):
    """A tensor in another dtype; that of a leaf that requires grad is kept until the outermost region ends."""
    if t._kind.dtype is dtype:
        return t
    if dtype is lower and STATE.cache_enabled and t._kind.dtype is dt.float32 and t._rg and t._node is None and (
            t._view is None) and not TAPE:
        key = id(t), dtype
        found = STATE.cache.get(key)
        if found is None or found[0]() is not t or modes.records() and not found[1]._rg:
            found = STATE.cache[key] = weakref.ref(t), convert(t, dtype)
        return found[1]
    return convert(t, dtype)


def convert(t, dtype):
    return REGISTRY["to_copy"].call(t, storage.kind_of(dtype, t._kind.device), t._kind)


def each(values, device, change):
    """Arguments with ``change`` done to the tensors that are eligible, those of lists too."""
    return [change(v) if isinstance(v, Tensor) and eligible(v, device) else
            each(v, device, change) if v.__class__ in (list, tuple) and any([isinstance(x, Tensor) for x in v]) else v
            for v in values]


def widest(values, device, lower):
    """The dtype that a promoting op takes its tensors in."""
    found = lower
    for v in values:
        if v.__class__ in (list, tuple):
            found = widest(v, device, found)
        elif isinstance(v, Tensor) and v._kind.dtype.is_floating_point and v._kind.device.type == device:
            if v._kind.dtype is dt.float64:
                return dt.float64
            found = dt.float32 if v._kind.dtype is dt.float32 or found is dt.float32 else found
    return found


def arguments(name, args, kwargs, devices):
    """The arguments of a listed op as it gets them."""
    for device, lower in devices:
        policy = TABLES.get(device, {}).get(name)
        if policy in (None, PLAIN, LAST) or name in ONLY_WHERE and not ONLY_WHERE[name](*args, **kwargs):
            continue
        dtype = {FULL: dt.float32, WIDEST: None}.get(policy, lower) or widest([*args, *kwargs.values()], device, lower)

        def change(t, dtype=dtype, lower=lower):
            return cast(t, dtype, lower)
        args = each(args, device, change)
        kwargs = dict(zip(kwargs, each(kwargs.values(), device, change)))
    return args, kwargs


# Ops with states: what has the dtype of their results, or None for the lower one. Layers of modules call the two functions.
STATEFUL = {"gru_cell": lambda input, hx, *rest, **named: hx, "lstm_cell": lambda input, hx, *rest, **named: hx[1],
            **dict.fromkeys(("run_layers", "run_packed"), lambda mode, input, *rest: None if mode != "GRU" else (
                [t for t in rest[:-7] if isinstance(t, Tensor) and t._kind.dtype.is_floating_point] or [input])[0])}
LAYERS = ("rnn_tanh", "rnn_relu", "lstm", "gru")


def like(state, result):
    """What a recurrent op returned, in the dtype of a state."""
    if isinstance(result, tuple):
        return tuple([like(state, t) for t in result])
    return result if state is None or result is None else cast(result, state._kind.dtype, None)


LAST_PRODUCTS = {name for table in TABLES.values() for name, policy in table.items() if policy == LAST}


def in_lower(result, devices):
    """A result as the product that PyTorch's function ends in gives it."""
    lower = dict(devices).get(result._kind.device.type)
    return convert(result, lower) if lower is not None and eligible(result, result._kind.device.type) else result


# --- functions --------------------------------------------------------------------------------------------------------

def casting(name, own):
    """``own`` of a listed op behind its casts."""
    def call(*args, **kwargs):
        mode = modes.STATE.get(get_ident())
        if mode is None or mode.casting is None:
            return own(*args, **kwargs)
        before, mode.casting = mode.casting, None
        try:
            if kwargs.get("out") is not None:
                return own(*args, **kwargs)
            cast_args, cast_kwargs = arguments(name, args, kwargs, before)
            result = own(*cast_args, **cast_kwargs)
            if name in LAST_PRODUCTS:
                return in_lower(result, before)
            states = STATEFUL.get(name)
            return result if states is None else like(states(*args, **kwargs), result)
        finally:
            mode.casting = before
    return call


def functions(op):
    """(name, Python function) of what runs an op: its own, and the operators whose text is a copy of its."""
    if op.name in LAYERS:
        yield from ((name, op.fn.__globals__[name]) for name in ("run_layers", "run_packed"))
        return
    yield op.name, op.fn if op.kind == "function" else op.call
    for name in OPERATORS.get(op.name, ()):
        if isinstance(vars(Tensor).get(name), types.FunctionType):
            yield op.name, vars(Tensor)[name]


OPERATORS = {"matmul": ("__matmul__",), "pow": ("__pow__",)}


def leave(fn, name):
    """Let no op inside of a function cast, which PyTorch's tables do not have."""
    for device, table in TABLES.items():
        table[name] = PLAIN
        _take_in(name, fn, device)


def _take_in(name, fn, device):
    layers.add(fn, "autocast", partial(casting, name))
    _listed[device][fn] = None


def _known(op):
    """Take the functions of an op that is there; the files of others are run when they are first used."""
    for device in [d for d in _taken if op.name in TABLES[d]]:
        for name, fn in functions(op):
            _take_in(name, fn, device)
        if getattr(op, "programs", None) is not None:
            _programs[device][op.programs] = None


def _published(op, fn=None):
    """What publishes ops once there was a region."""
    _publish[0](op, fn)
    if any([op.name in TABLES[device] for device in _taken]):
        with layers.LOCK:
            _known(op)
            for device in _taken:
                _switch(device)


def _install(device):
    if device not in _taken:
        _taken.append(device)
        for name in [n for n in list(dict.keys(REGISTRY)) if n in TABLES[device]]:
            _known(dict.get(REGISTRY, name))
        if _publish[0] is None:
            _publish[0], REGISTRY.publish = REGISTRY.publish, _published
    _switch(device)


def _switch(device):
    """Let the functions cast where a thread is inside a region."""
    casts, others = _inside[device] > 0, [d for d in _taken if d != device and _inside[d]]
    for fn in _listed[device]:
        layers.switch(fn, "autocast", casts or any([fn in _listed[d] for d in others]))
    for programs in _programs[device]:  # (which know no casts)
        programs.hold(casts or any([programs in _programs[d] for d in others]), "autocast")


_taken = []  # types of devices for which there was a region
