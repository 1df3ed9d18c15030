"""Names at top level that are no ops, bits of numbers, windows, ``testing`` and ``backends``: against PyTorch, line by line."""

from __future__ import annotations

import importlib
import inspect
import io
import subprocess
import sys
import warnings
from collections import OrderedDict

import numpy as np
import pytest

import numbagrad as ng

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")


def said(library, call):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = call(library)
        except Exception as e:
            return f"{type(e).__name__}: {e}".replace("numbagrad", "torch")
    return repr(found).replace("numbagrad.", "torch.")


def x(t):
    return t.tensor([1.0, 0.0, -0.0, -2.0, float("inf"), float("nan"), 1e-45, 3.0])


def y(t):
    return t.tensor([2.0, 1.0, -1.0, -2.0, 0.0, 1.0, 0.0, -9.0])


CALLS = {
    "next": lambda t: t.nextafter(x(t), y(t)), "next double": lambda t: x(t).double().nextafter(y(t).double()),
    "next mixed": lambda t: t.nextafter(x(t), y(t).double()), "next int": lambda t: t.nextafter(x(t).int(), y(t).int()),
    "next in place": lambda t: x(t).nextafter_(y(t)), "next number": lambda t: t.nextafter(x(t), t.tensor(1.0)),
    "next bfloat16": lambda t: t.nextafter(x(t).bfloat16(), y(t).bfloat16()),
    "next half": lambda t: t.nextafter(x(t).half(), y(t).half()),
    "next out": lambda t: t.nextafter(x(t), y(t), out=t.empty(8)), "frexp": lambda t: t.frexp(x(t)),
    "frexp double": lambda t: t.tensor([8, 0.3, 1e-310]).double().frexp(), "frexp int": lambda t: t.frexp(x(t).int()),
    "frexp half": lambda t: t.frexp(x(t).half()), "unravel": lambda t: t.unravel_index(t.tensor([3, 5]), (2, 3)),
    "unravel one": lambda t: t.unravel_index(t.tensor(4), (2, 3)),
    "unravel number": lambda t: t.unravel_index(t.tensor([4]), 6),
    "unravel Size": lambda t: t.unravel_index(t.tensor(4), t.Size((2, 3))),
    "unravel float": lambda t: t.unravel_index(t.tensor([4.0]), (6,)),
    "unravel less": lambda t: t.unravel_index(t.tensor(4), (-1, 2)),
    "unravel floats": lambda t: t.unravel_index(t.tensor(4), [2.0]),
    "unravel over": lambda t: t.unravel_index(t.tensor([7]), (2, 3)),
    "static": lambda t: t.nonzero_static(t.tensor([1, 0, 1]), size=3),
    "static few": lambda t: t.tensor([[1, 2]]).nonzero_static(size=1), "range": lambda t: t.range(0, 4),
    "range half": lambda t: t.range(1, 2, 0.5), "range one": lambda t: t.range(3),
    "range int": lambda t: t.range(1, 5, dtype=t.int64), "range back": lambda t: t.range(1, 0),
    "range down": lambda t: t.range(3, 1, -1),
    **{f"{w} {n} {p}": lambda t, w=w, n=n, p=p: getattr(t, w + "_window")(n, p, dtype=t.float64)
       for w in ("hann", "hamming", "bartlett", "kaiser") for n in (0, 1, 2, 5, 8) for p in (True, False)},
    "kaiser beta": lambda t: t.kaiser_window(5, False, 3.0), "hamming alpha": lambda t: t.hamming_window(5, True, 0.5, 0.4),
    "bartlett": lambda t: t.bartlett_window(4), "blackman": lambda t: t.blackman_window(4, False, dtype=t.float64),
    "hann less": lambda t: t.hann_window(-1), "hann int": lambda t: t.hann_window(3, dtype=t.int32),
    "hann": lambda t: t.hann_window(7), "warn": lambda t: t.is_warn_always_enabled(),
    "precision": lambda t: t.get_float32_matmul_precision(), "bad precision": lambda t: t.set_float32_matmul_precision("low"),
    "debug text": lambda t: t.set_deterministic_debug_mode("foo"), "debug number": lambda t: t.set_deterministic_debug_mode(3),
    "debug float": lambda t: t.set_deterministic_debug_mode(1.0),
    "deterministic": lambda t: t.are_deterministic_algorithms_enabled(),
    "bad deterministic": lambda t: t.use_deterministic_algorithms(1), "denormal": lambda t: t.set_flush_denormal(False),
    "interop": lambda t: t.set_num_interop_threads(0), "bad warn": lambda t: t.set_warn_always("x"),
    "newaxis": lambda t: t.newaxis, "device": lambda t: t.get_device(t.ones(2)),
    "flags": lambda t: [f(t.ones(2)) for f in (t.is_inference, t.is_neg, t.is_conj, t.is_signed)],
    "detach": lambda t: t.detach(t.ones(1)), "typename": lambda t: [t.typename(t.ones(1)), t.typename([])],
    "promote": lambda t: t.promote_types(t.int32, t.float16), "default device": lambda t: t.get_default_device(),
    "module of nothing": lambda t: t.get_device_module("nothing"),
    "tensor flags": lambda t: [getattr(t.ones(1), n)
                               for n in "is_quantized is_meta is_mkldnn is_nested is_ipu is_maia".split()],
    "tensor asks": lambda t: [getattr(t.ones(1), n)()
                              for n in "is_conj is_neg is_signed element_size ndimension nelement".split()],
    "is_set_to": lambda t: t.ones(1).is_set_to(t.ones(1)), "swapdims_": lambda t: t.ones(1, 2).swapdims_(0, 1),
    "comparisons": lambda t: [getattr(t.tensor([1.0, 2.0]), n)(2) for n in "eq_ ge_ gt_ le_ lt_ ne_ greater_ greater_equal_ "
                              "less_ less_equal_ not_equal_".split()],
    "copies": lambda t: [f(t.ones(2, 2)) for f in (
        t.alias_copy, t.detach_copy, t.t_copy, lambda a: t.as_strided_copy(a, (2,), (1,)),
        lambda a: t.expand_copy(a, (1, 2, 2)),
        lambda a: t.narrow_copy(a, 0, 0, 1), lambda a: t.permute_copy(a, (1, 0)), lambda a: t.select_copy(a, 0, 1),
        lambda a: t.split_copy(a, 1), lambda a: t.split_with_sizes_copy(a, [1, 1]), t.squeeze_copy, t.unbind_copy,
        lambda a: t.transpose_copy(a, 0, 1), lambda a: t.unfold_copy(a, 0, 1, 1), lambda a: t.unsafe_chunk(a, 2),
        lambda a: t.unsafe_split(a, 1), lambda a: t.unsqueeze_copy(a, 0), lambda a: t.view_copy(a, (4,)),
        lambda a: t.view_as_real_copy(a + 0j), t.view_as_complex_copy)]}


