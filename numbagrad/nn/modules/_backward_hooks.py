"""Backward hooks of a module: two identity operations around its forward that see the gradients pass."""

import itertools
import warnings

from ...autograd import Function
from ...base.modes import is_grad_enabled
from ...core.tensor import Tensor


class BackwardBracket:
    """Two identity nodes around one forward: the outer sees grad_output first, the inner grad_input last."""

    def __init__(self, module, pre_hooks, hooks):
        self.module, self.pre_hooks, self.hooks = module, pre_hooks, hooks
        self.grad_output = None
        self.n_inputs = 0
        self.has_input_node = False

    def enter(self, args):
        self.n_inputs = len(args)
        replaced = self._through(ModuleInput, args)
        self.has_input_node = replaced is not None
        return args if replaced is None else replaced

    def leave(self, result):
        outputs = result if isinstance(result, tuple) else (result,)
        replaced = self._through(ModuleOutput, outputs)
        if replaced is None:
            return result
        if not isinstance(result, tuple):
            return replaced[0]
        return replaced if type(result) is tuple else type(result)(*replaced)

    def _through(self, node, values):
        """``values`` with every tensor passed through ``node``, or None when none of them needs a gradient."""
        index = [i for i, value in enumerate(values) if isinstance(value, Tensor)]
        if not (is_grad_enabled() and any(values[i].requires_grad for i in index)):
            return None
        passed = node.apply(self, index, len(values), *(values[i] for i in index))
        replaced = list(values)
        for i, value in zip(index, passed if isinstance(passed, tuple) else (passed,), strict=True):
            replaced[i] = value
        return tuple(replaced)

    def on_grad_output(self, grads):
        for hook in self.pre_hooks:
            result = hook(self.module, grads)
            if result is None:
                continue
            result = result if isinstance(result, tuple) else (result,)
            if len(result) != len(grads):
                raise RuntimeError(
                    "Backward pre hook returned an invalid number of grad_output, "
                    f"got {len(result)}, but expected {len(grads)}"
                )
            grads = result
        if self.has_input_node:
            self.grad_output = grads
        else:
            self._without_grad_input(grads)
        return grads

    def _without_grad_input(self, grads):
        warnings.warn(
            "Full backward hook is firing when gradients are computed with respect to module outputs since no inputs "
            "require gradients. See https://docs.pytorch.org/docs/main/generated/torch.nn.Module.html"
            "#torch.nn.Module.register_full_backward_hook for more details.",
            stacklevel=5,
        )
        for hook in self.hooks:
            result = hook(self.module, (None,) * self.n_inputs, grads)
            if result is not None and not (isinstance(result, tuple) and all(item is None for item in result)):
                raise RuntimeError(
                    "Backward hook for Modules where no input requires gradient should always return None or None "
                    "for all gradients."
                )

    def on_grad_input(self, grads):
        if self.grad_output is None:  # backward reached the inputs by a path around the outputs
            return grads
        for hook in self.hooks:
            result = hook(self.module, grads, self.grad_output)
            if result is None:
                continue
            result = result if isinstance(result, tuple) else (result,)
            if len(result) != len(grads):
                raise RuntimeError(
                    "Backward hook returned an invalid number of grad_input, "
                    f"got {len(result)}, but expected {len(grads)}"
                )
            grads = result
        self.grad_output = None
        return grads


def _scatter(values, index, size):
    placed = [None] * size
    for i, value in zip(index, values, strict=True):
        placed[i] = value
    return tuple(placed)


class ModuleInput(Function):
    @staticmethod
    def forward(ctx, bracket, index, size, *tensors):
        ctx.bracket, ctx.index, ctx.size = bracket, index, size
        ctx.mark_non_differentiable(*(t for t in tensors if not t.requires_grad))
        return tuple(t.view_as(t) for t in tensors)

    @staticmethod
    def backward(ctx, *grads):
        grads = [g if needed else None for g, needed in zip(grads, ctx.needs_input_grad[3:], strict=True)]
        results = ctx.bracket.on_grad_input(_scatter(grads, ctx.index, ctx.size))
        return (None, None, None, *(results[i] for i in ctx.index))


class ModuleOutput(Function):
    @staticmethod
    def forward(ctx, bracket, index, size, *tensors):
        ctx.bracket, ctx.index, ctx.size = bracket, index, size
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*(t for t in tensors if not t.requires_grad))
        return tuple(t.view_as(t) for t in tensors)

    @staticmethod
    def backward(ctx, *grads):
        results = ctx.bracket.on_grad_output(_scatter(grads, ctx.index, ctx.size))
        return (None, None, None, *itertools.compress(results, _scatter([1] * len(grads), ctx.index, ctx.size)))
