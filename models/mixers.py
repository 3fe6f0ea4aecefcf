"""Mixers: from the utilities of the agents to the joint value (eqs. 14, 15).

A mixer first turns the state into `MixerWeights`, then applies them to as many sets of utilities as are wanted. For a
linear mixer the expectation over joint actions is the joint value of the agents' expectations, so it costs one pass.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from models.attention import EntityAttention, EntityEncoder


@dataclass
class MixerWeights:
    """Weights made from the state of each step (L steps, K mixing units).

    Attributes:
        first: [V, L, A, K], not negative, 0 for agents that do not act; one set per view.
        bias: [L, K] added before the non-linearity.
        final: [L, K], not negative.
        value: [L] state value.
    """

    first: Tensor
    bias: Tensor
    final: Tensor
    value: Tensor

    def of_agents(self, view: int = 0) -> Tensor:
        """w_i [L, A] of a linear mixer (eq. 15)."""
        return torch.einsum("lak,lk->la", self.first[view], self.final)


class Mixer(nn.Module, ABC):
    """What the algorithms know of a mixer."""

    linear: bool
    """Whether the joint value is linear in the utilities."""

    @abstractmethod
    def weights(
        self,
        entities: Float[Tensor, "L E F"],
        last_action: Int64[Tensor, "L A"],
        views: Bool[Tensor, "V L A E"],
        acting: Bool[Tensor, "L A"],
    ) -> MixerWeights:
        """Weights for each view; the bias, final layer and value come from view 0, which shows all present entities."""

    @abstractmethod
    def mix(
        self, utilities: Float[Tensor, "V L A"], weights: MixerWeights, views: list[int]
    ) -> Float[Tensor, " L"]:
        """Joint value of the utilities; ``utilities[j]`` is mixed with the weights made under view ``views[j]``."""


class SumMixer(Mixer):
    """VDN: the sum of the utilities of the agents that act."""

    linear = True

    def weights(
        self,
        entities: Float[Tensor, "L E F"],
        last_action: Int64[Tensor, "L A"],
        views: Bool[Tensor, "V L A E"],
        acting: Bool[Tensor, "L A"],
    ) -> MixerWeights:
        """Ones for agents that act."""
        steps = entities.shape[0]
        ones = acting.to(entities.dtype).unsqueeze(-1).expand(views.shape[0], -1, -1, -1)
        zeros = entities.new_zeros(steps)
        return MixerWeights(ones, zeros.unsqueeze(-1), entities.new_ones(steps, 1), zeros)

    def mix(
        self, utilities: Float[Tensor, "V L A"], weights: MixerWeights, views: list[int]
    ) -> Float[Tensor, " L"]:
        """Sum over all sets of utilities."""
        return (utilities * weights.first[views, ..., 0]).sum(dim=(0, 2))


class AttentionMixer(Mixer):
    """REFIL's mixer: four hypernetworks, each an entity encoder, attention of the agents over all entities, a linear layer.

    Args:
        n_features: F.
        n_actions: U.
        n_agents: A, the capacity; what the pooled hypernetworks divide by with ``pool="slots"``.
        width: embedding of the hypernetworks (128 in the paper).
        heads: attention heads (4).
        mixing: K, mixing units (32).
        linear: True for the paper's linear mixer, False for REFIL's ELU.
        pool: bias, final layer and value are means over the agents: over all ``slots`` as REFIL does, so that they shrink
            with the team, or over the ``present`` agents.

    Raises:
        ValueError: for another `pool`.
    """

    def __init__(
        self,
        n_features: int,
        n_actions: int,
        n_agents: int,
        width: int = 128,
        heads: int = 4,
        mixing: int = 32,
        linear: bool = True,
        pool: str = "slots",
    ) -> None:
        super().__init__()
        if pool not in ("slots", "present"):
            raise ValueError(f"mixer.pool must be 'slots' or 'present', got {pool!r}")
        self.linear = linear
        self.pool = pool
        self.n_agents = n_agents
        self.first = Hypernetwork(n_features, n_actions, width, heads, mixing)
        self.bias = Hypernetwork(n_features, n_actions, width, heads, mixing)
        self.final = Hypernetwork(n_features, n_actions, width, heads, mixing)
        self.value = Hypernetwork(n_features, n_actions, width, heads, 1)

    def weights(
        self,
        entities: Float[Tensor, "L E F"],
        last_action: Int64[Tensor, "L A"],
        views: Bool[Tensor, "V L A E"],
        acting: Bool[Tensor, "L A"],
    ) -> MixerWeights:
        """First-layer weights for each view by softmax over the mixing units; the rest under view 0."""
        full, inputs = views[:1], (entities, last_action)
        present = full[0].any(-1)
        first = self.first(*inputs, views).softmax(dim=-1) * acting.unsqueeze(-1)
        pooled = (self._pool(net(*inputs, full)[0], present) for net in (self.bias, self.final, self.value))
        bias, final, value = pooled
        return MixerWeights(first, bias, final.softmax(dim=-1), value.squeeze(-1))

    def mix(
        self, utilities: Float[Tensor, "V L A"], weights: MixerWeights, views: list[int]
    ) -> Float[Tensor, " L"]:
        """Two layers, with or without the ELU between them."""
        hidden = torch.einsum("vla,vlak->lk", utilities, weights.first[views]) + weights.bias
        if not self.linear:
            hidden = nn.functional.elu(hidden)
        return (hidden * weights.final).sum(dim=-1) + weights.value

    def _pool(self, outputs: Float[Tensor, "L A K"], present: Bool[Tensor, "L A"]) -> Float[Tensor, "L K"]:
        total = (outputs * present.unsqueeze(-1)).sum(dim=1)
        if self.pool == "slots":
            return total / self.n_agents
        return total / present.sum(dim=1, keepdim=True).clamp(min=1)


class Hypernetwork(nn.Module):
    """Entity encoder, attention of the agents over the entities, linear layer.

    Args:
        n_features: F.
        n_actions: U.
        width: embedding.
        heads: attention heads.
        out: size of the output per agent.
    """

    def __init__(self, n_features: int, n_actions: int, width: int, heads: int, out: int) -> None:
        super().__init__()
        self.encoder = EntityEncoder(n_features, n_actions, width)
        self.attention = EntityAttention(width, heads)
        self.linear = nn.Linear(width, out)

    def forward(
        self, entities: Float[Tensor, "L E F"], last_action: Int64[Tensor, "L A"], views: Bool[Tensor, "V L A E"]
    ) -> Float[Tensor, "V L A out"]:
        """One output per agent and view."""
        return self.linear(self.attention(self.encoder(entities, last_action), views))
