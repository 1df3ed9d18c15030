"""Layers and losses with arguments and inputs, for the tests of values and for those of other devices."""

import numpy as np

# (name, positional arguments, keyword arguments, input shape); tensors are written as nested lists.
ACTIVATIONS = [
    ("ReLU", (), {}),
    ("ReLU", (True,), {}),
    ("ReLU6", (), {}),
    ("ReLU6", (), {"inplace": True}),
    ("LeakyReLU", (), {}),
    ("LeakyReLU", (0.2, True), {}),
    ("ELU", (), {}),
    ("ELU", (0.5,), {"inplace": True}),
    ("SELU", (), {}),
    ("CELU", (), {}),
    ("CELU", (), {"alpha": 2.0}),
    ("GELU", (), {}),
    ("GELU", (), {"approximate": "tanh"}),
    ("SiLU", (), {}),
    ("Mish", (), {}),
    ("Sigmoid", (), {}),
    ("LogSigmoid", (), {}),
    ("Tanh", (), {}),
    ("Softplus", (), {}),
    ("Softplus", (2.0, 1.0), {}),
    ("Softsign", (), {}),
    ("Softmin", (), {"dim": 1}),
    ("Softmax", (1,), {}),
    ("LogSoftmax", (1,), {}),
    ("Hardtanh", (), {}),
    ("Hardtanh", (-0.5, 2.0, True), {}),
    ("Hardsigmoid", (), {}),
    ("Hardswish", (), {}),
    ("Tanhshrink", (), {}),
    ("Softshrink", (), {}),
    ("Softshrink", (0.3,), {}),
    ("Hardshrink", (), {}),
    ("Threshold", (0.1, 20), {}),
    ("Threshold", (0.1, 20, True), {}),
    ("GLU", (), {}),
    ("PReLU", (), {}),
    ("PReLU", (4, 0.1), {}),
    ("Identity", (54, 2), {"unused": True}),
]
LAYERS = [(name, args, kwargs, (6, 4)) for name, args, kwargs in ACTIVATIONS] + [
    ("Softmax2d", (), {}, (2, 3, 4, 4)),
    ("Linear", (4, 3), {}, (5, 4)),
    ("Linear", (4, 3, False), {}, (2, 5, 4)),
    ("Flatten", (), {}, (2, 3, 4)),
    ("Flatten", (0, 1), {}, (2, 3, 4)),
    ("Unflatten", (1, (2, 3)), {}, (4, 6)),
    ("BatchNorm1d", (3,), {}, (5, 3)),
    ("BatchNorm1d", (3,), {"momentum": None}, (5, 3, 2)),
    ("BatchNorm1d", (3,), {"affine": False, "eps": 1e-3}, (5, 3)),
    ("BatchNorm1d", (3,), {"bias": False}, (5, 3)),
    ("BatchNorm1d", (3,), {"track_running_stats": False}, (5, 3)),
    ("BatchNorm2d", (3,), {}, (2, 3, 4, 5)),
    ("BatchNorm3d", (2,), {}, (2, 2, 3, 4, 2)),
    ("LayerNorm", (4,), {}, (3, 4)),
    ("LayerNorm", ((3, 4),), {"eps": 1e-3}, (2, 3, 4)),
    ("LayerNorm", ([4],), {"elementwise_affine": False}, (2, 3, 4)),
    ("LayerNorm", (4,), {"bias": False}, (3, 4)),
    ("GroupNorm", (2, 4), {}, (3, 4, 5)),
    ("GroupNorm", (2, 4), {"affine": False}, (3, 4)),
    ("RMSNorm", (4,), {}, (3, 4)),
    ("RMSNorm", ((3, 4), 1e-3), {}, (2, 3, 4)),
    ("InstanceNorm1d", (3,), {}, (2, 3, 5)),
    ("InstanceNorm1d", (3,), {"affine": True}, (3, 5)),
    ("InstanceNorm2d", (3,), {"track_running_stats": True}, (2, 3, 4, 4)),
    ("Conv1d", (2, 4, 3), {}, (3, 2, 8)),
    ("Conv1d", (2, 4, 3), {"padding": "same", "dilation": 2}, (3, 2, 8)),
    ("Conv2d", (2, 4, 3), {}, (3, 2, 6, 5)),
    ("Conv2d", (2, 4, (3, 2)), {"stride": (2, 1), "padding": 1, "bias": False}, (3, 2, 6, 5)),
    ("Conv2d", (4, 4, 3), {"groups": 2, "padding": (1, 0), "dilation": (1, 2)}, (2, 4, 6, 6)),
    ("Conv2d", (2, 2, 3), {"padding": 1, "padding_mode": "circular"}, (2, 2, 5, 5)),
    ("Conv2d", (2, 2, 3), {"padding": "same", "padding_mode": "reflect"}, (2, 2, 5, 5)),
    ("Conv2d", (2, 2, 3), {"padding": "valid"}, (2, 5, 5)),
    ("MaxPool1d", (2,), {}, (2, 3, 7)),
    ("MaxPool2d", (2,), {}, (2, 3, 7, 6)),
    ("MaxPool2d", (3, 2), {"padding": 1, "ceil_mode": True}, (2, 3, 7, 6)),
    ("MaxPool2d", ((2, 3),), {"dilation": 2, "stride": 1}, (2, 3, 8, 8)),
    ("AvgPool1d", (2,), {}, (2, 3, 7)),
    ("AvgPool2d", (2,), {}, (2, 3, 7, 6)),
    ("AvgPool2d", (3,), {"stride": 2, "padding": 1, "count_include_pad": False}, (2, 3, 7, 6)),
    ("AdaptiveAvgPool1d", (3,), {}, (2, 3, 7)),
    ("AdaptiveAvgPool2d", (1,), {}, (2, 3, 7, 6)),
    ("AdaptiveAvgPool2d", ((3, None),), {}, (2, 3, 7, 6)),
]
LOSSES = [
    ("MSELoss", {}, "values"),
    ("L1Loss", {}, "values"),
    ("SmoothL1Loss", {"beta": 0.5}, "values"),
    ("HuberLoss", {"delta": 0.5}, "values"),
    ("BCELoss", {}, "binary"),
    ("BCELoss", {"weight": [0.5, 1.0, 2.0, 1.5]}, "binary"),
    ("BCEWithLogitsLoss", {}, "logits"),
    ("BCEWithLogitsLoss", {"pos_weight": [0.5, 1.0, 2.0, 1.5]}, "logits"),
    ("CrossEntropyLoss", {}, "classes"),
    ("CrossEntropyLoss", {"weight": [0.5, 1.0, 2.0, 1.5], "ignore_index": 1}, "classes"),
    ("CrossEntropyLoss", {"label_smoothing": 0.1}, "classes"),
    ("CrossEntropyLoss", {}, "probabilities"),
    ("NLLLoss", {}, "log classes"),
    ("NLLLoss", {"weight": [0.5, 1.0, 2.0, 1.5]}, "log classes"),
    ("KLDivLoss", {}, "log probabilities"),
    ("KLDivLoss", {"log_target": True}, "log values"),
]


