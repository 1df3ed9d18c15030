"""Planned calls that draw random numbers: they take from the stream what calls without a plan take, bit for bit."""

import threading

import numpy as np
import pytest

import numbagrad as ng
from numbagrad.core import replay
from numbagrad.core.registry import REGISTRY
from numbagrad.dispatch import plan
from numbagrad.dispatch.sampling import Case, flat
from numbagrad.random import default_generator

F = ng.nn.functional
pytestmark = pytest.mark.skipif(not replay.POSSIBLE, reason="no native calls on this platform")
X = np.linspace(0.3, 30, 12).reshape(3, 4)
SHARE = X / 31

CALLS = {
    "poisson": lambda t: ng.poisson(t(X)), "binomial": lambda t: ng.binomial(t(np.floor(X)), t(SHARE)),
    "_standard_gamma": lambda t: ng._standard_gamma(t(X / 10)), "_sample_dirichlet": lambda t: ng._sample_dirichlet(t(X / 10)),
    "normal": lambda t: ng.normal(t(X), 0.5), "bernoulli": lambda t: ng.bernoulli(t(SHARE).float()),
    "multinomial": lambda t: ng.multinomial(t(SHARE), 2), "multinomial again": lambda t: ng.multinomial(t(SHARE), 5, True),
    "dropout": lambda t: F.dropout(t(X), 0.4), "gumbel_softmax": lambda t: F.gumbel_softmax(t(X)),
    "rand": lambda t: ng.rand(3, 7), "randn": lambda t: ng.randn((5, 5)), "randn few": lambda t: ng.randn(3),
    "rand_like": lambda t: ng.rand_like(t(X)), "randn_like": lambda t: ng.randn_like(t(X)),
}


@pytest.fixture(autouse=True)
def early(monkeypatch):
    """Plans are made in the second call, and the native function is there; no op was given up before."""
    monkeypatch.setattr(plan, "TIMES", 2)
    replay.start()
    plan.forget()


def revive(name):
    """An op's programs as in a new process."""
    found = REGISTRY[name.split()[0]]
    found.callable  # noqa: B018 (makes it)
    programs = found.programs
    programs.made, programs.refused, programs.idle = False, 0, 0
    for env in programs.users:
        env["COUNT_"] = True
    programs.hold(False, "tests")
    return programs


def state():
    return ng.get_rng_state().numpy().copy()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", CALLS)
def test_planned_draws_are_those_without_a_plan(name, dtype, monkeypatch):
    tensors = {}

    def t(a):
        return tensors.setdefault(id(a), ng.tensor(a.astype(dtype)))
    programs, call = revive(name), CALLS[name]
    ng.manual_seed(5)
    planned = [call(t).numpy().copy() for _ in range(9)]
    after = state()
    assert programs.made
    plan.forget()
    monkeypatch.setattr(plan, "due", lambda *args: False)
    ng.manual_seed(5)
    for a in planned:
        # The exponentials of a softmax are vectors in one loop and not in another: their last bit may differ.
        np.testing.assert_allclose(a, call(t).numpy(), rtol=4 * np.finfo(dtype).eps if "softmax" in name else 0)
    np.testing.assert_array_equal(after, state())


TRAINED = {
    "rrelu": lambda t: F.rrelu(t(X - 9), training=True), "dropout1d": lambda t: F.dropout1d(t(X), 0.4),
    "dropout2d": lambda t: F.dropout2d(t(X)[None, ..., None], 0.4),
    "dropout3d": lambda t: F.dropout3d(t(X)[:, :, None, None], 0.4),
    "alpha_dropout": lambda t: F.alpha_dropout(t(X), 0.4, True), "turned": lambda t: F.dropout(t(X).t(), 0.4),
    "feature_alpha_dropout": lambda t: F.feature_alpha_dropout(t(X), 0.4, True),
    "exponential_": lambda t: t(X).exponential_(2.0), "uniform_": lambda t: t(X).uniform_(1.0, 2.0),
    "bernoulli_": lambda t: t(X).bernoulli_(0.3), "randperm": lambda t: ng.randperm(9),
    "hard": lambda t: F.gumbel_softmax(t(X), hard=True), "randint": lambda t: ng.randint(2, 9, (4, 4)),
    "randint_like": lambda t: ng.randint_like(t(X), 9),
}
SAMPLED = {f"{op.name}-{i}": lambda t, op=op, i=i: flat(Case(op, i).call(Case(op, i).tensors()))[0]
           for op in REGISTRY.values() if op.random and op.samples for i in range(len(op.samples))}


