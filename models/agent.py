"""The recurrent entity agents: a trunk with a head of utilities, and with a policy head too (architecture of REFIL)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from models import fused
from models.attention import EntityAttention
from models.precision import full_precision
from models.targets import ActionHead, ActionKinds, Perceived


@dataclass
class PackedSteps:
    """Where the L steps that are computed stand among N episodes of up to S steps, one episode after the other.

    Attributes:
        episode: [L] episode of each step, ascending.
        step: [L] place in its episode, counted from 0.
        starts: [N + 1] first row of each episode, and L.
        episodes: N.
        length: S.

    Examples:
        >>> import torch
        >>> PackedSteps.of(torch.tensor([[True, True], [True, False]])).step.tolist()
        [0, 1, 0]
    """

    episode: Tensor
    step: Tensor
    starts: Tensor
    episodes: int
    length: int

    @classmethod
    def of(cls, mask: Bool[Tensor, "N S"]) -> PackedSteps:
        """The steps where `mask` is True: the first ones of each episode, at least one."""
        episode, step = mask.nonzero(as_tuple=True)
        starts = torch.nn.functional.pad(mask.sum(dim=1).cumsum(dim=0), (1, 0))
        return cls(episode, step, starts, *mask.shape)

    def pad(self, rows: Float[Tensor, "L *X"]) -> Float[Tensor, "S N *X"]:
        """Lay the steps out by time and episode, zeros elsewhere."""
        padded = rows.new_zeros(self.length, self.episodes, *rows.shape[1:])
        return padded.index_put((self.step, self.episode), rows)

    def pack(self, padded: Float[Tensor, "S N *X"]) -> Float[Tensor, "L *X"]:
        """Inverse of `pad`."""
        return padded[self.step, self.episode]


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
        self, rows: Float[Tensor, "L V A width"], steps: PackedSteps, state: Float[Tensor, "N V A hidden"] | None
    ) -> tuple[Float[Tensor, "L V A hidden"], Float[Tensor, "N V A hidden"]]:
        """All states, from `state` (None: zeros) on, and each episode's last one."""
        states: tuple[Tensor, Tensor] = self.unroll(self.linear(rows), steps, state)
        return states

    def unroll(
        self, rows: Float[Tensor, "L V A hidden"], steps: PackedSteps, state: Float[Tensor, "N V A hidden"] | None
    ) -> tuple[Float[Tensor, "L V A hidden"], Float[Tensor, "N V A hidden"]]:
        """From what `linear` gives."""
        rows = rows.relu_().to(self.linear.weight.dtype)
        shape = (steps.episodes, *rows.shape[1:])
        first = rows.new_zeros(shape) if state is None else state
        if fused.usable(rows, self.linear.weight) and not first.requires_grad:
            states = fused.gru(rows.flatten(1, 2), first.flatten(1, 2), steps.starts, self.gru).view(rows.shape)
        else:
            padded = steps.pad(rows)
            with full_precision(rows):
                unrolled, _ = self.gru(padded.flatten(1, 3), first.flatten(0, 2).unsqueeze(0))
            states = steps.pack(unrolled.view(padded.shape))
        return states, states[steps.starts[1:] - 1]


class Trunk(nn.Module):
    """Entities to one recurrent feature vector per agent: entity attention, then recurrence.

    Args:
        n_inputs: I, features and actions.
        width: embedding of entities and attention.
        heads: attention heads.
        hidden: recurrent state.
        own_entity_only: each agent sees no entity but its own, whatever the views show.
    """

    def __init__(self, n_inputs: int, width: int, heads: int, hidden: int, own_entity_only: bool = False) -> None:
        super().__init__()
        self.own_entity_only = own_entity_only
        self.attention = EntityAttention(n_inputs, width, heads)
        self.recurrence = Recurrence(width, hidden)

    def forward(
        self,
        inputs: Float[Tensor, "L E I"],
        views: Bool[Tensor, "L V A E"],
        steps: PackedSteps,
        state: Float[Tensor, "N V A hidden"] | None = None,
    ) -> tuple[Perceived, Float[Tensor, "N V A hidden"]]:
        """What every agent perceives under every view, and the recurrent state after the last step."""
        views = self._shown(views)
        features, last = self.recurrence(self.attention(inputs, views), steps, state)
        return Perceived(features, inputs, views), last

    def attention_weights(
        self, inputs: Float[Tensor, "L E I"], view: Bool[Tensor, "L A E"]
    ) -> Float[Tensor, "L H A E"]:
        """How each head of each agent divides its attention among those it sees; zeros where it sees none."""
        return self.attention.weights(inputs, self._shown(view))

    def _shown(self, views: Bool[Tensor, "*X A E"]) -> Bool[Tensor, "*X A E"]:
        if not self.own_entity_only:
            return views
        return views & torch.eye(*views.shape[-2:], dtype=torch.bool, device=views.device)


class Agent(nn.Module):
    """What algorithms and actors know of an agent; the parameters are shared by all agents of a team.

    Attributes:
        kinds: of its actions.
        hidden: size of the recurrent state of one agent.
        trunk: called as `Trunk.forward` is, with `attention_weights`; features and state have `hidden` numbers.
        utilities: what the trunk gives to Q_i [..., U].
    """

    kinds: ActionKinds
    hidden: int
    trunk: nn.Module
    utilities: nn.Module


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
    ) -> None:
        super().__init__()
        self.kinds = ActionKinds(n_actions, targets)
        self.hidden = hidden
        n_inputs = n_features + n_actions
        self.trunk = Trunk(n_inputs, width, heads, hidden, own_entity_only)
        self._head = partial(ActionHead, hidden, n_actions, targets, None if own_entity_only else n_inputs, width)
        self.utilities = self._head()


class EntityAgent(UtilityAgent):
    """Utility Q_i and policy pi_i on one trunk.

    Args:
        n_features: F.
        n_actions: K, kinds of action: U where none aims at an entity.
        width: embedding of entities and attention (128 in the paper).
        heads: attention heads (4).
        hidden: recurrent state (64).
        own_entity_only: the agent sees its own entity alone: the ablation alpha = infinity of appendix D.2.
        targets: groups of entities that the last kinds of action aim at; see `models.targets`.

    Examples:
        >>> import torch
        >>> agent = EntityAgent(n_features=3, n_actions=5, width=8, heads=2, hidden=4)
        >>> steps = PackedSteps.of(torch.ones(2, 7, dtype=torch.bool))
        >>> seen, state = agent.trunk(torch.zeros(14, 6, 8), torch.ones(14, 1, 4, 6, dtype=torch.bool), steps)
        >>> agent.utilities(seen).shape, agent.policy_logits(seen).shape
        (torch.Size([14, 1, 4, 5]), torch.Size([14, 1, 4, 5]))
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
    ) -> None:
        super().__init__(n_features, n_actions, width, heads, hidden, own_entity_only, targets)
        self.policy_logits = self._head()
