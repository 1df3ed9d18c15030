"""Which pairs of blocks of queries and keys attend to each other, and masks made of functions of positions."""

from __future__ import annotations

import itertools
import math
from inspect import Parameter, signature

import numbagrad as ng

_DEFAULT_SPARSE_BLOCK_SIZE = 128
_LARGE_SPARSE_BLOCK_SIZE = 1 << 30


def noop_mask(batch, head, token_q, token_kv):
    """True for every pair."""
    return batch.new_ones(size=(), dtype=ng.bool, device=batch.device)


def _sliced_mask_mod_error(batch, head, token_q, token_kv):
    """Stands for the function of a mask that was cut, which knows nothing of the cut."""
    raise RuntimeError("Cannot use mask_mod from a sliced BlockMask. When you slice a BlockMask using [], the mask_mod "
                       "attribute is reset. You must set it from the original BlockMask's mask_mod.")


def _joined(mask_mods, start, join):
    if not all(map(callable, mask_mods)):
        raise RuntimeError(f"All inputs should be callable mask_mods: {mask_mods}")

    def joined(b, h, q_idx, kv_idx):
        result = b.new_full((), start, dtype=ng.bool)
        for mask in mask_mods:
            result = join(result, mask(b, h, q_idx, kv_idx))
        return result
    return joined


def or_masks(*mask_mods):
    """A function that is true where one of these is."""
    made = _joined(mask_mods, False, lambda a, b: a | b)
    made.__name__ = "or_mask"
    return made


def and_masks(*mask_mods):
    """A function that is true where all of these are."""
    made = _joined(mask_mods, True, lambda a, b: a & b)
    made.__name__ = "and_mask"
    return made


def _vmap_for_bhqkv(fn, prefix, suffix=(), out_dims=0, group_dim=False):
    """A function of one pair of positions as one of all batches, heads, queries and keys."""
    heads = [(None, 0, None, None)] * (2 if group_dim else 1)
    for dims in [(None, None, None, 0), (None, None, 0, None), *heads, (0, None, None, None)]:
        fn = ng.vmap(fn, in_dims=prefix + dims + suffix, out_dims=out_dims)
    return fn


def _takes_scores(fn):
    """Whether a function takes a score and four positions, or the positions alone."""
    if hasattr(fn, "__code__"):
        count = fn.__code__.co_argcount - len(getattr(fn, "__defaults__", None) or ())
    else:
        count = sum(p.default is Parameter.empty for p in signature(fn).parameters.values())
    if count not in (4, 5):
        raise AssertionError(f"Expected 4 or 5 positional args, got {count}")
    return count == 5


def create_mask(mod_fn, B, H, Q_LEN, KV_LEN, device=None):
    """A mask of all pairs: what a function of positions says, or where one of scores does not give -inf."""
    device = device or ng.accelerator.current_accelerator() or "cpu"
    places = [ng.arange(0, n, device=device) for n in (B or 1, H or 1, Q_LEN, KV_LEN)]
    if not _takes_scores(mod_fn):
        return _vmap_for_bhqkv(mod_fn, prefix=())(*places)
    scores = ng.zeros([len(p) for p in places], device=device)
    return ~_vmap_for_bhqkv(mod_fn, prefix=(0,))(scores, *places).isneginf()


# --- rows of blocks ---------------------------------------------------------------------------------------------------------

def _ordered_to_dense(num_blocks_in_row, col_indices, num_cols):
    """Rows of the numbers of their blocks, of which so many count, as zeros and ones."""
    counts = ng.arange(col_indices.shape[-1], device=col_indices.device) < num_blocks_in_row.unsqueeze(-1)
    places = ng.where(counts, col_indices, num_cols).long()  # (the others lie in a column that is cut off)
    dense = places.new_zeros(*col_indices.shape[:-1], num_cols + 1, dtype=ng.int32)
    return dense.scatter_(-1, places, 1)[..., :num_cols].contiguous()


