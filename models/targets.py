"""Action heads for fixed actions and for actions, such as an attack, that target one entity.

`EntitySpec.targets` lists the entity groups that are targeted: for each group, the environment has one action per
entity slot, after the fixed actions. No weight depends on the number of slots, so the same weights work in an
environment of any capacity.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from mipi_pl.models import fused_targets
from mipi_pl.models.precision import OutputLinear, full_precision, output_linear


@dataclass(frozen=True)
class ActionKinds:
    """Action kinds of an environment: each fixed action is its own kind, followed by one kind per target group.

    Attributes:
        n_kinds: K, number of kinds; the last ``len(targets)`` of them target entities.
        targets: entity group of each target kind: ``others`` (entities A to E-1) or ``agents`` (entities 0 to A-1).

    Example:
        >>> ActionKinds(3, ("others",)).of_actions(n_agents=2, n_entities=4).tolist()
        [0, 1, 2, 2, 3]
    """

    n_kinds: int
    targets: tuple[str, ...] = ()

    @property
    def n_fixed(self) -> int:
        """Number of actions without a target."""
        return self.n_kinds - len(self.targets)

    def slots(self, n_agents: int, n_entities: int) -> list[slice]:
        """Return the entity slots of each target group."""
        return [slice(n_agents) if group == "agents" else slice(n_agents, n_entities) for group in self.targets]

    def of_actions(self, n_agents: int, n_entities: int) -> Int64[Tensor, " actions"]:
        """Return the kind of each action, followed by K, the kind of "no action yet"."""
        sizes = [len(range(n_entities)[slots]) for slots in self.slots(n_agents, n_entities)]
        repeats = torch.tensor([1] * self.n_fixed + sizes + [1])
        return torch.arange(self.n_kinds + 1).repeat_interleave(repeats)

    def kept(self, full: tuple[int, int], cut: tuple[int, int]) -> Int64[Tensor, " kept"]:
        """Return the indices of the actions that remain after the last agent and entity slots are cut off.

        Args:
            full: (A, E), numbers of slots before.
            cut: (A, E), numbers of slots after.

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
    """Input of the action heads: the agents' features under some views, and the entities behind them.

    Attributes:
        features: [L, *V, A, hidden], output of the trunk.
        entities: [L, E, I], inputs of the trunk.
        views: [L, *V, A, E], which entities each agent sees.
    """

    features: Tensor
    entities: Tensor
    views: Tensor

    def view(self, number: int) -> Perceived:
        """Select one of V views; removes the axis."""
        return Perceived(self.features[:, number], self.entities, self.views[:, number])

    def rows(self, rows: Tensor) -> Perceived:
        """Select some of the L steps."""
        return Perceived(self.features[rows], self.entities[rows], self.views[rows])

    def detach(self) -> Perceived:
        """Return a copy with the features detached from the graph."""
        return Perceived(self.features.detach(), self.entities, self.views)


class TargetScores(nn.Module):
    """Score of each target for each agent: the scaled dot product of the agent's features and the target's embedding.

    The head has an entity embedding of its own, because that of the trunk belongs to the critic, which the policy loss
    must not change.

    Args:
        hidden: features of an agent.
        n_inputs: I, inputs per entity.
        width: size of the entity embeddings.
        pair_units: units of the `PairScores` that are added; 0 for none.
    """

    def __init__(self, hidden: int, n_inputs: int, width: int, pair_units: int = 0) -> None:
        super().__init__()
        self.pairs = PairScores(hidden, n_inputs, pair_units) if pair_units else None
        self.embed = nn.Linear(n_inputs, width)
        self.key = nn.Linear(width, hidden, bias=False)
        self.query = nn.Linear(hidden, hidden)

    def forward(self, seen: Perceived, slots: slice) -> Float[Tensor, "*X A targets"]:
        """Return the scores of the targets in `slots`; 0 for targets that the view does not show."""
        steps, *views, n_agents, n_entities = seen.views.shape
        shape = (steps, math.prod(views), n_agents)
        targets = seen.entities[:, slots].contiguous()
        key = output_linear(self.embed(targets).relu(), self.key.weight)
        scale = key.shape[-1] ** -0.5  # of the weights, because they are fewer than the queries
        query = output_linear(seen.features, self.query.weight * scale, self.query.bias * scale).reshape(*shape, -1)
        pairs: tuple[Tensor, Tensor, Tensor] | None = self.pairs(seen, targets) if self.pairs else None
        shown = seen.views.view(*shape, n_entities)
        if fused_targets.usable(query, key, *(pairs or ())):
            first = slots.indices(n_entities)[0]
            weights, own, target = pairs or PairScores.none(query, key)
            scores = fused_targets.score(query, key, weights, own, target, shown, first)
        else:
            with full_precision(query):
                scores = torch.einsum("lvah,lth->lvat", query, key)
                scores = scores + PairScores.total(*pairs) if pairs else scores
            scores = torch.where(shown[..., slots], scores, 0.0)
        return scores.view(*seen.views.shape[:-1], len(range(n_entities)[slots]))


