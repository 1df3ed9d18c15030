"""Batches on their way to the main process: values in memory that both have, everything else through the pipe.

A worker writes into files without a name. Their descriptors go through the pipe, so nothing is left over when a process is
killed; where no file is to be had, values go through the pipe as well. Both keep their pages of a file: the main process says
with the next task which are read by nobody any more, and the worker writes the next batch there, as new pages cost more than
the copies. Pages that a third process may see (a fork, a queue of the user's) are not used again.
"""

from __future__ import annotations

import errno
import itertools
import math
import os
import pickle
import socket
import threading
import weakref
from copyreg import dispatch_table
from io import BytesIO
from multiprocessing.reduction import ForkingPickler

import numpy as np

from ...core.registry import REGISTRY
from ...core.shared import MAPPED, SharedMemory, new_file, owner
from ...core.storage import address
from ...core.tensor import Tensor, raw
from ...core.values import as_class
from ...nn.parameter import Buffer, Parameter

SMALL = 1 << 16  # bytes, which go through the pipe as fast
SENT_AT_ONCE = 64  # files in one message
KEPT = 6  # batches whose files a worker keeps
CAN_SEND = hasattr(socket, "send_fds")
sender = None  # that of this process, in a worker


# --- tensors in a pickle ---

class Memories:
    """The memories that the tensors of a batch lie in: of each the array, and the first and last byte that they see."""

    def __init__(self):
        self.found, self.places = [], {}

    def reduce(self, t):
        """A tensor as a place in one of the memories, or by its values: on a device, in coordinates, scattered widely."""
        buf = None if t.is_sparse or not t._kind.cpu else t._buf
        if not isinstance(buf, np.ndarray) or not buf.flags.c_contiguous:
            return t.__reduce_ex__(2)
        first, item = t._ptr - address(buf), t._kind.itemsize
        n = t._n if t._strides is None else 1 + sum([(n - 1) * s for n, s in zip(t._shape, t._strides)]) if t._n else 0
        if n > 4 * t._n and owner(buf) is None:
            return t.__reduce_ex__(2)
        place = self.places.setdefault(id(buf), len(self.found))
        if place == len(self.found):
            self.found.append([buf, first, first])
        memory = self.found[place]
        memory[1], memory[2] = min(memory[1], first & -64), max(memory[2], first + n * item)
        return _rebuild, (type(t), place, first, t._shape, t._strides, t._kind, t.requires_grad)


_arrived = threading.local()  # ``memories`` that the batch which is being read lies in: (array, its first byte, version)


def _rebuild(cls, place, first, shape, strides, kind, requires_grad):
    buf, start, version = _arrived.memories[place]
    t = as_class(raw(buf, address(buf) + first - start, math.prod(shape), shape, strides, kind, version), cls)
    t._rg = requires_grad
    return t


def pickled(data):
    """(the pickle of a batch, the memories of its tensors)."""
    buffer, memories = BytesIO(), Memories()
    pickler = ForkingPickler(buffer)
    others = {cls: fn for cls, fn in pickler._extra_reducers.items() if cls.__module__.partition(".")[0] != "numbagrad"}
    pickler.dispatch_table = {**dispatch_table, **others, **dict.fromkeys((Tensor, Parameter, Buffer), memories.reduce)}
    pickler.dump(data)
    return buffer.getbuffer(), memories.found


def unpickled(content, memories):
    """The batch, its tensors in memories that have arrived."""
    _arrived.memories = memories
    try:
        return pickle.loads(content)
    finally:
        del _arrived.memories


def bytes_of(buf, first, last):
    """A part of an array as bytes: up to the end of its last element."""
    last += -last % buf.itemsize
    return buf.reshape(-1).view(np.uint8)[first:last]


def too_many(descriptors):
    """Whether a process may have no more than so many."""
    return 0 < os.sysconf("SC_OPEN_MAX") < descriptors


# --- the worker ---

class _File:
    """Pages that the main process has too: ``out`` of its batches lie there, and maybe tensors of this process."""

    __slots__ = ("memory", "told", "out", "held")

    def __init__(self, memory):
        self.memory, self.told, self.out, self.held = memory, False, 0, _nothing

    @property
    def free(self):
        return not self.out and self.held() is None and not self.memory.passed_on

    def array(self, nbytes):
        """Its first bytes."""
        array, self.held = leased(self.memory, 0, nbytes)
        return array


