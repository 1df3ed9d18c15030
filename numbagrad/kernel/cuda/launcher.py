"""Hand-written kernels on a device: what ``kernel[kind]`` is there, and what it takes beside addresses of tensors."""

from __future__ import annotations

import weakref

import numpy as np

from .. import blas, jit, tape
from . import block_form, element_form, memory, thread_form
from . import launch as launches
from .address import Address, on, plain
from .gemm import gemm
from .independence import independent
from .launch import launch, target

PREFER = None     # "threads" or "blocks": the form of all kernels that have it, to compare the two
BLOCK_WORK = 64   # elements of an item from which a block works on it


class Mirror:
    """An array on the host that a kernel on a device reads and writes: it goes there and comes back with each launch."""

    __slots__ = ("array",)

    def __init__(self, array):
        self.array = array


class Launcher:
    """A kernel for dtypes and a device; takes what the compiled kernel of the CPU takes, with addresses of the device."""

    __slots__ = ("kernel", "dtypes", "index", "kinds", "ranged", "sources", "apart")

    def __init__(self, kernel, dtypes, index):
        self.kernel, self.dtypes, self.index = kernel, dtypes, index
        self.kinds = kernel.parameters(thread_form.letters_of(dtypes))
        self.ranged = [n for n, _ in self.kinds[-2:]] == ["start", "stop"]
        self.sources, self.apart = {}, None

    def __call__(self, *arguments):
        """Launch on the range of the last two arguments, on many threads where the source shows that items do not meet."""
        if self.apart is None:
            self.apart = self.ranged and independent(self.kernel.fn)
        if self.apart:
            self._launch(arguments, "items")
        else:
            self._launch(arguments, "one" if self._shares() else "serial")

    def run(self, arguments, items, work):
        """Launch on ``range(items)``, whose items do not meet in memory; ``work`` is how many elements are visited in all."""
        long = PREFER == "blocks" or PREFER is None and work >= BLOCK_WORK * items
        self._launch((*arguments, 0, items), "block" if long and self._shares() else "items")

    def _shares(self):
        """Whether the kernel has a form for blocks that is worth it."""
        return PREFER != "threads" and block_form.worth(self.kernel, self.dtypes, PREFER == "blocks")

    def _launch(self, arguments, form):
        count = arguments[-1] - arguments[-2] if self.ranged else 1
        if count <= 0:
            return
        source = self.sources.get(form)
        if source is None:
            make = block_form.source if form in ("block", "one") else thread_form.source
            source = self.sources[form] = make(self.kernel, self.dtypes, form)
        gpu, back = target(), []
        values = self.values(gpu, arguments, back)
        if form == "items":
            launch(source, values, count, self.index)
        elif form == "block":
            gpu.launch(source, values, min(count, gpu.grid), block_form.threads(), self.index)
        else:
            gpu.launch(source, values, 1, block_form.threads() if form == "one" else 1, self.index)
        for array, there in back:
            gpu.to_host(array, there, there.ptr, self.index)

    def elements(self, arguments):
        """Launch a kernel that loops over the elements of one array (see ``element_form``)."""
        element_form.run(self, arguments)

    def address(self, there):
        """The address of memory on the launcher's device."""
        return on(self.index)(there.ptr)

    def values(self, gpu, arguments, back=None):
        """What the target takes for arguments; ``back`` gets what is to be copied to the host afterwards."""
        return [a if kind in ("i", "f") else self._pointer(gpu, a, name, kind, back)
                for a, (name, kind) in zip(arguments, self.kinds)]

    def _pointer(self, gpu, value, name, kind, back):
        """What the target takes for an argument that is a pointer."""
        if isinstance(value, Address):
            return gpu.pointer(plain(value), kind)
        if value.__class__ is Mirror:
            there = memory.upload(value.array, self.index)
            back.append((value.array, there))
            return gpu.pointer(there.ptr, kind)
        if value == 0:
            return gpu.pointer(0, kind)
        table = tape.TABLES.get(value)
        if table is None:
            raise NotImplementedError(f"kernel {self.kernel.name} cannot run on device 'cuda:{self.index}': its argument "
                                      f"'{name}' is the address of memory on the host")
        return gpu.pointer(_table(table, self.index).ptr, kind)


_tables: dict = {}  # (id of a table of constants, device) -> its copy there


def _table(array, index):
    key = id(array), index
    found = _tables.get(key)
    if found is None:
        found = _tables[key] = memory.upload(array, index)
        weakref.finalize(array, _tables.pop, key, None)
    return found


# --- bad input --------------------------------------------------------------------------------------------------------


class Words:
    """Words on a device in which the kernels of one call leave what is wrong with its input (see ``tape.Words``).

    ``check`` does not wait: what was found is raised when values are next read there, or at a synchronisation."""

    __slots__ = ("memory", "address", "raises", "size", "index")

    def __init__(self, flag, index):
        self.raises, self.size, self.index = flag.raises, flag.size, index
        self.memory = memory.upload(np.full(flag.size, -1, np.int64), index)
        self.address = on(index)(self.memory.ptr)

    def check(self):
        """The call is over; its words are looked at later."""
        open_ = _open.setdefault(self.index, [])
        open_.append(self)
        if len(open_) >= MOST:
            settle(self.index)


MOST = 256  # calls of a device whose words have not been looked at
_open: dict = {}


def settle(index):
    """Raise the first thing that kernels have found wrong on a device since the last time."""
    waiting = _open.pop(index, ())
    for words in waiting:
        found = np.empty(words.size, np.int64)
        target().to_host(found, words.memory, words.memory.ptr, index)
        if found[0] != -1:
            words.raises(*found.tolist())


launches.BEFORE_READING.append(settle)
jit.DEVICES["cuda"] = Launcher
blas.DEVICES["cuda"] = gemm
tape.DEVICES["cuda"] = Words
