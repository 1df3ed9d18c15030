"""``torch.utils.flop_counter``: the name that packages import; operations are counted by the profiler."""

__all__ = ["FlopCounterMode"]


class FlopCounterMode:
    """Refused: what is called is not seen here below the level of functions."""

    def __init__(self, *args, **kwargs):
        raise NotImplementedError("torch.utils.flop_counter.FlopCounterMode is not available here; use "
                                  "torch.profiler.profile(with_flops=True)")
