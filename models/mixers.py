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

from models.attention import EntityAttention
from models.packing import AgentRows
from models.precision import OutputLinear, full_precision


@dataclass
class MixerWeights:
    """Weights made from the state of each step (L steps, K mixing units).

    Attributes:
        first: [L, V, A, K], not negative, 0 for agents that do not act; one set per view.
        bias: [L, K] added before the non-linearity.
        final: [L, K], not negative.
        value: [L] state value.
    """

    first: Tensor
    bias: Tensor
    final: Tensor
    value: Tensor

    def of_agents(self) -> Tensor:
        """w_i [L, A] of a linear mixer under view 0 (eq. 15); with an ELU, the weight where its slope is 1."""
        with full_precision(self.final):
            return torch.einsum("lak,lk->la", self.first[:, 0], self.final)


class Mixer(nn.Module, ABC):
    """What the algorithms know of a mixer."""

    linear: bool
    """Whether the joint value is linear in the utilities."""

    @abstractmethod
    def weights(
        self,
        inputs: Float[Tensor, "L E I"],
        views: Bool[Tensor, "L V A E"],
        acting: Bool[Tensor, "L A"],
    ) -> MixerWeights:
        """Weights for each view; the bias, final layer and value come from view 0, which shows all present entities."""

    @abstractmethod
    def mix(self, utilities: Float[Tensor, "L V A"], weights: MixerWeights, views: list[int]) -> Float[Tensor, " L"]:
        """Joint value of the utilities; ``utilities[:, j]`` is mixed with those made under view ``views[j]``."""


class SumMixer(Mixer):
    """VDN: the sum of the utilities of the agents that act. It needs none of the sizes."""

    linear = True

    def __init__(self, n_features: int, n_actions: int, n_agents: int) -> None:
        super().__init__()

    def weights(
        self,
        inputs: Float[Tensor, "L E I"],
        views: Bool[Tensor, "L V A E"],
        acting: Bool[Tensor, "L A"],
    ) -> MixerWeights:
        """Ones for agents that act."""
        steps, n_views = views.shape[:2]
        ones = acting.to(inputs.dtype)[:, None, :, None].expand(-1, n_views, -1, -1)
        zeros = inputs.new_zeros(steps)
        return MixerWeights(ones, zeros.unsqueeze(-1), inputs.new_ones(steps, 1), zeros)

    def mix(self, utilities: Float[Tensor, "L V A"], weights: MixerWeights, views: list[int]) -> Float[Tensor, " L"]:
        """Sum over all sets of utilities."""
        return (utilities * weights.first[:, views, :, 0]).sum(dim=(1, 2))


class AttentionMixer(Mixer):
    """REFIL's mixer: four hypernetworks, each an entity encoder, attention of agents over all entities, a linear layer.

    Args:
        n_features: F.
        n_actions: K, kinds of action: U where none aims at an entity.
        n_agents: A, the capacity; what the pooled hypernetworks divide by with ``pool="slots"``.
        width: embedding of the hypernetworks (128 in the paper).
        heads: attention heads (4).
        mixing: K, mixing units (32).
        linear: True for the paper's linear mixer, False for REFIL's ELU.
        pool: bias, final layer and value are means over the agents: over all ``slots`` as REFIL does, so that they
            shrink with the team, or over the ``present`` agents.

    Raises:
        ValueError: for another `pool` or a size that is not positive.
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
        if mixing < 1:
            raise ValueError(f"mixer.mixing must be at least 1, got {mixing}")
        self.linear = linear
        self.pool = pool
        self.n_agents = n_agents
        n_inputs = n_features + n_actions
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
        """First-layer weights for each view by softmax over the mixing units; the rest under view 0."""
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
        """Two layers, with or without the ELU between them."""
        with full_precision(utilities):
            hidden = torch.einsum("lva,lvak->lk", utilities, weights.first[:, views]) + weights.bias
        if not self.linear:
            hidden = nn.functional.elu(hidden)
        return (hidden * weights.final).sum(dim=-1) + weights.value


class Hypernetwork(nn.Module):
    """Attention of the agents over the entities, then a linear layer.

    Args:
        n_inputs: I.
        width: embedding.
        heads: attention heads.
        out: size of the output per agent.
    """

    def __init__(self, n_inputs: int, width: int, heads: int, out: int) -> None:
        super().__init__()
        self.attention = EntityAttention(n_inputs, width, heads)
        self.linear = OutputLinear(width, out)

    def forward(
        self, inputs: Float[Tensor, "L E I"], views: Bool[Tensor, "L V A E"], agents: AgentRows
    ) -> Float[Tensor, "Q V out"]:
        """One output for each of these agents and each view."""
        outputs: Tensor = self.linear(self.attention.of_agents(inputs, views, agents))
        return outputs

    def summed(
        self, inputs: Float[Tensor, "L E I"], view: Bool[Tensor, "L A E"], count: Int64[Tensor, "L 1"]
    ) -> Float[Tensor, "L out"]:
        """The sum of ``forward`` under one view over the `count` agents of each step that see anything."""
        return self.attention.summed(inputs, view, self.linear.weight) + count * self.linear.bias
