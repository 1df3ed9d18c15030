"""Data types, their promotion rules and the machine integer limits."""

from __future__ import annotations

import builtins
import numbers

import numpy as np


class dtype:
    """A tensor element type: its name, width and how kernels store and compute it.

    ``code`` is the short name used in kernel names ("f4", "i8", "bf"); ``compute`` is the code that arithmetic
    runs in (half types compute in float32); ``np`` is the NumPy type of the *storage*, which is ``uint16``
    for the half types because Numba's CPU target has no half arithmetic. ``barebones`` is PyTorch's word for the wider
    unsigned integers, which few operations take (``dispatch.barebones`` says which refuse them).
    """

    __slots__ = ("name", "code", "compute", "np", "itemsize", "category", "order", "is_floating_point", "is_complex",
                 "is_signed", "barebones", "__weakref__")

    def __init__(self, name, code, compute, storage, category, order):
        self.name, self.code, self.compute = name, code, compute
        self.np = np.dtype(storage)
        self.itemsize = self.np.itemsize
        self.category, self.order = category, order
        self.is_floating_point = category == 2
        self.is_complex = category == 3
        self.is_signed = self.np.kind not in "bu" or category > 1
        self.barebones = category == 1 and not self.is_signed and self.itemsize > 1

    def __repr__(self):
        # PyTorch's printed text, so that printed tensors and doctests of scripts stay the same.
        return "torch." + self.name

    def __reduce__(self):
        return (_RARE.get(self, _by_name), (self.name,))

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self

    @property
    def numpy(self):
        """NumPy type that ``Tensor.numpy`` returns (``bfloat16`` has none)."""
        return np.dtype(np.float16) if self.code == "f2" else self.np

    def to_real(self):
        return {"complex32": float16, "complex64": float32, "complex128": float64}.get(self.name, self)

    def to_complex(self):
        if self in _RARE and self.is_complex:
            return self
        if self.category < 2 or self in _RARE:
            raise RuntimeError(f"Unknown Complex ScalarType for {scalar_name(self)}")
        return complex128 if self in (float64, complex128) else complex64


bool = bool_ = dtype("bool", "b1", "b1", "bool", 0, 0)
uint8 = dtype("uint8", "u1", "u1", "u1", 1, 1)
int8 = dtype("int8", "i1", "i1", "i1", 1, 2)
int16 = short = dtype("int16", "i2", "i2", "i2", 1, 3)
int32 = int = dtype("int32", "i4", "i4", "i4", 1, 4)
int64 = long = dtype("int64", "i8", "i8", "i8", 1, 5)
uint16, uint32, uint64 = [dtype(f"uint{8 * n}", f"u{n}", f"u{n}", f"u{n}", 1, 5) for n in (2, 4, 8)]
float16 = half = dtype("float16", "f2", "f4", "u2", 2, 6)
bfloat16 = dtype("bfloat16", "bf", "f4", "u2", 2, 6)
float32 = float = dtype("float32", "f4", "f4", "f4", 2, 7)
float64 = double = dtype("float64", "f8", "f8", "f8", 2, 8)
complex64 = cfloat = dtype("complex64", "c8", "c8", "c8", 3, 9)
complex128 = cdouble = dtype("complex128", "c16", "c16", "c16", 3, 10)

ALL = (bool_, uint8, int8, int16, int32, int64, uint16, uint32, uint64, float16, bfloat16, float32, float64, complex64,
       complex128)
HALF = (float16, bfloat16)
BY_NAME = {d.name: d for d in ALL}
BY_CODE = {d.code: d for d in ALL}
BY_NUMPY = {d.np: d for d in ALL if d.category != 2 or d.itemsize > 2} | {np.dtype("f2"): float16}
NAMES = {**BY_NAME, "short": int16, "int": int32, "long": int64, "half": float16, "float": float32, "double": float64,
         "cfloat": complex64, "cdouble": complex128}
# The C++-style names PyTorch's error messages use.
SCALAR_NAMES = {"bool": "Bool", "uint8": "Byte", "int8": "Char", "int16": "Short", "int32": "Int", "int64": "Long",
                "uint16": "UInt16", "uint32": "UInt32", "uint64": "UInt64", "float16": "Half", "bfloat16": "BFloat16",
                "float32": "Float", "float64": "Double", "complex64": "ComplexFloat", "complex128": "ComplexDouble"}
