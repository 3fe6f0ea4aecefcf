"""A training batch, named: from the replay's TensorDict to the tensors that losses and networks take."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from tensordict import TensorDictBase
from torch import Tensor

from mipi_pl import spec as keys
from mipi_pl.losses.partition import same_group
from models.agent import last_actions


@dataclass
class EpisodeBatch:
    """N whole episodes, padded to T steps and the observation after the last one (S = T + 1).

    Attributes:
        entities: [N, S, E, F].
        visible: [N, S, A, E].
        present: [N, S, A, E]: what the mixer's attention sees, a row for each present agent.
        available: [N, S, A, U].
        acting: [N, S, A]: alive, present and observed.
        deciding: [N, S, A]: acting, in a step that was played (not in the last observation).
        action: [N, S, A].
        last_action: [N, S, A], U before the first.
        reward, terminated, valid: [N, T].
        same_group: [K, N, 1, A, E] for each imaginary partition; None where the batch has none.
        played: [L] places of the valid steps among the N * S; the mixer computes these alone, not the padding.
    """

    entities: Tensor
    visible: Tensor
    present: Tensor
    available: Tensor
    acting: Tensor
    deciding: Tensor
    action: Tensor
    last_action: Tensor
    reward: Tensor
    terminated: Tensor
    valid: Tensor
    same_group: Tensor | None
    played: Tensor

    @classmethod
    def of(cls, batch: TensorDictBase, truncation_is_terminal: bool) -> EpisodeBatch:
        """Read a batch of `datamodules.replay`.

        Args:
            batch: [N] TensorDict with the keys of `mipi_pl.spec`.
            truncation_is_terminal: treat the time limit as an end without value, as REFIL's code does.
        """
        visible, present = batch.get(keys.VISIBLE), batch.get(keys.PRESENT)
        available, action = batch.get(keys.ACTION_MASK), batch.get(keys.ACTION)
        n_agents = action.shape[-1]
        valid = batch.get(keys.VALID)
        observed = torch.cat((valid[:, :1], valid[:, :-1]), dim=1)
        sees_itself = visible[..., :n_agents].diagonal(dim1=-2, dim2=-1)
        terminated = batch.get(keys.TERMINATED)
        if truncation_is_terminal:
            terminated = terminated | batch.get(keys.TRUNCATED)
        groups = batch.get(keys.GROUPS, None)
        return cls(
            entities=batch.get(keys.ENTITIES),
            visible=visible,
            present=present[:, :, :n_agents, None] & present[:, :, None, :],
            available=available,
            acting=sees_itself & observed.unsqueeze(-1),
            deciding=sees_itself & valid.unsqueeze(-1),
            action=action,
            last_action=last_actions(action, available.shape[-1]),
            reward=batch.get(keys.REWARD)[:, :-1],
            terminated=terminated[:, :-1],
            valid=valid[:, :-1],
            same_group=None if groups is None else same_group(groups.transpose(0, 1), n_agents),
            played=valid.flatten().nonzero().squeeze(-1),
        )

    def unpack(self, values: Tensor) -> Tensor:
        """Values of the played steps [L] back to [N, T], zeros where none was played."""
        padded = values.new_zeros(self.valid.shape)
        padded[self.valid] = values
        return padded

    @property
    def n_partitions(self) -> int:
        """K, imaginary partitions in the batch."""
        return 0 if self.same_group is None else self.same_group.shape[0]

    def within(self, mask: Tensor, k: int) -> Tensor:
        """`mask` [N, S, A, E] restricted to the agent's own group of partition `k`."""
        return mask & self._same(k)

    def interact(self, mask: Tensor, k: int) -> Tensor:
        """`mask` [N, S, A, E] restricted to the other group of partition `k`."""
        return mask & ~self._same(k)

    def _same(self, k: int) -> Tensor:
        if self.same_group is None or k >= self.n_partitions:
            raise ValueError(
                f"this batch has {self.n_partitions} imaginary partitions and number {k + 1} is needed: "
                "add the ImaginaryPartition callback, or set algorithm.imaginary_weight=0 and "
                "algorithm.marginal_teams=actual"
            )
        return self.same_group[k]
