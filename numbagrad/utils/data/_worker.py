"""What runs in the worker processes of a DataLoader."""

import os
import queue
import random
import sys
import traceback
from dataclasses import dataclass

import numpy as np

import numbagrad as ng

from . import _handover
from .collate import default_collate
from .dataset import Subset, TensorDataset

# How long a worker waits for work before it looks whether its parent still lives.
CHECK_SECONDS = 5.0
# How long a worker that was told to stop may take to finish what it is doing.
STOP_SECONDS = 2.0


@dataclass(frozen=True)
class WorkerInfo:
    """Which worker this is: ``id`` of ``num_workers``, its ``seed``, and its copy of the ``dataset``."""

    id: int
    num_workers: int
    seed: int
    dataset: object


@dataclass(frozen=True)
class Exhausted:
    """Sent in place of data when a worker's iterable dataset has come to its end."""

    worker_id: int


@dataclass(frozen=True)
class Resume:
    """Sent to a worker that outlives a pass, to begin the next; it sends the same back."""


@dataclass(frozen=True)
class Setup:
    """All that a worker needs to know."""

    dataset: object
    iterable: bool
    auto_collation: bool
    collate_fn: object
    drop_last: bool
    base_seed: int
    init_fn: object
    num_workers: int


_info = None


def get_worker_info():
    """The :class:`WorkerInfo` of this worker process, None in the main process."""
    return _info


class _Text(str):
    """Prints as itself also where an exception shows the repr of its argument, as KeyError does."""

    def __repr__(self):
        return str(self)


class Failure:
    """An exception on its way to the main process: its type, and its traceback as text."""

    def __init__(self, where):
        kind, error, tb = sys.exc_info()
        self.kind, self.where = kind, where
        self.text = "".join(traceback.format_exception(kind, error, tb))

    def reraise(self):
        """Raise an exception of the same type (RuntimeError when it cannot be made from a text)."""
        text = f"Caught {self.kind.__name__} {self.where}.\nOriginal {self.text}"
        try:
            error = self.kind(_Text(text) if self.kind is KeyError else text)
        except Exception:
            error = RuntimeError(text)
        raise error from None


class Fetcher:
    """Turns what the sampler yields into data: samples by index, or the next ones of an iterable dataset."""

    def __init__(self, dataset, iterable, auto_collation, collate_fn, drop_last):
        self.dataset, self.auto_collation = dataset, auto_collation
        self.collate_fn, self.drop_last = collate_fn, drop_last
        self.iterator = iter(dataset) if iterable else None
        self.ended = False

    def fetch(self, index):
        """One batch, or one sample without automatic batching; StopIteration at the end of an iterable dataset."""
        if self.iterator is not None:
            return self.collate_fn(self._next(index))
        if not self.auto_collation:
            return self.collate_fn(self.dataset[index])
        if self.collate_fn is default_collate:
            batch = _gather(self.dataset, index)
            if batch is not None:
                return batch
        whole = getattr(self.dataset, "__getitems__", None)
        return self.collate_fn(whole(index) if whole else [self.dataset[i] for i in index])

    def _next(self, index):
        if self.ended:
            raise StopIteration
        if not self.auto_collation:
            return next(self.iterator)
        samples = []
        for _ in index:
            try:
                samples.append(next(self.iterator))
            except StopIteration:
                self.ended = True
                break
        if not samples or (self.drop_last and len(samples) < len(index)):
            raise StopIteration
        return samples


def _gather(dataset, index):
    """The batch of a TensorDataset by one indexing of each tensor: the same values without a tensor for each sample."""
    if type(dataset) is Subset:
        return _gather(dataset.dataset, [dataset.indices[i] for i in index])
    if type(dataset) is not TensorDataset or any(t.requires_grad for t in dataset.tensors):
        return None
    rows = np.asarray(index)
    if rows.dtype != np.int64 or rows.ndim != 1:
        return None
    rows = ng.from_numpy(rows)
    return [tensor[rows] for tensor in dataset.tensors]


def numpy_seed(base_seed, worker_id):
    """Four words for ``np.random.seed``, different for every worker and base seed."""
    mask = 0xFFFFFFFF
    return np.random.SeedSequence([worker_id, base_seed & mask, base_seed >> 32, 0]).generate_state(4)


def loop(setup, worker_id, index_queue, results, is_done):
    """Fetch what ``index_queue`` asks for and send it to ``results``, until None comes or the parent is gone."""
    global _info
    try:
        ng.set_num_threads(1)
        seed = setup.base_seed + worker_id
        random.seed(seed)
        ng.manual_seed(seed)
        np.random.seed(numpy_seed(setup.base_seed, worker_id))
        dataset = setup.dataset
        _info = WorkerInfo(worker_id, setup.num_workers, seed, dataset)
        where = f"in DataLoader worker process {worker_id}"
        failure = fetcher = None
        sender = _handover.sender = _handover.Sender(results)

        def new_fetcher():
            return Fetcher(dataset, setup.iterable, setup.auto_collation, setup.collate_fn, setup.drop_last)

        try:
            if setup.init_fn is not None:
                setup.init_fn(worker_id)
            fetcher = new_fetcher()
        except Exception:
            failure = Failure(where)
        parent = os.getppid()
        exhausted = False
        while True:
            try:
                task = index_queue.get(timeout=CHECK_SECONDS)
            except queue.Empty:
                if os.getppid() != parent:
                    return
                continue
            if task is None:
                return
            if isinstance(task, Resume):
                results.send(task)
                exhausted = False
                if failure is None:
                    fetcher = new_fetcher()
                continue
            if is_done.value:
                continue
            number, index, freed = task
            sender.freed(freed)
            if failure is not None:
                data = failure
            elif exhausted:
                data = Exhausted(worker_id)
            else:
                try:
                    data = fetcher.fetch(index)
                except Exception as error:
                    exhausted = isinstance(error, StopIteration) and fetcher.iterator is not None
                    data = Exhausted(worker_id) if exhausted else Failure(where)
            try:
                content, memories = _handover.pickled(data)
            except Exception:  # what was fetched cannot be pickled
                content, memories = _handover.pickled(Failure(where))
            del data
            try:
                sender.send(number, content, memories)
            except (BrokenPipeError, ConnectionResetError):
                return
            del content
    except KeyboardInterrupt:
        return  # the main process gets it too, and reports it
