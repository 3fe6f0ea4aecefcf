"""Signals that ask a run to stop."""

from __future__ import annotations

import signal

STOP_SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP")
    if hasattr(signal, name)  # Windows lacks SIGHUP
)
"""Ctrl-C, the request of a cluster or `kill`, and a terminal that is closed."""
