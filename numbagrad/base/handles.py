"""Handles that remove a registered hook again."""

import itertools
import weakref
from collections import OrderedDict

__all__ = ["RemovableHandle"]

_ids = itertools.count()


class RemovableHandle:
    """Removes one hook from the table it was registered in: by ``remove()``, or at the end of a ``with`` block.

    ``hooks_dict`` (an OrderedDict) and the tables in ``extra_dict`` are held weakly: a forgotten handle keeps no module
    alive.
    """

    def __init__(self, hooks_dict, *, extra_dict=None):
        self.id = next(_ids)
        self.hooks_dict_ref = weakref.ref(hooks_dict)
        if extra_dict is None:
            extra_dict = ()
        elif isinstance(extra_dict, dict):
            extra_dict = (extra_dict,)
        self.extra_dict_ref = tuple(weakref.ref(table) for table in extra_dict)

    def remove(self):
        """Forget the hook; doing so twice is harmless."""
        for ref in (self.hooks_dict_ref, *self.extra_dict_ref):
            table = ref()
            if table is not None:
                table.pop(self.id, None)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.remove()

    def __getstate__(self):
        return self.hooks_dict_ref(), self.id, tuple(ref() for ref in self.extra_dict_ref)

    def __setstate__(self, state):
        global _ids
        table, self.id, extra = state
        # A dead table is replaced by an empty one that dies at once, so remove() finds nothing.
        self.hooks_dict_ref = weakref.ref(OrderedDict() if table is None else table)
        self.extra_dict_ref = tuple(weakref.ref(OrderedDict() if e is None else e) for e in extra)
        _ids = itertools.count(max(next(_ids), self.id + 1))
