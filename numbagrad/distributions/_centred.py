"""What distributions that are symmetric about their parameter ``loc`` share."""


class Centred:
    """The mean and the mode of a distribution with one summit and two equal sides."""

    @property
    def mean(self):
        """``loc``."""
        return self.loc

    @property
    def mode(self):
        """``loc``."""
        return self.loc