def _dense_to_ordered(dense_mask):
    dense_mask = dense_mask.to(ng.int32)
    order = ng.argsort(dense_mask, dim=-1, descending=True, stable=True)
    return dense_mask.sum(-1).to(ng.int32), order.to(ng.int32).contiguous()


def _transpose_ordered(num_blocks_in_row, col_indices):
    dense = _ordered_to_dense(num_blocks_in_row, col_indices, col_indices.shape[-1])
    return _dense_to_ordered(dense.transpose(-2, -1))


def _blocks(mask, rows, cols, separate_full_blocks):
    """Which blocks have pairs, and which of them have all."""
    while mask.dim() < 4:
        mask = mask.unsqueeze(0)
    mask = ng.nn.functional.pad(mask, (0, -mask.shape[-1] % cols, 0, -mask.shape[-2] % rows))
    b, h, q, kv = mask.shape
    there = mask.view(b, h, q // rows, rows, kv // cols, cols).sum(dim=[3, 5])
    if not separate_full_blocks:
        return there > 0, None
    return (there > 0) & (there < rows * cols), there == rows * cols


def _pair(size):
    return (size, size) if isinstance(size, int) else tuple(size)


def create_block_mask(mask_mod, B, H, Q_LEN, KV_LEN, device=None, BLOCK_SIZE=_DEFAULT_SPARSE_BLOCK_SIZE, _compile=False,
                      separate_full_blocks=True, compute_dq_write_order=False, dq_kv_order=True):
    """The blocks that a function of batch, head, query and key leaves."""
    if _takes_scores(mask_mod):
        raise AssertionError(f"create-block_mask requires a mask_mod function! Got {mask_mod}")
    if not isinstance(dq_kv_order, bool):
        raise ValueError("dq_kv_order must be a bool when using create_block_mask")
    if compute_dq_write_order:
        raise NotImplementedError("create_block_mask(compute_dq_write_order=True): there is no kernel here that it would order")
    rows, cols = _pair(BLOCK_SIZE)
    partial, full = _blocks(create_mask(mask_mod, B, H, Q_LEN, KV_LEN, device), rows, cols, separate_full_blocks)
    return BlockMask.from_kv_blocks(
        *_dense_to_ordered(partial), *((None, None) if full is None else _dense_to_ordered(full)), BLOCK_SIZE=(rows, cols),
        mask_mod=mask_mod, seq_lengths=(Q_LEN, KV_LEN))


def empty_block_mask(device):
    """One block of everything."""
    return BlockMask.from_kv_blocks(ng.ones([1, 1, 1], dtype=ng.int32, device=device),
                                    ng.zeros([1, 1, 1, 1], dtype=ng.int32, device=device),
                                    BLOCK_SIZE=_LARGE_SPARSE_BLOCK_SIZE, seq_lengths=(1, 1))


class BlockMask:
    """For each row of blocks of queries its blocks of keys, those with all pairs apart, and the same for columns."""

    _TENSOR_ATTRS = ["kv_num_blocks", "kv_indices", "full_kv_num_blocks", "full_kv_indices", "q_num_blocks", "q_indices",
                     "full_q_num_blocks", "full_q_indices", "dq_write_order", "dq_write_order_full", "dq_kv_order"]

    def __init__(self, seq_lengths, kv_num_blocks, kv_indices, full_kv_num_blocks, full_kv_indices, q_num_blocks, q_indices,
                 full_q_num_blocks, full_q_indices, BLOCK_SIZE=(_DEFAULT_SPARSE_BLOCK_SIZE, _DEFAULT_SPARSE_BLOCK_SIZE),
                 mask_mod=noop_mask, *, dq_write_order=None, dq_write_order_full=None, dq_kv_order=None, dq_kv_order_spt=None):
        if kv_indices.dim() < 2:
            raise RuntimeError("BlockMask must have at least 2 dimensions")
        if (full_kv_num_blocks is None) != (full_kv_indices is None):
            raise AssertionError("full_kv_num_blocks and full_kv_indices must be both provided or omitted")
        if (full_q_num_blocks is None) != (full_q_indices is None):
            raise AssertionError("full_q_num_blocks and full_q_indices must be both provided or omitted")
        if dq_write_order_full is not None and dq_write_order is None:
            raise ValueError("dq_write_order_full requires dq_write_order")
        self.seq_lengths, self.BLOCK_SIZE, self.mask_mod = seq_lengths, BLOCK_SIZE, mask_mod
        self.kv_num_blocks, self.kv_indices = kv_num_blocks, kv_indices
        self.full_kv_num_blocks, self.full_kv_indices = full_kv_num_blocks, full_kv_indices
        self.q_num_blocks, self.q_indices = q_num_blocks, q_indices
        self.full_q_num_blocks, self.full_q_indices = full_q_num_blocks, full_q_indices
        self.dq_write_order, self.dq_write_order_full = dq_write_order, dq_write_order_full
        self.dq_kv_order, self.dq_kv_order_spt = dq_kv_order, dq_kv_order_spt

    @classmethod
    def from_kv_blocks(cls, kv_num_blocks, kv_indices, full_kv_num_blocks=None, full_kv_indices=None,
                       BLOCK_SIZE=_DEFAULT_SPARSE_BLOCK_SIZE, mask_mod=None, seq_lengths=None, compute_q_blocks=True, *,
                       dq_write_order=None, dq_write_order_full=None, dq_kv_order=None):
        """A mask of its rows of blocks; those of the columns follow from them."""
        if kv_indices.dim() < 2:
            raise RuntimeError("BlockMask must have at least 2 dimensions")
        if (full_kv_num_blocks is None) != (full_kv_indices is None):
            raise AssertionError("full_kv_num_blocks and full_kv_indices must be both provided or omitted")
        if dq_kv_order is not None and not isinstance(dq_kv_order, (bool, ng.Tensor)):
            raise ValueError("dq_kv_order must be a bool, Tensor, or None")
        columns = full_columns = (None, None)
        if compute_q_blocks:
            columns = _transpose_ordered(kv_num_blocks, kv_indices)
            if full_kv_num_blocks is not None:
                full_columns = _transpose_ordered(full_kv_num_blocks, full_kv_indices)
        size = _pair(BLOCK_SIZE)
        if seq_lengths is None:
            seq_lengths = kv_indices.shape[-2] * size[0], kv_indices.shape[-1] * size[1]
        given = isinstance(dq_kv_order, bool)
        return cls(seq_lengths, kv_num_blocks, kv_indices, full_kv_num_blocks, full_kv_indices, *columns, *full_columns,
                   BLOCK_SIZE=size, mask_mod=noop_mask if mask_mod is None else mask_mod, dq_write_order=dq_write_order,
                   dq_write_order_full=dq_write_order_full, dq_kv_order=None if given else dq_kv_order,
                   dq_kv_order_spt=dq_kv_order if given else None)

    def as_tuple(self, flatten=True):
        """Lengths, tensors, sizes of blocks and the function."""
        tensors = [getattr(self, name) for name in self._TENSOR_ATTRS]
        lengths, size = (self.seq_lengths, self.BLOCK_SIZE) if flatten else ((self.seq_lengths,), (self.BLOCK_SIZE,))
        return (*lengths, *tensors, self.dq_kv_order_spt, *size, self.mask_mod)

    @property
    def shape(self):
        """Batches, heads, queries and keys."""
        return (*self.kv_indices.shape[:-2], *self.seq_lengths)

    def numel(self):
        """How many pairs there would be without a mask."""
        return math.prod(self.shape)

    def sparsity(self):
        """How many of a hundred pairs lie in no block."""
        count = self.kv_num_blocks.sum().item()
        if self.full_kv_num_blocks is not None:
            count += self.full_kv_num_blocks.sum().item()
        return 100 * (1 - count * self.BLOCK_SIZE[0] * self.BLOCK_SIZE[1] / self.numel())

    def to_dense(self):
        """One for each block that is there."""
        dense = _ordered_to_dense(self.kv_num_blocks, self.kv_indices, self.kv_indices.shape[-1])
        if self.full_kv_num_blocks is None:
            return dense
        return dense | _ordered_to_dense(self.full_kv_num_blocks, self.full_kv_indices, self.full_kv_indices.shape[-1])

    def to(self, device):
        """The mask on a device."""
        tensors = {name: getattr(self, name) for name in self._TENSOR_ATTRS}
        return BlockMask(self.seq_lengths, **{name: t if t is None else t.to(device) for name, t in tensors.items()},
                         BLOCK_SIZE=self.BLOCK_SIZE, mask_mod=self.mask_mod, dq_kv_order_spt=self.dq_kv_order_spt)

    def _rebuilt(self, cut, **changes):
        full = (None, None) if self.full_kv_num_blocks is None else cut(self.full_kv_num_blocks, self.full_kv_indices)
        made = BlockMask.from_kv_blocks(*cut(self.kv_num_blocks, self.kv_indices), *full, BLOCK_SIZE=self.BLOCK_SIZE,
                                        compute_q_blocks=self.q_indices is not None, **changes)
        made.dq_kv_order_spt = self.dq_kv_order_spt
        return made

    def __getitem__(self, index):
        if self.dq_kv_order is not None:
            raise NotImplementedError(
                "Slicing BlockMask with tensor dq_kv_order is not supported yet. Construct a new BlockMask with matching "
                "precomputed dq_write_order metadata.")
        index = index if isinstance(index, tuple) else (index,)
        index = (*index, slice(None), slice(None), slice(None))[:3]
        index = tuple([i if not isinstance(i, int) else slice(i + n, i + n + 1) if -n <= i < 0 else slice(i, i + 1)
                       for i, n in zip(index, self.kv_num_blocks.shape[:3])])
        return self._rebuilt(lambda counts, indices: (counts[index], indices[index]), mask_mod=_sliced_mask_mod_error,
                             seq_lengths=self.seq_lengths)

    def _adjust(self, new_q_len, new_kv_len):
        """The upper left corner."""
        rows, cols = -(-new_q_len // self.BLOCK_SIZE[0]), -(-new_kv_len // self.BLOCK_SIZE[1])

        def cut(counts, indices):
            counts, indices = counts[:, :, :rows].clamp(max=cols), indices[:, :, :rows, :cols]
            return (indices < counts.unsqueeze(-1)).sum(-1).to(ng.int32), indices
        return self._rebuilt(cut, mask_mod=self.mask_mod, seq_lengths=(new_q_len, new_kv_len))

    def to_string(self, grid_size=(20, 20), limit=4):
        """A picture: full, partly filled and empty places of a grid."""
        dense = self.to_dense()
        *batch, rows, cols = dense.shape
        most = _pair(grid_size)
        steps = [max(1, -(-n // m)) for n, m in zip((rows, cols), most)]
        pictures = []
        for i, at in enumerate(itertools.product(*map(range, batch))):
            if i == limit:
                pictures += ["...", "To print out more, set BlockMask.to_string(limit=N)",
                             "You can also index (BlockMask[batch, head]) to choose a specific batch or head"]
                break
            lines = [f"{at}"]
            for r in range(0, rows, steps[0]):
                shares = [dense[at][r:r + steps[0], c:c + steps[1]].float().mean().item() for c in range(0, cols, steps[1])]
                lines.append("".join(["█" * 2 if share == 1 else " " * 2 if share == 0 else "░" * 2 for share in shares]))
            pictures.append("\n".join(lines) + "\n")
        return "\n".join(pictures)

    def __str__(self):
        return f"BlockMask(shape={self.shape}, sparsity={self.sparsity():.2f}%, \n{self.to_string().strip()}\n)"

    def __repr__(self):
        shapes = [f"    {name}={None if t is None else t.shape},\n" for name, t in
                  ((name, getattr(self, name)) for name in self._TENSOR_ATTRS[:8])]
        return (f"BlockMask(\n{''.join(shapes)}    BLOCK_SIZE={self.BLOCK_SIZE},\n    shape={self.shape},\n"
                f"    sparsity={self.sparsity():.2f}%,\n    mask_mod={getattr(self.mask_mod, '__name__', self.mask_mod)}\n)")
