"""``FlopCounterMode``: floating-point operations of products and convolutions, by modules, gradients of results included."""

from __future__ import annotations

import math
import warnings

from .. import nn
from ..core.tensor import Tensor
from ..overrides import TorchFunctionMode

__all__ = ["FlopCounterMode"]


def _product(a, b, out):
    return 2 * out.numel() * a.shape[-1]


def _conv(x, w, out):
    return 2 * out.shape[0] * w.numel() * math.prod(out.shape[2:]) if out.dim() == w.dim() else 2 * w.numel() * math.prod(
        out.shape[1:])


def _transposed(x, w, out):
    return 2 * x.shape[0] * w.numel() * math.prod(x.shape[2:])


# By functions: PyTorch's name of the kernel, what is multiplied and at which places, how many operations that takes.
_PLAIN = (("input", 0), ("weight", 1))
COUNTED = {
    **dict.fromkeys(("mm", "bmm"), ("mm", (("input", 0), ("mat2", 1)), _product)), "linear": ("mm", _PLAIN, _product),
    **dict.fromkeys(("matmul", "__matmul__"), ("mm", (("input", 0), ("other", 1)), _product)),
    "addmm": ("addmm", (("mat1", 1), ("mat2", 2)), _product), "baddbmm": ("baddbmm", (("batch1", 1), ("batch2", 2)), _product),
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), ("convolution", _PLAIN, _conv)),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), ("convolution", _PLAIN, _transposed))}


def _kernel(name, func, a, b, bias):
    """PyTorch counts products under the kernel that they come to, those with a vector on the right not at all: None."""
    if name != "mm":
        return name
    if func == "linear":
        return "addmm" if bias is not None and (a.dim() < 3 or a.is_contiguous()) else "mm"
    if b.dim() == 1:
        return None
    return "bmm" if b.dim() > 2 and not (a.dim() < 3 and a.requires_grad) else "mm"


def _groups(kernel, args, kwargs):
    """How often PyTorch counts the gradient of a weight: that of a convolution in groups as if it had none."""
    if kernel != "convolution":
        return 1
    return args[6] if len(args) > 6 else kwargs.get("groups", 1)


class FlopCounterMode(TorchFunctionMode):
    """Context manager: counts while it is on; ``get_total_flops()``, ``get_flop_counts()`` by modules, ``get_table()``.

    What a function of several products does inside of one call (``einsum``, attention, recurrent layers) is not counted."""

    def __init__(self, mods=None, depth=2, display=True, custom_mapping=None):
        super().__init__()
        if custom_mapping:
            raise NotImplementedError("FlopCounterMode(custom_mapping=...): there are no operators here that it would name")
        if mods is not None:
            warnings.warn("mods argument is not needed anymore, you can stop passing it", stacklevel=2)
        self.depth, self.display, self.flop_counts = depth, display, {"Global": {}}
        self._names, self._inside, self._hooks = [], [], []

    def __enter__(self):
        self.flop_counts, self._inside = {"Global": {}}, []
        self._hooks = [nn.modules.module.register_module_forward_pre_hook(self._begin),
                       nn.modules.module.register_module_forward_hook(self._end, always_call=True)]
        return super().__enter__()

    def __exit__(self, *exc):
        for hook in self._hooks:
            hook.remove()
        result = super().__exit__(*exc)
        if self.display:
            print(self.get_table(self.depth))
        return result

    def _begin(self, module, args):
        if not self._inside:
            kind = type(module).__name__
            self._names = {m: f"{kind}.{name}" if name else kind for name, m in module.named_modules()}
        self._inside.append(self._names.get(module, type(module).__name__))

    def _end(self, module, args, output):
        self._inside.pop()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out, name = func(*args, **kwargs), getattr(func, "__name__", None)
        if name in COUNTED and isinstance(out, Tensor):
            kernel, operands, count = COUNTED[name]
            a, b, bias = [args[at] if at < len(args) else kwargs.get(key) for key, at in (*operands, ("bias", 2))]
            kernel = _kernel(kernel, name, a, b, bias)
            if kernel is not None:
                self._count(kernel, count(a, b, out), a.requires_grad + b.requires_grad * _groups(kernel, args, kwargs), out)
        return out

    def _count(self, kernel, n, again, out):
        """Note n operations of a kernel now, and so many times as many when the gradient of ``out`` comes."""
        places = {"Global", *self._inside}
        self._add(places, kernel, n)
        if out.requires_grad:
            behind = "convolution_backward" if kernel == "convolution" else "bmm" if kernel[:2] in ("bm", "ba") else "mm"
            out.register_hook(lambda g: self._add(places, behind, n * again))

    def _add(self, places, kernel, n):
        for place in places:
            counts = self.flop_counts.setdefault(place, {})
            counts["aten." + kernel] = counts.get("aten." + kernel, 0) + n

    def get_total_flops(self):
        """How many operations there were."""
        return sum(self.flop_counts["Global"].values())

    def get_flop_counts(self):
        """{module: {kernel: operations}}, those of a module in the ones around it, too."""
        return {place: dict(counts) for place, counts in self.flop_counts.items()}

    def get_table(self, depth=None):
        """The same as text, down to a depth of modules."""
        depth, total = self.depth if depth is None else depth, self.get_total_flops()
        rows = [("Module", "FLOP", "% Total")]
        places = sorted(p for p in self.flop_counts if p != "Global" and p.count(".") < depth)
        if not any(sum(self.flop_counts[p].values()) >= total for p in places):  # (else it says nothing more)
            places = ["Global", *places]
        for place in places:
            counts = self.flop_counts[place]
            for name, n in ((place, sum(counts.values())), *((f"- {k}", v) for k, v in counts.items())):
                rows.append((name, str(n), f"{100 * n / total if total else 0:.2f}%"))
        widths = [max(len(column[0]) + 2, *map(len, column)) for column in zip(*rows)]
        lines = [f"{a:<{widths[0]}}  {b:>{widths[1]}}  {c:>{widths[2]}}".rstrip() for a, b, c in rows]
        return "\n".join([lines[0], "  ".join(["-" * w for w in widths]), *lines[1:]])
