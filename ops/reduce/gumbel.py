"""Samples of relaxed categorical distributions."""

from __future__ import annotations

import warnings

from numbagrad.base.user_code import caller_level
from numbagrad.extend import REGISTRY, Sample, function


@function(kinds={"dim": "int"}, namespaces=("nn.functional",), method=False, random=True, reference=None,
          samples=(Sample((3, 4)),))
def gumbel_softmax(logits, tau=1, hard=False, eps=1e-10, dim=-1):
    """softmax((logits + Gumbel noise) / tau); with ``hard`` its largest place as one-hot vectors, with the same gradient."""
    if eps != 1e-10:
        warnings.warn("`eps` parameter is deprecated and has no effect.", stacklevel=caller_level())
    noise = -logits.detach().new_empty(logits._shape).exponential_().log()
    soft = REGISTRY["softmax"].callable((logits + noise) / tau, dim)
    if not hard:
        return soft
    chosen = soft.detach().argmax(dim, True)
    return logits.detach().new_zeros(logits._shape).scatter_(dim, chosen, 1.0) - soft.detach() + soft
