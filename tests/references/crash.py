"""Callbacks that disturb or observe a run; one of them ends it like a kill, before other callbacks can save."""

from __future__ import annotations

import json
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import torch
from lightning import Callback
from lightning.pytorch.loggers import Logger

from mipi_pl.cli import main


def no_picture(path: Path, title: str, evaluations: Any, policies: Any, **_: Any) -> None:
    """Draws nothing, for runs of which the picture is tested elsewhere: it takes as long as 10 updates."""


class KilledError(Exception):
    """As if the process were gone."""


class Crash(Callback):
    """Dies after the updates in `at`, once each; set by the test on the class, so that a resumed run goes on."""

    at: ClassVar[list[int]] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any, **__: Any) -> None:
        if self.at and pl_module.updates >= self.at[0]:
            Crash.at = self.at[1:]
            raise KilledError


def train_once(root: Path, *overrides: str) -> tuple[int, Path]:
    """Train; exit code and run folder."""
    code = main(["train", *overrides, f"output_dir={root}"])
    (folder,) = root.glob("*__*/*")
    return code, folder


def train_to_the_end(root: Path, *overrides: str) -> Path:
    """Train, and resume after each `Crash` until the run is finished; the run folder."""
    with suppress(KilledError):
        assert main(["train", *overrides, f"output_dir={root}"]) == 0
    (folder,) = root.glob("*__*/*")
    resume_to_the_end(folder)
    return folder


def resume_to_the_end(folder: Path) -> None:
    """Resume as often as it takes."""
    while not (folder / "results.json").exists():
        with suppress(KilledError):
            assert main(["resume", str(folder)]) == 0


class Impatient(Callback):
    """Presses Ctrl-C twice during an update."""

    def __init__(self, update: int) -> None:
        super().__init__()
        self.update = update

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any, **__: Any) -> None:
        if pl_module.updates == self.update:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)


class Event(Callback):
    """Says when a number of updates is reached; the test decides what happens then."""

    after: ClassVar[int] = 0
    happened: ClassVar[bool] = False

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any, **__: Any) -> None:
        if pl_module.updates == self.after:
            Event.happened = True


class WorkerKiller(Callback):
    """Kills a worker process after an update, as a machine that runs out of memory does."""

    after: ClassVar[int] = 0

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any, **__: Any) -> None:
        if pl_module.updates == self.after:
            (worker,) = (
                trainer.datamodule._source._collector.procs
            )  # other tests may have left children of this process
            os.kill(worker.pid, signal.SIGKILL)


class LostLogger(Logger):
    """Works for a while, then its service is gone."""

    rows: ClassVar[int] = 0

    @property
    def name(self) -> str:
        return "lost"

    @property
    def version(self) -> str:
        return "0"

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        pass

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        LostLogger.rows += 1
        if LostLogger.rows > 5:
            raise ConnectionError("the service is gone")

    def finalize(self, status: str) -> None:
        raise ConnectionError("the service is gone")


class Poison(Callback):
    """Makes a parameter not a number after the twentieth update."""

    def __init__(self, parameter: str) -> None:
        super().__init__()
        self.parameter = parameter

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any, **__: Any) -> None:
        if pl_module.updates == 20:
            pl_module.get_parameter(self.parameter).data.fill_(float("nan"))


class Fingerprint(Callback):
    """At the end every process writes what it has learned and what it has seen."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.folder = Path(folder)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        networks = torch.cat([p.detach().flatten().double() for p in pl_module.parameters()])
        data = trainer.datamodule
        content = {
            "networks": networks.tolist(),
            "seen": data._buffer[:]["composition"].tolist(),
            "updates": pl_module.updates,
            "frames": data.frames,
            "episodes": data.episodes,
            "stored": data._own_episodes,
        }
        (self.folder / f"rank_{trainer.global_rank}.json").write_text(json.dumps(content))


class Stop(Callback):
    """Asks one process to terminate after an update, as a cluster does."""

    number: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self, rank: int, update: int) -> None:
        super().__init__()
        self.rank, self.update = rank, update

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any, **__: Any) -> None:
        if trainer.global_rank == self.rank and pl_module.updates == self.update:
            os.kill(os.getpid(), self.number)
