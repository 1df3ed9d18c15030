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


def register_custom_op_symbolic(symbolic_name, symbolic_fn, opset_version):
    """Nothing: what an operator would be exported as is never asked for."""


def unregister_custom_op_symbolic(symbolic_name, opset_version):
    """Nothing, see above."""


def __getattr__(name):
    raise AttributeError(f"module '{__name__}' has no attribute '{name}' (torch.onnx.{name} is not available here)")
