"""From a list of samples to a batch of tensors."""

import copy
from collections.abc import Mapping, MutableMapping, MutableSequence, Sequence

import numpy as np

import numbagrad as ng

from ...core.tensor import Tensor
from . import _handover

__all__ = ["default_collate", "default_convert"]


def _is_text_or_object(array):
    return array.dtype.kind in "SUO" or array.dtype.str.find("a") >= 0


def _cannot(found):
    raise TypeError(
        f"default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found {found}"
    )


def _like_mapping(original, values):
    """``values`` in a mapping of the type of ``original``; a plain dict when that type cannot be made so."""
    try:
        if isinstance(original, MutableMapping):
            made = copy.copy(original)
            made.update(values)
            return made
        return type(original)(values)
    except TypeError:
        return values


def _like_sequence(original, values):
    """``values`` in a sequence of the type of ``original``; a plain list when that type cannot be made so."""
    try:
        if isinstance(original, MutableSequence):
            made = copy.copy(original)
            for i, value in enumerate(values):
                made[i] = value
            return made
        return type(original)(values)
    except TypeError:
        return values


def _stack(tensors):
    out = None if _handover.sender is None else _handover.stacked(tensors)
    return ng.stack(tensors, 0) if out is None else out


def default_collate(batch):
    """Join samples: tensors, arrays and numbers into tensors with a new first dimension, also inside containers.

    Strings stay a list. Tuples become lists, named tuples stay what they are. TypeError for any other type,
    RuntimeError for lists of unequal length.
    """
    first = batch[0]
    if isinstance(first, Tensor):
        return _stack(list(batch))
    if isinstance(first, np.ndarray):
        if _is_text_or_object(first):
            _cannot(first.dtype)
        return _stack([ng.as_tensor(array) for array in batch])
    if isinstance(first, (np.bool_, np.number)):
        return ng.as_tensor(np.asarray(batch))
    if isinstance(first, float):
        return ng.tensor(batch, dtype=ng.float64)
    if isinstance(first, int):
        return ng.tensor(batch)
    if isinstance(first, (str, bytes)):
        return batch
    if isinstance(first, Mapping):
        return _like_mapping(first, {key: default_collate([sample[key] for sample in batch]) for key in first})
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return type(first)(*map(default_collate, zip(*batch, strict=False)))
    if isinstance(first, Sequence):
        if any(len(sample) != len(first) for sample in batch):
            raise RuntimeError("each element in list of batch should be of equal size")
        columns = [default_collate(column) for column in zip(*batch, strict=True)]
        return columns if isinstance(first, tuple) else _like_sequence(first, columns)
    _cannot(type(first))


def default_convert(data):
    """NumPy arrays and numbers into tensors, inside dicts, tuples and lists too; everything else stays as it is."""
    if isinstance(data, np.ndarray):
        return data if _is_text_or_object(data) else ng.as_tensor(data)
    if isinstance(data, (np.bool_, np.number)):
        return ng.as_tensor(data)
    if isinstance(data, Mapping):
        return _like_mapping(data, {key: default_convert(data[key]) for key in data})
    if isinstance(data, tuple):
        values = [default_convert(item) for item in data]
        return type(data)(*values) if hasattr(data, "_fields") else values
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return _like_sequence(data, [default_convert(item) for item in data])
    return data
