"""The on-policy datamodule: rounds of whole episodes of the present policy, each learned from once and thrown away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from tensordict import TensorDictBase
from torch import Tensor

from datamodules.collection import CollectionDataModule
from datamodules.episodes import trim
from datamodules.sources import StepSource
from mipi_pl import spec as keys
from mipi_pl.checks import require
from mipi_pl.envs.base import EntityEnv


class OnPolicyDataModule(CollectionDataModule):
    """Each batch is a round: every environment starts anew and plays the same number of whole episodes.

    So each episode was played by one policy from its first step, recurrence included, and short episodes are not taken
    more often than long ones, as they would be if the first to end were taken. Environments that are done first play
    on until the last one is; these steps are counted as frames and not learned from.

    Args:
        make_env: factory of the training environments; takes num_envs and seed.
        num_envs: B, environments stepped at once.
        seed: of environments and exploration.
        episodes_per_env: episodes of each environment in a round; a batch has num_envs times as many.
        steps_per_collection: environment steps between two looks for finished episodes.
        updates_per_epoch: length of a Lightning epoch, in rounds.

    Attributes:
        episodes: episodes learned from.

    Raises:
        ValueError: for values out of range.
    """

    on_policy = True

    def __init__(
        self,
        make_env: Callable[..., EntityEnv],
        num_envs: int = 32,
        seed: int = 0,
        episodes_per_env: int = 4,
        steps_per_collection: int = 8,
        updates_per_epoch: int = 100,
    ) -> None:
        super().__init__(make_env, num_envs, seed, steps_per_collection, updates_per_epoch)
        require("datamodule.episodes_per_env", episodes_per_env, 1)
        self.episodes_per_env = episodes_per_env
        self._idle = 0.0

    def collection_metrics(self) -> dict[str, float]:
        """Share of the last round's steps that are not learned from: played while other environments were not done."""
        return {"idle": self._idle}

    def next_batch(self) -> TensorDictBase:
        """Play a round; [num_envs * episodes_per_env] episodes, trimmed."""
        self.at_rest()
        self._start_anew()
        before, played = self.frames, torch.zeros(self.env.num_envs, dtype=torch.int64)
        taken: list[TensorDictBase] = []
        while (played < self.episodes_per_env).any():
            steps = self.source.next(epsilon=0.0)
            self.frames += steps.numel()
            episodes = self._assembler.add(steps)
            if episodes is not None:
                # In the order in which the assembler hands them out.
                environments = steps.get(("next", keys.DONE)).squeeze(-1).t().nonzero()[:, 1]
                taken.append(episodes[self._within_round(environments, played)])
        whole: TensorDictBase = torch.cat(taken)
        self.count(whole)
        self.agree([self._own_episodes])
        self.batches += 1
        self._idle = 1.0 - int(whole.get(keys.VALID).sum()) / (self.frames - before)
        return trim(whole, self.env.entity_spec.n_agents)

    def _start_anew(self) -> None:
        self.source.restart()
        self._assembler.drop()

    def _within_round(self, environments: Tensor, played: Tensor) -> Tensor:
        """Whether each of the episodes that ended belongs to the round; counts them in `played`."""
        belongs = torch.zeros(len(environments), dtype=torch.bool)
        for k, environment in enumerate(environments.tolist()):
            belongs[k] = played[environment] < self.episodes_per_env
            played[environment] += 1
        return belongs

    def under_way(self, source: StepSource) -> dict[str, Any]:
        """Environments and policy: between two rounds no episode is under way."""
        return {name: part for name, part in source.state_dict().items() if name != "observation"}
