"""Profiles: what is recorded of calls, backwards, blocks and steps; tables, schedules and files."""

import gzip
import json
import subprocess
import sys
import threading
import time
import warnings

import pytest
from parity import agrees

import numbagrad as ng
from numbagrad import nn
from numbagrad.autograd import profiler_util
from numbagrad.autograd.anomaly import ANOMALY
from numbagrad.extend import REGISTRY
from numbagrad.profiler import ProfilerActivity, profile, record_function, schedule, tensorboard_trace_handler

X = ng.ones(4, 8)


def training():
    ng.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
    optimizer = ng.optim.SGD(net.parameters(), 0.1)

    def step(x=X):
        optimizer.zero_grad()
        with record_function("forward"):
            loss = net(x).sum()
        loss.backward()
        optimizer.step()
        return loss
    step()
    return step


def names(events):
    return [e.name for e in events]


def test_a_training_step():
    step = training()
    with profile(record_shapes=True) as p:
        step()
    events = p.events()
    assert names(events) == [
        "Optimizer.zero_grad#SGD.zero_grad", "forward", "aten::linear", "aten::relu", "aten::linear", "aten::sum",
        *[f"{engine}{node}" for node in ("SumBackward0", "AddmmBackward0") for engine in (ENGINE, "")],
        *["torch::autograd::AccumulateGrad"] * 2, ENGINE + "ReluBackward0", "ReluBackward0", ENGINE + "AddmmBackward0",
        "AddmmBackward0", *["torch::autograd::AccumulateGrad"] * 2, "Optimizer.step#SGD.step"]
    forward = events[1]
    assert names(forward.cpu_children) == ["aten::linear", "aten::relu", "aten::linear", "aten::sum"]
    assert all(c.cpu_parent is forward for c in forward.cpu_children) and events[7].cpu_parent is events[6]
    assert events[2].input_shapes == [[4, 8], [16, 8], [16]] and forward.input_shapes == []
    assert forward.is_user_annotation and forward.scope == 7 and events[6].scope == 1 and events[2].scope == 0
    assert events[9].sequence_nr > events[15].sequence_nr > 0  # nodes are numbered as they were recorded
    for e in events:
        assert e.time_range.elapsed_us() >= sum(c.time_range.elapsed_us() for c in e.cpu_children) - 0.01
        if e.cpu_parent is not None:
            assert e.cpu_parent.time_range.start <= e.time_range.start <= e.time_range.end <= e.cpu_parent.time_range.end
    groups = {e.key: e for e in p.key_averages()}
    assert groups["aten::linear"].count == 2 and groups["torch::autograd::AccumulateGrad"].count == 4
    assert groups["forward"].self_cpu_time_total == pytest.approx(
        groups["forward"].cpu_time_total - sum(c.cpu_time_total for c in forward.cpu_children))
    by_shape = [e for e in p.key_averages(group_by_input_shape=True) if e.key == "aten::linear"]
    assert [(e.count, e.input_shapes) for e in by_shape] == [(1, [[4, 8], [16, 8], [16]]), (1, [[4, 16], [2, 16], [2]])]


ENGINE = "autograd::engine::evaluate_function: "


def test_results_are_the_same():
    expected, profiled = training(), training()
    with profile():
        found = [profiled().item() for _ in range(12)]
    assert found == [expected().item() for _ in range(12)]


def test_operators_methods_and_in_place_forms():
    x = ng.ones(3, 3)
    with profile() as p:
        y = x + 1
        y = 2 - y
        y += x
        y.mul_(2)
        y = (y @ x).exp().relu_()
        ng.zeros(2)
        nn.functional.layer_norm(x, (3,))
    assert names(p.events()) == ["aten::add", "aten::rsub", "aten::add_", "aten::mul_", "aten::matmul", "aten::exp",
                                 "aten::relu_", "aten::zeros", "aten::layer_norm"]


