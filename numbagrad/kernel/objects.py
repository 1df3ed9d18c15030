"""Native functions that make Python objects through CPython's own functions.

A call of an op on a few numbers takes as long as the objects around it: an array, a tensor with its fields, a node. Made by
native code they take a third. Such a function is written as LLVM instructions, straight on and with all addresses as constants:
it is compiled in a few milliseconds in each process, and called by CPython like one of its own.
"""

from __future__ import annotations

import contextlib
import ctypes

from .guard import guarded

FASTCALL = 0x80          # a function of (itself, the addresses of its arguments, how many there are)
FIELDS, OFFSET = 40, 16  # of a slot's descriptor: its member record; of that: where in the object the slot is
NEW = 65                 # the number of a type's function for new objects
CLASS, TUPLE_ITEMS, LIST_ITEMS, ARRAY_DATA = 8, 24, 24, 16


class _Definition(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("function", ctypes.c_void_p), ("flags", ctypes.c_int), ("doc", ctypes.c_char_p)]


_kept: list = []  # what CPython and native code point to


def c_api(name):
    """Address of a function of CPython's."""
    return ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value


def type_slot(cls, number):
    """Address of a function of a class in C."""
    get = ctypes.pythonapi.PyType_GetSlot
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_int]
    return get(cls, number)


def new_object():
    """Address of the function behind ``object.__new__``."""
    return type_slot(object, NEW)


def numpy_api(number):
    """Address of a function of NumPy's C interface."""
    try:
        from numpy._core import _multiarray_umath
    except ImportError:
        from numpy.core import _multiarray_umath
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return (ctypes.c_void_p * (number + 1)).from_address(get(_multiarray_umath._ARRAY_API, None))[number]


def slot(cls, name):
    """Where in an object of a class a slot is."""
    descriptor = cls.__dict__[name]
    member = ctypes.c_int64.from_address(id(descriptor) + FIELDS).value
    return ctypes.c_int64.from_address(member + OFFSET).value


@contextlib.contextmanager
def each(builder, start, stop, step=1):
    """A loop whose body, the block, gets the numbers from ``start`` below ``stop``."""
    before, test, body, done = builder.block, *[builder.append_basic_block() for _ in range(3)]
    builder.branch(test)
    builder.position_at_end(test)
    i = builder.phi(start.type)
    i.add_incoming(start, before)
    builder.cbranch(builder.icmp_signed("<", i, stop), body, done)
    builder.position_at_end(body)
    yield i
    i.add_incoming(builder.add(i, start.type(step)), builder.block)
    builder.branch(test)
    builder.position_at_end(done)


class Writer:
    """Writes the instructions of one function; every value is a 64-bit word."""

    def __init__(self, name):
        from llvmlite import ir
        self.ir, self.word = ir, ir.IntType(64)
        self.module = ir.Module(name)
        self.function = ir.Function(self.module, ir.FunctionType(self.word, [self.word] * 3), name)
        self.builder = ir.IRBuilder(self.function.append_basic_block())
        self.increment = c_api("Py_IncRef")

    def value(self, x):
        return self.ir.Constant(self.word, x) if x.__class__ is int else x

    def place(self, base, offset):
        at = self.builder.add(self.value(base), self.value(offset))
        return self.builder.inttoptr(at, self.word.as_pointer())

    def load(self, base, offset=0):
        return self.builder.load(self.place(base, offset))

    def store(self, x, base, offset=0):
        self.builder.store(self.value(x), self.place(base, offset))

    def argument(self, i):
        return self.load(self.function.args[1], 8 * i)

    def call(self, address, *args):
        """A call of the C function at an address."""
        form = self.ir.FunctionType(self.word, [self.word] * len(args)).as_pointer()
        return self.builder.call(self.builder.inttoptr(self.value(address), form), [self.value(a) for a in args])

    def made(self, x, wrong=0):
        """``x`` unless it is null (or ``wrong``): then CPython's error is set, and the function ends."""
        missing = self.builder.icmp_signed("==", x, self.value(wrong))
        with self.builder.if_then(missing, likely=False):
            self.builder.ret(self.value(0))
        return x

    def room(self, x):
        """Address of a word on the stack that holds ``x``."""
        slot = self.builder.alloca(self.word)
        self.builder.store(x, slot)
        return self.builder.ptrtoint(slot, self.word)

    def hold(self, x):
        """``x``, referred to once more."""
        self.call(self.increment, x)
        return x

    def replace(self, x, base, offset):
        """Store ``x`` where another object was."""
        old = self.load(base, offset)
        self.store(x, base, offset)
        with self.builder.if_then(self.builder.icmp_signed("!=", old, self.value(0))):
            self.call(c_api("Py_DecRef"), old)

    def each(self, n):
        """A loop whose body, the block, gets the numbers below ``n``."""
        return each(self.builder, self.value(0), n)

    def finish(self, result, keep):
        """The Python function that returns the object ``result``; ``keep`` are objects whose addresses it knows."""
        return function(self.function.name, self.address(result, keep), keep)()

    @guarded
    def address(self, result=0, keep=(), opt=0):
        """Address of the C function that returns ``result``, an object or a number."""
        from llvmlite import binding
        self.builder.ret(self.value(result))
        binding.initialize_native_target()
        binding.initialize_native_asmprinter()
        module = binding.parse_assembly(str(self.module))
        # (Without optimisation they are made in a third of the time, in every process, and take as long.)
        engine = binding.create_mcjit_compiler(module, binding.Target.from_default_triple().create_target_machine(opt=opt))
        engine.finalize_object()
        _kept.append((engine, keep))
        return engine.get_function_address(self.function.name)


def function(name, address, keep):
    """What makes Python functions, bound to objects, of the C function ``(object, arguments, how many)`` at an address."""
    definition = _Definition(name.encode(), address, FASTCALL, None)
    _kept.append((definition, keep))
    make = ctypes.pythonapi["PyCFunction_NewEx"]  # (an object of its own, as others may declare it otherwise)
    make.restype, make.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p]
    at = ctypes.addressof(definition)
    return lambda bound=None: make(at, bound, None)