@pytest.mark.parametrize("name", CALLS)
def test_as_in_pytorch(name):
    assert said(ng, CALLS[name]) == said(torch, CALLS[name])


def test_windows_to_an_ulp():
    for name in ("hann", "hamming", "blackman", "bartlett", "kaiser"):
        for n in (2, 5, 64, 101):
            ours, theirs = (getattr(t, name + "_window")(n).numpy() for t in (ng, torch))
            np.testing.assert_allclose(ours, theirs, rtol=2e-6, atol=2e-7)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_of_bits(dtype):
    found = []
    for t in (ng, torch):
        a, b = (t.tensor([1.0, 2.0, 0.0, -3.0], dtype=getattr(t, dtype), requires_grad=True) for _ in range(2))
        z = t.nextafter(a, t.tensor([2.0, 2.0, 1.0, 0.0], dtype=a.dtype))
        m, e = t.frexp(b)
        (z * 3).sum().backward()
        (m * 5).sum().backward()
        found.append([z.tolist(), type(z.grad_fn).__name__, a.grad.tolist(), m.tolist(), type(m.grad_fn).__name__,
                      b.grad.tolist(), e.tolist(), e.requires_grad])
    assert found[0] == found[1]
    with pytest.raises(RuntimeError, match="doesn't match the broadcast shape"):
        ng.ones(2).nextafter_(ng.ones(3, 2))