def _nothing():
    return None


def leased(memory, first, nbytes, callback=None):
    """Some of a file's bytes as an array, and a weak reference that ends with the last array on them."""
    array = np.frombuffer(memoryview(memory)[first:first + nbytes], np.uint8)
    return array, weakref.ref(array.base, callback)


class Sender:
    """The worker's end: a pipe, and the files that batches are written to."""

    def __init__(self, pipe):
        self.pipe, self.files, self.gone = pipe, {}, []
        self.numbers, self.lock = itertools.count(), threading.Lock()

    def room(self, nbytes):
        """An array of bytes in a file that nobody reads, or None."""
        with self.lock:  # (a dataset may have threads that join samples)
            return self._room(nbytes)

    def _room(self, nbytes):
        file = next((f for f in self.files.values() if f.free and nbytes <= len(f.memory) <= 2 * nbytes), None)
        if file is None:
            if too_many(8 * len(self.files)):
                return None
            try:
                size = nbytes + -nbytes % 4096
                file = _File(SharedMemory(new_file(size), size))
            except OSError:
                return None
            self.files[next(self.numbers)] = file
        return file.array(nbytes)

    def freed(self, numbers):
        """Take back what the main process has done with; ``~number`` is a file that others may see."""
        for number in numbers:
            file = self.files.get(max(number, ~number))
            if file is not None:
                file.out -= 1
                file.memory.passed_on |= number < 0

    def send(self, number, content, memories):
        """A numbered batch, as ``pickled`` gives it."""
        entries, new, later = self._divided(memories)
        # (By itself, so that a batch that cannot be read back has a number.)
        self.pipe.send((number, self.gone, entries))
        self.gone = []
        if new and not _send_files(self.pipe, [memory.fd for memory, *_ in new]):
            later[:0] = [part for _, part, _ in new]
            for n in [n for *_, n in new if n is not None]:
                self.files[n].told = False
                self.files[n].out -= 1
        for part in later:
            self.pipe.send_bytes(part)
        self.pipe.send_bytes(content)
        used = len(memories)
        memories.clear()
        del new, later
        self._forget(used)

    def _divided(self, memories):
        """(what is told of each memory, files that go along, memories that go through the pipe)."""
        memories[:] = [self._moved(*memory) for memory in memories]
        numbers = {id(file.memory): n for n, file in list(self.files.items())}
        entries, new, later = [], [], []
        for array, first, last, origin in memories:
            memory, part = owner(array) if CAN_SEND else None, bytes_of(array, first, last)
            if memory is not None and len(new) < SENT_AT_ONCE:
                how = self._in_file(array, first, part, numbers.get(id(memory)))
                new += [(memory, part, how[0])] if how[3] else []
            elif len(part) > SMALL:
                how = len(part)
                later.append(part)
            else:
                how = bytes(part)
            entries.append((how, array.dtype.str, origin))
        return entries, new, later

    def _in_file(self, array, first, part, n):
        """Where a part of memory lies: (the number of its file, place, length, size of a file that is new there, or 0)."""
        memory = owner(array)
        start, new = address(array) + first - address(np.frombuffer(memory, np.uint8)), True
        if n is not None:
            file = self.files[n]
            file.out += 1
            new, file.told = not file.told, True
        return n, start, len(part), len(memory) if new else 0

    def _moved(self, buf, first, last):
        """(array, first byte, last, first byte before): a memory, in a file if it is large and one is to be had."""
        if last - first > SMALL and CAN_SEND and owner(buf) is None:
            part = bytes_of(buf, first, last)
            room = self.room(len(part))
            if room is not None:
                room[:] = part
                return room.view(buf.dtype), 0, len(part), first
        return buf, first, last, first

    def _forget(self, used):
        """Let go of files beyond what batches like this one need."""
        files = list(self.files.items())
        free = [n for n, f in files if f.free]
        gone = free[:max(0, len(free) - 2 * used - 2)]
        gone += [n for n, f in files if f.memory.passed_on]
        for n in [n for n, _ in files[:max(0, len(files) - len(gone) - KEPT * used - 4)]] + gone:
            file = self.files.pop(n, None)
            if file is not None and file.told:
                self.gone.append(n)


