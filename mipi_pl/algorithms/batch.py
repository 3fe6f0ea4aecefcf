"""Training batch for losses and networks: named tensors of packed steps, read from a TensorDict."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, Int64
from tensordict import TensorDictBase
from torch import Tensor

from mipi_pl import spec as keys
from mipi_pl.distributed import joint_mean_of
from mipi_pl.losses.partition import same_group
from mipi_pl.models.attention import with_last_action
from mipi_pl.models.packing import PackedSteps
from mipi_pl.models.targets import ActionKinds
from mipi_pl.spec import EntitySpec

FULL, WITHIN, INTERACT = range(3)
"""Views of a batch: all entities, the agent's own group of an imaginary partition, and the other group."""


def observed_steps(valid: Bool[Tensor, "N S"]) -> Bool[Tensor, "N S"]:
    """Return the observed steps: the played steps of each episode and the observation after the last one."""
    observed = valid.clone()
    observed[:, 0] = True
    observed[:, 1:] |= valid[:, :-1]
    return observed


@dataclass
class EpisodeBatch:
    """Batch of N sequences with L observed steps, packed one sequence after the other without padding.

    A sequence is a whole episode or the part of an episode in one rollout. A sequence of n played steps has n + 1
    observations, so the row after a played step is always the next observation.

    Attributes:
        inputs: [L, E, I], features and last actions of the entities.
        visible: [L, A, E], the agent sees the entity.
        present: [L, A, E], view of the mixer: every present agent sees every present entity.
        available: [L, A, U], available actions.
        action: [L, A], index of the action taken.
        acting: [L, A], agents that are alive and present.
        deciding: [L, A], agents that act in a played step; False in the last observation of a sequence.
        reward: [L], reward of the team.
        terminal: [L], the target of the step does not bootstrap from the next value: the episode terminated with it, or
            reached the time limit and `truncation_is_terminal` is set.
        played: [P], rows of the played steps.
        groups: [L, G, E], the entity is in group A of an imaginary partition; G may be 0.
        steps: episode and step of each row, and the agents that act.
    """

    inputs: Tensor
    visible: Tensor
    present: Tensor
    available: Tensor
    action: Tensor
    acting: Tensor
    deciding: Tensor
    reward: Tensor
    terminal: Tensor
    played: Tensor
    groups: Tensor
    steps: PackedSteps

    @classmethod
    def from_tensordict(cls, batch: TensorDictBase, spec: EntitySpec, truncation_is_terminal: bool) -> EpisodeBatch:
        """Read a batch of `mipi_pl.datamodules.replay` or `mipi_pl.datamodules.on_policy`.

        Actions that target slots beyond those of the batch are removed. The last step of an episode that a fault cut
        short always bootstraps, because the episode was not over; `truncation_is_terminal` does not apply to it.

        Args:
            batch: [N] TensorDict with the keys of `mipi_pl.spec`.
            spec: sizes of the environment.
            truncation_is_terminal: treat the time limit as termination, as REFIL's code does: do not bootstrap from the
                last observation.
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
            action=_renumbered(kept, n_actions)[action[rows]],
            acting=acting,
            deciding=acting & valid[rows].unsqueeze(-1),
            reward=batch.get(keys.REWARD)[rows],
            terminal=_terminal(batch, steps, spec, truncation_is_terminal),
            played=valid[rows].nonzero().squeeze(-1),
            groups=present.new_zeros(len(present), 0, present.shape[-1]) if groups is None else groups[steps.episode],
            steps=steps.with_acting(acting),
        )

    @property
    def decisions(self) -> PackedSteps:
        """The steps with their deciding agents; no agent decides in the last observation of a sequence.

        That observation is also the first of the next rollout, so recurrent states stop where the next rollout starts.
        """
        return self.steps.with_acting(self.deciding)

    def select(self, sequences: Int64[Tensor, " M"]) -> tuple[EpisodeBatch, Int64[Tensor, " L2"]]:
        """Return a minibatch of some sequences, and the rows [L2] of this batch that it consists of."""
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
        """Restrict `mask` to the agent's own group of partition `k`."""
        return mask & self._same(k)

    def interact(self, mask: Bool[Tensor, "L A E"], k: int) -> Bool[Tensor, "L A E"]:
        """Restrict `mask` to the other group of partition `k`."""
        return mask & ~self._same(k)

    def _same(self, k: int) -> Tensor:
        if k >= self.groups.shape[1]:
            raise ValueError(
                f"expected a batch with at least {k + 1} imaginary partitions, got {self.groups.shape[1]}: "
                "add the ImaginaryPartition callback"
            )
        return same_group(self.groups[:, k], self.acting.shape[1])

    def mean_of_played(self, values: Float[Tensor, " L"]) -> Float[Tensor, ""]:
        """Return the mean over the played steps; with several processes, see `mipi_pl.distributed.joint_mean`."""
        return joint_mean_of(values[self.played])

    def on_grid(self, *values: Float[Tensor, " P"]) -> tuple[Float[Tensor, "S N"], ...]:
        """Arrange values of the played steps by time and episode, with zeros as padding.

        Returns:
            The values; then 1 where the target of a step bootstraps; then 1 where a step was played.
        """
        bootstraps = (~self.terminal[self.played]).to(values[0])
        flat = (*values, bootstraps, torch.ones_like(bootstraps))
        return tuple(self.steps.pad(x.new_zeros(len(self.reward)).index_put((self.played,), x)) for x in flat)


def _renumbered(kept: Int64[Tensor, " kept"], n_actions: int) -> Int64[Tensor, " U"]:
    """Return the index of each action among the kept ones; 0 for the others, which no agent takes."""
    return kept.new_zeros(n_actions).index_put((kept,), torch.arange(len(kept), device=kept.device))


def _terminal(
    batch: TensorDictBase, steps: PackedSteps, spec: EntitySpec, truncation_is_terminal: bool
) -> Bool[Tensor, " L"]:
    """Return which steps are terminal: their TD target is the reward alone."""
    rows = (steps.episode, steps.step)
    terminal: Tensor = batch.get(keys.TERMINATED)[rows]
    if truncation_is_terminal:
        truncated = batch.get(keys.TRUNCATED)[rows]
        first = batch.get(keys.FIRST_STEP, torch.zeros(len(batch), dtype=torch.int64, device=truncated.device))
        terminal = terminal | truncated & ~spec.cut_short(truncated, first[steps.episode] + steps.step + 1)
    return terminal
