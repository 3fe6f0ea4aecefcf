"""The end of training after a number of environment steps."""

from __future__ import annotations

from typing import Any

from lightning import Callback, LightningModule, Trainer

from mipi_pl.datamodule import datamodule_of
from mipi_pl.utils.checks import require


class FrameBudget(Callback):
    """Stops training after the update in which the collected environment steps reach `total_frames`.

    Steps are collected in whole batches, so the final count can exceed the budget by less than one batch.

    Args:
        total_frames: budget in environment steps, as counted by ``datamodule.frames``.

    Raises:
        ValueError: if `total_frames` is not positive.
    """

    ends_training = True

    def __init__(self, total_frames: int) -> None:
        super().__init__()
        require("total_frames", total_frames, 1)
        self.total_frames = total_frames

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop at once if a resumed run has already reached its budget."""
        self._stop_if_enough(trainer)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any) -> None:
        """Stop if the budget is reached."""
        self._stop_if_enough(trainer)

    def _stop_if_enough(self, trainer: Trainer) -> None:
        if datamodule_of(trainer).frames >= self.total_frames:
            trainer.should_stop = True
