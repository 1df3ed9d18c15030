"""``autograd.profiler``: ``profile`` and ``record_function``; the public face with schedules is ``numbagrad.profiler``."""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
import warnings
from collections import defaultdict

from ..base.modes import _ContextDecorator
from ..kernel import cuda as _cuda
from . import _events
from .profiler_util import EventList, FormattedTimesMixin, FunctionEvent, FunctionEventAvg, Interval, Kernel, MemRecordsAcc

__all__ = ["EventList", "FormattedTimesMixin", "FunctionEvent", "FunctionEventAvg", "Interval", "Kernel", "profile",
           "record_function", "EnforceUnique", "KinetoStepTracker", "MemRecordsAcc"]


class profile:
    """Context manager: records the calls of ops, the nodes of backwards and named blocks of this thread."""

    def __init__(self, enabled=True, *, use_cuda=False, use_device=None, record_shapes=False, with_flops=False,
                 profile_memory=False, with_stack=False, with_modules=False, use_kineto=False, use_cpu=True,
                 experimental_config=None, acc_events=False, custom_trace_id_callback=None, post_processing_timeout_s=None,
                 activity_filters=None):
        self.enabled = enabled
        if not enabled:
            return
        if use_cuda:
            warnings.warn("The attribute `use_cuda` will be deprecated soon, please use ``use_device = 'cuda'`` instead.",
                          FutureWarning, stacklevel=2)
        self.use_cuda, self.use_device = use_cuda, "cuda" if use_cuda else use_device
        self.record_shapes, self.with_flops, self.profile_memory = record_shapes or with_flops, with_flops, profile_memory
        self.with_stack, self.with_modules, self.use_cpu, self.acc_events = with_stack, with_modules, use_cpu, acc_events
        self.custom_trace_id_callback, self.trace_id = custom_trace_id_callback, ""
        self.entered, self._recorder, self._old, self._function_events = False, None, [], None
        if not use_cpu and not use_kineto:
            raise AssertionError("Device-only events supported only with Kineto (use_kineto=True)")
        if self.use_device not in (None, "cuda", "xpu", "mtia", "hpu"):
            warnings.warn(f"The {self.use_device} is not a valid device option.", UserWarning, stacklevel=2)
            self.use_device = None
        if self.use_device == "cuda" and not _cuda.available():
            warnings.warn("CUDA is not available, disabling CUDA profiling", UserWarning, stacklevel=2)
            self.use_cuda, self.use_device = False, None
        if not use_cpu and self.use_device is None:
            raise AssertionError("No activities specified for the profiler")
        if post_processing_timeout_s is not None and post_processing_timeout_s < 0:
            raise ValueError("post_processing_timeout_s must be non-negative")

    def __enter__(self):
        if not self.enabled:
            return None
        if self.entered:
            raise RuntimeError("Profiler context manager is not reentrant")
        self._prepare_trace()
        self._start_trace()
        return self

    def _prepare_trace(self):
        self.entered = True
        self.trace_id = self.custom_trace_id_callback() if self.custom_trace_id_callback else f"{uuid.uuid4().int:032X}"

    def _start_trace(self):
        self.entered = True
        self._began = time.time_ns() - time.perf_counter_ns()
        self._recorder = _events.Recorder(self.record_shapes, self.profile_memory, self.with_stack, self.with_flops)
        if self.use_cpu:
            _events.start(self._recorder)

    def __exit__(self, exc_type, exc_val, exc_tb):
        if not self.enabled:
            return None
        if self.use_cpu:
            _events.stop(self._recorder)
        if self.acc_events and self._function_events is not None:
            self._old = list(self._function_events)
        self._function_events = None
        if self.acc_events:
            self._ensure_function_events()
        return False

    def toggle_collection_dynamic(self, enable, activities):
        """Stop recording for a while, or go on."""
        recorder = self._recorder
        if recorder is not None and any([str(a).endswith("CPU") for a in activities]):
            recorder.owner = recorder.owner if enable and recorder.owner >= 0 else (
                -recorder.owner if enable else -abs(recorder.owner))

    # --- what was recorded

    def _ensure_function_events(self):
        if self._function_events is None:
            if self._recorder is None or self._recorder is _events.ACTIVE[0]:
                raise AssertionError("Profiler didn't finish running")
            self._function_events = EventList(self._old + _made(self._recorder, len(self._old)), use_device=self.use_device,
                                              profile_memory=self.profile_memory, with_flops=self.with_flops)
        return self._function_events

    def __repr__(self):
        return repr(self._ensure_function_events()) if self._finished() else "<unfinished torch.autograd.profile>"

    def __str__(self):
        return str(self._ensure_function_events()) if self._finished() else "<unfinished torch.autograd.profile>"

    def _finished(self):
        return self.enabled and self._recorder is not None and self._recorder is not _events.ACTIVE[0]

    @property
    def function_events(self):
        """All events."""
        return self._ensure_function_events()

    def table(self, sort_by=None, row_limit=100, max_src_column_width=75, max_name_column_width=55, max_shapes_column_width=80,
              header=None, top_level_events_only=False, time_unit=None):
        """All events as a table."""
        return self._ensure_function_events().table(
            sort_by=sort_by, row_limit=row_limit, max_src_column_width=max_src_column_width,
            max_name_column_width=max_name_column_width, max_shapes_column_width=max_shapes_column_width, header=header,
            top_level_events_only=top_level_events_only, time_unit=time_unit)

    def export_chrome_trace(self, path, metadata=None, use_python_export=False):
        """Write a file for ``chrome://tracing`` and Perfetto."""
        content = _trace(self._ensure_function_events(), self._began, path, self.trace_id, metadata or {})
        with open(path, "w") as f:
            json.dump(content, f)

    def export_stacks(self, path, metric="self_cpu_time_total"):
        """Write stacks and times, for flame graphs."""
        if not self.with_stack:
            raise AssertionError("export_stacks() requires with_stack=True")
        return self._ensure_function_events().export_stacks(path, metric)

    def key_averages(self, group_by_input_shape=False, group_by_stack_n=0, group_by_overload_name=False):
        """Events of one name together."""
        return self._ensure_function_events().key_averages(group_by_input_shape, group_by_stack_n, group_by_overload_name)

    def total_average(self):
        """All events together."""
        return self._ensure_function_events().total_average()

    @property
    def self_cpu_time_total(self):
        """Microseconds of all."""
        return self._ensure_function_events().self_cpu_time_total


