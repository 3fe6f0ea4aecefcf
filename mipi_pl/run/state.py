"""The state of a run in its checkpoints, apart from learner and data: config, random states, log files and times."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer

from mipi_pl import distributed
from mipi_pl.algorithms.base import algorithm_of
from mipi_pl.datamodule import datamodule_of, needed_files
from mipi_pl.logging.csv import ResumableCSVLogger
from mipi_pl.run.schema import Config
from mipi_pl.storage import provenance, run_folder
from mipi_pl.storage.checkpoint_file import RECORD
from mipi_pl.storage.files import replacing, with_csv_ends
from mipi_pl.storage.index import FORMAT
from mipi_pl.utils.errors import UserError


class RunState(Callback):
    """Saves config, provenance and the state that a resumed run needs to be identical to an uninterrupted one.

    Args:
        config: config of the run.
        folder: run folder.

    Attributes:
        provenance: command, commit, versions and machine; for a resumed run, those with which the run began.
        resumed_at: number of updates at each resumption.
        resumptions: number of updates, command, commit, versions and machine of each resumption; those in checkpoints
            of earlier versions are missing.
        seconds: wall-clock time in seconds that this run took before it was resumed.
        seconds_training: the same for training with the evaluations during it, without those before and after it.
            Resuming from a checkpoint of an older version counts those before it.
    """

    def __init__(self, config: Config, folder: Path) -> None:
        self.provenance = self._present = provenance.provenance()
        self.resumed_at: list[int] = []
        self.resumptions: list[dict[str, Any]] = []
        self._config, self._folder = config, folder
        self._start_s, self._start_processor_s = time.monotonic(), time.process_time()
        self._resumed: dict[str, Any] | None = None
        self.seconds = self.seconds_training = self._earlier_processor_s = 0.0
        self._training_start_s: float | None = None

    def processor_seconds(self) -> float:
        """Return the processor time in seconds of this run so far, including the time before it was resumed.

        It is the time of this process, without that of worker processes.
        """
        return self._earlier_processor_s + time.process_time() - self._start_processor_s

    @property
    def started(self) -> bool:
        """Whether training has started, and the saved state has been restored."""
        return self._training_start_s is not None

    def training_seconds(self) -> float:
        """Return the wall-clock time in seconds that training has taken so far, also before the run was resumed."""
        if self._training_start_s is None:
            return self.seconds_training
        return self.seconds_training + time.monotonic() - self._training_start_s

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Pass config and provenance to the loggers, except the CSV logger: config.yaml is next to metrics.csv."""
        for logger in trainer.loggers:
            if not isinstance(logger, ResumableCSVLogger):
                logger.log_hyperparams({**self._config, **self.provenance})

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the record of the run to the checkpoint."""
        checkpoint[RECORD] = {
            "config": self._config,
            **self.provenance,
            "resumed_at": self.resumed_at,
            "resumptions": self.resumptions,
            "frames": datamodule_of(trainer).frames,
            "updates": algorithm_of(pl_module).updates,
            "seconds": self.seconds + time.monotonic() - self._start_s,
            "seconds_training": self.training_seconds(),
            "processor_seconds": sum(distributed.gather(self.processor_seconds())),
            "processes": distributed.size(),
            # With these two, a damaged index can be rebuilt.
            "format": FORMAT,
            "needs": needed_files(trainer),
            "random": distributed.join_states(random_states()),
            # `on_first_rank` raises an error of the first process, such as a full disk, in all processes: none hangs.
            **distributed.on_first_rank(lambda: self._logs(trainer)),
        }

    def _logs(self, trainer: Trainer) -> dict[str, Any]:
        evaluations = self._folder / run_folder.EVALUATIONS
        return {
            "evaluations": evaluations.read_text(encoding="utf-8") if evaluations.is_file() else "",
            "metrics": [log.content() for log in _csv_logs(trainer)],
        }

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Restore the record and the log files; rows written after the checkpoint belong to lost updates.

        Raises:
            UserError: if a log file cannot be written.
        """
        self._resumed = record = checkpoint[RECORD]
        self.seconds = record["seconds"]
        self.seconds_training = record.get("seconds_training", self.seconds)  # missing in older checkpoints
        # The sum over the processes, which the first one keeps; missing in older checkpoints.
        self._earlier_processor_s = record.get("processor_seconds", 0.0) if distributed.rank() == 0 else 0.0
        self.provenance = {key: record[key] for key in self.provenance}
        self.resumed_at = [*record["resumed_at"], record["updates"]]
        self.resumptions = [*record.get("resumptions", []), {"updates": record["updates"], **self._present}]
        if not trainer.is_global_zero:
            return
        try:
            with replacing(self._folder / run_folder.EVALUATIONS) as unfinished:
                unfinished.write_text(with_csv_ends(record["evaluations"]), encoding="utf-8", newline="")
            for log, content in zip(_csv_logs(trainer), record["metrics"], strict=True):
                log.restore(content)
        except OSError as error:
            place = error.filename2 or error.filename or self._folder
            raise UserError(f"cannot write the logs of the run: {place} ({error.strerror or error})") from error

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the random states; this comes last, because building the parts draws random numbers."""
        self._training_start_s = time.monotonic()
        if self._resumed is not None:
            set_random_states(distributed.own_state(self._resumed["random"]))
        elif distributed.rank():
            torch.manual_seed(distributed.rank_seed(self._config["seed"]))


def _csv_logs(trainer: Trainer) -> list[ResumableCSVLogger]:
    """Return the CSV loggers, or an empty list if this is not the first process, which alone writes them."""
    return [log for log in trainer.loggers if isinstance(log, ResumableCSVLogger) and trainer.is_global_zero]


def random_states() -> dict[str, Any]:
    """Return the random states of Python, NumPy, PyTorch and its CUDA devices, in types that a checkpoint can store."""
    kind, numbers, *rest = np.random.get_state()  # noqa: NPY002  # libraries may use it
    return {
        "python": random.getstate(),
        "numpy": [kind, torch.from_numpy(np.asarray(numbers, dtype=np.int64)), *rest],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


@contextmanager
def random_states_kept() -> Iterator[None]:
    """Restore the global random generators of Python, NumPy and PyTorch afterwards."""
    states = random_states()
    try:
        yield
    finally:
        set_random_states(states)


def set_random_states(states: dict[str, Any]) -> None:
    """Restore what `random_states` returned; CUDA states are restored only if the number of devices is the same."""
    random.setstate(states["python"])
    kind, numbers, *rest = states["numpy"]
    np.random.set_state((kind, numbers.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(states["torch"])
    if torch.cuda.is_available() and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])
