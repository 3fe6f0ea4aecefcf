"""Metrics of the collecting policy, which explores and is therefore weaker than the greedy policy in evaluations."""

from __future__ import annotations

import time
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from tensordict import TensorDictBase

from mipi_pl import distributed
from mipi_pl.callbacks.progress import Throughput
from mipi_pl.datamodule import datamodule_of
from mipi_pl.utils.checks import require


class CollectionMetrics(Callback):
    """Logs win rate (if the environment has one), return and length of the collected episodes, counts and speeds.

    The episodes of all processes are included. ``collect/cut_short`` is the number of episodes that environment faults
    have ended since the run began.

    Args:
        every_updates: updates between two rows; the means are over the episodes collected since the previous row.

    Raises:
        ValueError: if `every_updates` is not positive.
    """

    def __init__(self, every_updates: int = 50) -> None:
        super().__init__()
        require("callbacks.collection.every_updates", every_updates, 1)
        self.every_updates = every_updates
        self._throughput = Throughput()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock for the speeds."""
        self._throughput.update(time.monotonic(), datamodule_of(trainer).frames, trainer.global_step)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any) -> None:
        """Log the metrics since the previous row every `every_updates` updates."""
        if trainer.global_step % self.every_updates:
            return
        data = datamodule_of(trainer)
        metrics = {"frames": float(data.frames), "episodes": float(data.episodes)}
        self._throughput.update(time.monotonic(), data.frames, trainer.global_step)
        metrics |= dict(zip(("speed/frames_per_s", "speed/updates_per_s"), self._throughput.speeds(), strict=True))
        metrics |= {f"collect/{name}": float(value) for name, value in data.collection_metrics().items()}
        processes = distributed.gather((data.finished(), data.cut_short))
        metrics["collect/cut_short"] = float(sum(cut_short for _, cut_short in processes))
        finished = [summary for summaries, _ in processes for summary in summaries]
        if finished:
            episodes: TensorDictBase = torch.cat(finished)
            if data.env.winnable:
                metrics["collect/win_rate"] = float(episodes["won"].float().mean())
            metrics["collect/return"] = float(episodes["return_"].mean())
            metrics["collect/length"] = float(episodes["length"].float().mean())
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=trainer.global_step)