def test_ops_whose_file_was_not_run():
    code = ("import numbagrad as ng\nx = ng.ones(4)\nwith ng.profiler.profile() as p:\n    ng.cumsum(x, 0)\n"
            "print([e.name for e in p.events()])\nng.cumprod(x, 0)\nprint(len(p.events()))")
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split("\n")[:2] == ["['aten::cumsum']", "1"]


def test_nothing_is_left_behind():
    x = ng.ones(2)
    x.add(1)
    code, method = REGISTRY["add"].call.__code__, ng.Tensor.add.__code__
    with profile():
        assert ng.Tensor.add.__code__ is not method
        with pytest.raises(RuntimeError):
            x + ng.ones(3)
    assert REGISTRY["add"].call.__code__ is code and ng.Tensor.add.__code__ is method and ANOMALY.runner is None


def test_errors_close_events():
    with profile() as p:
        with pytest.raises(RuntimeError), record_function("outer"):
            ng.ones(2) + ng.ones(3)
        ng.ones(2)
    assert names(p.events()) == ["outer", "aten::ones", "aten::ones", "aten::add", "aten::ones"]
    assert p.events()[-1].cpu_parent is None


def test_other_threads_are_not_recorded():
    with profile() as p:
        t = threading.Thread(target=lambda: ng.ones(2) + 1)
        t.start()
        t.join()
        ng.ones(2)
    assert names(p.events()) == ["aten::ones"]


def test_with_autocast_and_anomaly_mode():
    x = ng.ones(2, 2, requires_grad=True)
    with warnings.catch_warnings(), profile() as p:
        warnings.simplefilter("ignore")
        with ng.autocast("cpu"), ng.autograd.detect_anomaly():
            y = x @ x
            assert y.dtype is ng.bfloat16
            with pytest.raises(RuntimeError, match="returned nan values"):
                (y * float("nan")).sqrt().float().sum().backward()
    assert "aten::matmul" in names(p.events()) and ENGINE + "SqrtBackward0" in names(p.events())
    with ng.autocast("cpu"):
        with profile() as p:
            assert (x @ x).dtype is ng.bfloat16
        assert (x @ x).dtype is ng.bfloat16
    assert (x @ x).dtype is ng.float32


def test_regions_and_profiles_in_turn():
    """Each learns of ops whose files are run later, whoever came first."""
    code = ("import numbagrad as ng\nfrom numbagrad.dispatch import autocast\nx = ng.ones(2, 2)\n"
            "with ng.autocast('cpu'):\n    x @ x\nwith ng.profiler.profile() as p:\n    x @ x\n"
            "autocast.enable('cuda', True)\nautocast.enable('cuda', False)\n"
            "with ng.autocast('cpu'), ng.profiler.profile() as p:\n    y = ng.quantile(x.bfloat16(), 0.5)\n"
            "print(y.dtype, 'aten::quantile' in [e.name for e in p.events()])")
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split() == ["torch.float32", "True"]


def test_memory_and_flops():
    a, b = ng.ones(10, 20), ng.ones(20, 30)
    with profile(profile_memory=True, with_flops=True) as p:
        with record_function("block"):
            ng.mm(a, b)
            a.t()
    block, mm, t = p.events()
    assert (mm.cpu_memory_usage, t.cpu_memory_usage, block.cpu_memory_usage) == (1200, 0, 1200)
    assert block.self_cpu_memory_usage == 0 and mm.flops == 2 * 10 * 20 * 30
    table = p.key_averages().table()
    assert "1.17 KB" in table and "Total KFLOPs" in table and "12.000" in table


def test_stacks(tmp_path):
    def here():
        x = ng.ones(2000, 200)
        return x @ x.T
    with profile(with_stack=True) as p:
        here()
    line = here.__code__.co_firstlineno + 2
    found = next(e for e in p.events() if e.name == "aten::matmul")
    assert found.stack[0] == f"{__file__}({line}): here"
    p.export_stacks(str(tmp_path / "stacks"))
    *frames, count = (tmp_path / "stacks").read_text().splitlines()[-1].replace(" ", ";").split(";")
    assert frames[-1].endswith("here") and int(count) > 0
    assert f"test_profiler.py({line}): here" in p.key_averages(group_by_stack_n=1).table(max_src_column_width=None)
    with pytest.raises(ValueError, match="metric should be one of"):
        p.export_stacks(str(tmp_path / "stacks"), "time")


