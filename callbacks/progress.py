"""What the terminal shows while training: a bar counted in frames, or plain lines where there is no terminal."""

from __future__ import annotations

import sys
import textwrap
import time
from collections import deque
from itertools import chain
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, TaskID, TaskProgressColumn, TextColumn
from rich.progress import Progress as RichProgress

from mipi_pl.datamodule import datamodule_of
from mipi_pl.utils.checks import require

_WINDOW_S = 30.0
_WIDTH = 80
_INDENT = " " * 7  # below the text behind the percentage
_BESIDE_BAR = _WIDTH - 16 - 4 - 2


class Throughput:
    """Speeds over the last half minute, so that they show the present and not the average since the start."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int, int]] = deque()

    def update(self, now_s: float, frames: int, updates: int) -> None:
        """Take note of the counts at a time."""
        self._seen.append((now_s, frames, updates))
        while len(self._seen) > 2 and now_s - self._seen[1][0] > _WINDOW_S:
            self._seen.popleft()

    def speeds(self) -> tuple[float, float]:
        """Frames and updates per second; zeros before there are two notes."""
        (start_s, frames, updates), (end_s, last_frames, last_updates) = self._seen[0], self._seen[-1]
        span_s = end_s - start_s
        if span_s <= 0:
            return 0.0, 0.0
        return (last_frames - frames) / span_s, (last_updates - updates) / span_s


class Progress(ProgressBar):
    """Frames and updates done and per second, remaining time, the latest greedy win rates (or returns).

    On a terminal this is a bar that is redrawn; elsewhere, as in a log file or a notebook, a plain line every `every_s`
    seconds without control characters, and one for each evaluation. None is longer than 80 columns.

    Args:
        total_frames: the budget.
        every_s: seconds between two plain lines.

    Raises:
        ValueError: for a number that is not positive.
    """

    def __init__(self, total_frames: int, every_s: float = 10.0) -> None:
        super().__init__()
        require("total_frames", total_frames, 1)
        require("callbacks.progress.every_s", every_s, 0, above=True)
        self.total_frames, self.every_s = total_frames, every_s
        self._throughput = Throughput()
        self._enabled = True
        self._bar: RichProgress | None = None
        self._task: TaskID | None = None
        self._last_s = 0.0
        self._told = ("", "")

    def disable(self) -> None:
        """Lightning turns the display off on all processes but the first."""
        self._enabled = False

    def enable(self) -> None:
        """And on again."""
        self._enabled = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the bar if there is a terminal to draw it on."""
        self._last_s = time.monotonic()
        self._throughput.update(self._last_s, self._frames(trainer), self._updates(pl_module))
        if self._enabled and sys.stdout.isatty():
            columns = (BarColumn(bar_width=16), TaskProgressColumn(), TextColumn("{task.description}"))
            self._bar = RichProgress(*columns, console=Console(file=sys.stdout), refresh_per_second=4)
            self._task = self._bar.add_task("collecting the first episodes", total=self.total_frames)
            self._bar.start()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any) -> None:
        """Redraw, or print a line when it is time."""
        now_s, frames, updates = time.monotonic(), self._frames(trainer), self._updates(pl_module)
        self._throughput.update(now_s, frames, updates)
        if self._bar is not None and self._task is not None:
            text = [*self.describe(frames, updates), *chain(*self._below(trainer, _BESIDE_BAR))]
            self._bar.update(self._task, completed=min(frames, self.total_frames), description="\n".join(text))
        elif self._enabled and now_s - self._last_s >= self.every_s:
            self._last_s = now_s
            self.print(f"{min(1.0, frames / self.total_frames):4.0%} | {', '.join(self.describe(frames, updates))}")
            self._tell(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the last state of the bar on the terminal."""
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Give the terminal back."""
        self._close()

    def _tell(self, trainer: Trainer) -> None:
        """What stands below a plain line: the scores and the faults, each once for each change."""
        scores, faults = self._below(trainer, _WIDTH - len(_INDENT))
        told = (textwrap.indent("\n".join(scores), _INDENT), textwrap.indent("\n".join(faults), _INDENT))
        for text, before in zip(told, self._told, strict=True):
            if text and text != before:
                self.print(text)
        self._told = told

    def _below(self, trainer: Trainer, width: int) -> tuple[list[str], list[str]]:
        """The latest scores, and what faults have cost (in this process)."""
        cut_short = datamodule_of(trainer).cut_short
        faults = [f"episodes cut short by faults of the world: {cut_short:,}"] if cut_short else []
        return score_lines(trainer.callback_metrics, width), faults

    def describe(self, frames: int, updates: int) -> tuple[str, str]:
        """How far training is and how fast it goes, in two parts."""
        frames_per_s, updates_per_s = self._throughput.speeds()
        left_s = (self.total_frames - frames) / frames_per_s if frames_per_s > 0 else None
        return (
            f"{frames:,} frames ({frames_per_s:,.0f}/s), {clock(left_s)} left",
            f"{updates:,} updates ({updates_per_s:.1f}/s)",
        )

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print above the bar; Lightning's own printing comes through here too."""
        if self._bar is not None:
            self._bar.console.print(*args, highlight=False, markup=False)
        elif self._enabled:
            print(*args, flush=True, **kwargs)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    @staticmethod
    def _frames(trainer: Trainer) -> int:
        return datamodule_of(trainer).frames

    @staticmethod
    def _updates(algorithm: Any) -> int:
        return int(algorithm.updates)


def score_lines(metrics: Any, width: int) -> list[str]:
    """`latest_scores` in lines of at most `width`."""
    return textwrap.wrap(latest_scores(metrics), width, break_on_hyphens=False)


def latest_scores(metrics: Any) -> str:
    """Such as ``win rate training: 0.71, 6: 0.62``, or returns; empty before the first evaluation."""
    scored = [name.removeprefix("eval/score_") for name in metrics if name.startswith("eval/score_")]
    winnable = any(name.startswith("eval/win_rate_") for name in metrics)
    measure, places = ("win rate", 2) if winnable else ("return", 1)
    scores = ", ".join(f"{name}: {float(metrics[f'eval/score_{name}']):.{places}f}" for name in scored)
    return f"{measure} {scores}" if scored else ""


def clock(seconds: float | None) -> str:
    """Minutes and seconds, with hours where there are any; dashes for unknown."""
    if seconds is None:
        return "--:--"
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
