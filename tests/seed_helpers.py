"""Pieces of the seed documents' examples."""

import io
from contextlib import redirect_stdout


def printed(code):
    """A function of the library that returns what ``code`` prints."""
    def run(T):
        out = io.StringIO()
        with redirect_stdout(out):
            code(T)
        return out.getvalue().rstrip("\n")
    return run


def make_relu(T):
    class MyReLU(T.autograd.Function):
        @staticmethod
        def forward(ctx, input):
            ctx.save_for_backward(input)
            return input.clamp(min=0)

        @staticmethod
        def backward(ctx, grad_output):
            input, = ctx.saved_tensors
            grad_input = grad_output.clone()
            grad_input[input < 0] = 0
            return grad_input
    return MyReLU
