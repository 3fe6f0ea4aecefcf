"""The marginal policy pi_i(u | s_i^+): a policy that observes the agent's own entity only (eqs. 11, 12 and 17)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mipi_pl.models.packing import PackedSteps
from mipi_pl.models.precision import full_precision
from mipi_pl.models.targets import ActionHead, Perceived
from mipi_pl.models.trunk import Recurrence


class MarginalPolicy(nn.Module):
    """Marginal policy: the agent's architecture applied to its own entity only, with separate parameters.

    Attention over a single entity has weight 1 whatever the scores, so only the projection to values remains of it.

    Args:
        n_features: F, features of an entity.
        n_kinds: K, number of action kinds.
        width: size of the entity embedding.
        hidden: size of the recurrent state.
        targets: entity groups that the last action kinds target. The marginal policy sees none of the targets, so all
            targets of a kind have the same logit.
        normalize: LayerNorm after the projection to values and after the recurrence, as in
            `mipi_pl.models.trunk.Trunk`.

    Examples:
        >>> import torch
        >>> marginal = MarginalPolicy(n_features=3, n_kinds=5, width=8, hidden=4)
        >>> steps = PackedSteps.from_mask(torch.ones(2, 7, dtype=torch.bool))
        >>> logits, state = marginal(torch.zeros(14, 4, 8), steps, n_entities=6)
        >>> logits.shape
        torch.Size([14, 4, 5])
    """

    def __init__(
        self,
        n_features: int,
        n_kinds: int,
        width: int = 128,
        hidden: int = 64,
        targets: tuple[str, ...] = (),
        normalize: bool = False,
    ) -> None:
        super().__init__()
        self.embed = nn.Linear(n_features + n_kinds, width)
        self.value = nn.Linear(width, width, bias=False)
        self.recurrence = Recurrence(width, hidden)
        self.value_norm = nn.LayerNorm(width) if normalize else None
        self.state_norm = nn.LayerNorm(hidden) if normalize else nn.Identity()
        self.logits = ActionHead(hidden, n_kinds, targets)

    def forward(
        self,
        own: Float[Tensor, "L A I"],
        steps: PackedSteps,
        n_entities: int,
        state: Float[Tensor, "N A hidden"] | None = None,
    ) -> tuple[Float[Tensor, "L A U"], Float[Tensor, "N A hidden"]]:
        """Return the logits of every agent and its recurrent state after the last step.

        Args:
            own: inputs of the agents' entities: features and last actions.
            steps: episode and step of each row, and the agents that act.
            n_entities: E, number of entity slots; determines the number of target actions.
            state: recurrent states before the first step of each episode; None for zeros.
        """
        linear, agents = self.recurrence.linear, steps.agents(own.shape[1])
        rows = self.embed(agents.pack(own.unsqueeze(1))).relu_()
        if self.value_norm is None:
            # Merge the two linear maps: multiplying their matrices is far cheaper than applying both to every row.
            rows = nn.functional.linear(rows, linear.weight @ self.value.weight, linear.bias)
        else:
            rows = linear(self.value_norm(self.value(rows)))
        initial = None if state is None else state.unsqueeze(1)
        features, last = self.recurrence.unroll(rows, agents, steps, initial)
        with full_precision(features):
            features = self.state_norm(features)
        unseen = torch.zeros(*own.shape[:2], n_entities, dtype=torch.bool, device=own.device)
        logits: Tensor = self.logits(Perceived(agents.pad(features).squeeze(1), own, unseen))
        return logits, last.squeeze(1)
