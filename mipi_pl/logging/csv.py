"""The CSV logger of a run: metrics.csv, which a resumed run continues."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, TextIO

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger

from mipi_pl.storage.files import appending, replacing
from mipi_pl.utils.compat import CSVWriter


class _KeepingWriter(CSVWriter):
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
        except BaseException:
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
    def experiment(self) -> CSVWriter:
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
        path = Path(self.experiment.metrics_file_path)
        if not content["text"]:
            path.unlink(missing_ok=True)  # all its rows are of updates that were lost
            return
        with replacing(path) as unfinished:
            unfinished.write_text(content["text"], encoding="utf-8")
