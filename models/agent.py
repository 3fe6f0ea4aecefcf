"""The recurrent entity agent: one trunk, a critic head and a policy head (section 5 of the facts; REFIL's architecture)."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from models.attention import EntityAttention, EntityEncoder


class Recurrence(nn.Module):
    """Linear, ReLU and a GRU over the steps of each agent, shared by all agents.

    Args:
        width: size of what comes in.
        hidden: size of the recurrent state.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, hidden)
        self.gru = nn.GRU(hidden, hidden)

    def forward(
        self, embedded: Float[Tensor, "V N S A width"], state: Float[Tensor, "V N A hidden"] | None
    ) -> tuple[Float[Tensor, "V N S A hidden"], Float[Tensor, "V N A hidden"]]:
        """Run S steps from `state` (None: zeros); returns all states and the last one."""
        views, episodes, steps, agents, _ = embedded.shape
        rows = self.linear(embedded).relu_().permute(2, 0, 1, 3, 4).reshape(steps, views * episodes * agents, -1)
        first = None if state is None else state.reshape(1, views * episodes * agents, -1)
        states, last = self.gru(rows, first)
        shaped = states.view(steps, views, episodes, agents, -1).permute(1, 2, 0, 3, 4)
        return shaped, last.view(views, episodes, agents, -1)


class Trunk(nn.Module):
    """Entities to one recurrent feature vector per agent: encoder, entity attention, GRU.

    Args:
        n_features: F.
        n_actions: U.
        width: embedding of entities and attention.
        heads: attention heads.
        hidden: recurrent state.
    """

    def __init__(self, n_features: int, n_actions: int, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.encoder = EntityEncoder(n_features, n_actions, width)
        self.attention = EntityAttention(width, heads)
        self.recurrence = Recurrence(width, hidden)

    def forward(
        self,
        entities: Float[Tensor, "N S E F"],
        last_action: Int64[Tensor, "N S A"],
        views: Bool[Tensor, "V N S A E"],
        state: Float[Tensor, "V N A hidden"] | None = None,
    ) -> tuple[Float[Tensor, "V N S A hidden"], Float[Tensor, "V N A hidden"]]:
        """Features of every agent under every view, and the recurrent state after the last step."""
        embedded = self.encoder(entities, last_action).flatten(0, 1)
        attended = self.attention(embedded, views.flatten(1, 2))
        return self.recurrence(attended.view(*views.shape[:4], -1), state)


class EntityAgent(nn.Module):
    """Utility Q_i and policy pi_i on one trunk; the parameters are shared by all agents.

    Args:
        n_features: F.
        n_actions: U.
        width: embedding of entities and attention (128 in the paper).
        heads: attention heads (4).
        hidden: recurrent state (64).

    Example:
        >>> agent = EntityAgent(n_features=3, n_actions=5, width=8, heads=2, hidden=4)
        >>> entities, last_action = torch.zeros(2, 7, 6, 3), torch.full((2, 7, 4), 5)
        >>> features, state = agent.trunk(entities, last_action, torch.ones(1, 2, 7, 4, 6, dtype=torch.bool))
        >>> agent.utilities(features).shape, agent.policy_logits(features).shape
        (torch.Size([1, 2, 7, 4, 5]), torch.Size([1, 2, 7, 4, 5]))
    """

    def __init__(self, n_features: int, n_actions: int, width: int = 128, heads: int = 4, hidden: int = 64) -> None:
        super().__init__()
        self.n_actions = n_actions
        self.hidden = hidden
        self.trunk = Trunk(n_features, n_actions, width, heads, hidden)
        self.utilities = nn.Linear(hidden, n_actions)
        self.policy_logits = nn.Linear(hidden, n_actions)


def last_actions(action: Int64[Tensor, "N S A"], n_actions: int) -> Int64[Tensor, "N S A"]:
    """The action taken one step earlier; `n_actions` before the first.

    Example:
        >>> last_actions(torch.tensor([[[1], [0], [2]]]), n_actions=3).flatten().tolist()
        [3, 1, 0]
    """
    first = torch.full_like(action[:, :1], n_actions)
    return torch.cat((first, action[:, :-1]), dim=1)