def _made(recorder, first):
    """The events of a recorder, as users get them."""
    found, begin = {}, recorder.events[0].begin if recorder.events else 0
    for i, e in enumerate(recorder.events):
        name = "ProfilerStep*" if e.name.startswith("ProfilerStep#") else e.name
        found[id(e)] = made = FunctionEvent(
            first + i + 1, name, 1, (e.begin - begin) / 1000, (e.end - begin) / 1000, overload_name="", input_shapes=e.shapes,
            stack=e.stack, scope=e.scope, cpu_memory_usage=e.bytes, sequence_nr=e.sequence, flops=e.flops, trace_name=e.name,
            is_user_annotation=e.scope == _events.USER, fwd_thread=1 if e.scope == _events.BACKWARD else 0)
        made.began = e.begin
        parent = found.get(id(e.parent))
        if parent is not None:
            parent.append_cpu_child(made)
            made.set_cpu_parent(parent)
    _add_up(found.values())
    return list(found.values())


def _add_up(events):
    """Bytes of a named block, or of a backward, are those of the calls in it; of an op those of its results, at least."""
    for e in reversed(list(events)):
        inside = sum([c.cpu_memory_usage for c in e.cpu_children])
        e.cpu_memory_usage = max(e.cpu_memory_usage, inside)


