"""What is logged as TensorBoard's messages; those of plugins with dictionaries of their own are in ``_hparams``, ``_mesh``."""

from __future__ import annotations

import io
import struct
import wave

import numpy as np
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.pr_curve.plugin_data_pb2 import PrCurvePluginData
from tensorboard.plugins.text.plugin_data_pb2 import TextPluginData

from ...base import dtypes as dt
from ...core.registry import REGISTRY
from ._convert_np import make_np
from ._hparams import hparams
from ._images import draw_boxes, image, image_boxes, make_image, make_video, video
from ._mesh import mesh

__all__ = ["half_to_int", "int_to_half", "hparams", "scalar", "histogram_raw", "histogram", "make_histogram", "image",
           "image_boxes", "draw_boxes", "make_image", "video", "make_video", "audio", "custom_scalars", "text", "tensor_proto",
           "pr_curve_raw", "pr_curve", "compute_curve", "mesh"]


def half_to_int(f):
    """The bits of a number in float32 as an integer: what messages keep of half types."""
    return struct.unpack("i", struct.pack("f", f))[0]


def int_to_half(i):
    """The number with these bits in float32."""
    return struct.unpack("f", struct.pack("i", i))[0]


def _shape(sizes):
    return TensorShapeProto(dim=[TensorShapeProto.Dim(size=s) for s in sizes])


def _plugin(name, content=b""):
    return SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name=name, content=content))


def _value(**fields):
    return Summary(value=[Summary.Value(**fields)])


def scalar(name, tensor, collections=None, new_style=False, double_precision=False):
    """One number; in the new style a tensor of a plugin."""
    tensor = make_np(tensor).squeeze()
    if tensor.ndim != 0:
        raise AssertionError("Tensor should contain one element (0 dimensions).             "
                             f"Was given size: {tensor.size} and {tensor.ndim} dimensions.")
    number = float(tensor)
    if not new_style:
        return _value(tag=name, simple_value=number)
    proto = TensorProto(double_val=[number], dtype="DT_DOUBLE") if double_precision else TensorProto(
        float_val=[number], dtype="DT_FLOAT")
    return _value(tag=name, tensor=proto, metadata=_plugin("scalars"))


def _complex(t):
    return REGISTRY["view_as_real"].callable(t).flatten().tolist()


_FIELDS = {dt.float16: ("DT_HALF", "half_val"), dt.bfloat16: ("DT_BFLOAT16", "half_val"), dt.float32: ("DT_FLOAT", "float_val"),
           dt.float64: ("DT_DOUBLE", "double_val"), dt.int8: ("DT_INT8", "int_val"), dt.uint8: ("DT_UINT8", "uint32_val"),
           dt.int16: ("DT_INT16", "int_val"), dt.int32: ("DT_INT32", "int_val"), dt.int64: ("DT_INT64", "int64_val"),
           dt.bool_: ("DT_BOOL", "bool_val"), dt.complex64: ("DT_COMPLEX64", "scomplex_val"),
           dt.complex128: ("DT_COMPLEX128", "dcomplex_val")}


def tensor_proto(tag, tensor):
    """A whole tensor."""
    if tensor.numel() * tensor.itemsize >= 1 << 31:
        raise ValueError("tensor is bigger than protocol buffer's hard limit of 2GB in size")
    if tensor.dtype not in _FIELDS:
        raise ValueError(f"{tag} has unsupported tensor dtype {tensor.dtype}")
    dtype, field = _FIELDS[tensor.dtype]
    values = _complex(tensor) if tensor.dtype.is_complex else tensor.flatten().tolist()
    if field == "half_val":
        values = [half_to_int(v) for v in values]
    proto = TensorProto(dtype=dtype, tensor_shape=_shape(tensor.shape), **{field: values})
    return _value(tag=tag, metadata=_plugin("tensor"), tensor=proto)


def histogram_raw(name, min, max, num, sum, sum_squares, bucket_limits, bucket_counts):
    """A histogram that was counted already."""
    return _value(tag=name, histo=HistogramProto(min=min, max=max, num=num, sum=sum, sum_squares=sum_squares,
                                                 bucket_limit=bucket_limits, bucket=bucket_counts))


def histogram(name, values, bins, max_bins=None):
    """The histogram of values."""
    return _value(tag=name, histo=make_histogram(make_np(values).astype(float), bins, max_bins))


