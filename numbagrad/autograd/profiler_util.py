"""Events of a profile as users get them: each, in groups by name, as a table, as files for viewers."""

from __future__ import annotations

import bisect
import enum
import json
import warnings
from collections import defaultdict, namedtuple

from . import _table

__all__ = ["DeviceType", "EventList", "FormattedTimesMixin", "FunctionEvent", "FunctionEventAvg", "Interval", "Kernel"]


class DeviceType(enum.Enum):
    """Types of devices by PyTorch's numbers."""

    CPU, CUDA, MKLDNN, OPENGL, OPENCL, IDEEP, HIP, FPGA, MAIA, XLA = range(10)
    Vulkan, Metal, XPU, MPS, Meta, HPU, VE, Lazy, IPU, MTIA, PrivateUse1 = range(10, 21)

    def __str__(self):
        return f"DeviceType.{self.name}"

    __repr__ = __str__


class Interval:
    """From when to when, in microseconds."""

    def __init__(self, start, end):
        self.start, self.end = start, end

    def elapsed_us(self):
        """How long."""
        return self.end - self.start


Kernel = namedtuple("Kernel", ["name", "device", "duration"])


def _formatted(name):
    return property(lambda self: _table.time(getattr(self, name)))


def _older(name, new):
    """A property by its name of before."""
    def older(self):
        instead = f", please use `{new}` instead." if name == "cuda_time" else f". Use `{new}` instead."
        warnings.warn(f"`{name}` is deprecated{instead}", FutureWarning, stacklevel=2)
        return getattr(self, new)
    return property(older)


class FormattedTimesMixin:
    """Times as text, and the mean."""

    cpu_time_str, device_time_str = _formatted("cpu_time"), _formatted("device_time")
    cpu_time_total_str, device_time_total_str = _formatted("cpu_time_total"), _formatted("device_time_total")
    self_cpu_time_total_str, self_device_time_total_str = (_formatted("self_cpu_time_total"),
                                                           _formatted("self_device_time_total"))
    cuda_time = _older("cuda_time", "device_time")

    @property
    def cpu_time(self):
        """Microseconds of a call."""
        return 0.0 if self.count == 0 else 1.0 * self.cpu_time_total / self.count

    @property
    def device_time(self):
        """Microseconds of a call on a device."""
        return 0.0 if self.count == 0 else 1.0 * self.device_time_total / self.count


