"""Schedule of the target network updates; the algorithm owns the networks."""

from __future__ import annotations

from typing import Any

from lightning import Callback, LightningModule, Trainer

from mipi_pl.algorithms.base import algorithm_of
from mipi_pl.datamodule import datamodule_of
from mipi_pl.utils.checks import require


class TargetUpdate(Callback):
    """Copies the networks to their target networks every `every_episodes` collected episodes.

    Args:
        every_episodes: collected episodes between two copies; 200 in the paper.

    Raises:
        ValueError: if `every_episodes` is not positive.
    """

    refreshes_targets = True

    def __init__(self, every_episodes: int = 200) -> None:
        require("callbacks.target_update.every_episodes", every_episodes, 1)
        self.every_episodes = every_episodes
        self.last_update = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update the targets if enough episodes were collected since the last update."""
        episodes = datamodule_of(trainer).episodes
        if episodes - self.last_update >= self.every_episodes:
            algorithm_of(pl_module).update_targets()
            self.last_update = episodes

    def state_dict(self) -> dict[str, Any]:
        """Return the episode count at the last update."""
        return {"last_update": self.last_update}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the episode count at the last update."""
        self.last_update = state_dict["last_update"]