def loss_data(kind):
    rng = np.random.default_rng(11)
    x = rng.standard_normal((6, 4)).astype(np.float32)
    probabilities = np.exp(x) / np.exp(x).sum(1, keepdims=True)
    soft = rng.random((6, 4)).astype(np.float32)
    soft /= soft.sum(1, keepdims=True)
    if kind.startswith("log "):
        x = np.log(probabilities)
    if kind == "binary":
        x = (0.05 + 0.9 * rng.random((6, 4))).astype(np.float32)
    targets = {
        "values": rng.standard_normal((6, 4)).astype(np.float32),
        "binary": rng.integers(0, 2, (6, 4)).astype(np.float32),
        "logits": rng.integers(0, 2, (6, 4)).astype(np.float32),
        "classes": rng.integers(0, 4, 6),
        "log classes": rng.integers(0, 4, 6),
        "probabilities": soft,
        "log probabilities": soft,
        "log values": np.log(soft),
    }
    return x, targets[kind]


REDUCED_LOSSES = [
    (*case, reduction)
    for case in LOSSES
    for reduction in ("mean", "sum", "none", "batchmean")
    if reduction != "batchmean" or case[0] == "KLDivLoss"
]

# (name, positional arguments, keyword arguments, shapes of the inputs)
MORE_LAYERS = [
    ("ConvTranspose1d", (4, 6, 3), {}, [(2, 4, 5)]),
    ("ConvTranspose1d", (4, 6, 3, 2, 1, 1, 2), {"dilation": 2, "bias": False}, [(4, 5)]),
    ("ConvTranspose2d", (2, 3, (3, 2)), {"stride": (2, 1), "padding": 1, "output_padding": (1, 0)}, [(2, 2, 4, 5)]),
    ("ConvTranspose3d", (2, 2, 2), {"stride": 2}, [(1, 2, 3, 2, 2)]),
    ("Unfold", (2,), {}, [(2, 3, 4, 5)]),
    ("Unfold", ((2, 3),), {"dilation": 1, "padding": 1, "stride": 2}, [(2, 3, 4, 5)]),
    ("Fold", ((4, 5), 2), {}, [(2, 12, 12)]),
    ("Upsample", (), {"scale_factor": 2}, [(1, 2, 3, 4)]),
    ("Upsample", ((5, 3),), {"mode": "bilinear", "align_corners": False}, [(1, 2, 3, 4)]),
    ("Upsample", (), {"scale_factor": (2, 1.5), "mode": "bicubic"}, [(1, 2, 4, 4)]),
    ("UpsamplingNearest2d", (), {"scale_factor": 2}, [(1, 2, 3, 4)]),
    ("UpsamplingBilinear2d", (), {"size": (5, 6)}, [(1, 2, 3, 4)]),
    ("PixelShuffle", (2,), {}, [(2, 8, 3, 2)]),
    ("PixelUnshuffle", (2,), {}, [(2, 2, 4, 6)]),
    ("MaxPool3d", (2,), {"stride": 1}, [(1, 2, 3, 4, 5)]),
    ("AvgPool3d", (2,), {"padding": 1, "count_include_pad": False}, [(1, 2, 3, 4, 5)]),
    ("AdaptiveAvgPool3d", ((2, None, 3),), {}, [(1, 2, 3, 4, 5)]),
    ("AdaptiveMaxPool3d", (2,), {}, [(1, 2, 3, 4, 5)]),
    ("LPPool2d", (2, 2), {"ceil_mode": True}, [(1, 2, 5, 4)]),
    ("LocalResponseNorm", (2,), {"alpha": 0.1}, [(2, 5, 3, 3)]),
    ("RReLU", (), {}, [(3, 4)]),
    ("RReLU", (0.1, 0.2), {}, [(3, 4)]),
    ("PairwiseDistance", (), {"p": 1.0}, [(3, 4), (3, 4)]),
    ("CosineSimilarity", (), {}, [(3, 4), (3, 4)]),
    *[(f"ZeroPad{n}d", (1,), {}, [(2, 3, *(4,) * n)]) for n in (1, 2, 3)],
    *[(f"ConstantPad{n}d", (tuple(range(2 * n)), 3.5), {}, [(2, 3, *(4,) * n)]) for n in (1, 2, 3)],
    *[(f"{kind}Pad{n}d", (2,), {}, [(2, 3, *(4,) * n)]) for kind in ("Reflection", "Replication", "Circular")
      for n in (1, 2, 3)],
]
TARGETS = {"sign": np.array([[1.0, -1, 1, 1], [-1, -1, 1, -1], [1, 1, -1, 1]]), "class": np.array([2, 0, 3]),
           "binary": np.array([[0.0, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 1]]), "row": np.array([1.0, -1, 1]),
           "count": np.array([[0.0, 3, 1, 2], [1, 5, 0, 0], [2, 2, 2, 1]])}
