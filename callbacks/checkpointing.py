"""Checkpoints that are whole or not there at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException


class Checkpointing(Callback):
    """``checkpoints/last.ckpt`` every `every_frames` and at every kind of end, ``checkpoints/best.ckpt`` by a metric.

    A file is written beside its place and then renamed, so a run that is killed leaves the one before.
    The reported results are those of the last one: choosing by what is reported would be dishonest.

    Args:
        every_frames: environment steps between two checkpoints.
        monitor: metric of which the largest value makes the best checkpoint (the first one among equals);
            null writes no best.ckpt.

    Raises:
        ValueError: if `every_frames` is not positive.
    """

    def __init__(self, every_frames: int, monitor: str | None = None) -> None:
        super().__init__()
        if every_frames < 1:
            raise ValueError(f"every_frames must be at least 1, got {every_frames}")
        self.every_frames, self.monitor = every_frames, monitor
        self.best: float | None = None
        self._next = every_frames

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any) -> None:
        """Save what is due."""
        self._save_best(trainer)
        frames: int = trainer.datamodule.frames * trainer.world_size  # type: ignore[attr-defined]
        if trainer.strategy.reduce_boolean_decision(frames >= self._next, all=False):
            self._next = (frames // self.every_frames + 1) * self.every_frames
            self.save(trainer, "last.ckpt")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The last one."""
        self.save(trainer, "last.ckpt")

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Keep what was learned when training is interrupted; after an error, the checkpoint before it is kept."""
        if trainer.world_size == 1 and isinstance(exception, (KeyboardInterrupt, SIGTERMException)):
            self.save(trainer, "last.ckpt")

    def save(self, trainer: Trainer, name: str) -> Path:
        """Write the checkpoint under a temporary name and rename it."""
        path = Path(trainer.default_root_dir) / "checkpoints" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{name}.unfinished")
        trainer.save_checkpoint(unfinished, weights_only=False)  # all ranks take part, the first one writes
        if trainer.is_global_zero:
            os.replace(unfinished, path)
        return path

    def _save_best(self, trainer: Trainer) -> None:
        value = trainer.callback_metrics.get(self.monitor) if self.monitor else None
        if value is not None and (self.best is None or float(value) > self.best):
            self.best = float(value)
            self.save(trainer, "best.ckpt")

    def state_dict(self) -> dict[str, Any]:
        """The schedule and the best value so far."""
        return {"next": self._next, "best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The schedule and the best value so far."""
        self._next, self.best = state_dict["next"], state_dict["best"]
