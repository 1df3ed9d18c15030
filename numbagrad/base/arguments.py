"""What a caller may pass for an argument: one check per kind, printed into every public call from its declaration.

A parameter has a *kind*: what the op's ``kinds`` option says, else its annotation, else what its name says (names are
PyTorch's, and mean the same nearly everywhere). None is accepted where it is the default or the kind ends in "?". The
generated call tests the class of each argument inline; whatever is not exactly that class goes to the check of its kind,
which returns the plain value (NumPy numbers and 0-d tensors count as numbers, as in PyTorch) or raises PyTorch's TypeError.
Sizes and dimensions fit 64 bits after it.
"""

from __future__ import annotations

import builtins
import inspect
import numbers
import operator

import numpy as np

from . import dtypes as dt
from . import overriding
from .device import device as device_type

MOST = (1 << 63) - 1

# kind -> names of the parameters that have it where their op says nothing else.
BY_KIND = {
    "int": "start_dim end_dim dim0 dim1 dim2 dimension diagonal offset k n N r bins minlength chunks col row num_classes "
           "num_groups num_samples groups upscale_factor downscale_factor ignore_index length divisor_override padding_idx "
           "storage_offset step num_heads start_dim sections dim",
    "bool": "keepdim keepdims align_corners antialias ceil_mode count_include_pad descending largest sorted full hermitian "
            "upper left unitriangular invert assume_unique log_input log_target return_indices return_counts "
            "return_inverse right out_int32 sparse scale_grad_by_freq include_last_offset include_self increasing "
            "with_replacement equal_nan is_causal enable_gqa training use_input_stats replacement sparse_grad swap "
            "recompute_scale_factor requires_grad pin_memory",
    "number": "alpha beta value lambd negative_slope min_val max_val lower threshold correction",
    "float": "eps momentum rtol atol margin delta label_smoothing dropout_p rcond posinf neginf nan scale norm_type p "
             "max_norm",
    "ints": "kernel_size stride padding dilation output_padding output_size shifts size sizes split_size_or_sections",
    "floats": "scale_factor",
    "list of ints": "pad normalized_shape split_sizes",
    "str": "UPLO driver side mode",
    "dtype": "dtype",
    "device": "device",
    "generator": "generator",
    "memory_format": "memory_format",
    "tensor": "weight bias target mat1 mat2 batch1 batch2 vec vec1 vec2 mask source src indices index tensor1 tensor2 "
              "input1 input2 x1 x2 hx w_ih w_hh b_ih b_hh query key attn_mask per_sample_weights running_mean running_var "
              "pos_weight weights sorted_sequence boundaries sorter elements test_elements anchor positive negative "
              "A B L append prepend values real imag angle offsets condition mat tensor",
}
NAMES = {name: kind for kind, names in BY_KIND.items() for name in names.split()}


def name_of(value):
    """How PyTorch's messages call the type of a value."""
    cls = type(value)
    if cls.__module__ == "numpy":
        return f"numpy.{cls.__name__}"
    return "Tensor" if is_tensor(value) else cls.__name__


def at(position):
    """How PyTorch's messages name a place; arguments that go by keyword alone have none."""
    return f" (position {position})" if position else ""


def wrong(value, wanted, name, argument, position):
    """The TypeError of an argument of another type, or of one that was not given."""
    if value is MISSING:
        return TypeError(f'{name}() missing 1 required positional arguments: "{argument}"')
    return TypeError(f"{name}(): argument '{argument}'{at(position)} must be {wanted}, not {name_of(value)}")


def is_tensor(value):
    """Whether a value is a Tensor (the class is not known here: it stands above this file)."""
    return hasattr(value, "_kind")


def of_tensors(fn, error, *args):
    """``overriding.again``, or PyTorch's error of the first argument that is no tensor."""
    bad = next((i for i, a in enumerate(args) if not is_tensor(a)), None)
    if bad is not None and error.__class__ is AttributeError:
        error = wrong(args[bad], "Tensor", fn.__name__, tuple(inspect.signature(fn).parameters)[bad], bad + 1)
    return overriding.again(fn, error, *args)


