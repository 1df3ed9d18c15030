"""``torch.onnx`` can be imported; exporting is refused."""

from __future__ import annotations


class OnnxExporterError(RuntimeError):
    """An error of an export."""


def is_in_onnx_export():
    """False: nothing is exported."""
    return False


def export(*args, **kwargs):
    """Refused: there is no graph of ONNX operators here."""
    raise RuntimeError("torch.onnx.export: numbagrad exports no ONNX models; save the state_dict() and export it from PyTorch")


dynamo_export = export
