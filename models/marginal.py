"""The marginal policy pi_i(u | s_i^+): what an agent would do knowing its own entity alone (eqs. 11, 12 and 17)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from models.packing import PackedSteps
from models.precision import full_precision
from models.targets import ActionHead, Perceived
from models.trunk import Recurrence


class MarginalPolicy(nn.Module):
    """The agent's architecture on the own entity alone, with parameters of its own.

    Attention over a single entity has weight 1 on it, whatever the scores: what is left of it is the projection to
    values, and that is how it is written here.

    Args:
        n_features: F.
        n_actions: K, kinds of action: U where none aims at an entity.
        width: embedding.
        hidden: recurrent state.
        targets: groups of entities that the last kinds of action aim at. It knows none of these entities, so it has one
            logit for all targets of a kind.
        normalize: LayerNorm after the projection to values and after the recurrence, as in `models.trunk.Trunk`.

    Examples:
        >>> import torch
        >>> marginal = MarginalPolicy(n_features=3, n_actions=5, width=8, hidden=4)
        >>> steps = PackedSteps.from_mask(torch.ones(2, 7, dtype=torch.bool))
        >>> logits, state = marginal(torch.zeros(14, 4, 8), steps, n_entities=6)
        >>> logits.shape
        torch.Size([14, 4, 5])
    """

    def __init__(
        self,
        n_features: int,
        n_actions: int,
        width: int = 128,
        hidden: int = 64,
        targets: tuple[str, ...] = (),
        normalize: bool = False,
    ) -> None:
        super().__init__()
        self.embed = nn.Linear(n_features + n_actions, width)
        self.value = nn.Linear(width, width, bias=False)
        self.recurrence = Recurrence(width, hidden)
        self.value_norm = nn.LayerNorm(width) if normalize else None
        self.state_norm = nn.LayerNorm(hidden) if normalize else nn.Identity()
        self.logits = ActionHead(hidden, n_actions, targets)

    def forward(
        self,
        own: Float[Tensor, "L A I"],
        steps: PackedSteps,
        n_entities: int,
        state: Float[Tensor, "N A hidden"] | None = None,
    ) -> tuple[Float[Tensor, "L A U"], Float[Tensor, "N A hidden"]]:
        """Logits of every agent from its own entity and its own last action, and its recurrent state at the end.

        Args:
            own: the agents' entities.
            steps: where the rows stand.
            n_entities: E, what there is to aim at.
            state: the recurrent states before the first rows; None for zeros.
        """
        linear, agents = self.recurrence.linear, steps.agents(own.shape[1])
        rows = self.embed(agents.pack(own.unsqueeze(1))).relu_()
        if self.value_norm is None:
            # Two linear maps in a row are one: the product of their matrices is far cheaper than both on every row.
            rows = nn.functional.linear(rows, linear.weight @ self.value.weight, linear.bias)
        else:
            rows = linear(self.value_norm(self.value(rows)))
        before = None if state is None else state.unsqueeze(1)
        features, last = self.recurrence.unroll(rows, agents, steps, before)
        with full_precision(features):
            features = self.state_norm(features)
        unseen = torch.zeros(*own.shape[:2], n_entities, dtype=torch.bool, device=own.device)
        logits: Tensor = self.logits(Perceived(agents.pad(features).squeeze(1), own, unseen))
        return logits, last.squeeze(1)