def single(value):
    """A tensor that may stand for a number: 0-d and without a graph."""
    return is_tensor(value) and not value._shape and not value._rg


def as_int(value):
    """The int that an integer, NumPy integer or 0-d integer tensor stands for, or None."""
    if value.__class__ is int:
        return value
    if isinstance(value, (bool, np.bool_)):
        return None
    if isinstance(value, np.ndarray) and (value.ndim or value.dtype.kind not in "iu"):
        return None
    if is_tensor(value):
        return value.item() if single(value) and value._kind.dtype.category == 1 else None
    try:
        return operator.index(value)
    except TypeError:
        return None


def check_int(value, name, argument, position, least=-MOST):
    """An int that fits 64 bits; PyTorch takes the least of them in a few places only."""
    found = None if isinstance(value, np.ndarray) else as_int(value)  # an array may stand for a size alone
    if found is None:
        raise wrong(value, "int", name, argument, position)
    if not least <= found <= MOST:
        raise ValueError(f"{name}(): argument '{argument}'{at(position)}: Overflow when unpacking long long")
    return found


def check_bool(value, name, argument, position):
    """A bool; nothing else is."""
    if value.__class__ is bool:
        return value
    raise wrong(value, "bool", name, argument, position)


def _plain(value):
    """The Python number that a number, NumPy number or 0-d tensor stands for, or None."""
    if isinstance(value, (np.number, np.bool_)):
        return value.item()
    if isinstance(value, numbers.Number):
        return value
    return value.item() if single(value) else None


def check_number(value, name, argument, position):
    """A real or complex number."""
    if value.__class__ is float or value.__class__ is int and -MOST <= value <= MOST:
        return value
    found = _plain(value)
    if found is None:
        raise wrong(value, "Number", name, argument, position)
    if found.__class__ is int and not -MOST - 1 <= found <= 2 * MOST + 1:
        raise OverflowError(f"{name}(): argument '{argument}'{at(position)}: int too big to convert")
    return found


def check_float(value, name, argument, position):
    """A real number."""
    found = _plain(value)
    if found is None or isinstance(found, complex):
        raise wrong(value, "float", name, argument, position)
    if found.__class__ is bool:
        return float(found)
    if found.__class__ is int:
        try:
            float(found)
        except OverflowError:
            raise OverflowError(f"{name}(): argument '{argument}'{at(position)}: int too large to convert to "
                                "float") from None
    return found


def check_factor(name, factor, d):
    """PyTorch's checks of ``alpha`` or ``beta`` beside tensors of dtype ``d``."""
    if isinstance(factor, (bool, np.bool_)):
        if d.category:
            raise RuntimeError(f"Boolean {name} only supported for Boolean results.")
    elif d.category < 2 and not isinstance(factor, numbers.Integral):
        raise RuntimeError(f"For integral input tensors, argument {name} must not be a floating point number.")
    elif not d.is_complex and not isinstance(factor, numbers.Real):
        raise RuntimeError(f"For non-complex input tensors, argument {name} must not be a complex number.")


def check_list_of_ints(value, name, argument, position):
    """A tuple of ints that fit 64 bits, from a list or tuple."""
    if value.__class__ is tuple or value.__class__ is list:
        for v in value:
            if v.__class__ is not int or not -MOST <= v <= MOST:
                break
        else:
            return tuple(value)
    if not isinstance(value, (tuple, list)):
        raise wrong(value, "tuple of ints", name, argument, position)
    out = []
    for i, v in enumerate(value):
        if v.__class__ is not int:
            # As PyTorch, which takes a bool for a number where the first element is none.
            found = int(v) if i and isinstance(v, bool) else as_int(v)
            if found is None:
                raise TypeError(f"{name}(): argument '{argument}'{at(position)} must be tuple of ints, but found "
                                f"element of type {name_of(v)} at pos {i}")
            v = found
        if not -MOST <= v <= MOST:
            raise TypeError(f"{name}(): argument '{argument}' failed to unpack the object at pos {i + 1} with error "
                            "\"Overflow when unpacking long long\"")
        out.append(v)
    return tuple(out)


