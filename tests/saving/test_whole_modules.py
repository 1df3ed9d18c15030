"""Whole modules in a checkpoint: those of PyTorch run here, ours run there, and names that were allowed are found."""

import io
import pickle

import pytest

import numbagrad as ng
from numbagrad.saving.names import PLACES, name_in_pytorch
from numbagrad.serialization import get_unsafe_globals_in_checkpoint

torch = pytest.importorskip("torch")
MODULES = {
    "Sequential": (lambda nn: nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Dropout(0.1), nn.BatchNorm1d(4)), (2, 3)),
    "Conv2d": (lambda nn: nn.Conv2d(3, 4, 3, padding_mode="circular", padding=1), (2, 3, 8, 8)),
    "ConvTranspose2d": (lambda nn: nn.ConvTranspose2d(3, 4, 3), (2, 3, 8, 8)),
    "RNN": (lambda nn: nn.RNN(3, 4, nonlinearity="relu"), (5, 2, 3)),
    "LSTM": (lambda nn: nn.LSTM(3, 4, 2, bidirectional=True), (5, 2, 3)),
    "LSTM with projections": (lambda nn: nn.LSTM(3, 4, proj_size=2), (5, 2, 3)),
    "GRU": (lambda nn: nn.GRU(3, 4, batch_first=True), (2, 5, 3)),
    "TransformerEncoder": (lambda nn: nn.TransformerEncoder(
        nn.TransformerEncoderLayer(8, 2, 16), 2, enable_nested_tensor=False), (5, 2, 8)),
    "LayerNorm": (lambda nn: nn.LayerNorm(3), (2, 3)),
    "GroupNorm": (lambda nn: nn.GroupNorm(1, 3), (2, 3)),
    "Upsample": (lambda nn: nn.Upsample(scale_factor=2), (1, 1, 4, 4)),
    "PixelShuffle": (lambda nn: nn.PixelShuffle(2), (1, 4, 2, 2)),
    "MaxPool2d": (lambda nn: nn.MaxPool2d(2), (1, 1, 4, 4)),
    "Unfold": (lambda nn: nn.Unfold(2), (1, 1, 4, 4)),
    "PReLU": (lambda nn: nn.PReLU(), (2, 3)),
    "weight_norm": (lambda nn: nn.utils.weight_norm(nn.Linear(3, 3)), (2, 3)),
    "spectral_norm": (lambda nn: nn.utils.spectral_norm(nn.Linear(3, 3)), (2, 3)),
    "ModuleDict's": (lambda nn: nn.ModuleDict({"a": nn.Linear(3, 3)})["a"], (2, 3)),
}


def through(lib, obj, **options):
    file = io.BytesIO()
    lib.save(obj, file, **options)
    file.seek(0)
    return file


def first(result):
    return result[0] if isinstance(result, tuple) else result


def agree(ours, theirs, shape):
    x = torch.randn(shape)
    expected = first(theirs(x)).detach()
    assert torch.allclose(torch.from_dlpack(first(ours(ng.from_dlpack(x))).detach()), expected, atol=1e-5)
    assert list(ours.state_dict()) == list(theirs.state_dict())


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", MODULES)
def test_theirs_run_here(name, zipped):
    make, shape = MODULES[name]
    theirs = make(torch.nn).eval()
    ours = ng.load(through(torch, theirs, _use_new_zipfile_serialization=zipped), weights_only=False)
    assert type(ours) is type(make(ng.nn)) and not ours.training
    agree(ours, theirs, shape)


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", MODULES)
def test_ours_run_there(name, zipped):
    make, shape = MODULES[name]
    ours = make(ng.nn).eval()
    file = through(ng, ours, _use_new_zipfile_serialization=zipped)
    assert b"numbagrad" not in file.getvalue()
    theirs = torch.load(file, weights_only=False)
    assert type(theirs) is type(make(torch.nn))
    agree(ours, theirs, shape)
    file.seek(0)
    agree(ng.load(file, weights_only=False), theirs, shape)


def test_spectral_norm_out_of_a_file_is_removed():
    theirs = torch.nn.utils.spectral_norm(torch.nn.Linear(3, 3)).eval()
    ours = ng.load(through(torch, theirs), weights_only=False)
    ours.load_state_dict(ours.state_dict())
    ng.nn.utils.remove_spectral_norm(ours)
    agree(ours, torch.nn.utils.remove_spectral_norm(theirs), (2, 3))
    assert not ours._load_state_dict_pre_hooks and not ours._forward_pre_hooks


class Hooked:
    """A hook as in a module of the user's own."""

    def __init__(self):
        self.calls = 0

    def __call__(self, module, state, *args):
        self.calls += 1


