"""Runs a drawn call under one library: forward, backward, twice backward, in place, or with ``out=``."""

import warnings

import numpy as np

from .draw import STORED, T


class Absent(Exception):
    """The library has no such form of the call."""


class Player:
    """A library (numbagrad or PyTorch) and where its tensors' memory comes from (``place`` copies an array)."""

    def __init__(self, lib, place=np.copy):
        self.lib, self.place = lib, place

    def tensor(self, t):
        """The tensor that ``t`` describes, and the storage below it."""
        lib = self.lib
        base = lib.from_numpy(self.place(t.values.reshape(-1)))
        if t.dtype in STORED:
            base = base.to(getattr(lib, t.dtype))
        out = base.reshape(t.shape) if t.strides is None else base.as_strided(t.shape, t.strides, t.offset)
        if t.grad and (out.is_floating_point() or out.is_complex()):
            out.requires_grad_()
        return out, base

    def arguments(self, call):
        """(args, kwargs, storages by ``T``) of a call, with fresh tensors."""
        made = {id(t): self.tensor(t) for t in call.tensors()}

        def put(x):
            if isinstance(x, T):
                return made[id(x)][0]
            return type(x)([put(v) for v in x]) if isinstance(x, (tuple, list)) else x
        args, kwargs = put(call.args), {k: put(v) for k, v in call.kwargs.items()}
        return args, kwargs, [(t, *made[id(t)]) for t in call.tensors()]

    def run(self, call, function, args, kwargs, made):
        """The tensors and numbers that come out, gradients included."""
        lib = self.lib
        lib.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if call.mode == "inplace":
                return flat(self.in_place(call, args, kwargs), lib)
            if call.mode == "out":
                with lib.no_grad():
                    out = lib.empty(3)
                    return flat(function(*args, **kwargs, out=out), lib)
            result = flat(function(*args, **kwargs), lib)
            if call.mode == "forward":
                return result
            return result + self.gradients(result, [t for _, t, _ in made if t.requires_grad], call.mode == "twice")

    def in_place(self, call, args, kwargs):
        name = (call.op.method or call.op.torch_name.rpartition(".")[2]) + "_"
        if not args or not isinstance(args[0], self.lib.Tensor) or not hasattr(args[0], name):
            raise Absent(name)
        with self.lib.no_grad():
            return getattr(args[0], name)(*args[1:], **kwargs)

    def gradients(self, result, leaves, twice):
        """Gradients of a weighted sum of the results; of those again if ``twice``."""
        lib = self.lib
        outputs = [r for r in result if isinstance(r, lib.Tensor) and r.requires_grad]
        if not outputs or not leaves:
            return []
        grads = lib.autograd.grad(outputs, leaves, [self.upstream(o) for o in outputs], create_graph=twice, allow_unused=True)
        again = [g for g in grads if g is not None and g.requires_grad]
        if not twice or not again:
            return list(grads)
        return [*grads, *lib.autograd.grad(again, leaves, [self.upstream(g) for g in again], allow_unused=True)]

    def upstream(self, o):
        values = 0.5 + np.arange(o.numel(), dtype="float32") % 7 / 4
        return self.lib.from_numpy(self.place(values)).reshape(o.shape).to(o.dtype)


def flat(result, lib):
    if isinstance(result, (tuple, list)):
        return [v for r in result for v in flat(r, lib)]
    return [result]


def numbers(x, lib):
    """(dtype, array) of one result."""
    if x is None or isinstance(x, (bool, int, float, complex, str)):
        return type(x).__name__, np.array(x, object if x is None or isinstance(x, str) else None)
    if not isinstance(x, lib.Tensor):
        return "", np.array(str(x).replace("torch.", "").replace("numbagrad.", ""), object)
    x = x.detach()
    name = str(x.dtype).rpartition(".")[2]
    if not x.numel():
        return name, np.array(str(tuple(x.shape)), object)  # NumPy has no shapes like (0, 2**62)
    x = x.float() if name in ("float16", "bfloat16") else x
    x = x.resolve_conj().resolve_neg() if hasattr(x, "resolve_conj") else x
    return name, np.array(x.numpy())
