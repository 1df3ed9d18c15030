"""Autocast on a device: PyTorch's table of CUDA ops, in both half types; the scaler there."""

import pytest

import numbagrad as ng

F = ng.nn.functional
LOWER = {"matmul": lambda x: x @ x.T, "mm": lambda x: ng.mm(x, x.T), "linear": lambda x: F.linear(x, x),
         "mv": lambda x: ng.mv(x, x[0]), "conv1d": lambda x: F.conv1d(x[None], x[None])}
FULL = {"exp": lambda x: x.exp(), "log": lambda x: ng.log(x.abs()), "pow": lambda x: x ** 2, "sum": lambda x: x.sum(),
        "softmax": lambda x: ng.softmax(x, 1), "layer_norm": lambda x: F.layer_norm(x, (4,)),
        "mse_loss": lambda x: F.mse_loss(x, x), "cumsum": lambda x: x.cumsum(0), "norm": lambda x: ng.norm(x)}
AS_IT_IS = {"add": lambda x: x + x, "relu": lambda x: x.relu(), "tanh": lambda x: x.tanh()}


@pytest.mark.parametrize("half", [ng.float16, ng.bfloat16])
def test_dtypes(half):
    x = ng.arange(1.0, 9.0).reshape(2, 4).cuda()
    with ng.autocast("cuda", dtype=half):
        for name, f in LOWER.items():
            assert f(x).dtype is half, name
        for name, f in FULL.items():
            assert f(x.to(half)).dtype is ng.float32, name
        for name, f in AS_IT_IS.items():
            assert f(x).dtype is ng.float32 and f(x.to(half)).dtype is half, name
        assert ng.cat((x, x.to(half))).dtype is ng.float32
        assert (x.cpu() @ x.cpu().T).dtype is ng.float32  # tensors on the host are not cast
    assert (x @ x.T).dtype is ng.float32 and x.to(half).exp().dtype is half


def test_both_devices():
    x = ng.ones(2, 2)
    with ng.autocast("cuda"), ng.autocast("cpu"):
        assert (x @ x).dtype is ng.bfloat16 and (x.cuda() @ x.cuda()).dtype is ng.float16
        assert x.bfloat16().exp().dtype is ng.bfloat16 and x.cuda().half().exp().dtype is ng.float32
    with ng.autocast("cuda"):
        with ng.autocast("cpu"):
            pass
        assert (x @ x).dtype is ng.float32 and (x.cuda() @ x.cuda()).dtype is ng.float16


def test_steps_are_scaled():
    p = ng.nn.Parameter(ng.ones(2, 2).cuda())
    optimizer, scaler = ng.optim.SGD([p], 0.5), ng.amp.GradScaler("cuda", init_scale=8.0, growth_interval=1)
    assert scaler.is_enabled()
    for factor in (1.0, float("inf"), 2.0):
        optimizer.zero_grad()
        scaler.scale((p * factor).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
    assert p.tolist() == [[-0.5, -0.5], [-0.5, -0.5]] and scaler.get_scale() == 16.0