def test_hooks_that_know_their_module_cross():
    for writer, reader in ((ng, ng), (torch, torch)):
        made = writer.nn.Linear(2, 2)
        add = getattr(made, "register_load_state_dict_pre_hook", None) or made._register_load_state_dict_pre_hook
        add(Hooked()) if add.__name__[0] == "r" else add(Hooked(), with_module=True)
        found = reader.load(through(writer, made), weights_only=False)
        found.load_state_dict(found.state_dict())
        kept, = found._load_state_dict_pre_hooks.values()
        assert type(kept).__name__ == "_WrappedHook" and kept.module() is found and kept.hook.calls == 1


def test_classes_are_named_as_in_pytorch():
    layers = {n: getattr(ng.nn, n) for n, c in vars(torch.nn).items() if isinstance(c, type) and hasattr(ng.nn, n)}
    assert PLACES.keys() <= layers.keys() | {"LinearCrossEntropyOptions", "_WrappedHook"}
    for name, cls in layers.items():
        assert name_in_pytorch(cls) == (getattr(torch.nn, name).__module__, name)
    for name in ("SGD", "Adam", "LBFGS"):
        assert name_in_pytorch(getattr(ng.optim, name)) == (getattr(torch.optim, name).__module__, name)
    assert name_in_pytorch(ng.relu) == ("torch.nn.functional", "relu") and name_in_pytorch(ng.exp) == ("torch", "exp")
    assert name_in_pytorch(ng.nn.functional.gelu) == (torch.nn.functional.gelu.__module__, "gelu")
    assert name_in_pytorch(dict) is name_in_pytorch(pytest.raises) is None


@pytest.fixture
def _no_names():
    yield
    for lib in (ng, torch):
        lib.serialization.clear_safe_globals()


@pytest.mark.usefixtures("_no_names")
def test_allowed_modules_are_read_without_anything_else():
    for writer, reader in ((torch, ng), (ng, ng), (ng, torch), (torch, torch)):
        made = writer.nn.Sequential(writer.nn.Linear(3, 4), writer.nn.PixelShuffle(2))
        file = through(writer, made)
        with pytest.raises(pickle.UnpicklingError, match="torch.nn.modules.container.Sequential was not an allowed global"):
            reader.load(file)
        file.seek(0)
        nn = reader.nn
        with reader.serialization.safe_globals([nn.Sequential, nn.Linear, nn.PixelShuffle]):
            found = reader.load(file)
        assert type(found) is nn.Sequential and type(found[1]) is nn.PixelShuffle
        assert found[0].weight.tolist() == made[0].weight.tolist()
        file.seek(0)
        with reader.serialization.safe_globals([nn.Sequential, nn.Linear]), pytest.raises(
                pickle.UnpicklingError, match="pixelshuffle.PixelShuffle was not an allowed global"):
            reader.load(file)


@pytest.mark.usefixtures("_no_names")
def test_a_class_of_the_same_name_elsewhere_is_not_allowed_with_it():
    data = through(torch, torch.nn.Linear(1, 1), _use_new_zipfile_serialization=False).getvalue()
    moved = data.replace(b"ctorch.nn.modules.linear\nLinear\n", b"ctorch.optim.some.linear\nLinear\n")
    assert moved != data
    with ng.serialization.safe_globals([ng.nn.Linear]):
        assert isinstance(ng.load(io.BytesIO(data)), ng.nn.Linear)
        with pytest.raises(pickle.UnpicklingError, match="torch.optim.some.linear.Linear was not an allowed global"):
            ng.load(io.BytesIO(moved))


@pytest.mark.usefixtures("_no_names")
def test_names_that_are_not_allowed_are_listed():
    parts = [torch.nn.MultiheadAttention(4, 2), torch.optim.SGD([torch.ones(2, requires_grad=True)], 0.1)]
    file = through(torch, parts)
    expected = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(file))
    file.seek(0)
    assert get_unsafe_globals_in_checkpoint(file) == expected
    ng.serialization.add_safe_globals([ng.nn.MultiheadAttention, (dict, "builtins.dict")])
    file.seek(0)
    rest = [n for n in expected if n not in ("torch.nn.modules.activation.MultiheadAttention", "builtins.dict")]
    assert get_unsafe_globals_in_checkpoint(file) == rest


@pytest.mark.usefixtures("_no_names")
def test_what_was_allowed_is_given_back_as_it_was_given():
    for lib in (ng, torch):
        pairs = [lib.nn.Linear, (lib.nn.ReLU, "a.b")]
        before = set(lib.serialization.get_safe_globals())
        lib.serialization.add_safe_globals(pairs)
        assert set(lib.serialization.get_safe_globals()) - before == set(pairs)
