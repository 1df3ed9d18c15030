"""Names that scripts import or ask for without needing what is behind them."""

import subprocess
import sys

import pytest

import numbagrad as ng
from numbagrad.base import user_code


def test_flags_of_tensors():
    x = ng.ones(2)
    assert x.is_cpu and not (x.is_cuda or x.is_sparse_csr or x.is_mps or x.is_xpu or x.is_xla or x.is_vulkan or x.is_mtia)


def test_jit_gives_back_what_it_is_given(monkeypatch):
    def f(x):
        return x * 2
    from numbagrad import jit
    monkeypatch.setattr(user_code, "_said", set())
    with pytest.warns(UserWarning, match="torch.jit.script gives back"):
        assert jit.script(f) is f
    assert jit.script(f) is f  # said once
    with pytest.warns(UserWarning, match="torch.jit.trace gives back"):
        assert jit.trace(f, ng.ones(2)) is f
    assert jit.ignore(f) is f and jit.ignore(drop=True)(f) is f and jit.unused(f) is f and jit.export(f) is f
    assert not jit.is_scripting() and not jit.is_tracing() and jit.annotate(int, 3) == 3 and jit.isinstance(3, (int, str))
    assert jit.wait(jit.fork(f, ng.ones(2))).tolist() == [2, 2]
    assert not isinstance(ng.nn.Linear(1, 1), jit.ScriptModule)
    model = ng.nn.Linear(1, 1)
    with pytest.raises(RuntimeError, match="eval mode"):
        jit.freeze(model)
    for call in (lambda: jit.save(model, "x"), lambda: jit.load("x")):
        with pytest.raises(RuntimeError, match="TorchScript archives"):
            call()


def test_what_is_refused_says_what_to_use():
    for call, text in ((lambda: ng.hub.load("a/b", "c"), "torch.hub.load: numbagrad downloads nothing"),
                       (lambda: ng.onnx.export(ng.nn.Linear(1, 1), ng.ones(1)), "exports no ONNX models"),
                       (lambda: ng.fx.symbolic_trace(ng.nn.Linear(1, 1)), "ng.compile"),
                       (lambda: ng.fx.Tracer().trace(ng.nn.Linear(1, 1)), "ng.compile")):
        with pytest.raises(RuntimeError, match=text):
            call()
    assert not ng.onnx.is_in_onnx_export() and ng.fx.wrap("f") == "f"
    ng.hub.set_dir("/somewhere")
    assert ng.hub.get_dir() == "/somewhere"


def test_accelerator_without_a_device():
    if ng.cuda.is_available():
        pytest.skip("there is one")
    assert not ng.accelerator.is_available() and ng.accelerator.device_count() == 0
    assert ng.accelerator.current_accelerator() is None and ng.accelerator.empty_cache() is None
    for call in (ng.accelerator.current_device_index, ng.accelerator.synchronize, lambda: ng.accelerator.set_device_index(0)):
        with pytest.raises(RuntimeError, match="none is available"):
            call()


def test_under_the_name_of_torch(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import torch, torch.jit, torch.hub, torch.onnx, torch.fx, torch.version\n"
                      "from torch.jit import ScriptModule\n"
                      "print(torch.version.__version__ == torch.__version__, torch.version.cuda, torch.accelerator.is_available"
                      "() == torch.cuda.is_available(), torch.ones(2).is_cpu)\n")
    out = subprocess.run([sys.executable, "-m", "numbagrad", "run", str(script)], capture_output=True, text=True, timeout=300)
    assert out.stdout == "True None True True\n", out.stderr


def test_none_is_imported_before_it_is_used():
    code = ("import sys, numbagrad\n"
            "print([m for m in 'accelerator fx hub jit onnx version'.split() if 'numbagrad.' + m in sys.modules])")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
