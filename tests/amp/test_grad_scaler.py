"""GradScaler on the CPU: scales, skipped steps, state, errors, as PyTorch does it."""

import pickle

import pytest
from parity import agrees


def parts(T, **options):
    T.manual_seed(0)
    net = T.nn.Linear(3, 2)
    return net, T.optim.SGD(net.parameters(), 0.1), T.amp.GradScaler("cpu", **options)


def iterate(T, net, optimizer, scaler, bad=False):
    optimizer.zero_grad()
    scaler.scale((net(T.ones(1, 3)) * (float("inf") if bad else 1.0)).sum()).backward()
    scaler.step(optimizer)
    scaler.update()


def test_scales_grow_and_back_off():
    def code(T):
        net, optimizer, scaler = parts(T, init_scale=4.0, growth_factor=3.0, backoff_factor=0.3, growth_interval=2)
        said = []
        for bad in (False, False, True, False, True, True, False, False, False):
            iterate(T, net, optimizer, scaler, bad)
            said += [scaler.state_dict(), net.weight.detach().clone()]
        return said
    agrees(code)


def test_a_scale_never_becomes_infinite():
    def code(T):
        net, optimizer, scaler = parts(T, init_scale=1.0, growth_factor=1e38, growth_interval=1)
        said = []
        for _ in range(3):
            iterate(T, net, optimizer, scaler)
            said.append(scaler.get_scale())
        return said
    agrees(code)


def test_unscale():
    def code(T):
        net, optimizer, scaler = parts(T, init_scale=16.0)
        scaler.scale(net(T.ones(1, 3)).sum()).backward()
        said = [net.weight.grad.clone()]
        scaler.unscale_(optimizer)
        said += [net.weight.grad.clone(), scaler._found_inf_per_device(optimizer), scaler._per_optimizer_states[id(optimizer)]]
        scaler.step(optimizer)
        scaler.update()
        return [*said, net.weight.detach(), scaler.state_dict()]
    agrees(code)


def test_containers_are_scaled():
    def code(T):
        scaler = parts(T, init_scale=2.0)[2]
        a, b = T.ones(2), T.ones(1)
        return [scaler.scale([a, (b, a)]), list(scaler.scale(x for x in (a, b))), scaler.scale(a.half()).dtype]
    agrees(code)


def test_disabled():
    def code(T):
        net, optimizer, scaler = parts(T, enabled=False)
        x = T.ones(1)
        iterate(T, net, optimizer, scaler)
        scaler.load_state_dict({})
        scaler.unscale_(optimizer)
        return [scaler.scale(x) is x, scaler.get_scale(), scaler.state_dict(), scaler.is_enabled(), net.weight.detach()]
    agrees(code)


def test_state_is_loaded_and_pickled():
    def code(T):
        net, optimizer, scaler = parts(T, init_scale=4.0, growth_interval=5)
        iterate(T, net, optimizer, scaler)
        other = T.amp.GradScaler("cpu")
        other.load_state_dict(scaler.state_dict())
        said = [other.state_dict()]
        for s in (other, pickle.loads(pickle.dumps(scaler))):
            iterate(T, net, optimizer, s)
            said.append(s.state_dict())
        scaler.load_state_dict({**scaler.state_dict(), "scale": 7.0, "_growth_tracker": 3})
        said.append(scaler.state_dict())
        scaler.set_growth_factor(5.0), scaler.set_backoff_factor(0.1), scaler.set_growth_interval(4)
        return [*said, scaler.get_growth_factor(), scaler.get_backoff_factor(), scaler.get_growth_interval()]
    agrees(code)


def test_new_scales():
    def code(T):
        net, optimizer, scaler = parts(T)
        iterate(T, net, optimizer, scaler)
        scaler.update(3.0)
        said = [scaler.get_scale()]
        scaler.update(T.tensor(5.0))
        return [*said, scaler.get_scale()]
    agrees(code)


def _twice(T, name):
    net, optimizer, scaler = parts(T)
    scaler.scale(net(T.ones(1, 3)).sum()).backward()
    getattr(scaler, name)(optimizer)
    getattr(scaler, name)(optimizer)


def _after_step(T):
    net, optimizer, scaler = parts(T)
    scaler.scale(net(T.ones(1, 3)).sum()).backward()
    scaler.step(optimizer)
    scaler.unscale_(optimizer)


def _half(T):
    net, optimizer, scaler = parts(T)
    net.half()
    optimizer = T.optim.SGD(net.parameters(), 0.1)
    scaler.scale(net(T.ones(1, 3).half()).sum()).backward()
    scaler.step(optimizer)


def _without_grads(T):
    net, optimizer, scaler = parts(T)
    scaler.scale(T.ones(1))
    scaler.step(optimizer)


def _midway(T):
    net, optimizer, scaler = parts(T)
    scaler.scale(net(T.ones(1, 3)).sum()).backward()
    scaler.unscale_(optimizer)
    pickle.dumps(scaler)


@pytest.mark.parametrize("act", [
    lambda T: _twice(T, "unscale_"), lambda T: _twice(T, "step"), _after_step, _half, _without_grads, _midway,
    lambda T: parts(T)[2].update(), lambda T: parts(T)[2].step(parts(T)[1]), lambda T: parts(T)[2].unscale_(parts(T)[1]),
    lambda T: parts(T)[2].scale(3), lambda T: parts(T)[2].load_state_dict({}), lambda T: parts(T, growth_factor=1.0),
    lambda T: parts(T, backoff_factor=1.0), lambda T: iterate(T, *parts(T)[:2], parts(T)[2]) or parts(T)[2].step(
        parts(T)[1], closure=lambda: 1), lambda T: type(T.cpu.amp.GradScaler(2.0)).__mro__[1].__name__])
def test_errors(act):
    agrees(act)


def test_optimizers_that_unscale_themselves():
    def code(T):
        said = []

        class Own(T.optim.SGD):
            _step_supports_amp_scaling = True

            def step(self, closure=None):
                said.append((self.grad_scale, self.found_inf))

        class Given(T.optim.SGD):
            _step_supports_amp_scaling = True

            def step(self, closure=None, grad_scaler=None):
                said.append(grad_scaler.get_scale())
                grad_scaler.unscale_(self)

        net, _, scaler = parts(T, init_scale=4.0)
        for cls in (Own, Given):
            iterate(T, net, cls(net.parameters(), 0.1), scaler)
        return [*said, scaler.state_dict()]
    agrees(code)


def test_without_a_device():
    def code(T):
        return [T.amp.GradScaler().is_enabled(), T.cuda.amp.GradScaler().is_enabled(), T.GradScaler("cpu").is_enabled()]
    import numbagrad as ng
    if not ng.cuda.is_available():
        agrees(code)