TYPE_NAMES = {**SCALAR_NAMES}
CLASS_NAMES = {d.name: SCALAR_NAMES[d.name] for d in ALL if not d.barebones}  # of dtypes that have a tensor type and a storage

# Of dtypes that are names only, told when they are first asked for: who finds them for a pickle, what ``finfo`` says, and what
# they come to with others.
_RARE: dict = {}
RARE_LIMITS: dict = {}
RARE_PROMOTION: list = []
DEFAULT = [float32]  # of new floating-point tensors


def _by_name(name):
    return BY_NAME[name]


def scalar_name(d):
    """PyTorch's type name in error messages: ``Float`` for float32, ``Long`` for int64."""
    return SCALAR_NAMES[d.name]


C_NAMES = {"b1": "bool", "u1": "unsigned char", "i1": "signed char", "i2": "short int", "i4": "int", "i8": "long int",
           "u2": "short unsigned int", "u4": "unsigned int", "u8": "long unsigned int",
           "f2": "c10::Half", "bf": "c10::BFloat16", "f4": "float", "f8": "double", "c8": "c10::complex<float>",
           "c16": "c10::complex<double>"}


def c_name(d):
    """The C++ type that some of PyTorch's error messages name: ``long int`` for int64."""
    return C_NAMES[d.code]


MOST = 3.4028234663852886e38  # the largest number in float32
_FLOAT_MAX = {"f2": 65504.0, "bf": 3.3895313892515355e38, "f4": MOST, "c8": MOST}
_FIXED = {d.code: d.name + "_t" if d is not int32 else "int" for d in ALL if d.category == 1}
_LIMITS = {d.code: (builtins.int(np.iinfo(d.np).min), builtins.int(np.iinfo(d.np).max)) for d in ALL if d.category == 1}
for _code in [code for code in _LIMITS if code[0] == "u"]:  # PyTorch lets negative numbers wrap
    _LIMITS[_code] = -_LIMITS[_code][1], _LIMITS[_code][1]


def check_long(value):
    """Refuse integers of more than 64 bits, signed or not, which no dtype takes."""
    if not -(1 << 63) <= value < 1 << 64:
        raise OverflowError("int too big to convert" if value > 0 else "can't convert negative int to unsigned")


def check_signed(value):
    """Refuse what is no int64: assignments and sizes take nothing else."""
    if not -(1 << 63) <= value < 1 << 63:
        raise ValueError("Overflow when unpacking long long")


def fit(value, d, loose=False, check=check_long):
    """A Python or NumPy number as the number that memory of dtype ``d`` can hold; RuntimeError where it holds none.

    ``loose``: what is too large for a half type becomes infinite. ``check`` refuses integers whatever the dtype."""
    c = value.__class__
    if c is builtins.bool or c is builtins.float and d.category > 1 and -65504.0 <= value <= 65504.0 or (
            c is builtins.int and d.category and 0 <= value <= 127):
        return value  # the usual case: every dtype holds it
    if c not in _PLAIN:
        if hasattr(value, "symbolic"):  # a number that a compiled step is given in each call
            return value.symbolic(d)
        value = value.item() if hasattr(value, "item") else value
        if value.__class__ not in _PLAIN:
            if not isinstance(value, numbers.Number):
                raise TypeError(f"value must be Number, not {type(value).__name__}")
            value = builtins.complex(value) if not hasattr(value, "__float__") else builtins.float(value)
    if value.__class__ is builtins.int:
        check(value)
    if d is bool_:
        return value != 0
    if d.category < 3 and value.__class__ is builtins.complex:
        if value.imag:
            raise _too_large(d)
        value = value.real
    if d.category == 1:
        low, high = limits(d, value)
        if value != value or not low <= value <= (high + 1 if d.itemsize == 8 and value.__class__ is builtins.float else high):
            raise _too_large(d)
        value = builtins.int(value)
        if value < 0 and not d.is_signed:
            return value + high + 1
        return value if value <= high else -high - 1 if d.is_signed else 0
    if value.__class__ is builtins.int:
        try:
            value = builtins.float(value)
        except OverflowError:
            raise _too_large(d) from None
    most = _FLOAT_MAX.get(d.code)
    if most is not None and not (loose and d.itemsize == 2):
        for part in (value.real, value.imag):
            if most < abs(part) < inf:
                raise _too_large(d)
    elif most is not None and value.__class__ is builtins.float and abs(value) > most:
        return inf if value > 0 else -inf
    return value


