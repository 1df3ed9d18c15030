"""Datasets, samplers and the DataLoader against PyTorch's."""

import collections
import os
import signal
import time
import warnings

import numpy as np
import pytest

import numbagrad as ng
from numbagrad.utils import data as ng_data

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
torch_data = torch.utils.data
PAIRS = [(ng, ng_data), (torch, torch_data)]
Point = collections.namedtuple("Point", "x y")


def plain(value):
    """Tensors inside as (dtype, list), so that results of two libraries compare."""
    if hasattr(value, "tolist"):
        return str(value.dtype), value.tolist()
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(plain, value))
    if isinstance(value, (list, tuple)):
        return [type(value).__name__, *map(plain, value)]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def same(action):
    """Both libraries give the same; returns it."""
    ours, theirs = (plain(action(lib, data)) for lib, data in PAIRS)
    assert ours == theirs
    return ours


def same_error(action):
    found = []
    for lib, data in PAIRS:
        with pytest.raises(Exception) as caught:
            action(lib, data)
        found.append((type(caught.value).__name__, str(caught.value)))
    assert found[0] == found[1]


class Squares:
    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        return float(i), i * i


def tensors(lib, data, n=10):
    return data.TensorDataset(lib.arange(n), lib.arange(2.0 * n).reshape(n, 2))


def iterable(data, n):
    class Range(data.IterableDataset):
        def __iter__(self):
            info = data.get_worker_info()
            first, step = (0, 1) if info is None else (info.id, info.num_workers)
            return iter(range(first, n, step))

        def __len__(self):
            return n

    return Range()


# Order


@pytest.mark.parametrize("seed", [0, 12345])
def test_shuffled_orders_and_stream(seed):
    def run(lib, data):
        lib.manual_seed(seed)
        loader = data.DataLoader(tensors(lib, data), batch_size=3, shuffle=True)
        return [list(loader), list(loader), lib.rand(2)]

    same(run)


def test_orders_with_a_generator():
    def run(lib, data):
        g = lib.Generator()
        g.manual_seed(5)
        loader = data.DataLoader(tensors(lib, data), batch_size=4, shuffle=True, generator=g, drop_last=True)
        return [list(loader), list(loader), lib.randperm(5, generator=g)]

    same(run)


def test_samplers():
    def run(lib, data):
        lib.manual_seed(1)
        source = range(7)
        weights = [0.1, 0.0, 0.4, 0.5]
        samplers = [
            data.SequentialSampler(source),
            data.RandomSampler(source),
            data.RandomSampler(source, num_samples=17),
            data.RandomSampler(source, replacement=True, num_samples=70),
            data.SubsetRandomSampler([5, 3, 1]),
            data.WeightedRandomSampler(weights, 12),
            data.WeightedRandomSampler(weights, 3, replacement=False),
            data.BatchSampler(range(7), 3, False),
            data.BatchSampler(range(7), 3, True),
            data.BatchSampler(data.RandomSampler(source), 2, False),
        ]
        return [[len(s), list(s), list(s)] for s in samplers]

    same(run)
    same_error(lambda lib, data: data.RandomSampler([], num_samples=None))
    same_error(lambda lib, data: data.RandomSampler([1], replacement=1))
    same_error(lambda lib, data: data.RandomSampler([1], num_samples=-1))
    same_error(lambda lib, data: data.WeightedRandomSampler([1.0], 0))
    same_error(lambda lib, data: data.WeightedRandomSampler([1.0], 1, replacement=3))
    same_error(lambda lib, data: data.WeightedRandomSampler([[1.0]], 1))
    same_error(lambda lib, data: data.BatchSampler(range(3), True, False))
    same_error(lambda lib, data: data.BatchSampler(range(3), 0, False))
    same_error(lambda lib, data: data.BatchSampler(range(3), 2, 1))


def test_random_split():
    def run(lib, data):
        g = lib.Generator()
        g.manual_seed(42)
        parts = data.random_split(range(10), [3, 7], generator=g)
        more = data.random_split(range(11), [0.3, 0.3, 0.4], generator=g)
        lib.manual_seed(3)
        default = data.random_split(range(5), [2, 3])
        return [[list(p.indices), list(p)] for p in (*parts, *more, *default)]

    same(run)
    same_error(lambda lib, data: data.random_split(range(10), [3, 3]))
    same_error(lambda lib, data: data.random_split(range(10), [1.5, -0.5]))
    with pytest.warns(UserWarning, match="Length of split at index 1 is 0"):
        ng_data.random_split(range(1), [0.5, 0.5])


# Datasets


