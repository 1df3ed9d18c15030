"""``torch.futures``, beside PyTorch's."""

from __future__ import annotations

import pickle
import threading

import pytest

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
LIBS = pytest.mark.parametrize("lib", [ng, torch], ids=["numbagrad", "torch"])


def outcome(call):
    try:
        return call()
    except Exception as e:
        return type(e), str(e).partition("\n")[0]


def story(lib):
    """What a future says in its life."""
    f = lib.futures.Future()
    said = [f.done(), f.set_result(5), f.done(), f.wait(), f.value(), outcome(lambda: f.set_result(6))]
    after, failed = f.then(lambda x: x.value() + 1), f.then(lambda x: 1 / 0)
    said += [after.wait(), outcome(failed.wait), outcome(failed.value), failed.done()]
    error = lib.futures.Future()
    error.set_exception(ValueError("foo"))
    said += [outcome(error.wait), outcome(error.value), error.done(), outcome(error.then(lambda x: x.wait()).wait)]
    said += [outcome(lambda: lib.futures.Future().set_exception(3)), outcome(lambda: lib.futures.Future(devices=["cpu"]))]
    said += [[x.wait() for x in lib.futures.collect_all([f, after]).wait()], lib.futures.wait_all([f, after])]
    said += [lib.futures.wait_all([]), outcome(lambda: lib.futures.wait_all([f, error])), outcome(lambda: pickle.dumps(f))]
    return said


def test_values_and_errors_are_pytorchs():
    assert story(ng) == story(torch)


@LIBS
def test_value_of_another_thread(lib):
    f, called = lib.futures.Future(), []
    f.add_done_callback(lambda x: called.append(("first", x.value())))
    f.add_done_callback(lambda x: called.append(("second", x.value())))
    doubled = f.then(lambda x: 2 * x.value())
    thread = threading.Thread(target=f.set_result, args=(9,))
    thread.start()
    assert f.wait() == 9 and doubled.wait() == 18
    thread.join()
    assert called == [("first", 9), ("second", 9)]
    f.add_done_callback(lambda x: called.append("late"))
    assert called[-1] == "late"


def test_failing_callback_is_printed(capsys):
    f = ng.futures.Future()
    f.add_done_callback(lambda x: 1 / 0)
    f.set_result(1)
    assert f.wait() == 1
    assert "Got the following error when running the callback: ZeroDivisionError: division by zero" in capsys.readouterr().err


def test_what_is_no_function_is_refused():
    f = ng.futures.Future()
    for call in (lambda: f.then(3), lambda: f.add_done_callback(3)):
        with pytest.raises(TypeError, match="must be a function, not int"):
            call()
    with pytest.raises(RuntimeError, match="has not completed"):
        f.value()
    assert isinstance(ng.jit.fork(lambda: 3), ng.Future) and ng.Future is ng.futures.Future is ng._C.Future
