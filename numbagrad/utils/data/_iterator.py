"""One pass over a DataLoader's batches, made in this process or by workers."""

import itertools
import math
import multiprocessing
import os
import time
import warnings
import weakref
from multiprocessing.connection import wait

import numbagrad as ng

from . import _handover, _worker
from .sampler import _draw_seed


class _DatasetKind:
    """How a dataset is read: sample by sample, or from its beginning."""

    Map, Iterable = 0, 1


class _BaseDataLoaderIter:
    """One pass over a loader's batches."""

    def __init__(self, loader):
        self.loader, self.iterable = loader, loader._dataset_kind == _DatasetKind.Iterable
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
        declared = self.loader._IterableDataset_len_called
        if self.iterable and declared is not None and self.count > declared:
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


class _SingleProcessDataLoaderIter(_BaseDataLoaderIter):
    def __init__(self, loader):
        if loader.timeout != 0:
            raise AssertionError("a DataLoader without workers cannot time out: timeout must be 0")
        super().__init__(loader)
        self.fetcher = _worker.Fetcher(
            loader.dataset, self.iterable, loader._auto_collation, loader.collate_fn, loader.drop_last
        )

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
        self.results, far_end = context.Pipe()  # a socket, where there are any: descriptors go through it
        self.receiver = _handover.Receiver(self.results)
        self.process = context.Process(
            target=_worker.loop, args=(setup, number, self.tasks, far_end, is_done), daemon=True
        )
        try:
            self.process.start()
        finally:
            far_end.close()  # else the pipe would not end with the worker
        self.active = True


class _MultiProcessingDataLoaderIter(_BaseDataLoaderIter):
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
            self.iterable,
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
        worker.tasks.put((self.sent, index, worker.receiver.done_with()))
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
        worker = self._wait()
        try:
            number, content, came = worker.receiver.receive()
            data = None if content is None else self._data(worker, content, came)
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
        """A worker that sent something or ended."""
        by_pipe = {worker.results: worker for worker in self.workers}
        timeout = self.loader.timeout
        end = time.monotonic() + timeout if timeout else math.inf
        while True:
            left = end - time.monotonic()
            ready = wait(by_pipe, timeout=max(0.0, min(left, _worker.CHECK_SECONDS)))
            if ready:
                return by_pipe[ready[0]]
            # A pipe outlives its worker while another process holds a copy of its end: one that the worker forked.
            dead = next((worker for worker in self.workers if not worker.process.is_alive()), None)
            if dead is not None and not dead.results.poll():
                self._died(dead)
            if left <= _worker.CHECK_SECONDS:
                raise RuntimeError(f"DataLoader timed out after {timeout} seconds")

    def _data(self, worker, content, came):
        """The batch of a message; what cannot be read back is the batch's failure, not the iterator's."""
        try:
            return worker.receiver.read(content, came)
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
