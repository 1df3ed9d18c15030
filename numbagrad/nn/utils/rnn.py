"""Batches of sequences of different lengths: padded to one length, or packed without padding."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numbagrad as ng

from ...core.tensor import Tensor

__all__ = [
    "PackedSequence", "invert_permutation", "pack_padded_sequence", "pack_sequence", "pad_packed_sequence", "pad_sequence",
    "unpack_sequence", "unpad_sequence",
]  # fmt: skip

_NOT_BY_HAND = (
    "Instances of PackedSequence should never be created manually. They should be instantiated by functions like "
    "pack_sequence and pack_padded_sequences in nn.utils.rnn. "
    "https://pytorch.org/docs/stable/nn.html#torch.nn.utils.rnn.pack_sequence"
)


class _Fields(NamedTuple):
    data: Any
    batch_sizes: Any
    sorted_indices: Any
    unsorted_indices: Any


class PackedSequence(_Fields):
    """The steps of several sequences without padding: ``data`` holds, time step by time step, the rows of the sequences
    that are at least that long, ``batch_sizes`` how many they are.

    Longest first; ``sorted_indices`` says which sequence of the user's order stands where, ``unsorted_indices`` is the
    inverse. All recurrent layers take and return packed sequences.
    """

    __slots__ = ()

    def __new__(cls, data, batch_sizes=None, sorted_indices=None, unsorted_indices=None):
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        if batch_sizes is None:
            if not (isinstance(data, (list, tuple)) and len(data) == 2):
                raise AssertionError("Expected data to be a list or tuple of length 2")
            data, batch_sizes = data
        elif batch_sizes.device.type != "cpu":
            raise ValueError("batch_sizes should always be on CPU. " + _NOT_BY_HAND)
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def __repr__(self):
        # The name of the fields' class is no business of the reader.
        return "PackedSequence(" + ", ".join(f"{n}={getattr(self, n)!r}" for n in self._fields) + ")"

    @property
    def is_cuda(self):
        """Whether the data is on a CUDA device."""
        return self.data.is_cuda

    def to(self, *args, **kwargs):
        """The same sequences with the data on another device or of another dtype."""
        data = self.data.to(*args, **kwargs)
        if data is self.data:
            return self
        indices = (t if t is None else t.to(data.device) for t in (self.sorted_indices, self.unsorted_indices))
        return type(self)(data, self.batch_sizes, *indices)

    def cuda(self, *args, **kwargs):
        """The same sequences on a CUDA device."""
        return self if self.is_cuda and not args and not kwargs else self.to(*args, **{"device": "cuda", **kwargs})

    def cpu(self):
        """The same sequences on the CPU."""
        return self.to(device="cpu")

    def double(self):
        """The data as float64."""
        return self.to(dtype=ng.float64)

    def float(self):
        """The data as float32."""
        return self.to(dtype=ng.float32)

    def half(self):
        """The data as float16."""
        return self.to(dtype=ng.float16)

    def long(self):
        """The data as int64."""
        return self.to(dtype=ng.int64)

    def int(self):
        """The data as int32."""
        return self.to(dtype=ng.int32)


def invert_permutation(permutation):
    """The inverse of a permutation given as a 1-D tensor of indices; None for None."""
    if permutation is None:
        return None
    output = ng.empty_like(permutation)
    output.scatter_(0, permutation, ng.arange(0, permutation.numel(), device=permutation.device))
    return output


def _packing(lengths):
    """(flat positions in a (T, B) grid, batch sizes) of sequences of these lengths, longest first."""
    batch = len(lengths)
    sizes, alive = [], batch
    for t in range(lengths[0]):
        while lengths[alive - 1] <= t:
            alive -= 1
        sizes.append(alive)
    return [t * batch + b for t, size in enumerate(sizes) for b in range(size)], sizes


def pack_padded_sequence(input, lengths, batch_first=False, enforce_sorted=True):
    """Pack a padded batch (T, B, ...), or (B, T, ...) with ``batch_first``.

    ``lengths`` must decrease unless ``enforce_sorted`` is False. RuntimeError for other lengths, ones that are not
    positive, and a number of them that is not the batch size.
    """
    lengths = lengths.to(dtype=ng.int64) if isinstance(lengths, Tensor) else ng.tensor(lengths, dtype=ng.int64)
    sorted_indices = None
    if not enforce_sorted:
        lengths, sorted_indices = ng.sort(lengths, descending=True)
        sorted_indices = sorted_indices.to(input.device)
        input = input.index_select(0 if batch_first else 1, sorted_indices)
    if input.numel() == 0:
        raise RuntimeError("Cannot pack empty tensors.")
    if batch_first:
        input = input.transpose(0, 1)
    steps, batch = input.shape[:2]
    values = lengths.tolist()
    if len(values) != batch:
        raise RuntimeError(
            f"Expected `len(lengths)` to be equal to batch_size, but got {len(values)} (batch_size={batch})"
        )
    if values[-1] <= 0 or min(values) <= 0:
        raise RuntimeError(
            "Length of all samples has to be greater than 0, but found an element in 'lengths' that is <= 0"
        )
    if any(a < b for a, b in zip(values, values[1:], strict=False)):
        raise RuntimeError(
            "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. You can pass "
            "`enforce_sorted=False` to pack_padded_sequence and/or pack_sequence to sidestep this requirement if you "
            "do not need ONNX exportability."
        )
    if values[0] > steps:
        raise RuntimeError(f"Expected lengths of at most {steps}, the length of the input, but got {values[0]}")
    positions, sizes = _packing(values)
    rows = input.reshape(steps * batch, *input.shape[2:])
    data = rows.index_select(0, ng.tensor(positions, device=input.device))
    return PackedSequence(data, ng.tensor(sizes), sorted_indices, None)


def pad_packed_sequence(sequence, batch_first=False, padding_value=0.0, total_length=None):
    """(padded batch, lengths) of a packed one, in the user's order; padded to ``total_length`` if given."""
    sizes = sequence.batch_sizes.tolist()
    steps = len(sizes)
    if total_length is not None:
        if total_length < steps:
            raise ValueError(
                "Expected total_length to be at least the length of the longest sequence in input, but got "
                f"total_length={total_length} and max sequence length being {steps}"
            )
        steps = total_length
    data, batch = sequence.data, sizes[0]
    positions = [t * batch + b for t, size in enumerate(sizes) for b in range(size)]
    padded = data.new_full((steps * batch, *data.shape[1:]), padding_value)
    padded = padded.index_copy(0, ng.tensor(positions, device=data.device), data)
    padded = padded.reshape(steps, batch, *data.shape[1:])
    lengths = ng.tensor([sum(size > b for size in sizes) for b in range(batch)])
    if batch_first:
        padded = padded.transpose(0, 1)
    if sequence.unsorted_indices is not None:
        order = sequence.unsorted_indices
        return padded.index_select(0 if batch_first else 1, order), lengths[order.cpu()]
    return padded, lengths


