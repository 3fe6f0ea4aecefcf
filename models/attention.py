"""Entity attention: agents query the entities they may see; several views of the same entities cost one projection.

Axis letters are those of `mipi_pl.spec`; besides, L is a number of steps (of one or many episodes), V a number of
views, that is of masks over the same entities, and I the size of an entity as the networks take it (features and last
action); H attention heads of size D.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from models import fused, fused_attention
from models.packing import AgentRows
from models.precision import full_precision, output_linear


def with_last_action(
    entities: Float[Tensor, "L E F"], last_action: Int64[Tensor, "L A"], n_actions: int
) -> Float[Tensor, "L E I"]:
    """Append the last action, one-hot, to each entity: zeros for those that are not agents or have not acted yet.

    Args:
        entities: features; the first A are the agents.
        last_action: its kind; `n_actions` where there was none.
        n_actions: K, kinds of action: U where none aims at an entity.

    Examples:
        >>> with_last_action(torch.zeros(1, 2, 1), torch.tensor([[1]]), n_actions=2).tolist()
        [[[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]]
    """
    one_hot = entities.new_zeros(*entities.shape[:2], n_actions + 1)
    one_hot[:, : last_action.shape[1]].scatter_(-1, last_action.unsqueeze(-1), 1.0)
    return torch.cat((entities, one_hot[..., :n_actions]), dim=-1)


class EntityAttention(nn.Module):
    """Linear, ReLU, then multi-head attention of the first A entities over all E, under V masks at once.

    Embedding, queries, keys, values and scores do not depend on the mask: they are computed once for all V views.
    A row that sees nothing gives zeros.

    Args:
        n_inputs: I.
        width: size of embedding and output.
        heads: attention heads; must divide `width`.

    Raises:
        ValueError: if a size is not positive or `heads` does not divide `width`.

    Examples:
        >>> attend = EntityAttention(n_inputs=5, width=8, heads=2)
        >>> attend(torch.randn(7, 4, 5), torch.ones(7, 3, 2, 4, dtype=torch.bool)).shape
        torch.Size([7, 3, 2, 8])
    """

    def __init__(self, n_inputs: int, width: int, heads: int) -> None:
        super().__init__()
        if width < 1 or heads < 1:
            raise ValueError(f"width and heads must be at least 1, got width={width}, heads={heads}")
        if width % heads:
            raise ValueError(f"attention heads must divide the width, got width={width}, heads={heads}")
        self.heads = heads
        self.embed = nn.Linear(n_inputs, width)
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)

    def forward(self, inputs: Float[Tensor, "L E I"], views: Bool[Tensor, "L V A E"]) -> Float[Tensor, "L V A width"]:
        """Attend from entities 0..A-1 of each step to the entities that each view shows."""
        agents = AgentRows.from_mask(views.any(dim=3).any(dim=1))
        return agents.pad(self.of_agents(inputs, views, agents))

    def of_agents(
        self, inputs: Float[Tensor, "L E I"], views: Bool[Tensor, "L V A E"], agents: AgentRows
    ) -> Float[Tensor, "Q V width"]:
        """The same for these agents alone; with the kernels, what none of them sees costs nothing."""
        if self._uses_kernels(inputs):
            return fused_attention.attend(
                inputs, self._embedding, self.query.weight, self.key_value.weight, views, agents, self.heads
            )
        steps, n_views, n_agents, n_entities = views.shape
        embedded = self.embed(inputs).relu_()
        key, value = self.key_value(embedded).view(steps, n_entities, 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        weights = self._weights(embedded, key, views).view(steps, self.heads, n_views * n_agents, n_entities)
        mixed = torch.matmul(weights, value)
        return agents.pack(mixed.transpose(1, 2).reshape(steps, n_views, n_agents, -1))

    def summed(
        self, inputs: Float[Tensor, "L E I"], view: Bool[Tensor, "L A E"], output: Float[Tensor, "out width"]
    ) -> Float[Tensor, "L out"]:
        """The sum of ``forward`` over the agents under one view, through a linear layer of weight `output`.

        Entities are gathered first; the projection to values and that layer are then one matrix, in full precision.
        """
        to_key, to_value = self.key_value.weight.chunk(2)
        if self._uses_kernels(inputs):
            gathered = fused_attention.gather(inputs, self._embedding, self.query.weight, to_key, view, self.heads)
        else:
            embedded = self.embed(inputs).relu_()
            key = nn.functional.linear(embedded, to_key).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            weights = self._weights(embedded, key, view.unsqueeze(1)).sum(dim=(2, 3))
            gathered = torch.matmul(weights, embedded)
        with full_precision(inputs):
            both = torch.einsum(
                "ohd,hdw->ohw", output.unflatten(1, (self.heads, -1)), to_value.unflatten(0, (self.heads, -1))
            )
        return output_linear(gathered.flatten(1), both.flatten(1))

    def weights(self, inputs: Float[Tensor, "L E I"], view: Bool[Tensor, "L A E"]) -> Float[Tensor, "L H A E"]:
        """How each head of each agent divides its attention among the entities that the view shows; for inspection."""
        embedded = self.embed(inputs).relu_()
        to_key, _ = self.key_value.weight.chunk(2)
        key = nn.functional.linear(embedded, to_key).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return self._weights(embedded, key, view.unsqueeze(1))[:, :, 0]

    def _uses_kernels(self, inputs: Tensor) -> bool:
        fits = fused.fits(self.query.weight.shape[0], self.heads) and not inputs.requires_grad
        return fits and fused.usable(inputs, self.query.weight)

    @property
    def _embedding(self) -> tuple[Tensor, Tensor]:
        return self.embed.weight, self.embed.bias

    def _weights(
        self, embedded: Float[Tensor, "L E width"], key: Float[Tensor, "L H E D"], views: Bool[Tensor, "L V A E"]
    ) -> Float[Tensor, "L H V A E"]:
        """Softmax of the scores over what each view shows; zeros for a row that shows nothing."""
        steps, _, n_agents, _ = views.shape
        # Flat, as a matrix product over a slice is slow in the backward pass.
        query = nn.functional.linear(embedded[:, :n_agents].flatten(0, 1), self.query.weight * key.shape[-1] ** -0.5)
        scores = torch.matmul(query.view(steps, n_agents, self.heads, -1).transpose(1, 2), key.transpose(-1, -2))
        hidden = ~views.unsqueeze(1)
        seen = scores.unsqueeze(2).masked_fill(hidden, torch.finfo(scores.dtype).min)
        return seen.softmax(dim=-1).masked_fill(hidden, 0.0)
