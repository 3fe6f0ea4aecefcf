"""Training ends after a number of environment steps."""

from __future__ import annotations

from typing import Any

from lightning import Callback, LightningModule, Trainer

from mipi_pl.datamodule import datamodule_of
from mipi_pl.utils.checks import require


class FrameBudget(Callback):
    """Stop after the update in which the collected environment steps reach `total_frames`.

    Steps are collected in whole batches, so the count may end above the budget by less than one batch.

    Args:
        total_frames: environment steps, counted by ``datamodule.frames``.

    Raises:
        ValueError: if `total_frames` is not positive.
    """

    def __init__(self, total_frames: int) -> None:
        super().__init__()
        require("total_frames", total_frames, 1)
        self.total_frames = total_frames

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A resumed run may have reached its end already."""
        self._stop_if_enough(trainer)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any) -> None:
        """Look at the count."""
        self._stop_if_enough(trainer)

    def _stop_if_enough(self, trainer: Trainer) -> None:
        if datamodule_of(trainer).frames >= self.total_frames:
            trainer.should_stop = True
