"""What a tensor is, whatever its values: sizes, strides, dtype, device, place in memory."""

from __future__ import annotations

import warnings

from ..base import dtypes as dt
from ..base.shapes import Size, contiguous_strides, wrap_dim
from ..kernel.tape import refuse
from .storage import storage_address


def _unknown(error, shape, dim):
    """The error of a dimension that is not there; without dimensions PyTorch says so."""
    return error if shape else IndexError(f"Dimension specified as {dim} but tensor has no dimensions")


class Metadata:
    """The part of ``Tensor`` that needs neither its values nor its graph."""

    __slots__ = ()

    @property
    def shape(self):
        """The sizes, as ``Size``."""
        return Size(self._shape)

    @property
    def dtype(self):
        """The element type."""
        return self._kind.dtype

    @property
    def device(self):
        """Where the memory lies."""
        return self._kind.device

    @property
    def ndim(self):
        """Number of dimensions."""
        return len(self._shape)

    @property
    def itemsize(self):
        return self._kind.itemsize

    element_size = lambda self: self._kind.itemsize  # noqa: E731

    @property
    def nbytes(self):
        return self._n * self._kind.itemsize

    @property
    def is_cuda(self):
        return self._kind.device.type == "cuda"

    @property
    def is_meta(self):
        return self._kind.meta

    @property
    def is_cpu(self):
        return self._kind.cpu

    is_sparse = is_quantized = is_mkldnn = is_nested = False
    is_sparse_csr = is_mps = is_xpu = is_xla = is_ipu = is_maia = is_mtia = is_vulkan = False
    layout = dt.strided

    @property
    def name(self):
        """None: names belonged to the tensors of graphs that were traced."""

    @property
    def volatile(self):
        """False, with a note: it was removed."""
        warnings.warn("volatile was removed (Variable.volatile is always False)", UserWarning, stacklevel=2)
        return False

    @property
    def grad_dtype(self):
        """The dtype that gradients of this tensor have: its own."""
        return self.dtype

    def const_data_ptr(self):
        """``data_ptr``, of memory that is not written to."""
        return self.data_ptr()

    def module_load(self, other, assign=False):
        """What ``load_state_dict`` swaps in for this tensor if ``torch.__future__`` says that it swaps."""
        return other.detach() if assign else self.copy_(other).detach()

    def get_device(self):
        """Index of the CUDA device, -1 on the CPU."""
        return self._kind.device.index if self._kind.device.type == "cuda" else -1

    def dim(self):
        """Number of dimensions."""
        return len(self._shape)

    ndimension = dim

    def size(self, dim=None):
        """The sizes, or the size of one dimension."""
        if dim is None:
            return self.shape
        try:
            return self._shape[wrap_dim(dim, len(self._shape))]
        except IndexError as e:
            raise _unknown(e, self._shape, dim) from None

    def stride(self, dim=None):
        """Strides in elements, or that of one dimension."""
        s = self._strides or contiguous_strides(self._shape)
        if dim is None:
            return s
        try:
            return s[wrap_dim(dim, len(self._shape))]
        except IndexError as e:
            raise _unknown(e, self._shape, dim) from None

    def numel(self):
        """Number of elements."""
        return self._n

    nelement = numel

    def storage_offset(self):
        """Distance of the first element from the start of the storage, in elements."""
        return (self._ptr - storage_address(self)) // self._kind.itemsize

    @property
    def _cdata(self):
        """A number that this tensor alone has, as the address of PyTorch's object is: packages tell tensors apart by it."""
        refuse("asks which tensor this is, which is another in each call")
        return id(self)

    def data_ptr(self):
        """Address of the first element, 0 without elements; on the meta device the place in the storage."""
        refuse("reads the address of memory, which is another in each call")
        if not self._n:
            return 0
        return self._ptr if self._kind.cpu else self._ptr - self._buf.ptr if self._kind.meta else int.__int__(self._ptr)

    def is_contiguous(self, memory_format=None):
        """Whether the elements lie in row-major order without gaps."""
        return self._strides is None

    def is_floating_point(self):
        return self._kind.dtype.is_floating_point

    def is_complex(self):
        return self._kind.dtype.is_complex

    def is_signed(self):
        return self._kind.dtype.is_signed

    def is_same_size(self, other):
        return self._shape == other._shape

    def is_set_to(self, other):
        return self._ptr == other._ptr and self._shape == other._shape and self.stride() == other.stride()

    def type(self, dtype=None, non_blocking=False):
        """The tensor's type name (``torch.FloatTensor``), or the tensor in another dtype."""
        if dtype is None:
            return f"torch.{'' if self._kind.cpu else self._kind.device.type + '.'}{dt.TYPE_NAMES[self.dtype.name]}Tensor"
        if isinstance(dtype, str):
            name = dtype.rpartition(".")[2].removesuffix("Tensor")
            found = [d for d in dt.ALL if dt.TYPE_NAMES[d.name] == name]
            if not found:
                raise ValueError(f"invalid type: '{dtype}'")
            dtype = found[0]
        if dtype.__class__ is type and dtype in dt.PYTHON_TYPES:
            raise ValueError(f"invalid type: '{dtype.__name__}'")  # which are names of types here, and stand for no dtype
        return self.to(dtype=dtype) if not hasattr(dtype, "is_cuda") else self.to(
            device="cuda" if dtype.is_cuda else "cpu", dtype=dtype.dtype)

    def is_inference(self):
        """Whether this tensor was made in inference mode."""
        return "_inference" in self.__dict__
