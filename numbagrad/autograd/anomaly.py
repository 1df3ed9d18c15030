"""Anomaly mode: name the forward line of the operation whose backward failed or produced NaN."""

from __future__ import annotations

import traceback
import warnings

from ..base import modes
from ..base.user_code import is_ours, user_level, user_line
from ..core.node import Node
from ..kernel.tape import refuse
from . import hooks


def _has_nan(t):
    return bool((t != t).any())


class _Anomaly:
    """The process-wide switch, and the check of one node's backward."""

    def __init__(self):
        self.enabled, self.check_nan = False, True
        self.runner = None  # what the engine runs nodes through, if anything

    def set(self, enabled, check_nan=True):
        if self.runner in (None, self.run):  # (a profiler's asks by itself)
            self.runner = self.run if enabled else None
        self.enabled, self.check_nan = enabled, check_nan
        if enabled:
            modes.STATE["anomaly"] = True
        else:
            modes.STATE.pop("anomaly", None)

    def note(self, node, shapes):
        """Remember where the user's code recorded ``node``."""
        frames = [f for f in traceback.extract_stack()[:-1] if not is_ours(f.filename)]
        node.__dict__["_forward"] = (traceback.format_list(frames), user_line(), shapes)

    def run(self, node, g, create_graph):
        try:
            grads = node.backward_graph(g) if create_graph else node.backward(g)
        except Exception:
            self._tell(node)
            raise
        if self.check_nan:
            for i, r in enumerate(grads):
                if r is not None and r._kind.dtype.category >= 2 and hooks.user(False, _has_nan, r):
                    self._tell(node)
                    line, shapes = node.__dict__.get("_forward", (None, "an unrecorded line", ""))[1:]
                    raise RuntimeError(f"Function '{node.name()}' returned nan values in its {i}th output. The forward "
                                       f"call was at {line}{shapes}.")
        return grads

    def _tell(self, node):
        forward = node.__dict__.get("_forward")
        if forward is None:
            warnings.warn(f"Error detected in {node.name()}. No forward pass information available. Enable detect "
                          "anomaly during forward pass for more "
                          "information.", UserWarning, stacklevel=user_level())
        else:
            text = "".join(forward[0])
            warnings.warn(f"Error detected in {node.name()}. Traceback of forward call that caused the error:\n{text}",
                          UserWarning, stacklevel=user_level())


ANOMALY = Node._anomaly = _Anomaly()


class detect_anomaly:
    """Context manager: backward checks every gradient for NaN and names the forward line of the culprit."""

    def __init__(self, check_nan=True):
        self.check_nan = check_nan
        warnings.warn("Anomaly Detection has been enabled. This mode will increase the runtime and should only be "
                      "enabled for debugging.", UserWarning, stacklevel=2)

    def __enter__(self):
        self.previous = (ANOMALY.enabled, ANOMALY.check_nan)
        ANOMALY.set(True, self.check_nan)

    def __exit__(self, *exc):
        ANOMALY.set(*self.previous)


class set_detect_anomaly:
    """Turn anomaly mode on or off: a plain call or a context manager."""

    def __init__(self, mode, check_nan=True):
        self.previous = (ANOMALY.enabled, ANOMALY.check_nan)
        ANOMALY.set(bool(mode), check_nan)

    def __enter__(self):
        pass

    def __exit__(self, *exc):
        ANOMALY.set(*self.previous)


def is_anomaly_enabled():
    refuse("asks for the anomaly mode, which may change between calls")
    return ANOMALY.enabled


def is_anomaly_check_nan_enabled():
    refuse("asks for the anomaly mode, which may change between calls")
    return ANOMALY.check_nan