def test_datasets():
    def run(lib, data):
        a, b = tensors(lib, data), tensors(lib, data, 4)
        both = data.ConcatDataset([a, b])
        stacked = data.StackDataset(Squares(4), b)
        named = data.StackDataset(x=Squares(4), y=data.Subset(a, [9, 8, 7, 6]))
        subset = data.Subset(both, [13, 0, 5])
        chained = data.ChainDataset([iterable(data, 3), iterable(data, 2)])
        return [
            [len(d), list(map(d.__getitem__, (0, 2, len(d) - 1)))] for d in (a, both, stacked, named, subset)
        ] + [
            both[-1], len(a), stacked.__getitems__([0, 3]), named.__getitems__([1]), subset.__getitems__([2, 0]),
            list(chained), len(chained), both.cumulative_sizes,
            len(tensors(lib, data) + tensors(lib, data)), list(iterable(data, 2) + iterable(data, 1)),
        ]  # fmt: skip

    same(run)
    same_error(lambda lib, data: data.TensorDataset(lib.ones(2), lib.ones(3)))
    same_error(lambda lib, data: data.StackDataset())
    same_error(lambda lib, data: data.StackDataset([1], a=[1]))
    same_error(lambda lib, data: data.StackDataset([1], [1, 2]))
    same_error(lambda lib, data: data.ConcatDataset([]))
    same_error(lambda lib, data: data.ConcatDataset([iterable(data, 2)]))
    same_error(lambda lib, data: data.ConcatDataset([[1]])[-3])
    same_error(lambda lib, data: list(data.ChainDataset([[1]])))
    same_error(lambda lib, data: data.Dataset()[0])


def test_default_collate():
    def run(lib, data):
        c = data.default_collate
        return [
            c([1, 2]), c([1.5, 2.0]), c([True, False]), c(["a", "b"]), c([b"a"]),
            c([(1, 2.0, "x"), (3, 4.0, "y")]), c([[1, 2], [3, 4]]), c([{"a": 1, "b": [2]}, {"a": 3, "b": [4]}]),
            c([Point(1, 2), Point(3, 4)]), c([np.float32(1), np.float32(2)]), c([np.array([1, 2]), np.array([3, 4])]),
            c([lib.ones(2), lib.zeros(2)]), c([np.int64(3)]), c([collections.OrderedDict(z=1), {"z": 2}]),
        ]  # fmt: skip

    same(run)
    same_error(lambda lib, data: data.default_collate([object]))
    same_error(lambda lib, data: data.default_collate([None]))
    same_error(lambda lib, data: data.default_collate([[1, 2], [3]]))
    same_error(lambda lib, data: data.default_collate([np.array(["a"])]))


def test_default_convert():
    def run(lib, data):
        c = data.default_convert
        return [
            c(np.array([1, 2])), c(3), c("a"), c([np.float64(1), "b"]), c((1, np.int32(2))), c({"a": np.ones(2)}),
            c(Point(np.ones(1), 2)), c(lib.ones(1)),
        ]  # fmt: skip

    same(run)


# DataLoader


def test_loaders_without_workers():
    def run(lib, data):
        ds = tensors(lib, data)
        loaders = [
            data.DataLoader(ds),
            data.DataLoader(ds, batch_size=4),
            data.DataLoader(ds, batch_size=4, drop_last=True),
            data.DataLoader(ds, batch_size=None),
            data.DataLoader(ds, batch_sampler=[[1, 2], [5]]),
            data.DataLoader(ds, sampler=[3, 1, 2], batch_size=2),
            data.DataLoader(data.Subset(ds, [5, 6, 7]), batch_size=2),
            data.DataLoader(Squares(5), batch_size=2),
            data.DataLoader(Squares(5), batch_size=2, collate_fn=lambda samples: len(samples)),
            data.DataLoader(iterable(data, 7), batch_size=3),
            data.DataLoader(iterable(data, 7), batch_size=3, drop_last=True),
            data.DataLoader(iterable(data, 3), batch_size=None),
            data.DataLoader(np.arange(3), batch_size=None),
        ]
        return [[len(loader), list(loader)] for loader in loaders]

    same(run)


def test_longer_than_declared_warns():
    def run(lib, data):
        class Long(data.IterableDataset):
            def __iter__(self):
                return iter(range(4))

            def __len__(self):
                return 2

            def __repr__(self):
                return "Long"

        loader = data.DataLoader(Long(), batch_size=1)
        len(loader)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            list(loader)
        return [str(w.message) for w in caught]

    assert len(same(run)) == 3


def test_loader_errors():
    ds = Squares(3)
    for kwargs in (
        {"num_workers": -1},
        {"timeout": -1},
        {"prefetch_factor": 2},
        {"num_workers": 1, "prefetch_factor": -2},
        {"persistent_workers": True},
        {"sampler": [1], "shuffle": True},
        {"batch_sampler": [[1]], "batch_size": 2},
        {"batch_sampler": [[1]], "drop_last": True},
        {"batch_size": None, "drop_last": True},
        {"batch_size": 0},
        {"multiprocessing_context": "fork"},
        {"multiprocessing_context": "spoon", "num_workers": 1},
        {"multiprocessing_context": 3, "num_workers": 1},
    ):
        same_error(lambda lib, data, kwargs=kwargs: data.DataLoader(ds, **kwargs))
    same_error(lambda lib, data: data.DataLoader(iterable(data, 3), shuffle=True))
    same_error(lambda lib, data: data.DataLoader(iterable(data, 3), sampler=[1]))
    same_error(lambda lib, data: data.DataLoader(iterable(data, 3), batch_sampler=[[1]]))
    same_error(lambda lib, data: setattr(data.DataLoader(ds), "batch_size", 3))
    with pytest.warns(UserWarning, match="This DataLoader will create 10000 worker processes"):
        ng_data.DataLoader(ds, num_workers=10000)


