"""DataLoader: batches of a dataset, made in this process or by workers."""

import itertools
import math
import multiprocessing
import os
import pickle
import time
import warnings
import weakref
from multiprocessing.connection import wait
from typing import Generic, TypeVar

import numbagrad as ng

from . import _worker
from .collate import default_collate, default_convert
from .dataset import IterableDataset
from .sampler import BatchSampler, RandomSampler, Sampler, SequentialSampler, _draw_seed

__all__ = ["DataLoader"]

_Sample = TypeVar("_Sample", covariant=True)


class _Endless(Sampler):
    """What an iterable dataset is asked for: nothing in particular, for ever."""

    def __iter__(self):
        return itertools.repeat(None)


class DataLoader(Generic[_Sample]):
    """Iterates over the batches of a dataset.

    ``shuffle`` or a ``sampler`` give the order, ``batch_size`` (None: single samples) or a ``batch_sampler`` the
    batches, ``collate_fn`` joins samples. With ``num_workers`` processes do the work, ``prefetch_factor`` batches ahead
    each; they live as long as one pass, or as the loader with ``persistent_workers``. An exception in a worker is
    raised again here; a worker that dies, or takes longer than ``timeout`` seconds, is a RuntimeError.
    """

    _frozen = False

    def __init__(
        self,
        dataset,
        batch_size=1,
        shuffle=None,
        sampler=None,
        batch_sampler=None,
        num_workers=0,
        collate_fn=None,
        pin_memory=False,
        drop_last=False,
        timeout=0,
        worker_init_fn=None,
        multiprocessing_context=None,
        generator=None,
        *,
        prefetch_factor=None,
        persistent_workers=False,
        pin_memory_device="",
        in_order=True,
    ):
        if num_workers < 0:
            raise ValueError(
                "num_workers option should be non-negative; use num_workers=0 to disable multiprocessing."
            )
        if timeout < 0:
            raise ValueError("timeout option should be non-negative")
        if num_workers == 0 and prefetch_factor is not None:
            raise ValueError(
                "prefetch_factor option could only be specified in multiprocessing.let num_workers > 0 to enable "
                "multiprocessing, otherwise set prefetch_factor to None."
            )
        if prefetch_factor is not None and prefetch_factor < 0:
            raise ValueError("prefetch_factor option should be non-negative")
        if persistent_workers and num_workers == 0:
            raise ValueError("persistent_workers option needs num_workers > 0")
        self._iterable = isinstance(dataset, IterableDataset)
        if self._iterable:
            _check_iterable(shuffle, sampler, batch_sampler)
        if sampler is not None and shuffle:
            raise ValueError("sampler option is mutually exclusive with shuffle")
        if batch_sampler is not None:
            if batch_size != 1 or shuffle or sampler is not None or drop_last:
                raise ValueError(
                    "batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and drop_last"
                )
            batch_size = None
        elif batch_size is None and drop_last:
            raise ValueError(
                "batch_size=None option disables auto-batching and is mutually exclusive with drop_last"
            )

        self.dataset, self.num_workers, self.timeout = dataset, num_workers, timeout
        self.prefetch_factor = 2 if num_workers > 0 and prefetch_factor is None else prefetch_factor
        self.pin_memory, self.pin_memory_device = pin_memory, pin_memory_device
        self.worker_init_fn, self.generator, self.in_order = worker_init_fn, generator, in_order
        self.multiprocessing_context = _context(multiprocessing_context, num_workers)
        if sampler is None:
            if self._iterable:
                sampler = _Endless()
            else:
                sampler = RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)
        if batch_size is not None and batch_sampler is None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.batch_size, self.drop_last = batch_size, drop_last
        self.sampler, self.batch_sampler = sampler, batch_sampler
        if collate_fn is None:
            collate_fn = default_convert if batch_sampler is None else default_collate
        self.collate_fn, self.persistent_workers = collate_fn, persistent_workers
        self._declared_length = self._iterator = None
        self._frozen = True
        self.check_worker_number_rationality()

    def __setattr__(self, name, value):
        fixed = ("batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers")
        if self._frozen and name in fixed:
            raise ValueError(f"{name} attribute should not be set after {type(self).__name__} is initialized")
        super().__setattr__(name, value)

    @property
    def _auto_collation(self):
        return self.batch_sampler is not None

    @property
    def _index_sampler(self):
        return self.sampler if self.batch_sampler is None else self.batch_sampler

    def __iter__(self):
        if self.num_workers == 0:
            return _InProcess(self)
        if not self.persistent_workers:
            self.check_worker_number_rationality()
            return _WithWorkers(self)
        if self._iterator is None or self._iterator.closed:
            self._iterator = _WithWorkers(self)
        else:
            self._iterator.restart()
        return self._iterator

    def __len__(self):
        if not self._iterable:
            return len(self._index_sampler)
        # Remembered, so that an iteration that yields more than this can say so.
        length = self._declared_length = len(self.dataset)
        if self.batch_size is None:
            return length
        return length // self.batch_size if self.drop_last else math.ceil(length / self.batch_size)

    def check_worker_number_rationality(self):
        """Warn when there are more workers than processors to run them."""
        known = hasattr(os, "sched_getaffinity")
        available = len(os.sched_getaffinity(0)) if known else os.cpu_count()
        if self.num_workers == 0 or (available is not None and self.num_workers <= available):
            return
        if available is None:
            advice = "DataLoader is not able to compute a suggested max number of worker in current system."
        else:
            advice = (
                f"Our suggested max number of worker in current system is {available}"
                f"{'' if known else ' (`cpuset` is not taken into account)'}, which is smaller than what this "
                "DataLoader is going to create."
            )
        warnings.warn(
            f"This DataLoader will create {self.num_workers} worker processes in total. {advice} Please be aware that "
            "excessive worker creation might get DataLoader running slow or even freeze, lower the worker number to "
            "avoid potential slowness/freeze if necessary.",
            stacklevel=3,
        )


