"""Hooks of modules: forward, backward, global ones, their order and errors; PyTorch is the oracle."""

import pickle
import warnings

import pytest
from module_helpers import same_error

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")


def run_hooks(lib, register, x_grad=True, two_outputs=False):
    """The log of a small training step with hooks that ``register`` sets."""
    log = []

    class Layer(lib.nn.Module):
        def __init__(self):
            super().__init__()
            self.w = lib.nn.Parameter(lib.full((2,), 3.0))

        def forward(self, x, y=None):
            return (x * self.w, x + 1) if two_outputs else x * self.w

    module = Layer()
    handles = register(module, log)
    x = lib.tensor([1.0, 2.0], requires_grad=x_grad)
    out = module(x, y=None)
    out = out[0] if two_outputs else out
    (out * out).sum().backward()
    log.append(["grads", None if x.grad is None else x.grad.tolist(), module.w.grad.tolist()])
    for handle in handles:
        handle.remove()
    assert not (module._forward_hooks or module._forward_pre_hooks or module._backward_hooks)
    return log


def plain(value):
    """Tensors inside as lists, so that logs of two libraries compare."""
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    return value.tolist() if hasattr(value, "tolist") else value


def same_hooks(register, **options):
    ours = run_hooks(ng, register, **options)
    assert ours == run_hooks(torch, register, **options)
    return ours


def test_forward_hooks():
    def register(module, log):
        return [
            module.register_forward_pre_hook(lambda m, args: log.append(plain(args)) or args[0] * 2),
            module.register_forward_pre_hook(
                lambda m, args, kwargs: log.append(sorted(kwargs)) or (args, kwargs), with_kwargs=True, prepend=True
            ),
            module.register_forward_hook(lambda m, args, out: log.append(plain(out)) or out + 1),
            module.register_forward_hook(
                lambda m, args, kwargs, out: log.append([sorted(kwargs), plain(out)]), with_kwargs=True, prepend=True
            ),
        ]

    assert same_hooks(register)


def test_backward_hooks():
    def register(module, log):
        return [
            module.register_full_backward_pre_hook(lambda m, g: log.append(["pre", plain(g)]) or (g[0] * 2,)),
            module.register_full_backward_hook(lambda m, gi, go: log.append(["post", plain(gi), plain(go)])),
            module.register_full_backward_hook(lambda m, gi, go: (gi[0] + 1,), prepend=True),
        ]

    assert same_hooks(register)
    assert same_hooks(register, two_outputs=False)


def test_backward_hook_with_two_outputs():
    def register(module, log):
        return [module.register_full_backward_hook(lambda m, gi, go: log.append([plain(gi), plain(go)]))]

    assert same_hooks(register, two_outputs=True)


def test_backward_hook_without_input_gradient():
    def register(module, log):
        return [module.register_full_backward_hook(lambda m, gi, go: log.append([plain(gi), plain(go)]))]

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert same_hooks(register, x_grad=False)
    texts = {str(w.message) for w in caught}
    assert len(caught) == 2 and len(texts) == 1


def test_wrong_hook_results():
    for register in (
        lambda m, log: [m.register_full_backward_hook(lambda m, gi, go: (gi[0], gi[0]))],
        lambda m, log: [m.register_full_backward_pre_hook(lambda m, go: (go[0], go[0]))],
        lambda m, log: [m.register_forward_pre_hook(lambda m, a, k: 3, with_kwargs=True)],
    ):
        same_error(lambda lib, register=register: run_hooks(lib, register))

    def mixed(lib):
        module = lib.nn.Linear(1, 1)
        module.register_full_backward_hook(lambda *args: None)
        module.register_backward_hook(lambda *args: None)

    same_error(mixed)


def test_double_backward_through_hooks():
    def run(lib):
        module = lib.nn.Linear(2, 1, bias=False)
        with lib.no_grad():
            module.weight.fill_(2.0)
        module.register_full_backward_hook(lambda m, gi, go: (gi[0] * 3,))
        x = lib.tensor([[1.0, 2.0]], requires_grad=True)
        (g,) = lib.autograd.grad(module(x).pow(2).sum(), x, create_graph=True)
        g.sum().backward()
        return x.grad.tolist()

    assert run(ng) == run(torch)


def test_always_called_hooks():
    def run(lib, fail_too):
        log = []

        class Bad(lib.nn.Module):
            def forward(self, x):
                raise ValueError("forward failed")

        def hook(module, args, out):
            log.append(out)
            if fail_too:
                raise RuntimeError("hook failed")

        module = Bad()
        module.register_forward_hook(hook, always_call=True)
        module.register_forward_hook(lambda m, a, o: log.append("never"))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with pytest.raises(ValueError, match="forward failed"):
                module(1)
        return log, [str(w.message) for w in caught]

    for fail_too in (False, True):
        assert run(ng, fail_too) == run(torch, fail_too)


def test_global_hooks():
    def run(lib):
        log = []
        module = lib.nn.modules.module
        handles = [
            module.register_module_forward_pre_hook(lambda m, a: log.append("pre " + type(m).__name__)),
            module.register_module_forward_hook(lambda m, a, o: log.append("post " + type(m).__name__)),
            module.register_module_full_backward_pre_hook(lambda m, g: log.append("bpre " + type(m).__name__)),
            module.register_module_full_backward_hook(lambda m, gi, go: log.append("back " + type(m).__name__)),
        ]
        model = lib.nn.Sequential(lib.nn.Linear(1, 1), lib.nn.ReLU())
        model(lib.ones(1, 1, requires_grad=True)).sum().backward()
        for handle in handles:
            handle.remove()
        model(lib.ones(1, 1))
        return log

    assert run(ng) == run(torch)


def test_handle_is_a_context_and_survives_pickling():
    module = ng.nn.Identity()
    with module.register_forward_hook(print) as handle:
        assert len(module._forward_hooks) == 1
        assert pickle.loads(pickle.dumps(handle)).id == handle.id
    assert len(module._forward_hooks) == 0
    handle.remove()


@pytest.mark.parametrize("forward, count", [
    (lambda T, x: {"a": x * 2}, 1), (lambda T, x: [[x * 2]], 1), (lambda T, x, y: (x * 2, y * 3), 2),
    (lambda T, x: x.exp().sin(), 1), (lambda T, x: x * 2, 1), (lambda T, x: (x * 2).unbind(), 1), (lambda T, x: x.detach(), 1),
    (lambda T, x, y: x * y, "dict"), (lambda T, x, y: T.nn.functional.linear(x, y), 2)])
def test_older_backward_hooks_say_what_they_miss(forward, count):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
    found = []
    for T in (ng, torch):
        class Own(T.nn.Module):
            def forward(self, x, *more, lib=T):
                return forward(lib, x, *[y["y"] if isinstance(y, dict) else y for y in more])
        for old in (False, True):
            layer, seen = Own(), []
            layer.register_backward_hook(lambda m, gi, go, seen=seen: seen.append((len(gi), len(go))))
            leaves = [T.ones(2, 2, requires_grad=True) for _ in range(2)]
            inputs = [x * 1 if old else x for x in leaves][:1 if count == 1 else 2]
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                out = layer(*(inputs if count != "dict" else (inputs[0], {"y": inputs[1]})))
            while not isinstance(out, T.Tensor):
                out = next(iter(out.values())) if isinstance(out, dict) else out[0]
            if out.requires_grad:
                out.sum().backward()
            found.append((T is ng, [(w.category, str(w.message)) for w in told]))
    assert [w for ours, w in found if ours] == [w for ours, w in found if not ours]