def check_ints(value, name, argument, position):
    """An int, or a tuple of ints."""
    if isinstance(value, (tuple, list)):
        return check_list_of_ints(value, name, argument, position)
    found = as_int(value)
    if found is None:
        raise wrong(value, "tuple of ints", name, argument, position)
    return check_int(found, name, argument, position)


class Missing:
    """What stands for a dimension that was not given, where NumPy's name of it may have been."""

    def __repr__(self):
        return "MISSING"


MISSING = Missing()


def called(name, argument, given, default, value):
    """The value of an argument under NumPy's name; TypeError if it came under its own, too."""
    if given is not default:
        raise TypeError(f"{name}() got multiple values for argument '{argument}'")
    return value


def alone(name, argument, given, value):
    """The sizes under their name, as if they had been given one by one; TypeError if some were, too."""
    if given:
        raise TypeError(f"{name}() got multiple values for argument '{argument}'")
    return (tuple(value),) if isinstance(value, (list, tuple)) else (value,)


def one_of(name, argument, given, **named):
    """The sizes or the dtype under their names; TypeError for any other name, and for both."""
    other = next((n for n in named if n not in (argument, "dtype")), None)
    if other is not None:
        raise TypeError(f"{name}() got an unexpected keyword argument '{other}'")
    if given or len(named) > 1:
        raise TypeError(f"{name}() got multiple values for argument '{argument}'")
    if "dtype" in named:
        return (check_dtype(named["dtype"], name, "dtype", 0),)
    return alone(name, argument, given, named[argument])


def check_ints_or_none(value, name, argument, position):
    """An int, or a tuple of ints and of None for sizes that stay."""
    if not isinstance(value, (tuple, list)):
        return check_ints(value, name, argument, position)
    found = iter(check_list_of_ints([0 if v is None else v for v in value], name, argument, position))
    return tuple([None if v is None else n for v, n in zip(value, found)])


def check_ints_or_str(value, name, argument, position):
    """An int, a tuple of ints, or a word."""
    return value if isinstance(value, str) else check_ints(value, name, argument, position)


def check_floats(value, name, argument, position):
    """A real number, or a tuple of them."""
    if not isinstance(value, (tuple, list)):
        if is_tensor(value):
            raise wrong(value, "float or tuple of floats", name, argument, position)
        return check_float(value, name, argument, position)
    return tuple([check_float(v, name, argument, position) for v in value])


def sizes(name, size, argument="size"):
    """A tuple of ints from the arguments of ``f(2, 3)`` or ``f((2, 3))``."""
    if len(size) == 1 and size[0].__class__ is not int:
        size = size[0]
        if not isinstance(size, (tuple, list)):
            size = (check_ints(size, name, argument, 1),)
    for s in size:
        if s.__class__ is not int:
            return check_list_of_ints(size, name, argument, 1)
    return size if size.__class__ is tuple else tuple(size)


def check_str(value, name, argument, position):
    """A string."""
    if not isinstance(value, str):
        raise wrong(value, "str", name, argument, position)
    return value


def check_dtype(value, name, argument, position):
    """A dtype; the Python types bool, int, float and complex stand for one."""
    if value.__class__ is dt.dtype:
        return value
    if isinstance(value, type) and value in dt.PYTHON_TYPES:
        return dt.PYTHON_TYPES[value]
    raise wrong(value, "torch.dtype", name, argument, position)


def checked(name, signature, kinds, values):
    """The values of a bound call after the checks of their kinds, for calls that no generated text checks."""
    out, places = [], list(signature.parameters)
    for n, value in values.items():
        kind = kinds.get(n, "any")
        p = signature.parameters[n]
        if kind != "any" and not (value is None and (p.default is None or kind[-1] == "?")):
            value = CHECKS[kind.rstrip("?")](value, name, n, 0 if p.kind is p.KEYWORD_ONLY else places.index(n) + 1)
        out.append(value)
    return out


