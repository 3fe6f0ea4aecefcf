"""Linear decay of the learning rates over the frame budget."""

from __future__ import annotations

from typing import Any

from lightning import Callback, LightningModule, Trainer

from mipi_pl.datamodule import datamodule_of
from mipi_pl.utils.checks import require


class AnnealLearningRate(Callback):
    """Lowers every optimizer's learning rate linearly to a share of its initial value.

    The rate depends only on the frames collected, so a resumed run continues with the right one.

    Args:
        total_frames: environment steps over which the rate falls.
        final_share: final rate as a share of the initial one; 1 keeps it constant, as in the paper.

    Raises:
        ValueError: if a value is out of range.
    """

    def __init__(self, total_frames: int, final_share: float = 1.0) -> None:
        super().__init__()
        require("total_frames", total_frames, 1)
        require("callbacks.learning_rate.final_share", final_share, 0, 1, above=True)
        self.total_frames = total_frames
        self.final_share = final_share

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any) -> None:
        """Set the rate for this update."""
        frames = datamodule_of(trainer).frames
        share = 1.0 + (self.final_share - 1.0) * min(1.0, frames / self.total_frames)
        for optimizer in trainer.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = share * group.setdefault("initial_lr", group["lr"])
