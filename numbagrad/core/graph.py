"""The recorded graph: what the floors above need of nodes, of the history of views and of saved tensors."""

from __future__ import annotations

from .node import (
    AccumulateGrad,
    AliasBackward0,
    Node,
    Output,
    View,
    extra,
    function_of,
    hooks_of,
    hooks_on_leaf,
    hooks_on_output,
    new_node,
    note_forward,
    removable,
    sequence,
    short_name,
)
from .saved import (
    EXCHANGE,
    Packed,
    allow_mutation_on_saved_tensors,
    bump_version,
    disable_saved_tensors_hooks,
    exchanged,
    freed,
    modified,
    save_input,
    save_on_cpu,
    save_output,
    saved_tensors_hooks,
    unpack,
    unpack_plain,
    with_edge,
)
from .view_history import edge, refresh

__all__ = ["AccumulateGrad", "AliasBackward0", "allow_mutation_on_saved_tensors", "bump_version",
           "disable_saved_tensors_hooks", "edge", "EXCHANGE", "exchanged", "extra", "freed", "function_of", "hooks_of",
           "hooks_on_leaf", "hooks_on_output", "modified", "new_node", "Node", "note_forward", "Output", "Packed", "refresh",
           "removable", "save_input", "save_on_cpu", "save_output", "saved_tensors_hooks", "sequence", "short_name", "unpack",
           "unpack_plain", "View", "with_edge"]
