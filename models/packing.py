"""What is computed, one after the other without gaps: the steps of episodes, their agents that act, what these see.

Axis letters are those of `models.attention`; besides, Q is a number of agents and P one of entities, over all L steps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


def starts_of(counts: Int64[Tensor, " n"]) -> Int64[Tensor, " n+1"]:
    """First place of each of n stretches of these lengths, and where the last one ends."""
    return torch.nn.functional.pad(counts.cumsum(dim=0), (1, 0))


@dataclass
class AgentRows:
    """Q agents that are computed: by step, then by number.

    Attributes:
        step: [Q] row of the step, of L.
        agent: [Q] number of the agent, of A.
        starts: [L + 1] first of these rows in each step, and Q.
        n_agents: A.

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
        """The agents where `which` is True."""
        step, agent = which.nonzero(as_tuple=True)
        return cls(step, agent, starts_of(which.sum(dim=1)), which.shape[1])

    def pack(self, padded: Float[Tensor, "L V A *X"]) -> Float[Tensor, "Q V *X"]:
        """These rows."""
        by_agent = padded.transpose(1, 2)
        return by_agent.flatten(0, 1) if self._is_everyone else by_agent[self.step, self.agent]

    @property
    def _is_everyone(self) -> bool:
        return len(self.step) == (len(self.starts) - 1) * self.n_agents

    def pad(self, rows: Float[Tensor, "Q V *X"]) -> Float[Tensor, "L V A *X"]:
        """Inverse of `pack`: zeros for the other agents."""
        steps = len(self.starts) - 1
        if self._is_everyone:
            return rows.unflatten(0, (steps, self.n_agents)).transpose(1, 2)
        padded = rows.new_zeros(steps, self.n_agents, *rows.shape[1:])
        return padded.index_put((self.step, self.agent), rows).transpose(1, 2)


@dataclass
class EntityRows:
    """P entities that are computed, by step: the agents that are asked, then all else that one of them sees.

    Attributes:
        row: [P] place of each among the L * E entities.
        entity: [P] its number in its step.
        starts: [L + 1] first of these rows in each step, and P.
        asked: the agents that are computed.
        of_asked: [Q] their rows.
    """

    row: Tensor
    entity: Tensor
    starts: Tensor
    asked: AgentRows
    of_asked: Tensor

    @classmethod
    def from_views(cls, views: Bool[Tensor, "L V A E"], asked: AgentRows) -> EntityRows:
        """These agents and what they see under any view."""
        steps, _, n_agents, n_entities = views.shape
        asks = torch.zeros(steps, n_agents, dtype=torch.bool, device=views.device)
        asks[asked.step, asked.agent] = True
        others = (views.any(dim=1) & asks.unsqueeze(-1)).any(dim=1)
        others[:, :n_agents] &= ~asks
        needed = torch.cat((asks, others), dim=1)
        step, column = needed.nonzero(as_tuple=True)
        entity = torch.where(column < n_agents, column, column - n_agents)
        starts = starts_of(needed.sum(dim=1))
        place = torch.arange(len(asked.step), device=views.device) - asked.starts[asked.step]
        return cls(step * n_entities + entity, entity, starts, asked, starts[asked.step] + place)


@dataclass
class PackedSteps:
    """Where the L steps that are computed stand among N episodes of up to S steps, one episode after the other.

    Attributes:
        episode: [L] episode of each step, ascending.
        step: [L] place in its episode, counted from 0.
        starts: [N + 1] first row of each episode, and L.
        episodes: N.
        length: S.
        acting: [L, A] the agents that act; the recurrent state of one that does not stays as it is. None: all do.

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
        """The steps where `mask` is True: the first ones of each episode, at least one."""
        episode, step = mask.nonzero(as_tuple=True)
        return cls(episode, step, starts_of(mask.sum(dim=1)), *mask.shape)

    def select(self, episodes: Int64[Tensor, " M"]) -> tuple[PackedSteps, Int64[Tensor, " L2"]]:
        """Some of the episodes, in this order, and the rows of their steps.

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
        """The same steps, in which these agents act.

        Raises:
            ValueError: for another number of steps.
        """
        if len(acting) != len(self.step):
            raise ValueError(f"expected who acts in each of {len(self.step)} steps, got {len(acting)}")
        return replace(self, acting=acting)

    def agents(self, n_agents: int) -> AgentRows:
        """The agents that act, of A.

        Raises:
            ValueError: if it is known of another number of agents whether they act.
        """
        if self.acting is None:
            return AgentRows.from_mask(torch.ones(len(self.step), n_agents, dtype=torch.bool, device=self.step.device))
        if self.acting.shape[1] != n_agents:
            raise ValueError(f"expected {n_agents} agents, as in the views, got {self.acting.shape[1]} that may act")
        return AgentRows.from_mask(self.acting)

    def pad(self, rows: Float[Tensor, "L *X"]) -> Float[Tensor, "S N *X"]:
        """Lay the steps out by time and episode, zeros elsewhere."""
        padded = rows.new_zeros(self.length, self.episodes, *rows.shape[1:])
        return padded.index_put((self.step, self.episode), rows)

    def pack(self, padded: Float[Tensor, "S N *X"]) -> Float[Tensor, "L *X"]:
        """Inverse of `pad`."""
        return padded[self.step, self.episode]
