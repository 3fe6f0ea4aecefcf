"""How the policy that collects does: it explores, so it is weaker than the greedy one that is evaluated."""

from __future__ import annotations

import time
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from tensordict import TensorDictBase

from callbacks.progress import Throughput
from mipi_pl import distributed
from mipi_pl.datamodule import datamodule_of
from mipi_pl.utils.checks import require


class CollectionMetrics(Callback):
    """Log win rate (where something is won), return length of the collected episodes, how many there were, and speeds.

    Of several processes, the episodes of all count. ``collect/cut_short`` is how many episodes faults of the world have
    ended since the run began.

    Args:
        every_updates: updates between two rows; the means are over the episodes collected since the last one.

    Raises:
        ValueError: if `every_updates` is not positive.
    """

    def __init__(self, every_updates: int = 50) -> None:
        super().__init__()
        require("callbacks.collection.every_updates", every_updates, 1)
        self.every_updates = every_updates
        self._throughput = Throughput()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """From here the clock runs."""
        self._throughput.update(time.monotonic(), datamodule_of(trainer).frames, trainer.global_step)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any) -> None:
        """Log what has been collected since the last row, if it is time."""
        if trainer.global_step % self.every_updates:
            return
        data = datamodule_of(trainer)
        metrics = {"frames": float(data.frames), "episodes": float(data.episodes)}
        self._throughput.update(time.monotonic(), data.frames, trainer.global_step)
        metrics |= dict(zip(("speed/frames_per_s", "speed/updates_per_s"), self._throughput.speeds(), strict=True))
        metrics |= {f"collect/{name}": float(value) for name, value in data.collection_metrics().items()}
        of_all = distributed.gather((data.finished(), data.cut_short))
        metrics["collect/cut_short"] = float(sum(cut_short for _, cut_short in of_all))
        finished = [summary for summaries, _ in of_all for summary in summaries]
        if finished:
            episodes: TensorDictBase = torch.cat(finished)
            if data.env.winnable:
                metrics["collect/win_rate"] = float(episodes["won"].float().mean())
            metrics["collect/return"] = float(episodes["return_"].mean())
            metrics["collect/length"] = float(episodes["length"].float().mean())
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=trainer.global_step)
