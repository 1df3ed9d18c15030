"""What a machine without CUDA sees: clear errors at first use, nothing loaded before."""

import subprocess
import sys

import pytest

import numbagrad as ng

if ng.cuda.is_available():
    pytest.skip("CUDA, or its simulator, is available here", allow_module_level=True)


@pytest.mark.parametrize("use", [
    lambda: ng.tensor(1.0, device="cuda"),
    lambda: ng.ones(2).cuda(),
    lambda: ng.ones(2).to("cuda:0"),
    lambda: ng.zeros(2, device=ng.device("cuda", 1)),
    lambda: ng.nn.Linear(2, 2).to("cuda"),
    lambda: ng.cuda.current_device(),
    lambda: ng.cuda.synchronize(),
    lambda: ng.cuda.get_device_name(),
    lambda: ng.cuda.set_device(0),
])
@pytest.mark.parametrize("kind", [RuntimeError, AssertionError])
def test_the_error_names_the_reason_and_the_extra(use, kind):
    with pytest.raises(kind, match="Torch not compiled with CUDA enabled.*because .*numbagrad\\[cuda\\]"):
        use()


def test_what_works_without():
    c = ng.cuda
    assert not c.is_available() and c.device_count() == 0 and c.why_not() and not c.is_initialized()
    assert c.memory_allocated() == 0 and c.max_memory_allocated() == 0
    c.manual_seed(3)
    c.manual_seed_all(4)
    c.empty_cache()
    c.reset_peak_memory_stats()
    assert c.get_rng_state_all() == []
    with c.device(None), c.device_of(ng.ones(1)):
        pass


def test_import_loads_no_cuda_package():
    code = ("import sys, numbagrad as ng; ng.manual_seed(1); ng.cuda.is_initialized();"
            "print([m for m in sys.modules if m in ('numba.cuda', 'cuda', 'cuda.core', 'numba_cuda')])")
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