class FunctionEvent(FormattedTimesMixin):
    """One call."""

    def __init__(self, id, name, thread, start_us, end_us, overload_name=None, fwd_thread=None, input_shapes=None, stack=None,
                 scope=0, use_device=None, cpu_memory_usage=0, device_memory_usage=0, is_async=False, is_remote=False,
                 sequence_nr=-1, node_id=-1, device_type=DeviceType.CPU, device_index=0, device_resource_id=None,
                 is_legacy=False, flops=None, trace_name=None, is_user_annotation=False):
        self.id, self.name, self.thread, self.time_range = id, name, thread, Interval(start_us, end_us)
        self.overload_name, self.fwd_thread, self.input_shapes, self.stack = overload_name, fwd_thread, input_shapes, stack
        self.scope, self.use_device, self.cpu_memory_usage = scope, use_device, cpu_memory_usage
        self.device_memory_usage, self.is_async, self.is_remote = device_memory_usage, is_async, is_remote
        self.sequence_nr, self.node_id, self.device_type, self.device_index = sequence_nr, node_id, device_type, device_index
        self.device_resource_id = thread if device_resource_id is None else device_resource_id
        self.is_legacy, self.flops, self.trace_name, self.is_user_annotation = is_legacy, flops, trace_name, is_user_annotation
        self.kernels, self.count, self.cpu_children, self.cpu_parent = [], 1, [], None
        self.self_cpu_percent = self.total_cpu_percent = self.total_device_percent = -1

    def append_kernel(self, name, device, duration):
        """Add a kernel that this call ran."""
        self.kernels.append(Kernel(name, device, duration))

    def append_cpu_child(self, child):
        """Add a call that this one made."""
        self.cpu_children.append(child)

    def set_cpu_parent(self, parent):
        """Say in which call this one was made."""
        self.cpu_parent = parent

    @property
    def key(self):
        """What it is grouped by."""
        return self.name

    @property
    def cpu_time_total(self):
        """Microseconds, with the calls in it."""
        return self.time_range.elapsed_us()

    @property
    def self_cpu_time_total(self):
        """Microseconds without the calls in it."""
        return self.cpu_time_total - sum([c.cpu_time_total for c in self.cpu_children])

    @property
    def self_cpu_memory_usage(self):
        """Bytes of results that are not those of the calls in it."""
        return self.cpu_memory_usage - sum([c.cpu_memory_usage for c in self.cpu_children])

    # Work of devices is not timed: kernels are started, and nobody waits for them.
    device_time_total = self_device_time_total = self_device_memory_usage = 0
    cuda_time_total, self_cuda_time_total = _older("cuda_time_total", "device_time_total"), _older(
        "self_cuda_time_total", "self_device_time_total")
    self_cuda_memory_usage = _older("self_cuda_memory_usage", "self_device_memory_usage")

    def __repr__(self):
        device = self.use_device
        return (f"<FunctionEvent id={self.id} name={self.name} overload_name={self.overload_name} "
                f"device_type={self.device_type} node_id={self.node_id} cpu_time={self.cpu_time_str} "
                f"start_us={self.time_range.start} end_us={self.time_range.end} "
                f"cpu_children={[c.id for c in self.cpu_children]} {device}_time={self.device_time_str} name={self.name} "
                f"thread={self.thread} input_shapes={self.input_shapes} cpu_memory_usage={self.cpu_memory_usage} "
                f"{device}_memory_usage={self.device_memory_usage} is_async={self.is_async} is_remote={self.is_remote} "
                f"seq_nr={self.sequence_nr} is_legacy={self.is_legacy}>")


_SUMMED = ("cpu_time_total", "device_time_total", "self_cpu_time_total", "self_device_time_total", "cpu_memory_usage",
           "device_memory_usage", "self_cpu_memory_usage", "self_device_memory_usage", "count")
_TAKEN = ("key", "node_id", "is_async", "is_remote", "cpu_parent", "cpu_children", "overload_name", "input_shapes", "stack",
          "scope", "device_type", "is_legacy", "use_device", "is_user_annotation")


class FunctionEventAvg(FormattedTimesMixin):
    """Calls that are counted together."""

    def __init__(self):
        self.key, self.node_id, self.flops = None, 0, 0
        self.is_async = self.is_remote = self.is_legacy = self.is_user_annotation = False
        self.use_device = self.input_shapes = self.overload_name = self.stack = self.scope = None
        self.cpu_children = self.cpu_parent = None
        self.device_type = DeviceType.CPU
        for name in _SUMMED:
            setattr(self, name, 0)

    def add(self, other):
        """Count one more."""
        if self.key is None:
            for name in _TAKEN:
                setattr(self, name, getattr(other, name))
        if not isinstance(other, (FunctionEvent, FunctionEventAvg)):
            raise AssertionError("Expected other to be a FunctionEvent or FunctionEventAvg")
        if other.key != self.key:
            raise AssertionError(f"Expected keys to match, but got {other.key} vs {self.key}")
        for name in _SUMMED:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.flops = other.flops if self.flops is None else self.flops + (other.flops or 0)
        return self

    __iadd__ = add

    def __repr__(self):
        device = self.use_device or "cuda"
        return (f"<FunctionEventAvg key={self.key} self_cpu_time={self.self_cpu_time_total_str} cpu_time={self.cpu_time_str}  "
                f"self_{device}_time={self.self_device_time_total_str} {device}_time={self.device_time_str} "
                f"input_shapes={self.input_shapes} cpu_memory_usage={self.cpu_memory_usage} "
                f"{device}_memory_usage={self.device_memory_usage}>")


