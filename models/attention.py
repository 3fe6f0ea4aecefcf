"""Entity attention: agents query the entities they may see; several views of the same entities cost one projection.

Axis letters are those of `mipi_pl.spec`; L is any number of flattened steps (episodes times steps) and V a number of
views, that is of masks over the same entities.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

_HIDDEN = -1e9
"""Score of what is not seen: finite, so that an empty row gives no NaN."""


class EntityEncoder(nn.Module):
    """Linear layer over entity features with the agents' last actions, one-hot, appended; then ReLU.

    The one-hot product is a look-up added to the first A entities, which gives the same numbers for less work.

    Args:
        n_features: F.
        n_actions: U.
        width: size of the embedding.

    Example:
        >>> encode = EntityEncoder(n_features=3, n_actions=2, width=8)
        >>> encode(torch.zeros(5, 4, 3), torch.tensor([[2, 2]]).expand(5, 2)).shape
        torch.Size([5, 4, 8])
    """

    def __init__(self, n_features: int, n_actions: int, width: int) -> None:
        super().__init__()
        self.n_actions = n_actions
        self.linear = nn.Linear(n_features, width)
        self.last_action = nn.Embedding(n_actions + 1, width, padding_idx=n_actions)
        bound = 1.0 / math.sqrt(n_features + n_actions)
        with torch.no_grad():
            for weight in (self.linear.weight, self.linear.bias, self.last_action.weight):
                weight.uniform_(-bound, bound)
            self.last_action.weight[n_actions] = 0.0

    def forward(
        self, entities: Float[Tensor, "*L E F"], last_action: Int64[Tensor, "*L A"]
    ) -> Float[Tensor, "*L E width"]:
        """Embed entities [..., E, F]; `last_action` [..., A] holds U where there was none."""
        embedded = self.linear(entities)
        n_agents = last_action.shape[-1]
        agents = embedded[..., :n_agents, :] + self.last_action(last_action)
        return torch.cat((agents, embedded[..., n_agents:, :]), dim=-2).relu_()


class EntityAttention(nn.Module):
    """Multi-head attention of the first A entities over all E, under V masks at once.

    Queries, keys, values and scores do not depend on the mask: they are computed once and masked V times.
    A row that sees nothing gives zeros.

    Args:
        width: size of the embeddings that come in and go out.
        heads: attention heads; must divide `width`.

    Raises:
        ValueError: if `heads` does not divide `width`.

    Example:
        >>> attend = EntityAttention(width=8, heads=2)
        >>> attend(torch.randn(5, 4, 8), torch.ones(3, 5, 2, 4, dtype=torch.bool)).shape
        torch.Size([3, 5, 2, 8])
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"attention heads must divide the width, got width={width}, heads={heads}")
        self.heads = heads
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)

    def forward(
        self, embedded: Float[Tensor, "L E width"], views: Bool[Tensor, "V L A E"]
    ) -> Float[Tensor, "V L A width"]:
        """Attend from entities 0..A-1 of each step to the entities that each view shows."""
        n_views, steps, n_agents, n_entities = views.shape
        depth = embedded.shape[-1] // self.heads
        query = self.query(embedded[:, :n_agents]).view(steps, n_agents, self.heads, depth).transpose(1, 2)
        key, value = self.key_value(embedded).view(steps, n_entities, 2, self.heads, depth).permute(2, 0, 3, 1, 4)
        scores = torch.matmul(query * depth**-0.5, key.transpose(-1, -2))
        masked = torch.where(views.permute(1, 0, 2, 3).unsqueeze(1), scores.unsqueeze(2), _HIDDEN)
        weights = masked.softmax(dim=-1).view(steps, self.heads, n_views * n_agents, n_entities)
        mixed = torch.matmul(weights, value).view(steps, self.heads, n_views, n_agents, depth)
        mixed = mixed.permute(2, 0, 3, 1, 4).reshape(n_views, steps, n_agents, -1)
        return mixed * views.any(dim=-1, keepdim=True)
