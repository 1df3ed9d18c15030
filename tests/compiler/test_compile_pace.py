"""Which calls of a compiled function run eagerly, because that is quicker."""

import warnings

import pytest

import numbagrad as ng
from numbagrad.compiler import function, pace
from numbagrad.compiler.structure import MISS


@pytest.fixture
def seconds(monkeypatch):
    """[of a compiled call, of an eager one], by a clock that goes as they say; and which ways the calls went."""
    seconds, ways, at = [1e-6, 2e-6], [], [0.0]
    ran, compiled, judged = pace.Pace.run, function.CompiledFunction._replayed, pace.Pace.replayed

    def run(self, fn, args, kwargs):
        def slowly(*args, **kwargs):
            at[0] += seconds[1]
            return fn(*args, **kwargs)
        ways.append("eager")
        return ran(self, slowly, args, kwargs)

    def replayed(self, *given):
        ways.append("compiled")
        return compiled(self, *given)

    monkeypatch.setattr(pace, "BRIEF", 200e-6)
    monkeypatch.setattr(pace, "clock", lambda: at[0])
    monkeypatch.setattr(pace.Pace, "run", run)
    monkeypatch.setattr(pace.Pace, "replayed", lambda self, _, launches: judged(self, seconds[0], launches))
    monkeypatch.setattr(function.CompiledFunction, "_replayed", replayed)
    return seconds, ways


def step_of():
    return ng.compile(lambda x: x * 2)


def test_a_step_that_is_quicker_eagerly_runs_eagerly(seconds):
    (times, ways), step = seconds, step_of()
    times[:] = 5e-6, 1e-6
    x = ng.ones(2)
    for _ in range(100):
        assert step(x).tolist() == [2, 2]
    assert ways.count("compiled") == 6 and ways[-80:] == ["eager"] * 80  # one capture, four replays, one more with the verdict
    assert "run eagerly, as that is quicker: compiled 5.0 us, eager 1.0 us" in step.explain().splitlines()[0]
    y = ng.ones(3)  # another outline is judged by itself
    assert step(y).tolist() == [2, 2, 2] and ways[-1] == "compiled"


def test_after_a_while_both_ways_are_timed_again(seconds):
    (times, ways), step = seconds, step_of()
    times[:] = 5e-6, 1e-6
    for _ in range(30):
        step(ng.ones(2))
    times[:] = 5e-6, 9e-6
    for _ in range(pace.REST + 4):
        step(ng.ones(2))
    n = len(ways)
    for _ in range(100):
        assert step(ng.ones(2)).tolist() == [2, 2]
    assert len(ways) == n  # neither: the variant has a call of its own
    assert "eagerly" not in step.explain()


def test_a_step_that_is_quicker_compiled_or_long_stays_so(seconds):
    (times, ways), step = seconds, step_of()
    times[:] = 1e-6, 2e-6
    for _ in range(40):
        step(ng.ones(2))
    assert ways.count("eager") == pace.TIMED and type(step).__call__ is step.variants[-1].bound
    del ways[:]
    times[:] = 300e-6, 1e-6
    long = step_of()
    for _ in range(40):
        long(ng.ones(2))
    assert "eager" not in ways
    del ways[:]
    times[:] = 1e-6, 1e-9
    many = ng.compile(lambda x: ((x * 2).sin() + x).exp().cos() * 3)  # more launches than eager code could make in that time
    for _ in range(40):
        many(ng.ones(2))
    assert "eager" not in ways


def test_an_error_of_an_eager_call_is_the_steps_own(seconds):
    (times, ways), bad = seconds, []
    times[:] = 5e-6, 1e-6

    def f(x):
        if bad:
            raise ValueError("bad")
        return x * 2
    step = ng.compile(f)
    for _ in range(40):
        step(ng.ones(2))
    bad.append(1)
    with pytest.raises(ValueError, match="bad"):
        step(ng.ones(2))
    assert ways[-1] == "eager"
    bad.clear()
    assert step(ng.ones(2)).tolist() == [2, 2]


def test_two_forms_in_turn_are_found_without_a_look_at_all(monkeypatch):
    looked, compiled = [], function.CompiledFunction.compiled
    monkeypatch.setattr(function.CompiledFunction, "compiled", lambda *given: (looked.append(1), compiled(*given))[1])
    step = ng.compile(lambda x, flag: x * 2 if flag else x * 3)
    x = ng.ones(2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(20):
            assert step(x, True).tolist() == [2, 2]
            assert step(x, False).tolist() == [3, 3]
    n = len(looked)
    for _ in range(50):
        assert step(x, True).tolist() == [2, 2]
        assert step(x, False).tolist() == [3, 3]
    assert len(looked) == n and len(step.variants) == 2
    others = [v for v in step.variants if v is not step.recent[-1]]
    assert others[0].tried(step, x, True) is MISS or others[0].tried(step, x, False) is MISS
    with pytest.raises(TypeError):
        step(x)
    assert step(ng.ones(3), True).tolist() == [2, 2, 2]


def test_a_form_that_comes_alone_again_is_tried_first():
    step = ng.compile(lambda x, flag: x * 2 if flag else x * 3)
    x = ng.ones(2)
    for _ in range(4):
        step(x, True), step(x, False)
    for flag in (True, False):
        for _ in range(function.HITS + 1):
            step(x, flag)
        assert type(step).__call__(step, x, flag) is not MISS and step.recent[-1].tried(step, x, flag) is not MISS


def test_what_is_dropped_is_not_tried_again():
    data = [1.0]
    step = ng.compile(lambda x: x * len(data))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for k in range(1, 40):
            data[:] = [1.0] * k
            for _ in range(3):
                assert step(ng.ones(2)).tolist() == [k, k]
    assert {id(v) for v in step.recent} <= {id(v) for v in step.variants} and len(step.recent) <= function.RECENT
