"""Entity attention: each agent attends to the entities that a view shows it. All views share one projection.

Axes, in addition to those of `mipi_pl.spec`:

| axis | size |
|---|---|
| H | attention heads |
| D | size of a head |
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from mipi_pl.models import fused, fused_attention
from mipi_pl.models.packing import AgentRows
from mipi_pl.models.precision import full_precision, output_linear


def with_last_action(
    entities: Float[Tensor, "L E F"], last_action: Int64[Tensor, "L A"], n_kinds: int
) -> Float[Tensor, "L E I"]:
    """Append the last action to each entity, one-hot: zeros for entities that are not agents or have not acted yet.

    Args:
        entities: features of the entities; the first A are the agents.
        last_action: kind of each agent's last action; `n_kinds` if it has not acted yet.
        n_kinds: K, number of action kinds.

    Examples:
        >>> with_last_action(torch.zeros(1, 2, 1), torch.tensor([[1]]), n_kinds=2).tolist()
        [[[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]]
    """
    one_hot = entities.new_zeros(*entities.shape[:2], n_kinds + 1)
    one_hot[:, : last_action.shape[1]].scatter_(-1, last_action.unsqueeze(-1), 1.0)
    return torch.cat((entities, one_hot[..., :n_kinds]), dim=-1)


class EntityAttention(nn.Module):
    """Linear layer, ReLU, then multi-head attention of the first A entities over all E entities, under V views at once.

    Embeddings, queries, keys, values and scores do not depend on the view, so they are computed once for all V views.
    The output of an agent that sees nothing is zero.

    Args:
        n_inputs: I, inputs per entity.
        width: size of the embeddings and of the output.
        heads: number of attention heads; must divide `width`.

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
        """Return the attention of entities 0 to A-1 of each step over the entities that each view shows."""
        agents = AgentRows.from_mask(views.any(dim=3).any(dim=1))
        return agents.pad(self.of_agents(inputs, views, agents))

    def of_agents(
        self, inputs: Float[Tensor, "L E I"], views: Bool[Tensor, "L V A E"], agents: AgentRows
    ) -> Float[Tensor, "Q V width"]:
        """Compute `forward` for the given agents only. The kernels skip the entities that none of them sees."""
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

    def plain(self, inputs: Float[Tensor, "L E I"], view: Bool[Tensor, "L A E"]) -> Float[Tensor, "L A width"]:
        """Compute `forward` under one view in plain PyTorch, without a shape that depends on the content."""
        _, to_value = self.key_value.weight.chunk(2)
        value = nn.functional.linear(self.embed(inputs).relu(), to_value)
        mixed = self.weights(inputs, view) @ value.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return mixed.transpose(1, 2).flatten(2)

    def summed(
        self, inputs: Float[Tensor, "L E I"], view: Bool[Tensor, "L A E"], output: Float[Tensor, "out width"]
    ) -> Float[Tensor, "L out"]:
        """Sum `forward` over the agents under one view, then apply a linear layer with the weight `output`.

        The embeddings are summed before they are projected, so the projection to values and the layer merge into one
        matrix. That matrix is computed in full precision.
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
        """Return the attention weights of each head and agent under one view, for inspection."""
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
        """Softmax of the scores over the entities that each view shows; zeros for an agent that sees nothing."""
        steps, _, n_agents, _ = views.shape
        # Flatten first: the backward pass of a matrix product over a slice is slow.
        query = nn.functional.linear(embedded[:, :n_agents].flatten(0, 1), self.query.weight * key.shape[-1] ** -0.5)
        scores = torch.matmul(query.view(steps, n_agents, self.heads, -1).transpose(1, 2), key.transpose(-1, -2))
        hidden = ~views.unsqueeze(1)
        seen = scores.unsqueeze(2).masked_fill(hidden, torch.finfo(scores.dtype).min)
        return seen.softmax(dim=-1).masked_fill(hidden, 0.0)
