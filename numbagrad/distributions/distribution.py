"""The base of all distributions."""

import warnings

import numbagrad as ng

from . import constraints
from .utils import _Number, broadcast_all, lazy_property

__all__ = ["Distribution"]


class Distribution:
    """A batch of independent distributions of events, with samples, densities and moments."""

    has_rsample = False
    has_enumerate_support = False
    _validate_args = __debug__

    @staticmethod
    def set_default_validate_args(value):
        """Whether parameters and samples are checked where a distribution is not told otherwise."""
        if value not in [True, False]:
            raise ValueError
        Distribution._validate_args = value

    def __init__(self, batch_shape=ng.Size(), event_shape=ng.Size(), validate_args=None):
        self._batch_shape, self._event_shape = batch_shape, event_shape
        if validate_args is not None:
            self._validate_args = validate_args
        if self._validate_args:
            self._check_parameters()
        super().__init__()

    def _check_parameters(self):
        """ValueError for a parameter outside of its constraint; what would be computed of others is left."""
        try:
            table = self.arg_constraints
        except NotImplementedError:
            table = {}
            warnings.warn(f"{self.__class__} does not define `arg_constraints`. Please set `arg_constraints = {{}}` or "
                          "initialize the distribution with `validate_args=False` to turn off validation.", stacklevel=3)
        for name, constraint in table.items():
            if constraints.is_dependent(constraint) or name not in vars(self) and isinstance(
                    getattr(type(self), name), lazy_property):
                continue
            value = getattr(self, name)
            if not constraint.check(value).all():
                raise ValueError(f"Expected parameter {name} {_shown(value)} of distribution {self!r} to satisfy the "
                                 f"constraint {constraint!r}, but found invalid values:\n{value}")

    def _take(self, **parameters):
        """Set parameters brought to one shape, and return the batch's: numbers of Python have none."""
        values = broadcast_all(*parameters.values())
        for name, value in zip(parameters, values):
            setattr(self, name, value)
        return ng.Size() if all(isinstance(v, _Number) for v in parameters.values()) else values[0].size()

    def expand(self, batch_shape, _instance=None):
        """The same distribution in a larger batch; memory is shared."""
        raise NotImplementedError

    @property
    def batch_shape(self):
        """The shape over which parameters are batched."""
        return self._batch_shape

    @property
    def event_shape(self):
        """The shape of one sample of one distribution."""
        return self._event_shape

    @property
    def arg_constraints(self):
        """{parameter: its constraint}."""
        raise NotImplementedError

    @property
    def support(self):
        """The constraint that samples fulfil."""
        raise NotImplementedError

    @property
    def mean(self):
        """The expected value."""
        raise NotImplementedError

    @property
    def mode(self):
        """The most likely value."""
        raise NotImplementedError(f"{self.__class__} does not implement mode")

    @property
    def variance(self):
        """The expected square of the distance from the mean."""
        raise NotImplementedError

    @property
    def stddev(self):
        """The root of the variance."""
        return self.variance.sqrt()

    def sample(self, sample_shape=ng.Size()):
        """Samples without gradients, of ``sample_shape`` and the batch's and events' shapes."""
        with ng.no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape=ng.Size()):
        """Samples that can be differentiated by the parameters."""
        raise NotImplementedError

    def sample_n(self, n):
        """``n`` samples; deprecated."""
        warnings.warn("`sample_n(n)` will be deprecated. Use `sample((n,))` instead.", FutureWarning, stacklevel=2)
        return self.sample(ng.Size((n,)))

    def log_prob(self, value):
        """The logarithm of the density, or of the probability, at ``value``."""
        raise NotImplementedError

    def cdf(self, value):
        """The probability of values up to ``value``."""
        raise NotImplementedError

    def icdf(self, value):
        """The inverse of ``cdf``."""
        raise NotImplementedError

    def enumerate_support(self, expand=True):
        """All values of a discrete distribution along a new first dimension."""
        raise NotImplementedError

    def entropy(self):
        """The entropy, in nats."""
        raise NotImplementedError

    def perplexity(self):
        """The exponential of the entropy."""
        return ng.exp(self.entropy())

    def _extended_shape(self, sample_shape=ng.Size()):
        """The shape of samples."""
        return ng.Size((*sample_shape, *self._batch_shape, *self._event_shape))

    def _validate_sample(self, value):
        """ValueError for a value whose shape or elements cannot be a sample's."""
        if not isinstance(value, ng.Tensor):
            raise ValueError("The value argument to log_prob must be a Tensor")
        shape, event, whole = value.size(), self._event_shape, self._batch_shape + self._event_shape
        if shape[len(shape) - len(event):] != event:
            raise ValueError(f"The right-most size of value must match event_shape: {shape} vs {event}.")
        if any(i != 1 and j != 1 and i != j for i, j in zip(reversed(shape), reversed(whole))):
            raise ValueError(f"Value is not broadcastable with batch_shape+event_shape: {shape} vs {whole}.")
        try:
            support = self.support
        except NotImplementedError:
            warnings.warn(f"{self.__class__} does not define `support` to enable sample validation. Please initialize the "
                          "distribution with `validate_args=False` to turn off validation.", stacklevel=2)
            return
        if support is None:
            raise AssertionError("support is unexpectedly None")
        if not support.check(value).all():
            raise ValueError(f"Expected value argument {_shown(value)} to be within the support ({support!r}) of the "
                             f"distribution {self!r}, but found invalid values:\n{value}")

    def _get_checked_instance(self, cls, _instance=None):
        """The object that ``cls.expand`` fills: ``_instance``, or a new one, of a class whose constructor ``cls`` knows."""
        if _instance is None and type(self).__init__ != cls.__init__:
            raise NotImplementedError(f"Subclass {self.__class__.__name__} of {cls.__name__} that defines a custom __init__ "
                                      "method must also define a custom .expand() method.")
        return self.__new__(type(self)) if _instance is None else _instance

    def _expanded(self, cls, batch_shape, instance, names=(), parts=()):
        """What most ``expand`` do: parameters ``names``, if set, get the batch's and events' shape, distributions ``parts`` the
        batch's."""
        new, batch_shape = self._get_checked_instance(cls, instance), ng.Size(batch_shape)
        for name in names:
            if name in vars(self):
                vars(new)[name] = vars(self)[name].expand(batch_shape + self._event_shape)
        for name in parts:
            setattr(new, name, getattr(self, name).expand(batch_shape))
        return self._settled(new, batch_shape, self._event_shape)

    def _settled(self, new, batch_shape, event_shape):
        """Make an expanded object a distribution of its shapes, validated as this one."""
        Distribution.__init__(new, batch_shape, event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def __repr__(self):
        given = {n: vars(self)[n] for n in self.arg_constraints if n in vars(self)}
        shown = ", ".join([f"{n}: {v if v.numel() == 1 else v.size()}" for n, v in given.items()])
        return f"{self.__class__.__name__}({shown})"


def _shown(value):
    return f"({type(value).__name__} of shape {tuple(value.shape)})"