def seeds(worker_id):
    SEEN.append(worker_id)


SEEN = []


class Draws:
    """What the random streams of a worker give."""

    def __init__(self, lib, data):
        self.lib, self.data = lib, data

    def __len__(self):
        return 6

    def __getitem__(self, i):
        import random

        info = self.data.get_worker_info()
        return i, info.id, info.num_workers, info.seed, self.lib.rand(1).item(), np.random.rand(), random.random()


@pytest.mark.parametrize("persistent", [False, True])
def test_workers_give_the_same_batches_and_streams(persistent):
    def run(lib, data):
        lib.manual_seed(9)
        loader = data.DataLoader(
            Draws(lib, data), batch_size=2, shuffle=True, num_workers=2, persistent_workers=persistent,
            multiprocessing_context="fork",
        )  # fmt: skip
        return [[list(loader), list(loader)], data.get_worker_info()]

    same(run)


def test_iterable_dataset_with_workers():
    def run(lib, data):
        out = []
        for persistent in (False, True):
            loader = data.DataLoader(
                iterable(data, 11), batch_size=2, num_workers=2, persistent_workers=persistent,
                multiprocessing_context="fork",
            )  # fmt: skip
            out += [list(loader), list(loader)]
        return out

    same(run)


def test_pass_left_early_then_again():
    loader = ng_data.DataLoader(Squares(20), batch_size=2, num_workers=2, persistent_workers=True)
    assert next(iter(loader))[1].tolist() == [0, 1]
    assert [b[1].tolist()[0] for b in loader] == [(2 * i) ** 2 for i in range(10)]


def test_out_of_order_gives_every_batch():
    loader = ng_data.DataLoader(Squares(20), batch_size=2, num_workers=2, in_order=False)
    assert sorted(b[1].tolist()[0] for b in loader) == [(2 * i) ** 2 for i in range(10)]


class Failing(Squares):
    def __init__(self, error, at=3):
        super().__init__(8)
        self.error, self.at = error, at

    def __getitem__(self, i):
        if i == self.at:
            raise self.error
        return i


class Strange(Exception):
    def __init__(self, a, b):
        super().__init__(a, b)


@pytest.mark.parametrize("error", [ValueError("bad sample"), KeyError("missing"), Strange(1, 2)], ids=repr)
def test_worker_errors_are_raised_again(error):
    expected = RuntimeError if isinstance(error, Strange) else type(error)
    loader = ng_data.DataLoader(Failing(error), batch_size=2, num_workers=1)
    batches = iter(loader)
    next(batches)
    with pytest.raises(expected) as caught:
        next(batches)
    text = str(caught.value)
    assert f"Caught {type(error).__name__} in DataLoader worker process 0.\nOriginal Traceback" in text
    assert "__getitem__" in text and "raise self.error" in text


def failing_init(worker_id):
    raise ValueError(f"init of {worker_id}")


def test_error_in_worker_init():
    loader = ng_data.DataLoader(Squares(4), num_workers=1, worker_init_fn=failing_init)
    with pytest.raises(ValueError, match="init of 0"):
        next(iter(loader))


class Unpicklable(Squares):
    def __getitem__(self, i):
        return lambda: i


def test_unpicklable_sample_is_an_error():
    loader = ng_data.DataLoader(Unpicklable(2), batch_size=None, num_workers=1)
    with pytest.raises(Exception, match="Can't pickle|Can't get local object"):
        next(iter(loader))


class Killing(Squares):
    def __getitem__(self, i):
        if i == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return i


def test_killed_worker_is_an_error():
    loader = ng_data.DataLoader(Killing(8), batch_size=2, num_workers=2)
    began = time.monotonic()
    with pytest.raises(RuntimeError, match=r"DataLoader worker \(pid\(s\) \d+\) exited unexpectedly by signal 9"):
        list(loader)
    assert time.monotonic() - began < 60


class Slow(Squares):
    def __getitem__(self, i):
        time.sleep(30)


def test_timeout():
    loader = ng_data.DataLoader(Slow(2), num_workers=1, timeout=0.5)
    batches = iter(loader)
    with pytest.raises(RuntimeError, match="DataLoader timed out after 0.5 seconds"):
        next(batches)


def test_spawned_workers():
    loader = ng_data.DataLoader(Squares(5), batch_size=2, num_workers=1, multiprocessing_context="spawn")
    assert [b[1].tolist() for b in loader] == [[0, 1], [4, 9], [16]]


def test_pin_memory_without_gpu_warns():
    if ng.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.warns(UserWarning, match="'pin_memory' argument is set as true but no accelerator is found"):
        list(ng_data.DataLoader(Squares(2), pin_memory=True))
