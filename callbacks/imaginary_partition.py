"""Random imaginary partitions for each training batch (REFIL; section 4.3 of the paper)."""

from __future__ import annotations

from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from tensordict import TensorDictBase

from mipi_pl import distributed
from mipi_pl import spec as keys
from mipi_pl.algorithms.base import algorithm_of
from mipi_pl.losses.partition import draw_groups
from mipi_pl.utils.checks import require_seed


class ImaginaryPartition(Callback):
    """Adds as many random partitions to each batch as the algorithm uses.

    Args:
        seed: seed of the partitions; several processes derive different seeds from it.

    Raises:
        ValueError: if `seed` is no whole number from 0.
    """

    adds_partitions = True

    def __init__(self, seed: int = 0) -> None:
        require_seed(seed)
        self.seed = seed
        self.generator = torch.Generator().manual_seed(seed)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Seed the generator for this process, whose rank is known from here on."""
        self.generator.manual_seed(distributed.rank_seed(self.seed))

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: TensorDictBase, batch_idx: int
    ) -> None:
        """Add ``imaginary_groups`` [N, G, E] to `batch`."""
        entities = batch.get(keys.ENTITIES)
        count = algorithm_of(pl_module).partitions_per_batch
        groups = draw_groups(len(batch), count, entities.shape[2], self.generator)
        batch.set(keys.GROUPS, groups.transpose(0, 1).to(entities.device))

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the generator in each process."""
        return distributed.join_states({"generator": self.generator.get_state()})

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state of the generator."""
        self.generator.set_state(distributed.own_state(state_dict)["generator"])
