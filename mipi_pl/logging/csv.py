"""CSV logger whose ``metrics.csv`` a resumed run continues."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, TextIO

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger

from mipi_pl.storage.files import appending, replacing, with_csv_ends
from mipi_pl.utils.compat import CSVWriter


class _KeepingWriter(CSVWriter):
    """Writer that keeps an existing file and writes atomically.

    Lightning's writer deletes an existing file, which a resumed run still needs if it is killed again. On a full disk
    it would also leave half a row, or lose all earlier rows when a column is added.
    """

    def _check_log_dir_exists(self) -> None:
        """Keep existing files; `ResumableCSVLogger.restore` removes the rows that are no longer valid."""

    def save(self) -> None:
        """Write the rows that have not been written yet.

        Raises:
            OSError: if the file cannot be written; it is then unchanged, and the rows are kept for the next call.
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
    """Lightning's CSV logger, with a content that can be restored; only the first process writes.

    Args:
        save_dir: the run folder, which will contain ``metrics.csv``.
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
        """Return everything that was logged, after writing it.

        Raises:
            OSError: if the file cannot be written.
        """
        self.experiment.save()
        path = Path(self.experiment.metrics_file_path)
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        return {"text": text, "columns": list(self.experiment.metrics_keys)}

    def restore(self, content: dict[str, Any]) -> None:
        """Restore the file and columns returned by `content`."""
        self.experiment.metrics_keys = list(content["columns"])
        path = Path(self.experiment.metrics_file_path)
        if not content["text"]:
            path.unlink(missing_ok=True)  # all its rows belong to updates that were lost
            return
        with replacing(path) as unfinished:
            unfinished.write_text(with_csv_ends(content["text"]), encoding="utf-8", newline="")
