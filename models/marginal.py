"""The marginal policy pi_i(u | s_i^+): what an agent would do knowing its own entity alone (eqs. 11, 12 and 17)."""

from __future__ import annotations

from jaxtyping import Float, Int64
from torch import Tensor, nn

from models.agent import Recurrence
from models.attention import EntityEncoder


class MarginalPolicy(nn.Module):
    """The agent's architecture on the own entity alone, with parameters of its own.

    Attention over a single entity has weight 1 on it, whatever the scores: what is left of it is the projection to
    values, and that is how it is written here.

    Args:
        n_features: F.
        n_actions: U.
        width: embedding.
        hidden: recurrent state.

    Example:
        >>> import torch
        >>> marginal = MarginalPolicy(n_features=3, n_actions=5, width=8, hidden=4)
        >>> marginal(torch.zeros(2, 7, 6, 3), torch.full((2, 7, 4), 5)).shape
        torch.Size([2, 7, 4, 5])
    """

    def __init__(self, n_features: int, n_actions: int, width: int = 128, hidden: int = 64) -> None:
        super().__init__()
        self.encoder = EntityEncoder(n_features, n_actions, width)
        self.value = nn.Linear(width, width, bias=False)
        self.recurrence = Recurrence(width, hidden)
        self.logits = nn.Linear(hidden, n_actions)

    def forward(
        self, entities: Float[Tensor, "N S E F"], last_action: Int64[Tensor, "N S A"]
    ) -> Float[Tensor, "N S A U"]:
        """Logits of every agent from its own entity (the first A of `entities`) and its own last action."""
        own = entities[:, :, : last_action.shape[-1]]
        features, _ = self.recurrence(self.value(self.encoder(own, last_action)).unsqueeze(0), None)
        return self.logits(features.squeeze(0))
