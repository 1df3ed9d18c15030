"""Learning rate schedulers against PyTorch: values, closed forms, warnings, errors."""

import copy
import gc
import warnings
import weakref

import pytest
from optim_helpers import LIBRARIES, found_errors

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")


def schedules(lib):
    s = lib.optim.lr_scheduler
    return {
        "lambda": lambda o: s.LambdaLR(o, [lambda e: 0.9**e, lambda e: 1 / (e + 1)]),
        "one lambda": lambda o: s.LambdaLR(o, lambda e: 0.9**e),
        "multiplicative": lambda o: s.MultiplicativeLR(o, lambda e: 0.95),
        "step": lambda o: s.StepLR(o, 3, gamma=0.5),
        "multistep": lambda o: s.MultiStepLR(o, [2, 5, 5, 9], gamma=0.3),
        "constant": lambda o: s.ConstantLR(o, factor=0.5, total_iters=4),
        "linear": lambda o: s.LinearLR(o, 0.25, 1.0, total_iters=6),
        "exponential": lambda o: s.ExponentialLR(o, 0.8),
        "polynomial": lambda o: s.PolynomialLR(o, total_iters=7, power=2.0),
        "cosine": lambda o: s.CosineAnnealingLR(o, 5, eta_min=0.01),
        "sequential": lambda o: s.SequentialLR(
            o, [s.ConstantLR(o, 0.1, 3), s.ExponentialLR(o, 0.9), s.StepLR(o, 2)], [3, 8]
        ),
        "one cycle": lambda o: s.OneCycleLR(o, [0.5, 0.2], total_steps=16),
        "one cycle, three phases": lambda o: s.OneCycleLR(
            o, 0.5, epochs=4, steps_per_epoch=4, anneal_strategy="linear", three_phase=True
        ),
        "one cycle, no momentum": lambda o: s.OneCycleLR(o, 0.5, total_steps=16, cycle_momentum=False, pct_start=0.5),
        "cyclic": lambda o: s.CyclicLR(o, 0.01, 0.1, step_size_up=3),
        "cyclic, halved": lambda o: s.CyclicLR(o, [0.01, 0.02], [0.1, 0.3], 2, 4, mode="triangular2"),
        "cyclic, by steps": lambda o: s.CyclicLR(o, 0.01, 0.1, 3, mode="exp_range", gamma=0.9, base_momentum=0.5),
        "cyclic, own scale": lambda o: s.CyclicLR(o, 0.01, 0.1, 3, scale_fn=Scale(0.9), cycle_momentum=False),
        "cyclic, lambda": lambda o: s.CyclicLR(o, 0.01, 0.1, 3, scale_fn=lambda x: 0.8**x, scale_mode="iterations"),
        "restarts": lambda o: s.CosineAnnealingWarmRestarts(o, 3),
        "longer restarts": lambda o: s.CosineAnnealingWarmRestarts(o, 2, T_mult=2, eta_min=0.01),
        "chained": lambda o: s.ChainedScheduler([s.ConstantLR(o, 0.1, 3), s.ExponentialLR(o, 0.9)], o),
        "chained, no optimizer": lambda o: s.ChainedScheduler([s.StepLR(o, 2), s.LinearLR(o)]),
        "sequence of chains": lambda o: s.SequentialLR(
            o, [s.ChainedScheduler([s.LinearLR(o), s.ConstantLR(o)]), s.CosineAnnealingLR(o, 9)], [4]
        ),
        "swa": lambda o: lib.optim.swa_utils.SWALR(o, 0.05, anneal_epochs=4),
        "swa, linear": lambda o: lib.optim.swa_utils.SWALR(o, [0.05, 0.5], 0, "linear"),
    }


class Scale:
    """A callable object, whose attributes a state dict holds."""

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, x):
        return self.factor**x


def two_groups(lib, name="SGD", rates=lambda lib, x: x):
    a, b = lib.ones(1, requires_grad=True), lib.ones(1, requires_grad=True)
    options = {"momentum": 0.9} if name == "SGD" else {}
    return getattr(lib.optim, name)([{"params": [a]}, {"params": [b], "lr": rates(lib, 0.3)}], lr=rates(lib, 0.1), **options)


# A chain in a sequence makes its first step twice, in both libraries.
TWICE = pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")


@TWICE
@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
@pytest.mark.parametrize("name", list(schedules(torch)))
def test_schedule(name, optimizer):
    runs = []
    for lib in LIBRARIES:
        o = two_groups(lib, optimizer)
        schedule = schedules(lib)[name](o)
        run = [schedule.get_last_lr()]
        for i in range(15):
            o.step()
            schedule.step()
            run.append(
                [schedule.get_last_lr(), [(g["lr"], g.get("momentum"), g.get("betas")) for g in o.param_groups]]
            )
            if i == 6 and "lambda" not in name:
                state = copy.deepcopy(schedule.state_dict())
                names = list(state)  # PyTorch's CyclicLR takes one away when it loads
                schedule.load_state_dict(state)
        runs.append((run, names if "lambda" not in name else None))
    assert runs[0] == runs[1]


