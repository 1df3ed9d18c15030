"""What stands where an op will be found until its file has been run: names of modules, attributes of Tensor.

Both run the file when they are first looked at, and the op then lies in their place: a plain entry of the module or the class.
"""

from __future__ import annotations

import sys

from ..base.user_code import is_ours
from ..core import replay
from ..core.registry import REGISTRY
from ..core.tensor import Tensor
from ..kernel.tape import Untraced


def run(module, place, name):
    """Run the file that puts a name into a place; all files, if it is none of that file's since the index was written."""
    REGISTRY.load(module)
    if isinstance(vars(place).get(name), (Method, type(None))) and module not in REGISTRY.waiting:
        REGISTRY.all()


class Method:
    """An attribute of Tensor."""

    __slots__ = ("name", "module")
    stands_in = True

    def __init__(self, name, module):
        self.name, self.module = name, module

    def found(self):
        """What lies in this one's place, now that the file has been run."""
        run(self.module, Tensor, self.name)
        found = Tensor.__dict__[self.name]
        if found is self:
            raise AttributeError(f"'Tensor' object has no attribute '{self.name}' (python -m numbagrad contents)")
        return found

    def __get__(self, obj, cls=None):
        found = self.found()
        return found.__get__(obj, cls) if hasattr(found, "__get__") else found


class Property(Method):
    """A property of Tensor, which comes before what an instance holds under its name."""

    __slots__ = ()

    def __set__(self, obj, value):
        self.found().__set__(obj, value)

    def __delete__(self, obj):
        self.found().__delete__(obj)


def stand_in():
    """Put stand-ins where the index says that something will be."""
    properties = REGISTRY.index.get("properties", ())
    for place, names in REGISTRY.index.items():
        if place == "Tensor":
            for name, module in names.items():
                setattr(Tensor, name, (Property if name in properties else Method)(name, module))
        elif place in sys.modules:
            _of_module(sys.modules[place], names)


def settle(module, name):
    """Have what a module of ours will find under a name lie there, before somebody looks into its dict."""
    if name not in vars(module) and is_ours(getattr(module, "__file__", None) or ""):
        with Untraced():
            getattr(module, name, None)


def _of_module(module, names):
    """``__getattr__`` and ``__dir__`` of a module that gets ``names``, besides what it says itself.

    A module without a ``__getattr__`` is looked into faster (a twentieth of a small call): one that has none of its own gets
    what is missing when a process has made its hundredth call, and is such a module from then on. To run all of the files at
    the first look took a tenth of a second, which a short program has no use for."""
    own, others = vars(module).get("__getattr__"), vars(module).get("__dir__", list)

    def __getattr__(name):
        if name == "__all__":
            return [n for n in __dir__() if not n.startswith("_")]
        if name in names:
            run(names[name], module, name)
            if name in vars(module):
                return vars(module)[name]
        elif own is not None:
            return own(name)
        raise AttributeError(f"module '{module.__name__}' has no attribute '{name}'")

    def fill():
        for name in names:
            run(names[name], module, name)
        vars(module).pop("__getattr__", None)

    if own is None:
        replay.LASTING.append(fill)

    def __dir__():
        # (Neither of these two stays when all is there.)
        return sorted({*vars(module), *names, *others()} - {"__getattr__", "__dir__"})
    module.__getattr__, module.__dir__ = __getattr__, __dir__
