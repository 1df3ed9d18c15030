"""Layers, containers and losses."""

import importlib

from . import (
    activation,
    attention,
    batchnorm,
    container,
    conv,
    conv_transpose,
    distance,
    dropout,
    flatten,
    instancenorm,
    linear,
    loss,
    normalization,
    padding,
    pooling,
    resample,
    rnn,
    sparse,
    transformer,
)
from .activation import *  # noqa: F403
from .attention import *  # noqa: F403
from .batchnorm import *  # noqa: F403
from .container import *  # noqa: F403
from .conv import *  # noqa: F403
from .conv_transpose import *  # noqa: F403
from .distance import *  # noqa: F403
from .dropout import *  # noqa: F403
from .flatten import *  # noqa: F403
from .instancenorm import *  # noqa: F403
from .linear import *  # noqa: F403
from .loss import *  # noqa: F403
from .module import Module
from .normalization import *  # noqa: F403
from .padding import *  # noqa: F403
from .pooling import *  # noqa: F403
from .resample import *  # noqa: F403
from .rnn import *  # noqa: F403
from .sparse import *  # noqa: F403
from .transformer import *  # noqa: F403

# Where PyTorch has what stands in files of its own here.
vars(conv).update({name: vars(conv_transpose)[name] for name in (*conv_transpose.__all__, "_ConvTransposeNd")})
activation.MultiheadAttention = attention.MultiheadAttention

__all__ = [
    "Module", *container.__all__, *linear.__all__, *flatten.__all__, *dropout.__all__, *activation.__all__,
    *batchnorm.__all__, *instancenorm.__all__, *normalization.__all__, *sparse.__all__, *conv.__all__,
    *pooling.__all__, *loss.__all__, *rnn.__all__, *attention.__all__,
    *conv_transpose.__all__, *distance.__all__, *padding.__all__, *resample.__all__, *transformer.__all__,
]  # fmt: skip

# Layers whose files are imported when one of them is first asked for.
LATER = {
    "adaptive": ("AdaptiveLogSoftmaxWithLoss",),
    "channelshuffle": ("ChannelShuffle",),
    "former": ("Container", "CrossMapLRN2d", "NLLLoss2d"),
    "lazy_layers": (
        "LazyBatchNorm1d", "LazyBatchNorm2d", "LazyBatchNorm3d", "LazyConv1d", "LazyConv2d", "LazyConv3d",
        "LazyConvTranspose1d", "LazyConvTranspose2d", "LazyConvTranspose3d", "LazyInstanceNorm1d", "LazyInstanceNorm2d",
        "LazyInstanceNorm3d", "LazyLinear",
    ),
    "linear_cross_entropy": ("LinearCrossEntropyLoss", "LinearCrossEntropyOptions"),
    "ctc": ("CTCLoss",),
    "sync_batchnorm": ("SyncBatchNorm",),
    "unpooling": ("FractionalMaxPool2d", "FractionalMaxPool3d", "MaxUnpool1d", "MaxUnpool2d", "MaxUnpool3d"),
}  # fmt: skip
_FILES = {name: file for file, names in LATER.items() for name in names}
__all__ += _FILES


def __getattr__(name):
    if name in _FILES:
        value = globals()[name] = getattr(importlib.import_module("." + _FILES[name], __name__), name)
        return value
    if name in LATER or name in ("lazy", "utils", "fold", "pixelshuffle", "upsampling"):
        return importlib.import_module("." + name, __name__)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def __dir__():
    return sorted({*globals(), *_FILES, *LATER, "lazy"})