def test_settings_are_kept():
    for t in (ng, torch):
        t.set_deterministic_debug_mode("warn")
        assert t.are_deterministic_algorithms_enabled() and t.is_deterministic_algorithms_warn_only_enabled()
        assert t.get_deterministic_debug_mode() == 1
        t.set_deterministic_debug_mode(2)
        assert t.get_deterministic_debug_mode() == 2
        t.use_deterministic_algorithms(False)
        assert t.get_deterministic_debug_mode() == 0
        t.set_warn_always(True)
        assert t.is_warn_always_enabled()
        t.set_warn_always(False)
        t.set_float32_matmul_precision("high")
        assert t.get_float32_matmul_precision() == "high"
        t.set_float32_matmul_precision("highest")
    assert ng.get_num_interop_threads() == 1 and ng.set_num_interop_threads(2) is None


# --- testing ---

def comparisons(t):
    tensor, parameter = t.tensor, t.nn.Parameter
    return [
        (tensor(1.0), tensor(2.0)), (tensor([1.0, 2.0]), tensor([1.0, 3.0])),
        (tensor([[1.0, 2.0], [3, 4]]), tensor([[1.0, 3.0], [5, 4]]), {"rtol": 0, "atol": 0}), (1.0, 2.0), (1, 1.0), (1, 2),
        (1, 1.0, {"check_dtype": False}), (True, False), (None, 1), (None, None), ([1, 2], [1, 3]), ([1], [1, 2]),
        ({"a": 1}, {"b": 1}), ({"a": [tensor(1.0)]}, {"a": [tensor(2.0)]}), (tensor(1.0), tensor(1)),
        (tensor([1.0]), tensor(1.0)),
        (tensor([1.0]), tensor([1.0]).double(), {"check_dtype": False}), (tensor([float("nan")]), tensor([float("nan")])),
        (tensor([float("nan")]), tensor([float("nan")]), {"equal_nan": True}), (np.array([1.0, 2]), np.array([1.0, 3])),
        (tensor(1.0), tensor(2.0), {"msg": "hi"}), (tensor(1.0), tensor(2.0), {"msg": lambda m: "X " + m}),
        (tensor(1.0), tensor(2.0), {"rtol": 1}), (tensor(1.0), tensor(2.0), {"atol": 1}), ("a", "a"),
        (tensor([1, 2]), tensor([1, 3])),
        (tensor([True]), tensor([False])), (tensor([1 + 2j]), tensor([1 + 3j])), (1 + 2j, 1 + 3j),
        (t.ones(2, 2), t.ones(2, 2).t(), {"check_stride": True}), (parameter(tensor([1.0])), tensor([1.0])),
        (tensor(1.0), None), (np.float32(1), np.float32(2)), (1.0, np.float32(1)), (tensor([0.0]), tensor([1e-6])),
        (tensor([0.0]), tensor([1e-4])), (t.ones(0), t.ones(0)), (tensor([1.0]).half(), tensor([1.1]).half()),
        (tensor([1.0]).bfloat16(), tensor([1.1]).bfloat16()), (tensor([255], dtype=t.uint8), tensor([0], dtype=t.uint8)),
        ((1, 2), [1, 2]), (float("inf"), float("inf")), (tensor([float("inf")]), tensor([1.0])), (float("nan"), float("nan")),
        ([tensor(1.0), [tensor(2.0), tensor(3.0)]], [tensor(1.0), [tensor(2.0), tensor(4.0)]], {"msg": lambda m: m + "!"}),
        (tensor([1.0, 5.0]), tensor([1.0, 0.0])), (object, object), (OrderedDict(b=1, a=2), {"a": 2, "b": 1})]


def test_assert_close_says_what_pytorch_says():
    results = []
    for t in (ng, torch):
        for actual, expected, *options in comparisons(t):
            keywords = options[0] if options else {}
            results.append(said(t, lambda t, a=actual, e=expected, k=keywords: t.testing.assert_close(a, e, **k)))
    half = len(results) // 2
    assert results[:half] == results[half:] and sum("Error" in r for r in results) > 40
    for call in (lambda t: t.testing.assert_allclose(t.tensor([1.0]), t.tensor([2.0])),
                 lambda t: t.testing.assert_allclose([1.0, 2], [1.0, 2.00001]),
                 lambda t: t.testing.assert_allclose(t.tensor([1.0]).half(), t.tensor([1.0005])),
                 lambda t: t.testing.assert_allclose(1.0, 1.1, msg="no")):
        assert said(ng, call) == said(torch, call)
    with pytest.raises(TypeError, match="No comparison pair was able to handle inputs of type"):
        ng.testing.assert_close(ng.nn.Parameter(ng.ones(1)), ng.ones(1), allow_subclasses=False)
    with pytest.warns(FutureWarning, match="assert_allclose"):
        ng.testing.assert_allclose(1.0, 1.0)