def test_traces(tmp_path):
    step, path = training(), tmp_path / "trace.json"
    before = time.time() * 1e6
    with profile(record_shapes=True, profile_memory=True) as p:
        p.add_metadata("who", 'a "test"')
        step()
    p.export_chrome_trace(str(path))
    p.export_chrome_trace(str(path) + ".gz")
    trace = json.loads(path.read_text())
    with gzip.open(str(path) + ".gz") as f:
        assert json.load(f)["traceEvents"] == trace["traceEvents"]
    events = [e for e in trace["traceEvents"] if e["ph"] == "X"]
    assert [e["name"] for e in events] == names(p.events())
    assert trace["record_shapes"] == trace["profile_memory"] == 1 and trace["who"] == 'a "test"'
    assert all(before - 1e6 < e["ts"] < before + 60e6 for e in events)
    assert events[2]["args"]["Input Dims"] == [[4, 8], [16, 8], [16]] and events[1]["cat"] == "user_annotation"
    p.events().export_chrome_trace(str(path))
    assert [e["name"] for e in json.loads(path.read_text())] == names(p.events())


def steps(T, count, **options):
    """What profiles over steps tell their handler."""
    said = []
    with T.profiler.profile(activities=[T.profiler.ProfilerActivity.CPU], on_trace_ready=lambda p: said.append(
            (p.step_num, [e.name for e in p.events() if e.name.startswith(("Profiler", "step"))])), **options) as p:
        for i in range(count):
            with T.profiler.record_function(f"step {i}"):
                T.ones(2)
            p.step()
    return said


@pytest.mark.parametrize("cycle", [
    {"wait": 1, "warmup": 1, "active": 2}, {"wait": 0, "warmup": 1, "active": 1, "repeat": 2},
    {"wait": 1, "warmup": 1, "active": 3, "repeat": 1, "skip_first": 2}, {"wait": 2, "warmup": 1, "active": 1, "skip_first": 1,
                                                                         "skip_first_wait": 1}])
def test_schedules(cycle):
    agrees(lambda T: [T.profiler.schedule(**cycle)(i).name for i in range(15)])
    agrees(lambda T: steps(T, 9, schedule=T.profiler.schedule(**cycle)))


@pytest.mark.parametrize("act", [
    lambda T: T.profiler.schedule(wait=-1, warmup=0, active=1), lambda T: T.profiler.schedule(wait=0, warmup=1, active=1)(-1),
    lambda T: type(T.profiler.schedule(wait=0, warmup=0, active=1)), lambda T: T.profiler.profile(activities=[]),
    lambda T: T.profiler.profile().key_averages(), lambda T: T.profiler.profile().events(), lambda T: steps(T, 3),
    lambda T: T.profiler.profile().export_chrome_trace("x"), lambda T: T.profiler.profile().stop_trace(),
    lambda T: repr(T.autograd.profiler.profile(enabled=False).__enter__()), lambda T: repr(T.profiler.ProfilerActivity.CPU),
    lambda T: [str(a) for a in (T.profiler.ProfilerAction.RECORD_AND_SAVE, T.profiler.DeviceType.CPU)],
    lambda T: T.autograd.profiler.profile(use_cpu=False)])
def test_what_is_said(act):
    agrees(act)


def test_handlers_write_files(tmp_path):
    for zipped in (False, True):
        handler = tensorboard_trace_handler(str(tmp_path / "traces"), "worker", use_gzip=zipped)
        with profile(schedule=schedule(wait=0, warmup=1, active=1, repeat=1), on_trace_ready=handler) as p:
            for _ in range(3):
                ng.ones(2)
                p.step()
    found = sorted(f.name for f in (tmp_path / "traces").iterdir())
    assert len(found) == 2 and all(f.startswith("worker.") for f in found)
    assert [f.endswith(".gz") for f in found] == [False, True]


