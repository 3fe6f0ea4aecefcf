"""Signals that ask a run to stop."""

from __future__ import annotations

import signal
import threading

STOP_SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP")
    if hasattr(signal, name)  # Windows lacks SIGHUP
)
"""Ctrl-C, the request of a cluster or `kill`, and a terminal that is closed."""


def shield_resource_tracker() -> None:
    """Start Python's resource tracker, a helper process of multiprocessing, so that it ignores SIGHUP.

    It ignores SIGINT and SIGTERM by itself. A terminal that is closed would end it, and its replacement prints a
    traceback for each semaphore of the run.
    """
    if hasattr(signal, "SIGHUP") and threading.current_thread() is threading.main_thread():
        from multiprocessing import resource_tracker

        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # inherited by the new process
        try:
            resource_tracker.ensure_running()
        finally:
            signal.signal(signal.SIGHUP, signal.SIG_DFL if before is None else before)
