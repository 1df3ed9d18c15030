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


class Nowhere:
    """An address that no kernel takes, and no table of addresses: it is no integer, and has no value."""

    __slots__ = ("missing",)

    def __init__(self, missing):
        self.missing = missing

    def __int__(self):
        return self.missing()

    __index__ = __float__ = __bool__ = __int__

    def __add__(self, offset):
        return self

    __radd__ = __sub__ = __rsub__ = __add__

    def __lt__(self, other):
        return self.missing()

    __le__ = __gt__ = __ge__ = __floordiv__ = __and__ = __lt__

    def __mod__(self, size):
        return 0  # as if of an aligned one
