"""The trunk of an agent: entity attention, then a GRU over the steps of each agent (architecture of REFIL)."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mipi_pl.models import fused
from mipi_pl.models.attention import EntityAttention
from mipi_pl.models.packing import AgentRows, PackedSteps, starts_of
from mipi_pl.models.precision import full_precision
from mipi_pl.models.targets import Perceived


class Recurrence(nn.Module):
    """Linear layer, ReLU and a GRU over the steps of each agent, shared by all agents.

    Args:
        width: size of the input.
        hidden: size of the recurrent state.

    Raises:
        ValueError: if a size is not positive.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        if width < 1 or hidden < 1:
            raise ValueError(f"width and hidden must be at least 1, got width={width}, hidden={hidden}")
        self.linear = nn.Linear(width, hidden)
        self.gru = nn.GRU(hidden, hidden)

    def forward(
        self,
        rows: Float[Tensor, "Q V width"],
        agents: AgentRows,
        steps: PackedSteps,
        state: Float[Tensor, "N V A hidden"] | None,
    ) -> tuple[Float[Tensor, "Q V hidden"], Float[Tensor, "N V A hidden"]]:
        """Return the recurrent state after each row, and the last state of every agent.

        Args:
            rows: inputs of the agents that are computed.
            agents: step and agent of each row.
            steps: episode and step of the L steps.
            state: recurrent states before the first step of each episode; None for zeros.
        """
        states: tuple[Tensor, Tensor] = self.unroll(self.linear(rows), agents, steps, state)
        return states

    def step(self, rows: Float[Tensor, "B A width"], state: Float[Tensor, "B A hidden"]) -> Float[Tensor, "B A hidden"]:
        """Return the recurrent states after one step, in plain PyTorch."""
        gru, inputs = self.gru, self.linear(rows).relu()
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        parameters = [gru.get_parameter(name) for name in names]
        return torch.gru_cell(inputs.flatten(0, 1), state.flatten(0, 1), *parameters).view_as(state)

    def unroll(
        self,
        rows: Float[Tensor, "Q V hidden"],
        agents: AgentRows,
        steps: PackedSteps,
        state: Float[Tensor, "N V A hidden"] | None,
    ) -> tuple[Float[Tensor, "Q V hidden"], Float[Tensor, "N V A hidden"]]:
        """Compute `forward` from the output of `linear`; applies the ReLU to `rows` in place."""
        rows = rows.relu_().to(self.linear.weight.dtype)
        shape = (steps.episodes, agents.n_agents, *rows.shape[1:])
        first = rows.new_zeros(shape) if state is None else state.transpose(1, 2).contiguous()
        if fused.usable(rows, self.linear.weight):
            states, last = fused.gru(rows, first, agents, steps.starts, self.gru)
        else:
            states, last = self._unroll_padded(rows, first, agents, steps)
        return states, last.transpose(1, 2)

    def _unroll_padded(
        self, rows: Tensor, first: Tensor, agents: AgentRows, steps: PackedSteps
    ) -> tuple[Tensor, Tensor]:
        """Run PyTorch's GRU on padded sequences: first the steps in which an agent acts, then the padding."""
        sequence = steps.episode[agents.step] * agents.n_agents + agents.agent
        counts = torch.bincount(sequence, minlength=steps.episodes * agents.n_agents)
        order = sequence.argsort(stable=True)
        place = torch.empty_like(sequence)
        place[order] = torch.arange(len(order), device=order.device) - starts_of(counts)[sequence[order]]
        padded = rows.new_zeros(max(1, int(counts.max())), len(counts), *rows.shape[1:])
        padded = padded.index_put_((place, sequence), rows)
        with full_precision(rows):
            unrolled, _ = self.gru(padded.flatten(1, 2), first.flatten(0, 2).unsqueeze(0))
        unrolled = unrolled.view(padded.shape)
        ends = unrolled[counts.clamp(min=1) - 1, torch.arange(len(counts), device=counts.device)]
        last = torch.where(counts.view(-1, 1, 1) > 0, ends, first.flatten(0, 1)).view(first.shape)
        return unrolled[place, sequence], last


