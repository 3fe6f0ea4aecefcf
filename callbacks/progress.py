"""Progress of training: a bar in frames on a terminal, plain lines elsewhere."""

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

from mipi_pl.algorithms.base import algorithm_of
from mipi_pl.datamodule import datamodule_of
from mipi_pl.utils.checks import require

_WINDOW_S = 30.0
_WIDTH = 80
_INDENT = " " * 7  # aligns with the text after the percentage
_BESIDE_BAR = _WIDTH - 16 - 4 - 2


class Throughput:
    """Current speeds, averaged over the last 30 seconds instead of the whole run."""

    def __init__(self) -> None:
        self._counts: deque[tuple[float, int, int]] = deque()

    def update(self, now_s: float, frames: int, updates: int) -> None:
        """Record the counts at a time."""
        self._counts.append((now_s, frames, updates))
        while len(self._counts) > 2 and now_s - self._counts[1][0] > _WINDOW_S:
            self._counts.popleft()

    def speeds(self) -> tuple[float, float]:
        """Return frames and updates per second; zeros before the second call of `update`."""
        (start_s, frames, updates), (end_s, last_frames, last_updates) = self._counts[0], self._counts[-1]
        span_s = end_s - start_s
        if span_s <= 0:
            return 0.0, 0.0
        return (last_frames - frames) / span_s, (last_updates - updates) / span_s


class Progress(ProgressBar):
    """Shows frames and updates with their rates, the remaining time, and the latest greedy win rates or returns.

    On a terminal this is a bar that is redrawn. Elsewhere, for example in a log file or a notebook, it is a plain line
    without control characters every `every_s` seconds, and one for each evaluation. No line exceeds 80 columns.

    Args:
        total_frames: budget in environment steps.
        every_s: seconds between two plain lines.

    Raises:
        ValueError: if a number is not positive.
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
        self._printed = ("", "")

    def disable(self) -> None:
        """Turn the display off; Lightning does so in all processes except the first."""
        self._enabled = False

    def enable(self) -> None:
        """Turn the display on again."""
        self._enabled = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the bar if the output is a terminal."""
        self._last_s = time.monotonic()
        self._throughput.update(self._last_s, *_counts(trainer, pl_module))
        if self._enabled and sys.stdout.isatty():
            columns = (BarColumn(bar_width=16), TaskProgressColumn(), TextColumn("{task.description}", markup=False))
            self._bar = RichProgress(*columns, console=Console(file=sys.stdout), refresh_per_second=4)
            self._task = self._bar.add_task("collecting the first episodes", total=self.total_frames)
            self._bar.start()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any) -> None:
        """Redraw the bar, or print a plain line every `every_s` seconds."""
        now_s, (frames, updates) = time.monotonic(), _counts(trainer, pl_module)
        self._throughput.update(now_s, frames, updates)
        if self._bar is not None and self._task is not None:
            text = [*self.describe(frames, updates), *chain(*self._below(trainer, _BESIDE_BAR))]
            self._bar.update(self._task, completed=min(frames, self.total_frames), description="\n".join(text))
        elif self._enabled and now_s - self._last_s >= self.every_s:
            self._last_s = now_s
            self.print(f"{min(1.0, frames / self.total_frames):4.0%} | {', '.join(self.describe(frames, updates))}")
            self._print_changes(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the last state of the bar on the terminal."""
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Close the bar."""
        self._close()

    def _print_changes(self, trainer: Trainer) -> None:
        """Print the scores and the faults below a plain line, each only if it has changed."""
        scores, faults = self._below(trainer, _WIDTH - len(_INDENT))
        texts = (textwrap.indent("\n".join(scores), _INDENT), textwrap.indent("\n".join(faults), _INDENT))
        for text, before in zip(texts, self._printed, strict=True):
            if text and text != before:
                self.print(text)
        self._printed = texts

    def _below(self, trainer: Trainer, width: int) -> tuple[list[str], list[str]]:
        """Return the lines of the latest scores, and of the episodes cut short by faults in this process."""
        cut_short = datamodule_of(trainer).cut_short
        faults = [f"episodes cut short by faults of the world: {cut_short:,}"] if cut_short else []
        return score_lines(trainer.callback_metrics, width), faults

    def describe(self, frames: int, updates: int) -> tuple[str, str]:
        """Return two texts: frames with their rate and the remaining time; updates with their rate."""
        frames_per_s, updates_per_s = self._throughput.speeds()
        left_s = (self.total_frames - frames) / frames_per_s if frames_per_s > 0 else None
        return (
            f"{frames:,} frames ({frames_per_s:,.0f}/s), {clock(left_s)} left",
            f"{updates:,} updates ({updates_per_s:.1f}/s)",
        )

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print above the bar; `Trainer.print` also calls this."""
        if self._bar is not None:
            self._bar.console.print(*args, highlight=False, markup=False)
        elif self._enabled:
            print(*args, flush=True, **kwargs)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _counts(trainer: Trainer, module: LightningModule) -> tuple[int, int]:
    return datamodule_of(trainer).frames, algorithm_of(module).updates


def score_lines(metrics: Any, width: int) -> list[str]:
    """Wrap `latest_scores` to lines of at most `width` characters."""
    return textwrap.wrap(latest_scores(metrics), width, break_on_hyphens=False)


def latest_scores(metrics: Any) -> str:
    """Return, for example, ``win rate training: 0.71, 6: 0.62``, or returns; empty before the first evaluation."""
    scored = [name.removeprefix("eval/score_") for name in metrics if name.startswith("eval/score_")]
    winnable = any(name.startswith("eval/win_rate_") for name in metrics)
    measure, places = ("win rate", 2) if winnable else ("return", 1)
    scores = ", ".join(f"{name}: {float(metrics[f'eval/score_{name}']):.{places}f}" for name in scored)
    return f"{measure} {scores}" if scored else ""


def clock(seconds: float | None) -> str:
    """Format seconds as minutes and seconds, with hours if there are any; None as dashes."""
    if seconds is None:
        return "--:--"
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