def pad_sequence(sequences, batch_first=False, padding_value=0.0, padding_side="right"):
    """Tensors (L_i, ...) as one (T, B, ...), or (B, T, ...) with ``batch_first``, filled up with ``padding_value``."""
    if not isinstance(sequences, Iterable):
        raise RuntimeError(
            f"pad_sequence: Expected iterable for input sequences, but got arg of type: {type(sequences)}"
        )
    sequences = tuple(sequences)
    if not sequences:
        raise RuntimeError("received an empty list of sequences")
    if padding_side not in ("left", "right"):
        raise RuntimeError("Expected padding_side to be one of left or right, but got " + str(padding_side) + ".")
    longest = max(s.shape[0] for s in sequences)
    tail = sequences[0].shape[1:]
    rows = []
    for s in sequences:
        if tuple(s.shape[1:]) != tuple(tail):
            raise RuntimeError(
                f"pad_sequence: expected sequences of shape [*, {', '.join(map(str, tail))}] like the first, but got "
                f"{list(s.shape)}"
            )
        if s.shape[0] < longest:
            fill = s.new_full((longest - s.shape[0], *tail), padding_value)
            s = ng.cat((fill, s) if padding_side == "left" else (s, fill), 0)
        rows.append(s)
    return ng.stack(rows, 0 if batch_first else 1)


def unpad_sequence(padded_sequences, lengths, batch_first=False):
    """The list of sequences (L_i, ...) in a padded batch."""
    if not batch_first:
        padded_sequences = padded_sequences.transpose(0, 1)
    lengths = lengths.tolist() if isinstance(lengths, Tensor) else list(lengths)
    if len(lengths) != padded_sequences.shape[0]:
        raise ValueError(f"unpad_sequence: got {len(lengths)} lengths for {padded_sequences.shape[0]} sequences")
    return [s[: int(n)].clone() for s, n in zip(padded_sequences, lengths, strict=True)]


def pack_sequence(sequences, enforce_sorted=True):
    """Pack a list of tensors (L_i, ...), which must come longest first unless ``enforce_sorted`` is False."""
    sequences = list(sequences)
    lengths = ng.tensor([s.size(0) for s in sequences])
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences):
    """The list of sequences (L_i, ...) of a packed batch, in the user's order."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)