class Trunk(nn.Module):
    """Maps the entities of each step to one recurrent feature vector per agent: entity attention, then recurrence.

    Args:
        n_inputs: I, inputs per entity: features and last action.
        width: size of the entity embeddings and the attention.
        heads: number of attention heads.
        hidden: size of the recurrent state.
        own_entity_only: restrict each agent to its own entity, whatever the views show.
        own_path: add a linear map of the agent's own entity to its attention output. Without it, an agent's own
            features reach its recurrent state only through the attention.
        normalize: LayerNorm after the attention and after the recurrence.
    """

    def __init__(
        self,
        n_inputs: int,
        width: int,
        heads: int,
        hidden: int,
        own_entity_only: bool = False,
        own_path: bool = False,
        normalize: bool = False,
    ) -> None:
        super().__init__()
        self.own_entity_only = own_entity_only
        self.attention = EntityAttention(n_inputs, width, heads)
        self.own = nn.Linear(n_inputs, width, bias=False) if own_path else None
        self.attention_norm = nn.LayerNorm(width) if normalize else nn.Identity()
        self.recurrence = Recurrence(width, hidden)
        self.state_norm = nn.LayerNorm(hidden) if normalize else nn.Identity()

    def forward(
        self,
        inputs: Float[Tensor, "L E I"],
        views: Bool[Tensor, "L V A E"],
        steps: PackedSteps,
        state: Float[Tensor, "N V A hidden"] | None = None,
    ) -> tuple[Perceived, Float[Tensor, "N V A hidden"]]:
        """Return every agent's features under every view, and its recurrent state after the last step.

        Agents that do not act have zero features and keep their recurrent state.

        Args:
            inputs: features and last actions of the entities.
            views: which entities each agent sees.
            steps: episode and step of each row, and the agents that act.
            state: recurrent states before the first step of each episode; None for zeros.
        """
        views = self._shown(views)
        agents = steps.agents(views.shape[2])
        rows = self.attention.of_agents(inputs, views, agents)
        if self.own is not None:
            rows = rows + self.own(agents.pack(inputs[:, : views.shape[2]].unsqueeze(1)))
        features, last = self.recurrence(self.attention_norm(rows), agents, steps, state)
        with full_precision(features):
            features = self.state_norm(features)
        return Perceived(agents.pad(features), inputs, views), last

    def step(
        self,
        inputs: Float[Tensor, "B E I"],
        view: Bool[Tensor, "B A E"],
        state: Float[Tensor, "B A hidden"],
    ) -> tuple[Perceived, Float[Tensor, "B A hidden"]]:
        """Compute `forward` for one step under one view, in plain PyTorch and without packing: for exported policies.

        Args:
            inputs: features and last actions of the entities.
            view: which entities each agent sees; an agent that acts sees itself.
            state: recurrent states before the step.

        Returns:
            Features of the agents, and the recurrent states after the step.
        """
        view = self._shown(view)
        n_agents = view.shape[1]
        acts = view[..., :n_agents].diagonal(dim1=-2, dim2=-1).unsqueeze(-1)
        rows = self.attention.plain(inputs, view)
        if self.own is not None:
            rows = rows + self.own(inputs[:, :n_agents])
        after = self.recurrence.step(self.attention_norm(rows), state)
        features = torch.where(acts, self.state_norm(after), 0.0)
        return Perceived(features, inputs, view), torch.where(acts, after, state)

    def attention_weights(
        self, inputs: Float[Tensor, "L E I"], view: Bool[Tensor, "L A E"]
    ) -> Float[Tensor, "L H A E"]:
        """Return the attention weights of each head and agent; zeros for an agent that sees nothing."""
        return self.attention.weights(inputs, self._shown(view))

    def _shown(self, views: Bool[Tensor, "*X A E"]) -> Bool[Tensor, "*X A E"]:
        if not self.own_entity_only:
            return views
        return views & torch.eye(*views.shape[-2:], dtype=torch.bool, device=views.device)