@TWICE
@pytest.mark.parametrize("name", list(schedules(torch)))
def test_schedule_of_tensors(name):
    """A rate that is a tensor stays that tensor."""
    runs = []
    for lib in LIBRARIES:
        o = two_groups(lib, "SGD", lambda lib, x: lib.tensor(x, dtype=lib.float64))
        rates = [group["lr"] for group in o.param_groups]
        schedule = schedules(lib)[name](o)
        run = []
        for _ in range(12):
            o.step()
            schedule.step()
            assert all(group["lr"] is lr for group, lr in zip(o.param_groups, rates))
            last = schedule.get_last_lr()
            assert all(lr.item() == now.item() and lr is not now for lr, now in zip(rates, last))
            run += [lr.item() for lr in rates]
        runs.append(run)
    assert runs[0] == pytest.approx(runs[1], rel=1e-14)


def test_restarts_at_any_epoch():
    for T_mult in (1, 2, 3):
        runs = []
        for lib in LIBRARIES:
            o = two_groups(lib)
            schedule = lib.optim.lr_scheduler.CosineAnnealingWarmRestarts(o, 4, T_mult)
            run = []
            for epoch in (0.5, 3.75, 4, 9, None, 30.5, None, 2):
                o.step()
                schedule.step(epoch)
                run.append((schedule.get_last_lr(), schedule.T_cur, schedule.T_i, schedule.last_epoch))
            runs.append(run)
        assert runs[0] == runs[1]


def warmup(lib, base):
    """A schedule as people write it, on a base class of PyTorch's."""
    class Warmup(getattr(lib.optim.lr_scheduler, base)):
        def __init__(self, optimizer, total, last_epoch=-1):
            self.total = total
            super().__init__(optimizer, last_epoch)

        def get_lr(self):
            if not self._get_lr_called_within_step:
                warnings.warn("use get_last_lr", UserWarning, stacklevel=2)
            return [lr * min(1.0, (self.last_epoch + 1) / self.total) for lr in self.base_lrs]

        def _get_closed_form_lr(self):
            return [lr * 7 for lr in self.base_lrs]
    return Warmup


@pytest.mark.parametrize("base", ["LRScheduler", "_LRScheduler"])
def test_schedules_of_other_people(base):
    runs = []
    for lib in LIBRARIES:
        o = two_groups(lib)
        schedule = warmup(lib, base)(o, 5)
        assert isinstance(schedule, lib.optim.lr_scheduler.LRScheduler)
        run = []
        for i in range(7):
            o.step()
            schedule.step()
            run.append((schedule.get_last_lr(), schedule._step_count, schedule.last_epoch))
            if i == 2:
                with lib.optim.lr_scheduler._enable_get_lr_call(schedule):
                    run.append(schedule.get_lr())
                resumed = warmup(lib, base)(o, 5, last_epoch=2)
                run.append((sorted(schedule.state_dict()), resumed.get_last_lr()))
        with pytest.warns(UserWarning, match="The epoch parameter"):
            schedule.step(3)
        runs.append((run, schedule.get_last_lr()))
    assert runs[0] == runs[1]


def test_closed_forms_and_warnings():
    for name in ("step", "multistep", "constant", "linear", "exponential", "polynomial", "cosine"):
        runs = []
        for lib in LIBRARIES:
            o = two_groups(lib)
            schedule = schedules(lib)[name](o)
            o.step()
            with pytest.warns(UserWarning, match="The epoch parameter in `scheduler.step"):
                schedule.step(6)
            with pytest.warns(UserWarning) as caught:
                schedule.get_lr()
            runs.append((schedule.get_last_lr(), str(caught[0].message)))
        assert runs[0] == runs[1]
    texts = []
    for lib in LIBRARIES:
        schedule = lib.optim.lr_scheduler.StepLR(two_groups(lib), 2)
        with pytest.warns(UserWarning) as caught:
            schedule.step()
        o = two_groups(lib)
        schedule = lib.optim.lr_scheduler.StepLR(o, 2)
        o.step = lambda: None
        with pytest.warns(UserWarning) as replaced:
            schedule.step()
        texts.append((str(caught[0].message), str(replaced[0].message)))
    assert texts[0] == texts[1]


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
def test_plateau(mode, threshold_mode):
    metrics = [3.0, 2.0, 2.0, 2.1, 1.9999, 2.5, 1.0, 1.0, 1.0, 1.0, 1.0, 4.0, 4.0, 4.0, 4.0, 4.0]
    runs = []
    for lib in LIBRARIES:
        o = two_groups(lib)
        schedule = lib.optim.lr_scheduler.ReduceLROnPlateau(
            o, mode, patience=1, cooldown=1, threshold_mode=threshold_mode, min_lr=[0.002, 0.0], threshold=0.01
        )
        run = []
        for metric in metrics:
            schedule.step(metric)
            run.append((schedule.get_last_lr(), schedule.num_bad_epochs, schedule.best))
        state = schedule.state_dict()
        schedule.load_state_dict(state)
        runs.append((run, sorted(state)))
    assert runs[0] == runs[1]


