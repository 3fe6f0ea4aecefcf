"""What a checkpoint holds of a run besides the learner and the data: config, random states, log files, time."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer

from mipi_pl import distributed
from mipi_pl.datamodule import datamodule_of
from mipi_pl.logging.csv import ResumableCSVLogger
from mipi_pl.run.config import Config
from mipi_pl.storage import provenance, run_folder
from mipi_pl.storage.checkpoint_file import RECORD
from mipi_pl.storage.files import replacing


class RunState(Callback):
    """Writes config and provenance into every checkpoint, and all that makes a resumed run the same run.

    Args:
        config: of the run.
        folder: of the run.

    Attributes:
        provenance: command, commit, versions and machine; of a resumed run, those of its first process.
        resumed_at: number of updates at which it was resumed, each time.
        started: whether training has begun, and all that was saved is restored.
        seconds: that earlier processes of this run trained.
    """

    def __init__(self, config: Config, folder: Path) -> None:
        self.provenance = provenance.provenance()
        self.resumed_at: list[int] = []
        self._config, self._folder = config, folder
        self._start_s, self._start_processor_s = time.monotonic(), time.process_time()
        self._resumed: dict[str, Any] | None = None
        self.seconds = self._earlier_processor_s = 0.0
        self.started = False

    def processor_seconds(self) -> float:
        """That the processors have worked for this run so far, in the first of several processes."""
        return self._earlier_processor_s + time.process_time() - self._start_processor_s

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell the loggers what runs; beside metrics.csv there is config.yaml."""
        for logger in trainer.loggers:
            if not isinstance(logger, ResumableCSVLogger):
                logger.log_hyperparams({**self._config, **self.provenance})

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the record."""
        checkpoint[RECORD] = {
            "config": self._config,
            **self.provenance,
            "resumed_at": self.resumed_at,
            "frames": datamodule_of(trainer).frames,
            "updates": int(pl_module.updates),  # type: ignore[arg-type]
            "seconds": self.seconds + time.monotonic() - self._start_s,
            "processor_seconds": self.processor_seconds(),
            "processes": distributed.size(),
            "random": distributed.join_states(random_states()),
            # By the first process, since where it fails, as on a full disk, no process may wait for it further on.
            **distributed.by_first(lambda: self._logs(trainer)),
        }

    def _logs(self, trainer: Trainer) -> dict[str, Any]:
        evaluations = self._folder / run_folder.EVALUATIONS
        return {
            "evaluations": evaluations.read_text(encoding="utf-8") if evaluations.is_file() else "",
            "metrics": [log.content() for log in _csv_logs(trainer)],
        }

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Put the log files back to where they were; rows that were written later belong to updates that were lost."""
        self._resumed = found = checkpoint[RECORD]
        self.seconds = found["seconds"]
        self._earlier_processor_s = found.get("processor_seconds", 0.0)  # older checkpoints have none
        self.provenance = {key: found[key] for key in self.provenance}
        self.resumed_at = [*found["resumed_at"], found["updates"]]
        if not trainer.is_global_zero:
            return
        with replacing(self._folder / run_folder.EVALUATIONS) as unfinished:
            unfinished.write_text(found["evaluations"], encoding="utf-8")
        for log, content in zip(_csv_logs(trainer), found["metrics"], strict=True):
            log.restore(content)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Last of all: making the parts has drawn random numbers."""
        self.started = True
        if self._resumed is not None:
            set_random_states(distributed.own_state(self._resumed["random"]))
        elif distributed.rank():
            torch.manual_seed(distributed.rank_seed(self._config["seed"]))


def _csv_logs(trainer: Trainer) -> list[ResumableCSVLogger]:
    """None but on the first process, which alone writes them."""
    return [log for log in trainer.loggers if isinstance(log, ResumableCSVLogger) and trainer.is_global_zero]


def random_states() -> dict[str, Any]:
    """Of Python, NumPy, PyTorch and its devices, in plain types."""
    kind, numbers, *rest = np.random.get_state()  # noqa: NPY002  # what libraries may use
    return {
        "python": random.getstate(),
        "numpy": [kind, torch.from_numpy(np.asarray(numbers, dtype=np.int64)), *rest],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_states(states: dict[str, Any]) -> None:
    """Go on drawing from there; the devices only if there are as many."""
    random.setstate(states["python"])
    kind, numbers, *rest = states["numpy"]
    np.random.set_state((kind, numbers.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(states["torch"])
    if torch.cuda.is_available() and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])