def stacked(tensors):
    """Tensors joined along a new first dimension where the main process can read them; None if that is not the way."""
    first = tensors[0]
    if any([t.__class__ is not Tensor or t.is_sparse or t._kind is not first._kind or t._rg or t._shape != first._shape
            for t in tensors]):
        return None
    out = _tensor_in_file((len(tensors), *first._shape), first._kind)
    if out is not None:
        REGISTRY["stacked"].cpu_launch(out, tensors, 0)
    return out


def _tensor_in_file(shape, kind):
    n = math.prod(shape)
    if not kind.cpu or n * kind.itemsize <= SMALL or not CAN_SEND:
        return None
    room = sender.room(n * kind.itemsize)
    return None if room is None else raw(room.view(kind.np), address(room), n, shape, None, kind, [0])


# --- files through the pipe ---

def _socket(pipe):
    found = socket.socket(fileno=os.dup(pipe.fileno()))
    found.setblocking(True)  # whatever the default of new ones
    return found


def _send_files(pipe, fds):
    """Whether they went: the system may have too many on their way."""
    with _socket(pipe) as to:
        try:
            socket.send_fds(to, [b"F"], fds)
            return True
        except (BrokenPipeError, ConnectionResetError):
            raise
        except OSError:
            to.sendall(b"N")
            return False


def _receive_files(pipe, count):
    """As many descriptors, or None where they did not go; EMFILE, if this process has no place for them."""
    with _socket(pipe) as from_:
        word, fds, _, _ = socket.recv_fds(from_, 1, count, getattr(socket, "MSG_CMSG_CLOEXEC", 0))
    if not word:
        raise EOFError
    if word == b"N":
        return None
    if len(fds) == count:
        return fds
    for fd in fds:
        os.close(fd)
    return [OSError(errno.EMFILE, f"{os.strerror(errno.EMFILE)}: the files that a DataLoader's worker sent")] * count


# --- the main process ---

class Receiver:
    """The main process's end: a pipe, the files that came through it, who reads them, and what nobody reads any more."""

    def __init__(self, pipe):
        self.pipe, self.files, self.leases, self.freed = pipe, {}, {}, []
        self.keys = itertools.count()

    def done_with(self):
        """The numbers to hand to the worker."""
        found = self.freed[:]
        del self.freed[:len(found)]  # (More may have come.)
        return found

    def receive(self):
        """(number, pickle, the memories as they came) of a batch; (what else was sent, None, None)."""
        message = self.pipe.recv()
        if not isinstance(message, tuple):
            return message, None, None
        number, gone, entries = message
        for n in gone:
            self.files.pop(n, None)
        new = [i for i, (how, *_) in enumerate(entries) if isinstance(how, tuple) and how[3]]
        fds = _receive_files(self.pipe, len(new)) if new else []
        by_pipe = [(i, entries[i][0][2]) for i in new] if fds is None else []
        by_pipe += [(i, how) for i, (how, *_) in enumerate(entries) if isinstance(how, int)]
        arrays = {i: np.empty(length, np.uint8) for i, length in by_pipe}
        for array in arrays.values():
            self.pipe.recv_bytes_into(array)
        return number, self.pipe.recv_bytes(), (entries, dict(zip(new, fds or ())), arrays)

    def read(self, content, came):
        """The batch; an error once all files are in somebody's hands."""
        entries, fds, arrays = came
        errors = []
        for i, (how, *_) in enumerate(entries):
            if isinstance(how, bytes):
                arrays[i] = np.frombuffer(bytearray(how), np.uint8)
            elif i not in arrays:
                try:
                    arrays[i] = self._part(*how, fds.get(i))
                except OSError as error:
                    errors.append(error)
        if errors:
            raise errors[0]
        return unpickled(content, [(arrays[i].view(dtype), origin, [0]) for i, (_, dtype, origin) in enumerate(entries)])

    def _part(self, n, start, length, size, fd):
        """A part of a file, which is read by nobody again when the last array on it ends."""
        if isinstance(fd, OSError):
            raise fd
        memory = self.files[n] if fd is None else SharedMemory(fd, size)
        if n is None:
            return leased(memory, start, length)[0]
        self.files[n] = memory
        key = next(self.keys)

        def ended(_, leases=self.leases, freed=self.freed):
            del leases[key]
            freed.append(~n if memory.passed_on else n)
        array, self.leases[key] = leased(memory, start, length, ended)
        # Who keeps many batches has memory, but not as many descriptors.
        return array.copy() if too_many(4 * len(MAPPED)) else array