class EventList(list):
    """Events, or groups of them."""

    def __init__(self, *args, use_device=None, profile_memory=False, with_flops=False):
        super().__init__(*args)
        self._use_device, self._profile_memory, self._with_flops = use_device, profile_memory, with_flops

    def __str__(self):
        return self.table()

    @property
    def self_cpu_time_total(self):
        """Microseconds of all."""
        return sum([event.self_cpu_time_total for event in self])

    def table(self, sort_by=None, row_limit=100, max_src_column_width=75, max_name_column_width=55, max_shapes_column_width=80,
              header=None, top_level_events_only=False, time_unit=None):
        """The events as a table."""
        events = self
        if sort_by is not None:
            sort_by = sort_by.replace("cuda", "device").replace("xpu", "device").replace("privateuse1", "device")
            events = sorted(self, key=lambda e: getattr(e, sort_by), reverse=True)
        return _table.build(events, header, row_limit, max_src_column_width, max_name_column_width, max_shapes_column_width,
                            self._with_flops, self._profile_memory, top_level_events_only, time_unit)

    def export_chrome_trace(self, path):
        """Write the events as a file for ``chrome://tracing`` and Perfetto."""
        events = [{"name": e.trace_name or e.name, "ph": "X", "ts": e.time_range.start, "dur": e.time_range.elapsed_us(),
                   "tid": e.thread, "pid": "CPU functions", "args": {}} for e in self]
        with open(path, "w") as f:
            json.dump(events, f)

    def supported_export_stacks_metrics(self):
        """What ``export_stacks`` can count."""
        return ["self_cpu_time_total", "self_cuda_time_total", "self_xpu_time_total", "self_privateuse1_time_total"]

    def export_stacks(self, path, metric):
        """Write stacks and times, for flame graphs."""
        if metric not in self.supported_export_stacks_metrics():
            raise ValueError("metric should be one of: " + str(self.supported_export_stacks_metrics()))
        metric = metric.replace("cuda", "device").replace("xpu", "device").replace("privateuse1", "device")
        plain = str.maketrans(" ;\t\n", "____")
        with open(path, "w") as f:
            for e in self:
                if e.stack and int(getattr(e, metric)) > 0:
                    frames = ";".join([entry.translate(plain) for entry in reversed(e.stack)])
                    f.write(f"{frames} {int(getattr(e, metric))}\n")

    def key_averages(self, group_by_input_shapes=False, group_by_stack_n=0, group_by_overload_name=False):
        """Events of one name together; of one name, shapes and stack if asked for."""
        groups = defaultdict(FunctionEventAvg)
        for e in self:
            key = [e.key, e.node_id, e.device_type, e.is_legacy, e.is_user_annotation]
            key += [str(e.input_shapes)] if group_by_input_shapes else []
            groups[(*key, *(e.stack[:group_by_stack_n] if group_by_stack_n > 0 else []))].add(e)
        found = EventList(groups.values(), use_device=self._use_device, profile_memory=self._profile_memory,
                          with_flops=self._with_flops)
        for e in found:
            e.stack = e.stack[:group_by_stack_n]
            if not group_by_input_shapes:
                e.input_shapes = ""
            if not group_by_overload_name:
                e.overload_name = ""
        return found

    def total_average(self):
        """All events together."""
        total = FunctionEventAvg()
        for e in self:
            total += e
            total.key = None
        total.key = "Total"
        return total


class MemRecordsAcc:
    """Records of memory, found by the time at which they begin."""

    def __init__(self, mem_records):
        self._mem_records = mem_records
        self._starts = sorted((r[0].start_ns(), i) for i, r in enumerate(mem_records))

    def in_interval(self, start_ns, end_ns):
        """The records that begin in an interval, its ends included."""
        first = bisect.bisect_left(self._starts, (start_ns, -1))
        last = bisect.bisect_right(self._starts, (end_ns, len(self._starts)))
        yield from (self._mem_records[i] for _, i in self._starts[first:last])