def make_histogram(values, bins, max_bins=None):
    """Counts between the first and the last bin that have any; the limits are upper ones, so an empty bin comes first."""
    if values.size == 0:
        raise ValueError("The input has no element.")
    values = values.reshape(-1)
    counts, limits = np.histogram(values, bins=bins)
    if max_bins is not None and len(counts) > max_bins:
        together = len(counts) // max_bins
        if len(counts) % together:
            counts = np.pad(counts, (0, together - len(counts) % together))
        counts = counts.reshape(-1, together).sum(axis=-1)
        limits = np.append(limits[:-1:together], limits[-1])
    filled = np.flatnonzero(counts)
    start, end = (int(filled[0]), int(filled[-1]) + 1) if len(filled) else (len(counts), 1)
    counts = counts[start - 1:end] if start else np.concatenate([[0], counts[:end]])
    limits = limits[start:end + 1]
    if counts.size == 0 or limits.size == 0:
        raise ValueError("The histogram is empty, please file a bug report.")
    return HistogramProto(min=values.min(), max=values.max(), num=len(values), sum=values.sum(), sum_squares=values.dot(values),
                          bucket_limit=limits.tolist(), bucket=counts.tolist())


def audio(tag, tensor, sample_rate=44100):
    """One channel of sound in [-1, 1]."""
    array = make_np(tensor).squeeze()
    if abs(array).max() > 1:
        print("warning: audio amplitude out of range, auto clipped.")
        array = array.clip(-1, 1)
    if array.ndim != 1:
        raise AssertionError("input tensor should be 1 dimensional.")
    array = (array * np.iinfo(np.int16).max).astype("<i2")
    with io.BytesIO() as buf:
        with wave.open(buf, "wb") as f:
            f.setnchannels(1)
            f.setsampwidth(2)
            f.setframerate(sample_rate)
            f.writeframes(array.data)
        encoded = buf.getvalue()
    return _value(tag=tag, audio=Summary.Audio(sample_rate=sample_rate, num_channels=1, length_frames=array.shape[-1],
                                               encoded_audio_string=encoded, content_type="audio/wav"))


def custom_scalars(layout):
    """A layout of charts: {category: {title: ["Multiline" or "Margin", tags]}}."""
    categories = []
    for category, charts in layout.items():
        made = []
        for title, (kind, tags, *_) in charts.items():
            if kind == "Margin":
                if len(tags) != 3:
                    raise AssertionError("len(tags) != 3")
                series = layout_pb2.MarginChartContent.Series(value=tags[0], lower=tags[1], upper=tags[2])
                chart = layout_pb2.Chart(title=title, margin=layout_pb2.MarginChartContent(series=[series]))
            else:
                chart = layout_pb2.Chart(title=title, multiline=layout_pb2.MultilineChartContent(tag=tags))
            made.append(chart)
        categories.append(layout_pb2.Category(title=category, chart=made))
    content = layout_pb2.Layout(category=categories).SerializeToString()
    proto = TensorProto(dtype="DT_STRING", string_val=[content], tensor_shape=TensorShapeProto())
    return _value(tag="custom_scalars__config__", tensor=proto, metadata=_plugin("custom_scalars"))


def text(tag, text):
    """A text, which is shown as Markdown."""
    proto = TensorProto(dtype="DT_STRING", string_val=[text.encode(encoding="utf_8")], tensor_shape=_shape([1]))
    return _value(tag=tag + "/text_summary", metadata=_plugin("text", TextPluginData(version=0).SerializeToString()),
                  tensor=proto)


MOST = 127  # thresholds that the message takes


def _curve(tag, data, num_thresholds):
    content = PrCurvePluginData(version=0, num_thresholds=num_thresholds).SerializeToString()
    proto = TensorProto(dtype="DT_FLOAT", float_val=data.reshape(-1).tolist(), tensor_shape=_shape(data.shape[:2]))
    return _value(tag=tag, metadata=_plugin("pr_curves", content), tensor=proto)


def pr_curve_raw(tag, tp, fp, tn, fn, precision, recall, num_thresholds=127, weights=None):
    """Precision over recall, counted already."""
    return _curve(tag, np.stack((tp, fp, tn, fn, precision, recall)), min(num_thresholds, MOST))


def pr_curve(tag, labels, predictions, num_thresholds=127, weights=None):
    """Precision over recall of predictions in [0, 1]."""
    num_thresholds = min(num_thresholds, MOST)
    return _curve(tag, compute_curve(labels, predictions, num_thresholds, weights), num_thresholds)


def compute_curve(labels, predictions, num_thresholds=None, weights=None):
    """Rows of true and false positives, true and false negatives, precision and recall by threshold."""
    weights = 1.0 if weights is None else weights
    places = np.int32(np.floor(predictions * (num_thresholds - 1)))
    positive = labels.astype(np.float64)

    def above(weight):
        counts, _ = np.histogram(places, bins=num_thresholds, range=(0, num_thresholds - 1), weights=weight)
        return np.cumsum(counts[::-1])[::-1]
    tp, fp = above(positive * weights), above((1.0 - positive) * weights)
    tn, fn = fp[0] - fp, tp[0] - tp
    least = 1e-7  # counts that a quotient is taken of
    return np.stack((tp, fp, tn, fn, tp / np.maximum(least, tp + fp), tp / np.maximum(least, tp + fn)))