def _check_iterable(shuffle, sampler, batch_sampler):
    unexpected = {"shuffle": shuffle or None, "sampler": sampler, "batch_sampler": batch_sampler}
    for name, value in unexpected.items():
        if value is not None:
            raise ValueError(
                f"DataLoader with IterableDataset: expected unspecified {name} option, but got {name}={value}"
            )


def _context(context, num_workers):
    if context is None:
        return None
    if num_workers == 0:
        raise ValueError(
            "multiprocessing_context can only be used with multi-process loading (num_workers > 0), "
            f"but got num_workers={num_workers}"
        )
    if isinstance(context, str):
        methods = multiprocessing.get_all_start_methods()
        if context not in methods:
            raise ValueError(
                f"multiprocessing_context option should specify a valid start method in {methods!r}, "
                f"but got multiprocessing_context={context!r}"
            )
        return multiprocessing.get_context(context)
    if not isinstance(context, multiprocessing.context.BaseContext):
        raise TypeError(
            "multiprocessing_context option should be a valid context object or a string specifying the start method, "
            f"but got multiprocessing_context={context}"
        )
    return context


class _Iterator:
    """One pass over a loader's batches."""

    def __init__(self, loader):
        self.loader = loader
        self.indices = iter(loader._index_sampler)
        # Drawn before the sampler's own seed, which waits for the first index: the order is part of the stream.
        self.base_seed = _draw_seed(loader.generator)
        self.count = 0
        if loader.pin_memory and not ng.cuda.is_available():
            warnings.warn(
                "'pin_memory' argument is set as true but no accelerator is found, then device pinned memory won't be "
                "used.",
                stacklevel=3,
            )

    def __iter__(self):
        return self

    def __len__(self):
        return len(self.loader._index_sampler)

    def __getstate__(self):
        raise NotImplementedError(f"{type(self).__name__} cannot be pickled")

    def __next__(self):
        data = self._next_data()
        self.count += 1
        declared = self.loader._declared_length
        if self.loader._iterable and declared is not None and self.count > declared:
            text = (
                f"Length of IterableDataset {self.loader.dataset} was reported to be {declared}(when accessing "
                f"len(dataloader)), but {self.count} samples have been fetched. "
            )
            if self.loader.num_workers > 0:
                text += (
                    "For multiprocessing data-loading, this could be caused by not properly configuring the "
                    "IterableDataset replica at each worker. Please see "
                    "https://pytorch.org/docs/stable/data.html#torch.utils.data.IterableDataset for examples."
                )
            warnings.warn(text, stacklevel=2)
        return data


class _InProcess(_Iterator):
    def __init__(self, loader):
        if loader.timeout != 0:
            raise AssertionError("a DataLoader without workers cannot time out: timeout must be 0")
        super().__init__(loader)
        self.fetcher = _worker.Fetcher(loader.dataset, loader._auto_collation, loader.collate_fn, loader.drop_last)

    def _next_data(self):
        return self.fetcher.fetch(next(self.indices))


class _Worker:
    """One process: a queue of numbered tasks to it, a pipe of results from it.

    The pipe is its own, so that one which dies in the middle of a message is seen as the end of its pipe and leaves the
    others whole.
    """

    def __init__(self, context, setup, number, is_done):
        self.number = number
        self.tasks = context.Queue()
        self.tasks.cancel_join_thread()
        self.results, far_end = context.Pipe(duplex=False)
        self.process = context.Process(
            target=_worker.loop, args=(setup, number, self.tasks, far_end, is_done), daemon=True
        )
        try:
            self.process.start()
        finally:
            far_end.close()  # else the pipe would not end with the worker
        self.active = True


