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
    }


def two_groups(lib, name="SGD"):
    a, b = lib.ones(1, requires_grad=True), lib.ones(1, requires_grad=True)
    options = {"momentum": 0.9} if name == "SGD" else {}
    return getattr(lib.optim, name)([{"params": [a]}, {"params": [b], "lr": 0.3}], lr=0.1, **options)


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
                schedule.load_state_dict(state)
        runs.append((run, list(state) if "lambda" not in name else None))
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
