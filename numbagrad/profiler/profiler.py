"""``profile``, which a schedule starts and stops step by step, and what it hands traces to."""

from __future__ import annotations

import enum
import gzip
import os
import tempfile
import warnings
from functools import partial

from ..autograd import profiler as prof
from ..base.user_code import warn_once
from ..kernel import cuda as _cuda

__all__ = ["supported_activities", "ProfilerAction", "ProfilerActivity", "schedule", "tensorboard_trace_handler", "profile"]


class ProfilerActivity(enum.Enum):
    """What may be recorded."""

    CPU, XPU, MTIA, CUDA, HPU, PrivateUse1 = range(6)

    def __str__(self):
        return f"ProfilerActivity.{self.name}"

    def __lt__(self, other):
        return self.value < other.value


class ProfilerAction(enum.Enum):
    """What a schedule asks for in a step."""

    NONE, WARMUP, RECORD, RECORD_AND_SAVE, DEVICE_STOPPED = range(5)


NONE, WARMUP, RECORD, SAVE, STOPPED = ProfilerAction


def supported_activities():
    """What can be recorded here: calls on the CPU, and those that start kernels on a device where there is one."""
    return {ProfilerActivity.CPU} | ({ProfilerActivity.CUDA} if _cuda.available() else set())


def schedule(*, wait, warmup, active, repeat=0, skip_first=0, skip_first_wait=0):
    """A function of the step's number: after ``skip_first`` steps, cycles of waiting, warming up, recording."""
    def schedule_fn(step):
        if step < 0:
            raise AssertionError(f"Step must be non-negative. Got {step}.")
        if step < skip_first:
            return NONE
        step += (wait if skip_first_wait else 0) - skip_first
        cycle = wait + warmup + active
        if 0 < repeat <= step / cycle:
            return NONE
        at = step % cycle
        return NONE if at < wait else WARMUP if at < wait + warmup else RECORD if at < cycle - 1 else SAVE
    if wait < 0 or warmup < 0 or active <= 0 or repeat < 0 or skip_first < 0:
        raise AssertionError(f"Invalid profiler schedule arguments. Got wait={wait} (need >= 0), warmup={warmup} (need >= 0), "
                             f"active={active} (need > 0), repeat={repeat} (need >= 0), skip_first={skip_first} (need >= 0).")
    if warmup == 0:
        warnings.warn("Profiler won't be using warmup, this can skew profiler results", UserWarning, stacklevel=2)
    return schedule_fn


def _default_schedule_fn(_):
    return RECORD


def tensorboard_trace_handler(dir_name, worker_name=None, use_gzip=False, use_python_export=False):
    """A function for ``on_trace_ready`` that writes each trace into a folder."""
    import socket
    import time
    worker_name = worker_name or f"{socket.gethostname()}_{os.getpid()}"

    def handler_fn(prof):
        try:
            os.makedirs(dir_name, exist_ok=True)
        except Exception as error:
            raise RuntimeError("Can't create directory: " + dir_name) from error
        name = f"{worker_name}.{time.time_ns()}.pt.trace.json{'.gz' if use_gzip else ''}"
        prof.export_chrome_trace(os.path.join(dir_name, name), use_python_export=use_python_export)
    return handler_fn