def test_schedule_errors():
    def scheduler(lib):
        return lib.optim.lr_scheduler

    actions = [
        lambda lib: scheduler(lib).StepLR(3, 2),
        lambda lib: scheduler(lib).StepLR(two_groups(lib), 2, last_epoch=3),
        lambda lib: scheduler(lib).LambdaLR(two_groups(lib), [lambda e: 1]),
        lambda lib: scheduler(lib).LinearLR(two_groups(lib), 2.0),
        lambda lib: scheduler(lib).LinearLR(two_groups(lib), 0.5, 3.0),
        lambda lib: scheduler(lib).ConstantLR(two_groups(lib), 2.0),
        lambda lib: scheduler(lib).ReduceLROnPlateau(two_groups(lib), factor=1.0),
        lambda lib: scheduler(lib).ReduceLROnPlateau(two_groups(lib), mode="up"),
        lambda lib: scheduler(lib).ReduceLROnPlateau(two_groups(lib), threshold_mode="up"),
        lambda lib: scheduler(lib).ReduceLROnPlateau(two_groups(lib), min_lr=[0.1]),
        lambda lib: scheduler(lib).SequentialLR(two_groups(lib), [], []),
        lambda lib: scheduler(lib).SequentialLR(two_groups(lib), [3], []),
        lambda lib: scheduler(lib).OneCycleLR(two_groups(lib), 0.1),
        lambda lib: scheduler(lib).OneCycleLR(two_groups(lib), 0.1, total_steps=-1),
        lambda lib: scheduler(lib).OneCycleLR(two_groups(lib), 0.1, epochs=3, steps_per_epoch=0),
        lambda lib: scheduler(lib).OneCycleLR(two_groups(lib), 0.1, total_steps=5, pct_start=2.0),
        lambda lib: scheduler(lib).OneCycleLR(two_groups(lib), 0.1, total_steps=5, anneal_strategy="up"),
        lambda lib: scheduler(lib).OneCycleLR(two_groups(lib), [0.1], total_steps=5),
        lambda lib: scheduler(lib).CyclicLR(3, 0.1, 0.2),
        lambda lib: scheduler(lib).CyclicLR(two_groups(lib), [0.1], 0.2),
        lambda lib: scheduler(lib).CyclicLR(two_groups(lib), 0.1, [0.2]),
        lambda lib: scheduler(lib).CyclicLR(two_groups(lib), 0.1, 0.2, mode="up"),
        lambda lib: scheduler(lib).CyclicLR(two_groups(lib, "Adadelta"), 0.1, 0.2),
        lambda lib: scheduler(lib).CyclicLR(two_groups(lib), 0.1, 0.2, base_momentum=[1]),
        lambda lib: scheduler(lib).CosineAnnealingWarmRestarts(two_groups(lib), 0),
        lambda lib: scheduler(lib).CosineAnnealingWarmRestarts(two_groups(lib), 2, 0),
        lambda lib: scheduler(lib).CosineAnnealingWarmRestarts(two_groups(lib), 2, 1.5),
        lambda lib: scheduler(lib).CosineAnnealingWarmRestarts(two_groups(lib), 2, eta_min="0"),
        lambda lib: scheduler(lib).CosineAnnealingWarmRestarts(two_groups(lib), 2).step(-1),
        lambda lib: scheduler(lib).ChainedScheduler([]),
        lambda lib: scheduler(lib).ChainedScheduler([3], two_groups(lib)),
        lambda lib: scheduler(lib).ChainedScheduler([scheduler(lib).ReduceLROnPlateau(two_groups(lib))]),
        lambda lib: scheduler(lib).ChainedScheduler([scheduler(lib).StepLR(two_groups(lib), 2)], two_groups(lib)),
        lambda lib: lib.optim.swa_utils.SWALR(two_groups(lib), 0.1, anneal_strategy="up"),
        lambda lib: lib.optim.swa_utils.SWALR(two_groups(lib), 0.1, anneal_epochs=-1),
        lambda lib: lib.optim.swa_utils.SWALR(two_groups(lib), [0.1]),
    ]
    for action in actions:
        ours, theirs = found_errors(action)
        assert ours == theirs

    def too_far(lib):
        o = two_groups(lib)
        schedule = scheduler(lib).OneCycleLR(o, 0.1, total_steps=3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for _ in range(6):
                schedule.step()

    ours, theirs = found_errors(too_far)
    assert ours == theirs


def test_schedule_leaves_no_reference_cycle():
    o = two_groups(ng)
    schedule = ng.optim.lr_scheduler.StepLR(o, 2)
    ref = weakref.ref(o)
    gc.disable()
    try:
        del schedule, o
        assert ref() is None
    finally:
        gc.enable()