@pytest.mark.parametrize("options", [
    {}, {"low": 0, "high": 1}, {"noncontiguous": True}, {"low": 0, "high": 2, "exclude_zero": True}, {"requires_grad": True},
    {"low": 3, "high": 1}, {"low": float("nan")}, {"low": 300, "high": 1e300}, {"low": -1e9, "high": 3},
    {"low": 2, "high": 2}], ids=str)
def test_make_tensor(options):
    for dtype in ("float32", "float64", "float16", "bfloat16", "complex64", "int64", "int32", "uint8", "bool"):
        for shape in ((2, 3), (), (1,), (0, 2)):
            found = []
            for t in (ng, torch):
                t.manual_seed(3)
                found.append(said(t, lambda t, d=dtype, s=shape: (lambda a: [a, a.stride(), a.requires_grad])(
                    t.testing.make_tensor(s, dtype=getattr(t, d), device="cpu", **options))))
            assert found[0] == found[1], (dtype, shape)


# --- modules ---

def test_backends_can_be_imported_and_set():
    for name in ("cudnn", "mkldnn", "opt_einsum", "nnpack", "miopen"):
        ours, theirs = getattr(ng.backends, name), getattr(torch.backends, name)
        for call in ("flags", "set_flags"):
            assert hasattr(theirs, call) and callable(getattr(ours, call)), (name, call)
    cudnn = importlib.import_module("numbagrad.backends.cudnn")
    assert cudnn is ng.backends.cudnn
    for t in (ng, torch):
        c = t.backends.cudnn
        flags = c.enabled, c.benchmark, c.deterministic, c.allow_tf32, c.is_available(), c.version()
        assert flags == (True, False, False, True, False, None)
        with c.flags(enabled=False, deterministic=True):
            assert not c.enabled and c.deterministic
        assert c.enabled and not c.deterministic
        before = c.set_flags(_benchmark=True)
        assert c.benchmark and before is not None
        c.set_flags(_benchmark=False)
        assert not c.benchmark
        assert t.backends.mha.get_fastpath_enabled() and not t.backends.cuda.is_built() and not t.backends.mps.is_available()
        with pytest.warns(FutureWarning, match="sdp_kernel"), t.backends.cuda.sdp_kernel(enable_math=False):
            assert not t.backends.cuda.math_sdp_enabled()
        assert t.backends.cuda.math_sdp_enabled() and not t.backends.cuda.matmul.allow_tf32
        assert t.backends.cpu.get_cpu_capability() in ("AVX512", "AVX2", "DEFAULT", "NO AVX")
        with t.backends.mkl.verbose(t.backends.mkl.VERBOSE_OFF):
            pass
    ng.backends.cudnn.benchmark = True  # PyTorch's may be frozen by its own test files
    assert ng.backends.cudnn.benchmark
    ng.backends.cudnn.benchmark = False
    with pytest.raises(TypeError, match="unexpected keyword argument 'nothing'"):
        ng.backends.cudnn.set_flags(nothing=1)


def test_scripts_find_the_package(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import importlib.metadata, torch\nimport torch.backends.cudnn as cudnn\ncudnn.benchmark = True\n"
                      "print(importlib.metadata.version('torch') == torch.__version__, torch.backends.cudnn.benchmark)\n"
                      "print(importlib.metadata.metadata('torch')['Name'], importlib.metadata.version('numpy')[0] in '12')\n"
                      "from torch.backends import cuda\nimport torch.cpu, torch.storage, torch.multiprocessing\n"
                      "print(cuda.is_built(), torch.get_device_module('cpu') is torch.cpu)\n")
    out = subprocess.run([sys.executable, "-m", "numbagrad", "run", str(script)], capture_output=True, text=True, timeout=300)
    assert out.stdout == "True True\ntorch True\nFalse True\n", out.stderr