def check_device(value, name, argument, position):
    """A device, its text or an index."""
    if not isinstance(value, (device_type, str, int)) or isinstance(value, bool):
        raise wrong(value, "torch.device", name, argument, position)
    return value


def check_memory_format(value, name, argument, position):
    """One of the memory formats."""
    if not isinstance(value, dt.memory_format):
        raise wrong(value, "torch.memory_format", name, argument, position)
    return value


def check_tensor(value, name, argument, position):
    """A Tensor."""
    if not is_tensor(value):
        raise wrong(value, "Tensor", name, argument, position)
    return value


CHECKS = {"int": check_int, "bool": check_bool, "number": check_number, "float": check_float, "ints": check_ints,
          "ints or None": check_ints_or_none, "ints or str": check_ints_or_str,
          "list of ints": check_list_of_ints, "floats": check_floats, "str": check_str, "dtype": check_dtype,
          "device": check_device, "memory_format": check_memory_format, "tensor": check_tensor}
# Tests that the usual argument passes, and that cost less than a call: {n} is the argument's name.
USUAL = {"int": "{n}.__class__ is int_ and -MOST_ <= {n} <= MOST_", "bool": "{n}.__class__ is bool_",
         "number": "{n}.__class__ is float_", "float": "{n}.__class__ is float_", "str": "{n}.__class__ is str_",
         "ints": "{n}.__class__ is int_ and -MOST_ <= {n} <= MOST_",
         "ints or str": "{n}.__class__ is int_ and -MOST_ <= {n} <= MOST_", "tensor": "isinstance_({n}, Tensor_)",
         "dtype": "{n}.__class__ is dtype_"}
# For calls that then look up what an equal call did: the class tells 1 from 1.0 and True, and the rest was checked then.
QUICK = {**USUAL, "int": "{n}.__class__ is int_", "ints": "({n}.__class__ is int_ or {n}.__class__ is tuple_)"}
# Python's own names go by others in generated text: a parameter may be called ``id`` or ``int``.
BUILTINS = """bool enumerate float hasattr id int isinstance len list range str tuple AttributeError MemoryError OverflowError
TypeError ValueError""".split()
ENVIRONMENT = {"MOST_": MOST, "dtype_": dt.dtype, **{n + "_": getattr(builtins, n) for n in BUILTINS},
               **{f"check_{k.replace(' ', '_')}_": f for k, f in CHECKS.items()}}
ANNOTATED = {"int": "int", "bool": "bool", "str": "str", "float": "float", "tuple": "list of ints"}


def add_kind(kind, check):
    """Add a kind of argument whose type lives on a floor above."""
    CHECKS[kind] = ENVIRONMENT[f"check_{kind}_"] = check


def kind_of(parameter):
    """The kind of a parameter of a signature, from its annotation or its name; "any" is not checked."""
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
        return "any"
    note = parameter.annotation
    noted = ANNOTATED.get(note if isinstance(note, str) else getattr(note, "__name__", ""))
    named = NAMES.get(parameter.name, "any")
    return named if noted is None or noted == "float" and named == "number" else noted


def text(name, parameters, kinds, usual=USUAL, pad="    "):
    """Lines of text that check the arguments of a call; ``kinds`` maps a parameter's name to its kind.

    ``usual`` has the tests that need no further look: ``QUICK`` where a look-up of what was checked before follows."""
    out = ""
    first = 0 if next(iter(parameters), "") == "self" else 1
    for i, p in enumerate(parameters.values(), first):
        kind = kinds.get(p.name, "any")
        if kind == "any":
            continue
        optional = p.default is None or kind[-1] == "?"
        kind = kind.rstrip("?")
        tests = [f"{p.name} is not None"] if optional else []
        tests += [f"not ({usual[kind].format(n=p.name)})"] if kind in usual else []
        place = 0 if p.kind is p.KEYWORD_ONLY else i
        out += (f"{pad}if {' and '.join(tests) or 'True'}:\n"
                f"{pad}    {p.name} = check_{kind.replace(' ', '_')}_({p.name}, {name!r}, {p.name!r}, {place})\n")
    return out
