"""The recurrent entity agents: a trunk with a head of utilities, and with a policy head too (architecture of REFIL)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from models import fused
from models.attention import EntityAttention
from models.packing import AgentRows, PackedSteps, starts_of
from models.precision import full_precision
from models.targets import ActionHead, ActionKinds, Perceived


class Recurrence(nn.Module):
    """Linear, ReLU and a GRU over the steps of each agent, shared by all agents.

    Args:
        width: size of what comes in.
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
        """The states of these agents, from `state` (None: zeros) on, and the last one of every agent."""
        states: tuple[Tensor, Tensor] = self.unroll(self.linear(rows), agents, steps, state)
        return states

    def unroll(
        self,
        rows: Float[Tensor, "Q V hidden"],
        agents: AgentRows,
        steps: PackedSteps,
        state: Float[Tensor, "N V A hidden"] | None,
    ) -> tuple[Float[Tensor, "Q V hidden"], Float[Tensor, "N V A hidden"]]:
        """From what `linear` gives."""
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
        """The same with PyTorch's GRU: the steps in which an agent acts follow each other, padding comes last."""
        sequence = steps.episode[agents.step] * agents.n_agents + agents.agent
        counts = torch.bincount(sequence, minlength=steps.episodes * agents.n_agents)
        order = sequence.argsort(stable=True)
        place = torch.empty_like(sequence)
        place[order] = torch.arange(len(order), device=order.device) - starts_of(counts)[sequence[order]]
        padded = rows.new_zeros(max(1, int(counts.max())), len(counts), *rows.shape[1:])
        padded = padded.index_put((place, sequence), rows)
        with full_precision(rows):
            unrolled, _ = self.gru(padded.flatten(1, 2), first.flatten(0, 2).unsqueeze(0))
        unrolled = unrolled.view(padded.shape)
        ends = unrolled[counts.clamp(min=1) - 1, torch.arange(len(counts), device=counts.device)]
        last = torch.where(counts.view(-1, 1, 1) > 0, ends, first.flatten(0, 1)).view(first.shape)
        return unrolled[place, sequence], last


class Trunk(nn.Module):
    """Entities to one recurrent feature vector per agent: entity attention, then recurrence.

    Args:
        n_inputs: I, features and actions.
        width: embedding of entities and attention.
        heads: attention heads.
        hidden: recurrent state.
        own_entity_only: each agent sees no entity but its own, whatever the views show.
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
        """What every agent perceives under every view, and the recurrent state after the last step.

        The features of agents that do not act are zeros, their states stay what they were.
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

    def attention_weights(
        self, inputs: Float[Tensor, "L E I"], view: Bool[Tensor, "L A E"]
    ) -> Float[Tensor, "L H A E"]:
        """How each head of each agent divides its attention among those it sees; zeros where it sees none."""
        return self.attention.weights(inputs, self._shown(view))

    def _shown(self, views: Bool[Tensor, "*X A E"]) -> Bool[Tensor, "*X A E"]:
        if not self.own_entity_only:
            return views
        return views & torch.eye(*views.shape[-2:], dtype=torch.bool, device=views.device)


class Agent(nn.Module, ABC):
    """What algorithms and actors know of an agent; the parameters are shared by all agents of a team.

    Args:
        kinds: of its actions.
        hidden: size of the recurrent state of one agent.

    Attributes:
        trunk: called as `Trunk.forward` is, with `attention_weights`; features and state have `hidden` numbers.
        utilities: what the trunk gives to Q_i [..., U].
    """

    trunk: nn.Module
    utilities: nn.Module

    def __init__(self, kinds: ActionKinds, hidden: int) -> None:
        super().__init__()
        self.kinds = kinds
        self.hidden = hidden

    @property
    @abstractmethod
    def policy(self) -> nn.Module | None:
        """The head of logits [..., U] that actions are drawn from; None where the best utility is taken."""


class UtilityAgent(Agent):
    """Utilities Q_i on a trunk: the agent of the value-based algorithms.

    Args:
        n_features: F.
        n_actions: K, kinds of action: U where none aims at an entity.
        width: embedding of entities and attention (128 in the paper).
        heads: attention heads (4).
        hidden: recurrent state (64).
        own_entity_only: the agent sees its own entity alone: the ablation alpha = infinity of appendix D.2.
        targets: groups of entities that the last kinds of action aim at; see `models.targets`.
        own_path: see `Trunk`.
        normalize: see `Trunk`.
        pair_units: units of the pair scores of target actions; 0 for none. See `models.targets.PairScores`.

    Examples:
        >>> import torch
        >>> agent = UtilityAgent(n_features=3, n_actions=5, width=8, heads=2, hidden=4)
        >>> steps = PackedSteps.of(torch.ones(2, 7, dtype=torch.bool))
        >>> seen, state = agent.trunk(torch.zeros(14, 6, 8), torch.ones(14, 1, 4, 6, dtype=torch.bool), steps)
        >>> agent.utilities(seen).shape
        torch.Size([14, 1, 4, 5])
    """

    def __init__(
        self,
        n_features: int,
        n_actions: int,
        width: int = 128,
        heads: int = 4,
        hidden: int = 64,
        own_entity_only: bool = False,
        targets: tuple[str, ...] = (),
        own_path: bool = False,
        normalize: bool = False,
        pair_units: int = 0,
    ) -> None:
        super().__init__(ActionKinds(n_actions, targets), hidden)
        n_inputs = n_features + n_actions
        self.trunk = Trunk(n_inputs, width, heads, hidden, own_entity_only, own_path, normalize)
        seen_inputs = None if own_entity_only else n_inputs
        self._add_heads(partial(ActionHead, hidden, n_actions, targets, seen_inputs, width, pair_units))

    def _add_heads(self, head: Callable[[], ActionHead]) -> None:
        """Make the heads, each by a call of `head`."""
        self.utilities = head()

    @property
    def policy(self) -> nn.Module | None:
        """None: it acts by its utilities."""
        return None


class EntityAgent(UtilityAgent):
    """Utility Q_i and policy pi_i on one trunk; its arguments are those of `UtilityAgent`.

    Examples:
        >>> import torch
        >>> agent = EntityAgent(n_features=3, n_actions=5, width=8, heads=2, hidden=4)
        >>> steps = PackedSteps.of(torch.ones(2, 7, dtype=torch.bool))
        >>> seen, state = agent.trunk(torch.zeros(14, 6, 8), torch.ones(14, 1, 4, 6, dtype=torch.bool), steps)
        >>> agent.utilities(seen).shape, agent.policy_logits(seen).shape
        (torch.Size([14, 1, 4, 5]), torch.Size([14, 1, 4, 5]))
    """

    policy_logits: ActionHead

    def _add_heads(self, head: Callable[[], ActionHead]) -> None:
        super()._add_heads(head)
        self.policy_logits = head()

    @property
    def policy(self) -> nn.Module | None:
        """The head of pi_i."""
        return self.policy_logits