def test_events_over_cycles():
    with profile(schedule=schedule(wait=0, warmup=1, active=1), acc_events=True) as p:
        for _ in range(5):
            ng.ones(2)
            p.step()
    assert names(p.events()).count("aten::ones") == 2


def test_collection_is_paused():
    with profile() as p:
        ng.ones(1)
        p.toggle_collection_dynamic(False, [ProfilerActivity.CPU])
        ng.zeros(1)
        p.toggle_collection_dynamic(True, [ProfilerActivity.CPU])
        ng.full((1,), 2.0)
    assert names(p.events()) == ["aten::ones", "aten::full"]


def test_decorated_functions():
    @record_function("block")
    def f():
        return ng.ones(2)
    f()
    with ng.autograd.profiler.profile() as p:
        f()
        f()
    assert names(p.function_events) == ["block", "aten::ones"] * 2
    assert str(p) == p.table() and p.self_cpu_time_total == pytest.approx(p.total_average().self_cpu_time_total)


def test_compiled_steps_and_loaders():
    step = training()
    compiled = ng.compile(lambda x: step(x))
    for _ in range(3):
        compiled(ng.ones(4, 8))
    loader = ng.utils.data.DataLoader([1.0, 2.0])
    iter(loader)  # runs its file
    with profile() as p:
        compiled(ng.ones(4, 8))
        for _ in loader:
            pass
    found = names(p.events())
    assert "compiled#<lambda>" in found
    assert found.count("enumerate(DataLoader)#_SingleProcessDataLoaderIter.__next__") == 3


def synthetic(util):
    """Events of a made-up profile."""
    events = util.EventList([], profile_memory=True, with_flops=True)
    times = [(0.0, 5e6, "a block with a name that is too long for the column of names of the table"), (1.0, 1200.5, "aten::mm"),
             (2000.0, 2000.125, "aten::add"), (5e6, 5e6 + 3.0, "aten::mm")]
    for i, (begin, end, name) in enumerate(times):
        events.append(util.FunctionEvent(
            i, name, 1, begin, end, overload_name="", input_shapes=[[2, 3], [3, 4 + i]], stack=[], flops=(i % 2) * 5000,
            cpu_memory_usage=[3 << 20, 2048, 0, 100][i], trace_name=name))
    for child in events[1:3]:
        events[0].append_cpu_child(child)
        child.set_cpu_parent(events[0])
    events._tree_built = True
    return events


@pytest.mark.parametrize("options", [
    {}, {"sort_by": "cpu_time_total"}, {"sort_by": "self_cuda_time_total"}, {"row_limit": 2}, {"row_limit": -1},
    {"max_name_column_width": 20}, {"max_name_column_width": None, "max_shapes_column_width": 8}, {"header": "Title"},
    {"top_level_events_only": True, "row_limit": 1}, {"time_unit": "s"}, {"time_unit": "us"}])
def test_tables_are_those_of_pytorch(torch, options):
    import torch.autograd.profiler_util as theirs
    ours = synthetic(profiler_util)
    assert ours.table(**options) == synthetic(theirs).table(**options)
    for grouped in (False, True):
        a, b = [synthetic(u).key_averages(group_by_input_shapes=grouped) for u in (profiler_util, theirs)]
        assert a.table(**options) == b.table(**options)
        assert [repr(e) for e in a] == [repr(e) for e in b] and repr(a.total_average()) == repr(b.total_average())
    assert repr(list(ours)) == repr(list(synthetic(theirs)))


def test_empty_tables():
    with profile() as p:
        pass
    assert p.key_averages().table() == "" and p.events().self_cpu_time_total == 0


def test_traces_need_no_library():
    assert ng.profiler.kineto_available() is False
