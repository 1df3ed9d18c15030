"""The checks of recurrent layers that other people's subclasses call, and the names behind a module's call, beside PyTorch."""

import pytest

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")


def outcome(call, *args):
    try:
        found = call(*args)
    except (RuntimeError, ValueError) as e:
        return type(e).__name__, str(e).replace("numbagrad", "torch")
    return found if found is None or type(found) is tuple and type(found[0]) is int else [
        t.tolist() for t in (found if isinstance(found, tuple) else (found,))]


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}, {"batch_first": True}, {"proj_size": 2}])
def test_checks(kind, options):
    if kind != "LSTM" and "proj_size" in options:
        pytest.skip("projections are those of LSTM")
    shapes = ((5, 3, 4), (3, 4), (5, 3, 7))
    for shape in shapes:
        found = []
        for lib in (ng, torch):
            layer = getattr(lib.nn, kind)(4, 6, **options)
            x, sizes = lib.zeros(shape), lib.tensor([3, 2])
            told = [outcome(layer.check_input, x, None), outcome(layer.check_input, x, sizes),
                    outcome(layer.check_input, x.double(), None)]
            if len(shape) == 3:
                told.append(outcome(layer.get_expected_hidden_size, x, None))
            told.append(outcome(layer.get_expected_hidden_size, x, sizes))
            for states in (layer.get_expected_hidden_size(lib.zeros(5, 3, 4), None), (1, 9, 6)):
                h = lib.zeros(states)
                c = h
                if kind == "LSTM":
                    c = lib.zeros(layer.get_expected_cell_size(lib.zeros(5, 3, 4), None))
                told.append(outcome(layer.check_forward_args, x, (h, c) if kind == "LSTM" else h, None))
                told.append(outcome(layer.check_hidden_size, h, (1, 3, 6), "no {} but {}"))
                told.append(outcome(layer.permute_hidden, (h, c) if kind == "LSTM" else h, None))
                told.append(outcome(layer.permute_hidden, (h, c) if kind == "LSTM" else h, lib.tensor([1, 0])))
            found.append(told)
        assert found[0] == found[1]


def test_names_behind_a_call():
    for lib in (ng, torch):
        class Own(lib.nn.Linear):
            def __call__(self, *args, **kwargs):
                return self._call_impl(*args, **kwargs) + 1
        layer, seen = Own(2, 2), []
        layer.register_forward_hook(lambda module, args, out, seen=seen: seen.append(1))
        x = lib.ones(1, 2)
        assert lib.equal(layer(x), layer.forward(x) + 1) and seen == [1]
        assert lib.equal(layer._wrapped_call_impl(x), layer._slow_forward(x)) and seen == [1, 1]