class _KinetoProfile:
    """A profile that is prepared, started and stopped by calls."""

    def __init__(self, *, activities=None, record_shapes=False, profile_memory=False, with_stack=False, with_flops=False,
                 with_modules=False, experimental_config=None, execution_trace_observer=None, acc_events=False,
                 custom_trace_id_callback=None, post_processing_timeout_s=None):
        self.activities = _names(activities)
        self.record_shapes, self.with_flops, self.profile_memory = record_shapes, with_flops, profile_memory
        self.with_stack, self.with_modules, self.acc_events = with_stack, with_modules, acc_events
        self.experimental_config, self.execution_trace_observer = experimental_config, execution_trace_observer
        self.custom_trace_id_callback, self.post_processing_timeout_s = custom_trace_id_callback, post_processing_timeout_s
        self.profiler, self.preset_metadata, self._trace_metadata = None, {}, {}
        self.use_device = "cuda" if ProfilerActivity.CUDA in self.activities else None

    def start(self):
        """Record from now on."""
        self.prepare_trace()
        self.start_trace()

    def stop(self):
        """Record no more."""
        self.stop_trace()

    def prepare_trace(self):
        """Make ready for recording."""
        if self.profiler is not None and not self.acc_events:
            warn_once("Warning: Profiler clears events at the end of each cycle. Only events from the current cycle will "
                      "be reported. To keep events across cycles, set acc_events=True.")
        if self.profiler is None or not self.acc_events:
            self.profiler = prof.profile(
                use_cpu=ProfilerActivity.CPU in self.activities, use_device=self.use_device, record_shapes=self.record_shapes,
                with_flops=self.with_flops, profile_memory=self.profile_memory, with_stack=self.with_stack,
                with_modules=self.with_modules, use_kineto=True, acc_events=self.acc_events,
                custom_trace_id_callback=self.custom_trace_id_callback,
                post_processing_timeout_s=self.post_processing_timeout_s)
        self.profiler._prepare_trace()

    def start_trace(self):
        """Record from now on, once made ready."""
        self._needed("Profiler must be initialized before starting trace")._start_trace()
        for name in ("profile_memory", "with_stack", "record_shapes", "with_modules", "with_flops"):
            if getattr(self, name):
                self.add_metadata_json(name, "1")
        for k, v in self.preset_metadata.items():
            self.add_metadata_json(k, v)

    def stop_trace(self):
        """Record no more."""
        self._needed("Profiler must be initialized before stopping trace").__exit__(None, None, None)

    def _needed(self, message):
        if self.profiler is None:
            raise AssertionError(message)
        return self.profiler

    def export_chrome_trace(self, path, use_python_export=False):
        """Write a file for ``chrome://tracing`` and Perfetto, compressed if its name ends in ``.gz``."""
        made = self._needed("Profiler must be initialized before exporting chrome trace")
        if not str(path).endswith(".gz"):
            return made.export_chrome_trace(path, self._trace_metadata)
        with tempfile.TemporaryDirectory() as folder:
            plain = os.path.join(folder, "trace.json")
            made.export_chrome_trace(plain, self._trace_metadata)
            with open(plain, "rb") as f, gzip.open(path, "wb") as out:
                out.writelines(f)

    def export_stacks(self, path, metric="self_cpu_time_total"):
        """Write stacks and times, for flame graphs."""
        return self._needed("Profiler must be initialized before exporting stacks").export_stacks(path, metric)

    def toggle_collection_dynamic(self, enable, activities):
        """Stop recording for a while, or go on."""
        if self.profiler is not None:
            self.profiler.toggle_collection_dynamic(enable, activities)

    def key_averages(self, group_by_input_shape=False, group_by_stack_n=0, group_by_overload_name=False):
        """Events of one name together."""
        return self._needed("Profiler must be initialized before getting key averages").key_averages(
            group_by_input_shape, group_by_stack_n, group_by_overload_name)

    def events(self):
        """All events."""
        return self._needed("Profiler must be initialized before accessing events").function_events

    def add_metadata(self, key, value):
        """Put a text into the trace."""
        self._trace_metadata[key] = '"' + value.replace('"', '\\"') + '"'

    def add_metadata_json(self, key, value):
        """Put something that is written in JSON into the trace."""
        self._trace_metadata[key] = value

    def preset_metadata_json(self, key, value):
        """Put something into every trace from now on."""
        self.preset_metadata[key] = value


def _names(activities):
    """The activities that were asked for."""
    if activities is None:
        return supported_activities()
    return {name for item in activities for name in (item if isinstance(item, dict) else (item,))}