class PairScores(nn.Module):
    """Additive attention between each agent and each target: <w(h_i), relu(E x_j + F x_i + b)> / sqrt(units).

    A dot product of the agent's features and the target's embedding cannot express a distance. A layer over both can.
    The agent's features h_i determine the weights of the units.

    Args:
        hidden: features of an agent.
        n_inputs: I, inputs per entity.
        units: size of the layer.

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

    def forward(
        self, seen: Perceived, targets: Float[Tensor, "L T I"]
    ) -> tuple[Float[Tensor, "L V A units"], Float[Tensor, "L A units"], Float[Tensor, "L T units"]]:
        """Return the factors of the scores: weights w / sqrt(units), parts F x_i of agents, and E x_j + b of targets.

        Args:
            seen: features of the agents, and all entities.
            targets: inputs of the targets.
        """
        steps, *views, n_agents, _ = seen.views.shape
        scale = len(self.weigh.weight) ** -0.5
        weights = output_linear(seen.features, self.weigh.weight * scale, self.weigh.bias * scale)
        target = output_linear(targets, self.target.weight, self.target.bias)
        own = output_linear(seen.entities[:, :n_agents], self.own.weight)
        return weights.reshape(steps, math.prod(views), n_agents, -1), own, target

    @staticmethod
    def total(
        weights: Float[Tensor, "L V A units"], own: Float[Tensor, "L A units"], target: Float[Tensor, "L T units"]
    ) -> Float[Tensor, "L V A T"]:
        """Return the scores <weights, relu(own + target)> of all pairs."""
        pairs = (own.unsqueeze(2) + target.unsqueeze(1)).relu_()
        return torch.einsum("lvak,latk->lvat", weights, pairs)

    @staticmethod
    def none(query: Float[Tensor, "L V A hidden"], key: Float[Tensor, "L T hidden"]) -> tuple[Tensor, Tensor, Tensor]:
        """Return factors without units, whose scores are 0."""
        return query[..., :0], query[:, 0, :, :0], key[..., :0]


class ActionHead(OutputLinear):  # a subclass, so that a head without targets has the weights of a linear layer
    """Head with one score (utility or logit) per action and agent.

    A linear map of the agent's features scores the action kinds. The score of a fixed action is that of its kind. A
    target action adds the score of its target, see `TargetScores`.

    Args:
        hidden: features of an agent.
        n_kinds: K, number of action kinds.
        targets: entity groups that the last kinds target; see `ActionKinds`.
        n_inputs: I, inputs per entity; None for an agent that sees only its own entity and scores all targets equally.
        width: size of the entity embeddings.
        pair_units: units of the pair scores; 0 for none.

    Example:
        >>> head = ActionHead(hidden=4, n_kinds=7, targets=("others",), n_inputs=3, width=8)
        >>> few, many = (torch.ones(1, 2, e, dtype=torch.bool) for e in (5, 30))
        >>> [head(Perceived(torch.zeros(1, 2, 4), torch.zeros(1, v.shape[-1], 3), v)).shape[-1] for v in (few, many)]
        [9, 34]
    """

    def __init__(
        self,
        hidden: int,
        n_kinds: int,
        targets: Sequence[str] = (),
        n_inputs: int | None = None,
        width: int = 0,
        pair_units: int = 0,
    ) -> None:
        super().__init__(hidden, n_kinds)
        self.kinds = ActionKinds(n_kinds, tuple(targets))
        scores = [] if n_inputs is None else [TargetScores(hidden, n_inputs, width, pair_units) for _ in targets]
        self.targets = nn.ModuleList(scores)

    def forward(self, seen: Perceived) -> Float[Tensor, "*X A U"]:  # type: ignore[override]
        """Return the scores of all actions, whether available or not."""
        kind_scores = super().forward(seen.features)
        slots = self.kinds.slots(*seen.views.shape[-2:])
        if not slots:
            return kind_scores
        fixed, *bases = kind_scores.split([self.kinds.n_fixed] + [1] * len(slots), dim=-1)
        if self.targets:
            targeted = [base + score(seen, s) for base, score, s in zip(bases, self.targets, slots, strict=True)]
        else:
            sizes = [seen.views[..., s].shape[-1] for s in slots]
            targeted = [base.expand(*base.shape[:-1], size) for base, size in zip(bases, sizes, strict=True)]
        return torch.cat((fixed, *targeted), dim=-1)
