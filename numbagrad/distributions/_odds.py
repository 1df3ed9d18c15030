"""What distributions of two outcomes share: one parameter, as probability or as log odds."""

import numbagrad as ng

from .utils import lazy_property, logits_to_probs, probs_to_logits


def one_of(probs, logits):
    """ValueError unless one is given."""
    if (probs is None) == (logits is None):
        raise ValueError("Either `probs` or `logits` must be specified, but not both.")


class Odds:
    """``probs`` and ``logits``, of which one is given and the other computed when it is asked for."""

    def _take_odds(self, probs, logits, **others):
        """Set the one that is given, after ``others``, and return the batch's shape."""
        one_of(probs, logits)
        name = "logits" if probs is None else "probs"
        shape = self._take(**others, **{name: logits if probs is None else probs})
        self._param = getattr(self, name)
        return shape

    def _expanded_odds(self, cls, batch_shape, instance, names=()):
        new = self._expanded(cls, batch_shape, instance, ("probs", "logits", *names))
        new._param = vars(new)["logits"] if "logits" in vars(new) else new.probs
        return new

    def _new(self, *args, **kwargs):
        return self._param.new(*args, **kwargs)

    @lazy_property
    def logits(self):
        """The log odds."""
        return probs_to_logits(self.probs, is_binary=True)

    @lazy_property
    def probs(self):
        """The probability of 1."""
        return logits_to_probs(self.logits, is_binary=True)

    @property
    def param_shape(self):
        """The shape of the parameter."""
        return self._param.size()


def integers_to(last, like, batch_shape, expand, dtype=None):
    """0 .. last - 1 along a new first dimension of a batch."""
    values = ng.arange(last, dtype=dtype or like.dtype, device=like.device)
    values = values.view((-1,) + (1,) * len(batch_shape))
    return values.expand((-1,) + batch_shape) if expand else values


class Chosen:
    """What distributions around a categorical one, ``_categorical``, share."""

    def _new(self, *args, **kwargs):
        return self._categorical._new(*args, **kwargs)

    @property
    def param_shape(self):
        """The shape of the parameter."""
        return self._categorical.param_shape

    @property
    def logits(self):
        """Normalized log probabilities."""
        return self._categorical.logits

    @property
    def probs(self):
        """Probabilities."""
        return self._categorical.probs