class profile(_KinetoProfile):
    """Context manager: records calls, all of them or as a schedule says; ``step()`` goes on to its next step."""

    def __init__(self, *, activities=None, schedule=None, on_trace_ready=None, record_shapes=False, profile_memory=False,
                 with_stack=False, with_flops=False, with_modules=False, experimental_config=None,
                 execution_trace_observer=None, acc_events=False, use_cuda=None, custom_trace_id_callback=None,
                 post_processing_timeout_s=None):
        names = _names(activities)
        if use_cuda is not None:
            warnings.warn("`use_cuda` is deprecated, use `activities` argument instead", FutureWarning, stacklevel=2)
            names = names | {ProfilerActivity.CUDA} if use_cuda else names - {ProfilerActivity.CUDA}
        if not names:
            raise AssertionError("No valid profiler activities found")
        super().__init__(
            activities=activities, record_shapes=record_shapes, profile_memory=profile_memory, with_stack=with_stack,
            with_flops=with_flops, with_modules=with_modules, experimental_config=experimental_config,
            execution_trace_observer=execution_trace_observer, acc_events=acc_events,
            custom_trace_id_callback=custom_trace_id_callback, post_processing_timeout_s=post_processing_timeout_s)
        self.schedule, self.record_steps = schedule or _default_schedule_fn, bool(schedule)
        self.on_trace_ready, self.step_num, self.step_rec_fn = on_trace_ready, 0, None
        self.current_action = self._asked(0)
        begin, end, ready = [self.prepare_trace, self.start_trace], [self.stop_trace], [self.stop_trace, self._trace_ready]
        wrong = partial(warnings.warn, "Incorrect schedule: WARMUP followed by NONE", stacklevel=4)
        early = [partial(warnings.warn, f"Incorrect schedule: RECORD followed by {name}", stacklevel=4) for name in
                 ("NONE", "WARMUP")]
        self.action_map = {  # what to do between two steps; None: at the end
            (NONE, WARMUP): begin[:1], (NONE, RECORD): begin, (NONE, SAVE): begin,
            (WARMUP, NONE): [wrong, self.start_trace, self.stop_trace], (WARMUP, RECORD): begin[1:], (WARMUP, SAVE): begin[1:],
            (RECORD, NONE): [early[0], *end], (RECORD, WARMUP): [early[1], *end],
            (SAVE, NONE): ready, (SAVE, WARMUP): [*ready, *begin[:1]], (SAVE, RECORD): [*ready, *begin],
            (SAVE, SAVE): [*ready, *begin],
            (WARMUP, None): [self.start_trace, self.stop_trace], (RECORD, None): ready, (SAVE, None): ready}

    def _asked(self, step):
        action = self.schedule(step)
        if action is STOPPED:
            raise ValueError("ProfilerAction.DEVICE_STOPPED is set internally by the profiler and must not be returned by a "
                             "user-provided schedule")
        return action

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, exc_type, exc_val, exc_tb):
        self.stop()

    def start(self):
        """Do what the schedule says of the first step."""
        self._transit_action(NONE, self.current_action)
        self._begin_step()

    def stop(self):
        """End the last step."""
        self._end_step()
        self._transit_action(self.current_action, None)

    def step(self):
        """Go on to the next step."""
        self._end_step()
        before, self.current_action = self.current_action, self._asked(self.step_num + 1)
        self.step_num += 1
        self._transit_action(before, self.current_action)
        self._begin_step()

    def _begin_step(self):
        if self.record_steps:
            self.step_rec_fn = prof.record_function(f"ProfilerStep#{self.step_num}")
            self.step_rec_fn.__enter__()

    def _end_step(self):
        if self.step_rec_fn is not None:
            self.step_rec_fn.__exit__(None, None, None)
            self.step_rec_fn = None

    def set_custom_trace_id_callback(self, callback):
        """Choose how traces are named."""
        self.custom_trace_id_callback = callback

    def get_trace_id(self):
        """The name of the trace."""
        return None if self.profiler is None else self.profiler.trace_id

    def _trace_ready(self):
        if self.on_trace_ready:
            self.on_trace_ready(self)

    def _transit_action(self, before, after):
        for act in self.action_map.get((before, after), ()):
            act()
