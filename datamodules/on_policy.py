"""The on-policy datamodule: rollouts of the current policy, each discarded after its update."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tensordict import TensorDictBase

from mipi_pl import distributed
from mipi_pl import spec as keys
from mipi_pl.datamodules.collection import CollectionDataModule
from mipi_pl.datamodules.episodes import number_of_faults
from mipi_pl.datamodules.rollouts import RolloutCutter
from mipi_pl.envs.base import MakeEnv
from mipi_pl.utils.checks import LOST_AFTER_S, require


class OnPolicyDataModule(CollectionDataModule):
    """Yields rollouts of a fixed number of steps per environment; each continues where the previous one stopped.

    No environment waits for another. An episode that is still running at the end of a rollout is cut there: its first
    part is bootstrapped with the value of the observation at the cut, and the next rollout begins with the rest.

    Nothing is learned from a sequence in which the world failed.

    Args:
        rollout_steps: T, steps of each environment in a batch.

    Other arguments and attributes: see `CollectionDataModule`.

    Raises:
        ValueError: if a value is out of range.
    """

    on_policy = True
    _assembler: RolloutCutter

    def __init__(
        self,
        make_env: MakeEnv,
        num_envs: int = 64,
        seed: int = 0,
        rollout_steps: int = 64,
        updates_per_epoch: int = 100,
        collector: str = "inline",
        workers: int = 2,
        max_faults: int = 100,
        lost_after_s: float = LOST_AFTER_S,
        curriculum: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        require("datamodule.rollout_steps", rollout_steps, 1)
        super().__init__(
            make_env,
            num_envs=num_envs,
            seed=seed,
            steps_per_collection=rollout_steps,
            updates_per_epoch=updates_per_epoch,
            collector=collector,
            workers=workers,
            max_faults=max_faults,
            lost_after_s=lost_after_s,
            curriculum=curriculum,
        )
        self._assembler = RolloutCutter(num_envs, self.env.entity_spec)

    def next_batch(self) -> TensorDictBase:
        """Collect a rollout and return its [N] sequences of up to T steps, ordered by environment and time.

        Raises:
            DivergedError: if the policy is no longer finite in any process.
            TooManyFaultsError: if the world has failed too often in any process.
            WorkerError: if a worker died.
        """
        batches: list[TensorDictBase] = []

        def play() -> int:
            self.begin_stage(self.frames)
            steps = self.source.next(epsilon=0.0)
            self.frames += steps.numel() * distributed.size()
            self.count_faults(number_of_faults(steps))
            batch, finished = self._assembler.cut(steps)
            self.count(finished)
            batches.append(batch)
            return self._own_episodes

        while True:
            self.rest()
            self.source.refresh()  # workers act with a copy of the policy
            self.agree(distributed.run_and_gather(play))
            if distributed.any_rank(bool(batches[-1].get(keys.VALID).any())):
                break  # else the world has failed in every sequence, and nothing can be learned from
        self.batches += 1
        return batches[-1]
