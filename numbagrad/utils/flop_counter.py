"""``FlopCounterMode``: floating-point operations of products and convolutions, by modules, gradients of results included."""

from __future__ import annotations

import math

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


# By functions: PyTorch's name of the kernel, which arguments are multiplied, how many operations that takes.
COUNTED = {
    "mm": ("mm", 0, _product), "bmm": ("bmm", 0, _product), "matmul": ("mm", 0, _product), "__matmul__": ("mm", 0, _product),
    "linear": ("mm", 0, _product), "addmm": ("addmm", 1, _product), "baddbmm": ("baddbmm", 1, _product),
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), ("convolution", 0, _conv)),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), ("convolution", 0, _transposed))}


def _kernel(name, func, args, kwargs):
    """PyTorch counts products under the kernel that they come to."""
    if name != "mm":
        return name
    if func == "linear":
        bias = args[2] if len(args) > 2 else kwargs.get("bias")
        return "addmm" if bias is not None and args[0].dim() == 2 else "mm"
    return "bmm" if args[0].dim() > 2 and args[1].dim() > 2 else "mm"


def _groups(kernel, args, kwargs):
    """How often PyTorch counts the gradient of a weight: that of a convolution in groups as if it had none."""
    if kernel != "convolution":
        return 1
    return args[6] if len(args) > 6 else kwargs.get("groups", 1)


class FlopCounterMode(TorchFunctionMode):
    """Context manager: counts while it is on; ``get_total_flops()``, ``get_flop_counts()`` by modules, ``get_table()``.

    What a function of several products does inside of one call (attention, recurrent layers) is not counted."""

    def __init__(self, mods=None, depth=2, display=True, custom_mapping=None):
        super().__init__()
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
        out, name = func(*args, **(kwargs or {})), getattr(func, "__name__", None)
        if name in COUNTED and isinstance(out, Tensor):
            kernel, first, count = COUNTED[name]
            a, b = args[first:first + 2] if len(args) >= first + 2 else (args[0], (kwargs or {})["weight"])
            kernel, n, places = _kernel(kernel, name, args, kwargs or {}), count(a, b, out), {"Global", *self._inside}
            self._add(places, kernel, n)
            if out.requires_grad:
                behind = "convolution_backward" if kernel == "convolution" else "bmm" if kernel[:2] in ("bm", "ba") else "mm"
                again = n * (a.requires_grad + b.requires_grad * _groups(kernel, args, kwargs or {}))
                out.register_hook(lambda g: self._add(places, behind, again))
        return out

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
