"""Packed step, agent and entity indices for episodes of different lengths, without padding.

Axes are those of `mipi_pl.models.attention`. In addition, Q is the number of agents and P the number of entities that
are computed, over all L steps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


def starts_of(counts: Int64[Tensor, " n"]) -> Int64[Tensor, " n+1"]:
    """Return the start of each of n consecutive segments of these lengths, and the end of the last one."""
    return torch.nn.functional.pad(counts.cumsum(dim=0), (1, 0))


@dataclass
class AgentRows:
    """Indices of the Q agents that are computed, ordered by step, then by agent.

    Attributes:
        step: [Q], index of the step, 0 to L-1.
        agent: [Q], index of the agent, 0 to A-1.
        starts: [L + 1], first row of each step, and Q.
        n_agents: A, agent slots.

    Examples:
        >>> rows = AgentRows.from_mask(torch.tensor([[True, True], [False, True]]))
        >>> rows.agent.tolist(), rows.starts.tolist()
        ([0, 1, 1], [0, 2, 3])
    """

    step: Tensor
    agent: Tensor
    starts: Tensor
    n_agents: int

    @classmethod
    def from_mask(cls, which: Bool[Tensor, "L A"]) -> AgentRows:
        """Select the agents where `which` is True."""
        step, agent = which.nonzero(as_tuple=True)
        return cls(step, agent, starts_of(which.sum(dim=1)), which.shape[1])

    def pack(self, padded: Float[Tensor, "L V A *X"]) -> Float[Tensor, "Q V *X"]:
        """Select the rows of these agents from a padded tensor."""
        by_agent = padded.transpose(1, 2)
        return by_agent.flatten(0, 1) if self._is_complete else by_agent[self.step, self.agent]

    @property
    def _is_complete(self) -> bool:
        """Whether every agent of every step is computed."""
        return len(self.step) == (len(self.starts) - 1) * self.n_agents

    def pad(self, rows: Float[Tensor, "Q V *X"]) -> Float[Tensor, "L V A *X"]:
        """Inverse of `pack`: zeros for the other agents."""
        steps = len(self.starts) - 1
        if self._is_complete:
            return rows.unflatten(0, (steps, self.n_agents)).transpose(1, 2)
        padded = rows.new_zeros(steps, self.n_agents, *rows.shape[1:])
        return padded.index_put_((self.step, self.agent), rows).transpose(1, 2)

    def summed(self, rows: Float[Tensor, "Q *X"]) -> Float[Tensor, "L *X"]:
        """Sum the rows of each step."""
        return rows.new_zeros(len(self.starts) - 1, *rows.shape[1:]).index_add_(0, self.step, rows)


@dataclass
class EntityRows:
    """Indices of the P entities that are computed: in each step the querying agents, then the other entities they see.

    Attributes:
        row: [P], index among all L * E entities.
        entity: [P], index within the step, 0 to E-1.
        starts: [L + 1], first row of each step, and P.
        asked: the querying agents.
        of_asked: [Q], row of each querying agent among the P entities.
    """

    row: Tensor
    entity: Tensor
    starts: Tensor
    asked: AgentRows
    of_asked: Tensor

    @classmethod
    def from_views(cls, views: Bool[Tensor, "L V A E"], asked: AgentRows) -> EntityRows:
        """Select the agents `asked` and the entities that they see under any view."""
        steps, _, n_agents, n_entities = views.shape
        querying = torch.zeros(steps, n_agents, dtype=torch.bool, device=views.device)
        querying[asked.step, asked.agent] = True
        others = (views.any(dim=1) & querying.unsqueeze(-1)).any(dim=1)
        others[:, :n_agents] &= ~querying
        needed = torch.cat((querying, others), dim=1)
        step, column = needed.nonzero(as_tuple=True)
        entity = torch.where(column < n_agents, column, column - n_agents)
        starts = starts_of(needed.sum(dim=1))
        place = torch.arange(len(asked.step), device=views.device) - asked.starts[asked.step]
        return cls(step * n_entities + entity, entity, starts, asked, starts[asked.step] + place)


@dataclass
class PackedSteps:
    """Indices of the L steps that are computed, of N episodes with up to S steps, ordered by episode, then by step.

    Attributes:
        episode: [L], index of the episode, ascending.
        step: [L], index of the step within its episode, from 0.
        starts: [N + 1], first row of each episode, and L.
        episodes: N, number of episodes.
        length: S, largest number of steps in an episode.
        acting: [L, A], the agents that act; None if all act. The recurrent state of an agent that does not act stays
            unchanged.

    Examples:
        >>> PackedSteps.from_mask(torch.tensor([[True, True], [True, False]])).step.tolist()
        [0, 1, 0]
    """

    episode: Tensor
    step: Tensor
    starts: Tensor
    episodes: int
    length: int
    acting: Tensor | None = None

    @classmethod
    def from_mask(cls, mask: Bool[Tensor, "N S"]) -> PackedSteps:
        """Select the steps where `mask` is True: in each episode the first ones, and at least one."""
        episode, step = mask.nonzero(as_tuple=True)
        return cls(episode, step, starts_of(mask.sum(dim=1)), *mask.shape)

    def select(self, episodes: Int64[Tensor, " M"]) -> tuple[PackedSteps, Int64[Tensor, " L2"]]:
        """Select episodes; return their steps, in the given order, and the rows of these steps in this batch.

        Examples:
            >>> both = PackedSteps.from_mask(torch.tensor([[True, True], [True, False]]))
            >>> steps, rows = both.select(torch.tensor([1]))
            >>> rows.tolist(), steps.starts.tolist()
            ([2], [0, 1])
        """
        first, counts = self.starts[episodes], (self.starts[1:] - self.starts[:-1])[episodes]
        starts = starts_of(counts)
        episode = torch.arange(len(episodes), device=counts.device).repeat_interleave(counts)
        rows = torch.arange(len(episode), device=counts.device) + (first - starts[:-1])[episode]
        acting = None if self.acting is None else self.acting[rows]
        return PackedSteps(episode, self.step[rows], starts, len(episodes), self.length, acting), rows

    def with_acting(self, acting: Bool[Tensor, "L A"]) -> PackedSteps:
        """Return a copy in which the given agents act.

        Raises:
            ValueError: if `acting` does not have one row per step.
        """
        if len(acting) != len(self.step):
            raise ValueError(f"expected the acting agents in each of {len(self.step)} steps, got {len(acting)} steps")
        return replace(self, acting=acting)

    def agents(self, n_agents: int) -> AgentRows:
        """Return the rows of the acting agents.

        Args:
            n_agents: A, agent slots.

        Raises:
            ValueError: if `acting` has a different number of agents.
        """
        if self.acting is None:
            return AgentRows.from_mask(torch.ones(len(self.step), n_agents, dtype=torch.bool, device=self.step.device))
        if self.acting.shape[1] != n_agents:
            raise ValueError(
                f"expected {n_agents} agents, as in the views, got {self.acting.shape[1]} in the mask of acting agents"
            )
        return AgentRows.from_mask(self.acting)

    def pad(self, rows: Float[Tensor, "L *X"]) -> Float[Tensor, "S N *X"]:
        """Arrange the rows by time and episode, with zeros as padding."""
        padded = rows.new_zeros(self.length, self.episodes, *rows.shape[1:])
        return padded.index_put_((self.step, self.episode), rows)

    def pack(self, padded: Float[Tensor, "S N *X"]) -> Float[Tensor, "L *X"]:
        """Inverse of `pad`."""
        return padded[self.step, self.episode]
