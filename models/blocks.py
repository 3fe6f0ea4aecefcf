"""Blocks of steps and their packed rows: the pieces in which `mipi_pl.models.fused_attention` processes a batch."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from mipi_pl.models.fused import array_of
from mipi_pl.models.packing import AgentRows, EntityRows

_BLOCK_ROWS = 2048
"""Entities per block, so that embeddings and projections of a block take a few megabytes."""

Array = NDArray[Any]


@dataclass
class Block:
    """Steps that are computed together, with their rows of agents and entities."""

    steps: slice
    agents: slice
    entities: slice


@dataclass
class Blocks:
    """The rows of a batch and their division into blocks, for the forward and the backward pass.

    Attributes:
        views: [L, V, A, E].
        rows: the querying agents and the entities that they see.
        heads: number of attention heads.
        blocks: consecutive blocks that cover all steps.
    """

    views: Tensor
    rows: EntityRows
    heads: int
    blocks: list[Block]

    @classmethod
    def from_views(cls, views: Tensor, agents: AgentRows, heads: int) -> Blocks:
        """Divide the steps into blocks of at most `_BLOCK_ROWS` entities, or of one step that has more.

        Args:
            views: [L, V, A, E].
            agents: the querying agents.
            heads: number of attention heads.
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
        """Return the largest number of rows in a block; `of` is ``agents`` or ``entities``."""
        return max((getattr(block, of).stop - getattr(block, of).start for block in self.blocks), default=0)

    def inputs(self, inputs: Tensor, block: Block) -> Tensor:
        """Select the inputs [p, I] of a block's entities from all inputs [L, E, I]."""
        flat = inputs.flatten(0, 1)
        if self._is_complete:
            return flat[block.entities]
        return flat.index_select(0, self.rows.row[block.entities])

    def of_asked(self, block: Block) -> Tensor:
        """Return the rows [q] of a block's querying agents among the entities of that block."""
        return self.rows.of_asked[block.agents] - block.entities.start

    def for_kernel(self, block: Block) -> tuple[Array, ...]:
        """Return a block's views, agent and entity indices, and the first agent and entity row of each of its steps."""
        views, agent, entity, agent_starts, starts = self._arrays
        bounds = slice(block.steps.start, block.steps.stop + 1)
        indices = agent[block.agents], entity[block.entities]
        return views[block.steps], *indices, agent_starts[bounds], starts[bounds]

    @cached_property
    def _is_complete(self) -> bool:
        """Whether the rows hold all agents and all entities and therefore have the order of the inputs."""
        steps, _, n_agents, n_entities = self.views.shape
        return len(self.rows.row) == steps * n_entities and len(self.rows.of_asked) == steps * n_agents

    @cached_property
    def _arrays(self) -> tuple[Array, ...]:
        rows = self.rows
        tensors = (self.views, rows.asked.agent, rows.entity, rows.asked.starts, rows.starts)
        return tuple(array_of(tensor) for tensor in tensors)
