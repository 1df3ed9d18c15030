"""``torch.multiprocessing``: Python's ``multiprocessing``, through which tensors go as files that both processes have open."""

from __future__ import annotations

import multiprocessing
import signal
import sys
from multiprocessing import *  # noqa: F403
from multiprocessing import connection, get_context, reduction
from multiprocessing.reduction import ForkingPickler

import numpy as np

from .core import shared, storages
from .core.shared import mapped, owner, share
from .core.tensor import Tensor, raw
from .nn.parameter import Buffer, Parameter

__all__ = [*multiprocessing.__all__, "get_all_sharing_strategies", "get_sharing_strategy", "reduction", "set_sharing_strategy"]
NON_LEAF = ("Cowardly refusing to serialize non-leaf tensor which requires_grad, since autograd does not support crossing "
            "process boundaries.  If you just want to transfer the data, call detach() on the tensor before serializing (e.g., "
            "putting it on the queue).")
_strategies = {"file_descriptor", "file_system"}
_strategy = "file_descriptor"


def set_sharing_strategy(new_strategy):
    """Accepted, and said by :func:`get_sharing_strategy`: tensors are shared by descriptors of files without a name anyway.

    (Names of files would be left over where a process is killed; how many descriptors a process may have is looked at.)"""
    global _strategy
    if new_strategy not in _strategies:
        raise AssertionError(f"invalid sharing strategy {new_strategy!r}, expected one of {_strategies}")
    _strategy = new_strategy


def get_sharing_strategy():
    """The way in which tensors are shared, as the program chose it."""
    return _strategy


def get_all_sharing_strategies():
    """All ways in which tensors can be shared."""
    return _strategies


# --- tensors on their way ---

def _send(t):
    if t._rg and t._node is not None:
        raise RuntimeError(NON_LEAF)
    if not t._kind.cpu:
        return t.__reduce_ex__(2)
    share(t)
    memory = owner(t._buf)
    memory.passed_on = True
    place = shared.storage_address(t)
    start = place - memory_address(memory)
    return _receive, (type(t), reduction.DupFd(memory.fd), len(memory), start, t._buf.dtype.str, t._buf.size, t._ptr - place,
                      t._shape, t._strides, t._kind, t._rg)


def memory_address(memory):
    """Where a file's pages begin."""
    return np.frombuffer(memory, np.uint8).ctypes.data


def _receive(cls, sent, size, start, dtype, count, offset, shape, strides, kind, requires_grad):
    dtype = np.dtype(dtype)
    pages = mapped(sent.detach(), np.dtype(np.uint8), size)
    buf = pages[start:start + count * dtype.itemsize].view(dtype)
    t = raw(buf, shared.address(buf) + offset, int(np.prod(shape, dtype=np.int64)), shape, strides, kind, [0])
    if issubclass(cls, Parameter):
        return cls(t, requires_grad)
    t = t if cls is Tensor else t.as_subclass(cls)
    return t.requires_grad_() if requires_grad else t


def _send_bytes(storage):
    return _as_storage, (storages.on_storage(storage, storages.BYTE.dtype),)


def _as_storage(t):
    return storages.UntypedStorage(_tensor=t)


for _class in (Tensor, Parameter, Buffer):
    ForkingPickler.register(_class, _send)
ForkingPickler.register(storages.UntypedStorage, _send_bytes)


# --- processes that are started together ---

class ProcessException(Exception):
    """One of several processes ended badly."""

    def __init__(self, msg, error_index, pid):
        super().__init__(msg)
        self.msg, self.error_index, self.pid = msg, error_index, pid

    def __reduce__(self):
        return type(self), (self.msg, self.error_index, self.pid)


class ProcessRaisedException(ProcessException):
    """It raised an exception."""


class ProcessExitedException(ProcessException):
    """It ended with a signal or an exit code."""

    def __init__(self, msg, error_index, error_pid, exit_code, signal_name=None):
        super().__init__(msg, error_index, error_pid)
        self.exit_code, self.signal_name = exit_code, signal_name

    def __reduce__(self):
        return type(self), (self.msg, self.error_index, self.pid, self.exit_code, self.signal_name)


def _run(fn, i, args, errors):
    try:
        fn(i, *args)
    except KeyboardInterrupt:
        pass
    except Exception:
        import traceback
        errors.put(traceback.format_exc())
        sys.exit(1)


class ProcessContext:
    """Processes that were started together, and what they raised."""

    def __init__(self, processes, error_queues):
        self.error_queues, self.processes = error_queues, processes
        self.sentinels = {process.sentinel: index for index, process in enumerate(processes)}

    def pids(self):
        return [int(process.pid) for process in self.processes]

    def join(self, timeout=None, grace_period=None):
        """Wait for one or more to end: True if all have; if one failed the others are ended and its error is raised."""
        if not self.sentinels:
            return True
        failed = None
        for sentinel in connection.wait(self.sentinels.keys(), timeout=timeout):
            index = self.sentinels.pop(sentinel)
            self.processes[index].join()
            if self.processes[index].exitcode != 0:
                failed = index
                break
        if failed is None:
            return not self.sentinels
        for process in self.processes:
            if process.is_alive():
                process.terminate()
        for process in self.processes:
            process.join()
        return self._raise(failed)

    def _raise(self, index):
        process = self.processes[index]
        if self.error_queues[index].empty():
            if process.exitcode < 0:
                name = signal.Signals(-process.exitcode).name
                raise ProcessExitedException(f"process {index} terminated with signal {name}", index, process.pid,
                                             process.exitcode, name)
            raise ProcessExitedException(f"process {index} terminated with exit code {process.exitcode}", index, process.pid,
                                         process.exitcode)
        text = self.error_queues[index].get()
        raise ProcessRaisedException(f"\n\n-- Process {index} terminated with the following error:\n{text}", index, process.pid)


SpawnContext = ProcessContext


def start_processes(fn, args=(), nprocs=1, join=True, daemon=False, start_method="spawn", numa_options=None):
    """Start ``fn(i, *args)`` in ``nprocs`` processes; with ``join`` wait for all of them, else return their context."""
    context = get_context(start_method)
    queues, processes = [], []
    for i in range(nprocs):
        errors = context.SimpleQueue()
        process = context.Process(target=_run, args=(fn, i, args, errors), daemon=daemon)
        process.start()
        queues.append(errors)
        processes.append(process)
    found = ProcessContext(processes, queues)
    if not join:
        return found
    while not found.join():
        pass
    return None


def spawn(fn, args=(), nprocs=1, join=True, daemon=False, start_method="spawn"):
    """Start ``fn(i, *args)`` in ``nprocs`` new processes."""
    return start_processes(fn, args, nprocs, join, daemon, start_method)


__all__ += ["ProcessContext", "ProcessExitedException", "ProcessRaisedException", "SpawnContext", "spawn", "start_processes"]