# (name, keyword arguments, number of inputs, target or None, further arguments)
MORE_LOSSES = [
    ("PoissonNLLLoss", {}, 1, "count"), ("PoissonNLLLoss", {"full": True}, 1, "count"),
    ("GaussianNLLLoss", {"full": True}, 1, "binary"),
    ("HingeEmbeddingLoss", {"margin": 0.5}, 1, "sign"), ("SoftMarginLoss", {}, 1, "sign"),
    ("MultiLabelSoftMarginLoss", {"weight": [0.5, 1.0, 2.0, 1.5]}, 1, "binary"),
    ("CosineEmbeddingLoss", {"margin": 0.1}, 2, "row"), ("MarginRankingLoss", {"margin": 0.1}, 2, "sign"),
    ("MultiMarginLoss", {"p": 2}, 1, "class"), ("MultiMarginLoss", {"weight": [0.5, 1.0, 2.0, 1.5]}, 1, "class"),
    ("TripletMarginLoss", {"swap": True}, 3, None), ("TripletMarginWithDistanceLoss", {"margin": 0.7}, 3, None),
]
# (name, positional arguments, keyword arguments, shapes of the inputs) of layers with more than one input or result
SEQUENCE_LAYERS = [
    *[(name, (3, 4), kwargs, [(5, 2, 3)]) for name in ("RNN", "GRU", "LSTM") for kwargs in ({}, {"num_layers": 2,
                                                                                             "bidirectional": True})],
    ("RNN", (3, 4), {"nonlinearity": "relu", "batch_first": True}, [(2, 5, 3)]),
    *[(name + "Cell", (3, 4), {}, [(2, 3)]) for name in ("RNN", "GRU", "LSTM")],
    ("MultiheadAttention", (4, 2), {}, [(3, 2, 4), (5, 2, 4), (5, 2, 4)]),
    ("TransformerEncoderLayer", (4, 2, 8, 0.0), {}, [(3, 2, 4)]),
    ("TransformerDecoderLayer", (4, 2, 8, 0.0), {"norm_first": True}, [(3, 2, 4), (5, 2, 4)]),
    ("Transformer", (4, 2, 1, 1, 8, 0.0), {}, [(3, 2, 4), (5, 2, 4)]),
    ("Bilinear", (3, 4, 2), {}, [(5, 3), (5, 4)]),
]