def test_config_and_processor():
    assert "numba" in ng.__config__.show() and "at::get_num_threads() : " in ng.__config__.parallel_info()
    cpu = ng.cpu
    assert cpu.is_available() and cpu.device_count() == 1 and cpu.current_device() == "cpu" and cpu.is_initialized()
    assert cpu.synchronize() is None and cpu.set_device("cpu") is None
    first, other = cpu.current_stream(), cpu.Stream()
    with cpu.stream(other):
        assert cpu.current_stream() is other
    with cpu.StreamContext(None):
        assert cpu.current_stream() is first
    assert other.record_event() is None and cpu.Event().query()


def test_marks_for_the_compiler():
    c = ng.compiler

    @c.disable
    def f(a):
        return a * 2

    step = ng.compile(lambda a: f(a) + c.disable(recursive=False)(f)(a) + c.nested_compile_region(f)(a))
    assert step(ng.ones(2)).tolist() == [6, 6] and not c.is_exporting() and not c.is_dynamo_compiling()
    assert c.substitute_in_graph(len)(f) is f and c.reset() is None and c.cudagraph_mark_step_begin() is None
    assert c.list_backends() == [c.get_default_backend()] and c.set_default_backend("inductor") is None
    whole = c.wrap_numpy(lambda a, b: (a + b, 3))
    assert whole(ng.ones(2), ng.ones(2))[0].tolist() == [2, 2] and whole(ng.ones(2), ng.ones(2))[1] == 3
    for name in ("disable", "nested_compile_region", "list_backends", "reset", "substitute_in_graph", "wrap_numpy"):
        ours, theirs = (inspect.signature(getattr(t.compiler, name)).parameters for t in (ng, torch))
        assert list(ours) == list(theirs)


def test_names_in_checkpoints():
    data = io.BytesIO()
    ng.save({"a": ng.ones(2), "f": OrderedDict(x=1), "e": ValueError("x")}, data)
    data.seek(0)
    ours = ng.serialization.get_unsafe_globals_in_checkpoint(data)
    data.seek(0)
    assert ours == torch.serialization.get_unsafe_globals_in_checkpoint(data) and len(ours) == 1
    data = io.BytesIO()
    ng.save(ng.ones(2), data)
    data.seek(0)
    assert ng.load(data, map_location=lambda s, place: ng.serialization.default_restore_location(s, "cpu")).tolist() == [1, 1]


# --- names that stand for others ---

def test_flags_of_the_build():
    flags = {name: getattr(ng, name) for name in ("has_lapack", "has_mkl", "has_openmp", "has_spectral")}
    assert all(type(value) is bool for value in flags.values()) and flags["has_lapack"]
    assert ng.version.git_version == "Unknown" and ng.version.hip is None


def test_former_names_of_initialisers_warn():
    for name, arguments in (("dirac", ()), ("kaiming_normal", ()), ("kaiming_uniform", ()), ("xavier_normal", ()),
                            ("xavier_uniform", ())):
        found = []
        for t in (ng, torch):
            t.manual_seed(1)
            with pytest.warns(FutureWarning) as caught:
                found.append((getattr(t.nn.init, name)(t.empty(2, 2, 3), *arguments).tolist(), str(caught[0].message)))
        assert found[0] == found[1]


def test_classes_to_ask_for():
    assert not isinstance(ng.nn.Linear(1, 1), (ng.jit.ScriptFunction, ng.fx.GraphModule))
    assert issubclass(ng.utils.checkpoint.CheckpointFunction, ng.autograd.Function)
    assert ng.nn.attention.WARN_FOR_UNFUSED_KERNELS is torch.nn.attention.WARN_FOR_UNFUSED_KERNELS is False
    import multiprocessing
    for name in ("AuthenticationError", "BufferTooShort", "ProcessError", "TimeoutError"):
        assert getattr(ng.multiprocessing, name) is getattr(multiprocessing, name)


def test_parameters_by_pytorchs_names():
    x = ng.arange(5)
    for t in (ng, torch):
        assert [p.tolist() for p in t.split(tensor=t.arange(5), split_size_or_sections=2)] == [[0, 1], [2, 3], [4]]
        assert [p.tolist() for p in t.arange(5).split(split_size=[1, 4])] == [[0], [1, 2, 3, 4]]
        assert t.set_default_device(device="cpu") is None
        t.set_default_device(None)
    assert [p.tolist() for p in x.split(3)] == [[0, 1, 2], [3, 4]] and x.split(2)[0]._base is x
