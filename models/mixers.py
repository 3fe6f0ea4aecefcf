"""Mixers: combine the utilities of the agents into the joint value (eqs. 14, 15).

A mixer computes `MixerWeights` from the state once and can apply them to several sets of utilities. With a linear
mixer, the expectation over joint actions is the joint value of the agents' expected utilities, so it costs one pass.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from mipi_pl.models.attention import EntityAttention
from mipi_pl.models.packing import AgentRows
from mipi_pl.models.precision import OutputLinear, full_precision


@dataclass
class MixerWeights:
    """Mixing weights of L steps with several mixing units, computed from the state.

    Attributes:
        first: [L, V, A, mixing], first-layer weights of each view: non-negative, 0 for agents that do not act.
        bias: [L, mixing], added before the non-linearity.
        final: [L, mixing], final-layer weights: non-negative.
        value: [L], state value, added to the output.
    """

    first: Tensor
    bias: Tensor
    final: Tensor
    value: Tensor

    def of_agents(self) -> Tensor:
        """Return the weights w_i [L, A] of a linear mixer under view 0 (eq. 15); with an ELU, those at slope 1."""
        with full_precision(self.final):
            return torch.einsum("lak,lk->la", self.first[:, 0], self.final)


class Mixer(nn.Module, ABC):
    """Interface of a mixer for the algorithms."""

    linear: bool
    """Whether the joint value is linear in the utilities."""

    @abstractmethod
    def weights(
        self,
        inputs: Float[Tensor, "L E I"],
        views: Bool[Tensor, "L V A E"],
        acting: Bool[Tensor, "L A"],
    ) -> MixerWeights:
        """Compute the mixing weights.

        Args:
            inputs: features and last actions of the entities.
            views: entities that the first-layer weights depend on. View 0 shows all present entities; bias, final
                layer and value depend on it only.
            acting: agents that act.
        """

    @abstractmethod
    def mix(self, utilities: Float[Tensor, "L V A"], weights: MixerWeights, views: list[int]) -> Float[Tensor, " L"]:
        """Return the joint value; ``utilities[:, j]`` is mixed with the weights of view ``views[j]``."""


class SumMixer(Mixer):
    """Sum of the utilities of the acting agents (VDN). It has no parameters and ignores the sizes it is given."""

    linear = True

    def __init__(self, n_features: int, n_kinds: int, n_agents: int) -> None:
        super().__init__()

    def weights(
        self,
        inputs: Float[Tensor, "L E I"],
        views: Bool[Tensor, "L V A E"],
        acting: Bool[Tensor, "L A"],
    ) -> MixerWeights:
        """Return weight 1 for each agent that acts."""
        steps, n_views = views.shape[:2]
        ones = acting.to(inputs.dtype)[:, None, :, None].expand(-1, n_views, -1, -1)
        zeros = inputs.new_zeros(steps)
        return MixerWeights(ones, zeros.unsqueeze(-1), inputs.new_ones(steps, 1), zeros)

    def mix(self, utilities: Float[Tensor, "L V A"], weights: MixerWeights, views: list[int]) -> Float[Tensor, " L"]:
        """Return the sum over all agents and all sets of utilities."""
        return (utilities * weights.first[:, views, :, 0]).sum(dim=(1, 2))


class AttentionMixer(Mixer):
    """REFIL's mixer with four hypernetworks.

    Each hypernetwork embeds the entities, attends from the agents to all entities and applies a linear layer.

    Args:
        n_features: F, features of an entity.
        n_kinds: K, number of action kinds.
        n_agents: A, the capacity; divisor of the pooled hypernetworks with ``pool="slots"``.
        width: size of the entity embeddings of the hypernetworks (128 in the paper).
        heads: number of attention heads (4 in the paper).
        mixing: number of mixing units (32 in the paper).
        linear: True for the paper's linear mixer, False for REFIL's ELU.
        pool: how bias, final layer and value are averaged over the agents: over all ``slots`` as in REFIL, so that they
            shrink with the team, or over the ``present`` agents.

    Raises:
        ValueError: if `pool` is unknown or a size is not positive.
    """

    def __init__(
        self,
        n_features: int,
        n_kinds: int,
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
        if mixing < 1:
            raise ValueError(f"mixer.mixing must be at least 1, got {mixing}")
        self.linear = linear
        self.pool = pool
        self.n_agents = n_agents
        n_inputs = n_features + n_kinds
        self.first = Hypernetwork(n_inputs, width, heads, mixing)
        self.bias = Hypernetwork(n_inputs, width, heads, mixing)
        self.final = Hypernetwork(n_inputs, width, heads, mixing)
        self.value = Hypernetwork(n_inputs, width, heads, 1)

    def weights(
        self,
        inputs: Float[Tensor, "L E I"],
        views: Bool[Tensor, "L V A E"],
        acting: Bool[Tensor, "L A"],
    ) -> MixerWeights:
        """Compute the mixing weights; those of the first layer are a softmax over the mixing units."""
        full = views[:, :1]
        present = full[:, 0].any(-1)
        agents = AgentRows.from_mask(acting)
        first = agents.pad(self.first(inputs, views, agents).softmax(dim=-1))
        count = present.sum(dim=1, keepdim=True)
        divisor = self.n_agents if self.pool == "slots" else count.clamp(min=1)
        nets = (self.bias, self.final, self.value)
        bias, final, value = (net.summed(inputs, full[:, 0], count) / divisor for net in nets)
        return MixerWeights(first, bias, final.softmax(dim=-1), value.squeeze(-1))

    def mix(self, utilities: Float[Tensor, "L V A"], weights: MixerWeights, views: list[int]) -> Float[Tensor, " L"]:
        """Apply the two layers, with an ELU between them unless the mixer is linear."""
        with full_precision(utilities):
            hidden = torch.einsum("lva,lvak->lk", utilities, weights.first[:, views]) + weights.bias
        if not self.linear:
            hidden = nn.functional.elu(hidden)
        return (hidden * weights.final).sum(dim=-1) + weights.value


class Hypernetwork(nn.Module):
    """Attention of the agents over the entities, then a linear layer.

    Args:
        n_inputs: I, inputs per entity.
        width: size of the entity embeddings.
        heads: number of attention heads.
        out: size of the output per agent.
    """

    def __init__(self, n_inputs: int, width: int, heads: int, out: int) -> None:
        super().__init__()
        self.attention = EntityAttention(n_inputs, width, heads)
        self.linear = OutputLinear(width, out)

    def forward(
        self, inputs: Float[Tensor, "L E I"], views: Bool[Tensor, "L V A E"], agents: AgentRows
    ) -> Float[Tensor, "Q V out"]:
        """Return one output per agent and view."""
        outputs: Tensor = self.linear(self.attention.of_agents(inputs, views, agents))
        return outputs

    def summed(
        self, inputs: Float[Tensor, "L E I"], view: Bool[Tensor, "L A E"], count: Int64[Tensor, "L 1"]
    ) -> Float[Tensor, "L out"]:
        """Sum `forward` under one view over the agents that see anything; `count` is their number in each step."""
        return self.attention.summed(inputs, view, self.linear.weight) + count * self.linear.bias
