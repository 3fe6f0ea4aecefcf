"""The CollaQ agent: a utility from the view without other agents plus one from the full view (Zhang et al. 2020)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mipi_pl.models.agent import Agent
from mipi_pl.models.packing import PackedSteps
from mipi_pl.models.targets import ActionHead, ActionKinds, Perceived
from mipi_pl.models.trunk import Trunk


def without_other_agents(views: Bool[Tensor, "*X A E"]) -> Bool[Tensor, "*X A E"]:
    """Return the views without the other agents: o_i^alone of CollaQ.

    Examples:
        >>> without_other_agents(torch.ones(2, 3, dtype=torch.bool)).tolist()
        [[True, False, True], [False, True, True]]
    """
    n_agents, n_entities = views.shape[-2:]
    kept = torch.eye(n_agents, n_entities, dtype=torch.bool, device=views.device)
    kept[:, n_agents:] = True
    return views & kept


class CollaQTrunk(nn.Module):
    """Two trunks with separate recurrent states: one for Q_alone, which never sees other agents, and one for Q_collab.

    Features and recurrent states of the two trunks are concatenated, those of Q_alone first.

    Args:
        n_inputs: I, inputs per entity.
        width: size of the entity embeddings and the attention of each trunk.
        heads: number of attention heads of each trunk.
        hidden: size of the recurrent state of each trunk.
        own_path: see `mipi_pl.models.trunk.Trunk`; applies to both trunks.
        normalize: see `mipi_pl.models.trunk.Trunk`; applies to both trunks.
    """

    def __init__(
        self, n_inputs: int, width: int, heads: int, hidden: int, own_path: bool = False, normalize: bool = False
    ) -> None:
        super().__init__()
        self.alone, self.collab = (
            Trunk(n_inputs, width, heads, hidden, own_path=own_path, normalize=normalize) for _ in range(2)
        )

    def forward(
        self,
        inputs: Float[Tensor, "L E I"],
        views: Bool[Tensor, "L V A E"],
        steps: PackedSteps,
        state: Float[Tensor, "N V A hidden"] | None = None,
    ) -> tuple[Perceived, Float[Tensor, "N V A hidden"]]:
        """Return every agent's features under every view, and the recurrent states after the last step."""
        initial = (None, None) if state is None else state.chunk(2, dim=-1)
        alone, alone_state = self.alone(inputs, without_other_agents(views), steps, initial[0])
        collab, collab_state = self.collab(inputs, views, steps, initial[1])
        features = torch.cat((alone.features, collab.features), dim=-1)
        return Perceived(features, inputs, views), torch.cat((alone_state, collab_state), dim=-1)

    def step(
        self,
        inputs: Float[Tensor, "B E I"],
        view: Bool[Tensor, "B A E"],
        state: Float[Tensor, "B A hidden"],
    ) -> tuple[Perceived, Float[Tensor, "B A hidden"]]:
        """Compute `forward` for one step under one view; see `mipi_pl.models.trunk.Trunk.step`."""
        of_alone, of_collab = state.chunk(2, dim=-1)
        alone, alone_state = self.alone.step(inputs, without_other_agents(view), of_alone)
        collab, collab_state = self.collab.step(inputs, view, of_collab)
        features = torch.cat((alone.features, collab.features), dim=-1)
        return Perceived(features, inputs, view), torch.cat((alone_state, collab_state), dim=-1)

    def attention_weights(
        self, inputs: Float[Tensor, "L E I"], view: Bool[Tensor, "L A E"]
    ) -> Float[Tensor, "L H A E"]:
        """Return the attention weights of Q_collab, which sees all that the agent sees."""
        return self.collab.attention_weights(inputs, view)

    def attributed(
        self, inputs: Float[Tensor, "L E I"], views: Bool[Tensor, "L V A E"], steps: PackedSteps
    ) -> tuple[Perceived, Perceived]:
        """Return the features of `forward`, and the features of Q_collab under the views o_i^alone."""
        own = without_other_agents(views)
        alone, _ = self.alone(inputs, own, steps)
        both, _ = self.collab(inputs, torch.cat((views, own), dim=1), steps)
        collab, collab_alone = both.features.chunk(2, dim=1)
        features = torch.cat((alone.features, collab), dim=-1)
        return Perceived(features, inputs, views), Perceived(collab_alone, inputs, own)


class CollaQUtilities(nn.Module):
    """Utility head Q_i = Q_alone + Q_collab.

    Args:
        head: factory that creates one of the two heads.
    """

    def __init__(self, head: Callable[[], ActionHead]) -> None:
        super().__init__()
        self.alone = head()
        self.collab = head()

    def forward(self, seen: Perceived) -> Float[Tensor, "*X A U"]:
        """Return the utilities from the output of `CollaQTrunk`."""
        alone, collab = seen.features.chunk(2, dim=-1)
        own = Perceived(alone, seen.entities, without_other_agents(seen.views))
        utilities: Tensor = self.alone(own) + self.collab(Perceived(collab, seen.entities, seen.views))
        return utilities


class CollaQAgent(Agent):
    """CollaQ agent with entity attention: Q_i = Q_alone(o_i^alone) + Q_collab(o_i).

    Args:
        n_features: F, features of an entity.
        n_kinds: K, number of action kinds.
        width: size of the entity embeddings and the attention of each of the two trunks.
        heads: number of attention heads of each trunk.
        hidden: size of the recurrent state of each trunk.
        targets: entity groups that the last action kinds target; see `mipi_pl.models.targets`.
        own_path: see `mipi_pl.models.trunk.Trunk`.
        normalize: see `mipi_pl.models.trunk.Trunk`.
        pair_units: units of the pair scores of target actions, 0 for none; see `mipi_pl.models.targets.PairScores`.

    Examples:
        >>> agent = CollaQAgent(n_features=3, n_kinds=5, width=8, heads=2, hidden=4)
        >>> steps = PackedSteps.from_mask(torch.ones(2, 7, dtype=torch.bool))
        >>> seen, state = agent.trunk(torch.zeros(14, 6, 8), torch.ones(14, 1, 4, 6, dtype=torch.bool), steps)
        >>> agent.utilities(seen).shape
        torch.Size([14, 1, 4, 5])
    """

    trunk: CollaQTrunk
    utilities: CollaQUtilities

    def __init__(
        self,
        n_features: int,
        n_kinds: int,
        width: int = 128,
        heads: int = 4,
        hidden: int = 64,
        targets: tuple[str, ...] = (),
        own_path: bool = False,
        normalize: bool = False,
        pair_units: int = 0,
    ) -> None:
        super().__init__(ActionKinds(n_kinds, targets), 2 * hidden)
        n_inputs = n_features + n_kinds
        self.trunk = CollaQTrunk(n_inputs, width, heads, hidden, own_path, normalize)
        self.utilities = CollaQUtilities(partial(ActionHead, hidden, n_kinds, targets, n_inputs, width, pair_units))
