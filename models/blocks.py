"""Blocks of steps that are computed together, and their rows: what `models.fused_attention` cuts a batch into."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from models.fused import array_of
from models.packing import AgentRows, EntityRows

_BLOCK_ROWS = 2048
"""Entities of one block: their embeddings and projections together are a few megabytes."""

Array = NDArray[Any]


@dataclass
class Block:
    """Steps that are computed together, their agents and their entities."""

    steps: slice
    agents: slice
    entities: slice


@dataclass
class Blocks:
    """The rows of a batch, in blocks: what the forward and the backward pass need to know of them.

    Attributes:
        views: [L, V, A, E].
        rows: the agents that are asked, and the entities that they see.
        heads: attention heads.
        blocks: all steps.
    """

    views: Tensor
    rows: EntityRows
    heads: int
    blocks: list[Block]

    @classmethod
    def from_views(cls, views: Tensor, agents: AgentRows, heads: int) -> Blocks:
        """Whole steps until a block is full, at least one.

        Args:
            views: [L, V, A, E].
            agents: those that are asked.
            heads: attention heads.
        """
        rows = EntityRows.from_views(views, agents)
        starts, agent_starts = rows.starts.tolist(), agents.starts.tolist()
        blocks, last = [], len(starts) - 1
        first = 0
        while first < last:
            end = min(max(bisect_right(starts, starts[first] + _BLOCK_ROWS) - 1, first + 1), last)
            ends = (slice(firsts[first], firsts[end]) for firsts in (agent_starts, starts))
            blocks.append(Block(slice(first, end), *ends))
            first = end
        return cls(views.contiguous(), rows, heads, blocks)

    def most(self, of: str) -> int:
        """The largest number of ``agents`` or ``entities`` in one block."""
        return max((getattr(block, of).stop - getattr(block, of).start for block in self.blocks), default=0)

    def inputs(self, inputs: Tensor, block: Block) -> Tensor:
        """[p, I] of the entities of a block, from all [L, E, I]."""
        flat = inputs.flatten(0, 1)
        if self._everything:
            return flat[block.entities]
        return flat.index_select(0, self.rows.row[block.entities])

    def of_asked(self, block: Block) -> Tensor:
        """[q] places of the agents among the entities of a block."""
        return self.rows.of_asked[block.agents] - block.entities.start

    def for_kernel(self, block: Block) -> tuple[Array, ...]:
        """Views, numbers of agents and entities, and where each step of a block begins among them."""
        views, agent, entity, agent_starts, starts = self._arrays
        bounds = slice(block.steps.start, block.steps.stop + 1)
        numbers = agent[block.agents], entity[block.entities]
        return views[block.steps], *numbers, agent_starts[bounds], starts[bounds]

    @cached_property
    def _everything(self) -> bool:
        """Whether all entities are computed and all agents asked, and so the rows in the order of the inputs."""
        steps, _, n_agents, n_entities = self.views.shape
        return len(self.rows.row) == steps * n_entities and len(self.rows.of_asked) == steps * n_agents

    @cached_property
    def _arrays(self) -> tuple[Array, ...]:
        rows = self.rows
        of_rows = (self.views, rows.asked.agent, rows.entity, rows.asked.starts, rows.starts)
        return tuple(array_of(tensor) for tensor in of_rows)