def parameter(value, d):
    """A number as arithmetic in dtype ``d`` takes it, in float32 for half types; RuntimeError where it holds none."""
    return fit(value, float32 if d.itemsize == 2 and d.category == 2 else d)


def as_float(value):
    """``float(value)``, where a number that a compiled step is given in each call stays one."""
    return value if value.__class__ is builtins.float else value.symbolic(float64) if hasattr(value, "symbolic") else (
        builtins.float(value))


inf = builtins.float("inf")
_PLAIN = frozenset((builtins.bool, builtins.int, builtins.float, builtins.complex))


def limits(d, value=0):
    """The least and the largest number like ``value`` that memory of an integer dtype takes."""
    low, high = _LIMITS[d.code]
    return (0 if not d.is_signed and isinstance(value, builtins.float) else low), high


def _too_large(d):
    return RuntimeError(f"value cannot be converted to type {_FIXED.get(d.code) or C_NAMES[d.code]} without overflow")


def get_default_dtype():
    """The dtype of new floating-point tensors made from Python numbers (float32 at start)."""
    return DEFAULT[0]


CHANGED: list = []  # called when the default dtype has changed


def set_default_dtype(d):
    """Set the default floating-point dtype; raises TypeError for a dtype that is not floating point."""
    if not isinstance(d, dtype):
        raise TypeError("invalid dtype object: only floating-point types are supported as the default type")
    if not d.is_floating_point:
        raise TypeError("only floating-point types are supported as the default type")
    if d in _RARE:
        raise TypeError(f"couldn't find storage object {scalar_name(d)}Storage")
    if d is not DEFAULT[0]:
        DEFAULT[0] = d
        for changed in CHANGED:
            changed()


def default_complex():
    return complex128 if DEFAULT[0] is float64 else complex64


def from_numpy(np_dtype):
    """The dtype of a NumPy array; raises TypeError when there is none."""
    try:
        return BY_NUMPY[np_dtype]
    except KeyError:
        raise TypeError(f"can't convert np.ndarray of type numpy.{np_dtype.type.__name__}. The only supported types are: "
                        "float64, float32, float16, complex64, complex128, int64, int32, int16, int8, uint64, uint32, "
                        "uint16, uint8, and bool.") from None


PYTHON_TYPES = {  # what stands for a dtype in arguments
    builtins.bool: bool_, builtins.int: int64, builtins.float: float64, builtins.complex: complex128}


def promote_types(a, b):
    """The smallest dtype that both convert to without changing category downwards (PyTorch's lattice)."""
    if a is b:
        return PYTHON_TYPES.get(a, a)
    try:
        if a.barebones or b.barebones:
            return _with_barebones(a, b)
    except AttributeError:
        if a in PYTHON_TYPES or b in PYTHON_TYPES:
            return promote_types(PYTHON_TYPES.get(a, a), PYTHON_TYPES.get(b, b))
        raise
    if a.order > b.order or (a.order == b.order and a.code == "bf"):
        a, b = b, a
    if b.category == 3:
        if b is complex64 and a is float64:
            return complex128
        return b
    if b.category == 2:
        return float32 if (a.code == "f2" and b.code == "bf") else b
    if b.category == 1 and a is uint8 and b is int8:
        return int16
    return b


def _with_barebones(a, b):
    """A wider unsigned integer gives way to floating point and meets nothing else; what is a name only has other rules."""
    if a in _RARE or b in _RARE:
        return RARE_PROMOTION[0](a, b)
    return with_unsigned(a, b)


def with_unsigned(a, b):
    """``promote_types`` for a wider unsigned integer."""
    if a.category != 2 and b.category != 2:
        raise RuntimeError("Promotion for uint16, uint32, uint64 types is not supported, attempted to promote "
                           f"{scalar_name(a)} and {scalar_name(b)}")
    return a if a.category == 2 else b


def can_cast(src, dst):
    """Whether a result of dtype ``src`` may be written into ``dst`` in place (no category downgrade)."""
    try:
        lower = src.category > dst.category
    except AttributeError:
        if src in PYTHON_TYPES or dst in PYTHON_TYPES:
            return can_cast(PYTHON_TYPES.get(src, src), PYTHON_TYPES.get(dst, dst))
        raise
    if lower and not (src.category == 1 and dst.category == 1):
        return src.category == 2 and dst.category == 1 and dst in _RARE  # (as in PyTorch)
    return True


