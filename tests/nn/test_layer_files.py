"""Files and base classes of layers that other people's layers import, and an isinstance of theirs."""

import importlib

import numpy as np
import pytest

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
NAMES = {
    "conv": "_ConvNd _ConvTransposeNd Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d",
    "pooling": "_MaxPoolNd _AvgPoolNd _AdaptiveAvgPoolNd _AdaptiveMaxPoolNd _LPPoolNd MaxPool2d AvgPool1d AvgPool3d LPPool2d "
               "AdaptiveAvgPool2d AdaptiveMaxPool3d",
    "dropout": "_DropoutNd Dropout Dropout2d AlphaDropout",
    "padding": "_ConstantPadNd _CircularPadNd _ReflectionPadNd _ReplicationPadNd ConstantPad2d ZeroPad2d CircularPad1d "
               "ReflectionPad2d ReplicationPad3d",
    "batchnorm": "_BatchNorm BatchNorm2d", "instancenorm": "_InstanceNorm InstanceNorm2d",
    "loss": "_Loss _WeightedLoss NLLLoss",
    "rnn": "RNNBase RNNCellBase LSTM GRUCell", "activation": "MultiheadAttention ReLU", "upsampling": "Upsample",
    "pixelshuffle": "PixelShuffle PixelUnshuffle", "fold": "Fold Unfold", "module": "Module _IncompatibleKeys _addindent",
    "transformer": "_get_clones _get_activation_fn TransformerEncoderLayer",
}


@pytest.mark.parametrize("name", NAMES)
def test_files_have_what_pytorch_has_there(name):
    ours, theirs = (importlib.import_module(f"{lib.__name__}.nn.modules.{name}") for lib in (ng, torch))
    names = NAMES[name].split()
    for n in names:
        assert getattr(ours, n).__name__ == getattr(theirs, n).__name__ == n
    classes = [n for n in names if isinstance(getattr(theirs, n), type)]
    for a in classes:
        for b in classes:
            assert issubclass(getattr(ours, a), getattr(ours, b)) == issubclass(getattr(theirs, a), getattr(theirs, b)), (a, b)


@pytest.mark.parametrize("padding, mode", [((1, 2), "zeros"), ((2, 1), "circular"), ("same", "zeros")])
def test_a_convolution_of_ones_own(padding, mode):
    def run(lib):
        class Scaled(lib.nn.modules.conv._ConvNd):
            def __init__(self, channels, size):
                pair = lib.nn.modules.utils._pair
                super().__init__(channels, channels, pair(size), pair(1), padding, pair(1), False, pair(0), 2, True, mode)

            def forward(self, x):
                if self.padding_mode != "zeros":
                    x = lib.nn.functional.pad(x, self._reversed_padding_repeated_twice, mode=self.padding_mode)
                return lib.nn.functional.conv2d(x, self.weight * 2, self.bias, self.stride,
                                                0 if self.padding_mode != "zeros" else self.padding, self.dilation, self.groups)
        lib.manual_seed(0)
        layer = Scaled(4, 3)
        text = repr(layer) if padding != "same" else list(layer.state_dict())
        return text, layer(lib.ones(1, 4, 5, 6)).detach().numpy(), list(layer._reversed_padding_repeated_twice)
    (text, ours, widths), (their_text, theirs, their_widths) = run(ng), run(torch)
    assert text == their_text and widths == their_widths
    assert np.allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_errors():
    for bad in ({"groups": 0}, {"groups": 3}, {"padding_mode": "x"}, {"padding": "no"}, {"padding": "same", "stride": (2, 2)}):
        def said(lib, bad=bad):
            given = {"kernel_size": (3, 3), "stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "transposed": False,
                     "output_padding": (0, 0), "groups": 1, "bias": True, "padding_mode": "zeros", **bad}
            with pytest.raises(ValueError) as caught:  # noqa: PT011
                lib.nn.modules.conv._ConvNd(4, 4, **given)
            return "".join(sorted(str(caught.value)))  # PyTorch prints a set
        assert said(ng) == said(torch)
