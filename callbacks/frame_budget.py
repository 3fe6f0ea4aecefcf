"""The end of training after a number of environment steps."""

from __future__ import annotations

from typing import Any

from lightning import Callback, LightningModule, Trainer

from mipi_pl.datamodule import datamodule_of
from mipi_pl.utils.checks import require


class FrameBudget(Callback):
    """Stops training after the update in which the collected environment steps reach `total_frames`.

    Steps are collected in whole batches, so the final count can exceed the budget by less than one batch. A replay also
    completes its warm-up: the first update needs its episodes, however many steps they have.

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
        self._at_last_update: int | None = None  # frames collected

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop at once if a resumed run had reached its budget in its last update.

        A checkpoint may have been written after the collection that reaches the budget and before its update.
        """
        if self._at_last_update is None:  # a new run, or a checkpoint from before version 0.2.0
            self._at_last_update = datamodule_of(trainer).frames
        self._stop_if_enough(trainer)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any) -> None:
        """Stop if the budget is reached."""
        self._at_last_update = datamodule_of(trainer).frames
        self._stop_if_enough(trainer)

    def _stop_if_enough(self, trainer: Trainer) -> None:
        if self._at_last_update is not None and self._at_last_update >= self.total_frames:
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        """Return the number of frames at the end of the last update."""
        return {"at_last_update": self._at_last_update}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the number of frames at the end of the last update."""
        self._at_last_update = state_dict["at_last_update"]
