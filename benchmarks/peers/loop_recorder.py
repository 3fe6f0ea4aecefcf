"""Measurements of a training loop that runs in turns. Uses only the standard library, for any side's Python."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from turns import my_turn, report


def peak_memory_mib() -> float:
    """Returns the largest resident memory of this process so far, in MiB (Linux).

    `getrusage` would also count the process that started this one.
    """
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    kib = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    return round(kib / 1024, 1)


class LoopRecorder:
    """Records every update of a training loop, and ends a turn once it has lasted long enough.

    The report of a turn has its ``seconds``, ``cpu_seconds``, ``frames`` and ``updates``, the ``build_s`` and
    ``peak_memory_mib`` of the process, its ``curve`` and the facts ``about`` the side. The curve covers all turns so
    far. It has a triple per update: seconds of training, frames, and the win rate of the episodes that ended in the
    update (None if no episode ended). The time between turns does not count.

    Args:
        output: stream for the reports.
        turn_s: shortest length of a turn, in seconds; a turn is at least one update.
        about: settings and versions of the side.
    """

    def __init__(self, output: TextIO, turn_s: float, about: Mapping[str, Any]) -> None:
        self.output, self.turn_s, self.about = output, turn_s, about
        self.curve: list[tuple[float, int, float | None]] = []
        self.seconds, self.frames = 0.0, 0  # of all turns that have ended

    def begin(self, build_s: float) -> None:
        """Start the first turn; `build_s` is the time that building and compiling took, in seconds."""
        self.build_s = build_s
        self._start()

    def _start(self) -> None:
        self.turn_frames = self.turn_updates = 0
        self.start_s, self.start_cpu_s = time.perf_counter(), time.process_time()

    def update(self, frames: int, win_rate: float | None) -> bool:
        """Record an update, and report and wait if the turn is over.

        Args:
            frames: environment steps of the update, over all environments.
            win_rate: share of the episodes ended in the update that were won; None if no episode ended.

        Returns:
            Whether to train on. False means that there are no more turns.
        """
        seconds, cpu_seconds = time.perf_counter() - self.start_s, time.process_time() - self.start_cpu_s
        self.turn_frames += frames
        self.turn_updates += 1
        self.curve.append((round(self.seconds + seconds, 3), self.frames + self.turn_frames, win_rate))
        if seconds < self.turn_s:
            return True
        self.seconds += seconds
        self.frames += self.turn_frames
        figures = {
            "seconds": seconds,
            "cpu_seconds": cpu_seconds,
            "frames": self.turn_frames,
            "updates": self.turn_updates,
            "build_s": round(self.build_s, 1),
            "peak_memory_mib": peak_memory_mib(),
            "curve": self.curve,
            "about": self.about,
        }
        report(self.output, figures)
        goes_on = my_turn()
        self._start()
        return goes_on
