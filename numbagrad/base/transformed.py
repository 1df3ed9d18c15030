"""How the floors of kernels meet tensors of a function transform (``func``), which have no memory of their own."""

from __future__ import annotations


class Whole(TypeError):
    """An op that works on memory got such a tensor: the function that called it is to be transformed as a whole.

    The guard of that function catches it and calls ``again(op, *args, **kwargs)``."""

    def __init__(self, text, again=None):
        super().__init__(text)
        self.again = again


class Transformed:
    """Stands for the version list of such a tensor, so that views of it leave their usual way."""

    __slots__ = ("place", "missing", "like", "gradients")

    def __init__(self, place, missing, like, gradients):
        self.place = place      # (op, input, geometry, params) -> the view
        self.missing = missing  # raises where memory is asked for
        self.like = like        # (input, new plain tensor) -> that as one of the transform
        # (form, mask, values, numbers, what arrives) -> the gradients by the kernel of an elementwise op, None where it cannot
        self.gradients = gradients

    def __getitem__(self, i):
        self.missing()

    def __setitem__(self, i, value):
        self.missing()


class Nowhere(int):
    """An address that no kernel takes."""

    def __new__(cls, missing):
        self = int.__new__(cls, 0)
        self.missing = missing
        return self

    def __int__(self):
        return self.missing()

    def __add__(self, offset):
        return self

    __radd__ = __sub__ = __add__
    __index__ = __int__
