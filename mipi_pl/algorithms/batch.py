"""A training batch, named and packed: from the replay's TensorDict to the tensors that losses and networks take."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, Int64
from tensordict import TensorDictBase
from torch import Tensor

from mipi_pl import spec as keys
from mipi_pl.distributed import joint_mean_of
from mipi_pl.losses.partition import same_group
from mipi_pl.spec import EntitySpec
from models.attention import with_last_action
from models.packing import PackedSteps
from models.targets import ActionKinds

FULL, WITHIN, INTERACT = range(3)
"""Views of a batch: everything that is there, the agent's own group of an imaginary partition, the other group."""


def observed_steps(valid: Bool[Tensor, "N S"]) -> Bool[Tensor, "N S"]:
    """The played steps and the observation after the last: all of an episode that is not padding."""
    observed = valid.clone()
    observed[:, 0] = True
    observed[:, 1:] |= valid[:, :-1]
    return observed


@dataclass
class EpisodeBatch:
    """The L observed steps of N sequences, one after the other without padding.

    A sequence is a whole episode, or the part of one that falls into a rollout. One of n played steps has n + 1
    observations, so the step after a played one is always the next row.

    Attributes:
        inputs: [L, E, I] features and last actions.
        visible: [L, A, E].
        present: [L, A, E]: what the mixer's attention sees, a row for each present agent.
        available: [L, A, U].
        action: [L, A].
        acting: [L, A]: alive and present.
        deciding: [L, A]: acting, in a step that was played (not in the last observation).
        reward: [L].
        ended: [L]: no value after this step.
        played: [P] rows that were played.
        groups: [L, K, E] group A of each imaginary partition; K may be 0.
        steps: where the rows stand, and which agents act in them.
    """

    inputs: Tensor
    visible: Tensor
    present: Tensor
    available: Tensor
    action: Tensor
    acting: Tensor
    deciding: Tensor
    reward: Tensor
    ended: Tensor
    played: Tensor
    groups: Tensor
    steps: PackedSteps

    @classmethod
    def from_tensordict(cls, batch: TensorDictBase, spec: EntitySpec, truncation_is_terminal: bool) -> EpisodeBatch:
        """Read a batch of `datamodules.replay` or `datamodules.on_policy`.

        Actions that aim at slots which were cut off the batch are cut off as well. An episode that a fault cut short
        goes on in value, whatever counts of the time limit: the battle was not over.

        Args:
            batch: [N] TensorDict with the keys of `mipi_pl.spec`.
            spec: of the world.
            truncation_is_terminal: treat the time limit as an end without value, as REFIL's code does.
        """
        valid: Tensor = batch.get(keys.VALID)
        steps = PackedSteps.from_mask(observed_steps(valid))
        rows = (steps.episode, steps.step)
        available, action = batch.get(keys.ACTION_MASK)[rows], batch.get(keys.ACTION)
        visible, present = batch.get(keys.VISIBLE)[rows], batch.get(keys.PRESENT)[rows]
        n_agents, n_actions = available.shape[1:]
        acting = keys.acting(visible)
        earlier = batch.get(keys.PREVIOUS_ACTION, torch.full_like(action[:, 0], n_actions))
        before = torch.cat((earlier.unsqueeze(1), action[:, :-1]), dim=1)
        kinds, sizes = ActionKinds(spec.n_kinds, spec.targets), (spec.n_agents, spec.n_entities)
        kept = kinds.kept(sizes, (n_agents, visible.shape[2])).to(action.device)
        kind = kinds.of_actions(*sizes).to(action.device)[before[rows]]
        groups = batch.get(keys.GROUPS, None)
        return cls(
            inputs=with_last_action(batch.get(keys.ENTITIES)[rows], kind, kinds.n_kinds),
            visible=visible,
            present=present[:, :n_agents, None] & present[:, None, :],
            available=available[..., kept],
            action=torch.zeros(n_actions, dtype=torch.int64, device=action.device).index_put(
                (kept,), torch.arange(len(kept), device=action.device)
            )[action[rows]],
            acting=acting,
            deciding=acting & valid[rows].unsqueeze(-1),
            reward=batch.get(keys.REWARD)[rows],
            ended=_ended(batch, steps, spec, truncation_is_terminal),
            played=valid[rows].nonzero().squeeze(-1),
            groups=present.new_zeros(len(present), 0, present.shape[-1]) if groups is None else groups[steps.episode],
            steps=steps.with_acting(acting),
        )

    @property
    def decisions(self) -> PackedSteps:
        """The steps with the agents that decide in them: none in the last observation.

        That one is the first of the next rollout. So recurrent states end where those of the next rollout begin.
        """
        return self.steps.with_acting(self.deciding)

    def select(self, sequences: Int64[Tensor, " M"]) -> tuple[EpisodeBatch, Int64[Tensor, " L2"]]:
        """Some of the sequences, and which rows of this batch they are: a minibatch without reading the batch anew."""
        steps, rows = self.steps.select(sequences)
        last = steps.starts[1:] - 1
        played = torch.ones(len(rows), dtype=torch.bool, device=rows.device).index_fill(0, last, False)
        by_row = {
            field.name: getattr(self, field.name)[rows]
            for field in fields(self)
            if field.name not in ("played", "steps")
        }
        return EpisodeBatch(**by_row, played=played.nonzero().squeeze(-1), steps=steps), rows

    def within(self, mask: Bool[Tensor, "L A E"], k: int) -> Bool[Tensor, "L A E"]:
        """`mask` restricted to the agent's own group of partition `k`."""
        return mask & self._same(k)

    def interact(self, mask: Bool[Tensor, "L A E"], k: int) -> Bool[Tensor, "L A E"]:
        """`mask` restricted to the other group of partition `k`."""
        return mask & ~self._same(k)

    def _same(self, k: int) -> Tensor:
        if k >= self.groups.shape[1]:
            raise ValueError(
                f"this batch has {self.groups.shape[1]} imaginary partitions and number {k + 1} is needed: "
                "add the ImaginaryPartition callback, or set algorithm.imaginary_weight=0 and "
                "algorithm.marginal_teams=actual"
            )
        return same_group(self.groups[:, k], self.acting.shape[1])

    def mean_of_played(self, values: Float[Tensor, " L"]) -> Float[Tensor, ""]:
        """Mean over the steps that were played; of several processes: see `ranks.joint_mean`."""
        return joint_mean_of(values[self.played])

    def by_time(self, values: Float[Tensor, "P ..."]) -> Float[Tensor, "S N ..."]:
        """Values of the played steps laid out by time and episode, zeros elsewhere."""
        rows = values.new_zeros(len(self.reward), *values.shape[1:]).index_put((self.played,), values)
        return self.steps.pad(rows)


def _ended(
    batch: TensorDictBase, steps: PackedSteps, spec: EntitySpec, truncation_is_terminal: bool
) -> Bool[Tensor, " L"]:
    """The steps that no value follows."""
    rows = (steps.episode, steps.step)
    ended: Tensor = batch.get(keys.TERMINATED)[rows]
    if truncation_is_terminal:
        truncated = batch.get(keys.TRUNCATED)[rows]
        first = batch.get(keys.FIRST_STEP, torch.zeros(len(batch), dtype=torch.int64, device=truncated.device))
        ended = ended | truncated & ~spec.cut_short(truncated, first[steps.episode] + steps.step + 1)
    return ended