class _WithWorkers(_Iterator):
    broken = None  # why the pass ended before its time

    def __init__(self, loader):
        if loader.prefetch_factor < 1:
            raise AssertionError("a DataLoader with workers must ask for batches ahead: prefetch_factor must be positive")
        super().__init__(loader)
        context = loader.multiprocessing_context or multiprocessing.get_context()
        # No Event: its lock would stay with a worker that is killed while it looks.
        is_done = context.RawValue("b", 0)
        self.workers = []
        # Not __del__: in a reference cycle the queues could be taken down before it runs.
        self.finalizer = weakref.finalize(self, _stop, self.workers, is_done, os.getpid())
        setup = _worker.Setup(
            loader.dataset,
            loader._auto_collation,
            loader.collate_fn,
            loader.drop_last,
            self.base_seed,
            loader.worker_init_fn,
            loader.num_workers,
        )
        for number in range(loader.num_workers):
            self.workers.append(_Worker(context, setup, number, is_done))
        self._begin()

    def _begin(self):
        self.count = 0
        self.sent = self.given = 0  # numbers of the next task to send and of the next batch to give out
        self.owner = {}  # task number -> worker, while outstanding
        self.ready = {}  # task number -> data that came before its turn
        self.turn = itertools.cycle(self.workers)
        for worker in self.workers:
            worker.active = True
        for _ in range(self.loader.prefetch_factor * len(self.workers)):
            self._send()

    def restart(self):
        """Begin the next pass with the same processes."""
        self.indices = iter(self.loader._index_sampler)
        while self.owner:  # a pass that was left early still has batches on their way
            self._receive()
        for worker in self.workers:
            worker.tasks.put(_worker.Resume())
        for _ in self.workers:
            self._receive()
        self._begin()

    def _send(self):
        """Give the next index to the next worker whose dataset has not come to its end."""
        worker = next((w for w in itertools.islice(self.turn, len(self.workers)) if w.active), None)
        if worker is None:
            return
        try:
            index = next(self.indices)
        except StopIteration:
            return
        worker.tasks.put((self.sent, index))
        self.owner[self.sent] = worker
        self.sent += 1

    def _next_data(self):
        if self.broken:
            raise RuntimeError(self.broken)
        while not self.closed:
            if self.given in self.ready:
                number = self.given
            elif self.ready and not self.loader.in_order:
                number = next(iter(self.ready))
            elif self.owner:
                self._receive()
                continue
            else:
                break
            data = self.ready.pop(number)
            if number == self.given:
                self.given += 1
            if isinstance(data, _worker.Exhausted):
                continue
            self._send()
            if isinstance(data, _worker.Failure):
                data.reraise()
            return data
        if not self.loader.persistent_workers:
            self.close()
        raise StopIteration

    def _receive(self):
        """Take one message of any worker; RuntimeError when one died or the time is over."""
        pipe, worker = self._wait()
        try:
            number = pipe.recv()
            data = None if isinstance(number, _worker.Resume) else self._data(pipe)
        except (EOFError, ConnectionResetError):
            self._died(worker)
        except BaseException:  # an interrupt: the rest of the message would be taken for the next one
            self._break("DataLoader was interrupted in the middle of a batch; iterate anew")
            raise
        if isinstance(number, _worker.Resume):
            return
        worker = self.owner.pop(number)
        self.ready[number] = data
        if isinstance(data, _worker.Exhausted) and worker.active:
            worker.active = False
            self._send()

    def _wait(self):
        """(pipe, worker) of a worker that sent something or ended."""
        by_pipe = {worker.results: worker for worker in self.workers}
        timeout = self.loader.timeout
        end = time.monotonic() + timeout if timeout else math.inf
        while True:
            left = end - time.monotonic()
            ready = wait(by_pipe, timeout=max(0.0, min(left, _worker.CHECK_SECONDS)))
            if ready:
                return ready[0], by_pipe[ready[0]]
            # A pipe outlives its worker while another process holds a copy of its end: one that the worker forked.
            dead = next((worker for worker in self.workers if not worker.process.is_alive()), None)
            if dead is not None and not dead.results.poll():
                self._died(dead)
            if left <= _worker.CHECK_SECONDS:
                raise RuntimeError(f"DataLoader timed out after {timeout} seconds")

    def _data(self, pipe):
        """The second part of a message; what cannot be read back is the batch's failure, not the iterator's."""
        content = pipe.recv_bytes()
        try:
            return pickle.loads(content)
        except Exception:
            return _worker.Failure("while unpickling a batch in the main process")

    def _break(self, why):
        """Stop; from now on every call says why, since a pass that ends early must not look like a whole one."""
        self.broken = why
        self.close()

    def _died(self, worker):
        worker.process.join(timeout=1)
        code = worker.process.exitcode
        how = f" by signal {-code}" if code is not None and code < 0 else f" with exit code {code}"
        pid = worker.process.pid
        self._break(f"DataLoader worker (pid(s) {pid}) exited unexpectedly{how}")
        raise RuntimeError(self.broken)

    @property
    def closed(self):
        """Whether the processes were stopped."""
        return not self.finalizer.alive

    def close(self):
        """Stop the processes; those that do not end by themselves are terminated."""
        self.finalizer()


def _stop(workers, is_done, pid):
    if pid != os.getpid():  # a forked child has copies of these objects, but no say
        return
    is_done.value = 1
    for worker in workers:
        worker.tasks.put(None)
        worker.results.close()  # a worker that is sending now stops at once
    for worker in workers:
        worker.process.join(timeout=_worker.STOP_SECONDS)
        if worker.process.is_alive():
            worker.process.terminate()
            worker.process.join(timeout=_worker.STOP_SECONDS)
        worker.tasks.close()
