"""The marginal policy pi_i(u | s_i^+): what an agent would do knowing its own entity alone (eqs. 11, 12 and 17)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from models.agent import PackedSteps, Recurrence
from models.precision import OutputLinear


class MarginalPolicy(nn.Module):
    """The agent's architecture on the own entity alone, with parameters of its own.

    Attention over a single entity has weight 1 on it, whatever the scores: what is left of it is the projection to
    values, and that is how it is written here.

    Args:
        n_features: F.
        n_actions: U.
        width: embedding.
        hidden: recurrent state.

    Examples:
        >>> import torch
        >>> marginal = MarginalPolicy(n_features=3, n_actions=5, width=8, hidden=4)
        >>> marginal(torch.zeros(14, 4, 8), PackedSteps.of(torch.ones(2, 7, dtype=torch.bool))).shape
        torch.Size([14, 4, 5])
    """

    def __init__(self, n_features: int, n_actions: int, width: int = 128, hidden: int = 64) -> None:
        super().__init__()
        self.embed = nn.Linear(n_features + n_actions, width)
        self.value = nn.Linear(width, width, bias=False)
        self.recurrence = Recurrence(width, hidden)
        self.logits = OutputLinear(hidden, n_actions)

    def forward(self, own: Float[Tensor, "L A I"], steps: PackedSteps) -> Float[Tensor, "L A U"]:
        """Logits of every agent from its own entity and its own last action."""
        # Two linear maps in a row are one: the product of their matrices is far cheaper than both on every row.
        linear = self.recurrence.linear
        rows = nn.functional.linear(self.embed(own).relu_(), linear.weight @ self.value.weight, linear.bias)
        features, _ = self.recurrence.unroll(rows.unsqueeze(1), steps, None)
        logits: Tensor = self.logits(features.squeeze(1))
        return logits
