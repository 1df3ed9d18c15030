"""Event files for TensorBoard: ``SummaryWriter``."""

try:
    import tensorboard  # noqa: F401
except ImportError as error:
    raise ImportError("utils.tensorboard writes files through the package tensorboard, which is not installed here: "
                      'pip install "numbagrad[tensorboard]"', name=error.name) from error
from tensorboard.summary.writer.record_writer import RecordWriter

from .writer import FileWriter, SummaryWriter

__all__ = ["FileWriter", "RecordWriter", "SummaryWriter"]
