"""Centralised critics: from all entities of a state to one value of the team."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from models.attention import EntityAttention
from models.precision import OutputLinear


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

    Raises:
        ValueError: if a size is not positive or `heads` does not divide `width`.

    Examples:
        >>> critic = EntityCritic(n_features=3, n_actions=5, n_entities=6, width=8, heads=2, hidden=4)
        >>> critic(torch.zeros(7, 6, 8), torch.ones(7, 6, dtype=torch.bool)).shape
        torch.Size([7])
    """

    def __init__(
        self, n_features: int, n_actions: int, n_entities: int, width: int = 128, heads: int = 4, hidden: int = 64
    ) -> None:
        super().__init__()
        if hidden < 1 or n_entities < 1:
            raise ValueError(f"hidden and n_entities must be at least 1, got hidden={hidden}, n_entities={n_entities}")
        self.n_entities = n_entities
        self.attention = EntityAttention(n_features + n_actions, width, heads)
        self.entity = nn.Linear(width, hidden)
        self.team = nn.Linear(hidden, hidden)
        self.value = OutputLinear(hidden, 1)

    def forward(self, inputs: Float[Tensor, "L E I"], present: Bool[Tensor, "L E"]) -> Float[Tensor, " L"]:
        """Values of L states, each from all its entities with their last actions."""
        everyone = present.unsqueeze(2) & present.unsqueeze(1)
        rows = self.entity(self.attention(inputs, everyone.unsqueeze(1)).squeeze(1)).relu()
        pooled = torch.where(present.unsqueeze(2), rows, 0.0).sum(dim=1) / self.n_entities
        value: Tensor = self.value(self.team(pooled).relu()).squeeze(1)
        return value
