"""Loggers that need more than a `_target_` and arguments."""

from __future__ import annotations

import csv
import netrc
import os
import socket
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TextIO, TypeVar

import wandb
from lightning.fabric.loggers.csv_logs import _ExperimentWriter
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger

from mipi_pl.files import appending, replacing

AnyLogger = TypeVar("AnyLogger", bound=Logger)


class _KeepingWriter(_ExperimentWriter):
    """Lightning's deletes the file that it finds, which a resumed run still needs if it is killed again.

    And where the disk is full it would leave half a row, or nothing of the rows from before a new column.
    """

    def _check_log_dir_exists(self) -> None:
        """Whatever is there stays; `ResumableCSVLogger.restore` decides what of it is valid."""

    def save(self) -> None:
        """Write the rows that are not written yet.

        Raises:
            OSError: if that fails: the file is as it was, and the rows wait for the next time.
        """
        if not self.metrics:
            return
        path, known = Path(self.metrics_file_path), list(self.metrics_keys)
        new = self._record_new_keys()
        try:
            if new and path.is_file():
                with path.open(newline="", encoding="utf-8") as file:
                    earlier = list(csv.DictReader(file))
                with replacing(path) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
                    self._write(file, [*earlier, *self.metrics], header=True)
            else:
                header = not path.is_file()
                with appending(path) as file:
                    self._write(file, self.metrics, header)
        except OSError:
            self.metrics_keys = known
            raise
        self.metrics = []

    def _write(self, file: TextIO, rows: list[dict[str, Any]], header: bool) -> None:
        writer = csv.DictWriter(file, fieldnames=self.metrics_keys)
        if header:
            writer.writeheader()
        writer.writerows(rows)


class ResumableCSVLogger(CSVLogger):
    """Lightning's, which can be put back to an earlier content; for the first process, which alone writes.

    Args:
        save_dir: the run folder; ``metrics.csv`` is written straight into it.
    """

    def __init__(self, save_dir: str) -> None:
        super().__init__(save_dir, name="", version="", flush_logs_every_n_steps=1)

    @property
    @rank_zero_experiment
    def experiment(self) -> _ExperimentWriter:
        """The writer of ``metrics.csv``."""
        if self._experiment is None:
            self._experiment = _KeepingWriter(self.log_dir)
        return self._experiment

    def content(self) -> dict[str, Any]:
        """All that was logged.

        Raises:
            OSError: if some of it cannot be written.
        """
        self.experiment.save()
        path = Path(self.experiment.metrics_file_path)
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        return {"text": text, "columns": list(self.experiment.metrics_keys)}

    def restore(self, content: dict[str, Any]) -> None:
        """Go on from what `content` gave."""
        self.experiment.metrics_keys = list(content["columns"])
        if content["text"]:
            Path(self.experiment.metrics_file_path).write_text(content["text"], encoding="utf-8")


def going_on(logger: AnyLogger, name: str, say: Callable[[str], None] = print) -> AnyLogger:
    """The same logger, which does not end training when it fails: that is said once, and tried again at each row.

    Args:
        logger: any of Lightning's.
        name: for the message.
        say: what the user is told goes here.
    """
    told: list[str] = []

    def caught(method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def call(*arguments: Any, **options: Any) -> Any:
            try:
                return method(*arguments, **options)
            except Exception as error:  # whatever a library of somebody else raises, it is not about learning
                if not told:
                    told.append(name)
                    kept = "; its rows are kept until it works again" if isinstance(logger, CSVLogger) else ""
                    say(f"logger {name} failed ({type(error).__name__}: {error}); training goes on{kept}")
                return None

        return call

    for method in ("log_metrics", "log_hyperparams", "log_graph", "save", "finalize"):
        setattr(logger, method, caught(getattr(logger, method)))
    return logger


MODES = ("auto", "online", "offline")


def wandb_logger(save_dir: str, project: str, name: str, mode: str = "auto") -> WandbLogger:
    """Weights & Biases, offline where it cannot be reached.

    Args:
        save_dir: the run folder.
        project: of Weights & Biases.
        name: of the run.
        mode: ``online``, ``offline``, or ``auto``: offline when there is no key or no network, with one line that says
            so and how to send the run later.

    Raises:
        ValueError: for another mode.
    """
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
    if wandb.run is not None:
        wandb.finish()  # an earlier run of this process, as in a multirun; the new one would be written into it
    reason = _why_offline() if mode == "auto" else None
    if reason:
        print(
            f"wandb: {reason}, so this run is logged offline; send it with: wandb sync {save_dir}/wandb/offline-run-*"
        )
    os.environ.setdefault("WANDB_SILENT", "true")  # its own banner would drown the progress lines
    return WandbLogger(project=project, name=name, save_dir=save_dir, offline=mode == "offline" or reason is not None)


def _why_offline() -> str | None:
    if os.environ.get("WANDB_MODE") in ("offline", "disabled"):
        return f"WANDB_MODE is {os.environ['WANDB_MODE']}"
    host = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai").split("//")[-1].split("/")[0].split(":")[0]
    if not os.environ.get("WANDB_API_KEY") and not _in_netrc(host):
        return "no key (set WANDB_API_KEY or run `wandb login`)"
    try:
        socket.create_connection((host, 443), timeout=3).close()
    except OSError:
        return f"{host} cannot be reached"
    return None


def _in_netrc(host: str) -> bool:
    try:
        return netrc.netrc().authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