def _trace(events, began, name, trace_id, metadata):
    """A profile as what trace viewers read."""
    pid = os.getpid()
    about = [("process_name", {"name": "python"}), ("process_labels", {"labels": "CPU"}),
             ("process_sort_index", {"sort_index": pid}), ("thread_name", {"name": f"thread {pid} (python)"}),
             ("thread_sort_index", {"sort_index": pid})]
    rows = [{"ph": "M", "name": what, "ts": 0, "pid": pid, "tid": pid if what.startswith("thread") else 0, "args": args}
            for what, args in about]
    for e in events:
        args = {"External id": e.id}
        if e.sequence_nr >= 0:
            args["Sequence number"], args["Fwd thread id"] = e.sequence_nr, e.fwd_thread
        if e.input_shapes:
            args["Input Dims"] = e.input_shapes
        if e.stack:
            args["Call stack"] = ";".join(e.stack)
        kind = "user_annotation" if e.is_user_annotation else "cpu_op"
        rows.append({"ph": "X", "cat": kind, "name": e.trace_name, "pid": pid, "tid": pid,
                     "ts": (e.began + began) / 1000, "dur": e.time_range.elapsed_us(), "args": args})
    extra = {k: json.loads(v) for k, v in metadata.items()}
    return {"schemaVersion": 1, "deviceProperties": [], "trace_id": trace_id, **extra, "host_name": socket.gethostname(),
            "displayTimeUnit": "ms", "baseTimeNanoseconds": 0, "traceEvents": rows, "traceName": str(name)}


class record_function(_ContextDecorator):
    """Context manager and decorator: a block with a name in what a profiler records."""

    def __init__(self, name, args=None):
        self.name, self.args, self.run_callbacks_on_exit, self.record = name, args, True, None

    def __enter__(self):
        recorder = _events.here()
        self.record = None if recorder is None else (recorder, recorder.enter(self.name, _events.USER))
        return self

    def __exit__(self, exc_type, exc_value, traceback):
        if self.record is not None:
            recorder, event = self.record
            if recorder is _events.here():
                recorder.leave(event)
            self.record = None

    def clone(self):
        return type(self)(self.name, self.args)


class _Ranges:
    """Context manager of marks for another tool, which is not there; refused, unless it is off."""

    def __init__(self, enabled=True, record_shapes=False):
        self.enabled, self.record_shapes = enabled, record_shapes

    def __enter__(self):
        if self.enabled:
            raise RuntimeError(f"{type(self).__name__}: there is no library for marks here; profile and export_chrome_trace "
                               "give a trace")
        return self

    def __exit__(self, exc_type, exc_val, exc_tb):
        return False


class emit_nvtx(_Ranges):
    """Marks for NVIDIA's profilers: refused."""


class emit_itt(_Ranges):
    """Marks for Intel's profilers: refused."""


class EnforceUnique:
    """Raises an error for a key that it has seen before."""

    def __init__(self):
        self.seen = set()

    def see(self, *key):
        """Note a key, which must be new."""
        if key in self.seen:
            raise RuntimeError(f"duplicate key: {key}")
        self.seen.add(key)


class KinetoStepTracker:
    """The number of the step, which several may count: that of the one who is furthest."""

    _current_step = 0
    _step_dict = defaultdict(int)

    @classmethod
    def init_step_count(cls, requester):
        """Have a requester begin at the current step."""
        cls._step_dict[requester] = cls._current_step

    @classmethod
    def erase_step_count(cls, requester):
        """Forget a requester; whether it was known."""
        return cls._step_dict.pop(requester, None) is not None

    @classmethod
    def increment_step(cls, requester):
        """Count a step of a requester; the current step."""
        if requester not in cls._step_dict:
            cls.init_step_count(requester)
        cls._step_dict[requester] += 1
        step = max(cls._step_dict.values())
        if step - cls._current_step > 1:
            warnings.warn(f"Profiler step count has increased more than 1 - current_step = {cls._current_step} step dict =  "
                          f"{cls._step_dict}", stacklevel=2)
        cls._current_step = max(step, cls._current_step)
        return cls._current_step

    @classmethod
    def current_step(cls):
        """The current step."""
        return cls._current_step
