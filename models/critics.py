"""Centralised critic: maps all entities of a state to one value for the team."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mipi_pl.models.attention import EntityAttention
from mipi_pl.models.packing import AgentRows, PackedSteps
from mipi_pl.models.precision import OutputLinear
from mipi_pl.models.trunk import Recurrence


class EntityCritic(nn.Module):
    """State value of a team of any size: attention among all present entities, summed over them.

    The critic sees the whole state and is used in training only. The value does not depend on the order of the
    entities, and absent entities contribute nothing. Unlike a mean, the sum depends on the number of entities.

    Args:
        n_features: F, features of an entity.
        n_kinds: K, number of action kinds.
        n_entities: E, the capacity; the sum over the entities is divided by it.
        width: size of the entity embeddings and the attention.
        heads: number of attention heads.
        hidden: size of the layers after the attention.
        recurrent: whether the team layer is a GRU, so that the value depends on earlier steps.

    Raises:
        ValueError: if a size is not positive or `heads` does not divide `width`.

    Examples:
        >>> critic = EntityCritic(n_features=3, n_kinds=5, n_entities=6, width=8, heads=2, hidden=4)
        >>> steps = PackedSteps.from_mask(torch.ones(1, 7, dtype=torch.bool))
        >>> critic(torch.zeros(7, 6, 8), torch.ones(7, 6, dtype=torch.bool), steps)[0].shape
        torch.Size([7])
    """

    def __init__(
        self,
        n_features: int,
        n_kinds: int,
        n_entities: int,
        width: int = 128,
        heads: int = 4,
        hidden: int = 64,
        recurrent: bool = False,
    ) -> None:
        super().__init__()
        if hidden < 1 or n_entities < 1:
            raise ValueError(f"hidden and n_entities must be at least 1, got hidden={hidden}, n_entities={n_entities}")
        self.n_entities = n_entities
        self.attention = EntityAttention(n_features + n_kinds, width, heads)
        self.entity = nn.Linear(width, hidden)
        self.team: nn.Linear | Recurrence = Recurrence(hidden, hidden) if recurrent else nn.Linear(hidden, hidden)
        self.value = OutputLinear(hidden, 1)

    def forward(
        self,
        inputs: Float[Tensor, "L E I"],
        present: Bool[Tensor, "L E"],
        steps: PackedSteps,
        state: Float[Tensor, "N hidden"] | None = None,
    ) -> tuple[Float[Tensor, " L"], Float[Tensor, "L hidden"] | None]:
        """Return the value of each of L states and, for a recurrent critic, the recurrent state after each step.

        Args:
            inputs: features and last actions of all entities.
            present: whether an entity occupies the slot.
            steps: episode and step of each row.
            state: recurrent state before the first step of each episode; None for zeros.
        """
        entities = AgentRows.from_mask(present)  # the critic attends from every entity, so each takes an agent's part
        view = present.unsqueeze(2) & present.unsqueeze(1)
        attended = self.attention.of_agents(inputs, view.unsqueeze(1), entities).squeeze(1)
        pooled = entities.summed(self.entity(attended).relu_()) / self.n_entities
        if isinstance(self.team, nn.Linear):
            return self.value(self.team(pooled).relu()).squeeze(1), None
        # The recurrence treats the team as a single agent that acts in every step.
        team = AgentRows.from_mask(torch.ones(len(inputs), 1, dtype=torch.bool, device=inputs.device))
        initial = None if state is None else state.unflatten(0, (-1, 1, 1))
        states = self.team(pooled.unsqueeze(1), team, steps, initial)[0].squeeze(1)
        return self.value(states).squeeze(1), states
