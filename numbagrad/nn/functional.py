"""Functional layers and losses; filled from the op registry. Here is what copies of PyTorch's layers take of it beside ops."""

import math as _math
import warnings as _warnings


def _get_softmax_dim(name, ndim, stacklevel):
    """The dimension of a softmax that names none."""
    _warnings.warn(
        f"Implicit dimension choice for {name} has been deprecated. Change the call to include dim=X as an argument.",
        stacklevel=stacklevel,
    )
    return 0 if ndim in (0, 1, 3) else 1


def _verify_batch_size(size):
    """ValueError if there is one value for each channel alone, of which there is no variance."""
    if _math.prod([size[0], *size[2:]]) == 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {size}")


def _none_or_dtype(input):
    """The dtype of a mask, None of None."""
    if input is None:
        return None
    if hasattr(input, "_kind"):
        return input.dtype
    raise RuntimeError("input to _none_or_dtype() must be None or torch.Tensor")


def _canonical_mask(mask, mask_name, other_type, other_name, target_type, check_other=True):
    """A mask that is added to scores, made of one that is True where none are counted."""
    from ..ops.attention.multihead import canonical_mask

    return canonical_mask(mask, mask_name, other_type, other_name, target_type, check_other)


def _mha_shape_check(query, key, value, key_padding_mask, attn_mask, num_heads):
    """Whether the inputs of an attention are batches; AssertionError if they do not fit together."""
    from ..ops.attention.multihead import check_shapes

    return check_shapes(query, key, value, key_padding_mask, attn_mask, num_heads)


def _in_projection_packed(q, k, v, w, b=None):
    """Queries, keys and values by one weight (3 E, E)."""
    from ..ops.attention.multihead import projected

    return tuple(projected(q, k, v, w, b))


def _in_projection(q, k, v, w_q, w_k, w_v, b_q=None, b_k=None, b_v=None):
    """Queries, keys and values by a weight each; AssertionError for other shapes than (Eq, Eq), (Eq, Ek), (Eq, Ev)."""
    from ..core.registry import REGISTRY

    linear, first = REGISTRY["linear"].callable, q.size(-1)
    names = "query", "key", "value"
    for name, x, weight in zip(names, (q, k, v), (w_q, w_k, w_v)):
        if tuple(weight.shape) != (first, x.size(-1)):
            raise AssertionError(
                f"expecting {name} weights shape of {(first, x.size(-1))}, but got {weight.shape}"
            )
    for name, bias in zip(names, (b_q, b_k, b_v)):
        if bias is not None and tuple(bias.shape) != (first,):
            raise AssertionError(f"expecting {name} bias shape of {(first,)}, but got {bias.shape}")
    return tuple(linear(*each) for each in ((q, w_q, b_q), (k, w_k, b_k), (v, w_v, b_v)))


def boolean_dispatch(arg_name, arg_index, default, if_true, if_false, module_name, func_name):
    """A function that is one of two, as an argument says that is true or false."""
    def fn(*args, **kwargs):
        flag = kwargs[arg_name] if arg_name in kwargs else args[arg_index] if arg_index < len(args) else default
        return (if_true if flag else if_false)(*args, **kwargs)
    if if_true.__doc__ is not None and if_false.__doc__ is not None:
        raise RuntimeError("only one function can have a docstring")
    fn.__doc__ = if_true.__doc__ or if_false.__doc__
    if_true.__doc__ = if_false.__doc__ = fn.__doc__
    fn.__module__, fn.__name__ = module_name or fn.__module__, func_name or fn.__name__
    return fn