@pytest.mark.parametrize("name", [*TRAINED, *SAMPLED])
def test_repeated_draws_are_those_without_a_plan(name, monkeypatch):
    call = (TRAINED | SAMPLED)[name]

    def t(a):
        return ng.tensor(a.astype(np.float32))
    ng.manual_seed(6)
    planned, after = [call(t).detach().numpy().copy() for _ in range(5)], state()
    plan.forget()
    monkeypatch.setattr(plan, "due", lambda *args: False)
    ng.manual_seed(6)
    for a in planned:
        np.testing.assert_array_equal(a, call(t).detach().numpy())
    np.testing.assert_array_equal(after, state())


def test_making_a_plan_draws_nothing_itself():
    x = ng.tensor(X)
    revive("poisson")
    for _ in range(4):
        ng.manual_seed(1)
        ng.poisson(x)
        first = ng.rand(1).item()
        ng.manual_seed(1)
        ng.poisson(x, generator=ng.Generator().manual_seed(7))
        assert ng.rand(1).item() != first  # the default stream was left alone
        ng.manual_seed(1)
        ng.poisson(x)
        assert ng.rand(1).item() == first


@pytest.mark.parametrize("name,call,good,bad", [
    ("poisson", ng.poisson, [1.0, 2.0], [1.0, -2.0]),
    ("bernoulli", ng.bernoulli, [0.5, 0.25], [0.5, 1.25]),
    ("multinomial", lambda t: ng.multinomial(t, 1), [0.5, 0.25], [0.0, 0.0])])
def test_bad_parameters_are_refused_by_planned_calls_before_anything_is_drawn(name, call, good, bad):
    good, bad = ng.tensor(good), ng.tensor(bad)
    with pytest.raises(RuntimeError) as plain:
        call(bad)
    programs = revive(name)
    for _ in range(4):
        call(good)
    assert programs.made
    before = state()
    with pytest.raises(RuntimeError) as planned:
        call(bad)
    assert str(planned.value) == str(plain.value)
    np.testing.assert_array_equal(before, state())
    call(good)
    assert not np.array_equal(before, state())


def test_a_planned_call_waits_for_a_stream_that_another_thread_uses():
    x = ng.tensor(X)
    programs = revive("poisson")
    for _ in range(4):
        ng.poisson(x)
    assert programs.made
    lock, done = default_generator.engine.lock, []
    thread = threading.Thread(target=lambda: done.append(ng.poisson(x)))
    ng.manual_seed(2)
    with lock:
        before = state()
        thread.start()
        thread.join(0.2)
        assert thread.is_alive() and not done
        np.testing.assert_array_equal(before, state())
    thread.join()
    ng.manual_seed(2)
    assert done[0].tolist() == ng.poisson(x).tolist()


def test_the_default_dtype_is_that_of_the_call():
    programs = revive("randn")
    for _ in range(4):
        ng.randn(2, 2)
    assert programs.made
    ng.set_default_dtype(ng.float64)
    try:
        assert [ng.randn(2, 2).dtype for _ in range(4)] == [ng.float64] * 4
    finally:
        ng.set_default_dtype(ng.float32)
    assert ng.randn(2, 2).dtype is ng.float32


def test_planned_draws_have_the_gradients_of_others():
    revive("_standard_gamma")
    found = []
    for _ in range(4):
        ng.manual_seed(4)
        x = ng.tensor(X / 10, requires_grad=True)
        y = ng._standard_gamma(x)
        y.sum().backward()
        found.append((y.tolist(), x.grad.tolist()))
    assert found[1:] == found[:-1] and any(map(any, found[0][1]))
    z = ng.poisson(ng.tensor(X, requires_grad=True))
    assert type(z.grad_fn).__name__ == "PoissonBackward0"
