"""Centralised critics: from all entities of a state to one value of the team."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from models.attention import EntityAttention
from models.packing import AgentRows, PackedSteps
from models.precision import OutputLinear
from models.trunk import Recurrence


class EntityCritic(nn.Module):
    """Every present entity attends to all present ones; what they gather is summed into one value (any team size).

    It sees what no agent may see together: the whole state, in training only. The order of the entities does not
    matter, absent ones contribute nothing, and the sum, unlike a mean, knows how many there are.

    Args:
        n_features: F.
        n_actions: K, kinds of action: U where none aims at an entity.
        n_entities: E, the capacity; what the sum over the entities is divided by.
        width: embedding of entities and attention.
        heads: attention heads.
        hidden: of the layers after it.
        recurrent: a GRU between them, so that the value depends on what has happened before.

    Raises:
        ValueError: if a size is not positive or `heads` does not divide `width`.

    Examples:
        >>> critic = EntityCritic(n_features=3, n_actions=5, n_entities=6, width=8, heads=2, hidden=4)
        >>> steps = PackedSteps.from_mask(torch.ones(1, 7, dtype=torch.bool))
        >>> critic(torch.zeros(7, 6, 8), torch.ones(7, 6, dtype=torch.bool), steps)[0].shape
        torch.Size([7])
    """

    def __init__(
        self,
        n_features: int,
        n_actions: int,
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
        self.attention = EntityAttention(n_features + n_actions, width, heads)
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
        """Values of L states, each from all its entities with their last actions, and the recurrent state after each.

        Args:
            inputs: features and last actions.
            present: entities that are there.
            steps: where the rows stand.
            state: before the first rows, of a recurrent critic; None for zeros.
        """
        everyone = present.unsqueeze(2) & present.unsqueeze(1)
        rows = self.entity(self.attention(inputs, everyone.unsqueeze(1)).squeeze(1)).relu()
        pooled = torch.where(present.unsqueeze(2), rows, 0.0).sum(dim=1) / self.n_entities
        if isinstance(self.team, nn.Linear):
            return self.value(self.team(pooled).relu()).squeeze(1), None
        # The team is one agent that always acts.
        whole = AgentRows.from_mask(torch.ones(len(inputs), 1, dtype=torch.bool, device=inputs.device))
        before = None if state is None else state.unflatten(0, (-1, 1, 1))
        states = self.team(pooled.unsqueeze(1), whole, steps, before)[0].squeeze(1)
        return self.value(states).squeeze(1), states
