"""Actions of any number of entities: fixed ones, and kinds of action, such as attack, that aim at one entity each.

A world whose last actions are one for each slot of a group of entities says so in `EntitySpec.targets`. No weight here
depends on how many slots there are, so the same weights act in a world of any capacity.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from models.precision import OutputLinear, full_precision, output_linear


@dataclass(frozen=True)
class ActionKinds:
    """The actions of a world of any capacity: fixed ones, each a kind of its own, then one kind per group of targets.

    Attributes:
        n_kinds: K, with the kinds that aim at entities, which are the last ones.
        targets: the group of each of these: ``others`` (entities A to E-1) or ``agents`` (0 to A-1).

    Example:
        >>> ActionKinds(3, ("others",)).of_actions(n_agents=2, n_entities=4).tolist()
        [0, 1, 2, 2, 3]
    """

    n_kinds: int
    targets: tuple[str, ...] = ()

    @property
    def n_fixed(self) -> int:
        """Actions that aim at nothing."""
        return self.n_kinds - len(self.targets)

    def slots(self, n_agents: int, n_entities: int) -> list[slice]:
        """Entities of each group of targets."""
        return [slice(n_agents) if group == "agents" else slice(n_agents, n_entities) for group in self.targets]

    def of_actions(self, n_agents: int, n_entities: int) -> Int64[Tensor, " actions"]:
        """The kind of each action, and K in the place of "none so far"."""
        sizes = [len(range(n_entities)[slots]) for slots in self.slots(n_agents, n_entities)]
        repeats = torch.tensor([1] * self.n_fixed + sizes + [1])
        return torch.arange(self.n_kinds + 1).repeat_interleave(repeats)

    def kept(self, full: tuple[int, int], cut: tuple[int, int]) -> Int64[Tensor, " kept"]:
        """The actions that are left when the last slots of both sides are cut off; sizes are (A, E).

        Example:
            >>> ActionKinds(3, ("others", "agents")).kept(full=(2, 5), cut=(1, 2)).tolist()
            [0, 1, 4]
        """
        kind = self.of_actions(*full)[:-1]
        sizes = torch.ones(self.n_kinds, dtype=torch.int64)
        sizes[self.n_fixed :] = torch.tensor([len(range(cut[1])[slots]) for slots in self.slots(*cut)])
        place = torch.arange(len(kind)) - torch.searchsorted(kind, kind)
        return (place < sizes[kind]).nonzero().squeeze(-1)


@dataclass
class Perceived:
    """What actions are scored from: the agents' features under some views, and the entities that these show.

    Attributes:
        features: [L, *V, A, H] of the trunk.
        entities: [L, E, I] as the trunk took them.
        views: [L, *V, A, E].
    """

    features: Tensor
    entities: Tensor
    views: Tensor

    def view(self, number: int) -> Perceived:
        """One of V views, without the axis."""
        return Perceived(self.features[:, number], self.entities, self.views[:, number])

    def rows(self, rows: Tensor) -> Perceived:
        """Some of the L steps."""
        return Perceived(self.features[rows], self.entities[rows], self.views[rows])

    def detach(self) -> Perceived:
        """Without gradient."""
        return Perceived(self.features.detach(), self.entities, self.views)


class TargetScores(nn.Module):
    """How well each entity of a group suits each agent: scaled dot product of the agent's state and the entity.

    The embedding is the head's own: that of the trunk belongs to the critic, which the policy must not move.

    Args:
        hidden: H, features of an agent.
        n_inputs: I.
        width: embedding of the entities.
        pair_units: of the `PairScores` that are added; 0 for none.
    """

    def __init__(self, hidden: int, n_inputs: int, width: int, pair_units: int = 0) -> None:
        super().__init__()
        self.pairs = PairScores(hidden, n_inputs, pair_units) if pair_units else None
        self.embed = nn.Linear(n_inputs, width)
        self.key = nn.Linear(width, hidden, bias=False)
        self.query = nn.Linear(hidden, hidden)

    def forward(self, seen: Perceived, slots: slice) -> Float[Tensor, "*X A targets"]:
        """Zero for entities that the view does not show."""
        key = output_linear(self.embed(seen.entities[:, slots]).relu(), self.key.weight)
        query = output_linear(seen.features, self.query.weight, self.query.bias) * key.shape[-1] ** -0.5
        with full_precision(query):
            scores = torch.matmul(query.flatten(1, -2), key.transpose(1, 2))
        shown = seen.views[..., slots]
        scores = scores.view(shown.shape)
        if self.pairs is not None:
            scores = scores + self.pairs(seen, slots)
        return torch.where(shown, scores, 0.0)


class PairScores(nn.Module):
    """Additive attention between each agent and each target: <w(h_i), relu(E x_j + F x_i + b)> / sqrt(K).

    A dot product of the agent's state and the target's embedding cannot express a distance; a layer over both can.
    The agent's state chooses which of the K units count.

    Args:
        hidden: H, features of an agent.
        n_inputs: I.
        units: K.

    Raises:
        ValueError: if `units` is not positive.
    """

    def __init__(self, hidden: int, n_inputs: int, units: int) -> None:
        super().__init__()
        if units < 1:
            raise ValueError(f"pair_units must be at least 1, or 0 for no pair scores, got {units}")
        self.target = nn.Linear(n_inputs, units)
        self.own = nn.Linear(n_inputs, units, bias=False)
        self.weigh = OutputLinear(hidden, units)

    def forward(self, seen: Perceived, slots: slice) -> Float[Tensor, "*X A targets"]:
        """A score for every target, shown or not."""
        steps, *views, n_agents = seen.views.shape[:-1]
        weights = self.weigh(seen.features).reshape(steps, math.prod(views), n_agents, -1)
        target = output_linear(seen.entities[:, slots], self.target.weight, self.target.bias)
        own = output_linear(seen.entities[:, :n_agents], self.own.weight)
        with full_precision(weights):
            pairs = (own.unsqueeze(2) + target.unsqueeze(1)).relu_()
            scores = torch.einsum("lvak,latk->lvat", weights * weights.shape[-1] ** -0.5, pairs)
        return scores.view(*seen.views.shape[:-1], target.shape[1])


class ActionHead(OutputLinear):  # so that the weights of a head without targets are those of a linear layer
    """One score (utility or logit) per action, from what each agent perceives.

    A linear map of the agent's features scores the kinds of action. That is all for a fixed action; a target action
    adds to the score of its kind what speaks for this entity in particular.

    Args:
        hidden: H.
        n_actions: K, kinds of action.
        targets: groups of entities that the last kinds aim at; see `ActionKinds`.
        n_inputs: I; None for an agent that knows no entity but its own, to which all targets are alike.
        width: embedding of the entities.
        pair_units: units of the pair scores; 0 for none.

    Example:
        >>> head = ActionHead(hidden=4, n_actions=7, targets=("others",), n_inputs=3, width=8)
        >>> few, many = (torch.ones(1, 2, e, dtype=torch.bool) for e in (5, 30))
        >>> [head(Perceived(torch.zeros(1, 2, 4), torch.zeros(1, v.shape[-1], 3), v)).shape[-1] for v in (few, many)]
        [9, 34]
    """

    def __init__(
        self,
        hidden: int,
        n_actions: int,
        targets: Sequence[str] = (),
        n_inputs: int | None = None,
        width: int = 0,
        pair_units: int = 0,
    ) -> None:
        super().__init__(hidden, n_actions)
        self.kinds = ActionKinds(n_actions, tuple(targets))
        looks = [] if n_inputs is None else [TargetScores(hidden, n_inputs, width, pair_units) for _ in targets]
        self.targets = nn.ModuleList(looks)

    def forward(self, seen: Perceived) -> Float[Tensor, "*X A U"]:  # type: ignore[override]
        """Scores of all actions, available or not."""
        of_kinds = super().forward(seen.features)
        slots = self.kinds.slots(*seen.views.shape[-2:])
        if not slots:
            return of_kinds
        fixed, *alike = of_kinds.split([self.kinds.n_fixed] + [1] * len(slots), dim=-1)
        if self.targets:
            aimed = [base + score(seen, s) for base, score, s in zip(alike, self.targets, slots, strict=True)]
        else:
            sizes = [seen.views[..., s].shape[-1] for s in slots]
            aimed = [base.expand(*base.shape[:-1], size) for base, size in zip(alike, sizes, strict=True)]
        return torch.cat((fixed, *aimed), dim=-1)
