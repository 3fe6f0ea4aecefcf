"""Linear decay of the learning rates over the frame budget."""

from __future__ import annotations

from typing import Any

from lightning import Callback, LightningModule, Trainer

from mipi_pl.datamodule import datamodule_of
from mipi_pl.utils.checks import require


class AnnealLearningRate(Callback):
    """Lower every optimizer's learning rate in a straight line to a share of where it began.

    The rate depends on the frames collected alone, so a run that is continued finds its place again.

    Args:
        total_frames: environment steps over which the rate falls.
        final_share: of the first rate, at the end; 1 keeps it constant, as the paper does.

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
