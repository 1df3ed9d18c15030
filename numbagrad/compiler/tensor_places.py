"""Places of tensors: what one is, its gradient and its hooks."""

from __future__ import annotations

import weakref

from .places import Place, alike

TABLES = ("hooks", "acc_prehooks", "post_acc", "acc_hooks")  # of hooks of a leaf


class Itself(Place):
    """A tensor that stays the same object while its memory changes (``data = ...``)."""

    __slots__ = ()

    def get(self):
        return self.root

    def text(self):
        return "a tensor"


class State(Place):
    """What a tensor is: its memory, form and place in a graph."""

    __slots__ = ()
    FIELDS = ("_buf", "_ptr", "_shape", "_strides", "_kind", "_rg")

    def get(self):
        t = self.root
        return (*[getattr(t, n) for n in self.FIELDS], t._node is None)

    def text(self):
        return f"the memory, shape, strides, dtype or requires_grad of a tensor of shape {list(self.root._shape)}"


class Gradient(Place):
    """The gradient that a leaf has. Who relies on it does not hold it: steps look at who holds gradients (``held``)."""

    __slots__ = ()

    @staticmethod
    def form(g):
        """What is compared of a gradient."""
        return None if g is None else (weakref.ref(g), id(g._buf), *[getattr(g, n) for n in State.FIELDS[1:]])

    def get(self):
        return self.form(self.root._grad)

    def holds(self, then):
        g = self.root._grad
        return g is None if then is None else g is not None and then[0]() is g and alike(self.get()[1:], then[1:])

    def text(self):
        return f"the gradient of a tensor of shape {list(self.root._shape)}"


class Hooks(Place):
    """The hooks of a leaf."""

    __slots__ = ()

    def get(self):
        more = self.root.__dict__.get("_numbagrad")
        return () if more is None else tuple([(n, *more[n].values()) for n in TABLES if more.get(n)])

    def save(self):
        more = self.root.__dict__.get("_numbagrad", {})
        return {n: dict(more[n]) for n in TABLES if n in more}

    def put(self, tables):
        more = self.root.__dict__.get("_numbagrad", {})
        for n in TABLES:
            if n in more:  # the table itself is what a handle refers to
                more[n].clear()
                more[n].update(tables.get(n, ()))
        if not any(more.values()):
            self.root.__dict__.pop("_numbagrad", None)

    def text(self):
        return "the hooks of a tensor"