def combine(*groups):
    """Promotion over (dimensioned tensors, 0-d tensors, Python numbers): a lower-priority group counts only when
    its category is higher, and then only its category matters."""
    result = None
    for rank, group in enumerate(groups):
        if group is None:
            continue
        if result is None:
            result = group
        elif group.category > result.category:
            if group.category == 3 and (rank == 2 or result.category == 2):
                result = result.to_complex() if result.category == 2 else default_complex()
            elif group.category == 3 and result.barebones:
                result = group
            else:
                result = promote_types(result, group)
    return result


def of_number(value):
    """The dtype a Python number brings into promotion."""
    c = value.__class__
    if c is builtins.float:
        return DEFAULT[0]
    if c is builtins.int:
        return int64
    if isinstance(value, (builtins.bool, np.bool_)):
        return bool_
    if isinstance(value, (builtins.int, np.integer)):
        return int64
    if isinstance(value, (builtins.float, np.floating)):
        return DEFAULT[0]
    if isinstance(value, (builtins.complex, np.complexfloating)):
        return default_complex()
    return None


def result_type(tensor1, tensor2):
    """The dtype an arithmetic operation on the two tensors (or numbers) would have."""
    dims = zero = number = None
    try:
        for t in (tensor1, tensor2):
            d = of_number(t)
            if d is not None:
                number = d if number is None else promote_types(number, d)
            elif t.ndim:
                dims = t.dtype if dims is None else promote_types(dims, t.dtype)
            else:
                zero = t.dtype if zero is None else promote_types(zero, t.dtype)
    except AttributeError as error:
        from .overriding import again
        return again(result_type, error, tensor1, tensor2)
    return combine(dims, zero, number)


class finfo:
    """Machine limits of a floating-point dtype: bits, eps, max, min, tiny, smallest_normal, resolution."""

    def __init__(self, type=None):
        d = DEFAULT[0] if type is None else PYTHON_TYPES.get(type, type)
        if d.is_complex:
            d = d.to_real()
        if not d.is_floating_point:
            raise TypeError("torch.finfo() requires a floating point input type. Use torch.iinfo to handle 'torch.finfo'")
        self.dtype, self.bits = d.name, d.itemsize * 8
        if d is bfloat16:
            self.eps, self.max, self.tiny = 2.0**-7, 3.3895313892515355e38, 2.0**-126
            self.resolution = 0.01
        elif d in _RARE:
            if d not in RARE_LIMITS:
                raise TypeError(f"torch.finfo() knows no limits of {d}")
            self.eps, self.max, self.tiny = RARE_LIMITS[d]
            self.resolution = 1.0
        else:
            i = np.finfo(d.numpy)
            self.eps, self.max, self.tiny, self.resolution = (builtin_float(v) for v in
                                                              (i.eps, i.max, i.tiny, f"1e-{i.precision}"))
        self.min, self.smallest_normal = -self.max if d.is_signed else self.tiny, self.tiny

    def __repr__(self):
        return (f"finfo(resolution={self.resolution:g}, min={self.min:g}, max={self.max:g}, eps={self.eps:g}, "
                f"smallest_normal={self.smallest_normal:g}, tiny={self.tiny:g}, dtype={self.dtype})")


class iinfo:
    """Machine limits of an integer dtype: bits, max, min."""

    def __init__(self, type):
        type = PYTHON_TYPES.get(type, type)
        if type is bool_:
            raise TypeError("torch.bool is not supported by torch.iinfo")
        if type.category != 1 or type in _RARE:
            raise TypeError("torch.iinfo() requires an integer input type. Use torch.finfo to handle 'torch.iinfo'")
        i = np.iinfo(type.np)
        self.dtype, self.bits, self.max, self.min = type.name, i.bits, i.max, i.min

    def __repr__(self):
        return f"iinfo(min={self.min:g}, max={self.max:g}, dtype={self.dtype})"


class layout(str):
    """How a tensor is stored."""

    __slots__ = ()
    __repr__ = str.__str__


strided, sparse_coo = layout("torch.strided"), layout("torch.sparse_coo")


class memory_format:
    """How the dimensions of a result lie in memory; results are row-major whatever is asked for."""

    __slots__ = ("name",)

    def __init__(self, name):
        self.name = name

    def __repr__(self):
        return "torch." + self.name

    def __reduce__(self):
        return self.name


contiguous_format, preserve_format = memory_format("contiguous_format"), memory_format("preserve_format")
channels_last, channels_last_3d = memory_format("channels_last"), memory_format("channels_last_3d")

builtin_float = builtins.float
