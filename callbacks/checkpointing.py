"""Atomically written checkpoints from which a run resumes exactly."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer

from mipi_pl import distributed
from mipi_pl.algorithms.base import algorithm_of
from mipi_pl.callbacks.schedule import EveryFrames
from mipi_pl.datamodule import datamodule_of, needed_files
from mipi_pl.logging.hooks import call_hook
from mipi_pl.storage import sealed
from mipi_pl.storage.checkpoint_io import SealedCheckpointIO
from mipi_pl.storage.checkpoints import CheckpointFolder
from mipi_pl.storage.files import replacing
from mipi_pl.utils.checks import require
from mipi_pl.utils.errors import DivergedError, TooManyFaultsError

_WITHOUT_HELD_OUT = {"best-heldout.ckpt": "held_out/score"}
"""The metric that a run without held-out teams lacks for good reason, by file."""


class Checkpointing(Callback):
    """Writes ``checkpoints/update_*.ckpt`` every `every_frames` and when training ends, and the best by a metric.

    ``last.ckpt`` is the newest checkpoint. Checkpoints are written between two updates, when the previous update is
    complete, so a resumed run trains exactly as an uninterrupted one. If a checkpoint cannot be written, for example on
    a full disk, a message is printed, training continues and earlier checkpoints are kept. Several processes write one
    checkpoint: each writes the files of its own episodes, and the first writes everything else.

    The reported results are those of the last checkpoint, because selecting by the reported metric would bias them. For
    the same reason ``best.ckpt`` is selected on the training teams. ``best-heldout.ckpt`` is for inspection only: it is
    the luckiest of many evaluations.

    Args:
        every_frames: environment steps between two checkpoints.
        keep: number of newest checkpoints to keep; an older one is used if the newest is damaged.
        monitor: metric whose largest value selects ``best.ckpt`` (the first one if several are equal); None writes no
            ``best.ckpt``.
        monitor_held_out: the same for ``best-heldout.ckpt``.

    Attributes:
        stop_requested: set to True in any process to end training after the current update, with a checkpoint.
        lost_files: checkpoints that could not be written.
        owed_files: the checkpoint of the last update if it could not be written.

    Raises:
        ValueError: if a number is not positive.
    """

    def __init__(
        self, every_frames: int, keep: int = 2, monitor: str | None = None, monitor_held_out: str | None = None
    ) -> None:
        super().__init__()
        require("callbacks.checkpointing.every_frames", every_frames, 1)
        require("callbacks.checkpointing.keep", keep, 1)
        self.keep = keep
        self._schedule = EveryFrames(every_frames)
        monitors = {"best.ckpt": monitor, "best-heldout.ckpt": monitor_held_out}
        self._monitors = {file: metric for file, metric in monitors.items() if metric}
        self._best: dict[str, float] = {}
        # Values whose best checkpoint could not be written; it is not tried again until there is another value.
        self._failed: dict[str, float] = {}
        self.stop_requested = False
        self.lost_files: list[str] = []
        self.owed_files: list[str] = []
        self._written = ("", 0)  # file and frames

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Have Lightning add checksums to its checkpoints and check them."""
        trainer.strategy.checkpoint_io = SealedCheckpointIO()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Register with the datamodule to be called between updates."""
        datamodule_of(trainer).at_rest = lambda: self._at_rest(trainer)

    def _at_rest(self, trainer: Trainer) -> None:
        if distributed.any_rank(self.stop_requested):
            self.stop_requested = True
            raise KeyboardInterrupt
        if self._schedule.due(datamodule_of(trainer).frames):
            self.save(trainer)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any) -> None:
        """Write the best checkpoints if a monitored metric has improved, and pass them to loggers with `log_best`."""
        for file, metric in self._monitors.items():
            value = trainer.callback_metrics.get(metric)
            if value is not None and float(value) != self._failed.get(file):
                self._failed.pop(file, None)
                self._improve(trainer, file, float(value))

    def _improve(self, trainer: Trainer, file: str, value: float) -> None:
        former = self._best.get(file, -math.inf)
        if not value > former:  # nor is NaN an improvement
            return
        self._best[file] = value  # in the checkpoint too
        if not self._attempt(trainer, file, partial(self._write_best, trainer, file)):
            # The file holds the former best, which the next evaluation has to exceed.
            self._best[file], self._failed[file] = former, value
        elif trainer.is_global_zero:
            call_hook(trainer.loggers, "log_best", _folder(trainer).path / file, value)

    @staticmethod
    def _write_best(trainer: Trainer, file: str) -> None:
        path = _prepared(trainer).path / file
        if not trainer.is_global_zero:
            _dump(trainer, path)
            return
        with replacing(path) as unfinished:
            _dump(trainer, unfinished)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the last checkpoint, and tell of monitored metrics that no evaluation has."""
        self.save(trainer)
        if trainer.is_global_zero:
            for note in self._unknown_monitors(trainer.callback_metrics):
                trainer.print(note)

    def _unknown_monitors(self, metrics: Mapping[str, Any]) -> Iterator[str]:
        """Yield a note for each file whose metric is none of `metrics`, those of a run that was evaluated."""
        scores = [name for name in metrics if name.startswith("eval/score_")]
        for file, metric in self._monitors.items() if scores else ():
            if file not in self._best and metric not in (*metrics, _WITHOUT_HELD_OUT.get(file)):
                key = "monitor" if file == "best.ckpt" else "monitor_held_out"
                yield (
                    f"note: {file} was not written, because there is no metric {metric}: callbacks.checkpointing.{key} "
                    f"can be one of {', '.join(scores)} and the other metrics of evaluations"
                )

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Write a checkpoint if training was ended between two updates, as `_at_rest` and the datamodule do.

        After any other error, the previous checkpoint remains the newest.
        """
        requested = self.stop_requested and isinstance(exception, KeyboardInterrupt)
        if requested or isinstance(exception, TooManyFaultsError):
            self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        """Write a checkpoint; if that fails, print a message and keep the earlier ones.

        Raises:
            DivergedError: if a parameter is not finite; no checkpoint is written then.
        """
        distributed.run_and_gather(lambda: _count_finite(trainer.lightning_module))
        name = f"update_{algorithm_of(trainer.lightning_module).updates:09d}.ckpt"
        data = datamodule_of(trainer)
        if (name, data.frames) == self._written or self._relinked(trainer, name):
            self.owed_files = []
            return
        # The files of episodes are written before the checkpoint that refers to them.
        journal_written = self._attempt(trainer, name, data.write_journal)
        if journal_written and self._attempt(trainer, name, lambda: self._write_newest(trainer, name)):
            self._written, self.owed_files = (name, data.frames), []
        else:
            self.owed_files = [name]

    @staticmethod
    def _relinked(trainer: Trainer, name: str) -> bool:
        try:
            return distributed.on_first_rank(lambda: _folder(trainer).relink(name, datamodule_of(trainer).frames))
        except OSError:
            return False  # writing the checkpoint again has the same error and reports it

    def _write_newest(self, trainer: Trainer, name: str) -> None:
        needs = needed_files(trainer)
        folder = _prepared(trainer)
        if not trainer.is_global_zero:
            _dump(trainer, folder.path / name)
            return
        folder.add(name, datamodule_of(trainer).frames, needs, lambda path: _dump(trainer, path), self.keep)

    def _attempt(self, trainer: Trainer, name: str, write: Callable[[], None]) -> bool:
        """Return whether every process has written its part; if not, print the first error."""
        failure = None
        try:
            write()
        except (OSError, RuntimeError) as error:
            if not sealed.is_write_error(error):
                raise
            failure = str(error).partition("\n")[0]
        failures = [message for message in distributed.gather(failure) if message is not None]
        lost = [file for file in self.lost_files if file != name]
        self.lost_files = [*lost, name] if failures else lost
        if failures:
            trainer.print(f"checkpoint {name} not written ({failures[0]}); earlier checkpoints are kept")
        return not failures

    def state_dict(self) -> dict[str, Any]:
        """Return the schedule and the best values so far."""
        return {"next": self._schedule.next, "bests": self._best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the schedule and the best values so far."""
        self._schedule.next, self._best = state_dict["next"], dict(state_dict.get("bests", {}))


def _count_finite(module: LightningModule) -> int:
    parameters = dict(module.named_parameters())
    for key, parameter in parameters.items():
        if not parameter.isfinite().all():
            raise DivergedError(f"learning diverged: the parameter {key} is not finite")
    return len(parameters)


def _dump(trainer: Trainer, path: Path) -> None:
    """Save a checkpoint; all processes must call this, and the first one writes."""
    try:
        trainer.save_checkpoint(path, weights_only=False)
    except OSError:
        trainer.strategy.barrier()  # the other processes wait here for the writer
        raise


def _folder(trainer: Trainer) -> CheckpointFolder:
    return CheckpointFolder(Path(trainer.default_root_dir))


def _prepared(trainer: Trainer) -> CheckpointFolder:
    """Return the folder, or fail in every process: if the first failed alone, the others would wait in `_dump`."""
    folder = _folder(trainer)
    distributed.on_first_rank(folder.prepare)
    return folder
