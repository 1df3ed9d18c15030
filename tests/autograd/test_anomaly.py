"""Anomaly mode: which operation produced NaN, and where it was called."""

import warnings

import pytest
from parity import said
from parity import torch as oracle

import numbagrad as ng
from numbagrad.autograd import Function


def test_nan_is_traced_to_its_forward_line():
    x = ng.tensor([0., -1.], requires_grad=True)
    with ng.autograd.set_detect_anomaly(True):
        y = x * 1
        z = y.sqrt()  # this line
        with pytest.warns(UserWarning, match="Error detected in SqrtBackward0. Traceback of forward call that caused "
                                             "the error:"
                          ) as caught, pytest.raises(RuntimeError) as error:
            (z * 2).sum().backward()
    text = str(error.value)
    assert text.startswith("Function 'SqrtBackward0' returned nan values in its 0th output.")
    line = test_nan_is_traced_to_its_forward_line.__code__.co_firstlineno + 4
    assert f"test_anomaly.py:{line} with inputs torch.float32 [2]" in text
    message = str(caught[0].message)
    assert "z = y.sqrt()  # this line" in message and "op/call.py" not in message


def test_same_text_as_pytorch():
    def code(T):
        with T.autograd.set_detect_anomaly(True):
            T.tensor([-1.], requires_grad=True).sqrt().sum().backward()
    ours = said(ng, code)
    assert ours.startswith("RuntimeError: Function 'SqrtBackward0' returned nan values in its 0th output.")
    if oracle():
        assert said(oracle(), code).partition("\n")[0] == ours.partition(" The forward call")[0]


def test_failing_backward():
    class Fails(Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            raise ValueError("broken")
    with ng.autograd.set_detect_anomaly(True):
        y = Fails.apply(ng.ones(1, requires_grad=True))
        with pytest.warns(UserWarning, match="(?s)Error detected in FailsBackward.*test_anomaly.py"), pytest.raises(
                ValueError, match="broken"):
            y.backward()
    y = Fails.apply(ng.ones(1, requires_grad=True))
    with ng.autograd.set_detect_anomaly(True), pytest.warns(UserWarning, match="No forward pass information available"):
        with pytest.raises(ValueError):
            y.backward()


def test_check_nan_can_be_off():
    x = ng.tensor([-1.], requires_grad=True)
    with ng.autograd.set_detect_anomaly(True, check_nan=False):
        x.sqrt().sum().backward()
    assert x.grad.isnan().all()


def test_detect_anomaly_warns_and_restores():
    with pytest.warns(UserWarning, match="Anomaly Detection has been enabled. This mode will increase the runtime and "
                                         "should only be enabled for debugging."):
        context = ng.autograd.detect_anomaly()
    with context:
        assert ng.is_anomaly_enabled() and ng.is_anomaly_check_nan_enabled()
    assert not ng.is_anomaly_enabled() and not ng.base.modes.STATE


def test_plain_call_lasts():
    ng.autograd.set_detect_anomaly(True)
    assert ng.is_anomaly_enabled()
    ng.autograd.set_detect_anomaly(False)
    assert not ng.is_anomaly_enabled()


def test_good_gradients_pass():
    with ng.autograd.set_detect_anomaly(True), warnings.catch_warnings():
        warnings.simplefilter("error")
        x = ng.tensor([1., 2.], requires_grad=True)
        w = ng.ones(2, 2, requires_grad=True)
        y = (w @ x).tanh() * 1
        y[0] = 2 * x[0]
        g, = ng.autograd.grad((y * y).sum(), x, create_graph=True)
        g.sum().backward()
    assert x.grad is not None and not x.grad.isnan().any()


def test_nan_in_a_layer_names_the_module_line():
    net = ng.nn.Linear(2, 1)
    x = ng.ones(1, 2)
    with ng.autograd.set_detect_anomaly(True), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out = net(x).log() * float("nan")
        with pytest.raises(RuntimeError, match="test_anomaly.py:.* with inputs torch.float32 \\[1, 1\\]"):
            out.sum().backward()
